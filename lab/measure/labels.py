"""The labels of a load joined with its operation log: which committed payment was planted fraud, in which episode."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from lab.json_lines import read_lines
from lab.measure.money import Payment
from lab.operations import Operation, read_operations
from twinpath.detection.workload import Label


def read_labels(path: Path) -> Iterator[Label]:
    """The labels of a file, one JSON object a line."""
    return read_lines(path, Label, "label")


def read_payments(folder: Path, committed: Collection[int]) -> list[Payment]:
    """The labelled payments of a run folder; none of a profile that labels nothing."""
    return labelled_payments(
        read_labels(folder / "labels.jsonl"), read_operations(folder / "operations.jsonl"), committed
    )


def labelled_payments(
    labels: Iterable[Label], operations: Iterable[Operation], committed: Collection[int]
) -> list[Payment]:
    """Payments as they were inserted, of the rows that were committed and have a label."""
    by_key = {label.key: label for label in labels}
    found = []
    for one in operations:
        label = by_key.get(one.key) if one.op == "insert" and one.key is not None else None
        if label is not None and one.after is not None and one.tx_id in committed:
            row = one.after
            found.append(
                Payment(
                    one.tx_id,
                    row.user_id,
                    row.amount_cents,
                    row.created_us,
                    label.scenario,
                    label.episode if label.fraud else 0,
                )
            )
    return found
