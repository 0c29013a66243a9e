"""The JSON of a run's folder in types. A run of an earlier version may lack any of the keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypedDict

EventName = Literal["start", "epoch", "trained", "kept", "done", "failed"]


class Summary(TypedDict, total=False):
    """The metrics of N images by one classifier; None where nothing was labelled."""

    n: int
    interval: list[float] | None  # of the score, 95 %
    loss: float | None
    top1: float | None  # classes
    top5: float
    top1_ignoring_case: float
    macro_f1: float | None
    ece: float | None
    psnr: float | None  # images, in dB
    mse: float | None
    ssim: float | None
    ssim_n: int
    unfamiliar_from: float
    mean_iou: float | None  # masks
    pixel_accuracy: float | None
    pixel_accuracy_interval: list[float]
    per_class_iou: dict[str, float | None]


class Used(TypedDict, total=False):
    """What a stage of a training used."""

    stage: int  # missing where there is one stage
    images: int
    of: int
    partial: bool  # less than one pass over the images
    versions: int  # of each image
    epochs: int
    steps: int
    lr: float  # at the last step


class OwnImages(TypedDict, total=False):
    """A person's own held-out images, before and after a training with `--extra`."""

    extra: str
    after: Summary
    before: Summary | None
    before_run: str
    before_test: Summary | None


class StageResult(TypedDict, total=False):
    """The best epoch of a stage."""

    stage: int
    epochs: int
    seconds: float
    train_loss: float | None
    validation_loss: float | None
    train_top1: float | None
    validation_top1: float | None


class Event(TypedDict, total=False):
    """A line of `log.jsonl`; its name decides which keys it has."""

    event: EventName
    time: str
    not_finite: list[str]  # paths of the numbers that were written as null
    at: str  # start
    recipe: str
    parameters: int
    elapsed: float  # seconds since the program started
    message: str  # failed
    hint: str
    stage: int  # epoch, trained
    epoch: int
    progress: float
    pictures: int  # seen in the epoch
    lr: float
    seconds: float
    best: bool
    train_loss: float | None
    validation_loss: float | None
    halves: list[list[float]]  # loss and score on two halves of the validation images


class Result(TypedDict, total=False):
    """The last line of a finished run's log."""

    event: EventName
    time: str
    at: str
    test: Summary
    validation: Summary
    test_one_view: Summary
    test_uncorrected: Summary
    own: OwnImages
    parameters: int
    multiply_adds: int
    seconds: dict[str, float]  # by part, and "total"
    trained: list[Used]
    stages: list[StageResult]
    arithmetic: str


class Environment(TypedDict, total=False):
    """`environment.json`: versions and machine."""

    eyesight: str
    commit: str | None
    python: str
    platform: str
    cpu: str
    cores: int
    versions: dict[str, str]
    device: str
    threads: int
    seed: int
    processes: int
    precision: str
    precision2: str
    validation_images: int | None  # used of those in the data; None for all
    weights: dict[str, str]
    code: str
    chosen: dict[str, object]
    without_effect: dict[str, str]


def used_lines(result: Result) -> list[str]:
    """Printed lines: the images, views, passes and steps of each stage."""
    lines = []
    for used in result.get("trained", []):
        stage = f"stage {used['stage']}: " if "stage" in used else ""
        versions = f" in {used['versions']} views each" if used["versions"] > 1 else ""
        # Under a budget an epoch of the log is several passes over few images.
        passes = "1 pass" if used["epochs"] == 1 else f"{used['epochs']:,} passes"
        if used.get("partial"):
            passes = "less than one pass"
        steps = "1 step" if used["steps"] == 1 else f"{used['steps']:,} steps"
        lines.append(
            f"trained {stage}{used['images']:,} of {used['of']:,} training images{versions}, "
            f"{passes} ({steps}), last learning rate {used['lr']:.3g}"
        )
    return lines


def number(values: Mapping[str, object], key: str) -> float | None:
    """The number at `key`; None where there is none, as for one that was not finite."""
    value = values.get(key)
    return float(value) if isinstance(value, int | float) else None
