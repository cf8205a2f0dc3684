"""Who pays what, where and when: a seeded stream of payments with planted fraud and honest look-alikes.

Simulated time only. Everyday payments are one merged Poisson process (a payer is drawn for each payment), so
memory does not grow with the number of users; episodes wait in a heap until their time comes. Planted fraud
is easier to find than real fraud: these figures compare paths and rules, they predict no real portfolio.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from itertools import accumulate
from random import Random
from typing import Final

from twinpath.detection.population import (
    DAY_US,
    HOUR_US,
    HOUR_WEIGHTS,
    SECOND_US,
    Payer,
    Payment,
    Population,
    Scene,
    clip_cents,
    sure_rows,
)

PAYMENTS_PER_USER_DAY: Final = 3.0
SPREE_SHARE, LATE_SHARE, LOOK_ALIKE_SHARE = 0.08, 0.005, 0.06

Charge = tuple[int, int, float, int]
"""(microseconds after the episode's start, user_id, cents before clipping, merchant_id)."""


def stolen_card_burst(s: Scene) -> list[Charge]:
    """6-12 payments of 1,500-6,000 in 20-50 s; a sure one has 8 or more, the last three above 4,100."""
    count, length = s.rng.randint(8 if s.sure else 6, 12), s.rng.randint(20, 50) * SECOND_US
    payer, lifted = s.anyone(), count - 3 if s.sure else count
    return [(t, payer.user_id, s.rng.uniform(150_000 if i < lifted else 410_000, 600_000),
             s.people.new_merchant(payer, s.rng))
            for i, t in enumerate(s.moments(count, length))]  # fmt: skip


def takeover_drift(s: Scene) -> list[Charge]:
    """4-15 payments over 1-7 days at 3-10 times the median; a sure one opens with 510.00 or more and at least
    4 times the mean of the last 50.
    """
    payer, count = s.known_payer(), s.rng.randint(4, 15)
    past = [cents for user, _, cents in s.recent if user == payer.user_id][-50:] or [0]
    opening = max(51_000, 4 * sum(past) / len(past)) if s.sure else 0
    return [(t, payer.user_id, max(s.rng.uniform(3, 10) * payer.median, 0 if t else opening),
             s.people.new_merchant(payer, s.rng))
            for t in s.moments(count, s.within(DAY_US, 7 * DAY_US))]  # fmt: skip


def card_testing(s: Scene) -> list[Charge]:
    """3-6 payments of 0.50-5.00 at several merchants, 20-90 s apart, then one of 800-3,000."""
    payer, small = s.anyone(), s.rng.randint(3, 6)
    times = list(accumulate(s.rng.randint(20, 90) * SECOND_US for _ in range(small + 1)))
    cents = [s.rng.uniform(50, 500) for _ in range(small)] + [s.rng.uniform(80_000, 300_000)]
    return [(t, payer.user_id, c, s.people.new_merchant(payer, s.rng))
            for t, c in zip(times, cents, strict=True)]  # fmt: skip


def enumeration(s: Scene) -> list[Charge]:
    """10-25 cards tried at one merchant with 0.50-2.00 each, 1-6 s apart."""
    merchant = s.rng.randint(1, s.people.merchants)
    return [(int(i * s.rng.uniform(1, 6) * SECOND_US), user, s.rng.uniform(50, 200), merchant)
            for i, user in enumerate(s.crowd(10, 25))]  # fmt: skip


def compromised_merchant(s: Scene) -> list[Charge]:
    """5-10 recent customers of one merchant pay 200-1,500 elsewhere within 1-12 h."""
    leak = s.rng.choice(s.recent)[1]
    users = sorted({user for user, merchant, _ in s.recent if merchant == leak})
    victims = [s.people.payer(user) for user in s.rng.sample(users, min(len(users), s.rng.randint(5, 10)))]
    length = s.within(HOUR_US, 12 * HOUR_US)
    return [(s.rng.randrange(length), payer.user_id, s.rng.uniform(20_000, 150_000),
             s.people.new_merchant(payer, s.rng)) for payer in victims]  # fmt: skip


def transit_taps(s: Scene) -> list[Charge]:
    """Honest: a group travels on one card, 6-9 equal fares of 1.50-3.50 within a minute."""
    user, fare = s.people.draw(s.rng), s.rng.randint(150, 350)
    times = s.moments(s.rng.randint(6, 9), s.rng.randint(30, 60) * SECOND_US)
    return [(t, user, fare, s.people.merchants) for t in times]


def vending(s: Scene) -> list[Charge]:
    """Honest: 4-8 small purchases at one machine within 2-8 minutes."""
    user, count, length = s.people.draw(s.rng), s.rng.randint(4, 8), s.rng.randint(120, 480) * SECOND_US
    return [(t, user, s.rng.randint(100, 350), s.people.merchants - 1) for t in s.moments(count, length)]


def subscription_billing(s: Scene) -> list[Charge]:
    """Honest: one merchant charges 15-40 customers the same price, some at the same instant."""
    price, merchant = s.rng.choice((499, 999, 1299, 1999)), s.people.merchants - 2
    return [(i // 4 * SECOND_US, user, price, merchant) for i, user in enumerate(s.crowd(15, 40))]


def trip(s: Scene) -> list[Charge]:
    """Honest: 5-15 payments over 1-3 days at all-new merchants, 1.5-4 times the median."""
    payer, length = s.anyone(), s.within(DAY_US, 3 * DAY_US)
    return [(t, payer.user_id, s.rng.uniform(1.5, 4) * payer.median, s.people.new_merchant(payer, s.rng))
            for t in s.moments(s.rng.randint(5, 15), length)]  # fmt: skip


def flash_sale(s: Scene) -> list[Charge]:
    """Honest: 15-40 customers buy for 30-400 at one merchant within 2-5 minutes."""
    merchant, length = s.people.draw_merchant(s.rng), s.rng.randint(120, 300) * SECOND_US
    return [(s.rng.randrange(length), user, s.rng.uniform(3_000, 40_000), merchant)
            for user in s.crowd(15, 40)]  # fmt: skip


Episode = Callable[[Scene], list[Charge]]
FRAUD: Final[tuple[Episode, ...]] = (
    *(stolen_card_burst, takeover_drift, card_testing) * 2, enumeration, compromised_merchant,
)  # fmt: skip
LOOK_ALIKES: Final[tuple[Episode, ...]] = (
    *(transit_taps, vending, trip) * 2, subscription_billing, flash_sale,
)  # fmt: skip


class Track:
    """Keeps one kind of episode at its share of all rows; every kind comes before one comes a third time."""

    def __init__(self, kinds: tuple[Episode, ...], share: float, rng: Random) -> None:
        self.kinds, self.share, self.planted = kinds, share, 0
        self.fraud = kinds is FRAUD
        self._rng, self._bag = rng, list[Episode]()
        self.due_row = self._next_row()

    def _next_row(self) -> float:
        return (self.planted + self._rng.uniform(0, 16)) / self.share

    def take(self) -> Episode:
        """The next kind, from a shuffled bag."""
        self._bag = self._bag or self._rng.sample(self.kinds, len(self.kinds))
        return self._bag.pop()

    def note(self, rows: int) -> None:
        """Counts an episode's rows and sets the row after which the next one begins."""
        self.planted += rows
        self.due_row = self._next_row()


class Stream:
    """Merges everyday payments with the planned ones of episodes, in order of arrival."""

    def __init__(self, people: Population, seed: int, total_rows: int, fraud_share: float) -> None:
        self.people, self.total = people, total_rows
        self.rng, episode_rng = Random(f"{seed}/payments"), Random(f"{seed}/episodes")
        self.scene = Scene(people, episode_rng, deque(maxlen=3000))
        shares = ((FRAUD, fraud_share), (LOOK_ALIKES, LOOK_ALIKE_SHARE))
        self.tracks = [Track(kinds, share, episode_rng) for kinds, share in shares]
        self.gap_us = DAY_US / (PAYMENTS_PER_USER_DAY * people.users)
        # Sprees and episodes come on top of the plain payments, so that all together keep to `gap_us`.
        self.plain_gap_us = self.gap_us * (1 + 2 * SPREE_SHARE) / (1 - LOOK_ALIKE_SHARE - fraud_share)
        rows = sure_rows(total_rows)
        self.sure = [(rows[1], takeover_drift), (rows[0], stolen_card_burst)] if rows else []
        self.planned: list[tuple[int, int, Payment]] = []
        self.episodes = self.ticket = self.rows = 0

    def plan(self, at_us: int, payment: Payment) -> None:
        """Lets `payment` arrive at `at_us`; tickets keep equal times in order of planning."""
        self.ticket += 1
        heapq.heappush(self.planned, (at_us, self.ticket, payment))

    def everyday(self, start_us: int) -> Iterator[Payment]:
        """Everyday payments in order of time, endless; follow-ups of a spree and late rows are planned."""
        rng = self.rng
        rate = max(HOUR_WEIGHTS) * 24 / sum(HOUR_WEIGHTS) / self.plain_gap_us
        at = float(start_us)
        while True:
            at += rng.expovariate(rate)
            if (payer := self.people.draw_awake(at, rng)) is None:
                continue
            payment, fate = self.people.purchase(payer, int(at), rng, "ordinary"), rng.random()
            if fate < SPREE_SHARE:
                self._plan_spree(payer, int(at))
            elif fate > 1 - LATE_SHARE:
                delay_us = rng.uniform(5, 120) * SECOND_US + rng.uniform(0, 10) * self.gap_us
                self.plan(int(at + delay_us), payment)
                continue
            yield payment

    def _plan_spree(self, payer: Payer, at_us: int) -> None:
        for _ in range(self.rng.randint(1, 3)):
            at_us += self.rng.randint(15 * SECOND_US, 180 * SECOND_US)
            self.plan(at_us, self.people.purchase(payer, at_us, self.rng, "spree"))

    def plant_due(self, now_us: int) -> None:
        """Begins the episodes whose row has come: the sure ones first, then as each track's share asks."""
        if not self.rows:
            return
        if self.sure and self.rows >= self.sure[-1][0]:
            self._plant(self.tracks[0], self.sure.pop()[1], now_us, sure=True)
        for track in self.tracks:
            if self.rows >= track.due_row and not (track.fraud and self.sure):
                self._plant(track, track.take(), now_us, sure=False)

    def _plant(self, track: Track, kind: Episode, now_us: int, sure: bool) -> None:
        self.scene.left_us, self.scene.sure = int((self.total - self.rows) * self.gap_us), sure
        self.episodes += 1
        charges = kind(self.scene)
        for after_us, user, cents, merchant in charges:
            at = now_us + after_us
            card = self.people.payer(user).cards[0]
            self.plan(at, Payment(
                user, clip_cents(cents), card, merchant, at, kind.__name__, self.episodes, track.fraud, sure
            ))  # fmt: skip
        track.note(len(charges))

    def payments(self, start_us: int) -> Iterator[Payment]:
        """All payments in order of arrival, endless; `created_us` ascends except for late rows."""
        now = start_us
        for everyday in self.everyday(start_us):
            arrived = False
            while not arrived:
                self.plant_due(now)
                arrived = not (self.planned and self.planned[0][0] <= everyday.created_us)
                payment = everyday
                if not arrived:
                    now, _, payment = heapq.heappop(self.planned)
                else:
                    now = everyday.created_us
                self.scene.recent.append((payment.user_id, payment.merchant_id, payment.amount_cents))
                self.rows += 1
                yield payment
