"""Drawn digits look like MNIST's: fitted, centred, of all classes, and the same for the
same seed.
"""

import numpy as np
from scipy import ndimage

from eyesight.data import named
from eyesight.data.glyphs.pen_digits import pen_digits
from eyesight.data.source import from_arrays


def test_drawn_digits_have_the_normalisation_of_mnist():
    images, labels = pen_digits(200, seed=1)
    assert images.shape == (200, 28, 28) and images.dtype == np.uint8
    assert np.array_equal(np.bincount(labels), np.full(10, 20))
    assert (images.max(axis=(1, 2)) == 255).all()
    for image in images:
        rows = np.flatnonzero(image.max(axis=1) > 128)
        columns = np.flatnonzero(image.max(axis=0) > 128)
        longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
        assert 18 <= longest <= 21
        assert np.allclose(ndimage.center_of_mass(image.astype(float)), 14, atol=1.5)


def test_the_same_seed_draws_the_same_digits():
    first, again, other = (pen_digits(20, seed)[0] for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_drawn_digits_join_the_training_part_only(monkeypatch):
    pixels = np.zeros((6, 1, 28, 28), np.uint8)
    labels = np.arange(6)
    parts = [("train", pixels[:4], labels[:4]), ("test", pixels[4:], labels[4:])]
    mnist = from_arrays("digits", parts, named.DIGITS, "of a test")
    monkeypatch.setattr(named, "_open_digits", lambda talk: mnist)
    monkeypatch.setattr(named, "DRAWN_DIGITS", 20)
    source = named.open_named("postal_digits")
    assert (source.splits == "train").sum() == 24 and (source.splits == "test").sum() == 2
    assert source.classes == named.DIGITS and source.fingerprint != mnist.fingerprint
    small = from_arrays("digits", [("", pixels, labels)], named.DIGITS, "without MNIST")
    monkeypatch.setattr(named, "_open_digits", lambda talk: small)
    assert len(named.open_named("postal_digits").ids) == 6
