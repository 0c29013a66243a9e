"""What becomes of processes that end before their time, and of the folders they leave, without any
training.
"""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from eyesight.distributed import launch
from eyesight.errors import UserError
from eyesight.system import files

LEAVES = "from eyesight.system.files import scratch; import time\nwith scratch() as folder: print(folder, flush=True); time.sleep(60)"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def test_the_folder_of_a_killed_process_is_swept_and_no_other(temporary):
    with subprocess.Popen(
        [sys.executable, "-c", LEAVES],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
    ) as process:
        left = Path(process.stdout.readline().decode().strip())
        (left / "checkpoint").mkdir()
        for path in temporary.iterdir():
            os.utime(path, (1, 1))  # however old it looks: a clock two days ahead changes nothing
        files.sweep(temporary)
        assert (left / "checkpoint").is_dir(), "its process lives"
        process.kill()
    (temporary / "eyesight-other").mkdir()
    with files.scratch() as mine:
        held = {mine, mine.with_suffix(".lock")}
        assert set(temporary.iterdir()) == {*held, temporary / "eyesight-other"}
        files.sweep(temporary)
        assert mine.is_dir()
    assert list(temporary.iterdir()) == [temporary / "eyesight-other"]


@contextmanager
def started(*programs):
    """Processes that run these programs."""
    children = [
        subprocess.Popen([sys.executable, "-S", "-c", program], stdin=subprocess.PIPE)
        for program in programs
    ]
    try:
        yield children
    finally:
        for child in children:
            child.kill()
            child.communicate()


ENDS = "import os, time; time.sleep({seconds}); os._exit({code})"


def test_the_first_process_writes_its_report_in_peace_when_training_is_complete(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(launch, "GRACE", 0.1)
    monkeypatch.setenv(launch.ALONE, str(tmp_path / "alone"))
    for complete, seconds in ((False, 300), (True, 1.5)):
        with started(
            ENDS.format(seconds=seconds, code=0),
            ENDS.format(seconds=0, code=1),
            ENDS.format(seconds=300, code=0),
        ) as children:
            if complete:
                launch.signal_complete()
                assert launch._watch(children, tmp_path / "alone", print) == 0
                assert children[2].wait() != 0, "nobody waits for the third"
            else:
                with pytest.raises(UserError, match="not all processes"):
                    launch._watch(children, tmp_path / "alone", print)
