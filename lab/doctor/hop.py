"""A check of one hop, and what it finds."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from lab.doctor.view import View

UP = "twinpath up"
RESTART = "twinpath down && twinpath up"
RESYNC = "twinpath resync"
RESYNC_NOTE = "what is gone is never judged: the table is read anew to teach, alerts stay, and it says what was lost"


class Finding(msgspec.Struct, frozen=True):
    """What one check has seen. `mend` is a line for a shell, `note` what to know or to do before it."""

    ok: bool
    evidence: str
    mend: str = ""
    note: str = ""


class Hop(msgspec.Struct, frozen=True):
    """One hop: whether it holds, what was seen, and what to do when it does not."""

    name: str
    ok: bool
    evidence: str
    mend: str = ""
    note: str = ""


class Check(msgspec.Struct, frozen=True):
    """How one hop is looked at.

    `look` may raise what a client raises: a hop that cannot be looked at does not hold. It is left out where
    `wanted` says no, and not made while a hop of `needs` does not hold. `breaks` and `mend` are words for the README.
    """

    name: str
    breaks: str
    mend: str
    look: Callable[["View"], Finding]
    needs: tuple[str, ...] = ()
    wanted: Callable[["View"], bool] = lambda _view: True


def holds(evidence: str) -> Finding:
    """Nothing is wrong here."""
    return Finding(True, evidence)


def broken(evidence: str, mend: str = UP, note: str = "") -> Finding:
    """Something is wrong here; `mend` is empty where no command of ours can mend it, and the note says what can."""
    return Finding(False, evidence, mend, note)
