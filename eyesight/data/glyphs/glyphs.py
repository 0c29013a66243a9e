"""52 characters rendered from many fonts as 90×90 images, split by font family.

All characters of a face are rendered at the same scale, given by its capitals, and centred.
Families of the same design (by name or glyphs) are in the same split, and duplicates are left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from eyesight.data.glyphs import render
from eyesight.data.glyphs.families import (
    FULL,
    Family,
    copies,
    designs,
    families,
    font_files,
    font_folders,
    similarity,
    split_families,
)
from eyesight.data.glyphs.render import CLASSES, SIDE, STYLES
from eyesight.data.prepare import Problem
from eyesight.data.source import Source, digest, path_stamp, printable
from eyesight.system import cache
from eyesight.system.json_value import parse_json
from eyesight.system.progress import Talk, silent

HALF = (
    "regular",
    "bold",
)  # styles of the last held-out family, so that 38 families give 150 images per class


@dataclass(frozen=True)
class Part:
    """A family of the set."""

    split: str
    family: str
    styles: tuple[str, ...]


def glyph_source(folders: Sequence[Path] = (), talk: Talk = silent) -> Source:
    """The characters of all usable fonts in `folders`, rendered once and cached.

    Default: $EYESIGHT_FONTS, or the system's font folders.

    Raises UserError if there are fewer than three designs.
    """
    files = font_files([Path(folder) for folder in folders] or font_folders())
    key = digest([render.RENDERER, *map(path_stamp, files)])
    place = cache.recall("glyphs", key) or _build(files, key, talk)
    about = parse_json((place / "glyphs.json").read_text(encoding="utf-8"))
    talk(about["summary"])
    parts = [Part(part["split"], part["family"], tuple(part["styles"])) for part in about["parts"]]
    problems = tuple(Problem(**problem) for problem in about["problems"])
    return _source(parts, np.load(place / "pixels.npy"), key, problems)


def _source(
    parts: Sequence[Part], pixels: np.ndarray, key: str, problems: tuple[Problem, ...]
) -> Source:
    rows = [
        (part.split, f"{part.split}/{part.family}/{style}/{one}")
        for part in parts
        for style in part.styles
        for one in CLASSES
    ]
    return Source(
        name="glyphs",
        classes=CLASSES,
        ids=tuple(name for _, name in rows),
        labels=np.tile(np.arange(len(CLASSES), dtype=np.int64), len(rows) // len(CLASSES)),
        splits=np.array([split for split, _ in rows]),
        read=lambda row: np.asarray(pixels[row, 0]),
        pixels=pixels,
        fingerprint=f"glyphs {key}",
        problems=problems,
    )


def _build(files: Sequence[Path], key: str, talk: Talk) -> Path:
    """Render the set into the cache; returns its folder."""
    problems: list[Problem] = []
    talk(f"reading {len(files):,} font files")
    families, small = _usable(_families(files, problems), problems)
    with cache.build("glyphs") as folder:
        parts, made = _render_all(families, small, folder / "pixels.npy", problems, talk)
        about = {
            "summary": summary(parts, made),
            "parts": [asdict(part) for part in parts],
            "problems": [vars(one) for one in problems],
        }
        (folder / "glyphs.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        return cache.keep(folder, key, f"{len(files):,} font files")


def _families(files: Sequence[Path], problems: list[Problem]) -> list[Family]:
    """The families in the files; invalid files are added to `problems`."""
    faces = []
    for path, (reply, _) in zip(
        files, render.run([{"do": "names", "path": str(path)} for path in files]), strict=True
    ):
        if "refused" in reply:
            problems.append(_left_out(path.name, reply["refused"]))
        for index, family, style in reply.get("names", ()):
            faces.append(
                (printable(family or path.stem).replace("/", "-"), style or "", (str(path), index))
            )
    return families(faces)


def _usable(families: Sequence[Family], problems: list[Problem]) -> tuple[list[Family], np.ndarray]:
    """Usable families and their small images uint8 F,52,30,30, without duplicates."""
    kept: list[Family] = []
    small = []
    for family, (reply, pictures) in zip(
        families,
        render.run([{"do": "check", "face": one.faces["regular"]} for one in families]),
        strict=True,
    ):
        if "refused" in reply:
            problems.append(_left_out(family.name, reply["refused"]))
        else:
            kept.append(family)
            small.append(np.frombuffer(pictures, np.uint8).reshape(len(CLASSES), -1))
    repeats = copies(kept, similarity(np.stack(small))) if small else {}
    problems += [
        _left_out(kept[row].name, f"repeats {kept[other].name}")
        for row, other in sorted(repeats.items())
    ]
    rows = [row for row in range(len(kept)) if row not in repeats]
    return [kept[row] for row in rows], np.array([small[row] for row in rows])


def _left_out(name: str, reason: str) -> Problem:
    return Problem(printable(name), "font", printable(reason), fatal=False)


def _render_all(
    families: list[Family], small: np.ndarray, file: Path, problems: list[Problem], talk: Talk
) -> tuple[list[Part], Counter[str]]:
    """Render the split families; if one fails, split again without it."""
    alike = similarity(small) if len(families) else np.empty((0, 0), np.float32)
    rows = list(range(len(families)))
    while True:
        groups = designs([families[row].name for row in rows], alike[np.ix_(rows, rows)])
        parts = shares(split_families(groups))
        talk(f"rendering {len(parts)} of {len(rows)} usable font families")
        refused, made = _draw({family.name: family for family in families}, parts, file, talk)
        if not refused:
            return parts, made
        problems += [_left_out(name, reason) for name, reason in refused.items()]
        rows = [row for row in rows if families[row].name not in refused]


def shares(divided: dict[str, list[str]]) -> list[Part]:
    """Each family with its number of styles: four, or two for the last held-out family."""
    parts = []
    for split, names in divided.items():
        full = split != "train" and len(names) == FULL[split]
        ordered = sorted(names)
        parts += [
            Part(split, name, HALF if full and name == ordered[-1] else STYLES) for name in ordered
        ]
    return parts


def _draw(
    families: dict[str, Family], parts: Sequence[Part], file: Path, talk: Talk
) -> tuple[dict[str, str], Counter[str]]:
    """Write images uint8 N,1,90,90 into the file.

    Returns family → reason for failures, and the number of synthetic faces.
    """
    jobs = [
        {"do": "draw", "faces": families[part.family].faces, "styles": part.styles}
        for part in parts
    ]
    count = sum(len(part.styles) for part in parts) * len(CLASSES)
    pixels = np.lib.format.open_memmap(
        file, mode="w+", dtype=np.uint8, shape=(count, 1, SIDE, SIDE)
    )
    refused: dict[str, str] = {}
    made: Counter[str] = Counter()
    start = 0
    for part, (reply, drawn) in zip(
        parts,
        render.run(jobs, lambda done: talk(f"rendered {done} of {len(jobs)} families")),
        strict=True,
    ):
        if "refused" in reply:
            refused[part.family] = reply["refused"]
            continue
        made.update(reply["made"])
        pictures = np.frombuffer(drawn, np.uint8).reshape(-1, 1, SIDE, SIDE)
        pixels[start : start + len(pictures)] = pictures
        start += len(pictures)
    pixels.flush()
    return refused, made


def summary(parts: Sequence[Part], made: Counter[str]) -> str:
    """A summary of the set, compared with the full one."""
    counted = Counter(part.split for part in parts)
    pictures = Counter[str]()
    for part in parts:
        pictures[part.split] += len(part.styles)
    sizes = " / ".join(f"{counted[split]} ({pictures[split]} per class)" for split in FULL)
    lines = f"{len(parts)} font families: {sizes} for training / validation / test"
    lines += (
        f"; {sum(made.values())} of {sum(pictures.values())} faces are synthetic (slanted or "
        "emboldened)"
    )
    full = sum(FULL.values())
    if len(parts) < full:
        lines += f"; the full set uses {full} families, so this is {len(parts) / full:.0%} of it"
    return lines
