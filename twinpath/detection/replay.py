"""Fold a rule over a whole log with everything in memory: the oracle of every path that reads the log."""

from collections import Counter
from collections.abc import Iterable

from twinpath.detection.detector import UserState, empty, resolve, step
from twinpath.detection.history import History
from twinpath.detection.model import Alert, Change, Position
from twinpath.detection.rules import Rule


class Replay:
    """Fold one rule over changes with everything in memory: states, alerts in order, counts."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.states: dict[int, UserState[History]] = {}
        self.alerts: list[Alert] = []
        self.counts: Counter[str] = Counter()
        self._last: dict[tuple[int, int], Alert] = {}

    def apply(self, change: Change) -> Alert | None:
        """Fold one change; returns the alert it left in the log, if any."""
        state = self.states.get(change.user_id)
        if state is None:
            state = self.states[change.user_id] = empty(self.rule)
        _, outcome = step(self.rule, state, change)
        alert, kind = outcome.alert, outcome.kind
        if alert is not None and kind == "too_old":
            standing = self._last.get((alert.user_id, alert.tx_id))
            if standing is not None and standing.status != "RETRACTED":
                kind = "corrected" if alert.status == "REVISE_IF_STANDING" else "forgotten"
            alert = resolve(self.rule, alert, standing)
        self.counts[kind] += 1
        if alert is not None:
            self.alerts.append(alert)
            self._last[alert.user_id, alert.tx_id] = alert
        return alert

    def current(self) -> dict[int, Alert]:
        """The standing of each row that ever had an alert, by tx_id."""
        return current(self.alerts)


def replay(rule: Rule, changes: Iterable[Change]) -> Replay:
    """Fold from empty: the oracle of every path that reads the log."""
    fold = Replay(rule)
    for change in changes:
        fold.apply(change)
    return fold


def current(alerts: Iterable[Alert]) -> dict[int, Alert]:
    """The last alert of each row by position; at a tie the one from an insert stands."""
    latest: dict[int, Alert] = {}
    for alert in alerts:
        other = latest.get(alert.tx_id)
        if other is None or _rank(alert) > _rank(other):
            latest[alert.tx_id] = alert
    return latest


def _rank(alert: Alert) -> tuple[Position, bool]:
    return (alert.position, alert.op == "c")
