"""The section on losses: what was done of each class of operation, and what each path saw of it."""

from lab.report.html.blocks import Section, Table
from lab.report.model import Summary
from lab.report.words import whole


def section(summary: Summary) -> Section | None:
    """By class of operation."""
    if not summary.losses:
        return None
    seen = dict.fromkeys(path for one in summary.losses.values() for path in one.seen)
    paths = [*(path for path in summary.paths if path in seen), *(path for path in seen if path not in summary.paths)]
    rows = [
        [name, whole(one.done), *(whole(one.seen.get(path)) for path in paths)] for name, one in summary.losses.items()
    ]
    notes = [
        "Seen is the worst of a path's rules, told from what the path counted, remembers and alerted. A batch "
        "path sees the state that a run finds: of a row's values only the last before it.",
        *(f"{name}: {one.note}" for name, one in summary.losses.items() if one.note),
    ]
    table = Table("What was done, and what each path saw of it", ["class", "done", *paths], rows)
    return Section("losses", "What each path saw", tables=[table], notes=notes)
