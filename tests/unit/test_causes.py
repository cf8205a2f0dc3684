"""Every allowed cause of a difference is found by folding again, and what only looks like one stays unexplained.

Alerts of the batch path are folded here from a list written by hand: what the job would have read, in its order.
"""

from collections.abc import Sequence

import pytest

from lab.measure.batch_input import BatchInput, BatchRun, Mode
from lab.measure.causes import Explained, explain
from lab.measure.reference import ordered
from lab.operations import LoggedRow, Operation
from tests.unit.building import NOON_US, cents, snapshot_row
from twinpath.detection.model import Alert, Change, Op, Position, Transaction
from twinpath.detection.replay import replay
from twinpath.detection.rules import RULES
from twinpath.errors import ConfigurationError

RULE = RULES["spending"]
USER, OTHER = 7, 8
NINE = "RAISED 900 (900.00 is 90.0 times this user's usual 10.00 (3 payments))"
ALL = BatchRun.of(1, "1000:1000:")


def row(tx_id: int, amount: str, user: int = USER) -> LoggedRow:
    return LoggedRow(tx_id, user, cents(amount), NOON_US + tx_id)


class World:
    """An operation log: transaction n has its COMMIT record at 10 n and the stamp 1,000 n unless told otherwise."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.commits: dict[int, int] = {}
        self.stamps: dict[int, int] = {}
        self.rows: dict[int, LoggedRow] = {}

    def commit(self, xid: int, *rows: LoggedRow | int, lsn: int | None = None, stamp: int | None = None) -> None:
        """Rows that are new are inserted, known ones updated; a number deletes the row with this id."""
        self.commits[xid] = 10 * xid if lsn is None else lsn
        self.stamps[xid] = 1_000 * xid if stamp is None else stamp
        for sequence, one in enumerate(rows):
            tx_id = one if isinstance(one, int) else one.tx_id
            before = self.rows.pop(tx_id, None)
            after = None if isinstance(one, int) else one
            if after is not None:
                self.rows[tx_id] = after
            op = "insert" if before is None else "delete" if after is None else "update"
            self.operations.append(Operation(0, 0, xid, sequence, op, "committed", tx_id, before, after))

    def reference(self) -> list[Alert]:
        return replay(RULE, ordered(self.operations, self.commits, {})).alerts

    def explained(
        self,
        path: Sequence[Alert],
        judged: Sequence[int],
        runs: Sequence[BatchRun] = (ALL,),
        mode: Mode = "safe",
        reference: Sequence[Alert] | None = None,
        **more: object,
    ) -> list[Explained]:
        return explain(
            RULE,
            path,
            self.reference() if reference is None else reference,
            self.operations,
            self.commits,
            self.stamps,
            set(judged),
            runs=runs,
            mode=mode,
            **more,  # type: ignore[arg-type]
        )


def read(*events: tuple[Op, int, str] | tuple[Op, int, str, int]) -> list[Alert]:
    """The alerts of a job that folded these (op, id, amount[, user])."""
    changes = []
    for place, (op, tx_id, amount, *user) in enumerate(events, 1):
        one = row(tx_id, amount, *user)
        after = Transaction(one.tx_id, one.user_id, one.amount_cents, one.created_us)
        changes.append(Change(op, one.user_id, tx_id, Position(1, place, place), None, after))
    return replay(RULE, changes).alerts


def usual(world: World) -> None:
    """Three payments of 10.00, in the transactions 1 to 3, and one of 900.00 in the fourth."""
    for number in (1, 2, 3):
        world.commit(number, row(number, "10.00"))
    world.commit(4, row(4, "900.00"))


USUAL: list[tuple[Op, int, str]] = [("c", 1, "10.00"), ("c", 2, "10.00"), ("c", 3, "10.00"), ("c", 4, "900.00")]


def causes(found: Sequence[Explained]) -> list[tuple[int, str, str | None]]:
    return [(one.tx_id, one.side, one.cause) for one in found]


def test_equal_alerts_need_no_cause() -> None:
    world = World()
    usual(world)
    assert world.explained(read(*USUAL), [1, 2, 3, 4]) == []


def test_a_row_that_was_updated_or_deleted_is_cause_a_and_a_later_one_of_its_user_cause_b() -> None:
    world = World()
    usual(world)
    world.commit(5, row(1, "1000.00"))
    path = read(USUAL[1], USUAL[2], USUAL[3], ("c", 1, "1000.00"))
    found = world.explained(path, [1, 2, 3, 4])
    assert causes(found) == [(4, "missing", "b"), (1, "extra", "a")]
    assert found[0].evidence == (
        "1 of the same user were updated or deleted; folding what each run read gives no alert, with this put right "
        f"{NINE}"
    )
    assert found[1].evidence.startswith("1 was updated by transaction 5; folding what each run read gives RAISED 32 (")


def test_a_row_deleted_behind_the_run_that_judged_it_is_cause_a() -> None:
    world = World()
    usual(world)
    world.commit(5, 4)
    first = BatchRun.of(1, "5:5:")
    found = world.explained(read(*USUAL), [1, 2, 3, 4], [first, BatchRun.of(2, "6:6:")])
    assert causes(found) == [(4, "missing", "a"), (4, "extra", "a")]
    assert "4 was deleted by transaction 5" in found[0].evidence


def test_a_row_that_came_from_another_user_and_left_again_is_followed() -> None:
    world = World()
    usual(world)
    world.commit(5, row(1, "10.00", OTHER))
    path = read(USUAL[1], USUAL[2], USUAL[3], ("c", 1, "10.00", OTHER))
    assert causes(world.explained(path, [1, 2, 3, 4])) == [(4, "missing", "b")]


def test_corrections_in_the_rows_own_transaction_are_read_in_one_piece() -> None:
    world = World()
    for number in (1, 2, 3):
        world.commit(number, row(number, "10.00"))
    world.commit(4, row(4, "900.00"), row(1, "800.00"), row(5, "9000.00"))
    path = read(USUAL[1], USUAL[2], ("c", 1, "800.00"), ("c", 4, "900.00"), ("c", 5, "9000.00"))
    found = world.explained(path, [1, 2, 3, 4, 5])
    assert causes(found) == [(4, "missing", "b"), (4, "extra", "b")]


def test_an_update_that_was_rolled_back_explains_nothing() -> None:
    world = World()
    usual(world)
    undone = Operation(0, 0, 5, 0, "update", "rolled_back", 4, row(4, "900.00"), row(4, "5.00"))
    world.operations.append(undone)
    assert causes(world.explained(read(*USUAL[:3]), [1, 2, 3, 4])) == [(4, "missing", None)]


def test_a_later_row_that_was_updated_explains_nothing() -> None:
    world = World()
    usual(world)
    world.commit(5, row(5, "10.00"))
    world.commit(6, row(5, "20.00"))
    found = world.explained(read(*USUAL[:3], ("c", 5, "20.00")), [1, 2, 3, 4, 5])
    assert causes(found) == [(4, "missing", None)]
    assert found[0].evidence == f"folding what each run read gives {NINE} for 4, the path has no alert"


def test_an_updated_row_of_another_user_explains_nothing() -> None:
    world = World()
    world.commit(100, row(100, "10.00", OTHER))
    world.commit(101, row(100, "20.00", OTHER))
    usual(world)
    assert causes(world.explained(read(*USUAL[:3]), [1, 2, 3, 4, 100])) == [(4, "missing", None)]


@pytest.mark.parametrize("stamp", [2_999, 3_000])
def test_stamps_that_are_equal_or_against_the_commit_records_are_cause_c(stamp: int) -> None:
    world = World()
    world.commit(1, row(1, "10.00"))
    world.commit(2, row(2, "10.00"))
    world.commit(4, row(4, "900.00"), lsn=30, stamp=3_000)
    world.commit(3, row(3, "10.00"), lsn=40, stamp=stamp)
    found = world.explained(read(*USUAL), [1, 2, 3, 4])
    assert causes(found) == [(4, "extra", "c")]
    assert found[0].evidence == (
        "commit stamps equal or against the COMMIT records: 3 before 4; folding what each run read gives "
        f"{NINE}, with this put right no alert"
    )


def test_a_commit_that_became_visible_late_without_an_inverted_stamp_explains_nothing() -> None:
    world = World()
    usual(world)
    runs = [BatchRun.of(1, "3:5:3"), BatchRun.of(2, "5:5:")]
    found = world.explained(read(USUAL[0], USUAL[1], USUAL[3], USUAL[2]), [1, 2, 3, 4], runs)
    assert causes(found) == [(4, "missing", None)]
    assert found[0].evidence == "nothing allowed happened to 4 or to an earlier transaction of its user"


def test_what_happened_beside_and_does_not_lead_to_the_reference_explains_nothing() -> None:
    world = World()
    usual(world)
    world.commit(5, row(5, "10.00"))
    world.commit(6, row(5, "20.00"))
    runs = [BatchRun.of(1, "3:5:3"), BatchRun.of(2, "9:9:")]
    path = read(USUAL[0], USUAL[1], USUAL[3], USUAL[2], ("c", 5, "20.00"))
    (found,) = world.explained(path, [1, 2, 3, 4, 5], runs)
    assert found.evidence.startswith("nothing allowed happened"), "what came later does not count"
    world.commit(7, row(1, "10.00"))
    (found,) = world.explained([*path, *read(("u", 1, "10.00"))], [1, 2, 3, 4, 5], runs)
    assert (found.tx_id, found.cause) == (4, None)
    assert found.evidence == (
        f"putting right what happened (1 of the same user were updated or deleted) does not give {NINE}"
    )


def test_inverted_stamps_behind_the_row_explain_nothing() -> None:
    world = World()
    usual(world)
    world.commit(5, row(5, "10.00"), stamp=7_000)
    world.commit(6, row(6, "10.00"), stamp=6_000)
    runs = [BatchRun.of(1, "3:5:3"), BatchRun.of(2, "7:7:")]
    path = read(USUAL[0], USUAL[1], USUAL[3], USUAL[2], ("c", 6, "10.00"), ("c", 5, "10.00"))
    assert causes(world.explained(path, [1, 2, 3, 4, 5, 6], runs)) == [(4, "missing", None)]


def late(world: World) -> list[BatchRun]:
    """Row 3 commits behind the first run, which reads up to row 5; then comes an alert."""
    world.commit(1, row(1, "10.00"))
    world.commit(2, row(2, "10.00"))
    world.commit(4, row(4, "10.00"))
    world.commit(5, row(5, "10.00"))
    world.commit(3, row(3, "40.00"), lsn=55, stamp=5_500)
    world.commit(6, row(6, "900.00"))
    return [BatchRun.of(1, "3:6:3"), BatchRun.of(2, "7:7:")]


@pytest.mark.parametrize("mode", ["naive-id", "naive-time"])
def test_a_row_that_a_watermark_passed_is_missed_and_so_is_what_it_would_have_changed(mode: Mode) -> None:
    world = World()
    runs = late(world)
    world.commit(7, row(7, "990.00"))
    world.commit(8, row(8, "7.00"))
    ten: list[tuple[Op, int, str]] = [("c", tx_id, "10.00") for tx_id in (1, 2, 4, 5)]
    runs.append(BatchRun.of(3, "9:9:"))
    path = read(*ten, ("c", 6, "900.00"), ("c", 7, "990.00"), ("c", 8, "7.00"))
    judged = [1, 2, 4, 5, 6, 7, 8]
    found = world.explained(path, judged, runs, mode)
    assert causes(found) == [
        (6, "missing", "missed"),
        (7, "missing", "missed"),
        (6, "extra", "missed"),
        (7, "extra", "missed"),
    ]
    assert found[0].evidence.startswith("3 of the same user were never read; folding what each run read gives RAISED")
    given = BatchInput(world.operations, world.commits, {}, runs, mode)
    assert given.unread(judged) == [3]
    assert (given.unread([*judged, 3]), given.unseen()) == ([], [])
    assert BatchInput(world.operations, world.commits, {}, runs[:2], mode).unseen() == [7, 8]


def test_a_missed_row_with_an_alert_is_missed_itself() -> None:
    world = World()
    for number in (1, 2, 3):
        world.commit(number, row(number, "10.00"))
    world.commit(5, row(5, "1.00", OTHER))
    world.commit(4, row(4, "900.00"), lsn=60, stamp=6_000)
    runs = [BatchRun.of(1, "4:6:4"), BatchRun.of(2, "7:7:")]
    found = world.explained(read(*USUAL[:3]), [1, 2, 3, 5], runs, "naive-id")
    assert causes(found) == [(4, "missing", "missed")]
    assert found[0].evidence == "4 was committed before a run that could see it, and none read it"


def test_a_row_that_shares_its_time_with_the_watermark_is_missed_by_naive_time() -> None:
    world = World()
    for number in (1, 2, 3):
        world.commit(number, row(number, "10.00"))
    world.commit(4, LoggedRow(4, USER, cents("900.00"), NOON_US + 3))
    runs = [BatchRun.of(1, "4:4:"), BatchRun.of(2, "5:5:")]
    assert causes(world.explained(read(*USUAL[:3]), [1, 2, 3], runs, "naive-time")) == [(4, "missing", "missed")]
    assert causes(world.explained(read(*USUAL[:3]), [1, 2, 3], runs, "naive-id")) == [(4, "missing", None)]


def test_a_row_that_no_run_could_see_is_not_missed_by_a_mode() -> None:
    world = World()
    usual(world)
    found = world.explained(read(*USUAL[:3]), [1, 2, 3], [BatchRun.of(1, "4:4:")], "naive-id")
    assert causes(found) == [(4, "missing", None)]


def test_safe_may_miss_nothing_whatever_is_said_to_have_been_judged() -> None:
    world = World()
    runs = late(world)
    path = read(*[("c", tx_id, "10.00") for tx_id in (1, 2, 4, 5)], ("c", 6, "900.00"))
    found = world.explained(path, [1, 2, 4, 5, 6], runs)
    assert causes(found) == [(6, "missing", None), (6, "extra", None)]
    assert found[0].evidence == "a run was to read 3 and they are not among the judged ids"
    found = world.explained(path, [1, 2, 3, 4, 5, 6], runs)
    assert causes(found) == [(6, "missing", None), (6, "extra", None)]
    assert "the path has RAISED" in found[0].evidence


def test_an_id_that_was_judged_and_that_no_run_could_read_leaves_its_user_unexplained() -> None:
    world = World()
    runs = late(world)
    path = read(*[("c", tx_id, "10.00") for tx_id in (1, 2, 4, 5)], ("c", 6, "900.00"))
    found = world.explained(path, [1, 2, 3, 4, 5, 6], runs, "naive-id")
    assert causes(found) == [(6, "missing", None), (6, "extra", None)]
    assert found[0].evidence == "no run could read 3 and they are among the judged ids"


def test_naive_time_reads_again_what_its_interval_holds() -> None:
    world = World()
    usual(world)
    world.commit(5, row(4, "950.00"))
    runs = [BatchRun.of(1, "5:5:", NOON_US, NOON_US + 5), BatchRun.of(2, "6:6:", NOON_US + 4, NOON_US + 5)]
    path = read(*USUAL, ("u", 4, "950.00"))
    assert world.explained(path, [1, 2, 3, 4], runs, "naive-time") == []
    assert causes(world.explained(read(*USUAL), [1, 2, 3, 4], runs, "naive-time")) == [
        (4, "missing", None),
        (4, "extra", None),
    ]


def test_full_retracts_what_is_gone_and_that_is_cause_a() -> None:
    world = World()
    usual(world)
    world.commit(5, 4)
    gone = "no longer in the table, or no longer unusual"
    (raised,) = read(*USUAL)
    retracted = Alert("spending", RULE.version, USER, 4, Position(1, 9, 9), "d", "RETRACTED", 0, gone, {})
    found = world.explained([raised, retracted], [1, 2, 3], [BatchRun.of(1, "5:5:"), BatchRun.of(2, "6:6:")], "full")
    assert causes(found) == [(4, "missing", "a"), (4, "extra", "a")]
    assert "folding what each run read gives RETRACTED 0" in found[0].evidence


def test_full_folds_corrected_rows_in_another_place_which_is_cause_b() -> None:
    world = World()
    usual(world)
    world.commit(5, row(1, "10.01"))
    (raised,) = read(*USUAL)
    gone = "no longer in the table, or no longer unusual"
    retracted = Alert("spending", RULE.version, USER, 4, Position(1, 9, 9), "d", "RETRACTED", 0, gone, {})
    runs = [BatchRun.of(1, "5:5:"), BatchRun.of(2, "6:6:")]
    found = world.explained([raised, retracted], [1, 2, 3, 4], runs, "full")
    assert causes(found) == [(4, "missing", "b"), (4, "extra", "b")]


def test_a_row_that_reached_the_log_by_a_snapshot_only_is_cause_d() -> None:
    world = World()
    usual(world)
    taught = [snapshot_row(0, number, "10.00", us=NOON_US + number) for number in (1, 2, 3)]
    reference = replay(RULE, [*taught, snapshot_row(0, 4, "900.00", us=NOON_US + 4)]).alerts
    found = world.explained(read(*USUAL), [1, 2, 3, 4], reference=reference, snapshot_only=[1, 2, 3, 4])
    assert causes(found) == [(4, "extra", "d")]
    assert "delivered by a snapshot only" in found[0].evidence


def test_rows_that_the_job_was_taught_and_the_log_was_told_are_cause_d() -> None:
    world = World()
    usual(world)
    found = world.explained([], [1, 2, 3, 4], teach_before_us=4_001)
    assert causes(found) == [(4, "missing", "d")]
    assert world.explained(read(*USUAL), [1, 2, 3, 4], teach_before_us=3_001) == [], "taught rows count as usual ones"


def test_a_verdict_that_the_rows_do_not_give_stays_unexplained_even_for_an_updated_row() -> None:
    world = World()
    usual(world)
    world.commit(5, row(4, "950.00"))
    wrong = [Alert("spending", RULE.version, USER, 4, Position(1, 9, 9), "c", "RAISED", 77, "planted", {})]
    found = world.explained(wrong, [1, 2, 3, 4])
    assert causes(found) == [(4, "missing", None), (4, "extra", None)]
    assert found[0].evidence.startswith("folding what each run read gives RAISED 950 (950.00 is 95.0 times")
    assert found[0].evidence.endswith("for 4, the path has RAISED 77 (planted)")


def test_a_reference_that_is_not_the_fold_of_the_log_is_named() -> None:
    world = World()
    usual(world)
    found = world.explained(read(*USUAL), [1, 2, 3, 4], reference=[])
    assert causes(found) == [(4, "extra", None)]
    assert found[0].evidence == f"the operation log in commit order gives {NINE} for 4, the reference no alert"


def test_an_alert_of_a_row_that_nobody_wrote_stays_unexplained() -> None:
    world = World()
    usual(world)
    path = [*read(*USUAL), Alert("spending", RULE.version, USER, 99, Position(1, 9, 9), "c", "RAISED", 1, "?", {})]
    found = world.explained(path, [1, 2, 3, 4])
    assert causes(found) == [(99, "extra", None)]
    assert found[0].evidence == "the operation log holds no committed transaction 99"


def test_a_snapshot_of_another_shape_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"run 3: found snapshot '5', wanted xmin:xmax:running"):
        BatchRun.of(3, "5")
