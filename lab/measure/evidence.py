"""What a demo found out, before it becomes a report."""

from datetime import datetime, timedelta

import msgspec

from lab.beside import BesideFound
from lab.load import LoadResult
from lab.measure.comparison import Compared


class Evidence(msgspec.Struct):
    """Everything that the report of a demo is made of; `beside` is None when Airflow was left out.

    `usage` holds CPU seconds and peak MB by agent; `left_out` are the windows (begin, length) of warm-up and
    faults, which a second latency row leaves out.
    """

    run_id: str
    seed: int
    began: datetime
    finished: datetime
    profile: str
    duration_s: float
    load: LoadResult
    records: int
    compared: Compared
    beside: BesideFound | None
    killed: list[tuple[str, datetime]]
    kills_wanted: int
    usage: dict[str, tuple[float, float]]
    left_out: list[tuple[datetime, timedelta]]
    alerts_dsn: str
