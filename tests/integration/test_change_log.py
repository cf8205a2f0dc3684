"""The change log as agents read it: one contract, held by both Kafka clients on a real broker."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from confluent_kafka import Producer
from kafka import TopicPartition
from kafka.codec import has_snappy

from lab.stack import kafka
from streaming.change_log import ChangeLog, Record
from streaming.clients import open_change_log
from tests.conftest import Line, wait_for
from twinpath.errors import ChangeLogUnavailable, ConfigurationError, GapError, ServiceFault
from twinpath.settings import Settings

pytestmark = pytest.mark.integration
CLIENTS = ("confluent", "kafka-python")
TURN_S = 0.1
ALL = [0, 1, 2, 3]
FROM_START = dict.fromkeys(ALL, 0)


class Member:
    """One member of a group, what it read, and what it was told, in order."""

    def __init__(
        self, settings: Settings, client: str, told: list[tuple[Any, ...]] | None = None, rule: str = "spending"
    ) -> None:
        self.log: ChangeLog = open_change_log(settings.model_copy(update={"kafka_client": client}), rule)
        self.records: list[Record] = []
        self.told: list[tuple[Any, ...]] = [] if told is None else told
        self.owned: list[int] | None = None

    def join(self, wanted: list[int] | None = None) -> "Member":
        """Join, and poll until the group has spoken."""
        self.log.subscribe(self._assigned, self._revoked)
        self.until(lambda: self.owned == wanted if wanted else self.owned is not None, "an assignment", 20)
        return self

    def read(self, offsets: dict[int, int], count: int) -> list[tuple[int, int]]:
        """(partition, offset) of the next `count` records, or more, from these offsets on."""
        self.log.assign(offsets)
        return self.next(count)

    def next(self, count: int) -> list[tuple[int, int]]:
        self.records = []
        self.until(lambda: len(self.records) >= count, f"{count} records")
        return [(one.partition, one.offset) for one in self.records]

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 20) -> None:
        def met() -> bool:
            self.turn()
            return condition()

        wait_for(met, what, timeout_s)

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.records += self.log.poll(TURN_S)

    def _assigned(self, partitions: list[int]) -> None:
        self.told.append(("assigned", self, partitions))
        self.owned = partitions

    def _revoked(self, partitions: list[int]) -> None:
        self.told.append(("revoked", self, partitions))
        self.owned = None


def together(condition: Callable[[], Any], what: str, *members: Member) -> None:
    """Poll several members at the same time, as processes do, until the condition is met."""
    with ThreadPoolExecutor(len(members)) as pool:

        def met() -> Any:
            list(pool.map(Member.turn, members))
            return condition()

        wait_for(met, what, 20)


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def settings(topic_line: Line) -> Settings:
    return topic_line.settings


@pytest.fixture
def new_member(settings: Settings, client: str) -> Iterator[Callable[..., Member]]:
    members: list[Member] = []

    def make(other: str | None = None, told: list[tuple[Any, ...]] | None = None) -> Member:
        members.append(Member(settings, other or client, told))
        return members[-1]

    yield make
    for one in members:
        one.log.close()


@pytest.fixture
def named_member(settings: Settings, client: str) -> Iterator[Callable[..., Member]]:
    members: list[Member] = []

    def make(name: str) -> Member:
        members.append(Member(settings.model_copy(update={"group_instance": name}), client))
        return members[-1]

    yield make
    for one in members:
        one.log.close()


def fill(settings: Settings, partition: int, count: int, **config: Any) -> None:
    """Write `count` records into one partition, long enough to be worth compressing."""
    producer = Producer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "enable.idempotence": True, **config},
    )
    for number in range(count):
        producer.produce(settings.topic, key=b"key", value=b"%d %s" % (number, b"x" * 300), partition=partition)
    assert producer.flush(30) == 0


def members_of_group(settings: Settings) -> int:
    with kafka.admin(settings) as admin:
        (found,) = admin.describe_groups([settings.group("spending")]).values()
    return len(found["members"])


def described(log: ChangeLog) -> tuple[str, int] | None:
    try:
        return log.describe()
    except ConfigurationError:
        return None  # a topic that was made this moment


def test_the_topics_id_is_the_one_that_kafkas_tools_print(settings: Settings, client: str) -> None:
    """Also an id with the characters in which the two base64 alphabets differ."""
    for number in range(40):
        one = settings.model_copy(update={"topic_prefix": f"id{number}", "kafka_client": client})
        kafka.create_topic(one, one.topic, 3, {})
        log = open_change_log(one, "spending")
        found, partitions = wait_for(lambda log=log: described(log), "the new topic")
        log.close()
        assert (found, partitions) == (kafka.topic_id(one, one.topic), 3)
        if {"-", "_"} & set(found):
            return
    pytest.fail("no id of 40 held a - or _")


def test_nothing_is_read_before_assign_names_offsets(settings: Settings, new_member: Callable[..., Member]) -> None:
    fill(settings, 0, 3)
    one = new_member().join()
    one.turn(10)
    assert (one.owned, one.records) == (ALL, [])
    assert one.read(FROM_START, 3) == [(0, 0), (0, 1), (0, 2)]


def test_reading_begins_where_assign_says_and_again_where_it_says_anew(
    settings: Settings, new_member: Callable[..., Member]
) -> None:
    fill(settings, 0, 10)
    fill(settings, 1, 10)
    one = new_member().join()
    found = one.read({0: 4, 1: 9}, 7)
    assert [offset for partition, offset in found if partition == 0] == [4, 5, 6, 7, 8, 9]
    assert [offset for partition, offset in found if partition == 1] == [9]
    assert one.read({0: 8}, 2) == [(0, 8), (0, 9)]
    fill(settings, 1, 1)
    one.records = []
    one.turn(10)
    assert one.records == [], "a partition that assign left out is not read"
    assert one.read({1: 10}, 1) == [(1, 10)]


def test_every_partition_is_read_in_its_order_and_whole(settings: Settings, new_member: Callable[..., Member]) -> None:
    for partition in ALL:
        fill(settings, partition, 4_000)
    one = new_member().join()
    found = one.read(FROM_START, 16_000)
    for partition in ALL:
        assert [offset for number, offset in found if number == partition] == list(range(4_000))
    assert {len(found), len(set(found))} == {16_000}


def test_a_record_arrives_as_it_was_written(settings: Settings, new_member: Callable[..., Member]) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    headers = [("__debezium.oldkey", b'{"user_id":7}'), ("x", b"x" * 100_000)]
    began_us = time.time_ns() // 1000
    for key, value in ((b"key", b"value"), (None, None), (b"", b"")):
        producer.produce(settings.topic, key=key, value=value, partition=2, headers=headers)
    producer.flush(30)
    one = new_member().join()
    one.read(FROM_START, 3)
    now_us = time.time_ns() // 1000
    stamps = [record.appended_us for record in one.records]
    assert one.records == [
        Record(2, 0, b"key", b"value", stamps[0]),
        Record(2, 1, None, None, stamps[1]),
        Record(2, 2, b"", b"", stamps[2]),
    ]
    assert began_us - 1_000 <= min(stamps) <= max(stamps) <= now_us, "microseconds of the broker's clock"


def test_case_82_records_of_an_aborted_transaction_are_never_delivered(
    settings: Settings, new_member: Callable[..., Member]
) -> None:
    producer = Producer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "transactional.id": f"test{settings.suffix}"}
    )
    producer.init_transactions(30)
    for value, end in (
        (b"kept", producer.commit_transaction),
        (b"undone", producer.abort_transaction),
        (b"kept too", producer.commit_transaction),
    ):
        producer.begin_transaction()
        producer.produce(settings.topic, key=b"key", value=value, partition=0)
        producer.flush(30)
        end(30)
    one = new_member().join()
    one.read(FROM_START, 2)
    assert [record.value for record in one.records] == [b"kept", b"kept too"]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_case_81_a_codec_is_read_or_named(
    settings: Settings, new_member: Callable[..., Member], client: str, codec: str
) -> None:
    assert not has_snappy(), "the environment of the lock has no snappy codec for kafka-python"
    fill(settings, 0, 1, **{"compression.type": codec})
    one = new_member().join()
    if client == "confluent" or codec != "snappy":
        assert one.read(FROM_START, 1) == [(0, 0)]
    else:
        with pytest.raises(ServiceFault, match=codec):
            one.read(FROM_START, 1)


def test_a_position_beyond_the_log_is_a_gap(settings: Settings, new_member: Callable[..., Member]) -> None:
    fill(settings, 0, 3)
    one = new_member().join()
    with pytest.raises(GapError, match="twinpath resync"):
        one.read({0: 4}, 1)


def test_a_position_that_retention_took_is_a_gap(settings: Settings, new_member: Callable[..., Member]) -> None:
    fill(settings, 0, 5)
    one = new_member().join()
    assert one.log.bounds(0) == (0, 5)
    with kafka.admin(settings) as admin:
        admin.delete_records({TopicPartition(settings.topic, 0): 2})
    assert one.log.bounds(0) == (2, 5)
    assert one.read({0: 2}, 3) == [(0, 2), (0, 3), (0, 4)]
    assert one.log.known_end(0) == 5
    with pytest.raises(GapError, match="twinpath resync"):
        one.read({0: 1}, 1)


def test_a_topic_that_vanishes_under_a_reader_halts_it(settings: Settings, new_member: Callable[..., Member]) -> None:
    fill(settings, 0, 3)
    one = new_member().join()
    one.read(FROM_START, 3)
    with kafka.admin(settings) as admin:
        admin.delete_topics([settings.topic])
    with pytest.raises(GapError):
        one.until(lambda: False, "the halt")


def test_a_topic_made_anew_under_a_reader_halts_it(settings: Settings, new_member: Callable[..., Member]) -> None:
    fill(settings, 0, 3)
    one = new_member().join()
    one.read(FROM_START, 3)
    with kafka.admin(settings) as admin:
        admin.delete_topics([settings.topic])
    kafka.create_topic(settings, settings.topic, 4, {})
    fill(settings, 0, 9)
    with pytest.raises(GapError):
        one.until(lambda: False, "the halt")


def test_an_unknown_topic_and_an_unreachable_broker_are_two_errors(settings: Settings, client: str) -> None:
    update = {"kafka_client": client, "topic_prefix": "nowhere"}
    unknown = open_change_log(settings.model_copy(update=update), "spending")
    with pytest.raises(ConfigurationError, match="found no topic nowhere"):
        unknown.describe()
    unknown.close()
    update = {"kafka_client": client, "kafka_bootstrap_servers": "127.0.0.1:1"}
    nobody = open_change_log(settings.model_copy(update=update), "spending")
    with pytest.raises(ChangeLogUnavailable, match="127.0.0.1:1"):
        nobody.describe()
    assert nobody.poll(TURN_S) == []
    nobody.close()


def test_a_pause_longer_than_the_session_keeps_the_member(topic_line: Line) -> None:
    """Both clients at once, each in a group of its own: the session's six seconds are waited for once."""
    ours = topic_line.settings
    fill(ours, 0, 1)
    both = [Member(ours, name, rule=f"paused-{name}") for name in CLIENTS]
    for one in both:
        one.join()
        assert one.read(FROM_START, 1) == [(0, 0)]
        one.log.pause()
    fill(ours, 0, 2)
    for _ in range(40):
        for one in both:
            one.turn()
    for one in both:
        assert [what for what, *_ in one.told] == ["assigned"]
        assert len(one.records) == 1, "nothing is read while paused"
        one.log.resume()
        assert one.next(2) == [(0, 1), (0, 2)]
        one.log.close()


def test_a_commit_is_seen_by_kafkas_tools(settings: Settings, new_member: Callable[..., Member]) -> None:
    fill(settings, 0, 5)
    one = new_member().join()
    one.read(FROM_START, 5)
    one.log.commit({0: 4, 2: 0})

    def committed() -> dict[int, int]:
        one.turn()
        with kafka.admin(settings) as admin:
            (found,) = admin.list_group_offsets([settings.group("spending")]).values()
        return {place.partition: at.offset for place, at in found.items() if at.offset >= 0}

    assert wait_for(lambda: committed() == {0: 4, 2: 0}, "the committed offsets")


@pytest.mark.parametrize("name", ["", "lasting"])
def test_rejoining_hands_every_partition_out_again(
    settings: Settings, named_member: Callable[..., Member], name: str
) -> None:
    fill(settings, 0, 3)
    one = named_member(name).join()
    one.read(FROM_START, 3)
    one.log.rejoin()
    one.until(lambda: len(one.told) >= 3, "a second assignment")
    assert [(what, partitions) for what, _, partitions in one.told] == [
        ("assigned", ALL),
        ("revoked", ALL),
        ("assigned", ALL),
    ]
    one.records = []
    one.turn(10)
    assert one.records == [], "nothing is read before assign"
    assert one.read({0: 1}, 2) == [(0, 1), (0, 2)]


@pytest.mark.parametrize("second", CLIENTS)
def test_two_members_split_the_partitions_and_one_that_closes_leaves_them(
    settings: Settings, new_member: Callable[..., Member], second: str
) -> None:
    told: list[tuple[Any, ...]] = []
    one, two = new_member(told=told), new_member(second, told)
    one.join(ALL).read(FROM_START, 0)
    two.log.subscribe(two._assigned, two._revoked)
    together(lambda: one.owned and two.owned, "a split", one, two)
    assert sorted([*one.owned, *two.owned]) == ALL
    assert len(one.owned) == len(two.owned) == 2
    assert told.index(("revoked", one, ALL)) < told.index(("assigned", two, two.owned)), "taken before it is given"
    for number in ALL:
        fill(settings, number, 1)
    theirs = two.owned
    one.log.assign(dict.fromkeys(one.owned, 0))
    two.log.assign(dict.fromkeys(theirs, 0))
    together(lambda: len(one.records) + len(two.records) >= 4, "a record from each partition", one, two)
    assert sorted(record.partition for record in two.records) == theirs
    two.log.close()
    assert told[-1] == ("revoked", two, theirs)
    wait_for(lambda: (one.turn(), members_of_group(settings) == 1)[1], "the group without it, before a session ends", 5)
    one.until(lambda: one.owned == ALL, "everything again")


def test_what_a_callback_raises_is_raised_by_poll(settings: Settings, new_member: Callable[..., Member]) -> None:
    told: list[int] = []
    one, two = new_member(), new_member()

    def refuse(_partitions: list[int]) -> None:
        if told.append(len(told)) is None and len(told) == 1:
            raise ServiceFault("could not be saved")

    one._revoked = refuse
    one.join()
    one.log.assign(FROM_START)
    two.log.subscribe(two._assigned, two._revoked)
    with pytest.raises(ServiceFault, match="could not be saved"):
        together(lambda: False, "the error of the callback", one, two)


def test_a_member_with_a_name_finds_its_partitions_again(
    settings: Settings, named_member: Callable[..., Member]
) -> None:
    one, two = named_member("first"), named_member("second")
    one.join(ALL)
    two.log.subscribe(two._assigned, two._revoked)
    together(lambda: one.owned and two.owned, "a split", one, two)
    theirs, events = two.owned, len(one.told)
    two.log.close()
    again = named_member("second").join(theirs)
    one.turn(20)
    again.turn(5)
    assert len(one.told) == events, "the other member heard nothing of it"


def test_a_name_taken_by_another_process_ends_the_first(
    settings: Settings, named_member: Callable[..., Member]
) -> None:
    fill(settings, 0, 1)
    one = named_member("same").join(ALL)
    one.read(FROM_START, 1)
    two = named_member("same")
    two.log.subscribe(two._assigned, two._revoked)
    with pytest.raises(ConfigurationError, match="GROUP_INSTANCE=same"):
        together(lambda: False, "the end of the first", one, two)
    two.until(lambda: two.owned == ALL, "everything at the second")
    two.read(FROM_START, 1)
    two.turn(20)
