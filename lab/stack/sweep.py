"""Private stacks that nobody owns any more."""

import json

import psutil

from lab.console import Progress
from lab.stack import process
from lab.stack.home import STATE, Home


def sweep_private(progress: Progress) -> None:
    """Stop and remove private stacks whose owner was killed."""
    for path in (STATE / "private").glob("*"):
        home = Home(path)
        try:
            owner = psutil.Process(json.loads((path / "owner").read_text())["pid"])
            if owner.create_time() < (path / "owner").stat().st_mtime:
                continue
        except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
            pass  # its owner is gone: what it left is ours to clear
        for name in reversed(process.names(home)):
            process.stop(home, name)
            progress.say(f"{name}: stopped, left over from a killed command")
        home.remove()
