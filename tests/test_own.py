"""A person's own pictures are learnt from under their class's name, a fifth of them is held out,
and what they change is said.
"""

from dataclasses import replace

import drawn
import numpy as np
import pytest
from test_experiment import SMALL

from eyesight import classifier, experiment
from eyesight.data import dataset
from eyesight.errors import UserError
from eyesight.recipe import Data
from eyesight.training import extra_data


@pytest.fixture
def folders(tmp_path):
    """Drawn shapes, and somebody's own: dark on light, which the first ones never are."""
    drawn.folder(tmp_path / "pictures", 150)
    pixels, labels = drawn.pictures(60, seed=9)
    for place, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        file = tmp_path / "mine" / drawn.SHAPES[label] / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(drawn.png(255 - picture[0]))
    return tmp_path


def wanted(folders, extra="mine", **more):
    return Data(
        str(folders / "pictures"),
        validation=0.2,
        test=0.2,
        extra=str(folders / extra) if extra else "",
        **more,
    )


def test_extra_pictures_join_the_training_pictures_only(folders):
    plain, data = dataset.load(wanted(folders, "")), dataset.load(wanted(folders))
    assert (plain.own, plain.store.key) == (None, data.store.key) and plain.hash != data.hash
    assert data.validation.ids == plain.validation.ids and data.test.ids == plain.test.ids
    added = data.train.ids[len(plain.train) :]
    assert (
        len(data.own) == 12
        and len(set(added)) == len(added) == 48
        and not set(added) & set(data.own.ids)
    )
    for place in range(len(plain.train), len(data.train)):
        assert data.train.ids[place].split("/")[0] == drawn.SHAPES[data.train.labels[place]]
    import torch

    assert (
        data.train.take(torch.tensor([len(data.train) - 1])).float().mean()
        > 128
        > data.train.take(torch.tensor([0])).float().mean()
    )
    assert "48 images" in data.notes[-1] and "12 others" in data.notes[-1]


def test_few_pictures_count_several_times(folders, monkeypatch):
    monkeypatch.setattr(dataset, "EXTRA_SHARE", 2.0)
    data = dataset.load(wanted(folders))
    assert len(data.train) == 96 + 4 * 48 and len(set(data.train.ids)) == 96 + 48
    assert len(data.train.take(data.train.rows.new_tensor(range(len(data.train))))) == len(
        data.train
    )


def test_copies_of_the_datas_pictures_are_left_out_and_strange_classes_are_refused(folders):
    data = dataset.load(wanted(folders, ""))
    known = [data.test.ids[0], *data.train.ids[:9]]
    for place, name in enumerate(known):
        copy = folders / "mine" / name.split("/")[0] / f"copy{place}.png"
        copy.write_bytes((folders / "pictures" / name).read_bytes())
    again = dataset.load(wanted(folders))
    assert not any("copy" in name for name in [*again.train.ids[len(data.train) :], *again.own.ids])
    assert again.notes[-1].endswith(
        "; 10 duplicates of the data's own images left out"
    ) and "copies" not in " ".join(data.notes)
    (folders / "mine" / "blob").mkdir()
    (folders / "mine" / "blob" / "1.png").write_bytes(drawn.png(np.eye(16, dtype=np.uint8) * 255))
    with pytest.raises(UserError, match="does not have the classes 'blob'"):
        dataset.load(wanted(folders))


def test_before_and_after_are_stored_and_said(folders):
    recipe = replace(
        SMALL,
        data=replace(SMALL.data, source=str(folders / "pictures")),
        training=replace(SMALL.training, epochs=8),
    )
    learning = replace(recipe, data=replace(recipe.data, extra=str(folders / "mine")))
    alone = experiment.train(learning, folders / "elsewhere")
    assert (
        alone.result["own"]["before"] is None
        and "no earlier run" in extra_data.lines(alone.result)[0]
    )
    first = experiment.train(recipe, folders / "runs")
    second = experiment.train(learning, folders / "runs")
    found = second.result["own"]
    assert "own" not in first.result and extra_data.lines(first.result) == []
    assert found["before_run"] == first.name and found["after"]["n"] == 12
    assert found["after"]["top1"] > found["before"]["top1"]
    assert found["after"] == alone.result["own"]["after"]
    said = extra_data.lines(second.result)
    assert (
        f"before ({first.name})" in said[0]
        and f"{found['after']['top1']:.2%} after" in said[0]
        and len(said) == 2
    )
    first.write_json("data.json", {**first.data, "split": "0" * 64})
    elsewhere = extra_data.compared(
        second, classifier.load(second.classifier_path), dataset.load(learning.data).own
    )
    assert elsewhere["before_run"] == first.name and elsewhere["before_test"] is None, (
        "measured on other test pictures"
    )


def test_of_five_pictures_of_five_classes_one_is_held_out():
    digests = ("e", "d", "c", "b", "a")
    parts = {"train": np.arange(5), "test": np.array([], np.int64)}
    held = dataset.with_held_out_share(parts, np.arange(5), digests)
    assert held["test"].tolist() == [4] and held["train"].tolist() == [0, 1, 2, 3]
    of_one_class = dataset.with_held_out_share(parts, np.array([0, 0, 0, 1, 2]), digests)
    assert of_one_class["test"].tolist() == [2], "the largest class can spare one"
    copies = dataset.with_held_out_share(parts, np.zeros(5, int), ("b", "b", "c", "d", "e"))
    assert copies["test"].tolist() == [0, 1], "copies stay together"
    four = {"train": np.arange(4), "test": np.array([], np.int64)}
    assert len(dataset.with_held_out_share(four, np.zeros(4, int), digests)["test"]) == 0
