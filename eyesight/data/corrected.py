"""Corrections applied to the three parts of a data set.

The split itself stays as it is without them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eyesight.data.corrections import (
    BESIDE,
    HALF,
    Applied,
    CorrectionFacts,
    Corrections,
    corrections_for,
    orphans,
)
from eyesight.data.images import Images
from eyesight.data.store import Store
from eyesight.errors import UserError
from eyesight.recipe import Data

Parts = dict[str, Images]


@dataclass(frozen=True, eq=False)
class Corrected:
    """What corrections changed.

    `test_given` are the labels of the remaining test images as the data gives them. `unconfirmed`
    is the number of suggestions about test images, which are not applied and end the list
    `refused` of the facts.
    """

    facts: CorrectionFacts
    test_given: Tensor
    unconfirmed: int

    @property
    def note(self) -> str:
        """For people, in one line."""
        facts = self.facts
        line = (
            f"corrections from {facts['file']}: {facts['relabelled']:,} labels changed, "
            f"{facts['excluded']:,} images left out"
        )
        others = len(facts["refused"]) - self.unconfirmed
        if others:
            line += f", {others:,} not applied ({facts['refused'][0]})"
        if self.unconfirmed:
            line += (
                f"; {self.unconfirmed:,} suggestions about test images not applied; confirm them "
                "in eyesight review"
            )
        return line


def correct(parts: Parts, store: Store, data: Data) -> tuple[Parts, Corrected | None]:
    """The parts with the corrections that `data.corrections` asks for.

    What the audit suggested and no person has confirmed changes training and validation images
    only, never test images. Raises UserError for corrections of another data set.
    """
    asked = None
    if data.target == "class":
        asked = corrections_for(data.corrections, data.source)
        if asked is None and data.corrections == BESIDE:
            asked = of_renamed_data(store, data.source)
    if asked is None:
        return parts, None
    file, corrections = asked
    applied = corrections.apply(store.ids, store.digests, store.labels, store.classes, str(file))
    corrected = {
        name: corrected_images(images, applied, by_machine=name != "test")
        for name, images in parts.items()
    }
    if not len(corrected["train"]):
        raise UserError(
            f"{file} leaves no training images", "use --set data.corrections=none to ignore it"
        )
    given = torch.from_numpy(store.labels)[corrected["test"].rows]
    waiting = unconfirmed(parts["test"], applied)
    facts: CorrectionFacts = {
        "file": str(file),
        "sha256": corrections.sha256(),
        "rows": len(corrections),
        "relabelled": sum(relabelled(images, store) for images in corrected.values()),
        "excluded": sum(len(parts[name]) - len(images) for name, images in corrected.items()),
        "confirmed": applied.confirmed,
        "untold": applied.untold,
        "refused": [*applied.refused, *waiting],
    }
    return corrected, Corrected(facts, given, len(waiting))


def unconfirmed(test: Images, applied: Applied) -> list[str]:
    """The suggestions about test images, which are not applied."""
    rows = np.flatnonzero(applied.machine[test.rows.numpy()])
    return [f"{test.ids[row]}: a test image; confirm it in eyesight review" for row in rows]


def of_renamed_data(store: Store, where: str) -> tuple[Path, Corrections] | None:
    """The corrections beside the data under another name, if they are of these very images."""
    contents = set(store.digests)
    for file in orphans(where):
        try:
            corrections = Corrections.read(file)
        except UserError:
            continue  # nothing says that it is of this data
        present = sum(content in contents for content in corrections.latest())
        if present and present >= HALF * len(corrections.latest()):
            return file, corrections
    return None


def relabelled(images: Images, store: Store) -> int:
    """How many of the images have another label than in the store."""
    return int((images.labels.numpy() != store.labels[images.rows.numpy()]).sum())


def corrected_images(images: Images, applied: Applied, *, by_machine: bool) -> Images:
    """The images with corrected labels, without those that are left out.

    `by_machine` applies what no person has confirmed, too.
    """
    rows = images.rows.numpy()
    counts = np.ones(len(rows), dtype=bool)
    if not by_machine:
        counts = ~applied.machine[rows]
    kept = np.flatnonzero(~(applied.excluded[rows] & counts))
    labels = np.where(counts, applied.labels[rows], images.labels.numpy())
    return replace(images, labels=torch.from_numpy(labels)).subset(kept)
