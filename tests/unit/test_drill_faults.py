"""What the faults of the matrix are made of: spoilt records, bulk work, a clock that is wrong."""

import os
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from lab.drills import clock
from lab.drills.clock.sitecustomize import FILE
from lab.drills.matrix.messages import spoilt
from lab.drills.work import BULKS, Work
from tests.integration.publishing import envelope, key, row
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.errors import DecodeError
from twinpath.failpoints import NAME

VALUE = envelope("c", 100, after=row(1, 7, "12.50"))
PASS_TWICE = (
    "from twinpath.failpoints import fail_at\nfor point in 'abb':\n    fail_at(point)\n    print(point, flush=True)"
)


def test_the_record_that_is_spoilt_can_be_read_and_no_spoilt_one_can() -> None:
    decoder = EnvelopeDecoder()
    assert len(decoder.decode(key(7), VALUE)) == 1
    bad = spoilt(VALUE)
    assert len(bad) == len(set(bad)) > 20
    for value in bad:
        with pytest.raises(DecodeError):
            decoder.decode(key(7), value)


def test_bulk_work_writes_many_rows_a_statement() -> None:
    scripts = list(islice(Work(7, 1, 100.0, recipes=BULKS).scripts(), 200))
    kinds = Counter(action.kind for script in scripts for action in script.actions if action.rows)
    assert kinds.keys() == {"insert", "copy"}
    rows = sum(len(action.rows) for script in scripts for action in script.actions)
    assert rows > 15 * len(scripts)


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )


def test_a_wrong_clock_is_off_by_what_its_file_says_and_steps_with_it(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    file.write_text("3600")
    code = (
        "import os, time\nfrom pathlib import Path\nright = time.clock_gettime_ns(time.CLOCK_REALTIME)\n"
        "ahead = time.time_ns() - right\n"
        "Path(os.environ.get('TWINPATH_CLOCK_FILE') or os.devnull).write_text('-3600')\n"
        "print(round(ahead / 1e9), round(time.time() - right / 1e9))"
    )
    folder = str(Path(clock.__file__).parent)
    assert python(code, PYTHONPATH=folder, **{FILE: str(file)}).stdout.split() == ["3600", "-3600"]
    assert python(code, PYTHONPATH=folder).stdout.split() == ["0", "0"]


@pytest.mark.parametrize(("point", "passed"), [("", "a b b"), ("b", "a"), ("b:2", "a b"), ("c", "a b b")])
def test_a_process_dies_where_it_was_told_to_and_nowhere_else(point: str, passed: str) -> None:
    done = python(PASS_TWICE, **{NAME: point})
    assert done.stdout.split() == passed.split()
    assert done.returncode == (0 if passed == "a b b" else -9)
