"""The table of pretrained networks: published accuracy, counted cost, weights, measured speed.

Parameters and multiply-adds are counted on a network without memory for its weights, so that a
table of all takes seconds.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypedDict, cast

import torch
from torch import nn

from eyesight.comparison import plots as comparison_plots
from eyesight.errors import UserError
from eyesight.models import pretrained, registry, weights, zoo
from eyesight.models.layers import Network
from eyesight.models.summary import count, layers
from eyesight.models.zoo import Entry
from eyesight.recipe import Model
from eyesight.system import cache
from eyesight.system.device import default_device
from eyesight.system.progress import Talk, silent
from eyesight.system.tables import markdown_table, text_table
from eyesight.views import html, plots

BATCH = 16  # images in a batch that is timed
AT_HAND = "available weights"
ACCURACIES = ("top-1", "top-5", "timm top-1", "timm top-5")
TITLES = ("name", "timm network", "input", "MB", "Mparams", "GMAdds", "depth")
MOST = 60  # rows for a pattern that only timm's own names match
PUBLISHED = ("top1", "top5", "parameters", "depth", "timm_top1", "timm_top5", "note")
COUNTED = ("parameters", "multiply_adds", "layers", "size", "weights")


class Counts(TypedDict):
    """Counts for a network at the input size of its weights."""

    parameters: int
    multiply_adds: int
    layers: int
    size: int
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A network; `entry` holds the published values, the other fields are counted or measured."""

    entry: Entry
    parameters: int
    multiply_adds: int
    layers: int  # convolutions and dense layers
    size: int  # side of the images
    stages: tuple[str, ...]
    weights: str | None  # where they lie on this machine
    seconds: dict[str, tuple[float, float]] = field(
        default_factory=dict
    )  # by device: of one image, of a batch

    @property
    def megabytes(self) -> float:
        """Of the weights in float32."""
        return self.parameters * 4 / 1e6

    def to_dict(self) -> dict[str, object]:
        """As plain JSON values."""
        entry = asdict(self.entry)
        published = {key: entry.pop(key) for key in PUBLISHED}
        source = entry.pop("source")
        timm_source = entry.pop("timm_source")
        published["accuracy_source"] = source if self.entry.top1 else None
        published["timm_accuracy_source"] = timm_source if self.entry.timm_top1 else None
        seconds = {}
        for device, (one, batch) in self.seconds.items():
            seconds[device] = {"picture": one, f"batch_of_{BATCH}": batch}
        return {
            **entry,
            "known": entry["name"] != entry["timm"],
            **{key: getattr(self, key) for key in COUNTED},
            "megabytes": round(self.megabytes, 1),
            "stages": list(self.stages),
            "published": published,
            "seconds": seconds,
        }


def rows(pattern: str = "", *, measure: bool = False, talk: Talk = silent) -> Iterator[Row]:
    """Rows of the listed networks that match, or else of matching timm networks."""
    for entry in entries(pattern):
        row = look_up(entry)
        if measure:
            talk(f"measuring {entry.name}")
            row = replace(row, seconds=timed(row))
        yield row


def entries(pattern: str) -> list[Entry]:
    """Listed networks by part of their name; timm's own by a pattern with stars, or without match.

    Raises UserError when no network matches.
    """
    if "*" not in pattern:
        listed = zoo.matching(pattern)
        if listed:
            return listed
    names = [name for name in pretrained.names() if name.islower() and zoo.fits(name, pattern)]
    if not names:
        raise UserError(
            f"no network is named {pattern!r}",
            "`eyesight models` lists common names; any name in timm works too",
            code=2,
        )
    return [Entry(name, name) for name in names[:MOST]]


def look_up(entry: Entry) -> Row:
    """The row of a network; its counts are kept in the cache."""
    key = [entry.timm, pretrained.version()]
    kept = cache.read_note("networks", key)
    if isinstance(kept, dict):
        counts = cast(Counts, kept)
    else:
        counts = counted(entry.timm)
        cache.write_note("networks", key, counts)
    counts["stages"] = tuple(counts["stages"])
    return Row(entry=entry, weights=weights.at_hand(entry.timm), **counts)


def counted(name: str) -> Counts:
    """Parameters, multiply-adds, layers, input size and stages of a timm network."""
    size = pretrained.expected(name).size
    with torch.device("meta"):
        network = _build(name, size)
    # Without the network itself, whose automatic casting needs a device.
    parts = nn.Sequential(network.normalise, network.body, network.head)
    table = layers(parts, (3, size, size))
    weighty = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    return {
        "parameters": count(network),
        "multiply_adds": sum(row.multiply_adds for row in table),
        "layers": len(weighty),
        "size": size,
        "stages": pretrained.stages(network),
    }


def _build(name: str, size: int) -> Network:
    model = Model(name, head="own")
    return registry.build(model, (3, size, size), pretrained.own_classes(name))


def timed(row: Row) -> dict[str, tuple[float, float]]:
    """Seconds of a forward pass for one image and for a batch, on every device."""
    network = _build(row.entry.timm, row.size).eval()
    seconds = {}
    for device in dict.fromkeys(("cpu", default_device().type)):
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        one = _seconds(network, 1, row.size, device)
        batch = _seconds(network, BATCH, row.size, device)
        seconds[device] = (one, batch)
    return seconds


@torch.inference_mode()
def _seconds(
    network: nn.Module, batch: int, size: int, device: str, patience: float = 1.0
) -> float:
    """The median of several passes; float32, channels last, as the classifier runs it."""
    images = torch.zeros(batch, 3, size, size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 4 or time.perf_counter() - began < patience:
        start = time.perf_counter()
        network(images)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return round(statistics.median(times[1:]), 6)


def table(rows: Sequence[Row]) -> str:
    """The table as aligned text, one line per network, with notes."""
    titles, lines = _grid(rows)
    left = (0, 1, titles.index(AT_HAND))
    return "\n".join([text_table(titles, lines, left), "", *notes(rows)])


def markdown(rows: Sequence[Row]) -> str:
    """The table as Markdown, with notes."""
    titles, lines = _grid(rows)
    table = markdown_table(titles, lines, range(len(titles)))
    return "\n".join([table, "", *(f"- {note}" for note in notes(rows))]) + "\n"


def _grid(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """The titles, and the cells of every row."""
    devices = _devices(rows)
    titles = [*TITLES, *ACCURACIES, AT_HAND]
    for device in devices:
        titles += [f"{device} ms", f"ms of {BATCH}"]
    return titles, [_cells(row, devices) for row in rows]


def _devices(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(device for row in rows for device in row.seconds))


def _cells(row: Row, devices: Sequence[str]) -> list[str]:
    entry = row.entry
    depth = f"{row.layers}*"
    if entry.depth:
        depth = str(entry.depth)
    cells = [
        entry.name,
        entry.timm,
        str(row.size),
        f"{row.megabytes:.0f}",
        f"{row.parameters / 1e6:.1f}",
        f"{row.multiply_adds / 1e9:.2f}",
        depth,
    ]
    cells += map(_number, (entry.top1, entry.top5, entry.timm_top1, entry.timm_top5))
    cells.append(row.weights or "–")
    for device in devices:
        cells += [f"{1000 * seconds:.1f}" for seconds in row.seconds[device]]
    return cells


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}"


def notes(rows: Sequence[Row]) -> list[str]:
    """Explanatory notes below the table."""
    lines = [f"{row.entry.name}: {row.entry.note}" for row in rows if row.entry.note]
    if any(not row.entry.depth for row in rows):
        lines.append("* counted here: layers with weights; published depths count all layers")
    return lines + sources(rows)


def sources(rows: Sequence[Row]) -> list[str]:
    """The sources of the published values, one line for each exception."""
    lines = [f"top-1, top-5, depth: {zoo.KNOWN_SOURCE}; timm: {zoo.TIMM_SOURCE}"]
    for row in rows:
        entry = row.entry
        if entry.source != zoo.KNOWN_SOURCE:
            lines.append(f"{entry.name}: published values from {entry.source}")
        if entry.timm_source != zoo.TIMM_SOURCE:
            lines.append(f"{entry.name}: timm values from {entry.timm_source}")
    return lines


def check_out(out: Path) -> None:
    """Raise UserError unless `out` is a .png file or a folder."""
    if out.suffix.lower() != ".png" and (out.suffix or out.is_file()):
        raise UserError(
            f"{out} is neither a .png file nor a folder",
            "use --out FILE.png for the figure, or --out FOLDER for figure, table and JSON",
            code=2,
        )


def write(rows: Sequence[Row], out: Path) -> list[Path]:
    """Write the figure to `out` if it ends in .png, else figure, table and JSON into that folder.

    Returns what was written.
    """
    if out.suffix.lower() == ".png":
        return [draw(rows, out)]
    values = {"models": [row.to_dict() for row in rows]}
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    return [
        draw(rows, out / "models.png"),
        html.write(markdown(rows), out / "models.md"),
        html.write(text, out / "models.json"),
    ]


def draw(rows: Sequence[Row], file: Path) -> Path:
    """Write the figure of published accuracy against cost.

    The cost is milliseconds for an image where they were measured, else multiply-adds. Raises
    UserError when no row has a published accuracy.
    """
    shares = {}
    for row in rows:
        percent = row.entry.timm_top1 or row.entry.top1
        if percent:
            shares[row.entry.name] = percent / 100
    costs: dict[str, Mapping[str, float]] = {}
    for words, cost in _costs(rows).items():
        costs[words] = {name: cost[name] for name in cost if name in shares}
    if not any(costs.values()):
        raise UserError(
            "none of these networks has a published accuracy to plot", "leave out --out", code=2
        )
    plots.save(comparison_plots.networks(costs, shares), file)
    return file


def _costs(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """The cost of each network by name, for each kind of cost."""
    costs: dict[str, dict[str, float]] = {}
    for device in _devices(rows):
        words = f"milliseconds per image in batches of {BATCH} ({device}, float32)"
        measured = [row for row in rows if device in row.seconds]
        costs[words] = {row.entry.name: 1000 * row.seconds[device][1] / BATCH for row in measured}
    if not costs:
        costs["multiply-adds per image"] = {
            row.entry.name: float(row.multiply_adds) for row in rows
        }
    return costs
