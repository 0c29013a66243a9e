"""Data that a Python program holds, written to a file so that its run can be used without it.

Arrays, PyTorch data sets and Hugging Face data sets become an `.npz` file or, where images differ
in size, PNG files with a table. The name is the SHA-256 of the contents: the same data is written
once.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from eyesight.data.inputs import Array, Image, read_inputs
from eyesight.data.prepare import Pixels, encode_png, from_array, read
from eyesight.errors import UserError
from eyesight.system.files import whole_file
from eyesight.system.tables import csv_text

NAMES = {2: ("x_train", "y_train"), 4: ("x_train", "y_train", "x_test", "y_test")}
SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "test": "test"}
EXPECTED = (
    "expected a path, (x_train, y_train, x_test, y_test), a torch Dataset of (image, label), "
    "(train, test) of these, or a Hugging Face data set"
)
IMAGE_COLUMNS = ("image", "img", "picture", "pixels")
LABEL_COLUMNS = ("label", "labels", "class", "target", "fine_label")


@runtime_checkable
class MapDataset(Protocol):
    """What a `torch.utils.data.Dataset` with random access has; an item is (image, label)."""

    def __getitem__(self, index: int, /) -> object:
        """One item."""

    def __len__(self) -> int:
        """The number of items."""


Arrays: TypeAlias = "Sequence[Array | Sequence[int] | Sequence[str]]"
OwnData: TypeAlias = "Arrays | MapDataset | Sequence[MapDataset] | Mapping[str, MapDataset]"
DataSource: TypeAlias = "str | Path | OwnData"


@dataclass
class Part:
    """The labelled images of one split."""

    images: list[Pixels]  # H,W or H,W,C
    labels: list[int | str]


def source_of(data: DataSource, folder: Path) -> str:
    """The path or name in `data`, or the path of a file in `folder` that holds the data.

    Raises UserError for what is no data set.
    """
    if isinstance(data, str | Path):
        return str(data)
    if _is_arrays(data):
        arrays = {}
        values = cast("Sequence[object]", data)
        for name, value in zip(NAMES[len(values)], values, strict=True):
            arrays[name] = _array(value)
        _check_lengths(arrays)
        return str(_write_arrays(arrays, folder))
    parts, classes = _parts(data)
    return str(_write_parts(parts, classes, folder))


def _is_arrays(data: object) -> bool:
    if not isinstance(data, tuple | list) or len(data) not in NAMES:
        return False
    return all(hasattr(value, "shape") for value in data[::2])


def _array(value: object) -> npt.NDArray[np.generic]:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value)


def _check_lengths(arrays: dict[str, npt.NDArray[np.generic]]) -> None:
    for split in ("train", "test"):
        images, labels = arrays.get(f"x_{split}"), arrays.get(f"y_{split}")
        if images is not None and labels is not None and len(images) != len(labels):
            raise UserError(
                f"x_{split} has {len(images):,} images but y_{split} has {len(labels):,} labels",
                "expected one label per image",
            )


def _write_arrays(arrays: dict[str, npt.NDArray[np.generic]], folder: Path) -> Path:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    path = folder / f"data-{digest.hexdigest()[:16]}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # the stubs take names for options
    return path


def _parts(data: object) -> tuple[dict[str, Part], tuple[str, ...]]:
    """The images of every split, and the names of the classes where the data set has them."""
    if isinstance(data, Mapping):
        splits = {SPLITS[name]: part for name, part in data.items() if name in SPLITS}
        if not splits:
            raise UserError(
                f"the data set has the parts {', '.join(map(str, data))}",
                f"expected {', '.join(SPLITS)}",
            )
    elif isinstance(data, tuple | list) and len(data) == 2:
        splits = {"train": data[0], "test": data[1]}
    else:
        splits = {"": data}
    parts = {}
    classes: tuple[str, ...] = ()
    for name, dataset in splits.items():
        parts[name], classes = _part(dataset)
    return parts, classes


def _part(dataset: object) -> tuple[Part, tuple[str, ...]]:
    if not isinstance(dataset, MapDataset):
        raise UserError(f"a {type(dataset).__name__} is not a data set", EXPECTED)
    part = Part([], [])
    for number, (image, label) in enumerate(_items(dataset)):
        part.images.append(_image(image, number))
        part.labels.append(label if isinstance(label, str) else int(cast("int", label)))
    return part, _class_names(dataset)


def _items(dataset: MapDataset) -> Iterator[tuple[object, object]]:
    """(image, label) of every item, by the columns of a Hugging Face data set or by position."""
    columns = _columns(dataset)
    for index in range(len(dataset)):
        item = dataset[index]
        if columns and isinstance(item, Mapping):
            yield item[columns[0]], item[columns[1]]
        elif isinstance(item, tuple | list) and len(item) == 2:
            yield item[0], item[1]
        else:
            raise UserError(
                f"item {index} of the data set is a {type(item).__name__}",
                "expected (image, label), or a dictionary with the keys image and label",
            )


def _columns(dataset: object) -> tuple[str, str] | None:
    names = getattr(dataset, "column_names", None)
    if names is None:
        return None
    image = next((name for name in IMAGE_COLUMNS if name in names), None)
    label = next((name for name in LABEL_COLUMNS if name in names), None)
    if image is None or label is None:
        raise UserError(
            f"the data set has the columns {', '.join(names)}",
            "rename them: dataset.rename_columns({'IMAGES': 'image', 'LABELS': 'label'})",
        )
    return image, label


def _class_names(dataset: object) -> tuple[str, ...]:
    columns = _columns(dataset)
    if columns is not None:
        feature = getattr(dataset, "features", {}).get(columns[1])
        return tuple(getattr(feature, "names", None) or ())
    return tuple(str(name) for name in getattr(dataset, "classes", ()))


def _image(image: object, number: int) -> Pixels:
    content = next(read_inputs([cast("Image", image)])).content
    if isinstance(content, bytes):
        return np.asarray(read(content).image)
    return np.asarray(from_array(content))


def _write_parts(parts: dict[str, Part], classes: tuple[str, ...], folder: Path) -> Path:
    shapes = {image.shape for part in parts.values() for image in part.images}
    if not shapes:
        raise UserError("the data set is empty", "expected at least a few images of two classes")
    if len(shapes) > 1:
        return _write_files(parts, classes, folder)
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for name, part in parts.items():
        images, labels = "images", "labels"
        if name:
            images, labels = f"x_{name}", f"y_{name}"
        arrays[images] = np.stack(part.images)
        arrays[labels] = np.array(part.labels)
    if classes:
        arrays["classes"] = np.array(classes)
    return _write_arrays(arrays, folder)


def _write_files(parts: dict[str, Part], classes: tuple[str, ...], folder: Path) -> Path:
    """PNG files and a table of paths, labels and splits."""
    rows: list[list[object]] = [["path", "label", "split"]]
    digest = hashlib.sha256()
    files = []
    for name, part in parts.items():
        for number, (image, label) in enumerate(zip(part.images, part.labels, strict=True)):
            if classes and isinstance(label, int):
                label = classes[label]
            path = f"{name or 'all'}-{number:06d}.png"
            rows.append([path, label, name])
            pixels = np.atleast_3d(image).transpose(2, 0, 1)
            files.append((path, encode_png(pixels)))
            digest.update(files[-1][1])
    table_bytes = csv_text(rows).encode()
    digest.update(table_bytes)
    place = folder / f"data-{digest.hexdigest()[:16]}"
    table = place / "table.csv"
    if not table.is_file():  # written last
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for path, content in files:
            (place / path).write_bytes(content)
        with whole_file(table) as file:
            file.write(table_bytes)
    return table
