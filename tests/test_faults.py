"""Two faults of every kind; EYESIGHT_SLOW=1 injects all that need no second training.

`make faults` runs the whole battery.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(sys.platform != "linux", reason="limits and devices as Linux has them")
def test_no_rows_of_each_kind_is_a_mistake():
    command = [sys.executable, "benchmarks/faults.py", "--each", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "--each must be at least 1" in done.stderr


@pytest.mark.whole
@pytest.mark.skipif(sys.platform != "linux", reason="limits and devices as Linux has them")
def test_no_fault_is_silent_and_nothing_is_lost():
    command = [sys.executable, "benchmarks/faults.py", "--quick"]
    if not os.environ.get("EYESIGHT_SLOW"):
        command += ["--each", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 not handled" in done.stdout
