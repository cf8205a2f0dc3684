"""What an agent does while the alert store or Kafka is away: fetch nothing, stay in the group, try again.

Nothing is dropped and memory stays bounded: what had been fetched before the pause is kept as a backlog.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import tenacity

from streaming.change_log import ChangeLog, Record
from streaming.metrics import Metrics
from twinpath.errors import AlertStoreUnavailable, ChangeLogUnavailable

POLL_S = 0.2
LONGEST_WAIT_S = 5.0
T = TypeVar("T")


class Patience:
    """Runs actions until they succeed, or until the agent is asked to stop."""

    def __init__(self, log: ChangeLog, metrics: Metrics, logger: Any) -> None:
        self._log = log
        self._metrics = metrics
        self._logger = logger
        self.stopping = False
        self.backlog: list[Record] = []

    def __call__(self, action: Callable[[], T]) -> T:
        """Do it; trouble that passes is waited for, every other error is raised at once."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((AlertStoreUnavailable, ChangeLogUnavailable)),
            wait=tenacity.wait_exponential(multiplier=0.1, max=LONGEST_WAIT_S),
            stop=lambda _state: self.stopping,
            sleep=self._keep_polling,
            before_sleep=self._note_failure,
            reraise=True,
        )
        result = retrying(action)
        if retrying.statistics.get("attempt_number", 1) > 1:
            self._log.resume()
            self._logger.info("back")
        return result

    def take_backlog(self) -> list[Record]:
        """The records fetched before a pause, once."""
        taken, self.backlog = self.backlog, []
        return taken

    def _note_failure(self, state: tenacity.RetryCallState) -> None:
        problem = state.outcome.exception() if state.outcome else None
        self._metrics.store_failures.inc()
        if state.attempt_number == 1:
            self._log.pause()
            self._logger.warning("paused", problem=str(problem))

    def _keep_polling(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self.stopping:
            self.backlog.extend(self._log.poll(min(left, POLL_S)))
            self._metrics.turned()
