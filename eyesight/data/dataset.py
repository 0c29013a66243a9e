"""A data set ready to train on: the store of a source, divided into training, validation and test pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from eyesight import recipe
from eyesight.data.images import Images
from eyesight.data.listing import Talk, silent
from eyesight.data.prepare import Preparation
from eyesight.data.sources import open_source
from eyesight.data.split import split, split_hash
from eyesight.data.store import Store, prepare_store
from eyesight.errors import UserError

LEAST = 100  # validation pictures, or a tenth of all where there are fewer than a thousand
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Dataset:
    """`notes` are remarks for people; `hash` changes when any picture changes sides."""

    name: str
    store: Store
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
            "classes": list(self.store.classes),
            "counts": {name: len(images) for name, images in parts.items()},
            "per_class": {name: images.counts.tolist() for name, images in parts.items()},
            "problems": [vars(problem) for problem in self.store.problems],
            "notes": list(self.notes),
            "preparation": self.store.preparation.to_dict(),
            "store": self.store.key,
            "split": self.hash,
        }


def load(wanted: recipe.Data, *, talk: Talk = silent, progress: Progress = lambda done, total: None) -> Dataset:
    """The data set a recipe asks for; raises UserError when there is none or it cannot be trained on."""
    if not wanted.source:
        raise UserError("this recipe does not say where its pictures are", "name a folder, an archive or a named set with --data")
    store = prepare_store(open_source(wanted.source, talk=talk), wanted, progress=progress, strict=wanted.strict)
    notes: list[str] = []
    usable = np.ones(len(store.labels), dtype=bool)
    known = max(1, int((store.labels >= 0).sum()))
    held = max(wanted.validation, min(0.1, LEAST / known)) if wanted.validation else 0.0
    parts = split(
        store.labels, store.splits, store.digests, usable, held, wanted.test, wanted.split_seed, notes, store.classes
    )  # the store holds usable pictures only
    images = whole(store)
    divided = {name: images.subset(index) for name, index in parts.items()}
    if not len(divided["train"]):
        raise UserError(f"no pictures are left to train on in {wanted.source}", "hold out less: --set data.test=0.1")
    return Dataset(
        wanted.source, store, divided["train"], divided["validation"], divided["test"], tuple(notes), split_hash(store.ids, parts)
    )


def whole(store: Store) -> Images:
    """Every picture of a store."""
    return Images.of(store.pixels, store.labels, store.classes, store.ids)


def to_judge(where: str, preparation: Preparation, classes: tuple[str, ...], *, talk: Talk = silent) -> Images:
    """The labelled pictures at `where` (its test part, where it has one), prepared and labelled for a classifier of `classes`.

    Raises UserError when the data has a class the classifier does not know; the order of classes may differ.
    """
    store = prepare_store(open_source(where, talk=talk), recipe.Data(where), preparation=preparation)
    strangers = [name for name in store.classes if name not in classes]
    if strangers:
        raise UserError(
            f"the classifier does not know {', '.join(map(repr, strangers[:5]))}, which {where} holds",
            f"it knows {', '.join(classes[:20])}",
        )
    images = whole(store)
    place = np.array([classes.index(name) for name in store.classes], dtype=np.int64)
    known = store.labels >= 0
    labels = np.where(known, place[store.labels], -1)
    chosen = known & (store.splits == "test") if (store.splits[known] == "test").any() else known
    return Images.of(images.pixels, labels, classes, store.ids).subset(np.flatnonzero(chosen))  # type: ignore[arg-type]
