"""The report of a run: a self-contained page, written from the run folder."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure

from eyesight import recipe as recipes
from eyesight.auditing import record
from eyesight.auditing.record import AuditRecord
from eyesight.data.facts import DataFacts, count_line, problems_of
from eyesight.data.prepare import Pixels, encode_png
from eyesight.data.store import open_store, store_folder
from eyesight.errors import UserError
from eyesight.report.cards import cards, is_epoch_several_passes, kept_epoch
from eyesight.report.settings import settings
from eyesight.results import calibration as calibrating
from eyesight.results import conformal, metrics
from eyesight.results.predictions import Predictions, readable, summary
from eyesight.results.records import number, used_lines
from eyesight.runs import Run
from eyesight.system.progress import Talk
from eyesight.views import corrections_effect, dense_plots, html, joined, plots, run_view
from eyesight.views.html import duration, percent

PAGE = "report.html"  # in a run
TEMPLATE = Path(__file__).parent / "templates" / "report.html"
SAMPLES = 30  # images shown at most, or one for each class
MISTAKES = 40
DOUBTFUL = 24  # labels that are shown
THUMBNAIL = 128  # longest side in pixels of a shown image
PIXELATED = 48  # images up to this side are shown with visible pixels, not smoothed
# Of environment.json, shown with the recipe.
SETTINGS = ("chosen", "without_effect", "validation_images")
PARTS = {"all": "only the head", "none": "everything"}  # trained part by `transfer.freeze`

Json: TypeAlias = Mapping[str, Any]  # an object that was read from the run


@dataclass(frozen=True)
class StageRow:
    """The result of one stage of a training."""

    number: int
    kept: bool
    part: str  # the trained part of the network
    epochs: int
    seconds: str
    score: str
    loss: str


@dataclass(frozen=True)
class ProblemGroup:
    """Problems of one kind in the data."""

    kind: str
    fatal: bool  # whether the files were left out
    problems: list[Json]

    @property
    def count(self) -> int:
        """The number of images, of which a folder may hold several, or of rows without one."""
        return sum(int(problem.get("count", 1)) or 1 for problem in self.problems)


def write_report(run: Run, out: Path | None = None) -> Path:
    """Write the page to `out`, by default `report.html` in the run, and return its path.

    The page states if the run has not ended.
    """
    return html.write(page(run), out or run.path / PAGE)


def update_report(run: Run, talk: Talk) -> None:
    """Write the page in the run again, if it is there; a damaged run keeps its old page."""
    if not (run.path / PAGE).is_file():
        return
    try:
        talk(f"updated {write_report(run)}")
    except UserError as error:
        talk(f"{run.path / PAGE} was not updated: {error.message}")


def write_figures(run: Run) -> list[Path]:
    """Write the report's figures as PNG into the run's folder `figures`; returns their paths."""
    figures: dict[str, Figure] = {}
    if run.epochs:
        figures["curves"] = plots.curves(run.epochs, ("loss", run.measure.key))
    if run.target == "class":
        figures |= _classifier_figures(run)
    else:
        figures |= {panel.name: panel.figure for panel in dense_plots.panels(run)}
    run.figures_path.mkdir(exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(run.figures_path / f"{name}.png")
        plots.save(figure, paths[-1])
    return paths


def _classifier_figures(run: Run) -> dict[str, Figure]:
    """The figures of a classifier beside its curves, by name."""
    figures: dict[str, Figure] = {}
    predictions = run_view.labelled(run)
    if predictions is not None:
        matrix = metrics.confusion(predictions.probabilities, predictions.labels)
        figures["confusion"] = plots.confusion(matrix, readable(predictions.classes))
        reliability = metrics.reliability(predictions.probabilities, predictions.labels)
        figures["reliability"] = plots.reliability(reliability)
        curve = calibrating.risk_coverage(predictions.probabilities, predictions.labels)
        figures["risk_coverage"] = plots.risk_coverage(curve)
    gallery = run.gallery()
    samples = run_view.samples(run, len(gallery.get("samples_pixels", ())))
    if samples:
        names = [name for _, name in samples]
        figures["samples"] = plots.samples(np.stack([pixels for pixels, _ in samples]), names)
    mistakes = run_view.mistakes(run, MISTAKES)
    if mistakes:
        figures["mistakes"] = plots.mistakes(
            gallery["mistakes_pixels"][: len(mistakes)],
            [mistake.true for mistake in mistakes],
            [mistake.predicted for mistake in mistakes],
            [mistake.probability for mistake in mistakes],
        )
    return figures


def page(run: Run) -> str:
    """The whole page as HTML."""
    predictions = run_view.labelled(run)
    values = {
        **_about(run),
        **_training(run),
        **_results(run, predictions),
        **_trust(run, predictions),
        **_labels(run),
        "search": joined.search(run),
        "blend": joined.blend(run),
        "folds": joined.folds(run),
        "distil": joined.distil(run),
    }
    return html.render(TEMPLATE, values)


def _about(run: Run) -> dict[str, object]:
    """The origin of the run and how to reproduce it."""
    recipe = run.recipe
    start = _last_event(run, "start")
    machine = {key: value for key, value in run.environment.items() if key not in SETTINGS}
    place = f"{run.path.absolute().parent.name}/{run.path.absolute().name}"
    return {
        "name": recipe.name or run.name,
        "summary": recipe.summary,
        "place": place,
        "status": run.status,
        "failure": _last_event(run, "failed"),
        "source": recipe.data.source or run.data.get("source") or "",
        "date": date(start.get("time")),
        "counted": counted(run.data),
        "problems": by_kind(run.data.get("problems") or []),
        "settings": settings(run),
        "recipe_json": recipes.to_json(run.settled),
        "environment": list(flat(machine)),
        "command": start.get("command") or f"eyesight train {place}",
    }


def _training(run: Run) -> dict[str, object]:
    """The context of the training section."""
    epochs = run.epochs
    curves = []
    if epochs:
        curves = [plots.curves(epochs, (key,)) for key in ("loss", run.measure.key)]
    return {
        "measure": run.measure,
        "curves": curves,
        "stages": stages(run),
        "used": used_lines(run.result),
        "several_passes": is_epoch_several_passes(run),
        "mixed": any(epoch.get("train_clean") for epoch in epochs),
        "findings": run_view.findings(run),
    }


def _results(run: Run, predictions: Predictions | None) -> dict[str, object]:
    """The context of the results on test images."""
    test = run.result.get("test", {})
    words = dense_plots.sentence(run)
    confusion = None
    calibration = None
    if predictions is not None:
        test = summary(predictions)
        words = sentence(predictions)
        probabilities = predictions.probabilities
        matrix = metrics.confusion(probabilities, predictions.labels)
        confusion = plots.confusion(matrix, readable(predictions.classes))
        calibration = plots.reliability(metrics.reliability(probabilities, predictions.labels))
    judgement = run_view.judgement(predictions)
    samples = run_view.samples(run, max(SAMPLES, len(run.data.get("classes") or ())))
    mistakes = run_view.mistakes(run, MISTAKES)
    pixels = run.gallery().get("mistakes_pixels", ())
    return {
        "test": test,
        "sentence": words,
        "cards": cards(run, test),
        "panels": list(dense_plots.panels(run)),
        "confusion": confusion,
        "calibration": calibration,
        "pairs": judgement.pairs,
        "rows": judgement.rows,
        "samples": [(thumbnail(image), name) for image, name in samples],
        "mistakes": [(thumbnail(pixels[mistake.place]), mistake) for mistake in mistakes],
        "pixelated": _pixelated(run),
    }


def _trust(run: Run, predictions: Predictions | None) -> dict[str, object]:
    """The context of calibration, prediction sets and weakest slices."""
    if predictions is None:
        return {"trust": None, "slices": []}
    calibration = run_view.calibration(run)
    probabilities = predictions.probabilities
    labels = predictions.labels
    coverages = []
    if calibration.sets is not None:
        for level in conformal.LEVELS:
            coverages.append(conformal.coverage(calibration.sets, probabilities, labels, level))
    trust = {
        "calibration": calibration,
        "error": calibrating.calibration_error(probabilities, labels),
        "change": calibrating.before_and_after(probabilities, labels, calibration.temperature),
        "risk": plots.risk_coverage(calibrating.risk_coverage(probabilities, labels)),
        "coverages": coverages,
    }
    return {"trust": trust, "slices": run_view.worst_slices(run, predictions)}


def _labels(run: Run) -> dict[str, object]:
    """The context of the audit and the effect of corrections."""
    kept = record.of_run(run.path)
    return {
        "effect": corrections_effect.effect(run),
        "audit": kept,
        "doubtful": doubtful(kept) if kept is not None else [],
    }


def doubtful(kept: AuditRecord) -> list[tuple[str, str]]:
    """The images with the most suspicious labels, with captions.

    Empty if the prepared images are no longer available.
    """
    folder = store_folder(kept.store)
    store = open_store(folder) if folder is not None else None
    if store is None:
        return []
    rows = {one: row for row, one in enumerate(store.ids)}
    names = dict(zip(store.classes, readable(store.classes), strict=True))
    shown = []
    for label in kept.wrong[:DOUBTFUL]:
        caption = f"{names[label.given]}, probably {names[label.suggested]}"
        shown.append((thumbnail(store.pixels[rows[label.id]]), caption))
    return shown


def _last_event(run: Run, name: str) -> Json:
    """The last event of that name in the log; empty without one."""
    events: list[Json] = [event for event in run.log if event.get("event") == name]
    return (events or [{}])[-1]


def sentence(predictions: Predictions) -> str:
    """The accuracy in words, compared with guessing."""
    n = len(predictions)
    hits = int(predictions.scores().sum())
    share = float(np.bincount(predictions.labels).max() / n)
    guess = f"Always predicting the most frequent class would be correct for {percent(share, 1)}."
    images = f"{n:,} images it was not trained on"
    if hits == n:
        return f"The classifier made no mistake on {images}. {guess}"
    if hits == 0:
        return f"The classifier misclassified all of {images}. {guess}"
    return f"The classifier misclassified {n - hits:,} of {images}. {guess}"


def stages(run: Run) -> list[StageRow]:
    """A row for each stage of a staged training; nothing for other trainings."""
    transfer = run.settled.transfer
    first_layers = (transfer.freeze, transfer.thaw)
    kept = kept_epoch(run) or {}
    rows = []
    for stage in run.result.get("stages") or ():
        place = stage["stage"]
        part = "train"
        if "validation_loss" in stage:
            part = "validation"
        first = first_layers[place - 1]
        rows.append(
            StageRow(
                number=place,
                kept=place == kept.get("stage"),
                part=PARTS.get(first, f"from {first} on"),
                epochs=stage["epochs"],
                seconds=duration(stage["seconds"]),
                score=run.measure.text(number(stage, f"{part}_{run.measure.key}") or 0.0),
                loss=f"{number(stage, f'{part}_loss') or 0.0:.4f}",
            )
        )
    return rows


def thumbnail(pixels: Pixels) -> str:
    """An image C,H,W as a data URI, averaged down to at most 128 pixels on a side."""
    channels, height, width = pixels.shape
    step = -(-max(height, width) // THUMBNAIL)
    if step > 1:
        height //= step
        width //= step
        whole = pixels[:, : height * step, : width * step]
        blocks = whole.reshape(channels, height, step, width, step)
        pixels = blocks.mean(axis=(2, 4)).round().astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(encode_png(pixels)).decode()


def counted(data: DataFacts) -> str:
    """How many images there are, used and left out, as training prints it; empty when unknown."""
    counts = data.get("counts") or {}
    if not counts or not all(isinstance(count, int) for count in counts.values()):
        return ""
    corrections = data.get("corrections")
    excluded = int(corrections.get("excluded", 0)) if corrections else 0
    return count_line(counts, problems_of(data), excluded)


def by_kind(problems: Sequence[Json]) -> list[ProblemGroup]:
    """Problems grouped by kind: those left out first, then the most frequent."""
    groups: dict[tuple[str, bool], ProblemGroup] = {}
    for problem in problems:
        kind = str(problem.get("kind", ""))
        fatal = bool(problem.get("fatal"))
        group = groups.setdefault((kind, fatal), ProblemGroup(kind, fatal, []))
        group.problems.append(problem)
    return sorted(groups.values(), key=lambda group: (not group.fatal, -group.count, group.kind))


def flat(values: Json, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as pairs of name and text; what is unknown is left out."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key} ")
        elif value is not None:
            yield f"{prefix}{key}", str(value)


def date(text: str | None) -> str:
    """`2026-11-22T12:25:01+00:00` as `22 November 2026, 12:25`; empty when there is none."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return ""
    return f"{moment.day} {moment:%B %Y, %H:%M}"


def _pixelated(run: Run) -> bool:
    """Whether the images are small enough to show their pixels instead of smoothing."""
    for name, array in run.gallery().items():
        if name.endswith("_pixels") and len(array) and max(array.shape[2:]) <= PIXELATED:
            return True
    return False
