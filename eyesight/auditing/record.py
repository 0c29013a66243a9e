"""The findings of an audit, and their file for pages, reports and later commands.

Reading it does not need torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from eyesight.errors import UserError
from eyesight.system import cache
from eyesight.system.digest import value_sha256
from eyesight.system.files import whole_file
from eyesight.system.json_value import parse_json

FORMAT = 1
FILE = "audit.json"  # of a run
TOPIC = "audits"  # of the cache's notes
# The parts of an audit that there may be no time for
LABELS = "wrong labels and outliers"
COPIES = "near duplicates"
QUALITY = "low-quality images"
SHORTCUTS = "shortcuts"
SERIES = "series"
NOT_SEARCHED = "not searched for, to stay within the budget"


class LabelJson(TypedDict):
    """The score of a label as printed by `eyesight audit --json`."""

    id: str
    given: str
    suggested: str
    score: float


class CopyJson(TypedDict):
    """A near duplicate as printed by `eyesight audit --json`."""

    id: str
    split: str


class StrangerJson(TypedDict):
    """An outlier as JSON."""

    id: str
    score: float


class FlawJson(TypedDict):
    """A flaw as JSON."""

    id: str
    kind: str
    value: float


@dataclass(frozen=True, slots=True)
class JudgedImage:
    """The label score of an image.

    `content` is the SHA-256 of the image. `wrong` says that the label is probably wrong,
    `ambiguous` that two classes are about as probable.
    """

    id: str
    content: str
    split: str
    given: str
    suggested: str
    score: float
    wrong: bool
    ambiguous: bool = False

    def to_dict(self) -> LabelJson:
        """Plain JSON values, without what only a review needs."""
        score = round(self.score, 6)
        return {"id": self.id, "given": self.given, "suggested": self.suggested, "score": score}


@dataclass(frozen=True, slots=True)
class CopiedImage:
    """An image of a group of near duplicates."""

    id: str
    split: str
    label: str


@dataclass(frozen=True, slots=True)
class StrangeImage:
    """An outlier; `score` is its distance from the others, in [0, 1]."""

    id: str
    score: float
    alarm: bool = True

    def to_dict(self) -> StrangerJson:
        """Plain JSON values."""
        return {"id": self.id, "score": round(self.score, 6)}


@dataclass(frozen=True, slots=True)
class FlawedImage:
    """A low-quality image: the kind of flaw and the measured value."""

    id: str
    kind: str
    value: float

    def to_dict(self) -> FlawJson:
        """Plain JSON values."""
        return {"id": self.id, "kind": self.kind, "value": round(self.value, 4)}


class ShareValues(TypedDict):
    """The estimated share of wrong labels with its 95 % interval."""

    value: float
    low: float
    high: float


class ShortcutValues(TypedDict):
    """The accuracy of a shortcut."""

    name: str
    accuracy: float
    guessing: float
    alarm: bool
    images: NotRequired[int]  # records of before lack these
    classes: NotRequired[list[str]]
    examples: NotRequired[list[str]]


class OptimismValues(TypedDict):
    """Accuracy on features with a random split and with each group in one split."""

    groups: int
    images: int
    random: float
    grouped: float
    source: str


class AuditJson(TypedDict):
    """An audit as printed by `eyesight audit --json`."""

    data: str
    images: int
    features: str
    labels: list[LabelJson]
    copies: list[list[CopyJson]]
    series: list[list[CopyJson]]
    optimism: OptimismValues | None
    unlike: list[StrangerJson]
    quality: list[FlawJson]
    share_wrong: ShareValues
    shortcuts: list[ShortcutValues]
    notes: list[str]
    unfinished: NotRequired[dict[str, str]]  # as in a record; audits of before lack it
    seconds: dict[str, float]
    store: NotRequired[str]  # the key of the prepared images; audits of before lack it


class RecordJson(TypedDict):
    """A record as JSON."""

    format: int
    data: str
    store: str
    images: int
    features: str
    share_wrong: ShareValues
    labels: list[list[str | float | bool]]
    copies: list[list[dict[str, str]]]
    unlike: list[StrangerJson]
    quality: NotRequired[list[FlawJson]]  # records of before have none
    optimism: NotRequired[OptimismValues | None]
    shortcuts: list[ShortcutValues]
    notes: list[str]
    unfinished: NotRequired[dict[str, str]]


@dataclass(frozen=True, eq=False)
class AuditRecord:
    """The stored result of an audit.

    `labels` holds every judged image, most suspicious first; `copies` and `unlike` the alarms
    alone. `store` is the key of the prepared images. `unfinished` names the parts that there was
    too little time for, and says what was done of each.
    """

    data: str
    store: str
    images: int
    features: str
    share_wrong: ShareValues
    labels: tuple[JudgedImage, ...]
    copies: tuple[tuple[CopiedImage, ...], ...]
    unlike: tuple[StrangeImage, ...]
    shortcuts: tuple[ShortcutValues, ...]
    notes: tuple[str, ...]
    quality: tuple[FlawedImage, ...] = ()
    optimism: OptimismValues | None = None
    unfinished: Mapping[str, str] = field(default_factory=dict)

    @property
    def wrong(self) -> tuple[JudgedImage, ...]:
        """The labels that are probably wrong, most suspicious first."""
        return tuple(label for label in self.labels if label.wrong)

    @property
    def flaws(self) -> dict[str, list[str]]:
        """The ids of low-quality images by kind, worst first."""
        kinds: dict[str, list[str]] = {}
        for one in self.quality:
            kinds.setdefault(one.kind, []).append(one.id)
        return kinds

    def to_dict(self) -> RecordJson:
        """Plain JSON values."""
        return {
            "format": FORMAT,
            "data": self.data,
            "store": self.store,
            "images": self.images,
            "features": self.features,
            "share_wrong": self.share_wrong,
            "labels": [
                [
                    one.id,
                    one.content,
                    one.split,
                    one.given,
                    one.suggested,
                    one.score,
                    one.wrong,
                    one.ambiguous,
                ]
                for one in self.labels
            ],
            "copies": [[asdict(one) for one in group] for group in self.copies],
            "unlike": [one.to_dict() for one in self.unlike],
            "quality": [one.to_dict() for one in self.quality],
            "optimism": self.optimism,
            "shortcuts": list(self.shortcuts),
            "notes": list(self.notes),
            "unfinished": dict(self.unfinished),
        }

    @staticmethod
    def from_dict(values: RecordJson) -> AuditRecord:
        """The inverse of `to_dict`; raises KeyError, TypeError or ValueError for other values."""
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']}")
        labels = []
        for one in values["labels"]:
            label = JudgedImage(*one)  # type: ignore[arg-type]
            if type(label.score) not in (int, float) or type(label.id) is not str:
                raise ValueError(f"a label is {one}")
            labels.append(label)
        return AuditRecord(
            data=str(values["data"]),
            store=str(values["store"]),
            images=int(values["images"]),
            features=str(values["features"]),
            share_wrong=cast(
                ShareValues, {name: float(value) for name, value in share_items(values)}
            ),
            labels=tuple(labels),
            copies=tuple(tuple(CopiedImage(**one) for one in group) for group in values["copies"]),
            unlike=tuple(StrangeImage(**one) for one in values["unlike"]),
            shortcuts=tuple(values["shortcuts"]),
            notes=tuple(values["notes"]),
            quality=tuple(FlawedImage(**one) for one in values.get("quality", [])),
            optimism=values.get("optimism"),
            unfinished=dict(values.get("unfinished", {})),
        )

    def save(self, file: Path) -> None:
        """Write the record with its checksum atomically."""
        values = self.to_dict()
        text = json.dumps({"sha256": value_sha256(values), "audit": values})
        with whole_file(file) as opened:
            opened.write(text.encode())

    @staticmethod
    def read(file: Path) -> AuditRecord:
        """Read a record; raises UserError if it is damaged or of another version."""
        try:
            whole = parse_json(file.read_bytes())
            if whole["sha256"] != value_sha256(whole["audit"]):
                raise ValueError("its content has changed since it was written")
            return AuditRecord.from_dict(whole["audit"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{file} is not a valid audit: {error}", "audit again: eyesight audit RUN"
            ) from None


def share_items(values: RecordJson) -> list[tuple[str, float]]:
    """Value, low and high of the share of wrong labels."""
    share = values["share_wrong"]
    return [("value", share["value"]), ("low", share["low"]), ("high", share["high"])]


def of_run(folder: Path) -> AuditRecord | None:
    """The audit of a run's data written by `eyesight audit RUN`, or None."""
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        return AuditRecord.read(file)
    except UserError:
        return None


def remember(record: AuditRecord) -> None:
    """Store the audit of these prepared images for later commands, unless one is more complete."""
    kept = more_complete(recall(record.store), record)
    cache.write_note(TOPIC, record.store, kept.to_dict())


def more_complete(earlier: AuditRecord | None, later: AuditRecord) -> AuditRecord:
    """The later audit, unless the earlier one judged the same images more completely."""
    if earlier is None or (earlier.store, earlier.features) != (later.store, later.features):
        return later
    labels = len(earlier.labels) - len(later.labels)
    parts = len(later.unfinished) - len(earlier.unfinished)
    return earlier if (labels, parts) > (0, 0) else later


def recall(store: str) -> AuditRecord | None:
    """The last audit of the prepared images with this key, or None."""
    values = cache.read_note(TOPIC, store)
    try:
        return AuditRecord.from_dict(cast(RecordJson, values))
    except (KeyError, TypeError, ValueError):
        return None
