"""The files below a folder: links followed, loops ended, hidden and system files left out."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eyesight.data.prepare import Problem
from eyesight.data.source import file_stamp, hidden, is_picture, natural, natural_text, printable
from eyesight.system.progress import Talk, silent

Parts = tuple[str, ...]
REPORT_EVERY = 100_000  # files
MAX_DEPTH = 200  # folders inside each other; deeper ones are named and not entered


@dataclass(frozen=True)
class FileEntry:
    """A regular file.

    Where it is, its path below the root in parts, and what tells whether it changed.
    """

    location: str
    parts: Parts
    size: int
    modified_ns: int
    identity: str  # device, inode and times: differs whenever the file was written or replaced

    @property
    def path(self) -> Path:
        """`location` as a Path."""
        return Path(self.location)

    @property
    def id(self) -> str:
        """Path below the root, with slashes."""
        return printable("/".join(self.parts))


def file_entry(location: str, parts: Parts, status: os.stat_result) -> FileEntry:
    """The entry of a file, by what `stat` says of it."""
    identity = " ".join(map(str, file_stamp(status)))
    return FileEntry(location, parts, status.st_size, status.st_mtime_ns, identity)


@dataclass(frozen=True)
class Tree:
    """Everything below `root` that is not hidden, in natural order."""

    root: Path
    files: list[FileEntry] = field(default_factory=list)
    folders: list[Parts] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)  # broken links, unreadable folders


def walk(root: Path, talk: Talk = silent) -> Tree:
    """All files below `root`; links are followed, but no folder is entered twice, so loops end."""
    tree = Tree(root)
    for file in stream(tree):
        tree.files.append(file)
        if len(tree.files) % REPORT_EVERY == 0:
            talk(f"listing {root}: {len(tree.files):,} files so far")
    tree.files.sort(key=lambda file: tuple(natural(part) for part in file.parts))
    return tree


def stream(tree: Tree) -> Iterator[FileEntry]:
    """Files of `walk` one after another, links last in each folder.

    Memory holds one folder's names.
    """
    return _enter(tree.root, (), tree, set())


def _names_inside(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """The names of what a folder holds, of its links, and of the hidden folders in it."""
    entries: list[str] = []
    links: list[str] = []
    hidden_folders: list[str] = []
    with os.scandir(folder) as scanned:
        for entry in scanned:
            if hidden(entry.name):
                if entry.is_dir(follow_symlinks=False):
                    hidden_folders.append(entry.name)
            elif entry.is_symlink():
                links.append(entry.name)
            else:
                entries.append(entry.name)
    return entries, links, sorted(hidden_folders)


def _enter(
    folder: Path, parts: Parts, tree: Tree, entered: set[tuple[int, int]]
) -> Iterator[FileEntry]:
    """Files of one folder and below; entries before links, so that a folder keeps its own name."""
    if len(parts) > MAX_DEPTH:
        detail = f"folder: more than {MAX_DEPTH} levels deep"
        tree.problems.append(Problem(_shortened(parts), "unreadable", detail, fatal=True, count=0))
        return
    try:
        identity = folder.stat()
        entries, links, hidden_folders = _names_inside(folder)
    except OSError as error:
        name = printable("/".join(parts)) or "."
        detail = f"folder: {error.strerror}"
        tree.problems.append(Problem(name, "unreadable", detail, fatal=True, count=0))
        return
    key = (identity.st_dev, identity.st_ino)
    if key in entered:
        return
    entered.add(key)
    if parts:
        tree.folders.append(parts)
    tree.problems.extend(_ignored(folder, parts, hidden_folders))
    for names, are_links in ((entries, False), (links, True)):
        names.sort()
        names.sort(key=natural_text)
        for name in names:
            location = os.path.join(folder, name)  # noqa: PTH118 - a Path each is slow
            yield from _add(location, (*parts, name), tree, entered, link=are_links)


def _add(
    location: str, parts: Parts, tree: Tree, entered: set[tuple[int, int]], *, link: bool
) -> Iterator[FileEntry]:
    """One entry of a folder: the file itself, or the files below it."""
    try:
        status = os.stat(location)  # noqa: PTH116
    except OSError:
        reason = "a broken link" if link else "cannot be read"
        name = printable("/".join(parts))
        count = 1 if is_picture(name) else 0
        tree.problems.append(Problem(name, "unreadable", reason, fatal=True, count=count))
        return
    if stat.S_ISDIR(status.st_mode):
        yield from _enter(Path(location), parts, tree, entered)
    elif stat.S_ISREG(status.st_mode):
        yield file_entry(location, parts, status)
    else:  # opening a pipe would wait for ever
        name = printable("/".join(parts))
        tree.problems.append(Problem(name, "ignored", "not a regular file", fatal=False))


def _ignored(folder: Path, parts: Parts, names: Sequence[str]) -> Iterator[Problem]:
    """The hidden and system folders that hold something."""
    for name in names:
        if not _is_empty(folder / name):
            detail = "a hidden folder" if name.startswith(".") else "a system folder"
            place = printable("/".join((*parts, name)))
            yield Problem(place, "ignored_folder", detail, fatal=False)


def _is_empty(folder: Path) -> bool:
    """Whether nothing lies in the folder, or nobody may look."""
    try:
        return next(folder.iterdir(), None) is None
    except OSError:
        return True


def _shortened(parts: Parts) -> str:
    """The first folders of a very deep path."""
    return printable("/".join(parts[:5])) + "/…"
