"""Stanford Dogs as its authors give it: `Images/n02085620-Chihuahua/…` and lists with the official split; breeds by their names.

All of its pictures come from ImageNet, so whatever was pretrained on ImageNet has seen them: results with such weights are optimistic.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from eyesight.data.listing import Source, digest
from eyesight.errors import UserError

SYNSET = re.compile(r"n\d{8}-(.+)")
LISTS = {"train_list.mat": "train", "test_list.mat": "test"}


def by_breed(source: Source) -> Source:
    """Classes such as `n02085620-Chihuahua` by the breed alone, when all are named so and no two breeds would be one."""
    found = [SYNSET.fullmatch(name) for name in source.classes]
    breeds = tuple(match[1].replace("_", " ") for match in found if match)
    if len(breeds) < len(source.classes) or len({breed.casefold() for breed in breeds}) < len(breeds):
        return source
    return replace(source, classes=breeds)


def with_lists(source: Source, root: Path) -> Source:
    """The official split (12,000 and 8,580 pictures) where the lists lie beside the pictures, or in lists/; else as it was."""
    folder = next((place for place in (root, root / "lists") if all((place / name).is_file() for name in LISTS)), None)
    if folder is None or not all(SYNSET.search(name) for name in source.ids[:1]):
        return source
    parts = {name: part for file, part in LISTS.items() for name in read_list(folder / file)}
    splits = np.array([parts.get("/".join(name.split("/")[-2:]), "") for name in source.ids])
    missing = int((splits == "").sum())
    if missing:
        raise UserError(
            f"{missing:,} of {len(splits):,} pictures are in neither list of {folder}", "the lists belong to other pictures; remove them"
        )
    return replace(source, splits=splits, fingerprint=digest([source.fingerprint, *splits.tolist()]))


def read_list(file: Path) -> list[str]:
    """The picture names in a list file; raises UserError when it is none."""
    from scipy.io import loadmat  # slow to import, and needed here only

    try:
        rows = loadmat(file)["file_list"].ravel()
        return [str(np.asarray(row).ravel()[0]) for row in rows]
    except Exception as error:  # a damaged file raises whatever its first bytes lead to
        raise UserError(f"{file} is not a list of Stanford Dogs: {error}", "fetch lists.tar again, or remove the lists") from None
