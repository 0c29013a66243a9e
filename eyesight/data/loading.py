"""The store of a source and what is to be given for each of its pictures: a class, the picture itself, or a mask; without torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from eyesight.data.formats import folders
from eyesight.data.masks.prepared import Prepared, _masked
from eyesight.data.named import NAMED
from eyesight.data.opening import open_source
from eyesight.data.prepare import Preparation
from eyesight.data.source import Source, digest, is_picture, reader
from eyesight.data.store import asked_for, prepare_store
from eyesight.errors import UserError
from eyesight.recipe import Data
from eyesight.system.progress import Progress, Talk, silent

UNLABELLED = "unlabelled"


def prepared(
    wanted: Data,
    *,
    preparation: Preparation | None = None,
    talk: Talk = silent,
    progress: Progress = lambda done, total: None,
) -> Prepared:
    """The pictures that a recipe's data group asks for, prepared as it says or as `preparation` does; raises UserError."""
    if not wanted.source:
        raise UserError(
            "this recipe does not say where its pictures are",
            "name a folder, an archive or a named set with --data",
        )
    if wanted.target == "mask":
        return _masked(wanted, preparation or asked_for(wanted), talk, progress)
    if wanted.target == "picture":  # one class, or none, is enough to learn to restore pictures
        source = labelled(open_any(wanted.source, talk))
        store = prepare_store(
            source, wanted, progress=progress, preparation=preparation or asked_for(wanted)
        )
    else:
        source = open_source(wanted.source, talk=talk)
        store = prepare_store(
            source, wanted, progress=progress, strict=wanted.strict, preparation=preparation
        )
    return Prepared(store, np.ones(len(store.labels), dtype=bool), store.classes)


def open_any(where: str, talk: Talk = silent) -> Source:
    """As `open_source`, but a folder whose pictures lie in no class folders will do as well."""
    root = Path(where).expanduser()
    if where in NAMED or not root.is_dir():
        return open_source(where, talk=talk)
    tree = folders.walk(root)
    pictures = [file for file in tree.files if is_picture(file.place)]
    if (
        not pictures
        or any(len(file.parts) > 1 for file in pictures)
        or len(tree.files) > len(pictures)
    ):
        return open_source(where, talk=talk)
    return Source(
        name=where,
        classes=(),
        ids=tuple(file.id for file in pictures),
        labels=np.full(len(pictures), -1),
        splits=np.full(len(pictures), "", dtype="<U10"),
        read=reader([file.place for file in pictures]),
        pixels=None,
        fingerprint=digest(
            ["pictures", *((file.id, file.size, file.changed) for file in pictures)]
        ),
        problems=tuple(tree.problems),
    )


def labelled(source: Source) -> Source:
    """The source with a class of their own for pictures that have none."""
    if (source.labels >= 0).all():
        return source
    labels = np.where(source.labels < 0, len(source.classes), source.labels)
    return replace(source, classes=(*source.classes, UNLABELLED), labels=labels)
