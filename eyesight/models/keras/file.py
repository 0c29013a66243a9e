"""The arrays of a Keras HDF5 file by layer, read without running any of its code."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from eyesight.errors import UserError

SUFFIXES = (".h5", ".hdf5")
SAVE_AGAIN = 'in Keras, save the HDF5 format with model.save("weights.h5")'
READER = Path(__file__).with_name("hdf5.py")

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
    if importlib.util.find_spec("h5py") is None:
        raise UserError(
            f"reading {file.name} needs h5py, which is not installed",
            'pip install h5py, or pip install "eyesight[keras]"',
        )
    with TemporaryDirectory() as scratch:
        arrays = Path(scratch) / "arrays.npz"
        done = subprocess.run(  # noqa: S603 - the program beside this file
            [sys.executable, "-P", str(READER), str(file), str(arrays)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode:
            reason = done.stderr.strip().rpartition("\n")[2]
            if done.returncode < 0:
                reason = f"the HDF5 library ended with {signal.Signals(-done.returncode).name}"
            raise UserError(
                f"{file} cannot be read as HDF5: {reason}",
                "it may be damaged; copy or fetch it again",
            )
        layers = _by_layer(arrays)
    if not layers:
        raise UserError(f"{file} has no layers in Keras' HDF5 format", SAVE_AGAIN)
    return layers


def _by_layer(file: Path) -> Layers:
    """The arrays of each layer; a model inside a model is opened."""
    layers: Layers = {}
    with np.load(file) as stored:
        for place, (layer, path) in enumerate(stored["names"]):
            owner = plain(_owner(str(layer), str(path)))
            layers.setdefault(owner, []).append(stored[str(place)])
    return layers


def _owner(layer: str, weight: str) -> str:
    """The layer that a weight belongs to: `layer`, or one inside it where it is a model."""
    owner = weight.rpartition("/")[0]
    return layer if not owner or f"{owner}/".startswith(f"{layer}/") else owner


def plain(name: str) -> str:
    """A layer's name in the one spelling that all versions of Keras have in common."""
    return name.replace("/", "_").lower().replace("batchnorm", "bn")
