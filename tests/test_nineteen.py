"""Every known network, small pictures, random weights: builds, trains a step at two freeze points,
saves, loads, says the same.

Drawing 230 million weights as timm does takes longer than all else: here they are drawn uniformly,
which keeps a forward pass finite. By default four of unlike structure train. Deeper siblings
repeat the blocks of the first of their family: they are only built, without weights, two of them by
default. EYESIGHT_SLOW=1 trains and builds all.
"""

import math
import os
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from eyesight import classifier
from eyesight.classifier import Classifier
from eyesight.data.prepare import Preparation
from eyesight.models import registry, zoo
from eyesight.recipe import Model

pytestmark = pytest.mark.whole

SIDES = {"Xception": 64, "InceptionV3": 75, "InceptionResNetV2": 75}
NAMES = [entry.name for entry in zoo.ZOO if "Lite" not in entry.name]
SIBLINGS = {
    "VGG19": "VGG16",
    "ResNet101": "ResNet50",
    "ResNet152": "ResNet50",
    "ResNet101V2": "ResNet50V2",
    "ResNet152V2": "ResNet50V2",
    "DenseNet169": "DenseNet121",
    "DenseNet201": "DenseNet121",
    "EfficientNetB1": "EfficientNetB0",
}
EVERY = bool(os.environ.get("EYESIGHT_SLOW"))
TRAINED = NAMES if EVERY else ["VGG16", "ResNet50V2", "DenseNet121", "EfficientNetB0"]
BUILT = SIBLINGS if EVERY else ["ResNet101", "EfficientNetB1"]


def build(name):
    side = SIDES.get(name, 32)
    net = registry.build(Model(name, weights="none", head="average"), (3, side, side), 3)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for place, tensor in net.named_parameters():
            if tensor.ndim > 1:
                reach = math.sqrt(6 / tensor[0].numel())
                tensor.uniform_(-reach, reach, generator=random)
            elif place.endswith("bias"):
                tensor.zero_()
    pictures = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=random)
    return net.to(memory_format=torch.channels_last), pictures


def train_a_step(net, pictures):
    trained = [tensor for tensor in net.parameters() if tensor.requires_grad]
    net.train()
    net(pictures).square().sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in trained)
    with torch.no_grad():
        for tensor in trained:
            tensor -= 1e-3 * tensor.grad.sign()
            tensor.grad = None
    return {id(tensor) for tensor in trained}


def sums(unit):
    """Of every tensor its bits' sum, which any change shows; copies of them all would not fit a
    small machine.
    """
    return {
        name: int(tensor.view(torch.int32).sum(dtype=torch.int64)) for name, tensor in tensors(unit)
    }


def tensors(unit):
    return [(name, tensor.detach().reshape(-1)) for name, tensor in unit.state_dict().items()]


def test_they_are_nineteen():
    assert len(NAMES) == 19


@cache
def weightless(name):
    with torch.device("meta"):
        return registry.build(Model(name, weights="none", head="average"), (3, 32, 32), 3)


@pytest.mark.parametrize("name", BUILT)
def test_a_deeper_sibling_has_the_same_stages(name, undrawn):
    net, first = weightless(name), weightless(SIBLINGS[name])
    assert net.body.stages.keys() == first.body.stages.keys() and 0 < net.body.place(
        "conv5"
    ) < net.body.place("all")
    assert sum(tensor.numel() for tensor in net.parameters()) > sum(
        tensor.numel() for tensor in first.parameters()
    )
    kinds, known = ({type(layer) for layer in one.modules()} for one in (net, first))
    assert kinds == known, "it has layers that its first sibling lacks"


@pytest.mark.parametrize("name", TRAINED)
def test_a_known_network_trains_at_two_freeze_points_and_survives_saving(name, undrawn, tmp_path):
    net, pictures = build(name)
    body, counts = net.body, []
    for where in ("all", "conv5"):
        cut = body.place(where)
        body.freeze(cut)
        below = nn.Sequential(*body.units[:cut])
        before = sums(below)
        counts.append(len(train_a_step(net, pictures)))
        assert sums(below) == before, f"what is frozen at {where} has changed"
        assert any(name.endswith("running_var") for name in before) or "VGG" in name
    assert 2 == counts[0] < counts[1] < len(list(net.parameters()))
    side = pictures.shape[2]
    kept = Classifier(
        net.eval(),
        Model(name, weights="none", head="average"),
        ("a", "b", "c"),
        Preparation(side, side, 3),
    )
    said = kept.probabilities(pictures.numpy())
    kept.save(tmp_path / "classifier")
    del net, body, kept
    np.testing.assert_allclose(
        classifier.load(tmp_path / "classifier").probabilities(pictures.numpy()), said, atol=1e-6
    )
    assert np.isfinite(said).all() and said.std() > 0
    (tmp_path / "classifier" / "weights.safetensors").unlink()
