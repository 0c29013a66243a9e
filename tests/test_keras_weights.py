"""Weights that Keras saved are read by the names of its layers, into the network that it builds."""

import hashlib
import re

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from eyesight.errors import UserError
from eyesight.models import pretrained, registry, weights, zoo
from eyesight.models.keras import file as keras_file
from eyesight.models.keras import names
from eyesight.models.keras.network import family
from eyesight.recipe import Model

h5py = pytest.importorskip("h5py", reason="the extra keras")
SIDE = 64


def write(file, layers, *, inside="", group=""):
    """A file in Keras' HDF5 format: a group for each layer, arrays in the order of `weight_names`."""
    with h5py.File(file, "w") as opened:
        top = opened.create_group(group) if group else opened
        top.attrs["layer_names"] = (
            [inside.encode()] if inside else [name.encode() for name in layers]
        )
        weight_names = {}
        for layer, arrays in layers.items():
            owner = inside or layer
            for place, array in enumerate(arrays):
                path = f"{layer}/weight{place}:0"
                top.require_group(owner)[path] = array
                weight_names.setdefault(owner, []).append(path.encode())
        for owner, paths in weight_names.items():
            top[owner].attrs["weight_names"] = paths
    return file


def mobilenet():
    """MobileNet's layers by Keras' names and shapes, with random values."""
    random = np.random.default_rng(0)
    layers = {}

    def add(name, *shape):
        fan = np.prod(shape[:2]) if name.startswith("conv_dw") else np.prod(shape[:3])
        layers[name] = [random.normal(0, np.sqrt(2 / fan), shape).astype("float32")]
        channels = shape[2] if name.startswith("conv_dw") else shape[3]
        moments = [random.uniform(0.5, 1.5, channels).astype("float32") for _ in range(4)]
        layers[f"{name}_bn"] = moments

    add("conv1", 3, 3, 3, 32)
    channels = 32
    for block, filters in enumerate(FILTERS, 1):
        add(f"conv_dw_{block}", 3, 3, channels, 1)
        add(f"conv_pw_{block}", 1, 1, channels, filters)
        channels = filters
    layers["conv_preds"] = [
        random.normal(0, 0.05, (1, 1, 1024, 1000)).astype("float32"),
        random.normal(0, 1, 1000).astype("float32"),
    ]
    return layers


FILTERS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDED = (2, 4, 6, 12)  # blocks whose depthwise convolution has stride 2


def as_keras_computes(layers, images):
    """The logits of Keras' MobileNet, written from its documentation, for uint8 images N,3,H,W."""
    given = {name: [torch.from_numpy(array) for array in arrays] for name, arrays in layers.items()}

    def normalised(name, features):
        gamma, beta, mean, variance = given[f"{name}_bn"]
        return F.batch_norm(features, mean, variance, gamma, beta, eps=1e-3).clamp(0, 6)

    features = F.pad(images.float() / 127.5 - 1, (0, 1, 0, 1))
    features = F.conv2d(features, given["conv1"][0].permute(3, 2, 0, 1), stride=2)
    features = normalised("conv1", features)
    for block in range(1, 14):
        stride = 2 if block in STRIDED else 1
        border = (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1)
        kernel = given[f"conv_dw_{block}"][0].permute(2, 3, 0, 1)
        padded = F.pad(features, border)
        features = F.conv2d(padded, kernel, stride=stride, groups=len(kernel))
        features = normalised(f"conv_dw_{block}", features)
        features = F.conv2d(features, given[f"conv_pw_{block}"][0].permute(3, 2, 0, 1))
        features = normalised(f"conv_pw_{block}", features)
    kernel, bias = given["conv_preds"]
    return features.mean((2, 3)) @ kernel[0, 0] + bias


@pytest.fixture(scope="module")
def layers():
    return mobilenet()


def logits(file, images):
    model = Model("MobileNet", weights=str(file), head="own")
    network = registry.build(model, (3, SIDE, SIDE), 1000).eval()
    weights.fill(network, model)
    with torch.no_grad():
        return network(images)


@pytest.mark.parametrize("form", ["weights", "model", "inside"])
def test_the_network_gives_what_keras_gives(form, layers, tmp_path):
    options = {"model": {"group": "model_weights"}, "inside": {"inside": "mobilenet_1.00_224"}}
    file = write(tmp_path / "mobilenet.h5", layers, **options.get(form, {}))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    expected = as_keras_computes(layers, images)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits(file, images), expected, rtol=1e-4, atol=1e-4)


def test_a_file_without_the_top_serves_a_new_head_and_not_the_own_one(layers, tmp_path):
    body = {name: arrays for name, arrays in layers.items() if name != "conv_preds"}
    file = write(tmp_path / "notop.h5", body)
    model = Model("MobileNet", weights=str(file), head="average")
    network = registry.build(model, (3, SIDE, SIDE), 3)
    assert weights.fill(network, model)["source"] == f"{file}, saved by Keras"
    with pytest.raises(UserError, match="classifier"):
        logits(file, torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8))


def faulty(layers, fault):
    changed = dict(layers)
    if fault == "missing":
        del changed["conv_dw_7"]
    if fault == "shape":
        changed["conv_pw_3"] = [changed["conv_pw_3"][0][..., :-1]]
    if fault == "more":
        changed["my_layer"] = [np.zeros((3, 3), np.float32)]
    return changed


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "do not have the layer conv_dw_7"),
        ("shape", "conv_pw_3 has 127×128×1×1, but blocks.1.1.conv_pw.weight"),
        ("more", "layers that are not in Keras' MobileNet: my_layer"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(fault, message, layers, tmp_path):
    file = write(tmp_path / "other.h5", faulty(layers, fault))
    with pytest.raises(UserError, match=re.escape(message)):
        weights.find("mobilenetv1_100", str(file))


def test_another_network_and_other_files_are_refused(layers, tmp_path):
    file = write(tmp_path / "mobilenet.h5", layers)
    with pytest.raises(UserError, match="do not have the layer conv1_conv of Keras' ResNet"):
        weights.find("resnet50", str(file))
    with pytest.raises(UserError, match="Keras Applications has no equivalent network"):
        weights.find("tf_efficientnet_lite0", str(file))
    with pytest.raises(UserError, match="is a Keras archive"):
        weights.find("mobilenetv1_100", str(tmp_path / "model.keras"))
    (tmp_path / "broken.h5").write_bytes(b"no HDF5")
    with pytest.raises(UserError, match="cannot be read as HDF5"):
        weights.find("mobilenetv1_100", str(tmp_path / "broken.h5"))
    with pytest.raises(UserError, match="there is no weights file"):
        weights.find("mobilenetv1_100", str(tmp_path / "none.h5"))


def test_without_h5py_the_error_says_how_to_get_it(layers, tmp_path, monkeypatch):
    file = write(tmp_path / "mobilenet.h5", layers)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UserError, match="needs h5py") as refused:
        weights.find("mobilenetv1_100", str(file))
    assert 'pip install "eyesight[keras]"' in refused.value.hint


# Layers with weights of Keras 3.15's own networks, and a hash of their sorted names.
LAYERS = {
    "Xception": (81, "439e491b9c43"),
    "VGG16": (16, "97b1fde435bc"),
    "VGG19": (19, "27e1dd4409e4"),
    "ResNet50": (107, "ade0b2b471ea"),
    "ResNet101": (209, "2905e5467c67"),
    "ResNet152": (311, "e48068713b9b"),
    "ResNet50V2": (103, "310217a5aa96"),
    "ResNet101V2": (205, "614d6149afcb"),
    "ResNet152V2": (307, "07ad7346188c"),
    "InceptionV3": (189, "438289da1f9d"),
    "InceptionResNetV2": (449, "29747f4d898e"),
    "MobileNet": (55, "1c247b8a478e"),
    "MobileNetV2": (105, "600137caecf1"),
    "MobileNetV3Large": (110, "bc97ee9e1308"),
    "DenseNet121": (242, "74e1c706d364"),
    "DenseNet169": (338, "791caec8e456"),
    "DenseNet201": (402, "8be5f09ab223"),
    "EfficientNetB0": (131, "cc4081fda2ab"),
    "EfficientNetB1": (185, "9bcd294d0489"),
}
SEPARATE = [
    name
    for name in LAYERS
    if name
    not in (
        "ResNet101",
        "ResNet152",
        "ResNet101V2",
        "ResNet152V2",
        "DenseNet169",
        "DenseNet201",
        "VGG19",
        "EfficientNetB1",
    )
]


@pytest.mark.parametrize(
    "name",
    [name if name in SEPARATE else pytest.param(name, marks=pytest.mark.whole) for name in LAYERS],
)
def test_every_layer_is_called_as_keras_calls_it(name):
    kinds = ("conv2d", "batch_normalization")
    counted = dict.fromkeys(kinds) | {
        f"{kind}_{number}": None for kind in kinds for number in range(1, 210)
    }
    timm_name = zoo.timm_name(name)
    with torch.device("meta"):
        model = pretrained.create(timm_name, keras=True)
    places = names.places(model, family(timm_name).name, counted)
    layers = sorted({layer for _, _, layer in places})
    digest = hashlib.sha256("\n".join(layers).encode()).hexdigest()
    assert (len(layers), digest[:12]) == LAYERS[name]


def test_a_file_that_ends_the_hdf5_library_is_an_error(tmp_path, monkeypatch):
    crash = tmp_path / "crash.py"
    crash.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(keras_file, "READER", crash)
    with pytest.raises(UserError, match=r"weights.h5 cannot be read as HDF5: .* SIGSEGV"):
        keras_file.read(write(tmp_path / "weights.h5", {"a": []}))
