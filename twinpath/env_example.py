"""The text of `.env.example`, made from the settings: python -m twinpath.env_example > .env.example

A test holds the file against it, so that neither a setting nor its default, unit or meaning can be forgotten.
"""

import sys
import textwrap

from pydantic import SecretStr

from twinpath.settings import Settings

HEAD = """Copy to .env and change what you need. Each line shows a default; take the # away where you change it.
Precedence: command-line options, environment, .env, files in SECRETS_DIR, defaults. Made by: make env-example"""
HEADINGS = {  # the setting that begins a section
    "pghost": "PostgreSQL",
    "kafka_bootstrap_servers": "Kafka and Connect",
    "run_id": "Names and folders",
    "event_time_unit": "What the topic carries",
    "rule_parameters": "Rules",
    "state_buckets": "Agents",
    "stream_checkpoints": "Spark stream",
    "airflow_port": "Airflow",
    "rate": "Load and demo",
}
WIDTH = 118


def default_text(name: str) -> str:
    """A setting's default as it stands in an environment."""
    value = Settings.model_fields[name].default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return str(value).lower() if isinstance(value, bool) else str("" if value is None else value)


def text() -> str:
    """The whole file."""
    lines = [f"# {line}" for line in HEAD.splitlines()]
    for name, field in Settings.model_fields.items():
        if name in HEADINGS:
            lines += ["", f"# ---- {HEADINGS[name]}"]
        lines += [f"# {line}" for line in textwrap.wrap(field.description or "", WIDTH)]
        lines.append(f"# {name.upper()}={default_text(name)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
