"""The runs of a folder as rows of a table: read once while their files stay the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast, get_args

from eyesight.errors import UserError
from eyesight.results.records import Event, Result
from eyesight.results.scores import MEASURES
from eyesight.runs import Run, list_runs, target_of
from eyesight.web.i18n import Translator
from eyesight.web.schemas import RunRow

PAGE = 200  # rows of one page
ENDED = ("done", "failed", "damaged")
Column = Literal["time", "name", "recipe", "status", "score", "epochs", "seconds", "parameters"]
COLUMNS: tuple[Column, ...] = get_args(Column)


@dataclass(frozen=True)
class Selection:
    """Which rows a visitor asked for, in which order."""

    search: str = ""  # words that a row's name, recipe, status or date must hold
    status: str = ""
    sort: Column = "time"
    descending: bool = True
    page: int = 1


@dataclass(frozen=True)
class Table:
    """The rows of one page and the size of the whole."""

    rows: list[RunRow]
    total: int  # rows that match
    page: int
    pages: int


def select(folder: Path | None, selection: Selection) -> Table:
    """The rows of `folder` that match, sorted, one page of them."""
    runs = list_runs(folder) if folder else []
    rows = [row(run) for run in runs]
    words = selection.search.casefold().split()
    matching = [one for one in rows if matches(one, words, selection.status)]
    ordered = in_order(matching, selection.sort, descending=selection.descending)
    pages = max(1, -(-len(ordered) // PAGE))
    page = min(max(1, selection.page), pages)
    start = (page - 1) * PAGE
    return Table(ordered[start : start + PAGE], len(ordered), page, pages)


def matches(row: RunRow, words: Sequence[str], status: str) -> bool:
    """Whether a row holds every word and has the status, where one is asked for."""
    if status and row.status != status:
        return False
    text = " ".join([row.name, row.recipe, row.status, row.time or "", row.problem]).casefold()
    return all(word in text for word in words)


def in_order(rows: list[RunRow], column: Column, *, descending: bool) -> list[RunRow]:
    """Sorted by a column; rows without a value come last, equal rows keep their order."""
    if column == "time":
        return rows[::-1] if descending else rows

    def value(row: RunRow) -> float | str | tuple[str, float] | None:
        if column == "score":
            return None if row.value is None else (row.measure, row.value)
        cell: float | str | None = getattr(row, column)
        return cell

    with_value = [row for row in rows if value(row) is not None]
    without = [row for row in rows if value(row) is None]
    with_value.sort(key=value, reverse=descending)  # type: ignore[arg-type]
    return with_value + without


def row(run: Run) -> RunRow:
    """What a table says of a run; a damaged run says so in its row."""
    finished = latest(run)
    if finished.status in ENDED:
        return finished
    try:
        status = "running" if run.held else "interrupted"
    except OSError:
        status = "damaged"
    if status == "interrupted" and (ended := latest(run)).status in ENDED:
        return ended  # it ended between the two looks
    if status == "running" and not finished.time:
        status = "preparing"
    return finished.model_copy(update={"status": status})


def latest(run: Run) -> RunRow:
    """The row of a run by its files as they are now."""
    return read_row(
        run.path, tuple(stamp(run.path / name) for name in ("log.jsonl", "recipe.json"))
    )


def stamp(file: Path) -> tuple[int, int]:
    """Size and time of a file, which decide whether it is read again."""
    try:
        status = file.stat()
    except OSError:
        return (0, 0)
    return (status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=10_000)
def read_row(path: Path, stamps: tuple[tuple[int, int], ...]) -> RunRow:
    """The row of a run whose files have these stamps; a status of "" is for the moment to say."""
    run = Run(path)
    try:
        return build_row(run)
    except (UserError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        return RunRow(name=run.name, recipe="", status="damaged", problem=str(error))


def build_row(run: Run) -> RunRow:
    """The row from the recipe and the last events of the log."""
    recipe = run.read_json("recipe.json")
    measure = MEASURES[target_of(recipe)]
    log = run.last_events
    result = cast(Result, last_event(log, "done"))
    failure = last_event(log, "failed")
    epoch = last_event(log, "epoch")
    test = result.get("test") or {}
    value = measure.of(test)
    status = ended_as(log)
    progress = 0.0
    if result:
        progress = 1.0
    elif epoch:
        progress = float(epoch.get("progress") or 0.0)
    return RunRow(
        name=run.name,
        recipe=str(recipe.get("name", "")),
        status=status,
        measure=measure.title,
        value=value,
        top1=test.get("top1"),
        score=None if value is None else f"{measure.title} {measure.text(value)}",
        interval=test.get("interval"),
        seconds=(result.get("seconds") or {}).get("total"),
        parameters=result.get("parameters"),
        epochs=epoch.get("epoch", 0),
        progress=progress,
        time=log[0].get("time") if log else None,
        problem=str(failure.get("message", "")) if status == "failed" else "",
    )


def score_text(row: RunRow, t: Translator) -> str:
    """The score with its measure's name in the visitor's language; "" where there is none."""
    if row.value is None:
        return ""
    for measure in MEASURES.values():
        if measure.title == row.measure:
            title = t("measure." + measure.key)
            return f"{title} {measure.text(row.value)}"
    return row.score or ""


def last_event(log: Sequence[Event], kind: str) -> Event:
    """The last event of a kind; empty when there is none."""
    for event in reversed(log):
        if event.get("event") == kind:
            return event
    return {}


def ended_as(log: Sequence[Mapping[str, object]]) -> str:
    """ "done" or "failed" by the log's last word; "" for a training that has not ended."""
    for event in reversed(log):
        kind = event.get("event")
        if kind in ("done", "failed"):
            return str(kind)
        if kind == "start":
            break
    return ""
