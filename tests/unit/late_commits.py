"""A batch job whose runs lie amid transactions that commit late, held against the log as the report of a run does."""

from random import Random

from lab.measure import batch as batch_side
from lab.measure import reference
from lab.measure.batch import BatchPath, BatchRule
from lab.measure.batch_evidence import Kept, Written
from lab.measure.batch_input import BatchInput, BatchRun, Mode
from lab.operations import LoggedRow, Operation
from lab.report.goals import correctness_goals
from tests.unit.building import NOON_US, SECOND_US
from tests.unit.test_report import with_batch
from twinpath.detection.model import Change
from twinpath.detection.replay import replay
from twinpath.detection.rules import RULES, Rule

PAYMENTS, RUNS, LONGEST_HOLD = 60, 5, 20
FIRST_XID = 100


def missed_goals(seed: int, reads: Mode) -> set[str]:
    """Goals that the verdict names as missed when the job, taken for the lossless one, reads as `reads` does."""
    chance = Random(seed)
    ends = {number: number + chance.choice((0, 0, 0, chance.randint(1, LONGEST_HOLD))) for number in range(PAYMENTS)}
    operations = [_operation(chance, number) for number in ends]
    in_order = sorted(ends, key=lambda number: (ends[number], number))
    commits = {FIRST_XID + number: 1_000 * place for place, number in enumerate(in_order, 1)}
    moments = sorted(chance.sample(range(1, PAYMENTS), RUNS - 1)) + [PAYMENTS + LONGEST_HOLD + 1]
    runs = [_run(number, moment, ends) for number, moment in enumerate(moments, 1)]
    written = Written(operations, commits, dict(commits), {})
    run = with_batch()
    rules = [_judged(rule, written, runs, reads) for rule in RULES.values()]
    run.compared.batch = [BatchPath("safe", "spark_batch", rules, [])]
    return {goal["id"] for goal in correctness_goals(run) if not goal["ok"]}


def _operation(chance: Random, number: int) -> Operation:
    """A payment whose transaction began as the `number`-th, with the next id."""
    row = LoggedRow(number + 1, chance.randint(1, 3), chance.randint(1, 90_000), NOON_US + number * SECOND_US)
    return Operation(0, 0, FIRST_XID + number, 0, "insert", "committed", row.tx_id, None, row)


def _run(number: int, moment: int, ends: dict[int, int]) -> BatchRun:
    """The run whose snapshot was taken when the `moment`-th transaction had not begun yet."""
    running = frozenset(FIRST_XID + one for one, end in ends.items() if one < moment <= end)
    xmax = FIRST_XID + min(moment, PAYMENTS)
    return BatchRun(number, min(running, default=xmax), xmax, running)


def _judged(rule: Rule, written: Written, runs: list[BatchRun], reads: Mode) -> BatchRule:
    given = BatchInput(written.operations, written.commits, {}, runs, reads)
    read_by = {row.tx_id: found[0].run for row in given.rows.values() if (found := given.readings(row))}
    in_the_log = reference.ordered(written.operations, written.commits, {})
    changes: list[Change] = sorted(
        (one for one in in_the_log if one.tx_id in read_by), key=lambda one: read_by[one.tx_id]
    )
    done = replay(rule, changes)
    kept = Kept(done.alerts, set(read_by), runs, 0, dict(done.counts))
    return batch_side.held(rule, "safe", kept, replay(rule, in_the_log), written)
