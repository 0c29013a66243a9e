"""The command line: data goes to standard output, talk to standard error; torch is imported only inside a command that needs it."""

from __future__ import annotations

import csv
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from eyesight.errors import UserError

STARTED = time.monotonic()
app = typer.Typer(
    name="eyesight",
    help="Turns a folder of pictures into a classifier that a person can trust, on the computer they have.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE|RUN", help="a recipe's name, or the folder of a run to repeat")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run")]
DataPath = Annotated[str | None, typer.Option("--data", metavar="DATA", help="a folder, CSV, .npz, archive or named set")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="K=V", help="change a field, e.g. optim.lr=0.02; repeatable")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")]
Strict = Annotated[bool, typer.Option("--strict", help="stop at bad files instead of leaving them out")]


def show_json(values: Any) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def say(text: str = "") -> None:
    """A line on standard output."""
    sys.stdout.write(text + "\n")


@app.command()
def recipes(as_json: AsJson = False) -> None:
    """List the recipes: name, what it trains, the measured result."""
    from eyesight.recipes import RECIPES

    made = [build() for build in RECIPES.values()]
    if as_json:
        fields = ("name", "summary", "system", "source", "result")
        show_json({"recipes": [{field: getattr(recipe, field) for field in fields} for recipe in made]})
        return
    wide = max(len(recipe.name) for recipe in made)
    for recipe in made:
        say(f"{recipe.name:<{wide}}  {recipe.summary}" + (f"; {recipe.result}" if recipe.result else ""))


@app.command()
def show(name: RecipeName, data: DataPath = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Print the resolved recipe and the table of its network's layers; nothing is trained."""
    from eyesight import recipe as recipe_module
    from eyesight.recipes import resolve
    from eyesight.show import describe, layer_table

    recipe = resolve(name, *settings or (), data=data)
    found = describe(recipe, Path(name), look=data is not None)
    if as_json:
        show_json({"recipe": recipe_module.to_dict(recipe), **found})
        return
    for path, value in recipe_module.differences(recipe, recipe_module.Recipe()).items():
        say(f"{path} = {value}")
    say()
    say(layer_table(found))


@app.command("data")
def data_(where: Annotated[str, typer.Argument(metavar="DATA")], strict: Strict = False, as_json: AsJson = False) -> None:
    """Check the health of a data set: classes, counts, sizes, and every problem by file name."""
    from eyesight import console
    from eyesight.data import scan, sources, store

    found = scan.scan(sources.open_source(where, talk=console.talk), console.Preparing())
    if as_json:
        show_json(found.to_dict())
    else:
        say(scan.describe(found))
    scan.check(found)
    if strict:
        store.refuse_problems(found.problems)


@app.command()
def train(
    name: RecipeName,
    data: DataPath = None,
    settings: Settings = None,
    budget: Annotated[str | None, typer.Option(metavar="10m", help="the time for everything; training ends when it is spent")] = None,
    seed: Annotated[int | None, typer.Option(help="decides weights, order and augmentation")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where run folders are kept")] = Path("runs"),
    resume: Annotated[bool, typer.Option("--resume", help="go on with the newest unfinished run of this recipe")] = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe; leaves a run folder with the classifier, its predictions and a report."""
    from eyesight import console
    from eyesight.recipes import resolve

    extra = [f"training.budget={budget}"] * (budget is not None) + [f"training.seed={seed}"] * (seed is not None)
    recipe = resolve(name, *settings or (), *extra, *["data.strict=true"] * strict, data=data)
    from eyesight import doctor, experiment
    from eyesight.report import write_report
    from eyesight.train import Clock, Meter

    meter, progress = Meter(), console.Preparing()
    clock, tell = Clock(STARTED), console.epoch_line
    try:
        with console.training(meter):
            run = experiment.train(recipe, out, resume=resume, clock=clock, meter=meter, talk=console.talk, tell=tell, progress=progress)
    except UserError:
        doctor.attend_failed(recipe, out, console.talk)
        raise
    doctor.attend(run, console.talk)
    report = write_report(run)
    result = run.result
    if as_json:
        parts = {part: spent for part, spent in result["seconds"].items() if part != "total"}
        facts = {key: result[key] for key in ("parameters", "test", "validation") if key in result}
        show_json({"run": str(run.path), "report": str(report), "seconds": result["seconds"]["total"], "parts": parts, **facts})
        return
    say(f"test accuracy {judged(result['test'])}")
    say(f"run     {run.path}")
    say(f"report  {report}")


def judged(test: dict[str, Any]) -> str:
    """Accuracy with its interval for people, from a metrics summary."""
    if test["top1"] is None:
        return "unknown: no labelled test pictures"
    low, high = test["interval"]
    return f"{test['top1']:.2%} (95 % interval {low:.2%} to {high:.2%}, n = {test['n']:,})"


@app.command("compare")
def compare_(
    names: Annotated[list[str], typer.Argument(metavar="RECIPE|RUN...", help="recipes to train, and runs taken as they are")],
    data: DataPath = None,
    settings: Settings = None,
    seeds: Annotated[int, typer.Option(help="trainings of each recipe, with seeds from 0")] = 1,
    budget: Annotated[str | None, typer.Option(metavar="10m", help="the time for each training")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where run folders are kept; finished ones are used again")] = Path("runs"),
    sort: Annotated[str, typer.Option(metavar="COLUMN", help="accuracy, loss, seconds, parameters …")] = "accuracy",
    form: Annotated[str, typer.Option("--format", metavar="table|csv|markdown")] = "table",
    as_json: AsJson = False,
) -> None:
    """Train what is missing and print one table; `--set model.name=A,B` makes a row of each, an interrupted call goes on."""
    from eyesight import compare, console, tables

    tables.check(sort, form)
    members = compare.members(names, data=data, settings=settings or (), seeds=seeds, budget=budget)
    found = compare.compare(members, out, train=compare.one_after_another, talk=console.talk, progress=console.Preparing())
    place = compare.folder(members, names, out)
    page = compare.write(found, place, sort=sort, command=shlex.join(["eyesight", *sys.argv[1:]]))
    if as_json:
        show_json({**found.to_dict(sort), "page": str(page)})
    else:
        say(tables.write(tables.ordered(found.rows, sort), form))
        for note in [*found.notes, f"page: {page}"]:
            console.talk(note)
    if not any(row.runs for row in found.rows):
        raise typer.Exit(1)


@app.command()
def evaluate(run: RunPath, data: DataPath = None, as_json: AsJson = False) -> None:
    """Judge a run's classifier on its own test pictures, or on other labelled pictures."""
    from eyesight import console, metrics
    from eyesight.runs import Run

    opened = Run.open(run)
    if data is None:
        predictions = opened.predictions("test")
    else:
        from eyesight import experiment

        predictions = experiment.evaluate(opened, data, talk=console.talk)
    known = predictions.labelled()
    summary = metrics.summary(predictions)
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
    say(f"accuracy {judged(summary)}")
    if summary["n"]:
        say(f"macro-F1 {summary['macro_f1']:.4f}   loss {summary['loss']:.4f}   calibration error {summary['ece']:.4f}")
        wide = max(len(row.name) for row in rows)
        say(f"\n{'class':<{wide}}  pictures  recall  precision")
        for row in rows:
            recall, precision = (f"{value:.2%}" if value is not None else "–" for value in (row.recall, row.precision))
            say(f"{row.name:<{wide}}  {row.n:>8,}  {recall:>6}  {precision:>9}")
    for pair in pairs:
        say(f"{pair.true} taken for {pair.predicted}: {pair.count} ({pair.share:.1%})")


@app.command()
def predict(
    model: Annotated[
        str, typer.Argument(metavar="RUN|MODEL|FILE.onnx", help="a run or classifier folder, a pretrained network, an exported file")
    ],
    pictures: Annotated[list[str], typer.Argument(metavar="PICTURE|FOLDER...")],
    top: Annotated[int, typer.Option(min=1, help="how many classes to name for each picture")] = 1,
    out: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="write a table id,target")] = None,
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="weights of a pretrained network, .safetensors or .pth")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is on pictures, each prepared exactly as in training; bad files are named and passed over."""
    from eyesight import console, recognise

    answers = recognise.recognise(Path(model), pictures, top, weights)
    bad = [answer for answer in answers if answer.problem]
    if out is not None:
        recognise.write_table(answers, out)
        console.talk(f"{len(answers):,} rows in {out}")
    if as_json:
        show_json({"model": model, "predictions": [answer.to_dict() for answer in answers]})
    elif out is None:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        for answer in answers:
            if not answer.problem:
                writer.writerow([answer.path, *(text for name, sure in answer.top for text in (name, f"{sure:.4f}"))])
    for answer in bad:
        console.talk(f"left out {answer.path}: {answer.problem}")
    if bad:
        raise UserError(f"{len(bad)} of {len(answers)} files could not be read", "they are named above; the others were answered")


@app.command("doctor")
def doctor_(name: RecipeName, data: DataPath = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Say what is wrong with a training, and why: of a run, or of a recipe before it is run."""
    from eyesight import console, doctor, show
    from eyesight.recipes import is_run, resolve
    from eyesight.runs import Run

    recipe = resolve(name, *settings or (), data=data)
    run = Run.open(Path(name)) if is_run(name) else None
    pictures = doctor.open_data(recipe, console.talk)
    if run is not None:
        patient = doctor.admit_run(run, pictures)
    else:
        found = show.describe(recipe, Path(name))
        patient = doctor.admit_recipe(recipe, pictures, tuple(found["shape"]), found["classes"])
    findings = doctor.examine(patient)
    if run is not None:
        doctor.keep(run, findings)
    if as_json:
        facts = {"run": None if run is None else str(run.path), "recipe": recipe.name}
        show_json({**facts, "findings": [finding.to_dict() for finding in findings], "checked": doctor.checked()})
        return
    say(doctor.describe(patient, findings))


@app.command()
def augment(
    name: RecipeName,
    data: DataPath = None,
    settings: Settings = None,
    seed: Annotated[int | None, typer.Option(help="decides the changes")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE.png", help="where to write it")] = Path("augmented.png"),
    as_json: AsJson = False,
) -> None:
    """Draw training pictures and what the recipe's augmentation makes of them."""
    from eyesight import console
    from eyesight.recipes import resolve
    from eyesight.viewer import draw

    recipe = resolve(name, *settings or (), *[f"training.seed={seed}"] * (seed is not None), data=data)
    picture = str(draw(recipe, out, talk=console.talk, progress=console.Preparing()))
    if as_json:
        show_json({"picture": picture})
    else:
        say(picture)


@app.command("models")
def models_(
    pattern: Annotated[str, typer.Argument(metavar="[PATTERN]", help="part of a name, or a pattern such as convnext*")] = "",
    measure: Annotated[bool, typer.Option("--measure", help="time a forward pass on every device that is here")] = False,
    as_json: AsJson = False,
) -> None:
    """List pretrained networks: size, multiply-adds, published accuracy, and which weights are at hand."""
    from eyesight import catalogue, console

    found = list(catalogue.rows(pattern, measure=measure, talk=console.talk))
    if as_json:
        show_json({"models": [row.to_dict() for row in found]})
    else:
        say(catalogue.table(found))


@app.command()
def export(
    run: RunPath,
    to: Annotated[str, typer.Option("--to", metavar="onnx", help="the format")] = "onnx",
    out: Annotated[Path | None, typer.Option(metavar="FILE.onnx", help="where to write it; RUN/export/ otherwise")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="also write FILE.int8.onnx, with 8-bit weights and activations")] = False,
    tolerance: Annotated[float, typer.Option(metavar="POINTS", help="accuracy that int8 may lose")] = 0.5,
    data: DataPath = None,
    as_json: AsJson = False,
) -> None:
    """Write a run's classifier as an ONNX file, kept only if it answers as the run does."""
    if to != "onnx":
        raise UserError(f"unknown format {to!r}", "known: onnx", code=2)
    from eyesight import console
    from eyesight import export as exporting
    from eyesight.runs import Run

    made = exporting.export_all(Run.open(run), out, data=data, int8=int8, tolerance=tolerance / 100, talk=console.talk)
    if as_json:
        show_json({"run": str(run), **made[0].to_dict(), "int8": made[1].to_dict() if int8 else None})
        return
    for one in made:
        say(exporting.describe(one))


@app.command()
def serve(
    what: Annotated[Path, typer.Argument(metavar="[RUN|RUNS|FILE.onnx]", help="the newest run of a folder otherwise")] = Path("runs"),
    host: Annotated[str, typer.Option(help="who can reach the server; this machine only otherwise")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one")] = 8000,
    token: Annotated[str | None, typer.Option(envvar="EYESIGHT_TOKEN", help="a password that every visitor must know")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
) -> None:
    """Answer over HTTP, and show the runs, until interrupted."""
    from eyesight import console
    from eyesight.web import server

    served, ready = server.find(what, console.talk), lambda url: typer.echo(f"listening on {url}")
    server.serve(served, host, port, token=token, open_page=open_page, talk=console.talk, ready=ready)


@app.command()
def report(run: RunPath, out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="where to write it")] = None) -> None:
    """Write the report of a run: one page that needs no network."""
    from eyesight.report import write_report
    from eyesight.runs import Run

    say(str(write_report(Run.open(run), out)))


def main() -> None:
    """Run the command line; errors for people are printed without a traceback."""
    wants_json = "--json" in sys.argv
    try:
        app()  # exits by itself: 2 for wrong usage, 130 when interrupted
    except SystemExit as end:
        if end.code == 130:
            sys.stderr.write(
                "\nstopped; `eyesight train … --resume` goes on from the last checkpoint, and so does a comparison asked for again\n"
            )
            sys.exit(1)
        raise
    except BrokenPipeError:
        sys.exit(1)
    except UserError as problem:
        from eyesight import console

        console.error(problem)
        if wants_json:
            show_json({"error": problem.message, "hint": problem.hint})
        sys.exit(problem.code)
