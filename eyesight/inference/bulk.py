"""Predictions for millions of images: a list on disk, split into parts with a CSV file each.

Finished parts are not repeated. Memory holds one part and the names of one folder, never the whole
list. Parts are numbered in the order of the list.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

from eyesight.data.opening import each_picture
from eyesight.errors import UserError
from eyesight.inference.predict import AnyClassifier, csv_table, predict_files
from eyesight.system.files import lock, whole_file
from eyesight.system.json_value import parse_json
from eyesight.system.progress import Talk, silent

FORMAT = 1
PART = 10_000  # images
LIST, JOB = "pictures.jsonl", "predictions.json"
Part = tuple[int, list[str]]  # its number and the paths of its images
Answer = tuple[int, "bytes | str"]  # a part's table, or the reason why it is missing
Engine = Callable[[Iterator[Part]], Iterator[Answer]]  # answers come in any order
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Request:
    """The settings of the predictions; parts of another request are never mixed in."""

    model: str  # a key that tells its weights from others'
    top: int = 1
    prepare: str = ""
    part: int = PART  # images in a part


@dataclass(frozen=True)
class Job:
    """A request for a list of images."""

    model: str
    top: int
    prepare: str
    pictures: int
    listed: str  # SHA-256 of the list: every path with its size and time
    part: int = PART
    format: int = FORMAT

    @property
    def parts(self) -> int:
        """The number of parts."""
        return -(-self.pictures // self.part)

    def size(self, number: int) -> int:
        """The number of images in a part."""
        return min(self.part, self.pictures - number * self.part)


@dataclass
class Outcome:
    """Counts of images, parts, reused parts and bad images; missing parts with reasons."""

    pictures: int
    parts: int
    reused: int = 0
    bad: int = 0
    missing: dict[int, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return asdict(self)


def predict(
    pictures: Sequence[str],
    out: Path,
    engine: Engine,
    request: Request,
    *,
    talk: Talk = silent,
    progress: Progress = lambda done, total: None,
) -> Outcome:
    """Predict every image below `pictures` into OUT/part-00000.csv and so on.

    A repeated call computes only missing parts. Raises UserError if `out` has parts of another list
    or model, or if another process is writing there.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("a+b") as file:
        if not lock(file, patience=0.2):
            raise UserError(
                f"another process is writing into {out}",
                "wait for it, or name another folder with --out",
            )
        job = begin(pictures, out, request)
        outcome = Outcome(job.pictures, job.parts)
        done = dict(finished(out, job))
        outcome.reused = len(done)
        outcome.bad = sum(done.values())
        text = f"{job.pictures:,} images in {job.parts:,} parts"
        if done:
            text += f", {len(done):,} of them already finished"
        talk(text)
        settled = sum(job.size(number) for number in done)
        for number, answer in engine(missing(out, job, done)):
            if isinstance(answer, str):
                outcome.missing[number] = answer
                talk(f"{name(number)}: {answer}")
                continue
            with whole_file(out / name(number)) as written:
                written.write(answer)
            outcome.bad += _problems(out / name(number)) or 0
            settled += job.size(number)
            progress(settled, job.pictures)
    return outcome


def name(number: int) -> str:
    """The file name of a part."""
    return f"part-{number:05d}.csv"


def begin(pictures: Sequence[str], out: Path, request: Request) -> Job:
    """Write the list of images and the request into `out`.

    Raises UserError if `out` contains something else.
    """
    digest = hashlib.sha256()
    count = 0
    with whole_file(out / LIST) as file:
        for place in pictures:
            for picture in each_picture(place):
                values = [picture.location, picture.size, picture.modified_ns]
                line = json.dumps(values).encode() + b"\n"
                file.write(line)
                digest.update(line)
                count += 1
        listed = digest.hexdigest()
        job = Job(request.model, request.top, request.prepare, count, listed, request.part)
        _refuse_others(out, job)
    with whole_file(out / JOB) as written:
        written.write(json.dumps(asdict(job), indent=2).encode() + b"\n")
    return job


def _refuse_others(out: Path, job: Job) -> None:
    try:
        earlier = parse_json((out / JOB).read_bytes())
    except FileNotFoundError:
        if any(out.glob("part-*.csv")):
            raise UserError(
                f"{out} contains parts of something else", "name another folder with --out"
            ) from None
        return
    except ValueError:
        earlier = {}
    values = asdict(job)
    if earlier == values:
        return
    words = {
        "model": "another model",
        "listed": "other images",
        "top": "another --top",
        "prepare": "another --prepare",
    }
    other = [words[key] for key in words if earlier.get(key) != values[key]]
    difference = " and ".join(other) or "another version of eyesight"
    raise UserError(
        f"{out} contains parts of {difference}",
        "name another folder with --out, or remove this one to start again",
    )


def finished(out: Path, job: Job) -> Iterator[tuple[int, int]]:
    """The complete parts, each with its number of unreadable images."""
    for number in range(job.parts):
        bad = _problems(out / name(number), job.size(number))
        if bad is not None:
            yield number, bad


def _problems(file: Path, rows: int | None = None) -> int | None:
    """The number of problems in a part; None if it is missing or incomplete."""
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            table = csv.reader(opened)
            next(table, None)
            count = bad = 0
            for row in table:
                count += 1
                if row[-1]:
                    bad += 1
    except (OSError, ValueError, IndexError, csv.Error):
        return None
    if rows not in (None, count):
        return None
    return bad


def missing(out: Path, job: Job, done: Iterable[int]) -> Iterator[Part]:
    """The missing parts in order, read from the list one at a time."""
    finished = set(done)
    with (out / LIST).open("rb") as file:
        for number in range(job.parts):
            lines = list(islice(file, job.part))
            if number not in finished:
                yield number, [parse_json(line)[0] for line in lines]


def here(classifier: AnyClassifier, top: int = 1, prepare: str = "") -> Engine:
    """An engine that predicts one part after another in this process."""

    def engine(parts: Iterator[Part]) -> Iterator[Answer]:
        for number, paths in parts:
            predictions = predict_files(classifier, map(Path, paths), top, prepare)
            yield number, csv_table(predictions, top)

    return engine
