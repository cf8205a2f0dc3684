"""`twinpath doctor --bundle PATH`: what somebody else needs to see what is wrong here, in one zip file.

versions.json, settings.json, connector.json, processes.json, doctor.json (every hop), and the last lines of each log.
Passwords and keys are masked wherever they stand, and only the file's owner can read it. Rows are not left out: a
statement that PostgreSQL refused stands in its log.
"""

import json
import os
import re
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
from psycopg2 import ProgrammingError
from psycopg2.extensions import parse_dsn
from pydantic import SecretStr

from lab.bench.machine import conditions, machine
from lab.doctor.hop import Hop
from lab.doctor.show import diagnosis
from lab.stack import connect, process
from lab.stack.airflow_config import ADMIN_FILE, KEYS_FILE
from lab.stack.credentials import FILE
from lab.stack.home import Home
from lab.stack.stack import Stack
from twinpath.errors import ConfigurationError, TwinpathError, first_line
from twinpath.settings import Settings

LAST_LINES = 200
MASK = "***"
IN_WORDS = re.compile(  # a password that we do not know: in a DSN, a URL, an assignment
    r"(?i)(\b[\w.-]*(?:password|passwd|secret|token|api_?key)[\w.-]*[\"']?\s*[=:]\s*[\"']?)(?![\s\"']*\$\{)[^\s\"',;&}]+"
    r"|(\b[a-z][a-z0-9+.-]*://[^\s:/@]+:)[^\s@]+(?=@)"
)


def write(stack: Stack, found: list[Hop], path: Path) -> None:
    """Write the bundle; ConfigurationError when the file exists already or its folder does not."""
    secrets = known_secrets(stack.home, stack.settings)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigurationError(f"--bundle: {path} exists, wanted the name of a new file") from None
    except OSError as error:
        raise ConfigurationError(f"--bundle: {path} cannot be made: {error.strerror}") from None
    parts: dict[str, Any] = {
        "doctor.json": diagnosis(found),
        "versions.json": _versions(),
        "settings.json": _settings(stack.settings),
        "connector.json": _connector(stack.settings),
        "processes.json": _processes(stack.home),
    }
    with os.fdopen(handle, "wb") as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in parts.items():
            bundle.writestr(name, masked(json.dumps(content, indent=1, default=str), secrets))
        for log in sorted(stack.home.logs.glob("*.log")):
            bundle.writestr(f"logs/{log.name}", masked(last_lines(log), secrets))


def masked(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets, and without what stands where a password would."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return IN_WORDS.sub(lambda match: f"{match[1] or match[2]}{MASK}", text)


def known_secrets(home: Home, settings: Settings) -> set[str]:
    """Every password and key that this stack keeps or was given, also as it would stand in JSON or in a URL."""
    found: set[str] = set()
    for name in (FILE, ADMIN_FILE, KEYS_FILE):
        with suppress(OSError, ValueError):
            found |= {str(value) for value in json.loads((home.secrets / name).read_text()).values()}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            text = value.get_secret_value()
            with suppress(ProgrammingError):
                text = str(parse_dsn(text).get("password", "")) if name.endswith("_dsn") else text
            found.add(text)
    found.add(os.environ.get("PGPASSWORD", ""))
    forms = {form for one in found for form in (one, quote(one, safe=""), json.dumps(one)[1:-1])}
    return forms - {""}


def last_lines(path: Path, lines: int = LAST_LINES) -> str:
    """The end of a log; of a long one only the end is read."""
    with path.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - lines * 4096))
        text = log.read().decode(errors="replace")
    return "".join(text.splitlines(keepends=True)[-lines:])


def _versions() -> dict[str, Any]:
    """Of the machine and of all that takes part."""
    try:
        return machine() | {"now": conditions()}
    except TwinpathError as error:  # such as: no Java
        return {"unavailable": first_line(error), "now": conditions()}


def _settings(settings: Settings) -> dict[str, Any]:
    """The settings in force; a DSN keeps host, database and user."""
    shown: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = _shown_secret(name, value.get_secret_value())
        shown[name.upper()] = value
    return shown


def _shown_secret(name: str, text: str) -> str:
    if not text or not name.endswith("_dsn"):
        return MASK if text else ""
    try:
        parts = parse_dsn(text)
    except ProgrammingError:
        return MASK
    return " ".join(f"{key}={MASK if 'password' in key else value}" for key, value in parts.items())


def _connector(settings: Settings) -> dict[str, Any]:
    """Configuration and state of the connector, or why they cannot be had."""
    try:
        state, tasks = connect.connector_state(settings)
        config = {} if state == "ABSENT" else connect.configuration(settings)
    except (TwinpathError, httpx.HTTPError) as error:
        return {"unavailable": first_line(error)}
    hidden = {name: MASK if "password" in name and "${" not in value else value for name, value in config.items()}
    return {"state": state, "tasks": tasks, "config": hidden}


def _processes(home: Home) -> list[dict[str, Any]]:
    """What was started here, and whether it runs."""
    found = []
    for name in process.names(home):
        one = process.running(home, name)
        shown: dict[str, Any] = {"name": name, "running": one is not None}
        if one is not None:
            with suppress(psutil.Error):
                shown |= {"pid": one.pid, "status": one.status(), "memory_mb": one.memory_info().rss // 2**20}
        found.append(shown)
    return found
