"""`eyesight show`: a recipe's settings and the table of its network's layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from eyesight import classifier, recipes
from eyesight.data import dataset
from eyesight.data.prepare import Preparation
from eyesight.errors import UserError
from eyesight.models import registry, weights, zoo
from eyesight.models.backbone import OWN
from eyesight.models.layers import Network
from eyesight.models.sketch import sketch
from eyesight.models.summary import Layer, Summary, count, summarise
from eyesight.recipe import BLEND, Model, Recipe, differences, paths, to_dict
from eyesight.recipes.folder import AUTO, PREFERRED, Seen, choose
from eyesight.runs import Run, is_run, resolve
from eyesight.training import transfer

NAMED_SHAPES = {
    "mnist": (1, 28, 10),
    "fashion_mnist": (1, 28, 10),
    "digits": (1, 28, 10),
    "cifar10": (3, 32, 10),
    "glyphs": (1, 90, 52),
    "shapes": (3, 64, 4),
}
UNNAMED_SHAPE = (3, 32, 10)  # channels, side and classes if no data is given
USUAL = Seen(pictures=1000, classes=10, side=500, held_out=280)  # for a recipe without data
ALWAYS_SHOWN = (
    "data.source",
    "model.name",
    "loss.name",
    "optim.name",
    "optim.lr",
    "optim.schedule",
    "training.epochs",
    "training.batch",
)
ROW = "{:<{name}}  {:<{kind}}  {:<{settings}}  {:>{output}}  {:>12}  {:>15}"
WITH_OPERATIONS = ROW + "  {:>15}"


class Weights(TypedDict):
    """The preprocessing and the location of pretrained weights."""

    size: int
    interpolation: str
    crop_fraction: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    fixed: bool
    weights: str | None


class Description(TypedDict):
    """A network as plain values: its layers with their costs for one image, and the totals."""

    shape: list[int]
    output: list[int]
    classes: int
    parameters: int
    multiply_adds: int
    operations: int
    layers: list[dict[str, object]]
    chosen: NotRequired[list[str]]  # choices for a pretrained network, with reasons
    trains: NotRequired[list[str]]
    pretrained: NotRequired[Weights]


@dataclass(frozen=True)
class Shown:
    """What `show` prints: a network, and the recipe that trains it."""

    description: Description
    recipe: Recipe | None = None
    operations: bool = False  # a column

    def values(self) -> dict[str, object]:
        """As JSON values."""
        if self.recipe is None:
            return dict(self.description)
        return {"recipe": to_dict(self.recipe), **self.description}

    def text(self) -> str:
        """The settings, the choices for a pretrained network, and the table of layers."""
        lines = []
        if self.recipe is not None:
            lines += [*settings_lines(self.recipe), ""]
        if "pretrained" in self.description:
            lines += pretrained_lines(self.description)
        table = layer_table(self.description, operations=self.operations)
        return "\n".join([*lines, table])


def settings_lines(recipe: Recipe) -> list[str]:
    """The recipe's settings that differ from the defaults, and the most important ones."""
    shown = differences(recipe, Recipe())
    for path in ALWAYS_SHOWN:
        group, field = path.split(".")
        shown[path] = getattr(getattr(recipe, group), field)
    return [f"{path} = {shown[path]}" for path in paths() if path in shown]


def describe(recipe: Recipe, run: Path, *, look: bool = False) -> Description:
    """Describe the network that the recipe trains.

    The data is opened only if `look` is true; for a run, its own record is used.
    """
    if not look and (run / "recipe.json").is_file():
        recipe = Run.open(run).settle(recipe)
    reasons = list[str]()
    if recipe.model.name == AUTO and not recipe.data.source:
        recipe, reasons = _chosen_for_usual_images(recipe)
    backbone = recipe.model.name == AUTO or registry.is_backbone(recipe.model)
    if backbone:
        recipe = transfer.resolve_preprocessing(recipe, reasons.append)
    shape, classes = _input(recipe, run, look)
    network = _network(recipe, run, shape, classes)
    description = described(summarise(network, shape), shape, classes, count(network))
    if backbone:
        description["chosen"] = reasons
        description["trains"] = transfer.trained(network, recipe)
        description["pretrained"] = expected(recipe.model.name)
    return description


def is_network(name: str) -> bool:
    """Whether `name` is neither a recipe nor a folder, but a pretrained network."""
    if is_run(name) or recipes.is_known(name):
        return False
    from eyesight.models import pretrained  # timm takes two seconds to import

    return pretrained.is_known(name)


def refuse_settings(name: str, data: str | None, settings: Sequence[str]) -> None:
    """Raise UserError for settings of a network, which is no recipe."""
    if data is not None or settings:
        raise UserError(
            f"{name} is a network; --data and --set need a recipe",
            f"eyesight show objects_transfer --set model.name={name}",
            code=2,
        )


def pretrained(name: str) -> Shown:
    """A pretrained network with its own head, for images of its own size."""
    from eyesight.models import pretrained as networks

    size = networks.expected(name).size
    shape = (3, size, size)
    classes = networks.own_classes(name)
    network = registry.build(Model(name, weights="none", head=OWN), shape, classes)
    description = described(summarise(network, shape), shape, classes, count(network))
    description["chosen"] = []
    description["trains"] = []
    description["pretrained"] = expected(name)
    return Shown(description)


def resolved(name: str, data: str | None, settings: Sequence[str]) -> Shown:
    """A recipe, or that of a run, with settings applied; data is opened if it is given."""
    recipe = resolve(name, *settings, data=data)
    return Shown(describe(recipe, Path(name), look=data is not None), recipe)


def _network(recipe: Recipe, run: Path, shape: tuple[int, ...], classes: int) -> Network:
    """The network that the recipe trains, or the one that a blend is."""
    if recipe.model.name == BLEND:
        return classifier.load(Run.open(run).classifier_path).network
    return registry.build(recipe.model, shape, registry.outputs(recipe.data.target, shape, classes))


def described(
    summary: Summary, shape: tuple[int, ...], classes: int, parameters: int
) -> Description:
    """A summary as plain values."""
    return {
        "shape": list(shape),
        "output": list(summary.output),
        "classes": classes,
        "parameters": parameters,
        "multiply_adds": summary.multiply_adds,
        "operations": summary.operations,
        "layers": [asdict(layer) for layer in summary.layers],
    }


def _chosen_for_usual_images(recipe: Recipe) -> tuple[Recipe, list[str]]:
    at_hand = [name for name in PREFERRED if weights.at_hand(zoo.timm_name(name))]
    chosen, reasons = choose(recipe, USUAL, at_hand)
    usual = f"for {USUAL.pictures:,} photographs of {USUAL.classes} classes"
    return chosen, [f"{usual}; use --data for your own", *reasons]


def expected(name: str) -> Weights:
    """The preprocessing and the location of pretrained weights."""
    from eyesight.models import pretrained

    expects = pretrained.expected(name)
    return {
        "size": expects.size,
        "interpolation": expects.interpolation,
        "crop_fraction": expects.crop_fraction,
        "mean": expects.mean,
        "deviation": expects.deviation,
        "fixed": expects.fixed,
        "weights": weights.at_hand(zoo.timm_name(name)),
    }


def pretrained_lines(description: Description) -> list[str]:
    """Printed lines: choices, preprocessing of the weights, and trained parts."""
    expects = description["pretrained"]
    mean = ", ".join(f"{value:.3g}" for value in expects["mean"])
    deviation = ", ".join(f"{value:.3g}" for value in expects["deviation"])
    side = f"{expects['size']}×{expects['size']}"
    crop = f"centre {expects['crop_fraction']:.3g}"
    lines = [
        *description["chosen"],
        f"preprocessing of the weights: {side}, {expects['interpolation']}, {crop}; mean "
        f"{mean}; standard deviation {deviation}",
        f"available weights: {expects['weights'] or 'none; training tries to download them'}",
    ]
    stages = description["trains"]
    if len(stages) == 1:
        return [*lines, *stages]
    return lines + [f"stage {number}: {line}" for number, line in enumerate(stages, 1)]


def _input(recipe: Recipe, run: Path, look: bool) -> tuple[tuple[int, ...], int]:
    """The shape C,H,W of the images, and the number of classes."""
    if look:
        data = dataset.load(recipe.data)
        return data.train.shape, len(data.train.classes)
    if (run / "data.json").is_file():
        facts = Run.open(run).data
        return Preparation.from_dict(facts["preparation"]).shape, len(facts["classes"])
    channels, side, classes = NAMED_SHAPES.get(recipe.data.source, UNNAMED_SHAPE)
    side = (recipe.data.size or side) + 2 * recipe.data.pad
    return (recipe.data.channels or channels, side, side), classes


def layer_table(description: Description, *, operations: bool = False) -> str:
    """The table of layers with totals; `operations` adds a column.

    Identity layers, frequent in pretrained networks, are left out.
    """
    layers = [Layer(**layer) for layer in description["layers"]]  # type: ignore[arg-type]
    shown = [layer for layer in layers if layer.kind != "Identity"]
    form = WITH_OPERATIONS if operations else ROW
    titles = ("layer", "kind", "settings", "output", "parameters", "multiply-adds", "operations")
    rows: list[tuple[str, ...]] = [titles]
    for layer in shown:
        costs = _costs(layer.parameters, layer.multiply_adds, layer.operations)
        rows.append((layer.name, layer.kind, layer.settings, _shape(layer.shape), *costs))
    totals = _costs(
        description["parameters"], description["multiply_adds"], description["operations"]
    )
    source = f"from {_shape(description['shape'])}"
    rows.append(("total", source, "", _shape(description["output"]), *totals))
    widths = {
        column: max(len(row[index]) for row in rows)
        for index, column in enumerate(("name", "kind", "settings", "output"))
    }
    return "\n".join(form.format(*row, **widths) for row in rows)


def _costs(parameters: int, multiply_adds: int, operations: int) -> tuple[str, str, str]:
    return f"{parameters:,}", f"{multiply_adds:,}", f"{operations:,}"


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def sketched(text: str) -> Shown:
    """The layers that a line such as "256x256x3 conv3x64/2" describes, with their costs."""
    network, shape = sketch(text)
    summary = summarise(network, shape)
    description = described(summary, shape, summary.output[0], count(network))
    return Shown(description, operations=True)
