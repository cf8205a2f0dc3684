"""How the stack's Java programs are started; which Java was settled by lab/bootstrap.py."""

import os
from collections.abc import Mapping
from pathlib import Path

from lab.stack.home import STATE
from twinpath.errors import EnvironmentFault

ASCII_END = 128
LOGGING = Path(__file__).with_name("log4j2.properties")
ENVIRONMENT = {"LC_ALL": "C.UTF-8"}  # else Java can open no file whose path is not ASCII


def properties(values: Mapping[str, object]) -> str:
    """The text of a Java properties file, which is Latin-1: other characters and backslashes are escaped."""
    return "".join(f"{name}={_escaped(str(value))}\n" for name, value in values.items())


def _escaped(text: str) -> str:
    units = text.replace("\\", "\\\\").encode("utf-16-be")
    codes = (int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2))
    return "".join(chr(code) if code < ASCII_END else f"\\u{code:04x}" for code in codes)


def java() -> str:
    """Path of the Java that the set-up found."""
    try:
        found = (STATE / "java").read_text().strip()
    except OSError:
        found = ""
    if not os.access(found, os.X_OK):
        raise EnvironmentFault(f"found no Java ({found or 'not set up'}), wanted 17 or later. Run: make setup")
    return found


def jars(class_path: str) -> Path:
    """The folder of one class path: broker, connect or spark."""
    given = os.environ.get("JARS_DIR")
    folder = (Path(given) if given else STATE / "jars") / class_path
    if not folder.is_dir():
        raise EnvironmentFault(f"found no jars in {folder}. Run: make setup")
    return folder


def java_command(class_path: str, heap_mb: int, main: str, *arguments: str) -> list[str]:
    """A command line for one main class; loopback by IPv4 only."""
    return [
        java(),
        f"-Xms{heap_mb // 4}m",
        f"-Xmx{heap_mb}m",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.net.preferIPv4Stack=true",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={LOGGING}",
        "-cp",
        f"{jars(class_path)}/*",
        main,
        *arguments,
    ]
