"""Images as people hand them to `predict`: paths, bytes, PIL images, arrays, tensors, lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from eyesight.data.decode import BadPicture, Picture, from_picture
from eyesight.data.prepare import Pixels, Preparation, prepare
from eyesight.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Array: TypeAlias = npt.NDArray[np.generic]
Image: TypeAlias = "str | Path | bytes | Picture | Array | Tensor"
Images: TypeAlias = "Image | Sequence[Image]"
CHANNELS = (1, 3, 4)
EXPECTED = (
    "expected a path, bytes, a PIL image, an array H,W or H,W,C, a tensor, or a list of these"
)


@dataclass(frozen=True, eq=False)
class Input:
    """One image: its name for messages and results, and encoded bytes or uint8 pixels H,W[,C]."""

    name: str
    content: bytes | Pixels


def prepare_inputs(images: Images, preparation: Preparation) -> tuple[tuple[str, ...], Pixels]:
    """Names and prepared pixels, uint8 N,C,H,W, of everything in `images`.

    Raises
    ------
    UserError
        For a file that is missing, for what is no image, and for arrays of another shape or scale.
    """
    names = []
    rows = []
    for item in read_inputs(images):
        try:
            rows.append(prepare(item.content, preparation))
        except BadPicture as error:
            raise UserError(
                f"{item.name} is not a usable image: {error}", "leave it out, or repair the file"
            ) from None
        names.append(item.name)
    if not rows:
        return (), np.zeros((0, *preparation.shape), dtype=np.uint8)
    return tuple(names), np.stack(rows)


def read_inputs(images: Images) -> Iterator[Input]:
    """Every image in `images`, in order; raises UserError for what is none."""
    for number, image in enumerate(_listed(images)):
        if isinstance(image, str | Path):
            yield Input(str(image), _read_file(Path(image)))
        elif isinstance(image, bytes | bytearray):
            yield Input(f"image {number}", bytes(image))
        else:
            yield Input(f"image {number}", _pixels(image, f"image {number}"))


def _listed(images: Images) -> Sequence[Image]:
    """The images one by one; arrays and tensors N,H,W and N,…,… with a channel axis are batches."""
    if isinstance(images, str | Path | bytes | bytearray | Picture):
        return [images]
    if isinstance(images, np.ndarray) or _is_tensor(images):
        array = cast("Array", images)
        if array.ndim == 4 or (array.ndim == 3 and not _has_channels(array)):
            return [array[row] for row in range(len(array))]
        return [array]
    try:
        return list(cast("Sequence[Image]", images))
    except TypeError:
        raise UserError(f"a {type(images).__name__} is not an image", EXPECTED) from None


def _has_channels(array: Array) -> bool:
    """Whether three axes are those of one image: the first or the last has 1, 3 or 4 entries."""
    return array.shape[0] in CHANNELS or array.shape[2] in CHANNELS


def _is_tensor(value: object) -> bool:
    return hasattr(value, "detach") and hasattr(value, "cpu")


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no file {path}", f"paths are relative to {Path.cwd()}") from None
    except IsADirectoryError:
        raise UserError(
            f"{path} is a folder",
            'list its files, for example sorted(Path("photos").glob("*.jpg"))',
        ) from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}", "check its permissions"
        ) from None


def _pixels(image: object, name: str) -> Pixels:
    """uint8 H,W or H,W,C of a PIL image, an array or a tensor."""
    if isinstance(image, Picture):
        try:
            return np.asarray(from_picture(image))
        except BadPicture as error:
            raise UserError(f"{name} cannot be used: {error}", "convert it to RGB first") from None
    if _is_tensor(image):
        array = np.asarray(image.detach().cpu())  # type: ignore[attr-defined]
        return eight_bits(_channels_last(array, name, first=True), name)
    if isinstance(image, np.ndarray):
        return eight_bits(_channels_last(image, name, first=False), name)
    raise UserError(f"{name} is a {type(image).__name__}, not an image", EXPECTED)


def _channels_last(array: Array, name: str, *, first: bool) -> Array:
    """H,W or H,W,C; with `first`, C,H,W is tried before H,W,C, as PyTorch has it."""
    if array.ndim == 2:
        return array
    shape = "×".join(map(str, array.shape))
    if array.ndim == 3:
        if first and array.shape[0] in CHANNELS:
            return np.moveaxis(array, 0, 2)
        if array.shape[2] in CHANNELS:
            return array
        if array.shape[0] in CHANNELS:
            raise UserError(
                f"{name} has shape {shape}, which could be one image C,H,W or several H,W",
                "use array.transpose(1, 2, 0) for one image, or list(array) for several",
            )
    raise UserError(
        f"{name} has the shape {shape}",
        "expected H,W or H,W,C (a tensor: C,H,W) with 1, 3 or 4 channels",
    )


def eight_bits(array: Array, name: str) -> Pixels:
    """uint8 pixels of an array of whole numbers from 0 to 255 or of fractions from 0 to 1.

    Raises UserError for anything outside these ranges.
    """
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.size and array.dtype.kind in "iuf":
        low, high = float(array.min()), float(array.max())
        limit = 1.0 if array.dtype.kind == "f" else 255.0
        if low >= 0 and high <= limit:
            return np.rint(array.astype(np.float64) * (255.0 / limit)).astype(np.uint8)
        raise UserError(
            f"{name} holds {array.dtype} values from {low:g} to {high:g}",
            "expected uint8, or floats from 0 to 1: divide by the largest possible value",
        )
    raise UserError(f"{name} holds {array.dtype}", "expected uint8, or floats from 0 to 1")
