"""Arrays in an `.npz` file, by their keys.

Keras' keys (x_train, y_train), MedMNIST's (train_images, train_labels), plain images and labels,
and near spellings (X_train, trainX) are read.

An `.npz` is a zip: what it claims to hold is checked before it is unpacked, and objects (pickles)
are never loaded.
"""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from eyesight.data import vocabulary
from eyesight.data.source import Source, class_name, digest, from_arrays, in_order, path_stamp
from eyesight.data.vocabulary import exact_split
from eyesight.errors import UserError

MOST_BYTES = 1 << 36
MOST_HEADER = 1 << 16  # bytes of a member's header, which is read before the array
IMAGE_WORDS = frozenset(
    ["x", "image", "images", "img", "imgs", "data", "pixels", "pictures", "inputs"]
)
LABEL_WORDS = frozenset(["y", "label", "labels", "target", "targets", "output", "outputs"])
CLASS_KEYS = frozenset(["classes", "class_names", "label_names", "target_names"])
OVERSHOOT = (
    1.5  # a maximum up to it is fractions that overshoot: resizing gives 1.1, rounding 1.0001
)
GLUED = re.compile("^([XxYy])(train|test|val)")  # Xtrain
DARK = 64  # of 255
UNDERSHOOT = 0.1  # of the range, likewise below 0
EXPECTED = "expected x_train, y_train, x_test, y_test, or images and labels, and optionally classes"
Role = Literal["images", "labels"]


@dataclass(frozen=True)
class Part:
    """The arrays of one split: their keys, the images as they are in the file and the labels."""

    split: str
    image_key: str
    label_key: str
    images: np.ndarray
    labels: np.ndarray


def open_npz(name: str, path: Path) -> Source:
    """The source in an `.npz` file; UserError says which array is not as expected."""
    arrays = _load(path)
    notes: list[str] = []
    parts = [
        _part(split, keys, arrays, notes) for split, keys in _keys_by_split(path, arrays).items()
    ]
    if len({part.images.shape[1:] for part in parts}) > 1:
        raise UserError(
            f"the parts of {path} have images of different sizes",
            "expected one size for training and test",
        )
    pixels = _to_uint8(parts, notes)
    class_key = next((key for key in arrays if key.lower() in CLASS_KEYS), None)
    given = arrays[class_key] if class_key else None
    classes, labels = _numbered([part.labels for part in parts], given)
    fingerprint = digest(["npz", 2, path_stamp(path), *classes])
    source = from_arrays(
        name,
        [
            (part.split, part_pixels, part_labels)
            for part, part_pixels, part_labels in zip(parts, pixels, labels, strict=True)
        ],
        classes,
        fingerprint,
    )
    used = ", ".join(f"{part.image_key} and {part.label_key or 'no labels'}" for part in parts)
    return replace(source, notes=(f"arrays: {used}", *notes))


def _load(path: Path) -> Mapping[str, np.ndarray]:
    """Every array by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(path, archive)
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        MemoryError,
        OverflowError,
        RuntimeError,
        SyntaxError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        hint = "expected arrays of numbers and text, without Python objects"
        if "Object arrays" in str(error):
            hint += ": save strings with np.array(labels, dtype=str)"
        raise UserError(f"cannot read {path}: {error}", hint) from error


def _check_sizes(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise UserError for members that unpack to too much, or arrays larger than their member."""
    claimed = sum(entry.file_size for entry in archive.infolist())
    if claimed > min(MOST_BYTES, max(1 << 28, 1000 * path.stat().st_size)):
        raise UserError(
            f"{path} would unpack to {claimed:,} bytes",
            "that is too much for one file; use a folder of images",
        )
    for entry in archive.infolist():
        if not entry.filename.endswith(".npy"):
            continue
        with archive.open(entry) as member:
            version = np.lib.format.read_magic(member)
            if version == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(member, MOST_HEADER)
            else:
                shape, _, dtype = np.lib.format.read_array_header_2_0(member, MOST_HEADER)
        size = math.prod(shape) * dtype.itemsize
        if size > entry.file_size and not dtype.hasobject:
            raise UserError(
                f"{path} is damaged: the header of {entry.filename} requires {size:,} bytes, "
                f"but it has {entry.file_size:,}",
                "save it again",
            )


def _keys_by_split(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, dict[Role, str]]:
    """Split → the keys of its images and labels; raises UserError when there are no images."""
    keys: dict[str, dict[Role, str]] = {}
    for key in arrays:
        role, split = _role_and_split(key)
        if role is None:
            continue
        other = keys.setdefault(split, {}).setdefault(role, key)
        if other != key:
            raise UserError(f"{path} contains both {other} and {key}", f"keep one; {EXPECTED}")
    keys = {split: roles for split, roles in keys.items() if "images" in roles}
    if not keys:
        held = ", ".join(arrays) or "nothing"
        raise UserError(f"{path} holds {held}", f"{EXPECTED}: np.savez(file, images=…, labels=…)")
    order = ("train", "validation", "test", "")
    return {split: keys[split] for split in order if split in keys}


def _role_and_split(key: str) -> tuple[Role | None, str]:
    """What an array is by its key, and its split.

    `trainX` and `x_train` are the images of train.
    """
    role: Role | None = None
    split = ""
    for token in vocabulary.column_key(GLUED.sub(r"\1_\2", key)).split("_"):
        if token in IMAGE_WORDS:
            role = "images"
        elif token in LABEL_WORDS:
            role = "labels"
        elif exact_split(token):
            split = exact_split(token) or ""
        else:
            return None, ""
    return role, split


def _part(
    split: str, keys: dict[Role, str], arrays: Mapping[str, np.ndarray], notes: list[str]
) -> Part:
    """The arrays of a split, the images as N,C,H,W."""
    image_key = keys["images"]
    label_key = keys.get("labels", "")
    images = _channels_first(image_key, arrays[image_key], notes)
    if label_key:
        labels = _labels(label_key, arrays[label_key], len(images))
    elif split == "test":
        labels = np.full(len(images), -1)
    else:
        raise UserError(f"there are no labels for {image_key}", EXPECTED)
    return Part(split, image_key, label_key, images, labels)


def _channels_first(key: str, array: np.ndarray, notes: list[str]) -> np.ndarray:
    """N,C,H,W from N,H,W or N,H,W,C or N,C,H,W."""
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in (1, 3):
        if array.shape[1] in (1, 3):
            notes.append(f"{key} {array.shape} could be N,H,W,C or N,C,H,W; reading it as N,H,W,C")
        array = array.transpose(0, 3, 1, 2)
    if array.ndim == 4 and array.shape[1] in (1, 3) and 0 not in array.shape:
        return array
    hint = "expected N,H,W or N,H,W,C or N,C,H,W with 1 or 3 channels"
    if array.ndim == 4 and 4 in (array.shape[1], array.shape[3]):
        hint += "; for 4 channels, blend the image with a background and keep 3"
    raise UserError(f"{key} has the shape {array.shape}", hint)


def _to_uint8(parts: Sequence[Part], notes: list[str]) -> list[np.ndarray]:
    """The images of all parts on one scale, uint8: bool and fractions become 0 to 255.

    The scale of fractional numbers is decided once, by the range of all parts that hold them.
    """
    ranges = [_value_range(part) for part in parts]
    floats = [
        value_range
        for part, value_range in zip(parts, ranges, strict=True)
        if part.images.dtype.kind == "f"
    ]
    scale = 1.0
    if floats:
        low = min(low for low, _ in floats)
        high = max(high for _, high in floats)
        scale = _float_scale(parts, low, high, notes)
    pixels = []
    for part, (low, high) in zip(parts, ranges, strict=True):
        array = part.images
        if array.dtype.kind == "b":
            pixels.append(np.ascontiguousarray(array.astype(np.uint8) * 255))
            continue
        if array.dtype.kind == "f":
            array = np.round(np.clip(array * scale, 0, 255))
        elif low < 0 or high > 255:
            raise UserError(
                f"{part.image_key} holds {array.dtype} from {low:g} to {high:g}",
                "expected 0 to 255: scale the values before saving, for example images / "
                "images.max()",
            )
        if high * scale <= 1 or (high <= 1 and array.dtype.kind != "f"):
            notes.append(
                f"{part.image_key} has no value above {high:g}, so its images are nearly black "
                "(if 1 means white, save it as bool or multiply by 255)"
            )
        elif high * scale < DARK:
            factor = 255 / (high * scale)
            notes.append(
                f"{part.image_key} has no value above {high:g} of {255 / scale:g}, so its "
                f"images are dark (if {high:g} means white, multiply by {factor:,.0f})"
            )
        pixels.append(np.ascontiguousarray(array.astype(np.uint8)))
    return pixels


def _value_range(part: Part) -> tuple[float, float]:
    """The least and greatest value of a part's images; UserError unless they are finite numbers."""
    array = part.images
    if array.dtype.kind not in "biuf":
        raise UserError(
            f"{part.image_key} holds {array.dtype}", "expected uint8, or floats from 0 to 1"
        )
    low = float(array.min())
    high = float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(
            f"{part.image_key} holds NaN or infinite values",
            "expected uint8, or floats from 0 to 1",
        )
    return low, high


def _float_scale(parts: Sequence[Part], low: float, high: float, notes: list[str]) -> float:
    """255 for fractions from 0 to 1, 1 for 0 to 255; UserError for other ranges."""
    keys = ", ".join(part.image_key for part in parts if part.images.dtype.kind == "f")
    top = 1.0 if high <= OVERSHOOT else 255.0
    if low < -UNDERSHOOT * max(high, 1) or high > 255 * (1 + UNDERSHOOT) or OVERSHOOT < high <= 2:
        hint = "expected values from 0 to 1, or from 0 to 255"
        if -1.05 <= low < 0 and high <= 1.05:
            hint += ": for -1 to 1, save (images + 1) / 2"
        elif low < 0:
            hint += ": save the values without standardisation, which eyesight does itself"
        raise UserError(f"{keys} has values from {low:g} to {high:g}", hint)
    if low < 0 or high > top:
        notes.append(f"{keys} has values from {low:g} to {high:g}; clipped to 0 and {top:g}")
    for part in parts:
        if part.images.dtype.kind == "f" and top == 255 and part.images.max() <= 1:
            notes.append(
                f"{part.image_key} has values from 0 to 1, but other parts reach {high:g}; "
                "reading all as 0 to 255"
            )
    return 255.0 / top


def _text_labels(key: str, array: np.ndarray) -> np.ndarray:
    """Labels as N texts, bytes decoded; raises UserError for bytes that are not UTF-8."""
    if array.dtype.kind == "U":
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{key} is not UTF-8 text: {error}", "save the labels as str") from error


def _refuse_fractions(key: str, array: np.ndarray) -> None:
    """Raise UserError for labels of floats that are not whole numbers."""
    if not np.isfinite(array).all():
        raise UserError(
            f"{key} holds NaN or infinite values",
            "expected integers or strings; -1 for images without a label",
        )
    if not (array == np.round(array)).all():
        raise UserError(f"{key} has fractional values", "expected integers or strings")


def _labels(key: str, array: np.ndarray, count: int) -> np.ndarray:
    """Labels as N integers or N texts; one-hot rows are read as their class, -1 is unlabelled."""
    if array.ndim == 2:
        array = array[:, 0] if array.shape[1] == 1 else _from_one_hot(key, array)
    if array.shape != (count,):
        raise UserError(
            f"{key} has the shape {array.shape} for {count:,} images",
            "expected one label per image",
        )
    if array.dtype.kind in "SU":
        return _text_labels(key, array)
    if array.dtype.kind == "f":
        _refuse_fractions(key, array)
    if array.dtype.kind not in "iufb":
        raise UserError(f"{key} holds {array.dtype}", "expected integers or strings")
    low = float(array.min(initial=0))
    high = float(array.max(initial=0))
    if low < -1 or high >= 1 << 31:
        raise UserError(
            f"{key} holds the label {low if low < -1 else high:g}",
            "expected integers from 0, or -1 for no label; a small integer type may have "
            "overflowed",
        )
    return array.astype(np.int64)


def _from_one_hot(key: str, array: np.ndarray) -> np.ndarray:
    is_number = array.dtype.kind in "iufb"
    if not (is_number and ((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all()):
        raise UserError(
            f"{key} has the shape {array.shape} but is not one-hot",
            "expected one label per image",
        )
    return np.asarray(array.argmax(axis=1))


def _numbered(
    labels: list[np.ndarray], given: np.ndarray | None
) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Class names and the labels as row numbers among them, -1 for none."""
    texts: list[list[str] | None] = []
    for part in labels:
        if part.dtype.kind == "U":
            texts.append([class_name(str(label)) for label in part.tolist()])
        else:
            texts.append(None)
    if given is None:
        classes = _classes_of(labels, texts)
    else:
        classes = tuple(class_name(_as_text(label)) for label in given.ravel().tolist())
    if not classes or len(set(classes)) != len(classes):
        raise UserError("class names are missing or repeated", "expected one unique name per class")
    number = {label: index for index, label in enumerate(classes)}
    rows = [
        _rows(part, text, number, by_place=given is not None)
        for part, text in zip(labels, texts, strict=True)
    ]
    return classes, rows


def _classes_of(labels: list[np.ndarray], texts: list[list[str] | None]) -> tuple[str, ...]:
    """The classes that occur, in natural order."""
    names: set[str] = set()
    for part, text in zip(labels, texts, strict=True):
        if text is not None:
            names.update(filter(None, text))
        else:
            names.update(str(label) for label in np.unique(part) if label >= 0)
    return in_order(names, letters=True)


def _as_text(label: object) -> str:
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)


def _rows(
    part: np.ndarray, texts: list[str] | None, number: dict[str, int], *, by_place: bool
) -> np.ndarray:
    """One part's labels as places among the classes.

    With names given, numbers are places already.
    """
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
