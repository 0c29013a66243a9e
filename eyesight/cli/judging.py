"""Commands for judging what was trained: evaluate, predict, doctor, report."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyesight.cli import bulk
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

if TYPE_CHECKING:
    from eyesight.inference.dense import Rendered
    from eyesight.inference.predict import Answer
    from eyesight.runs import Run


@app.command()
def evaluate(run: RunPath, data: DataPath = None, as_json: AsJson = False) -> None:
    """Judge a run's classifier on its own test pictures, or on other labelled pictures."""
    from eyesight.cli import console
    from eyesight.results import metrics
    from eyesight.runs import Run

    opened = Run.open(run)
    if data is None:
        predictions = opened.said("test")
    else:
        from eyesight import experiment

        predictions = experiment.evaluate(opened, data, talk=console.talk)
    if opened.target != "class":
        _say_figures(opened, data, predictions.summary(), as_json=as_json)
        return
    known = predictions.labelled()
    summary = predictions.summary()
    rows = metrics.per_class(known.probabilities, known.labels, known.classes)
    pairs = metrics.confused_pairs(known.probabilities, known.labels, known.classes)
    if as_json:
        show_json(
            {
                "run": str(opened.path),
                "data": data,
                **summary,
                "per_class": [vars(row) for row in rows],
                "confused": [vars(p) for p in pairs],
            }
        )
        return
    say(f"accuracy {judged(summary, opened.measure)}")
    if summary["n"]:
        say(
            f"macro-F1 {summary['macro_f1']:.4f}   loss {summary['loss']:.4f}   calibration error {summary['ece']:.4f}"
        )
        wide = max(len(row.name) for row in rows)
        say(f"\n{'class':<{wide}}  pictures  recall  precision")
        for row in rows:
            recall, precision = (
                f"{value:.2%}" if value is not None else "–"
                for value in (row.recall, row.precision)
            )
            say(f"{row.name:<{wide}}  {row.n:>8,}  {recall:>6}  {precision:>9}")
    for pair in pairs:
        say(f"{pair.true} taken for {pair.predicted}: {pair.count} ({pair.share:.1%})")


def _say_figures(run: Run, data: str | None, summary: dict[str, Any], *, as_json: bool) -> None:
    """The figures of a run that gives more than a class."""
    if as_json:
        show_json({"run": str(run.path), "data": data, **summary})
        return
    say(f"{run.measure.title} {judged(summary, run.measure)}")
    for name, value in summary.items():
        if isinstance(value, float) and name != run.measure.key:
            say(f"{name.replace('_', ' ')} {value:.5g}")
    each = summary.get("per_class_iou") or {}
    for name, value in sorted(each.items(), key=lambda pair: -1 if pair[1] is None else pair[1]):
        say(f"{name:<{max(map(len, each))}}  IoU {'–' if value is None else f'{value:.2%}'}")


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
            help="write copies with the names on them (or masks, or beside what was restored) into it",
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="write pictures of where it looked into it (Grad-CAM)"),
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
    on: On = None,
    cores: Cores = 1,
    gpus: Gpus = 0.0,
    memory: Memory = 0.0,
    as_json: AsJson = False,
) -> None:
    """Say what is on pictures, each prepared exactly as in training; bad files are named and passed over."""
    from eyesight.cli import console
    from eyesight.inference import dense, recognise

    if on is not None:
        bulk.refuse(draw=draw, explain=explain, unfamiliar=unfamiliar, weights=weights, only=only)
        bulk.on_cluster(
            Path(model), pictures, out, on, (cores, gpus, memory), top, prepare, as_json=as_json
        )
        return
    known = recognise.load(Path(model), weights, only)
    if (target := dense.target_of(known)) != "class":
        _refuse_for(target, top=top > 1, explain=explain, prepare=prepare, unfamiliar=unfamiliar)
        _show_rendered(
            model,
            dense.render(known, pictures, out, dense.usual_error(Path(model)), draw),
            as_json=as_json,
        )
        return
    if out is not None and (out.is_dir() or not out.suffix):
        bulk.refuse(draw=draw, explain=explain, unfamiliar=unfamiliar)
        bulk.one_by_one(
            Path(model), known, pictures, out, top, prepare, (weights, only), as_json=as_json
        )
        return
    answers = recognise.recognise(known, pictures, top, prepare)
    if unfamiliar is not None:
        found = _doubts(unfamiliar, pictures)
        answers = [
            replace(answer, anomaly=one.score, unfamiliar=one.unfamiliar)
            for answer, one in zip(answers, found, strict=True)
        ]
    bad = [answer for answer in answers if answer.problem]
    if draw is not None:
        recognise.draw(answers, draw)
    if explain is not None:
        recognise.look(known, answers, explain, prepare)
    if out is not None:
        recognise.write_table(answers, out)
        console.talk(f"{len(answers):,} rows in {out}")
    if as_json:
        show_json({"model": model, "predictions": [answer.to_dict() for answer in answers]})
    elif out is None:
        _say_answers(answers)
    _name_bad({answer.path: answer.problem for answer in bad}, len(answers))


def _say_answers(answers: Sequence[Answer]) -> None:
    """A line for each file that could be read."""
    from eyesight.inference.predict import heading, row

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(heading(max((len(answer.top) for answer in answers), default=0)))
    for answer in (answer for answer in answers if not answer.problem):
        writer.writerow([*row(answer), *["unfamiliar"] * bool(answer.unfamiliar)])


def _refuse_for(target: str, **options: Any) -> None:
    """Raise UserError for options that only classes have a meaning for."""
    for name in (name for name, value in options.items() if value):
        kind = {"picture": "restored picture", "mask": "mask"}[target]
        raise UserError(
            f"--{name} is about classes, and this network gives a {kind} for every picture",
            "--out DIR, --draw DIR",
            code=2,
        )


def _doubts(run: Path, pictures: Sequence[str]) -> list[Rendered]:
    """What an autoencoder makes of the pictures; raises UserError for a run that is none."""
    from eyesight.inference import dense, recognise

    known, usual = recognise.load(run), dense.usual_error(run)
    target = dense.target_of(known)
    if target != "picture" or usual is None:
        said = (
            f"gives a {target} for a picture"
            if target != "picture"
            else "does not say which errors are usual"
        )
        raise UserError(
            f"{run} {said}: --unfamiliar asks the run of an autoencoder",
            "eyesight train autoencoder --data DATA",
            code=2,
        )
    return dense.render(known, pictures, usual=usual)


def _show_rendered(model: str, made: Sequence[Rendered], *, as_json: bool) -> None:
    """What was made of pictures, for people or as JSON."""
    if as_json:
        show_json({"model": model, "predictions": [one.to_dict() for one in made]})
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        for one in (one for one in made if not one.problem):
            shares = [
                text for name, share in one.shares if share for text in (name, f"{share:.4f}")
            ]
            doubt = ["unfamiliar"] if one.unfamiliar else []
            writer.writerow(
                [one.path, *([f"{one.score:.6f}"] if one.score is not None else shares), *doubt]
            )
    _name_bad({one.path: one.problem for one in made if one.problem}, len(made))


def _name_bad(bad: dict[str, str], count: int) -> None:
    from eyesight.cli import console

    for path, problem in bad.items():
        console.talk(f"left out {path}: {problem}")
    if bad:
        console.talk(f"{len(bad)} of {count} files could not be read; the others were answered")
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
    run = Run.open(Path(name)) if is_run(name) else None
    pictures = diagnose.open_data(run.settle(recipe) if run else recipe, console.talk)
    if run is not None:
        patient = diagnose.admit_run(run, pictures)
    else:
        found = show.describe(recipe, Path(name))
        patient = diagnose.admit_recipe(recipe, pictures, tuple(found["shape"]), found["classes"])
    findings = diagnose.examine(patient)
    if run is not None:
        diagnose.keep(run, findings)
    if as_json:
        facts = {"run": None if run is None else str(run.path), "recipe": recipe.name}
        show_json(
            {
                **facts,
                "findings": [finding.to_dict() for finding in findings],
                "checked": diagnose.checked(),
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
