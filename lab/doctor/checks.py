"""All checks in the order of the walk, and the walk. A new check is one object, and its place in CHECKS.

The order is that of a change, and each hop comes after what it stands on: services before what is asked of them, the
alert store before the agents that cannot run without it. So the first broken hop is the cause, not its consequence.
The slot comes before Connect, which is not started over a slot that was moved on.
"""

from collections.abc import Iterator

import httpx
import psycopg2
from kafka.errors import KafkaError

from lab.doctor import beside, capture, judging, services, source
from lab.doctor.hop import Check, Finding, Hop, broken
from lab.doctor.view import View
from lab.stack.stack import Stack
from twinpath.errors import TwinpathError, first_line

CHECKS: list[Check] = [
    services.SET_UP,
    services.POSTGRES,
    source.TABLE,
    source.WAL_LEVEL,
    source.ROLES,
    source.PUBLICATION,
    services.KAFKA,
    services.LISTENER,
    source.SLOT_THERE,
    source.OTHER_SLOTS,
    services.CONNECT,
    capture.CONNECTOR,
    capture.READER,
    capture.KEPT,
    capture.TOPIC,
    capture.RECORDS,
    judging.STORE_THERE,
    *judging.OF_RULES,
    beside.SPARK_STREAM,
    *beside.AIRFLOW,
]


def walk(stack: Stack, *, stop_at_first: bool = False) -> list[Hop]:
    """Every hop in the order of CHECKS; or only as far as the first that does not hold."""
    found: list[Hop] = []
    for hop in _hops(View(stack)):
        found.append(hop)
        if stop_at_first and not hop.ok:
            break
    return found


def first_broken(found: list[Hop]) -> Hop | None:
    """The first hop that does not hold."""
    return next((hop for hop in found if not hop.ok), None)


def _hops(view: View) -> Iterator[Hop]:
    failed: set[str] = set()
    for check in CHECKS:
        if not check.wanted(view):
            continue
        missing = next((name for name in check.needs if name in failed), None)
        found = _look(check, view) if missing is None else broken(f"cannot be seen: {missing} does not hold")
        if not found.ok:
            failed.add(check.name)
        yield Hop(check.name, found.ok, found.evidence, found.mend, found.note)


def _look(check: Check, view: View) -> Finding:
    """A check that cannot be made is a hop that does not hold."""
    try:
        return check.look(view)
    except (TwinpathError, KafkaError, psycopg2.Error, httpx.HTTPError, OSError) as error:
        return broken(first_line(error))
