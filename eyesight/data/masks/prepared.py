"""Segmentation images with their masks, prepared and stored."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eyesight.data.decode import BadPicture, Problem
from eyesight.data.masks.legend import IGNORED, Colour
from eyesight.data.masks.pairs import Pairs, open_pairs
from eyesight.data.masks.survey import as_problem, in_classes, survey
from eyesight.data.prepare import Preparation, mask_to_pixels
from eyesight.data.store import Store, prepare_store, refuse_problems
from eyesight.errors import UserError
from eyesight.recipe import Data
from eyesight.system import cache
from eyesight.system.array_file import ArrayFile
from eyesight.system.digest import value_sha256
from eyesight.system.json_value import parse_json
from eyesight.system.progress import Progress, Talk

FORMAT = 4
GUESSED = (
    "no file of class names; the values match SegNet's numbering of CamVid, with 11 as void "
    "(add a classes.txt to change this)"
)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Images ready to train on; `classes` are those of the labels, or of the masks' pixels.

    Row i of `masks` (uint8 N,H,W, mapped from a file) belongs to row i of the store.
    """

    store: Store
    usable: npt.NDArray[np.bool_]
    classes: tuple[str, ...]
    masks: npt.NDArray[np.uint8] | ArrayFile | None = None
    colours: tuple[Colour, ...] = ()
    notes: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None  # N; images of one group stay on one side of the split


def prepare_masks(data: Data, preparation: Preparation, talk: Talk, progress: Progress) -> Prepared:
    """The images and masks that a recipe's data group asks for, from the cache or made anew.

    Raises UserError where no mask can be used, and for bad files under `data.strict`.
    """
    pairs = open_pairs(data, talk)
    store = prepare_store(pairs.source, data, progress=progress, preparation=preparation)
    if not len(store.ids):
        raise UserError(f"{data.source} has no usable image", "`eyesight data` lists every file")
    names = None
    if pairs.legend is not None:
        names = (pairs.legend.names, pairs.legend.colours)
    rule = [FORMAT, store.key, pairs.fingerprint, data.ignore, names, pairs.usual is not None]
    key = value_sha256(rule)
    folder, facts = _recall(key) or _build(pairs, store, data.ignore, key, progress)
    problems = tuple(Problem(**problem) for problem in facts["problems"])
    if data.strict:
        refuse_problems((*store.problems, *problems))
    usable = np.ones(len(store.ids), dtype=bool)
    usable[facts["left_out"]] = False
    if not usable.any():
        first = f"{problems[0].id}: {problems[0].detail}" if problems else ""
        raise UserError(
            f"no mask in {data.source} is usable; the first, {first}",
            "check the masks and the file of class names",
        )
    planes = ArrayFile.from_npy(folder / "masks.npy")
    store = replace(store, problems=(*store.problems, *problems), key=key)
    colours = tuple(tuple(colour) for colour in facts["colours"])
    notes = list(pairs.source.notes)
    notes += [GUESSED] if facts["guessed"] else []
    notes += facts["notes"]
    return Prepared(store, usable, tuple(facts["classes"]), planes, colours, tuple(notes))


def _recall(key: str) -> tuple[Path, dict[str, Any]] | None:
    """The folder of stored masks and what was written beside them.

    None where they are not there.
    """
    folder = cache.recall("masks", key)
    if folder is None:
        return None
    return folder, parse_json((folder / "masks.json").read_text("utf-8"))


def _build(
    pairs: Pairs, store: Store, ignore: str, cache_key: str, progress: Progress
) -> tuple[Path, dict[str, Any]]:
    """Read every mask twice, first for the values that occur, then to keep it."""
    row_of = {name: row for row, name in enumerate(pairs.source.ids)}
    rows = [row_of[name] for name in store.ids]
    count = len(rows)
    surveyed = survey(pairs, rows, ignore, lambda done: progress(done, 2 * count))
    key = surveyed.key
    bad = dict(surveyed.bad)
    shape = (count, *store.preparation.shape[1:])
    with cache.build("masks") as building:
        planes = np.lib.format.open_memmap(
            building / "masks.npy", mode="w+", dtype=np.uint8, shape=shape
        )
        for place, row in enumerate(rows):
            if place not in bad:
                try:
                    classes = in_classes(pairs.mask(row), pairs, key)
                    planes[place] = _resized(classes, store.preparation)
                except BadPicture as problem:
                    bad[place] = as_problem(pairs, row, problem)
            progress(count + place + 1, 2 * count)
        planes.flush()
        del planes  # Windows cannot rename a folder with a mapped file in it
        facts: dict[str, Any] = {
            "classes": list(key.classes),
            "colours": [list(colour) for colour in key.colours],
            "problems": [vars(problem) for _, problem in sorted(bad.items())],
            "left_out": sorted(bad),
            "guessed": key.guessed,
            "notes": surveyed.notes,
        }
        (building / "masks.json").write_text(json.dumps(facts), "utf-8")
        return cache.keep(building, cache_key, pairs.source.name), facts


def _resized(classes: npt.NDArray[np.uint8], preparation: Preparation) -> npt.NDArray[np.uint8]:
    """A mask of the network's size; raises BadPicture where nothing of it is left to learn from."""
    plane = mask_to_pixels(classes, preparation, IGNORED)
    if (plane == IGNORED).all():
        raise BadPicture("mask", "every pixel of its mask is ignored")
    return plane
