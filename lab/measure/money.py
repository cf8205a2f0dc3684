"""What alerts are worth: of the planted fraud, the money that had left before the first alert came.

A payment leaves with its commit; an alert stops what the same user pays later in the same episode. Payments are told
apart on the clock of their created_at, which a load runs faster than real time. A path's delay is real seconds and is
not compressed: so many seconds are added on that clock, for in production both are one. Only alerts raised at an insert
count, whatever became of them later, and payments count as they were inserted.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import median

import msgspec

from lab.measure.latency import Sample

DELAYS_S = (0.5, 10.0, 60.0, 600.0, 3_600.0, 86_400.0)
CURVE_S = [round(10 ** (place / 10), 3) for place in range(-20, 50)]  # 10 ms to 22 h, ten to a power of ten
DAY_S, SECOND_US = 86_400, 1_000_000


class Payment(msgspec.Struct, frozen=True):
    """A committed payment; episode 0 is honest, whatever its scenario."""

    tx_id: int
    user_id: int
    cents: int
    created_us: int
    scenario: str
    episode: int


class Left(msgspec.Struct, frozen=True):
    """Money that leaves when every alert comes after one and the same delay."""

    delay_s: float
    cents: int


class ScenarioMoney(msgspec.Struct, frozen=True):
    """One kind of fraud on one path. `payment_of_alert` counts from 1 within the episode, `seconds_to_alert` from its
    first payment until the first alert was there; both are medians over the episodes that were found."""

    episodes: int
    found: int
    payments: int
    cents: int
    left_cents: int
    left_at_once_cents: int
    payment_of_alert: float | None
    seconds_to_alert: float | None


class Quality(msgspec.Struct, frozen=True):
    """How good alerts are: shares of 1, None of nothing; a payment counts once, and a day is a simulated one."""

    payments_alerted: int
    alerts_per_day: float | None
    precision: float | None
    transaction_recall: float | None
    value_recall: float | None
    episode_recall: float | None
    false_positive_rate: float | None
    users_with_false_alert: int


class PathMoney(msgspec.Struct, frozen=True):
    """One path; `quality` is that of all its rules together. `left_cents` is as delivered, `left_at_once_cents` with no
    delay at all: what is between them was lost to latency."""

    quality: Quality
    left_cents: int
    left_at_once_cents: int
    left_after: list[Left]
    scenarios: dict[str, ScenarioMoney]
    rules: dict[str, Quality]


class Money(msgspec.Struct, frozen=True):
    """Days are simulated ones, of created_at; `prevalence` is the share of payments that are fraud; `curve` is what had
    left with the alerts of the first path, had every one come after one delay."""

    payments: int
    fraud_payments: int
    fraud_cents: int
    episodes: int
    prevalence: float
    days: float
    compression: float | None
    paths: dict[str, PathMoney]
    curve: list[Left] = []


Delays = Mapping[int, float]
"""Seconds until the first alert about a payment, by tx_id."""


def money(payments: Sequence[Payment], samples: Mapping[str, Sequence[Sample]], duration_s: float) -> Money | None:
    """Every path by the samples of its alerts, of a load that took `duration_s`; None without a planted fraud."""
    fraud = [one for one in payments if one.episode]
    if not fraud:
        return None
    stamps = [one.created_us for one in payments]
    days = (max(stamps) - min(stamps)) / SECOND_US / DAY_S
    return Money(
        payments=len(payments),
        fraud_payments=len(fraud),
        fraud_cents=_cents(fraud),
        episodes=len({one.episode for one in fraud}),
        prevalence=len(fraud) / len(payments),
        days=days,
        compression=days * DAY_S / duration_s if duration_s > 0 else None,
        paths={path: of_path(payments, found, days) for path, found in samples.items()},
        curve=_left_after(fraud, first_delays(next(iter(samples.values()), ())), CURVE_S),
    )


def of_path(payments: Sequence[Payment], samples: Sequence[Sample], days: float) -> PathMoney:
    """One path."""
    fraud = [one for one in payments if one.episode]
    delays = first_delays(samples)
    rules = sorted({one.rule for one in samples})
    return PathMoney(
        quality=quality(payments, samples, days),
        left_cents=left_cents(fraud, delays),
        left_at_once_cents=left_cents(fraud, dict.fromkeys(delays, 0.0)),
        left_after=_left_after(fraud, delays, DELAYS_S),
        scenarios={name: _scenario(some, delays) for name, some in _by_scenario(fraud).items()},
        rules={rule: quality(payments, [one for one in samples if one.rule == rule], days) for rule in rules},
    )


def quality(payments: Sequence[Payment], samples: Sequence[Sample], days: float) -> Quality:
    """Of the alerts that these samples are of."""
    fraud = [one for one in payments if one.episode]
    tx_ids = {one.tx_id for one in samples}
    alerted = [one for one in payments if one.tx_id in tx_ids]
    right = [one for one in alerted if one.episode]
    wrong = [one for one in alerted if not one.episode]
    known = {one.tx_id for one in alerted}
    return Quality(
        payments_alerted=len(alerted),
        alerts_per_day=sum(one.tx_id in known for one in samples) / days if days else None,
        precision=_share(len(right), len(alerted)),
        transaction_recall=_share(len(right), len(fraud)),
        value_recall=_share(_cents(right), _cents(fraud)),
        episode_recall=_share(len({one.episode for one in right}), len({one.episode for one in fraud})),
        false_positive_rate=_share(len(wrong), len(payments) - len(fraud)),
        users_with_false_alert=len({one.user_id for one in wrong}),
    )


def first_delays(samples: Iterable[Sample]) -> dict[int, float]:
    """By transaction; a stamp that goes backwards counts as no delay: what is committed has left."""
    found: dict[int, float] = {}
    for one in samples:
        delay_s = max(0.0, one.latency_ms / 1000)
        found[one.tx_id] = min(delay_s, found.get(one.tx_id, delay_s))
    return found


def left_cents(fraud: Iterable[Payment], delays: Delays) -> int:
    """Money of the payments that were not later than the first alert of their user in their episode."""
    cards: defaultdict[tuple[int, int], list[Payment]] = defaultdict(list)
    for one in fraud:
        cards[one.episode, one.user_id].append(one)
    left = 0
    for card in cards.values():
        stopped_us = min((_alert_us(one, delays) for one in card if one.tx_id in delays), default=None)
        left += sum(one.cents for one in card if stopped_us is None or one.created_us <= stopped_us)
    return left


def _left_after(fraud: Sequence[Payment], alerted: Collection[int], delays_s: Iterable[float]) -> list[Left]:
    return [Left(delay_s, left_cents(fraud, dict.fromkeys(alerted, delay_s))) for delay_s in delays_s]


def _alert_us(one: Payment, delays: Delays) -> int:
    """When the alert about a payment was there."""
    return one.created_us + round(delays[one.tx_id] * SECOND_US)


def _scenario(fraud: Sequence[Payment], delays: Delays) -> ScenarioMoney:
    episodes: defaultdict[int, list[Payment]] = defaultdict(list)
    for one in sorted(fraud, key=lambda one: (one.created_us, one.tx_id)):
        episodes[one.episode].append(one)
    firsts = []
    for rows in episodes.values():
        alerts = [(_alert_us(one, delays), place) for place, one in enumerate(rows, 1) if one.tx_id in delays]
        if alerts:
            at_us, place = min(alerts)
            firsts.append((place, (at_us - rows[0].created_us) / SECOND_US))
    return ScenarioMoney(
        episodes=len(episodes),
        found=len(firsts),
        payments=len(fraud),
        cents=_cents(fraud),
        left_cents=left_cents(fraud, delays),
        left_at_once_cents=left_cents(fraud, dict.fromkeys(delays, 0.0)),
        payment_of_alert=median(place for place, _ in firsts) if firsts else None,
        seconds_to_alert=median(seconds for _, seconds in firsts) if firsts else None,
    )


def _by_scenario(fraud: Iterable[Payment]) -> dict[str, list[Payment]]:
    found: defaultdict[str, list[Payment]] = defaultdict(list)
    for one in fraud:
        found[one.scenario].append(one)
    return dict(sorted(found.items()))


def _cents(payments: Iterable[Payment]) -> int:
    return sum(one.cents for one in payments)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
