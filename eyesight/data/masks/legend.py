"""What the values or colours in masks mean: class names, perhaps with colours, from the small file beside the masks.

CamVid's own list of colours, the usual `class_dict.csv`, JSON and plain lists of names are all understood.
"""

from __future__ import annotations

import colorsys
import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eyesight.data.source import class_name
from eyesight.errors import UserError

IGNORED = 255
MOST = 255  # classes, as 255 means that a pixel counts for nothing
FILES = re.compile(
    r"(classes|class_dict|class_names|names|label_?colou?rs|labels|legend|palette)\.(json|csv|txt)",
    re.IGNORECASE,
)
FORMS = 'expected lines "name" or "name,r,g,b" or "r g b name", or JSON {"name": [r, g, b]} or ["name", …]'
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Legend:
    """Entry i is what the value i, or the colour i, in a mask means; `colours` is empty where the file gives none."""

    names: tuple[str, ...]
    colours: tuple[Colour, ...] = ()


CAMVID = Legend(  # as SegNet's authors number CamVid's classes; nothing in the folder says so
    ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist", "void"),
    (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192), (0, 0, 0),
    ),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Key:
    """How values become classes: `places` is the class of value v, −1 where v is unknown."""

    classes: tuple[str, ...]
    colours: tuple[Colour, ...]  # to draw them in
    places: npt.NDArray[np.int64]  # of the values 0 … 65,535
    guessed: bool = False  # the usual numbering stood in for a file of names


def find(root: Path) -> Path | None:
    """The file of names in a folder, if there is one."""
    return next(
        (path for path in sorted(root.iterdir()) if path.is_file() and FILES.fullmatch(path.name)),
        None,
    )


def read(path: Path) -> Legend:
    """The names, and colours where every line has one; raises UserError saying which line cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = _from_json(json.loads(text)) if path.suffix.lower() == ".json" else _from_lines(text)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"cannot read the class names in {path}: {error}", FORMS) from None
    names, colours = (
        [class_name(name) for name, _ in rows],
        [colour for _, colour in rows if colour is not None],
    )
    if not names or len(set(names)) < len(names) or not all(names):
        raise UserError(
            f"{path} holds {'no class names' if not names else 'an empty name, or one twice'}",
            FORMS,
        )
    if len(names) > MOST:
        raise UserError(f"{path} names {len(names):,} classes; {MOST} are possible", FORMS)
    if colours and (len(colours) < len(names) or len(set(colours)) < len(colours)):
        raise UserError(f"{path} gives a colour to some classes only, or one colour to two", FORMS)
    return Legend(tuple(names), tuple(colours))


def _from_json(found: Any) -> list[tuple[str, Colour | None]]:
    if isinstance(found, dict):
        return [(str(name), _colour(value)) for name, value in found.items()]
    rows: list[tuple[str, Colour | None]] = []
    for entry in found:
        if isinstance(entry, dict):
            rows.append((str(entry["name"]), _colour(entry.get("colour", entry.get("color")))))
        else:
            rows.append((str(entry), None))
    return rows


def _from_lines(text: str) -> list[tuple[str, Colour | None]]:
    rows: list[tuple[str, Colour | None]] = []
    for number, line in enumerate(filter(None, (line.strip() for line in text.splitlines())), 1):
        cells = [cell.strip() for cell in next(csv.reader([line]))] if "," in line else line.split()
        numbers = [place for place, cell in enumerate(cells) if cell.isdigit()]
        if len(numbers) == 3 and len(cells) > 3:
            words = [cell for place, cell in enumerate(cells) if place not in numbers]
            rows.append((" ".join(words), _colour([int(cells[place]) for place in numbers])))
        elif number > 1 or not is_title({cell.lower() for cell in cells}):
            rows.append((line, None))
    return rows


def is_title(words: set[str]) -> bool:
    """Whether a first line names columns; a class may be called red."""
    return "name" in words or words >= {"r", "g", "b"} or words >= {"red", "green", "blue"}


def _colour(value: Any) -> Colour | None:
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        value = [int(value[place : place + 2], 16) for place in (1, 3, 5)]
    red, green, blue = (int(part) for part in value)
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError(f"{value} is no colour")
    return red, green, blue


def fits(usual: Legend | None, seen: npt.NDArray[np.int64]) -> bool:
    """Whether the values of masks are those of a usual numbering: its last one occurs, none is greater, and few are missing."""
    values = seen[seen != IGNORED]
    if usual is None or not len(values):
        return False
    return int(values.max()) == len(usual.names) - 1 and len(values) > 2 * len(usual.names) / 3


def key(
    legend: Legend | None, seen: npt.NDArray[np.int64], ignore: str, usual: Legend | None = None
) -> Key:
    """How the values `seen` in masks become classes; without a legend every value is a class of its own, named by itself.

    A `usual` numbering that fits stands in for a missing legend.

    Raises UserError when fewer than two classes are left.
    """
    guessed = legend is None and fits(usual, seen)
    legend = usual if guessed else legend
    words = {word.casefold() for word in re.split(r"[\s,;]+", ignore) if word} - {"none"}
    names = legend.names if legend else tuple(str(value) for value in seen.tolist())
    values = np.arange(len(names)) if legend else seen
    kept = [
        place
        for place, name in enumerate(names)
        if not {name.casefold(), str(values[place])} & words
    ]
    if len(kept) < 2:
        hint = (
            "--set data.ignore=none lets every value count"
            if words
            else "two classes are needed at least"
        )
        found = ", ".join(names[:10]) or "nothing"
        raise UserError(
            f"the masks hold {found}, of which {len(kept)} {'is' if len(kept) == 1 else 'are'} not ignored",
            hint,
        )
    if len(kept) > MOST:
        raise UserError(
            f"the masks hold {len(kept):,} different values",
            "expected class numbers; a photograph is no mask",
        )
    places = np.full(1 << 16, -1, dtype=np.int64)
    places[values] = IGNORED
    for word in words:
        if word.isdigit() and int(word) < len(places):
            places[int(word)] = IGNORED
    places[values[kept]] = np.arange(len(kept))
    given = legend.colours if legend else ()
    colours = tuple(given[place] for place in kept) if given else palette(len(kept))
    return Key(tuple(names[place] for place in kept), colours, places, guessed)


def palette(count: int) -> tuple[Colour, ...]:
    """Colours that differ: hues by the golden section, in three brightnesses."""
    found = []
    for place in range(count):
        red, green, blue = colorsys.hsv_to_rgb(
            place * 0.618034 % 1, 0.75, (0.95, 0.7, 0.5)[place % 3]
        )
        found.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(found)
