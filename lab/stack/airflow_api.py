"""Airflow's REST API, as far as the lab uses it."""

import json
from datetime import datetime
from typing import Any

import httpx
from psycopg2.extensions import parse_dsn

from lab.stack.airflow_config import ADMIN
from twinpath.dsn import checked
from twinpath.errors import ServiceFault
from twinpath.settings import LOOPBACK

CALL_TIMEOUT_S = 30.0
DESCRIPTIONS = {
    "twinpath_source": "the table transactions, read only",
    "twinpath_alerts": "the alert store",
    "office_db": "temperature readings and their averages",
}
HEALTH = {"metadatabase": "", "scheduler": "scheduler", "triggerer": "triggerer", "dag_processor": "dag-processor"}


class AirflowApi:
    """Calls as the administrator; a token is fetched at the first one."""

    def __init__(self, address: str, password: str) -> None:
        self._address = address
        self._password = password
        self._token = ""

    def health(self) -> dict[str, dict[str, Any]]:
        """Status and latest heartbeat by component; {} when nothing answers. The HTTP status is always 200."""
        try:
            answer = httpx.get(f"{self._address}/api/v2/monitor/health", timeout=CALL_TIMEOUT_S)
            found: dict[str, dict[str, Any]] = answer.json()
        except (httpx.HTTPError, ValueError):
            return {}
        return found if isinstance(found, dict) and "metadatabase" in found else {}

    def put_connections(self, connections: list[dict[str, Any]]) -> None:
        """Create connections, or overwrite those that exist."""
        action = {"action": "create", "entities": connections, "action_on_existence": "overwrite"}
        answer = self.call("PATCH", "/connections", {"actions": [action]})
        done = answer.get("create") or {}
        if done.get("errors") or len(done.get("success", [])) != len(connections):
            problems = [one.get("error", "unknown") for one in done.get("errors", [])]
            raise ServiceFault(f"Airflow took {done.get('success')} of {len(connections)} connections: {problems}")

    def dags(self) -> dict[str, str]:
        """File, below the folder of DAGs, by DAG id."""
        found = self.call("GET", "/dags?limit=100")["dags"]
        return {one["dag_id"]: one["relative_fileloc"] for one in found}

    def import_errors(self) -> dict[str, str]:
        """Last line of the traceback by file that cannot be imported."""
        found = self.call("GET", "/importErrors?limit=100")["import_errors"]
        return {one["filename"]: one["stack_trace"].strip().splitlines()[-1] for one in found}

    def switch_on(self, dag_id: str) -> None:
        """Let a paused DAG run; the latest interval of its schedule is due at once."""
        self.call("PATCH", f"/dags/{dag_id}", {"is_paused": False})

    def trigger(self, dag_id: str, logical_date: str | None = None, **conf: Any) -> str:
        """Start a run with these params; returns its run id. `logical_date` (ISO) names a past interval."""
        made = self.call("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": logical_date, "conf": conf})
        return str(made["dag_run_id"])

    def backfill(self, dag_id: str, begin: datetime, end: datetime) -> int:
        """Run every interval that begins in [begin, end], both included; returns the backfill's id."""
        bounds = {"from_date": begin.isoformat(), "to_date": end.isoformat()}
        return int(self.call("POST", "/backfills", {"dag_id": dag_id, **bounds})["id"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """State, interval and times of every run of a DAG, the oldest first."""
        found: list[dict[str, Any]] = self.call("GET", f"/dags/{dag_id}/dagRuns?limit=100&order_by=run_after")[
            "dag_runs"
        ]
        return found

    def last_run(self, dag_id: str) -> dict[str, Any] | None:
        """The run of a DAG that was due last; None when it has none."""
        found: list[dict[str, Any]] = self.call("GET", f"/dags/{dag_id}/dagRuns?limit=1&order_by=-run_after")[
            "dag_runs"
        ]
        return found[0] if found else None

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """State, interval and times of one run."""
        return self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """State, try number and times (queued, started, ended) of each task of a run."""
        found: list[dict[str, Any]] = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")[
            "task_instances"
        ]
        return found

    def clear(self, dag_id: str, run_id: str) -> None:
        """Clear every task of a run, so that it runs again."""
        self.call("POST", f"/dags/{dag_id}/dagRuns/{run_id}/clear", {"dry_run": False})

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One call below /api/v2; ServiceFault with Airflow's own words when it refuses."""
        try:
            headers = {"Authorization": f"Bearer {self._token or self._log_in()}"}
            answer = httpx.request(
                method, f"{self._address}/api/v2{path}", json=body, headers=headers, timeout=CALL_TIMEOUT_S
            )
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
        except httpx.HTTPStatusError as error:
            raise ServiceFault(
                f"Airflow: {method} {path}: status {error.response.status_code}: {error.response.text[:300]}"
            ) from None
        except httpx.HTTPError as error:
            raise ServiceFault(f"Airflow at {self._address} does not answer ({type(error).__name__})") from None
        return found

    def _log_in(self) -> str:
        answer = httpx.post(
            f"{self._address}/auth/token",
            json={"username": ADMIN, "password": self._password},
            timeout=CALL_TIMEOUT_S,
        )
        answer.raise_for_status()
        self._token = str(answer.json()["access_token"])
        return self._token


def postgres_connection(connection_id: str, dsn: str) -> dict[str, Any]:
    """A connection as Airflow's API takes it, from a libpq DSN."""
    parts = parse_dsn(checked(f"the DSN of connection {connection_id}", dsn))
    return {
        "connection_id": connection_id,
        "conn_type": "postgres",
        "description": DESCRIPTIONS[connection_id],
        "host": parts.pop("host", LOOPBACK),
        "port": int(parts.pop("port", 5432)),
        "schema": parts.pop("dbname", ""),
        "login": parts.pop("user", ""),
        "password": parts.pop("password", ""),
        "extra": json.dumps(parts) if parts else None,
    }
