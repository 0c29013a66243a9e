"""Commands that combine runs, or make them smaller: blend and distil."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyesight.cli import options
from eyesight.cli.options import AsJson, RunPath, Settings, app, say, show_json
from eyesight.cli.training import judged

if TYPE_CHECKING:
    from eyesight.results.blending import BlendRecord
    from eyesight.runs import Run


@app.command()
def blend(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="finished runs with the same split")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder of runs")] = Path("runs"),
    equal: Annotated[bool, typer.Option("--equal", help="give all runs the same weight")] = False,
    as_json: AsJson = False,
) -> None:
    """Combine runs into an ensemble. Validation images choose weights."""
    from eyesight.cli import console
    from eyesight.runs import Run

    opened = [Run.open(run) for run in runs]
    from eyesight.ensemble import blend as blending
    from eyesight.report.report import write_figures, write_report
    from eyesight.training.context import Context
    from eyesight.views import joined

    made = blending.join(opened, out, Context(console.reporter), equal=equal)
    write_figures(made)
    report = write_report(made)
    record = joined.blend(made)
    assert record is not None
    if as_json:
        result = made.result
        answer: dict[str, object] = {"run": str(made.path), "report": str(report)}
        answer |= {key: result[key] for key in ("test", "validation") if key in result}
        show_json(answer | record.to_dict())
        return
    for line in lines(made, record):
        say(line)
    say(f"report  {report}")


def lines(made: Run, record: BlendRecord) -> list[str]:
    """For people: the members with their weights, and what the blend gains."""
    texts = []
    for member in record.members:
        parts = [f"{member.weight:6.1%}  {member.name}"]
        if member.validation is not None:
            parts.append(f"validation {member.validation:.2%}")
        if member.test is not None:
            parts.append(f"test {member.test:.2%}")
        texts.append("  ".join(parts))
    if record.accuracy is not None:
        texts.append(
            f"the blend on the {record.images:,} images that chose the weights: "
            f"{record.accuracy:.2%}"
        )
    texts.append(f"test {made.measure.title} {judged(made.result['test'], made.measure)}")
    if record.gain is not None:
        texts.append(gain_line(record))
    texts.append(f"run     {made.path}")
    return texts


def gain_line(record: BlendRecord) -> str:
    """The gain over the best member, and whether it is significant."""
    gain = record.gain
    assert gain is not None
    sure = "significant" if gain.p < 0.05 else "not significant"
    return (
        f"against its best member, {Path(record.best).name}: {gain.points:+.2f} points on "
        f"{gain.images:,} {gain.origin} ({gain.only_blend} correct only by the blend, "
        f"{gain.only_best} only by the member; p = {gain.p:.2g}, {sure})"
    )


@app.command()
def distil(
    teacher: RunPath,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help=("recipe of the small network; by default one that suits the images"),
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="300kB", help="maximum size of the small network's float32 weights"),
    ] = None,
    latency: Annotated[
        str | None, typer.Option(metavar="2ms", help="maximum time of the small network per image")
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help=("additional unlabelled images, labelled by the teacher")
        ),
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(
            metavar="T", min=0.1, max=100, help="temperature of the teacher's probabilities"
        ),
    ] = 2.0,
    settings: Settings = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="10m", help="time limit for everything"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="random seed of weights, order and augmentation")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder of runs")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Train a small network on the predictions of a large one."""
    from eyesight.cli import console
    from eyesight.recipe import override
    from eyesight.runs import Run, resolve

    opened = Run.open(teacher)
    from eyesight.report.report import write_figures, write_report
    from eyesight.searching import distil as distilling
    from eyesight.training.clock import Clock
    from eyesight.training.context import Context
    from eyesight.views import joined

    limits = distilling.read_limits(size, latency)
    given = {"training.budget": budget, "training.seed": seed}
    own = [f"{path}={value}" for path, value in given.items() if value is not None]
    distilling.check_settings(settings or (), limits)
    distilling.check(opened)
    named = resolve(to) if to is not None else None
    student = named or distilling.suited_student(opened, console.reporter)
    student = override(student, [*(settings or ()), *own])
    if student.training.budget is not None:
        console.talk(console.budget_line(student.training.budget, budget))
    with console.reporter.bar():
        run = distilling.distil(
            opened,
            student,
            out,
            Context(console.reporter, Clock(options.STARTED), report=True),
            temperature=temperature,
            unlabelled=unlabelled,
            limits=limits,
        )
    write_figures(run)
    report = write_report(run)
    record = joined.distil(run)
    assert record is not None
    if as_json:
        answer: dict[str, object] = {"run": str(run.path), "report": str(report)}
        show_json({**answer, "test": run.result["test"], **record.to_dict()})
        return
    say(f"{'accuracy':>9}  {'kB':>9}  {'ms':>8}")
    for file in record.files:
        accuracy = "" if file.accuracy is None else f"{file.accuracy:.2%}"
        mark = "  chosen" if file.name == record.chosen else ""
        numbers = f"{accuracy:>9}  {file.bytes / 1000:9,.0f}  {file.milliseconds:8.2f}"
        say(f"{numbers}  {file.name}{mark}")
    say(f"run     {run.path}")
    say(f"report  {report}")
