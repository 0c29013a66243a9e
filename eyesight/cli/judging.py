"""Commands for judging what was trained: evaluate, predict, doctor, report."""

from __future__ import annotations

import csv
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

if TYPE_CHECKING:
    from eyesight.inference.dense import Rendered
    from eyesight.inference.postal_code import FileCode
    from eyesight.inference.predict import AnyClassifier, FilePrediction
    from eyesight.results.any_task import Results
    from eyesight.results.predictions import Predictions
    from eyesight.runs import Run


@app.command()
def evaluate(run: RunPath, data: DataPath = None, as_json: AsJson = False) -> None:
    """Judge a run's classifier on its own test pictures, or on other labelled pictures."""
    from eyesight.cli import console
    from eyesight.results.predictions import Predictions
    from eyesight.runs import Run

    opened = Run.open(run)
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
        say(f"\n{'class':<{wide}}  pictures  recall  precision")
        for row in rows:
            recall, precision = _percent(row.recall), _percent(row.precision)
            say(f"{row.name:<{wide}}  {row.n:>8,}  {recall:>6}  {precision:>9}")
    for pair in pairs:
        say(f"{pair.true} taken for {pair.predicted}: {pair.count} ({pair.share:.1%})")


def _percent(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2%}"


def _show_figures(run: Run, data: str | None, summary: Summary, *, as_json: bool) -> None:
    """The figures of a run that gives images or masks."""
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
    pictures: Annotated[list[str], typer.Argument(metavar="PICTURE|FOLDER...")],
    top: Annotated[int, typer.Option(min=1, help="how many classes to name for each picture")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv|FOLDER",
            help="a table id,target; into a folder: numbered parts, or what was made of each",
        ),
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="write copies with names, masks or restored images drawn on them into it",
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="write pictures of where it looked into it (Grad-CAM)"),
    ] = None,
    sure: Annotated[
        str | None,
        typer.Option(
            metavar="95%",
            help="name all classes among which the right one is in 95 of 100 pictures",
        ),
    ] = None,
    unfamiliar: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="of an autoencoder, which says what is unlike the pictures it learnt",
        ),
    ] = None,
    weights: WeightsPath = None,
    only: Only = None,
    prepare: Annotated[
        str,
        typer.Option(
            metavar="digit", help="first fit and centre a written digit's ink as in MNIST"
        ),
    ] = "",
    views: Annotated[
        str,
        typer.Option(
            metavar="one|flip|shifts|flip_shifts",
            help="average over mirrored or moved versions of each picture",
        ),
    ] = "",
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="SAMPLE.csv",
            help="write --out in the order and columns of a competition's sample",
        ),
    ] = None,
    digits: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=40,
            metavar="N",
            help="read postal codes of N digits on photographs; 0: of any number",
        ),
    ] = None,
    on: On = None,
    cores: Cores = 1,
    gpus: Gpus = 0.0,
    memory: Memory = 0.0,
    as_json: AsJson = False,
) -> None:
    """Say what is on pictures, each prepared as in training; unreadable files are named."""
    from eyesight.inference import dense, predict

    competition.refuse_runs(pictures)
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
    """Say that an ONNX file is too old to be checked."""
    from eyesight.cli import console
    from eyesight.inference.onnx_classifier import note_on_checksum

    note = note_on_checksum(model)
    if note:
        console.talk(note)


@dataclass(frozen=True)
class Options:
    """The options of `predict` that are about its output."""

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
            f"in {100 * options.sure:g} of 100 pictures the right class is among those of the last "
            "column; other cameras, or classes in other shares than in training, break this promise"
        )
    _warn_unlike(predictions)
    _name_bad(predictions)


def _share(text: str | None) -> float | None:
    """`95%`, `95` or `0.95` as a share; raises UserError for what is none."""
    if text is None:
        return None
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = -1.0
    if value >= 1 or text.strip().endswith("%"):
        value /= 100
    if not 0 < value < 1:
        raise UserError(f"--sure is a share of the pictures, not {text}", "--sure 95%", code=2)
    return value


def _warn_unlike(predictions: Sequence[FilePrediction]) -> None:
    """One sentence about the images whose answers should not be relied on."""
    from eyesight.cli import console

    count = sum(bool(row.unlike) for row in predictions)
    if count:
        console.talk(
            f"{count} of {len(predictions)} pictures are unlike anything it learnt from: do not "
            "rely on these answers"
        )


def _read_codes(options: Options, classifier: AnyClassifier, digits: int) -> None:
    """Read postal codes and print them, those that should be checked marked."""
    from eyesight.inference import postal_code

    codes = list(postal_code.read_codes(classifier, options.pictures, digits or None))
    if options.as_json:
        show_json({"model": options.model, "codes": [code.to_dict() for code in codes]})
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["picture", "code", "check", "left out"])
        for item in codes:
            if not item.problem:
                check = "check" if item.doubtful else ""
                writer.writerow([item.path, item.code.text, check, len(item.code.left_out)])
    _name_bad(codes)


def _print_predictions(predictions: Sequence[FilePrediction], *, with_sets: bool) -> None:
    """A CSV line for each file that could be read."""
    from eyesight.inference.predict import csv_header, csv_row

    writer = csv.writer(sys.stdout, lineterminator="\n")
    header = csv_header(max((len(row.top) for row in predictions), default=0))
    if with_sets:
        header.append("set")
    writer.writerow(header)
    for prediction in predictions:
        if not prediction.problem:
            cells = csv_row(prediction)
            if with_sets:
                cells.append("; ".join(prediction.set or ()))
            if prediction.unlike:
                cells.append("unlike anything it learnt from")
            if prediction.unfamiliar:
                cells.append("unfamiliar")
            writer.writerow(cells)


def _refuse_for(target: str, **options: object) -> None:
    """Raise UserError for options that have a meaning for classes alone."""
    kind = {"picture": "restored picture", "mask": "mask"}[target]
    for name, value in options.items():
        if value:
            raise UserError(
                f"--{name} is about classes, and this network gives a {kind} for every picture",
                "--out DIR, --draw DIR",
                code=2,
            )


def _with_doubts(
    predictions: list[FilePrediction], run: Path, pictures: Sequence[str]
) -> list[FilePrediction]:
    """The predictions with what an autoencoder's run says of the images.

    Raises UserError for a run that is none of an autoencoder.
    """
    from eyesight.inference import dense, predict

    autoencoder = predict.load(run)
    usual = dense.usual_error(run)
    target = dense.target_of(autoencoder)
    if target != "picture" or usual is None:
        reason = "does not say which errors are usual"
        if target != "picture":
            reason = f"gives a {target} for a picture"
        raise UserError(
            f"{run} {reason}: --unfamiliar asks the run of an autoencoder",
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
        writer = csv.writer(sys.stdout, lineterminator="\n")
        for item in rendered:
            if not item.problem:
                writer.writerow(_cells(item))
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
    """Name the files that could not be read, and exit with 1 when there are any."""
    from eyesight.cli import console

    bad = [result for result in results if result.problem]
    for result in bad:
        console.talk(f"left out {result.path}: {result.problem}")
    if bad:
        console.talk(
            f"{len(bad)} of {len(results)} files could not be read; the others were answered"
        )
        raise typer.Exit(1)


@app.command("doctor")
def doctor_(
    name: RecipeName, data: DataPath = None, settings: Settings = None, as_json: AsJson = False
) -> None:
    """Say what is wrong with a training, and why: of a run, or of a recipe before it is run."""
    from eyesight.cli import console, show
    from eyesight.diagnosis import diagnose
    from eyesight.runs import Run, is_run, resolve

    recipe = resolve(name, *settings or (), data=data)
    run = None
    if is_run(name):
        run = Run.open(Path(name))
        pictures = diagnose.open_data(run.settle(recipe), console.talk)
        patient = diagnose.admit_run(run, pictures)
    else:
        pictures = diagnose.open_data(recipe, console.talk)
        network = show.describe(recipe, Path(name))
        shape = tuple(network["shape"])
        patient = diagnose.admit_recipe(recipe, pictures, shape, network["classes"])
    findings = diagnose.examine(patient)
    if run is not None:
        diagnose.keep(run, patient, findings)
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
    """Write the report of a run: one page that needs no network."""
    from eyesight.report.report import write_report
    from eyesight.runs import Run

    say(str(write_report(Run.open(run), out)))
