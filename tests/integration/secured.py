"""A Kafka of the files in docker/secured: TLS, SCRAM, an ACL for each program; and a Connect worker that gets in."""

import datetime
import ipaddress
import secrets
import subprocess
from pathlib import Path
from string import Template

import httpx
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab.stack import java, process
from lab.stack.connect import Connect
from lab.stack.home import Home
from lab.stack.kafka import new_cluster_id
from tests.conftest import wait_for
from twinpath import kafka_access
from twinpath.settings import ROOT, Settings

FILES = ROOT / "docker" / "secured"
ADMIN = "admin"
USERS = ("connect", "spending", "velocity", "spark")


def certificates(folder: Path) -> None:
    """ca.pem, and broker.pem (key and certificate) signed by it for 127.0.0.1."""
    now = datetime.datetime.now(datetime.UTC)

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def signed(name: str, public: ec.EllipticCurvePublicKey, extension: x509.ExtensionType) -> x509.Certificate:
        made = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named("authority"))
        made = made.public_key(public).serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        return made.add_extension(extension, critical=False).sign(authority, hashes.SHA256())

    authority, broker = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    root = signed("authority", authority.public_key(), x509.BasicConstraints(ca=True, path_length=0))
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    key = broker.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "broker.pem").write_bytes(key + signed("broker", broker.public_key(), here).public_bytes(pem))
    (folder / "broker.pem").chmod(0o600)


class SecuredKafka:
    """Broker and worker in a home, with a user for each program."""

    def __init__(self, home: Home, settings: Settings, controller_port: int) -> None:
        self.home = home
        home.make()
        certificates(home.secrets)
        self.passwords = {user: secrets.token_urlsafe(24) for user in (ADMIN, *USERS)}
        self.settings = settings.model_copy(update={"kafka_security": "SASL_SSL"})
        self._names = {
            "port": settings.kafka_bootstrap_servers.rpartition(":")[2],
            "controller_port": str(controller_port),
            "secrets": str(home.secrets),
            "data": str(home.path / "kafka"),
            "admin_password": self.passwords[ADMIN],
            "topic": settings.topic,
            "prefix": settings.prefix,
        }
        self._cluster = new_cluster_id()

    def as_user(self, user: str, **changes: object) -> Settings:
        """The settings of a program that gets in as this user."""
        own = {"kafka_username": user, "kafka_password": self.passwords[user]}
        copied = self.settings.model_copy(update={"kafka_ca_file": str(self.home.secrets / "ca.pem")})
        return Settings(**{**copied.model_dump(), **own, **changes})

    def filled(self, name: str) -> str:
        return Template((FILES / name).read_text()).substitute(self._names)

    def start(self) -> None:
        properties = self.home.write_private("broker.properties", self.filled("broker.properties"))
        scram = f"SCRAM-SHA-512=[name={ADMIN},password={self.passwords[ADMIN]}]"
        tool = ["format", "--standalone", "-t", self._cluster, "-c", str(properties), "--add-scram", scram]
        subprocess.run(
            java.java_command("broker", 256, "kafka.tools.StorageTool", *tool), check=True, capture_output=True
        )
        process.start(self.home, "kafka", java.java_command("broker", 512, "kafka.Kafka", str(properties)))
        wait_for(self._knows_admin, "the broker lets its administrator in")
        self._make_users()

    def admin(self) -> AdminClient:
        access = kafka_access.librdkafka(self.as_user(ADMIN))
        return AdminClient({"bootstrap.servers": self.settings.kafka_bootstrap_servers, "log_level": 0, **access})

    def _knows_admin(self) -> bool:
        try:
            return bool(self.admin().list_topics(timeout=5).brokers)
        except KafkaException:
            return False

    def _make_users(self) -> None:
        admin = self.admin()
        made = [
            UserScramCredentialUpsertion(
                user, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 8192), self.passwords[user].encode()
            )
            for user in USERS
        ]
        for future in admin.alter_user_scram_credentials(made).values():
            future.result(timeout=30)
        for future in admin.create_acls(list(self._acls())).values():
            future.result(timeout=30)

    def _acls(self):
        for line in self.filled("acls.txt").splitlines():
            if line.startswith("#"):
                continue
            user, kind, name, *operations = line.split()
            pattern = ResourcePatternType.PREFIXED if name.endswith("*") else ResourcePatternType.LITERAL
            for operation in operations:
                yield AclBinding(
                    ResourceType[kind.upper()],
                    name.removesuffix("*"),
                    pattern,
                    f"User:{user}",
                    "*",
                    AclOperation[operation],
                    AclPermissionType.ALLOW,
                )

    def start_connect(self) -> None:
        login = kafka_access.java(self.as_user("connect"))["sasl.jaas.config"]
        self.home.write_private("connect/kafka.properties", f"login={login}\n")
        text = Connect(self.home, self.settings, self._cluster)._properties() + self.filled("connect.properties")
        (self.home.path / "connect.properties").write_text(text)
        main = "org.apache.kafka.connect.cli.ConnectDistributed"
        command = java.java_command("connect", 512, main, str(self.home.path / "connect.properties"))
        process.start(self.home, "connect", command)
        wait_for(self._connect_answers, "the worker got in", 90)

    def _connect_answers(self) -> bool:
        try:
            return httpx.get(f"{self.settings.connect_url}/connectors", timeout=5).is_success
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        for name in reversed(process.names(self.home)):
            process.stop(self.home, name)
