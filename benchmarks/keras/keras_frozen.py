"""Seconds of a training of a head on a frozen EfficientNetB0 in Keras, as people write it: every
epoch computes the features again.

Needs only what stands in requirements.txt beside it, and nothing of eyesight:

    python keras_frozen.py pictures.npz 20
"""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers


def frozen(side, classes):
    """A dense layer on the averaged features; random weights, because speed does not depend on
    them."""
    backbone = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(side, side, 3)
    )
    backbone.trainable = False
    pictures = layers.Input((side, side, 3))
    features = layers.GlobalAveragePooling2D()(backbone(pictures, training=False))
    return keras.Model(pictures, layers.Dense(classes, activation="softmax")(features)), backbone


def main():
    file, epochs = sys.argv[1], int(sys.argv[2])
    arrays = np.load(file)
    pictures, labels = arrays["x_train"].astype("float32"), arrays["y_train"].astype("int32")
    network, backbone = frozen(pictures.shape[1], int(labels.max()) + 1)
    network.compile(
        optimizer=keras.optimizers.Adam(0.001),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    network.fit(pictures[:128], labels[:128], batch_size=64, verbose=0)  # traced and warm
    began = time.perf_counter()
    network.fit(pictures, labels, batch_size=128, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - began
    facts = {
        "pictures": len(labels),
        "epochs": epochs,
        "backbone_parameters": backbone.count_params(),
        "keras": keras.__version__,
    }
    print(json.dumps({"seconds": seconds, **facts}))


if __name__ == "__main__":
    main()
