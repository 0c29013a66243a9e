"""What a run of an autoencoder or of segmentation has to show: named figures from its folder alone, without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from eyesight.report import dense_plots
from eyesight.results.predictions import readable
from eyesight.results.reconstructions import Reconstructions, in_two_dimensions
from eyesight.results.segmentations import Segmentations
from eyesight.runs import Run

FEW, STRANGE = 24, 24  # pictures in a figure


@dataclass(frozen=True)
class Panel:
    """A figure with its heading and a sentence about it; `name` is that of its file."""

    name: str
    title: str
    words: str
    figure: Any


def panels(run: Run) -> list[Panel]:
    """The figures of the run's task, in the order of its page; none for a classifier, whose page has its own, or before the end."""
    return list(each(run))


def each(run: Run) -> Iterator[Panel]:
    """As `panels`, but each is drawn only when it is asked for."""
    if run.target in PANELS and (run.path / "predictions.npz").is_file():
        yield from PANELS[run.target](run, run.said())


def _restored(run: Run, said: Reconstructions) -> Iterator[Panel]:
    kept = run.gallery()
    if len(kept.get("shown_pixels", ())):
        yield Panel(
            "restored",
            "Pictures and what was restored",
            _bottleneck(said),
            dense_plots.restored(_rows(kept, "shown", FEW)),
        )
    if len(kept.get("strange_pixels", ())):
        captions = [f"{said.errors[index]:.4f}" for index in kept["strange_index"][:STRANGE]]
        figure = dense_plots.restored(_rows(kept, "strange", STRANGE), captions)
        words = "Test pictures that were restored worst, with their mean squared error: what is unlike everything that was learnt."
        yield Panel("strangest", "The strangest pictures", words, figure)
    if len(said) > 2:
        points, share = in_two_dimensions(said.codes)
        figure = dense_plots.codes(points, said.labels, readable(said.classes), share)
        words = "Every dot is a test picture, placed by the numbers in its bottleneck. The network never saw the classes that colour them."
        yield Panel("bottleneck", "What the bottleneck knows", words, figure)


def _bottleneck(said: Reconstructions) -> str:
    return f"Above the test pictures as they are, below what came through the {said.codes.shape[1]} numbers of the bottleneck."


def _rows(kept: dict[str, Any], name: str, most: int) -> list[tuple[str, Any]]:
    rows = [("as it is", kept[f"{name}_pixels"][:most])]
    rows += [("as given", kept[f"{name}_asked"][:most])] if f"{name}_asked" in kept else []
    return [*rows, ("restored", kept[f"{name}_restored"][:most])]


def _overlays(run: Run, said: Segmentations) -> Iterator[Panel]:
    kept = run.gallery()
    scores = said.scores()
    classes = readable(said.classes)
    titles = {
        "shown": (
            "overlays",
            "Pictures with their masks",
            "Test pictures, evenly spread, with their mean IoU.",
        ),
        "worst": (
            "worst",
            "The worst pictures",
            "Test pictures with the lowest mean IoU. Look here first: some masks may be wrong.",
        ),
    }
    for name, (file, title, words) in titles.items():
        if len(kept.get(f"{name}_pixels", ())):
            pixels, masks, maps = (kept[f"{name}_{part}"] for part in ("pixels", "masks", "said"))
            captions = [f"{100 * scores[index]:.1f} %" for index in kept[f"{name}_index"]]
            yield Panel(
                file,
                title,
                words,
                dense_plots.overlays(pixels, masks, maps, kept["colours"], classes, captions),
            )
    each = said.summary()["per_class_iou"]
    if each:
        words = "Of the pixels that are of a class or were said to be, the share that is both."
        yield Panel(
            "ious",
            "Class by class",
            words,
            dense_plots.ious(dict(zip(classes, each.values(), strict=True))),
        )


PANELS: dict[str, Callable[[Run, Any], Iterator[Panel]]] = {"picture": _restored, "mask": _overlays}


def sentence(run: Run) -> str:
    """The result of such a run as one would say it; empty before the end."""
    test = run.result.get("test") or {}
    if run.target == "picture" and test.get("mse") is not None:
        off = 255 * test["mse"] ** 0.5
        alike = "" if test["ssim"] is None else f"; structural similarity is {test['ssim']:.3f}"
        return (
            f"A restored value is off by {off:.1f} of 255 steps (root of the mean square){alike}."
        )
    if run.target == "mask" and test.get("pixel_accuracy") is not None:
        low, high = test["pixel_accuracy_interval"]
        worst = min(
            ((value, name) for name, value in test["per_class_iou"].items() if value is not None),
            default=(0.0, ""),
        )
        share = f"{100 * test['pixel_accuracy']:.2f} % of the pixels are right (95 % interval {100 * low:.2f} to {100 * high:.2f} %)"
        return f"{share}. The hardest class is {worst[1]}, with an IoU of {100 * worst[0]:.1f} %."
    return ""
