"""A review of labels: an audit, the images it judged, and the file that a person's decisions go to.

Nothing is kept here that is not in the file, so that every page that is open sees the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from eyesight.auditing.queue import Kind, Queue, State
from eyesight.auditing.record import AuditRecord, CopiedImage, JudgedImage
from eyesight.data.correction_file import CorrectionFile
from eyesight.data.corrections import AUDIT, UNTOLD, Correction
from eyesight.data.prepare import BadPicture, preview
from eyesight.data.source import Source
from eyesight.data.store import Store, open_store, store_folder
from eyesight.errors import UserError
from eyesight.results.predictions import readable
from eyesight.web import limits
from eyesight.web.limits import Refused

Action = Literal["keep", "relabel", "exclude", "untold"]
MOST_TOGETHER = 500  # decisions of one request
SMALL_SIDE = 112  # pixels of a thumbnail at most
LARGE_SIDE = 640  # of an image that is looked at
DIGITS = frozenset("0123456789")


class ClassKey(BaseModel):
    """A class, what it is called for people, and the digit that chooses it, where one does."""

    name: str
    title: str
    key: str


class ProgressFacts(BaseModel):
    """How far the review has come."""

    seen: int = Field(description="images that were decided")
    changed: int = Field(description="of these relabelled or left out")
    images: int
    errors: float = Field(description="about how many labels are wrong in all")
    caught: float = Field(description="about which share of them is seen, from 0 to 1")
    ahead: int = Field(description="after so many more images about 9 of 10 are seen")


class ReviewFacts(BaseModel):
    """What is reviewed, by whom, and how far."""

    key: str = Field(description="of the data and file; every decision names it")
    version: str = Field(description="another one whenever a decision was made or undone")
    data: str
    file: str = Field(description="where the decisions are kept")
    who: str
    classes: list[ClassKey]
    counts: dict[str, int]
    progress: ProgressFacts


class DecisionFacts(BaseModel):
    """What a person decided about an image."""

    action: Action
    name: str = Field(description="the class it belongs to; empty where it is left out")
    who: str


@dataclass(frozen=True, kw_only=True)
class CopyFacts(CopiedImage):
    """A near copy of an image; `row` is null where it was not judged."""

    row: int | None


@dataclass(frozen=True, kw_only=True)
class ItemFacts(JudgedImage):
    """One image of the queue."""

    place: Annotated[int, Field(description="in the order of its kind")]
    row: int
    kinds: list[Kind]
    decision: DecisionFacts | None
    others: Annotated[
        list[DecisionFacts], Field(description="what other people decided differently")
    ]
    copies: list[CopyFacts]


class ItemPage(BaseModel):
    """Some images of the queue, in order; `more` says whether others follow."""

    items: list[ItemFacts]
    more: bool
    version: str


class DecisionRequest(BaseModel):
    """What is decided about images, by the hashes of their contents."""

    key: str = Field(max_length=64)
    contents: list[str] = Field(min_length=1, max_length=MOST_TOGETHER)
    action: Action
    name: str = Field(default="", max_length=1000)


class UndoRequest(BaseModel):
    """Take back the last decision."""

    key: str = Field(max_length=64)


@dataclass(frozen=True)
class Selection:
    """Which images of the queue a page asks for: those after `after` or before `before`."""

    kind: Kind = "all"
    given: str = ""
    state: State = "open"
    after: int = -1
    before: int | None = None
    limit: int = 24


class Review:
    """One review; safe to use from several threads."""

    def __init__(
        self, record: AuditRecord, store: Store, source: Source | None, file: CorrectionFile
    ) -> None:
        self.record = record
        self.name = Path(record.data).name
        self.queue = Queue(record)
        self.store = store
        self.source = source
        self.file = file
        self.row_of_content = {label.content: row for row, label in enumerate(record.labels)}
        self.store_rows = {one: row for row, one in enumerate(store.ids)}
        self.source_rows: dict[str, int] = {}
        if source is not None and source.pixels is None:
            self.source_rows = {one: row for row, one in enumerate(source.ids)}
        self.classes = class_keys(store.classes)
        self.key = f"{record.store[:16]}-{self.file.path.name}"[:64]
        self._decoding = limits.Queue("pictures", most=64, timeout=20.0)
        self._lock = Lock()
        self._facts: ReviewFacts | None = None
        self._typical: dict[str, list[int]] = {}

    @staticmethod
    def open(record: AuditRecord, source: Source | None, corrections: Path, who: str) -> Review:
        """A review of what an audit judged; `source` gives the images in their own size.

        Raises UserError when the prepared images are gone, and for corrections of other data.
        """
        folder = store_folder(record.store)
        store = open_store(folder) if folder is not None else None
        if store is None:
            raise UserError(
                f"the prepared images of {record.data} are no longer in the cache",
                f"audit them again: eyesight audit {record.data}",
            )
        file = CorrectionFile(corrections, who)
        file.corrections.apply(
            store.ids,
            store.digests,
            store.labels,
            store.classes,
            str(corrections),
            whole=len(store.ids) >= record.images,
        )
        return Review(record, store, source, file)

    def facts(self) -> ReviewFacts:
        """What is reviewed and how far; computed anew when the file has changed."""
        version = self.file.version
        with self._lock:
            if self._facts is None or self._facts.version != version:
                self._facts = self._current_facts(version)
            return self._facts

    def _current_facts(self, version: str) -> ReviewFacts:
        changed = {content: row.new != row.old for content, row in self.decided().items()}
        return ReviewFacts(
            key=self.key,
            version=version,
            data=self.name,
            file=self.file.path.name,
            who=self.file.who,
            classes=self.classes,
            counts={str(kind): count for kind, count in self.queue.counts().items()},
            progress=ProgressFacts(**asdict(self.queue.progress(changed))),
        )

    def decided(self) -> dict[str, Correction]:
        """What a person decided last about each content; what the audit suggested is open."""
        return {row.content: row for row in self.file.corrections if row.who != AUDIT}

    def items(self, selection: Selection) -> ItemPage:
        """Images of the queue after a place in its order, or before one."""
        decided = self.decided()
        matching = self.queue.rows(selection.kind, selection.given, selection.state, decided)
        chosen: list[tuple[int, int]] = []
        more = False
        if selection.before is not None:
            earlier = [pair for pair in matching if pair[0] < selection.before]
            chosen = earlier[-selection.limit :]
            more = True
        else:
            for pair in matching:
                if pair[0] <= selection.after:
                    continue
                if len(chosen) == selection.limit:
                    more = True
                    break
                chosen.append(pair)
        others = self._by_others() if chosen else {}
        items = [self._item(place, row, decided, others) for place, row in chosen]
        return ItemPage(items=items, more=more, version=self.file.version)

    def some(self, rows: Sequence[int]) -> list[ItemFacts]:
        """These images as they are now."""
        decided = self.decided()
        others = self._by_others()
        return [self._item(-1, row, decided, others) for row in rows]

    def typical(self, name: str, most: int) -> list[int]:
        """Rows of typical images of a class."""
        if name not in self.store.classes:
            raise Refused(404, "there is no such class", "/api/review lists the classes")
        if name not in self._typical:
            self._typical[name] = self.queue.typical(name, 24)
        return self._typical[name][:most]

    def decide(self, request: DecisionRequest) -> None:
        """Save decisions at once; raises Refused for images, classes or data of another review."""
        self._check_key(request.key)
        if request.action == "relabel" and request.name not in self.store.classes:
            raise Refused(422, f"{request.name!r} is not a class of the data", "choose one of them")
        decisions = []
        for content in dict.fromkeys(request.contents):
            row = self.row_of_content.get(content)
            if row is None:
                raise Refused(422, "the data has no such image", "open the page again")
            label = self.record.labels[row]
            decisions.append((label.id, content, label.given, new_label(request, label)))
        self.file.decide(decisions)

    def undo(self, key: str) -> list[ItemFacts]:
        """Take back what was decided last; the images that are open again."""
        self._check_key(key)
        undone = self.file.undo()
        contents = [row.content for row in undone if row.content in self.row_of_content]
        return self.some([self.row_of_content[content] for content in contents])

    def picture(self, row: int, *, large: bool) -> bytes:
        """An image as a PNG file: a thumbnail, or in its own size up to 640 pixels."""
        if not 0 <= row < len(self.record.labels):
            raise Refused(404, "there is no such image", "see /api/review/items")
        name = self.record.labels[row].id
        with self._decoding.turn():
            if large and name in self.source_rows and self.source is not None:
                try:
                    return preview(self.source.read(self.source_rows[name]), LARGE_SIDE)
                except BadPicture:
                    pass  # it was moved or changed since: the prepared one is still there
            pixels = self.store.pixels[self.store_rows[name]]
            return preview(pixels.transpose(1, 2, 0), LARGE_SIDE if large else SMALL_SIDE)

    def _check_key(self, key: str) -> None:
        if key != self.key:
            raise Refused(409, "this page belongs to a review of other data", "open the page again")

    def _by_others(self) -> dict[str, dict[str, Correction]]:
        """The last decision of each person about each content."""
        rows: dict[str, dict[str, Correction]] = {}
        for row in self.file.corrections:
            if row.who != AUDIT:
                rows.setdefault(row.content, {})[row.who] = row
        return rows

    def _item(
        self,
        place: int,
        row: int,
        decided: Mapping[str, Correction],
        others: Mapping[str, Mapping[str, Correction]],
    ) -> ItemFacts:
        label = self.record.labels[row]
        last = decided.get(label.content)
        differing = []
        for one in others.get(label.content, {}).values():
            if last is not None and one.new != last.new:
                differing.append(decision_facts(one))
        return ItemFacts(
            **asdict(label),
            place=place,
            row=row,
            kinds=self.queue.kinds_of(row),
            decision=decision_facts(last) if last is not None else None,
            others=differing,
            copies=self._copies(row),
        )

    def _copies(self, row: int) -> list[CopyFacts]:
        own = self.record.labels[row].id
        copies = []
        for one in self.queue.groups.get(row, ()):
            if one.id != own:
                place = self.queue.row_of_id.get(one.id)
                copies.append(CopyFacts(**asdict(one), row=place))
        return copies


def decision_facts(row: Correction) -> DecisionFacts:
    """A row of the file as what a person did."""
    if row.new == UNTOLD:
        return DecisionFacts(action="untold", name="", who=row.who)
    if not row.new:
        return DecisionFacts(action="exclude", name="", who=row.who)
    action: Action = "keep" if row.new == row.old else "relabel"
    return DecisionFacts(action=action, name=row.new, who=row.who)


def new_label(request: DecisionRequest, label: JudgedImage) -> str:
    """What a decision writes as the new label of an image."""
    new = {"keep": label.given, "relabel": request.name, "exclude": "", "untold": UNTOLD}
    return new[request.action]


def class_keys(names: Sequence[str]) -> list[ClassKey]:
    """The classes with the digits that choose them.

    A class that is called by a digit has this digit where all are; else the first nine have 1 to 9.
    """
    titles = readable(names)
    keys = []
    for place, (name, title) in enumerate(zip(names, titles, strict=True), 1):
        key = str(place) if place < 10 else ""
        if DIGITS.issuperset(names):
            key = name
        keys.append(ClassKey(name=name, title=title, key=key))
    return keys
