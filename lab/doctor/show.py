"""What the doctor and `twinpath status` print."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from lab.doctor.checks import first_broken
from lab.doctor.hop import Hop

VERSION = 1  # of the keys below; they are not renamed


def show(found: Sequence[Hop], *, as_json: bool) -> None:
    """A line for each hop."""
    for hop in found:
        if as_json:
            sys.stdout.write(f"{msgspec.json.encode(hop).decode()}\n")
        else:
            sys.stdout.write(f"{'ok  ' if hop.ok else 'FAIL'} {hop.name:<16} {hop.evidence}\n")
            for word, text in (("note", hop.note), ("mend", hop.mend)):
                if text and not hop.ok:
                    sys.stdout.write(f"     {'':<16} {word}: {text}\n")


def show_diagnosis(found: list[Hop], *, as_json: bool) -> None:
    """The first broken hop, or that there is none."""
    broken = first_broken(found)
    if as_json:
        sys.stdout.write(f"{json.dumps(diagnosis(found))}\n")
    elif broken is None:
        sys.stdout.write("every hop from the table to the agents holds\n")
    else:
        sys.stdout.write(f"first broken hop: {broken.name}\nevidence: {broken.evidence}\n")
        for word, text in (("note", broken.note), ("mend", broken.mend)):
            if text:
                sys.stdout.write(f"{word}: {text}\n")


def diagnosis(found: list[Hop]) -> dict[str, Any]:
    """One object: the first broken hop (its keys are null when there is none), and every hop that was looked at."""
    broken = first_broken(found)
    first = dict.fromkeys(Hop.__struct_fields__) if broken is None else msgspec.structs.asdict(broken)
    hops = [msgspec.structs.asdict(hop) for hop in found]
    return {"schema_version": VERSION, **first, "ok": broken is None, "hops": hops}
