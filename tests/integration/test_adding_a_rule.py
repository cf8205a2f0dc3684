"""docs/adding-a-rule.md followed to the letter in a copy of the checkout: its agent judges the whole log, and neither
PostgreSQL nor the connector nor an agent that runs takes notice."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from lab.measure import reference
from lab.measure.agreement import compare_log
from lab.measure.counters import Counters, billed
from lab.slot import slot_at
from lab.stack import process
from tests.added_rule import card_testing
from tests.conftest import Line
from tests.documented import commands_of
from twinpath.alert_rows import read_alerts
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.model import Alert
from twinpath.detection.rules import RULES, Rule
from twinpath.settings import ROOT

pytestmark = pytest.mark.integration
NAME = "card_testing"
KEEP_ALIVES = 4  # statements
CONNECTOR_SESSIONS = 2  # beside its walsender, now and then
RULE = Rule(NAME, 1, "user_id", card_testing, card_testing.Parameters())
ROW = '        _row(1, "user_id", velocity),\n'
IMPORT = "from twinpath.detection.rules import spending, velocity\n"


def checkout_with_the_rule(folder: Path) -> Path:
    """A copy of what an agent is made of, with one module more and its row."""
    for room in ("twinpath", "streaming"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    rules = folder / "twinpath" / "detection" / "rules"
    shutil.copy(ROOT / "tests" / "added_rule" / f"{NAME}.py", rules)
    table = (rules / "__init__.py").read_text()
    assert (table.count(ROW), table.count(IMPORT)) == (1, 1)
    table = table.replace(ROW, f'{ROW}        _row(1, "user_id", {NAME}),\n')
    table = table.replace(IMPORT, IMPORT.replace("import ", f"import {NAME}, "))
    (rules / "__init__.py").write_text(table)
    return folder


@contextmanager
def agent_of(line: Line, checkout: Path) -> Iterator[None]:
    """The command of the page, in that checkout."""
    dsn = line.stack.credentials.alerts_dsn(line.settings)
    environment = {**os.environ, **line.settings.environment(), "ALERTS_DSN": dsn, "METRICS_PORT": "0"}
    program = re.search(r"\.venv/bin/python (.*) \)$", commands_of("new-agent").replace("<name>", NAME))
    assert program is not None
    command = [sys.executable, *shlex.split(program[1])]
    with (checkout / "agent.log").open("wb") as log:
        agent = subprocess.Popen(command, cwd=checkout, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        agent.terminate()
        status = agent.wait(30)
    assert status == 0, (checkout / "agent.log").read_text()


def pay(writer: Connection, user: int, *payments: tuple[str, int]) -> None:
    """Payments (amount, merchant) a minute apart, each committed by itself."""
    for minute, (amount, merchant) in enumerate(payments):
        with writer, writer.cursor() as cursor:
            cursor.execute(
                "INSERT INTO transactions (user_id, amount, merchant_id, created_at) VALUES (%s, %s, %s, %s)",
                [user, amount, merchant, f"2026-11-23T06:{minute:02}:00Z"],
            )


def test_a_third_rule_is_one_module_and_one_row_and_the_source_does_not_notice_its_agent(
    line: Line, tmp_path: Path
) -> None:
    spending, server = RULES["spending"], line.stack.credentials.dsn("twinpath_lab", "postgres")
    checkout = checkout_with_the_rule(tmp_path)
    tested = [("4.00", 1), ("1.00", 2), ("5.00", 3), ("600.00", 9)]
    writer = line.session()

    def bill(user: int, *rules: Rule) -> Counters:
        """What the source's database does while eight payments are committed and judged."""
        with billed(server, line.settings.source_database) as found:
            pay(writer, user, *tested)
            pay(writer, user + 1, *tested[1:], tested[0])
            line.wait_until_in_kafka()
            line.wait_until_judged(*rules)
        return found.counters

    def readers() -> tuple[object, ...]:
        """Who reads the log: the connector by its walsender, and the agent that was there first."""
        slot = slot_at(server, line.settings.slot)
        return slot and slot.reader, process.running(line.stack.home, line.agents.name("spending"))

    line.agents.start("spending")
    line.agents.wait("spending")
    bill(7, spending)  # the connector looks up what it needs to know of the table once
    before, first = bill(17, spending), readers()
    with agent_of(line, checkout):
        line.wait_until_judged(RULE)  # the payments of before it came
        after = bill(27, spending, RULE)
    assert readers() == first
    assert None not in first
    written = 8 * len(("BEGIN", "INSERT", "COMMIT"))
    for one in (before, after):  # now and then a connector asks whether its connection is alive
        assert written <= one.statements <= written + KEEP_ALIVES
        assert abs(one.rows_returned - before.rows_returned) <= KEEP_ALIVES
    assert (after.walsenders, after.slots) == (before.walsenders, before.slots) == (1, 1)
    assert max(before.connections, after.connections) <= 1 + CONNECTOR_SESSIONS, "the writer's and the connector's"
    found = stored(line, RULE)
    assert [(one.user_id, one.status, one.score) for one in found] == [(user, "RAISED", 30) for user in (7, 17, 27)]
    changes = reference.topic_changes(line.settings, line.wait_until_in_kafka(), EnvelopeDecoder())
    assert compare_log(found, reference.fold((RULE,), changes)[NAME].alerts).equal


def stored(line: Line, rule: Rule) -> list[Alert]:
    dsn = line.stack.credentials.dsn("twinpath_lab", line.settings.alerts_database)
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        return read_alerts(cursor, "agent", rule.name, rule.version)
