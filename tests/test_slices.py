"""The worst slice is found among many, and chance is not taken for one."""

import numpy as np

from eyesight.results import slices
from eyesight.results.predictions import Predictions


def predictions(wrong):
    n = len(wrong)
    p = np.full((n, 2), 0.1, np.float32)
    p[np.arange(n), wrong.astype(int)] = 0.9
    return Predictions(tuple(f"a/{k}" for k in range(n)), np.zeros(n, np.int64), p, ("x", "y"))


def test_a_planted_slice_comes_first_and_noise_is_not_called_worse():
    random = np.random.default_rng(0)
    dark = random.uniform(0, 255, 1000).astype(np.float32)
    noise = random.uniform(0, 255, 1000).astype(np.float32)
    wrong = random.random(1000) < np.where(dark < 51, 0.4, 0.1)
    rows = slices.find(predictions(wrong), {"brightness": dark, "sharpness": noise})
    assert rows[0].name == "brightness, fifth 1 of 5" and rows[0].is_worse
    assert not any(row.is_worse for row in rows[1:])
    even = slices.find(predictions(random.random(1000) < 0.1), {"brightness": dark})
    assert not any(row.is_worse for row in even)


def test_small_slices_are_not_tried_and_properties_are_what_they_say():
    assert slices.find(predictions(np.zeros(40, bool)), {"brightness": np.arange(40.0)}) == []
    pixels = np.zeros((2, 1, 8, 8), np.uint8)
    pixels[1] = 200
    pixels[1, :, :, ::2] = 0
    values = slices.properties(pixels)
    assert values["brightness"].tolist() == [0, 100]
    assert values["sharpness"][1] > 100 and values["contrast"].tolist() == [0, 100]
