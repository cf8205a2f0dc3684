"""The comparison as people start it in Airflow: by its form, on the stack that Airflow belongs to."""

import re
from pathlib import Path

import pytest

from tests.dags.conftest import AirflowShell

pytestmark = [pytest.mark.dags, pytest.mark.e2e, pytest.mark.long]
DAG = "latency_comparison"


@pytest.mark.timeout(600)
def test_a_comparison_started_by_its_form_ends_with_its_report(shell: AirflowShell) -> None:
    before = shell.rows("postgres", "SELECT datname FROM pg_database ORDER BY datname")
    run = shell.api.trigger(DAG, profile="tiny", duration=12, interval=4, seed=11)
    assert shell.finish(DAG, run, timeout_s=400) == "success"
    page = Path(shell.returned(DAG, run, "compare"))
    assert "<strong>✔ Pass</strong>" in page.read_text()
    assert "--seed 11" in page.read_text(), "the form's values reach the command"
    links = shell.api.call("GET", f"/dags/{DAG}/dagRuns/{run}/taskInstances/compare/links")["extra_links"]
    assert links == {"Report": page.as_uri()}
    logs = str(shell.api.call("GET", f"/dags/{DAG}/dagRuns/{run}/taskInstances/compare/logs/1?full_content=true"))
    assert str(page) in logs
    assert not re.search(r"password=\w", logs)
    events = shell.api.call("GET", f"/assets/events?source_dag_id={DAG}")["asset_events"]
    assert [one["extra"].get("report") for one in events] == [str(page)]
    assert shell.rows("postgres", "SELECT datname FROM pg_database ORDER BY datname") == before, "nothing is left"
