"""Which file a cell of a table means.

As written, or else by its name among the files that are there.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote, urlsplit

from eyesight.data.formats import listing
from eyesight.data.formats.listing import FileEntry
from eyesight.data.formats.thumbnails import without_thumbnails
from eyesight.data.prepare import Problem
from eyesight.data.source import is_picture
from eyesight.data.vocabulary import split_and_rest


class Finder:
    """Files below a folder by the paths, names or stems that tables give for them.

    `folder` is where the table's paths begin, `root` the folder whose files are searched by name,
    and files outside of `inside` (an unpacked archive) are never found.
    """

    def __init__(
        self,
        folder: Path,
        root: Path,
        inside: Path | None = None,
        pictures: list[FileEntry] | None = None,
    ) -> None:
        self.folder = folder
        self.root = root
        self.inside = inside.resolve() if inside else None
        self._given = pictures
        self._listed: list[FileEntry] | None = None
        self.problems: list[Problem] = []  # of what lies below the root, once it is listed
        self._by_name: dict[str, list[FileEntry]] | None = None

    def direct(self, cell: str) -> Path | None:
        """The file at exactly this path, if it is there."""
        path = self.folder / cell
        try:
            if not path.is_file():
                return None
        except (OSError, ValueError):
            return None
        return path

    def escapes(self, path: Path) -> bool:
        """Whether a path leads out of the folder it must stay in."""
        if self.inside is None:
            return False
        try:
            return not path.resolve().is_relative_to(self.inside)
        except (OSError, ValueError):
            return True

    def candidates(self, cell: str, split: str = "") -> list[Path]:
        """The files that a cell may mean: the one at this path, else those of this name.

        Names are compared without case and in one Unicode form, with their folders as far as the
        cell gives any, with or without extension. Of several, one in a folder of the row's `split`
        comes first.
        """
        direct = self.direct(cell)
        if direct is not None:
            return [direct]
        *folders, name = _key_parts(cell)
        entries = [
            entry
            for entry in self._index().get(name, [])
            if _agree(folders, [_key(part) for part in entry.parts[:-1]])
        ]
        if len(entries) > 1 and split:
            in_split = [entry for entry in entries if _in_split(entry, split)]
            entries = in_split or entries
        return [entry.path for entry in entries]

    def unnamed(self, paths: set[str]) -> int:
        """How many of the images are not among these paths.

        0 where the images were never listed.
        """
        if self._given is None and self._listed is None:
            return 0
        return sum(entry.location not in paths for entry in self.pictures)

    @property
    def pictures(self) -> list[FileEntry]:
        """Every image below the root without thumbnails, listed at the first call."""
        if self._listed is None:
            pictures = self._given
            if pictures is None:
                tree = listing.walk(self.root)
                self.problems += tree.problems
                pictures = [file for file in tree.files if is_picture(file.location)]
            self._listed, thumbnails = without_thumbnails(pictures)
            self.problems += thumbnails
        return self._listed

    def _index(self) -> dict[str, list[FileEntry]]:
        if self._by_name is None:
            index: defaultdict[str, list[FileEntry]] = defaultdict(list)
            for entry in self.pictures:
                name = _key(entry.parts[-1])
                stem = os.path.splitext(name)[0]  # noqa: PTH122 - a Path each is slow
                index[name].append(entry)
                if stem != name:
                    index[stem].append(entry)
            self._by_name = dict(index)
        return self._by_name


def as_path(cell: str) -> str:
    """A cell as a path: `file://` and `./` taken away."""
    if cell.lower().startswith("file://"):
        return unquote(urlsplit(cell).path)
    return cell.removeprefix("./")


def _key_parts(cell: str) -> list[str]:
    """The folders and the name in a cell, as the index spells them; at least the name."""
    parts = [_key(part) for part in cell.replace("\\", "/").split("/")]
    return [part for part in parts if part not in ("", ".", "..")] or [""]


def _agree(cell_folders: list[str], file_folders: list[str]) -> bool:
    """Whether one of two paths is how the other ends."""
    shared = min(len(cell_folders), len(file_folders))
    return cell_folders[len(cell_folders) - shared :] == file_folders[len(file_folders) - shared :]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _in_split(entry: FileEntry, split: str) -> bool:
    return any(split_and_rest(part)[0] == split for part in entry.parts[:-1])
