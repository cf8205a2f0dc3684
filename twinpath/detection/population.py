"""Users and merchants, their habits and their payments, one by one: the people of the seeded stream."""

import math
from collections import Counter, deque
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import Final

import msgspec

FIRST_USER: Final = 1000
SECOND_US: Final = 1_000_000
HOUR_US: Final = 3_600 * SECOND_US
DAY_US: Final = 24 * HOUR_US
LEAST_CENTS, MOST_CENTS = 50, 999_900
CARD_TYPES: Final = ("visa", "mastercard", "amex", "discover")

# Share of payments per hour of the day (any scale), with peaks at 12 and 18.
HOUR_WEIGHTS: Final = (
    *(4, 2, 2, 2, 3, 6, 12, 20, 24, 24, 27, 34),
    *(42, 34, 27, 27, 31, 37, 42, 35, 25, 17, 10, 6),
)
# Payments per day of the user at relative rank x in (0, 1]: min(40, 0.866 * x ** -0.8), whose mean is 3. The
# least active user has 0.87 a day, so a lower limit of 0.05 never binds.
ZIPF_SCALE, MOST_PER_DAY = 0.866, 40.0
KNEE: Final = (ZIPF_SCALE / MOST_PER_DAY) ** 1.25
# A prime above every user number spreads the active ranks over the numbers without a table.
RANK_STEP: Final = 2_147_483_647


class Payment(msgspec.Struct, frozen=True, gc=False):
    """One payment as it happened; `sure` marks the few that a run counts on (see `sure_rows`)."""

    user_id: int
    amount_cents: int
    card_type: str
    merchant_id: int
    created_us: int
    scenario: str = "ordinary"
    episode: int = 0
    fraud: bool = False
    sure: bool = False


class Payer(msgspec.Struct, frozen=True):
    """The habits of one user; `median` is in cents."""

    user_id: int
    median: float
    sigma: float
    usual: tuple[int, ...]
    cards: tuple[str, ...]


def clip_cents(cents: float) -> int:
    """Whole cents within 0.50 and 9,999.00."""
    return min(MOST_CENTS, max(LEAST_CENTS, round(cents)))


def sure_rows(total_rows: int) -> tuple[int, int] | None:
    """After how many rows the first burst and the first drift begin; None in a run too short for them."""
    return (min(total_rows // 8, 1000), min(total_rows // 5, 2000)) if total_rows >= 500 else None


def misentered(payment: Payment, rng: Random, users: int, may_mistype: bool) -> tuple[Payment, Payment]:
    """A payment as it is written first, and as it is corrected later."""
    change, fate = msgspec.structs.replace, rng.random()
    if fate < 0.02 and users > 1:  # the key of the change log changes
        other = (payment.user_id - FIRST_USER + rng.randrange(1, users)) % users
        return payment, change(payment, user_id=FIRST_USER + other)
    if fate < 0.07:
        shift = rng.choice((-1, 1)) * rng.randint(1, 120) * SECOND_US
        return payment, change(payment, created_us=payment.created_us + shift)
    if fate < 0.55 and may_mistype:  # a digit too many or too few, within the limits of an amount
        options = (payment.amount_cents * 10, payment.amount_cents // 10)
        mistyped = rng.choice([cents for cents in options if LEAST_CENTS <= cents <= MOST_CENTS])
        return change(payment, amount_cents=mistyped), payment
    cents = clip_cents(payment.amount_cents + rng.choice((-1, 1)) * rng.randint(1, 99))
    return payment, change(payment, amount_cents=cents)


class Population:
    """Users and merchants, derived from the seed when asked for; only a bounded cache is kept per user."""

    def __init__(self, seed: int, users: int, merchants: int) -> None:
        rng = Random(f"{seed}/merchants")
        self.users, self.merchants = users, merchants
        self.factors = [rng.lognormvariate(0, 0.5) for _ in range(merchants + 1)]
        self._shifts_us = [int(rng.gauss(0, 1.5) * HOUR_US) for _ in range(4096)]
        self._seed = seed
        self._popularity = list(accumulate(1 / rank for rank in range(1, merchants + 1)))
        self._ids = range(1, merchants + 1)
        self.payer: Callable[[int], Payer] = lru_cache(maxsize=50_000)(self._derive)

    def _derive(self, user_id: int) -> Payer:
        rng = Random(f"{self._seed}/{user_id}")
        return Payer(
            user_id=user_id,
            median=100 * rng.lognormvariate(math.log(35), 0.6),
            sigma=rng.uniform(0.4, 0.9),
            usual=tuple(rng.choices(self._ids, cum_weights=self._popularity, k=rng.randint(8, 25))),
            cards=tuple(rng.sample(CARD_TYPES, rng.randint(1, 2))),
        )

    def draw(self, rng: Random) -> int:
        """A user number by activity (inverse of the cumulated Zipf law, in closed form)."""
        at_most = MOST_PER_DAY * KNEE
        mass = rng.random() * (at_most + 5 * ZIPF_SCALE * (1 - KNEE**0.2))
        beyond = mass - at_most
        x = mass / MOST_PER_DAY if beyond < 0 else (beyond / (5 * ZIPF_SCALE) + KNEE**0.2) ** 5
        rank = min(self.users - 1, int(x * self.users))
        return FIRST_USER + (rank * RANK_STEP + self._seed) % self.users

    def draw_awake(self, at_us: float, rng: Random) -> Payer | None:
        """A payer by activity, or None if that user's own hour of the day speaks against it (thinning)."""
        user = self.draw(rng)
        shift_us = self._shifts_us[user * 40_503 % 4096]  # cheap: most candidates of the night are refused
        weight = HOUR_WEIGHTS[int((at_us + shift_us) // HOUR_US) % 24]
        return self.payer(user) if rng.random() * max(HOUR_WEIGHTS) < weight else None

    def draw_merchant(self, rng: Random) -> int:
        """Any merchant by popularity (Zipf 1.0)."""
        return rng.choices(self._ids, cum_weights=self._popularity)[0]

    def new_merchant(self, payer: Payer, rng: Random) -> int:
        """A merchant outside the payer's usual ones, all equally likely."""
        while (merchant := rng.randint(1, self.merchants)) in payer.usual:
            pass
        return merchant

    def purchase(self, payer: Payer, at_us: int, rng: Random, scenario: str) -> Payment:
        """An everyday payment: 90 % at a usual merchant, 2 % much larger than usual."""
        merchant = rng.choice(payer.usual) if rng.random() < 0.9 else self.draw_merchant(rng)
        cents = payer.median * math.exp(payer.sigma * rng.gauss(0, 1)) * self.factors[merchant]
        if rng.random() < 0.02:
            cents *= rng.uniform(4, 15)
        return Payment(payer.user_id, clip_cents(cents), rng.choice(payer.cards), merchant, at_us, scenario)


class Scene(msgspec.Struct):
    """What an episode may look at: the people, the last rows (user_id, merchant_id, cents), the time
    left, and whether a run counts on its alerts.
    """

    people: Population
    rng: Random
    recent: deque[tuple[int, int, int]]
    left_us: int = 0
    sure: bool = False

    def within(self, least_us: int, most_us: int) -> int:
        """A length between both, shortened to 60 % of the simulated time left, and 10 s at least."""
        wanted = self.rng.uniform(least_us, most_us)
        return int(max(10 * SECOND_US, min(wanted, 0.6 * self.left_us)))

    def moments(self, count: int, length_us: int) -> list[int]:
        """`count` offsets from 0 to `length_us`, ascending, both ends included."""
        inner = sorted(self.rng.randrange(length_us) for _ in range(count - 2))
        return [0, *inner, length_us]

    def crowd(self, least: int, most: int) -> list[int]:
        """User numbers by activity; one can come twice."""
        return [self.people.draw(self.rng) for _ in range(self.rng.randint(least, most))]

    def anyone(self) -> Payer:
        """A payer by activity."""
        return self.people.payer(self.people.draw(self.rng))

    def known_payer(self) -> Payer:
        """The best payer of twelve who paid five times of late (or three, or once), never over 1,500.00."""
        counts = Counter(user for user, _, _ in self.recent)
        spent = {user for user, _, cents in self.recent if cents > 150_000}
        for least in (5, 3, 1):
            if known := [user for user, n in counts.items() if n >= least and user not in spent]:
                chosen = self.rng.sample(known, min(12, len(known)))
                return max((self.people.payer(user) for user in chosen), key=lambda payer: payer.median)
        return self.anyone()
