"""Results of experiments as they leave them, with made-up figures, for the tests of the report."""

from pathlib import Path

from lab.bench.cpu import Usage
from lab.bench.result import Figure, Result, flat
from lab.crossover import SIDES, Capture, Load, Point, Polling, Side, fit
from lab.experiments import bill, consumers, staleness, temperature
from lab.experiments.crossover_result import CrossoverResult, Model, Range
from lab.experiments.span import Load as WrittenLoad
from lab.experiments.span import put_over

CALM = Usage(wall_s=10.0)
ROUNDS = 5
WRITING_US = 200.0
READING_US = {bill.AGENTS: 50.0, "+ spark_batch": 700.0, "+ spark_batch_naive_id": 20.0, "+ spark_batch_full": 1400.0}
COSTS: dict[Side, Capture | Polling] = {
    "cdc": Capture(idle=0.001, per_row=70e-6, per_wakeup=0),
    "safe": Polling(per_poll=0.02, per_row_scanned=0.15e-6, per_row_returned=3e-6),
    "naive_id": Polling(per_poll=0.015, per_row_scanned=0.0, per_row_returned=2e-6),
}


def phase(cpu_us: float, *, statements: float = 1_000, sent: float = 1_000, **more: Figure) -> dict[str, Figure]:
    """A phase in which 3,000 rows were written."""
    return {
        "rows_written": 3_000, "failed_commits": 0, "postgres_cpu_s": cpu_us * 3e-3, "statements": statements * 3,
        "rows_returned": sent * 3, "rows_scanned": 900, "blocks_read": 0, "blocks_hit": 9_000, "wal_bytes": 600_000,
        "connections": 4, "postgres_cpu_us_per_row": cpu_us, "statements_per_1000_rows": statements,
        "rows_returned_per_1000_rows": sent, "blocks_hit_per_1000_rows": 3_000,
    } | more  # fmt: skip


def bill_result(
    rounds: int = ROUNDS, rate: int = 1_000, reading_us: dict[str, float] | None = None, statements: float = 1_000.3
) -> Result:
    """The writers cost 200 us a row in the first round and 1 more in each further one; `reading_us` is over that."""
    load = WrittenLoad(rate, 3.0, 1_000_000, 7)
    options = {"rate": rate, "seconds": 3.0, "rows": 1_000_000, "interval_s": 1.0, "rounds": rounds}
    found = Result("bill", "abc123", f"twinpath experiment bill --rounds {rounds}", 7, options, kind="experiment")
    for number in range(1, rounds + 1):
        base = WRITING_US + number - 1
        idle: dict[str, Figure] = {"rows_written": 0, "postgres_cpu_s": 0.0, "statements": 0, "connections": 0}
        found.add(bill.PART, bill.IDLE, number, idle, CALM)
        found.add(bill.PART, bill.WRITERS, number, phase(base), CALM)
        for name, over in (READING_US if reading_us is None else reading_us).items():
            polled = name != bill.AGENTS
            more: dict[str, Figure] = {"polls": 3, "poll_seconds_p50": 0.9, "missed_rows": 0} if polled else {}
            counts = (1_030.0, 2_000.0) if polled else (statements, 1_000.2)
            found.add(bill.PART, name, number, phase(base + over, statements=counts[0], sent=counts[1], **more), CALM)
    put_over(found, bill.PART, bill.WRITERS)
    bill.judge(found, bill.Plan(load, 1.0, rounds))
    return found


def consumers_result(rounds: int = ROUNDS, agent_us: float = 0.0, job_us: float = 130.0) -> Result:
    """What one more of each adds: to an agent nothing by default."""
    options = {"rate": 300, "seconds": 8.0, "rows": 100_000, "interval_s": 4.0, "rounds": rounds, "consumers": 4}
    found = Result("consumers", "abc123", "twinpath experiment consumers", 7, options, kind="experiment")
    for number in range(1, rounds + 1):
        base = WRITING_US + number
        nobody = phase(base, slots=0, walsenders=0, sessions_per_1000_rows=1, consumers=0)
        found.add(consumers.PART, consumers.WRITERS, number, nobody, CALM)
        for count in range(1, 5):
            ours = phase(base + 50 + agent_us * count, slots=1, walsenders=1, sessions_per_1000_rows=1, consumers=count)
            theirs = phase(
                base + job_us * count, statements=1_000 + 80.0 * count, slots=0, walsenders=0,
                sessions_per_1000_rows=20 * count, consumers=count,
            )  # fmt: skip
            found.add(consumers.PART, consumers.variant("agents", count), number, ours, CALM)
            found.add(consumers.PART, consumers.variant("polling", count), number, theirs, CALM)
    put_over(found, consumers.PART, consumers.WRITERS)
    consumers.judge(found, consumers.Plan(WrittenLoad(300, 8.0, 100_000, 7), 4, 4.0, rounds))
    return found


def crossover_result() -> CrossoverResult:
    """Points that the costs above give exactly, and one by the clock that cost a tenth more."""
    options = {"rates": [100, 500, 2_000], "rows": [10_000, 1_000_000], "intervals_s": [1.0, 10.0], "rounds": 1}
    found = CrossoverResult("crossover", "abc123", "twinpath experiment crossover", 7, options, kind="experiment")
    for side in SIDES:
        for rate in (0, 100, 500, 2_000):
            for rows in (10_000, 100_000, 1_000_000) if side != "cdc" else (0,):
                load = Load(rate, rows, 10.0)
                found.points.append(Point(side, f"{side} {rate} {rows}", load, COSTS[side].cost(load), 1e-6))
    load = Load(2_000, 1_000_000, 1.1)
    for side in SIDES[1:]:
        cost = 1.1 * COSTS[side].cost(load)
        found.points.append(Point(side, f"{side} by the clock", load, cost, 1e-6, scheduled=True))
    found.add("cold", "safe", 1, {"whole_s": 18.0, "start_s": 5.0}, CALM)
    run_s = Polling(0.4, 0.5e-6, 1e-6)
    found.model = Model(fit(found.points), run_s, 18.0, Range(0, 2_000), Range(10_000, 1_000_000), Range(100, 20_000))
    return found


def temperature_result(sql_s: float = 1.7) -> Result:
    """A day of averages for so many seconds of CPU, beside three programs that wait."""
    options = {"rounds": 1, "seconds": 15, "runs": 144, "wal_mb": 64}
    found = Result("temperature", "abc123", "twinpath experiment temperature", 7, options, kind="experiment")
    sql: dict[str, Figure] = {"cpu_s_per_day": sql_s, "statements_per_day": 576, "rows_scanned_per_run": 4_220}
    found.add("sql", "every 10 minutes", 1, sql, CALM)
    for name, kept in zip(temperature.KNOBS, (1.5, 1.5, 65.0), strict=True):
        cdc: dict[str, Figure] = {
            "processes": 3, "rss_mb": 729, "cpu_s_per_day": 9_000.0, "postgres_cpu_s_per_day": 12.0,
            "wal_written_mb": 65.5, "retained_mb": kept, "retained_after_rows_mb": 0.1,
        }  # fmt: skip
        found.add("cdc", name, 1, cdc, CALM)
    return found


def staleness_result(rounds: int = ROUNDS, agent_ms: float = 10.0) -> Result:
    """Agents around `agent_ms`, a stream, a kept session every second and Airflow every minute, which wait half."""
    sides: dict[str, tuple[float | None, float]] = {
        staleness.STREAM: (None, 0.9), staleness.loop_of(1): (1.0, 0.6), staleness.AIRFLOW: (60.0, 12.0),
    }  # fmt: skip
    options = {"rate": 300, "seconds": 20.0, "intervals_s": [1.0], "rounds": rounds}
    found = Result("staleness", "abc123", "twinpath experiment staleness", 7, options, kind="experiment")
    for name, (interval_s, run_s) in sides.items():
        batch_ms = 1_000 * ((interval_s or 0.0) / 2 + run_s)
        for number in range(1, rounds + 1):
            for variant, p50 in ((staleness.beside(name), agent_ms), (name, batch_ms)):
                late: dict[str, Figure] = {"n": 1_500, "p50": p50, "p90": 1.6 * p50, "p99": 1.9 * p50, "max": 2 * p50}
                more = {"run_s_p50": run_s, "computed_ms_p50": batch_ms} if variant == name and interval_s else {}
                found.add(staleness.PART, variant, number, flat("latency_ms", late) | more, CALM)
        found.variants[staleness.beside(name)] = {"quantiles_ms": [agent_ms * place / 100 for place in range(1, 202)]}
        found.variants[name] = {
            "quantiles_ms": [batch_ms * place / 100 for place in range(1, 202)], "interval_s": interval_s,
            "beside": staleness.beside(name), "runs_s": [run_s, run_s],
        }  # fmt: skip
    staleness.judge(found)
    return found


def write_experiments(folder: Path, *results: Result) -> Path:
    """These into the folder of a run; all when none is given."""
    every = (staleness_result, bill_result, consumers_result, crossover_result, temperature_result)
    for one in results or [make() for make in every]:
        one.finish(folder, private=True, warm=True)
    return folder
