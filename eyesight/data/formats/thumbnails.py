"""Folders of thumbnails, which image viewers and galleries leave among the images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import median

from eyesight.data.decode import BadPicture, dimensions
from eyesight.data.formats.listing import FileEntry, Parts
from eyesight.data.prepare import Problem
from eyesight.data.source import count_of_images, printable
from eyesight.data.vocabulary import is_thumbnail_folder

SMALLER = 0.7  # largest median side of thumbnails, as a fraction of that of the images beside them
MEASURED = 15  # images of a folder whose sizes are read


def without_thumbnails(
    pictures: Sequence[FileEntry],
) -> tuple[list[FileEntry], list[Problem]]:
    """The images outside of thumbnail folders, and the folders that are left out.

    A folder is one by its name (`thumbs`) and by its images: they are smaller than those beside
    it, so that a class of gestures may be called `thumb`.
    """
    inside: dict[Parts, list[FileEntry]] = {}
    others: list[FileEntry] = []
    for file in pictures:
        folder = thumbnail_folder(file.parts[:-1])
        if folder is None:
            others.append(file)
        else:
            inside.setdefault(folder, []).append(file)
    if not inside:
        return list(pictures), []
    beside = below({folder[:-1] for folder in inside}, others)
    left_out: set[str] = set()
    problems: list[Problem] = []
    for folder, small in inside.items():
        if not are_smaller(small, beside[folder[:-1]]):
            continue
        left_out.update(file.location for file in small)
        detail = (
            f"{count_of_images(len(small))} left out: smaller copies of the images beside this "
            "folder; rename the folder to use them"
        )
        name = printable("/".join(folder))
        problem = Problem(name, "thumbnails", detail, fatal=True, count=len(small))
        problems.append(problem)
    return [file for file in pictures if file.location not in left_out], problems


def thumbnail_folder(folder: Parts) -> Parts | None:
    """The outermost folder on a path that is called as thumbnails are; None without one."""
    for depth, name in enumerate(folder, start=1):
        if is_thumbnail_folder(name):
            return folder[:depth]
    return None


def below(folders: Collection[Parts], files: Sequence[FileEntry]) -> dict[Parts, list[FileEntry]]:
    """The files below each of some folders."""
    inside: dict[Parts, list[FileEntry]] = {folder: [] for folder in folders}
    for file in files:
        for depth in range(len(file.parts)):
            if file.parts[:depth] in inside:
                inside[file.parts[:depth]].append(file)
    return inside


def are_smaller(small: Sequence[FileEntry], others: Sequence[FileEntry]) -> bool:
    """Whether images are clearly smaller than others, by the median side of a few of each."""
    sides = longer_sides(small)
    other_sides = longer_sides(others)
    if not sides or not other_sides:
        return False
    return median(sides) <= SMALLER * median(other_sides)


def longer_sides(files: Sequence[FileEntry]) -> list[int]:
    """The longer sides of a few evenly spread images in pixels; unreadable files are skipped."""
    sides = []
    for file in files[:: max(1, len(files) // MEASURED)]:
        try:
            sides.append(max(dimensions(file.path.read_bytes())))
        except (BadPicture, OSError):
            continue
    return sides
