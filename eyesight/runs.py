"""A run folder is the database: the recipe, every epoch as it came, and the predictions.

The log only grows; a line torn by `kill -9` is passed over when reading and never spoils the line
appended after it.
"""

from __future__ import annotations

import html
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np

from eyesight import recipe as recipes
from eyesight.data.facts import DataFacts
from eyesight.errors import MissingError, TrainingFailedError, UserError
from eyesight.recipe import Recipe, override
from eyesight.recipes import RECIPES, find, is_known
from eyesight.results import predictions
from eyesight.results.any_task import LOADERS, Results
from eyesight.results.history import History, Metrics, curves_svg
from eyesight.results.predictions import Predictions, read_arrays
from eyesight.results.records import Environment, Event, Result
from eyesight.results.scores import MEASURES, Measure
from eyesight.system.files import disk_error, lock, sweep, whole_file
from eyesight.system.json_value import JsonObject, parse_json

Status = Literal["running", "done", "failed", "interrupted"]


@dataclass(frozen=True, init=False)
class Run:
    """One training in its folder, for example `runs/0007-lenet5`.

    Raises UserError when there is no such folder; the name may be cut after its number.
    """

    path: Path

    def __init__(self, path: str | Path) -> None:
        folder = Path(path)
        if not folder.is_dir():
            folder = _find(folder)
        object.__setattr__(self, "path", folder)

    def _repr_html_(self) -> str:
        parts = [f"<b>{html.escape(self.name)}</b>: {self.status}"]
        if self.result:
            parts.append(
                html.escape(f"{self.measure.title} {self.measure.sentence(self.result['test'])}")
            )
        return f"<p>{', '.join(parts)}</p>{curves_svg(self.history)}"

    @staticmethod
    def create(parent: Path, name: str) -> Run:
        """A new folder in `parent` under the next free number, safe between processes."""
        parent.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
        number = max(_numbers(parent), default=0) + 1
        while not _claim(parent, number):
            number += 1
        return Run((parent / f"{number:04d}").rename(parent / f"{number:04d}-{name}"))

    @staticmethod
    def open(path: str | Path) -> Run:
        """The run at `path`, whose name may be cut after the number.

        Raises UserError when it is none or too new.
        """
        folder = _find(Path(path))
        if not (folder / "recipe.json").is_file():
            raise UserError(
                f"{folder} is not a run: it has no recipe.json",
                "a run is a folder written by `eyesight train`; images are given with --data, for "
                f"example `eyesight train folder --data {folder}`",
            )
        run = Run(folder)
        version = run.read_json("recipe.json").get("format", 0)
        if not isinstance(version, int) or version > recipes.FORMAT:
            raise UserError(
                f"{folder} was written by a newer version of eyesight (format {version}; this "
                f"version reads up to {recipes.FORMAT})",
                "upgrade eyesight to read it",
            )
        return run

    @property
    def name(self) -> str:
        """The folder's name, for example `0007-lenet5`."""
        return self.path.name

    @property
    def classifier_path(self) -> Path:
        """Where the trained classifier's folder is or will be."""
        return self.path / "classifier"

    @property
    def checkpoint_path(self) -> Path:
        """Where the state to resume from is kept while the run is not done."""
        return self.path / "checkpoint"

    @property
    def asked_to_stop(self) -> bool:
        """Whether somebody asked a training to end early and keep what it has learnt."""
        return (self.checkpoint_path / "stop").exists()

    def ask_to_stop(self, *, stop: bool = True) -> None:
        """Let a training end after its present epoch, or take that back."""
        file = self.checkpoint_path / "stop"
        if stop and self.checkpoint_path.is_dir():
            file.touch()
        elif not stop:
            file.unlink(missing_ok=True)

    @property
    def figures_path(self) -> Path:
        """Where the figures are or will be."""
        return self.path / "figures"

    @property
    def recipe(self) -> Recipe:
        """What was asked for."""
        return recipes.from_dict(self.read_json("recipe.json"))

    @property
    def settled(self) -> Recipe:
        """The recipe with what was chosen for this run, such as the network and the size."""
        return self.settle(self.recipe)

    def settle(self, recipe: Recipe) -> Recipe:
        """A recipe made from this run's, with what was chosen for the run in unchanged fields."""
        asked = self.recipe
        chosen = self.environment.get("chosen") or {}
        for path, value in chosen.items():
            if recipes.field_value(recipe, path) == recipes.field_value(asked, path):
                recipe = recipes.replace_field(recipe, path, value)
        return recipe

    @property
    def environment(self) -> Environment:
        """Versions, machine and seed; empty when not written yet."""
        return cast(Environment, self.read_json("environment.json", missing_ok=True))

    @property
    def data(self) -> DataFacts:
        """What is known about the pictures: classes, counts, problems, split hash ….

        Empty when not written yet.
        """
        return cast(DataFacts, self.read_json("data.json", missing_ok=True))

    @property
    def log(self) -> list[Event]:
        """Every whole event so far, in order."""
        return _events(self._log_lines())

    @property
    def last_events(self) -> list[Event]:
        """The first event, and those from the last epoch on.

        Reading them takes a fraction of the time of the whole log.
        """
        lines = self._log_lines()
        last: list[Event] = []
        for line in reversed(lines[1:]):
            event = _event(line)
            if event is None:
                continue
            last.insert(0, event)
            if event.get("event") == "epoch":
                break
        first = _event(lines[0]) if lines else None
        return last if first is None else [first, *last]

    def _log_lines(self) -> list[bytes]:
        try:
            written = (self.path / "log.jsonl").read_bytes()
        except FileNotFoundError:
            return []
        return [line for line in written.split(b"\n") if line]

    @property
    def epochs(self) -> list[Event]:
        """The epoch events; what a resumed training did again replaces what it had done before."""
        epochs: list[Event] = []
        for event in self.log:
            if event.get("event") == "epoch" and isinstance(event.get("epoch"), int):
                while epochs and epochs[-1]["epoch"] >= event["epoch"]:
                    epochs.pop()
                epochs.append(event)
            if event.get("event") == "kept":  # no epoch of a later stage was
                for epoch in epochs:
                    epoch["best"] = epoch.get("best", False) and epoch["stage"] == event["stage"]
        return epochs

    @property
    def history(self) -> History:
        """The epochs so far, with loss and score on training and validation images."""
        return History.of(self.epochs, self.measure)

    @property
    def metrics(self) -> Metrics:
        """The figures of the test images; raises UserError when the run is not done."""
        if not self.result:
            raise MissingError(f"{self.path} has no result: the run is {self.status}", self.way_on)
        return Metrics.of(self.result.get("test") or {}, self.measure)

    @property
    def result(self) -> Result:
        """The last "done" event; empty when the run never got there."""
        for event in reversed(self.log):
            if event.get("event") == "done":
                return cast(Result, event)
        return {}

    @property
    def status(self) -> Status:
        """Judged by the log's last word; without one, by whether a living process holds the run."""
        for event in reversed(self.log):
            if event.get("event") == "done":
                return "done"
            if event.get("event") == "failed":
                return "failed"
            if event.get("event") == "start":
                break
        return "running" if self.held else "interrupted"

    @property
    def held(self) -> bool:
        """Whether a living process is inside `hold()`."""
        try:
            with (self.path / "lock").open("rb") as file:
                return not lock(file)
        except FileNotFoundError:
            return False

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the run to this process until the block ends or the process dies.

        Raises UserError when another has it.
        """
        with (self.path / "lock").open("a+b") as file:
            if not lock(file, patience=0.2):  # whoever asks for the status has it for an instant
                raise UserError(
                    f"another process is training {self.path}", "wait for it, or stop it first"
                )
            sweep(self.path)  # what a killed process left half written
            yield

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Hold the run for a training in the block.

        A training that is refused before its first step leaves no folder; one that fails later
        keeps the reason in its log. A blend and an average of folds have no steps.
        """
        refused = False
        try:
            with self.hold():
                try:
                    yield
                except UserError as error:
                    began = self.epochs or self.result or isinstance(error, TrainingFailedError)
                    refused = not began
                    self.fail(error.message, error.hint)
                    raise
                except Exception as error:
                    self.fail(f"{type(error).__name__}: {error}")
                    raise
        finally:
            if refused:
                shutil.rmtree(self.path, ignore_errors=True)

    def fail(self, message: str, hint: str = "") -> None:
        """Add to the log why the training failed, unless the run is done."""
        if not self.result:
            with suppress(UserError):  # a full disk, which the error itself may be about
                self.append({"event": "failed", "message": message, "hint": hint})

    def append(self, event: Mapping[str, object]) -> None:
        """Add one event and its time to the log and see it onto the disk.

        Numbers not finite become null, named in `not_finite`.
        """
        lost: list[str] = []
        values = {
            **_plain(event, "", lost),
            "time": now(),
            **({"not_finite": lost} if lost else {}),
        }
        line = _bytes(json.dumps(values, ensure_ascii=False, allow_nan=False)) + b"\n"
        file = self.path / "log.jsonl"
        try:
            with file.open("a+b") as log:
                log.write(line if _ends_whole(log) else b"\n" + line)
                log.flush()
                os.fsync(log.fileno())
        except OSError as error:
            raise disk_error(error, file) from error

    def write_json(self, name: str, values: Mapping[str, object]) -> None:
        """Write `values` to the file `name`, whole or not at all.

        Numbers that are not finite become null.
        """
        text = json.dumps(_plain(values, "", []), indent=2, ensure_ascii=False, allow_nan=False)
        with whole_file(self.path / name) as file:
            file.write(_bytes(text) + b"\n")

    def read_json(self, name: str, *, missing_ok: bool = False) -> JsonObject:
        """The object in the file `name`.

        Raises UserError when it is broken or, unless `missing_ok`, missing.
        """
        file = self.path / name
        if missing_ok and not file.exists():
            return {}
        try:
            values = parse_json(file.read_bytes())
        except (OSError, ValueError) as error:
            raise MissingError(
                f"{file} cannot be read: {error}", "the run is damaged or was removed"
            ) from None
        if not isinstance(values, dict):
            raise MissingError(
                f"{file} cannot be read: it is not a JSON object", "the run is damaged"
            )
        return values

    @property
    def target(self) -> str:
        """What is given for a picture: its "class", the "picture" itself, or a "mask"."""
        return target_of(self.read_json("recipe.json"))

    @property
    def unfamiliar_from(self) -> float | None:
        """The error from which images are unfamiliar to an autoencoder; None when unknown."""
        threshold = (self.result.get("validation") or self.result.get("test") or {}).get(
            "unfamiliar_from"
        )
        return None if threshold is None else float(threshold)

    @property
    def measure(self) -> Measure:
        """By what it is scored."""
        return MEASURES[self.target]

    @property
    def way_on(self) -> str:
        """What a person can do about a run that holds no classifier or no predictions."""
        failure = next((one for one in reversed(self.log) if one.get("event") == "failed"), Event())
        again, mend = f"`eyesight train {self.path}", str(failure.get("hint", ""))
        if self.status == "running":
            return "wait for it"
        if self.status == "interrupted" and self.recipe.model.name == recipes.BLEND:
            return "its members are unchanged: blend them again"
        if self.status == "interrupted":
            return f"finish it with {again} --resume --out {self.path.parent}`"
        if self.status == "done":
            return f"files were removed from it; train again with {again}`"
        # The same training would fail again at the same place, unless what it lacked was outside of
        # it, such as room on the disk.
        goes_on = any(self.checkpoint_path.glob("state*")) and not any(
            option in mend for option in ("--set", "--budget")
        )
        go_on = (
            (f"; then continue with {again} --resume --out {self.path.parent}`") if goes_on else ""
        )
        return f"it ended with: {failure.get('message')}; {mend or 'train it again'}{go_on}"

    def results(self, split: str = "test") -> Results:
        """What was said about the "test" or "validation" pictures, by the run's task.

        Raises UserError when there is nothing.
        """
        return LOADERS[self.target](self._results_file(split))

    def predictions(self, split: str = "test") -> Predictions:
        """The probabilities said about the "test" or "validation" pictures.

        Raises UserError when there are none.
        """
        if self.target != "class":
            raise MissingError(
                f"{self.path} predicts a {self.target}, not a class",
                "use the run of a classifier",
            )
        return predictions.load(self._results_file(split))

    def _results_file(self, split: str) -> Path:
        file = self.path / ("predictions.npz" if split == "test" else f"{split}.npz")
        if not file.is_file():
            raise MissingError(
                f"{self.path} has no {split} predictions: the run is {self.status}", self.way_on
            )
        return file

    def gallery(self) -> dict[str, np.ndarray]:
        """The pixels kept for pages (samples and costly mistakes), uint8 N,C,H,W.

        Empty when none were kept.
        """
        file = self.path / "gallery.npz"
        return read_arrays(file) if file.is_file() else {}


def list_runs(parent: str | Path = "runs") -> list[Run]:
    """Every run in the folder `parent`, in the order they were made."""
    parent = Path(parent)
    if not parent.is_dir():
        return []
    folders = [path for path in parent.iterdir() if (path / "recipe.json").is_file()]
    return [
        Run(path) for path in sorted(folders, key=lambda path: (_number(path.name) or 0, path.name))
    ]


def target_of(recipe: JsonObject) -> str:
    """What a recipe's data names for an image: its "class", the "picture" itself, or a "mask"."""
    data = recipe.get("data")
    return str(data.get("target", "class")) if isinstance(data, dict) else "class"


def now() -> str:
    """The moment as text with its offset from UTC, to the second."""
    return datetime.now(UTC).astimezone().isoformat(timespec="seconds")


def _number(name: str) -> int | None:
    match = re.match(r"(\d{4,})(?:-|$)", name)
    return int(match[1]) if match else None


def _numbers(parent: Path) -> list[int]:
    return [number for path in parent.iterdir() if (number := _number(path.name)) is not None]


def _claim(parent: Path, number: int) -> bool:
    """Make the bare folder of `number`; False when another process has or had it."""
    bare = parent / f"{number:04d}"
    try:
        bare.mkdir()
    except FileExistsError:
        return False
    if any(_number(path.name) == number and path != bare for path in parent.iterdir()):
        bare.rmdir()  # whoever claimed the number has already given its folder a name
        return False
    return True


def _find(path: Path) -> Path:
    """`path`, or the one folder beside it that begins with its number.

    Raises UserError when there is none.
    """
    if path.is_dir():
        return path
    if is_known(str(path)):
        raise UserError(
            f"{path} is a recipe, which has no classifier before it is trained",
            f"train it with `eyesight train {path}`, then name the folder of its run",
            code=2,
        )
    others = (
        [other.name for other in path.parent.iterdir() if other.is_dir()]
        if path.parent.is_dir()
        else []
    )
    number = int(path.name) if path.name.isdecimal() else -1
    matches = [name for name in others if _number(name) == number]
    if len(matches) == 1:
        return path.parent / matches[0]
    near = get_close_matches(
        path.name, [name for name in others if _number(name) is not None], n=1, cutoff=0.5
    )
    hint = (
        f"did you mean {path.parent / near[0]}?"
        if near
        else f"runs are folders such as runs/0001-lenet5, relative to {Path.cwd()}"
    )
    raise UserError(f"there is no run at {path}", hint)


def _events(lines: list[bytes]) -> list[Event]:
    """The whole events of a log: at once, which is faster, or line by line if some are damaged."""
    with suppress(ValueError):
        events = parse_json(b"[" + b",".join(lines) + b"]")
        if len(events) == len(lines) and all(isinstance(event, dict) for event in events):
            return cast(list[Event], events)
    return [event for line in lines if (event := _event(line)) is not None]


def _event(line: bytes) -> Event | None:
    with suppress(ValueError):
        event = parse_json(line.decode("utf-8", "surrogatepass"))
        return cast(Event, event) if isinstance(event, dict) else None
    return None


def _ends_whole(log: IO[bytes]) -> bool:
    if log.seek(0, os.SEEK_END) == 0:
        return True
    log.seek(-1, os.SEEK_END)
    return log.read(1) == b"\n"


def _bytes(text: str) -> bytes:
    """JSON as bytes.

    What is no text in a path becomes JSON's own escape, which is read back as it was.
    """
    return text.encode(errors="backslashreplace")


def _plain(value: Any, path: str, lost: list[str]) -> Any:
    """`value` as JSON can hold it; the paths of numbers that are not finite are added to `lost`."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return {
            str(key): _plain(item, f"{path}.{key}" if path else str(key), lost)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item, f"{path}.{index}", lost) for index, item in enumerate(value)]
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not math.isfinite(value):
        lost.append(path)
        return None
    return value


def resolve(name: str, *settings: str, data: str | Path | None = None) -> Recipe:
    """The recipe called `name`, or of the run in the folder `name`, with settings applied.

    Settings are `group.field=value`; `data` names other images.
    """
    recipe = Run.open(Path(name)).recipe if is_run(name) else find(name)
    if data is not None:
        recipe = replace(recipe, data=replace(recipe.data, source=str(data)))
    return override(recipe, settings)


def is_run(name: str) -> bool:
    """Whether `name` means a run's folder, not a recipe."""
    return name not in RECIPES and ("/" in name or "\\" in name or Path(name).exists())
