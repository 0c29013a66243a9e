"""Folders of pictures: the class is the folder, perhaps below train/, val/ or test/, perhaps inside one more folder.

The shape is read from where the pictures lie, not from which folders exist: a folder without pictures is never a class.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from eyesight.data.prepare import Problem
from eyesight.data.source import (
    FONTS,
    Source,
    class_name,
    digest,
    hidden,
    in_natural_order,
    in_order,
    natural,
    printable,
    reader,
)
from eyesight.errors import UserError
from eyesight.system.progress import Talk, silent

SPLITS: dict[str, Literal["train", "validation", "test"]] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
Parts = tuple[str, ...]
MANY = 100_000  # files after which listing says how far it is


@dataclass(frozen=True)
class Found:
    """A regular file, its path below the root in parts, and what tells cheaply whether it changed."""

    place: str
    parts: Parts
    size: int
    changed: int  # nanoseconds

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self.place)

    @property
    def id(self) -> str:
        """The path below the root, with slashes."""
        return printable("/".join(self.parts))


@dataclass(frozen=True)
class Tree:
    """Everything below a folder that is not hidden, in natural order."""

    root: Path
    files: list[Found] = field(default_factory=list)
    folders: list[Parts] = field(default_factory=list)
    problems: list[Problem] = field(
        default_factory=list
    )  # links that lead nowhere, folders that cannot be read


def walk(root: Path, talk: Talk = silent) -> Tree:
    """All files below `root`; links are followed, but no folder is entered twice, so loops end."""
    tree = Tree(root)
    for file in stream(tree):
        tree.files.append(file)
        if len(tree.files) % MANY == 0:
            talk(f"{len(tree.files):,} files in {root} so far")
    tree.files.sort(key=lambda file: tuple(natural(part) for part in file.parts))
    return tree


def stream(tree: Tree) -> Iterator[Found]:
    """The same files one after another, links last in their folder; memory holds the names of one folder."""
    return _enter(tree.root, (), tree, set())


def open_tree(name: str, tree: Tree, pictures: Sequence[Found]) -> Source:
    """The source made of class folders; UserError when there is no picture in any."""
    start = _wrapped(pictures)
    split_names = {
        file.parts[start]
        for file in pictures
        if len(file.parts) >= start + 3 and file.parts[start].lower() in SPLITS
    }
    placed = [(file, *_place(file.parts[start:], bool(split_names))) for file in pictures]
    known = [(file, split, label) for file, split, label in placed if label is not None]
    names = in_order(label for _, _, label in known if label)
    if not names:
        raise _nothing(name, tree, pictures)
    number = {label: index for index, label in enumerate(names)} | {"": -1}
    return Source(
        name=name,
        classes=names,
        ids=tuple(file.id for file, *_ in known),
        labels=np.array([number[label] for *_, label in known], dtype=np.int64),
        splits=np.array([split for _, split, _ in known], dtype="<U10"),
        read=reader([file.place for file, *_ in known]),
        pixels=None,
        fingerprint=digest(
            [
                "folder",
                *((file.id, file.size, file.changed, split, label) for file, split, label in known),
            ]
        ),
        problems=(
            *tree.problems,
            *(
                Problem(file.id, "unlabelled", "lies in no class folder", fatal=True)
                for file, _, label in placed
                if label is None
            ),
            *_ignored(tree, pictures),
        ),
    )


def _place(parts: Parts, split_folders: bool) -> tuple[str, str | None]:
    """Split and class of a picture; class "" for the pictures of a test without labels, None for one that lies in no class folder."""
    if not split_folders:
        return "", class_name(parts[0]) if len(parts) > 1 else None
    split = SPLITS.get(parts[0].lower(), "") if len(parts) > 1 else ""
    if not split:
        return "", None
    if len(parts) == 2:
        return split, "" if split == "test" else None
    return split, class_name(parts[1])


def _wrapped(pictures: Sequence[Found]) -> int:
    """How many folders lie around the class folders: `Images/husky/1.jpg` has one."""
    start = 0
    while (
        pictures
        and all(len(file.parts) >= start + 3 for file in pictures)
        and len({file.parts[start] for file in pictures}) == 1
    ):
        if pictures[0].parts[start].lower() in SPLITS:
            break
        start += 1
    return start


def _ignored(tree: Tree, pictures: Sequence[Found]) -> Iterator[Problem]:
    """Files that are no pictures; a folder with none at all is named once instead of file by file."""
    peopled: set[Parts] = {
        file.parts[:depth] for file in pictures for depth in range(len(file.parts))
    }
    names = {file.parts for file in pictures}
    for folder in sorted(tree.folders):
        if folder not in peopled and folder[:-1] in peopled:
            yield Problem(
                printable("/".join(folder)), "ignored", "a folder without pictures", fatal=False
            )
    for file in tree.files:
        if file.parts not in names and file.parts[:-1] in peopled:
            yield Problem(file.id, "ignored", "not a picture", fatal=False)


def _nothing(name: str, tree: Tree, pictures: Sequence[Found]) -> UserError:
    """The error for a folder without class folders, saying what it does hold."""
    expected = (
        "expected one folder per class with pictures in it, perhaps below train/, val/ and test/"
    )
    if pictures:
        return UserError(
            f"{name} holds {len(pictures):,} pictures but no class folders",
            f"{expected}; a CSV of path and label also says it",
        )
    if not tree.files:
        return UserError(f"{name} is empty", expected)
    if any(file.path.suffix.lower() in FONTS for file in tree.files):
        return UserError(
            f"{name} holds fonts, not pictures",
            f"EYESIGHT_FONTS={name} in the environment, and --data glyphs draws them",
        )
    examples = ", ".join(file.id for file in tree.files[:3])
    return UserError(
        f"{name} holds no picture: {len(tree.files):,} other files such as {examples}", expected
    )


def _enter(folder: Path, parts: Parts, tree: Tree, seen: set[tuple[int, int]]) -> Iterator[Found]:
    """The files of one folder and below; real entries before links, so that a folder is found under its own name."""
    real: list[str] = []
    links: list[str] = []
    try:
        here = folder.stat()
        with os.scandir(folder) as entries:
            for entry in entries:
                if not hidden(entry.name):
                    (links if entry.is_symlink() else real).append(entry.name)
    except OSError as error:
        tree.problems.append(
            Problem(
                printable("/".join(parts)) or ".",
                "unreadable",
                f"folder: {error.strerror}",
                fatal=True,
            )
        )
        return
    if (here.st_dev, here.st_ino) in seen:
        return
    seen.add((here.st_dev, here.st_ino))
    if parts:
        tree.folders.append(parts)
    for names, are_links in ((real, False), (links, True)):
        names.sort()
        names.sort(key=in_natural_order)
        for name in names:
            yield from _add(os.path.join(folder, name), (*parts, name), tree, seen, link=are_links)  # noqa: PTH118 - a Path each is slow


def _add(
    place: str, parts: Parts, tree: Tree, seen: set[tuple[int, int]], *, link: bool
) -> Iterator[Found]:
    try:
        about = os.stat(place)  # noqa: PTH116
    except OSError:
        why = "a link that leads nowhere" if link else "cannot be looked at"
        tree.problems.append(Problem(printable("/".join(parts)), "unreadable", why, fatal=True))
        return
    if stat.S_ISDIR(about.st_mode):
        yield from _enter(Path(place), parts, tree, seen)
    elif stat.S_ISREG(about.st_mode):
        yield Found(place, parts, about.st_size, about.st_mtime_ns)
    else:  # a pipe would make the reader wait for ever
        tree.problems.append(
            Problem(printable("/".join(parts)), "ignored", "not a regular file", fatal=False)
        )
