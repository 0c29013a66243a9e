"""Arrays in an `.npz` file, under Keras' names (x_train, y_train) or MedMNIST's (train_images, train_labels) or plain images and labels.

An `.npz` is a zip: what it claims to hold is checked before it is unpacked, and objects (pickles) are never loaded.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from eyesight.data.source import Source, class_name, digest, from_arrays, in_order
from eyesight.errors import UserError

MOST_BYTES = 1 << 36
KEYS = {  # split → the names its pictures and labels go by
    "train": (
        ("x_train", "y_train"),
        ("train_images", "train_labels"),
        ("images_train", "labels_train"),
    ),
    "validation": (
        ("x_validation", "y_validation"),
        ("x_val", "y_val"),
        ("x_valid", "y_valid"),
        ("val_images", "val_labels"),
    ),
    "test": (("x_test", "y_test"), ("test_images", "test_labels"), ("images_test", "labels_test")),
    "": (("images", "labels"), ("x", "y"), ("X", "y"), ("data", "target")),
}
EXPECTED = "expected x_train, y_train, x_test, y_test, or images and labels, and perhaps classes"


def open_npz(name: str, path: Path) -> Source:
    """The source in an `.npz` file; UserError says which array is not as expected."""
    held = _load(path)
    parts = []
    for split, pairs in KEYS.items():
        pair = next((pair for pair in pairs if pair[0] in held), None)
        if pair is not None:
            pixels = _pictures(pair[0], held[pair[0]])
            parts.append((split, pixels, _labels(pair[1], held.get(pair[1]), len(pixels), split)))
    if not parts:
        raise UserError(f"{path} holds {', '.join(held) or 'nothing'}", EXPECTED)
    if len({pixels.shape[1:] for _, pixels, _ in parts}) > 1:
        raise UserError(
            f"the parts of {path} hold pictures of different sizes",
            "expected one size for training and test",
        )
    classes, numbered = _numbered([labels for *_, labels in parts], held.get("classes"))
    entry = path.stat()
    fingerprint = digest(["npz", entry.st_size, entry.st_mtime_ns, *classes])
    return from_arrays(
        name,
        [
            (split, pixels, labels)
            for (split, pixels, _), labels in zip(parts, numbered, strict=True)
        ],
        classes,
        fingerprint,
    )


def _load(path: Path) -> Mapping[str, np.ndarray]:
    """Every array by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
        if claimed > min(MOST_BYTES, max(1 << 28, 1000 * path.stat().st_size)):
            raise UserError(
                f"{path} unpacks to {claimed:,} bytes",
                "that is too much for one file; give a folder of pictures",
            )
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (
        OSError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
    ) as error:
        raise UserError(
            f"cannot read {path}: {error}",
            "expected arrays of numbers and text, without Python objects",
        ) from error


def _pictures(key: str, array: np.ndarray) -> np.ndarray:
    """uint8 N,C,H,W from N,H,W or N,H,W,C or N,C,H,W; fractions from 0 to 1 become 0 to 255."""
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or 0 in array.shape:
        raise UserError(
            f"{key} has the shape {array.shape}",
            "expected N,H,W or N,H,W,C or N,C,H,W with 1 or 3 channels",
        )
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if (
        array.dtype.kind not in "iuf"
        or not np.isfinite(array).all()
        or array.min() < 0
        or array.max() > 255
    ):
        raise UserError(
            f"{key} holds {array.dtype} outside 0 to 255",
            "expected uint8, or fractions from 0 to 1",
        )
    scale = 255.0 if array.dtype.kind == "f" and array.max() <= 1 else 1.0
    return np.ascontiguousarray(np.round(array * scale).astype(np.uint8))


def _labels(key: str, array: np.ndarray | None, count: int, split: str) -> np.ndarray:
    """Labels as N integers or N texts; one-hot rows are read as their class; a test part may have none (-1)."""
    if array is None:
        if split != "test":
            raise UserError(f"there is no {key}", EXPECTED)
        return np.full(count, -1)
    if array.ndim == 2:
        array = array[:, 0] if array.shape[1] == 1 else _from_one_hot(key, array)
    if array.shape != (count,):
        raise UserError(
            f"{key} has the shape {array.shape} for {count:,} pictures",
            "expected one label per picture",
        )
    if array.dtype.kind == "f" and not (
        np.isfinite(array).all() and (array == np.round(array)).all()
    ):
        raise UserError(f"{key} holds fractions", "expected whole numbers or texts")
    if array.dtype.kind not in "iufUSb":
        raise UserError(f"{key} holds {array.dtype}", "expected whole numbers or texts")
    return array.astype(str) if array.dtype.kind in "US" else array.astype(np.int64)


def _from_one_hot(key: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "iufb" or not (
        ((array == 0) | (array == 1)).all() and (array.sum(1) == 1).all()
    ):
        raise UserError(
            f"{key} has the shape {array.shape} but is not one-hot",
            "expected one label per picture",
        )
    return np.asarray(array.argmax(1))


def _numbered(
    labels: list[np.ndarray], given: np.ndarray | None
) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Class names and the labels as row numbers among them, -1 for none."""
    texts = [
        [class_name(str(label)) for label in part.tolist()] if part.dtype.kind == "U" else None
        for part in labels
    ]
    if given is None:
        found = {
            str(label)
            for part in labels
            if part.dtype.kind != "U"
            for label in np.unique(part)
            if label >= 0
        }
        classes = in_order(
            found.union(*(filter(None, part) for part in texts if part)), letters=True
        )
    else:
        classes = tuple(class_name(str(label)) for label in given.ravel().tolist())
    if not classes or len(set(classes)) != len(classes):
        raise UserError(
            "the class names are missing or repeat", "expected one name per class, each another"
        )
    number = {label: index for index, label in enumerate(classes)}
    rows = [
        _rows(part, text, number, by_place=given is not None)
        for part, text in zip(labels, texts, strict=True)
    ]
    return classes, rows


def _rows(
    part: np.ndarray, texts: list[str] | None, number: dict[str, int], *, by_place: bool
) -> np.ndarray:
    """One part's labels as places among the classes; with names given, whole numbers are places already."""
    if texts is not None:
        unknown = sorted({text for text in texts if text and text not in number})
        if unknown:
            raise UserError(
                f"the label {unknown[0]!r} is not among the classes",
                f"classes: {', '.join(number)}",
            )
        return np.array([number.get(text, -1) for text in texts], dtype=np.int64)
    if by_place:
        if part.max(initial=-1) >= len(number):
            raise UserError(f"the label {part.max()} has no name", f"classes: {', '.join(number)}")
        return np.where(part < 0, -1, part)
    values = np.unique(part)
    places = np.array([number.get(str(value), -1) for value in values], dtype=np.int64)
    return np.asarray(places[np.searchsorted(values, part)])
