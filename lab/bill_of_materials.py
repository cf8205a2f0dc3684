"""Write the bill of materials (CycloneDX, JSON): the Python packages that are installed, and every jar by its digest.

python -m lab.bill_of_materials sbom.cdx.json
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from twinpath.errors import EnvironmentFault, TwinpathError
from twinpath.settings import ROOT

SPECIFICATION = "1.6"
JAR_LOCK = ROOT / "lab" / "stack" / "jars" / "jars.lock"
_VERSION = re.compile(r"(?P<name>.+?)-(?P<version>\d.*)\.(?:jar|tar\.gz)")


def packages(python: str) -> dict[str, Any]:
    """The document of the packages of an environment, as cyclonedx-py makes and checks it."""
    command = [python, "-m", "cyclonedx_py", "environment", "--spec-version", SPECIFICATION, "--output-format", "JSON"]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--output-file", "-", python]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentFault(f"cyclonedx-py failed with status {done.returncode}: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def jars(lock: str) -> list[dict[str, Any]]:
    """A component for each different file of jars.lock, with the class paths that it stands in."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line in lock.splitlines():
        if line.startswith("#"):
            continue
        digest, _, path = line.split()
        class_path, _, file = path.partition("/")
        parts = _VERSION.fullmatch(file)
        component = found.setdefault(
            (file, digest),
            {
                "type": "library",
                "bom-ref": f"jar:{file}:{digest[:12]}",
                "name": parts["name"] if parts else file,
                **({"version": parts["version"]} if parts else {}),
                "hashes": [{"alg": "SHA-256", "content": digest}],
                "properties": [],
            },
        )
        component["properties"].append({"name": "twinpath:class-path", "value": class_path})
    return list(found.values())


def document(python: str, lock: str) -> dict[str, Any]:
    """Packages and jars in one document."""
    found = packages(python)
    found["components"] = [*found.get("components", []), *jars(lock)]
    return found


def main(arguments: list[str] | None = None) -> int:
    """Write the file that is named; the exit status is that of the error."""
    (target,) = sys.argv[1:] if arguments is None else arguments
    try:
        found = document(sys.executable, JAR_LOCK.read_text())
    except TwinpathError as error:
        sys.stderr.write(f"no bill of materials: {error}\n")
        return error.exit_status
    Path(target).write_text(json.dumps(found, indent=1) + "\n")
    sys.stderr.write(f"{target}: {len(found['components'])} components, CycloneDX {found['specVersion']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
