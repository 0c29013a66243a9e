"""One self-contained page about one run: made from the run folder alone, without the data, the network or the internet."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eyesight import recipe as recipes
from eyesight.data.prepare import encode_png
from eyesight.report import galleries, html, plots
from eyesight.report.html import duration, percent
from eyesight.results import metrics
from eyesight.results.predictions import Predictions, readable, summary
from eyesight.runs import Run

SAMPLES, MISTAKES = 30, 40  # pictures shown at most
THUMBNAIL = 128  # longest side in pixels of a shown picture


def write_report(run: Run, out: Path | None = None) -> Path:
    """Write the page to `out`, by default `report.html` in the run; a run that is not done gives a page that says so."""
    return html.write(page(run), out or run.path / "report.html")


def write_figures(run: Run) -> list[Path]:
    """Write the report's figures as pictures of their own into the run's folder `figures`: what there is to show of it."""
    figures: dict[str, Any] = (
        {"curves": plots.curves(run.epochs, ("loss", run.measure.key))} if run.epochs else {}
    )
    figures |= (
        classified(run)
        if run.target == "class"
        else {panel.name: panel.figure for panel in galleries.panels(run)}
    )
    run.figures_path.mkdir(exist_ok=True)
    for name, figure in figures.items():
        plots.save(figure, run.figures_path / f"{name}.png")
    return [run.figures_path / f"{name}.png" for name in figures]


def classified(run: Run) -> dict[str, Any]:
    """The figures of a classifier beside its curves, by name."""
    known = labelled(run)
    gallery = run.gallery()
    predictions = run.predictions() if known is not None else None
    classes = readable(run.data.get("classes") or ())
    figures: dict[str, Any] = {}
    if known is not None and len(known):
        figures["confusion"] = plots.confusion(
            metrics.confusion(known.probabilities, known.labels), readable(known.classes)
        )
    if len(gallery.get("samples_pixels", ())):
        figures["samples"] = plots.samples(
            gallery["samples_pixels"], [classes[label] for label in gallery["samples_labels"]]
        )
    wrong = gallery.get("mistakes_index", np.zeros(0, np.int64))[:MISTAKES]
    if predictions is not None and len(wrong):
        true, said = (
            [classes[label] for label in labels[wrong]]
            for labels in (predictions.labels, predictions.predicted)
        )
        figures["mistakes"] = plots.mistakes(
            gallery["mistakes_pixels"][:MISTAKES],
            true,
            said,
            predictions.confidence[wrong].tolist(),
        )
    return figures


def labelled(run: Run) -> Predictions | None:
    """The labelled test predictions of a classifier; None before there are any, and of a run with another task."""
    return (
        run.predictions().labelled()
        if run.target == "class" and (run.path / "predictions.npz").is_file()
        else None
    )


def page(run: Run) -> str:
    """The whole page as HTML."""
    return html.render("report.html", facts(run))


def facts(run: Run) -> dict[str, Any]:
    """Everything the page says, computed from the run folder."""
    log = run.log
    epochs = run.epochs
    data = run.data
    recipe = run.recipe
    start: dict[str, Any] = next((event for event in log if event.get("event") == "start"), {})
    failure: dict[str, Any] = next(
        (event for event in reversed(log) if event.get("event") == "failed"), {}
    )
    place = f"{run.path.absolute().parent.name}/{run.path.absolute().name}"
    known = labelled(run)
    measure = run.measure
    test = summary(known) if known else run.result.get("test", {})
    return {
        "name": recipe.name or run.name,
        "summary": recipe.summary,
        "place": place,
        "status": run.status,
        "failure": failure,
        "source": recipe.data.source or data.get("source") or "",
        "date": date(start.get("time")),
        "test": test,
        "measure": measure,
        "sentence": sentence(known) if known else galleries.sentence(run),
        "panels": galleries.panels(run),
        "cards": cards(run, test),
        "curves": [plots.curves(epochs, (what,)) for what in ("loss", measure.key)]
        if epochs
        else [],
        "stages": stages(run),
        "mixed": any(epoch.get("train_clean") for epoch in epochs),
        "findings": findings(run),
        "problems": by_kind(data.get("problems") or []),
        "differences": recipes.differences(recipe, recipes.Recipe()),
        "recipe_json": recipes.to_json(recipe),
        "environment": list(flat(run.environment)),
        "command": start.get("command") or f"eyesight train {place}",
        **judgement(known),
        **pictures(run, known),
    }


def judgement(known: Predictions | None) -> dict[str, Any]:
    """Figures and tables of labelled predictions; nothing of them without any."""
    if not known:
        return {"confusion": None, "calibration": None, "pairs": [], "rows": []}
    probabilities = known.probabilities
    labels = known.labels
    classes = readable(known.classes)
    return {
        "confusion": plots.confusion(metrics.confusion(probabilities, labels), classes),
        "calibration": plots.calibration(metrics.calibration(probabilities, labels)),
        "pairs": metrics.confused_pairs(probabilities, labels, classes),
        "rows": metrics.per_class(probabilities, labels, classes),
    }


def sentence(known: Predictions) -> str:
    """The accuracy as one would say it, and what guessing would have given."""
    right = int(metrics.correct(known.probabilities, known.labels).sum())
    n = len(known)
    share = np.bincount(known.labels).max() / n
    guess = f"Always naming the most frequent class would be right in {percent(float(share), 1)}."
    if right == n:
        return f"It made no mistake on {n:,} pictures that it had not seen before. {guess}"
    if right == 0:
        return (
            f"It was wrong about every one of {n:,} pictures that it had not seen before. {guess}"
        )
    often = (
        f"wrong about 1 in {round(n / (n - right)):,}"
        if 2 * right > n
        else f"right about only 1 in {round(n / right):,}"
    )
    return f"It was {often} of {n:,} pictures that it had not seen before. {guess}"


def cards(run: Run, test: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The figures beside the accuracy: name, value, remark; what the run does not tell is left out."""
    result = run.result
    environment = run.environment
    seconds = result.get("seconds") or {}
    best = (
        epoch["epoch"]
        for epoch in reversed(run.epochs)
        if epoch.get("best") or run.recipe.training.keep == "last"
    )
    kept = next(best, None)
    found = [
        ("parameters", _text(result.get("parameters"), "{:,}"), ""),
        (
            "training",
            _time(seconds.get("training")),
            f"{_time(seconds.get('total'))} in all" if seconds.get("total") else "",
        ),
        ("epochs", str(len(run.epochs) or ""), f"epoch {kept} kept" if kept else ""),
        ("macro-F1", _text(test.get("macro_f1"), "{:.4f}"), "every class counts alike"),
        ("top-5 accuracy", percent(test["top5"], 2) if test.get("top5") is not None else "", ""),
        ("test loss", _text(test.get("loss"), "{:.4f}"), "cross-entropy in nats")
        if "mse" not in test
        else ("", "", ""),
        ("mean squared error", _text(test.get("mse"), "{:.5f}"), "of values from 0 to 1"),
        ("structural similarity", _text(test.get("ssim"), "{:.4f}"), "1 is equal"),
        (
            "unfamiliar from",
            _text(test.get("unfamiliar_from"), "{:.4f}"),
            "the error that 99 % stay below",
        ),
        (
            "pixel accuracy",
            percent(test["pixel_accuracy"], 2) if test.get("pixel_accuracy") is not None else "",
            "",
        ),
        (
            "calibration error",
            percent(test["ece"], 1) if test.get("ece") is not None else "",
            "confidence against accuracy",
        ),
        (
            "device",
            _text(environment.get("device") or environment.get("cpu"), "{}"),
            _threads(environment),
        ),
    ]
    return [card for card in found if card[1]] + counts(run.data.get("counts"))


def stages(run: Run) -> list[tuple[str, ...]]:
    """What each stage of a staged training reached by itself: number, whether it was kept, what trained, epochs, time, score, loss."""
    how = run.settled.transfer
    begins = (how.freeze, how.thaw)
    words = {"all": "the head alone", "none": "everything"}
    best = (
        epoch.get("stage")
        for epoch in reversed(run.epochs)
        if epoch.get("best") or run.recipe.training.keep == "last"
    )
    kept = next(best, None)
    rows = list[tuple[str, ...]]()
    for found in run.result.get("stages") or ():
        part = "validation" if "validation_loss" in found else "train"
        begin = begins[found["stage"] - 1]
        score = run.measure.text(found[f"{part}_{run.measure.key}"])
        facts = (
            words.get(begin, f"from {begin} on"),
            f"{found['epochs']:,}",
            duration(found["seconds"]),
        )
        loss = f"{found[f'{part}_loss']:.4f}"
        rows.append(
            (str(found["stage"]), "kept" if found["stage"] == kept else "", *facts, score, loss)
        )
    return rows


def counts(found: Any) -> list[tuple[str, str, str]]:
    """A card with the number of pictures by split; a split's entry is a number, or numbers by class."""
    if not isinstance(found, dict):
        return []
    totals = {
        name: sum(part.values()) if isinstance(part, dict) else part for name, part in found.items()
    }
    totals = {name: total for name, total in totals.items() if isinstance(total, int)}
    value = f"{sum(totals.values()):,}"
    return (
        [("pictures", value, " · ".join(f"{total:,} {name}" for name, total in totals.items()))]
        if totals
        else []
    )


def pictures(run: Run, known: Predictions | None) -> dict[str, Any]:
    """The kept samples and the most costly mistakes as data URIs with their captions."""
    gallery = run.gallery()
    classes = readable(run.data.get("classes") or (known.classes if known else ()))
    if run.target == "mask":  # its samples have masks instead of a label
        return {"samples": [], "mistakes": [], "pixelated": _pixelated(gallery)}
    kept = zip(gallery.get("samples_pixels", ()), gallery.get("samples_labels", ()), strict=False)
    samples = [
        (picture(pixels), classes[label] if 0 <= label < len(classes) else "")
        for pixels, label in list(kept)[:SAMPLES]
    ]
    return {
        "samples": samples,
        "mistakes": list(mistakes(run, gallery)),
        "pixelated": _pixelated(gallery),
    }


def mistakes(run: Run, gallery: dict[str, npt.NDArray[Any]]) -> Iterable[dict[str, Any]]:
    """The kept mistakes; their indices count in the stored predictions, labelled or not."""
    if "mistakes_pixels" not in gallery or not (run.path / "predictions.npz").is_file():
        return
    predictions = run.predictions()
    classes = readable(predictions.classes)
    for pixels, index in list(
        zip(gallery["mistakes_pixels"], gallery["mistakes_index"], strict=False)
    )[:MISTAKES]:
        true = int(predictions.labels[index])
        said = int(predictions.predicted[index])
        yield {
            "source": picture(pixels),
            "id": predictions.ids[index],
            "true": classes[true],
            "said": classes[said],
            "sure": percent(predictions.probabilities[index, said], 1),
            "given": percent(predictions.probabilities[index, true], 1),
        }


def picture(pixels: npt.NDArray[np.uint8]) -> str:
    """Pixels C,H,W as a data URI, averaged down to at most 128 on a side."""
    step = -(-max(pixels.shape[1:]) // THUMBNAIL)
    if step > 1:
        channels, height, width = (pixels.shape[0], *(side // step for side in pixels.shape[1:]))
        blocks = pixels[:, : height * step, : width * step].reshape(
            channels, height, step, width, step
        )
        pixels = blocks.mean(axis=(2, 4)).round().astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(encode_png(pixels)).decode()


def findings(run: Run) -> list[dict[str, str]]:
    """What the doctor found: title, evidence, remedy, severity; nothing when it was not asked or its file is broken."""
    try:
        found = json.loads((run.path / "doctor.json").read_bytes())
    except (OSError, ValueError):
        return []
    found = found.get("findings", []) if isinstance(found, dict) else found
    keys = ("title", "evidence", "remedy", "severity")
    return [
        {key: str(finding.get(key, "")) for key in keys}
        for finding in found
        if isinstance(finding, dict)
    ]


def by_kind(problems: list[dict[str, Any]]) -> list[tuple[str, bool, list[dict[str, Any]]]]:
    """Problems in groups (kind, whether they were left out, problems), those left out first, then the most frequent."""
    groups: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for problem in problems:
        groups.setdefault((str(problem.get("kind", "")), bool(problem.get("fatal"))), []).append(
            problem
        )
    ordered = sorted(
        groups.items(), key=lambda group: (not group[0][1], -len(group[1]), group[0][0])
    )
    return [(kind, fatal, found) for (kind, fatal), found in ordered]


def flat(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested values as lines of name and text; what is unknown is left out."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key} ")
        elif value is not None:
            yield f"{prefix}{key}", str(value)


def date(text: str | None) -> str:
    """`2026-11-22T12:25:01+00:00` as `22 November 2026, 12:25`; empty when there is none."""
    try:
        when = datetime.fromisoformat(text or "")
    except ValueError:
        return ""
    return f"{when.day} {when:%B %Y, %H:%M}"


def _text(value: Any, form: str) -> str:
    return "" if value is None else form.format(value)


def _time(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)


def _threads(environment: dict[str, Any]) -> str:
    threads = environment.get("threads")
    return f"{threads} threads" if threads else ""


def _pixelated(gallery: dict[str, npt.NDArray[Any]]) -> bool:
    """Whether the pictures are so small that their pixels should be seen instead of blurred."""
    return any(
        len(array) and max(array.shape[2:]) <= 48
        for name, array in gallery.items()
        if name.endswith("_pixels")
    )
