"""Read a Keras HDF5 file as a program of its own: `python hdf5.py FILE OUT.npz`.

The HDF5 library can end the whole process when a file is damaged, so no other process calls it.
Weights are stored in the order in which a layer made them. Only that order is relied on: the
names inside a layer have changed with the versions of Keras.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

MOST_BYTES = 1 << 33  # of all arrays as float32; the largest network of Keras has 1.4 GB
DAMAGED = (OSError, KeyError, AttributeError, ValueError, TypeError, RuntimeError, MemoryError)

Weight = tuple[str, str, npt.NDArray[np.float32]]


def weights(group: h5py.Group) -> Iterator[Weight]:
    """(layer, path of the weight inside the layer, array), in the order of the file."""
    claimed = 0
    for layer in group.attrs.get("layer_names", ()):
        name = _text(layer)
        for weight in group[name].attrs.get("weight_names", ()):
            path = _text(weight)
            claimed += 4 * group[name][path].size
            if claimed > MOST_BYTES:
                raise ValueError(f"its arrays would take more than {MOST_BYTES >> 30} GB")
            yield name, path, np.asarray(group[name][path], dtype=np.float32)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def main(file: str, out: str) -> str:
    """Write the arrays by number, and the names beside them; the reason if that is impossible."""
    try:
        with h5py.File(file, "r") as opened:
            arrays = list(weights(opened.get("model_weights", opened)))
    except DAMAGED as error:
        return str(error) or type(error).__name__
    names = np.array([(layer, path) for layer, path, _ in arrays], dtype=str).reshape(-1, 2)
    numbered = {str(place): array for place, (_, _, array) in enumerate(arrays)}
    with Path(out).open("wb") as opened_out:
        np.savez(opened_out, names=names, **numbered)  # type: ignore[arg-type]
    return ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) or 0)
