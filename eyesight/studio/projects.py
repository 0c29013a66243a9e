"""Projects: a data folder, corrections and runs, which the command line can use too.

studio/pets/
  pictures/cat/…  pictures/dog/…   the data folder
  pictures.corrections.csv         label corrections
  runs/0001-folder/                trainings
  removed/0001/cat/…               removed images, for undo
  project.json                     title, class order, selected run
"""

from __future__ import annotations

import json
import os
import re
import shutil
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TypedDict

from eyesight.data.corrections import SUFFIX, Corrections
from eyesight.errors import MissingError, UserError
from eyesight.runs import Run, list_runs, now
from eyesight.studio.listings import listings
from eyesight.system.files import whole_file
from eyesight.system.json_value import parse_json

PICTURES = "pictures"
REMOVED = "removed"
FACTS = "project.json"
FORMAT = 1
MOST_CLASSES = 200
MOST_PROJECTS = 1000
LONGEST_NAME = 60
KEPT_REMOVALS = 20  # that can be undone; older ones are deleted
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
writing = Lock()  # of project.json, in this process


class ProjectFacts(TypedDict, total=False):
    """The contents of project.json."""

    format: int
    title: str
    created: str
    classes: list[str]
    answers: str


@dataclass(frozen=True)
class Removal:
    """Images that were removed together and can be restored."""

    number: int
    class_name: str
    count: int


@dataclass(frozen=True)
class Project:
    """One project in its folder."""

    path: Path

    @property
    def name(self) -> str:
        """The folder name, also used in addresses."""
        return self.path.name

    @property
    def pictures(self) -> Path:
        """The data folder, with a folder for each class."""
        return self.path / PICTURES

    @property
    def runs_path(self) -> Path:
        """The folder of the project's runs."""
        return self.path / "runs"

    @property
    def corrections_path(self) -> Path:
        """The path of the corrections file, which may not exist."""
        return self.path / f"{PICTURES}{SUFFIX}"

    @property
    def facts(self) -> ProjectFacts:
        """The contents of project.json; empty if it is missing or damaged."""
        try:
            values = parse_json((self.path / FACTS).read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(values, dict):
            return {}
        facts: ProjectFacts = {}
        for key in ("title", "created", "answers"):
            if isinstance(values.get(key), str):
                facts[key] = values[key]
        classes = values.get("classes")
        if isinstance(classes, list):
            facts["classes"] = [str(name) for name in classes]
        return facts

    @property
    def title(self) -> str:
        """The title."""
        return self.facts.get("title") or self.name

    def change(self, changes: ProjectFacts) -> None:
        """Write some of the facts."""
        with writing:
            facts: ProjectFacts = {"format": FORMAT, **self.facts, **changes}
            content = json.dumps(facts, indent=2, ensure_ascii=False).encode()
            with whole_file(self.path / FACTS) as file:
                file.write(content + b"\n")

    @property
    def class_names(self) -> list[str]:
        """The classes in the order of creation, then folders created elsewhere."""
        folders = set(folders_in(self.pictures))
        order = [name for name in self.facts.get("classes", []) if name in folders]
        return order + sorted(folders - set(order))

    def class_path(self, class_name: str) -> Path:
        """The folder of a class; raises MissingError when there is none."""
        if class_name not in folders_in(self.pictures):
            raise MissingError(f"there is no class {class_name!r}", "it may have been removed")
        return self.pictures / class_name

    def files(self, class_name: str) -> tuple[str, ...]:
        """The names of a class's image files, newest first."""
        return listings.of(self.class_path(class_name))

    def counts(self) -> dict[str, int]:
        """How many images each class has."""
        return {name: len(self.files(name)) for name in self.class_names}

    def picture(self, class_name: str, file: str) -> Path:
        """The path of an image; raises MissingError when the class has no such file."""
        path = self.class_path(class_name) / safe_file_name(file)
        if not path.is_file():
            raise MissingError(f"there is no image {file!r}", "it may have been removed")
        return path

    @property
    def version(self) -> str:
        """A value that changes with classes, images, corrections or facts."""
        parts = [stamp(self.path / FACTS), stamp(self.pictures), stamp(self.corrections_path)]
        parts += [stamp(self.pictures / name) for name in folders_in(self.pictures)]
        return "-".join(f"{part:x}" for part in (len(parts), sum(parts) % 2**60))

    @property
    def corrections(self) -> Corrections:
        """The corrections; raises UserError if the file is damaged."""
        if not self.corrections_path.is_file():
            return Corrections()
        return Corrections.read(self.corrections_path)

    @property
    def runs(self) -> list[Run]:
        """The project's runs, oldest first."""
        return list_runs(self.runs_path)

    def run(self, name: str) -> Run:
        """The run of this name; raises MissingError when there is none."""
        for run in self.runs:
            if run.name == name:
                return run
        raise MissingError(f"there is no training {name!r}", "it may have been removed")

    @property
    def answering(self) -> Run | None:
        """The run in use: the selected one, else the newest with a classifier."""
        trained = [run for run in self.runs if has_classifier(run)]
        chosen = self.facts.get("answers")
        for run in trained:
            if run.name == chosen:
                return run
        return trained[-1] if trained else None

    def add_class(self, text: str) -> str:
        """Create a class if it does not exist and return its name.

        Raises UserError for an invalid folder name.
        """
        name = class_folder_name(text)
        names = self.class_names
        for other in names:
            if other.casefold() == name.casefold():
                return other
        if len(names) >= MOST_CLASSES:
            raise UserError(f"a project has at most {MOST_CLASSES} classes", "remove one first")
        (self.pictures / name).mkdir(parents=True, exist_ok=True)
        self.change({"classes": [*names, name]})
        return name

    def rename_class(self, old: str, text: str) -> str:
        """Rename a class and return its name; raises UserError if the name exists."""
        folder = self.class_path(old)
        name = class_folder_name(text)
        names = self.class_names
        others = {other.casefold() for other in names if other != old}
        if name.casefold() in others:
            raise UserError(f"the class {name!r} already exists", "choose another name")
        folder.rename(self.pictures / name)
        self.change({"classes": [name if other == old else other for other in names]})
        return name

    def remove(self, class_name: str, files: Sequence[str]) -> Removal:
        """Remove images from a class, with undo; missing ones are skipped."""
        folder = self.class_path(class_name)
        batch = self._new_removal()
        target = batch / class_name
        target.mkdir()
        count = 0
        for name in files:
            source = folder / safe_file_name(name)
            if source.is_file():
                source.rename(target / source.name)
                count += 1
        self._forget_old_removals()
        return Removal(int(batch.name), class_name, count)

    def remove_class(self, class_name: str) -> Removal:
        """Remove a class, with undo."""
        folder = self.class_path(class_name)
        count = len(self.files(class_name))
        batch = self._new_removal()
        folder.rename(batch / class_name)
        self._forget_old_removals()
        return Removal(int(batch.name), class_name, count)

    def undo(self) -> Removal | None:
        """Restore the images of the last removal; None if there is none."""
        for batch in reversed(self.removals()):
            folder = self.path / REMOVED / f"{batch.number:04d}"
            target = self.pictures / batch.class_name
            target.mkdir(parents=True, exist_ok=True)
            for file in (folder / batch.class_name).iterdir():
                file.replace(target / file.name)
            shutil.rmtree(folder)
            if batch.class_name not in self.facts.get("classes", []):
                self.change({"classes": [*self.facts.get("classes", []), batch.class_name]})
            return batch
        return None

    def removals(self) -> list[Removal]:
        """The removals that can be undone, oldest first."""
        batches = []
        for number in sorted(folders_in(self.path / REMOVED)):
            for class_name in folders_in(self.path / REMOVED / number):
                count = sum(1 for _ in (self.path / REMOVED / number / class_name).iterdir())
                batches.append(Removal(int(number), class_name, count))
        return batches

    def move(self, class_name: str, files: Sequence[str], target: str) -> int:
        """Move images to another class; returns the number moved."""
        source = self.class_path(class_name)
        folder = self.class_path(target)
        moved = 0
        for name in files:
            path = source / safe_file_name(name)
            if path.is_file():
                path.replace(folder / path.name)
                moved += 1
        return moved

    def _new_removal(self) -> Path:
        parent = self.path / REMOVED
        parent.mkdir(exist_ok=True)
        number = max((int(name) for name in folders_in(parent)), default=0) + 1
        while True:
            try:
                (parent / f"{number:04d}").mkdir()
            except FileExistsError:
                number += 1
                continue
            return parent / f"{number:04d}"

    def _forget_old_removals(self) -> None:
        parent = self.path / REMOVED
        for name in sorted(folders_in(parent))[:-KEPT_REMOVALS]:
            shutil.rmtree(parent / name, ignore_errors=True)


def has_classifier(run: Run) -> bool:
    """Whether a run has a classifier."""
    return (run.classifier_path / "classifier.json").is_file()


def list_projects(folder: Path) -> list[Project]:
    """The projects in a folder, most recently changed first."""
    projects = [Project(folder / name) for name in folders_in(folder)]
    projects = [project for project in projects if (project.path / FACTS).is_file()]
    return sorted(projects, key=lambda project: -stamp(project.path / FACTS))


def open_project(folder: Path, name: str) -> Project:
    """The project of this name; names are compared, never joined to a path.

    Raises MissingError when there is none.
    """
    if name in folders_in(folder) and (folder / name / FACTS).is_file():
        return Project(folder / name)
    raise MissingError(f"there is no project {name!r}", "it may have been removed")


def create_project(folder: Path, title: str) -> Project:
    """Create a project; raises UserError for a title without letters."""
    text = " ".join(title.split())[:LONGEST_NAME]
    base = re.sub(r"[^\w]+", "-", unicodedata.normalize("NFC", text)).strip("-_").lower()
    if not base:
        raise UserError("the project name must contain letters", "for example: garden leaves")
    if RESERVED.fullmatch(base):
        base = f"{base}-1"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot keep projects in {folder}: {reason}", "name another") from None
    if len(folders_in(folder)) >= MOST_PROJECTS:
        raise UserError(f"{folder} already has {MOST_PROJECTS} projects", "remove one first")
    path = _free_folder(folder, base)
    (path / PICTURES).mkdir()
    project = Project(path)
    project.change({"title": text, "created": now(), "classes": []})
    return project


def _free_folder(folder: Path, base: str) -> Path:
    for number in range(1, 2 * MOST_PROJECTS):
        path = folder / (base if number == 1 else f"{base}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise UserError(f"there are too many projects named {base}", "choose another name")


def class_folder_name(text: str) -> str:
    """A class name that is a valid folder name on every system; raises UserError."""
    name = unicodedata.normalize("NFC", " ".join(text.split()))
    if not name or len(name) > LONGEST_NAME:
        raise UserError(
            f"a class name must have 1 to {LONGEST_NAME} characters", "name what the images show"
        )
    if FORBIDDEN.search(name) or name[0] in "._" or name.endswith(".") or RESERVED.fullmatch(name):
        raise UserError(
            f"{name!r} is not a valid folder name",
            'use a name without / \\ : * ? " < > | that starts with a letter or a digit',
        )
    return name


def safe_file_name(name: str) -> str:
    """The name, if it is a plain file name; raises MissingError otherwise."""
    if not name or name.startswith(".") or FORBIDDEN.search(name):
        raise MissingError(f"there is no image {name!r}", "it may have been removed")
    return name


def folders_in(folder: Path) -> list[str]:
    """The names of the subfolders, without hidden ones and links."""
    try:
        with os.scandir(folder) as entries:
            return [
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []


def stamp(path: Path) -> int:
    """When a file or folder was changed, in nanoseconds; 0 when there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
