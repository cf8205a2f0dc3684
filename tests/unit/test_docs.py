"""What the docs say exists: commands, blocks that a test runs, links, files, settings, metrics."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from lab import cli, environment
from lab.stack.airflow_api import DESCRIPTIONS as CONNECTIONS
from tests.documented import PAGES, SHOWN, TYPED, Block, blocks
from tests.unit.test_monitoring import exported
from twinpath.env_typos import OTHERS
from twinpath.settings import ROOT, Settings, load_settings

ALL_PAGES = [*PAGES, *sorted((ROOT / "docs").glob("*/**/*.md"))]
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
A_COMMAND = re.compile(
    r"\$ |\( eval |(make|twinpath|docker|python3?|psql|curl|export|airflow|spark-\w+|kafka-\S+|cp|ln|git|pip|echo|\.) |"
    r"\.venv/|(INSERT|UPDATE|DELETE|SELECT|CREATE|ALTER) "
)
LEAST_REASON = 4  # words
ELSEWHERE = {  # names in capitals that are no setting of ours -> whose they are
    "PGUSER": "libpq",
    "PGPASSWORD": "libpq",  # pragma: allowlist secret
    "PGTZ": "libpq",
    "ON_ERROR_STOP": "psql",
    "NO_COLOR": "a custom of terminal programs",
    "PYTHONPATH": "Python",
    "PYSPARK_PYTHON": "Spark",
    "SPARK_LOCAL_IP": "Spark",
    "AIRFLOW_HOME": "Airflow",
    "AIRFLOW_": "Airflow: how its variables begin",
    "SPT_NOENV": "setproctitle, which Airflow uses",
    "SASL_SSL": "a value of KAFKA_SECURITY",
    "PLAINTEXT": "a value of KAFKA_SECURITY",
    "RULES": "the table in twinpath/detection/rules",
    "FEATURES": "a name in the module of a rule",
    "PARTS": "a name in the module of an experiment",
    "REVISE_IF_STANDING": "an outcome of twinpath/detection/detector.py",
    "RETRACT_IF_STANDING": "an outcome of twinpath/detection/detector.py",
    "PLANTED_TABLE": "tests of planted defects",
    "FAILED": "a state of a task of Connect",
    "FAIL": "a verdict of status and watch",
}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def spans(text: str) -> list[str]:
    """What stands between back quotes in a sentence or a table."""
    return [span.replace("\\|", "|") for span in re.findall(r"`([^`\n]+)`", without_blocks(text))]


def written(program: str) -> Iterator[tuple[str, str]]:
    """(page, command line) of a program: lines of blocks, and spans in a sentence."""
    for block in blocks():
        yield from ((block.page, line) for line in block.lines() if line.startswith(f"{program} "))
    for page in PAGES:
        yield from ((name_of(page), span) for span in spans(page.read_text()) if span.startswith(f"{program} "))


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


@pytest.mark.parametrize("block", blocks(), ids=lambda block: f"{block.page}: {block.text.splitlines()[0][:40]}")
def test_a_block_is_run_by_a_test_or_says_why_not_or_holds_no_command(block: Block) -> None:
    assert block.language in TYPED | SHOWN, f"{block.page}: a block of {block.language or 'no language'}: {block.text}"
    if block.language in SHOWN:
        assert [line for line in block.text.splitlines() if A_COMMAND.match(line)] == []
        assert not block.runs
        assert not block.not_run
        return
    assert block.lines(), "a console without a prompt"
    assert bool(block.runs) != ("" in block.not_run), (
        "wanted above it: <!-- run: FILE as NAME --> or <!-- not run: WHY -->"
    )
    assert len(block.runs) <= 1
    assert set(block.not_run) - {""} <= set(block.lines()), "a line that is not run is none of the block"
    if block.runs:
        assert block.commands().strip(), "nothing is left to run"
    for why in block.not_run.values():
        assert len(why.split()) >= LEAST_REASON, why
        assert [name for name in re.findall(r"(?:tests|lab)/[\w/]+\.py", why) if not (ROOT / name).exists()] == []


def test_a_block_that_is_said_to_be_run_is_run_there_and_no_test_asks_for_another() -> None:
    said = [run for block in blocks() for run in block.runs]
    asking = [
        (str(path.relative_to(ROOT)), name)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for name in re.findall(r'commands_of\("([\w-]+)"\)', path.read_text())
    ]
    assert sorted(said) == sorted(set(asking))
    assert len({name for _, name in said}) == len(said) > 15


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ +(.+)$", without_blocks(page.read_text()), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


@pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
def test_every_link_its_anchor_and_every_named_file_exists(page: Path) -> None:
    text = page.read_text()
    missing = []
    for link, _, anchor in re.findall(r"\]\(([^)#\s]*)(#([^)\s]*))?\)", text):
        target = (page.parent / link).resolve() if link else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(f"{link}#{anchor}" if anchor else link)
    named = re.findall(r"`((?:twinpath|streaming|temperature|lab|sql|docker|tests|docs)/[\w./-]+\.\w+)`", text)
    missing += [name for name in named if not (ROOT / name).exists()]
    assert missing == []


def test_an_anchor_is_made_as_the_site_makes_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# `up`, and *down*\n## [Links](x.md) of A_B\n## Twice\n## Twice\n```sh\n# no heading\n```\n")
    assert anchors(page) == {"up-and-down", "links-of-a_b", "twice", "twice-1"}


def in_capitals(page: Path) -> set[str]:
    """Names that look like a setting or a variable: whole spans in capitals, NAME=value and $NAME anywhere."""
    text = page.read_text()
    said = spans(text)
    typed = [line for block in blocks() if block.page == name_of(page) for line in block.text.splitlines()]
    found = {span for span in said if re.fullmatch(r"[A-Z][A-Z0-9_]{2,}", span)}
    for part in [*said, *typed]:
        found |= set(re.findall(r"(?:^|[\s(])([A-Z][A-Z0-9_]{2,})=", part)) | set(re.findall(r"\$([A-Z_]{3,})", part))
    return found


@pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    ours = {name.upper() for name in Settings.model_fields} | OTHERS | set(environment.dsns(load_settings(run_id="")))
    assert in_capitals(page) - ours - set(ELSEWHERE) == set()


def test_no_name_is_excused_that_no_page_holds() -> None:
    assert set(ELSEWHERE) - set.union(*map(in_capitals, ALL_PAGES)) == set()
    assert set(ELSEWHERE) & {name.upper() for name in Settings.model_fields} == set()


def of_the_servers() -> set[str]:
    """Names with our prefix that are no metric: roles, the slot, connections of Airflow."""
    roles = re.findall(r"'(twinpath_\w+)'", (ROOT / "sql" / "010_roles.sql").read_text())
    return {*roles, load_settings(run_id="").slot, *CONNECTIONS}


@pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
def test_every_metric_and_every_name_on_a_server_exists(page: Path) -> None:
    named = re.findall(r"twinpath_[a-z0-9_]+", page.read_text())
    of_a_run = rf"{load_settings(run_id='').slot}_([0-9a-f]{{6}})?"
    unknown = {name for name in named if not re.fullmatch(of_a_run, name)}
    assert unknown - exported().keys() - of_the_servers() == set()
