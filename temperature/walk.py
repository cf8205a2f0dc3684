"""Plausible temperatures: a seeded random walk that is drawn back to room temperature."""

import random
from collections.abc import Iterator

MEAN = 21.0  # degrees Celsius; so are the others
COLDEST, WARMEST = 10.0, 35.0
PULL = 0.05  # of the distance to the mean, each step
STEP = 0.15  # standard deviation of a step


def walk(seed: int, sensor: str) -> Iterator[float]:
    """Endless temperatures of one sensor, two decimals; the same seed and sensor give the same ones."""
    chance = random.Random(f"{seed} {sensor}")  # noqa: S311  no secret, but a sequence that can be repeated
    temperature = chance.gauss(MEAN, 1.0)
    while True:
        temperature = min(max(temperature, COLDEST), WARMEST)
        yield round(temperature, 2)
        temperature += PULL * (MEAN - temperature) + chance.gauss(0.0, STEP)
