"""The addresses that a stack was started with, so that later commands find it without being told again."""

import json

from lab.stack.home import Home
from twinpath.settings import Settings

KEYS = ("pgport", "kafka_bootstrap_servers", "kafka_controller_port", "connect_url", "airflow_port")


def save(home: Home, settings: Settings) -> None:
    """Note the addresses of the settings."""
    (home.path / "addresses.json").write_text(json.dumps({key: getattr(settings, key) for key in KEYS}))


def saved(home: Home) -> dict[str, object]:
    """What was noted; {} when nothing was."""
    try:
        found: dict[str, object] = json.loads((home.path / "addresses.json").read_text())
    except (OSError, ValueError):
        return {}
    if not (home.processes / "airflow-api-server.json").exists():
        found.pop("airflow_port", None)  # it was a plan only: nothing holds the port
    return found
