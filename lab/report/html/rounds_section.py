"""The rounds of a comparison: whether each was equal, and the medians over them."""

from lab.bench.result import shown
from lab.report.html.blocks import Section, Table
from lab.report.model import Summary
from lab.report.rounds import over_rounds, ratio_to
from lab.report.words import UNKNOWN, duration, whole


def rounds(summary: Summary) -> Section | None:
    """None where the main run was made once."""
    found = summary.rounds
    if not found:
        return None
    paths = list(found[0].p50_ms)
    rows = [
        [
            f"{one.number}, seed {one.seed}",
            "pass" if one.verdict else "FAIL",
            whole(one.rows_inserted),
            whole(one.alerts),
            whole(sum(one.unexplained.values())),
            *(duration(one.p50_ms.get(path)) for path in paths),
        ]
        for one in found
    ]
    columns = ["round", "verdict", "rows", "alerts wanted", "unexplained", *(f"{path} p50" for path in paths)]
    base = paths[0]
    medians = []
    for path in paths:
        cells = [path]
        for figure in ("p50_ms", "p90_ms"):
            one = over_rounds(found, path, figure, summary.seed)
            cells += (
                [UNKNOWN, UNKNOWN]
                if one is None
                else [duration(one.median), f"{duration(one.low)} to {duration(one.high)}"]
            )
        ratio = ratio_to(found, path, base, summary.seed)
        cells.append(UNKNOWN if ratio is None else f"{shown(ratio.median)} ({shown(ratio.low)} to {shown(ratio.high)})")
        medians.append(cells)
    heads = ["path", "p50", "95 % interval", "p90", "95 % interval", f"p50 as a multiple of {base}'s"]
    tables = [
        Table("Medians over the rounds", heads, medians),
        Table(f"The {len(found)} rounds", columns, rows),
    ]
    note = (
        "A round is the whole main run again, with a seed of its own; other charts and tables are of the first one. "
        "Latencies are of payments committed after the warm-up. An interval is that of the median, by a bootstrap of "
        "the rounds; ratios are paired within a round."
    )
    return Section("rounds", f"{len(found)} rounds", tables=tables, notes=[note])
