"""State to bytes and back, buckets of users, and rules with other parameters."""

import msgspec
import pytest

from tests.unit.building import NOON_US, delete, facts, insert, inserts, snapshot_row, update
from twinpath.detection import rules
from twinpath.detection.buckets import BucketCodec, bucket_of
from twinpath.detection.detector import UserState
from twinpath.detection.history import History
from twinpath.detection.model import Change
from twinpath.detection.replay import replay
from twinpath.detection.rules import RULES, Rule, configured
from twinpath.errors import ConfigurationError, ForeignCheckpoint

SPENDING = RULES["spending"]
VELOCITY = RULES["velocity"]
BOTH = pytest.mark.parametrize("rule", [SPENDING, VELOCITY], ids=lambda rule: rule.name)


def log(user: int) -> list[Change]:
    """Taught, judged, tied, corrected, deleted: something of everything that a state holds."""
    return [
        *(snapshot_row(5, tx_id, "1.00", user=user) for tx_id in (1, 2, 3)),
        *(insert(10, tx_id, "600.00", user=user, us=NOON_US - tx_id) for tx_id in (4, 5, 6)),
        update(11, 4, "-0.01", user=user),
        delete(12, 2, user=user),
        insert(12, 7, "99,999,999.99", user=user),
    ]


def states(rule: Rule, users: list[int]) -> dict[int, UserState[History]]:
    return replay(rule, [change for user in users for change in log(user)]).states


@pytest.mark.parametrize(("user", "bucket"), [(0, 0), (17, 1), (16, 0), (-1, 15), (-16, 0), (-17, 15), (-(2**63), 0)])
def test_a_bucket_is_the_floor_modulo_also_for_negative_users(user, bucket):
    assert bucket_of(user, 16) == bucket


@BOTH
def test_states_come_back_equal(rule):
    before = states(rule, [7, -3, 0, 2**62])
    assert BucketCodec(rule).decode(BucketCodec(rule).encode(before)) == before


@BOTH
def test_a_bucket_without_users_comes_back_empty(rule):
    assert BucketCodec(rule).decode(BucketCodec(rule).encode({})) == {}


@BOTH
def test_equal_states_give_equal_bytes_in_whatever_order_users_came(rule):
    codec = BucketCodec(rule)
    data = codec.encode(states(rule, [7, -3, 900]))
    assert codec.encode(states(rule, [900, 7, -3])) == data
    assert codec.encode(codec.decode(data)) == data


@BOTH
def test_other_states_give_other_bytes(rule):
    codec = BucketCodec(rule)
    assert codec.encode(states(rule, [7])) != codec.encode(states(rule, [8]))
    assert codec.encode(replay(rule, log(7)[:-1]).states) != codec.encode(states(rule, [7]))


def test_a_decoded_state_shares_nothing_with_the_one_it_was_encoded_from():
    fold = replay(SPENDING, log(7))
    codec = BucketCodec(SPENDING)
    data = codec.encode(fold.states)
    copy = codec.decode(data)
    fold.apply(insert(900, 900, "1.00"))
    assert codec.encode(copy) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"\xc1",
        b"\x92\x02",
        msgspec.msgpack.encode((1, [])),
        msgspec.msgpack.encode((3, [])),
        msgspec.msgpack.encode((2, [], "more")),
        msgspec.msgpack.encode({"format": 2}),
        msgspec.msgpack.encode((2, [(7, ["no state"])])),
        msgspec.msgpack.encode((2, [(7, [[b"", 0, -1, 7, 0], None, [(1, "c")], None])])).replace(b"\xa1c", b"\xa1\xff"),
        msgspec.msgpack.encode((2, [(7, [["no bytes", 0, -1, 7, 0], None, [], None])])),
        msgspec.msgpack.encode((2, [(7, [[b"seven b", 0, -1, 7, 0], None, [], None])])),
        msgspec.msgpack.encode((2, [(7, [[b"", 1, -1, 7, 0], None, [], None])])),
        msgspec.msgpack.encode((2, [(7, [[b"8 bytes!", 0, -1, 7, 0], None, [], None])])),
    ],
)
def test_bytes_of_another_format_are_refused(data):
    with pytest.raises(ForeignCheckpoint, match="state of rule spending"):
        BucketCodec(SPENDING).decode(data)


@BOTH
def test_bytes_that_were_cut_anywhere_are_refused(rule):
    codec = BucketCodec(rule)
    data = codec.encode(states(rule, [7, 8]))
    for length in range(len(data)):
        with pytest.raises(ForeignCheckpoint):
            codec.decode(data[:length])


@pytest.mark.parametrize(("writer", "reader"), [(SPENDING, VELOCITY), (VELOCITY, SPENDING)])
def test_the_state_of_another_rule_is_refused(writer, reader):
    with pytest.raises(ForeignCheckpoint, match=f"state of rule {reader.name} version {reader.version}"):
        BucketCodec(reader).decode(BucketCodec(writer).encode(states(writer, [7])))


def test_the_versions_of_the_default_rules_are_what_stored_alerts_carry():
    assert {name: rule.version for name, rule in RULES.items()} == {
        "spending": "1-c7261d16",
        "velocity": "1-e049d2fb",
    }


def test_both_rules_are_keyed_by_user():
    assert {name: rule.key_column for name, rule in RULES.items()} == {"spending": "user_id", "velocity": "user_id"}


@BOTH
def test_without_overrides_the_rule_is_the_default_one(rule):
    for overrides in (None, {}, {rule.name: {}}):
        assert configured(rule.name, overrides).version == rule.version


def test_an_override_equal_to_the_default_keeps_the_version():
    assert configured("spending", {"spending": {"ratio": 3}}).version == SPENDING.version


@pytest.mark.parametrize(
    ("name", "parameter"),
    [(rule.name, parameter) for rule in RULES.values() for parameter in msgspec.structs.asdict(rule.parameters)],
)
def test_each_changed_parameter_changes_the_version(name, parameter):
    default = RULES[name]
    value = getattr(default.parameters, parameter) + 1
    changed = configured(name, {name: {parameter: value}})
    assert changed.version != default.version
    assert getattr(changed.parameters, parameter) == value
    assert getattr(RULES[name].parameters, parameter) == value - 1


def test_overrides_of_another_rule_leave_this_one_alone():
    assert configured("spending", {"velocity": {"payments": 9}}).version == SPENDING.version


def test_a_changed_parameter_changes_the_verdict():
    changes = inserts(["100.00"] * 3 + ["600.00"])
    strict = configured("spending", {"spending": {"ratio": 6}})
    assert facts(replay(strict, changes).alerts) == []
    assert len(replay(configured("spending", {"spending": {"ratio": 5}}), changes).alerts) == 1


@pytest.mark.parametrize("overrides", [None, {"spending": {}}])
def test_an_unknown_rule_is_refused_with_the_names_that_exist(overrides):
    with pytest.raises(ConfigurationError, match="'speeding', wanted one of: spending, velocity"):
        configured("speeding", overrides)


def test_overrides_of_an_unknown_rule_are_refused():
    with pytest.raises(ConfigurationError, match="'speeding'"):
        configured("spending", {"speeding": {"ratio": 3}})


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("spending", {"ration": 3}),
        ("spending", {"ratio": "3"}),
        ("spending", {"ratio": 3.5}),
        ("spending", {"ratio": True}),
        ("spending", {"ratio": None}),
        ("spending", {"ratio": 0}),
        ("spending", {"history": 0}),
        ("spending", {"minimum_payments": 0}),
        ("velocity", {"window_s": 60}),
        ("velocity", {"history": 0}),
        ("velocity", {"window_us": -1}),
    ],
)
def test_an_unknown_parameter_or_a_value_that_cannot_be_is_refused(name, given):
    with pytest.raises(ConfigurationError, match=f"parameters of rule {name}"):
        configured(name, {name: given})


@BOTH
def test_users_are_taken_out_and_put_together_as_bytes(rule):
    codec = BucketCodec(rule)
    of_users = states(rule, [7, -3, 900])
    data = codec.encode(of_users)
    users = codec.split(data)
    assert {user: codec.decode_user(state) for user, state in users.items()} == of_users
    assert codec.join(users) == data


@BOTH
def test_later_parts_of_a_bucket_are_newer(rule):
    codec = BucketCodec(rule)
    first, second = replay(rule, log(7)[:-1]).states[7], replay(rule, log(7)).states[7]
    other = states(rule, [8])[8]
    parts = [codec.encode({7: first, 8: other}), codec.encode({7: second})]
    assert codec.join(codec.merge(parts)) == codec.encode({7: second, 8: other})


def test_an_unknown_merchant_stays_unknown():
    unknown, known = insert(1, 1, "1.00"), insert(2, 2, "1.00")
    unknown = msgspec.structs.replace(unknown, after=msgspec.structs.replace(unknown.after, merchant_id=None))
    codec = BucketCodec(SPENDING)
    (state,) = codec.decode(codec.encode(replay(SPENDING, [unknown, known]).states)).values()
    assert [entry.transaction for entry in state.history.entries] == [unknown.after, known.after]


def test_a_rule_whose_state_has_no_place_for_its_features_is_refused(monkeypatch):
    monkeypatch.setattr(SPENDING.logic.State, "WIDTH", 4)
    with pytest.raises(TypeError, match="rule spending: State.WIDTH is 4"):
        rules._row(1, "user_id", SPENDING.logic)
