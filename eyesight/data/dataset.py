"""A data set ready to train on: the store of a source, divided into training, validation and test pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyesight import recipe
from eyesight.data.images import Images
from eyesight.data.listing import Talk, silent
from eyesight.data.prepare import Preparation
from eyesight.data.sources import open_source
from eyesight.data.split import split, split_hash
from eyesight.data.store import Store, prepare_store
from eyesight.errors import UserError

LEAST = 100  # validation pictures, or a tenth of all where there are fewer than a thousand
OWN = 0.2  # of the extra pictures: held out
SHARE, MOST = 0.1, 50  # of the training pictures, and times that one extra picture may count
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
    own: Images | None = None  # held out of the extra pictures

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
    made = Dataset(
        wanted.source, store, divided["train"], divided["validation"], divided["test"], tuple(notes), split_hash(store.ids, parts)
    )
    return with_extra(made, wanted, talk) if wanted.extra else made


def whole(store: Store) -> Images:
    """Every picture of a store."""
    return Images.of(store.pixels, store.labels, store.classes, store.ids)


def with_extra(data: Dataset, wanted: recipe.Data, talk: Talk = silent) -> Dataset:
    """The data set with the pictures of `wanted.extra` among the training pictures, a fifth of each class held out as `own`.

    A few drawn by hand among MNIST's 60,000 would teach nothing, so each counts as often as makes them a tenth of all, up to MOST times.
    Raises UserError for a class that is not in the data, and for pictures that do not fit in memory.
    """
    store = prepare_store(open_source(wanted.extra, talk=talk), recipe.Data(wanted.extra), preparation=data.store.preparation)
    labels = labels_of(store, data.store.classes, wanted.extra, "the data")
    seen = {data.store.digests[row] for images in (data.validation, data.test) for row in images.rows.tolist()}
    usable = np.array([digest not in seen for digest in store.digests], dtype=bool)
    unsplit = np.full(len(labels), "")
    parts = split(labels, unsplit, store.digests, usable, 0.0, OWN, wanted.split_seed, [], data.store.classes)
    more, train = whole(replace(store, labels=labels, classes=data.store.classes)).subset(parts["train"]).resident(), data.train.resident()
    if not isinstance(train.pixels, Tensor) or not isinstance(more.pixels, Tensor):
        raise UserError("the training pictures are too many to join others to them in memory", "choose a smaller data.size")
    times = min(MOST, max(1, round(SHARE * len(train) / max(1, len(more)))))
    rows = torch.cat([train.rows, len(train) + more.rows.repeat(times)])
    joined = replace(
        train,
        pixels=torch.cat([train.pixels, more.pixels]),
        rows=rows,
        labels=torch.cat([train.labels, more.labels.repeat(times)]),
        ids=train.ids + more.ids * times,
    )
    own = whole(replace(store, labels=labels, classes=data.store.classes)).subset(parts["test"])
    note = f"{len(more):,} pictures of {wanted.extra} join the training pictures, counted {times} times; {len(own):,} others are held out"
    return replace(data, train=joined, own=own, notes=(*data.notes, note), hash=f"{data.hash[:32]}{store.key[:32]}")


def labels_of(store: Store, classes: tuple[str, ...], where: str, who: str) -> NDArray[np.int64]:
    """The labels of a store in another order of classes, -1 where there is none; raises UserError for a class that is not among them."""
    strangers = [name for name in store.classes if name not in classes]
    if strangers:
        raise UserError(
            f"{who} does not know {', '.join(map(repr, strangers[:5]))}, which {where} holds", f"it knows {', '.join(classes[:20])}"
        )
    place = np.array([classes.index(name) for name in store.classes], dtype=np.int64)
    return np.where(store.labels >= 0, place[store.labels], -1)


def to_judge(where: str, preparation: Preparation, classes: tuple[str, ...], *, talk: Talk = silent) -> Images:
    """The labelled pictures at `where` (its test part, where it has one), prepared and labelled for a classifier of `classes`.

    Raises UserError when the data has a class the classifier does not know; the order of classes may differ.
    """
    store = prepare_store(open_source(where, talk=talk), recipe.Data(where), preparation=preparation)
    labels, known, images = labels_of(store, classes, where, "the classifier"), store.labels >= 0, whole(store)
    chosen = known & (store.splits == "test") if (store.splits[known] == "test").any() else known
    return Images.of(images.pixels, labels, classes, store.ids).subset(np.flatnonzero(chosen))  # type: ignore[arg-type]
