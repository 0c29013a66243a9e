"""Where pictures come from: a named set, a folder, a CSV, arrays or an archive of any of these becomes one `Source`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from eyesight.data import archives, named
from eyesight.data.formats import cifar, csv_table, folders, idx, npz, stanford_dogs
from eyesight.data.glyphs.chars74k import chars74k_source, is_original
from eyesight.data.source import Source, digest, is_picture
from eyesight.errors import UserError, unknown
from eyesight.system.progress import Talk, silent

__all__ = ["Source", "Talk", "each_picture", "list_pictures", "open_source", "silent"]


def open_source(where: str | Path, *, talk: Talk = silent) -> Source:
    """The source at `where`, a named set or a path; UserError says what was found instead. A bare known name wins over a folder."""
    name = str(where)
    if isinstance(where, str) and named.is_named(where, talk):
        return _open_named(name, talk)
    path = Path(where).expanduser()
    if not path.exists():
        raise _nothing_there(name)
    return open_path(name, path, talk)


def open_path(name: str, path: Path, talk: Talk) -> Source:
    """The source in a file or folder that exists."""
    try:
        return _open_folder(name, path, talk) if path.is_dir() else _open_file(name, path, talk)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror or error}", "check the path and its permissions"
        ) from error


def list_pictures(where: str | Path) -> list[Path]:
    """The file itself, or every picture below a folder in natural order; UserError when there is none."""
    return [found.path for found in each_picture(where)]


def each_picture(where: str | Path) -> Iterator[folders.Found]:
    """The same one after another, for folders of millions of pictures."""
    path = Path(where).expanduser()
    if path.is_file():
        about = path.stat()
        yield folders.Found(str(path), (path.name,), about.st_size, about.st_mtime_ns)
        return
    if not path.is_dir():
        raise UserError(f"{where} does not exist", "expected a picture or a folder of pictures")
    empty = True
    for found in folders.stream(folders.Tree(path)):
        if is_picture(found.place):
            empty = False
            yield found
    if empty:
        raise UserError(
            f"no picture in {where}",
            "expected files such as .png or .jpg; hidden files are left out",
        )


def _open_named(name: str, talk: Talk) -> Source:
    own = named.given(name) if named.NAMED[name].anything else None
    if own is None:
        return named.open_named(name, talk=talk)
    talk(f"{name}: taking what lies in {own} as it is")
    return replace(open_path(str(own), own, talk), name=name)


def _open_folder(name: str, root: Path, talk: Talk, inside: Path | None = None) -> Source:
    """A folder is what its files are: arrays, a table, one archive, or pictures in class folders."""
    if is_original(root):
        return replace(chars74k_source(root, talk), name=name)
    tree = folders.walk(root, talk)
    if halves := [file.path for file in tree.files if idx.is_idx(file.parts[-1])]:
        return idx.open_idx(name, halves)
    if batches := [file.path for file in tree.files if cifar.is_batch(file.parts[-1])]:
        return cifar.open_cifar(name, batches)
    pictures = [file for file in tree.files if is_picture(file.place)]
    if not pictures and inside is None and (packed := stanford_dogs.packed(root, "images")):
        return stanford_dogs.from_archives(name, root, packed, talk)
    if (single := _single_file(tree, pictures, inside)) is not None:
        return _open_file(name, single, talk, inside)
    return stanford_dogs.complete(
        folders.open_tree(name, tree, pictures), root, talk if inside is None else None
    )


def _single_file(
    tree: folders.Tree, pictures: list[folders.Found], inside: Path | None
) -> Path | None:
    """The table, array file or archive that says what the folder holds: exactly one, where the pictures lie in no class folders."""
    if len({file.parts[:-1] for file in pictures}) > 1:
        return None
    top = [
        file.path
        for file in tree.files
        if len(file.parts) == min(len(other.parts) for other in tree.files)
    ]
    described = [
        path
        for path in top
        if path.suffix.lower() in csv_table.TABLES or path.suffix.lower() == ".npz"
    ]
    if (
        not described and not pictures and inside is None
    ):  # an archive inside an archive could nest for ever
        described = [path for path in top if archives.is_archive(path)]
    return described[0] if len(described) == 1 else None


def _open_file(name: str, path: Path, talk: Talk, inside: Path | None = None) -> Source:
    """A file is told by its name, an archive also by its content."""
    if idx.is_idx(path.name):
        return idx.open_idx(name, idx.siblings(path))
    if cifar.is_batch(path.name):
        return cifar.open_cifar(name, [path])
    if path.suffix.lower() == ".npz":
        return npz.open_npz(name, path)
    if path.suffix.lower() in csv_table.TABLES:
        return csv_table.open_csv(name, path, inside=inside)
    if inside is None and archives.is_archive(path):
        folder, checksum = archives.unpack(path, talk=talk)
        return replace(
            _open_folder(name, folder, talk, folder), fingerprint=digest(["archive", checksum])
        )
    hint = (
        "expected a folder, a CSV, an .npz, IDX files, a tar or zip, or a named set: "
        + ", ".join(named.NAMED)
    )
    raise UserError(f"{path} is {'a single picture' if is_picture(path) else 'no data set'}", hint)


def _nothing_there(name: str) -> UserError:
    """The error for a path that does not exist, which may be a misspelt name."""
    error = unknown("data set", name, named.NAMED)
    near = (
        error.hint
        if error.hint.startswith("did you mean")
        else f"named sets are {', '.join(named.NAMED)}"
    )
    return UserError(f"{name} does not exist", f"{near}; a path is relative to {Path.cwd()}")
