"""The house keeps its own rules: arrows, sizes, settings, versions."""

import ast
import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from lab import cli
from twinpath import env_example
from twinpath.settings import ROOT, Settings

ROOMS = ("twinpath", "streaming", "spark_jobs", "temperature", "dags", "lab")
MAY_IMPORT: dict[str, set[str]] = dict.fromkeys(ROOMS, {"twinpath"}) | {"twinpath": set()}  # of these, beside itself
STANDARD = {"msgspec", "twinpath"}
SOURCES = sorted(path for room in ROOMS if (ROOT / room).exists() for path in (ROOT / room).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def wrong_arrows(path: Path) -> list[str]:
    room = path.relative_to(ROOT).parts[0]
    forbidden = set(ROOMS) - {room} - MAY_IMPORT[room]
    return [
        f"{path.relative_to(ROOT)} imports {module}"
        for module in imports(path)
        if module.partition(".")[0] in forbidden
    ]


def test_arrows_point_downwards_only() -> None:
    assert [arrow for path in SOURCES for arrow in wrong_arrows(path)] == []


def test_the_map_of_packages_shows_these_arrows() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    _, _, section = page.partition("## Packages\n")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section.partition("\n## ")[0], re.MULTILINE)
    assert {room: set(re.findall(r"`(\w+)`", known)) for room, known in rows} == MAY_IMPORT


def test_detection_is_pure() -> None:
    forbidden = {"os", "time", "datetime", "logging", "random", "pathlib", "socket", "io", "uuid", "secrets"}
    allowed = dict.fromkeys(("workload.py", "population.py", "scenarios.py", "corrections.py"), {"random"})
    dates_as_values = {"fields.py": {"datetime"}, "usual.py": {"datetime"}, "record.py": {"datetime"}}
    wrong = []
    for path in (ROOT / "twinpath" / "detection").rglob("*.py"):
        for module in imports(path):
            top = module.partition(".")[0]
            fine = allowed.get(path.name, set()) | dates_as_values.get(path.name, set())
            outside = top not in sys.stdlib_module_names and top not in STANDARD
            if outside or (top in forbidden and top not in fine):
                wrong.append(f"{path.name} imports {module}")
            if module.startswith("twinpath.") and not module.startswith(("twinpath.detection", "twinpath.errors")):
                wrong.append(f"{path.name} imports {module}")
    assert wrong == []


def test_reading_dates_in_detection_uses_no_clock() -> None:
    for path in (ROOT / "twinpath" / "detection").rglob("*.py"):
        assert not re.search(r"\.now\(|\.today\(|utcnow", path.read_text()), path


def test_env_example_is_what_the_settings_make_of_it() -> None:
    assert (ROOT / ".env.example").read_text() == env_example.text()
    example = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", env_example.text(), re.MULTILINE))
    assert example == {name.upper(): env_example.default_text(name) for name in Settings.model_fields}
    assert set(env_example.HEADINGS) <= set(Settings.model_fields)


def test_every_number_among_the_settings_has_a_unit() -> None:
    units = "port|seconds|partitions|decimals|buckets|users|tasks|records|rows per second|whole number"
    numbers = {name: field for name, field in Settings.model_fields.items() if field.annotation in {int, float}}
    assert len(numbers) > 20
    assert [name for name, field in numbers.items() if not re.search(units, field.description or "")] == []


def test_the_readme_names_every_setting_with_its_default() -> None:
    table = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \|", (ROOT / "README.md").read_text(), re.MULTILINE))
    example = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    shown = {name: value.strip().strip("`").replace("empty", "") for name, value in table.items() if name in example}
    assert shown == example


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    found = [line.partition(";")[0].split("==") for line in lines if line and not line.startswith("#")]
    assert len({name for name, _ in found}) == len(found), "a version is pinned twice"
    return dict(found)


def locked(name: str) -> dict[str, str]:
    lines = [line.partition(";")[0].partition(" \\")[0] for line in (ROOT / name).read_text().splitlines()]
    pairs = [line.strip().lower().split("==") for line in lines if "==" in line]
    return {re.sub("[._]", "-", package): number for package, number in pairs}


def test_every_locked_package_is_installed_by_the_digest_of_its_file() -> None:
    text = (ROOT / "requirements.sha256").read_text()
    assert locked("requirements.sha256") == locked("requirements.lock")
    without = [
        part for part in re.split(r"\n(?=\S)", text) if "==" in part and not re.search("sha256:[0-9a-f]{64}", part)
    ]
    assert without == []


def test_pyspark_and_pyspark_client_are_the_same_version() -> None:
    assert pins()["pyspark"] == pins()["pyspark-client"]
    assert version("pyspark") == version("pyspark-client") == pins()["pyspark"]


def test_the_lock_holds_every_pin_and_nothing_else_names_a_version() -> None:
    lock = locked("requirements.lock")
    assert {name: lock.get(name.lower()) for name in pins()} == pins()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["build-system"]["requires"] == ["setuptools"]
    assert "dependencies" not in project["project"]


def test_every_jar_version_is_named_once() -> None:
    settings = (ROOT / "lab/stack/jars/ivysettings.xml").read_text()
    revisions = re.findall(r'rev="([^"]*)"', (ROOT / "lab/stack/jars/ivy.xml").read_text())
    assert revisions
    assert [revision for revision in revisions if not revision.startswith("${")] == []
    versions = re.findall(r'<property name="[^"]*" value="([^"]*)"', settings) + [pins()["pyspark"]]
    named = {revision[2:-1] for revision in revisions}
    assert len(named) == len(versions)


def test_the_lock_of_jars_holds_a_digest_for_each_file() -> None:
    rows = [line.split() for line in (ROOT / "lab/stack/jars/jars.lock").read_text().splitlines() if line[0] != "#"]
    assert len(rows) == len({name for _, _, name in rows}) > 100
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) and int(size) > 0 for digest, size, _ in rows)
    assert {name.partition("/")[0] for *_, name in rows} == {"broker", "connect", "debezium", "spark"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_importing_a_module_starts_nothing() -> None:
    calls = []
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                calls.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert calls == []


def test_the_readme_names_every_command_and_every_command_exists() -> None:
    commands = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    commands |= {group.name for group in cli.app.registered_groups}
    named = set(re.findall(r"twinpath ([a-z][a-z-]*)", (ROOT / "README.md").read_text()))
    assert commands <= named
    assert named - commands == set()
