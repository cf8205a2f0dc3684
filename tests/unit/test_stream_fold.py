"""The fold of a bucket in a micro-batch: chunks in any order, cut anywhere, give what `replay` gives."""

import random

import pytest

from spark_jobs.stream_fold import BucketFold, BucketFolder, Plan, Record
from tests.integration.publishing import envelope, key, row
from twinpath.alert_rows import Incarnation
from twinpath.detection.buckets import BucketCodec
from twinpath.detection.detector import resolve
from twinpath.detection.envelope import EnvelopeDecoder, EnvelopeFormat
from twinpath.detection.model import Alert, Change
from twinpath.detection.replay import Replay, replay
from twinpath.detection.rules import RULES
from twinpath.errors import ForeignCheckpoint, WrongKey

BOTH = tuple(RULES.values())
BUCKETS = 4
USERS = (3, 7, -1, 11)  # all of bucket 3
PLAN = Plan(BOTH, BUCKETS, EnvelopeFormat(), "topic", (Incarnation(1, "id", {}),))
AMOUNTS = ("10.00", "12.50", "700.00", "4500.00", "0.00", "-3.00")


def log(seed: int, length: int = 120) -> list[Record]:
    """Records of every kind of operation, users spread over two partitions, some sent twice."""
    draw = random.Random(seed)
    offsets = {0: 0, 1: 0}
    live: dict[int, int] = {}
    records: list[Record] = []
    for number in range(1, length + 1):
        user = draw.choice(USERS)
        lsn = 100 + number
        amount, us = draw.choice(AMOUNTS), f"2026-11-23T06:{number // 60:02}:{number % 60:02}Z"
        mine = [tx for tx, owner in live.items() if owner == user]
        op = draw.choice("cccccudr") if mine else draw.choice("ccr")
        if op in "cr":
            value = envelope(op, lsn, after=row(number, user, amount, us))
            live[number] = user
        else:
            tx_id = draw.choice(mine)
            before = row(tx_id, user, "1.00", us)
            value = envelope(op, lsn, before=before, after=row(tx_id, user, amount, us) if op == "u" else None)
            if op == "d":
                del live[tx_id]
        partition = USERS.index(user) % 2
        for _ in range(draw.choice((1, 1, 1, 2))):
            records.append((partition, offsets[partition], key(user), value, lsn))
            offsets[partition] += 1
    return records


def changes(records: list[Record]) -> list[Change]:
    decoder = EnvelopeDecoder()
    return [change for one in records for change in decoder.decode(one[2], one[3])]  # type: ignore[union-attr]


def stored(alerts: list[Alert]) -> list[Alert]:
    """What the alert store makes of conditional alerts."""
    last: dict[int, Alert] = {}
    kept = []
    for one in alerts:
        rule = RULES[one.rule]
        alert = resolve(rule, one, last.get(one.tx_id)) if one.status.endswith("_IF_STANDING") else one
        if alert is not None:
            kept.append(alert)
            last[one.tx_id] = alert
    return kept


def alerts_of(folds: list[BucketFold], place: int) -> list[Alert]:
    return [one.stamped.alert for fold in folds for one in fold.rules[place].alerts]


def by_place(alerts: list[Alert]) -> list[tuple[object, ...]]:
    return sorted((one.user_id, *one.position, one.tx_id, one.status, one.score, one.reason) for one in alerts)


def folded(records: list[Record], seed: int) -> tuple[list[BucketFold], bytes]:
    """Cut into micro-batches at random, each handed over in a random order, by a new worker each time."""
    draw = random.Random(seed)
    folds: list[BucketFold] = []
    blob: bytes | None = None
    rest = records
    while rest:
        taken, rest = rest[: (cut := draw.randint(1, 40))], rest[cut:]
        draw.shuffle(taken)
        fold, blob = BucketFolder(PLAN).fold(3, taken, blob)
        folds.append(fold)
    assert blob is not None
    return folds, blob


@pytest.mark.parametrize("seed", range(12))
def test_shuffled_chunks_give_the_alerts_the_counts_and_the_state_of_replay(seed: int) -> None:
    records = log(seed)
    folds, blob = folded(records, seed)
    again = BucketFolder(PLAN)._codec.open(blob)[1]
    for place, rule in enumerate(BOTH):
        wanted: Replay = replay(rule, changes(records))
        assert by_place(stored(alerts_of(folds, place))) == by_place(wanted.alerts)
        resolved = {"too_old", "corrected", "forgotten"}
        counts = folds[-1].rules[place].counts
        assert {k: v for k, v in counts.items() if k not in resolved} == {
            k: v for k, v in wanted.counts.items() if k not in resolved
        }
        assert sum(counts.values()) == wanted.counts.total()
        codec = BucketCodec(rule)
        assert again[place][1].join()[0] == codec.encode(wanted.states)


def test_the_order_matters_to_these_records() -> None:
    different = 0
    for seed in range(12):
        records = log(seed)
        shuffled = random.Random(seed).sample(records, len(records))
        for rule in BOTH:
            in_order, unordered = (by_place(replay(rule, changes(one)).alerts) for one in (records, shuffled))
            different += in_order != unordered
    assert different > 12, "a fold that did not sort would not be noticed"


def test_a_micro_batch_that_runs_again_gives_the_same_bytes() -> None:
    records = log(1)
    _, before = BucketFolder(PLAN).fold(3, records[:60], None)
    one = BucketFolder(PLAN).fold(3, records[60:], before)
    other = BucketFolder(PLAN).fold(3, records[:59:-1], before)
    assert one[1] == other[1]
    assert [rule.counts for rule in one[0].rules] == [rule.counts for rule in other[0].rules]


def test_an_undecodable_record_is_a_letter_and_its_neighbours_are_judged() -> None:
    records: list[Record] = [
        (0, 0, key(7), envelope("c", 1, after=row(1, 7, "10.00")), 5),
        (0, 1, key(7), b"{", 6),
        (0, 2, key(7), envelope("c", 2, after=row(2, 7, "NaN")), 7),
        (0, 3, key(7), None, 8),
        (0, 4, key(7), envelope("t", 3), 9),
        (0, 5, key(7), envelope("c", 4, after=row(3, 7, "11.00")), 10),
    ]
    fold, _ = BucketFolder(PLAN).fold(3, records, None)
    assert [(one.offset, one.reason.partition(":")[0], one.value) for one in fold.letters] == [
        (1, "value", b"{"),
        (2, "after.amount", records[2][3]),
    ]
    assert fold.rules[0].counts == {"judged": 2, "dead_letters": 2, "skipped": 2}
    assert [(one.reason, one.offset) for one in fold.alarms] == [
        ("dead letter: value", 1),
        ("dead letter: after.amount", 2),
        ("skipped: truncate", 4),
    ]
    assert (fold.records, fold.newest_us) == (6, 10)


def test_state_that_is_newer_than_the_offsets_stops_the_fold() -> None:
    records = log(2)
    _, blob = BucketFolder(PLAN).fold(3, records[:50], None)
    with pytest.raises(ForeignCheckpoint, match="state is newer than its offsets"):
        BucketFolder(PLAN).fold(3, records[40:], blob)


def test_a_rule_that_joins_a_bucket_late_is_refused_and_one_that_leaves_is_not_missed() -> None:
    records = log(3)
    alone = Plan(BOTH[:1], BUCKETS, EnvelopeFormat(), "topic", PLAN.sources)
    _, blob = BucketFolder(alone).fold(3, records[:50], None)
    with pytest.raises(ForeignCheckpoint, match="wanted rule velocity"):
        BucketFolder(PLAN).fold(3, records[50:], blob)
    _, of_both = BucketFolder(PLAN).fold(3, records[:50], None)
    fold, _ = BucketFolder(alone).fold(3, records[50:], of_both)
    wanted = replay(BOTH[0], changes(records)).counts
    assert fold.rules[0].counts["judged"] == wanted["judged"]


def test_a_topic_with_another_key_is_refused() -> None:
    value = envelope("c", 1, after=row(1, 7, "10.00"))
    with pytest.raises(WrongKey, match=r"keyed by \['id'\], wanted user_id"):
        BucketFolder(PLAN).fold(3, [(0, 0, b'{"id":1}', value, 0)], None)


def test_a_record_in_a_wrong_bucket_stops_the_fold() -> None:
    value = envelope("c", 1, after=row(1, 7, "10.00"))
    with pytest.raises(WrongKey, match="user of bucket 3, its key was read as one of 2"):
        BucketFolder(PLAN).fold(2, [(0, 0, key(7), value, 0)], None)


def test_records_past_a_new_source_have_its_incarnation() -> None:
    sources = (Incarnation(1, "id", {}), Incarnation(2, "id", {0: 1}))
    records: list[Record] = [
        (0, n, key(7), envelope("c", lsn, after=row(1 + n, 7, "600.00")), 0) for n, lsn in enumerate((9, 1, 2, 3, 4))
    ]
    fold, _ = BucketFolder(Plan(BOTH, BUCKETS, EnvelopeFormat(), "topic", sources)).fold(3, records, None)
    assert fold.rules[0].counts == {"judged": 5}, "positions of a later incarnation are later"


@pytest.mark.parametrize(
    ("damage", "words"),
    [(b"", "cannot be read"), (b"\x93\x09\x80\x90", "has format 9, wanted 1"), (b"\xc1", "cannot be read")],
)
def test_a_blob_that_is_none_is_named(damage: bytes, words: str) -> None:
    with pytest.raises(ForeignCheckpoint, match=words):
        BucketFolder(PLAN).fold(3, log(1)[:3], damage)
