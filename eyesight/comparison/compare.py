"""Train what is missing, several seeds each, and compare all runs in one table and on one page.

A training is a process of its own: one that crashes or runs out of memory becomes a row with its
reason, and a budget counts from its start.
"""

from __future__ import annotations

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
from typing import NamedTuple, TypeAlias, get_origin, get_type_hints

from eyesight import recipe
from eyesight.comparison import plots, statistics, table
from eyesight.comparison.statistics import Row
from eyesight.data.loading import prepare_data
from eyesight.distributed import child
from eyesight.distributed.child import Outcome
from eyesight.errors import UserError
from eyesight.models import own, zoo
from eyesight.recipe import GROUPS, Recipe, override, same_training
from eyesight.runs import Run, is_run, list_runs, resolve
from eyesight.system.digest import sha256
from eyesight.system.progress import Talk, silent
from eyesight.views import corrections_effect, html

Progress: TypeAlias = Callable[[int, int], None]
Stores: TypeAlias = dict[recipe.Data, str]  # the key of the prepared images, by how they are made
TEMPLATE = Path(__file__).parent / "templates" / "compare.html"
BUSY = "another process is training it; try again when it has finished"


@dataclass(frozen=True)
class Member:
    """One training of a comparison; a finished `run` is taken as it is."""

    name: str  # of its row
    recipe: Recipe
    arguments: tuple[str, ...] = ()  # of the `eyesight train` that makes it
    run: Run | None = None

    def __str__(self) -> str:
        if self.run:
            return self.name
        return f"{self.name}, seed {self.recipe.training.seed}"


@dataclass(frozen=True)
class Comparison:
    """The rows in the order given, and how many trainings were made, reused, or failed."""

    rows: list[Row]
    trained: int
    reused: int
    failed: int

    def __str__(self) -> str:
        return table.write(table.ordered(self.rows), "table")

    def _repr_html_(self) -> str:
        rows = table.ordered(self.rows)
        cells = [table.titles(rows)]
        for row in rows:
            cells.append([column.text(row) for column in table.COLUMNS])
        lines = []
        for line in cells:
            lines.append("".join(f"<td>{html_escape(cell)}</td>" for cell in line))
        notes = "".join(f"<p>{html_escape(note)}</p>" for note in self.notes)
        return f"<table><tr>{'</tr><tr>'.join(lines)}</tr></table>{notes}"

    @property
    def notes(self) -> list[str]:
        """What a reader of the table must know."""
        return statistics.notes(self.rows)

    def to_dict(self, sort: str = "accuracy") -> dict[str, object]:
        """As plain JSON values, the rows ordered by a column."""
        return {
            "rows": [row.to_dict() for row in table.ordered(self.rows, sort)],
            "trained": self.trained,
            "reused": self.reused,
            "failed": self.failed,
            "notes": self.notes,
        }


Trainer: TypeAlias = Callable[[Sequence[Member], Path], Iterator[tuple[Member, Outcome]]]


def compare(
    members: Sequence[Member],
    out: Path,
    *,
    train: Trainer,
    talk: Talk = silent,
    progress: Progress = lambda done, total: None,
) -> Comparison:
    """Train the members of which `out` holds no finished run, and rank them all.

    A finished run counts when its recipe is the same in every field and it learned from the images
    that are there now. Raises UserError without members.
    """
    if not members:
        raise UserError("there is nothing to compare", "name recipes or runs", code=2)
    to_train = [member for member in members if not member.run]
    stores = prepare([preparation(member.recipe) for member in to_train], talk, progress)
    outcomes: dict[Member, Outcome] = {}
    for member in members:
        outcome = at_hand(member, out, stores)
        if outcome is not None:
            outcomes[member] = outcome
    missing = [member for member in members if member not in outcomes]
    reused = _count_runs(outcomes)
    for member, outcome in report(train(missing, out), len(missing), talk):
        store = stores.get(preparation(member.recipe))
        outcomes[member] = of_these_pictures(outcome, store)
    rows = [_row(name, group, outcomes) for name, group in grouped(members).items()]
    statistics.rank(rows)
    runs = _count_runs(outcomes)
    return Comparison(rows, runs - reused, reused, len(outcomes) - runs)


def _count_runs(outcomes: dict[Member, Outcome]) -> int:
    return sum(isinstance(outcome, Run) for outcome in outcomes.values())


def of_these_pictures(outcome: Outcome, store: str | None) -> Outcome:
    """The outcome, or why it does not count: other images lie under the same name elsewhere."""
    if isinstance(outcome, str) or statistics.same_pictures(outcome, store):
        return outcome
    return (
        f"{outcome.path} was trained on other images than are here: use the same images on "
        "every machine, or a shared folder"
    )


def _row(name: str, members: Sequence[Member], outcomes: dict[Member, Outcome]) -> Row:
    runs = []
    reasons = []
    for member in members:
        outcome = outcomes[member]
        if isinstance(outcome, Run):
            runs.append(outcome)
        else:
            reasons.append(outcome)
    return statistics.row(name, runs, reasons, running=BUSY in reasons)


def grouped(members: Iterable[Member]) -> dict[str, list[Member]]:
    """The members of each row by its name, in the order given, without duplicates."""
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
    """The trainings that `names` (recipes or run folders) stand for.

    Each recipe in each variant of the settings with each seed; data, settings, seeds and budget do
    not touch runs. Raises UserError for unknown names and settings.
    """
    if seeds < 1:
        raise UserError(f"--seeds must be at least 1, not {seeds}", "for example --seeds 3", code=2)
    shared = list(settings)
    if budget is not None:
        shared.append(f"training.budget={budget}")
    runs = {name: Run.open(Path(name)) for name in names if is_run(name)}
    recipes = [name for name in dict.fromkeys(names) if name not in runs]
    titles = Counter([*(run.name for run in set(runs.values())), *recipes])
    made = []
    for name in dict.fromkeys(names):
        if name in runs:
            made.append(_member_of(runs[name], alone=titles[runs[name].name] == 1))
        else:
            made += _trainings(name, shared, seeds, data, alone=len(recipes) == 1)
    return made


def _member_of(run: Run, *, alone: bool) -> Member:
    """A finished run, called by its path where several have its name."""
    title = run.name
    if not alone:
        title = str(run.path)
    return Member(title, run.recipe, run=run)


def _trainings(
    name: str, settings: Sequence[str], seeds: int, data: str | None, *, alone: bool
) -> Iterator[Member]:
    """A recipe in each variant of the settings with each seed."""
    for variant in variants(settings):
        resolved = resolve(name, *variant.settings, data=data)
        title = variant.label
        if not alone or not title:
            title = f"{name} {variant.label}".strip()
        first = resolved.training.seed
        for seed in range(first, first + seeds):
            yield _seeded(title, name, resolved, variant.settings, data, seed)


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
    for variant in variants(shared):
        changed = override(recipe, variant.settings)
        if data is not None:
            changed = replace(changed, data=replace(changed.data, source=data))
        title = f"{recipe.name or recipe.model.name} {variant.label}".strip()
        first = changed.training.seed
        for seed in range(first, first + seeds):
            made.append(_seeded(title, folder, changed, variant.settings, data, seed))
    return made


def _seeded(
    title: str, name: str, resolved: Recipe, settings: Sequence[str], data: str | None, seed: int
) -> Member:
    arguments = [name]
    arguments += [f"--set={setting}" for setting in (*settings, f"training.seed={seed}")]
    if data is not None:
        arguments.append(f"--data={data}")
    training = replace(resolved.training, seed=seed)
    return Member(title, replace(resolved, training=training), tuple(arguments))


class Variant(NamedTuple):
    """Settings with one value for each field, and what tells them from the other variants."""

    settings: list[str]
    label: str


def variants(settings: Sequence[str]) -> list[Variant]:
    """Every combination of the values of fields that were given several (`model.name=A,B`)."""
    fields = [_values(setting) for setting in settings]
    made = []
    for values in product(*(values for _, values in fields)):
        chosen = []
        labels = []
        for (path, choices), value in zip(fields, values, strict=True):
            chosen.append(f"{path}={value}")
            if len(choices) > 1:
                labels.append(_label(path, value))
        made.append(Variant(chosen, " ".join(labels)))
    return made


def _label(path: str, value: str) -> str:
    if path == "model.name":
        return value
    return f"{path}={value}"


def _values(setting: str) -> tuple[str, list[str]]:
    """The path of a setting and its values, separated by commas unless these may be part of one."""
    path, _, text = setting.partition("=")
    path = path.strip()
    group, _, name = path.partition(".")
    kinds = {}
    if group in GROUPS:
        kinds = get_type_hints(type(getattr(Recipe(), group)))
    is_list = name not in kinds or get_origin(kinds[name]) is tuple
    if is_list or path == "data.source":
        return path, [text.strip()]
    values = [value.strip() for value in text.split(",")]
    return path, [value for value in values if value] or [""]


def prepare(preparations: Iterable[recipe.Data], talk: Talk, progress: Progress) -> Stores:
    """Prepare all images before any training begins, so that no member pays for the others.

    Data that cannot be opened has no key: finished runs need none, and trainings will say what is
    wrong.
    """
    keys: Stores = {}
    for data in dict.fromkeys(preparations):
        try:
            keys[data] = prepare_data(data, talk=talk, progress=progress).store.key
        except Exception as error:  # a file that crashes the decoder must not end the other rows
            talk(f"{data.source or 'no data'}: {error}")
    return keys


def preparation(member: Recipe) -> recipe.Data:
    """How a recipe prepares its images: pretrained networks have their own ways."""
    model = member.model
    is_plain = model.weights is None and model.head is None and model.name != "auto"
    if is_plain and zoo.find(model.name) is None:
        return member.data
    from eyesight.training.transfer import resolve_preprocessing

    try:
        return resolve_preprocessing(member).data
    except UserError:  # training will say it again, in its row
        return member.data


def at_hand(member: Member, out: Path, stores: Stores) -> Outcome | None:
    """The member's finished run, or why it cannot be trained now; None when it must be trained."""
    if member.run:
        if member.run.status == "done":
            return member.run
        return f"the run {_state(member.run)}"
    store = stores.get(preparation(member.recipe))
    by_status: dict[str, Run] = {}
    for run in reversed(list_runs(out)):
        if trained_as(run, member.recipe) and statistics.same_pictures(run, store):
            by_status.setdefault(run.status, run)
    if "done" in by_status:
        return by_status["done"]
    if "running" in by_status:
        return BUSY
    return None


def _state(run: Run) -> str:
    if run.status != "failed":
        return f"is {run.status}"
    failures = [event for event in run.log if event.get("event") == "failed"]
    return f"failed: {failures[-1].get('message')}"


def trained_as(run: Run, member: Recipe) -> bool:
    """Whether the run's recipe agrees in every field that decides a training."""
    try:
        if not own.is_same_code(member.model.name, run.environment):
            return False
        if member.model.weights is None:
            return same_training(run.recipe, member)
        from eyesight.training.resume import trained_alike  # imports torch, for files of weights

        return trained_alike(run, member)
    except UserError:
        return False  # damaged, or from a later version


def report(
    outcomes: Iterable[tuple[Member, Outcome]], total: int, talk: Talk
) -> Iterator[tuple[Member, Outcome]]:
    """Pass the outcomes on, with a line for each: its number, its result, the time left."""
    start = time.monotonic()
    for done, (member, outcome) in enumerate(outcomes, 1):
        mean = (time.monotonic() - start) / done
        line = f"[{done}/{total}] {member}: {_result(outcome)}"
        if done < total:
            line += f"; {html.duration(mean * (total - done))} left"
        talk(line)
        yield member, outcome


def _result(outcome: Outcome) -> str:
    if isinstance(outcome, str):
        return f"failed: {outcome}"
    result = outcome.result
    score = outcome.measure.of(result["test"])
    seconds = (result.get("seconds") or {}).get("total")
    words = "done"
    if score is not None:
        words = outcome.measure.text(score)
    if seconds:
        words += f" in {html.duration(seconds)}"
    return f"{words} ({outcome.path})"


def one_after_another(members: Sequence[Member], out: Path) -> Iterator[tuple[Member, Outcome]]:
    """Train each member here, in a process of its own; an unfinished run goes on where it was."""
    for member in members:
        yield member, child.train(member.arguments, out)


def folder(members: Sequence[Member], names: Sequence[str], out: Path) -> Path:
    """Where the page of this comparison is kept: the same members, the same folder."""
    identities = []
    for member in members:
        if member.run:
            identities.append(str(member.run.path))
        else:
            identities.append(recipe.to_json(member.recipe))
    identity = "\n".join(sorted(identities)).encode(errors="backslashreplace")
    digest = sha256(identity)[:6]
    name = re.sub(r"[^\w.-]+", "-", "-".join(Path(name).name for name in names))
    return out / f"comparison-{name[:60].strip('-.')}-{digest}"


def write(
    comparison: Comparison, place: Path, *, sort: str = "accuracy", command: str = ""
) -> Path:
    """Write page, tables, JSON and figures into the folder `place`; returns the page's path."""
    rows = table.ordered(comparison.rows, sort)
    values = json.dumps(comparison.to_dict(sort), indent=2, ensure_ascii=False)
    html.write(table.comma_separated(rows) + "\n", place / "table.csv")
    html.write(table.markdown(rows) + "\n", place / "table.md")
    html.write(values + "\n", place / "comparison.json")
    return html.write(page(rows, place, command), place / "index.html")


def page(rows: Sequence[Row], place: Path, command: str) -> str:
    """The page as HTML; it links to the reports of the runs beside it."""
    colours = plots.colours(rows)
    links = {}
    for row in rows:
        for run in row.runs:
            link = os.path.relpath(run.path / "report.html", place)
            links[run.path] = link.replace(os.sep, "/")
    values = {
        "rows": rows,
        "columns": list(zip(table.COLUMNS, table.titles(rows), strict=True)),
        "palette": colours,
        "sentence": sentence(rows),
        "notes": [*effect_lines(rows), *statistics.notes(rows)],
        "links": links,
        "figures": plots.figures(rows, colours),
        "command": command,
    }
    return html.render(TEMPLATE, values)


def effect_lines(rows: Sequence[Row]) -> list[str]:
    """What corrections of labels changed in each run that used some."""
    lines = []
    for run in [run for row in rows for run in row.runs]:
        effect = corrections_effect.effect(run)
        if effect is not None:
            lines += [f"{run.name}: {line}" for line in effect.lines()]
    return lines


def sentence(rows: Sequence[Row]) -> str:
    """Which row is best, and which ones the test images cannot tell from it."""
    ranked = [row for row in table.ordered(rows) if row.rank]
    if not ranked or any(row.test for row in ranked):
        return ""
    best = ranked[0]
    assert best.score is not None, "only rows with an accuracy have a rank"
    score = best.measure.text(best.score.mean)
    if best.tied_with:
        others = ", ".join(best.tied_with)
        return f"{best.name} reached {score}. The test images cannot distinguish it from {others}."
    if len(ranked) == 1:
        return f"{best.name} reached {score}."
    return f"{best.name} is best with {score}. Its difference to every other row is significant."
