"""Runs of the batch job as people start them: by spark-submit, or many in one kept session."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lab.stack import spark
from lab.stack.credentials import Credentials
from twinpath.errors import ServiceFault
from twinpath.settings import ROOT, Settings

JOB = ROOT / "spark_jobs" / "fraud_batch.py"
SUBMIT_TIMEOUT_S = 300.0
CLOSE_TIMEOUT_S = 60.0
Summary = dict[str, Any]


def job_environment(settings: Settings, credentials: Credentials) -> dict[str, str]:
    """What the job needs: connections and settings; of Spark only what lies beside this Python."""
    return {
        **spark.job_environment(settings),
        "SOURCE_DSN": credentials.dsn("twinpath_reader", settings.source_database),
        "ALERTS_DSN": credentials.alerts_dsn(settings),
    }


def submit(
    environment: Mapping[str, str],
    folder: Path,
    options: Sequence[str],
    *,
    started: Callable[[int], None] = lambda _: None,
) -> Summary:
    """One run by spark-submit, a Java machine of its own; returns its summary.

    Two figures come on top: `start` (from the call until the job's own code ran) and `whole`, in seconds; `started`
    is told the process id. Raises ServiceFault with the end of what the job said.
    """
    path = folder / f"summary-{time.time_ns()}.json"
    command = ["spark-submit", str(JOB), *options, "--summary", str(path)]
    began, began_us = time.monotonic(), time.time_ns() // 1000
    with subprocess.Popen(
        command, env={**environment}, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        started(process.pid)
        try:
            out, errors = process.communicate(timeout=SUBMIT_TIMEOUT_S)
        except BaseException:
            process.kill()
            raise
    whole = time.monotonic() - began
    if process.returncode:
        said = " / ".join([*out.splitlines()[-3:], *errors.splitlines()[-3:]])
        raise ServiceFault(f"spark-submit {' '.join(options)} ended with status {process.returncode}: {said}")
    summary: Summary = json.loads(path.read_text())
    path.unlink()
    summary["seconds"] |= {"start": round((summary["began_us"] - began_us) / 1e6, 3), "whole": round(whole, 3)}
    return summary


class WarmSession:
    """Runs in one kept session (spark_jobs/warm_batch.py), one after the other; it ends with us."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "spark_jobs.warm_batch"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**environment},
                cwd=log.parent,
                text=True,
                start_new_session=True,  # Ctrl-C is ours to hand on, by closing its input
            )
        self.pid = self._process.pid

    def ready(self) -> float:
        """Wait until the session is open; returns the seconds that it took to open."""
        return float(self._said()["session"])

    def run(self, options: Sequence[str]) -> Summary:
        """One run; returns its summary, with the seconds of it all as `whole`."""
        began = time.monotonic()
        stdin = self._pipe(self._process.stdin)
        try:
            stdin.write(f"{' '.join(options)}\n")
            stdin.flush()
        except OSError:
            raise ServiceFault(f"the Spark session has ended; {self._tail()}") from None
        summary = self._said()
        summary["seconds"]["whole"] = round(time.monotonic() - began, 3)
        return summary

    def close(self) -> None:
        """End the session; kill it when it does not end."""
        try:
            self._pipe(self._process.stdin).close()
            self._process.wait(CLOSE_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            self._pipe(self._process.stdout).close()

    def _said(self) -> Summary:
        """The next line that is one of ours."""
        for line in self._pipe(self._process.stdout):
            if line.startswith("{"):
                said: Summary = json.loads(line)
                if "error" in said:
                    raise ServiceFault(f"the batch job failed: {said['error']}")
                return said
        raise ServiceFault(f"the Spark session has ended; {self._tail()}")

    def _tail(self) -> str:
        return f"the end of {self._log}: {' / '.join(self._log.read_text(errors='replace').splitlines()[-5:])}"

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None  # noqa: S101  both were asked for
        return pipe


@contextmanager
def warm_session(environment: Mapping[str, str], log: Path) -> Iterator[WarmSession]:
    """A kept session for the block."""
    session = WarmSession(environment, log)
    try:
        yield session
    finally:
        session.close()
