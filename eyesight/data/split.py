"""Which images are for training, validation and test: seeded, stratified.

What the data says stands.

An image's place depends on its content and the seed, not on the order of files: adding an image
moves hardly any other.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha256

import numpy as np
from numpy.typing import NDArray

from eyesight.errors import UserError, listed

Indices = NDArray[np.int64]
MANY_FOLDS = 10  # for held-out fractions above a half
MOST_FOLDS = 1000
NAMED = 10  # classes in a note


@dataclass(frozen=True)
class Holdout:
    """The fractions to hold out where the data gives no such part.

    UserError unless from 0 up to 1.
    """

    validation: float
    test: float
    seed: int = 0
    fold: str = ""  # "2/5": the second of five disjoint folds is the validation part

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            fraction = getattr(self, name)
            if not 0 <= fraction < 1:
                raise UserError(
                    f"data.{name} is a fraction from 0 up to 1, not {fraction}",
                    f"--set data.{name}=0.1 holds out a tenth",
                )


@dataclass(frozen=True)
class Division:
    """Sorted indices of "train", "validation" and "test", and notes for people."""

    parts: dict[str, Indices]
    notes: list[str] = field(default_factory=list)


def split(
    labels: NDArray[np.int64],
    splits: NDArray[np.str_],
    digests: Sequence[str],
    usable: NDArray[np.bool_],
    holdout: Holdout,
    class_names: Sequence[str] = (),
    groups: Sequence[str] | None = None,
) -> Division:
    """Divide the usable, labelled images (all arguments of length N).

    A part the data gives is taken as it is. What is missing comes out of the other images: first
    the fraction `test` of them, then the fraction `validation` of what is left. Copies (equal
    digests) and the images of a group stay together, and every class keeps a training image.
    """
    notes: list[str] = []
    labelled = usable & (labels >= 0)
    pool = np.flatnonzero(labelled & ~np.isin(splits, ("validation", "test")))
    parts: dict[str, Indices] = {}
    for name, fraction in (("test", holdout.test), ("validation", holdout.validation)):
        given = np.flatnonzero(labelled & (splits == name))
        by_fold = name == "validation" and holdout.fold
        if len(given):
            if by_fold:
                raise own_validation(holdout.fold)
            parts[name] = given
            continue
        if by_fold:
            parts[name] = draw_fold(pool, labels, digests, holdout, groups)
        else:
            parts[name] = hold_out(pool, labels, digests, fraction, holdout.seed, groups)
        pool = np.setdiff1d(pool, parts[name], assume_unique=True)
        if fraction and not len(parts[name]):
            notes.append(f"too few images to hold any out for {name}")
        if name == "test" and len(parts["test"]) and (labelled & (splits == "validation")).any():
            notes.append(
                "the data has a validation part but no test part: "
                f"{len(parts['test'])} training images are the test part"
            )
    parts = {"train": pool, "validation": parts["validation"], "test": parts["test"]}
    notes += absent_classes(labels, parts, class_names)
    if groups is not None:
        notes += group_notes(groups, parts)
    return Division(parts, notes)


def hold_out(
    pool: Indices,
    labels: NDArray[np.int64],
    digests: Sequence[str],
    fraction: float,
    seed: int,
    groups: Sequence[str] | None,
) -> Indices:
    """About `fraction` of the pool, by groups where there are any."""
    if groups is None:
        return draw(pool, labels, digests, fraction, seed)
    return draw_groups(pool, labels, groups, fraction, seed)


def draw(
    pool: Indices, labels: NDArray[np.int64], digests: Sequence[str], fraction: float, seed: int
) -> Indices:
    """About `fraction` of the pool, of each class in proportion; every class keeps one image."""
    copies: dict[str, list[int]] = {}
    for index in pool.tolist():
        copies.setdefault(digests[index], []).append(index)
    by_class: dict[int, list[list[int]]] = {}
    for digest in sorted(copies, key=lambda digest: _shuffle_key(seed, digest)):
        group = copies[digest]
        by_class.setdefault(int(labels[group[0]]), []).append(group)
    class_labels = sorted(by_class)
    sizes = np.array([sum(len(group) for group in by_class[label]) for label in class_labels])
    drawn: list[int] = []
    for label, quota in zip(class_labels, quotas(sizes, fraction), strict=True):
        others = by_class[label][1:]  # the first group always stays behind
        for group in take(others, int(quota)):
            drawn += group
    return np.array(sorted(drawn), dtype=np.int64)


def own_validation(fold: str) -> UserError:
    """The error for a fold where the data says itself what is for validation."""
    return UserError(
        f"data.fold={fold} would cut folds, and the data has a validation part of its own",
        "leave data.fold out, or give the data without that part",
        code=2,
    )


def read_fold(text: str) -> tuple[int, int]:
    """The number of the fold, from 1, and how many there are; raises UserError for "6/5"."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match:
        number, count = int(match[1]), int(match[2])
        if 1 <= number <= count and 2 <= count <= MOST_FOLDS:
            return number, count
    raise UserError(
        f"data.fold is a fold and their number, not {text!r}",
        "--set data.fold=1/5 holds out the first of five",
        code=2,
    )


def draw_fold(
    pool: Indices,
    labels: NDArray[np.int64],
    digests: Sequence[str],
    holdout: Holdout,
    groups: Sequence[str] | None = None,
) -> Indices:
    """One of K disjoint folds that together are the pool, classes in proportion.

    Copies stay together, and so do the images of a group.
    """
    number, count = read_fold(holdout.fold)
    members = digests if groups is None else groups
    together: dict[str, list[int]] = {}
    for index in pool.tolist():
        together.setdefault(members[index], []).append(index)
    by_class: dict[int, list[list[int]]] = {}
    for member in sorted(together, key=lambda member: _shuffle_key(holdout.seed, member)):
        group = together[member]
        by_class.setdefault(int(labels[group[0]]), []).append(group)
    sizes = [0] * count
    drawn: list[int] = []
    for label in sorted(by_class):
        dealt = [0] * count
        for group in sorted(by_class[label], key=len, reverse=True):
            fold = min(range(count), key=lambda place: (dealt[place], sizes[place]))
            dealt[fold] += len(group)
            sizes[fold] += len(group)
            if fold == number - 1:
                drawn += group
    return np.array(sorted(drawn), dtype=np.int64)


def _shuffle_key(seed: int, digest: str) -> bytes:
    return blake2b(f"{seed}:{digest}".encode(), digest_size=8).digest()


def draw_groups(
    pool: Indices, labels: NDArray[np.int64], groups: Sequence[str], fraction: float, seed: int
) -> Indices:
    """About `fraction` of the pool in whole groups, classes in proportion as far as groups allow.

    Nothing where there are fewer than two groups. The folds are scikit-learn's
    StratifiedGroupKFold; the one nearest to the fraction that leaves every class behind is taken.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # needed for groups only

    none = np.array([], dtype=np.int64)
    members = np.array([groups[index] for index in pool.tolist()])
    targets = labels[pool]
    number = len(np.unique(members))
    if not fraction or number < 2:
        return none
    wanted_folds = max(2, round(1 / fraction)) if fraction <= 0.5 else MANY_FOLDS
    folds = min(wanted_folds, number, int(np.bincount(targets).max()))
    if folds < 2:
        return none
    divider = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % (1 << 32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class smaller than the number of folds
        held_out = [test for _, test in divider.split(targets, targets, members)]
    ranked = sorted(range(folds), key=lambda fold: _misfit(held_out[fold], targets, fraction))
    count = max(1, round(fraction * folds)) if fraction > 0.5 else 1
    rows = np.concatenate([held_out[fold] for fold in ranked[: min(count, folds - 1)]])
    return np.sort(pool[rows])


def _misfit(rows: Indices, targets: NDArray[np.int64], fraction: float) -> tuple[bool, float]:
    """Whether a fold takes some class whole, and how far it is from the fraction."""
    left = np.setdiff1d(np.unique(targets), np.delete(targets, rows))
    return bool(len(left)), abs(len(rows) / len(targets) - fraction)


def quotas(sizes: Indices, fraction: float) -> Indices:
    """How many of each class, by largest remainder: the total is the rounded fraction of all."""
    exact = sizes * fraction
    whole = np.floor(exact + 1e-9).astype(np.int64)
    most = np.maximum(sizes - 1, 0)
    missing = max(0, round(float(exact.sum())) - int(whole.sum()))
    remainder = np.where(whole < most, exact - whole, -1.0)
    whole[np.argsort(-remainder, kind="stable")[:missing]] += 1
    drawn: Indices = np.minimum(whole, most)
    return drawn


def take(groups: list[list[int]], quota: int) -> list[list[int]]:
    """Groups in order until the quota is full; one too large for the rest is passed over."""
    taken: list[list[int]] = []
    for group in groups:
        if len(group) <= quota:
            taken.append(group)
            quota -= len(group)
        if not quota:
            break
    return taken


def absent_classes(
    labels: NDArray[np.int64], parts: Mapping[str, Indices], class_names: Sequence[str] = ()
) -> list[str]:
    """Notes on classes that do not occur in every part."""
    present = {
        name: set(np.unique(labels[indices]).tolist())
        for name, indices in parts.items()
        if len(indices)
    }
    every = set().union(*present.values())
    notes = []
    for name, in_part in present.items():
        absent = sorted(every - in_part)
        if not absent:
            continue
        names = [class_names[label] if class_names else f"number {label}" for label in absent]
        shown = ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")
        noun = "class" if len(absent) == 1 else "classes"
        notes.append(f"no image in {name} of {noun} {shown}")
    return notes


def group_notes(groups: Sequence[str], parts: Mapping[str, Indices]) -> list[str]:
    """Groups that the data itself puts on both sides; the draw never does."""
    parts_of: dict[str, set[str]] = {}
    for name, indices in parts.items():
        for index in indices.tolist():
            parts_of.setdefault(groups[index], set()).add(name)
    torn = [group for group, names in parts_of.items() if len(names) > 1]
    if not torn:
        return []
    return [
        f"{len(torn):,} groups lie on both sides of the split that the data gives: "
        f"{listed(torn, 5)}"
    ]


def split_hash(ids: Sequence[str], parts: Mapping[str, Indices]) -> str:
    """A sha256 that changes whenever any image changes parts.

    The order of images does not matter.
    """
    digest = sha256()
    for name in sorted(parts):
        digest.update(f"{name}\0{len(parts[name])}\0".encode())
        for image in sorted(ids[index] for index in parts[name].tolist()):
            digest.update(image.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()
