"""The environment of a Spark job: the Spark that lies beside this Python, whatever another one has set."""

import os
import sys
from pathlib import Path

from lab.stack.java import ENVIRONMENT
from twinpath.settings import ROOT, Settings

FOREIGN = ("SPARK_", "PYSPARK_")


def foreign() -> dict[str, None]:
    """What our environment says of a Spark (another installation, Airflow's setting), to be left out: an empty
    SPARK_HOME would be believed."""
    return {name: None for name in os.environ if name.startswith(FOREIGN)}


def job_environment(settings: Settings) -> dict[str, str]:
    """Our environment without that, the settings, and where programs and modules are found."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return given | {
        **settings.environment(),
        **ENVIRONMENT,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
    }
