"""What the tests of the container form read: compose.yaml, its variables, its Dockerfile, the pins."""

import re
import tomllib
from typing import Any

import yaml

from twinpath.settings import ROOT

DOCKER = ROOT / "docker"
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?:(:-)((?:[^{}]|\{\})*)|(:\?)([^}]*))?\}")


def compose() -> dict[str, Any]:
    """compose.yaml, with its anchors resolved and its variables as they stand."""
    found: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return found


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def defaults() -> dict[str, str]:
    """Default by variable; a required one has none and is left out."""
    text = (DOCKER / "compose.yaml").read_text()
    return {name: default for name, optional, default, _, _ in VARIABLE.findall(text) if optional}


def filled(value: str) -> str:
    """A value with the defaults of its variables."""
    return VARIABLE.sub(lambda found: found[3] or "", value)


def environment(service: dict[str, Any]) -> dict[str, str]:
    """What a container finds in its environment when .env changes nothing."""
    return {name: filled(str(value)) for name, value in service.get("environment", {}).items()}


def ours() -> dict[str, dict[str, Any]]:
    """The services that run our images."""
    return {name: one for name, one in services().items() if "build" in one}


def pins() -> dict[str, str]:
    """Version by package, of requirements.txt."""
    text = (ROOT / "requirements.txt").read_text()
    return dict(re.findall(r"^([A-Za-z][\w.-]*)==([^\s;]+)", text, re.MULTILINE))


def jar_versions() -> dict[str, str]:
    """Version by property, of ivysettings.xml."""
    text = (ROOT / "lab/stack/jars/ivysettings.xml").read_text()
    return dict(re.findall(r'<property name="([^"]*)" value="([^"]*)"', text))


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def stages() -> dict[str, tuple[str, list[str]]]:
    """Dockerfile: stage -> (what it begins with, its instructions, one a line)."""
    text = re.sub(r"\\\n", " ", (DOCKER / "Dockerfile").read_text())
    found: dict[str, tuple[str, list[str]]] = {}
    for line in text.splitlines():
        begins = re.fullmatch(r"FROM (\S+) AS (\S+)", line)
        if begins:
            instructions: list[str] = []
            found[begins[2]] = (begins[1], instructions)
        elif line and not line.startswith("#"):
            instructions.append(re.sub(r" +", " ", line))
    return found


def copied(stage: str) -> list[str]:
    """Files and folders of the checkout that an image holds, by way of the stages that it is built upon."""
    base, instructions = stages()[stage]
    own = [line.split()[1] for line in instructions if line.startswith("COPY ") and "--from" not in line]
    return own + (copied(base) if base in stages() else [])
