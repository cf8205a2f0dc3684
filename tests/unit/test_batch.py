"""Parts of the batch path that need neither Spark nor a service."""

import argparse

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.batch_source import NEWER, XIDS, Snapshot, Wanted, jdbc_options, query
from spark_jobs.batch_store import Progress, combined
from spark_jobs.fraud_batch import parser
from spark_jobs.judged import Ids
from twinpath.detection.rules import RULES


@given(st.sets(st.integers(-50, 50)), st.sets(st.integers(-50, 50)))
def test_a_set_of_ids_is_the_set_whatever_its_ranges(one: set[int], other: set[int]) -> None:
    both = Ids.of(one) | Ids.of(other)
    assert {number for number in range(-60, 60) if number in both} == one | other
    assert len(both) == len(one | other)
    assert Ids.decode(both.encode()) == both == Ids.of(one | other)
    assert all(last + 1 < first for (_, last), (first, _) in zip(both.ranges, both.ranges[1:], strict=False))


def test_dense_ids_take_a_few_bytes() -> None:
    assert Ids.of(range(1, 1_000_000)).ranges == [(1, 999_999)]
    assert len(Ids.of(range(1, 1_000_000)).encode()) < 20


def where(wanted: Wanted, xmax: int = 1000) -> str:
    return query(Snapshot("snapshot", xmax - 10, xmax, "", "1/mydb"), wanted).partition(" FROM transactions")[2]


def test_each_mode_reads_what_it_says() -> None:
    assert where(Wanted("full", horizon=7, watermark=9)) == ""
    assert where(Wanted("safe")) == ""
    assert where(Wanted("safe", horizon=990)).endswith(">= 990")
    assert where(Wanted("naive-id")) == ""
    assert where(Wanted("naive-id", watermark=-3)) == " WHERE id > -3"
    assert where(Wanted("naive-time")) == ""
    assert where(Wanted("naive-time", watermark=5)) == (
        " WHERE created_at > timestamptz 'epoch' + 5 * interval '1 microsecond'"
    )
    assert where(Wanted("naive-time", watermark=5, begin=7, end=9)) == (
        " WHERE created_at >= timestamptz 'epoch' + 7 * interval '1 microsecond'"
        " AND created_at < timestamptz 'epoch' + 9 * interval '1 microsecond'"
    )


@pytest.mark.parametrize(
    ("xmin", "xmax", "wide"),
    [
        (900, 1000, 900),
        (1000 + NEWER, 1000, 1000 + NEWER),  # begun after our snapshot, seen by a plain read
        (900, XIDS + 1000, XIDS + 900),
        (XIDS - 5, XIDS + 1000, XIDS - 5),  # of the epoch before
        (3, 2 * XIDS - 1, 2 * XIDS + 3),  # of the epoch after, within what a plain read may see
    ],
)
def test_a_32_bit_xid_is_widened_by_the_epoch_of_the_snapshot(xmin: int, xmax: int, wide: int) -> None:
    text = query(Snapshot("snapshot", xmax - 10, xmax, "", "1/mydb"), Wanted("safe"))
    expression = text.partition("merchant_id, ")[2].partition(" AS xid")[0]
    words = expression.replace("xmin::text::bigint", str(xmin)).split()
    # "<x> + CASE WHEN <x> > <top> THEN <older> ELSE <newer> END"
    assert (words[1:4], words[5], words[7], words[9]) == (["+", "CASE", "WHEN"], ">", "THEN", "ELSE")
    widened = int(words[0]) + (int(words[8]) if int(words[4]) > int(words[6]) else int(words[10]))
    assert widened == wide


def test_what_buckets_came_to_becomes_the_next_progress() -> None:
    def line(bucket: int, judged: list[int], folded: list[tuple[int, int]], highest: int) -> dict[str, object]:
        return {
            "bucket": bucket,
            "rule": "spending",
            "rows": len(judged),
            "alerts": 1,
            "judged": Ids.of(judged).encode(),
            "folded": msgspec.msgpack.encode(folded),
            "highest": highest,
            "counts": msgspec.msgpack.encode({"judged": len(judged)}),
        }

    before = Progress(3, 90, 5, frozenset({(4, 95), (5, 120)}), Ids.of([1, 2, 3, 4, 5]))
    found = combined(RULES["spending"], before, 100, [line(0, [6, 8], [(8, 130)], 8), line(1, [7], [], 7)])
    assert found.after == Progress(4, 100, 8, frozenset({(5, 120), (8, 130)}), Ids.of(range(1, 9)))
    assert (found.buckets, found.alerts, found.counts) == (2, 2, {"judged": 3})
    nothing = combined(RULES["spending"], Progress(), 100, [])
    assert nothing.after == Progress(1, 100, None, frozenset(), Ids())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mode", "fast"], "invalid choice: 'fast'"),
        (["--rules", "spending,typo"], "wanted some of: spending, velocity"),
        (["--rules", ""], "wanted some of"),
        (["--interval-start", "2026-11-23T05:30:00"], "with its zone"),
        (["--interval-start", "yesterday"], "yesterday"),
        (["--partitions", "0"], "1 or more"),
        (["--fetchsize", "many"], "many"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parser().parse_args(arguments)
    assert left.value.code == 2
    assert words in capsys.readouterr().err


def test_options_have_the_defaults_that_lose_no_row() -> None:
    options: argparse.Namespace = parser().parse_args([])
    assert (options.mode, options.read, options.rules) == ("safe", "partitioned", list(RULES))
    instant = parser().parse_args(["--interval-end", "2026-11-23T11:30:00+05:30"]).interval_end
    assert instant == 1_795_413_600_000_000


def test_what_a_dsn_says_of_tls_holds_for_jdbc_too() -> None:
    plain = jdbc_options("host=db port=5433 dbname=mydb user=reader password=p")
    assert plain == {
        "url": "jdbc:postgresql://db:5433/mydb",
        "driver": "org.postgresql.Driver",
        "user": "reader",
        "password": "p",
    }
    secured = jdbc_options("host=db dbname=mydb user=reader sslmode=verify-full sslrootcert=/etc/ca.pem")
    assert (secured["sslmode"], secured["sslrootcert"]) == ("verify-full", "/etc/ca.pem")
