"""A data set ready to train on: a store divided into training, validation and test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyesight import recipe
from eyesight.data.corrected import Corrected, correct
from eyesight.data.facts import DataFacts
from eyesight.data.images import Images
from eyesight.data.layout import Layout
from eyesight.data.loading import prepare_data
from eyesight.data.masks.images import Masked
from eyesight.data.masks.legend import IGNORED
from eyesight.data.masks.prepared import Prepared
from eyesight.data.opening import open_source
from eyesight.data.prepare import Preparation
from eyesight.data.split import Holdout, split, split_hash
from eyesight.data.store import Store, prepare_store
from eyesight.errors import UserError
from eyesight.system.progress import Progress, Talk, no_progress, silent

MIN_VALIDATION = 100  # images, or a tenth of all where there are fewer than a thousand
HASH_LENGTH = 32  # characters of a hash, which tell splits apart as well as all 64
OWN_SHARE = 0.2  # of the extra images are held out
EXTRA_SHARE = 0.1  # of the training images that extra ones are repeated to become …
MAX_REPEATS = 50  # … but each at most so often


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of a store in three parts; `hash` changes when any image changes sides."""

    name: str
    store: Store
    train: Images
    validation: Images
    test: Images
    notes: tuple[str, ...]  # for people
    hash: str
    own: Images | None = None  # held out of the extra images
    corrected: Corrected | None = None

    def facts(self) -> DataFacts:
        """What a run keeps of its data, as plain JSON values."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        facts = DataFacts(
            name=self.name,
            classes=list(self.train.classes),
            counts={name: len(images) for name, images in parts.items()},
            per_class={name: images.counts.tolist() for name, images in parts.items()},
            problems=[vars(problem) for problem in self.store.problems],
            notes=list(self.notes),
            preparation=self.store.preparation.to_dict(),
            store=self.store.key,
            split=self.hash,
        )
        if isinstance(self.train, Masked):
            facts["colours"] = [list(colour) for colour in self.train.colours]
        if self.corrected is not None:
            facts["corrections"] = self.corrected.facts
        return facts


def load(
    data: recipe.Data,
    *,
    preparation: Preparation | None = None,
    talk: Talk = silent,
    progress: Progress = no_progress,
) -> Dataset:
    """The data set that a recipe asks for, prepared as `preparation` says, or else as it does.

    Raises UserError when there is none or it cannot be trained on.
    """
    prepared = prepare_data(data, preparation=preparation, talk=talk, progress=progress)
    store = prepared.store
    notes = list(prepared.notes)
    validation = data.validation
    if validation and not data.fold:  # a fold has its own size
        labelled = max(1, int((store.labels >= 0).sum()))
        validation = max(validation, min(0.1, MIN_VALIDATION / labelled))
    if validation > data.validation and not (store.splits == "validation").any():
        notes.append(
            f"data.validation is {validation:.2g} instead of {data.validation:g}: fewer than "
            f"{MIN_VALIDATION} validation images are too few to choose an epoch"
        )
    division = split(
        store.labels,
        store.splits,
        store.digests,
        prepared.usable,
        Holdout(validation, data.test, data.split_seed, data.fold),
        store.classes,
        prepared.groups,
    )
    parts = division.parts
    images = all_images(prepared)
    divided = {name: images.subset(index) for name, index in parts.items()}
    divided, corrected = correct(divided, store, data)
    if not len(divided["train"]):
        raise UserError(
            f"no training images are left in {data.source}",
            "hold out less: --set data.test=0.1",
        )
    notes += division.notes
    division_hash = split_hash(store.ids, parts)
    if corrected is not None:
        notes.append(corrected.note)
        division_hash = division_hash[:HASH_LENGTH] + corrected.facts["sha256"][:HASH_LENGTH]
    dataset = Dataset(
        name=data.source,
        store=store,
        train=divided["train"],
        validation=divided["validation"],
        test=divided["test"],
        notes=tuple(notes),
        hash=division_hash,
        corrected=corrected,
    )
    return add_extra(dataset, data, talk, progress) if data.extra else dataset


def images_of(store: Store) -> Images:
    """Every image of a store."""
    return Images.of(store.pixels, store.labels, store.classes, store.ids)


def all_images(prepared: Prepared) -> Images:
    """Every image, with its mask where it has one."""
    images = images_of(prepared.store)
    if prepared.masks is None:
        return images
    return Masked(
        images.pixels,
        images.rows,
        images.labels,
        prepared.classes,
        images.ids,
        prepared.masks,
        prepared.colours,
    )


def add_extra(
    dataset: Dataset, data: recipe.Data, talk: Talk = silent, progress: Progress = no_progress
) -> Dataset:
    """The data set with the images of `data.extra` among the training images.

    A fifth of each class is held out as `own`, and a fifth of all where the classes are too small
    for that: of five images one. Exact copies of images in the data are left out: held out, they
    would have been learnt from. A few images among MNIST's 60,000 would teach nothing, so each is
    repeated until they are a tenth of all, at most 50 times. Raises UserError for a class that is
    not in the data, and for images that do not fit in memory.
    """
    if data.target != "class":
        raise UserError(
            f"data.extra works only with classes, but the target is a {data.target}",
            "leave out data.extra",
        )
    store = prepare_store(
        open_source(data.extra, talk=talk),
        recipe.Data(data.extra),
        progress=progress,
        preparation=dataset.store.preparation,
    )
    class_names = dataset.store.classes
    labels = renumber(store.labels, store.classes, class_names, data.extra, "the data")
    learnt = set(dataset.store.digests)
    is_new = np.array([digest not in learnt for digest in store.digests], dtype=bool)
    holdout = Holdout(0.0, OWN_SHARE, data.split_seed)
    parts = split(labels, np.full(len(labels), ""), store.digests, is_new, holdout).parts
    parts = with_held_out_share(parts, labels, store.digests)
    extra = Images.of(store.pixels, labels, class_names, store.ids)
    added, own = extra.subset(parts["train"]).resident(), extra.subset(parts["test"])
    repeats = round(EXTRA_SHARE * len(dataset.train) / max(1, len(added)))
    repeats = min(MAX_REPEATS, max(1, repeats))
    note = (
        f"{len(added):,} images of {data.extra} added to the training images, each repeated "
        f"{repeats} times; {len(own):,} others held out"
    )
    if not is_new.all():
        note += f"; {int((~is_new).sum()):,} duplicates of the data's own images left out"
    return replace(
        dataset,
        train=_joined(dataset.train.resident(), added, repeats),
        own=own,
        notes=(*dataset.notes, note),
        hash=base_hash(dataset.hash) + store.key[:HASH_LENGTH],
    )


def with_held_out_share(
    parts: dict[str, NDArray[np.int64]], labels: NDArray[np.int64], digests: Sequence[str]
) -> dict[str, NDArray[np.int64]]:
    """The parts with OWN_SHARE of all images in "test", taken from the largest classes in "train".

    Copies of an image stay together.
    """
    train, test = parts["train"].tolist(), parts["test"].tolist()
    share = int(OWN_SHARE * (len(train) + len(test)))
    while len(test) < share:
        counts = np.bincount(labels[train])
        first = min(train, key=lambda place: (-counts[labels[place]], digests[place]))
        copies = [place for place in train if digests[place] == digests[first]]
        train = [place for place in train if place not in copies]
        test += copies
    return {**parts, "train": np.array(train, np.int64), "test": np.array(sorted(test), np.int64)}


def _joined(train: Images, added: Images, repeats: int) -> Images:
    """The training images and those added, each so often."""
    if not isinstance(train.pixels, Tensor) or not isinstance(added.pixels, Tensor):
        raise UserError(
            "the training images are too large to add others in memory",
            "choose a smaller data.size",
        )
    return replace(
        train,
        pixels=torch.cat([train.pixels, added.pixels]),
        rows=torch.cat([train.rows, len(train) + added.rows.repeat(repeats)]),
        labels=torch.cat([train.labels, added.labels.repeat(repeats)]),
        ids=train.ids + added.ids * repeats,
    )


def base_hash(split: str) -> str:
    """The part of a split's hash that extra images leave as it is."""
    return split[:HASH_LENGTH]


def renumber(
    labels: NDArray[np.int64],
    from_names: tuple[str, ...],
    to_names: tuple[str, ...],
    place: str,
    owner: str,
) -> NDArray[np.int64]:
    """Labels that count in `from_names` as numbers in `to_names`; -1 stays.

    Raises UserError, which says that `owner` does not know a class in `place`.
    """
    unknown = [name for name in from_names if name not in to_names]
    if unknown:
        raise UserError(
            f"{owner} does not have the classes {', '.join(map(repr, unknown[:5]))} of {place}",
            f"its classes are {', '.join(to_names[:20])}",
        )
    numbers = np.array([to_names.index(name) for name in from_names], dtype=np.int64)
    return np.where(labels >= 0, numbers[labels], -1)


def evaluation_images(
    data: recipe.Data, preparation: Preparation, classes: tuple[str, ...], *, talk: Talk = silent
) -> Images:
    """The labelled images of `data` that a classifier of `classes` is evaluated on.

    They are those of the test part, or all where the data has none, prepared as the classifier
    expects. Raises UserError when the data has a class that the classifier does not know; the order
    of classes may differ.
    """
    if data.target == "class":
        prepared = _prepare_other(data, preparation, talk)
    else:
        prepared = prepare_data(data, preparation=preparation, talk=talk)
    store = prepared.store
    if data.target == "class":
        labels = renumber(store.labels, prepared.classes, classes, data.source, "the classifier")
        images = Images.of(store.pixels, labels, classes, store.ids)
        return images.subset(test_part(store, labels >= 0))
    images = all_images(prepared)
    if isinstance(images, Masked):
        names = prepared.classes
        numbers = np.full(256, IGNORED, dtype=np.int64)
        numbers[: len(names)] = renumber(
            np.arange(len(names)), names, classes, data.source, "the classifier"
        )
        images = images.renamed(numbers, classes)
    return images.subset(test_part(store, prepared.usable))


def _prepare_other(data: recipe.Data, preparation: Preparation, talk: Talk) -> Prepared:
    """Other images than those of the training, with its columns and levels where it has such."""
    plain = recipe.Data(data.source)
    layout = Layout.of(data)
    names = layout.set_fields(without=("group_column", "group_pattern", "group_file"))
    if not names:
        return prepare_data(plain, preparation=preparation, talk=talk)
    chosen = {name: getattr(layout, name) for name in names}
    try:
        return prepare_data(replace(plain, **chosen), preparation=preparation, talk=talk)
    except UserError as error:
        if error.code != 2:  # 2: the data has no such column, level or folder
            raise
        talk(f"{', '.join(f'data.{name}' for name in names)} from training: {error.message}")
        return prepare_data(plain, preparation=preparation, talk=talk)


def test_part(store: Store, usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows of the usable images in the test part, or of all usable ones where it is empty."""
    in_test = usable & (store.splits == "test")
    return np.flatnonzero(in_test if in_test.any() else usable)
