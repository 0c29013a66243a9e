"""Commands for training: recipes, show, data, augment, train, compare."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from eyesight.cli import options
from eyesight.cli.auditing import AUTO, with_suggestions
from eyesight.cli.options import (
    AsJson,
    Cores,
    DataPath,
    Fresh,
    Gpus,
    Memory,
    On,
    RecipeName,
    Settings,
    Strict,
    app,
    say,
    show_json,
    waited,
)
from eyesight.errors import UserError
from eyesight.results.records import Result, Summary, used_lines
from eyesight.results.scores import Measure

if TYPE_CHECKING:
    from eyesight.recipe import Recipe
    from eyesight.results.searching import SearchRecord
    from eyesight.runs import Run
    from eyesight.system.progress import Reporter
    from eyesight.views.corrections_effect import CorrectionsEffect


SEARCHED = "auto"  # the name of no recipe: the best is looked for


@app.command()
def recipes(as_json: AsJson = False) -> None:
    """List the recipes with their task and measured result."""
    from eyesight.recipes import RECIPES

    made = [build() for build in RECIPES.values()]
    if as_json:
        fields = ("name", "summary", "system", "source", "result")
        show_json(
            {"recipes": [{field: getattr(recipe, field) for field in fields} for recipe in made]}
        )
        return
    name_width = max(len(recipe.name) for recipe in made)
    id_width = max(len(recipe.system) for recipe in made)
    for recipe in made:
        result = f"; {recipe.result}" if recipe.result else ""
        line = f"{recipe.name:<{name_width}}  {recipe.system:<{id_width}}  "
        say(line + recipe.summary + result)


@app.command("show")
def show_(
    name: Annotated[
        str, typer.Argument(metavar="RECIPE|RUN|NETWORK", help="NETWORK: `eyesight models`")
    ] = "",
    data: DataPath = None,
    settings: Settings = None,
    line: Annotated[
        str,
        typer.Option(
            "--layers",
            metavar="LINE",
            help='count layers instead, such as "256x256x3 conv3x64/2 max2 fc10"',
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Print a recipe, and the layers of its network."""
    from eyesight.cli import show

    if bool(name) == bool(line):
        hint = 'eyesight show lenet5, or eyesight show --layers "28x28x1 conv5x6 max2"'
        both = ", not both" if name else ""
        raise UserError(f"show needs a recipe, a run, a network or --layers{both}", hint, code=2)
    if line:
        shown = show.sketched(line)
    elif show.is_network(name):
        show.refuse_settings(name, data, settings or ())
        shown = show.pretrained(name)
    else:
        shown = show.resolved(name, data, settings or ())
    if as_json:
        show_json(shown.values())
    else:
        say(shown.text())


@app.command("data")
def data_(
    where: Annotated[
        str, typer.Argument(metavar="DATA", help="a folder, CSV, .npz, archive or named set")
    ],
    settings: Settings = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Check a data set: classes, counts, sizes and problems."""
    from eyesight.cli import console
    from eyesight.data import opening, scan
    from eyesight.data.layout import Layout
    from eyesight.data.masks import pairs
    from eyesight.data.masks import scan as mask_scan
    from eyesight.recipe import Recipe, override

    data = override(Recipe(), [f"data.source={where}", *(settings or ())]).data
    names_target = any(setting.startswith("data.target=") for setting in settings or ())
    counter = console.reporter.counter("preparing images")
    result: scan.Scan | mask_scan.MaskScan
    if data.target == "mask" or (not names_target and pairs.is_masked(where)):
        result = mask_scan.scan_masks(data, console.talk, counter)
        text = mask_scan.describe(result)
    else:
        layout = Layout.of(data)
        source = opening.open_source(where, layout=layout, talk=console.talk)
        result = scan.scan(source, counter)
        text = scan.describe(result)
    if as_json:
        show_json(result.to_dict())
    else:
        say(text)
    if strict and any(problem.fatal for problem in result.problems):
        console.talk("bad files are listed above; repair or remove them, or leave out --strict")
        raise typer.Exit(1)


@app.command()
def augment(
    name: RecipeName,
    data: DataPath = None,
    settings: Settings = None,
    seed: Annotated[int | None, typer.Option(help="random seed of the augmentation")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE.png", help="where to write it")] = Path(
        "augmented.png"
    ),
    as_json: AsJson = False,
) -> None:
    """Preview the augmentation of a recipe on its training images."""
    from eyesight.cli import console
    from eyesight.runs import resolve
    from eyesight.views.augmentation import draw

    recipe = resolve(
        name, *settings or (), *[f"training.seed={seed}"] * (seed is not None), data=data
    )
    picture = str(
        draw(recipe, out, talk=console.talk, progress=console.reporter.counter("preparing images"))
    )
    if as_json:
        show_json({"picture": picture})
    else:
        say(picture)


@app.command()
def train(
    name: RecipeName,
    data: DataPath = None,
    settings: Settings = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="10m",
            help=("time limit for everything, such as 90s, 10m or 1h; a bare number is seconds"),
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="random seed of weights, order and augmentation")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder of runs")] = Path("runs"),
    fresh: Fresh = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="continue the newest unfinished run of this recipe")
    ] = False,
    strict: Strict = False,
    extra: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="more training images of the same classes; reports their effect",
        ),
    ] = None,
    corrections: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|auto|none",
            help=(
                "corrected labels; auto: suggestions of an audit; default: the file beside the data"
            ),
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="split each batch between N processes on this machine"
        ),
    ] = None,
    every: Annotated[
        int, typer.Option(min=0, metavar="N", help="print the loss of every Nth step")
    ] = 0,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=100,
            metavar="K",
            help=("train K folds, and a classifier that averages their predictions"),
        ),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="tensorboard|mlflow", help=("also write the run's log to TensorBoard or MLflow")
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a recipe; `auto` finds the best one for the time.

    Writes a run folder with the classifier, its predictions and a report. Also works with torchrun.
    """
    from eyesight.cli import console
    from eyesight.data import opening
    from eyesight.distributed.launch import several, silent
    from eyesight.runs import resolve
    from eyesight.system import cache

    given = {
        "training.budget": budget,
        "training.seed": seed,
        "data.extra": extra,
        "data.strict": "true" if strict else None,
        "data.corrections": corrections if corrections != AUTO else None,
    }
    own = [f"{path}={value}" for path, value in given.items() if value is not None]
    _check_track(track)
    _check_single(folds, {"--track": track, "--every": every or None})
    opening.check_data(data)
    if fresh:
        cache.start_fresh()
    if name == SEARCHED:
        refused = {"--folds": folds, "--processes": processes, "--extra": extra, "--track": track}
        refused["--every"] = str(every) if every else None
        if corrections == AUTO:
            refused["--corrections auto"] = corrections
        _train_auto(
            data, [*(settings or ()), *own], refused, Resuming(out, resume), as_json=as_json
        )
        return
    recipe = resolve(name, *settings or (), *own, data=data)
    _print_budget(recipe, budget)
    if corrections == AUTO:
        recipe = with_suggestions(recipe, out, processes)
    if folds is not None:
        _train_folds(recipe, folds, out, processes, as_json=as_json)
        return
    several(processes, console.talk)  # returns in the training process
    if not silent():
        console.talk("starting PyTorch")
    from eyesight.diagnosis import diagnose
    from eyesight.report.report import write_figures, write_report

    run = trained(recipe, out, resume, every, track)
    trained_in = waited()
    console.talk("drawing figures and writing the report")
    diagnose.diagnose(run, console.talk)
    write_figures(run)
    report = write_report(run)
    result = run.result
    if as_json:
        parts = {**parts_of(result, trained_in), "report": round(waited() - trained_in, 3)}
        facts: dict[str, Any] = {
            key: result[key]
            for key in (
                "parameters",
                "test",
                "test_one_view",
                "test_uncorrected",
                "validation",
                "stages",
                "own",
                "trained",
            )
            if key in result
        }
        facts |= effect_values(run)
        show_json(
            {
                "run": str(run.path),
                "report": str(report),
                "seconds": round(waited(), 3),
                "parts": parts,
                **facts,
            }
        )
        warn_if_over(waited(), run.recipe.training.budget)
        return
    _print_result(run, result, report)


def _print_budget(recipe: Recipe, given: str | None) -> None:
    """Print the budget in words; `given` is the option as the user wrote it."""
    from eyesight.cli import console
    from eyesight.distributed.launch import silent

    if recipe.training.budget is not None and not silent():
        console.talk(console.budget_line(recipe.training.budget, given))


def parts_of(result: Result, waited_for: float) -> dict[str, float]:
    """The seconds of each part of the training; empty if an earlier command did it."""
    seconds = dict(result["seconds"])
    if seconds.pop("total") > waited_for:
        return {}
    return seconds


def _check_track(track: str | None) -> None:
    """Raise UserError for a track that is unknown or not installed."""
    if track is None:
        return
    from eyesight.views.track import check_kind

    check_kind(track)


def _check_single(folds: int | None, given: Mapping[str, object]) -> None:
    """Raise UserError where --folds is given with an option of a single training."""
    for option, value in given.items():
        if folds is not None and value is not None:
            raise UserError(
                f"{option} works only with a single training",
                f"leave {option} or --folds out",
                code=2,
            )


class Resuming(NamedTuple):
    """Where runs are kept, and whether an unfinished one goes on."""

    out: Path
    resume: bool


def _train_auto(
    data: str | None,
    settings: list[str],
    refused: Mapping[str, object],
    place: Resuming,
    *,
    as_json: bool,
) -> None:
    """Search for the best recipe within the budget, train it, and print what was tried."""
    from eyesight.cli import console
    from eyesight.recipe import Recipe, override

    for option, value in refused.items():
        if value is not None:
            raise UserError(
                f"auto does not support {option}",
                "use it to train the chosen run again: eyesight train RUN",
                code=2,
            )
    budget = override(Recipe(), settings).training.budget
    if data is None or budget is None:
        raise UserError(
            "auto needs --data and --budget",
            "for example eyesight train auto --data FOLDER --budget 10m",
            code=2,
        )
    from eyesight.searching import search
    from eyesight.training.clock import Clock
    from eyesight.training.context import Context

    given = [one for one in settings if one.startswith("training.budget=")]
    console.talk(console.budget_line(budget, given[-1].partition("=")[2]))
    context = Context(console.reporter, Clock(options.STARTED), resume=place.resume, report=True)
    with console.reporter.bar():
        run = search.train_auto(data, settings, budget, place.out, context)
    print_search(run, as_json=as_json)


def print_search(run: Run, *, as_json: bool) -> None:
    """Write the report of a search's run, and print what was tried and the result."""
    from eyesight.cli import console
    from eyesight.diagnosis import diagnose
    from eyesight.report.report import write_figures, write_report
    from eyesight.views import joined

    diagnose.diagnose(run, console.talk)
    write_figures(run)
    report = write_report(run)
    record = joined.search(run)
    assert record is not None
    result = run.result
    if as_json:
        answer = {
            "run": str(run.path),
            "report": str(report),
            "seconds": round(waited(), 3),
            "test": result["test"],
        }
        show_json({**answer, "search": record.to_dict()})
        warn_if_over(waited(), run.recipe.training.budget)
        return
    for line in search_lines(record):
        say(line)
    _print_result(run, result, report)


def search_lines(record: SearchRecord) -> list[str]:
    """For people: what was tried, and how much of the best score may be luck."""
    lines = []
    for trial in record.trials:
        score = "failed" if trial.seconds else "–"
        if trial.score is not None:
            score = f"{trial.score:.2%}"
        reason = trial.dropped or "chosen"
        lines.append(f"{score:>7}  {trial.seconds:5.0f} s  {trial.name}: {reason}")
    luck = record.luck
    if luck is not None:
        lines.append(luck.sentence)
    return lines


def _print_result(run: Run, result: Result, report: Path) -> None:
    """Print the result and the time of a training."""
    from eyesight.training import extra_data

    say(f"test {run.measure.title} {judged(result['test'], run.measure)}")
    one_view = (result.get("test_one_view") or {}).get("top1")
    if one_view is not None:
        say(f"without averaging over views: {one_view:.2%}")
    if "test_uncorrected" in result:
        uncorrected = judged(result["test_uncorrected"], run.measure)
        say(f"with the uncorrected test labels: {uncorrected}")
    effect_lines = [line for one in effects_of([run]).values() for line in one.lines()]
    for line in [*effect_lines, *extra_data.lines(result), *used_lines(result)]:
        say(line)
    say(f"time    {time_taken(waited(), run.recipe.training.budget)}")
    say(f"run     {run.path}")
    say(f"report  {report}")


def warn_if_over(seconds: float, budget: float | None) -> None:
    """Tell on standard error that a training exceeded its budget."""
    from eyesight.cli import console

    if budget is not None and seconds > budget:
        console.talk(f"the training took {time_taken(seconds, budget)}")


def time_taken(seconds: float, budget: float | None) -> str:
    """The seconds of a training, and whether they exceed its budget."""
    text = f"{seconds:.1f} s"
    if budget is None or seconds <= budget:
        return text
    return f"{text}, over the budget of {budget:g} s: the machine is too slow or too busy for it"


def _train_folds(
    recipe: Recipe, count: int, out: Path, processes: int | None, *, as_json: bool
) -> None:
    """Train every fold, and print their joint result."""
    if processes is not None:
        raise UserError(
            "--folds works only with a single process", "leave --processes or --folds out", code=2
        )
    from eyesight.cli import console
    from eyesight.ensemble import folds
    from eyesight.report.report import write_figures, write_report
    from eyesight.views import joined

    run = folds.train_folds(recipe, count, out, console.reporter)
    write_figures(run)
    report = write_report(run)
    facts = joined.folds(run)
    assert facts is not None
    seconds = waited()
    if as_json:
        answer: dict[str, object] = {"run": str(run.path), "report": str(report)}
        answer["seconds"] = round(seconds, 3)
        show_json({**answer, **facts, "test": run.result["test"]})
        warn_if_over(seconds, recipe.training.budget)
        return
    for path, score in zip(facts["runs"], facts["scores"], strict=True):
        say(f"{score:.2%}  {path}")
    say(
        f"{facts['mean']:.2%} ± {100 * facts['sd']:.2f}  mean of {count} folds ± standard deviation"
    )
    say(f"out of fold {judged(facts['out_of_fold'], run.measure)}")
    if run.result["test"]["n"]:
        say(f"test with averaged predictions: {judged(run.result['test'], run.measure)}")
    say(f"time    {time_taken(seconds, recipe.training.budget)}")
    say(f"run     {run.path}")
    say(f"report  {report}")


def trained(
    recipe: Recipe, out: Path, resume: bool, every: int = 0, track: str | None = None
) -> Run:
    """Train in one or several processes and return the run; only the first process returns."""
    from eyesight import experiment
    from eyesight.cli import console
    from eyesight.diagnosis import diagnose
    from eyesight.distributed import group as distributed
    from eyesight.system.progress import Reporter
    from eyesight.training.clock import Clock
    from eyesight.training.context import Context

    try:
        with distributed.join() as group:
            reporter = Reporter()
            if group.first:
                reporter = tracked(console.reporter, track)
            context = Context(
                reporter, Clock(options.STARTED), group, resume, report=True, every=every
            )
            if group.first:
                with console.reporter.bar(), closing_track(reporter):
                    return experiment.run(recipe, out, context)
            experiment.run(recipe, out, context)
        sys.exit(0)
    except UserError as error:
        from eyesight.distributed.launch import silent

        if not silent():
            diagnose.diagnose_failed(error, out, console.talk)
        raise


def tracked(reporter: Reporter, track: str | None) -> Reporter:
    """A reporter that also writes to the track that was asked for."""
    from eyesight.views.track import TrackingReporter

    return reporter if track is None else TrackingReporter(reporter, track)


@contextmanager
def closing_track(reporter: Reporter) -> Iterator[None]:
    """Write the end of a training to its track, however the block ends."""
    from eyesight.views.track import TrackingReporter

    try:
        yield
    finally:
        if isinstance(reporter, TrackingReporter):
            reporter.close()


def judged(test: Summary, measure: Measure) -> str:
    """The score with its interval as text."""
    caseless = (
        f"; {test['top1_ignoring_case']:.2%} ignoring case" if "top1_ignoring_case" in test else ""
    )
    return measure.sentence(test) + caseless


def effect_values(run: Run) -> dict[str, dict[str, object]]:
    """The effect of corrections on a run as JSON values; empty without corrections."""
    effects = effects_of([run])
    return {"corrections": effects[run.name].to_dict()} if effects else {}


def effects_of(runs: list[Run]) -> dict[str, CorrectionsEffect]:
    """The effect of corrections on each run that used some, by run name."""
    from eyesight.views import corrections_effect

    effects = {}
    for run in runs:
        effect = corrections_effect.effect(run)
        if effect is not None:
            effects[run.name] = effect
    return effects


@app.command("compare")
def compare_(
    names: Annotated[
        list[str],
        typer.Argument(metavar="RECIPE|RUN...", help="recipes to train, and existing runs"),
    ],
    data: DataPath = None,
    settings: Settings = None,
    seeds: Annotated[
        int, typer.Option(help=("number of trainings per recipe, with seeds from 0"))
    ] = 1,
    budget: Annotated[
        str | None, typer.Option(metavar="10m", help="time limit of each training")
    ] = None,
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="folder of runs; finished runs are reused"),
    ] = Path("runs"),
    sort: Annotated[
        str, typer.Option(metavar="COLUMN", help="accuracy, loss, seconds, parameters …")
    ] = "accuracy",
    form: Annotated[str, typer.Option("--format", metavar="table|csv|markdown")] = "table",
    on: On = None,
    cores: Cores = 1,
    gpus: Gpus = 0.0,
    memory: Memory = 0.0,
    as_json: AsJson = False,
) -> None:
    """Train recipes where needed, and compare them in one table.

    `--set model.name=A,B` adds one row each. Repeat an interrupted call to continue.
    """
    from eyesight.cli import console
    from eyesight.comparison import compare, table
    from eyesight.data import opening

    table.check(sort, form)
    opening.check_data(data)
    train: compare.Trainer = compare.one_after_another
    if on is not None:
        from eyesight.cluster import ray_cluster

        ray_cluster.check(on)
        train = ray_cluster.trainer(on, ray_cluster.Share.of(cores, gpus, memory), console.talk)
    members = compare.members(names, data=data, settings=settings or (), seeds=seeds, budget=budget)
    comparison = compare.compare(
        members,
        out,
        train=train,
        talk=console.talk,
        progress=console.reporter.counter("preparing images"),
    )
    effects = effects_of([run for row in comparison.rows for run in row.runs])
    place = compare.folder(members, names, out)
    page = compare.write(
        comparison, place, sort=sort, command=shlex.join(["eyesight", *sys.argv[1:]])
    )
    if as_json:
        corrections = {name: one.to_dict() for name, one in effects.items()}
        show_json({**comparison.to_dict(sort), "page": str(page), "corrections": corrections})
    else:
        say(table.write(table.ordered(comparison.rows, sort), form))
        for name, one in effects.items():
            for line in one.lines():
                say(f"{name}: {line}")
        for note in [*comparison.notes, f"page: {page}"]:
            console.talk(note)
    if all(row.status == "failed" for row in comparison.rows):
        raise typer.Exit(1)
    if not any(row.runs for row in comparison.rows):
        raise typer.Exit(1)
