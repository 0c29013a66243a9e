"""Seconds of one epoch of the textbook's network (B2) or the font project's (F3) in Keras, on the
pictures of an .npz file.

Needs only what stands in requirements.txt beside it, and nothing of eyesight:

    python keras_epoch.py dropout_cnn pictures.npz
"""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers


def dropout_cnn():
    """B2 as the textbook writes it: 890,410 parameters."""
    return keras.Sequential(
        [
            layers.Input((32, 32, 3)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )


def bottleneck():
    """F3: 2,636,148 trained parameters, every convolution with a bias, batch normalisation and
    ReLU."""
    network = keras.Sequential([layers.Input((90, 90, 1))])

    def convolution(filters, side):
        network.add(layers.Conv2D(filters, side, padding="same", kernel_initializer="he_uniform"))
        network.add(layers.BatchNormalization())
        network.add(layers.ReLU())

    convolution(16, 7)
    network.add(layers.MaxPooling2D(3, 2, padding="same"))
    for narrow, wide in ((16, 32), (32, 128), (128, 256), (256, 512)):
        for _ in range(2):
            convolution(narrow, 1)
            convolution(narrow, 3)
            convolution(wide, 1)
        network.add(layers.MaxPooling2D() if wide < 512 else layers.AveragePooling2D(2))
    network.add(layers.Flatten())
    network.add(layers.Dropout(0.5))
    network.add(layers.Dense(256, kernel_initializer="he_uniform"))
    network.add(layers.BatchNormalization())
    network.add(layers.ReLU())
    network.add(layers.Dropout(0.3))
    network.add(layers.Dense(52, activation="softmax"))
    return network


def main():
    name, file = sys.argv[1:]
    batch = {"dropout_cnn": 128, "bottleneck": 64}[name]
    arrays = np.load(file)
    pictures = arrays["pictures"].transpose(0, 2, 3, 1).astype("float32") / 255
    labels = arrays["labels"].astype("int32")
    network = {"dropout_cnn": dropout_cnn, "bottleneck": bottleneck}[name]()
    network.compile(
        optimizer=keras.optimizers.Adam(0.001),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    network.fit(
        pictures[: batch * 4], labels[: batch * 4], batch_size=batch, verbose=0
    )  # traced and warm
    began = time.perf_counter()
    network.fit(pictures, labels, batch_size=batch, epochs=1, verbose=0)
    seconds = time.perf_counter() - began
    trained = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "parameters": trained,
                "pictures": len(labels),
                "keras": keras.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
