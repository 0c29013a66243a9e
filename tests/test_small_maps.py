"""The quick gradient of convolutions on small maps is the gradient."""

import pytest
import torch
from torch import nn

from eyesight.models import registry
from eyesight.models.kernels import small_maps
from eyesight.models.kernels.small_maps import SmallMaps, keeps_size, quicken
from eyesight.recipe import Model


@pytest.mark.parametrize(
    ("count", "kernel", "sides"),
    [(7, 3, (5, 5)), (24, 3, (2, 2)), (3, 5, (4, 6)), (1, 3, (7, 3)), (13, (1, 3), (3, 8))],
)
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_gradient_of_the_plain_convolution(count, kernel, sides, bias, monkeypatch):
    called = []
    monkeypatch.setattr(
        small_maps,
        "side_by_side",
        lambda *rest, real=small_maps.side_by_side: called.append(1) or real(*rest),
    )
    torch.manual_seed(0)
    edge = kernel // 2 if isinstance(kernel, int) else tuple(side // 2 for side in kernel)
    layer = nn.Conv2d(6, 10, kernel, padding=edge, bias=bias)
    pictures = torch.randn(
        count, 6, *sides
    ).bfloat16()  # what bfloat16 can hold, so that both ways see the same numbers
    layer.load_state_dict(
        {name: tensor.bfloat16().float() for name, tensor in layer.state_dict().items()}
    )
    known = torch.randn(count, 10, *sides).bfloat16()

    def learn(cast):
        start = pictures.float().requires_grad_()
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=cast):
            layer(start).float().backward(known.float())
        return [start.grad, *(parameter.grad.clone() for parameter in layer.parameters())]

    exact = learn(cast=False)
    quicken(layer)
    assert type(layer) is SmallMaps
    assert (
        all(torch.equal(one, other) for one, other in zip(learn(cast=False), exact, strict=True))
        and not called
    )
    for found, wanted in zip(learn(cast=True), exact, strict=True):
        assert (found - wanted).norm() <= 0.01 * wanted.norm()
    assert len(called) == 2


def test_large_maps_and_evaluation_go_the_usual_way(monkeypatch):
    monkeypatch.setattr(small_maps, "_Fast", None)
    layer = nn.Conv2d(2, 4, 3, padding=1)
    quicken(layer)
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(1, 2, 4, small_maps.MOST + 1))
        layer.eval()(torch.randn(1, 2, 4, 4))
        with pytest.raises(AttributeError):
            layer.train()(torch.randn(1, 2, 4, 4))


def test_only_plain_layers_that_keep_the_size_count():
    assert keeps_size(nn.Conv2d(4, 4, (3, 1), padding=(1, 0))) is True
    for other in (
        nn.Conv2d(4, 8, 1),
        nn.Conv2d(4, 8, 3),
        nn.Conv2d(4, 8, 4, padding=2),
        nn.Conv2d(4, 8, 3, padding=1, stride=2),
        nn.Conv2d(4, 8, 3, padding=2, dilation=2),
        nn.Conv2d(4, 8, 3, padding=1, groups=2),
        nn.Conv2d(4, 8, 3, padding="same"),
        nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect"),
    ):
        assert not keeps_size(other)


def test_our_networks_use_it():
    network = registry.build(Model("fast_objects"), (3, 32, 32), 10)
    assert sum(isinstance(layer, SmallMaps) for layer in network.modules()) == 6
