"""The part of the fault battery that needs no second training; `make faults` runs all of it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.whole
@pytest.mark.skipif(sys.platform != "linux", reason="limits and devices as Linux has them")
def test_no_fault_is_silent_and_nothing_is_lost():
    command = [sys.executable, "benchmarks/faults.py", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 not handled" in done.stdout
