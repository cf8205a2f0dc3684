"""Make the passwords of the container form, once, as files beside compose.yaml. Standard library only.

python3 docker/make_secrets.py

Passwords that are there are kept; what is made of them (DSNs, Airflow's connections) is written anew. The folder can be
entered by its owner only; the files in it can be read by all, because each container's user has another number.
"""

import argparse
import base64
import json
import os
import secrets
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "secrets"
SUPERUSER = "postgres"
ROLES = (  # those of sql/010_roles.sql that log in
    "twinpath_writer",
    "twinpath_cdc",
    "twinpath_reader",
    "twinpath_alerts",
    "twinpath_averages",
    "twinpath_lab",
    "twinpath_airflow",
)
HOST, PORT = "postgres", 5432  # as containers see it
SOURCE, ALERTS, OFFICE, METADATA = "mydb", "alerts", "office_db", "airflow"


def passwords(folder: Path) -> dict[str, str]:
    """Password by role or purpose; those that were made before stay."""
    path = folder / "passwords.json"
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    made = {role: secrets.token_urlsafe(24) for role in (SUPERUSER, *ROLES, "airflow_admin", "grafana_admin")}
    keys = {
        "fernet": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "secret": secrets.token_urlsafe(32),
        "jwt": secrets.token_urlsafe(64),
    }
    return made | {f"airflow_{name}": key for name, key in keys.items()} | known


def dsn(known: dict[str, str], role: str, database: str) -> str:
    """A libpq DSN as containers use it; passwords of ours need no quotes."""
    return f"host={HOST} port={PORT} dbname={database} user={role} password={known[role]}"


def connection(known: dict[str, str], role: str, database: str) -> dict[str, object]:
    """A connection as `airflow connections import` takes it."""
    return {
        "conn_type": "postgres",
        "host": HOST,
        "port": PORT,
        "schema": database,
        "login": role,
        "password": known[role],
    }


def files(known: dict[str, str]) -> dict[str, str]:
    """Text by name of file; compose.yaml names each as a secret."""
    role = "twinpath_airflow"
    connections = {
        "twinpath_source": connection(known, "twinpath_reader", SOURCE),
        "twinpath_alerts": connection(known, "twinpath_alerts", ALERTS),
        "office_db": connection(known, "twinpath_averages", OFFICE),
        "spark_local": {
            "conn_type": "spark",
            "host": "local[2]",
            "extra": json.dumps({"deploy-mode": "client", "spark-binary": "spark-submit"}),
        },
    }
    return {
        "passwords.json": json.dumps(known, indent=1),
        "postgres_password": known[SUPERUSER],
        "cdc.properties": f"password={known['twinpath_cdc']}\n",
        "alerts_dsn": dsn(known, "twinpath_alerts", ALERTS),
        "source_dsn": dsn(known, "twinpath_reader", SOURCE),
        "airflow_database": f"postgresql+psycopg2://{role}:{known[role]}@{HOST}:{PORT}/{METADATA}",
        "airflow_fernet": known["airflow_fernet"],
        "airflow_secret": known["airflow_secret"],
        "airflow_jwt": known["airflow_jwt"],
        "airflow_admin.json": json.dumps({"admin": known["airflow_admin"]}),
        "airflow_connections.json": json.dumps(connections),
        "grafana_admin": known["grafana_admin"],
    }


def write(folder: Path) -> list[str]:
    """Write every file; returns their names."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    made = files(passwords(folder))
    for name, text in made.items():
        fresh = folder / f".{name}.new"
        fresh.write_text(text)
        fresh.chmod(0o644)
        os.replace(fresh, folder / name)
    return sorted(made)


def main(arguments: list[str] | None = None) -> int:
    """Write the files and say where."""
    parser = argparse.ArgumentParser(description="Make the passwords of the container form, once.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"default {FOLDER}")
    given = parser.parse_args(arguments)
    names = write(given.folder)
    sys.stderr.write(f"{len(names)} files in {given.folder}; Airflow's and Grafana's logins: passwords.json there\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
