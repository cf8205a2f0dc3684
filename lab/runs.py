"""Run folders: `runs/<utc>-<id>/`, one for each measured run; older ones stay until `twinpath prune --runs`."""

import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from twinpath.settings import ROOT

RUNS = ROOT / "runs"
OWNER = "owner"  # names the process that fills the folder, so that nobody removes it meanwhile


def new_run() -> tuple[str, Path]:
    """A fresh run id (it ends the names of all that the run makes) and its folder."""
    run_id = secrets.token_hex(3)
    stamp = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = RUNS / f"{stamp}-{run_id}"
    folder.mkdir(parents=True)
    (folder / OWNER).write_text(json.dumps({"pid": os.getpid()}))
    return run_id, folder


def write_whole(path: Path, text: str) -> None:
    """Write a file as a whole or not at all: a reader never finds half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text)
    part.replace(path)
