"""What the check after a batch run accepts."""

import json
from pathlib import Path
from typing import Any

import pytest

from twinpath.batch_summary import report
from twinpath.errors import ExactnessError, ServiceFault

RUN: dict[str, Any] = {
    "mode": "safe",
    "path": "spark_batch",
    "read": "partitioned",
    "attempt": "a1",
    "merged": True,
    "rows_read": 4,
    "rows_visible": 10,
    "rows_known": {"spending": 9, "velocity": 7},
    "alerts_written": 2,
    "counts": {"spending": {"taught": 2, "dead_letters": 1, "judged": 7}, "velocity": {"judged": 7}},
    "horizon": 800,
    "seconds": {"merge": 0.1},
    "cpu_s": 21.5,
    "peak_rss_mb": 900.0,
}
ALL = [("spark_batch", "spending", 1), ("spark_batch", "velocity", 3), ("spark_batch_full", "velocity", 99)]


def reported(tmp_path: Path, wanted: str = "safe", **changed: Any) -> dict[str, Any]:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(RUN | changed))
    return report(path, wanted, ALL)


def test_a_run_that_left_nothing_out_is_reported(tmp_path: Path) -> None:
    assert reported(tmp_path) == {
        "merged": True,
        "rows_read": 4,
        "rows_visible": 10,
        "rows_left_out": {"spending": 0, "velocity": 0},
        "alerts_written": 2,
        "seconds": {"merge": 0.1},
    }


def test_rows_deleted_since_are_no_rows_left_out(tmp_path: Path) -> None:
    assert reported(tmp_path, rows_visible=6)["rows_left_out"] == {"spending": 0, "velocity": 0}


def test_a_lossless_mode_that_left_a_row_out_fails(tmp_path: Path) -> None:
    with pytest.raises(ExactnessError, match=r"11 rows were visible.*\{'spending': 1, 'velocity': 1\}"):
        reported(tmp_path, rows_visible=11)


def test_a_naive_mode_reports_what_it_left_out(tmp_path: Path) -> None:
    found = reported(tmp_path, "naive-id", mode="naive-id", rows_visible=12)
    assert found["rows_left_out"] == {"spending": 2, "velocity": 2}
    elsewhere = reported(tmp_path, "naive-id", mode="naive-id", path="elsewhere")
    assert elsewhere["rows_left_out"] == {"spending": 1, "velocity": 3}


def test_a_full_run_counts_by_itself(tmp_path: Path) -> None:
    with pytest.raises(ExactnessError, match=r"\{'spending': 0, 'velocity': 3\}"):
        reported(tmp_path, "full", mode="full")


def test_a_run_that_another_one_outran_is_no_failure(tmp_path: Path) -> None:
    assert reported(tmp_path, merged=False, rows_visible=11)["merged"] is False


def test_a_job_that_left_no_summary_or_another_one_fails(tmp_path: Path) -> None:
    with pytest.raises(ServiceFault, match="left no summary"):
        report(tmp_path / "missing.json", "safe", ALL)
    with pytest.raises(ServiceFault, match="no summary of the batch job"):
        reported(tmp_path, rows_read=None)
    with pytest.raises(ServiceFault, match="did not count the visible rows: give it --count-visible"):
        reported(tmp_path, rows_visible=None)
    with pytest.raises(ServiceFault, match="found a summary of mode safe, wanted full"):
        reported(tmp_path, "full")
