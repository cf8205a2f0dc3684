"""Write requirements.lock from what is installed, and requirements.sha256 with the digest of each file of each package.

    python -m lab.lock_packages

requirements.lock holds versions, and is used as constraints. requirements.sha256 holds the same versions with the
SHA-256 of every file that the registry has of them, for all platforms, and is what the set-up installs.
"""

import os
import subprocess
import sys
from pathlib import Path

from twinpath.settings import ROOT

HEAD = "# The whole tree that requirements.txt resolved to (`make lock` writes it anew); used as constraints.\n"
HASHED_HEAD = (
    "# requirements.lock with the SHA-256 of each file (`make lock` writes it anew); the set-up installs it.\n"
)
OWN = ("pip", "twinpath")


def markers(requirements: str) -> dict[str, str]:
    """Package -> the platforms that requirements.txt wants it on."""
    found = {}
    for line in requirements.splitlines():
        pin, _, marker = line.partition(";")
        if marker and not line.startswith("#"):
            found[pin.partition("==")[0].strip()] = marker.strip()
    return found


def locked(frozen: str, requirements: str) -> str:
    """The text of requirements.lock from that of `pip freeze`."""
    only = markers(requirements)
    pins = [line for line in frozen.splitlines() if "==" in line and line.partition("==")[0] not in OWN]
    named = [(pin, only.get(pin.partition("==")[0])) for pin in pins]
    return HEAD + "".join(f"{pin} ; {marker}\n" if marker else f"{pin}\n" for pin, marker in named)


def hashed(lock: Path) -> str:
    """The text of requirements.sha256: the registry is asked for the digests."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--no-deps", "--generate-hashes", "--no-annotate"]
    command += ["--no-header", "--universal", "--python-version", "3.11", "--quiet", str(lock)]
    configured = {"UV_INDEX_URL": _pips("global.index-url"), "SSL_CERT_FILE": _pips("global.cert")}
    environment = os.environ | {name: value for name, value in configured.items() if value}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def _pips(key: str) -> str:
    """What pip is configured with, so that both ask the same registry."""
    command = [sys.executable, "-m", "pip", "config", "get", key]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> int:
    """Write both files."""
    freeze = [sys.executable, "-m", "pip", "freeze", "--all", "--exclude-editable"]
    frozen = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout
    lock = ROOT / "requirements.lock"
    lock.write_text(locked(frozen, (ROOT / "requirements.txt").read_text()))
    (ROOT / "requirements.sha256").write_text(HASHED_HEAD + hashed(lock))
    return 0


if __name__ == "__main__":
    sys.exit(main())
