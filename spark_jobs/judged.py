"""Sets of ids as ranges: what a batch path has judged, in a few bytes as long as ids are dense."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

import msgspec

Range = tuple[int, int]
"""First and last id, both included."""


class Ids:
    """A set of integers."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._ranges = list(_joined(sorted(ranges)))
        self._firsts = [first for first, _ in self._ranges]

    @classmethod
    def of(cls, ids: Iterable[int]) -> "Ids":
        """The set of these ids."""
        return cls((one, one) for one in ids)

    @classmethod
    def decode(cls, data: bytes) -> "Ids":
        """From `encode`."""
        return cls(msgspec.msgpack.decode(data, type=list[Range]))

    def encode(self) -> bytes:
        """As bytes; equal sets give equal bytes."""
        return msgspec.msgpack.encode(self._ranges)

    def __contains__(self, one: int) -> bool:
        place = bisect_right(self._firsts, one) - 1
        return place >= 0 and one <= self._ranges[place][1]

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self._ranges)

    def __or__(self, other: "Ids") -> "Ids":
        return Ids([*self._ranges, *other._ranges])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ids) and self._ranges == other._ranges

    def __hash__(self) -> int:
        return hash(tuple(self._ranges))

    @property
    def ranges(self) -> list[Range]:
        """The ranges, ascending, none touching another."""
        return list(self._ranges)


def _joined(ranges: Iterable[Range]) -> Iterator[Range]:
    current: Range | None = None
    for first, last in ranges:
        if current is None:
            current = (first, last)
        elif first <= current[1] + 1:
            current = (current[0], max(current[1], last))
        else:
            yield current
            current = (first, last)
    if current is not None:
        yield current
