"""The fault battery: `python benchmarks/faults.py`, or `make faults`.

Every row injects one fault into a program of ours and looks at what becomes of it. A fault may end
in a clear error, or change nothing, or be made good; never in a traceback, a hang, a lost run or an
answer that is wrong without a word. The table is printed and written to docs/reliability.md.
`--quick` runs the rows that need no second training, `--each 3` at most three of each kind.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults -->", "<!-- end of faults -->"
PATIENCE = 240.0  # seconds after which a program counts as hanging


class Failed(Exception):  # noqa: N818 - it becomes a row of the table
    """A fault that was not handled: a traceback, a hang, something lost or silently wrong."""


@dataclass(frozen=True)
class Done:
    """A finished program."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Fault:
    """A row of the table; `act` injects the fault and returns the outcome in words."""

    kind: str
    subject: str
    injected: str
    act: Callable[[Bench], str]
    quick: bool


FAULTS: list[Fault] = []


def fault(kind: str, subject: str, injected: str, *, quick: bool = True):
    """Add a function to the battery."""

    def add(act: Callable[[Bench], str]) -> Callable[[Bench], str]:
        FAULTS.append(Fault(kind, subject, injected, act, quick))
        return act

    return add


class Bench:
    """A folder of drawn pictures, a cache and a trained run, anew for every fault."""

    def __init__(self, root: Path, model: Path | None) -> None:
        self.root = root
        self.data = draw(root / "pictures")
        self.cache = root / "cache"
        self.runs = root / "runs"
        self.env = {
            **os.environ,
            "EYESIGHT_CACHE": str(self.cache),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        self.onnx = root / "model.onnx"
        if model is not None:
            shutil.copytree(model / "runs", self.runs)
            shutil.copy(model / "model.onnx", self.onnx)

    @property
    def run_folder(self) -> Path:
        """The trained run."""
        return next(self.runs.iterdir())

    def eyesight(self, *arguments: object, **options: object) -> Done:
        """Run a command to its end; raises Failed for a traceback or a hang."""
        command = [sys.executable, "-m", "eyesight", *map(str, arguments)]
        return self.run(command, **options)

    def run(
        self,
        command: list[str],
        *,
        env: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
        stdout: object = subprocess.PIPE,
        stderr: object = subprocess.PIPE,
        shell: bool = False,
    ) -> Done:
        """Run any program to its end; raises Failed for a traceback or a hang."""
        try:
            done = subprocess.run(
                " ".join(command) if shell else command,
                env={**self.env, **(env or {})},
                cwd=self.root,
                preexec_fn=before,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                timeout=PATIENCE,
                shell=shell,
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"hangs: {' '.join(command)}") from None
        if "Traceback" in (done.stderr or "") or done.returncode < 0:
            raise Failed(f"ends with {done.returncode}: {(done.stderr or '')[-300:]}")
        return Done(done.returncode, done.stdout or "", done.stderr or "")

    def training(self, *more: str) -> list[str]:
        """A short training that is the same to the last bit whenever it is repeated."""
        settings = ["data.size=12", "training.epochs=6", "training.precision=float32"]
        command = ["train", "digits", "--data", str(self.data), "--seed", "1"]
        for setting in settings:
            command += ["--set", setting]
        return [*command, "--out", str(self.runs), *more]

    def prepared(self) -> list[list[object]]:
        """What a store of the pictures holds, by a process of its own."""
        done = self.run([sys.executable, "-c", PREPARE, str(self.data)])
        if done.code:
            raise Failed(done.err[-300:])
        return json.loads(done.out)

    def expected(self) -> list[list[object]]:
        """The same straight from the files."""
        rows = []
        for path in sorted(self.data.rglob("*.png")):
            pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.int64)
            rows.append([path.relative_to(self.data).as_posix(), int((pixels**2).sum())])
        return rows

    def store(self) -> Path:
        """The folder of the only store."""
        return next((self.cache / "stores").iterdir())


PREPARE = """
import json, sys
import numpy as np
from eyesight.data.opening import open_source
from eyesight.data.store import prepare_store
from eyesight.recipe import Data
from eyesight.errors import UserError
try:
    store = prepare_store(open_source(sys.argv[1]), Data(sys.argv[1], channels=3))
except UserError as error:
    sys.exit(f"error: {error.message}")
sums = (np.asarray(store.pixels).astype(np.int64) ** 2).sum((1, 2, 3)).tolist()
print(json.dumps(sorted(map(list, zip(store.ids, sums)))))
"""


def draw(root: Path, count: int = 30) -> Path:
    """Bars and dots of 12×12 pixels in two class folders."""
    random = np.random.default_rng(0)
    for label in ("bars", "dots"):
        (root / label).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 60, (12, 12), dtype=np.uint8)
            place = int(random.integers(1, 10))
            if label == "bars":
                pixels[:, place : place + 2] = 220
            else:
                pixels[place : place + 3, place : place + 3] = 220
            Image.fromarray(pixels).save(root / label / f"{number:02d}.png")
    return root


def refused(done: Done, *words: str) -> str:
    """The outcome of a clear error; raises Failed when it is none."""
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    if done.code not in (1, 2) or not lines:
        raise Failed(f"exit code {done.code} without an error: {done.err[-200:]}")
    message = lines[-1].removeprefix("error: ")
    missing = [word for word in words if word not in done.err]
    if missing:
        raise Failed(f"the error does not say {missing}: {message}")
    return "a clear error"


def require(right: bool, otherwise: str) -> None:
    """Raise Failed unless `right`."""
    if not right:
        raise Failed(otherwise)


def same_pixels(bench: Bench) -> None:
    """Raise Failed when what is prepared is not what the files hold."""
    require(bench.prepared() == bench.expected(), "pixels that are not those of the files")


def flip(path: Path, place: float = 0.5) -> None:
    """Change one bit, and keep the file's times."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def limit(kind: int, value: int) -> Callable[[], None]:
    """A function that limits a resource of the process to come."""
    return lambda: resource.setrlimit(kind, (value, value))


# Kills.


def _leftovers(bench: Bench) -> list[str]:
    return [path.name for path in bench.root.rglob(".eyesight-*")]


@fault("kill", "preparing images", "SIGKILL while the store is written")
def kill_preparing(bench: Bench) -> str:
    code = PREPARE.replace(
        "try:\n",
        "import os\nfrom eyesight.system import cache\ncache.keep = lambda *a: os.kill(os.getpid(), 9)\ntry:\n",
        1,
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bench.data)], env=bench.env, capture_output=True
    )
    require(done.returncode == -signal.SIGKILL, "the process was not killed")
    require(len(_leftovers(bench)) > 0, "nothing was begun")
    same_pixels(bench)
    require(not _leftovers(bench), "leftovers")
    return "prepared anew, the leftovers swept"


@fault("kill", "writing a table", "SIGKILL before the file has its name")
def kill_writing(bench: Bench) -> str:
    target = bench.root / "table.csv"
    target.write_text("old")
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom eyesight.system.files import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as file:\n    file.write(b'new')\n    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(target)], env=bench.env)
    require(target.read_text() == "old", "the old file is gone")
    return "the old table is whole"


def _weights(run: Path) -> bytes:
    return (run / "classifier" / "weights.safetensors").read_bytes()


def hears_ctrl_c() -> None:
    """Undo what a shell does to programs in the background: they ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _kill_training(bench: Bench, ready: Callable[[Path], bool], number: int) -> str:
    expected = _weights(bench.run_folder)
    shutil.rmtree(bench.runs)
    command = [sys.executable, "-m", "eyesight", *bench.training()]
    with subprocess.Popen(
        command,
        env=bench.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=hears_ctrl_c,
    ) as process:
        end = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < end:
            runs = list(bench.runs.glob("*")) if bench.runs.is_dir() else []
            if runs and ready(runs[0]):
                break
            time.sleep(0.01)
        require(process.poll() is None, "the training ended before it could be stopped")
        process.send_signal(number)
    return _resume(bench, expected)


def _resume(bench: Bench, expected: bytes) -> str:
    done = bench.eyesight(*bench.training("--resume"))
    require(done.code == 0, f"cannot be resumed: {done.err[-200:]}")
    require(len(list(bench.runs.iterdir())) == 1, "a second run was begun")
    require(_weights(bench.run_folder) == expected, "other weights than without the kill")
    require(not _leftovers(bench), "leftovers")
    return "resumed; the weights are those of an undisturbed training, to the last bit"


@fault("kill", "training", "SIGKILL after the first epoch", quick=False)
def kill_after_epoch(bench: Bench) -> str:
    return _kill_training(bench, lambda run: (run / "checkpoint").is_dir(), signal.SIGKILL)


@fault("kill", "training", "SIGKILL as soon as the run folder is there", quick=False)
def kill_at_start(bench: Bench) -> str:
    return _kill_training(bench, lambda run: (run / "recipe.json").is_file(), signal.SIGKILL)


KILLED_IN_SAVE = """
import os, sys
from eyesight import classifier
from eyesight.cli.main import main
classifier.Classifier._description = lambda *rest: os.kill(os.getpid(), 9)
sys.argv = ["eyesight", *sys.argv[1:]]
main()
"""


@fault("kill", "training", "SIGKILL while the classifier is written", quick=False)
def kill_at_end(bench: Bench) -> str:
    expected = _weights(bench.run_folder)
    shutil.rmtree(bench.runs)
    command = [sys.executable, "-c", KILLED_IN_SAVE, *bench.training()]
    killed = subprocess.run(command, env=bench.env, capture_output=True)
    require(killed.returncode == -signal.SIGKILL, "the training was not killed")
    return _resume(bench, expected)


@fault("kill", "training", "Ctrl-C (SIGINT) after the first epoch", quick=False)
def interrupt(bench: Bench) -> str:
    return _kill_training(bench, lambda run: (run / "checkpoint").is_dir(), signal.SIGINT)


@fault("kill", "preparing images", "three processes at once")
def builders_at_once(bench: Bench) -> str:
    command = [sys.executable, "-c", PREPARE, str(bench.data)]
    children = [
        subprocess.Popen(command, env=bench.env, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = [json.loads(child.communicate(timeout=PATIENCE)[0]) for child in children]
    require(all(answer == bench.expected() for answer in answers), "they disagree")
    require(len(list((bench.cache / "stores").iterdir())) == 1, "more than one store")
    return "one store, the same for all"


# Disks.


@fault("disk", "preparing images", "files of 4 KB at most (RLIMIT_FSIZE)")
def small_files(bench: Bench) -> str:
    command = [sys.executable, "-c", PREPARE, str(bench.data)]
    done = bench.run(command, before=limit(resource.RLIMIT_FSIZE, 4096))
    outcome = refused(done, "disk is full")
    require(not _leftovers(bench), "leftovers")
    same_pixels(bench)
    return f"{outcome}; nothing is left, and with room it goes on"


@fault("disk", "preparing images", "the cache on a tmpfs of 64 KB")
def full_tmpfs(bench: Bench) -> str:
    bench.cache.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(bench.cache)], capture_output=True
    )
    if mounted.returncode:
        return "not tried here: mounting takes rights that this account lacks"
    try:
        draw(bench.data / "more", 200)
        command = [sys.executable, "-c", PREPARE, str(bench.data / "more")]
        outcome = refused(bench.run(command), "disk is full")
        require(not _leftovers(bench), "leftovers")
        return f"{outcome}; nothing is left"
    finally:
        subprocess.run(["umount", str(bench.cache)], check=True)


@fault("disk", "training", "files of 2 KB at most in the run (RLIMIT_FSIZE)", quick=False)
def full_run(bench: Bench) -> str:
    before = _weights(bench.run_folder)
    done = bench.eyesight(*bench.training(), before=limit(resource.RLIMIT_FSIZE, 2048))
    outcome = refused(done)
    require(_weights(bench.run_folder) == before, "the classifier that was there is harmed")
    return f"{outcome}; the run that was there is unharmed"


@fault("disk", "predict --out", "/dev/full")
def predict_to_full(bench: Bench) -> str:
    done = bench.eyesight("predict", bench.onnx, bench.data, "--out", "/dev/full")
    require(Path("/dev/full").is_char_device(), "the device was replaced")
    return refused(done, "disk is full")


@fault("disk", "predict --out", "a device, and a link to a file with a mode")
def predict_to_device(bench: Bench) -> str:
    require(
        bench.eyesight("predict", bench.onnx, bench.data, "--out", "/dev/null").code == 0, "refused"
    )
    require(Path("/dev/null").is_char_device(), "/dev/null was replaced")
    target, link = bench.root / "kept.csv", bench.root / "link.csv"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    require(bench.eyesight("predict", bench.onnx, bench.data, "--out", link).code == 0, "refused")
    require(link.is_symlink() and target.stat().st_mode & 0o777 == 0o640, "link or mode is lost")
    require("bars" in target.read_text(), "nothing was written")
    return "written through; device, link and mode stay"


@fault("disk", "the cache", "read-only and warm, read by another account")
def other_account(bench: Bench) -> str:
    if os.geteuid() != 0:
        return "not tried here: only root can become another account"
    bench.prepared()
    for folder in [bench.root, *bench.root.parents]:
        if folder.stat().st_uid == 0 and folder != folder.parent:
            folder.chmod(folder.stat().st_mode | 0o055)
    become = "import fcntl, concurrent.futures.thread, encodings.cp437, os; os.setgid(65534); os.setuid(65534)\ntry:\n"
    code = PREPARE.replace("try:\n", become, 1)
    done = bench.run([sys.executable, "-c", code, str(bench.data)])
    require(done.code == 0 and json.loads(done.out) == bench.expected(), done.err[-200:])
    return "read as by its owner"


# Damage.


def _damaged_store(bench: Bench, file: str, damage: Callable[[Path], None]) -> str:
    bench.prepared()
    damage(bench.store() / file)
    same_pixels(bench)
    return "noticed by its checksum and prepared anew"


for _file in ("pixels.npy", "pictures.npz", "store.json", "entry.json"):
    for _damage, _words in (
        (flip, "one bit changed, times kept"),
        (lambda path: os.truncate(path, path.stat().st_size // 2), "cut to half"),
        (Path.unlink, "removed"),
    ):
        fault("damage", f"cache: {_file}", _words, quick=_damage is flip)(
            lambda bench, file=_file, damage=_damage: _damaged_store(bench, file, damage)
        )


@fault("damage", "cache", "every note changed")
def damaged_notes(bench: Bench) -> str:
    bench.prepared()
    for note in (bench.cache / "notes").rglob("*.json"):
        flip(note, 0.3)
    same_pixels(bench)
    return "noticed by its checksum and hashed anew"


@fault("damage", "images", "a file replaced in place, with its size and time")
def replaced(bench: Bench) -> str:
    bench.prepared()
    files = sorted(bench.data.rglob("*.png"))
    first, second = files[0], files[-1]
    times = first.stat().st_mtime_ns
    content = second.read_bytes().ljust(first.stat().st_size, b"\0")
    first.write_bytes(content)
    os.utime(first, ns=(times, times))
    Image.fromarray(255 - np.asarray(Image.open(second))).save(second)
    same_pixels(bench)
    return "seen by the inode's own time, and read again"


@fault("damage", "images", "two folders of the same names, sizes and times")
def same_names(bench: Bench) -> str:
    other = bench.root / "other"
    for path in sorted(bench.data.rglob("*.png")):
        turned = Image.fromarray(np.asarray(Image.open(path))[::-1])
        target = other / path.relative_to(bench.data)
        target.parent.mkdir(parents=True, exist_ok=True)
        for place in (path, target):
            picture = turned if place == target else Image.open(path).copy()
            picture.save(place.with_suffix(".bmp"))
            os.utime(place.with_suffix(".bmp"), (10**9, 10**9))
    for path in bench.data.rglob("*.png"):
        path.unlink()
    sums = []
    for root in (bench.data, other):
        done = bench.run([sys.executable, "-c", PREPARE, str(root)])
        first = np.asarray(Image.open(sorted(root.rglob("*.bmp"))[0]).convert("RGB"))
        sums.append(json.loads(done.out)[0][1] == int((first.astype(np.int64) ** 2).sum()))
    keys = len(list((bench.cache / "stores").iterdir()))
    require(all(sums) and keys == 2, "one took the other's pixels")
    return "two stores, each with its own pixels"


@fault("damage", "weights", "one bit changed", quick=False)
def damaged_weights(bench: Bench) -> str:
    flip(bench.run_folder / "classifier" / "weights.safetensors")
    return refused(bench.eyesight("predict", bench.run_folder, bench.data), "checksum")


@fault("damage", "classifier.json", "the classes taken out", quick=False)
def damaged_description(bench: Bench) -> str:
    file = bench.run_folder / "classifier" / "classifier.json"
    about = json.loads(file.read_text())
    about["classes"] = []
    file.write_text(json.dumps(about))
    return refused(bench.eyesight("predict", bench.run_folder, bench.data), "classifier.json")


@fault("damage", "ONNX file", "one bit changed")
def damaged_onnx(bench: Bench) -> str:
    flip(bench.onnx)
    return refused(bench.eyesight("predict", bench.onnx, bench.data))


@fault("damage", "ONNX file", "cut to half")
def cut_onnx(bench: Bench) -> str:
    os.truncate(bench.onnx, bench.onnx.stat().st_size // 2)
    return refused(bench.eyesight("predict", bench.onnx, bench.data))


@fault("damage", "predictions.npz", "one bit changed, under python -O")
def damaged_predictions(bench: Bench) -> str:
    flip(bench.run_folder / "predictions.npz")
    command = [sys.executable, "-O", "-m", "eyesight", "report", str(bench.run_folder)]
    return refused(bench.run(command))


@fault("damage", "predictions.npz", "labels out of range, under python -O")
def wrong_labels(bench: Bench) -> str:
    file = bench.run_folder / "predictions.npz"
    with np.load(file) as arrays:
        values = dict(arrays)
    values["labels"] = values["labels"] + 7
    np.savez(file, **values)
    command = [sys.executable, "-O", "-m", "eyesight", "report", str(bench.run_folder)]
    return refused(bench.run(command), "not a valid predictions file")


@fault("damage", "recipe.json", "no object")
def damaged_recipe(bench: Bench) -> str:
    (bench.run_folder / "recipe.json").write_text("[1, 2]")
    return refused(bench.eyesight("show", bench.run_folder))


@fault("damage", "log.jsonl", "a torn last line and a line of garbage")
def torn_log(bench: Bench) -> str:
    log = bench.run_folder / "log.jsonl"
    log.write_bytes(b"\xff\xfe garbage\n" + log.read_bytes() + b'{"event": "epoch", "ep')
    done = bench.eyesight("report", bench.run_folder)
    require(done.code == 0, done.err[-200:])
    return "passed over; the run reads as before"


@fault("damage", "store under a training", "cut short while it is read")
def truncated_while_read(bench: Bench) -> str:
    code = PREPARE.replace(
        "sums =",
        "import os\nos.truncate(store.pixels.path, 300)\ntry:\n    np.asarray(store.pixels)\nexcept UserError as error:\n    sys.exit(f'error: {error.message}')\nsums =",
        1,
    )
    return refused(bench.run([sys.executable, "-c", code, str(bench.data)]), "truncated")


# Clocks.


@fault("clock", "the cache", "a clock years ahead while another process builds")
def clock_ahead(bench: Bench) -> str:
    code = (
        "import time\nfrom eyesight.system import cache\nwith cache.build('stores') as folder:\n"
        "    (folder / 'half').write_bytes(b'half')\n    print(folder, flush=True)\n    time.sleep(120)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], env=bench.env, stdout=subprocess.PIPE, text=True
    )
    try:
        folder = Path(child.stdout.readline().strip())
        for path in (folder, *folder.iterdir(), *folder.parent.iterdir()):
            os.utime(path, (1, 1))
        same_pixels(bench)
        bench.eyesight("cache", "--clean")
        require((folder / "half").is_file(), "what a living process writes was swept")
    finally:
        child.kill()
        child.wait()
    bench.prepared()
    require(not _leftovers(bench), "leftovers of the dead process")
    return "locks decide: left alone while it lives, swept once it is dead"


@fault("clock", "images", "all times in the year 2100")
def times_ahead(bench: Bench) -> str:
    for path in bench.data.rglob("*.png"):
        os.utime(path, (4.1e9, 4.1e9))
    same_pixels(bench)
    same_pixels(bench)
    return "unharmed"


# Limits.


@fault("limit", "preparing images", "32 open files (RLIMIT_NOFILE)")
def few_files(bench: Bench) -> str:
    command = [sys.executable, "-c", PREPARE, str(bench.data)]
    done = bench.run(command, before=limit(resource.RLIMIT_NOFILE, 32))
    require(done.code == 0 and json.loads(done.out) == bench.expected(), done.err[-200:])
    return "unharmed"


@fault("limit", "an image of 1×60,000", "policy crop in 1.5 GB of addresses (RLIMIT_AS)")
def thin(bench: Bench) -> str:
    Image.new("L", (1, 60_000), 9).save(bench.root / "thin.png")
    code = (
        "import sys\nfrom pathlib import Path\nfrom eyesight.data.prepare import Preparation, prepare\n"
        "print(prepare(Path(sys.argv[1]).read_bytes(), Preparation(224, 224, 3, 'crop')).mean())"
    )
    command = [sys.executable, "-c", code, str(bench.root / "thin.png")]
    done = bench.run(command, before=limit(resource.RLIMIT_AS, 3 << 29))
    require(done.code == 0 and float(done.out) == 9.0, done.err[-200:])
    return "prepared; memory is bounded by the output"


@fault("limit", "an image of 10,000×6,000", "200 MB of addresses left (RLIMIT_AS)")
def little_memory(bench: Bench) -> str:
    Image.new("RGB", (10_000, 6_000), "red").save(bench.data / "bars" / "large.png")
    code = PREPARE.replace(
        "try:\n",
        "import resource\nused = int(open('/proc/self/statm').read().split()[0]) * 4096\nresource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)\ntry:\n",
        1,
    ).replace("Data(sys.argv[1],", "Data(sys.argv[1], size=12,")
    done = bench.run([sys.executable, "-c", code, str(bench.data)])
    require(done.code == 0, done.err[-200:])
    ids = [row[0] for row in json.loads(done.out)]
    require("bars/large.png" not in ids and len(ids) == 60, "the others are gone too")
    return "named as a bad file and left out; the others are prepared"


# Bad input.


@fault("input", "images", "truncated, empty, no image, header of 100,000×100,000")
def bad_files(bench: Bench) -> str:
    folder = bench.data / "bars"
    whole = (folder / "00.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[:60])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    (folder / "huge.png").write_bytes(whole[:16] + (100_000).to_bytes(4) * 2 + whole[24:])
    done = bench.eyesight("data", bench.data)
    names = [name for name in ("cut", "empty", "text", "huge") if f"bars/{name}.png" in done.out]
    require(done.code == 0 and len(names) == 4, done.out[-300:])
    for name in names:
        (folder / f"{name}.png").rename(bench.root / f"{name}.png")
    same_pixels(bench)
    return "each named; left out of every split"


@fault("input", ".npz", "a header that claims 9 TiB")
def large_header(bench: Bench) -> str:
    import io
    import zipfile

    file = io.BytesIO()
    shape = (9 << 20, 1024, 1024)
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(bench.root / "a.npz", "w") as archive:
        archive.writestr("images.npy", file.getvalue())
        archive.writestr("labels.npy", file.getvalue())
    return refused(bench.eyesight("data", bench.root / "a.npz"))


@fault("input", "zip", "members that climb out of their folder")
def climbing(bench: Bench) -> str:
    import zipfile

    with zipfile.ZipFile(bench.root / "a.zip", "w") as archive:
        archive.writestr("../../climbed.png", b"x")
    outcome = refused(bench.eyesight("data", bench.root / "a.zip"))
    require(not list(bench.root.rglob("climbed.png")), "a file was written outside")
    return outcome


@fault("input", "archive", "unpacked files damaged in the cache")
def damaged_archive(bench: Bench) -> str:
    archive = shutil.make_archive(str(bench.root / "pictures"), "zip", bench.data)
    code = PREPARE
    first = bench.run([sys.executable, "-c", code, archive])
    unpacked = next((bench.cache / "archives").rglob("*.png"))
    unpacked.write_bytes(b"?")
    shutil.rmtree(bench.cache / "stores")
    again = bench.run([sys.executable, "-c", code, archive])
    require(first.code == 0 and first.out == again.out, again.err[-200:])
    return "noticed by their checksums and unpacked anew"


# Outputs.


@fault("output", "standard output", "closed (>&-)")
def closed_stdout(bench: Bench) -> str:
    command = [sys.executable, "-m", "eyesight", "recipes", ">&-"]
    return refused(bench.run(command, shell=True), "standard output")


@fault("output", "standard output", "/dev/full")
def full_stdout(bench: Bench) -> str:
    command = [sys.executable, "-m", "eyesight", "recipes", "--json", ">/dev/full"]
    return refused(bench.run(command, shell=True), "standard output")


@fault("output", "standard output", "a reader that stops early (| head -1)")
def early_reader(bench: Bench) -> str:
    command = [sys.executable, "-m", "eyesight", "recipes", "|", "head", "-1"]
    done = bench.run(command, shell=True)
    require(done.out.count("\n") == 1 and not done.err, done.err[-200:])
    return "ends quietly"


@fault("output", "standard error", "closed (2>&-)")
def closed_stderr(bench: Bench) -> str:
    command = [sys.executable, "-m", "eyesight", "data", str(bench.data), "2>&-"]
    done = bench.run(command, shell=True)
    require(done.code == 0 and "60 usable images" in done.out, done.out[-200:])
    return "unharmed; messages are lost, data is not"


@fault("output", "standard error of a training", "/dev/full", quick=False)
def full_stderr(bench: Bench) -> str:
    expected = _weights(bench.run_folder)
    shutil.rmtree(bench.runs)
    with Path("/dev/full").open("w") as full:
        done = bench.eyesight(*bench.training(), stderr=full)
    require(
        done.code == 0 and _weights(bench.run_folder) == expected, "the training did not end well"
    )
    return "trains on; messages are lost, the run is not"


@fault("output", "wrong usage", "an option that does not exist, with --json")
def wrong_usage(bench: Bench) -> str:
    done = bench.eyesight("train", "--jsn", "--json")
    require(done.code == 2 and bool(json.loads(done.out)["error"]), done.out)
    return "exit code 2, and the error as JSON"


COMMANDS = """
import json, sys
from eyesight.cli.main import app
for arguments in json.loads(sys.argv[1]):
    app(arguments, standalone_mode=False)
"""


def trained(root: Path) -> Path:
    """A trained run and its ONNX file, made once for all faults, by one process."""
    bench = Bench(root / "model", None)
    run = bench.runs / "0001-digits"
    commands = [bench.training(), ["export", str(run), "--out", str(bench.onnx)]]
    done = bench.run([sys.executable, "-c", COMMANDS, json.dumps(commands)])
    if done.code:
        sys.exit(done.err)
    shutil.rmtree(bench.data)
    return bench.root


def chosen(*, quick: bool, only: str, each: int | None) -> list[Fault]:
    """The faults to inject, at most `each` of each kind."""
    made: list[Fault] = []
    for one in FAULTS:
        of_kind = sum(other.kind == one.kind for other in made)
        if (quick and not one.quick) or (each is not None and of_kind >= each):
            continue
        if only in f"{one.kind} {one.subject} {one.injected}":
            made.append(one)
    return made


def battery(faults: Sequence[Fault], say: Callable[[str], object] = print) -> list[list[str]]:
    """Inject faults; rows of kind, where, how, outcome and whether it was handled."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        root = Path(folder)
        model = trained(root)
        for number, one in enumerate(faults):
            started = time.monotonic()
            bench = Bench(root / str(number), model)
            # Runs name their data by its path: it is the same for all.
            shutil.rmtree(model / "pictures", ignore_errors=True)
            bench.data.rename(model / "pictures")
            bench.data = model / "pictures"
            try:
                outcome, handled = one.act(bench), "yes"
            except Failed as failed:
                outcome, handled = f"FAILED: {failed}", "no"
            except Exception as error:
                outcome, handled = f"FAILED: {type(error).__name__}: {error}", "no"
            rows.append([one.kind, one.subject, one.injected, outcome, handled])
            seconds = time.monotonic() - started
            say(f"{one.kind:<7} {one.subject}, {one.injected}: {outcome} ({seconds:.1f} s)")
            shutil.rmtree(bench.root, ignore_errors=True)
    return rows


def write_page(rows: list[list[str]]) -> None:
    """Put the table into docs/reliability.md."""
    table = ["| fault in | injected how | outcome |", "|---|---|---|"]
    for kind, place, injected, outcome, _ in rows:
        table.append(f"| {kind}: {place} | {injected} | {outcome} |")
    text = PAGE.read_text("utf-8")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{head}{BEGIN}\n" + "\n".join(table) + f"\n{END}{tail}", "utf-8")


def main() -> None:
    """Run the battery; exit code 1 when a fault was not handled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out rows that train again")
    parser.add_argument("--only", default="", help="rows that contain this text")
    parser.add_argument("--each", type=int, help="at most N rows of each kind", metavar="N")
    options = parser.parse_args()
    if options.each is not None and options.each < 1:
        parser.error("--each must be at least 1")
    started = time.monotonic()
    faults = chosen(quick=options.quick, only=options.only, each=options.each)
    rows = battery(faults)
    failures = [row for row in rows if row[-1] == "no"]
    if len(faults) == len(FAULTS):
        write_page(rows)
    print(f"{len(rows)} faults, {len(failures)} not handled, {time.monotonic() - started:.0f} s")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
