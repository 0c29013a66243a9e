"""Train what is missing, several seeds each, and set all runs side by side in one table and on one page.

A training is a process of its own: one that crashes or runs out of memory is a row with its reason, and a budget counts from its start.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape as html_escape
from itertools import product
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from eyesight import recipe
from eyesight.comparison import plots, statistics, table
from eyesight.comparison.statistics import Row
from eyesight.data.loading import prepare_data
from eyesight.distributed import child
from eyesight.distributed.child import Outcome
from eyesight.errors import UserError
from eyesight.models import own, zoo
from eyesight.recipe import GROUPS, Recipe, override, same_training
from eyesight.report import html
from eyesight.runs import Run, is_run, list_runs, resolve
from eyesight.system.progress import Talk, silent

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Member:
    """One training of a comparison: `arguments` are those of `eyesight train` that make it; a given `run` is taken as it is."""

    name: str  # of its row
    recipe: Recipe
    arguments: tuple[str, ...] = ()
    run: Run | None = None

    def __str__(self) -> str:
        return self.name if self.run else f"{self.name}, seed {self.recipe.training.seed}"


@dataclass(frozen=True)
class Comparison:
    """The rows in the order given, and how many trainings ended well, were there already, or failed."""

    rows: list[Row]
    trained: int
    reused: int
    failed: int

    def __str__(self) -> str:
        return table.write(table.ordered(self.rows), "table")

    def _repr_html_(self) -> str:
        rows = list(csv.reader(io.StringIO(table.write(table.ordered(self.rows), "csv"))))
        lines = []
        for row in rows:
            lines.append("".join(f"<td>{html_escape(cell)}</td>" for cell in row))
        notes = "".join(f"<p>{html_escape(note)}</p>" for note in self.notes)
        return f"<table><tr>{'</tr><tr>'.join(lines)}</tr></table>{notes}"

    @property
    def notes(self) -> list[str]:
        """What one must know to read the table."""
        return statistics.notes(self.rows)

    def to_dict(self, sort: str = "accuracy") -> dict[str, Any]:
        """As plain JSON values, the rows ordered by a column."""
        counts = {"trained": self.trained, "reused": self.reused, "failed": self.failed}
        return {
            "rows": [row.to_dict() for row in table.ordered(self.rows, sort)],
            **counts,
            "notes": self.notes,
        }


Trainer = Callable[[Sequence[Member], Path], Iterator[tuple[Member, Outcome]]]


def compare(
    members: Sequence[Member],
    out: Path,
    *,
    train: Trainer,
    talk: Talk = silent,
    progress: Progress = lambda done, total: None,
) -> Comparison:
    """Train the members of which `out` holds no finished run, and rank them all; raises UserError when there are none.

    A finished run counts when its recipe is the same in every field and it learned from the pictures that are there now.
    """
    if not members:
        raise UserError("there is nothing to compare", "name recipes or runs", code=2)
    stores = prepare(
        [prepared(member.recipe) for member in members if not member.run], talk, progress
    )
    outcomes = {
        member: found for member in members if (found := at_hand(member, out, stores)) is not None
    }
    missing = [member for member in members if member not in outcomes]
    reused = sum(isinstance(found, Run) for found in outcomes.values())
    for member, outcome in report(train(missing, out), len(missing), talk):
        outcomes[member] = of_these_pictures(outcome, stores.get(prepared(member.recipe)))
    rows = [_row(name, group, outcomes) for name, group in grouped(members).items()]
    statistics.rank(rows)
    runs = sum(isinstance(found, Run) for found in outcomes.values())
    return Comparison(rows, runs - reused, reused, len(outcomes) - runs)


def of_these_pictures(outcome: Outcome, store: str | None) -> Outcome:
    """The outcome, or that it was trained where other pictures lie under the same name."""
    if isinstance(outcome, str) or statistics.same_pictures(outcome, store):
        return outcome
    return f"{outcome.path} learned from other pictures than are here: make them the same on every machine, or name a folder that all see"


BUSY = "another process is training it; ask again when it has finished"


def _row(name: str, members: Sequence[Member], outcomes: dict[Member, Outcome]) -> Row:
    found = [outcomes[member] for member in members]
    reasons = [outcome for outcome in found if isinstance(outcome, str)]
    return statistics.row(
        name,
        [outcome for outcome in found if isinstance(outcome, Run)],
        reasons,
        running=BUSY in reasons,
    )


def grouped(members: Iterable[Member]) -> dict[str, list[Member]]:
    """The members of each row by its name, in the order given, none twice."""
    groups: dict[str, list[Member]] = {}
    for member in dict.fromkeys(members):
        groups.setdefault(member.name, []).append(member)
    return groups


def members(
    names: Sequence[str],
    *,
    data: str | None = None,
    settings: Sequence[str] = (),
    seeds: int = 1,
    budget: str | None = None,
) -> list[Member]:
    """What `names` (recipes or folders of runs) stand for: each recipe in each variant of the settings with each seed.

    Raises UserError for unknown names and settings. Data, settings, seeds and budget do not touch runs.
    """
    if seeds < 1:
        raise UserError(f"--seeds is at least 1, not {seeds}", "--seeds 3, say", code=2)
    shared = [*settings, *[f"training.budget={budget}"] * (budget is not None)]
    found = []
    alone = sum(not is_run(name) for name in names) == 1
    runs = {name: Run.open(Path(name)) for name in names if is_run(name)}
    called = Counter([*(run.name for run in set(runs.values())), *(set(names) - set(runs))])
    for name in dict.fromkeys(names):
        if run := runs.get(name):
            found.append(
                Member(run.name if called[run.name] == 1 else str(run.path), run.recipe, run=run)
            )
            continue
        for chosen, label in variants(shared):
            made = resolve(name, *chosen, data=data)
            row = " ".join(part for part in ("" if alone and label else name, label) if part)
            found += [
                _seeded(row, name, made, chosen, data, made.training.seed + seed)
                for seed in range(seeds)
            ]
    return found


def members_of(
    recipe: Recipe,
    folder: str,
    data: str | None = None,
    settings: Sequence[str] = (),
    seeds: int = 1,
    budget: str | None = None,
) -> list[Member]:
    """As `members`, for a recipe that has no name and is kept in `folder`."""
    shared = list(settings)
    if budget is not None:
        shared.append(f"training.budget={budget}")
    made = []
    for chosen, label in variants(shared):
        changed = override(recipe, chosen)
        if data is not None:
            changed = replace(changed, data=replace(changed.data, source=data))
        row = " ".join(part for part in (recipe.name or recipe.model.name, label) if part)
        for seed in range(seeds):
            number = changed.training.seed + seed
            made.append(_seeded(row, folder, changed, chosen, data, number))
    return made


def _seeded(
    row: str, name: str, made: Recipe, settings: Sequence[str], data: str | None, seed: int
) -> Member:
    chosen = [f"--set={setting}" for setting in (*settings, f"training.seed={seed}")]
    arguments = (name, *chosen, *[f"--data={data}"] * (data is not None))
    return Member(row, replace(made, training=replace(made.training, seed=seed)), arguments)


def variants(settings: Sequence[str]) -> list[tuple[list[str], str]]:
    """The settings with one value for each field that was given several (`model.name=A,B`), and what tells them apart."""
    choices = [
        [(f"{path}={value}", path, value) for value in values]
        for path, values in map(_values, settings)
    ]
    several = {choice[0][1] for choice in choices if len(choice) > 1}
    return [
        (
            [text for text, _, _ in chosen],
            " ".join(_label(path, value) for _, path, value in chosen if path in several),
        )
        for chosen in product(*choices)
    ]


def _label(path: str, value: str) -> str:
    return value if path == "model.name" else f"{path}={value}"


def _values(setting: str) -> tuple[str, list[str]]:
    path, _, text = setting.partition("=")
    group, _, name = path.strip().partition(".")
    kinds = get_type_hints(type(getattr(Recipe(), group))) if group in GROUPS else {}
    listed = (
        name not in kinds or get_origin(kinds[name]) is tuple or path.strip() == "data.source"
    )  # there a comma belongs to the value
    values = (
        [text.strip()]
        if listed
        else [value.strip() for value in text.split(",") if value.strip()] or [""]
    )
    return path.strip(), values


def prepare(
    wanted: Iterable[recipe.Data], talk: Talk, progress: Progress
) -> dict[recipe.Data, str]:
    """The keys of the prepared pictures; prepared before any training begins, so that no member pays for the others.

    Data that cannot be opened has none: finished runs need none, and trainings will say what is wrong.
    """
    keys = {}
    for data in dict.fromkeys(wanted):
        try:
            keys[data] = prepare_data(data, talk=talk, progress=progress).store.key
        except (
            Exception
        ) as error:  # a file that crashes the decoder must not take the other rows with it
            talk(f"{data.source or 'no data'}: {error}")
    return keys


def prepared(wanted: Recipe) -> recipe.Data:
    """How the pictures of a recipe are prepared: pretrained networks have their own ways."""
    model = wanted.model
    if (
        model.weights is None
        and model.head is None
        and zoo.find(model.name) is None
        and model.name != "auto"
    ):
        return wanted.data
    from eyesight.training.transfer import resolve_preprocessing

    try:
        return resolve_preprocessing(wanted).data
    except UserError:  # training will say it again, in its row
        return wanted.data


def at_hand(member: Member, out: Path, stores: dict[recipe.Data, str]) -> Outcome | None:
    """The member's finished run, or why it cannot be trained now; None when it has to be trained."""
    if member.run:
        return member.run if member.run.status == "done" else f"the run {_state(member.run)}"
    status: dict[str, Run] = {}
    for run in reversed(list_runs(out)):
        if trained_as(run, member.recipe) and statistics.same_pictures(
            run, stores.get(prepared(member.recipe))
        ):
            status.setdefault(run.status, run)
    return status.get("done") or (BUSY if "running" in status else None)


def _state(run: Run) -> str:
    failure: dict[str, Any] = next(
        (event for event in reversed(run.log) if event.get("event") == "failed"), {}
    )
    return f"failed: {failure.get('message')}" if run.status == "failed" else f"is {run.status}"


def trained_as(run: Run, wanted: Recipe) -> bool:
    """Whether the run's recipe agrees in every field that decides a training."""
    try:
        if not own.is_same_code(wanted.model.name, run.environment):
            return False
        if wanted.model.weights is None:
            return same_training(run.recipe, wanted)
        from eyesight.training.resume import (
            trained_alike,
        )  # imports torch, which only files of weights need

        return trained_alike(run, wanted)
    except UserError:
        return False  # damaged, or from a later version


def report(
    outcomes: Iterable[tuple[Member, Outcome]], total: int, talk: Talk
) -> Iterator[tuple[Member, Outcome]]:
    """The same outcomes, with a line for each: which of how many, the result, the time left by the mean so far."""
    began = time.monotonic()
    for done, (member, outcome) in enumerate(outcomes, 1):
        spent = time.monotonic() - began
        left = f"; {html.duration(spent / done * (total - done))} left" if done < total else ""
        talk(f"[{done}/{total}] {member}: {_told(outcome)}{left}")
        yield member, outcome


def _told(outcome: Outcome) -> str:
    if isinstance(outcome, str):
        return f"failed: {outcome}"
    result = outcome.result
    score = result["test"].get(outcome.measure.key)
    seconds = (result.get("seconds") or {}).get("total")
    said = outcome.measure.text(score) if score is not None else "done"
    parts = [said, f"in {html.duration(seconds)}" if seconds else "", f"({outcome.path})"]
    return " ".join(part for part in parts if part)


def one_after_another(members: Sequence[Member], out: Path) -> Iterator[tuple[Member, Outcome]]:
    """Train each member in a process of its own, here; an unfinished run of the same recipe goes on where it was."""
    for member in members:
        yield member, child.train(member.arguments, out)


def folder(members: Sequence[Member], names: Sequence[str], out: Path) -> Path:
    """Where the page of this very comparison is kept: the same members, the same folder."""
    identity = "\n".join(
        sorted(
            f"{member.run.path if member.run else recipe.to_json(member.recipe)}"
            for member in members
        )
    )
    name = re.sub(r"[^\w.-]+", "-", "-".join(Path(name).name for name in names))[:60].strip("-.")
    told = hashlib.sha256(identity.encode(errors="backslashreplace")).hexdigest()[:6]
    return out / f"comparison-{name}-{told}"


def write(found: Comparison, place: Path, *, sort: str = "accuracy", command: str = "") -> Path:
    """Write index.html, table.csv, table.md, comparison.json and the figures into the folder `place`; the path of the page."""
    rows = table.ordered(found.rows, sort)
    html.write(table.comma_separated(rows) + "\n", place / "table.csv")
    html.write(table.markdown(rows) + "\n", place / "table.md")
    html.write(
        json.dumps(found.to_dict(sort), indent=2, ensure_ascii=False) + "\n",
        place / "comparison.json",
    )
    return html.write(page(rows, place, command), place / "index.html")


def page(rows: Sequence[Row], place: Path, command: str) -> str:
    """The page as HTML; it links to the reports of the runs beside it."""
    colours = plots.colours(rows)
    facts = {
        "rows": rows,
        "columns": list(zip(table.COLUMNS, table.titles(rows), strict=True)),
        "palette": colours,
        "sentence": sentence(rows),
        "notes": statistics.notes(rows),
        "links": {
            run.path: os.path.relpath(run.path / "report.html", place).replace(os.sep, "/")
            for row in rows
            for run in row.runs
        },
        "figures": plots.figures(rows, colours),
        "command": command,
    }
    return html.render("compare.html", facts)


def sentence(rows: Sequence[Row]) -> str:
    """Which is best, and what the test pictures cannot tell from it."""
    ranked = [row for row in table.ordered(rows) if row.rank]
    if not ranked or any(row.test for row in ranked):
        return ""
    best = ranked[0]
    assert best.score is not None, "only rows with an accuracy have a rank"
    if len(ranked) > 1 and not best.tied_with:
        return f"{best.name} is best with {best.measure.text(best.score.mean)}, and the difference to every other row is more than chance."
    others = ", ".join(best.tied_with)
    tie = f" The test pictures cannot tell it from {others}." if others else ""
    return f"{best.name} reached {best.measure.text(best.score.mean)}.{tie}"
