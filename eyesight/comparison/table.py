"""A comparison as text: for the terminal, as CSV with every figure unrounded, as Markdown.

The best rows come first, failures last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from eyesight.comparison.statistics import PARTS, Row
from eyesight.errors import UserError, unknown
from eyesight.results.scores import MEASURES
from eyesight.system.tables import csv_text, markdown_table, text_table

FORMATS = ("table", "csv", "markdown")
MISSING = "–"
LEFT = (0, 1)  # columns that are flush left: rank and name
UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))

Value: TypeAlias = float | str | tuple[str, int] | None


@dataclass(frozen=True)
class Column:
    """`value` sorts (None last), `text` is shown; `down` puts the greatest value first."""

    key: str
    title: str
    value: Callable[[Row], Value]
    text: Callable[[Row], str]
    down: bool = False

    def number(self, row: Row) -> float:
        """What a page sorts by; unknown values are the least."""
        value = self.value(row)
        if value is None:
            return -1.0
        if isinstance(value, tuple):
            letter, rank = value
            return 1000.0 * ord(letter or "A") + rank
        return float(value)


def _rank(row: Row) -> str:
    if row.rank is None:
        return ""
    tie = ""
    if row.tied_with:
        tie = "="
    return f"{row.test or ''}{row.rank}{tie}"


def _rank_value(row: Row) -> Value:
    if row.rank is None:
        return None
    return row.test or "", row.rank


def _score(row: Row) -> str:
    if row.score is None:
        return MISSING
    text = row.measure.number(row.score.mean)
    if row.score.sd is not None:
        text += f" ± {row.measure.number(row.score.sd)}"
    return text


def _score_value(row: Row) -> Value:
    if row.score is None:
        return None
    return row.score.mean


def _interval(row: Row) -> str:
    if row.score is None:
        return MISSING
    return " – ".join(row.measure.number(end) for end in row.score.interval)


def _interval_value(row: Row) -> Value:
    if row.score is None:
        return None
    return row.score.interval[0]


def _number(key: str, title: str, form: str, *, down: bool = False) -> Column:
    """A column of the row's attribute `key` in the format `form`."""
    return Column(
        key,
        title,
        lambda row: getattr(row, key),
        lambda row: shown(getattr(row, key), form),
        down=down,
    )


def _scaled(key: str, title: str) -> Column:
    """A column of a score in the unit of the row's measure."""

    def text(row: Row) -> str:
        value = getattr(row, key)
        if value is None:
            return MISSING
        return row.measure.number(value)

    return Column(key, title, lambda row: getattr(row, key), text, down=True)


def _count(key: str, title: str, unit: str = "") -> Column:
    """A column of a large number in three digits."""
    return Column(
        key, title, lambda row: getattr(row, key), lambda row: short(getattr(row, key), unit)
    )


def shown(value: float | None, form: str) -> str:
    """A number in a format, or a dash."""
    if value is None:
        return MISSING
    return format(value, form)


def short(value: float | None, unit: str = "") -> str:
    """A large number in three digits: 417 k, 24.1 M, 1.35 G."""
    if value is None:
        return MISSING
    for size, letter in UNITS:
        if value >= 0.9995 * size:
            scaled = value / size
            digits = 2
            if scaled >= 99.95:
                digits = 0
            elif scaled >= 9.995:
                digits = 1
            return f"{scaled:.{digits}f} {letter}{unit}"
    return f"{value:.0f} {unit}".strip()


def parts(row: Row) -> str:
    """The seconds by part, as `data 3.0 + features 40.2 + training 1.1 + evaluation 2.0`."""
    return " + ".join(f"{part} {row.parts[part]:,.1f}" for part in PARTS if row.parts.get(part))


COLUMNS = (
    Column("rank", "rank", _rank_value, _rank),
    Column("name", "name", lambda row: row.name, lambda row: row.name),
    _number("seeds", "seeds", "d", down=True),
    Column("accuracy", "accuracy %", _score_value, _score, down=True),
    Column("interval", "95 % interval", _interval_value, _interval, down=True),
    _number("macro_f1", "macro-F1", ".4f", down=True),
    _number("loss", "loss", ".4f"),
    _scaled("train_score", "training"),
    _number("train_loss", "training loss", ".4f"),
    _scaled("validation_score", "validation"),
    _number("validation_loss", "validation loss", ".4f"),
    _number("parameters", "parameters", ","),
    _count("multiply_adds", "multiply-adds"),
    _number("seconds", "seconds", ",.1f"),
    Column("parts", "of which", lambda row: row.seconds, parts),
    _number("pictures_per_second", "images/s trained", ",.0f", down=True),
    _count("bytes", "size", "B"),
)


def titles(rows: Sequence[Row]) -> list[str]:
    """The titles of the columns; the score has its own name where all rows have the same."""
    measures = {row.measure for row in rows if row.runs} or {MEASURES["class"]}
    title = "score"
    if len(measures) == 1:
        title = measures.pop().words
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


def _usage(kind: str, name: str, choices: Sequence[str]) -> UserError:
    error = unknown(kind, name, choices)
    error.code = 2
    return error


def ordered(rows: Sequence[Row], sort: str = "accuracy") -> list[Row]:
    """The rows by a column, the best first; unknown values and failures come last."""
    by = column(sort)
    sortable = [row for row in rows if row.runs and by.value(row) is not None]
    rest = [row for row in rows if row not in sortable]
    return sorted(sortable, key=by.value, reverse=by.down) + rest  # type: ignore[arg-type]


def write(rows: Sequence[Row], form: str) -> str:
    """The rows as "table", "csv" or "markdown"."""
    return {"table": terminal, "csv": comma_separated, "markdown": markdown}[form](rows)


def terminal(rows: Sequence[Row]) -> str:
    """Aligned columns; below them the reason of every row without, or with fewer, results."""
    table = text_table(titles(rows), map(_cells, rows), LEFT)
    reasons = [f"{row.name}: {row.status}: {row.reason}" for row in rows if row.reason]
    return "\n".join([table, *reasons])


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table; the reason of a row without results stands in its third column."""
    lines = []
    for row in rows:
        cells = _cells(row)
        if not row.runs:
            cells = [*cells[:2], f"{row.status}: {row.reason}", *[""] * (len(cells) - 3)]
        lines.append(cells)
    return markdown_table(titles(rows), lines, LEFT)


def _cells(row: Row) -> list[str]:
    return [column.text(row) for column in COLUMNS]


def comma_separated(rows: Sequence[Row]) -> str:
    """CSV with a header; shares from 0 to 1, nothing rounded, missing values empty."""
    records = [_record(row) for row in rows]
    header = list(_record(Row("", "done")))
    lines = [[record[key] for key in header] for record in records]
    return csv_text([header, *lines]).rstrip("\n")


HEAD = ("name", "status", "reason", "seeds", "rank", "test")


def _record(row: Row) -> dict[str, object]:
    """The columns of the CSV by name."""
    values = row.to_dict()
    record: dict[str, object] = {key: values.pop(key) for key in HEAD}
    for name in ("top1", "score", "parts", "tied_with", "runs"):
        del values[name]
    score = row.score
    low, high = score.interval if score else (None, None)
    record["accuracy"] = score and score.mean
    record["sd"] = score and score.sd
    record["low"] = low
    record["high"] = high
    record["interval_method"] = score and score.method
    for part in PARTS:
        record[f"seconds_{part}"] = row.parts.get(part)
    lists = {
        "tied_with": ";".join(row.tied_with),
        "runs": ";".join(str(run.path) for run in row.runs),
    }
    return {**record, **values, **lists}
