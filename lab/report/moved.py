"""`twinpath compare-runs A B`: which figures of two runs moved, and by how much."""

from collections.abc import Iterator
from pathlib import Path

from lab.report.model import Summary
from lab.report.saved import read_summary
from lab.report.words import UNKNOWN
from lab.runs import RUNS
from twinpath.errors import ConfigurationError

Figure = float | int | str | None


def find_run(name: str) -> Path:
    """A folder by its path, its name under runs/, or the id that ends its name."""
    given = Path(name)
    if name and given.is_dir():
        return given
    found = sorted(path for path in RUNS.glob(f"*{name}") if path.is_dir()) if name and "/" not in name else []
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise ConfigurationError(f"{name}: found {len(found)} runs ({names}), wanted one; give the folder's whole name")
    raise ConfigurationError(f"{name}: found no such folder and no run of that name in {RUNS}, wanted one of either")


def latest_run() -> Path:
    """The newest folder under runs/ that holds a summary."""
    found = sorted(path.parent for path in RUNS.glob("*/summary.json"))
    if not found:
        raise ConfigurationError(f"{RUNS}: found no run with a summary, wanted one; make one: twinpath demo")
    return found[-1]


def compare_runs(first: Path, second: Path) -> str:
    """A table of what moved, as text."""
    before, after = (dict(figures(read_summary(folder))) for folder in (first, second))
    names = list(dict.fromkeys([*before, *after]))
    moved = [(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]
    head = [f"A {first.name}", f"B {second.name}", ""]
    if not moved:
        return "\n".join([*head, f"nothing moved: all {len(names)} figures are equal"])
    rows = [
        ("figure", "A", "B", "B - A", "B / A"),
        *((name, _said(a), _said(b), *_change(a, b)) for name, a, b in moved),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join(_padded(cell, width, place) for place, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    note = "One run each: what moved may be chance. Runs with other seeds, rates or machines are not alike."
    return "\n".join(
        [*head, *(line.rstrip() for line in lines), "", f"{len(names) - len(moved)} figures are equal. {note}"]
    )


def figures(summary: Summary) -> Iterator[tuple[str, Figure]]:
    """The figures of a run by name."""
    work = summary.workload
    yield "verdict", summary.verdict
    yield "goals met", sum(bool(goal.ok) for goal in summary.goals)
    yield "goals missed", sum(goal.ok is False for goal in summary.goals)
    yield from (("seed", str(summary.seed)), ("profile", work.profile), ("rate, rows/s", work.rate))
    yield from (("achieved, rows/s", work.achieved_rate), ("rows inserted", work.rows_inserted))
    yield "commit", str(summary.environment.get("commit", UNKNOWN))
    yield "processes killed", len(summary.faults)
    for path, one in summary.paths.items():
        late, calm = one.latency_ms, one.latency_ms_calm
        yield from ((f"{path} p50, ms", late.p50), (f"{path} p90, ms", late.p90), (f"{path} p99, ms", late.p99))
        yield from ((f"{path} max, ms", late.max), (f"{path} p50 calm, ms", calm.p50 if calm else None))
        yield from ((f"{path} rows judged", one.rows_seen), (f"{path} rows missed", one.rows_missed))
        yield from ((f"{path} alerts", one.alerts), (f"{path} missing", one.missing), (f"{path} extra", one.extra))
        yield from ((f"{path} unexplained", one.unexplained), (f"{path} dead letters", one.dead_letters))
        yield f"{path} duplicates suppressed", one.duplicates_suppressed
        yield from ((f"{path} CPU s", one.cpu_s), (f"{path} peak MB", one.peak_rss_mb))
    for path, each in summary.money.paths.items() if summary.money else ():
        yield f"{path} fraud money left", each.left_cents / 100


def _said(value: Figure) -> str:
    if value is None:
        return UNKNOWN
    return value if isinstance(value, str) else f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def _change(before: Figure, after: Figure) -> tuple[str, str]:
    """Difference and ratio, where both are numbers."""
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return UNKNOWN, UNKNOWN
    ratio = f"{after / before:.2f}" if before > 0 and after >= 0 else UNKNOWN
    return f"{after - before:+,.1f}" if isinstance(before, float) else f"{after - before:+,}", ratio


def _padded(cell: str, width: int, place: int) -> str:
    return cell.rjust(width) if place else cell.ljust(width)
