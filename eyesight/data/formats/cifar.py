"""CIFAR-10's binary batches: one label byte, then 3,072 bytes red, green, blue, per picture.

The Python version of the same data set is a pickle, which could run anything when opened, so it is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eyesight.data.source import Source, digest, from_arrays
from eyesight.errors import UserError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = "test_batch.bin"
ROW = 1 + 3 * 32 * 32


def is_batch(name: str) -> bool:
    """Whether this is the name of one of the binary batches, or one of the pickles that are refused with an explanation."""
    return name in (*TRAIN, TEST) or is_pickle(name)


def is_pickle(name: str) -> bool:
    """Whether this is the name of a batch of the Python version."""
    return f"{name}.bin" in (*TRAIN, TEST)


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 N,3,32,32 and labels int64 N of one batch; UserError when it is cut short or has other labels."""
    try:
        rows = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}", "check its permissions, or fetch it again"
        ) from error
    if rows.size == 0 or rows.size % ROW:
        raise UserError(
            f"{path} has {rows.size:,} bytes, which is no whole number of CIFAR-10 rows of {ROW:,}",
            "fetch the file again",
        )
    rows = rows.reshape(-1, ROW)
    labels = rows[:, 0].astype(np.int64)
    if labels.max() >= len(CLASSES):
        raise UserError(
            f"{path} holds the label {labels.max()}", "expected CIFAR-10's labels 0 to 9"
        )
    return rows[:, 1:].reshape(-1, 3, 32, 32), labels


def open_cifar(name: str, files: Sequence[Path]) -> Source:
    """The source made of the binary batches among `files`, in their official order."""
    found = {path.name: path for path in files}
    batches = [found[batch] for batch in (*TRAIN, TEST) if batch in found]
    if not batches:
        raise UserError(
            f"{name} holds the Python version of CIFAR-10, which is made of pickles and never opened",
            "use the binary version (cifar-10-binary.tar.gz) or a folder of pictures",
        )
    parts = [("test" if path.name == TEST else "train", *read_batch(path)) for path in batches]
    used = [path.stat() for path in batches]
    fingerprint = digest(
        [
            "cifar",
            *(
                (path.name, entry.st_size, entry.st_mtime_ns)
                for path, entry in zip(batches, used, strict=True)
            ),
        ]
    )
    return from_arrays(name, parts, CLASSES, fingerprint)
