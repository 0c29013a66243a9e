"""A recipe: everything that decides a training, as frozen dataclasses; what people may set, and nothing else.

A field's annotation is its type on the command line: `--set optim.lr=0.02` is parsed as the `float` it is declared to be.
"""

from __future__ import annotations

import dataclasses
import html
import json
import re
import types
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from eyesight.errors import UserError, unknown

FORMAT = 1
OWN = re.compile(r"(.+\.py|[A-Za-z_][\w.]*):[A-Za-z_][\w.]*")


@dataclass(frozen=True)
class Data:
    """Where the pictures come from and how bytes become pixels."""

    source: str = ""  # a named set, a folder, a CSV, an .npz, an archive
    images: str = ""  # folder of the images, below the data set or beside the table; empty: read from the data, as all of these
    image_column: str = ""  # of a table, by name or number: the files
    label_column: str = ""  # of a table: the classes
    split_column: str = ""  # of a table: train, validation, test; none leaves it out
    group_column: str = (
        ""  # of a table: images of one group (patient, plate, site) stay on one side of the split
    )
    group_pattern: str = (
        ""  # the same by a regular expression on the image's path, for example patient(\d+)
    )
    class_level: int = 0  # the class is the folder at this level below the data set, from 1
    size: int = 0  # side in pixels after resizing; 0 keeps the pictures' own size, which must then be one size
    channels: int = 0  # 1 grey, 3 colour; 0 takes what the pictures have
    resize: Literal["squash", "crop", "letterbox", "none"] = "squash"
    pad: int = 0  # pixels added on every side after resizing
    padding: Literal["zero", "replicate"] = "zero"
    interpolation: Literal["auto", "bilinear", "bicubic", "area"] = (
        "auto"  # auto is what a pretrained network expects, or bilinear
    )
    crop_fraction: float = 0.0  # resize to size / fraction, then cut the centre; 0 is what a pretrained network expects, or 1
    scaling: Literal["unit", "standard"] = (
        "unit"  # what the network sees: 0..1, or mean 0 and deviation 1 over the training set
    )
    validation: float = (
        0.1  # fraction of the training pictures held out when the data has no validation split
    )
    test: float = 0.2  # fraction held out when the data has no test split
    split_seed: int = 0  # the split has a seed of its own, so that runs with other seeds are judged on the same pictures
    box: bool = False  # cut each picture to the bounding box that the data gives for it, as Stanford Dogs does; not when predicting
    strict: bool = False  # stop at the first bad file instead of leaving it out
    target: Literal["class", "picture", "mask"] = (
        "class"  # what is to be given for a picture: its class, itself, a class for every pixel
    )
    names: str = ""  # masks only: file with the names of the classes, perhaps with colours; found by itself beside the masks
    ignore: str = "255 void unlabelled unlabeled"  # masks only: values or names of pixels that count for nothing; none keeps all
    extra: str = ""  # more training pictures of the same classes, such as one's own; a fifth of them is held out to see what they change


@dataclass(frozen=True)
class Augment:
    """Random changes to a batch of training pictures; 0 or "none" switches each off."""

    flip: Literal["none", "random", "alternating"] = (
        "none"  # left-right; alternating flips every picture every other epoch
    )
    crop: int = 0  # reflect-pad by this many pixels, then cut the old size at a random place
    window: float = 1.0  # sides of a part cut out at a random place, as a fraction of the picture's: networks that give masks only
    rotate: float = 0.0  # degrees, either way
    shift: float = 0.0  # fraction of the side, both ways
    zoom: float = 0.0  # scale drawn from 1 - zoom to 1 + zoom
    shear: float = 0.0  # degrees, either way
    elastic: float = 0.0  # size of a smooth random displacement, fraction of the side
    brightness: tuple[float, float] = (1.0, 1.0)  # factor drawn from this range
    contrast: tuple[float, float] = (
        1.0,
        1.0,
    )  # factor about the picture's mean, drawn from this range
    noise: float = 0.0  # standard deviation of Gaussian noise, as a fraction of the full range
    cutout: float = 0.0  # side of one grey square, fraction of the side
    mixup: float = 0.0  # alpha of Beta(alpha, alpha)
    cutmix: float = 0.0  # alpha of Beta(alpha, alpha)


@dataclass(frozen=True)
class Model:
    """A network by name; what is None keeps the network's own value, what it does not know is refused."""

    name: str = "lenet5"
    width: float | None = None  # multiplies the number of filters
    depth: int | None = None  # repeats of a stage, where a network has them
    dropout: float | None = None
    activation: str | None = None  # relu, gelu, tanh, linear …
    normalise: bool | None = None  # batch normalisation after each convolution
    initialise: Literal["glorot", "he"] | None = None
    softmax: bool | None = None  # a softmax before the loss: a fault to study, never a feature
    weights: str | None = (
        None  # of a pretrained backbone: imagenet, none for random ones, or a file
    )
    head: str | None = (
        None  # on a pretrained backbone: words such as "average 256 dropout.5"; own keeps its classifier; skips 64: a map
    )
    code: int | None = None  # numbers that an autoencoder's bottleneck keeps of a picture
    options: tuple[str, ...] = ()  # name=value arguments of a network of one's own, my_net.py:MyNet


@dataclass(frozen=True)
class Loss:
    """What is minimised."""

    name: Literal["cross_entropy", "focal", "mse", "binary_cross_entropy", "dice"] = "cross_entropy"
    smoothing: float = 0.0  # label smoothing
    gamma: float = 2.0  # focal loss only
    class_weights: Literal["none", "balanced"] = "none"


@dataclass(frozen=True)
class Optim:
    """How it is minimised; the learning rate is `lr` times a function of progress from 0 to 1."""

    name: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad", "muon"] = "adam"
    lr: float = 0.001
    momentum: float = 0.0  # sgd, rmsprop, muon
    nesterov: bool = False
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-7
    rho: float = 0.9  # rmsprop
    centred: bool = False  # rmsprop
    amsgrad: bool = False
    accumulator: float = 0.1  # adagrad: initial value
    schedule: Literal["constant", "step", "cosine", "one_cycle", "linear", "plateau"] = "constant"
    warmup: float = (
        0.0  # fraction of the training with a rising rate; for one_cycle the place of the peak
    )
    floor: float = 0.0  # the last rate, as a fraction of `lr`
    step_epochs: int = 0  # step: multiply by `step_factor` after this many epochs
    step_factor: float = 0.5  # step and plateau
    plateau_patience: int = 3
    bias_scale: float = 1.0  # learning-rate factor of biases and norm parameters
    head_scale: float = 1.0  # learning-rate factor of the head's weights
    layer_decay: float = 1.0  # a pretrained backbone's last stage learns at this times the rate, the one before at its square, and so on
    clip: float = 0.0  # largest norm of the gradient; 0 does not clip


@dataclass(frozen=True)
class Training:
    """How long, in what portions, and which epoch is kept."""

    epochs: int = 10
    budget: float | None = None  # seconds for everything, from start to saved classifier
    small: float = 1.0  # side of the pictures early on, as a part of their own: progressive resizing, for networks that take any size
    small_until: float = 0.4  # share of the training on small pictures, where `small` is below 1
    min_steps: int = 0  # smaller batches and more epochs on small data sets until this many steps are taken; epochs that are set stay
    batch: int = 128
    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    patience: int = 0  # epochs without improvement before stopping; 0 never stops early
    min_delta: float = 0.0  # what counts as improvement of the monitored value
    monitor: Literal["loss", "score", "top1"] = (
        "loss"  # score: accuracy, or what else the task is scored by; top1 is the same
    )
    keep: Literal["best", "last"] = "best"
    sync_norm: bool = False  # with several processes: batch normalisation by the whole batch instead of each process's share
    average: float = 0.0  # decay of an exponential moving average of the weights; 0 for none
    views: Literal["one", "flip", "shifts", "flip_shifts"] = "one"  # test-time augmentation


@dataclass(frozen=True)
class Transfer:
    """How much of a pretrained backbone trains, in one stage or two; without effect on networks that start from nothing."""

    freeze: str = "all"  # all: only the head trains; a stage such as conv5: it and what follows train too; none: everything trains
    statistics: Literal["keep", "update"] = (
        "keep"  # of the batch normalisation in what trains of the backbone
    )
    views: int = 2  # versions of each picture computed once below the frozen part: itself, mirrored, then changed at random; 0: always anew
    thaw: str = (
        ""  # a second stage begins: the backbone trains from this stage on, as if named in freeze
    )
    thaw_epochs: int = 0
    thaw_share: float = 0.7  # of the time for training, under a budget
    thaw_optimiser: Literal["sgd", "adam", "adamw"] = "adam"
    thaw_lr: float = 1e-4
    thaw_batch: int = 0  # 0: as in the first stage


@dataclass(frozen=True)
class Recipe:
    """A named training: `source` says which published system it follows, `result` what was measured here."""

    name: str = ""
    summary: str = ""
    system: str = ""  # id in the list of systems, for example B1
    source: str = ""
    result: str = ""
    data: Data = field(default_factory=Data)
    augment: Augment = field(default_factory=Augment)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    optim: Optim = field(default_factory=Optim)
    training: Training = field(default_factory=Training)
    transfer: Transfer = field(default_factory=Transfer)

    def _repr_html_(self) -> str:
        rows = []
        for path, value in differences(self, Recipe()).items():
            rows.append(f"<tr><td>{path}</td><td>{html.escape(str(value))}</td></tr>")
        title = html.escape(f"{self.name}: {self.summary}")
        return f"<p><b>{title}</b></p><table>{''.join(rows)}</table>"


LIMITS: dict[str, tuple[float, float]] = {
    "data.class_level": (0, 100),
    "data.size": (0, 4096),
    "data.pad": (0, 1024),
    "data.channels": (0, 3),
    "data.crop_fraction": (0, 1),
    "augment.zoom": (0, 0.95),
    "augment.crop": (0, 1024),
    "augment.window": (0.05, 1),
    "loss.smoothing": (0, 1),
    "loss.gamma": (0, 100),
    "optim.lr": (0, 1e30),
    "optim.momentum": (0, 0.99999),
    "optim.weight_decay": (0, 1e6),
    "optim.beta1": (0, 0.99999),
    "optim.beta2": (0, 0.9999999),
    "optim.warmup": (0, 1),
    "optim.clip": (0, 1e30),
    "optim.layer_decay": (0, 1),
    "training.epochs": (1, 1e6),
    "training.small": (0.1, 1),
    "training.small_until": (0, 1),
    "training.batch": (1, 1e6),
    "training.seed": (0, 1e12),
    "training.min_steps": (0, 1e9),
    "training.patience": (0, 1e6),
    "training.average": (0, 0.99999),
    "transfer.views": (0, 1000),
    "transfer.thaw_epochs": (0, 1e6),
    "transfer.thaw_share": (0, 1),
    "transfer.thaw_lr": (0, 1e30),
    "transfer.thaw_batch": (0, 1e6),
}
GROUPS = ("data", "augment", "model", "loss", "optim", "training", "transfer")


def override(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Apply `group.field=value` settings in order; epochs that are set are not raised by the recipe's own `min_steps`.

    Raises UserError naming the nearest right field, or the expected type.
    """
    paths = set()
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise UserError(
                f"cannot read the setting {setting!r}",
                "write it as group.field=value, for example optim.lr=0.02",
                code=2,
            )
        recipe = set_field(recipe, path.strip(), text.strip())
        paths.add(path.strip())
    if (
        "training.epochs" in paths
        and "training.min_steps" not in paths
        and recipe.training.min_steps
    ):
        recipe = replace(
            recipe, training=replace(recipe.training, min_steps=1)
        )  # still smaller batches on small sets, but no more epochs
    return recipe


def set_field(recipe: Recipe, path: str, text: str) -> Recipe:
    """One field by its dotted path, parsed from text."""
    fields = {
        f"{group}.{name}" for group in GROUPS for name in _types(type(getattr(recipe, group)))
    }
    if path not in fields:
        bare = [full for full in sorted(fields) if full.split(".")[1] == path]
        if bare:
            raise UserError(
                f"unknown recipe field {path!r}", f"did you mean {' or '.join(bare)}?", code=2
            )
        raise unknown("recipe field", path, sorted(fields))
    group, name = path.split(".")
    part = getattr(recipe, group)
    if path == "model.name":
        text = absolute(text)
    value = parse(text, _types(type(part))[name], path)
    low, high = LIMITS.get(path, (None, None))
    if low is not None and value is not None and not low <= value <= high:
        raise UserError(
            f"{path} is a number from {low:g} to {high:g}, not {text}",
            f"the recipe has {getattr(part, name)}",
            code=2,
        )
    return replace(recipe, **{group: replace(part, **{name: value})})


def is_own(name: str) -> bool:
    """Whether a model's name is that of a network of one's own: FILE.py:NAME or module:NAME."""
    return OWN.fullmatch(name) is not None


def absolute(name: str) -> str:
    """The name of a network of one's own with an absolute path; any other name unchanged."""
    place, _, attribute = name.rpartition(":")
    if is_own(name) and place.endswith(".py"):
        return f"{Path(place).expanduser().absolute()}:{attribute}"
    return name


def parse(text: str, kind: Any, path: str) -> Any:
    """Text as the annotated type `kind`; raises UserError saying what was expected."""
    if get_origin(kind) in (Union, types.UnionType):
        if text == "" or (
            text.lower() == "none" and path != "model.weights"
        ):  # there none is a value: weights drawn by the seed
            return None
        return parse(text, next(part for part in get_args(kind) if part is not type(None)), path)
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise unknown(f"value of {path}", text, get_args(kind))
        return text
    if get_origin(kind) is tuple:
        parts = [part for part in text.strip("()").split(",") if part.strip()]
        kinds = get_args(kind)
        if kinds[-1] is not Ellipsis and len(parts) != len(kinds):
            said = f"{path} takes {len(kinds)} values separated by commas, not {text!r}"
            raise UserError(said, f"--set {path}={','.join(['1'] * len(kinds))}, say", code=2)
        return tuple(parse(part.strip(), kinds[0], path) for part in parts)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UserError(
                f"{path} is true or false, not {text!r}",
                f"--set {path}=true or {path}=false",
                code=2,
            )
        return text.lower() == "true"
    try:
        return kind(seconds(text)) if path == "training.budget" else kind(text)
    except ValueError:
        name = {"int": "a whole number", "float": "a number"}.get(kind.__name__, kind.__name__)
        raise UserError(
            f"{path} is {name}, not {text!r}", f"--set {path}={kind(1)}, say", code=2
        ) from None


def seconds(text: str) -> float:
    """A duration such as `90`, `60s`, `10m` or `1h`, in seconds."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    try:
        value = float(number) * unit
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UserError(
            f"cannot read the duration {text!r}", "write it as 90, 60s, 10m or 1h", code=2
        )
    return value


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON values, with the version of this format."""
    return {"format": FORMAT, **dataclasses.asdict(recipe)}


def from_dict(values: dict[str, Any]) -> Recipe:
    """The recipe that `to_dict` wrote; raises UserError for one from a later version or with unknown fields."""
    if values.get("format", 0) > FORMAT:
        raise UserError(
            f"this recipe was written by a later eyesight (format {values['format']}, this one reads up to {FORMAT})",
            "upgrade eyesight to read it",
        )
    groups = {}
    for key, value in values.items():
        if key == "format":
            continue
        if key not in _types(Recipe):
            raise unknown("recipe field", key, _types(Recipe))
        groups[key] = group(key, value) if key in GROUPS else value
    return Recipe(**groups)


def group(name: str, values: dict[str, Any]) -> Any:
    """One group of a recipe, such as "model", from plain JSON values; raises UserError for unknown fields."""
    kind = _types(Recipe)[name]
    for key in values:
        if key not in _types(kind):
            raise unknown(
                "recipe field", f"{name}.{key}", [f"{name}.{known}" for known in _types(kind)]
            )
    return kind(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    )


def _types(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def to_json(recipe: Recipe) -> str:
    """Readable JSON, one field a line."""
    return json.dumps(to_dict(recipe), indent=2, ensure_ascii=False) + "\n"


def same_training(recipe: Recipe, other: Recipe) -> bool:
    """Whether two recipes decide everything alike; how they describe themselves does not matter."""
    return all(getattr(recipe, name) == getattr(other, name) for name in GROUPS)


def differences(recipe: Recipe, other: Recipe) -> dict[str, Any]:
    """The fields of `recipe`, by dotted path, whose values differ from `other`'s."""
    return {
        f"{group}.{name}": getattr(getattr(recipe, group), name)
        for group in GROUPS
        for name in _types(type(getattr(recipe, group)))
        if getattr(getattr(recipe, group), name) != getattr(getattr(other, group), name)
    }
