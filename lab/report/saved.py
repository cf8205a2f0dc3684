"""A run folder, read back: the summary, the samples behind its figures, and what is odd about them.

A folder that cannot be read gives a ConfigurationError which says what was found, what was wanted and what to do.
"""

import csv
import hashlib
import json
import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
import psutil

from lab.measure import lag
from lab.measure.lag import Behind
from lab.measure.latency import HOPS, Sample, plain_text
from lab.operations import Operation
from lab.report.model import SCHEMA_VERSION, Summary
from lab.report.saved_drills import Drills, saved_drills
from lab.report.saved_experiments import Experiments, read_experiments
from lab.runs import OWNER
from twinpath.errors import ConfigurationError
from twinpath.settings import ROOT

SUMMARY, LATENCIES, OPERATIONS = "summary.json", "latencies.csv", "operations.jsonl"
REGENERATED = (".html", ".svg", ".md")  # made from the others: no checksum of theirs is worth a line


class File(msgspec.Struct, frozen=True):
    """A file of the folder that the report is made from or points at."""

    name: str
    size: int
    sha256: str


class Saved(msgspec.Struct, frozen=True):
    """A run: samples by path; committed holds, by whole second since the load began, the rows written; notes are what
    a reader must know of the data before believing it; experiments are those that were run into the same folder;
    behind is how far behind everything was, by the second. Drills are those of the checkout, not of the run."""

    folder: Path
    summary: Summary
    samples: dict[str, list[Sample]]
    committed: dict[int, int]
    files: list[File]
    notes: list[str]
    experiments: Experiments
    behind: list[Behind] = []
    drills: Drills = Drills()


def read_run(folder: Path, checkout: Path = ROOT) -> Saved:
    """Everything that the report is made from."""
    summary = read_summary(folder)
    notes: list[str] = []
    samples = _samples(folder / LATENCIES, notes)
    notes += _negative(samples)
    experiments = read_experiments(folder)
    notes += [f"{name} is of an experiment that this version does not know: left out." for name in experiments.unknown]
    committed = _committed(folder / OPERATIONS, summary, notes)
    behind = _behind(folder / lag.FILE, notes)
    drills = saved_drills(checkout)
    return Saved(folder, summary, samples, committed, _files(folder), notes, experiments, behind, drills)


def read_summary(folder: Path) -> Summary:
    """The summary of a run folder."""
    path = folder / SUMMARY
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: found no such folder, wanted one of a run; they lie under runs/")
    if not path.exists():
        raise ConfigurationError(_no_summary(folder))
    try:
        raw = path.read_bytes()
        version = msgspec.json.decode(raw, type=_Versioned).schema_version
        if version != SCHEMA_VERSION:
            raise ConfigurationError(
                f"{path}: found schema_version {version}, wanted {SCHEMA_VERSION}; use the checkout that wrote it"
            )
        return msgspec.json.decode(raw, type=Summary)
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"{path}: found {error}, wanted what docs/summary.schema.json says; the file is of something else, or was "
            "changed by hand"
        ) from None
    except msgspec.DecodeError as error:
        raise ConfigurationError(
            f"{path}: found half a file or none of JSON ({error}), wanted a whole summary; the run was cut short while "
            "it wrote: run twinpath demo again"
        ) from None


class _Versioned(msgspec.Struct):
    schema_version: int


def _no_summary(folder: Path) -> str:
    """Why a folder has no summary, as far as it shows."""
    names = sorted(path.name for path in folder.iterdir())
    results = [name for name in names if name.endswith(".json")]
    if (pid := _owner(folder)) is not None and psutil.pid_exists(pid):
        return f"{folder}: process {pid} is still at work on it, wanted a finished run; wait until it has ended"
    if results:
        return f"{folder}: found {', '.join(results)}, wanted {SUMMARY}: no run of twinpath demo, so it has no report"
    if OWNER in names:
        return f"{folder}: found a run that ended before its {SUMMARY} was written; run twinpath demo again"
    return f"{folder}: found no {SUMMARY}, wanted the folder of a run; they lie under runs/"


def _owner(folder: Path) -> int | None:
    try:
        return int(json.loads((folder / OWNER).read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _samples(path: Path, notes: list[str]) -> dict[str, list[Sample]]:
    """Samples by path; a file that is missing is a note, a line that cannot be read an error."""
    if not path.exists():
        notes.append(f"{path.name} is not in the folder: nothing is drawn from single latencies.")
        return {}
    found: dict[str, list[Sample]] = {}
    left_out = 0
    with path.open(newline="") as lines:
        rows = csv.DictReader(lines)
        if not {"rule", "changed_at", "latency_ms"} <= set(rows.fieldnames or ()):
            raise ConfigurationError(
                f"{path}: found the columns {rows.fieldnames}, wanted path, rule, changed_at, latency_ms; of what else?"
            )
        if "path" not in (rows.fieldnames or ()):
            notes.append(f"{path.name} is of an older version, which wrote the latencies of the agents alone.")
        for row in rows:
            sample = _sample(path, rows.line_num, row)
            if math.isfinite(sample.latency_ms):
                found.setdefault(plain_text(row.get("path") or "agent"), []).append(sample)
            else:
                left_out += 1
    if left_out:
        notes.append(f"No numbers among the latencies of {path.name}: {left_out}; they are left out.")
    return found


def _sample(path: Path, line: int, row: dict[str, str]) -> Sample:
    try:
        hops = tuple(float(row[hop]) if row.get(hop) else None for hop in HOPS)
        at = datetime.fromisoformat(row["changed_at"])
        return Sample(plain_text(row["rule"]), at, float(row["latency_ms"]), hops, int(row.get("tx_id") or 0))
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{path}, line {line}: found {list(row.values())} ({error}), wanted a whole sample; the file was cut short "
            "or changed: remove it to have the report without charts of latencies, or run twinpath demo again"
        ) from None


def _negative(samples: dict[str, list[Sample]]) -> Iterator[str]:
    for path, found in samples.items():
        below = [one.latency_ms for one in found if one.latency_ms < 0]
        if below:
            yield (
                f"Negative latencies of {path}: {len(below)} of {len(found)}, down to {min(below):.1f} ms: "
                "the clock was set back, or the stamps are of two servers. "
                "They count as they are; a logarithmic axis cannot show them."
            )


def _committed(path: Path, summary: Summary, notes: list[str]) -> dict[int, int]:
    """Committed rows by the second; empty without an operation log."""
    if not path.exists():
        return {}
    found: dict[int, int] = {}
    began_us = summary.began.timestamp() * 1e6
    decoder = msgspec.json.Decoder(Operation)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                one = decoder.decode(line)
            except msgspec.MsgspecError:
                notes.append(f"{path.name} breaks off at line {number}: the rate of the load is not drawn.")
                return {}
            if one.outcome == "committed":
                second = int((one.done_us - began_us) // 1e6)
                found[second] = found.get(second, 0) + 1
    return found


def _behind(path: Path, notes: list[str]) -> list[Behind]:
    """What was looked at by the second; none in a run of an older version."""
    try:
        return lag.read(path) if path.exists() else []
    except (ValueError, KeyError, TypeError, csv.Error):
        notes.append(f"{path.name} breaks off or was changed: lag and retained WAL are not drawn.")
        return []


def _files(folder: Path) -> list[File]:
    """The files that hold data, with their checksums."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != OWNER and path.suffix not in REGENERATED:
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            found.append(File(path.name, path.stat().st_size, digest))
    return found
