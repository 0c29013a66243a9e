"""Seconds of one epoch of a recipe by our own loop, on the pictures of an .npz file.

python our_epoch.py dropout_cnn pictures.npz
"""

import json
import sys
import time
from dataclasses import replace

import numpy as np
import torch

import eyesight
from eyesight.data.images import Images
from eyesight.models import registry
from eyesight.models.summary import count
from eyesight.recipes import find
from eyesight.system import memory
from eyesight.training import precision
from eyesight.training.checkpoint import State
from eyesight.training.loop import fit


def main():
    name, file = sys.argv[1:]
    memory.keep_freed_memory()
    arrays = np.load(file)
    recipe = find(name)
    recipe = replace(recipe, training=replace(recipe.training, epochs=1000, patience=0))
    classes = tuple(str(number) for number in range(int(arrays["labels"].max()) + 1))
    images = Images.of(
        arrays["pictures"],
        arrays["labels"].astype(np.int64),
        classes,
        tuple(map(str, range(len(arrays["labels"])))),
    )
    network = registry.build(recipe.model, images.shape, len(classes)).to(
        memory_format=torch.channels_last
    )
    arithmetic = precision.choose(
        recipe.training.precision, network, recipe.model, recipe.training.batch
    )
    state = State.start(network, recipe)
    few = images.subset(np.arange(recipe.training.batch * 4))
    next(fit(state, few, None, recipe, precision=arithmetic))
    epochs = fit(State.start(network, recipe), images, None, recipe, precision=arithmetic)
    began = time.perf_counter()
    next(epochs)
    seconds = time.perf_counter() - began
    print(
        json.dumps(
            {
                "seconds": seconds,
                "parameters": count(network),
                "pictures": len(images),
                "precision": arithmetic,
                "eyesight": eyesight.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
