"""Airflow's configuration file, its secrets, and the environment that its processes get.

Everything is in `airflow.cfg`, which only its owner can read: with AIRFLOW_HOME set to that folder the `airflow`
command needs nothing else, and no key or password stands in an environment.
"""

import base64
import json
import os
import secrets
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

from lab.stack.credentials import AIRFLOW, Credentials
from lab.stack.home import Home
from lab.stack.java import jars, java
from twinpath.errors import EnvironmentFault
from twinpath.settings import LOOPBACK, ROOT, Settings

DAGS = ROOT / "dags"
ADMIN = "admin"
ADMIN_FILE = "airflow_admin.json"
KEYS_FILE = "airflow_keys.json"


def folder(home: Home) -> Path:
    """AIRFLOW_HOME of this stack: configuration, logs of tasks, summaries of batch jobs."""
    return home.path / "airflow"


def url(settings: Settings) -> str:
    """Address of the UI and of the REST API."""
    return f"http://{LOOPBACK}:{settings.airflow_port}"


def admin_password(home: Home) -> tuple[str, bool]:
    """The administrator's password, and whether it was made just now."""
    path = home.secrets / ADMIN_FILE
    if path.exists():
        return str(json.loads(path.read_text())[ADMIN]), False
    password = secrets.token_urlsafe(18)
    home.write_private(ADMIN_FILE, json.dumps({ADMIN: password}))
    return password, True


def write(home: Home, settings: Settings, credentials: Credentials, *, paused: bool = False) -> str:
    """Write `airflow.cfg` anew; returns its text. `paused`: DAGs wait until they are switched on."""
    folder(home).mkdir(mode=0o700, exist_ok=True)
    lines = []
    for section, values in _values(home, settings, credentials, paused).items():
        lines += [f"[{section}]", *(f"{name} = {str(value).replace('%', '%%')}" for name, value in values.items()), ""]
    text = "\n".join(lines)
    path = folder(home) / "airflow.cfg"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(text)
    return text


def environment(home: Home, settings: Settings) -> dict[str, str]:
    """What the components, and through them the tasks, find in their environment: no password among it."""
    spark = find_spec("pyspark")
    if spark is None or spark.origin is None:
        raise EnvironmentFault("found no pyspark beside this Python, wanted it for the batch jobs. Run: make setup")
    binaries = Path(sys.executable).parent
    secret = [name.upper() for name in Settings.model_fields if isinstance(getattr(settings, name), SecretStr)]
    return {
        **settings.environment(),
        **dict.fromkeys(secret, ""),  # tasks take them from Airflow's connections
        "AIRFLOW_HOME": str(folder(home)),
        "JARS_DIR": str(jars("spark").parent.resolve()),
        "JAVA_HOME": str(Path(java()).parent.parent),
        "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "SPARK_HOME": str(Path(spark.origin).parent),
        "SPARK_LOCAL_IP": LOOPBACK,
        "NO_COLOR": "1",
        "SPT_NOENV": "1",  # a process that changes its title keeps its environment readable, process.py's mark too
    }


def foreign() -> list[str]:
    """Variables of the caller's shell that would overrule the file, such as AIRFLOW__DATABASE__SQL_ALCHEMY_CONN."""
    return sorted(name for name in os.environ if name.startswith("AIRFLOW_") and name != "AIRFLOW_HOME")


def _values(home: Home, settings: Settings, credentials: Credentials, paused: bool) -> dict[str, dict[str, object]]:
    keys = _keys(home)
    login = f"{AIRFLOW}:{quote(credentials.password(AIRFLOW), safe='')}"
    return {
        "core": {
            "dags_folder": DAGS,
            "executor": "LocalExecutor",
            "parallelism": 4,
            "load_examples": False,
            "dags_are_paused_at_creation": paused,
            "default_timezone": "utc",
            "hostname_callable": "socket.gethostname",  # the default asks the name server
            "fernet_key": keys["fernet"],
            "simple_auth_manager_users": f"{ADMIN}:admin",
            "simple_auth_manager_passwords_file": home.secrets / ADMIN_FILE,
        },
        "database": {
            "sql_alchemy_conn": f"postgresql+psycopg2://{login}@{settings.pghost}:{settings.pgport}/"
            f"{settings.airflow_database}",
        },
        "api": {
            "host": LOOPBACK,
            "port": settings.airflow_port,
            "base_url": url(settings),
            "workers": 1,
            "secret_key": keys["secret"],
        },
        "api_auth": {"jwt_secret": keys["jwt"]},
        "dag_processor": {"refresh_interval": 10, "parsing_processes": 1},
        "scheduler": {"task_instance_heartbeat_timeout": 60},  # a task whose process is gone is tried again
        "logging": {"base_log_folder": folder(home) / "logs"},
    }


def _keys(home: Home) -> dict[str, str]:
    """Keys that encrypt stored passwords, sign sessions and sign the tasks' tokens; made once."""
    path = home.secrets / KEYS_FILE
    if not path.exists():
        keys = {
            "fernet": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "secret": secrets.token_urlsafe(32),
            "jwt": secrets.token_urlsafe(64),
        }
        home.write_private(KEYS_FILE, json.dumps(keys))
    found: dict[str, str] = json.loads(path.read_text())
    return found
