"""The fenced blocks of the docs, and the commands of those that tests run as they stand.

What is known of a block of commands stands above it, in comments that no page shows:

    <!-- run: tests/e2e/test_demo.py as demo -->     that file runs what commands_of("demo") gives
    <!-- not run: `make test`: why -->               all but this line of it
    <!-- not run: why -->                            nobody runs it

tests/unit/test_docs.py holds that each such block has a comment, and that what the comment says is so.
"""

import re
from typing import NamedTuple

from twinpath.settings import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TYPED = {"sh", "console", "sql"}  # languages of blocks that somebody types
SHOWN = {"text", "properties"}  # and of those that are only read
_BLOCK = re.compile(r"((?:^<!--(?:(?!-->).)*-->\n)*)^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_RUN = re.compile(r"<!-- run: (\S+) as (\S+) -->")
_NOT_RUN = re.compile(r"<!-- not run: (?:`([^`]+)`: )?(.*?) -->", re.DOTALL)
PROMPT = "$ "


class Block(NamedTuple):
    """A fenced block: its page, its language, its text, and what is said above it."""

    page: str
    language: str
    text: str
    runs: list[tuple[str, str]]  # (file of the test, name)
    not_run: dict[str, str]  # a line, or "" for all of them -> why

    def lines(self) -> list[str]:
        """What somebody types: in a console what follows the prompt, without what is said of it behind two blanks."""
        lines = self.text.splitlines()
        if self.language == "console":
            lines = [line.removeprefix(PROMPT) for line in lines if line.startswith(PROMPT)]
        return [line.partition("  # ")[0].rstrip() for line in lines]

    def commands(self) -> str:
        """The lines that a test runs."""
        return "\n".join(line for line in self.lines() if line not in self.not_run)


def blocks() -> list[Block]:
    """All fenced blocks of README, CONTRIBUTING, SECURITY, ... and of the pages in docs/."""
    return [
        Block(str(page.relative_to(ROOT)), language, text, _RUN.findall(above), dict(_NOT_RUN.findall(above)))
        for page in PAGES
        for above, language, text in _BLOCK.findall(page.read_text())
    ]


def commands_of(name: str) -> str:
    """The commands of the block of that name, to be pasted into a shell or given to PostgreSQL."""
    (block,) = (one for one in blocks() if name in {known for _, known in one.runs})
    return block.commands()
