"""Where one stack keeps everything: logs, process ids, passwords, data.

The checkout's own stack lives in `.twinpath/stack`, a private one in `.twinpath/private/<id>`. As root
PostgreSQL runs as another user; when that user cannot enter the checkout, its data and a copy of its
binaries live under the system's temporary area, in a folder named by a hash of the checkout.
"""

import hashlib
import json
import os
import pwd
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from twinpath.errors import EnvironmentFault
from twinpath.settings import ROOT, Settings

STATE = ROOT / ".twinpath"
MARKER = "twinpath-home"  # only folders that hold this file are ever removed
BINARIES = "binaries"
UNUSABLE = ",:}\n"  # in a path: they end one in log.dirs, allowed.paths and ${file:...}


@dataclass(frozen=True)
class Home:
    """The folder of one stack."""

    path: Path

    @property
    def logs(self) -> Path:
        """One log file for each service."""
        return self.path / "logs"

    @property
    def processes(self) -> Path:
        """One JSON file for each process that we started."""
        return self.path / "processes"

    @property
    def secrets(self) -> Path:
        """Passwords; only their owner can enter."""
        return self.path / "secrets"

    @property
    def outside(self) -> Path:
        """This stack's folder under the temporary area, for a PostgreSQL that cannot enter the checkout."""
        checkout = hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]
        own = hashlib.sha256(str(self.path).encode()).hexdigest()[:8]
        return Path(tempfile.gettempdir()) / f"twinpath-{checkout}" / own

    def make(self) -> None:
        """Create the folders with the permissions they need; a folder that is in use otherwise is refused."""
        unusable = sorted(set(UNUSABLE) & set(str(self.path)))
        if unusable:
            raise EnvironmentFault(
                f"{self.path} holds {' and '.join(map(repr, unusable))}, which Kafka and Connect read as the end of a "
                "path; choose another folder for TWINPATH_HOME or the checkout"
            )
        if self.path.exists() and not (self.path / MARKER).exists() and any(self.path.iterdir()):
            raise EnvironmentFault(
                f"{self.path} holds other files (no {MARKER} in it); give TWINPATH_HOME a folder of its own"
            )
        self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        (self.path / MARKER).touch()  # first: a folder that is half made is still known as ours
        for folder in (self.logs, self.processes):
            folder.mkdir(mode=0o755, exist_ok=True)
        for folder in (self.secrets, self.secrets / "connect"):
            folder.mkdir(mode=0o700, exist_ok=True)

    def remove(self) -> None:
        """Delete everything that this stack kept; a folder that is not one of ours is refused."""
        if self.path.exists() and not (self.path / MARKER).exists():
            raise EnvironmentFault(f"{self.path} has no file {MARKER}: not a folder of ours, nothing was removed")
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.rmtree(self.outside, ignore_errors=True)
        area = self.outside.parent
        if area.exists() and not any(entry.is_dir() and entry.name != BINARIES for entry in area.iterdir()):
            shutil.rmtree(area, ignore_errors=True)

    def make_outside(self) -> Path:
        """Create `outside`; a folder there that somebody else made is refused."""
        for folder in (self.outside.parent, self.outside):
            folder.mkdir(mode=0o755, exist_ok=True)
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                raise EnvironmentFault(f"{folder} was made by somebody else; remove it, or set TMPDIR")
        return self.outside

    def write_private(self, name: str, text: str) -> Path:
        """Write a file in `secrets/` that only its owner can read."""
        path = self.secrets / name
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(handle, "w") as out:
                out.write(text)
        except OSError as error:  # a full disk: the system does not say which
            raise OSError(error.errno, error.strerror, str(path)) from None
        path.chmod(0o600)
        return path


def standard_home(settings: Settings) -> Home:
    """The checkout's own stack, or the folder that TWINPATH_HOME names."""
    return Home((ROOT / settings.twinpath_home).resolve() if settings.twinpath_home else STATE / "stack")


def private_home() -> Home:
    """A home for a stack that its command stops and removes; it notes who owns it."""
    home = Home(STATE / "private" / secrets.token_hex(4))
    home.make()
    (home.path / "owner").write_text(json.dumps({"pid": os.getpid()}))
    return home


def open_to_others(path: Path) -> bool:
    """True when any user can enter `path`, or the nearest existing folder above it, from the root down."""
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def service_user() -> pwd.struct_passwd | None:
    """The user that PostgreSQL runs as when we are root; None when we are not."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EnvironmentFault(
        "PostgreSQL refuses to run as root, and found neither user postgres nor nobody. Run: useradd --system postgres"
    )
