"""Tables and texts of Markdown, in which whatever comes from data stays a text."""

from collections.abc import Sequence


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """The lines of a table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(escaped(str(cell)) for cell in line)} |" for line in lines]


def escaped(text: str) -> str:
    """A text that stays a text in a cell or a line of Markdown, whatever is in it."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("&", "&amp;").replace("<", "&lt;")
