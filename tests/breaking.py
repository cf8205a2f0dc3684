"""A stack with the standard names that tests break on purpose: the doctor must name the hop, and its mend must work."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2

from lab.console import Progress
from lab.doctor import checks
from lab.doctor.hop import Hop
from lab.measure import fence
from lab.stack import connect
from lab.stack.home import Home
from lab.stack.stack import Stack
from lab.surroundings import environment
from tests.conftest import wait_for
from twinpath.settings import ROOT, Settings

HEALTHY_S = 60.0
ROUNDS = 3  # a break may leave more than one hop broken: each is named when the one before it was mended
HEAD = """# Injected breaks: what the doctor said

Made on {day} at commit {commit} by
`DOCTOR_TABLE=docs/results/doctor.md python -m pytest tests/integration/test_doctor.py tests/e2e/test_doctor.py`.

Each row is a real stack on which one hop was broken on purpose. *Right* means that the first look of `twinpath doctor`
named the hop that was broken, with the cause in its evidence. *Healthy after it* means that the line that the doctor
printed was run in a shell as it stands, after what its note asks for first, and that every hop held afterwards; where
there is no line, after what the note says. Process ids and ports are those of the run."""
TAIL = """
What else hurts users of such stacks, and why it is no row here:

- A slot that somebody drops and makes anew with the same plugin begins past what Connect has stored, and is seen
  like one that was moved on: `tests/integration/test_resync.py`. Once a connector reads it, **nothing** tells any more.
- Records with or without `payload`, with or without schema, tombstones: all are read; the same tests hold them to
  be no break.
- Events sent again after a crash: agents drop them by position. Rows that commit late: a question of the batch
  modes, [there](batch.md).
- Times as integers of another unit, amounts as base64 whatever the connector says: `tests/unit/test_doctor.py`, on
  the records.
- `wal_level`: `up` starts PostgreSQL with the right one; `tests/integration/test_doctor.py` starts one without.
- Missing Java or jars: the hop *set-up*, `tests/e2e/test_doctor.py`. Jars that do not fit one another: they are
  locked by checksum.
- Another Spark, no Java under Airflow; images that vanished, clients that do not fit Python: `up` and the locks
  leave no choice there.
- A login that nobody was told: `twinpath env` names its file.
"""
OURS = re.compile(r"^(PG\w+|RUN_ID|ALERTS_DSN|SOURCE_DSN|JARS_DIR|TWINPATH_\w+)$")


class Patient:
    """One stack as its commands see it: a folder, settings, and the environment of a shell."""

    def __init__(self, home: Home, settings: Settings) -> None:
        self.home = home
        self.settings = settings
        own = settings.model_copy(update={"twinpath_home": str(home.path)}).environment()
        kept = {name: value for name, value in os.environ.items() if not OURS.match(name)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = kept | own | {"PATH": path}

    @property
    def stack(self) -> Stack:
        """The stack with the passwords that it has now."""
        return Stack(self.home, self.settings, Progress(quiet=True))

    def diagnosis(self) -> Hop | None:
        """What `twinpath doctor` finds."""
        return checks.first_broken(checks.walk(self.stack, stop_at_first=True))

    def shell(self, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a line as a user would paste it."""
        return subprocess.run(
            ["bash", "-c", line],
            capture_output=True,
            text=True,
            timeout=240,
            env=self.environment | environment,
            cwd=ROOT,
            check=False,
        )

    def sql(self, *statements: str, database: str | None = None) -> None:
        """Statements of the superuser, each its own transaction; on the source database when none is named."""
        with closing(self.stack.postgres.connect(database or self.settings.source_database)) as session:
            for statement in statements:
                with session.cursor() as cursor:
                    cursor.execute(statement)

    def insert(self, users: range = range(1, 2)) -> None:
        """A row of each user, and wait until all are in Kafka."""
        dsn = self.stack.credentials.dsn("twinpath_writer", self.settings.source_database)
        with closing(psycopg2.connect(dsn)) as session, session, session.cursor() as cursor:
            cursor.executemany("INSERT INTO transactions (user_id, amount) VALUES (%s, 12.34)", [(u,) for u in users])
        lab = self.stack.credentials.dsn("twinpath_lab", self.settings.source_database)
        fence.wait_for_slot(lab, self.settings.slot, fence.mark(lab), 30)

    def reconfigure(self, **config: str) -> None:
        """The connector with these keys otherwise (`_` for a dot), its task running again or FAILED."""
        ours = connect.connector_config(self.home, self.settings)
        connect.put_connector(self.settings, ours | {name.replace("_", "."): value for name, value in config.items()})

    def states(self) -> list[str]:
        """State of the connector and of its tasks."""
        state, tasks = connect.connector_state(self.settings)
        return [state, *(task for task, _ in tasks)]


@dataclass(frozen=True)
class Break:
    """`do` breaks a hop and waits until it is broken; `by_hand` is what the note asks for before the mend."""

    hop: str
    words: str
    do: Callable[[Patient], Any]
    by_hand: Callable[[Patient], Any] = lambda patient: None


@dataclass
class Row:
    """What came of one break."""

    name: str
    wanted: str
    said: Hop
    right: bool
    mended: bool = False


@dataclass
class Book:
    """The table of injected breaks."""

    rows: list[Row] = field(default_factory=list)

    def write(self) -> None:
        """Into the file that DOCTOR_TABLE names, when it does; rows of earlier sessions that it holds are kept."""
        if (target := os.environ.get("DOCTOR_TABLE")) and self.rows:
            path = Path(target)
            before = re.findall(r"^\| .* \|$", path.read_text(), re.MULTILINE)[1:] if path.exists() else []
            path.write_text(self.text(before))

    def text(self, before: Iterable[str] = ()) -> str:
        """As Markdown, after the rows of before; nothing in it names this machine's folders."""
        rows = {line.split(" | ")[0]: line for line in before} | {f"| {row.name}": _line(row) for row in self.rows}
        right, mended = (sum(line.split(" | ")[at].startswith("yes") for line in rows.values()) for at in (3, -1))
        lines = [
            *HEAD.format(day=datetime.now(tz=UTC).date(), commit=environment()["commit"]).splitlines(),
            "",
            f"{len(rows)} breaks, {right} named rightly, {mended} healthy again.",
            "",
            "| break | doctor named | evidence | right? | its mend | healthy after it? |",
            "|---|---|---|---|---|---|",
            *rows.values(),
        ]
        return "\n".join(lines) + "\n" + TAIL


def _line(row: Row) -> str:
    yes = {True: "yes", False: "NO"}
    cells = (row.name, row.said.name, _shown(row.said.evidence), yes[row.right], _mend(row.said), yes[row.mended])
    return f"| {' | '.join(cells)} |"


def _mend(hop: Hop) -> str:
    command = f"`{_shown(hop.mend)}`" if hop.mend else ""
    return "; ".join(part for part in (command, _shown(hop.note)) if part)


def _shown(text: str) -> str:
    """On one line, without this machine's folders."""
    text = re.sub(r"/[^\s'\"]*/pginstall/bin/", "", text.replace(str(ROOT), "."))
    text = re.sub(r"/\S*?/home\d+/stack|\./\.twinpath/private/\w+", ".twinpath/stack", text)
    return text.replace("|", "/").replace("\n", " ")


def try_break(patient: Patient, name: str, one: Break, book: Book) -> None:
    """Healthy; break; the doctor names the hop and why; mend by its own line; healthy."""
    wait_for(lambda: patient.diagnosis() is None, f"healthy before: {patient.diagnosis()}", HEALTHY_S)
    one.do(patient)
    said = patient.diagnosis()
    assert said is not None, f"the doctor saw nothing: {name}"
    right = said.name == one.hop and re.search(one.words, said.evidence) is not None
    row = Row(name, one.hop, said, right)
    book.rows.append(row)
    one.by_hand(patient)
    complaint = mend(patient, said)
    row.mended = complaint == ""
    assert (said.name, right) == (one.hop, True), said
    assert complaint == ""


def mend(patient: Patient, said: Hop) -> str:
    """Follow the doctor until every hop holds; what still is broken after some rounds, empty when nothing is."""
    done = ""
    found: Hop | None = said
    for _ in range(ROUNDS):
        if found is not None and found.mend:
            ran = patient.shell(found.mend)
            done += f"\n$ {found.mend}: {ran.returncode} {ran.stderr[-600:]}"
        deadline = time.monotonic() + HEALTHY_S / ROUNDS
        while (found := patient.diagnosis()) is not None and time.monotonic() < deadline:
            time.sleep(0.3)
        if found is None:
            return ""
    return f"{found}{done}"


@contextmanager
def reading_the_slot(patient: Patient) -> Iterator[None]:
    """Another program on our slot."""
    from psycopg2.extras import LogicalReplicationConnection  # noqa: PLC0415  used here only

    dsn = patient.stack.credentials.dsn("twinpath_cdc", patient.settings.source_database)
    session = psycopg2.connect(dsn, connection_factory=LogicalReplicationConnection)
    with closing(session), closing(session.cursor()) as cursor:
        options = {"proto_version": "1", "publication_names": patient.settings.publication}
        cursor.start_replication(slot_name=patient.settings.slot, decode=False, options=options)
        yield


def impostor(port: int) -> subprocess.Popen[bytes]:
    """Another program that listens on a port, answering nothing."""
    program = (
        f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); print('there', flush=True); "
        "time.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    return child
