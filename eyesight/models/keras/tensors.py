"""The tensors of a timm network from the layers of a Keras file, converted and checked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eyesight.errors import UserError
from eyesight.models.keras.file import Array, Layers
from eyesight.models.keras.names import places
from eyesight.models.keras.network import Family

OTHERS = "they belong to another network, or to another version of it"
HEADS = ("predictions", "logits", "conv_preds", "fc1", "fc2", "conv_2")  # left out without a top
INPUT = "normalization"  # the layer that holds the statistics of EfficientNet's input
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def tensors(model: nn.Module, kind: Family, layers: Layers) -> dict[str, Tensor]:
    """The tensors of a timm network, as `keras.network.as_keras` changed it, from Keras' layers.

    A head that the file lacks is left out. Raises UserError for a layer that is missing, has
    another shape, or belongs to no part of the network.
    """
    converted = {}
    used = {INPUT}
    for name, module, layer in places(model, kind.name, layers):
        if layer not in layers:
            if layer in HEADS:
                continue
            raise UserError(
                f"the weights do not have the layer {layer} of Keras' {kind.name}", OTHERS
            )
        used.add(layer)
        try:
            given = _of(name, module, layers[layer])
        except (RuntimeError, IndexError):
            raise UserError(
                f"the layer {layer} does not fit {name} of Keras' {kind.name}", OTHERS
            ) from None
        for tensor_name, tensor in given.items():
            place = f"{name}.{tensor_name} of Keras' {kind.name}"
            _check_shape(module.state_dict().get(tensor_name), tensor, f"the layer {layer}", place)
            converted[f"{name}.{tensor_name}"] = tensor
    unused = [layer for layer in layers if layer not in used]
    if unused:
        raise UserError(
            f"the weights have layers that are not in Keras' {kind.name}: {', '.join(unused[:5])}",
            "save only the network, without your own layers",
        )
    if kind.blue_first:
        first = next(iter(converted))
        converted[first] = converted[first].flip(1)
    return converted


def _check_shape(expected: Tensor | None, tensor: Tensor, layer: str, place: str) -> None:
    """Raise UserError where the network has no such tensor, or one of another shape."""
    if expected is None:
        raise UserError(f"{layer} has {_shape(tensor.shape)}, but there is no {place}", OTHERS)
    if tensor.shape != expected.shape:
        raise UserError(
            f"{layer} has {_shape(tensor.shape)}, but {place} has {_shape(expected.shape)}", OTHERS
        )


def statistics(kind: Family, layers: Layers) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each colour, for images scaled to 0..1.

    EfficientNet's weights hold them. ImageNet's deviations stand where the variance should in
    the published files, and Keras divides by their root once more.
    """
    mean, deviation = torch.tensor(kind.mean), torch.tensor(kind.deviation)
    if INPUT in layers:
        own_mean, variance = (torch.from_numpy(array) for array in layers[INPUT][:2])
        published = torch.allclose(variance, deviation, atol=1e-3)
        return own_mean, variance if published else variance.sqrt()
    return mean, deviation


def _of(name: str, module: nn.Module, arrays: list[Array]) -> dict[str, Tensor]:
    """One module's tensors from the arrays of its layer, in PyTorch's order of axes."""
    given = [torch.from_numpy(array) for array in arrays]
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        if len(given) == 3:  # Keras leaves out a scale that would be lost in the next layer
            given.insert(0, torch.ones_like(given[0]))
        return dict(zip(BATCH_NORM, given, strict=False))
    separable = len(given) > 1 and given[1].ndim == 4
    if separable:
        given = given[1:] if name.endswith("pointwise") else given[:1]
    weight = module.weight
    assert isinstance(weight, Tensor)
    made = {"weight": _kernel(given[0], module, weight)}
    if len(given) > 1:
        made["bias"] = given[1]
    elif module.bias is not None:
        made["bias"] = torch.empty(0)  # its shape is refused
    return made


def _kernel(kernel: Tensor, module: nn.Module, weight: Tensor) -> Tensor:
    """A kernel H,W,in,out or in,out in PyTorch's order; a depthwise one is H,W,channels,1."""
    if kernel.ndim == 2 and weight.ndim == 4:  # a dense layer on a flattened map H,W,C
        height, width = weight.shape[2:]
        kernel = kernel.reshape(height, width, -1, kernel.shape[1])
    if kernel.ndim == 4 and weight.ndim == 2:
        kernel = kernel[0, 0]
    if kernel.ndim == 2:
        return kernel.T.contiguous()
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        return kernel.permute(2, 3, 0, 1).contiguous()
    return kernel.permute(3, 2, 0, 1).contiguous()


def _shape(shape: torch.Size) -> str:
    return "×".join(map(str, shape)) or "a number"
