"""One process of several for test_distributed: trains tiny networks in groups of 3 and of 2, and
keeps what came of it.
"""

import json
import os
import sys
from pathlib import Path

import drawn
import numpy as np
import torch

from eyesight import tasks
from eyesight.classifier import Classifier
from eyesight.data.masks import shapes
from eyesight.data.masks.images import IGNORED, Masked
from eyesight.data.prepare import Preparation
from eyesight.distributed import group as distributed
from eyesight.errors import UserError
from eyesight.models import registry
from eyesight.recipe import Recipe, override
from eyesight.training.checkpoint import State
from eyesight.training.context import Context
from eyesight.training.loop import fit

SGD = (
    "optim.name=sgd",
    "optim.lr=0.02",
    "optim.momentum=0.9",
    "training.batch=20",
    "training.epochs=2",
    "training.precision=float32",
)
CHANGED = (
    "augment.crop=2",
    "augment.rotate=10",
    "augment.flip=random",
    "augment.noise=0.05",
    "augment.elastic=0.02",
    "augment.cutout=0.2",
)
FAST = ("model.name=fast_objects", "model.width=0.125", "training.sync_norm=true")
CASES = {
    "momentum": ("model.name=lenet5", *SGD, *CHANGED, "optim.clip=0.5", "training.average=0.9"),
    "blends": (
        "model.name=lenet5",
        *SGD,
        *CHANGED,
        "augment.mixup=0.4",
        "augment.cutmix=1",
        "loss.smoothing=0.1",
    ),
    "weights": ("model.name=lenet5", *SGD, "loss.class_weights=balanced"),
    "norm": (*FAST, *SGD, "augment.mixup=0.4"),
    "muon": (*FAST, *SGD, "optim.name=muon", "optim.momentum=0.6", "optim.lr=0.01"),
    "empty": ("model.name=lenet5", *SGD, "training.batch=2", "training.epochs=1"),
    "mask": (
        "model.name=skips",
        "model.width=0.25",
        "data.target=mask",
        *SGD,
        *CHANGED,
        "training.batch=4",
        "training.sync_norm=true",
    ),
    "picture": (
        "model.name=autoencoder",
        "model.width=0.25",
        "data.target=picture",
        "loss.name=mse",
        *SGD,
        "training.sync_norm=true",
    ),
}


def masked(count):
    """Drawn shapes whose masks count only in parts, and in some pictures hardly at all."""
    found = [shapes.draw(place, 32) for place in range(count)]
    pixels, masks = (np.stack(part) for part in zip(*found, strict=True))
    for place in range(count):
        masks[place, : 8 * (place % 4)] = IGNORED
    names, colours = tuple("abcd"), ((0, 0, 0),) * 4
    index, labels = torch.arange(count), torch.zeros(count, dtype=torch.int64)
    return Masked(
        pixels.transpose(0, 3, 1, 2).copy(),
        index,
        labels,
        names,
        tuple(map(str, range(count))),
        masks,
        colours,
    )


def uneven(count, seed=0, channels=1):
    """Drawn pictures of which the third class is rare."""
    found = drawn.images(2 * count, seed=seed, channels=channels, size=28)
    return found.subset(
        np.flatnonzero((np.arange(2 * count) % 3 < 2) | (np.arange(2 * count) % 12 == 2))[:count]
    )


def pictures(name):
    """(training, validation) pictures of a case."""
    if name == "mask":
        return masked(13), masked(5)
    channels = 3 if "fast_objects" in str(CASES[name]) else 1
    return uneven(7 if name == "empty" else 67, 0, channels), uneven(
        4 if name == "empty" else 31, 1, channels
    )


def train(name, group):
    """The losses and scores of a case's epochs and its weights in the end, as arrays."""
    recipe = override(Recipe(), CASES[name])
    training, validation = pictures(name)
    torch.manual_seed(1 + group.rank)  # as if other machines drew other numbers
    network = registry.build(recipe.model, training.shape, tasks.of(recipe).outputs(training)).to(
        memory_format=torch.channels_last
    )
    group.alike(network)
    state = State.start(network, recipe)
    epochs = list(fit(state, training, validation, recipe, Context(group=group)))
    values = [
        (
            epoch.train_loss,
            epoch.train_score,
            epoch.validation_loss,
            epoch.validation_score,
            epoch.pictures,
        )
        for epoch in epochs
    ]
    return {
        f"{name}/epochs": np.array(values),
        **{f"{name}/{key}": value.numpy() for key, value in state.weights().items()},
    }


def inferred(group, count):
    """What a network says of `count` pictures, gathered."""
    torch.manual_seed(3)
    model = override(Recipe(), ["model.name=lenet5"]).model
    images = drawn.images(31, size=28).subset(np.arange(count))
    kept = Classifier(
        registry.build(model, images.shape, 3).eval(), model, images.classes, Preparation(28, 28, 1)
    )
    said = group.infer(kept, images)
    return (
        {f"said{count}/probabilities": said.probabilities, f"said{count}/labels": said.labels}
        if group.first
        else {}
    )


def refused(ask):
    """The error that all processes get."""
    try:
        ask()
    except UserError as error:
        return error.message
    return ""


def main(rank, folder, *ports):
    """As process `rank`, once for each number of processes."""
    for size, port in zip((3, 2), ports, strict=True):
        if rank >= size:
            continue
        os.environ |= {
            "RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(size),
        }
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        with distributed.join() as group:
            found = {key: value for name in CASES for key, value in train(name, group).items()}
            for count in (31, 1, 0):
                found |= inferred(group, count)

            def fail():
                raise UserError(f"no room in {rank}")

            errors = [
                refused(
                    lambda: group.same(lambda: {"torch": "2", "set of images": f"key{rank == 1}"})
                ),
                refused(lambda: group.once(fail)),
                refused(lambda: group.in_turn(fail if rank == 1 else lambda: 0)),
            ]
        np.savez(Path(folder) / f"{size}-{rank}.npz", **found)
        (Path(folder) / f"{size}-{rank}.json").write_text(json.dumps(errors))


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
