"""The store of a source and what is to be given for each of its pictures: a class, the picture itself, or a mask; without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from eyesight.data.formats import listing
from eyesight.data.formats.folders import UnclearError, open_unlabelled
from eyesight.data.layout import Layout
from eyesight.data.masks.prepared import Prepared, _masked
from eyesight.data.opening import open_source
from eyesight.data.prepare import Preparation
from eyesight.data.source import Source
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
    layout = Layout.of(wanted)
    if wanted.target == "picture":  # one class, or none, is enough to learn to restore pictures
        source = labelled(open_any(wanted.source, layout, talk))
        preparation = preparation or asked_for(wanted)
    else:
        source = open_source(wanted.source, layout=layout, talk=talk)
    store = prepare_store(
        source, wanted, progress=progress, strict=wanted.strict, preparation=preparation
    )
    usable = np.ones(len(store.labels), dtype=bool)
    groups = groups_of(source, store.ids)
    return Prepared(store, usable, store.classes, notes=source.notes, groups=groups)


def groups_of(source: Source, ids: Sequence[str]) -> tuple[str, ...] | None:
    """The groups of the images with these ids; None where the source has none."""
    if source.groups is None:
        return None
    group_of = dict(zip(source.ids, source.groups, strict=True))
    return tuple(group_of[name] for name in ids)


def open_any(where: str, layout: Layout, talk: Talk = silent) -> Source:
    """As `open_source`, but a folder whose pictures lie in no class folders will do as well."""
    try:
        return open_source(where, layout=layout, talk=talk)
    except UnclearError:
        return open_unlabelled(where, listing.walk(Path(where).expanduser()))


def labelled(source: Source) -> Source:
    """The source with a class of their own for pictures that have none."""
    if (source.labels >= 0).all():
        return source
    labels = np.where(source.labels < 0, len(source.classes), source.labels)
    return replace(source, classes=(*source.classes, UNLABELLED), labels=labels)
