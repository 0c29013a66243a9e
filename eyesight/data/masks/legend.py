"""What the values or colours in masks mean.

Class names, perhaps with colours, from a file beside them.

CamVid's own list of colours, the usual `class_dict.csv`, JSON and plain lists of names are all
read.
"""

from __future__ import annotations

import colorsys
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eyesight.data.source import class_name
from eyesight.errors import UserError
from eyesight.system.json_value import parse_json

IGNORED = 255
MOST = 255  # classes, as 255 means that a pixel counts for nothing
FILES = re.compile(
    r"(classes|class_dict|class_names|names|label_?colou?rs|labels|legend|palette)"
    r"\.(json|csv|txt)|label_?map\.txt",  # CVAT's list; a label_map.json holds numbers
    re.IGNORECASE,
)
FORMS = (
    'expected lines "name" or "name,r,g,b" or "r g b name", or JSON {"name": [r, g, b]} or '
    '["name", …]'
)
Colour = tuple[int, int, int]
Entry = tuple[str, Colour | None]  # a name, and its colour where one is given


@dataclass(frozen=True)
class Legend:
    """Entry i is what the value i, or the colour i, in a mask means; `colours` may be empty."""

    names: tuple[str, ...]
    colours: tuple[Colour, ...] = ()


CAMVID = Legend(  # as SegNet's authors number CamVid's classes; nothing in the folder says so
    (
        "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car",
        "pedestrian", "bicyclist", "void",
    ),
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
    for path in sorted(root.iterdir()):
        if path.is_file() and FILES.fullmatch(path.name):
            return path
    return None


def read(path: Path) -> Legend:
    """The names, and colours where every line has one; UserError says which line cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            entries = _from_json(parse_json(text))
        else:
            entries = _from_lines(text)
    except (OSError, ValueError, TypeError, AttributeError, LookupError, csv.Error) as error:
        raise UserError(f"cannot read the class names in {path}: {error}", FORMS) from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply", FORMS) from None
    names = [class_name(name) for name, _ in entries]
    colours = [colour for _, colour in entries if colour is not None]
    if not names:
        raise UserError(f"{path} contains no class names", FORMS)
    if len(set(names)) < len(names) or not all(names):
        raise UserError(f"{path} contains an empty or a repeated name", FORMS)
    if len(names) > MOST:
        raise UserError(f"{path} has {len(names):,} classes; at most {MOST} are supported", FORMS)
    if colours and (len(colours) < len(names) or len(set(colours)) < len(colours)):
        raise UserError(
            f"{path} has colours for only some classes, or the same colour for two", FORMS
        )
    return Legend(tuple(names), tuple(colours))


def _from_json(value: object) -> list[Entry]:
    """Names from {"name": [r, g, b]}, ["name", …] or [{"name": …, "colour": …}, …]."""
    if isinstance(value, dict):
        return [(str(name), _colour(colour)) for name, colour in value.items()]
    if not isinstance(value, list):
        raise ValueError("it is neither a list nor an object")
    entries: list[Entry] = []
    for item in value:
        if isinstance(item, dict):
            entries.append((str(item["name"]), _colour(item.get("colour", item.get("color")))))
        else:
            entries.append((str(item), None))
    return entries


def _from_lines(text: str) -> list[Entry]:
    """Names from lines of a name, of `name,r,g,b` or of `r g b name`.

    A first line may be titles.
    """
    lines = [line.strip() for line in text.splitlines()]
    entries: list[Entry] = []
    for number, line in enumerate(filter(None, lines)):
        cells = line.split()
        if line.count(":") == 3:  # CVAT: a title, then `road:128,64,128::`
            if line.startswith("#"):
                continue
            label, colour = line.split(":")[:2]
            line = f"{label},{colour}"
        if "," in line:
            cells = [cell.strip() for cell in next(csv.reader([line]))]
        numbers = [place for place, cell in enumerate(cells) if cell.isdecimal()]
        if len(numbers) == 3 and len(cells) > 3:
            words = [cell for place, cell in enumerate(cells) if place not in numbers]
            entries.append((" ".join(words), _colour([int(cells[place]) for place in numbers])))
        elif number > 0 or not is_title({cell.lower() for cell in cells}):
            entries.append((line, None))
    return entries


def is_title(words: set[str]) -> bool:
    """Whether a first line names columns; a class may be called red."""
    return "name" in words or words >= {"r", "g", "b"} or words >= {"red", "green", "blue"}


def _colour(value: object) -> Colour | None:
    """A colour from [r, g, b] or "#rrggbb"; raises ValueError for anything else."""
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        value = [int(value[place : place + 2], 16) for place in (1, 3, 5)]
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError(f"{value!r} is not a colour")
    red, green, blue = (int(part) for part in value)
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError(f"{value} is not a colour")
    return red, green, blue


def fits(usual: Legend | None, seen: npt.NDArray[np.int64]) -> bool:
    """Whether the values of masks are those of a usual numbering.

    That is: its last one occurs, none is greater, and few are missing.
    """
    values = seen[seen != IGNORED]
    if usual is None or not len(values):
        return False
    count = len(usual.names)
    return int(values.max()) == count - 1 and len(values) > 2 * count / 3


def _class_places(
    values: npt.NDArray[np.int64], kept: list[int], ignored: set[str]
) -> npt.NDArray[np.int64]:
    """For every 16-bit value its class, IGNORED, or -1 for a value that means nothing."""
    places = np.full(1 << 16, -1, dtype=np.int64)
    places[values] = IGNORED
    for word in ignored:
        if word.isdecimal() and int(word) < len(places):
            places[int(word)] = IGNORED
    places[values[kept]] = np.arange(len(kept))
    return places


def key(
    legend: Legend | None, seen: npt.NDArray[np.int64], ignore: str, usual: Legend | None = None
) -> Key:
    """How the values `seen` in masks become classes, without those that `ignore` names.

    Without a legend every value is a class of its own, named by itself; a `usual` numbering that
    fits stands in for a legend. Raises UserError when fewer than two classes are left.
    """
    guessed = legend is None and fits(usual, seen)
    legend = usual if guessed else legend
    ignored = {word.casefold() for word in re.split(r"[\s,;]+", ignore) if word} - {"none"}
    if legend is not None:
        names = legend.names
        values = np.arange(len(names))
    else:
        names = tuple(str(value) for value in seen.tolist())
        values = seen
    kept = []
    for place, name in enumerate(names):
        if not {name.casefold(), str(values[place])} & ignored:
            kept.append(place)
    if len(kept) < 2:
        raise _too_few(names, kept)
    if len(kept) > MOST:
        raise UserError(
            f"the masks have {len(kept):,} different values",
            "expected class numbers, not photographs",
        )
    places = _class_places(values, kept, ignored)
    colours = palette(len(kept))
    if legend is not None and legend.colours:
        colours = tuple(legend.colours[place] for place in kept)
    return Key(tuple(names[place] for place in kept), colours, places, guessed)


def _too_few(names: Sequence[str], kept: Sequence[int]) -> UserError:
    """The error for masks of fewer than two classes."""
    if len(kept) == len(names) == 1:
        return UserError(f"all masks have only the class {names[0]}", "at least two are needed")
    shown = ", ".join(names[:10]) or "nothing"
    verb = "is" if len(kept) == 1 else "are"
    hint = "at least two classes are needed"
    if len(kept) < len(names):
        hint = "use --set data.ignore=none to ignore no value"
    return UserError(f"the masks have {shown}, of which {len(kept)} {verb} not ignored", hint)


def palette(count: int) -> tuple[Colour, ...]:
    """Colours that differ: hues by the golden section, in three brightnesses."""
    colours = []
    for place in range(count):
        brightness = (0.95, 0.7, 0.5)[place % 3]
        red, green, blue = colorsys.hsv_to_rgb(place * 0.618034 % 1, 0.75, brightness)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(colours)
