"""Versions of a rule: one is active, changed parameters and rebuilds begin anew beside what is stored."""

import json
import threading
from contextlib import closing, suppress

import psycopg2
import pytest
from kafka import TopicPartition

from lab import dead_letters, versions, watch_alerts
from lab.console import Progress
from lab.doctor import checks
from lab.measure.agreement import compare_log
from lab.stack import kafka, process
from lab.stack.agents import Agents
from lab.stack.stack import Stack
from lab.topic import open_consumer
from tests.conftest import Line
from tests.integration.publishing import OURS, key, publish, usual_payments
from twinpath.alert_rows import read_alerts
from twinpath.detection.envelope import EnvelopeDecoder, EnvelopeFormat
from twinpath.detection.model import Alert, Change
from twinpath.detection.replay import replay
from twinpath.detection.rules import RULES, Rule, configured
from twinpath.errors import ConfigurationError, DecodeError, ForeignCheckpoint, GapError, Superseded
from twinpath.rule_versions import RuleVersions, reading_of

pytestmark = pytest.mark.integration
SPENDING = RULES["spending"]
STRICT = {"spending": {"ratio": 100}}
STRICTER = configured("spending", STRICT)
ANEW = configured("spending", None, 2)
TEXT = reading_of(EnvelopeFormat())
BASE64 = reading_of(EnvelopeFormat(amount_scale=2))
TROUBLE = [
    *usual_payments(7, 1, ["10.00", "10.00", "10.00", "600.00"]),
    *usual_payments(8, 11, ["5.00", "5.00", "5.00", "1000.00"]),
]


def stack_of(line: Line, **settings: object) -> Stack:
    """The stack as a command sees it that was given other settings."""
    return Stack(line.stack.home, line.settings.model_copy(update=settings), Progress())


def bring_up(stack: Stack) -> None:
    """What `twinpath up` does about the agent of spending."""
    port = stack.agents().port("spending") if stack.agents().running("spending") else process.free_ports(1)[0]
    stack.start_agent("spending", port)


def stored(line: Line, rule: Rule) -> list[Alert]:
    dsn = line.stack.credentials.dsn("twinpath_lab", line.settings.alerts_database)
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        return read_alerts(cursor, "agent", rule.name, rule.version)


def replayed(line: Line, rule: Rule, ends: dict[int, int], **reading: object) -> list[Alert]:
    """The alerts of `replay` over what can be read of the topic, which lies in partition 0."""
    decoder = EnvelopeDecoder(line.settings.model_copy(update=reading).envelope())
    changes: list[Change] = []
    with closing(open_consumer(line.settings, 20_000)) as consumer:
        consumer.assign([TopicPartition(line.settings.topic, 0)])
        for record in consumer:
            with suppress(DecodeError):
                changes.extend(decoder.decode(record.key, record.value))
            if record.offset + 1 == ends[0]:
                break
    return replay(rule, changes).alerts


def tx_ids(alerts: list[Alert]) -> list[int]:
    return [one.tx_id for one in alerts]


def of_store(line: Line) -> RuleVersions:
    return RuleVersions(line.stack.credentials.alerts_dsn(line.settings), "agent")


def log_of(line: Line) -> str:
    return process.log_of(line.stack.home, line.agents.name("spending")).read_text()


def status_of(line: Line) -> int:
    """Exit status of the agent, which ends by itself."""
    child = process._children[process.running(line.stack.home, line.agents.name("spending")).pid]
    return child.wait(timeout=60)


def test_the_version_that_was_noted_last_is_the_active_one(store_line: Line) -> None:
    noted = of_store(store_line)
    assert noted.active("spending") is None
    noted.check(SPENDING)
    for rule in (SPENDING, SPENDING, STRICTER, SPENDING):
        noted.activate(rule, TEXT)
        noted.check(rule)
    found = store_line.rows("SELECT number, rule_version FROM rule_activations ORDER BY number")
    assert found == [(1, SPENDING.version), (2, STRICTER.version), (3, SPENDING.version)]
    with pytest.raises(Superseded, match=f"folds version {STRICTER.version}, but version {SPENDING.version} was"):
        noted.check(STRICTER)
    assert noted.active("velocity") is None


def test_one_version_is_bound_to_one_way_of_reading(store_line: Line) -> None:
    noted = of_store(store_line)
    noted.activate(SPENDING, TEXT)
    noted.activate(STRICTER, BASE64)
    with pytest.raises(ForeignCheckpoint, match="AMOUNT_SCALE was null, is 2.*twinpath rebuild spending"):
        noted.activate(SPENDING, BASE64)
    assert noted.active("spending").rule_version == STRICTER.version


def test_programs_that_start_together_note_one_activation_and_raise_no_generation_twice(store_line: Line) -> None:
    raised: list[int] = []

    def start() -> None:
        noted = of_store(store_line)
        noted.activate(SPENDING, TEXT)
        raised.append(noted.raise_generation("spending", "test"))

    programs = [threading.Thread(target=start) for _ in range(6)]
    for one in programs:
        one.start()
    for one in programs:
        one.join()
    assert store_line.rows("SELECT count(*) FROM rule_activations") == [(1,)]
    assert sorted(raised) == [2, 3, 4, 5, 6, 7]
    assert of_store(store_line).generation("spending") == 7
    assert of_store(store_line).generation("velocity") == 1


def test_parameters_changed_at_run_time_judge_the_log_anew_beside_the_old_alerts(
    topic_line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    line = topic_line
    publish(line.settings, TROUBLE)
    bring_up(stack_of(line))
    line.wait_until_judged(SPENDING)
    old = stored(line, SPENDING)
    assert tx_ids(old) == [4, 14]

    capsys.readouterr()
    bring_up(stack_of(line, rule_parameters=STRICT))
    said = capsys.readouterr().err
    change = f"parameters changed, version {SPENDING.version} -> {STRICTER.version}"
    assert f"{change}, judging from the beginning of the log" in said
    publish(line.settings, usual_payments(8, 15, ["9999.00"]))
    ends = line.wait_until_judged(STRICTER)
    assert tx_ids(stored(line, STRICTER)) == [14]
    assert compare_log(stored(line, STRICTER), replayed(line, STRICTER, ends)).equal
    assert stored(line, SPENDING) == old, "the former version is no longer written"

    bring_up(stack_of(line, rule_parameters=STRICT))
    assert "already running" in capsys.readouterr().err
    bring_up(stack_of(line))
    assert "going on where that version stood" in capsys.readouterr().err
    ends = line.wait_until_judged(SPENDING)
    assert tx_ids(stored(line, SPENDING)) == [4, 14, 15]
    assert compare_log(stored(line, SPENDING), replayed(line, SPENDING, ends)).equal
    judged = line.rows("SELECT rule_version, sum(value)::int FROM counters WHERE name = 'judged' GROUP BY 1 ORDER BY 1")
    assert judged == sorted([(SPENDING.version, 9), (STRICTER.version, 9)])


def test_a_member_of_the_group_that_folds_another_version_stops(topic_line: Line) -> None:
    class Second(Agents):
        def name(self, rule: str, instance: int = 1) -> str:
            return f"{super().name(rule)}-second"

    line = topic_line
    publish(line.settings, TROUBLE)
    bring_up(stack_of(line))
    line.wait_until_judged(SPENDING)
    other = stack_of(line, rule_parameters=STRICT)
    second = Second(line.stack.home, other.settings, line.stack.credentials)
    try:
        second.start("spending")
        assert status_of(line) == 4
        assert f"Superseded: rule spending: this process folds version {SPENDING.version}" in log_of(line)
        ends = line.wait_until_judged(STRICTER)
        assert compare_log(stored(line, STRICTER), replayed(line, STRICTER, ends)).equal
    finally:
        second.stop("spending")


def test_a_version_that_cannot_begin_at_the_beginning_is_refused_and_the_agent_goes_on(topic_line: Line) -> None:
    line = topic_line
    publish(line.settings, TROUBLE)
    bring_up(stack_of(line))
    line.wait_until_judged(SPENDING)
    with kafka.admin(line.settings) as client:
        client.delete_records({TopicPartition(line.settings.topic, 0): 2})
    changed = stack_of(line, rule_parameters=STRICT)
    for attempt in (lambda: bring_up(changed), lambda: stack_of(line).rebuilder().rebuild("spending", "test")):
        with pytest.raises(GapError, match=r"partition 0 offsets 0 to 1 are gone .*Nothing was changed"):
            attempt()
    publish(line.settings, usual_payments(8, 15, ["99999.00"]))
    line.wait_until_judged(SPENDING)
    assert tx_ids(stored(line, SPENDING)) == [4, 14, 15]
    assert line.rows("SELECT count(*) FROM rule_generations") == [(0,)]


def test_one_key_with_two_contents_stops_the_agent_and_a_rebuild_mends_it(topic_line: Line) -> None:
    line = topic_line
    lasting = stack_of(line, checkpoint_idle_s=600.0)
    bring_up(lasting)
    publish(line.settings, TROUBLE)
    publish(line.settings, usual_payments(8, 15, ["99999.00"]))
    process.wait_until(line.stack.home, line.agents.name("spending"), lambda: len(stored(line, SPENDING)) == 3, 60)
    line.agents.kill("spending")
    owner = line.session("twinpath_lab", line.settings.alerts_database)
    with owner, owner.cursor() as cursor:
        cursor.execute("UPDATE alert_log SET digest = 'another', score = 1 WHERE tx_id = 14")
    old = stored(line, SPENDING)
    line.agents.start("spending")
    assert status_of(line) == 4
    log = log_of(line)
    assert "AlertConflict: alert spending" in log
    assert "of transaction 14 at" in log
    assert "twinpath rebuild spending" in log

    assert stack_of(line).rebuilder().rebuild("spending", "test") == ANEW.version
    bring_up(stack_of(line))
    ends = line.wait_until_judged(ANEW)
    assert tx_ids(stored(line, ANEW)) == [4, 14, 15]
    assert compare_log(stored(line, ANEW), replayed(line, ANEW, ends)).equal
    assert stored(line, SPENDING) == old


def test_nothing_is_judged_anew_where_nothing_was_judged(store_line: Line) -> None:
    with pytest.raises(ConfigurationError, match="velocity has judged nothing yet"):
        stack_of(store_line).rebuilder().rebuild("velocity", "test")


UNREADABLE = [(key(7), b"{"), *usual_payments(7, 4, ["AOpg"])]  # AOpg: 600.00 as base64 with two decimals
MIXED = [*TROUBLE[:3], *UNREADABLE, *usual_payments(7, 5, ["700.00"]), *TROUBLE[4:]]


def redriven(stack: Stack, capsys: pytest.CaptureFixture[str], *, as_json: bool = False) -> str:
    capsys.readouterr()
    dead_letters.redrive(stack, rule="spending", as_json=as_json)
    return capsys.readouterr().out


def pid_of(line: Line) -> int:
    return process.running(line.stack.home, line.agents.name("spending")).pid


def test_dead_letters_that_can_be_read_now_have_the_whole_log_judged_anew(
    topic_line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    line = topic_line
    publish(line.settings, MIXED)
    plain = stack_of(line)
    bring_up(plain)
    line.wait_until_judged(SPENDING)
    assert tx_ids(stored(line, SPENDING)) == [5, 14]
    pid = pid_of(line)
    assert "spending: 2 dead letters, 0 can be read now, 2 cannot: nothing to do" in redriven(plain, capsys)
    assert pid_of(line) == pid

    scaled = stack_of(line, amount_scale=2)
    said = redriven(scaled, capsys).splitlines()
    assert said[0] == (
        f"spending: 2 dead letters, 1 can be read now, 1 cannot: judged anew as version {ANEW.version}; "
        "twinpath rules shows how far"
    )
    assert [text.partition(":")[0] for text in said[1:]] == ["  0/3"]
    ends = line.wait_until_judged(ANEW)
    alerts = stored(line, ANEW)
    assert tx_ids(alerts) == [4, 5, 14]
    assert compare_log(alerts, replayed(line, ANEW, ends, amount_scale=2)).equal
    old = stored(line, SPENDING)
    assert compare_log(old, replayed(line, SPENDING, ends)).equal, "what was decided before stands as it was"
    assert [one.reason for one in old if one.tx_id == 14] == [one.reason for one in alerts if one.tx_id == 14]
    found = line.rows("SELECT rule_version, kafka_offset::int FROM dead_letters ORDER BY rule_version, kafka_offset")
    assert found == [(SPENDING.version, 3), (SPENDING.version, 4), (ANEW.version, 3)]

    pid = pid_of(line)
    answer = json.loads(redriven(scaled, capsys, as_json=True))
    assert (answer["dead_letters"], answer["readable"], answer["judged_anew_as"]) == (1, 0, None)
    assert [(one["partition"], one["offset"]) for one in answer["unreadable"]] == [(0, 3)]
    assert (pid_of(line), of_store(line).generation("spending")) == (pid, 2)


def test_dead_letters_are_listed_with_their_payload_only_on_request(
    topic_line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    line = topic_line
    publish(line.settings, MIXED)
    stack = stack_of(line)
    bring_up(stack)
    line.wait_until_judged(SPENDING)
    capsys.readouterr()
    dead_letters.show(stack, rule="spending", all_versions=False, payload=False, as_json=False)
    shown = capsys.readouterr().out
    length = len(UNREADABLE[1][1].replace(OURS.encode(), line.settings.source_database.encode()))
    assert [text.partition(":")[0] for text in shown.splitlines()] == [
        f"agent spending {SPENDING.version} 0/3, 1 bytes",
        f"agent spending {SPENDING.version} 0/4, {length} bytes",
    ]
    assert "visa" not in shown
    assert "visa" not in log_of(line)
    dead_letters.show(stack, rule=None, all_versions=False, payload=True, as_json=True)
    letters = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [(one["offset"], one["key"]) for one in letters] == [(3, '{"user_id":7}'), (4, '{"user_id":7}')]
    assert [one["value"][:9] for one in letters] == ["{", '{"before"']
    assert [len(one["value"]) for one in letters] == [1, dead_letters.SHOWN_BYTES]
    dead_letters.show(stack, rule="velocity", all_versions=True, payload=False, as_json=False)
    assert capsys.readouterr().out == ""
    with pytest.raises(ConfigurationError, match="'speeding'"):
        dead_letters.show(stack, rule="speeding", all_versions=True, payload=False, as_json=False)


def test_a_setting_that_changes_how_records_are_read_begins_a_generation(
    topic_line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    line = topic_line
    publish(line.settings, MIXED)
    bring_up(stack_of(line))
    line.wait_until_judged(SPENDING)
    capsys.readouterr()
    bring_up(stack_of(line, amount_scale=2))
    change = f"AMOUNT_SCALE was null, is 2, version {SPENDING.version} -> {ANEW.version}"
    assert f"{change}, judging from the beginning" in capsys.readouterr().err
    line.wait_until_judged(ANEW)
    assert tx_ids(stored(line, ANEW)) == [4, 5, 14]
    bring_up(stack_of(line, amount_scale=2))
    assert "already running" in capsys.readouterr().err


def test_versions_are_listed_and_alerts_and_status_show_the_active_one(
    topic_line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    line = topic_line
    publish(line.settings, MIXED)
    bring_up(stack_of(line))
    line.wait_until_judged(SPENDING)
    strict = stack_of(line, rule_parameters=STRICT)
    bring_up(strict)
    line.wait_until_judged(STRICTER)
    line.agents.stop("spending")
    publish(line.settings, usual_payments(9, 30, ["1.00"]))

    found = {one.version: one for one in versions.read(strict) if one.rule == "spending"}
    active, former = found[STRICTER.version], found[SPENDING.version]
    assert (active.active, active.running, active.due) == (True, False, "")
    assert (active.alerts, active.judged, active.behind, active.dead_letters) == (1, 8, 1, 2)
    assert (former.active, former.alerts, former.judged, former.behind, former.dead_letters) == (False, 2, 8, 1, 2)
    assert (active.parameters["ratio"], former.parameters["ratio"]) == (100, 3)
    (due,) = (one.due for one in versions.read(stack_of(line)) if one.active)
    assert due == "parameters changed; twinpath up begins the other version"
    capsys.readouterr()
    versions.show(stack_of(line), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        f"agent spending {STRICTER.version} active, but its agent does not run: 1 alerts, 8 rows"
    )
    assert lines[3].startswith(f"agent spending {SPENDING.version} superseded: 2 alerts, 8 rows")
    assert lines[-1] == "velocity: nothing was judged yet"

    for all_versions, wanted in ((False, [(STRICTER, 14)]), (True, [(STRICTER, 14), (SPENDING, 5), (SPENDING, 14)])):
        watch_alerts.show(strict, follow=False, user=None, all_versions=all_versions, as_json=True)
        shown = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
        assert sorted((one["rule_version"], one["tx_id"]) for one in shown) == sorted((r.version, n) for r, n in wanted)
    watch_alerts.show(strict, follow=False, user=7, all_versions=True, as_json=False)
    assert f"agent spending {SPENDING.version} RAISED user 7 tx 5" in capsys.readouterr().out

    bring_up(strict)
    line.wait_until_judged(STRICTER)
    (hop,) = [one for one in checks.walk(stack_of(line)) if one.name == "group spending"]
    assert f"version {STRICTER.version}, 0 records past its checkpoint; parameters changed" in hop.evidence
