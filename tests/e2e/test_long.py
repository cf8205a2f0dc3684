"""The longer proof: the demo at a higher rate for four minutes, for each seed. `make test-long`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(1800)]
TWINPATH = Path(sys.executable).with_name("twinpath")


@pytest.mark.parametrize("seed", [11, 12])
def test_four_minutes_at_a_thousand_rows_a_second_lose_nothing(seed: int) -> None:
    command = [str(TWINPATH), "demo", "--no-batch", "--rate", "1000", "--duration", "240", "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(Path(done.stdout.strip()).with_name("summary.json").read_text())
    assert summary["verdict"] == "pass"
    assert summary["workload"]["rows_inserted"] > 200_000
    assert summary["paths"]["agent"]["unexplained"] == 0
