"""Prepared pixels on disk, written once and memory-mapped.

A store is keyed by what is in it, so it never goes stale; an index from the cheap fingerprint of a source finds it in milliseconds.
"""

from __future__ import annotations

import errno
import json
import os
import re
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from eyesight.data import boxes
from eyesight.data.pixel_file import Rows, no_room
from eyesight.data.prepare import Pixels, Preparation, Problem, fits, prepare_all
from eyesight.data.scan import Findings, Progress, Scan, check, walk
from eyesight.errors import UserError
from eyesight.recipe import Data
from eyesight.system.cache import cache_dir, sweep, temporary

if TYPE_CHECKING:
    from eyesight.data.opening import Source

FORMAT = 1
SPLITS = ("", "train", "validation", "test")
PORTION = 64 << 20  # bytes prepared at a time on the path without a loop


@dataclass(frozen=True, eq=False)
class Store:
    """The usable pictures of a source, prepared alike."""

    pixels: Pixels  # N,C,H,W, mapped from disk
    labels: NDArray[np.int64]
    ids: tuple[str, ...]
    splits: NDArray[np.str_]  # "train", "validation", "test" or "" where the data does not say
    digests: tuple[str, ...]
    classes: tuple[str, ...]
    problems: tuple[Problem, ...]
    preparation: Preparation
    key: str
    found: dict[str, Any]  # the health check without its problems: counts, sizes, modes, formats

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Class → split → pictures; "unsplit" where the data does not say."""
        return dict(self.found["counts"])


def prepare_store(
    source: Source,
    wanted: Data,
    *,
    progress: Progress = lambda done, total: None,
    strict: bool = False,
    preparation: Preparation | None = None,
) -> Store:
    """The store of a source, built if need be; `preparation` overrules `wanted` and lets a single class pass (for evaluation).

    Raises UserError for bad files under `strict`, for pictures of several sizes without data.size, and for a full disk.
    """
    how = preparation or asked_for(wanted)
    source = boxes.cut(source) if wanted.box else source
    entry = cache_dir() / "stores" / "index" / _source_key(source, how)
    store = _recall(entry) if source.fingerprint else None
    if store is None:
        store = _build(source, how, progress, training=preparation is None)
        if source.fingerprint:
            _write_entry(entry, store.key)
    if strict or wanted.strict:
        refuse_problems(store.problems)
    return store


def asked_for(wanted: Data) -> Preparation:
    """The preparation that a recipe's data group describes."""
    interpolation = "bilinear" if wanted.interpolation == "auto" else wanted.interpolation
    policy = (wanted.resize, wanted.pad, wanted.padding, interpolation, wanted.crop_fraction or 1.0)
    return Preparation(wanted.size, wanted.size, wanted.channels, *policy)


def refuse_problems(problems: tuple[Problem, ...]) -> None:
    """Raise UserError naming the first files that would be left out."""
    bad = [problem for problem in problems if problem.fatal]
    if bad:
        first = "; ".join(f"{problem.id} ({problem.kind})" for problem in bad[:5]) + (
            "; …" if len(bad) > 5 else ""
        )
        number = "1 bad file" if len(bad) == 1 else f"{len(bad)} bad files"
        raise UserError(
            f"{number}: {first}", "mend or remove them, or leave out --strict to train without them"
        )


def kept_at(key: object) -> Path | None:
    """The folder of the prepared data with this key; None for what is no key, since it may come from a file that anybody wrote."""
    return (
        cache_dir() / "stores" / key
        if isinstance(key, str) and re.fullmatch("[0-9a-f]{64}", key)
        else None
    )


def open_store(folder: Path) -> Store | None:
    """A store by its folder, or None when it is absent, damaged or of another format."""
    try:
        about = json.loads((folder / "store.json").read_text("utf-8"))
        if about["format"] != FORMAT:
            return None
        pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        with (
            (folder / "pictures.npz").open("rb") as file,
            np.load(file, allow_pickle=False) as table,
        ):
            labels, codes, names, digests = (
                table[name] for name in ("labels", "splits", "ids", "digests")
            )
        preparation = Preparation.from_dict(about["preparation"])
        ids = tuple(names.tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1])
        hexadecimal = np.frombuffer(digests.tobytes().hex().encode(), dtype="S64").astype("U64")
        problems = tuple(Problem(**problem) for problem in about["problems"])
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        NotImplementedError,
        BadZipFile,
        zlib.error,
    ):
        return None
    if not (
        pixels.dtype == np.uint8
        and pixels.shape == (len(labels), *preparation.shape)
        and len(ids) == len(codes) == len(labels)
    ):
        return None
    return Store(
        pixels=pixels,
        labels=labels,
        ids=ids,
        splits=np.array(SPLITS)[codes],
        digests=tuple(hexadecimal.tolist()),
        classes=tuple(about["classes"]),
        problems=problems,
        preparation=preparation,
        key=folder.name,
        found=about["found"],
    )


def _recall(entry: Path) -> Store | None:
    try:
        key = entry.read_text("utf-8").strip()
    except (OSError, ValueError):
        return None
    folder = kept_at(key)
    return open_store(folder) if folder else None


def _write_entry(entry: Path, key: str) -> None:
    """Atomically; without it the store is merely built again."""
    partial = entry.with_name(f"{entry.name}.{os.getpid()}")
    with suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(key, "utf-8")
        partial.replace(entry)


def _source_key(source: Source, how: Preparation) -> str:
    """Labels and names belong to it, so that a fingerprint which forgets them does no harm."""
    digest = sha256(
        json.dumps([FORMAT, source.fingerprint, source.classes, how.to_dict()]).encode()
    )
    for part in (
        _joined(source.ids),
        source.labels.tobytes(),
        source.splits.dtype.str.encode(),
        source.splits.tobytes(),
    ):
        digest.update(sha256(part).digest())
    return digest.hexdigest()


def _build(source: Source, how: Preparation, progress: Progress, *, training: bool) -> Store:
    """Read, check, prepare and write in one pass, into a folder of its own that becomes the store when it is whole."""
    stores, needed = cache_dir() / "stores", 0
    try:
        stores.mkdir(parents=True, exist_ok=True)
        sweep(stores)
        with temporary(stores) as folder:
            rows = Rows(folder / "pixels.npy", how, len(source.ids))
            try:
                scan = _fill(source, rows, progress)
                needed = rows.needed
                _check(scan, how, rows, training=training)
                rows.finish(scan.usable[np.array(rows.pictures, dtype=np.int64)])
            finally:
                needed = rows.needed
                rows.file.close()
            key = _write_table(folder, source, scan, rows.how)
            return _settle(stores, folder, key)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_room(stores, needed) from error
        if (
            isinstance(error, (PermissionError, NotADirectoryError, FileExistsError))
            or error.errno == errno.EROFS
        ):
            raise UserError(
                f"cannot write to the cache {stores}: {error.strerror}",
                "set EYESIGHT_CACHE to a folder of yours",
            ) from error
        raise


def _fill(source: Source, rows: Rows, progress: Progress) -> Scan:
    findings = Findings(source)
    if source.pixels is not None and fits(source.pixels, rows.how):
        how = replace(rows.how, channels=rows.how.channels or source.pixels.shape[1])
        portion = max(1, PORTION // max(1, source.pixels[:1].nbytes))
        for start in range(0, len(source.ids), portion):
            some = source.pixels[start : start + portion]
            findings.add_arrays(some)
            rows.add(prepare_all(some, how), start)
            progress(min(start + portion, len(source.ids)), len(source.ids))
    else:
        for index, found in enumerate(walk(source, rows.how)):
            findings.add(found)
            if found.pixels is not None:
                rows.add(found.pixels[None], index)
            progress(index + 1, len(source.ids))
    return findings.judged()


def _check(scan: Scan, how: Preparation, rows: Rows, *, training: bool) -> None:
    """Raise UserError when there is nothing to learn from, or when the pictures do not come to one size."""
    if odd := [problem for problem in scan.problems if problem.kind == "size"]:
        example = f"{odd[0].id} is {odd[0].detail}"
        hint = "--set data.resize=squash, crop or letterbox brings every picture to one size"
        raise UserError(
            f"data.resize is none, but {len(odd):,} pictures have another size: {example}", hint
        )
    if rows.mixed:
        common = ", ".join(
            f"{width}x{height} ({number:,})"
            for (width, height), number in scan.sizes.most_common(3)
        )
        smallest = min(scan.sizes, key=lambda size: size[0] * size[1])
        side = min(scan.sizes.most_common(1)[0][0])
        message = f"the pictures of {scan.name} have {len(scan.sizes):,} sizes: most often {common}; the smallest is {smallest[0]}x{smallest[1]}"
        raise UserError(
            message, f"choose one size for all, for example --set data.size={min(side, 224)}"
        )
    if training or not scan.usable.any():
        check(scan)


def _write_table(folder: Path, source: Source, scan: Scan, how: Preparation) -> str:
    """Everything but the pixels; returns the key of the store."""
    kept = np.flatnonzero(scan.usable)
    names, codes = np.unique(source.splits[kept], return_inverse=True)
    columns: dict[str, NDArray[Any]] = {
        "labels": source.labels[kept],
        "splits": np.array([SPLITS.index(str(name)) for name in names], dtype=np.int8)[codes],
        "ids": np.frombuffer(_joined(source.ids[index] for index in kept.tolist()), dtype=np.uint8),
        "digests": np.frombuffer(
            bytes.fromhex("".join(scan.digests[index] for index in kept.tolist())), dtype=np.uint8
        ),
    }
    found = {
        name: value
        for name, value in scan.to_dict().items()
        if name not in ("name", "classes", "problems")
    }
    problems = [vars(problem) for problem in scan.problems]
    about = {
        "format": FORMAT,
        "classes": source.classes,
        "preparation": how.to_dict(),
        "found": found,
        "problems": problems,
    }
    text = json.dumps(about)
    digest = sha256(text.encode())
    for column in columns.values():
        digest.update(sha256(np.ascontiguousarray(column).data).digest())
    with (folder / "pictures.npz").open("wb") as file:
        np.savez(file, **columns)  # type: ignore[arg-type]
        _flush(file)
    with (folder / "store.json").open("w", encoding="utf-8") as words:
        words.write(text)
        _flush(words)
    return digest.hexdigest()


def _settle(stores: Path, folder: Path, key: str) -> Store:
    """Give the folder its name, unless another process was faster; a damaged store of that name makes way."""
    target = stores / key
    for _ in range(3):
        if store := open_store(target):
            return store
        with suppress(OSError):  # another process may be doing the same at this moment
            if target.exists():
                with temporary(stores) as aside:
                    target.replace(aside / "damaged")
            folder.replace(target)
    store = open_store(target)
    assert store, f"{target} cannot be opened although it was just written"
    return store


def _joined(names: Iterable[str]) -> bytes:
    return "\0".join((*names, "")).encode("utf-8", "surrogateescape")


def _flush(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
