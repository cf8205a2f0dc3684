"""`twinpath prune`: old alerts, dead letters and run folders, and versions that are no longer folded.

For everybody else `alert_log` and `dead_letters` only grow; here the owner's role removes. What it costs:

- A correction or a delete that comes after a row has left its user's history is resolved against the alert
  of that row. When that alert was pruned, nothing stands: the change is counted `too_old`, and no REVISED or
  RETRACTED is written.
- What is stored no longer equals a replay of the whole log.
- A version that starts at the beginning of the log brings the old alerts back, under its own name.
- A superseded version that was removed starts again from nothing when its parameters come back.
"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from psycopg2.extensions import cursor as Cursor

from lab.runs import OWNER, RUNS
from twinpath.errors import ConfigurationError, EnvironmentFault

AGE = re.compile(r"([0-9]{1,5})([dh])")
RUN = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")
OLD_ALERTS = "coalesce(committed_at, captured_at, appended_at, decided_at) < %(before)s"  # no stamp at all: kept
OLD_LETTERS = "recorded_at < %(before)s"
VERSIONED = (
    "alert_log", "dead_letters", "state_buckets", "counters", "checkpoints", "batch_progress", "batch_runs",
    "rule_activations",
)  # fmt: skip
SUPERSEDED = """
WITH spans AS (
    SELECT path, rule, rule_version, min(activated_at) OVER (PARTITION BY path, rule) AS first_at,
           lead(activated_at) OVER (PARTITION BY path, rule ORDER BY number) AS ended_at
    FROM rule_activations
), known AS (
    SELECT path, rule, rule_version FROM alert_log UNION SELECT path, rule, rule_version FROM checkpoints
    UNION SELECT path, rule, rule_version FROM dead_letters UNION SELECT path, rule, rule_version FROM rule_activations
)
SELECT known.path, known.rule, known.rule_version
FROM known JOIN active_rules active USING (path, rule)
WHERE active.rule_version <> known.rule_version
  AND (%(before)s::timestamptz IS NULL OR %(before)s > coalesce(
      (SELECT max(ended_at) FROM spans WHERE (path, rule, rule_version) = (known.path, known.rule, known.rule_version)),
      (SELECT min(first_at) FROM spans WHERE (path, rule) = (known.path, known.rule))))
ORDER BY 1, 2, 3
"""


@dataclass(frozen=True)
class Wanted:
    """What to prune; `age` is None only when nothing but superseded versions is wanted."""

    age: timedelta | None
    alerts: bool = False
    dead_letters: bool = False
    runs: bool = False
    superseded: bool = False

    def checked(self) -> "Wanted":
        """Itself; ConfigurationError when it names nothing, or no age where one is needed."""
        if not (self.alerts or self.dead_letters or self.runs or self.superseded):
            raise ConfigurationError("name what to prune: --alerts, --dead-letters, --runs or --superseded")
        if self.age is None and (self.alerts or self.dead_letters or self.runs):
            raise ConfigurationError("found no --older-than, wanted an age such as 30d or 12h")
        return self


def age(text: str) -> timedelta:
    """`30d` or `12h` as a time span; ConfigurationError for anything else, and for nothing at all."""
    found = AGE.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise ConfigurationError(f"--older-than: found {text!r}, wanted days or hours such as 30d or 12h")
    return timedelta(**{"days" if found[2] == "d" else "hours": int(found[1])})


def prune(dsn: str, wanted: Wanted, now: datetime, *, do_it: bool, runs: Path = RUNS) -> list[str]:
    """Remove what is wanted, or only say what would be removed; a line for each kind, with its number.

    `dsn` is that of the store's owner or of a member of it. Everything in the store goes in one transaction.
    """
    wanted.checked()
    before = None if wanted.age is None else now - wanted.age
    lines: list[str] = []
    if wanted.alerts or wanted.dead_letters or wanted.superseded:
        with closing(psycopg2.connect(dsn, connect_timeout=5)) as session, session, session.cursor() as cursor:
            try:
                lines += _prune_store(cursor, wanted, before, do_it=do_it)
            except psycopg2.errors.InsufficientPrivilege:
                raise EnvironmentFault(
                    "the role of ALERTS_DSN may not remove from the alert store; give that of a member of "
                    "twinpath_owner for this command: ALERTS_DSN=... twinpath prune ..."
                ) from None
    if wanted.runs and before is not None:
        folders = list(old_runs(runs, before))
        for folder in folders if do_it else []:
            shutil.rmtree(folder)
        names = ", ".join(one.name for one in folders)
        lines.append(f"{len(folders)} folders of {runs}" + (f": {names}" if names else ""))
    return lines


def _prune_store(cursor: Cursor, wanted: Wanted, before: datetime | None, *, do_it: bool) -> Iterator[str]:
    def remove(table: str, condition: str, values: list[Any] | dict[str, Any]) -> int:
        if do_it:
            cursor.execute(f"DELETE FROM {table} WHERE {condition}", values)  # noqa: S608  constants
            return cursor.rowcount
        cursor.execute(f"SELECT count(*) FROM {table} WHERE {condition}", values)  # noqa: S608  constants
        (found,) = cursor.fetchone() or (0,)
        return int(found)

    if wanted.superseded:
        cursor.execute(SUPERSEDED, {"before": before})
        for version in cursor.fetchall():
            counts = [f"{remove(one, '(path, rule, rule_version) = %s', [version])} of {one}" for one in VERSIONED]
            yield f"superseded version {' '.join(version)}: {', '.join(counts)}"
    for asked, table, condition in (
        (wanted.alerts, "alert_log", OLD_ALERTS),
        (wanted.dead_letters, "dead_letters", OLD_LETTERS),
    ):
        if asked:
            found = remove(table, condition, {"before": before})
            yield f"{found} rows of {table} from before {before:%Y-%m-%d %H:%M} UTC"


def old_runs(runs: Path, before: datetime) -> Iterator[Path]:
    """Folders of runs that began before this time; never the newest one, nor one whose process still runs."""
    folders = sorted(one for one in runs.glob("*") if RUN.fullmatch(one.name) and one.is_dir() and not one.is_symlink())
    for folder in folders[:-1]:
        began = datetime.strptime(folder.name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if began < before and not in_use(folder):
            yield folder


def in_use(folder: Path) -> bool:
    """True while the process that made the folder runs."""
    try:
        owner = psutil.Process(json.loads((folder / OWNER).read_text())["pid"])
        return owner.create_time() < (folder / OWNER).stat().st_mtime
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return False
