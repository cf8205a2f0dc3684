"""What a job took of its machine: CPU and memory of the driver, its JVM and their Python workers.

Executors on other machines are not in it.
"""

import psutil

from twinpath.process_usage import of_family

SUBMIT = "org.apache.spark.deploy.SparkSubmit"


def usage() -> dict[str, float]:
    """CPU seconds until now and peak resident MB, of the whole job where spark-submit started this process."""
    ours = psutil.Process()
    parent = ours.parent()
    root = parent if parent is not None and SUBMIT in parent.cmdline() else ours
    cpu_s, peak_mb = of_family(root)
    return {"cpu_s": round(cpu_s, 2), "peak_rss_mb": round(peak_mb, 1)}
