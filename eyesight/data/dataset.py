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
from eyesight.data.loading import prepared
from eyesight.data.masks.images import Masked
from eyesight.data.masks.legend import IGNORED
from eyesight.data.masks.prepared import Prepared
from eyesight.data.opening import open_source
from eyesight.data.prepare import Preparation
from eyesight.data.split import Holdout, split, split_hash
from eyesight.data.store import Store, prepare_store
from eyesight.errors import UserError
from eyesight.system.progress import Talk, silent

LEAST = 100  # validation pictures, or a tenth of all where there are fewer than a thousand
HALF = 32  # characters of a hash, which tell pictures apart as well as all of it
OWN = 0.2  # of the extra pictures: held out
SHARE, MOST = 0.1, 50  # of the training pictures, and times that one extra picture may count
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
    own: Images | None = None  # held out of the extra pictures

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
            **(
                {"colours": [list(colour) for colour in self.train.colours]}
                if isinstance(self.train, Masked)
                else {}
            ),
        }


def load(
    wanted: recipe.Data, *, talk: Talk = silent, progress: Progress = lambda done, total: None
) -> Dataset:
    """The data set a recipe asks for; raises UserError when there is none or it cannot be trained on."""
    found = prepared(wanted, talk=talk, progress=progress)
    store = found.store
    known = max(1, int((store.labels >= 0).sum()))
    held = max(wanted.validation, min(0.1, LEAST / known)) if wanted.validation else 0.0
    division = split(
        store.labels,
        store.splits,
        store.digests,
        found.usable,
        Holdout(held, wanted.test, wanted.split_seed),
        store.classes,
        found.groups,
    )
    parts = division.parts
    notes = [*found.notes, *division.notes]
    images = every(found)
    divided = {name: images.subset(index) for name, index in parts.items()}
    if not len(divided["train"]):
        raise UserError(
            f"no pictures are left to train on in {wanted.source}",
            "hold out less: --set data.test=0.1",
        )
    made = Dataset(
        wanted.source,
        store,
        divided["train"],
        divided["validation"],
        divided["test"],
        tuple(notes),
        split_hash(store.ids, parts),
    )
    return with_extra(made, wanted, talk, progress) if wanted.extra else made


def whole(store: Store) -> Images:
    """Every picture of a store."""
    return Images.of(store.pixels, store.labels, store.classes, store.ids)


def every(found: Prepared) -> Images:
    """Every picture, with its mask where it has one."""
    images = whole(found.store)
    if found.masks is None:
        return images
    return Masked(
        images.pixels,
        images.rows,
        images.labels,
        found.classes,
        images.ids,
        found.masks,
        found.colours,
    )


def with_extra(
    data: Dataset,
    wanted: recipe.Data,
    talk: Talk = silent,
    progress: Progress = lambda done, total: None,
) -> Dataset:
    """The data set with the pictures of `wanted.extra` among the training pictures, a fifth of each class held out as `own`.

    Copies of what the data holds are left out: held out, they would have been learnt from.
    A few drawn by hand among MNIST's 60,000 would teach nothing, so each counts as often as makes them a tenth of all, up to MOST times.
    Raises UserError for a class that is not in the data, and for pictures that do not fit in memory.
    """
    if wanted.target != "class":
        raise UserError(
            f"more training pictures can be joined to classes only, not with a {wanted.target} as target",
            "leave out data.extra",
        )
    source = open_source(wanted.extra, talk=talk)
    store = prepare_store(
        source, recipe.Data(wanted.extra), progress=progress, preparation=data.store.preparation
    )
    labels = labels_of(store.labels, store.classes, data.store.classes, wanted.extra, "the data")
    seen = set(data.store.digests)
    usable = np.array([digest not in seen for digest in store.digests], dtype=bool)
    unsplit = np.full(len(labels), "")
    holdout = Holdout(0.0, OWN, wanted.split_seed)
    parts = split(labels, unsplit, store.digests, usable, holdout).parts
    extra = Images.of(store.pixels, labels, data.store.classes, store.ids)
    more, train = extra.subset(parts["train"]).resident(), data.train.resident()
    if not isinstance(train.pixels, Tensor) or not isinstance(more.pixels, Tensor):
        raise UserError(
            "the training pictures are too many to join others to them in memory",
            "choose a smaller data.size",
        )
    times = min(MOST, max(1, round(SHARE * len(train) / max(1, len(more)))))
    rows = torch.cat([train.rows, len(train) + more.rows.repeat(times)])
    joined = replace(
        train,
        pixels=torch.cat([train.pixels, more.pixels]),
        rows=rows,
        labels=torch.cat([train.labels, more.labels.repeat(times)]),
        ids=train.ids + more.ids * times,
    )
    own = extra.subset(parts["test"])
    note = f"{len(more):,} pictures of {wanted.extra} join the training pictures, counted {times} times; {len(own):,} others are held out"
    note += f"; {int((~usable).sum()):,} copies of the data's own are left out" * (not usable.all())
    return replace(
        data,
        train=joined,
        own=own,
        notes=(*data.notes, note),
        hash=without_extra(data.hash) + store.key[:HALF],
    )


def without_extra(split: str) -> str:
    """The half of a split's hash that extra pictures leave as it is: data sets that differ in those alone share it."""
    return split[:HALF]


def labels_of(
    labels: NDArray[np.int64],
    names: tuple[str, ...],
    classes: tuple[str, ...],
    where: str,
    who: str,
) -> NDArray[np.int64]:
    """Labels that count in `names` as places in `classes`, -1 where there is none; raises UserError for a name that is not among them."""
    strangers = [name for name in names if name not in classes]
    if strangers:
        raise UserError(
            f"{who} does not know {', '.join(map(repr, strangers[:5]))}, which {where} holds",
            f"it knows {', '.join(classes[:20])}",
        )
    place = np.array([classes.index(name) for name in names], dtype=np.int64)
    return np.where(labels >= 0, place[labels], -1)


def to_judge(
    where: str, preparation: Preparation, classes: tuple[str, ...], *, talk: Talk = silent
) -> Images:
    """The labelled pictures at `where` (its test part, where it has one), prepared and labelled for a classifier of `classes`.

    Raises UserError when the data has a class the classifier does not know; the order of classes may differ.
    """
    found = prepared(recipe.Data(where), preparation=preparation, talk=talk)
    labels = labels_of(found.store.labels, found.classes, classes, where, "the classifier")
    images = Images.of(found.store.pixels, labels, classes, found.store.ids)
    return images.subset(test_part(found.store, labels >= 0))


def to_judge_by(
    wanted: recipe.Data, preparation: Preparation, classes: tuple[str, ...], *, talk: Talk = silent
) -> Images:
    """As `to_judge`, for whatever a recipe's data group has as its target."""
    if wanted.target == "class":
        return to_judge(wanted.source, preparation, classes, talk=talk)
    found = prepared(wanted, preparation=preparation, talk=talk)
    images = every(found)
    if isinstance(images, Masked):
        places = np.full(256, IGNORED, dtype=np.int64)
        places[: len(found.classes)] = labels_of(
            np.arange(len(found.classes)), found.classes, classes, wanted.source, "the classifier"
        )
        images = images.renamed(places, classes)
    return images.subset(test_part(found.store, found.usable))


def test_part(store: Store, known: np.ndarray) -> np.ndarray:
    """Places of the pictures that may be judged on: those of the test part, or all where the data has none."""
    chosen = known & (store.splits == "test") if (store.splits[known] == "test").any() else known
    return np.flatnonzero(chosen)
