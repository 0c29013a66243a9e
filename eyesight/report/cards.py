"""The values beside the accuracy of a run: time, epochs, results on test images, machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from eyesight.runs import Run
from eyesight.views.html import duration, percent

Json: TypeAlias = Mapping[str, Any]  # an object that was read from the run


@dataclass(frozen=True)
class Card:
    """A value beside the accuracy."""

    title: str
    value: str
    remark: str = ""


def cards(run: Run, test: Json) -> list[Card]:
    """The values beside the accuracy; unknown ones are left out."""
    shown = [*_training_cards(run), *_test_cards(test), *_machine_cards(run.environment)]
    return [card for card in shown if card.value] + count_cards(run.data.get("counts"))


def _training_cards(run: Run) -> Iterator[Card]:
    result = run.result
    seconds = result.get("seconds") or {}
    total = ""
    if seconds.get("total"):
        total = f"{duration(seconds['total'])} in total"
        budget = run.settled.training.budget
        if budget is not None and seconds["total"] > budget:
            total += f", over the budget of {duration(budget)}"
    remarks = []
    best = kept_epoch(run)
    if best is not None:
        remarks.append(f"epoch {best['epoch']} kept")
    if is_epoch_several_passes(run):
        remarks.append(f"{passes(run):,} passes over the images")
    yield Card("parameters", _text(result.get("parameters"), "{:,}"))
    yield Card("training", _duration(seconds.get("training")), total)
    yield Card("epochs", str(len(run.epochs) or ""), " · ".join(remarks))


def _test_cards(test: Json) -> Iterator[Card]:
    yield Card("macro-F1", _text(test.get("macro_f1"), "{:.4f}"), "all classes weigh the same")
    yield Card("top-5 accuracy", _percent(test.get("top5"), 2))
    if "mse" not in test:
        yield Card("test loss", _text(test.get("loss"), "{:.4f}"), "cross-entropy in nats")
    yield Card(
        "mean squared error", _text(test.get("mse"), "{:.5f}"), "of pixel values from 0 to 1"
    )
    yield Card("structural similarity", _text(test.get("ssim"), "{:.4f}"), "1 is identical")
    threshold = _text(test.get("unfamiliar_from"), "{:.4f}")
    yield Card("unfamiliar from", threshold, "99 % have a smaller error")
    yield Card("pixel accuracy", _percent(test.get("pixel_accuracy"), 2))
    yield Card("calibration error", _percent(test.get("ece"), 1), "confidence against accuracy")


def _machine_cards(environment: Json) -> Iterator[Card]:
    threads = ""
    if environment.get("threads"):
        threads = f"{environment['threads']} threads"
    device = environment.get("device") or environment.get("cpu")
    yield Card("device", _text(device, "{}"), threads)


def count_cards(counts: object) -> list[Card]:
    """A card with the number of images by split; a split has a number, or numbers by class."""
    totals: dict[str, int] = {}
    if isinstance(counts, dict):
        for name, part in counts.items():
            if isinstance(part, dict):
                part = sum(part.values())
            if isinstance(part, int):
                totals[name] = part
    if not totals:
        return []
    remark = " · ".join(f"{total:,} {name}" for name, total in totals.items())
    return [Card("images", f"{sum(totals.values()):,}", remark)]


def passes(run: Run) -> int:
    """The passes over the training images; 0 where they were not counted, or less than one."""
    used = run.result.get("trained") or ()
    return sum(stage["epochs"] for stage in used if not stage.get("partial"))


def is_epoch_several_passes(run: Run) -> bool:
    """Whether an epoch of the log, after which the network is measured, is more than one pass."""
    return passes(run) > len(run.epochs) > 0


def kept_epoch(run: Run) -> Json | None:
    """The epoch whose weights were kept."""
    epochs: list[Json] = list(run.epochs)
    if run.settled.training.keep != "last":
        epochs = [epoch for epoch in epochs if epoch.get("best")]
    return epochs[-1] if epochs else None


def _text(value: object, form: str) -> str:
    if value is None:
        return ""
    return form.format(value)


def _percent(share: float | None, digits: int) -> str:
    if share is None:
        return ""
    return percent(share, digits)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return duration(seconds)
