"""Train on a project's images in a given time: the command and the progress of the run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from eyesight.data.vocabulary import is_container, split_and_rest
from eyesight.errors import UserError
from eyesight.models import available
from eyesight.recipes.folder import PREFERRED
from eyesight.results.records import number
from eyesight.runs import Run
from eyesight.studio.collecting import BURST_PATTERN, has_bursts
from eyesight.studio.projects import Project, has_classifier

TRANSFER = "folder"  # the recipe used with pretrained weights
FROM_SCRATCH = "objects"  # the recipe used without pretrained weights
LARGER_FROM = 240.0  # seconds from which training from scratch uses larger images
LARGER = "data.size=64"
LEAST = 4  # images of each class
RECOMMENDED = 30
MOST_SECONDS = 86_400.0
Phase = Literal["none", "preparing", "training", "judging", "done", "stopped", "failed"]


@dataclass(frozen=True)
class Progress:
    """The progress of a training; `right` of `judged` held-out images were correct at last."""

    phase: Phase
    run: str = ""
    share: float = 0.0
    right: int = 0
    judged: int = 0
    curve: tuple[float, ...] = ()  # accuracy on held-out images after each epoch
    problem: str = ""
    hint: str = ""  # how to mend the problem
    seconds_left: float | None = None  # None when unknown
    stopping: bool = False  # after this epoch

    @property
    def short_of_time(self) -> bool:
        """Whether the training failed because its budget was too small."""
        return self.phase == "failed" and "--budget" in self.hint

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return {**asdict(self), "short_of_time": self.short_of_time}


def settings(project: Project) -> list[str]:
    """The settings that a project's folder needs."""
    fields = []
    if any(is_container(name) or split_and_rest(name)[0] for name in project.class_names):
        fields.append("data.class_level=1")
    if has_bursts(project):
        fields.append(f"data.group_pattern={BURST_PATTERN}")
    return fields


def options(fields: list[str]) -> list[str]:
    """Settings as options of a command."""
    return [part for field in fields for part in ("--set", field)]


def recipe_name() -> str:
    """The recipe for this machine: with pretrained weights, if available."""
    if any(available.has_weights(name) for name in PREFERRED):
        return TRANSFER
    return FROM_SCRATCH


def command(project: Project, seconds: float, recipe: str = "") -> list[str]:
    """The arguments of `eyesight` that train on the project's images within `seconds`.

    Raises UserError if there are too few images.
    """
    check_ready(project)
    if not 5 <= seconds <= MOST_SECONDS:
        raise UserError(
            f"a training of {seconds:g} seconds is not possible", "choose 5 seconds to one day"
        )
    recipe = recipe or recipe_name()
    fields = settings(project)
    if recipe == FROM_SCRATCH and seconds >= LARGER_FROM:
        fields.append(LARGER)
    return [
        "train",
        recipe,
        "--data",
        str(project.pictures),
        "--budget",
        f"{seconds:g}s",
        "--out",
        str(project.runs_path),
        *options(fields),
    ]


def resume_command(run: Run) -> list[str]:
    """The arguments of `eyesight` that resume an interrupted run."""
    return ["train", str(run.path), "--resume", "--out", str(run.path.parent)]


def check_ready(project: Project) -> None:
    """Raise UserError unless two classes have enough images."""
    counts = project.counts()
    if len(counts) < 2:
        raise UserError("there are not enough classes to train", "add at least two classes")
    for name, count in counts.items():
        if count < LEAST:
            raise UserError(
                f"{name} has {count} images, but at least {LEAST} are needed",
                f"add more; {RECOMMENDED} per class are a good start",
            )


def progress(run: Run) -> Progress:
    """The progress of a run, from its log."""
    status = run.status
    epochs = run.epochs
    curve = tuple((number(epoch, "validation_top1") or 0.0) for epoch in epochs)
    judged = validation_size(run)
    share = float(epochs[-1].get("progress") or 0.0) if epochs else 0.0
    right = 0
    if curve:
        right = round(judged * curve[-1])
    facts = (share, right, judged, curve)
    if status == "done":
        return Progress("done", run.name, *result_counts(run), curve)
    if status == "failed":
        last = run.log[-1]
        problem, hint = str(last.get("message", "")), str(last.get("hint", ""))
        return Progress("failed", run.name, *facts, problem, hint)
    if status == "interrupted":
        return Progress("stopped", run.name, *facts)
    if any(event.get("event") == "trained" for event in run.log) and share >= 1:
        return Progress("judging", run.name, *facts, seconds_left=time_left(run))
    phase: Phase = "training" if epochs else "preparing"
    return Progress(
        phase,
        run.name,
        *facts,
        seconds_left=time_left(run),
        stopping=run.asked_to_stop,
    )


def time_left(run: Run) -> float | None:
    """The seconds until a running training should end, from its log; None if unknown."""
    budget = run.recipe.training.budget
    start, before, share = None, 0.0, 0.0
    for event in run.log:
        if event.get("event") == "start":
            start, before = event, share
        share = float(event.get("progress") or share)
    if budget is None or start is None or "elapsed" not in start:
        return None
    began = datetime.fromisoformat(start["time"])
    since = (datetime.now(UTC) - began).total_seconds()
    # A resumed training has only its share of the time left.
    return max(0.0, (budget - start["elapsed"]) * (1 - before) - since)


def seconds_to_go(run: Run) -> float | None:
    """What an interrupted training has left of its budget; None without a budget."""
    budget = run.recipe.training.budget
    if budget is None:
        return None
    return budget * (1 - progress(run).share)


def result_counts(run: Run) -> tuple[float, int, int]:
    """1.0, and the number of test images that the finished run classified correctly."""
    test = run.result.get("test") or {}
    judged = int(test.get("n") or 0)
    top1 = float(test.get("top1") or 0.0)
    return 1.0, round(judged * (0.0 if math.isnan(top1) else top1)), judged


def validation_size(run: Run) -> int:
    """The number of validation images of a run."""
    counts = run.data.get("counts") or {}
    value = counts.get("validation")
    return int(value) if isinstance(value, int) else 0


def latest(project: Project) -> Run | None:
    """The newest run of a project."""
    runs = project.runs
    return runs[-1] if runs else None


def can_go_on(run: Run) -> bool:
    """Whether a run was interrupted and can be resumed."""
    return run.status == "interrupted" and not has_classifier(run)
