"""The bounded memory of one user: the last payments in the order of the log.

Rows taught by a snapshot stand before all judged rows, because a snapshot only says what was there
before the log began; the oldest entry falls out first. Nothing is dropped by a clock.
Entries are kept as rows of machine integers, because an agent remembers millions of them: about 50
bytes each, where objects take 400.
"""

import struct
import sys
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from twinpath.detection.model import Transaction

Judged = tuple[int, ...]
"""The numbers that a rule judged a row by, in the order of the rule's FEATURES."""

if TYPE_CHECKING:
    Cells = array[int]
else:
    Cells = array

TX_ID, AMOUNT, CREATED, MERCHANT, FEATURE = range(5)  # columns of an entry; features are the last ones
NO_MERCHANT = -(2**63)


def width(features: tuple[str, ...]) -> int:
    """Integers kept of one entry of a rule with these features."""
    return FEATURE + len(features)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One remembered payment; `judged_on` is None for a row that was taught, never judged."""

    transaction: Transaction
    judged_on: Judged | None = None


class History(msgspec.Struct, array_like=True, gc=False):
    """Entries from the oldest to the newest; `taught` counts the taught ones at the front.

    A rule's State sets WIDTH to `width(FEATURES)`; `cells` holds the entries one after the other.
    `highest_tx_id` is the highest id ever held: ids mostly rise, so that one comparison usually
    shows that a row is new.
    """

    WIDTH: ClassVar[int] = FEATURE
    _PACK: ClassVar[Callable[..., bytes]] = struct.Struct(f"{FEATURE}q").pack

    cells: Cells = msgspec.field(default_factory=lambda: array("q"))
    taught: int = 0
    highest_tx_id: int = -(2**63)
    user_id: int = 0

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._PACK = struct.Struct(f"{cls.WIDTH}q").pack

    @property
    def count(self) -> int:
        """Number of entries."""
        return len(self.cells) // self.WIDTH

    @property
    def entries(self) -> list[Entry]:
        """All entries as values, the oldest first."""
        return [self.entry(place) for place in range(self.count)]

    def entry(self, place: int) -> Entry:
        """The entry at a place, as a value."""
        begin = place * self.WIDTH
        tx_id, amount, created, merchant, *judged_on = self.cells[begin : begin + self.WIDTH]
        known = None if merchant == NO_MERCHANT else merchant
        transaction = Transaction(tx_id, self.user_id, amount, created, known)
        return Entry(transaction, None if place < self.taught else tuple(judged_on))

    def place(self, tx_id: int) -> int:
        """Index of the row with this id, or -1."""
        if tx_id > self.highest_tx_id:
            return -1
        ids = self.cells[:: self.WIDTH]
        try:
            return ids.index(tx_id)  # an id is held once
        except ValueError:
            return -1

    def append(self, entry: Entry) -> None:
        """Remember a judged row as the newest."""
        self.cells.frombytes(self._row(entry))

    def teach(self, entry: Entry) -> None:
        """Remember a snapshot row behind the taught ones and before every judged one."""
        begin = self.taught * self.WIDTH
        self.cells[begin:begin] = array("q", self._row(entry))
        self.taught += 1

    def replace(self, place: int, entry: Entry) -> None:
        """Put new values at the same place."""
        begin = place * self.WIDTH
        self.cells[begin : begin + self.WIDTH] = array("q", self._row(entry))

    def remove(self, place: int) -> None:
        """Forget one row."""
        if place < self.taught:
            self.taught -= 1
        begin = place * self.WIDTH
        del self.cells[begin : begin + self.WIDTH]

    def _row(self, entry: Entry) -> bytes:
        """The cells of an entry as the machine's bytes: an array takes them four times faster than integers."""
        transaction, judged_on = entry.transaction, entry.judged_on
        tx_id = transaction.tx_id
        if tx_id > self.highest_tx_id:  # noqa: PLR1730  max() costs three times as much, and this is the hot path
            self.highest_tx_id = tx_id
        if not self.cells:  # else it is known: setting it again would touch the old integer, far off in memory
            self.user_id = transaction.user_id
        merchant = NO_MERCHANT if transaction.merchant_id is None else transaction.merchant_id
        features = (0,) * (self.WIDTH - FEATURE) if judged_on is None else judged_on
        return self._PACK(*((tx_id, transaction.amount_cents, transaction.created_us, merchant) + features))


def packed(cells: object) -> bytes:
    """Cells as bytes: 8 for each integer, the lowest first, on every machine."""
    if not isinstance(cells, array):
        raise NotImplementedError(f"no state holds {type(cells)}")
    if sys.byteorder == "big":
        cells = array("q", cells)
        cells.byteswap()
    return cells.tobytes()


def unpacked(wanted: type, data: bytes) -> Cells:
    """Cells from bytes; ValueError when they cannot be cells."""
    if wanted is not array or not isinstance(data, bytes):
        raise ValueError(f"found {type(data).__name__}, wanted the bytes of integers")
    cells = array("q")
    cells.frombytes(data)
    if sys.byteorder == "big":
        cells.byteswap()
    return cells
