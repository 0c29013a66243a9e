"""The quick gradient of depthwise convolutions is the gradient."""

import pytest
import torch
from torch import nn

from eyesight.models import pretrained
from eyesight.models.kernels import depthwise
from eyesight.models.kernels.depthwise import Depthwise, is_depthwise


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "side"),
    [(5, 1, 2, 6), (3, 2, 1, 7), (3, 2, 0, 9), (3, 2, 1, 6), ((3, 5), (2, 1), (1, 2), 5)],
)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_it_is_the_gradient_of_the_plain_convolution(
    kernel, stride, padding, side, kind, monkeypatch
):
    called = []
    monkeypatch.setattr(
        depthwise,
        "of_weights",
        lambda *rest, real=depthwise.of_weights: called.append(1) or real(*rest),
    )
    torch.manual_seed(0)
    plain = nn.Conv2d(8, 8, kernel, stride, padding, groups=8, bias=False)
    quick = Depthwise(8, 8, kernel, stride, padding, groups=8, bias=False)
    quick.load_state_dict(plain.state_dict())
    found = []
    for layer, exact in ((plain, True), (quick, kind == torch.float32)):
        pictures = torch.randn(
            4, 8, side, side, generator=torch.Generator().manual_seed(1)
        ).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=not exact):
            after = layer(pictures)
        after.float().backward(torch.randn(after.shape, generator=torch.Generator().manual_seed(2)))
        found.append((after.float(), pictures.grad, layer.weight.grad))
    near = {"rtol": 1e-4, "atol": 1e-4} if kind == torch.float32 else {"rtol": 0.05, "atol": 0.15}
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, **near)
    assert called, "the quick way was not taken"


def test_only_plain_depthwise_layers_count():
    assert is_depthwise(nn.Conv2d(4, 4, 3, groups=4, bias=False))
    for other in (
        nn.Conv2d(4, 8, 3, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, groups=2, bias=False),
        nn.Conv2d(4, 4, 1, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, groups=4, dilation=2, bias=False),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Linear(4, 4),
    ):
        assert not is_depthwise(other)


def test_a_backbone_keeps_its_tensors_and_its_answers():
    torch.manual_seed(0)
    net = pretrained.create("mobilenetv2_035").eval()
    pictures = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        before = net(pictures)
        names = list(net.state_dict())
        pretrained.quicken(net)
        assert torch.equal(net(pictures), before) and list(net.state_dict()) == names
    assert any(isinstance(module, Depthwise) for module in net.modules())
