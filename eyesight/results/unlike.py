"""Images that are unlike anything a classifier learnt from, judged by its features.

The score is the cosine distance to the nearest of some training images (Sun et al. 2022) plus the
energy of the logits (Liu et al. 2020), each in standard deviations of validation images, whose
quantile is the limit. The dot product uses only the principal directions of the training images,
the norms use all features: an image whose features lie outside these directions is far from every
training image (Wang et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eyesight.results.metrics import Floats

REFERENCES = 1000  # training images that are kept, at most
DIRECTIONS = 64  # principal directions of their features, at most
FAMILIAR = 0.99  # share of the validation images below the limit
LEAST = 50  # validation images for a limit, and training images for a reference
TINY = 1e-6  # added to lengths

Arrays = dict[str, npt.NDArray[np.float32]]  # of an `Unlike`, by name


@dataclass(frozen=True, eq=False)
class Unlike:
    """What decides whether an image is unlike the training images; float32 arrays."""

    directions: npt.NDArray[np.float32]  # D,d
    reference: npt.NDArray[np.float32]  # M,d: training images, as `project` gives them
    scales: npt.NDArray[np.float32]  # mean and deviation of distance and energy; the limit

    @staticmethod
    def read(arrays: Arrays) -> Unlike | None:
        """What `tensors` gave; None for the arrays of an earlier score."""
        if arrays.keys() != Unlike.__dataclass_fields__.keys():
            return None
        return Unlike(**arrays)

    @property
    def limit(self) -> float:
        """The score from which an image is unlike: 1 of 100 validation images lies above it."""
        return float(self.scales[4])

    @staticmethod
    def fit(train: Floats, features: Floats, logits: Floats) -> Unlike | None:
        """Fit to features M,D of training images, and features and logits of validation images.

        None where there are fewer than 50 of either.
        """
        if min(len(train), len(features)) < LEAST:
            return None
        _, _, components = np.linalg.svd(unit(train), full_matrices=False)
        directions = components[:DIRECTIONS].T
        reference = project(train, directions)
        distances = nearest(project(features, directions), reference)
        energies = energy(logits)
        parts = [distances.mean(), distances.std() + TINY, energies.mean(), energies.std() + TINY]
        whole = (distances - parts[0]) / parts[1] + (energies - parts[2]) / parts[3]
        parts.append(np.quantile(whole, FAMILIAR))
        arrays = (directions, reference, np.array(parts))
        return Unlike(*(np.ascontiguousarray(array, dtype=np.float32) for array in arrays))

    def scores(self, features: Floats, logits: Floats) -> npt.NDArray[np.float32]:
        """The score of images with these features N,D and logits N,K."""
        distances = nearest(project(features, self.directions), self.reference)
        middle, deviation, usual, spread, _ = self.scales
        energies = (energy(logits) - usual) / spread
        return np.asarray((distances - middle) / deviation + energies, dtype=np.float32)

    def tensors(self) -> Arrays:
        """The arrays by name, as they are kept beside the weights."""
        return dict(vars(self))


def unit(features: Floats) -> Floats:
    """Features N,D of length 1."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / (lengths + TINY))


def project(features: Floats, directions: Floats) -> Floats:
    """Features N,D of length 1, in these directions D,d: of length 1 or less."""
    return np.asarray(unit(features) @ directions)


def nearest(features: Floats, reference: Floats) -> Floats:
    """The cosine distance to the nearest reference."""
    return np.asarray(1 - (features @ reference.T).max(axis=1))


def energy(logits: Floats) -> Floats:
    """Minus the logsumexp of the logits: high where no class stands out."""
    values = np.asarray(logits, dtype=np.float64)
    most = values.max(axis=1)
    return np.asarray(-most - np.log(np.exp(values - most[:, None]).sum(axis=1)))
