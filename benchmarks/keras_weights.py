"""Whether weights that Keras saved give here what they give in Keras.

    python benchmarks/keras_weights.py write FOLDER [NETWORK...]   where tensorflow-cpu is installed
    python benchmarks/keras_weights.py check FOLDER                where eyesight[keras] is

The first fills Keras Applications' networks with random weights, statistics of batch normalisation
included, and keeps each as an .h5 file with the logits of two random images after Keras' own
preprocessing. The second prints the largest difference, as a share of the largest logit.
"""

import sys
from pathlib import Path

import numpy as np

MODULES = {
    "VGG": "vgg16",
    "ResNet": "resnet",
    "ResNetV2": "resnet_v2",
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Large": "mobilenet_v3",
    "DenseNet": "densenet",
    "EfficientNet": "efficientnet",
    "Xception": "xception",
    "InceptionV3": "inception_v3",
    "InceptionResNetV2": "inception_resnet_v2",
}
NETWORKS = (
    *("VGG16", "ResNet50", "ResNet50V2", "MobileNet", "MobileNetV2", "MobileNetV3Large"),
    *("DenseNet121", "EfficientNetB0", "Xception", "InceptionV3", "InceptionResNetV2"),
)
SIZES = {"Xception": 299, "InceptionV3": 299, "InceptionResNetV2": 299, "EfficientNetB1": 240}


def random_array(weight, random):
    """Values that keep activations finite, for one of Keras' weights."""
    kind, shape = weight.path.rpartition("/")[2], tuple(weight.shape)
    if kind == "moving_variance":
        return random.uniform(0.5, 1.5, shape)
    if kind == "gamma":
        return random.uniform(0.6, 1.4, shape)
    if len(shape) < 2:
        return random.normal(0, 0.1, shape)
    depthwise = "depthwise" in weight.path or "dw" in weight.path
    inputs = shape[:2] if depthwise else shape[:-1]
    return random.normal(0, np.sqrt(2 / np.prod(inputs)), shape)


def write(name, folder):
    from keras import applications

    side = SIZES.get(name, 224)
    make = getattr(applications, name)
    model = make(weights=None, input_shape=(side, side, 3), classifier_activation=None)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights and not layer.name.startswith("normalization"):
            layer.set_weights([random_array(weight, random) for weight in layer.weights])
    images = random.integers(0, 256, (2, side, side, 3)).astype("float32")
    family = name if name in MODULES else name.rstrip("0123456789").replace("B", "")
    if name.startswith("ResNet"):
        family = "ResNetV2" if name.endswith("V2") else "ResNet"
    module = getattr(applications, MODULES[family])
    logits = model.predict(module.preprocess_input(images.copy()), verbose=0)
    model.save(folder / f"{name}.h5")
    np.savez(folder / f"{name}.npz", images=images.astype("uint8"), logits=logits)


def difference(name, folder):
    """The largest difference of the logits as a share of the largest."""
    import torch

    from eyesight.models import registry, weights
    from eyesight.recipe import Model

    kept = np.load(folder / f"{name}.npz")
    images = torch.from_numpy(kept["images"]).permute(0, 3, 1, 2).contiguous()
    model = Model(name, weights=str(folder / f"{name}.h5"), head="own")
    network = registry.build(model, tuple(images.shape[1:]), 1000).eval()
    weights.fill(network, model)
    with torch.no_grad():
        logits = network(images).numpy()
    return np.abs(logits - kept["logits"]).max() / np.abs(kept["logits"]).max()


def main():
    action, folder, *names = sys.argv[1:]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if action == "write":
        for name in names or NETWORKS:
            write(name, folder)
            print(name, "written", flush=True)
        return
    for file in sorted(folder.glob("*.npz")):
        print(f"{file.stem:<18} {difference(file.stem, folder):.1e}", flush=True)


if __name__ == "__main__":
    main()
