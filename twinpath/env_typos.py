"""Names in the environment and in `.env` that are none of ours but look as if they were meant to be."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dotenv import dotenv_values

from twinpath import failpoints
from twinpath.settings import Settings

OTHERS = {"JAVA_HOME", "JARS_DIR", "SECRETS_DIR", "TWINPATH_VERBOSE", failpoints.NAME, "TWINPATH_PROCESS"}  # ours, too
ALIKE = 0.85  # RTAE and RATE are 0.75 alike, and so are PGDATA and PGDATABASE: only `.env` holds such a one against us
IN_FILE = 0.6


def warnings(environment: Iterable[str], file: Path) -> Iterator[str]:
    """One line for each name that changes nothing: every unknown one in `.env`, in the environment only near misses."""
    known = {name.upper() for name in Settings.model_fields} | OTHERS
    for name in sorted(_of_file(file)):
        if name.upper() not in known:
            yield f"{file}: {name} is no setting and changes nothing{_meant(name, known, IN_FILE)}"
    for name in sorted(environment):
        near = "" if name.upper() in known else _meant(name, known, ALIKE)
        if near:
            yield f"environment: {name} is no setting and changes nothing{near}"


def _of_file(file: Path) -> Mapping[str, str | None]:
    return dotenv_values(file) if file.is_file() else {}


def _meant(name: str, known: set[str], alike: float) -> str:
    near = difflib.get_close_matches(name.upper(), sorted(known), 1, alike)
    return f". Was {near[0]} meant?" if near else ""
