"""The fault matrix, once: what is broken, which invariants are at stake, and what must come out."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple

from lab.drills.held_work import HeldWork
from lab.drills.matrix import agents, database, disks, links, messages, processes, slot, snapshot, soak
from lab.drills.matrix.scene import Scene
from lab.drills.work import BULKS, RECIPES, Recipe, Work
from lab.drills.writers import WRITERS
from lab.stack.stack import Stack

Want = Literal["delivered twice", "refused"]
"""What a run has to show, or it proves nothing: records that came again, alerts that were stored already."""
HOLDERS, LONGEST_HOLD_US = 4, 8_000_000


class Drill(NamedTuple):
    """One row of the matrix.

    `act` breaks the line while it is written to; `afterwards` is done when everything was compared. With a `stage`
    the drill has a stack of its own, on which the stage stands as long as the drill runs. A drill that is not `judged`
    leaves the line broken: nothing is compared, its checks decide. Without `act`, `proved_by` names what proves it. The
    load is `duration_s` long at least. What is not `in_all` is run only when it is named.
    """

    name: str
    title: str
    invariants: str
    expected: str
    act: Callable[[Scene], None] | None = None
    proved_by: tuple[str, ...] = ()
    seeds: int = 1
    wants: tuple[Want, ...] = ()
    recovery_s: float = 60.0
    judged: bool = True
    server_stays: bool = True
    stage: Callable[[Stack], AbstractContextManager[Any]] | None = None
    afterwards: Callable[[Scene], None] | None = None
    recipes: Sequence[Recipe] = RECIPES
    held: bool = False
    duration_s: float = 30.0
    in_all: bool = True

    def more_work(self, seed: int) -> list[Work]:
        """Writers beside the usual ones: they hold their transactions open."""
        every = WRITERS + HOLDERS
        return [HeldWork(seed, WRITERS + one, every, LONGEST_HOLD_US) for one in range(HOLDERS if self.held else 0)]


AGENT_S = 30.0  # recovery of an agent alone: invariant I9
MATRIX = (
    Drill(
        "F01", "agent killed in mid-load", "I1-I4, I9", "it goes on from its checkpoint, its state is that of a replay",
        processes.agent_killed, seeds=5, recovery_s=AGENT_S,
    ),
    Drill(
        "F02", "agent dies after its alerts, before its offset", "I2, I3", "the same alerts come again and are refused",
        processes.agent_dies_after_alerts, seeds=5, wants=("refused",), recovery_s=AGENT_S,
    ),
    Drill(
        "F03", "agent dies after its offset, or before its alerts", "I1, I3", "no offset is ever past a missing alert",
        processes.agent_dies_around_checkpoint, recovery_s=AGENT_S,
    ),
    Drill(
        "F04", "a member sleeps through its session and wakes", "I2, I3", "its writes are refused or change nothing",
        proved_by=(
            "tests/integration/test_instances.py::"
            "test_a_member_that_slept_through_its_session_wakes_as_a_zombie_and_changes_nothing",
        ),
    ),
    Drill(
        "F05", "a group grows from 1 to 3 members and shrinks", "I1-I4", "the state follows its partition",
        proved_by=(
            "tests/integration/test_instances.py::"
            "test_a_group_that_grows_and_shrinks_under_load_loses_and_doubles_nothing",
        ),
    ),
    Drill(
        "F06", "Connect killed", "I1-I3", "records come twice, alerts do not",
        processes.connect_killed, seeds=5, wants=("delivered twice",),
    ),
    Drill(
        "F07", "Connect killed and stopped amid COPY, multi-row inserts, held transactions", "I1", "no row is missing",
        processes.connect_ends_amid_bulks, seeds=5, wants=("delivered twice",), recipes=BULKS, held=True,
    ),
    Drill(
        "F08", "Connect killed in its snapshot", "I1-I3", "a second snapshot; what was taught twice has no effect",
        snapshot.connect_killed_in_snapshot,
    ),
    Drill("F09", "Connect frozen for 60 s", "I6, I7, I9", "WAL grows, then drains", processes.connect_frozen),
    Drill("F10", "broker killed", "I1-I3, I9", "everybody resumes unaided", processes.broker_killed, seeds=5),
    Drill("F11", "broker frozen for 30 s", "I1-I3, I9", "timeouts, and no loss", processes.broker_frozen),
    Drill(
        "F12", "the broker's disk is full", "I1, I10", "loud; complete when there is space again",
        disks.broker_disk_full, stage=disks.small_broker_disk,
    ),
    Drill(
        "F13", "PostgreSQL killed, each of its processes", "I1-I3, I9", "recovery; the connector resumes unaided",
        database.postgres_killed, seeds=5, server_stays=False,
    ),
    Drill(
        "F14", "PostgreSQL restarted at once and fast; the walsender ended", "I1-I3, I9", "as F13",
        database.postgres_restarted, server_stays=False,
    ),
    Drill(
        "F15", "PostgreSQL's disk is full for 30 s", "I1, I10", "commits are refused; none that was answered is lost",
        disks.postgres_disk_full, stage=disks.small_postgres_disk, server_stays=False,
    ),
    Drill(
        "F16", "slot dropped while Connect is down", "I10", "named within 30 s",
        slot.slot_dropped, judged=False,
    ),
    Drill(
        "F17", "slot lost by max_slot_wal_keep_size", "I7, I10", "pg_wal stays bounded; named within 30 s",
        slot.slot_lost, judged=False, stage=slot.small_cap,
    ),
    Drill(
        "F18", "slot advanced past what was read", "I10", "named within 30 s, not skipped over",
        slot.slot_advanced, judged=False, afterwards=slot.start_without_the_slot,
    ),
    Drill(
        "F19", "captured table idle beside a busy one", "I7", "the heartbeat moves the slot",
        slot.idle_beside_busy,
    ),
    Drill(
        "F20", "each link cut: reset, black hole, half-open, +200 ms, 1 kB/s", "I1-I3, I9", "everybody resumes unaided",
        links.links_cut, seeds=5, stage=links.cuttable,
    ),
    Drill(
        "F21", "Spark driver killed before, in and after its write", "I1-I3", "the same micro-batch again",
        proved_by=(
            "tests/spark/test_stream_submit.py::"
            "test_three_kills_of_the_driver_lose_nothing_and_store_nothing_twice_and_a_cluster_takes_over",
        ),
    ),
    Drill(
        "F22", "Spark checkpoint deleted, cut, old, of another query", "I2, I3, I10", "loud, or a safe replay",
        proved_by=(
            "tests/spark/test_stream_checkpoints.py::test_a_damaged_checkpoint_never_skips_a_record",
            "tests/spark/test_stream_checkpoints.py::test_what_is_changed_between_two_starts_is_refused_or_safe",
        ),
    ),
    Drill(
        "F23", "topic made anew; unread records gone; group offsets deleted", "I1, I10", "a loud gap, or no effect",
        proved_by=(
            "tests/integration/test_change_log.py::test_a_topic_made_anew_under_a_reader_halts_it",
            "tests/integration/test_agent.py::test_records_gone_before_they_were_judged_halt_the_agent",
            "tests/integration/test_agent.py::test_a_group_that_forgot_its_offsets_changes_nothing",
        ),
    ),
    Drill(
        "F24", "group rewound to 0; a second snapshot", "I2, I3", "the alerts are unchanged",
        agents.group_rewound,
    ),
    Drill(
        "F25", "unreadable records among live ones", "I1, I3, I11", "each a dead letter, neighbours unaffected",
        messages.unreadable_records,
    ),
    Drill(
        "F26", "columns added and widened; a used one dropped", "I1, I3, I10", "added: no effect; dropped: loud",
        database.table_altered, afterwards=database.used_column_dropped,
    ),
    Drill(
        "F27", "open, rolled-back and reversed transactions", "I1, I3, I12", "a watermark misses, nothing else",
        proved_by=(
            "tests/e2e/test_drill_batch.py::"
            "test_watermarks_miss_rows_safe_misses_none_and_every_difference_has_its_cause",
            "tests/e2e/test_torture.py::"
            "test_awkward_writers_under_one_fault_of_each_kind_lose_and_invent_nothing",
        ),
    ),
    Drill(
        "F28", "alert store locked for 60 s", "I1, I2, I6, I8", "agents wait with bounded memory",
        database.alert_store_locked, recovery_s=AGENT_S,
    ),
    Drill(
        "F29", "agents' clocks an hour off, stepping", "I3", "alerts depend on the time in the row only",
        agents.clocks_wrong,
    ),
    Drill(
        "F30", "Airflow: scheduler killed, runs cleared, overlapping, missed", "I2, I3, I12", "the same table",
        proved_by=(
            "tests/dags/test_airflow_faults.py::"
            "test_a_scheduler_killed_in_mid_task_and_runs_on_top_of_one_another_leave_the_same_table",
            "tests/dags/test_airflow_faults.py::"
            "test_a_manual_run_on_top_of_a_scheduled_one_and_three_missed_intervals_leave_the_same_table",
        ),
    ),
    Drill(
        "F31", "a second connector on the slot", "I10", "the second is refused, the first goes on",
        slot.two_connectors,
    ),
    Drill(
        "F32", "soak: a fault of any kind each 20 to 40 s, for an hour", "I1-I4, I7-I9", "all hold at every fence",
        soak.soak, server_stays=False, stage=links.cuttable, duration_s=3_600.0, in_all=False,
    ),
)  # fmt: skip


def chosen(names: Sequence[str], seed: int) -> list[tuple[Drill, int]]:
    """Drills that can be run, with their seeds: `all` has as many seeds as the matrix wants, a named one has one."""
    runnable = {one.name: one for one in MATRIX if one.act is not None}
    whole = [one for one in runnable.values() if one.in_all] if "all" in names else []
    named = [runnable[name] for name in names if name != "all"]
    return [(one, seed + more) for one in whole for more in range(one.seeds)] + [
        (one, seed) for one in named if one not in whole
    ]


def shard(runs: Sequence[tuple[Drill, int]], number: int, count: int) -> list[tuple[Drill, int]]:
    """The part `number` (from 1) of `count`: every run is in one part."""
    return [run for place, run in enumerate(runs) if place % count == number - 1]
