"""A data set ready to train on: the store of a source, divided into training, validation and test pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from eyesight import recipe
from eyesight.data.images import Images
from eyesight.data.legend import IGNORED
from eyesight.data.listing import Talk, silent
from eyesight.data.masked import Masked
from eyesight.data.prepare import Preparation
from eyesight.data.prepared import Prepared, prepared
from eyesight.data.split import split, split_hash
from eyesight.data.store import Store
from eyesight.errors import UserError

LEAST = 100  # validation pictures, or a tenth of all where there are fewer than a thousand
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Dataset:
    """`notes` are remarks for people; `hash` changes when any picture changes sides."""

    name: str
    store: Store  # of the pictures
    train: Images
    validation: Images
    test: Images
    notes: tuple[str, ...]
    hash: str

    def facts(self) -> dict[str, Any]:
        """What a run keeps of its data, as plain JSON values."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            "name": self.name,
            "classes": list(self.train.classes),
            "counts": {name: len(images) for name, images in parts.items()},
            "per_class": {name: images.counts.tolist() for name, images in parts.items()},
            "problems": [vars(problem) for problem in self.store.problems],
            "notes": list(self.notes),
            "preparation": self.store.preparation.to_dict(),
            "store": self.store.key,
            "split": self.hash,
            **({"colours": [list(colour) for colour in self.train.colours]} if isinstance(self.train, Masked) else {}),
        }


def load(wanted: recipe.Data, *, talk: Talk = silent, progress: Progress = lambda done, total: None) -> Dataset:
    """The data set a recipe asks for; raises UserError when there is none or it cannot be trained on."""
    found = prepared(wanted, talk=talk, progress=progress)
    store, notes = found.store, list[str]()
    known = max(1, int((store.labels >= 0).sum()))
    held = max(wanted.validation, min(0.1, LEAST / known)) if wanted.validation else 0.0
    parts = split(store.labels, store.splits, store.digests, found.usable, held, wanted.test, wanted.split_seed, notes, store.classes)
    images = whole(found)
    divided = {name: images.subset(index) for name, index in parts.items()}
    if not len(divided["train"]):
        raise UserError(f"no pictures are left to train on in {wanted.source}", "hold out less: --set data.test=0.1")
    return Dataset(
        wanted.source, store, divided["train"], divided["validation"], divided["test"], tuple(notes), split_hash(store.ids, parts)
    )


def whole(found: Prepared) -> Images:
    """Every picture of a store, with its mask where it has one."""
    store = found.store
    images = Images.of(store.pixels, store.labels, found.classes, store.ids)
    if found.masks is None:
        return images
    return Masked(images.pixels, images.rows, images.labels, images.classes, images.ids, found.masks, found.colours)


def to_judge(where: str, preparation: Preparation, classes: tuple[str, ...], *, talk: Talk = silent) -> Images:
    """The labelled pictures at `where` (its test part, where it has one), prepared and labelled for a classifier of `classes`.

    Raises UserError when the data has a class the classifier does not know; the order of classes may differ.
    """
    found = prepared(recipe.Data(where), preparation=preparation, talk=talk)
    labels = at_place(found.store.labels, found.classes, classes, where)
    images = Images.of(found.store.pixels, labels, classes, found.store.ids)
    return images.subset(test_part(found.store, labels >= 0))


def to_judge_by(wanted: recipe.Data, preparation: Preparation, classes: tuple[str, ...], *, talk: Talk = silent) -> Images:
    """As `to_judge`, for whatever a recipe's data group has as its target."""
    if wanted.target == "class":
        return to_judge(wanted.source, preparation, classes, talk=talk)
    found = prepared(wanted, preparation=preparation, talk=talk)
    images = whole(found)
    if isinstance(images, Masked):
        places = np.full(256, IGNORED, dtype=np.int64)
        places[: len(found.classes)] = at_place(np.arange(len(found.classes)), found.classes, classes, wanted.source)
        images = images.renamed(places, classes)
    return images.subset(test_part(found.store, found.usable))


def at_place(labels: np.ndarray, names: tuple[str, ...], classes: tuple[str, ...], where: str) -> np.ndarray:
    """Labels that count in `names` as places in `classes`, -1 where they are unknown; raises UserError for names that are not there."""
    strangers = [name for name in names if name not in classes]
    if strangers:
        raise UserError(
            f"the classifier does not know {', '.join(map(repr, strangers[:5]))}, which {where} holds",
            f"it knows {', '.join(classes[:20])}",
        )
    place = np.array([classes.index(name) for name in names], dtype=np.int64)
    return np.where(labels >= 0, place[labels], -1)


def test_part(store: Store, known: np.ndarray) -> np.ndarray:
    """Places of the pictures that may be judged on: those of the test part, or all where the data has none."""
    chosen = known & (store.splits == "test") if (store.splits[known] == "test").any() else known
    return np.flatnonzero(chosen)
