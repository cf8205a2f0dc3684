"""The bounded memory of one user: the last payments in the order of the log.

Rows taught by a snapshot stand before all judged rows, because a snapshot only says what was there
before the log began; the oldest entry falls out first. Nothing is dropped by a clock.
"""

import msgspec

from twinpath.detection.model import Transaction

Judged = tuple[int, ...]
"""The numbers that a rule judged a row by, in the order of the rule's FEATURES."""


class Entry(msgspec.Struct, array_like=True, gc=False):
    """One remembered payment; `judged_on` is None for a row that was taught, never judged."""

    transaction: Transaction
    judged_on: Judged | None = None


class History(msgspec.Struct, array_like=True):
    """Entries from the oldest to the newest; `taught` counts the taught ones at the front.

    `highest_tx_id` is the highest id ever held: ids mostly rise, so that one comparison usually
    shows that a row is new.
    """

    entries: list[Entry] = []
    taught: int = 0
    highest_tx_id: int = -(2**63)

    def place(self, tx_id: int) -> int:
        """Index of the row with this id, or -1."""
        if tx_id > self.highest_tx_id:
            return -1
        for index in range(len(self.entries) - 1, -1, -1):
            if self.entries[index].transaction.tx_id == tx_id:
                return index
        return -1

    def append(self, entry: Entry) -> None:
        """Remember a judged row as the newest."""
        self.entries.append(entry)
        self.highest_tx_id = max(self.highest_tx_id, entry.transaction.tx_id)

    def teach(self, entry: Entry) -> None:
        """Remember a snapshot row behind the taught ones and before every judged one."""
        self.entries.insert(self.taught, entry)
        self.taught += 1
        self.highest_tx_id = max(self.highest_tx_id, entry.transaction.tx_id)

    def replace(self, place: int, entry: Entry) -> Entry:
        """Put new values at the same place; the former entry is returned."""
        former = self.entries[place]
        self.entries[place] = entry
        self.highest_tx_id = max(self.highest_tx_id, entry.transaction.tx_id)
        return former

    def remove(self, place: int) -> Entry:
        """Forget one row; the former entry is returned."""
        if place < self.taught:
            self.taught -= 1
        return self.entries.pop(place)
