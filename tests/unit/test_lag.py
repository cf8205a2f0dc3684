"""How far behind everything is: looked at while others die, written and read back."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.measure.lag import Behind, read, watched, write
from lab.report.html.page import render
from tests.unit.saved_runs import write_run

NOBODY = "host=127.0.0.1 port=1 dbname=none user=none connect_timeout=1"
PAGE = b"""twinpath_agent_lag_records{rule="spending"} 17.0
twinpath_agent_lag_seconds{rule="spending"} 0.5
twinpath_agent_records_total{rule="spending"} 900.0
"""


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def page() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_written_is_read_back_with_its_gaps(tmp_path: Path) -> None:
    found = [
        Behind(0.0, 100, 90, {"agent": 3.0}, {"agent": 0.0}),
        Behind(1.0, None, None, {"agent": None, "spark_stream": 7.0}, {"agent": None, "spark_stream": 1.5}),
    ]
    write(found, tmp_path / "timeseries.csv")
    whole = {"agent": 3.0, "spark_stream": None}
    assert read(tmp_path / "timeseries.csv") == [
        Behind(0.0, 100, 90, whole, {"agent": 0.0, "spark_stream": None}), found[1],
    ]  # fmt: skip


def test_a_path_is_as_far_behind_as_its_last_part_and_unknown_while_one_is_away(tmp_path: Path, page: str) -> None:
    file, gone = tmp_path / "timeseries.csv", "http://127.0.0.1:1/metrics"
    with watched(NOBODY, "slot", lambda: {"agent": [page, page], "spark_stream": [page, gone]}, file):
        pass
    (one,) = read(file)
    assert one.lag_records == {"agent": 17.0, "spark_stream": None}
    assert one.lag_seconds == {"agent": 0.5, "spark_stream": None}
    assert (one.wal_kept_bytes, one.wal_unconfirmed_bytes) == (None, None)


def test_a_port_that_is_not_known_yet_leaves_the_cells_empty(tmp_path: Path) -> None:
    def missing() -> dict[str, list[str]]:
        raise FileNotFoundError("agent.port")

    with watched(NOBODY, "slot", missing, tmp_path / "timeseries.csv"):
        pass
    assert [one.lag_records for one in read(tmp_path / "timeseries.csv")] == [{}]


def test_the_page_draws_lag_and_kept_wal_and_says_when_they_cannot_be_read(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    lags = {"agent": 5.0, "spark_stream": 400.0}
    write([Behind(float(at), 3 << 20, 0, lags, lags) for at in range(60)], folder / "timeseries.csv")
    text = render(folder).read_text()
    assert "records in the topic that were not folded yet" in text
    assert "WAL that PostgreSQL keeps for the slot, MB" in text
    (folder / "timeseries.csv").write_text("second,wal_kept_bytes\nx,y\n")
    assert "timeseries.csv breaks off or was changed" in render(folder).read_text()
