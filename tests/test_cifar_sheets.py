"""CIFAR-10 as sheets of images becomes the official binary batches, bit by bit."""

import json

import numpy as np
import pytest
from PIL import Image

from eyesight.data.downloads import Mirror, converted
from eyesight.data.formats.cifar import TEST, TRAIN, batches_from_sheets, read_batch
from eyesight.errors import UserError

PER_BATCH = 4


@pytest.fixture
def sheets(tmp_path):
    """Six sheets of four drawn images each, in a folder `package`, with their labels."""
    package = tmp_path / "package"
    package.mkdir()
    draw = np.random.default_rng(0)
    images = {}
    for name in (*TRAIN, TEST):
        images[name] = draw.integers(0, 256, (PER_BATCH, 32, 32, 3), dtype=np.uint8)
        sheet = images[name].reshape(PER_BATCH, 32 * 32, 3)
        Image.fromarray(sheet).save(package / name.replace(".bin", ".png"))
    train_labels = draw.integers(0, 10, PER_BATCH * len(TRAIN)).tolist()
    (package / "train_lables.json").write_text(json.dumps(train_labels))
    (package / "test_lables.json").write_text(json.dumps([3, 1, 4, 1]))
    return package, images, train_labels


def test_batches_hold_the_images_and_labels_of_the_sheets(sheets):
    package, images, train_labels = sheets
    batches_from_sheets(package.parent)
    for number, name in enumerate(TRAIN):
        pixels, labels = read_batch(package.parent / name)
        assert np.array_equal(pixels, images[name].transpose(0, 3, 1, 2))
        assert labels.tolist() == train_labels[number * PER_BATCH : (number + 1) * PER_BATCH]
    assert read_batch(package.parent / TEST)[1].tolist() == [3, 1, 4, 1]


def test_a_missing_sheet_or_label_file_is_an_error(sheets):
    package, _, _ = sheets
    (package / "data_batch_3.png").unlink()
    with pytest.raises(UserError, match="data_batch_3"):
        batches_from_sheets(package.parent)
    (package / "test_lables.json").unlink()
    with pytest.raises(UserError, match="test_lables"):
        batches_from_sheets(package.parent)


def test_a_sheet_of_another_size_is_an_error(sheets):
    package, _, _ = sheets
    Image.new("RGB", (32, 32)).save(package / "test_batch.png")
    with pytest.raises(UserError, match="1024×4"):
        batches_from_sheets(package.parent)


def test_a_converted_door_opens_first_and_converts_then(tmp_path):
    steps = []
    mirror = Mirror("toy", lambda folder, names, talk: steps.append("opened"))
    converted(mirror, lambda folder: steps.append("converted")).open(tmp_path, [], print)
    assert steps == ["opened", "converted"]
