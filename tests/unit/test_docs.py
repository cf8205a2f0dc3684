"""Commands in the docs: each is one that exists, with options that it has and values that it takes."""

import re
import shlex
from collections.abc import Iterator

import click
import pytest
import typer

from lab import cli
from twinpath.settings import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def written(program: str) -> Iterator[tuple[str, str]]:
    """(page, command line): lines of blocks, up to what is said of them behind two blanks, and spans in a sentence."""
    for page in PAGES:
        text = page.read_text()
        name = str(page.relative_to(ROOT))
        for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                if line.startswith(f"{program} "):
                    yield name, re.split(r"  +|  #| #", line)[0]
        for span in re.findall(rf"`({program} [^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
            yield name, span.replace("\\|", "|")


def test_the_docs_hold_commands() -> None:
    assert len(set(written("twinpath"))) > 40


@pytest.mark.parametrize(("page", "line"), sorted(set(written("twinpath"))))
def test_a_command_line_of_the_docs_is_one_that_the_command_takes(page: str, line: str) -> None:
    if any(mark in line for mark in ("...", "<", "NAME", " N ")):
        pytest.skip("a form, not a command")
    _, *words = shlex.split(line.partition(" | ")[0])
    command: click.Command = typer.main.get_command(cli.app)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.commands.get(words[0])
        assert found is not None, f"{page}: {line}: no command {words[0]}"
        command, words = found, words[1:]
    if isinstance(command, click.Group) or not needs_met(command, words):
        return
    command.make_context("twinpath", words)


def needs_met(command: click.Command, words: list[str]) -> bool:
    """False for a bare name of a command that takes arguments: a sentence speaks of it, nobody types it."""
    return bool(words) or not any(one.required for one in command.params)


@pytest.mark.parametrize(("page", "line"), sorted(set(written("make"))))
def test_a_make_target_of_the_docs_exists(page: str, line: str) -> None:
    words = [word for word in shlex.split(line)[1:] if "=" not in word]
    assert set(words) <= TARGETS, f"{page}: {line}"
