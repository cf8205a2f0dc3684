"""The small programs of the container form: passwords, health check, and the figures of the capture line."""

import json
import math
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from psycopg2.extensions import parse_dsn

from docker import health, make_secrets
from lab import line_exporter
from lab.stack.airflow_api import postgres_connection
from lab.stack.credentials import AIRFLOW, ROLES, SUPERUSER, Credentials
from lab.stack.home import Home
from twinpath.errors import ConfigurationError
from twinpath.settings import Settings, load_settings


def text(folder: Path, name: str) -> str:
    return (folder / name).read_text()


def test_passwords_are_made_once_and_only_their_owner_can_enter_the_folder(tmp_path: Path) -> None:
    names = make_secrets.write(tmp_path / "secrets")
    before = {name: text(tmp_path / "secrets", name) for name in names}
    assert make_secrets.write(tmp_path / "secrets") == names
    assert {name: text(tmp_path / "secrets", name) for name in names} == before
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert make_secrets.passwords(tmp_path)["postgres"] != json.loads(before["passwords.json"])["postgres"]


def test_the_set_up_finds_the_password_of_every_role_and_writes_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path)
    make_secrets.write(home.secrets)
    before = text(home.secrets, "passwords.json")
    credentials = Credentials(home, load_settings(pghost="postgres"))
    assert set(json.loads(before)) >= {SUPERUSER, *ROLES, AIRFLOW}
    assert text(home.secrets, "passwords.json") == before
    for name, role in {"alerts_dsn": "twinpath_alerts", "source_dsn": "twinpath_reader"}.items():
        given = text(home.secrets, name)
        assert parse_dsn(given) == parse_dsn(credentials.dsn(role, parse_dsn(given)["dbname"]))


def test_the_dsns_lead_to_the_databases_that_the_set_up_makes(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.source_database == make_secrets.SOURCE
    assert settings.alerts_database == make_secrets.ALERTS
    assert settings.temperature_database == make_secrets.OFFICE
    assert settings.airflow_database == make_secrets.METADATA


def test_airflow_gets_the_connections_of_the_native_one(tmp_path: Path) -> None:
    make_secrets.write(tmp_path)
    known = json.loads(text(tmp_path, "passwords.json"))
    given = json.loads(text(tmp_path, "airflow_connections.json"))
    spark = given.pop("spark_local")
    assert (spark["conn_type"], spark["host"], json.loads(spark["extra"])["spark-binary"]) == (
        "spark",
        "local[2]",
        "spark-submit",
    )
    roles = {
        "twinpath_source": "twinpath_reader",
        "twinpath_alerts": "twinpath_alerts",
        "office_db": "twinpath_averages",
    }
    assert set(given) == set(roles)
    for name, one in given.items():
        native = postgres_connection(name, make_secrets.dsn(known, roles[name], one["schema"]))
        assert one == {key: native[key] for key in one}


class Answers(BaseHTTPRequestHandler):
    """/well is empty, /airflow is Airflow's health as it answers, whatever it says with status 200."""

    def do_GET(self) -> None:
        body = json.dumps({"scheduler": {"status": "unhealthy"}, "triggerer": {"status": "healthy"}, "none": None})
        self.send_response(200 if self.path in {"/well", "/airflow"} else 503)
        self.end_headers()
        self.wfile.write(body.encode() if self.path == "/airflow" else b"")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_health_check_believes_the_body_where_a_part_is_named(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert health.main([f"{url}/well"]) == 0
    assert health.main([f"{url}/airflow", "--part", "triggerer"]) == 0
    assert health.main([f"{url}/airflow", "--part", "scheduler"]) == 1
    assert capsys.readouterr().err == "scheduler is unhealthy, wanted healthy\n"
    for wrong in ([f"{url}/ill"], [f"{url}/well", "--part", "scheduler"], [f"{url}/airflow", "--part", "none"]):
        assert health.main(wrong) == 1
    assert health.main(["http://127.0.0.1:1/"]) == 1


def nowhere() -> Settings:
    return load_settings(source_dsn="host=127.0.0.1 port=1 dbname=x", connect_url="http://127.0.0.1:1")


def test_what_the_line_exporter_cannot_ask_is_no_number_and_not_reachable() -> None:
    metrics = line_exporter.LineMetrics(nowhere())
    assert not metrics.healthy()
    metrics.observe()
    assert metrics.healthy()
    read = metrics.registry.get_sample_value
    assert read("twinpath_line_reachable", {"part": "postgres"}) == 0
    assert read("twinpath_line_reachable", {"part": "connect"}) == 0
    for name in ("slot_present", "slot_active", "slot_wal_lost", "slot_retained_bytes", "slot_unconfirmed_bytes"):
        found = read(f"twinpath_line_{name}")
        assert found is not None and math.isnan(found), name
    failed = read("twinpath_line_connector_tasks", {"state": "FAILED"})
    assert failed is not None and math.isnan(failed)


def test_the_line_exporter_wants_a_source() -> None:
    with pytest.raises(ConfigurationError, match="SOURCE_DSN is empty"):
        line_exporter.watch(load_settings(source_dsn=""), threading.Event())
