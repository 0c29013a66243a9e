"""A pretrained ImageNet network as a classifier, without training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from eyesight.classifier import Classifier, Facts
from eyesight.data.prepare import Preparation
from eyesight.errors import UserError, unknown
from eyesight.models import registry, weights
from eyesight.models.backbone import ONLY, OWN, Narrowed
from eyesight.recipe import Model
from eyesight.system.progress import Talk, silent

ELSE = "something else"  # the class of everything else


def recogniser(
    name: str, file: Path | None = None, only: str | None = None, *, talk: Talk = silent
) -> Classifier:
    """A pretrained network with its own head and the names of the classes it was trained on.

    `only` ("dogs") restricts it to some of them; the last class is then everything else. Raises
    UserError if weights or class names are not available.
    """
    if only is not None and only not in ONLY:
        raise unknown("kind of thing", only, ONLY)
    from eyesight.models import pretrained

    model = Model(name, weights=str(file) if file else weights.HUB_WEIGHTS, head=OWN)
    expects = pretrained.expected(name)
    classes = pretrained.own_classes(name)
    if classes != 1000:
        raise UserError(
            f"the names of the {classes:,} classes of {name} are not available",
            "choose a network trained on ImageNet-1k",
        )
    network = registry.build(model, (3, expects.size, expects.size), classes)
    origin = weights.fill(network, model, talk=talk)
    network.to(memory_format=torch.channels_last).eval()
    preparation = Preparation(
        expects.size,
        expects.size,
        3,
        "crop",
        interpolation=expects.interpolation,
        crop_fraction=expects.crop_fraction,
    )
    class_names = pretrained.imagenet_classes()
    if only is not None:
        network.head = nn.Sequential(network.head, Narrowed(ONLY[only], classes)).eval()
        class_names = (*(class_names[number] for number in ONLY[only]), ELSE)
    facts = Facts(weights=origin, only=only)
    source = f"pretrained {name}"
    return Classifier(network, model, class_names, preparation, facts=facts, source=source)
