"""The order in which to review images, and the expected number of wrong labels found.

The audit's scores give the order, and its estimated share gives the number of wrong labels. Both
give every image a probability that its label is wrong, which decisions of the reviewer then update.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eyesight.auditing.record import AuditRecord, CopiedImage

Kind = Literal["all", "label", "ambiguous", "copy", "unlike"]
KINDS: tuple[Kind, ...] = get_args(Kind)
State = Literal["open", "decided", "all"]
PATIENT = 5.0  # decisions that the audit's own estimate weighs as much as
TARGET = 0.9  # of the wrong labels are to be seen
SLOPE = 1.7  # of the log odds of being wrong over those of the score; 1.5 to 1.9 measured
FEWEST = 0.5  # wrong labels: with fewer there are none to be seen
EDGE = 1e-6  # scores are kept this far from 0 and 1
SEARCH = 60  # halvings


@dataclass(frozen=True)
class Progress:
    """The progress of a review.

    `seen` images have been decided, of which `changed` were relabelled or left out. About `errors`
    labels are wrong in total, a share of `caught` (in [0, 1]) has been reviewed, and `ahead` more
    images will bring that to nine of ten.
    """

    seen: int
    changed: int
    images: int
    errors: float
    caught: float
    ahead: int


class Queue:
    """The images in review order, by reason.

    Images are identified by their row among the record's labels.
    """

    def __init__(self, record: AuditRecord) -> None:
        self.record = record
        labels = record.labels
        self.row_of_id = {label.id: row for row, label in enumerate(labels)}
        self.groups: dict[int, tuple[CopiedImage, ...]] = {}
        for group in record.copies:
            for one in group:
                if one.id in self.row_of_id:
                    self.groups[self.row_of_id[one.id]] = group
        strange = [self.row_of_id[one.id] for one in record.unlike if one.id in self.row_of_id]
        self.strangers = frozenset(strange)
        wrong = [row for row, label in enumerate(labels) if label.wrong]
        ambiguous = [row for row, label in enumerate(labels) if label.ambiguous]
        harmful = [row for row, group in self.groups.items() if not _in_one_place(group)]
        first = dict.fromkeys([*wrong, *harmful, *strange, *ambiguous, *range(len(labels))])
        self.orders: dict[Kind, tuple[int, ...]] = {
            "all": tuple(first),
            "label": tuple(range(len(labels))),
            "ambiguous": tuple(ambiguous),
            "copy": tuple(self.groups),
            "unlike": tuple(strange),
        }
        scores = np.array([label.score for label in labels], dtype=np.float64)
        self.probabilities = wrong_probabilities(scores, record.share_wrong["value"])

    def __len__(self) -> int:
        return len(self.record.labels)

    def rows(
        self, kind: Kind, given: str, state: State, decided: Mapping[str, object]
    ) -> Iterator[tuple[int, int]]:
        """(place, row) of the images that match, in order.

        `given` is a class name or "" for all; `decided` holds the contents that were decided.
        """
        for place, row in enumerate(self.orders[kind]):
            label = self.record.labels[row]
            if given and label.given != given:
                continue
            if state != "all" and (label.content in decided) != (state == "decided"):
                continue
            yield place, row

    def kinds_of(self, row: int) -> list[Kind]:
        """The reasons why an image is suspicious."""
        label = self.record.labels[row]
        signs: dict[Kind, bool] = {
            "label": label.wrong,
            "ambiguous": label.ambiguous,
            "copy": row in self.groups,
            "unlike": row in self.strangers,
        }
        return [kind for kind, applies in signs.items() if applies]

    def counts(self) -> dict[Kind, int]:
        """The number of images per reason; for labels only probably wrong ones."""
        counts = {kind: len(self.orders[kind]) for kind in KINDS}
        counts["label"] = len(self.record.wrong)
        return counts

    def typical(self, name: str, most: int) -> list[int]:
        """Images of a class whose labels are least suspicious."""
        rows: list[int] = []
        for row in range(len(self) - 1, -1, -1):
            if len(rows) == most:
                break
            if self.record.labels[row].given == name and row not in self.strangers:
                rows.append(row)
        return rows

    def progress(self, changed: Mapping[str, bool]) -> Progress:
        """The progress of the review; `changed` maps decided contents to whether they changed."""
        contents = [label.content for label in self.record.labels]
        seen = np.array([content in changed for content in contents], dtype=bool)
        wrong = sum(changed.get(content, False) for content in contents)
        expected = float(self.probabilities[seen].sum())
        rate = (wrong + PATIENT) / (expected + PATIENT)
        left = np.minimum(1.0, rate * self.probabilities)
        left[seen] = 0.0
        errors = wrong + float(left.sum())
        ahead = 0
        caught = 1.0
        if errors >= FEWEST:
            ahead = images_ahead(left, ~seen, TARGET * errors - wrong)
            caught = wrong / errors
        return Progress(int(seen.sum()), wrong, len(self), errors, caught, ahead)


def images_ahead(left: NDArray[np.float64], open_: NDArray[np.bool_], needed: float) -> int:
    """The number of open images, in review order, that contain `needed` wrong labels."""
    if needed <= 0:
        return 0
    errors = np.cumsum(left[open_])
    return min(len(errors), int(np.searchsorted(errors, needed)) + 1)


def _in_one_place(group: Sequence[CopiedImage]) -> bool:
    """Whether all copies of a group lie in one class of one split."""
    return len({(one.split, one.label) for one in group}) == 1


def wrong_probabilities(scores: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The probability that each label is wrong.

    Its log odds are SLOPE times those of the score and one more number, such that the mean is the
    estimated share.
    """
    if not len(scores):
        return scores
    kept = np.clip(scores, EDGE, 1 - EDGE)
    odds = SLOPE * np.log(kept / (1 - kept))
    low, high = -80.0, 80.0
    for _ in range(SEARCH):
        middle = (low + high) / 2
        if float(_sigmoid(odds + middle).mean()) < share:
            low = middle
        else:
            high = middle
    return _sigmoid(odds + (low + high) / 2)


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.clip(values, -math.log(1e300), math.log(1e300))))
