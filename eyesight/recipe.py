"""A recipe: everything that decides a training, as frozen dataclasses.

What people may set, and nothing else. A field's annotation is its type and its range on the command
line, in `recipe.json` and in Python alike.
"""

from __future__ import annotations

import dataclasses
import html
import json
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from eyesight.errors import UserError, unknown

FORMAT = 1
BLEND = "blend"  # the model of a run that joins several others; it is not trained
OWN = re.compile(r"(.+\.py|[A-Za-z_][\w.]*):[A-Za-z_][\w.]*")


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included.

    Of a pair, each number, the smaller one first.
    """

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high  # False for nan

    def __str__(self) -> str:
        return f"from {_plain(self.low)} to {_plain(self.high)}"


def _plain(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


Fraction: TypeAlias = Annotated[float, Range(0, 1)]
Degrees: TypeAlias = Annotated[float, Range(0, 180)]
Decay: TypeAlias = Annotated[float, Range(0, 0.99999)]
Factor: TypeAlias = Annotated[float, Range(0, 1000)]
Factors: TypeAlias = Annotated[tuple[float, float], Range(0, 100)]
Rate: TypeAlias = Annotated[float, Range(0, 1e30)]
Beta: TypeAlias = Annotated[float, Range(0, 1000)]  # alpha of Beta(alpha, alpha)
Count: TypeAlias = Annotated[int, Range(0, 1_000_000)]
Seed: TypeAlias = Annotated[int, Range(0, 10**12)]
Pixels: TypeAlias = Annotated[int, Range(0, 1024)]


class _Checked:
    """Checks every field of a dataclass against its annotation."""

    def __post_init__(self) -> None:
        group = type(self).__name__.lower()
        for name, kind in _kinds(group).items():
            kind.check(getattr(self, name), f"{group}.{name}")


@dataclass(frozen=True)
class Data(_Checked):
    """Where the pictures come from and how bytes become pixels."""

    source: str = ""  # a named set, a folder, a CSV, an .npz, an archive
    # Folder of the images, below the data set or beside the table; empty: read from the data, as
    # all of these.
    images: str = ""
    image_column: str = ""  # of a table, by name or number: the files
    label_column: str = ""  # of a table: the classes
    split_column: str = ""  # of a table: train, validation, test; none leaves it out
    # Of a table: images of one group (patient, plate, site) stay on one side of the split.
    group_column: str = ""
    # The same by a regular expression on the image's path, for example patient(\d+).
    group_pattern: str = ""
    # The same by a CSV of ids and groups, as `eyesight audit --groups FILE.csv` writes it.
    group_file: str = ""
    # The class is the folder at this level below the data set, from 1.
    class_level: Annotated[int, Range(0, 100)] = 0
    # Side in pixels after resizing; 0 keeps the pictures' own size, which must then be one size.
    size: Annotated[int, Range(0, 4096)] = 0
    channels: Literal[0, 1, 3] = 0  # 1 grey, 3 colour; 0 takes what the pictures have
    resize: Literal["squash", "crop", "letterbox", "none"] = "squash"
    pad: Pixels = 0  # pixels added on every side after resizing
    padding: Literal["zero", "replicate"] = "zero"
    interpolation: Literal["auto", "bilinear", "bicubic", "area"] = (
        "auto"  # auto is what a pretrained network expects, or bilinear
    )
    # Resize to size / fraction, then cut the centre; 0 is what a pretrained network expects, or 1.
    crop_fraction: Fraction = 0.0
    scaling: Literal["unit", "standard"] = (
        "unit"  # what the network sees: 0..1, or mean 0 and deviation 1 over the training set
    )
    validation: Annotated[float, Range(0, 0.95)] = (
        0.1  # fraction of the training pictures held out when the data has no validation split
    )
    # Fraction held out when the data has no test split.
    test: Annotated[float, Range(0, 0.95)] = 0.2
    # The split has a seed of its own, so that runs with other seeds are judged on the same
    # pictures.
    split_seed: Seed = 0
    # Cross-validation: "2/5" holds out the second of five disjoint folds instead of `validation`.
    fold: str = ""
    # Cut each picture to the bounding box that the data gives for it, as Stanford Dogs does; not
    # when predicting.
    box: bool = False
    strict: bool = False  # stop at the first bad file instead of leaving it out
    target: Literal["class", "picture", "mask"] = (
        "class"  # what is to be given for a picture: its class, itself, a class for every pixel
    )
    # Masks only: file with the names of the classes, perhaps with colours; found by itself beside
    # the masks.
    names: str = ""
    # Masks only: values or names of pixels that count for nothing; none keeps all.
    ignore: str = "255 void unlabelled unlabeled"
    # Corrections of labels: a file, none, or (beside) the NAME.corrections.csv beside the data.
    corrections: str = "beside"
    # More training pictures of the same classes, such as one's own; a fifth of them is held out to
    # see what they change.
    extra: str = ""


@dataclass(frozen=True)
class Augment(_Checked):
    """Random changes to a batch of training pictures; 0 or "none" switches each off."""

    flip: Literal["none", "random", "alternating"] = (
        "none"  # left-right; alternating flips every picture every other epoch
    )
    crop: Pixels = 0  # reflect-pad by this many pixels, then cut the old size at a random place
    # Sides of a part cut out at a random place, as a fraction of the picture's: networks that give
    # masks only.
    window: Annotated[float, Range(0.05, 1)] = 1.0
    rotate: Degrees = 0.0  # degrees, either way
    shift: Fraction = 0.0  # fraction of the side, both ways
    zoom: Annotated[float, Range(0, 0.95)] = 0.0  # scale drawn from 1 - zoom to 1 + zoom
    shear: Annotated[float, Range(0, 80)] = 0.0  # degrees, either way
    elastic: Fraction = 0.0  # size of a smooth random displacement, fraction of the side
    brightness: Factors = (1.0, 1.0)  # factor drawn from this range
    contrast: Factors = (
        1.0,
        1.0,
    )  # factor about the picture's mean, drawn from this range
    # Standard deviation of Gaussian noise, as a fraction of the full range.
    noise: Annotated[float, Range(0, 10)] = 0.0
    cutout: Annotated[float, Range(0, 2)] = 0.0  # side of one grey square, fraction of the side
    mixup: Beta = 0.0  # alpha of Beta(alpha, alpha)
    cutmix: Beta = 0.0  # alpha of Beta(alpha, alpha)


@dataclass(frozen=True)
class Model(_Checked):
    """A network by name.

    What is None keeps the network's own value, what it does not know is refused.
    """

    name: str = "lenet5"
    width: Annotated[float, Range(0.01, 100)] | None = None  # multiplies the number of filters
    # Repeats of a stage, where a network has them.
    depth: Annotated[int, Range(1, 200)] | None = None
    # The rate of the dropout; of the largest where a network has several, the others in proportion.
    dropout: Annotated[float, Range(0, 0.99)] | None = None
    activation: str | None = None  # relu, gelu, tanh, linear …
    normalise: bool | None = None  # batch normalisation after each convolution
    initialise: Literal["glorot", "he"] | None = None
    softmax: bool | None = None  # a softmax before the loss: a fault to study, never a feature
    weights: str | None = (
        None  # of a pretrained backbone: imagenet, none for random ones, or a file
    )
    head: str | None = (
        # On a pretrained backbone: words such as "average 256 dropout.5"; own keeps its classifier;
        # skips 64: a map.
        None
    )
    # Numbers that an autoencoder's bottleneck keeps of a picture.
    code: Annotated[int, Range(1, 1_000_000)] | None = None
    options: tuple[str, ...] = ()  # name=value arguments of a network of one's own, my_net.py:MyNet


@dataclass(frozen=True)
class Loss(_Checked):
    """What is minimised."""

    name: Literal["cross_entropy", "focal", "mse", "binary_cross_entropy", "dice"] = "cross_entropy"
    smoothing: Fraction = 0.0  # label smoothing
    gamma: Annotated[float, Range(0, 100)] = 2.0  # focal loss only
    class_weights: Literal["none", "balanced"] = "none"


@dataclass(frozen=True)
class Optim(_Checked):
    """How it is minimised; the learning rate is `lr` times a function of progress from 0 to 1."""

    name: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad", "muon"] = "adam"
    lr: Rate = 0.001
    momentum: Decay = 0.0  # sgd, rmsprop, muon
    nesterov: bool = False
    weight_decay: Annotated[float, Range(0, 1_000_000)] = 0.0
    beta1: Decay = 0.9
    beta2: Annotated[float, Range(0, 0.9999999)] = 0.999
    epsilon: Fraction = 1e-7
    rho: Decay = 0.9  # rmsprop
    centred: bool = False  # rmsprop
    amsgrad: bool = False
    accumulator: Annotated[float, Range(0, 1_000_000)] = 0.1  # adagrad: initial value
    schedule: Literal["constant", "step", "cosine", "one_cycle", "linear", "plateau"] = "constant"
    warmup: Fraction = (
        0.0  # fraction of the training with a rising rate; for one_cycle the place of the peak
    )
    floor: Fraction = 0.0  # the last rate, as a fraction of `lr`
    step_epochs: Count = 0  # step: multiply by `step_factor` after this many epochs
    step_factor: Fraction = 0.5  # step and plateau
    plateau_patience: Annotated[int, Range(1, 1_000_000)] = 3
    bias_scale: Factor = 1.0  # learning-rate factor of biases and norm parameters
    head_scale: Factor = 1.0  # learning-rate factor of the head's weights
    # A pretrained backbone's last stage learns at this times the rate, the one before at its
    # square, and so on.
    layer_decay: Fraction = 1.0
    clip: Rate = 0.0  # largest norm of the gradient; 0 does not clip


@dataclass(frozen=True)
class Training(_Checked):
    """How long, in what portions, and which epoch is kept."""

    epochs: Annotated[int, Range(1, 1_000_000)] = 10
    # Seconds for everything, from start to saved classifier.
    budget: Annotated[float, Range(0.001, 10**9)] | None = None
    # Under a budget: end after so many epochs even when time is left. Setting training.epochs
    # together with a budget sets it.
    max_epochs: Count = 0
    # Side of the pictures early on, as a part of their own: progressive resizing, for networks that
    # take any size.
    small: Annotated[float, Range(0.1, 1)] = 1.0
    small_until: Fraction = 0.4  # share of the training on small pictures, where `small` is below 1
    # Smaller batches and more epochs on small data sets until this many steps are taken; epochs
    # that are set stay.
    min_steps: Annotated[int, Range(0, 10**9)] = 0
    batch: Annotated[int, Range(1, 1_000_000)] = 128
    seed: Seed = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    patience: Count = 0  # epochs without improvement before stopping; 0 never stops early
    # What counts as improvement of the monitored value.
    min_delta: Annotated[float, Range(0, 1_000_000)] = 0.0
    # What decides which epoch is kept, when patience ends, and what schedule=plateau follows. loss
    # and
    # score (accuracy, or what else the task is scored by; top1 is the same) are those of the
    # validation images, or of the training images where there are none; train_loss and train_score
    # are always those of the training images, as they were measured while training.
    monitor: Literal["loss", "score", "train_loss", "train_score", "top1"] = "loss"
    keep: Literal["best", "last"] = "best"
    # With several processes: batch normalisation by the whole batch instead of each process's
    # share.
    sync_norm: bool = False
    average: Decay = 0.0  # decay of an exponential moving average of the weights; 0 for none
    views: Literal["one", "flip", "shifts", "flip_shifts"] = "one"  # test-time augmentation


@dataclass(frozen=True)
class Transfer(_Checked):
    """How much of a pretrained backbone trains, in one stage or two.

    Without effect on networks that start from nothing.
    """

    # All: only the head trains; a stage such as conv5: it and what follows train too; none:
    # everything trains.
    freeze: str = "all"
    statistics: Literal["keep", "update"] = (
        "keep"  # of the batch normalisation in what trains of the backbone
    )
    # Versions of each picture computed once below the frozen part: itself, mirrored, then changed
    # at random; 0: always anew.
    views: Annotated[int, Range(0, 1000)] = 2
    thaw: str = (
        ""  # a second stage begins: the backbone trains from this stage on, as if named in freeze
    )
    thaw_epochs: Count = 0
    thaw_share: Fraction = 0.7  # of the time for training, under a budget
    thaw_optimiser: Literal["sgd", "adam", "adamw"] = "adam"
    thaw_lr: Rate = 1e-4
    thaw_batch: Count = 0  # 0: as in the first stage


@dataclass(frozen=True)
class Recipe:
    """A named training.

    `source` says which published system it follows, `result` what was measured here.
    """

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
        title = html.escape(": ".join(text for text in (self.name, self.summary) if text))
        return f"<p><b>{title}</b></p><table>{''.join(rows)}</table>"


GROUPS = ("data", "augment", "model", "loss", "optim", "training", "transfer")
Group: TypeAlias = Data | Augment | Model | Loss | Optim | Training | Transfer
Value: TypeAlias = str | int | float | bool | tuple[float, ...] | tuple[str, ...] | None


@dataclass(frozen=True)
class _Kind:
    """What the annotation of a field says: its type, its range, and whether it may be None."""

    kind: Any
    range: Range | None
    optional: bool

    def check(self, value: object, path: str) -> None:
        """Raise UserError naming the field and its range when `value` is not one of this kind."""
        if value is None and self.optional:
            return
        origin = get_origin(self.kind)
        if origin is Literal:
            if value not in get_args(self.kind) or isinstance(value, bool):
                raise unknown(f"value of {path}", str(value), map(str, get_args(self.kind)))
        elif origin is tuple and get_args(self.kind)[-1] is Ellipsis:
            if not isinstance(value, tuple) or not all(isinstance(part, str) for part in value):
                raise UserError(
                    f"{path} must be strings separated by commas, not {_shown(value)!r}",
                    "for example --set model.options=width=8",
                    code=2,
                )
        elif origin is tuple:
            self._check_pair(value, path)
        elif not _is_a(value, self.kind) or not self._in_range(value):
            raise self.refusal(value, path)

    def _check_pair(self, value: object, path: str) -> None:
        kinds = get_args(self.kind)
        if not isinstance(value, tuple) or len(value) != len(kinds):
            numbers = f"{len(kinds)} numbers separated by commas"
            raise UserError(
                f"{path} must be {numbers}, not {_shown(value)!r}",
                f"for example --set {path}=0.8,1.2",
                code=2,
            )
        for part in value:
            if not _is_a(part, kinds[0]) or not self._in_range(part):
                raise self.refusal(part, path)
        if value != tuple(sorted(value)):
            raise UserError(
                f"{path} is a range and needs the smaller number first, not {_shown(value)}",
                f"--set {path}={_shown(tuple(sorted(value)))}",
                code=2,
            )

    def _in_range(self, value: Any) -> bool:
        return self.range is None or value in self.range

    def refusal(self, value: object, path: str) -> UserError:
        """The error for a value of another type or outside the range."""
        expected = "true or false"
        if self.range is not None:
            number = "an integer" if self.kind is int else "a number"
            expected = f"{number} {self.range}"
        elif self.kind is not bool:
            expected = "text"
        default = field_value(Recipe(), path)
        example = _shown(1 if default is None else default)
        hint = f"for example --set {path}={example.lower()}"
        return UserError(f"{path} must be {expected}, not {_shown(value)}", hint, code=2)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(_shown(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_a(value: object, kind: type) -> bool:
    """Whether a value is of the type: whole numbers count as numbers, True and False do not."""
    if kind is bool or isinstance(value, bool):
        return isinstance(value, bool) and kind is bool
    if kind is int:
        return isinstance(value, Integral)
    if kind is float:
        return isinstance(value, Real)
    return isinstance(value, kind)


@cache
def _kinds(group: str) -> dict[str, _Kind]:
    """The fields of a group, such as "model", by name."""
    hints = get_type_hints(_group_type(group), include_extras=True)
    return {name: _kind(hint) for name, hint in hints.items()}


def _kind(hint: Any) -> _Kind:
    if get_origin(hint) in (Union, types.UnionType):
        inner = next(part for part in get_args(hint) if part is not type(None))
        return replace(_kind(inner), optional=True)
    if get_origin(hint) is Annotated:
        kind, limits = get_args(hint)[:2]
        return _Kind(kind, limits, optional=False)
    return _Kind(hint, None, optional=False)


def paths() -> dict[str, Range | None]:
    """Every field that may be set, by its dotted path, with its range where it has one."""
    return {
        f"{group}.{name}": kind.range for group in GROUPS for name, kind in _kinds(group).items()
    }


def _group_type(name: str) -> type[Group]:
    kind: type[Group] = get_type_hints(Recipe)[name]
    return kind


def override(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Apply `group.field=value` settings in order.

    Epochs that are set are not raised by the recipe's own `min_steps`.
    Raises UserError naming the nearest field, or the type and range that were expected.
    """
    changed = set()
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise UserError(
                f"cannot read the setting {setting!r}",
                "write it as group.field=value, for example optim.lr=0.02",
                code=2,
            )
        recipe = set_field(recipe, path.strip(), text.strip())
        changed.add(path.strip())
    training = recipe.training
    if "training.epochs" in changed and "training.min_steps" not in changed and training.min_steps:
        # Still smaller batches on few images, but no more epochs.
        recipe = replace(recipe, training=replace(training, min_steps=1))
    return with_limit(recipe, changed)


def with_limit(recipe: Recipe, changed: set[str]) -> Recipe:
    """The recipe whose epochs, where they were set, end a training under a budget."""
    training = recipe.training
    explicit = "training.epochs" in changed and "training.max_epochs" not in changed
    if not explicit or training.budget is None:
        return recipe
    return replace(recipe, training=replace(training, max_epochs=training.epochs))


# What other libraries call these fields, without underscores.
OTHER_NAMES = {
    "learningrate": "optim.lr",
    "optimizer": "optim.name",
    "optimiser": "optim.name",
    "batchsize": "training.batch",
    "numepochs": "training.epochs",
    "imagesize": "data.size",
    "imgsize": "data.size",
    "architecture": "model.name",
    "backbone": "model.name",
}


def set_field(recipe: Recipe, path: str, text: str) -> Recipe:
    """The recipe with one field, by its dotted path, parsed from text."""
    fields = paths()
    if path not in fields:
        same_name = [full for full in sorted(fields) if full.split(".")[1] == path]
        if same_name:
            raise UserError(
                f"unknown recipe field {path!r}", f"did you mean {' or '.join(same_name)}?", code=2
            )
        usual = OTHER_NAMES.get(path.rpartition(".")[2].replace("_", "").lower())
        if usual is not None:
            raise UserError(f"unknown recipe field {path!r}", f"did you mean {usual}?", code=2)
        raise unknown("recipe field", path, sorted(fields))
    if path == "model.name":
        text = absolute(text)
    return replace_field(recipe, path, parse(text, path))


def is_own(name: str) -> bool:
    """Whether a model's name is that of a network of one's own: FILE.py:NAME or module:NAME."""
    return OWN.fullmatch(name) is not None


def absolute(name: str) -> str:
    """The name of a network of one's own with an absolute path; any other name unchanged."""
    place, _, attribute = name.rpartition(":")
    if is_own(name) and place.endswith(".py"):
        return f"{Path(place).expanduser().absolute()}:{attribute}"
    return name


def replace_field(recipe: Recipe, path: str, value: object) -> Recipe:
    """The recipe with another value in the field with this dotted path.

    A JSON list becomes a tuple.
    """
    group, name = path.split(".")
    if isinstance(value, list):
        value = tuple(value)
    field_change: dict[str, Any] = {name: value}
    group_change: dict[str, Any] = {group: replace(getattr(recipe, group), **field_change)}
    return replace(recipe, **group_change)


def parse(text: str, path: str) -> Value:
    """The value of the field `path` from text; raises UserError saying what was expected."""
    group, name = path.split(".")
    kind = _kinds(group)[name]
    # For weights, none is a value: drawn by the seed.
    is_none = text == "" or (text.lower() == "none" and path != "model.weights")
    if kind.optional and is_none:
        return None
    value = _parse(text, kind, path)
    kind.check(value, path)
    return value


def _parse(text: str, kind: _Kind, path: str) -> Value:
    if get_origin(kind.kind) is Literal:
        by_text: dict[str, Value] = {str(value): value for value in get_args(kind.kind)}
        return by_text.get(text, text)
    if get_origin(kind.kind) is tuple:
        parts = [part.strip() for part in text.strip("()").split(",") if part.strip()]
        if get_args(kind.kind)[0] is str:
            return tuple(parts)
        return tuple(_number(part, float, kind, path) for part in parts)
    if kind.kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if path == "training.budget":
        return seconds(text)
    return text if kind.kind is str else _number(text, kind.kind, kind, path)


def _number(text: str, number: type[int] | type[float], kind: _Kind, path: str) -> int | float:
    try:
        return number(text)
    except ValueError:
        raise kind.refusal(text, path) from None


def seconds(text: str) -> float:
    """A duration such as `90`, `60s`, `10m` or `1h`, in seconds."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = text, 1.0
    if text[-1:] in units:
        number, unit = text[:-1], units[text[-1]]
    try:
        value = float(number) * unit
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UserError(
            f"cannot read the duration {text!r}", "write it as 90, 60s, 10m or 1h", code=2
        )
    return value


def to_dict(recipe: Recipe) -> dict[str, object]:
    """The recipe as plain JSON values, with the version of this format."""
    return {"format": FORMAT, **dataclasses.asdict(recipe)}


def from_dict(values: Mapping[str, object]) -> Recipe:
    """The recipe that `to_dict` wrote.

    Raises UserError for one from a later version, for unknown fields, and for values out of their
    range.
    """
    if not isinstance(values, Mapping):
        raise UserError("a recipe must be an object with fields", "copy the run again")
    version = values.get("format", 0)
    if not isinstance(version, int) or version > FORMAT:
        raise UserError(
            f"this recipe was written by a newer version of eyesight (format {version}; this "
            f"version reads up to {FORMAT})",
            "upgrade eyesight to read it",
        )
    field_types = get_type_hints(Recipe)
    parts: dict[str, Any] = {}
    for name, value in values.items():
        if name == "format":
            continue
        if name not in field_types:
            raise unknown("recipe field", name, field_types)
        parts[name] = group(name, value) if name in GROUPS else str(value)
    return Recipe(**parts)


def group(name: str, values: object) -> Group:
    """One group of a recipe, such as "model", from plain JSON values.

    Raises UserError for unknown fields and for values out of their range.
    """
    if not isinstance(values, dict):
        raise UserError(
            f"the recipe's {name} is not an object with fields",
            "copy the run again, or train again",
        )
    kind = _group_type(name)
    fields = _kinds(name)
    for field_name in values:
        if field_name not in fields:
            raise unknown(
                "recipe field", f"{name}.{field_name}", [f"{name}.{one}" for one in fields]
            )
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        arguments[key] = tuple(value) if isinstance(value, list) else value
    return kind(**arguments)


def to_json(recipe: Recipe) -> str:
    """Readable JSON, one field a line."""
    return json.dumps(to_dict(recipe), indent=2, ensure_ascii=False) + "\n"


def same_training(recipe: Recipe, other: Recipe) -> bool:
    """Whether two recipes decide everything alike; how they describe themselves does not matter."""
    return all(getattr(recipe, name) == getattr(other, name) for name in GROUPS)


def differences(recipe: Recipe, other: Recipe) -> dict[str, Value]:
    """The fields of `recipe`, by dotted path, whose values differ from `other`'s."""
    differing: dict[str, Value] = {}
    for path in paths():
        value = field_value(recipe, path)
        if value != field_value(other, path):
            differing[path] = value
    return differing


def field_value(recipe: Recipe, path: str) -> Value:
    """The value of the field with this dotted path."""
    group, name = path.split(".")
    value: Value = getattr(getattr(recipe, group), name)
    return value
