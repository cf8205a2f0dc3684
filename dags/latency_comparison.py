"""### The comparison: CDC or batch, for a load of your choice

`compare` runs `twinpath compare` on this stack, with databases, topic, slot and groups of its own that are removed at
the end; the standard names are not touched. It ends with the path of the report, in its log, as its return value, and
behind the link *Report* of the task. A comparison whose paths disagree fails; its report is written all the same.

Form of *Trigger*: `profile` sets the size; rate, duration and interval of the batch job take the place of the
profile's own when they are not 0. One comparison at a time: two would measure each other, and so would a batch run of
another DAG: switch `fraud_batch` off meanwhile.
"""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, BaseOperator, BaseOperatorLink, Param
from airflow.sdk.exceptions import AirflowException
from airflow.sdk.execution_time.xcom import XCom

from twinpath.settings import ROOT

REPORTS = Asset(name="comparison_reports", uri="twinpath://runs/report.html")


class ReportLink(BaseOperatorLink):
    """The report of a run of the task."""

    name = "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Its address as a file; empty before there is one."""
        path = XCom.get_value(ti_key=ti_key, key="report")
        return Path(path).as_uri() if path else ""


class CompareOperator(BaseOperator):
    """Runs `twinpath compare`; its output goes to the task's log, the path of the report to the XCom `report`."""

    operator_extra_links = (ReportLink(),)

    def execute(self, context: Any) -> str:
        """Returns the path of the report; AirflowException when the command fails, or when the paths disagree."""
        params = context["params"]
        command = [str(Path(sys.executable).parent / "twinpath"), "compare", "--profile", params["profile"]]
        command += ["--seed", str(params["seed"])]
        for name in ("rate", "duration", "interval"):
            command += [f"--{name}", str(params[name])] if params[name] else []
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with subprocess.Popen(command, cwd=ROOT, **streams) as process:
            self._process = process
            path = ""
            for line in process.stdout or ():
                self.log.info(line.rstrip())
                path = line.strip() if line.strip().endswith("report.html") else path
        if path:
            context["ti"].xcom_push("report", path)
            context["outlet_events"][REPORTS].extra = {"report": path}
        if process.returncode:
            raise AirflowException(
                f"twinpath compare ended with status {process.returncode}, wanted 0; its last lines are above"
                + (f", its report is {path}" if path else "")
            )
        return path

    def on_kill(self) -> None:
        """Ctrl-C to the command, which removes what it made."""
        self._process.terminate()


with DAG(
    dag_id="latency_comparison",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "twinpath", "retries": 0, "execution_timeout": timedelta(hours=2)},
    params={
        "profile": Param("tiny", type="string", enum=["tiny", "default", "stress"], title="Size of the comparison"),
        "rate": Param(0, type="integer", minimum=0, maximum=10_000, title="Rows per second"),
        "duration": Param(0, type="integer", minimum=0, maximum=3_600, title="Seconds of the load"),
        "interval": Param(0, type="integer", minimum=0, maximum=3_600, title="Seconds between two batch runs"),
        "seed": Param(7, type="integer", minimum=0, title="Seed of the load"),
    },
    tags=["comparison", "report"],
    doc_md=__doc__,
) as dag:
    CompareOperator(task_id="compare", outlets=[REPORTS])
