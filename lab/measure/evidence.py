"""What a demo found out, before it becomes a report."""

from datetime import datetime

import msgspec

from lab.beside import BesideFound
from lab.load import LoadResult
from lab.measure.comparison import Compared
from lab.measure.money import Payment


class Evidence(msgspec.Struct):
    """Everything that the report of a demo is made of; `beside` is None when Airflow was left out.

    `usage` holds (CPU seconds, peak MB) of each process of a log-fed path; `calm` is (begin, end) of the time after
    warm-up and before anything was killed or the batch path began: it has a latency row of its own. `payments` are the
    committed ones with their labels.
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
    usage: dict[str, list[tuple[float, float]]]
    calm: tuple[datetime, datetime]
    alerts_dsn: str
    payments: list[Payment] = []
