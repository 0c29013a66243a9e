"""Pretrained networks by common names, with the best matching timm network and published values.

There are two accuracies, because the weights differ: those of the common name, and those that timm
downloads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatch

KNOWN_SOURCE = "Keras Applications, table of available models"
TIMM_SOURCE = "timm, results/results-imagenet.csv at commit 0173a13"
TIMM_CARD = "timm, model card, at 224 pixels"
KERAS_PAGE = "Keras documentation of MobileNetV3Large, at 224 pixels"
LITE_SOURCE = "EfficientNet-Lite, readme in tensorflow/tpu, floating point"


@dataclass(frozen=True)
class Entry:
    """A network; accuracies in per cent on ImageNet's validation images, None where not known."""

    name: str  # the common name
    timm: str  # the best matching timm network and weights
    top1: float | None = None  # published for the name
    top5: float | None = None
    parameters: float | None = None  # millions, with the classifier, published for the name
    depth: int | None = None  # layers, activations and normalisation included, as published
    timm_top1: float | None = None  # published for the timm weights
    timm_top5: float | None = None
    note: str = ""
    source: str = KNOWN_SOURCE  # of the name's figures
    timm_source: str = TIMM_SOURCE


V2_NOTE = "timm's weights come from a newer training; their accuracy is at 288 pixels"
NO_V2_WEIGHTS = (
    "timm has no ImageNet weights for this network: name a file with --set model.weights=FILE"
)
ZOO: tuple[Entry, ...] = (
    Entry("Xception", "legacy_xception.tf_in1k", 79.0, 94.5, 22.9, 81, 79.040, 94.382),
    Entry("VGG16", "vgg16.tv_in1k", 71.3, 90.1, 138.4, 16, 71.592, 90.384),
    Entry("VGG19", "vgg19.tv_in1k", 71.3, 90.0, 143.7, 19, 72.378, 90.874),
    Entry("ResNet50", "resnet50.tv_in1k", 74.9, 92.1, 25.6, 107, 76.130, 92.858),
    Entry("ResNet101", "resnet101.tv_in1k", 76.4, 92.8, 44.7, 209, 77.376, 93.542),
    Entry("ResNet152", "resnet152.tv_in1k", 76.6, 93.1, 60.4, 311, 78.322, 94.048),
    Entry("ResNet50V2", "resnetv2_50.a1h_in1k", 76.0, 93.0, 25.6, 103, 81.398, 95.726, V2_NOTE),
    Entry("ResNet101V2", "resnetv2_101.a1h_in1k", 77.2, 93.8, 44.7, 205, 83.002, 96.454, V2_NOTE),
    Entry(
        "ResNet152V2",
        "resnetv2_152.untrained",
        *(78.0, 94.2, 60.4, 307),
        note=NO_V2_WEIGHTS,
    ),
    Entry("InceptionV3", "inception_v3.tf_in1k", 77.9, 93.7, 23.9, 189, 77.862, 93.644),
    Entry(
        "InceptionResNetV2", "inception_resnet_v2.tf_in1k", 80.3, 95.3, 55.9, 449, 80.462, 95.308
    ),
    Entry(
        "MobileNet",
        "mobilenetv1_100.ra4_e3600_r224_in1k",
        *(70.4, 89.5, 4.3, 55, 75.382, 92.312),
        note="timm's weights come from a much longer training",
        timm_source=TIMM_CARD,
    ),
    Entry("MobileNetV2", "mobilenetv2_100.ra_in1k", 71.3, 90.1, 3.5, 105, 72.976, 91.010),
    Entry(
        "MobileNetV3Large",
        "tf_mobilenetv3_large_100.in1k",
        75.6,
        None,
        5.4,
        None,
        75.516,
        92.594,
        source=KERAS_PAGE,
    ),
    Entry("DenseNet121", "densenet121.tv_in1k", 75.0, 92.3, 8.1, 242, 74.764, 92.154),
    Entry("DenseNet169", "densenet169.tv_in1k", 76.2, 93.2, 14.3, 338, 75.900, 93.028),
    Entry("DenseNet201", "densenet201.tv_in1k", 77.3, 93.6, 20.2, 402, 77.286, 93.480),
    Entry("EfficientNetB0", "tf_efficientnet_b0.aa_in1k", 77.1, 93.3, 5.3, 132, 76.834, 93.220),
    Entry("EfficientNetB1", "tf_efficientnet_b1.aa_in1k", 79.1, 94.4, 7.9, 186, 78.830, 94.198),
    Entry(
        "EfficientNetLite0",
        "tf_efficientnet_lite0.in1k",
        75.1,
        None,
        4.7,
        None,
        74.830,
        92.172,
        source=LITE_SOURCE,
    ),
    Entry(
        "EfficientNetLite1",
        "tf_efficientnet_lite1.in1k",
        76.7,
        None,
        5.4,
        None,
        76.644,
        93.230,
        source=LITE_SOURCE,
    ),
    Entry(
        "EfficientNetLite2",
        "tf_efficientnet_lite2.in1k",
        77.6,
        None,
        6.1,
        None,
        77.464,
        93.750,
        source=LITE_SOURCE,
    ),
)


def plain(name: str) -> str:
    """A name in lower case without separators."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


_BY_NAME = {plain(entry.name): entry for entry in ZOO}
_BY_TIMM = {key: entry for entry in ZOO for key in (entry.timm, entry.timm.split(".")[0])}


def find(name: str) -> Entry | None:
    """The entry of a common name in any spelling, or of an exact timm name; or None."""
    return _BY_TIMM.get(name) or _BY_NAME.get(plain(name))


def timm_name(name: str) -> str:
    """The timm name of a common name; other names are returned unchanged."""
    entry = find(name)
    return entry.timm if entry else name


def matching(pattern: str = "") -> list[Entry]:
    """The entries whose common or timm name contains `pattern`."""
    return [
        entry
        for entry in ZOO
        if plain(pattern) in plain(entry.name) or pattern.lower() in entry.timm
    ]


def fits(name: str, pattern: str) -> bool:
    """Whether a name contains the pattern, or matches a pattern with stars."""
    return fnmatch(name, pattern.lower() if "*" in pattern else f"*{pattern.lower()}*")
