"""Where images come from.

A named set, a folder, a table, arrays or an archive becomes one `Source`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from eyesight.data import archives, named
from eyesight.data.corrections import is_corrections
from eyesight.data.formats import cifar, csv_table, folders, idx, listing, npz, stanford_dogs
from eyesight.data.formats.columns import UnclearColumnsError
from eyesight.data.formats.listing import FileEntry, Tree
from eyesight.data.formats.picture_list import read_picture_list
from eyesight.data.glyphs.chars74k import chars74k_source, is_original
from eyesight.data.group_file import groups_by_file
from eyesight.data.layout import Layout, group_names
from eyesight.data.source import Source, digest, is_picture
from eyesight.data.table_folder import (
    TablesBeside,
    are_poor_classes,
    open_tables,
    refuse_contradiction,
)
from eyesight.errors import UserError, unknown
from eyesight.system.json_value import parse_json
from eyesight.system.progress import Talk, silent

__all__ = ["Source", "Talk", "each_picture", "list_pictures", "open_source", "silent"]

STRAYS = 0.1  # of the pictures outside of class folders: then a table is asked first
FEW = 20  # pictures that may lie beside an .npz
RUN_FILES = ("recipe.json", "data.json")  # by which the folder of a run is recognised
SUBMISSION = "submission"  # Kaggle's example of an answer; its labels are made up


def open_source(where: str | Path, *, layout: Layout | None = None, talk: Talk = silent) -> Source:
    """The source at `where`, a named set or a path, read as `layout` says.

    A bare name of a named set wins over a folder of that name. Raises UserError, which says what is
    there instead, or which setting of `layout` does not apply.
    """
    layout = layout or Layout()
    name = str(where)
    if isinstance(where, str) and named.is_named(where, talk):
        source = _open_named(name, talk, layout)
    else:
        path = Path(where).expanduser()
        if not path.exists():
            raise _does_not_exist(name)
        source = open_path(name, path, talk, layout)
    return with_groups(source, layout)


def check_exists(where: str | None) -> None:
    """Raise the UserError of `open_source` if `where` is neither a named set nor a path."""
    if where is not None and not named.is_named(where) and not Path(where).expanduser().exists():
        raise _does_not_exist(where)


def check_data(where: str | None) -> None:
    """Raise the UserError of `open_source` for a path that does not exist or is a run."""
    check_exists(where)
    if where is not None and not named.is_named(where):
        _refuse_run(Path(where).expanduser())


def _refuse_run(path: Path) -> None:
    """Raise UserError for the folder of a run, whose figures are no data set."""
    if not all((path / name).is_file() for name in RUN_FILES):
        return
    source = ""
    with suppress(OSError, ValueError, KeyError, TypeError):
        source = parse_json((path / "recipe.json").read_bytes())["data"]["source"]
    hint = "name a folder of images, a table, an archive or a named set"
    if source:
        hint = f"it was trained on {source}: use that as the data set"
    raise UserError(f"{path} is a run, not a data set", hint, code=2)


def check_pictures_exist(places: Sequence[str]) -> None:
    """Raise the UserError of `each_picture` for the first place that does not exist."""
    for place in places:
        if not Path(place).expanduser().exists():
            raise _no_pictures(place)


def _no_pictures(where: str | Path) -> UserError:
    return UserError(f"{where} does not exist", "expected an image, a folder or a table of images")


def with_groups(source: Source, layout: Layout) -> Source:
    """The source with the groups that `data.group_pattern` or `data.group_file` gives its images.

    Raises UserError where both are set, or where none of the images gets a group.
    """
    if not layout.group_pattern and not layout.group_file:
        return source
    if layout.group_pattern and layout.group_file:
        raise UserError(
            "data.group_pattern and data.group_file are both set", "leave out one of them", code=2
        )
    setting = "data.group_file"
    if layout.group_pattern:
        setting = "data.group_pattern"
        groups, unmatched = group_names(source.ids, layout.group_pattern)
        if unmatched == len(groups):
            raise UserError(
                f"data.group_pattern matches no path in {source.name}; the first is "
                f"{source.ids[0]}",
                "it must be a regular expression that matches part of the path below the data "
                "folder",
                code=2,
            )
    else:
        groups, unmatched = groups_by_file(source.ids, layout.group_file)
    number = len(set(groups)) - unmatched
    note = f"groups from {setting}: {number:,}, each in one split"
    if unmatched:
        note += f"; images without a group: {unmatched:,}"
    return replace(source, groups=groups, notes=(*source.notes, note))


def open_path(name: str, path: Path, talk: Talk = silent, layout: Layout | None = None) -> Source:
    """The source in a file or folder that exists."""
    layout = layout or Layout()
    _refuse_run(path)
    try:
        if path.is_dir():
            return _open_folder(name, path, talk, layout)
        return _open_file(name, path, talk, layout)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror or error}", "check the path and its permissions"
        ) from error


def list_pictures(where: str | Path) -> list[Path]:
    """The file itself, those that a table names, or all below a folder; UserError for none."""
    return [file.path for file in each_picture(where)]


def each_picture(where: str | Path) -> Iterator[FileEntry]:
    """The same one after another, for folders of millions of pictures."""
    path = Path(where).expanduser()
    if path.is_file() and path.suffix.lower() in csv_table.TABLES:
        for named_file in read_picture_list(path):
            status = named_file.stat()
            yield listing.file_entry(str(named_file), (named_file.name,), status)
        return
    if path.is_file():
        status = path.stat()
        yield listing.file_entry(str(path), (path.name,), status)
        return
    if not path.is_dir():
        raise _no_pictures(where)
    empty = True
    for file in listing.stream(Tree(path)):
        if is_picture(file.location):
            empty = False
            yield file
    if empty:
        raise UserError(
            f"no images in {where}",
            "expected files such as .png or .jpg; hidden files are left out",
        )


def _open_named(name: str, talk: Talk, layout: Layout) -> Source:
    """A named set, or what the person keeps under its name."""
    own = named.user_files(name) if named.NAMED[name].any_images else None
    if own is None:
        _refuse_layout(name, "a named data set", layout)
        return named.open_named(name, talk=talk)
    talk(f"{name}: using the files in {own} unchanged")
    return replace(open_path(str(own), own, talk, layout), name=name)


def _open_folder(
    name: str, root: Path, talk: Talk, layout: Layout, inside: Path | None = None
) -> Source:
    """A folder is what its files are: arrays, a table, one archive, or images in class folders."""
    if is_original(root):
        _refuse_layout(name, "Chars74K", layout)
        return replace(chars74k_source(root, talk), name=name)
    tree = listing.walk(root, talk)
    if halves := [file.path for file in tree.files if idx.is_idx(file.parts[-1])]:
        _refuse_layout(name, "a set of IDX files", layout)
        return idx.open_idx(name, halves)
    if batches := [file.path for file in tree.files if cifar.is_batch(file.parts[-1])]:
        _refuse_layout(name, "CIFAR-10", layout)
        return cifar.open_cifar(name, batches)
    pictures = [file for file in tree.files if is_picture(file.location)]
    if not pictures and inside is None and (packed := stanford_dogs.packed(root, "images")):
        return stanford_dogs.from_archives(name, root, packed, talk)
    if not pictures and (single := _single_file(tree, inside)) is not None:
        return _open_file(name, single, talk, layout, inside)
    if not pictures and (tables := _split_tables(tree)):
        return csv_table.open_csv(name, tables, inside=inside, layout=layout)
    source = _open_pictures(name, root, tree, pictures, layout, inside)
    return stanford_dogs.complete(source, root, talk if inside is None else None)


def _require_table(name: str, tables: list[Path]) -> None:
    """Raise UserError for columns that are named where there is no table."""
    if not tables:
        raise UserError(
            f"{name} has no table, but data.image_column, label_column, split_column or "
            "group_column is set",
            "leave them out, or use the table as DATA",
            code=2,
        )


def _open_pictures(
    name: str,
    root: Path,
    tree: Tree,
    pictures: list[FileEntry],
    layout: Layout,
    inside: Path | None,
) -> Source:
    """Images in class folders.

    Where the folders are no classes, as a table among the files says.
    """
    tables = [file.path for file in tree.files if _is_table(file)]
    beside = TablesBeside(name, tables, root, pictures, layout, inside)
    if layout.names_columns:
        _require_table(name, tables)
        return open_tables(beside)
    if layout.images:
        tree, pictures = _narrowed(name, root, tree, pictures, layout.images)
        beside = replace(beside, pictures=pictures)
    if layout.class_level:
        return folders.open_folders(name, tree, pictures, layout)
    try:
        source = folders.open_folders(name, tree, pictures, layout)
    except folders.UnclearError:
        if tables:
            return open_tables(beside)
        arrays = [file.path for file in tree.files if file.parts[-1].lower().endswith(".npz")]
        if len(arrays) == 1 and len(pictures) < FEW:  # pictures of the data, not the data
            return npz.open_npz(name, arrays[0])
        raise
    return _folders_or_tables(source, beside)


def _folders_or_tables(source: Source, beside: TablesBeside) -> Source:
    """The source of class folders, unless a table among the images tells more."""
    tables, pictures = beside.tables, beside.pictures
    if tables and are_poor_classes(source):
        try:
            return open_tables(beside)
        except UnclearColumnsError:
            raise
        except UserError:
            return source  # a table about something else, or none that can be read
    if tables and _many_strays(source, len(pictures)):
        with suppress(UserError):
            return open_tables(beside)
        return source
    refuse_contradiction(beside, source)
    return source


def _many_strays(source: Source, pictures: int) -> bool:
    """Whether many images lie beside the class folders."""
    strays = sum(problem.kind == "unlabelled" for problem in source.problems)
    return strays > STRAYS * pictures


def _is_table(file: FileEntry) -> bool:
    name = file.parts[-1].lower()
    if is_corrections(name):
        return False
    return name.endswith(tuple(csv_table.TABLES)) and SUBMISSION not in name


def _narrowed(
    name: str, root: Path, tree: Tree, pictures: list[FileEntry], images: str
) -> tuple[Tree, list[FileEntry]]:
    """The tree and its images without what lies outside of `data.images`."""
    folder = (root / Path(images).expanduser()).resolve()
    inside = [file for file in pictures if file.path.resolve().is_relative_to(folder)]
    if not inside:
        raise UserError(
            f"data.images={images}: no image of {name} is in {folder}",
            "it must be a folder below the data folder, as a relative path",
            code=2,
        )
    depth = len(folder.relative_to(root.resolve()).parts)
    shortened = [replace(file, parts=file.parts[depth:]) for file in inside]
    return Tree(folder, shortened, [], tree.problems), shortened


def _split_tables(tree: Tree) -> list[Path]:
    """The tables of a folder without images, if each is a split; their images lie elsewhere."""
    tables = [file.path for file in tree.files if _is_table(file)]
    splits = {csv_table.split_of_table(path, tree.root) for path in tables}
    if len(tables) < 2 or None in splits or len(splits) < len(tables):
        return []
    return tables


def _single_file(tree: Tree, inside: Path | None) -> Path | None:
    """The one table, array file or archive of a folder without images."""
    if not tree.files:
        return None
    depth = min(len(file.parts) for file in tree.files)
    top = [file.path for file in tree.files if len(file.parts) == depth]
    described = [
        path
        for path in top
        if path.suffix.lower() in (*csv_table.TABLES, ".npz")
        and not is_corrections(path.name)
        and SUBMISSION not in path.name.lower()
    ]
    if not described and inside is None:  # an archive inside an archive could nest for ever
        described = [path for path in top if archives.is_archive(path)]
    return described[0] if len(described) == 1 else None


def _open_file(
    name: str, path: Path, talk: Talk, layout: Layout, inside: Path | None = None
) -> Source:
    """A file is told by its name, an archive also by its content."""
    if is_corrections(path.name):
        raise UserError(
            f"{path.name} is a corrections file, not a data set",
            "name the data set; corrections beside it are used automatically, others with --set "
            "data.corrections=FILE",
        )
    if idx.is_idx(path.name):
        _refuse_layout(name, "an IDX file", layout)
        return idx.open_idx(name, idx.siblings(path))
    if cifar.is_batch(path.name):
        _refuse_layout(name, "a batch of CIFAR-10", layout)
        return cifar.open_cifar(name, [path])
    if path.suffix.lower() == ".npz":
        _refuse_layout(name, "an .npz file", layout)
        return npz.open_npz(name, path)
    if path.suffix.lower() in csv_table.TABLES:
        if layout.class_level:
            raise UserError(
                f"data.class_level applies to folders, but {path.name} is a table",
                "leave it out, or use the folder",
                code=2,
            )
        return csv_table.open_csv(name, [path], inside=inside, layout=layout)
    if inside is None and archives.is_archive(path):
        folder, checksum = archives.unpack(path, talk=talk)
        source = _open_folder(name, folder, talk, layout, folder)
        return replace(source, fingerprint=digest(["archive", checksum, layout]))
    hint = (
        "expected a folder, a CSV, an .npz, IDX files, a tar or zip, or a named set: "
        + ", ".join(named.NAMED)
    )
    kind = "a single image" if is_picture(path) else "not a data set"
    raise UserError(f"{path} is {kind}", hint)


def _refuse_layout(name: str, kind: str, layout: Layout) -> None:
    """Raise UserError when folders, columns or levels are named for data that has none."""
    set_fields = layout.set_fields(without=("group_pattern", "group_file"))
    if set_fields:
        raise UserError(
            f"{name} is {kind}, which has no {set_fields[0]}",
            f"leave out data.{set_fields[0]}",
            code=2,
        )


def _does_not_exist(name: str) -> UserError:
    """The error for a path that does not exist, which may be a misspelt name."""
    parent = Path(name).expanduser().parent
    beside: list[str] = []
    with suppress(OSError):
        beside = [other.name for other in parent.iterdir() if other.is_dir()]
    near_names = get_close_matches(Path(name).name, beside, n=1)
    if near_names:
        near = f"did you mean {Path(name).parent / near_names[0]}?"
        return UserError(f"{name} does not exist", f"{near} Paths are relative to {Path.cwd()}")
    error = unknown("data set", name, named.NAMED)
    near = f"named sets are {', '.join(named.NAMED)}"
    if error.hint.startswith("did you mean"):
        near = error.hint
    return UserError(f"{name} does not exist", f"{near}; paths are relative to {Path.cwd()}")
