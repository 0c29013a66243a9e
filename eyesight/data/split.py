"""Which pictures are for training, validation and test: seeded, stratified, and what the data says itself stands.

A picture's place depends on its content and the seed, not on the order of files: adding a picture moves hardly any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b, sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyesight.errors import UserError

Indices = NDArray[np.int64]


def split(
    labels: NDArray[np.int64],
    splits: NDArray[Any],
    digests: Sequence[str],
    usable: NDArray[np.bool_],
    validation: float,
    test: float,
    seed: int,
    notes: list[str] | None = None,
    classes: Sequence[str] = (),
) -> dict[str, Indices]:
    """Sorted indices of "train", "validation" and "test"; remarks for people are appended to `notes`, with the names of `classes`.

    A part the data gives is taken as it is. What is missing comes out of the other pictures: first the fraction `test` of
    them, then the fraction `validation` of what is left. Every class keeps a training picture.
    """
    for name, fraction in (("validation", validation), ("test", test)):
        if not 0 <= fraction < 1:
            raise UserError(
                f"data.{name} is a fraction from 0 up to 1, not {fraction}",
                f"--set data.{name}=0.1 holds out a tenth",
            )
    notes = notes if notes is not None else []
    known = usable & (labels >= 0)
    given = {name: np.flatnonzero(known & (splits == name)) for name in ("validation", "test")}
    pool = np.flatnonzero(known & ~np.isin(splits, ("validation", "test")))
    parts: dict[str, Indices] = {}
    for name, fraction in (("test", test), ("validation", validation)):
        if len(given[name]):
            parts[name] = given[name]
            continue
        parts[name] = draw(pool, labels, digests, fraction, seed)
        pool = np.setdiff1d(pool, parts[name], assume_unique=True)
        if fraction and not len(parts[name]):
            notes.append(f"too few pictures to hold any out for {name}")
        if name == "test" and len(given["validation"]) and len(parts["test"]):
            notes.append(
                f"the data has a validation part but no test part: {len(parts['test'])} training pictures are the test part"
            )
    parts = {"train": pool, "validation": parts["validation"], "test": parts["test"]}
    notes += remarks(labels, parts, classes)
    return parts


def draw(
    pool: Indices, labels: NDArray[np.int64], digests: Sequence[str], fraction: float, seed: int
) -> Indices:
    """About `fraction` of the pool, of each class in proportion; copies stay together and every class keeps one picture."""
    groups: dict[str, list[int]] = {}
    for index in pool.tolist():
        groups.setdefault(digests[index], []).append(index)
    by_class: dict[int, list[list[int]]] = {}
    for digest in sorted(
        groups, key=lambda digest: blake2b(f"{seed}:{digest}".encode(), digest_size=8).digest()
    ):
        by_class.setdefault(int(labels[groups[digest][0]]), []).append(groups[digest])
    classes = sorted(by_class)
    sizes = np.array([sum(len(group) for group in by_class[label]) for label in classes])
    drawn = [
        index
        for label, quota in zip(classes, quotas(sizes, fraction), strict=True)
        for group in take(by_class[label][1:], int(quota))  # the first group always stays behind
        for index in group
    ]
    return np.array(sorted(drawn), dtype=np.int64)


def quotas(sizes: Indices, fraction: float) -> Indices:
    """How many of each class, by largest remainder, so that the total is the rounded fraction of all."""
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
    taken = []
    for group in groups:
        if len(group) <= quota:
            taken.append(group)
            quota -= len(group)
        if not quota:
            break
    return taken


def remarks(
    labels: NDArray[np.int64], parts: Mapping[str, Indices], classes: Sequence[str] = ()
) -> list[str]:
    """Classes too small to appear in every part."""
    notes = []
    present = {
        name: set(np.unique(labels[indices]).tolist())
        for name, indices in parts.items()
        if len(indices)
    }
    every = set().union(*present.values())
    for name, labels_in_part in present.items():
        if absent := sorted(every - labels_in_part):
            shown = ", ".join(
                classes[label] if classes else f"number {label}" for label in absent[:10]
            ) + (" …" if len(absent) > 10 else "")
            notes.append(
                f"no picture in {name} of {'class' if len(absent) == 1 else 'classes'} {shown}"
            )
    return notes


def split_hash(ids: Sequence[str], parts: Mapping[str, Indices]) -> str:
    """A sha256 that changes whenever any picture is in another part; the order of pictures does not matter."""
    digest = sha256()
    for name in sorted(parts):
        digest.update(f"{name}\0{len(parts[name])}\0".encode())
        for picture in sorted(ids[index] for index in parts[name].tolist()):
            digest.update(picture.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()
