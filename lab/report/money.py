"""What the alerts were worth, in words and rows: for the page and for Markdown alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lab.measure.money import DAY_S, DELAYS_S, Money, PathMoney
from lab.report.tables import table
from lab.report.words import UNKNOWN, cents, duration, listed, percent, whole

MINUTE_S, HOUR_S = 60, 3_600
Rows = list[list[str]]
NOTES = (
    "A payment leaves with its commit; an alert stops what the same user pays later in the same episode. Alerts count "
    "as they were first raised at an insert.",
    "Payments are told apart on the clock of created_at, which the load runs faster than real time (stated below). A "
    "path's delay is real seconds and is not compressed: so many seconds are added on that clock, as if the payments "
    "had come in their own time. Compressed with the load, a second of delay would be hours of payments.",
    "The fraud is planted and easier to find than real fraud: these figures compare paths, they predict no portfolio. "
    "Precision depends on the share of fraud among the payments.",
)


def said(money: Money) -> str:
    """One sentence."""
    left = [f"{path} {percent(share(one.left_cents, money))}" for path, one in money.paths.items()]
    at_once = min((one.left_at_once_cents for one in money.paths.values()), default=0)
    return (
        f"Of {cents(money.fraud_cents)} in {whole(money.fraud_payments)} payments of planted fraud this share had left "
        f"before the first alert: {listed(left)}; had every alert come at once it would be "
        f"{percent(share(at_once, money))}."
    )


def share(part: int, money: Money) -> float | None:
    """Of the fraud's money, from 0 to 1."""
    return part / money.fraud_cents if money.fraud_cents else None


def load_said(money: Money) -> str:
    """What the load was."""
    faster = f", in the mean {money.compression:,.0f} times as fast as the clock" if money.compression else ""
    return (
        f"{whole(money.payments)} payments of {money.days:,.1f} simulated days{faster}; {percent(money.prevalence)} of "
        f"them are fraud, in {whole(money.episodes)} episodes."
    )


def delay_columns() -> list[str]:
    """Names of the delays."""
    return [f"all after {span(delay_s)}" for delay_s in DELAYS_S]


def left_rows(money: Money) -> Rows:
    """By path: as delivered, at once, and after each delay."""
    return [
        [path, cents(one.left_cents), cents(one.left_at_once_cents), *(cents(each.cents) for each in one.left_after)]
        for path, one in money.paths.items()
    ]


LEFT_COLUMNS = ["path", "as delivered", "all at once"]
QUALITY_COLUMNS = [
    "path, rule",
    "payments alerted",
    "alerts a day",
    "precision",
    "payments found",
    "money found",
    "episodes found",
    "false alerts",
    "users with one",
]


def quality_rows(money: Money) -> Rows:
    """By path, and by rule within it."""
    rows = []
    for path, one in money.paths.items():
        rows.append([path, whole(one.payments_alerted), _rate(one.alerts_per_day), *_shares(one)])
        rows += [
            [f"{path}, {rule}", whole(each.payments_alerted), UNKNOWN, percent(each.precision),
             percent(each.transaction_recall), *[UNKNOWN] * 4]
            for rule, each in one.rules.items()
        ]  # fmt: skip
    return rows


def _shares(one: PathMoney) -> list[str]:
    found = (one.precision, one.transaction_recall, one.value_recall, one.episode_recall, one.false_positive_rate)
    return [*(percent(each) for each in found), whole(one.users_with_false_alert)]


def _rate(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.1f}"


def scenario_columns(money: Money) -> list[str]:
    """One column of money and one of the first alert for each path."""
    return ["scenario", "episodes", "money", *(f"left, {path}" for path in money.paths),
            *(f"first alert, {path}" for path in money.paths)]  # fmt: skip


def scenario_rows(money: Money) -> Rows:
    """By scenario: money that left, and when the first alert was there, path by path."""
    paths = list(money.paths.values())
    names = dict.fromkeys(name for one in paths for name in one.scenarios)
    rows = []
    for name in names:
        found = [one.scenarios[name] for one in paths]
        first = [
            UNKNOWN
            if one.payment_of_alert is None or one.seconds_to_alert is None
            else f"{one.found} of {one.episodes}: payment {one.payment_of_alert:g}, {long(one.seconds_to_alert)}"
            for one in found
        ]
        rows.append(
            [name, whole(found[0].episodes), cents(found[0].cents), *(cents(one.left_cents) for one in found), *first]
        )
    return rows


def span(seconds: float) -> str:
    """A round time as people say it: 0.5 s, 10 min, 24 h."""
    if seconds >= HOUR_S:
        return f"{seconds / HOUR_S:g} h"
    return f"{seconds / MINUTE_S:g} min" if seconds > MINUTE_S else f"{seconds:g} s"


def long(seconds: float) -> str:
    """Seconds, or hours and days where they are many."""
    if seconds < 2 * HOUR_S:
        return duration(1000 * seconds)
    return f"{seconds / HOUR_S:,.1f} h" if seconds < 2 * DAY_S else f"{seconds / DAY_S:,.1f} days"


def markdown_lines(summary: Mapping[str, Any]) -> Sequence[str]:
    """The section of summary.md; empty without a planted fraud."""
    if not summary.get("money"):
        return []
    money = msgspec.convert(summary["money"], Money)
    return [
        "", "## Money: what had left before the alert", "", said(money), load_said(money), "",
        *table([*LEFT_COLUMNS, *delay_columns()], left_rows(money)), "",
        *table(QUALITY_COLUMNS, quality_rows(money)), "",
        *table(scenario_columns(money), scenario_rows(money)), "",
        *NOTES,
    ]  # fmt: skip
