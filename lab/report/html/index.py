"""`runs/index.html`: the runs, the newest first."""

from pathlib import Path

from lab.report.html.page import REPORT, page
from lab.report.model import Summary
from lab.report.saved import SUMMARY, read_summary
from lab.report.words import duration
from lab.runs import write_whole
from twinpath.errors import ConfigurationError

INDEX = "index.html"


def write_index(runs: Path) -> Path:
    """List every folder under `runs` that has a summary, and say how many have none; returns the path of the page."""
    rows, unread, without = [], [], 0
    for folder in sorted((path for path in runs.iterdir() if path.is_dir()), reverse=True):
        if not (folder / SUMMARY).exists():
            without += 1
            continue
        try:
            rows.append(_row(folder, read_summary(folder)))
        except ConfigurationError as error:
            unread.append(f"{folder.name}: {error}")
    path = runs / INDEX
    write_whole(path, page("index.html.j2", rows=rows, unread=unread, without=without))
    return path


def _row(folder: Path, summary: Summary) -> dict[str, object]:
    return {
        "folder": folder.name,
        "link": f"{folder.name}/{REPORT if (folder / REPORT).exists() else SUMMARY}",
        "passed": summary.verdict == "pass",
        "began": f"{summary.began:%Y-%m-%d %H:%M}",
        "seed": summary.seed,
        "rate": f"{summary.workload.rate:,.0f}",
        "killed": len(summary.faults),
        "medians": [(path, duration(one.latency_ms.p50)) for path, one in summary.paths.items()],
        "unexplained": sum(one.unexplained for one in summary.paths.values()),
    }
