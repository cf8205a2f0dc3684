"""Sentences on what PostgreSQL pays, held against the experiments of a run folder: each needs one of them.

A word such as heavy has no figure; what is taken for it stands beside each, and the measured figure stands in the text.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from lab.bench.result import Result, shown
from lab.bench.statistics import Estimate, estimate, ratios
from lab.experiments import bill, consumers, temperature
from lab.report.model import Claim
from lab.report.saved_experiments import Experiments, over_rounds, rounds_said, spread
from lab.report.words import listed, whole

Verdict = Literal["holds", "holds only if", "not shown here"]
HEAVY, UNAFFECTED, WITHOUT_QUERIES = SENTENCES_OF_BILL = (
    "heavy load on PostgreSQL",
    "OLTP unaffected",
    "changes captured without querying tables",
)
NEW_AGENTS, MANY_CONSUMERS = SENTENCES_OF_CONSUMERS = (
    "new agents without touching PostgreSQL",
    "polling scales badly with many consumers",
)
NEGLIGIBLE = "polling cost negligible for the temperature case"
SENTENCES = (*SENTENCES_OF_BILL, *SENTENCES_OF_CONSUMERS, NEGLIGIBLE)
AS_MUCH_AS_WRITING = 1.0  # heavy: reading costs PostgreSQL as much as writing the same rows did, or more
BEARABLE = 0.3  # of what writing costs it: the most that a pipeline may add (P7)
STATEMENTS, SENT = "statements_per_1000_rows", "rows_returned_per_1000_rows"
CPU = "postgres_cpu_us_per_row"
A_STATEMENT = 1.0  # for 1,000 rows: now and then a connector asks whether its connection is alive
BADLY = 0.5  # of what the first consumer costs: each further one costs that, or more
NEGLIGIBLE_SHARE = 0.001  # of one core
DAY_S = 86_400


def claims(found: Experiments) -> list[Claim]:
    """Those that the experiments of the folder can judge."""
    judged: list[Claim] = []
    for judge, result in (
        (_heavy, found.bill),
        (_unaffected, found.bill),
        (_without_queries, found.bill),
        (_new_agents, found.consumers),
        (_many_consumers, found.consumers),
        (_negligible, found.temperature),
    ):
        if result is not None:
            said = f" ({rounds_said(result)})"
            judged += [msgspec.structs.replace(one, measured=one.measured + said) for one in judge(result)]
    return judged


def shares_of_writing(result: Result, variant: str) -> Estimate | None:
    """PostgreSQL's CPU over that of the writers alone, as a share of it, paired by round."""
    over, base = result.values(bill.PART, variant, bill.OVER), result.values(bill.PART, bill.WRITERS, CPU)
    if len(over) != len(base) or not base or 0.0 in base:
        return None
    return estimate(ratios(over, base), result.seed)


def _under(result: Result) -> str:
    said = result.options
    return f"{said['rate']:,} rows/s, a look every {said['interval_s']:g} s, {said['rows']:,} rows in the table"


def _heavy(result: Result) -> Iterator[Claim]:
    found = {name: shares_of_writing(result, name) for name in bill.MODES.values()}
    shares = {name.removeprefix("+ "): one for name, one in found.items() if one is not None}
    if not shares:
        return
    heavy = [name for name, one in shares.items() if one.low >= AS_MUCH_AS_WRITING]
    others = [name for name in shares if name not in heavy]
    said = ", ".join(f"{name} {spread(one, 'x')}" for name, one in shares.items())
    measured = (
        f"by polls, PostgreSQL's CPU for reading against that for writing the same rows: {said} ({_under(result)})"
    )
    verdict: Verdict = "holds" if heavy and not others else "holds only if" if heavy else "not shown here"
    if verdict == "holds only if":
        measured += f"; as much as writing or more: only by {listed(heavy)}, not by {listed(others)}"
    yield Claim(HEAVY, measured, verdict, "bill")


def _unaffected(result: Result) -> Iterator[Claim]:
    share = shares_of_writing(result, bill.AGENTS)
    failed = result.values(bill.PART, bill.AGENTS, "failed_commits")
    if share is None:
        return
    measured = (
        f"with the agents at work PostgreSQL takes {spread(share, 'x')} of CPU more for each row than for the writers "
        f"alone, {whole(sum(failed))} commits failed; how long commits took is not measured by this experiment"
    )
    verdict: Verdict = "not shown here"
    if share.high <= BEARABLE and not sum(failed):
        verdict = "holds only if"
        measured += "; only if the server has that CPU to spare"
    yield Claim(UNAFFECTED, measured, verdict, "bill")


def _without_queries(result: Result) -> Iterator[Claim]:
    statements, sent = (_more(result, bill.AGENTS, figure) for figure in (STATEMENTS, SENT))
    if statements is None or sent is None:
        return
    measured = (
        f"for 1,000 rows the agents' pipeline adds {spread(statements)} statements and {spread(sent)} rows sent to "
        "those of the writers"
    )
    polled = [_more(result, bill.MODES["safe"], figure) for figure in (STATEMENTS, SENT)]
    if None not in polled:
        said = [shown(one.median) for one in polled if one is not None]
        measured += f"; spark_batch adds {said[0]} and {said[1]}"
    verdict: Verdict = "not shown here"
    if max(statements.high, sent.high) <= A_STATEMENT:
        verdict = "holds only if"
        measured += "; only after the first snapshot, which reads the table once and was left out here"
    yield Claim(WITHOUT_QUERIES, measured, verdict, "bill")


def _more(result: Result, variant: str, figure: str) -> Estimate | None:
    """What a variant adds to a figure of the writers alone, paired by round."""
    ours, base = result.values(bill.PART, variant, figure), result.values(bill.PART, bill.WRITERS, figure)
    if not ours or len(ours) != len(base):
        return None
    return estimate([one - other for one, other in zip(ours, base, strict=True)], result.seed)


def slope_of(result: Result, side: str, figure: str) -> Estimate | None:
    """What one more consumer of a side adds to a figure."""
    values = consumers.slopes(result, side, figure)
    return estimate(values, result.seed) if values else None


def _new_agents(result: Result) -> Iterator[Claim]:
    found = {figure: slope_of(result, "agents", figure) for figure in consumers.ALLOWED}
    cpu, base = consumers.slopes(result, "agents", CPU), result.values(consumers.PART, consumers.WRITERS, CPU)
    if not all(found.values()) or not cpu or len(cpu) != len(base) or 0.0 in base:
        return
    share = estimate(ratios(cpu, base), result.seed)
    counted = ", ".join(f"{figure.split('_')[0]} {spread(one)}" for figure, one in found.items() if one is not None)
    measured = (
        f"an agent more adds to the source: {counted} (statements for 1,000 rows); CPU {spread(share, 'x')} of what "
        "the writers alone take; alert stores on a second server"
    )
    still = all(one is not None and one.high <= consumers.ALLOWED[figure] for figure, one in found.items())
    verdict: Verdict = "not shown here"
    if still and share.high <= consumers.CPU_SHARE:
        verdict = "holds"
    elif still:
        verdict = "holds only if"
        measured += f"; only if CPU is left aside, whose interval does not end below {consumers.CPU_SHARE:g} x"
    yield Claim(NEW_AGENTS, measured, verdict, "consumers")


def _many_consumers(result: Result) -> Iterator[Claim]:
    cpu, statements = (slope_of(result, "polling", figure) for figure in (CPU, STATEMENTS))
    first = over_rounds(result, consumers.PART, consumers.variant("polling", 1), bill.OVER)
    if cpu is None or statements is None or first is None:
        return
    measured = (
        f"a polling job more adds {spread(cpu, 'µs')} of PostgreSQL's CPU a row and {spread(statements)} statements "
        f"for 1,000 rows; the first one takes {spread(first, 'µs')} ({_under(result)})"
    )
    agents = slope_of(result, "agents", CPU)
    measured += f"; an agent more adds {spread(agents, 'µs')}" if agents else ""
    verdict: Verdict = "not shown here"
    if cpu.low > 0 and cpu.low >= BADLY * first.median:
        verdict = "holds"
    elif cpu.low > 0:
        verdict = "holds only if"
        measured += "; each costs more, but less than half of the first: only if there are many"
    yield Claim(MANY_CONSUMERS, measured, verdict, "consumers")


def _negligible(result: Result) -> Iterator[Claim]:
    day, statements = (
        over_rounds(result, "sql", "every 10 minutes", figure) for figure in ("cpu_s_per_day", "statements_per_day")
    )
    if day is None or statements is None:
        return
    measured = f"PostgreSQL: {spread(day, 's')} of CPU and {whole(statements.median)} statements a day"
    ours = next(iter(temperature.KNOBS))
    more, memory = (over_rounds(result, "cdc", ours, figure) for figure in ("cpu_s_per_day", "rss_mb"))
    if more is not None and memory is not None:
        measured += f"; CDC for the same would take {shown(more.median)} s a day and {whole(memory.median)} MB"
    verdict: Verdict = "holds" if day.high <= NEGLIGIBLE_SHARE * DAY_S else "not shown here"
    yield Claim(NEGLIGIBLE, measured, verdict, "one-row")
