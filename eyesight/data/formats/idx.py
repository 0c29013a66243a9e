"""IDX files, the format of MNIST: a big-endian header, then bytes; optionally gzipped.

A pair is found by name (`train-images-idx3-ubyte` with `train-labels-idx1-ubyte`), also with
Kaggle's dots instead of dashes.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eyesight.data.source import Source, digest, from_arrays, path_stamp
from eyesight.errors import UserError

NAME = re.compile(
    r"(?P<part>.*?)[-_. ]?(?P<kind>images|labels)[-_. ]?idx[13][-_. ]ubyte(\.gz)?", re.IGNORECASE
)
MOST_BYTES = (
    1 << 33
)  # an IDX file whose header requires more than 8 GB is rejected before anything is allocated


def is_idx(name: str) -> bool:
    """Whether this is the name of an IDX file of images or labels."""
    return NAME.fullmatch(name) is not None


def read_idx(path: Path) -> np.ndarray:
    """Read the uint8 array of an IDX file.

    Raises UserError if it is not an IDX file, is truncated, or is longer than its header states.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4:
                raise UserError(
                    f"{path} is not an IDX file of bytes",
                    "expected the header 00 00 08 and the number of dimensions",
                )
            shape = struct.unpack(f">{head[3]}I", file.read(4 * head[3]))
            expected = int(np.prod(shape, dtype=object))
            payload = file.read(expected + 1) if expected <= MOST_BYTES else b""
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise UserError(
            f"cannot read {path}: {error}", "the file is damaged or truncated; download it again"
        ) from error
    if len(payload) != expected:
        raise UserError(
            f"{path} has {len(payload):,} bytes, but its header {shape} requires {expected:,}",
            "download the file again",
        )
    return np.frombuffer(payload, dtype=np.uint8).reshape(shape)


def open_pair(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read pixels uint8 N,1,H,W and labels int64 N of a pair.

    Raises UserError if they do not match.
    """
    pixels, numbers = read_idx(images), read_idx(labels)
    if pixels.ndim != 3 or numbers.ndim != 1 or len(pixels) != len(numbers):
        raise UserError(
            f"{images.name} {pixels.shape} and {labels.name} {numbers.shape} do not belong "
            "together",
            "expected N,H,W and N",
        )
    return pixels[:, None], numbers.astype(np.int64)


def open_idx(name: str, files: Sequence[Path]) -> Source:
    """The source of all IDX pairs among `files`.

    Raises UserError for a file without its partner.
    """
    pairs = _pairs(files)
    parts = [
        (split, *open_pair(images, labels))
        for split, (images, labels) in sorted(pairs.items(), key=lambda pair: pair[0] != "train")
    ]
    if len({pixels.shape[1:] for _, pixels, _ in parts}) > 1:
        raise UserError(
            f"the IDX files in {name} hold images of different sizes", "use one of the pairs"
        )
    numbers = np.unique(np.concatenate([labels for *_, labels in parts]))
    parts = [(split, pixels, np.searchsorted(numbers, labels)) for split, pixels, labels in parts]
    used = [file for pair in pairs.values() for file in pair]
    fingerprint = digest(["idx", *sorted(pairs), *map(path_stamp, used)])
    return from_arrays(name, parts, tuple(str(number) for number in numbers), fingerprint)


def siblings(path: Path) -> list[Path]:
    """The IDX files beside `path` that belong to the same pair."""
    part = _match(path)["part"].lower()
    return [
        other
        for other in sorted(path.parent.iterdir())
        if is_idx(other.name) and _match(other)["part"].lower() == part
    ]


def _match(path: Path) -> re.Match[str]:
    match = NAME.fullmatch(path.name)
    assert match is not None
    return match


def _pairs(files: Sequence[Path]) -> dict[str, tuple[Path, Path]]:
    """Split name → (images, labels); a plain file is preferred to its gzipped copy."""
    halves: dict[str, dict[str, Path]] = {}
    names: dict[str, str] = {}
    for path in sorted(files, key=lambda path: path.suffix.lower() == ".gz"):
        part, kind = _match(path)["part"].lower(), _match(path)["kind"].lower()
        split = (
            "train"
            if "train" in part
            else "test"
            if "t10k" in part or "test" in part
            else "validation"
            if "val" in part
            else ""
        )
        if names.setdefault(split, part) != part:
            raise UserError(
                f"the folder has several sets of IDX files: {names[split]} and {part}",
                "name one of the files instead",
            )
        halves.setdefault(split, {}).setdefault(kind, path)
    for pair in halves.values():
        if len(pair) < 2:
            only = next(iter(pair.values()))
            raise UserError(
                f"{only} has no partner",
                f"expected the file with {'labels' if 'images' in pair else 'images'} beside it",
            )
    return {split: (pair["images"], pair["labels"]) for split, pair in halves.items()}
