"""What the whole line shows to others while it runs: loopback sockets, no password, and no row in any log."""

from itertools import product

import httpx
import pytest

from lab.stack.credentials import ROLES, Credentials
from lab.stack.home import Home
from tests import exposure
from tests.conftest import Line, wait_for
from twinpath.detection.rules import RULES
from twinpath.settings import load_settings

pytestmark = pytest.mark.integration


@pytest.fixture
def busy(line: Line) -> Line:
    """A line with both agents, through which the planted rows have gone."""
    for rule in RULES:
        line.agents.start(rule)
    for rule in RULES:
        line.agents.wait(rule)
    exposure.plant(line.stack.credentials.dsn("twinpath_writer", line.settings.source_database))
    line.wait_until_in_kafka()
    line.wait_until_judged(*RULES.values())
    return line


def test_a_running_line_keeps_rows_and_passwords_to_itself(busy: Line) -> None:
    home, settings = busy.stack.home, busy.settings
    wait_for(lambda: busy.rows("SELECT count(*) FROM alert_log")[0][0] > 0, "an alert of the planted rows")
    assert busy.rows("SELECT rule FROM dead_letters ORDER BY rule") == [("spending",), ("velocity",)]

    found = exposure.listeners(home)
    assert [one for one in found if not exposure.is_loopback(one[0])] == []
    expected = {settings.pgport, settings.kafka_controller_port, *(busy.agents.port(rule) for rule in RULES)}
    expected |= {int(settings.kafka_bootstrap_servers.rpartition(":")[2]), httpx.URL(settings.connect_url).port}
    assert expected <= {port for _, port, _ in found}, "each service was seen"

    secrets = exposure.passwords(home)
    assert len(secrets) == len(ROLES) + 2
    assert exposure.in_files(exposure.logs(home), exposure.planted_words()) == []
    assert exposure.in_files(exposure.open_files(home), secrets) == []
    assert exposure.in_arguments(secrets | exposure.planted_words()) == []
    topic = [path for path in exposure.open_files(home) if settings.topic in str(path)]
    assert exposure.in_files(iter(topic), exposure.planted_words()), "the topic holds the rows: the search does find"

    connector = f"{settings.connect_url}/connectors/{settings.connector}"
    shown = [httpx.get(f"{connector}{part}").text for part in ("", "/config", "/status", "/tasks", "/offsets")]
    shown += [
        httpx.get(f"{busy.agents.url(rule)}{page}").text for rule, page in product(RULES, ("/metrics", "/healthz"))
    ]
    words = [*secrets.values(), *exposure.planted_words().values()]
    assert [text for text in shown if any(word in text for word in words)] == []


def test_passwords_are_drawn_anew_for_each_stack_and_are_long(tmp_path) -> None:
    drawn = []
    for name in ("one", "two"):
        home = Home(tmp_path / name)
        home.make()
        one = Credentials(home, load_settings())
        drawn += [one.password(role) for role in ("postgres", *ROLES)]
        assert Credentials(home, load_settings()).password("postgres") == one.password("postgres"), "kept once drawn"
    assert len(set(drawn)) == len(drawn)
    assert min(len(password) for password in drawn) >= 32
