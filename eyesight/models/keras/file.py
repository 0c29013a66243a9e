"""The arrays of a Keras HDF5 file by layer, read without running any of its code.

Weights are stored in the order in which a layer made them. Only that order is relied on: the
names inside a layer have changed with the versions of Keras.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from eyesight.errors import UserError

if TYPE_CHECKING:
    import h5py

SUFFIXES = (".h5", ".hdf5")
SAVE_AGAIN = 'in Keras, save the HDF5 format with model.save("weights.h5")'

Array = npt.NDArray[np.float32]
Layers = dict[str, list[Array]]


def is_keras(source: str | None) -> bool:
    """Whether the setting `model.weights` names a file that Keras wrote."""
    return bool(source) and Path(str(source)).suffix.lower() in (*SUFFIXES, ".keras")


def read(file: Path) -> Layers:
    """The arrays of every layer that has some, by the layer's plain name.

    Raises UserError without h5py, and for a file that is damaged or of another format.
    """
    if file.suffix.lower() == ".keras":
        raise UserError(f"{file} is a Keras archive, which is not supported", SAVE_AGAIN)
    if not file.is_file():
        raise UserError(f"there is no weights file {file}", "check model.weights")
    try:
        import h5py
    except ImportError:
        raise UserError(
            f"reading {file.name} needs h5py, which is not installed",
            'pip install h5py, or pip install "eyesight[keras]"',
        ) from None
    try:
        with h5py.File(file, "r") as opened:
            group = opened.get("model_weights", opened)
            layers = dict(_layers(group))
    except (OSError, KeyError, AttributeError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"{file} cannot be read as HDF5: {error}", "it may be damaged; copy or fetch it again"
        ) from None
    if not layers:
        raise UserError(f"{file} has no layers in Keras' HDF5 format", SAVE_AGAIN)
    return layers


def _layers(group: h5py.Group) -> Iterator[tuple[str, list[Array]]]:
    """(plain name, arrays) of every layer with arrays; a model inside a model is opened."""
    for layer in group.attrs.get("layer_names", ()):
        name = _text(layer)
        nested: Layers = {}
        for weight in group[name].attrs.get("weight_names", ()):
            path = _text(weight)
            array = np.asarray(group[name][path], dtype=np.float32)
            nested.setdefault(_owner(name, path), []).append(array)
        for inner, arrays in nested.items():
            yield plain(inner), arrays


def _owner(layer: str, weight: str) -> str:
    """The layer that a weight belongs to: `layer`, or one inside it where it is a model."""
    owner = weight.rpartition("/")[0]
    return layer if not owner or f"{owner}/".startswith(f"{layer}/") else owner


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def plain(name: str) -> str:
    """A layer's name in the one spelling that all versions of Keras have in common."""
    return name.replace("/", "_").lower().replace("batchnorm", "bn")
