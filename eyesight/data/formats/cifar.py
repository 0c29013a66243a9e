"""CIFAR-10's binary batches: one label byte, then 3,072 bytes red, green, blue, per picture.

The Python version consists of pickle files, which can execute code when opened, so it is rejected
by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eyesight.data.decode import BadPicture, decode
from eyesight.data.source import Source, digest, from_arrays, path_stamp
from eyesight.errors import UserError
from eyesight.system.json_value import parse_json

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = "test_batch.bin"
ROW = 1 + 3 * 32 * 32


def is_batch(name: str) -> bool:
    """Whether this is the name of a binary batch, or of a pickle file, which is rejected later."""
    return name in (*TRAIN, TEST) or is_pickle(name)


def is_pickle(name: str) -> bool:
    """Whether this is the name of a batch of the Python version."""
    return f"{name}.bin" in (*TRAIN, TEST)


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read pixels uint8 N,3,32,32 and labels int64 N of a batch.

    Raises UserError if it is truncated or has invalid labels.
    """
    try:
        rows = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}", "check its permissions, or download it again"
        ) from error
    if rows.size == 0 or rows.size % ROW:
        raise UserError(
            f"{path} has {rows.size:,} bytes, which is not a multiple of CIFAR-10's {ROW:,} "
            "bytes per image",
            "download the file again",
        )
    rows = rows.reshape(-1, ROW)
    labels = rows[:, 0].astype(np.int64)
    if labels.max() >= len(CLASSES):
        raise UserError(
            f"{path} holds the label {labels.max()}", "expected CIFAR-10's labels 0 to 9"
        )
    return rows[:, 1:].reshape(-1, 3, 32, 32), labels


def open_cifar(name: str, files: Sequence[Path]) -> Source:
    """The source of the binary batches among `files`, in official order."""
    by_name = {path.name: path for path in files}
    batches = [by_name[batch] for batch in (*TRAIN, TEST) if batch in by_name]
    if not batches:
        raise UserError(
            f"{name} is the Python version of CIFAR-10, which consists of pickle files; these "
            "are never opened for security",
            "use the binary version (cifar-10-binary.tar.gz) or a folder of images",
        )
    parts = [("test" if path.name == TEST else "train", *read_batch(path)) for path in batches]
    fingerprint = digest(
        [
            "cifar",
            *(path_stamp(path) for path in batches),
        ]
    )
    return from_arrays(name, parts, CLASSES, fingerprint)


def batches_from_sheets(folder: Path) -> None:
    """Write the official binary batches beside PNG sheets that hold the same images.

    A sheet is one batch as an image 1024 pixels wide: every row is one image of 32×32×3. The labels
    lie in `train_lables.json` and `test_lables.json` (spelt so by the package). Raises UserError
    where a sheet or a label is missing or has another shape.
    """
    sheets = {sheet.stem: sheet for sheet in folder.rglob("*.png")}
    train_labels = _sheet_labels(folder, "train_lables.json")
    test_labels = _sheet_labels(folder, "test_lables.json")
    per_batch = len(train_labels) // len(TRAIN)
    for number, name in enumerate(TRAIN):
        labels = train_labels[number * per_batch : (number + 1) * per_batch]
        _write_batch(sheets.get(Path(name).stem), labels, folder / name)
    _write_batch(sheets.get(Path(TEST).stem), test_labels, folder / TEST)


def _sheet_labels(folder: Path, name: str) -> np.ndarray:
    files = sorted(folder.rglob(name))
    if not files:
        raise UserError(f"{folder} has no {name}", "download the package again")
    try:
        return np.array(parse_json(files[0].read_bytes()), dtype=np.uint8)
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(
            f"{files[0]} has no labels: {error}", "download the package again"
        ) from None


def _write_batch(sheet: Path | None, labels: np.ndarray, target: Path) -> None:
    if sheet is None:
        raise UserError(
            f"there is no sheet of images for {target.name}", "download the package again"
        )
    try:
        image, _ = decode(sheet.read_bytes())
    except BadPicture as error:
        raise UserError(
            f"{sheet.name} cannot be read: {error}", "download the package again"
        ) from None
    if image.size != (32 * 32, len(labels)) or image.mode != "RGB":
        size = f"{image.width}×{image.height} {image.mode}"
        raise UserError(
            f"{sheet.name} is {size}, not 1024×{len(labels)} RGB", "download the package again"
        )
    pixels = np.asarray(image)
    planes = pixels.transpose(0, 2, 1).reshape(len(labels), -1)
    target.write_bytes(np.concatenate([labels[:, None], planes], axis=1).tobytes())
