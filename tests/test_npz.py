"""Arrays: what they are by their keys, and one decision on their scale."""

import zipfile

import numpy as np
import pytest

from eyesight.data.opening import open_source
from eyesight.errors import UserError

RANDOM = np.random.default_rng(0)
WHOLE = RANDOM.integers(0, 256, (8, 5, 6, 3), dtype=np.uint8)
DARK = (WHOLE // 4).astype(np.uint8)
LABELS = np.arange(8) % 2


def opened(tmp_path, **arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    return open_source(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("X_train", "y_train"),
        ("trainX", "trainY"),
        ("Train_Images", "train_labels"),
        ("images_train", "labels_train"),
        ("training_data", "training_targets"),
    ],
)
def test_keys_in_other_spellings(tmp_path, images, labels):
    source = opened(tmp_path, **{images: WHOLE, labels: LABELS, "X_test": WHOLE[:2]})
    assert source.splits.tolist() == ["train"] * 8 + ["test"] * 2
    assert source.labels.tolist() == [*LABELS, -1, -1] and images in source.notes[0]


@pytest.mark.parametrize("keys", [("arr_0", "arr_1"), ("a", "b"), ("images", "data")])
def test_keys_that_say_nothing_are_listed(tmp_path, keys):
    with pytest.raises(UserError) as caught:
        opened(tmp_path, **dict.fromkeys(keys, WHOLE))
    assert all(key in caught.value.message for key in keys)


@pytest.mark.parametrize("over", [1.0, 1.0001, 1.1, 1.4])
@pytest.mark.parametrize("under", [0.0, -0.01])
def test_fractions_with_a_rounding_error_stay_fractions(tmp_path, over, under):
    fractions = DARK / 255
    plain = opened(tmp_path, images=fractions, labels=LABELS).pixels
    fractions[0, 0, 0] = over
    fractions[0, 0, 1] = under
    source = opened(tmp_path, images=fractions, labels=LABELS)
    assert np.array_equal(source.pixels[1:], plain[1:]) and source.pixels[0, 0, 0, 0] == 255
    assert source.pixels[0, 0, 0, 1] == 0
    assert any("clipped" in note for note in source.notes) == (over > 1 or under < 0)


def test_one_scale_for_all_parts(tmp_path):
    """A nearly black test part is not stretched where the training part runs to 255."""
    arrays = {"x_train": WHOLE.astype(float), "y_train": LABELS, "y_test": LABELS}
    source = opened(tmp_path, **arrays, x_test=(WHOLE > 128).astype(float))
    assert source.pixels[8:].max() == 1 and any("nearly black" in note for note in source.notes)
    source = opened(tmp_path, x_train=WHOLE / 255, y_train=LABELS, x_test=DARK / 255, y_test=LABELS)
    assert np.array_equal(source.pixels[8:], DARK.transpose(0, 3, 1, 2))


def test_bytes_and_fractions_meet_on_one_scale(tmp_path):
    source = opened(tmp_path, x_train=WHOLE, y_train=LABELS, x_test=DARK / 255, y_test=LABELS)
    assert np.array_equal(source.pixels[8:], DARK.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16])
def test_values_of_0_and_1_are_told(tmp_path, dtype):
    source = opened(tmp_path, images=(WHOLE > 99).astype(dtype), labels=LABELS)
    assert source.pixels.max() == 1 and any("nearly black" in note for note in source.notes)


def test_truth_values_are_black_and_white(tmp_path):
    source = opened(tmp_path, images=WHOLE > 99, labels=LABELS)
    assert set(np.unique(source.pixels)) == {0, 255} and len(source.notes) == 1


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (WHOLE / 127.5 - 1, "from -1 to 1"),
        (WHOLE / 255 * 1.8, "from 0 to 1.8"),
        (WHOLE.astype(np.uint16) * 16, "from 0 to 4080"),
        (WHOLE.astype(float) * 3, "from 0 to 765"),
        (WHOLE.astype(complex), "complex"),
        (np.where(WHOLE > 250, np.inf, WHOLE), "NaN or infinite"),
        (np.concatenate([WHOLE, WHOLE[..., :1]], axis=3), "shape"),
    ],
)
def test_other_ranges_are_refused_by_name(tmp_path, images, message):
    with pytest.raises(UserError, match=message):
        opened(tmp_path, images=images, labels=LABELS)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([200, 5] * 4).astype(np.int8), "-56"),
        (np.array([np.nan, 1] * 4), "NaN"),
        (np.array([1 << 63, 1] * 4, dtype=np.uint64), "label 9.2"),
        (np.array([b"\xff", b"a"] * 4), "UTF-8"),
        (np.array(["cat", "dog"] * 4, dtype=object), "Object arrays"),
    ],
)
def test_labels_that_are_none(tmp_path, labels, message):
    with pytest.raises(UserError, match=message):
        opened(tmp_path, images=WHOLE, labels=labels)


def test_bytes_and_truth_values_as_labels(tmp_path):
    assert opened(tmp_path, images=WHOLE, labels=np.array([b"cat", "é".encode()] * 4)).classes == (
        "cat",
        "é",
    )
    assert opened(tmp_path, images=WHOLE, labels=LABELS > 0).classes == ("0", "1")


def test_two_readings_of_a_shape_are_told(tmp_path):
    source = opened(tmp_path, images=WHOLE[:, :3, :3], labels=LABELS)
    assert any("N,H,W,C or N,C,H,W" in note for note in source.notes)


def test_a_header_that_claims_terabytes(tmp_path):
    np.savez(tmp_path / "a.npz", images=WHOLE, labels=LABELS)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    claimed = members["images.npy"].replace(b"(8, 5, 6, 3), }", b"(99999999999,)}")
    assert claimed != members["images.npy"]
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("images.npy", claimed)
        archive.writestr("labels.npy", members["labels.npy"])
    with pytest.raises(UserError, match="requires 99,999,999,999 bytes"):
        open_source(tmp_path / "b.npz")


def test_standardised_images_are_refused(tmp_path):
    images = (WHOLE.astype(np.float32) - 127) / 60
    with pytest.raises(UserError, match="has values from -2") as caught:
        opened(tmp_path, images=images, labels=LABELS)
    assert "standardisation" in caught.value.hint


def test_dark_images_are_told(tmp_path):
    source = opened(tmp_path, images=(WHOLE // 16).astype(np.float32), labels=LABELS)
    assert any(
        "no value above 15 of 255" in note and "multiply by 17" in note for note in source.notes
    )


def test_keys_without_a_mark_between(tmp_path):
    source = opened(tmp_path, Xtrain=WHOLE, ytrain=LABELS, Xtest=WHOLE[:2], ytest=LABELS[:2])
    assert source.splits.tolist() == ["train"] * 8 + ["test"] * 2
