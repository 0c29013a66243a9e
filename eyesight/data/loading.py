"""A store together with its targets: classes, the images themselves, or masks; without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from eyesight.data.formats import listing
from eyesight.data.formats.folders import UnclearError, open_unlabelled
from eyesight.data.layout import Layout
from eyesight.data.masks.prepared import Prepared, prepare_masks
from eyesight.data.opening import open_source
from eyesight.data.prepare import Preparation
from eyesight.data.source import Source
from eyesight.data.stacked import stack_stores
from eyesight.data.store import preparation_of, prepare_store
from eyesight.errors import UserError
from eyesight.recipe import Data
from eyesight.system.progress import Progress, Talk, no_progress, silent

UNLABELLED = "unlabelled"


def prepare_data(
    data: Data,
    *,
    preparation: Preparation | None = None,
    talk: Talk = silent,
    progress: Progress = no_progress,
) -> Prepared:
    """The images that a recipe's data group asks for, with their targets.

    They are prepared as `preparation` says, or else as `data` does. Raises UserError.
    """
    if preparation is not None and preparation.parts:
        return _prepare_parts(data, preparation, talk, progress)
    if not data.source:
        raise UserError(
            "this recipe has no data",
            "name a folder, an archive or a named set with --data",
        )
    if data.target == "mask":
        return prepare_masks(data, preparation or preparation_of(data), talk, progress)
    layout = Layout.of(data)
    if data.target == "picture":
        # One class, or none, is enough to learn to restore images.
        source = label_all(open_any(data.source, layout, talk))
        preparation = preparation or preparation_of(data)
    else:
        source = open_source(data.source, layout=layout, talk=talk)
    store = prepare_store(
        source, data, progress=progress, strict=data.strict, preparation=preparation
    )
    usable = np.ones(len(store.labels), dtype=bool)
    groups = groups_of(source, store.ids)
    return Prepared(store, usable, store.classes, notes=source.notes, groups=groups)


def _prepare_parts(
    data: Data, preparation: Preparation, talk: Talk, progress: Progress
) -> Prepared:
    """The images in every version that the members of a blend see."""
    versions = []
    for part in preparation.parts:
        versions.append(prepare_data(data, preparation=part, talk=talk, progress=progress))
    store = stack_stores([version.store for version in versions], preparation)
    return replace(versions[0], store=store)


def groups_of(source: Source, ids: Sequence[str]) -> tuple[str, ...] | None:
    """The groups of the images with these ids; None where the source has none."""
    if source.groups is None:
        return None
    group_of = dict(zip(source.ids, source.groups, strict=True))
    return tuple(group_of[name] for name in ids)


def open_any(where: str, layout: Layout, talk: Talk = silent) -> Source:
    """As `open_source`, but the images of a folder need not lie in class folders."""
    try:
        return open_source(where, layout=layout, talk=talk)
    except UnclearError:
        return open_unlabelled(where, listing.walk(Path(where).expanduser()))


def label_all(source: Source) -> Source:
    """The source with a class of their own for images that have none."""
    if (source.labels >= 0).all():
        return source
    labels = np.where(source.labels < 0, len(source.classes), source.labels)
    return replace(source, classes=(*source.classes, UNLABELLED), labels=labels)
