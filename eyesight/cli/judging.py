"""Commands that use a trained classifier: evaluate, predict, doctor, report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyesight.cli import bulk, competition
from eyesight.cli.options import (
    AsJson,
    Cores,
    DataPath,
    Gpus,
    Memory,
    On,
    Only,
    RecipeName,
    RunPath,
    Settings,
    WeightsPath,
    app,
    say,
    show_json,
)
from eyesight.cli.training import judged
from eyesight.errors import UserError
from eyesight.results.records import Summary
from eyesight.system.tables import csv_text

if TYPE_CHECKING:
    from eyesight.inference.dense import Rendered
    from eyesight.inference.postal_code import FileCode
    from eyesight.inference.predict import AnyClassifier, FilePrediction
    from eyesight.results.any_task import Results
    from eyesight.results.predictions import Predictions
    from eyesight.runs import Run


@app.command()
def evaluate(run: RunPath, data: DataPath = None, as_json: AsJson = False) -> None:
    """Evaluate a classifier on its test images, or on others."""
    from eyesight.cli import console
    from eyesight.data import opening
    from eyesight.results.predictions import Predictions
    from eyesight.runs import Run

    opened = Run.open(run)
    opening.check_data(data)
    results: Results
    if data is None:
        results = opened.results("test")
    else:
        from eyesight import experiment

        results = experiment.evaluate(opened, data, talk=console.talk)
    if isinstance(results, Predictions):
        _show_accuracy(opened, data, results, as_json=as_json)
    else:
        _show_figures(opened, data, results.summary(), as_json=as_json)


def _show_accuracy(run: Run, data: str | None, predictions: Predictions, *, as_json: bool) -> None:
    """Accuracy, a table of the classes, and the most confused pairs."""
    from eyesight.results import metrics

    labelled = predictions.labelled()
    summary = predictions.summary()
    judgement = labelled.probabilities, labelled.labels, labelled.classes
    rows = metrics.per_class(*judgement)
    pairs = metrics.confused_pairs(*judgement)
    if as_json:
        values = {"run": str(run.path), "data": data, **summary}
        values["per_class"] = [vars(row) for row in rows]
        values["confused"] = [vars(pair) for pair in pairs]
        show_json(values)
        return
    say(f"accuracy {judged(summary, run.measure)}")
    if summary["n"]:
        say(
            f"macro-F1 {summary['macro_f1']:.4f}   loss {summary['loss']:.4f}   "
            f"calibration error {summary['ece']:.4f}"
        )
        wide = max(len(row.name) for row in rows)
        say(f"\n{'class':<{wide}}    images  recall  precision")
        for row in rows:
            recall, precision = _percent(row.recall), _percent(row.precision)
            say(f"{row.name:<{wide}}  {row.n:>8,}  {recall:>6}  {precision:>9}")
    for pair in pairs:
        say(f"{pair.true} predicted as {pair.predicted}: {pair.count} ({pair.share:.1%})")


def _percent(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2%}"


def _show_figures(run: Run, data: str | None, summary: Summary, *, as_json: bool) -> None:
    """The metrics of a run that predicts images or masks."""
    if as_json:
        show_json({"run": str(run.path), "data": data, **summary})
        return
    say(f"{run.measure.title} {judged(summary, run.measure)}")
    for name, value in summary.items():
        if isinstance(value, float) and name != run.measure.key:
            say(f"{name.replace('_', ' ')} {value:.5g}")
    classes = summary.get("per_class_iou") or {}
    wide = max(map(len, classes), default=0)

    def worst_first(name: str) -> float:
        value = classes[name]
        return -1 if value is None else value

    for name in sorted(classes, key=worst_first):
        say(f"{name:<{wide}}  IoU {_percent(classes[name])}")


@app.command()
def predict(
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN|MODEL|FILE.onnx",
            help="a run or classifier folder, a pretrained network, an exported file",
        ),
    ],
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE|FOLDER...",
            help="image files, folders of images, or tables that list images",
        ),
    ],
    top: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help=("number of most probable classes to print per image")
        ),
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv|FOLDER",
            help=(
                "write the predictions as a table id,target; in a folder: as numbered parts, or "
                "as masks or reconstructions"
            ),
        ),
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="write copies with class names, masks or reconstructions drawn on them",
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="write heatmaps of the relevant regions (Grad-CAM)"),
    ] = None,
    sure: Annotated[
        str | None,
        typer.Option(
            metavar="95%",
            help="also print a set of classes; for 95 of 100 images it contains the correct one",
        ),
    ] = None,
    unfamiliar: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="an autoencoder that flags images unlike its training images",
        ),
    ] = None,
    weights: WeightsPath = None,
    only: Only = None,
    prepare: Annotated[
        str,
        typer.Option(
            metavar="digit", help="scale and centre the ink of handwritten digits as in MNIST"
        ),
    ] = "",
    views: Annotated[
        str,
        typer.Option(
            metavar="one|flip|shifts|flip_shifts",
            help="average over flipped or shifted versions of each image",
        ),
    ] = "",
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="SAMPLE.csv",
            help="write --out with the order and columns of a sample submission",
        ),
    ] = None,
    digits: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=40,
            metavar="N",
            help="read postal codes of N digits in photographs; 0: any number",
        ),
    ] = None,
    on: On = None,
    cores: Cores = 1,
    gpus: Gpus = 0.0,
    memory: Memory = 0.0,
    as_json: AsJson = False,
) -> None:
    """Predict the classes of images, prepared as in training.

    Unreadable files are listed.
    """
    from eyesight.data import opening
    from eyesight.inference import dense, predict

    competition.refuse_runs(pictures)
    opening.check_pictures_exist(pictures)
    level = _share(sure)
    options = Options(model, pictures, top, out, draw, explain, unfamiliar, prepare, as_json, level)
    if on is not None:
        bulk.refuse(draw=draw, explain=explain, unfamiliar=unfamiliar, weights=weights, only=only)
        bulk.refuse(views=views, like=like)
        bulk.on_cluster(options.order(), on, (cores, gpus, memory))
        return
    classifier = competition.with_views(predict.load(model, weights, only), views)
    _tell_of_checksum(model)
    if digits is not None:
        bulk.refuse(out=out, draw=draw, explain=explain, unfamiliar=unfamiliar, like=like)
        _read_codes(options, classifier, digits)
        return
    target = dense.target_of(classifier)
    if target != "class":
        _refuse_for(target, top=top > 1, explain=explain, prepare=prepare, unfamiliar=unfamiliar)
        _refuse_for(target, views=views, like=like)
        usual = dense.usual_error(Path(model))
        rendered = dense.render(classifier, pictures, out, usual, draw)
        _show_rendered(model, rendered, as_json=as_json)
    elif like is not None:
        competition.refuse_with_sample(
            top=top > 1, draw=draw, explain=explain, unfamiliar=unfamiliar
        )
        request = competition.Request(model, pictures, like, out, views, prepare)
        competition.submit(request, classifier, as_json=as_json)
    elif out is not None and (out.is_dir() or not (out.suffix or out.exists())):
        bulk.refuse(draw=draw, explain=explain, unfamiliar=unfamiliar)
        bulk.in_this_process(options.order(), classifier, weights, only)
    else:
        _predict_few(options, classifier)


def _tell_of_checksum(model: str) -> None:
    """Print a note if an ONNX file has no checksum."""
    from eyesight.cli import console
    from eyesight.inference.onnx_classifier import note_on_checksum

    note = note_on_checksum(model)
    if note:
        console.talk(note)


@dataclass(frozen=True)
class Options:
    """The output options of `predict`."""

    model: str
    pictures: list[str]
    top: int
    out: Path | None
    draw: Path | None
    explain: Path | None
    unfamiliar: Path | None
    prepare: str
    as_json: bool
    sure: float | None

    def order(self) -> bulk.Order:
        """The same for predictions in numbered parts; raises UserError without a folder."""
        if self.out is None:
            raise bulk.no_folder()
        return bulk.Order(self.model, self.pictures, self.out, self.top, self.prepare, self.as_json)


def _predict_few(options: Options, classifier: AnyClassifier) -> None:
    """Predict and print, draw or write a table."""
    from eyesight.cli import console
    from eyesight.inference import predict
    from eyesight.results import conformal

    predictions = predict.predict_folders(
        classifier, options.pictures, options.top, options.prepare, options.sure
    )
    if options.unfamiliar is not None:
        predictions = _with_doubts(predictions, options.unfamiliar, options.pictures)
    if options.draw is not None:
        predict.draw_predictions(predictions, options.draw)
    if options.explain is not None:
        predict.draw_heatmaps(classifier, predictions, options.explain, options.prepare)
    if options.out is not None:
        predict.write_submission(predictions, options.out)
        console.talk(f"{len(predictions):,} rows in {options.out}")
    if options.as_json:
        rows = [prediction.to_dict() for prediction in predictions]
        level = options.sure or conformal.USUAL
        show_json({"model": options.model, "sure": level, "predictions": rows})
    elif options.out is None:
        _print_predictions(predictions, with_sets=options.sure is not None)
    if options.sure is not None:
        console.talk(
            f"for {100 * options.sure:g} of 100 images the last column contains the correct "
            "class; this does not hold for other cameras or other class frequencies than in "
            "training"
        )
    _warn_unlike(predictions, classifier)
    _name_bad(predictions)


def _share(text: str | None) -> float | None:
    """Parse `95%`, `95` or `0.95` as a fraction; raises UserError."""
    if text is None:
        return None
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = -1.0
    if value >= 1 or text.strip().endswith("%"):
        value /= 100
    if not 0 < value < 1:
        raise UserError(f"--sure must be a percentage, not {text}", "--sure 95%", code=2)
    return value


def _warn_unlike(predictions: Sequence[FilePrediction], classifier: AnyClassifier) -> None:
    """Print a warning about unreliable predictions, or that they cannot be detected."""
    from eyesight.cli import console

    readable = [row for row in predictions if not row.problem]
    if any(row.unlike is None for row in readable):
        reason = classifier.calibration.reason("unlike")
        because = f": {reason}" if reason else ""
        console.talk(f"this classifier cannot detect images unlike its training images{because}")
    count = sum(bool(row.unlike) for row in predictions)
    if count:
        console.talk(
            f"{count} of {len(predictions)} images are unlike the training images: do not rely "
            "on these predictions"
        )


def _read_codes(options: Options, classifier: AnyClassifier, digits: int) -> None:
    """Read and print postal codes; those to be checked are flagged."""
    from eyesight.inference import postal_code

    codes = list(postal_code.read_codes(classifier, options.pictures, digits or None))
    if options.as_json:
        show_json({"model": options.model, "codes": [code.to_dict() for code in codes]})
    else:
        rows: list[list[object]] = [["picture", "code", "check", "left out"]]
        for item in codes:
            if not item.problem:
                check = "check" if item.doubtful else ""
                rows.append([item.path, item.code.text, check, len(item.code.left_out)])
        sys.stdout.write(csv_text(rows))
    _name_bad(codes)


def _print_predictions(predictions: Sequence[FilePrediction], *, with_sets: bool) -> None:
    """Print a CSV line for each readable file."""
    from eyesight.inference.predict import csv_header, csv_row

    header = csv_header(max((len(row.top) for row in predictions), default=0))
    if with_sets:
        header.append("set")
    rows = [header]
    for prediction in predictions:
        if not prediction.problem:
            cells = csv_row(prediction)
            if with_sets:
                cells.append("; ".join(prediction.set or ()))
            if prediction.unlike:
                cells.append("unlike the training images")
            if prediction.unfamiliar:
                cells.append("unfamiliar")
            rows.append(cells)
    sys.stdout.write(csv_text(rows))


def _refuse_for(target: str, **options: object) -> None:
    """Raise UserError for options that apply only to classes."""
    kind = {"picture": "restored image", "mask": "mask"}[target]
    for name, value in options.items():
        if value:
            raise UserError(
                f"--{name} applies to classes, but this network predicts a {kind} for every image",
                "use --out DIR or --draw DIR",
                code=2,
            )


def _with_doubts(
    predictions: list[FilePrediction], run: Path, pictures: Sequence[str]
) -> list[FilePrediction]:
    """The predictions with the anomaly scores of an autoencoder.

    Raises UserError if the run is not an autoencoder.
    """
    from eyesight.inference import dense, predict

    autoencoder = predict.load(run)
    usual = dense.usual_error(run)
    target = dense.target_of(autoencoder)
    if target != "picture" or usual is None:
        reason = "has no limit for its errors"
        if target != "picture":
            reason = f"predicts a {target}"
        raise UserError(
            f"{run} {reason}: --unfamiliar needs the run of an autoencoder",
            "eyesight train autoencoder --data DATA",
            code=2,
        )
    rows = []
    restored = dense.render(autoencoder, pictures, usual=usual)
    for prediction, item in zip(predictions, restored, strict=True):
        rows.append(replace(prediction, anomaly=item.score, unfamiliar=item.unfamiliar))
    return rows


def _show_rendered(model: str, rendered: Sequence[Rendered], *, as_json: bool) -> None:
    """The figures of reconstructions or masks, for people or as JSON."""
    if as_json:
        show_json({"model": model, "predictions": [item.to_dict() for item in rendered]})
    else:
        rows = [_cells(item) for item in rendered if not item.problem]
        sys.stdout.write(csv_text(rows))
    _name_bad(rendered)


def _cells(item: Rendered) -> list[str]:
    """A reconstruction's error, or the classes in a mask with their areas."""
    cells = [item.path]
    if item.score is not None:
        cells.append(f"{item.score:.6f}")
    else:
        for name, share in item.shares:
            if share:
                cells += [name, f"{share:.4f}"]
    if item.unfamiliar:
        cells.append("unfamiliar")
    return cells


def _name_bad(
    results: Sequence[FilePrediction] | Sequence[Rendered] | Sequence[FileCode],
) -> None:
    """List unreadable files, and exit with code 1 if there are any."""
    from eyesight.cli import console

    bad = [result for result in results if result.problem]
    for result in bad:
        console.talk(f"left out {result.path}: {result.problem}")
    if bad:
        console.talk(
            f"{len(bad)} of {len(results)} files could not be read; the others were predicted"
        )
        raise typer.Exit(1)


@app.command("doctor")
def doctor_(
    name: RecipeName, data: DataPath = None, settings: Settings = None, as_json: AsJson = False
) -> None:
    """Diagnose a run, or a recipe before it is trained."""
    from eyesight.data import opening
    from eyesight.runs import Run, is_run, resolve

    recipe = resolve(name, *settings or (), data=data)
    opening.check_data(data)
    from eyesight.cli import console, show

    run = Run.open(Path(name)) if is_run(name) else None
    console.talk("starting PyTorch")
    from eyesight.diagnosis import diagnose
    from eyesight.report.report import update_report

    if run is not None:
        pictures = diagnose.open_data(run.settle(recipe), console.talk)
        patient = diagnose.admit_run(run, pictures)
    else:
        pictures = diagnose.open_data(recipe, console.talk)
        network = show.describe(recipe, Path(name))
        shape = tuple(network["shape"])
        patient = diagnose.admit_recipe(recipe, pictures, shape, network["classes"])
    console.talk("examining " + ", ".join(diagnose.evidence_words(patient)))
    findings = diagnose.examine(patient)
    if run is not None:
        diagnose.keep(run, patient, findings)
        update_report(run, console.talk)
    if as_json:
        show_json(
            {
                "run": None if run is None else str(run.path),
                "recipe": recipe.name,
                "findings": [finding.to_dict() for finding in findings],
                "checked": diagnose.checked(patient),
                "not_checked": diagnose.not_checked(patient),
            }
        )
        return
    say(diagnose.describe(patient, findings))


@app.command()
def report(
    run: RunPath,
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="where to write it")] = None,
) -> None:
    """Write the report of a run as a self-contained HTML page."""
    from eyesight.report.report import write_report
    from eyesight.runs import Run

    say(str(write_report(Run.open(run), out)))
