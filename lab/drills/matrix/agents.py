"""F24, F29: agents whose group was rewound, or whose clock is wrong and steps."""

from contextlib import closing
from functools import partial
from pathlib import Path

from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.structs import OffsetAndMetadata

from lab.drills import clock
from lab.drills.clock.sitecustomize import FILE
from lab.drills.faults import Struck, at_work, back
from lab.drills.matrix.scene import Scene
from lab.stack import kafka
from twinpath.settings import ROOT

HOUR_S = 3_600
STAMPED_WRONG = (
    "SELECT count(*) FROM alert_log WHERE rule = %s AND abs(extract(epoch FROM polled_at - appended_at)) > 1800"
)


def group_rewound(scene: Scene) -> None:
    """F24: Kafka's committed offsets of each agent go to 0; then the connector takes a second snapshot."""
    for rule in scene.rules:
        scene.blow(partial(_rewind, scene, rule))
    scene.blow(scene.faults.make_connector_anew)


def _rewind(scene: Scene, rule: str) -> Struck:
    settings, agents = scene.line.settings, scene.line.agents
    places = [TopicPartition(settings.topic, number) for number in range(settings.topic_partitions)]
    struck = scene.faults.begun(f"group of {rule} rewound")
    agents.stop(rule)
    with kafka.admin(settings) as client:
        group = settings.group(rule)
        before = _offsets(client, group, places)
        client.alter_group_offsets(group, {one: OffsetAndMetadata(0, "", -1) for one in places})
        after = _offsets(client, group, places)
    struck.acted = any(before) and not any(after)
    struck.evidence = f"committed offsets {before}, then {after}"
    agents.start(rule)
    return back(struck)


def _offsets(client: KafkaAdminClient, group: str, places: list[TopicPartition]) -> list[int]:
    found = client.list_group_offsets({group: places})[group]
    return [found[one].offset for one in places]


def clocks_wrong(scene: Scene) -> None:
    """F29: one agent's clock is an hour fast and the other's an hour slow; then they change places, twice."""
    files = {rule: scene.folder / f"clock-{rule}" for rule in scene.rules}
    path = f"{Path(clock.__file__).parent}:{ROOT}"
    for number, (rule, file) in enumerate(files.items()):
        file.write_text(str(HOUR_S if number % 2 else -HOUR_S))
        scene.line.agents.stop(rule)
        scene.line.agents.start(rule, further={"PYTHONPATH": path, FILE: str(file)})
        scene.line.agents.wait(rule)
    for _ in range(2):
        scene.blow(lambda: _change_places(scene, files))


def _change_places(scene: Scene, files: dict[str, Path]) -> Struck:
    struck = scene.faults.begun("clocks step by two hours")
    stamped = {rule: at_work(partial(_stamped_wrong, scene, rule), f"{rule} stamps alerts") for rule in files}
    for file in files.values():
        file.write_text(str(-float(file.read_text())))
    struck.acted = all(stamped.values())
    struck.evidence = f"alerts stamped more than half an hour off before: {stamped}"
    return back(struck)


def _stamped_wrong(scene: Scene, rule: str) -> int:
    with closing(scene.line.alerts()) as session, session.cursor() as cursor:
        cursor.execute(STAMPED_WRONG, [rule])
        (count,) = cursor.fetchone() or (0,)
    return int(count)
