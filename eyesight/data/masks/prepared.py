"""Segmentation images with their masks, prepared and stored."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eyesight.data.decode import BadPicture, Problem
from eyesight.data.masks import legend
from eyesight.data.masks import pairs as masks
from eyesight.data.masks.legend import IGNORED, Colour, Key
from eyesight.data.masks.pairs import Pairs
from eyesight.data.prepare import Preparation, mask_to_pixels
from eyesight.data.store import Store, prepare_store, refuse_problems
from eyesight.errors import UserError
from eyesight.recipe import Data
from eyesight.system import cache
from eyesight.system.array_file import ArrayFile
from eyesight.system.digest import value_sha256
from eyesight.system.progress import Progress, Talk

FORMAT = 3


GUESSED = "no file names the classes, and the values are those of CamVid as SegNet numbers them: 11 is void (a classes.txt decides otherwise)"


@dataclass(frozen=True, eq=False)
class Prepared:
    """`classes` are those of the labels, or of the masks' pixels; row i of `masks` (uint8 N,H,W, mapped) belongs to row i of the store."""

    store: Store
    usable: npt.NDArray[np.bool_]
    classes: tuple[str, ...]
    masks: npt.NDArray[np.uint8] | ArrayFile | None = None
    colours: tuple[Colour, ...] = ()
    notes: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None  # N; images of one group stay on one side of the split


def _masked(wanted: Data, how: Preparation, talk: Talk, progress: Progress) -> Prepared:
    pairs = masks.open_pairs(wanted, talk)
    store = prepare_store(pairs.source, wanted, progress=progress, preparation=how)
    if not len(store.ids):
        raise UserError(
            f"{wanted.source} holds no picture that can be used", "`eyesight data` names every file"
        )
    rule = [
        FORMAT,
        store.key,
        pairs.fingerprint,
        wanted.ignore,
        pairs.legend and (pairs.legend.names, pairs.legend.colours),
    ]
    rule += [pairs.usual is not None]
    key = value_sha256(rule)
    folder, about = _recall(key) or _build(pairs, store, wanted.ignore, key, progress)
    problems = tuple(Problem(**problem) for problem in about["problems"])
    if wanted.strict:
        refuse_problems((*store.problems, *problems))
    usable = np.ones(len(store.ids), dtype=bool)
    usable[about["left_out"]] = False
    if not usable.any():
        first = f"{problems[0].id}: {problems[0].detail}" if problems else ""
        raise UserError(
            f"no mask in {wanted.source} can be used; the first, {first}",
            "check the masks and the file of class names",
        )
    planes = ArrayFile.from_npy(folder / "masks.npy")
    store = replace(store, problems=(*store.problems, *problems), key=key)
    colours = tuple(tuple(colour) for colour in about["colours"])
    return Prepared(
        store,
        usable,
        tuple(about["classes"]),
        planes,
        colours,
        (GUESSED,) if about["guessed"] else (),
    )


def _recall(key: str) -> tuple[Path, dict[str, Any]] | None:
    folder = cache.recall("masks", key)
    if folder is None:
        return None
    return folder, json.loads((folder / "masks.json").read_text("utf-8"))


def _build(
    pairs: Pairs, store: Store, ignore: str, cache_key: str, progress: Progress
) -> tuple[Path, dict[str, Any]]:
    """Read every mask twice, first for the values that occur, then to keep it; what cannot be used is a problem."""
    row = {name: place for place, name in enumerate(pairs.source.ids)}
    rows = [row[name] for name in store.ids]
    bad: dict[
        int, Problem
    ] = {}  # not the exceptions, which would keep the masks in which they were raised
    seen = np.zeros(1 << 16, dtype=bool)
    for place, index in enumerate(rows):
        try:
            seen[np.unique(masks.numbers(pairs, index)).clip(0, len(seen) - 1)] = True
        except BadPicture as problem:
            bad[place] = Problem(store.ids[place], problem.kind, problem.detail, fatal=True)
        progress(place + 1, 2 * len(rows))
    key = legend.key(pairs.legend, np.flatnonzero(seen), ignore, pairs.usual)
    shape = (len(rows), *store.preparation.shape[1:])
    with cache.build("masks") as building:
        planes = np.lib.format.open_memmap(
            building / "masks.npy", mode="w+", dtype=np.uint8, shape=shape
        )
        for place, index in enumerate(rows):
            if place not in bad:
                try:
                    planes[place] = mask_to_pixels(
                        in_classes(masks.numbers(pairs, index), key), store.preparation, IGNORED
                    )
                    if (planes[place] == IGNORED).all():
                        raise BadPicture("mask", "every pixel of its mask is ignored")
                except BadPicture as problem:
                    bad[place] = Problem(store.ids[place], problem.kind, problem.detail, fatal=True)
            progress(len(rows) + place + 1, 2 * len(rows))
        planes.flush()
        del planes  # Windows cannot rename a folder with a mapped file in it
        problems = [vars(problem) for _, problem in sorted(bad.items())]
        about: dict[str, Any] = {
            "classes": list(key.classes),
            "colours": [list(colour) for colour in key.colours],
            "problems": problems,
        }
        about |= {"left_out": sorted(bad), "guessed": key.guessed}
        (building / "masks.json").write_text(json.dumps(about), "utf-8")
        return cache.keep(building, cache_key, pairs.source.name), about


def in_classes(values: masks.Values, key: Key) -> npt.NDArray[np.uint8]:
    """Values H,W as class numbers, 255 where ignored; raises BadPicture for a value that means nothing."""
    clipped = np.clip(values, 0, len(key.places) - 1).astype(np.int64)
    found = key.places[clipped]
    if (found < 0).any() or (clipped != values).any():
        strange = np.unique(np.asarray(values)[(found < 0) | (clipped != values)])
        listed = ", ".join(map(str, strange[:5].tolist()))
        detail = f"its mask holds {listed}, and there are {len(key.classes)} classes: --set data.ignore={strange[0]} ignores it"
        raise BadPicture("mask value", detail)
    return np.asarray(found, dtype=np.uint8)
