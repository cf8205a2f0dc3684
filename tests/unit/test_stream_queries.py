"""Which query folds which rule, and which checkpoint is believed."""

import pytest

from spark_jobs.stream_queries import FoundCheckpoint, KnownQuery, QueryPlan, plan_queries, start_of
from twinpath.detection.rules import RULES, configured
from twinpath.errors import ForeignCheckpoint

SPENDING, VELOCITY = RULES["spending"], RULES["velocity"]
STRICT = configured("spending", {"spending": {"ratio": 100}})
BOTH = f"spending-{SPENDING.version}.velocity-{VELOCITY.version}"


def known(name: str, number: int, *rules: object, at: dict[int, int] | None = None) -> KnownQuery:
    return KnownQuery(name, number, tuple((one.name, one.version) for one in rules), "", "id", 4, at or {})


def names(plans: list[QueryPlan]) -> list[tuple[str, list[str]]]:
    return [(one.name, [rule.version for rule in one.rules]) for one in plans]


def test_rules_that_begin_together_share_a_query() -> None:
    plans = plan_queries([SPENDING, VELOCITY], [], {"spending": {}, "velocity": {}})
    assert names(plans) == [(BOTH, [SPENDING.version, VELOCITY.version])]
    assert plans[0].known is None


def test_a_new_version_begins_alone_and_the_other_rule_goes_on_where_it_stood() -> None:
    before = known(BOTH, 1, SPENDING, VELOCITY, at={0: 10})
    plans = plan_queries([STRICT, VELOCITY], [before], {"spending": {}, "velocity": {0: 10}})
    assert names(plans) == [(BOTH, [VELOCITY.version]), (f"spending-{STRICT.version}", [STRICT.version])]
    assert plans[0].known is before


def test_a_version_that_its_query_left_behind_begins_anew() -> None:
    before = known(BOTH, 1, SPENDING, VELOCITY, at={0: 25, 1: 3})
    marks = {"spending": {0: 10, 1: 3}, "velocity": {0: 25, 1: 3}}
    plans = plan_queries([SPENDING, VELOCITY], [before], marks)
    assert names(plans) == [(BOTH, [VELOCITY.version]), (f"spending-{SPENDING.version}", [SPENDING.version])]
    later = [known(f"spending-{SPENDING.version}", 2, SPENDING, at={0: 12}), before]
    plans = plan_queries([SPENDING, VELOCITY], later, {"spending": {0: 12, 1: 3}, "velocity": {0: 25, 1: 3}})
    assert [(one.name, one.known.number if one.known else 0) for one in plans] == [
        (BOTH, 1),
        (f"spending-{SPENDING.version}", 2),
    ]


def test_a_query_whose_name_is_taken_gets_another() -> None:
    before = known(BOTH, 1, SPENDING, VELOCITY, at={0: 25})
    plans = plan_queries([SPENDING, VELOCITY], [before], {"spending": {0: 1}, "velocity": {0: 1}})
    assert names(plans) == [(f"{BOTH}.2", [SPENDING.version, VELOCITY.version])]


FRESH = QueryPlan("q", (SPENDING,), None)
BEGUN = QueryPlan("q", (SPENDING,), KnownQuery("q", 1, (), "", None, None, {}))
STORED = QueryPlan("q", (SPENDING,), KnownQuery("q", 1, (), "", "a", 4, {0: 9}))


@pytest.mark.parametrize(
    ("plan", "found", "how"),
    [
        (FRESH, FoundCheckpoint(), "new"),
        (BEGUN, FoundCheckpoint(), "new"),
        (BEGUN, FoundCheckpoint("a"), "new"),
        (BEGUN, FoundCheckpoint("a", 0), "goes on"),
        (STORED, FoundCheckpoint("a", 5, 4), "goes on"),
        (STORED, FoundCheckpoint("a", 4, 3), "goes on"),
        (STORED, FoundCheckpoint("a", 4, 4), "goes on"),
        (STORED, FoundCheckpoint(), "judges again"),
        (STORED, FoundCheckpoint("b", 0), "goes on"),
    ],
)
def test_a_checkpoint_that_fits_is_used_and_one_that_is_gone_is_made_anew(
    plan: QueryPlan, found: FoundCheckpoint, how: str
) -> None:
    assert start_of(plan, "/place", found) == how


@pytest.mark.parametrize(
    ("plan", "found", "words"),
    [
        (FRESH, FoundCheckpoint("a", 5, 4), "knows nothing: its alerts would be missed"),
        (BEGUN, FoundCheckpoint("a", 5, 4), "knows nothing"),
        (STORED, FoundCheckpoint("a", 3, 3), "it is an older copy"),
        (STORED, FoundCheckpoint("a", 6, 5), "alerts in between are missing"),
        (STORED, FoundCheckpoint("b", 5, 4), "belongs to another query or run"),
        (STORED, FoundCheckpoint(None, 5, 4), "holds the checkpoint None"),
    ],
)
def test_a_checkpoint_that_would_skip_something_is_refused(plan: QueryPlan, found: FoundCheckpoint, words: str) -> None:
    with pytest.raises(ForeignCheckpoint, match=words) as refused:
        start_of(plan, "/place", found)
    assert "Remove the folder" in str(refused.value)
