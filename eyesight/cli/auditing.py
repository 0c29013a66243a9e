"""The command that audits a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from eyesight.auditing.record import COPIES, NOT_SEARCHED, QUALITY, SERIES, SHORTCUTS
from eyesight.cli.options import AsJson, DataOrRun, Settings, app, say, show_json, waited
from eyesight.errors import UserError, listed

if TYPE_CHECKING:
    from eyesight.auditing.audit import Audit
    from eyesight.auditing.record import CopiedImage
    from eyesight.recipe import Data, Recipe

SHOWN = 20
AUTO = "auto"  # of train --corrections: what an audit suggests
AUDIT_SHARE = 1 / 3  # of a training's budget
Row = TypeVar("Row")


@app.command()
def audit(
    where: DataOrRun,
    settings: Settings = None,
    budget: Annotated[
        str, typer.Option(metavar="10m", help="time limit; what there was no time for is reported")
    ] = "10m",
    every: Annotated[
        bool,
        typer.Option("--all", help=("print the scores of all images, not only suspicious ones")),
    ] = False,
    suggested: Annotated[
        Path | None,
        typer.Option(
            "--corrections",
            metavar="FILE.csv",
            help="write the suggested corrections, for train --corrections",
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            "--groups",
            metavar="FILE.csv",
            help="write series of images as groups, for --set data.group_file=FILE.csv",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find wrong labels, near duplicates, outliers and shortcuts."""
    from eyesight.cli import console, options
    from eyesight.data import opening
    from eyesight.recipe import Recipe, override, seconds

    data: str | Data = where
    if settings:
        data = override(Recipe(), [f"data.source={where}", *settings]).data
    opening.check_exists(where)
    check_files(suggested, groups)
    limit = seconds(budget)
    console.talk(console.budget_line(limit, budget))
    console.talk("starting PyTorch")
    from eyesight.auditing import audit as auditing

    result = auditing.audit(data, budget=limit, started=options.STARTED, reporter=console.reporter)
    if waited() > limit:
        console.talk(f"the audit took {waited():.0f} s, over the budget of {limit:.0f} s")
    keep_record(result, where)
    if suggested is not None:
        rows = auditing.suggested_corrections(result)
        rows.write(suggested)
        console.talk(f"{len(rows):,} suggested corrections written to {suggested}")
    if groups is not None:
        console.talk(write_groups(result, groups))
    if as_json:
        show_json(result.to_dict(every=every))
        return
    for line in describe(result, every=every):
        say(line)


def write_groups(result: Audit, file: Path) -> str:
    """Write the series as groups, if there are any; a message about it."""
    from eyesight.data import group_file

    if SERIES in result.unfinished:
        return f"{file} not written: series were {NOT_SEARCHED}"
    if not result.series:
        return f"{file} not written: no series were found"
    group_file.write(file, [[one.id for one in group] for group in result.series])
    return f"{len(result.series):,} series written to {file}"


def check_files(suggested: Path | None, groups: Path | None) -> None:
    """Raise UserError if the files to write would replace the work of a person."""
    if suggested is not None:
        check_replaceable(suggested)
    if groups is not None:
        check_new(groups)


def check_replaceable(file: Path) -> None:
    """Raise UserError if `file` holds anything but suggestions of an earlier audit."""
    from eyesight.data.corrections import AUDIT, Corrections

    if not file.exists():
        return
    people = sorted({row.who for row in Corrections.read(file)} - {AUDIT})
    if people:
        raise UserError(
            f"{file} contains corrections by {listed(people, 3)}, which the suggestions would "
            "replace",
            "write the suggestions to another file",
        )


def check_new(file: Path) -> None:
    """Raise UserError if `file` exists: a person may have edited it."""
    if file.is_file():
        raise UserError(f"{file} already exists", "write to another file, or remove this one")


def keep_record(result: Audit, where: str) -> None:
    """Store the audit for `eyesight review`, and in the run and its report."""
    from eyesight.auditing import record
    from eyesight.cli import console
    from eyesight.report.report import update_report
    from eyesight.runs import Run

    kept = result.record()
    record.remember(kept)
    path = Path(where)
    if (path / "recipe.json").is_file():
        record.more_complete(record.of_run(path), kept).save(path / record.FILE)
        update_report(Run.open(path), console.talk)


@app.command()
def corrections(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE.csv...", help=("corrections of the same data set"))
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE.csv", help="where to write the merged corrections")
    ],
    as_json: AsJson = False,
) -> None:
    """Merge the corrections of several people. Conflicts are left out."""
    from eyesight.data.corrections import Conflict, Corrections

    check_new(out)
    merged = Corrections.read(files[0])
    conflicts: list[Conflict] = []
    for file in files[1:]:
        merged, disagreed = merged.merge(Corrections.read(file))
        conflicts += disagreed
    merged.write(out)
    if as_json:
        shown_conflicts = [[asdict(one.first), asdict(one.second)] for one in conflicts]
        show_json({"out": str(out), "corrections": len(merged), "conflicts": shown_conflicts})
    else:
        say(f"{len(merged):,} corrections in {out}")
        for conflict in conflicts:
            say(f"conflict, left out: {conflict}")
    if conflicts:
        raise typer.Exit(1)


def with_suggestions(recipe: Recipe, out: Path, processes: int | None) -> Recipe:
    """The recipe with the corrections suggested by an audit of its data, stored in `out`.

    Corrections by a person in the file beside the data take precedence.
    """
    from eyesight.auditing import audit as auditing
    from eyesight.cli import console
    from eyesight.data.corrections import SUFFIX, beside, corrections_for

    if processes is not None or "RANK" in os.environ:
        raise UserError(
            "--corrections auto works only with a single process",
            "write them first: eyesight audit DATA --corrections FILE.csv",
            code=2,
        )
    console.talk("auditing the data before training")
    budget = auditing.BUDGET
    if recipe.training.budget is not None:
        budget = AUDIT_SHARE * recipe.training.budget
    result = auditing.audit(recipe.data, budget=budget, reporter=console.reporter)
    suggested = auditing.suggested_corrections(result)
    asked = corrections_for(recipe.data.corrections, recipe.data.source)
    if asked is not None:
        suggested, _ = suggested.merge(asked[1])
    out.mkdir(parents=True, exist_ok=True)
    name = beside(recipe.data.source).name.removesuffix(SUFFIX)
    file = out / f"{name}.suggested{SUFFIX}"
    suggested.write(file)
    console.talk(f"{len(suggested):,} suggested corrections in {file}")
    return replace(recipe, data=replace(recipe.data, corrections=str(file)))


def describe(result: Audit, *, every: bool) -> list[str]:
    """The audit as printed lines."""
    share = result.share_wrong
    wrong = result.labels if every else result.wrong
    lines = [
        f"{result.data}: checked {len(result.labels):,} of {result.images:,} images with "
        f"{result.features}",
        f"about {share.value:.1%} of the labels are wrong "
        f"(95 % interval {share.low:.1%} to {share.high:.1%})",
        "",
        f"probably wrong labels: {len(result.wrong):,}",
    ]
    for label in shown(wrong, every=every):
        lines.append(f"  {label.score:.2f}  {label.id}: {label.given}, probably {label.suggested}")
    lines += rest(len(wrong), every=every)
    mixed = sum(len({one.label for one in group}) > 1 for group in result.copies)
    if mixed:
        groups = "1 group" if mixed == 1 else f"{mixed:,} groups"
        lines.append(
            f"  near duplicates with different labels: {groups} (see below); at least one label in "
            "each is probably wrong"
        )
    lines += ["", f"groups of near duplicates: {count(result, result.copies, COPIES)}"]
    for group in shown(result.copies, every=every):
        lines.append(f"  {kind_of_copies(group)}: {', '.join(one.id for one in group)}")
    lines += rest(len(result.copies), every=every)
    lines += series_lines(result, every=every)
    strangers = [stranger for stranger in result.unlike if stranger.alarm]
    lines += ["", f"outliers: {len(strangers):,}"]
    for stranger in shown(strangers, every=every):
        lines.append(f"  {stranger.score:.2f}  {stranger.id}")
    lines += rest(len(strangers), every=every)
    lines += ["", f"low-quality images: {count(result, result.quality, QUALITY)}"]
    for flaw in shown(result.quality, every=every):
        lines.append(f"  {flaw.kind}  {flaw.id}")
    lines += rest(len(result.quality), every=every)
    lines += shortcut_lines(result)
    return lines


def shortcut_lines(result: Audit) -> list[str]:
    """How well the classes are predicted without the content of the images."""
    lines = ["", "accuracy without the content of the images:"]
    if SHORTCUTS in result.unfinished:
        lines.append(f"  {NOT_SEARCHED}")
    for shortcut in result.shortcuts:
        guessing = f"chance {shortcut.guessing:.1%}"
        lines.append(f"  {shortcut.name}: {shortcut.accuracy:.1%} ({guessing})")
        if shortcut.alarm:
            classes = " and ".join(shortcut.classes)
            lines.append(f"    a network may learn this shortcut, above all for {classes}")
            lines.append(f"    see {', '.join(shortcut.examples)}")
    return lines


def count(result: Audit, rows: Sequence[object], part: str) -> str:
    """The number of findings of a part of the audit, and what was done of it."""
    done = result.unfinished.get(part)
    if done is None:
        return f"{len(rows):,}"
    return done if done == NOT_SEARCHED else f"{len(rows):,} ({done})"


def series_lines(result: Audit, *, every: bool) -> list[str]:
    """Series of images, and by how much groups inflate the accuracy of a random split."""
    lines = ["", f"series of images: {count(result, result.series, SERIES)}"]
    for group in shown(result.series, every=every):
        lines.append(f"  {len(group)}: {', '.join(one.id for one in group)}")
    lines += rest(len(result.series), every=every)
    optimism = result.optimism
    if optimism is not None:
        lines.append(
            f"accuracy of a classifier on the features: {optimism.random:.1%} with a random split, "
            f"{optimism.grouped:.1%} with each group in one split ({optimism.groups:,} groups of "
            f"{optimism.images:,} images, by {optimism.source})"
        )
    return lines


def shown(rows: Sequence[Row], *, every: bool) -> Sequence[Row]:
    """The rows to print."""
    return rows if every else rows[:SHOWN]


def rest(count: int, *, every: bool) -> list[str]:
    """A line about the rows that are not printed."""
    if every or count <= SHOWN:
        return []
    return [f"  and {count - SHOWN:,} more; print them with --all or --json"]


def kind_of_copies(group: tuple[CopiedImage, ...]) -> str:
    """Whether copies lie across splits, across classes or within one class."""
    splits = {one.split for one in group}
    if len(splits) > 1:
        return "across splits " + " and ".join(sorted(splits))
    names = {one.label for one in group}
    if len(names) > 1:
        return "across classes " + " and ".join(sorted(names))
    return "in one class"
