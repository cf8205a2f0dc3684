"""F08: Connect is killed while it reads the table for the first time."""

from contextlib import closing

from lab.drills.faults import Struck, at_work, back
from lab.drills.matrix.scene import Scene
from lab.drills.recovery import Freshness
from lab.measure import fence, reference
from lab.stack import connect
from twinpath.detection.envelope import EnvelopeDecoder

SLOWLY = {"max.batch.size": "32", "max.queue.size": "64", "snapshot.fetch.size": "32", "poll.interval.ms": "50"}
LEAST_SENT = 200  # rows, before the blow
ROWS_AFTERWARDS = 1_500


def connect_killed_in_snapshot(scene: Scene) -> None:
    """The connector is made anew on the kept topic, is slow to read the table, and dies of SIGKILL amid it.

    The writers are fenced until the second snapshot is over: what is committed before that would only be taught.
    """
    scene.blow(lambda: _kill(scene))


def _kill(scene: Scene) -> Struck:
    line, faults = scene.line, scene.faults
    line.wait_until_captured()  # only a short rest is left for the fence
    struck = faults.begun("connect in its snapshot")
    scene.writers.gate.close()
    try:
        lsn = faults.remove_connector()
        with closing(Freshness(line)) as freshness:
            first = freshness.records()
            connect.put_connector(line.settings, connect.connector_config(scene.home, line.settings) | SLOWLY)
            at_work(lambda: freshness.records() >= first + LEAST_SENT, "the snapshot is under way", every_s=0.02)
        killed = faults.end(connect.NAME)
        sent = taught_after(scene, lsn)
        faults.traces.interrupted[lsn] = sent
        faults.traces.snapshot_lsns.append(fence.current_lsn(line.lab()))
        scene.stack.connect.start()
        scene.stack.connect.wait()
        connect.wait_for_tasks(line.settings)
        line.scope.wait_for_slot()
        connect.wait_for_offset(line.settings)
        again = taught_after(scene, faults.traces.snapshot_lsns[-1])
    finally:
        scene.writers.gate.open()
    struck.acted = LEAST_SENT <= len(sent) < len(again)
    struck.evidence = f"{killed}, after {len(sent)} rows of its snapshot; the second one sent {len(again)}"
    scene.pass_rows(ROWS_AFTERWARDS)
    return back(struck)


def taught_after(scene: Scene, lsn: int) -> frozenset[int]:
    """The ids of the rows that snapshots behind an LSN have brought into the topic so far."""
    settings = scene.line.settings
    changes = reference.topic_changes(settings, fence.end_offsets(settings), EnvelopeDecoder(settings.envelope()))
    return frozenset(one.tx_id for one in changes if one.op == "r" and one.position.row_lsn >= lsn)
