"""Ages, and which run folders may go; versions by name, and readings by difference."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lab.retention import Wanted, age, in_use, old_runs, prune
from lab.runs import OWNER
from twinpath.detection.record import EnvelopeFormat
from twinpath.detection.rules import RULES, configured
from twinpath.errors import ConfigurationError
from twinpath.rule_versions import changed_reading, reading_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NAMES = ("20261001T000000Z-000001", "20261101T000000Z-000002", "20261122T000000Z-000003", "20261123T000000Z-000004")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "operations.jsonl").write_text("{}")
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_an_age_is_days_or_hours() -> None:
    assert (age("30d"), age("12h"), age("1h")) == (timedelta(days=30), timedelta(hours=12), timedelta(hours=1))


@pytest.mark.parametrize("text", ["", "30", "d", "30m", "0d", "-1d", "1.5d", "30 d", "30D", "30d\n", "999999d", "٣d"])
def test_any_other_age_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match="wanted days or hours such as 30d or 12h"):
        age(text)


def test_the_longest_age_lies_within_the_calendar() -> None:
    assert NOW - age("99999d") > datetime.min.replace(tzinfo=UTC)


def test_what_to_prune_must_be_named_and_have_an_age() -> None:
    with pytest.raises(ConfigurationError, match="--alerts, --dead-letters, --runs or --superseded"):
        Wanted(timedelta(days=1)).checked()
    for kind in ("alerts", "dead_letters", "runs"):
        with pytest.raises(ConfigurationError, match="found no --older-than"):
            Wanted(None, **{kind: True}).checked()
    assert Wanted(None, superseded=True).checked()


def test_old_run_folders_go_only_when_that_is_confirmed(runs: Path) -> None:
    wanted = Wanted(timedelta(days=2), runs=True)
    said = prune("unused", wanted, NOW, do_it=False, runs=runs)
    assert said == [f"2 folders of {runs}: {NAMES[0]}, {NAMES[1]}"]
    assert names(runs) == list(NAMES)
    assert prune("unused", wanted, NOW, do_it=True, runs=runs) == said
    assert names(runs) == [NAMES[2], NAMES[3]]
    assert prune("unused", wanted, NOW, do_it=True, runs=runs) == [f"0 folders of {runs}"]


def test_the_newest_run_is_kept_however_old(runs: Path) -> None:
    prune("unused", Wanted(timedelta(hours=1), runs=True), NOW + timedelta(days=900), do_it=True, runs=runs)
    assert names(runs) == [NAMES[3]]


def test_a_run_whose_process_goes_on_is_kept(runs: Path) -> None:
    (runs / NAMES[0] / OWNER).write_text(json.dumps({"pid": os.getpid()}))
    assert in_use(runs / NAMES[0])
    (runs / NAMES[1] / OWNER).write_text(json.dumps({"pid": 2**22 + 1}))
    assert not in_use(runs / NAMES[1])
    assert [one.name for one in old_runs(runs, NOW)] == [NAMES[1], NAMES[2]]


def test_a_process_id_that_was_given_out_again_does_not_keep_a_run(runs: Path) -> None:
    owner = runs / NAMES[0] / OWNER
    owner.write_text(json.dumps({"pid": os.getpid()}))
    os.utime(owner, (1, 1))
    assert not in_use(runs / NAMES[0])


def test_what_is_no_run_folder_is_left_alone(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (runs / "notes").mkdir()
    (runs / "20260101T000000Z-00000f").symlink_to(elsewhere)
    (runs / "20260101T000000Z-00000e").write_text("a file")
    assert [one.name for one in old_runs(runs, NOW)] == list(NAMES[:3])


def test_the_generation_is_part_of_the_version_past_the_first() -> None:
    first = RULES["spending"].version
    assert configured("spending").version == configured("spending", None, 1).version == first
    assert configured("spending", None, 2).version == f"{first}.2"
    changed = configured("spending", {"spending": {"ratio": 4}}, 3)
    assert (changed.version, changed.generation) == (f"{configured('spending', changed_ratio()).version}.3", 3)


def changed_ratio() -> dict[str, dict[str, int]]:
    return {"spending": {"ratio": 4}}


def test_a_change_in_how_records_are_read_is_named_by_its_setting() -> None:
    plain = reading_of(EnvelopeFormat(database="mydb"))
    assert plain == reading_of(EnvelopeFormat(database="elsewhere"))
    assert changed_reading(plain, plain) == ""
    assert changed_reading(plain, reading_of(EnvelopeFormat(amount_scale=2))) == "AMOUNT_SCALE was null, is 2"
    both = EnvelopeFormat(event_time_unit="ms", flattened=True)
    assert changed_reading(plain, reading_of(both)) == (
        'EVENT_TIME_UNIT was "us", is "ms"; FLATTENED was false, is true'
    )
