"""The questions of docs/lab-sheet.md, whose answers are the figures of the learner's own run."""

import re
from collections.abc import Callable, Iterator
from math import isclose
from pathlib import Path
from typing import NamedTuple

from lab.report.model import Summary
from twinpath.errors import ConfigurationError

BY_EYE = 0.05  # a latency is read off the page, which rounds it
LINE = re.compile(r"^\s*([a-z-]+)\s*[:=]\s*(.*?)\s*$")


class Question(NamedTuple):
    """What is asked, in what unit, and how the run answers it; None when this run cannot."""

    id: str
    text: str
    unit: str
    answer: Callable[[Summary], float | str | None]


class Marked(NamedTuple):
    """An answer beside the run's; ok is None when it was not given or the run cannot tell."""

    question: Question
    given: str
    wanted: float | str | None
    ok: bool | None


def _done(name: str) -> Callable[[Summary], float | None]:
    return lambda summary: summary.losses[name].done if name in summary.losses else None


def _seen(name: str, path: str) -> Callable[[Summary], float | None]:
    return lambda summary: summary.losses[name].seen.get(path) if name in summary.losses else None


def _of_path(path: str, figure: str) -> Callable[[Summary], float | None]:
    return lambda summary: getattr(summary.paths[path], figure) if path in summary.paths else None


def _undisturbed(summary: Summary) -> float | None:
    found = summary.paths["agent"].latency_ms_calm
    return found.p50 if found else None


def _longest_hop(summary: Summary) -> str | None:
    hops = {name: ms for name, ms in summary.paths["agent"].hops_ms_p50.items() if ms is not None}
    return max(hops, key=hops.__getitem__) if hops else None


def _batch_s(summary: Summary) -> float | None:
    found = summary.paths.get("spark_batch")
    return None if found is None or found.latency_ms.p50 is None else found.latency_ms.p50 / 1000


QUESTIONS = (
    Question("rows", "How many rows did the load insert and commit?", "rows", lambda one: one.workload.rows_inserted),
    Question("rolled-back", "How many rows did the load insert and roll back?", "rows", _done("rollback")),
    Question("rolled-back-seen", "How many of those did the agents see?", "rows", _seen("rollback", "agent")),
    Question("alerts", "How many alerts do the rules call for?", "alerts", lambda one: one.agreement.reference_alerts),
    Question(
        "suppressed",
        "How many duplicates did the agents suppress?",
        "records",
        _of_path("agent", "duplicates_suppressed"),
    ),
    Question(
        "agent-median", "After how many ms was half of the agents' alerts there, undisturbed?", "ms", _undisturbed
    ),
    Question("batch-median", "After how many seconds was half of spark_batch's alerts there?", "s", _batch_s),
    Question("longest-hop", "Which hop takes the agents longest at the median?", "its name", _longest_hop),
    Question(
        "born-and-died",
        "How many rows came and went between two runs of the batch job?",
        "rows",
        _done("born and died"),
    ),
    Question(
        "middle-updates-lost",
        "How many updates were replaced by another one before spark_batch looked, and so never seen by it?",
        "updates",
        lambda one: _difference(one, "middle update", "spark_batch"),
    ),
    Question(
        "differ",
        "How many alerts of spark_batch differ from what the rules call for?",
        "alerts",
        lambda one: _total(one, "missing", "extra"),
    ),
    Question(
        "without-cause", "How many of those have no verified cause?", "alerts", _of_path("spark_batch", "unexplained")
    ),
)


def _difference(summary: Summary, name: str, path: str) -> float | None:
    done, seen = _done(name)(summary), _seen(name, path)(summary)
    return None if done is None or seen is None else done - seen


def _total(summary: Summary, *figures: str) -> float | None:
    found = [_of_path("spark_batch", figure)(summary) for figure in figures]
    return None if None in found else sum(one for one in found if one is not None)


def read_answers(path: Path) -> dict[str, str]:
    """Lines `id: answer`; anything else is a remark. ConfigurationError for an id that is none."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: found {error}, wanted a text file with lines `id: answer`") from None
    known = {one.id for one in QUESTIONS}
    answers = {}
    for number, line in enumerate(lines, 1):
        found = LINE.match(line)
        if found is None or line.lstrip().startswith("#"):
            continue
        if found[1] not in known:
            raise ConfigurationError(
                f"{path}, line {number}: found the question {found[1]}, wanted one of {', '.join(sorted(known))}"
            )
        answers[found[1]] = found[2]
    return answers


def mark(answers: dict[str, str], summary: Summary) -> Iterator[Marked]:
    """Each question in order."""
    for one in QUESTIONS:
        given, wanted = answers.get(one.id, ""), one.answer(summary)
        yield Marked(one, given, wanted, None if not given or wanted is None else _right(given, wanted))


def _right(given: str, wanted: float | str) -> bool:
    if isinstance(wanted, str):
        return given.casefold() == wanted.casefold()
    found = re.match(r"[-+]?[\d,. ]*\d", given)
    if found is None:
        return False
    try:
        number = float(re.sub(r"[, ]", "", found[0]))
    except ValueError:
        return False
    return number == wanted if isinstance(wanted, int) else isclose(number, wanted, rel_tol=BY_EYE)
