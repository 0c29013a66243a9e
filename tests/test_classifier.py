import json
import os

import drawn
import numpy as np
import pytest
import torch

from eyesight import classifier
from eyesight.classifier import Classifier
from eyesight.data.prepare import Preparation
from eyesight.errors import UserError
from eyesight.models import registry
from eyesight.recipe import Model


def make(name="basic_cnn", channels=1, views="one"):
    torch.manual_seed(3)
    network = (
        registry.build(Model(name), (channels, 16, 16), 3)
        .to(memory_format=torch.channels_last)
        .eval()
    )
    network.normalise.set(torch.full((channels,), 0.3), torch.full((channels,), 0.2))
    return Classifier(
        network, Model(name), drawn.SHAPES, Preparation(16, 16, channels), views, {"run": "0001"}
    )


def test_saved_and_loaded_says_the_same(tmp_path):
    made, images = make(views="flip"), drawn.images(20)
    made.save(tmp_path / "classifier")
    loaded = classifier.load(tmp_path / "classifier")
    assert loaded.classes == drawn.SHAPES
    assert loaded.facts == {"run": "0001"}
    assert loaded.preparation == made.preparation
    assert np.array_equal(made.infer(images).probabilities, loaded.infer(images).probabilities)


def test_saving_again_replaces_the_whole(tmp_path):
    make().save(tmp_path / "classifier")
    other = make("allconv")
    other.save(tmp_path / "classifier")
    assert classifier.load(tmp_path / "classifier").model.name == "allconv"
    assert [path.name for path in tmp_path.iterdir()] == ["classifier"]


def test_a_file_is_prepared_as_in_training(tmp_path):
    made, images = make(), drawn.images(6)
    pixels, _ = drawn.pictures(6)
    said = made.infer(images).probabilities
    encoded = [drawn.png(picture[0]) for picture in pixels]
    assert np.allclose(made.predict(encoded).probabilities, said, atol=1e-6)
    assert np.allclose(
        made.predict([picture[0] for picture in pixels]).probabilities, said, atol=1e-6
    )
    (tmp_path / "a.png").write_bytes(encoded[2])
    assert np.allclose(made.predict([tmp_path / "a.png"]).probabilities[0], said[2], atol=1e-6)
    with pytest.raises(UserError, match="image 0"):
        made.predict([b"no picture"])


def test_an_image_does_not_depend_on_its_batch():
    made, images = make(), drawn.images(40)
    assert np.allclose(
        made.infer(images, batch=40).probabilities,
        made.infer(images, batch=7).probabilities,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "views, count", [("one", 1), ("flip", 2), ("shifts", 5), ("flip_shifts", 6)]
)
def test_views_are_averaged(views, count):
    made, images = make(views=views), drawn.images(3)
    pictures = images.take(torch.arange(3)).float() / 255
    views_seen = classifier.augmented_views(pictures, views)
    assert len(views_seen) == count
    with torch.no_grad():
        mean = torch.stack([made.network(view) for view in views_seen]).mean(0).softmax(1)
    assert np.allclose(made.infer(images).probabilities, mean.numpy(), atol=1e-5)


def test_tampered_weights_are_refused(tmp_path):
    make().save(tmp_path / "classifier")
    file = tmp_path / "classifier" / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(UserError, match="does not match its checksum"):
        classifier.load(tmp_path / "classifier")


def test_a_missing_part_is_named(tmp_path):
    with pytest.raises(UserError, match=r"not a classifier folder: it has no classifier\.json"):
        classifier.load(tmp_path)
    make().save(tmp_path / "classifier")
    (tmp_path / "classifier" / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"weights\.safetensors cannot be read"):
        classifier.load(tmp_path / "classifier")


def change(folder, **values):
    file = folder / "classifier.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_folder_from_the_future_or_broken_is_refused(tmp_path):
    make().save(tmp_path / "classifier")
    change(tmp_path / "classifier", format=99)
    with pytest.raises(UserError, match="newer version of eyesight"):
        classifier.load(tmp_path / "classifier")
    (tmp_path / "classifier" / "classifier.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        classifier.load(tmp_path / "classifier")


def test_weights_of_another_network_are_refused(tmp_path):
    make().save(tmp_path / "classifier")
    change(tmp_path / "classifier", classes=["a", "b"])
    with pytest.raises(UserError, match="does not fit the network"):
        classifier.load(tmp_path / "classifier")


def test_a_full_disk_leaves_the_old_classifier(tmp_path, monkeypatch):
    make().save(tmp_path / "classifier")
    before = (tmp_path / "classifier" / "weights.safetensors").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="disk is full"):
        make("allconv").save(tmp_path / "classifier")
    assert (tmp_path / "classifier" / "weights.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["classifier"]


def test_many_large_pictures_are_not_looked_at_in_one_go(monkeypatch):
    assert [
        classifier.chunk_size(shape) for shape in ((1, 28, 28), (3, 224, 224), (3, 4096, 4096))
    ] == [500, 55, 1]
    made, seen, (pixels, _) = make(), [], drawn.pictures(20)
    whole = made.probabilities(pixels)
    monkeypatch.setattr(classifier, "chunk_size", lambda shape: 8)
    made.network.register_forward_pre_hook(lambda network, given: seen.append(len(given[0])))
    np.testing.assert_allclose(made.probabilities(pixels), whole, atol=1e-6)
    assert seen == [8, 8, 4] and made.probabilities(pixels[:0]).shape == (0, 3)
