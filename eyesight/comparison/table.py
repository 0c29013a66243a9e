"""A comparison as text: for the terminal, as CSV with every figure unrounded, as Markdown; best rows first, failures last."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from eyesight.comparison.statistics import Row
from eyesight.errors import UserError, unknown
from eyesight.results.scores import MEASURES

FORMATS = ("table", "csv", "markdown")


@dataclass(frozen=True)
class Column:
    """`value` sorts (None last), `text` is shown; `down` puts the greatest value first."""

    key: str
    title: str
    value: Callable[[Row], Any]
    text: Callable[[Row], str]
    down: bool = False

    def number(self, row: Row) -> float:
        """What a page sorts by; unknown values are the least."""
        value = self.value(row)
        if isinstance(value, tuple):
            value = 1000 * ord(value[0] or "A") + value[1]
        return -1.0 if value is None else float(value)


def _rank(row: Row) -> str:
    return "" if row.rank is None else f"{row.test or ''}{row.rank}{'=' if row.tied_with else ''}"


def _score(row: Row) -> str:
    if row.score is None:
        return "–"
    number = row.measure.number
    return number(row.score.mean) + (
        f" ± {number(row.score.sd)}" if row.score.sd is not None else ""
    )


def _interval(row: Row) -> str:
    return (
        "–"
        if row.score is None
        else " – ".join(row.measure.number(end) for end in row.score.interval)
    )


def shown(value: float | None, form: str) -> str:
    """A number in a format, or a dash."""
    return "–" if value is None else format(value, form)


def short(value: float | None, unit: str = "") -> str:
    """A large number in three digits: 417 k, 24.1 M, 1.35 G."""
    if value is None:
        return "–"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            scaled = value / size
            return (
                f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f} {letter}{unit}"
            )
    return f"{value:.0f} {unit}".strip()


COLUMNS = (
    Column("rank", "rank", lambda row: (row.test or "", row.rank) if row.rank else None, _rank),
    Column("name", "name", lambda row: row.name, lambda row: row.name),
    Column("seeds", "seeds", lambda row: row.seeds, lambda row: str(row.seeds), down=True),
    Column(
        "accuracy",
        "accuracy %",
        lambda row: row.score.mean if row.score else None,
        _score,
        down=True,
    ),
    Column(
        "interval",
        "95 % interval",
        lambda row: row.score.interval[0] if row.score else None,
        _interval,
        down=True,
    ),
    Column(
        "macro_f1",
        "macro-F1",
        lambda row: row.macro_f1,
        lambda row: shown(row.macro_f1, ".4f"),
        down=True,
    ),
    Column("loss", "loss", lambda row: row.loss, lambda row: shown(row.loss, ".4f")),
    Column(
        "parameters",
        "parameters",
        lambda row: row.parameters,
        lambda row: shown(row.parameters, ","),
    ),
    Column(
        "multiply_adds",
        "multiply-adds",
        lambda row: row.multiply_adds,
        lambda row: short(row.multiply_adds),
    ),
    Column("seconds", "seconds", lambda row: row.seconds, lambda row: shown(row.seconds, ",.1f")),
    Column(
        "pictures_per_second",
        "pictures/s",
        lambda row: row.pictures_per_second,
        lambda row: shown(row.pictures_per_second, ",.0f"),
        down=True,
    ),
    Column("bytes", "size", lambda row: row.bytes, lambda row: short(row.bytes, "B")),
)


def titles(rows: Sequence[Row]) -> list[str]:
    """The titles of the columns: the score is called what it is, where all rows have the same."""
    found = {row.measure for row in rows if row.runs} or {MEASURES["class"]}
    title = f"{found.pop().words}" if len(found) == 1 else "score"
    return [title if column.key == "accuracy" else column.title for column in COLUMNS]


def check(sort: str, form: str) -> None:
    """Raise UserError when there is no such column or format."""
    column(sort)
    if form not in FORMATS:
        raise _usage("format", form, FORMATS)


def column(key: str) -> Column:
    """The column called `key`; raises UserError naming the nearest one."""
    keys = [column.key for column in COLUMNS]
    key = key.replace("-", "_")
    if key not in keys:
        raise _usage("column", key, keys)
    return COLUMNS[keys.index(key)]


def _usage(kind: str, name: str, known: Sequence[str]) -> UserError:
    error = unknown(kind, name, known)
    error.code = 2
    return error


def ordered(rows: Sequence[Row], sort: str = "accuracy") -> list[Row]:
    """The rows by a column, the best first; what it does not know and what failed come last, in the order given."""
    by = column(sort)
    known = [row for row in rows if row.runs and by.value(row) is not None]
    return sorted(known, key=by.value, reverse=by.down) + [row for row in rows if row not in known]


def write(rows: Sequence[Row], form: str) -> str:
    """The rows as "table", "csv" or "markdown"."""
    return {"table": terminal, "csv": comma_separated, "markdown": markdown}[form](rows)


def terminal(rows: Sequence[Row]) -> str:
    """Aligned columns; a row without results says why."""
    table = [titles(rows)] + [[column.text(row) for column in COLUMNS] for row in rows]
    wide = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    lines = [_aligned(table[0], wide)]
    for row, cells in zip(rows, table[1:], strict=True):
        lines.append(
            _aligned(cells, wide)
            if row.runs
            else f"{_aligned(cells[:2], wide)}  {row.status}: {row.reason}"
        )
        lines += [f"{_aligned(['', ''], wide)}  {row.reason}"] * (row.status == "partial")
    return "\n".join(lines)


def _aligned(cells: Sequence[str], wide: Sequence[int]) -> str:
    return "  ".join(
        f"{cell:<{width}}" if place < 2 else f"{cell:>{width}}"
        for place, (cell, width) in enumerate(zip(cells, wide, strict=False))
    )


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = [titles(rows), ["---" if place < 2 else "---:" for place in range(len(COLUMNS))]]
    for row in rows:
        cells = [column.text(row) for column in COLUMNS]
        lines.append(
            cells
            if row.runs
            else [*cells[:2], f"{row.status}: {row.reason}", *[""] * (len(COLUMNS) - 3)]
        )
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
        for cells in lines
    )


def comma_separated(rows: Sequence[Row]) -> str:
    """CSV with a header; shares from 0 to 1, nothing rounded, missing values empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(_record(Row("", "done"))), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_record(row) for row in rows)
    return file.getvalue().rstrip("\n")


def _record(row: Row) -> dict[str, Any]:
    values = row.to_dict()
    score = values.pop("score") or {
        "mean": None,
        "sd": None,
        "interval": (None, None),
        "method": None,
    }
    low, high = score["interval"]
    record = {
        "accuracy": score["mean"],
        "sd": score["sd"],
        "low": low,
        "high": high,
        "interval_method": score["method"],
    }
    del values["top1"]
    return {
        **_head(values),
        **record,
        **{key: value for key, value in values.items() if key not in HEAD},
        **_lists(values),
    }


HEAD = ("name", "status", "reason", "seeds", "rank", "test")


def _head(values: dict[str, Any]) -> dict[str, Any]:
    """The columns that say which row it is."""
    return {key: values[key] for key in HEAD}


def _lists(values: dict[str, Any]) -> dict[str, str]:
    return {key: ";".join(values[key]) for key in ("tied_with", "runs")}
