"""The folders that hold images, as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from eyesight.data.formats.listing import FileEntry, Parts
from eyesight.data.source import count_of_images, printable
from eyesight.data.vocabulary import is_container
from eyesight.errors import listed

SHOWN = 8  # folders in an error or a note


@dataclass(frozen=True)
class Folder:
    """A folder with images in it or below it."""

    parts: Parts
    files: list[FileEntry] = field(default_factory=list)  # images directly in it
    folders: dict[str, Folder] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last part of its path, or "" for the root."""
        return self.parts[-1] if self.parts else ""

    @property
    def children(self) -> list[Folder]:
        """The folders in it, in natural order."""
        return list(self.folders.values())

    def below(self) -> Iterator[FileEntry]:
        """Every image in it and below."""
        yield from self.files
        for folder in self.children:
            yield from folder.below()


def grow(pictures: Sequence[FileEntry]) -> Folder:
    """The folders that hold these images."""
    root = Folder(())
    for file in pictures:
        folder = root
        for depth, part in enumerate(file.parts[:-1], start=1):
            inner = folder.folders.get(part)
            if inner is None:
                inner = Folder(file.parts[:depth])
                folder.folders[part] = inner
            folder = inner
        folder.files.append(file)
    return root


def inside_container(folder: Folder) -> Folder:
    """The folder, or the one in it that only contains the others: `amazon/images/bike`."""
    while not folder.files and len(folder.folders) == 1:
        only = folder.children[0]
        if not only.folders or not is_container(only.name):
            break
        folder = only
    return folder


def innermost(folder: Folder) -> Folder:
    """The first folder on the way down that holds images or several folders."""
    while not folder.files and len(folder.folders) == 1:
        folder = folder.children[0]
    return folder


def without_nested_copy(folder: Folder) -> tuple[Folder, Folder | None]:
    """The folder without the one in it that holds folders of the same names again.

    `yes/`, `no/` and `brain_tumor/yes/`, `brain_tumor/no/` are the data set twice.
    """
    names = set(folder.folders)
    for child in folder.children:
        holds_folders = any(inner.folders for inner in child.children)
        is_data_set = not child.files and (len(child.folders) > 1 or holds_folders)
        if is_data_set and set(child.folders) == names - {child.name}:
            others = {name: other for name, other in folder.folders.items() if other is not child}
            return replace(folder, folders=others), child
    return folder, None


def first_choice(root: Folder) -> int:
    """The first level below the root with several folders; 0 where there is none."""
    level = [root]
    depth = 0
    while level:
        level = [child for folder in level for child in folder.children]
        depth += 1
        if len(level) > 1:
            return depth
    return 0


def seen(root: Folder) -> str:
    """The folders that hold images, with their numbers."""
    found_in: dict[Parts, int] = {}

    def visit(folder: Folder) -> None:
        if folder.files:
            found_in[folder.parts] = len(folder.files)
        for child in folder.children:
            visit(child)

    visit(root)
    texts = [
        f"{printable('/'.join(parts)) or 'its own folder'} ({count_of_images(count)})"
        for parts, count in found_in.items()
    ]
    return listed(texts, SHOWN)
