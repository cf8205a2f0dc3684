"""What the alerts were worth, in words and rows: for the page and for Markdown alike."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from lab.measure.money import DAY_S, DELAYS_S, Money, Quality, ScenarioMoney
from lab.report.tables import escaped, table
from lab.report.words import UNKNOWN, cents, decimal, duration, listed, percent, whole

MINUTE_S, HOUR_S = 60, 3_600
FIRST = "Episodes found, and the first alert: at which payment, how long after the first one (medians):"
Rows = list[list[str]]
NOTES = (
    "A payment leaves with its commit; an alert stops what the same user pays later in the same episode. Alerts count "
    "as they were first raised at an insert.",
    "Payments are told apart on the clock of created_at, which the load runs faster than real time. A "
    "path's delay is real seconds and is not compressed: so many seconds are added on that clock, as if the payments "
    "had come in their own time. Compressed with the load, a second of delay would be hours of payments.",
    "As delivered, alerts have also waited for what was killed, and those of batch for its schedule, which is switched "
    "on in mid-load; without these waits it is the column of the delay that a path has when nothing disturbs it.",
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


def quality_columns(money: Money) -> list[str]:
    """One for each path."""
    return ["", *money.paths]


def quality_rows(money: Money) -> Rows:
    """Of all rules together."""
    return _quality_rows([one.quality for one in money.paths.values()])


def rule_rows(money: Money) -> dict[str, Rows]:
    """Of each rule; a path on which it alerted nothing has dashes."""
    paths = list(money.paths.values())
    rules = dict.fromkeys(rule for one in paths for rule in one.rules)
    return {rule: _quality_rows([one.rules.get(rule) for one in paths]) for rule in rules}


def _quality_rows(found: Sequence[Quality | None]) -> Rows:
    figures: dict[str, Callable[[Quality], str]] = {
        "payments alerted": lambda one: whole(one.payments_alerted),
        "alerts a simulated day": lambda one: decimal(one.alerts_per_day),
        "precision": lambda one: percent(one.precision),
        "found of the fraud's payments": lambda one: percent(one.transaction_recall),
        "found of the fraud's money": lambda one: percent(one.value_recall),
        "found of the fraud's episodes": lambda one: percent(one.episode_recall),
        "false, of the honest payments": lambda one: percent(one.false_positive_rate),
        "users with a false alert": lambda one: whole(one.users_with_false_alert),
    }
    return [[name, *(said(one) if one else UNKNOWN for one in found)] for name, said in figures.items()]


def scenario_columns(money: Money) -> list[str]:
    """What there was, and one for each path."""
    return ["kind of fraud", "episodes", "money", *money.paths]


def scenario_rows(money: Money) -> Rows:
    """By kind of fraud: the money that had left, path by path."""
    return [
        [name, whole(found[0].episodes), cents(found[0].cents), *(cents(one.left_cents) for one in found)]
        for name, found in _scenarios(money).items()
    ]


def first_alert_columns(money: Money) -> list[str]:
    """One for each path."""
    return ["kind of fraud", *money.paths]


def first_alert_rows(money: Money) -> Rows:
    """By kind of fraud: how many episodes were found, at which payment, and how long after the first one."""
    return [[name, *(_first(one) for one in found)] for name, found in _scenarios(money).items()]


def _scenarios(money: Money) -> dict[str, list[ScenarioMoney]]:
    paths = list(money.paths.values())
    return {name: [one.scenarios[name] for one in paths] for name in (paths[0].scenarios if paths else ())}


def _first(one: ScenarioMoney) -> str:
    found = f"{one.found} of {one.episodes}"
    if one.payment_of_alert is None or one.seconds_to_alert is None:
        return found
    return f"{found}: payment {one.payment_of_alert:g}, {long(one.seconds_to_alert)}"


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
        *table(quality_columns(money), quality_rows(money)), "",
        *(
            line
            for rule, rows in rule_rows(money).items()
            for line in (f"{escaped(rule)} alone:", "", *table(quality_columns(money), rows), "")
        ),
        "Money that had left, by kind of fraud:", "",
        *table(scenario_columns(money), scenario_rows(money)), "",
        FIRST, "",
        *table(first_alert_columns(money), first_alert_rows(money)), "",
        *NOTES,
    ]  # fmt: skip
