"""The table of a recipe's layers, before any picture is read: what the network will be for the data the recipe names."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from eyesight.data import dataset
from eyesight.models import registry, weights, zoo
from eyesight.models.summary import count, layers
from eyesight.recipe import Recipe
from eyesight.recipes.folder import AUTO, PREFERRED, Seen, choose
from eyesight.runs import Run
from eyesight.training import transfer

SHAPES = {
    "mnist": (1, 28, 10),
    "fashion_mnist": (1, 28, 10),
    "digits": (1, 28, 10),
    "cifar10": (3, 32, 10),
    "glyphs": (1, 90, 52),
    "shapes": (3, 64, 4),
}
UNKNOWN = (3, 32, 10)  # channels, side and classes of a network whose data is not named yet
USUAL = Seen(
    pictures=1000, classes=10, side=500
)  # where a recipe that looks at its pictures has none to look at


def describe(recipe: Recipe, run: Path, *, look: bool = False) -> dict[str, Any]:
    """Input shape, classes, totals and layers as plain values; the data is opened only when asked to `look`, or was by a run."""
    if not look and (run / "recipe.json").is_file():
        recipe = Run.open(run).settle(recipe)
    why = list[str]()
    if recipe.model.name == AUTO and not recipe.data.source:
        recipe, why = choose(
            recipe, USUAL, [name for name in PREFERRED if weights.at_hand(zoo.timm_name(name))]
        )
        why.insert(
            0,
            f"as for {USUAL.pictures:,} photographs of {USUAL.classes} classes; --data shows it for yours",
        )
    backbone = recipe.model.name == AUTO or registry.is_backbone(recipe.model)
    recipe = transfer.resolve_preprocessing(recipe, why.append) if backbone else recipe
    shape, classes = _expected(recipe, run, look)
    network = registry.build(
        recipe.model, shape, registry.outputs(recipe.data.target, shape, classes)
    )
    rows = layers(network, shape)
    more = (
        {
            "chosen": why,
            "trains": transfer.trained(network, recipe),
            "pretrained": expected(recipe.model.name),
        }
        if backbone
        else {}
    )
    return {
        **more,
        "shape": list(shape),
        "classes": classes,
        "parameters": count(network),
        "multiply_adds": sum(row.multiply_adds for row in rows),
        "layers": [vars(row) for row in rows],
    }


def expected(name: str) -> dict[str, Any]:
    """What the weights of a pretrained network were trained to see, and where they lie on this machine."""
    from eyesight.models import pretrained

    return {**asdict(pretrained.expected(name)), "weights": weights.at_hand(zoo.timm_name(name))}


def pretrained_lines(found: dict[str, Any]) -> list[str]:
    """For people: the same, and what trains."""
    sees = found["pretrained"]
    mean, deviation = (
        ", ".join(f"{value:.3g}" for value in sees[key]) for key in ("mean", "deviation")
    )
    how = f"{sees['size']}×{sees['size']}, {sees['interpolation']}, centre {sees['crop_fraction']:.3g}; mean {mean}; deviation {deviation}"
    stages = found["trains"]
    return [
        *found["chosen"],
        f"the weights expect {how}",
        f"weights at hand: {sees['weights'] or 'none; training looks for them'}",
        *(
            f"stage {number}: {line}" if len(stages) > 1 else line
            for number, line in enumerate(stages, 1)
        ),
    ]


def _expected(recipe: Recipe, run: Path, look: bool) -> tuple[tuple[int, ...], int]:
    if look:
        data = dataset.load(recipe.data)
        return data.train.shape, len(data.train.classes)
    if (run / "data.json").is_file() and (known := Run.open(run).data):
        how = known["preparation"]
        return (
            how["channels"],
            how["height"] + 2 * how["pad"],
            how["width"] + 2 * how["pad"],
        ), len(known["classes"])
    channels, side, classes = SHAPES.get(recipe.data.source, UNKNOWN)
    side = (recipe.data.size or side) + 2 * recipe.data.pad
    return (recipe.data.channels or channels, side, side), classes


def layer_table(found: dict[str, Any]) -> str:
    """For people: a line for each layer, then the totals."""
    rows = [
        row for row in found["layers"] if row["kind"] != "Identity"
    ]  # which pretrained networks are full of
    wide = max(24, *(len(row["name"]) for row in rows))
    lines = [
        f"{'layer':<{wide}} {'kind':<20} {'output':>14} {'parameters':>12} {'multiply-adds':>15}"
    ]
    for row in rows:
        output = "×".join(map(str, row["shape"]))
        lines.append(
            f"{row['name']:<{wide}} {row['kind']:<20} {output:>14} {row['parameters']:>12,} {row['multiply_adds']:>15,}"
        )
    shape = "×".join(map(str, found["shape"]))
    lines.append(
        f"{'total':<{wide}} {'from ' + shape:<20} {found['classes']:>14} {found['parameters']:>12,} {found['multiply_adds']:>15,}"
    )
    return "\n".join(lines)
