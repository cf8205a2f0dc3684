"""The order of a bench: A B C, C B A, A B C ... so that a drift of the machine touches all alike."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_turn(variants: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """(round, variant): every variant once a round, each second round backwards. Rounds count from 1."""
    for number in range(1, rounds + 1):
        for variant in variants if number % 2 else reversed(variants):
            yield number, variant
