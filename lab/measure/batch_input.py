"""What a batch path could see at each of its runs: rebuilt from the operation log and the runs' snapshots.

Nothing of the batch job's own work is used: its snapshots say which transactions a run saw, the operation log says
what these had written, and the mode says which of it is read. So the fold of this input is a second opinion on
every verdict of the job.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from lab.measure.reference import ordered
from lab.operations import Operation
from twinpath.detection.model import Change, Transaction
from twinpath.errors import ConfigurationError

Mode = Literal["safe", "full", "naive-id", "naive-time"]
NAIVE = ("naive-id", "naive-time")


class BatchRun(msgspec.Struct, frozen=True):
    """One merged run: its snapshot (`xmin:xmax:running`, widened ids), and its interval of created_at if it had one."""

    number: int
    xmin: int
    xmax: int
    running: frozenset[int] = frozenset()
    begin_us: int | None = None
    end_us: int | None = None

    @classmethod
    def of(cls, number: int, snapshot: str, begin_us: int | None = None, end_us: int | None = None) -> "BatchRun":
        """From PostgreSQL's text, such as `100:107:100,103`."""
        parts = snapshot.split(":")
        if len(parts) != 3:  # noqa: PLR2004
            raise ConfigurationError(f"run {number}: found snapshot {snapshot!r}, wanted xmin:xmax:running")
        running = frozenset(int(one) for one in parts[2].split(",") if one)
        return cls(number, int(parts[0]), int(parts[1]), running, begin_us, end_us)

    def sees(self, full_xid: int) -> bool:
        """True when a transaction that committed was no longer running at the snapshot."""
        return full_xid < self.xmax and full_xid not in self.running


class Version(NamedTuple):
    """What one transaction left of a row (None: nothing), and the first run, counted from 0, that could see it."""

    lsn: int
    sequence: int
    xid: int
    seen: int
    row: Transaction | None


class Reading(NamedTuple):
    """A run that read a version of a row; `first` when no run had read this row before, in `full` always."""

    run: int
    version: Version
    first: bool


class WrittenRow:
    """One row of the table through its life: its changes in the order of the log, and its committed versions."""

    def __init__(self, tx_id: int) -> None:
        self.tx_id = tx_id
        self.changes: list[Change] = []
        self.versions: list[Version] = []

    @property
    def changed(self) -> bool:
        """True when it was updated or deleted."""
        return len(self.changes) > 1

    @property
    def users(self) -> list[int]:
        """Everybody whom it belonged to, in that order."""
        return list(dict.fromkeys(change.user_id for change in self.changes))

    def current(self, run: int) -> Version | None:
        """The version that a run could see; None when there was none."""
        found = next((one for one in reversed(self.versions) if one.seen <= run), None)
        return None if found is None or found.row is None else found

    def lsn_for(self, user_id: int) -> tuple[int, int]:
        """Where in the log the row first came to a user."""
        return next(change.position[1:] for change in self.changes if change.user_id == user_id)


class BatchInput:
    """Everything that was written, and what the runs of one mode read of it."""

    def __init__(
        self,
        operations: Iterable[Operation],
        commits: Mapping[int, int],
        settled: Mapping[int, bool],
        runs: Sequence[BatchRun],
        mode: Mode,
    ) -> None:
        operations = list(operations)
        self.mode = mode
        self.runs = sorted(runs, key=lambda run: run.number)
        self.rows: dict[int, WrittenRow] = {}
        self.by_user: dict[int, list[WrittenRow]] = defaultdict(list)
        self._seen: dict[int, int] = {}
        self._full = {one.xid: one.full_xid for one in operations}
        for change in ordered(operations, commits, settled):
            self._add(change)
        for row in self.rows.values():
            for user in row.users:
                self.by_user[user].append(row)
        self._readings = self._past_watermark() if mode in NAIVE else {}
        self._left_out: dict[int, bool] = {}

    def seen(self, xid: int) -> int:
        """The first run, counted from 0, that saw a transaction; as many as there are runs when none did."""
        found = self._seen.get(xid)
        if found is None:
            full = self._full[xid]
            found = next((place for place, run in enumerate(self.runs) if run.sees(full)), len(self.runs))
            self._seen[xid] = found
        return found

    def readings(self, row: WrittenRow) -> list[Reading]:
        """What the runs read of a row, in their order."""
        found = self._readings.get(row.tx_id)
        if found is None:
            found = self._readings[row.tx_id] = []
            if self.mode not in NAIVE:
                for run, version in self._new(row) if self.mode == "safe" else self._whole(row):
                    found.append(Reading(run, version, self.mode == "full" or not found))
        return found

    def known(self, row: WrittenRow) -> bool:
        """Whether the row belongs to the ids that the mode keeps as judged or taught: `full` keeps the last run's."""
        readings = self.readings(row)
        last = len(self.runs) - 1
        return any(one.run == last for one in readings) if self.mode == "full" else bool(readings)

    def values_read(self, judged: Collection[int]) -> set[tuple[int, int, int]]:
        """(tx_id, LSN, sequence) of the values that a run read, of rows whose ids are kept as they should be."""
        rows = [row for row in self.rows.values() if row.tx_id in judged or not self.known(row)]
        versions = ((row.tx_id, reading.version) for row in rows for reading in self.readings(row))
        return {(tx_id, version.lsn, version.sequence) for tx_id, version in versions}

    def unread(self, judged: Collection[int]) -> list[int]:
        """Rows that a run could see and whose ids are not kept as judged, whatever came of it; `full`: the last run."""
        runs = range(len(self.runs))[-1 if self.mode == "full" else 0 :]
        seen = (row for row in self.rows.values() if any(row.current(run) is not None for run in runs))
        return sorted(row.tx_id for row in seen if row.tx_id not in judged)

    def unseen(self) -> list[int]:
        """Rows that are there and that no run could see: what a fence is for."""
        runs = len(self.runs)
        last = (row.versions[-1] for row in self.rows.values())
        return sorted(one.row.tx_id for one in last if one.row is not None and one.seen >= runs)

    def left_out(self, row: WrittenRow) -> bool:
        """True when a run could see the row, and none read it."""
        found = self._left_out.get(row.tx_id)
        if found is None:
            found = not self.readings(row) and any(row.current(run) is not None for run in range(len(self.runs)))
            self._left_out[row.tx_id] = found
        return found

    def _add(self, change: Change) -> None:
        row = self.rows.setdefault(change.tx_id, WrittenRow(change.tx_id))
        row.changes.append(change)
        _, lsn, sequence = change.position
        version = Version(lsn, sequence, change.source_xid or 0, self.seen(change.source_xid or 0), change.after)
        if row.versions and row.versions[-1].xid == version.xid:
            row.versions.pop()  # nobody else ever saw what a transaction had before its end
        row.versions.append(version)

    def _new(self, row: WrittenRow) -> Iterator[tuple[int, Version]]:
        """`safe`: each version once, in the first run that saw it, unless that run saw a later one already."""
        following = [one.seen for one in row.versions[1:]] + [len(self.runs)]
        for version, later in zip(row.versions, following, strict=True):
            if version.row is not None and version.seen < later:
                yield version.seen, version

    def _whole(self, row: WrittenRow) -> Iterator[tuple[int, Version]]:
        """`full`: whatever is there, in each run."""
        for run in range(len(self.runs)):
            version = row.current(run)
            if version is not None:
                yield run, version

    def _past_watermark(self) -> dict[int, list[Reading]]:
        """`naive-*`: what lies past the highest value read so far, or within the interval of the run."""
        found: dict[int, list[Reading]] = {}
        watermark: int | None = None
        for place, run in enumerate(self.runs):
            highest = watermark
            for row in self.rows.values():
                version = row.current(place)
                if version is None or version.row is None:
                    continue
                mark = row.tx_id if self.mode == "naive-id" else version.row.created_us
                if not self._wanted(run, mark, watermark):
                    continue
                highest = mark if highest is None else max(highest, mark)
                before = found.setdefault(row.tx_id, [])
                before.append(Reading(place, version, not before))
            watermark = highest
        return found

    def _wanted(self, run: BatchRun, mark: int, watermark: int | None) -> bool:
        if self.mode == "naive-time":
            if run.end_us is not None and mark >= run.end_us:
                return False
            if run.begin_us is not None:
                return mark >= run.begin_us
        return watermark is None or mark > watermark
