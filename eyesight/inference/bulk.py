"""Classes for millions of pictures: a list on disk, cut into parts, and a CSV file for each part; what is finished is not done again.

Memory holds a part and the names of one folder, never the list; parts are numbered in the order of the list, whoever answers first.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from eyesight.data.opening import each_picture
from eyesight.errors import UserError
from eyesight.inference.predict import Known, answers, table
from eyesight.system.files import lock, whole_file
from eyesight.system.progress import Talk, silent

FORMAT = 1
PART = 10_000  # pictures
LIST, JOB = "pictures.jsonl", "predictions.json"
Part = tuple[int, list[str]]  # its number and the paths of its pictures
Engine = Callable[
    [Iterator[Part]], Iterator[tuple[int, "bytes | str"]]
]  # a part's table, or why there is none, in any order
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Job:
    """What decides the answers; parts of another job are never mixed with these."""

    model: str  # what tells its weights from others'
    top: int
    prepare: str
    pictures: int
    listed: str  # SHA-256 of the list: every path with its size and time
    part: int = PART
    format: int = FORMAT

    @property
    def parts(self) -> int:
        """How many."""
        return -(-self.pictures // self.part)

    def size(self, number: int) -> int:
        """The pictures of a part."""
        return min(self.part, self.pictures - number * self.part)


@dataclass
class Outcome:
    """How many parts there are, how many were there already; how many pictures could not be read; the parts that are missing, and why."""

    pictures: int
    parts: int
    reused: int = 0
    bad: int = 0
    missing: dict[int, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def predict(
    pictures: Sequence[str],
    out: Path,
    engine: Engine,
    *,
    model: str,
    top: int = 1,
    prepare: str = "",
    part: int = PART,
    talk: Talk = silent,
    progress: Progress = lambda done, total: None,
) -> Outcome:
    """Answer every picture below `pictures` into OUT/part-00000.csv and so on; asked again, do only what is missing.

    Raises UserError when `out` holds parts of another list or model, or when another process is writing there.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("a+b") as file:
        if not lock(file, patience=0.2):
            raise UserError(
                f"another process is writing into {out}",
                "wait for it, or name another folder with --out",
            )
        job = begin(pictures, out, model=model, top=top, prepare=prepare, part=part)
        found = Outcome(job.pictures, job.parts)
        done = dict(finished(out, job))
        found.reused, found.bad = len(done), sum(done.values())
        talk(
            f"{job.pictures:,} pictures in {job.parts:,} parts"
            + (f", {len(done):,} of them finished before" if done else "")
        )
        settled = sum(job.size(number) for number in done)
        for number, answered in engine(missing(out, job, done)):
            if isinstance(answered, str):
                found.missing[number] = answered
                talk(f"{name(number)}: {answered}")
                continue
            with whole_file(out / name(number)) as written:
                written.write(answered)
            found.bad += _problems(out / name(number)) or 0
            settled += job.size(number)
            progress(settled, job.pictures)
    return found


def name(number: int) -> str:
    """The file of a part."""
    return f"part-{number:05d}.csv"


def begin(
    pictures: Sequence[str], out: Path, *, model: str, top: int, prepare: str, part: int
) -> Job:
    """List the pictures into `out` and write down what is asked of them; raises UserError when `out` holds something else."""
    listed, count = hashlib.sha256(), 0
    with whole_file(out / LIST) as file:
        for found in (found for where in pictures for found in each_picture(where)):
            line = json.dumps([found.place, found.size, found.changed]).encode() + b"\n"
            file.write(line)
            listed.update(line)
            count += 1
        job = Job(model, top, prepare, count, listed.hexdigest(), part)
        _refuse_others(out, job)
    with whole_file(out / JOB) as written:
        written.write(json.dumps(asdict(job), indent=2).encode() + b"\n")
    return job


def _refuse_others(out: Path, job: Job) -> None:
    try:
        known = json.loads((out / JOB).read_bytes())
    except FileNotFoundError:
        if any(out.glob("part-*.csv")):
            raise UserError(
                f"{out} holds parts of something else", "name another folder with --out"
            ) from None
        return
    except ValueError:
        known = {}
    words = {
        "model": "another model",
        "listed": "other pictures",
        "top": "another --top",
        "prepare": "another --prepare",
    }
    other = [said for key, said in words.items() if known.get(key) != asdict(job)[key]]
    if other or known != asdict(job):
        said = " and ".join(other) or "another version of eyesight"
        raise UserError(
            f"{out} holds parts of {said}",
            "name another folder with --out, or remove this one to begin again",
        )


def finished(out: Path, job: Job) -> Iterator[tuple[int, int]]:
    """The parts that are there and whole, each with the number of its pictures that could not be read."""
    for number in range(job.parts):
        bad = _problems(out / name(number), job.size(number))
        if bad is not None:
            yield number, bad


def _problems(file: Path, rows: int | None = None) -> int | None:
    """The rows of a part that say what is wrong with a picture; None when the part is not there or has another number of rows."""
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            table = csv.reader(opened)
            next(table, None)
            count = bad = 0
            for row in table:
                count += 1
                bad += bool(row[-1])
    except (OSError, ValueError, IndexError, csv.Error):
        return None
    return bad if rows in (None, count) else None


def missing(out: Path, job: Job, done: Iterable[int]) -> Iterator[Part]:
    """The parts to be done, in order, read from the list one at a time."""
    known = set(done)
    with (out / LIST).open("rb") as file:
        for number in range(job.parts):
            lines = list(islice(file, job.part))
            if number not in known:
                yield number, [json.loads(line)[0] for line in lines]


def here(known: Known, top: int = 1, prepare: str = "") -> Engine:
    """Answers one part after another in this process."""

    def answer(parts: Iterator[Part]) -> Iterator[tuple[int, bytes | str]]:
        for number, paths in parts:
            yield number, table(answers(known, map(Path, paths), top, prepare), top)

    return answer
