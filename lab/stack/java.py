"""How the stack's Java programs are started; which Java was settled by lab/bootstrap.py."""

import os
from pathlib import Path

from lab.stack.home import STATE
from twinpath.errors import EnvironmentFault

LOGGING = Path(__file__).with_name("log4j2.properties")


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
