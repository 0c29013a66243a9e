"""Write a competition's submission in the order and columns of its sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyesight.data.formats.table_text import read_cells
from eyesight.errors import UserError, listed
from eyesight.inference.predict import FilePrediction
from eyesight.runs import Run, now
from eyesight.system.digest import sha256
from eyesight.system.files import whole_file
from eyesight.system.tables import csv_text

SHOWN = 5


@dataclass(frozen=True)
class Sample:
    """A sample submission: its header, its ids in order, and what its columns hold.

    `classes` are the indices of the probability columns' classes; empty for one column of
    targets, which are class numbers where `numbers` is true and class names otherwise.
    `unknown_target` is a target that is no class.
    """

    header: tuple[str, ...]
    ids: tuple[str, ...]
    classes: tuple[int, ...] = ()
    numbers: bool = False
    unknown_target: str = ""

    @property
    def holds(self) -> str:
        """The contents of the columns as text."""
        if self.classes:
            return f"probabilities of {len(self.classes)} classes"
        return (
            "class numbers, from 0 in the order of the classes" if self.numbers else "class names"
        )


def read_sample(path: Path, class_names: Sequence[str]) -> Sample:
    """The sample in a CSV file, for a classifier of these classes.

    Raises UserError where its columns are neither one target nor the classes.
    """
    rows = read_cells(path)
    header, body = rows[0].cells, rows[1:]
    if not body:
        raise UserError(
            f"{path} has no rows below its header", "use the competition's sample submission"
        )
    ids = tuple(row.cells[0] for row in body)
    if len(set(ids)) < len(ids):
        raise UserError(f"{path} lists an image twice", "use the competition's sample submission")
    if len(header) == 2:
        examples = {row.cells[1] for row in body if len(row.cells) > 1}
        numbers = not examples <= set(class_names) and all(cell.isdigit() for cell in examples)
        targets = {*map(str, range(len(class_names)))} if numbers else {*class_names}
        unknown = max(examples - targets, default="")
        return Sample(header, ids, numbers=numbers, unknown_target=unknown)
    return Sample(header, ids, _class_columns(path, header[1:], class_names))


def _class_columns(
    path: Path, columns: Sequence[str], class_names: Sequence[str]
) -> tuple[int, ...]:
    """The class of each column, by name or else by number."""
    by_name = {name.casefold(): index for index, name in enumerate(class_names)}
    by_number = {str(index): index for index in range(len(class_names))}
    for names in (by_name, by_number):
        classes = [names.get(column.casefold()) for column in columns]
        indices = [index for index in classes if index is not None]
        if len(indices) == len(columns) == len(class_names):
            return tuple(indices)
    raise UserError(
        f"the columns of {path} are not the {len(class_names)} classes: "
        f"{listed(list(columns), SHOWN)}",
        f"expected an id and one target, or an id and {listed(list(class_names), SHOWN)}",
    )


def in_order(sample: Sample, paths: Sequence[Path]) -> list[int]:
    """For each id of the sample the index of its image, by file name with or without extension.

    Raises UserError for ids without an image.
    """
    by_name = {path.stem: index for index, path in enumerate(paths)}
    by_name |= {path.name: index for index, path in enumerate(paths)}
    by_name |= {str(path): index for index, path in enumerate(paths)}
    missing = [name for name in sample.ids if name not in by_name]
    if missing:
        raise UserError(
            f"{len(missing):,} of {len(sample.ids):,} ids of the sample have no image: "
            f"{listed(missing, SHOWN)}",
            "predict all images of the competition's test set",
        )
    return [by_name[name] for name in sample.ids]


def targets(
    sample: Sample, probabilities: NDArray[np.float32], class_names: Sequence[str]
) -> list[list[str]]:
    """The cells beside each id; empty where an image could not be read (its row is NaN).

    `probabilities` are N,K in the order of the sample's ids.
    """
    rows = []
    for row in probabilities:
        if np.isnan(row).any():
            rows.append([""] * max(1, len(sample.classes)))
        elif sample.classes:
            rows.append([f"{row[index]:.6g}" for index in sample.classes])
        elif sample.numbers:
            rows.append([str(row.argmax())])
        else:
            rows.append([class_names[int(row.argmax())]])
    return rows


def probabilities_of(
    predictions: Sequence[FilePrediction], class_names: Sequence[str]
) -> NDArray[np.float32]:
    """Predictions that name all classes as probabilities N,K; NaN for unreadable images."""
    columns = {name: index for index, name in enumerate(class_names)}
    probabilities = np.full((len(predictions), len(class_names)), np.nan, dtype=np.float32)
    for row, prediction in enumerate(predictions):
        for name, probability in prediction.top:
            probabilities[row, columns[name]] = probability
    return probabilities


def write(
    path: Path,
    sample: Sample,
    probabilities: NDArray[np.float32],
    class_names: Sequence[str],
) -> None:
    """Write the submission; `probabilities` are N,K in the order of the sample's ids."""
    rows: list[Sequence[str]] = [sample.header]
    cells = targets(sample, probabilities, class_names)
    for name, row in zip(sample.ids, cells, strict=True):
        rows.append([name, *row])
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(csv_text(rows).encode())


def keep(run: Run, submission: Path, facts: dict[str, object]) -> Path:
    """Store a copy of a submission in its run, with its settings; returns the path."""
    folder = run.path / "submissions"
    folder.mkdir(exist_ok=True)
    number = len(list(folder.glob("*.csv"))) + 1
    name = f"{number:04d}-{submission.stem}"
    contents = submission.read_bytes()
    copy = folder / f"{name}.csv"
    with whole_file(copy) as file:
        file.write(contents)
    record = {
        "written_to": str(submission),
        "sha256": sha256(contents),
        "time": now(),
        **facts,
    }
    run.write_json(f"submissions/{name}.json", record)
    return copy
