"""The live views from values alone: a frame of the race, and one transaction's journey, as a reader sees them."""

import re
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from lab import cli_live
from lab.console import Progress
from lab.live import follow, watch
from lab.live.journey import AlertSeen, Fate, Journey, Row
from lab.live.look import Lane, Look, rates, run_words, slot_words
from lab.live.passages import Passage
from lab.live.view import per_second, short
from lab.slot import Slot, size
from lab.stack.stack import standard_stack
from twinpath.detection.model import Change, Position, Transaction
from twinpath.errors import ConfigurationError, ServiceFault

QUERY = "spending-1-c7261d16.velocity-1-90ab12cd"
LANES = [
    Lane("agent", "spending", 9_999_999, 1000, 12, 0.03, 316, 2.14, 28.4),
    Lane("agent", "velocity", 9_999_999, 1000, 0, 0.0, 12, 45.0, 31.0),
    Lane("spark_stream", "all", 9_999_000, 500, 999, 1.42, 328, 3.9, 1100.0),
    Lane("spark_batch", "all", 9_675_000, 9_675_000, None, 312.0, 311, 318.0, 65_069.0),
    Lane("spark_batch_naive_time", "all", 9_675_000, 9_675_000, None, 90_000.0, 0),
]


def look(at: float = 100.0, **changed: object) -> Look:
    found = Look(
        at,
        datetime(2026, 11, 27, 22, 51, 3, tzinfo=UTC),
        "dbserver1.public.transactions",
        10_000_000,
        LANES,
        [
            ("slot", slot_words("twinpath_transactions", Slot(812, "reserved", 1_258_291, 0))),
            ("stream", f"{QUERY}: micro-batch 41 of 512 records 0.8 s ago, 0 records behind"),
        ],
        [],
    )
    return msgspec.structs.replace(found, **changed)


def shown(last: Look, first: Look | None = None, width: int = 80) -> list[str]:
    """The frame as it is written where there is no terminal."""
    console = Console(file=StringIO(), width=width, highlight=False)
    return watch.drawn(console, first or last, last).splitlines()


def test_a_frame_fits_eighty_columns_and_says_everything_without_colour():
    lines = shown(look())
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "\x1b" not in text
    assert re.search(r"^path +rules +done +/s +behind +lag +alerts +newest +took", text, re.MULTILINE)
    assert re.search(r"^agent +spending 9,999,999 +- +12 +30 ms +316 +2.14 s +28 ms$", text, re.MULTILINE)
    assert re.search(r"^spark_stream +all +9,999,000 +- +999 +1.42 s +328 +3.90 s +1.10 s$", text, re.MULTILINE)
    assert re.search(r"^spark_batch +all +9,675,000 +- +- +5 min +311 +5 min +65.1 s$", text, re.MULTILINE)
    assert re.search(r"^topic +dbserver1.public.transactions: 10,000,000 records, -/s$", text, re.MULTILINE)
    assert "slot   twinpath_transactions: active, read by walsender 812, 1.2 MB retained" in lines
    assert "q leaves" not in text


def test_what_is_broken_is_named_and_the_rest_is_shown():
    lines = shown(look(lanes=LANES[:1], records=None, problems=[("kafka", "does not run; twinpath up")]))
    assert "FAIL kafka does not run; twinpath up" in lines
    assert any(line.startswith("agent ") for line in lines)


def test_rates_are_those_between_two_looks_and_unknown_after_a_restart():
    before = [
        msgspec.structs.replace(LANES[0], counted=600.0),
        msgspec.structs.replace(LANES[1], counted=1001.0),
        msgspec.structs.replace(LANES[2], counted=495.0),
    ]
    first, last = look(90.0, lanes=before, records=9_995_040), look()
    assert rates([first, last]) == {
        ("agent", "spending"): 40.0,
        ("agent", "velocity"): None,
        ("spark_stream", "all"): 0.5,
        ("spark_batch", "all"): None,
        ("spark_batch_naive_time", "all"): None,
        ("", ""): 496.0,
    }
    assert any(re.match(r"agent +spending 9,999,999 +40 +12 ", line) for line in shown(last, first))


def test_spans_and_rates_and_sizes_are_short():
    spans = (None, 0, 0.0082, 0.34, 3.42, 46.2, 99.9, 100, 7199, 7200, 172_799, 259_200, -0.5)
    assert [short(one) for one in spans] == (
        [
            "-",
            "0",
            "8.2 ms",
            "340 ms",
            "3.42 s",
            "46.2 s",
            "99.9 s",
            "2 min",
            "120 min",
            "2 h",
            "48 h",
            "3 d",
            "-500 ms",
        ]
    )
    assert [per_second(one) for one in (None, 0.0, 0.5, 9.94, 10, 1234.5)] == ["-", "0", "0.5", "9.9", "10", "1,234"]
    assert [size(one) for one in (0, 1023, 1024, 1_258_291, 2**30)] == [
        "0 bytes",
        "1023 bytes",
        "1 kB",
        "1.2 MB",
        "1.0 GB",
    ]


def test_a_run_of_the_dag_in_a_line():
    run = {"run_type": "scheduled", "state": "success", "start_date": None, "end_date": None}
    assert run_words("fraud_batch", None) == "fraud_batch: no run yet"
    assert run_words("fraud_batch", {**run, "state": "queued"}) == "fraud_batch, scheduled: queued, not started"
    run |= {"start_date": "2026-11-27T22:40:05.5Z", "end_date": "2026-11-27T22:40:36.5Z"}
    assert run_words("fraud_batch", run) == "fraud_batch, scheduled: success, started 22:40:05 UTC, took 31 s"


def test_a_slot_that_nobody_reads_says_so():
    assert slot_words("one", Slot(None, "lost", None, None)) == "one: not active, unknown WAL retained, WAL lost"


def test_a_frame_as_json_holds_the_lanes_and_the_rates():
    found = msgspec.json.decode(watch.encoded(look(90.0, records=9_999_990), look()))
    assert found["lanes"][2]["behind"] == 999
    assert {"path": "", "rules": "", "per_second": 1.0} in found["rates"]


@pytest.mark.parametrize("what", ["watch", "follow"])
def test_without_a_running_stack_there_is_one_clear_error(tmp_path: Path, what: str):
    stack = standard_stack(Progress(quiet=True), twinpath_home=str(tmp_path / "home"))
    with pytest.raises(ServiceFault, match=r"found no running stack in .*Run: twinpath up"):
        if what == "watch":
            watch.show(stack, once=True, as_json=False, every_s=1)
        else:
            follow.show(stack, 1, wait_s=0, as_json=False)


COMMITTED_US = 1_795_819_863_123_456
TRANSACTION = Transaction(504, 1042, 64_000, 1_795_819_863_000_000, 77)
PASSAGE = Passage(
    Change("c", 1042, 504, Position(1, 10, 20), None, TRANSACTION, 903, COMMITTED_US, COMMITTED_US + 3_700),
    2,
    10388,
    COMMITTED_US + 12_100,
)
HOPS_MS = [3.7, 8.4, 3.3, 0.7, 4.9]
REASON = "640.00 is 4.2 times this user's usual 152.20 (3 payments)"
JOURNEY = Journey(
    504,
    Row(1042, "640.00", "visa", 77, "2026-11-27 22:51:03.000000", 1_795_819_863_000_000, COMMITTED_US),
    [PASSAGE],
    [AlertSeen("agent", "spending", "1-c7261d16", "c", "RAISED", 42, REASON, 21.0, COMMITTED_US, HOPS_MS)],
    [
        Fate("agent", "velocity", "judged, no alert"),
        Fate("spark_batch", "spending", "not judged yet; the last run, 4, was merged at 22:50:31", open=True),
    ],
)


def test_a_journey_tells_each_hop_and_the_fate_on_every_path():
    assert list(follow.lines(JOURNEY)) == [
        "transaction 504: user 1042, 640.00, merchant 77, created 2026-11-27 22:51:03.000000 UTC",
        "INSERT 640.00: committed 2026-11-27 22:51:03.123456 UTC by transaction id 903",
        "  connector        3.7 ms after the commit",
        "  broker            12 ms after the commit, partition 2, offset 10388",
        "agent spending 1-c7261d16: RAISED, score 42, 21 ms after the commit",
        f"  {REASON}",
        "  commit to connector              3.7 ms ###########",
        "  connector to broker              8.4 ms ########################",
        "  broker to poll                   3.3 ms #########",
        "  poll to decision                 0.7 ms ##",
        "  decision to alert committed      4.9 ms ##############",
        "agent velocity: judged, no alert",
        "spark_batch spending: not judged yet; the last run, 4, was merged at 22:50:31",
        "Not everybody has judged it yet. Again: twinpath follow 504",
    ]
    assert JOURNEY.waiting("spark_batch") is True
    assert JOURNEY.waiting("agent", "spark_stream") is False


def test_a_journey_without_stamps_or_row_shows_what_is_known():
    batch = AlertSeen("spark_batch", "spending", "1-c7", "d", "RETRACTED", 0, "deleted", None, None, [None] * 5)
    some = AlertSeen("spark_batch", "spending", "1-c7", "c", "RAISED", 43, "one", 36_500.0, None, [None] * 4 + [900.0])
    known = {"before": TRANSACTION, "after": None, "committed_us": None, "source_xid": None}
    gone = msgspec.structs.replace(PASSAGE.change, op="d", **known)
    found = Journey(504, None, [msgspec.structs.replace(PASSAGE, change=gone)], [some, batch], [])
    assert list(follow.lines(found)) == [
        "transaction 504: not in the table any more",
        "DELETE 640.00: committed at an unknown time by transaction id ?",
        "spark_batch spending 1-c7: RAISED, score 43, 36.5 s after the commit",
        "  one",
        "  before, without a stamp          35.6 s ########################",
        "  decision to alert committed      900 ms #",
        "spark_batch spending 1-c7: RETRACTED at a delete, score 0, after an unknown time",
        "  deleted",
    ]
    assert not Journey(504, None, [], [], []).known


def test_follow_wants_an_id_or_next_and_not_both():
    for tx, next_one, found in ((None, False, "neither"), (5, True, "both")):
        with pytest.raises(ConfigurationError, match=found):
            cli_live.follow(tx, next_one)
