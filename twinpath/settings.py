"""Every setting: its name, default and unit, once. `.env.example` is checked against this module.

Precedence: command-line options, then the environment, then `.env` in the project's root, then files in the
folder that the environment's SECRETS_DIR names (a file `alerts_dsn` holds ALERTS_DSN), then the defaults below.
The environment's name is the field's name in capitals.
"""

import json
import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from twinpath.detection.envelope import EnvelopeFormat
from twinpath.errors import ConfigurationError

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
_HOST_AND_PORT = r"(\[[0-9A-Fa-f:.]+\]|[^\s,:/\[\]]+):[0-9]{1,5}"
_URL = r"^https?://(\[[0-9A-Fa-f:.]+\]|[^\s,:/\[\]]+)(:[0-9]{1,5})?(/[^\s/]+)*$"
_YEAR_S = 366 * 86_400.0
_MANY = 1_000_000_000
_NAME_BYTES = 48  # of a database: PostgreSQL cuts names at 63 without a word, and a run's suffix must stay


class Settings(BaseSettings):
    """One value for each setting; names derived from them are properties below."""

    model_config = SettingsConfigDict(
        env_file=ROOT / ".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        str_strip_whitespace=True,
        allow_inf_nan=False,
    )

    pghost: str = Field(LOOPBACK, min_length=1, description="host of the source PostgreSQL")
    pgport: int = Field(5432, ge=1, le=65535, description="port of the source PostgreSQL")
    pgdatabase: str = Field("mydb", description="source database that holds the table transactions")
    postgres_password: SecretStr = Field(
        SecretStr(""),
        description="password of the superuser postgres; empty: random, made at the first start",
    )
    office_database: str = Field("office_db", description="database of the temperatures")
    temperature_dsn: SecretStr = Field(
        SecretStr(""),
        description="DSN of the temperature producer; empty: PGHOST, PGPORT, OFFICE_DATABASE, and user and password as "
        "libpq finds them (PGUSER, PGPASSWORD, ~/.pgpass)",
    )
    averages_dsn: SecretStr = Field(
        SecretStr(""),
        description="DSN of the temperature consumer; empty: likewise",
    )
    alerts_dsn: SecretStr = Field(
        SecretStr(""), description="DSN of the alert store; empty: database alerts on the stack's server"
    )
    source_dsn: SecretStr = Field(
        SecretStr(""), description="DSN by which batch jobs read the source; `twinpath env --export` prints one"
    )
    kafka_bootstrap_servers: str = Field(
        f"{LOOPBACK}:9092",
        pattern=f"^{_HOST_AND_PORT}(,{_HOST_AND_PORT})*$",
        description="Kafka, host:port[,host:port]",
    )
    kafka_client: Literal["confluent", "kafka-python"] = Field(
        "confluent", description="Kafka client of the agents: confluent, the fast one, or kafka-python"
    )
    kafka_security: Literal["PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",
        description="how agents and Spark stream speak to Kafka: PLAINTEXT, or SASL_SSL (TLS, and SCRAM-SHA-512 with "
        "KAFKA_USERNAME and KAFKA_PASSWORD)",
    )
    kafka_username: str = Field("", description="user of Kafka, with SASL_SSL")
    kafka_password: SecretStr = Field(SecretStr(""), description="password of KAFKA_USERNAME")
    kafka_ca_file: str = Field(
        "", description="file of the authority that signed the brokers' certificates, PEM; empty: the system's"
    )
    kafka_controller_port: int = Field(9093, ge=1, le=65535, description="port of Kafka's controller")
    connect_url: str = Field(f"http://{LOOPBACK}:8083", pattern=_URL, description="REST address of Kafka Connect")
    topic_prefix: str = Field(
        "dbserver1", pattern=r"^[A-Za-z0-9._-]+$", max_length=200, description="Debezium's topic.prefix"
    )
    topic_partitions: int = Field(4, ge=1, le=1000, description="partitions of a topic that we create")
    run_id: str = Field(
        "", pattern=r"^[a-z0-9]*$", max_length=14, description="id of a measured run; empty: the standard names"
    )

    twinpath_home: str = Field("", description="folder of the stack's data, logs and passwords; empty: .twinpath/stack")

    event_time_unit: Literal["s", "ms", "us", "ns"] = Field(
        "us", description="unit of a created_at that arrives as an integer: s, ms, us or ns"
    )
    amount_scale: int | None = Field(
        None, ge=0, le=18, description="decimals of an amount that arrives as base64; empty: amounts are text"
    )
    flattened: bool = Field(False, description="true: records were flattened by ExtractNewRecordState")
    rule_parameters: dict[str, dict[str, Any]] = Field(
        {}, description='rule parameters that differ from the defaults, JSON: {"spending": {"ratio": 4}}'
    )

    state_buckets: int = Field(64, ge=1, le=4096, description="buckets of users per partition in a checkpoint")
    live_users: int = Field(
        20_000,
        ge=1,
        le=_MANY,
        description="users of a partition that an agent keeps as objects; the others are kept as bytes",
    )
    checkpoint_every_s: float = Field(
        60.0, gt=0, le=_YEAR_S, description="longest time between two checkpoints, seconds"
    )
    checkpoint_replay_s: float = Field(
        5.0, gt=0, le=_YEAR_S, description="a checkpoint when replaying would cost more, seconds"
    )
    checkpoint_idle_s: float = Field(
        1.0, gt=0, le=_YEAR_S, description="a checkpoint after this much idleness, seconds"
    )
    idle_warning_s: float = Field(
        30.0, gt=0, le=_YEAR_S, description="an agent without input says which hop is stuck, seconds"
    )
    group_instance: str = Field(
        "",
        max_length=249,
        pattern=r"^[A-Za-z0-9._-]*$",
        description="an agent's lasting name in its group (group.instance.id); empty: a new member at each start",
    )
    consumer_group: str = Field(
        "",
        pattern=r"^([a-z][a-z0-9]*)?$",
        description="a further group of agents of the same rules, such as second: it reads every change for itself, "
        "and wants an alert store of its own (ALERTS_DSN); empty: the first group",
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port of /metrics of an agent, Spark stream or line exporter that you start; 0: a free one",
    )
    metrics_host: str = Field(LOOPBACK, description="address on which /metrics and /healthz listen")
    agent_metrics_port: int = Field(
        9301, ge=1, le=65000, description="port of /metrics of the first agent under up; the next rules follow"
    )

    stream_checkpoints: str = Field(
        "",
        description="folder of the Spark stream's checkpoints, any Hadoop file system; empty: .twinpath/spark-stream",
    )
    stream_buckets: int = Field(16, ge=1, le=65_536, description="buckets of users in the state of the Spark stream")
    stream_partitions: int = Field(
        2, ge=1, le=1000, description="tasks that fold a micro-batch side by side; a checkpoint keeps its first value"
    )
    stream_max_records: int = Field(
        100_000, ge=1, le=_MANY, description="records of one micro-batch at the most: they bound its memory"
    )
    stream_trigger_s: float = Field(
        0.0, ge=0, le=_YEAR_S, description="shortest time from one micro-batch to the next, seconds; 0: at once"
    )
    stream_metrics_port: int = Field(9311, ge=1, le=65535, description="port of /metrics of the Spark stream under up")
    stream_ui_port: int = Field(4040, ge=1, le=65535, description="port of the Spark stream's own UI")

    airflow_port: int = Field(8080, ge=1, le=65535, description="port of Airflow's UI and REST API")
    batch_schedule: str = Field("*/10 * * * *", description="cron expression, UTC, of the DAG fraud_batch")

    rate: int = Field(500, ge=1, le=1_000_000, description="rows per second of a load")
    duration: float = Field(60.0, gt=0, le=_YEAR_S, description="length of a load, seconds")
    seed: int = Field(7, ge=0, le=2**63 - 1, description="seed of the workload, a whole number")
    profile: Literal["labelled", "uniform"] = Field(
        "labelled", description="profile of the workload: labelled or uniform"
    )

    @field_validator("amount_scale", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("pgdatabase", "office_database")
    @classmethod
    def _fits_with_a_suffix(cls, value: str) -> str:
        if not 1 <= len(value.encode()) <= _NAME_BYTES:
            raise ValueError(f"a name of 1 to {_NAME_BYTES} bytes")
        return value

    @property
    def suffix(self) -> str:
        """What a run's own names end in; empty for the standard names."""
        return f"_{self.run_id}" if self.run_id else ""

    @property
    def source_database(self) -> str:
        """The source database of this run."""
        return f"{self.pgdatabase}{self.suffix}"

    @property
    def temperature_database(self) -> str:
        """The database of the temperatures of this run."""
        return f"{self.office_database}{self.suffix}"

    @property
    def alerts_database(self) -> str:
        """The alert store's database on the stack's server."""
        return f"alerts{self.suffix}"

    @property
    def airflow_database(self) -> str:
        """The database of Airflow's metadata on the stack's server."""
        return f"airflow{self.suffix}"

    @property
    def prefix(self) -> str:
        """Debezium's topic prefix of this run."""
        return f"{self.topic_prefix}{self.suffix}"

    @property
    def topic(self) -> str:
        """The topic that carries the changes of `transactions`."""
        return f"{self.prefix}.public.transactions"

    @property
    def connector(self) -> str:
        """Name of the connector."""
        return f"transactions{self.suffix}"

    @property
    def publication(self) -> str:
        """Name of the publication."""
        return f"transactions{self.suffix}"

    @property
    def slot(self) -> str:
        """Name of the replication slot."""
        return f"twinpath_transactions{self.suffix}"

    def group(self, rule: str) -> str:
        """Consumer group of a rule's agents."""
        return f"twinpath-{rule}{self.further}{self.suffix}"

    @property
    def further(self) -> str:
        """What the names of a further group of agents hold after the rule; empty for the first group."""
        return f"-{self.consumer_group}" if self.consumer_group else ""

    def envelope(self) -> EnvelopeFormat:
        """What is declared about the records of the topic."""
        return EnvelopeFormat(
            database=self.source_database,
            event_time_unit=self.event_time_unit,
            amount_scale=self.amount_scale,
            flattened=self.flattened,
        )

    def environment(self) -> dict[str, str]:
        """Every setting as an environment variable, so that a child process reads no other value.

        The superuser's password is not handed on.
        """
        values: dict[str, str] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            values[name.upper()] = json.dumps(value) if isinstance(value, dict) else str("" if value is None else value)
        return values | {"POSTGRES_PASSWORD": ""}


def run_settings(settings: Settings, run_id: str) -> Settings:
    """The settings of a measured run: its own names, and an alert store of its own beside its source."""
    given = dict.fromkeys(("alerts_dsn", "temperature_dsn", "averages_dsn"), SecretStr(""))
    return settings.model_copy(update={"run_id": run_id, **given})


def load_settings(**overrides: Any) -> Settings:
    """Settings from options, environment, `.env`, files and defaults; ConfigurationError names what is wrong."""
    given = {name: value for name, value in overrides.items() if value is not None}
    folder = os.environ.get("SECRETS_DIR")
    if folder and not Path(folder).is_dir():
        raise ConfigurationError(f"SECRETS_DIR: found no folder {folder}, wanted one with a file for each secret")
    if folder:
        given["_secrets_dir"] = folder
    try:
        return Settings(**given)
    except ValidationError as error:
        raise ConfigurationError("; ".join(_said(problem) for problem in error.errors())) from None
    except ValueError as error:  # a value that is no JSON where JSON is wanted
        named = re.search(r'field "(\w+)"', str(error))
        if named is None:
            raise ConfigurationError(str(error)) from None
        wanted = Settings.model_fields[named[1]].description
        raise ConfigurationError(f"{named[1].upper()}: found no JSON, wanted {wanted}") from None


def _said(problem: Any) -> str:
    """A setting that cannot be right: what was found, unless it is a secret, and what was wanted."""
    name = ".".join(str(part) for part in problem["loc"]).upper()
    field = Settings.model_fields.get(str(problem["loc"][0]))
    if field is None or field.annotation is SecretStr:
        return f"{name}: {problem['msg']}"
    return f"{name}: found {problem['input']!r}, wanted {field.description}. {problem['msg']}"
