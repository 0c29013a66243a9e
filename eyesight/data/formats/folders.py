"""Folders of images: which folders are splits, which are classes, and which are neither.

A folder is not a class because it holds images. Read from the outside in: a single folder around
the others is a wrapper; folders named after splits (`train`, `seg_test`, `val2017`) are splits;
where all folders hold the same subfolders (`fold_1/cat`, `fold_2/cat`) these are the classes;
folders whose names only say that images lie in them (`images_part_1`) are nobody's class. What is
left are the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from eyesight.data.formats.advice import label_hints
from eyesight.data.formats.folder_tree import (
    SHOWN,
    Folder,
    first_choice,
    grow,
    innermost,
    inside_container,
    seen,
    without_nested_copy,
)
from eyesight.data.formats.listing import FileEntry, Parts, Tree
from eyesight.data.formats.masks_beside import without_masks
from eyesight.data.formats.thumbnails import without_thumbnails
from eyesight.data.layout import Layout
from eyesight.data.prepare import Problem
from eyesight.data.source import (
    FONTS,
    Source,
    class_name,
    count_of_images,
    digest,
    in_order,
    is_picture,
    printable,
    reader,
)
from eyesight.data.vocabulary import (
    Split,
    abbreviated_split,
    are_numbered_containers,
    exact_split,
    fold,
    hints_at_no_class,
    is_container,
    is_image_folder,
    is_mask_folder,
    is_unlabelled_folder,
    split_and_rest,
)
from eyesight.errors import UserError, listed

EXPECTED = (
    "expected one folder per class, perhaps below train/, val/ and test/, "
    "or a table of path and label"
)


class UnclearError(UserError):
    """Folders that say neither classes nor splits; a table may."""


@dataclass
class Structure:
    """What each image is.

    Its split and class name by location, what is left out, and what to tell.
    """

    places: dict[str, tuple[str, str]] = field(default_factory=dict)  # class "" is unlabelled
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def put(self, files: Iterator[FileEntry] | list[FileEntry], split: str, label: str) -> None:
        """These images belong to a split and a class."""
        for file in files:
            self.places[file.location] = (split, label)

    def stray(self, files: Sequence[FileEntry]) -> None:
        """These images lie beside the class folders: named and left out."""
        for file in files:
            self.problems.append(
                Problem(file.id, "unlabelled", "is in no class folder", fatal=True)
            )

    def leave_out(self, folder: Folder, reason: str) -> None:
        """A whole folder is named and left out."""
        count = sum(1 for _ in folder.below())
        detail = f"{count_of_images(count)} left out: {reason}"
        name = printable("/".join(folder.parts))
        self.problems.append(Problem(name, "unlabelled", detail, fatal=True, count=count))


def open_folders(
    name: str, tree: Tree, pictures: Sequence[FileEntry], layout: Layout | None = None
) -> Source:
    """The source that class folders make.

    Raises UnclearError where the folders do not say what the classes are, and UserError where there
    is no image.
    """
    if not pictures:
        raise _no_pictures(name, tree)
    listed_files = pictures
    pictures, thumbnails = without_thumbnails(pictures)
    pictures, masks = without_masks(pictures)
    root = grow(pictures)
    level = layout.class_level if layout else 0
    structure = at_level(root, pictures, level) if level else read_structure(name, root, tree)
    placed = [file for file in pictures if file.location in structure.places]
    places = [structure.places[file.location] for file in placed]
    classes = in_order(label for _, label in places if label)
    if not classes:
        raise UnclearError(f"no image in {name} is in a class folder: {seen(root)}", EXPECTED)
    number = {label: index for index, label in enumerate(classes)} | {"": -1}
    facts = [(file.id, file.identity, *place) for file, place in zip(placed, places, strict=True)]
    return Source(
        name=name,
        classes=classes,
        ids=tuple(file.id for file in placed),
        labels=np.array([number[label] for _, label in places], dtype=np.int64),
        splits=np.array([split for split, _ in places], dtype="<U10"),
        read=reader([file.location for file in placed]),
        pixels=None,
        fingerprint=digest(["folder", tree.root.resolve(), *facts]),
        problems=(
            *tree.problems,
            *structure.problems,
            *thumbnails,
            *masks,
            *_ignored(tree, listed_files),
        ),
        notes=tuple(dict.fromkeys(structure.notes)),
        advice=tuple(label_hints(tree, pictures)) if len(classes) == 1 else (),
    )


def open_unlabelled(name: str, tree: Tree) -> Source:
    """The source of every image in a folder, without classes.

    Folders named after splits are splits.

    Raises UserError where there is no image.
    """
    pictures = [file for file in tree.files if is_picture(file.location)]
    if not pictures:
        raise _no_pictures(name, tree)
    pictures, thumbnails = without_thumbnails(pictures)
    splits = []
    for file in pictures:
        named = [split_and_rest(part)[0] for part in file.parts[:-1]]
        splits.append(next((split for split in named if split), ""))
    facts = [(file.id, file.identity) for file in pictures]
    return Source(
        name=name,
        classes=(),
        ids=tuple(file.id for file in pictures),
        labels=np.full(len(pictures), -1),
        splits=np.array(splits, dtype="<U10"),
        read=reader([file.location for file in pictures]),
        pixels=None,
        fingerprint=digest(["pictures", *facts]),
        problems=(*tree.problems, *thumbnails),
    )


def read_structure(name: str, root: Folder, tree: Tree) -> Structure:
    """Splits and classes from the folders' names and nesting; raises UnclearError."""
    structure = Structure()
    top = unwrapped(root, structure)
    splits = split_folders(top)
    if not splits:
        top = _labelled(top, structure)
        _refuse_split_names(top, name)
        class_folders = classes_of(top, structure, name)
        if class_folders is None:
            raise unclear(name, root, tree)
        _put_classes(class_folders, "", structure)
        return structure
    structure.stray(top.files)
    for folder in top.children:
        if folder.name not in splits:
            structure.leave_out(folder, f"beside {', '.join(sorted(splits))}")
    if not _put_splits(top, splits, structure, name):
        raise unclear(name, root, tree)
    return structure


def _labelled(top: Folder, structure: Structure) -> Folder:
    """The folder without what its name says to be unlabelled, which is named and left out."""
    kept: dict[str, Folder] = {}
    for child in top.children:
        if is_unlabelled_folder(child.name):
            structure.leave_out(child, "its name says that its images are unlabelled")
        else:
            kept[child.name] = child
    return replace(top, folders=kept)


def _refuse_split_names(top: Folder, name: str) -> None:
    """Raise UnclearError where every folder names a split and something else.

    `trainA`, `trainB`, `testA`, `testB`.
    """
    named = [split_and_rest(child.name) for child in top.children]
    splits = {split for split, _ in named}
    rests = [rest for _, rest in named]
    if len(splits) < 2 or None in splits or "train" not in splits:
        return
    if any(rests.count(rest) > 1 for rest in rests):
        raise UnclearError(
            f"the folders of {name} are a mixture of splits and other names: "
            f"{_names(top.children)}",
            "expected train/ and test/ with a folder per class in each\nuse --set "
            f"data.class_level={len(top.children[0].parts)} to make every folder a class",
        )


def unwrapped(folder: Folder, structure: Structure) -> Folder:
    """The folder inside all wrappers.

    `Images/husky/1.jpg`, or a data set beside a repository's `docs/`.
    """
    while not split_folders(folder):
        folder = _without_copy(folder, structure)
        inner = _wrapped_data(folder)
        if inner is None:
            return folder
        structure.stray(folder.files)
        for other in folder.children:
            if other is not inner:
                structure.leave_out(other, f"the data set is in {inner.name}")
        folder = inner
    return folder


def _without_copy(folder: Folder, structure: Structure) -> Folder:
    """The folder without a nested copy of the data set, which is named."""
    folder, copy = without_nested_copy(folder)
    if copy is not None:
        structure.leave_out(copy, "it holds folders of the same names as those beside it")
    return folder


def _wrapped_data(folder: Folder) -> Folder | None:
    """The one folder in a folder that holds the data set, if there is such a one."""
    children = folder.children
    if len(children) == 1:
        only = children[0]
        return only if only.folders else None
    nested = [child for child in children if child.folders]
    if len(nested) != 1 or len(children) - 1 > len(nested[0].folders) + 2:
        return None
    child = nested[0]
    has_splits = bool(split_folders(unwrapped(child, Structure())))
    if has_splits or (is_container(child.name) and len(child.folders) > 1):
        return child
    return None


def split_folders(folder: Folder) -> dict[str, Split]:
    """The folders in a folder that are splits, by name; empty where they are something else.

    A split word alone (`train`) counts where class folders lie below one such folder: flat `train`,
    `bus` and `car` are three vehicles. Words within names (`seg_train`, `test1`) count where two
    splits occur and the names are otherwise alike.
    """
    children = folder.children
    named: dict[str, Split] = {}
    rests = set()
    for child in children:
        split, rest = split_and_rest(child.name)
        if split is not None:
            named[child.name] = split
            rests.add(rest)
    alike = len(set(named.values())) > 1 and "train" in named.values() and len(rests) == 1
    if alike and len(named) == len(children):
        return named
    base = _training_base(children, named)
    if base:
        return {**named, base: "train"}
    short = splits_by(abbreviated_split, children)
    if len(short) == len(children) and len(set(short.values())) > 1:
        return short
    exact = splits_by(exact_split, children)
    if any(folder.folders[name].folders for name in exact):
        return exact
    if alike and any(folder.folders[name].folders for name in named):
        return named
    return {}


def _training_base(children: Sequence[Folder], named: dict[str, Split]) -> str:
    """The folder that others name as the training part: `rps` beside `rps-test-set`.

    Empty unless it holds the same class folders as one of them.
    """
    others = [child for child in children if child.name not in named]
    if len(others) != 1 or not named or "train" in named.values():
        return ""
    base = others[0]
    words = split_and_rest(base.name)[1]
    if not words or any(split_and_rest(name)[1] != words for name in named):
        return ""
    class_names = set(innermost(base).folders)
    shared = [
        child
        for child in children
        if child is not base and class_names & set(innermost(child).folders)
    ]
    return base.name if shared else ""


def splits_by(
    split_of: Callable[[str], Split | None], folders: Sequence[Folder]
) -> dict[str, Split]:
    """The folders that are splits by their names alone, by name."""
    splits: dict[str, Split] = {}
    for folder in folders:
        split = split_of(folder.name)
        if split is not None:
            splits[folder.name] = split
    return splits


def _put_splits(top: Folder, splits: dict[str, Split], structure: Structure, name: str) -> bool:
    """Place the images of every split; False when no split holds class folders."""
    any_classes = False
    renamed: list[str] = []
    for folder_name, split in splits.items():
        folder = top.folders[folder_name]
        if exact_split(folder_name) != split or fold(folder_name) not in ("train", "val", "test"):
            renamed.append(f"{folder_name} = {split}")
        inner = _inside_split(folder, structure)
        if inner.folders:
            class_folders = classes_of(inner, structure, name)
            if class_folders is None:
                return False
            _put_classes(class_folders, split, structure)
            any_classes = True
        elif split == "test":
            structure.put(inner.files, split, "")
        else:
            structure.stray(inner.files)
    if renamed:
        structure.notes.append(f"splits: {', '.join(renamed)}")
    return any_classes


def _inside_split(folder: Folder, structure: Structure) -> Folder:
    """The folder of a split's classes, inside wrappers such as `seg_train/seg_train/`."""
    while len(folder.folders) == 1:
        only = folder.children[0]
        is_class = not is_container(only.name) and split_and_rest(only.name)[0] is None
        if is_class and not only.folders:
            break
        structure.stray(folder.files)
        folder = only
    return folder


def classes_of(folder: Folder, structure: Structure, name: str) -> list[tuple[Folder, str]] | None:
    """The class folders in a folder, each with its class name; None where these are no classes.

    Raises UserError for images beside their masks, and where two levels could be the classes.
    """
    folder = _without_copy(folder, structure)
    children = folder.children
    if not children:
        return None
    if _is_masked(children):
        raise UserError(
            f"{name} contains images with masks, not classes: {seen(folder)}",
            "use --set data.target=mask to train on masks; for classes, use the folder that "
            "contains the class folders",
        )
    level = _class_depth(children, name)
    if level == 1:
        if all(_only_contains(child) for child in children):
            return None
        if are_numbered_containers([child.name for child in children]):
            return None
        structure.stray(folder.files)
        structure.notes += _doubtful_classes(children)
        structure.notes += _folders_inside(children)
        return [(child, child.name) for child in children]
    names = [child.name for child in children]
    above = ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
    structure.notes.append(
        f"the folders {above} all have the same subfolders, which are the classes; change this "
        "with --set data.class_level=N; keep each folder in one split with data.group_pattern"
    )
    structure.stray(folder.files)
    class_folders = []
    for child in children:
        inner = classes_of(inside_container(child), structure, name)
        class_folders += inner or []
    return class_folders


def _doubtful_classes(class_folders: Sequence[Folder]) -> list[str]:
    """A note on folders that are taken for classes though their names rather say otherwise."""
    doubtful = [folder for folder in class_folders if hints_at_no_class(folder.name)]
    if not doubtful:
        return []
    return [
        f"used as classes despite their names: {_names(doubtful)} (move them out of the data "
        "set if they are not classes)"
    ]


def _folders_inside(class_folders: Sequence[Folder]) -> list[str]:
    """A note on folders inside the classes that could be classes themselves."""
    inner: list[str] = []
    levels = set()
    for folder in class_folders:
        names = [name for name in inside_container(folder).folders if not hints_at_no_class(name)]
        if len(names) < 2:
            return []
        inner += names
        levels.add(_level_inside(folder))
    if len(levels) > 1:
        return []
    return [
        f"the classes are {_names(class_folders)}; the folders inside them "
        f"({listed([printable(name) for name in inner], SHOWN)}) are not told apart: use --set "
        f"data.class_level={levels.pop()} to make those the classes"
    ]


def _level_inside(folder: Folder) -> int:
    """The level of the folders in a folder, below any that only contain the others."""
    return len(inside_container(folder).parts) + 1


def _only_contains(folder: Folder) -> bool:
    """Whether the names of a folder and of all below it say only that images lie there."""
    return is_container(folder.name) and all(map(_only_contains, folder.children))


def _class_depth(children: Sequence[Folder], name: str) -> int:
    """1 where these folders are the classes, 2 where those inside them are."""
    inner = [set(inside_container(child).folders) for child in children]
    if len(children) < 2 or not all(inner):
        return 1
    every: set[str] = set().union(*inner)
    if len(every) < 2 or all(is_container(word) for word in every):
        return 1
    if all(split_and_rest(word)[0] for word in every):
        return 1  # cat/train, cat/test: the class comes first
    if all(names == every for names in inner):
        return 2
    shared = [word for word in every if sum(word in names for names in inner) > 1]
    if 2 * len(shared) < len(every):
        return 1  # animals/cat, vehicles/bus: the outer folders are the classes
    if all(is_container(child.name) for child in children):
        return 2
    level = len(children[0].parts)
    raise UserError(
        f"the classes in {name} could be {_names(children)}, or the folders in them "
        f"({listed(sorted(every), SHOWN)})",
        f"choose one with --set data.class_level={level} or {_level_inside(children[0])}; "
        f"level {level} holds {printable(children[0].name)}",
    )


def _is_masked(children: Sequence[Folder]) -> bool:
    """Whether these are a folder of images and one of masks."""
    masks = [child for child in children if is_mask_folder(child.name)]
    images = [child for child in children if child not in masks and is_image_folder(child.name)]
    leftover = len(children) - len(masks) - len(images)
    image_names = {fold(child.name) for child in images}
    if "leftimg8bit" in {fold(child.name) for child in children} and masks:
        return True
    return bool(masks and image_names) and not leftover


def _put_classes(
    class_folders: Sequence[tuple[Folder, str]], split: str, structure: Structure
) -> None:
    """Place the images below each class folder; splits inside a class folder are read there."""
    spelling: dict[str, str] = {}
    has_splits = any(split_folders_in_class(folder) for folder, _ in class_folders)
    for folder, raw_name in class_folders:
        label = class_name(raw_name)
        other = spelling.setdefault(label, raw_name)
        if other != raw_name and other.strip() == raw_name.strip():
            raise UserError(
                f"the folders {other!r} and {raw_name!r} differ only in spaces",
                "rename one, or merge the two",
            )
        inner = {} if split else split_folders_in_class(folder, 1 if has_splits else 2)
        for child in folder.children:
            structure.put(child.below(), inner.get(child.name, split), label)
        structure.put(folder.files, split, label)


def split_folders_in_class(folder: Folder, least: int = 2) -> dict[str, Split]:
    """The splits inside a class folder (`cat/train`, `cat/test`), `least` of them.

    Empty unless all its folders are.
    """
    splits: dict[str, Split] = {}
    for child in folder.children:
        split, rest = split_and_rest(child.name)
        if split is not None and not rest:
            splits[child.name] = split
    if len(splits) == len(folder.folders) and len(set(splits.values())) >= least:
        return splits
    return {}


def at_level(root: Folder, pictures: Sequence[FileEntry], level: int) -> Structure:
    """Classes by the folder at `level` below the root, as the person says.

    Other levels may be splits.
    """
    structure = Structure()
    for file in pictures:
        above = file.parts[:-1]
        if len(above) < level:
            structure.stray([file])
            continue
        label = class_name(above[level - 1])
        split = ""
        for part in above[: level - 1] + above[level:]:
            split = split or (split_and_rest(part)[0] or "")
        structure.put([file], split, label)
    if not structure.places:
        raise UserError(
            f"no image is {level} folders deep: {seen(root)}",
            "data.class_level counts from 1, below the data folder",
        )
    structure.notes.append(
        f"the classes are the folders at level {level}, as set by data.class_level"
    )
    return structure


def unclear(name: str, root: Folder, tree: Tree) -> UnclearError:
    """The error for folders that say neither classes nor splits.

    What was seen, and how to say it.
    """
    hints = [EXPECTED, *label_hints(tree, list(root.below()))]
    level = first_choice(root)
    if level:
        hints.append(
            f"use --set data.class_level={level} to make the folders at level {level} the classes, "
            "or data.images=DIR to choose a folder"
        )
    return UnclearError(
        f"{name} contains images but no class folders: {seen(root)}", "\n".join(hints)
    )


def _names(folders: Sequence[Folder]) -> str:
    return listed([printable(folder.name) for folder in folders], SHOWN)


def _ignored(tree: Tree, pictures: Sequence[FileEntry]) -> Iterator[Problem]:
    """Files that are no images; a folder without any is named once instead of file by file."""
    with_pictures: set[Parts] = {
        file.parts[:depth] for file in pictures for depth in range(len(file.parts))
    }
    picture_parts = {file.parts for file in pictures}
    for folder in sorted(tree.folders):
        if folder not in with_pictures and folder[:-1] in with_pictures:
            name = printable("/".join(folder))
            yield Problem(name, "ignored_folder", "a folder without images", fatal=False)
    for file in tree.files:
        if file.parts in picture_parts or file.parts[:-1] not in with_pictures:
            continue
        detail = "not an image"
        if file.parts[-1].lower().endswith((".csv", ".tsv")):
            detail = (
                "a table; the classes come from the folders (use the table as DATA to change this)"
            )
        yield Problem(file.id, "ignored", detail, fatal=False)


def _no_pictures(name: str, tree: Tree) -> UserError:
    """The error for a folder without images, saying what it does hold."""
    if not tree.files:
        return UserError(f"{name} is empty", EXPECTED)
    if any(file.path.suffix.lower() in FONTS for file in tree.files):
        return UserError(
            f"{name} contains fonts, not images",
            f"set EYESIGHT_FONTS={name} in the environment and name the data set `glyphs`, which "
            "renders them",
        )
    examples = ", ".join(file.id for file in tree.files[:3])
    return UserError(
        f"{name} contains no images, only {len(tree.files):,} other files such as {examples}",
        EXPECTED,
    )
