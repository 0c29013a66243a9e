"""Backbones of every family, small and with random weights: chains, stages, freezing, heads,
saving.
"""

import numpy as np
import pytest
import torch

from eyesight import classifier
from eyesight.classifier import Classifier
from eyesight.data.prepare import Preparation
from eyesight.errors import UserError
from eyesight.models import pretrained, registry
from eyesight.models.backbone import Backbone
from eyesight.recipe import Model, Optim
from eyesight.training import optim
from eyesight.training.features import Tail

# One small member of each family that the known names belong to, with the side of its pictures, and
# one that is no chain.
FAMILIES = {
    "legacy_xception": 64,
    "vgg11": 32,
    "resnet18": 32,
    "resnetv2_50": 32,
    "inception_v3": 80,
    "mobilenetv1_100": 32,
    "mobilenetv2_100": 32,
    "tf_mobilenetv3_large_100": 32,
    "densenet121": 32,
    "tf_efficientnet_b0": 32,
    "tf_efficientnet_lite0": 32,
}
ALL = {**FAMILIES, "test_vit": 160, "inception_resnet_v2": 80}


def network(name, head="average", classes=3):
    torch.manual_seed(0)
    side = ALL[name]
    return registry.build(Model(name, weights="none", head=head), (3, side, side), classes)


def pictures(name, count=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(
        0, 256, (count, 3, ALL[name], ALL[name]), dtype=torch.uint8, generator=generator
    )


def step(net, batch):
    """One step of training; whether anything has to be is the caller's business."""
    optimiser = torch.optim.SGD(
        [tensor for tensor in net.parameters() if tensor.requires_grad], 0.1
    )
    net.train()
    net(batch).square().sum().backward()
    optimiser.step()


@pytest.mark.whole
@pytest.mark.parametrize(
    "name", [*FAMILIES, "inception_resnet_v2"]
)  # the latter takes ten seconds to train a step
def test_the_units_in_order_are_timms_own_forward_pass(name):
    torch.manual_seed(0)
    timms = pretrained.create(name).eval()
    torch.manual_seed(0)
    batch = torch.rand(1, 3, ALL[name], ALL[name])
    units = pretrained._units(timms)
    with torch.no_grad():
        features = batch
        for _, unit in units:
            features = unit(features)
        assert torch.equal(features, timms.forward_features(batch))


@pytest.mark.parametrize(
    "name", ["resnet18", "vgg11", "tf_efficientnet_lite0", "test_vit"]
)  # the known ones: test_nineteen.py
def test_frozen_means_frozen(name):
    net = network(name)
    body = net.body
    assert isinstance(body, Backbone)
    last = list(body.stages)[-1]
    for where in ("all", last):
        cut = body.place(where)
        body.freeze(cut)
        frozen = {
            f"{place}.{key}": value.clone()
            for place in range(cut)
            for key, value in body.units[place].state_dict().items()
        }
        head = [tensor.detach().clone() for tensor in net.head.parameters()]
        step(net, pictures(name))
        for key, value in frozen.items():
            place, _, inner = key.partition(".")
            assert torch.equal(body.units[int(place)].state_dict()[inner], value), (
                f"{key} changed below {where}"
            )
        assert not any(
            tensor.requires_grad or tensor.grad is not None
            for unit in body.units[:cut]
            for tensor in unit.parameters()
        )
        assert any(
            not torch.equal(old, new) for old, new in zip(head, net.head.parameters(), strict=True)
        )


@pytest.mark.whole
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_the_stages_of_its_resolutions(name, undrawn):
    with torch.device("meta"):
        body = network(name).body
    assert list(body.stages) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    places = list(body.stages.values())
    assert places == sorted(set(places)) and body.place("5") == body.place("conv5") > body.place(
        "4"
    )


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "test_vit"])
def test_saved_and_loaded_it_predicts_the_same(name, tmp_path):
    net = network(name)
    step(net, pictures(name))
    model = Model(name, weights="none", head="average")
    kept = Classifier(net.eval(), model, ("a", "b", "c"), Preparation(ALL[name], ALL[name], 3))
    kept.save(tmp_path / "classifier")
    loaded = classifier.load(tmp_path / "classifier")
    batch = pictures(name, 3).numpy()
    np.testing.assert_allclose(kept.probabilities(batch), loaded.probabilities(batch), atol=1e-6)


def test_frozen_batch_norm_is_not_touched_but_what_trains_is():
    net = network("resnet18")
    net.body.freeze(net.body.place("conv5"))
    step(net, pictures("resnet18"))
    counters = {
        key: int(value)
        for key, value in net.state_dict().items()
        if key.endswith("num_batches_tracked")
    }
    assert {value for key, value in counters.items() if ".layer4_" not in key} == {0}
    assert {value for key, value in counters.items() if ".layer4_" in key} == {1}
    net.body.keeps = True
    net.train()
    assert not any(
        layer.training for layer in net.body.modules() if isinstance(layer, torch.nn.BatchNorm2d)
    )


@pytest.mark.parametrize(
    ("head", "kinds"),
    [
        ("average", "Flatten Linear"),
        ("512 norm average", "Conv2d ReLU BatchNorm2d Sequential Linear"),
        ("average 256 dropout.5", "Flatten Linear ReLU Dropout Linear"),
        ("flatten 64 dropout.2 32", "Flatten Linear ReLU Dropout Linear ReLU Linear"),
        ("flatten", "Flatten Linear"),
    ],
)
def test_heads_by_description(head, kinds):
    net = network("resnet18", head)
    assert [type(layer).__name__ for layer in net.head] == kinds.split()
    assert net(pictures("resnet18")).shape == (2, 3)
    assert (net.body.prefixes[-1] == "pool") == head.startswith("average")


@pytest.mark.parametrize("head", ["average twice", "dropout", "0", "dropout1.5"])
def test_a_head_that_cannot_be_read_is_an_error(head):
    with pytest.raises(UserError, match="unknown word"):
        network("resnet18", head)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (Model("resnet5o", weights="none"), (3, 32, 32), "resnet5o"),
        (Model("inception_v3", weights="none"), (3, 32, 32), "too small"),
        (Model("vgg11", weights="none"), (3, 16, 16), "too small"),
        (Model("test_vit", weights="none"), (3, 32, 32), "images of 160×160"),
        (Model("resnet18", weights="none"), (1, 32, 32), "needs colour images"),
        (Model("resnet18", weights="none", head="own"), (3, 32, 32), "has 1000 classes"),
        (Model("resnet18", weights="none", width=2.0), (3, 32, 32), "no option 'width'"),
    ],
)
def test_what_cannot_be_built_is_a_clear_error(model, shape, message):
    with pytest.raises(UserError, match=message):
        registry.build(model, shape, 3)


def test_a_name_that_is_both_is_the_backbone_only_when_weights_or_a_head_are_named():
    assert not registry.is_backbone(Model("vgg16"))
    assert registry.is_backbone(Model("vgg16", weights="imagenet")) and registry.is_backbone(
        Model("ResNet-50")
    )
    with pytest.raises(UserError, match="unknown model 'resnt50'") as caught:
        registry.is_backbone(Model("resnt50"))
    assert "ResNet50" in caught.value.hint


def test_an_unknown_freeze_point_names_those_there_are():
    with pytest.raises(UserError, match="no stage 'conv6'") as caught:
        network("resnet18").body.place("conv6")
    assert "conv1, conv2, conv3, conv4, conv5" in caught.value.hint


def test_the_thousand_names_are_distinct():
    names = pretrained.imagenet_classes()
    assert len(set(names)) == 1000 and names[330] == "wood rabbit"


def test_earlier_stages_learn_more_slowly_by_one_factor_each():
    net = network("tf_efficientnet_lite0", "average 8")
    net.body.freeze(net.body.place("conv3"))
    groups = optim.build(Optim("adam", lr=1.0, layer_decay=0.5, bias_scale=2.0), net).param_groups
    scale = {id(tensor): group["scale"] for group in groups for tensor in group["params"]}
    units, stages = net.body.units, net.body.stages
    for tensor in net.head.parameters():
        assert scale[id(tensor)] == (1.0 if tensor.ndim > 1 else 2.0)
    for number, stage in enumerate(("conv5", "conv4", "conv3"), 1):
        assert {scale[id(tensor)] for tensor in units[stages[stage]].parameters()} == {
            0.5**number,
            2 * 0.5**number,
        }
    assert len(scale) == sum(tensor.requires_grad for tensor in net.parameters())
    tail = Tail(net, list(units[stages["conv4"] :]), (40, 4, 4))
    assert {0.25, 0.5, 1.0} <= {
        group["scale"] for group in optim.build(Optim(layer_decay=0.5), tail).param_groups
    }


def test_classes_that_only_begin_like_one_of_imagenets_are_not_it():
    names = ("tiger-lily", "orange_juice", "n02085620-Chihuahua", "golden retriever", "n02085620")
    places = pretrained.imagenet_places(names)
    assert set(places) == {2, 3, 4} and places[2] == places[4]


def test_an_unknown_network_may_be_meant_as_a_run():
    """Not thousands of names of which none is near."""
    with pytest.raises(UserError, match="unknown network 'zzzqqq'") as caught:
        pretrained.create("zzzqqq")
    assert "a run is named by its folder" in caught.value.hint
    with pytest.raises(UserError) as caught:
        pretrained.create("resnt18")
    assert caught.value.hint.startswith("did you mean")
