"""Add images to a project's classes, from uploads, archives and camera bursts.

Images are stored unchanged under a name derived from their content, so duplicates are stored once.
The names of a burst's images contain the burst, so that they stay in the same split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from eyesight.data.archives import Limits, extract
from eyesight.data.decode import BadPicture, decode, dimensions
from eyesight.data.scan import SUFFIXES
from eyesight.errors import UserError
from eyesight.studio.projects import Project, class_folder_name, folders_in
from eyesight.system.digest import sha256
from eyesight.system.files import scratch, whole_file

DIGEST = 16  # digits of the content's hash in a file's name
BURST = re.compile(r"[0-9a-z]{1,16}")
BURST_PATTERN = "burst-([0-9a-z]+)-"  # of data.group_pattern
BYTES = 40_000_000  # of one image
PIXELS = 64_000_000  # of one image, read from its header
MOST_PICTURES = 100_000  # in one project
NAMED = 200  # broken files that are named
ARCHIVE = Limits(bytes=8 << 30, count=100_000)
ENDINGS = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tiff",
    b"MM\0*": ".tiff",
}


@dataclass(frozen=True)
class Added:
    """The result of adding an image; `elsewhere` is another class that already has it."""

    file: str
    state: Literal["added", "again", "elsewhere"]
    elsewhere: str = ""


@dataclass
class Gathered:
    """The result of adding several images; `broken` are file names with the kind of damage."""

    added: int = 0
    again: int = 0
    ignored: int = 0  # files without an image extension
    broken: list[tuple[str, str]] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)


def add_picture(project: Project, class_name: str, data: bytes, burst: str = "") -> Added:
    """Add an image to a class; raises BadPicture if it is unreadable or too large."""
    folder = project.class_path(class_name)
    if len(data) > BYTES:
        raise BadPicture("huge", f"more than {BYTES / 1e6:g} MB")
    width, height = dimensions(data)
    if width * height > PIXELS:
        raise BadPicture("huge", f"{width} x {height} is over {PIXELS / 1e6:g} megapixels")
    decode(data)
    name = f"{sha256(data)[:DIGEST]}{ending(data)}"
    if BURST.fullmatch(burst):
        name = f"burst-{burst}-{name}"
    holder = holder_of(project, name)
    if holder == class_name:
        return Added(name, "again")
    if holder:
        return Added(name, "elsewhere", holder)
    with whole_file(folder / name) as opened:
        opened.write(data)
    return Added(name, "added")


def holder_of(project: Project, file: str) -> str:
    """The class that already has a file of this name, or ""."""
    for class_name in folders_in(project.pictures):
        if (project.pictures / class_name / file).exists():
            return class_name
    return ""


def ending(data: bytes) -> str:
    """The file name's ending for an image's bytes."""
    for start, suffix in ENDINGS.items():
        if data.startswith(start):
            return suffix
    if data[8:12] == b"WEBP":
        return ".webp"
    if data[4:8] == b"ftyp":
        return ".avif" if b"avif" in data[8:32] else ".heic"
    return ".ppm"


def add_archive(
    project: Project,
    archive: Path,
    class_name: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Gathered:
    """Add the images of a zip or tar; the innermost folders are the classes.

    Images without a folder are added to `class_name`. Raises UserError for a damaged or unsafe
    archive.
    """
    with scratch() as folder:
        extract(archive, folder, ARCHIVE)
        return add_folder(project, folder, class_name, progress)


def add_folder(
    project: Project,
    folder: Path,
    class_name: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Gathered:
    """Add the images in a folder; those at its top level are added to `class_name`."""
    gathered = Gathered()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for number, path in enumerate(files):
        progress(number, len(files))
        add_file(project, folder, path, class_name, gathered)
    progress(len(files), len(files))
    return gathered


def add_file(project: Project, root: Path, path: Path, class_name: str, gathered: Gathered) -> None:
    """Add one file of a folder and record the result."""
    inside = path.relative_to(root)
    if any(part.startswith((".", "__MACOSX")) for part in inside.parts):
        return
    if path.suffix.lower() not in SUFFIXES:
        gathered.ignored += 1
        return
    try:
        target = class_of_file(project, inside, class_name)
        if target not in gathered.classes:
            gathered.classes.append(target)
        if path.stat().st_size > BYTES:
            raise BadPicture("huge", f"more than {BYTES / 1e6:g} MB")
        added = add_picture(project, target, path.read_bytes())
    except (BadPicture, UserError) as error:
        gathered.broken.append((str(inside), str(error)))
        return
    gathered.added += added.state == "added"
    gathered.again += added.state != "added"


def class_of_file(project: Project, inside: PurePath, class_name: str) -> str:
    """The class of a file in a folder; raises UserError if there is none."""
    if len(inside.parts) > 1:
        return project.add_class(class_folder_name(inside.parts[-2]))
    if not class_name:
        raise UserError("the image is in no class folder", "drop the image on a class")
    return class_name


def has_bursts(project: Project) -> bool:
    """Whether there are images from bursts."""
    return any(True for _ in bursts(project))


def bursts(project: Project) -> Iterator[str]:
    """The file names of images from bursts."""
    for class_name in project.class_names:
        for name in project.files(class_name):
            if name.startswith("burst-"):
                yield name
