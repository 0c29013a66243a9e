"""The table of pretrained networks: what is published, what is counted here, which weights are at hand, and how fast each one is.

Parameters and multiply-adds are counted on a network without memory for its weights, so that a table of all takes seconds.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eyesight.comparison import plots as comparison_plots
from eyesight.errors import UserError
from eyesight.models import pretrained, registry, weights, zoo
from eyesight.models.summary import count, layers
from eyesight.models.zoo import Entry
from eyesight.recipe import Model
from eyesight.report import html, plots
from eyesight.system import cache
from eyesight.system.device import default_device
from eyesight.system.progress import Talk, silent

BATCH = 16  # pictures in a batch that is timed
AT_HAND = "weights at hand"
ACCURACIES = ("top-1", "top-5", "timm top-1", "timm top-5")
MOST = 60  # rows for a pattern that only timm's own names match


@dataclass(frozen=True)
class Row:
    """One network: `entry` is what was published, the rest was found out here; seconds are those of one forward pass."""

    entry: Entry
    parameters: int
    multiply_adds: int
    layers: int  # convolutions and dense layers
    size: int  # side of the pictures
    stages: tuple[str, ...]
    weights: str | None  # where they lie on this machine
    seconds: dict[str, tuple[float, float]] = field(
        default_factory=dict
    )  # device → of one picture, of a batch

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        entry = asdict(self.entry)
        known = entry["name"] != entry["timm"]
        told = entry.pop("source")
        timms = entry.pop("timm_source")
        sources = {
            "accuracy_source": told if self.entry.top1 else None,
            "timm_accuracy_source": timms if self.entry.timm_top1 else None,
        }
        published = {
            key: entry.pop(key)
            for key in ("top1", "top5", "parameters", "depth", "timm_top1", "timm_top5", "note")
        }
        found = {
            name: getattr(self, name)
            for name in ("parameters", "multiply_adds", "layers", "size", "weights")
        }
        timed = {
            device: {"picture": one, f"batch_of_{BATCH}": batch}
            for device, (one, batch) in self.seconds.items()
        }
        megabytes = round(self.parameters * 4 / 1e6, 1)
        return {
            **entry,
            "known": known,
            **found,
            "megabytes": megabytes,
            "stages": list(self.stages),
            "published": {**published, **sources},
            "seconds": timed,
        }


def rows(pattern: str = "", *, measure: bool = False, talk: Talk = silent) -> Iterator[Row]:
    """A row for every known network that the pattern matches, or else for every network of timm's that it does."""
    for entry in entries(pattern):
        row = look_up(entry)
        if measure:
            talk(f"measuring {entry.name}")
            row = Row(**{**vars(row), "seconds": timed(row)})
        yield row


def entries(pattern: str) -> list[Entry]:
    """Known networks by part of their name; timm's own by a pattern with stars, or when no known one matches."""
    found = [] if "*" in pattern else zoo.matching(pattern)
    if found:
        return found
    names = [name for name in pretrained.names() if name.islower() and zoo.fits(name, pattern)]
    if not names:
        raise UserError(
            f"no network is called {pattern!r}",
            "eyesight models lists the known ones; any name of timm's works too",
            code=2,
        )
    return [Entry(name, name) for name in names[:MOST]]


def look_up(entry: Entry) -> Row:
    """The counted facts of a network, remembered in the cache."""
    key = [entry.timm, pretrained.version()]
    found = cache.read_note("networks", key)
    if not isinstance(found, dict):
        found = counted(entry.timm)
        cache.write_note("networks", key, found)
    found["stages"] = tuple(found["stages"])
    return Row(entry=entry, weights=weights.at_hand(entry.timm), **found)


def counted(name: str) -> dict[str, Any]:
    """Parameters, multiply-adds, layers, size and stages, on the size that the weights expect."""
    size = pretrained.expected(name).size
    with torch.device("meta"):
        network = registry.build(
            Model(name, head="own"), (3, size, size), pretrained.own_classes(name)
        )
    parts = nn.Sequential(
        network.normalise, network.body, network.head
    )  # the network itself switches automatic casting, which needs a device
    table = layers(parts, (3, size, size))
    weighty = sum(isinstance(module, nn.Conv2d | nn.Linear) for module in network.modules())
    return {
        "parameters": count(network),
        "multiply_adds": sum(row.multiply_adds for row in table),
        "layers": weighty,
        "size": size,
        "stages": pretrained.stages(network),
    }


def timed(row: Row) -> dict[str, tuple[float, float]]:
    """Seconds of a forward pass for one picture and for a batch, on every device that is there."""
    name = row.entry.timm
    size = row.size
    network = registry.build(
        Model(name, head="own"), (3, size, size), pretrained.own_classes(name)
    ).eval()
    found = {}
    for device in dict.fromkeys(("cpu", default_device().type)):
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        found[device] = (_seconds(network, 1, size, device), _seconds(network, BATCH, size, device))
    return found


@torch.inference_mode()
def _seconds(
    network: nn.Module, batch: int, size: int, device: str, patience: float = 1.0
) -> float:
    """The median of several passes; float32, channels last, as the classifier runs it."""
    pictures = torch.zeros(batch, 3, size, size, device=device).contiguous(
        memory_format=torch.channels_last
    )
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 4 or time.perf_counter() - began < patience:
        start = time.perf_counter()
        network(pictures)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return round(statistics.median(times[1:]), 6)


def table(found: Sequence[Row]) -> str:
    """For people: a line for each network."""
    lines = _grid(found)
    wide = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    left = (0, 1, lines[0].index(AT_HAND))
    texts = [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, wide, strict=True))
        )
        for line in lines
    ]
    return "\n".join([*(text.rstrip() for text in texts), "", *notes(found)])


def markdown(found: Sequence[Row]) -> str:
    """The same for a page."""
    titles, *lines = _grid(found)
    texts = [f"| {' | '.join(line)} |" for line in (titles, ["---"] * len(titles), *lines)]
    return "\n".join([*texts, "", *(f"- {note}" for note in notes(found))]) + "\n"


def _grid(found: Sequence[Row]) -> list[list[str]]:
    """The titles, then the cells of every row."""
    devices = list(dict.fromkeys(device for row in found for device in row.seconds))
    titles = [
        "name",
        "timm network",
        "input",
        "MB",
        "Mparams",
        "GMAdds",
        "depth",
        *ACCURACIES,
        AT_HAND,
    ]
    titles += [title for device in devices for title in (f"{device} ms", f"ms of {BATCH}")]
    return [titles, *(_cells(row, devices) for row in found)]


def notes(found: Sequence[Row]) -> list[str]:
    """What must be known to read the table."""
    lines = [f"{row.entry.name}: {row.entry.note}" for row in found if row.entry.note]
    if any(not row.entry.depth for row in found):
        lines.append(
            "* layers with weights as counted here; the other depths are published and count all layers"
        )
    return lines + sources(found)


def check_out(out: Path) -> None:
    """Raise UserError for a place that `write` would misunderstand, before minutes are spent on measuring."""
    if out.suffix.lower() != ".png" and (out.suffix or out.is_file()):
        raise UserError(
            f"{out} is the name of a file that is no figure",
            "--out FILE.png, or --out FOLDER for the table too",
            code=2,
        )


def write(found: Sequence[Row], out: Path) -> list[Path]:
    """The figure in a file `out` that ends in .png; figure, table and facts in a folder otherwise. What was written."""
    if out.suffix.lower() == ".png":
        return [draw(found, out)]
    facts = (
        json.dumps({"models": [row.to_dict() for row in found]}, indent=2, ensure_ascii=False)
        + "\n"
    )
    figure = draw(found, out / "models.png")
    texts = [
        html.write(text, out / name)
        for name, text in (("models.md", markdown(found)), ("models.json", facts))
    ]
    return [figure, *texts]


def sources(found: Sequence[Row]) -> list[str]:
    """Where the published figures of the rows come from, a line for each source that is not everybody's."""
    lines = [f"top-1, top-5, depth: {zoo.KNOWN_SOURCE}; timm: {zoo.TIMM_SOURCE}"]
    for row in found:
        entry = row.entry
        others = [
            told
            for told, usual in (
                (entry.source, zoo.KNOWN_SOURCE),
                (entry.timm_source, zoo.TIMM_SOURCE),
            )
            if told != usual
        ]
        lines += [f"but {entry.name}: {told}" for told in others]
    return lines


def _cells(row: Row, devices: Sequence[str]) -> list[str]:
    entry = row.entry
    published = [
        _number(value) for value in (entry.top1, entry.top5, entry.timm_top1, entry.timm_top5)
    ]
    timed_cells = [f"{1000 * value:.1f}" for device in devices for value in row.seconds[device]]
    size = f"{row.parameters * 4 / 1e6:.0f}"
    depth = str(entry.depth or f"{row.layers}*")
    counts = [
        str(row.size),
        size,
        f"{row.parameters / 1e6:.1f}",
        f"{row.multiply_adds / 1e9:.2f}",
        depth,
    ]
    return [entry.name, entry.timm, *counts, *published, row.weights or "–", *timed_cells]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def draw(found: Sequence[Row], file: Path) -> Path:
    """Write the figure of published accuracy against milliseconds for a picture where they were measured, else against multiply-adds.

    Raises UserError when nothing is known of any row.
    """
    devices = list(dict.fromkeys(device for row in found for device in row.seconds))
    costs: dict[str, dict[str, float]] = {
        f"milliseconds for a picture in batches of {BATCH} ({device}, float32)": {
            row.entry.name: 1000 * row.seconds[device][1] / BATCH
            for row in found
            if device in row.seconds
        }
        for device in devices
    } or {"multiply-adds a picture": {row.entry.name: float(row.multiply_adds) for row in found}}
    shares = {
        row.entry.name: share / 100
        for row in found
        if (share := row.entry.timm_top1 or row.entry.top1)
    }
    known = {
        words: {name: cost for name, cost in cost.items() if name in shares}
        for words, cost in costs.items()
    }
    if not any(known.values()):
        raise UserError(
            "of none of these networks a published accuracy is known", "leave out --out", code=2
        )
    plots.save(comparison_plots.networks(known, shares), file)
    return file
