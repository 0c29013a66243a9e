"""Check a project's images with the health check and the audit, and store the result.

`stale` tells whether the images have changed since.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypedDict, cast

from eyesight.auditing.record import AuditJson, LabelJson
from eyesight.data.corrections import Correction, Corrections
from eyesight.errors import UserError
from eyesight.studio.collecting import BURST_PATTERN
from eyesight.studio.jobs import Job
from eyesight.studio.projects import Project, folders_in, stamp
from eyesight.studio.training import options, settings
from eyesight.system.digest import file_sha256
from eyesight.system.files import whole_file
from eyesight.system.json_value import parse_json

CHECK = "check.json"
BUDGET = "90s"
SHOWN = 60  # of each kind of finding
UNEVEN = 5.0  # largest class to smallest
FEW = 20
TOGETHER = 6  # copies in one group that are shown
COPIES = ("conflict", "duplicate", "leak")
WHO = "studio"


class ProblemJson(TypedDict):
    """A problem with an image, of which `eyesight data --json` also prints the details."""

    id: str
    kind: str
    fatal: bool


class HealthJson(TypedDict):
    """What a check reads of that which `eyesight data --json` prints."""

    usable: int
    problems: list[ProblemJson]


class CheckJson(TypedDict):
    """The contents of `check.json`; there is no audit where there is one class."""

    stamp: str
    health: HealthJson
    audit: AuditJson | None


@dataclass(frozen=True)
class Check:
    """The result of a check; ids are paths below the data folder."""

    pictures: int
    broken: tuple[tuple[str, str], ...]  # id and kind
    repeated: tuple[str, ...]  # exact copies in one class
    contradicting: tuple[str, ...]  # exact copies in several classes
    stale: bool
    doubtful: tuple[LabelJson, ...] = ()  # whose label may be wrong
    copies: tuple[tuple[str, ...], ...] = ()
    strangers: tuple[str, ...] = ()
    shortcuts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()  # parts of the audit that there was too little time for
    audited: str = ""  # the key of the images that the audit judged

    @property
    def clean(self) -> bool:
        """Whether everything was checked and there are no findings."""
        findings = (self.broken, self.repeated, self.contradicting, self.doubtful, self.copies)
        others = (self.strangers, self.shortcuts, self.unfinished)
        return not any(findings) and not any(others)


def check(job: Job) -> None:
    """Run `eyesight data` and `eyesight audit` on the project and store the result."""
    project = job.project
    began = pictures_stamp(project)
    fields = options(settings(project))
    health = job.run(["data", str(project.pictures), *fields])
    audit = None
    if sum(1 for count in project.counts().values() if count) > 1:
        audit = job.run(["audit", str(project.pictures), "--budget", BUDGET, *fields])
    content = json.dumps({"stamp": began, "health": health, "audit": audit}, ensure_ascii=False)
    with whole_file(project.path / CHECK) as file:
        file.write(content.encode())


def read_check(project: Project) -> Check | None:
    """The last check without findings resolved since; None before the first."""
    try:
        values = parse_json((project.path / CHECK).read_bytes())
        return build_check(project, cast(CheckJson, values))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def build_check(project: Project, values: CheckJson) -> Check:
    """The check from the file's values."""
    health, audit = values["health"], values["audit"]
    present = Presence(project)
    check = Check(
        pictures=int(health["usable"]),
        broken=broken_of(health, present),
        repeated=copies_in(health, present, "duplicate", "leak"),
        contradicting=copies_in(health, present, "conflict"),
        stale=values["stamp"] != pictures_stamp(project),
    )
    if not audit:
        return check
    settled = {row.id for row in project.corrections.latest().values()}
    strangers = [one["id"] for one in audit["unlike"] if one["id"] not in settled]
    return replace(
        check,
        doubtful=doubtful_of(audit, present, settled),
        copies=copies_of(audit, present),
        strangers=tuple(present.among(strangers)[:SHOWN]),
        shortcuts=tuple(one["name"] for one in audit["shortcuts"] if one["alarm"]),
        notes=tuple(audit["notes"]),
        unfinished=tuple(f"{part}: {done}" for part, done in audit.get("unfinished", {}).items()),
        audited=audit.get("store", ""),
    )


def copies_in(health: HealthJson, present: Presence, *kinds: str) -> tuple[str, ...]:
    """The images that are exact copies of these kinds."""
    ids = [problem["id"] for problem in health["problems"] if problem["kind"] in kinds]
    return tuple(present.among(ids)[:SHOWN])


def broken_of(health: HealthJson, present: Presence) -> tuple[tuple[str, str], ...]:
    """The files that cannot be read, with the kind of damage."""
    rows = []
    for problem in health["problems"]:
        is_broken = problem["fatal"] and problem["kind"] not in COPIES
        if is_broken and present(problem["id"]):
            rows.append((problem["id"], problem["kind"]))
    return tuple(rows[:SHOWN])


def doubtful_of(audit: AuditJson, present: Presence, settled: set[str]) -> tuple[LabelJson, ...]:
    """Suspicious labels that no person has decided."""
    rows = []
    for label in audit["labels"]:
        if label["id"] not in settled and present(label["id"]):
            rows.append(label)
    return tuple(rows[:SHOWN])


def copies_of(audit: AuditJson, present: Presence) -> tuple[tuple[str, ...], ...]:
    """The groups of near duplicates, except within a burst."""
    groups = []
    for group in audit["copies"]:
        ids = present.among([one["id"] for one in group])
        bursts = {burst_of(one) for one in ids}
        if len(ids) > 1 and (len(bursts) > 1 or bursts == {""}):
            groups.append(tuple(ids[:TOGETHER]))
    return tuple(groups[:SHOWN])


class Presence:
    """Whether images of a check still exist."""

    def __init__(self, project: Project) -> None:
        self.root = project.pictures

    def __call__(self, image_id: str) -> bool:
        """Whether the image exists."""
        return os.path.isfile(self.root / image_id)  # noqa: PTH113 - also for a name with NUL

    def among(self, ids: Iterable[str]) -> list[str]:
        """The existing images among `ids`."""
        return [one for one in ids if self(one)]


def pictures_stamp(project: Project) -> str:
    """A value that changes when an image is added or removed."""
    names = sorted(folders_in(project.pictures))
    return ",".join(f"{name}:{stamp(project.pictures / name):x}" for name in names)


def burst_of(image_id: str) -> str:
    """The burst of an image, or ""."""
    match = re.search(BURST_PATTERN, image_id)
    return match[1] if match else ""


def uneven(counts: Mapping[str, int]) -> tuple[str, str] | None:
    """The largest and the smallest class, if their sizes differ too much; else None."""
    if len(counts) < 2:
        return None
    large = max(counts, key=lambda name: counts[name])
    small = min(counts, key=lambda name: counts[name])
    if counts[large] < UNEVEN * max(1, counts[small]):
        return None
    return large, small


def few(counts: Mapping[str, int]) -> list[str]:
    """The classes with too few images for a reliable accuracy."""
    return [name for name, count in counts.items() if count < FEW]


def correct(project: Project, ids: Sequence[str], new: str) -> int:
    """Save a person's decision about images: `new` is their class, "" leaves them out.

    Returns the number of corrections. Raises UserError for missing images or classes.
    """
    if new and new not in project.class_names:
        raise UserError(f"there is no class {new!r}", "use one of the project's classes")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    rows = []
    for one in ids:
        class_name, _, file = one.partition("/")
        path = project.picture(class_name, file)
        rows.append(Correction(one, file_sha256(path), class_name, new, WHO, when))
    kept = Corrections((*project.corrections, *rows))
    kept.write(project.corrections_path)
    return len(kept.latest())
