"""Where a network looked is where it looked: in the right corner, by the right weights, and the
same in an exported file.
"""

import drawn
import numpy as np
import pytest
import torch
from torch import nn

from eyesight.classifier import Classifier
from eyesight.data.prepare import Preparation
from eyesight.errors import UserError
from eyesight.exporting import export
from eyesight.exporting.quantise import quantise
from eyesight.inference import gradcam, onnx_classifier
from eyesight.inference.pretrained import recogniser
from eyesight.models import pretrained, registry
from eyesight.models.backbone import Narrowed
from eyesight.models.layers import Network
from eyesight.recipe import Model
from eyesight.system.tensors import save_tensors


class Corner(nn.Module):
    """Blind but for the upper right quarter."""

    def forward(self, x):
        mask = torch.zeros_like(x)
        mask[:, :, : x.shape[2] // 2, x.shape[3] // 2 :] = 1
        return x * mask


def averaged(shape=(1, 16, 16), classes=3, extra=()):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(shape[0], 4, 3, padding=1), nn.ReLU(inplace=True), *extra)
    return Network(
        shape, body, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
    ).eval()


def known(network, classes=3, views="one", **facts):
    names = tuple(f"class {number}" for number in range(classes))
    channels, height, width = network.shape
    return Classifier(
        network, Model("planted"), names, Preparation(height, width, channels), views, facts=facts
    )


def test_a_network_that_sees_one_corner_looked_there():
    network = averaged(extra=[Corner()])
    with torch.no_grad():
        network.head[2].weight.copy_(torch.tensor([[1.0] * 4, [-1.0] * 4, [0.0] * 4]))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 16, 16), dtype=np.uint8)
    found = gradcam.heat(known(network), pixels, np.array([0, 0, 0, 1, 2]))
    assert found.shape == (5, 16, 16) and found.min() == 0
    assert (found[:3, :8, 8:].max((1, 2)) > 0).all(), "something there speaks for the class"
    found[:, :8, 8:] = 0
    assert found.max() == 0, "and nothing elsewhere does"
    assert not gradcam.heat(known(network), pixels, np.array([1] * 5)).any(), (
        "what speaks against a class is not shown"
    )


def test_behind_an_average_the_gradients_are_the_dense_layers_weights():
    network = averaged()
    pixels = np.random.default_rng(1).integers(0, 256, (4, 1, 16, 16), dtype=np.uint8)
    classes = np.array([0, 1, 2, 1])
    with torch.no_grad():
        maps = network.body(network.normalise(torch.from_numpy(pixels)))
    weights = network.head[2].weight.detach()[torch.from_numpy(classes)]
    expected = (weights[:, :, None, None] * maps).sum(1).clamp_min(0) / 256
    np.testing.assert_allclose(
        gradcam.heat(known(network), pixels, classes), expected.numpy(), rtol=1e-4, atol=1e-7
    )
    cut = gradcam.halves(network)
    torch.testing.assert_close(
        gradcam.constant_weights(cut, network.shape, 3), network.head[2].weight.detach() / 256
    )


@pytest.mark.parametrize(
    "name, shape, side",
    [("lenet5", (1, 28, 28), 5), ("fast_digits", (1, 28, 28), 6), ("allconv", (3, 16, 16), 2)],
)
def test_a_channel_weighs_what_moving_it_changes(name, shape, side):
    torch.manual_seed(0)
    network = registry.build(Model(name), shape, 3).eval().double()
    cut = gradcam.halves(network)
    with torch.no_grad():
        maps = cut.front(torch.rand(1, *shape, dtype=torch.float64))
        assert maps.shape[2:] == (side, side)
        before, step = cut.rear(maps)[0, 1], 1e-6
        moved = torch.cat(
            [
                maps + step * torch.eye(maps.shape[1], dtype=torch.float64)[:, channel, None, None]
                for channel in range(8)
            ]
        )
        expected = (cut.rear(moved)[:, 1] - before) / (step * side * side)
    found = gradcam.gradients(cut.rear, maps, torch.tensor([1]))[0, :8]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-8)
    assert expected.abs().max() > 0


def test_only_what_needs_no_gradient_leaves_in_a_file():
    torch.manual_seed(0)
    for name, constant in (("fast_digits", True), ("lenet5", False)):
        network = registry.build(Model(name), (1, 28, 28), 3).eval()
        assert (
            gradcam.constant_weights(gradcam.halves(network), network.shape, 3) is not None
        ) is constant, name


def test_a_network_without_places_says_so():
    flat = Network(
        (1, 8, 8), nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU()), nn.Linear(5, 2)
    )
    assert gradcam.halves(flat) is None
    with pytest.raises(UserError, match="no feature map"):
        gradcam.heat(known(flat, 2), np.zeros((1, 1, 8, 8), np.uint8), np.array([0]))


def test_an_exported_file_looks_where_the_network_does(tmp_path):
    """Narrowed, too: the best of the named classes counts, however probable everything else is."""
    torch.manual_seed(0)
    network = registry.build(Model("fast_digits"), (1, 28, 28), 5).eval()
    network.head = nn.Sequential(network.head, Narrowed(range(1, 4), 5)).eval()
    it = known(network, 4, "flip", only="dogs")
    pixels = drawn.pictures(9, 28)[0]
    facts = {
        "eyesight_format": 1,
        "classes": it.classes,
        "preparation": it.preparation.to_dict(),
        "only": "dogs",
    }
    export.write(it, facts, tmp_path / "it.onnx")
    file = onnx_classifier.load(tmp_path / "it.onnx")
    said = it.probabilities(pixels)
    np.testing.assert_allclose(file.probabilities(pixels), said, atol=1e-6)
    expected = gradcam.heat(it, pixels, said[:, :3].argmax(1))
    np.testing.assert_allclose(file.heat(pixels), expected, rtol=1e-3, atol=1e-6 * expected.max())
    assert file.heat(pixels[:1]).shape == (1, *expected.shape[1:]) and expected.max() > 0


def test_eight_bits_look_at_the_same_places(tmp_path):
    it = known(averaged())
    pixels = drawn.pictures(60, 16)[0]
    facts = {"eyesight_format": 1, "classes": it.classes, "preparation": it.preparation.to_dict()}
    export.write(it, facts, tmp_path / "it.onnx")
    quantise(tmp_path / "it.onnx", tmp_path / "small.onnx", pixels)
    export.save(export.read(tmp_path / "small.onnx"), facts, tmp_path / "small.onnx")
    exact, small = (onnx_classifier.load(tmp_path / name) for name in ("it.onnx", "small.onnx"))
    assert np.abs(small.probabilities(pixels) - exact.probabilities(pixels)).max() < 0.02
    one, two = exact.heat(pixels), small.heat(pixels)
    assert one.max() > 0 and np.abs(two - one).max() < 0.1 * one.max()


def test_dogs_keep_their_probabilities_and_everything_else_has_the_rest(tmp_path):
    file, pixels = tmp_path / "it.safetensors", drawn.pictures(3, 160, channels=3)[0]
    torch.manual_seed(0)
    save_tensors(pretrained.create("test_resnet").state_dict(), file)
    whole, dogs = (recogniser("test_resnet", file, only) for only in (None, "dogs"))
    assert (
        len(dogs.classes) == 119
        and dogs.classes[0] == "Chihuahua"
        and dogs.classes[117] == "Mexican hairless"
    )
    assert (
        set(dogs.classes[:118]) < set(whole.classes)
        and "golden retriever" in dogs.classes
        and "timber wolf" not in dogs.classes
    )
    one, two = whole.probabilities(pixels), dogs.probabilities(pixels)
    np.testing.assert_allclose(two[:, :118], one[:, 151:269], rtol=1e-4)
    np.testing.assert_allclose(two[:, 118], 1 - one[:, 151:269].sum(1), rtol=1e-4)
    with pytest.raises(UserError, match="cats") as found:
        recogniser("test_resnet", file, "cats")
    assert "dogs" in found.value.hint
