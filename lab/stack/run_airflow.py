"""A measured run's own Airflow: a free port, fresh metadata, connections to the run's databases; gone with the run.

The Airflow of a running stack is left alone: its DAGs work on the standard names, by their own schedule.

It and its Spark jobs have a lower priority than everything else: on one small machine a Java machine that starts would
otherwise take the cores from the agents, which elsewhere would not share them with it. Its DAGs wait until the run
switches them on.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.stack import airflow_config, process
from lab.stack.airflow import Airflow
from lab.stack.home import private_home
from lab.stack.stack import Stack
from twinpath.settings import Settings


@contextmanager
def run_airflow(stack: Stack, settings: Settings, schedule: str, folder: Path) -> Iterator[Airflow]:
    """An Airflow for the names of a run, whose `fraud_batch` runs by `schedule` (cron, UTC).

    When the block fails, its logs are kept in `folder`, for what they say is gone otherwise.
    """
    (port,) = process.free_ports(1)
    home = private_home()
    own = settings.model_copy(update={"airflow_port": port, "batch_schedule": schedule})
    airflow = Airflow(home, own, stack.credentials, yielding=True)
    try:
        airflow.up(stack.postgres, stack.progress)
        yield airflow
    except Exception:
        for logs in (home.logs, airflow_config.folder(home) / "logs"):
            if logs.exists():
                shutil.copytree(logs, folder / "airflow", dirs_exist_ok=True)
        raise
    finally:
        with process.uninterrupted():
            airflow.stop_all()
            home.remove()
            airflow.drop_metadata(stack.postgres)
