"""Every recipe names its source, builds, and says what the description says.

`augment` draws its picture.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import command

from eyesight import recipe
from eyesight.cli.show import describe
from eyesight.data.images import Images
from eyesight.errors import UserError
from eyesight.recipe import Augment
from eyesight.recipes import RECIPES, find
from eyesight.runs import resolve
from eyesight.training.loop import plan

# System, input, parameters: what each description implies (the sums stand in test_models.py).
PUBLISHED = {
    "lenet5_published": ("B1", [1, 28, 28], 61_706),
    "lenet5_1998": ("B1-1998", [1, 32, 32], 60_850),
    "dropout_cnn": ("B2", [3, 32, 32], 890_410),
    "dropout_cnn_without": ("B2-without", [3, 32, 32], 890_410),
    "digits_cnn": ("B3", [1, 28, 28], 594_922),
    "allconv": ("B13", [3, 32, 32], 1_369_738),
    "bottleneck": ("F3", [1, 90, 90], 2_636_148),
    "baseline_cnn": ("D1 D2", [3, 32, 32], 1_407_178),
    "small_vgg": ("D3", [3, 32, 32], 37_925_698),
    "vgg16_as_written": ("D4", [3, 32, 32], 20_922_946),
    "vgg16": (
        "D4-repaired",
        [3, 32, 32],
        20_922_946 + 8_448,
    ),  # weight and bias of 64·2 + 128·2 + 256·3 + 512·6 normalised filters
    "basic_cnn": ("O2", [3, 32, 32], 549_898),
    "basic_cnn_augmented": ("O3", [3, 32, 32], 549_898),
    "mixup_cnn": ("O4 O5", [3, 32, 32], 4_823_114),
    "deep_mixup_cnn": ("O6", [3, 32, 32], 10_925_386),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_network_has_its_input_and_its_parameters(name, tmp_path):
    system, shape, parameters = PUBLISHED[name]
    found = describe(find(name), tmp_path)
    assert (find(name).system, found["shape"], found["parameters"]) == (system, shape, parameters)


def test_epochs_that_are_set_are_not_raised_by_the_steps_a_recipe_asks_for():
    few = 320
    assert plan(find("digits").training, few)[1] > 4
    assert plan(resolve("digits", "training.epochs=2").training, few) == (
        plan(find("digits").training, few)[0],
        2,
    )
    for both in (
        ["training.epochs=2", "training.min_steps=400"],
        ["training.min_steps=400", "training.epochs=2"],
    ):
        assert plan(resolve("digits", *both).training, few) == (20, 25)
    assert plan(resolve("digits", "training.epochs=2", "training.min_steps=0").training, few) == (
        128,
        2,
    )
    assert resolve("lenet5", "training.epochs=2").training.min_steps == 0, (
        "a recipe that asks for none keeps its batches"
    )


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_what_it_is(name):
    made, text = find(name), RECIPES[name].__doc__
    assert (
        made.name == name
        and made.summary
        and made.source
        and (made.data.source or name == "folder")
    )
    assert f"eyesight train {name}" in text
    assert len(made.summary) < 100 and not made.summary.endswith(".")
    if name in PUBLISHED:
        assert all(part.split("-")[0] in text for part in made.system.split())


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json(name):
    assert recipe.from_dict(json.loads(recipe.to_json(find(name)))) == find(name)


def test_every_system_trained_from_scratch_has_a_recipe():
    systems = {system for build in RECIPES.values() for system in build().system.split()}
    assert systems >= {
        "B1",
        "B2",
        "B3",
        "B13",
        "F3",
        "D1",
        "D2",
        "D3",
        "D4",
        "O2",
        "O3",
        "O4",
        "O5",
        "O6",
        "O7",
        "O8",
        "O9",
        "O10",
        "D5",
        "D6",
        "B11",
    }


def test_the_page_lists_every_recipe_with_its_system_and_parameters():
    page = (Path(__file__).parent.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
    lines = [line.split("|") for line in page.splitlines() if line.count("|") == 7]
    rows = {cells[1].strip(" `"): [cell.strip() for cell in cells[2:-1]] for cells in lines}
    assert {name for name in rows if name not in ("recipe", "---")} == set(RECIPES)
    for name, (system, _, parameters) in PUBLISHED.items():
        assert rows[name][0] == system and rows[name][2] == f"{parameters:,}"


def test_settings_are_those_of_the_descriptions():
    assert find("lenet5").training.batch == 128 and find("lenet5").model.name == "lenet5"
    assert find("dropout_cnn").training.epochs == find("digits_cnn").training.epochs == 100
    fonts = find("bottleneck")
    assert (fonts.training.batch, fonts.training.epochs, fonts.optim.lr) == (64, 7, 0.001)
    assert (fonts.optim.schedule, fonts.optim.step_epochs, fonts.optim.step_factor) == (
        "step",
        3,
        0.5,
    )
    small = find("small_vgg").training
    assert (small.batch, small.epochs, small.patience, small.monitor) == (100, 10, 3, "train_loss")
    assert find("baseline_cnn").data.pad == 2 and find("baseline_cnn").data.channels == 3
    assert find("basic_cnn_augmented").augment == Augment(
        flip="random", rotate=30.0, shift=0.2, zoom=0.3, brightness=(0.8, 1.0)
    )
    assert find("mixup_cnn").augment == find("deep_mixup_cnn").augment == Augment(mixup=0.2)
    for name in set(PUBLISHED) - {"lenet5_1998", "allconv"}:
        optim = find(name).optim
        assert (optim.name, optim.lr, optim.beta1, optim.beta2, optim.epsilon) == (
            "adam",
            0.001,
            0.9,
            0.999,
            1e-7,
        )


@pytest.mark.parametrize(
    ("system", "name"),
    [
        ("B1", "lenet5_published"),
        ("f3", "bottleneck"),
        ("D2", "baseline_cnn"),
        ("D4", "vgg16_as_written"),
        ("O5", "mixup_cnn"),
        ("O10", "objects_finetune"),
        ("B13", "allconv"),
        ("B13-denoiser", "denoiser"),
    ],
)
def test_a_recipe_is_found_by_the_id_of_its_system(system, name):
    assert find(system).name == name


def test_every_id_belongs_to_one_recipe():
    ids = [part for build in RECIPES.values() for part in build().system.split()]
    assert len(ids) == len(set(ids))


def test_published_recipes_have_the_published_schedule():
    lenet = find("B1")
    assert (lenet.optim, lenet.training.epochs) == (find("B3").optim, 30)
    tuned = find("O10")
    assert (tuned.model.name, tuned.data.size, tuned.loss.smoothing) == ("ResNet50V2", 224, 0.0)
    assert (tuned.training.epochs, tuned.transfer.thaw_epochs) == (20, 20)
    assert (tuned.transfer.thaw_lr, tuned.optim.schedule) == (1e-4, "constant")
    assert (tuned.transfer.views, tuned.training.views, tuned.transfer.thaw_batch) == (1, "one", 16)
    compared = find("O9")
    assert (compared.augment.flip, compared.augment.rotate) == ("random", 30.0)
    assert compared.transfer.views == 0, "every epoch sees new changes"
    assert all(find(name).training.keep == "last" for name in ("B1", "B2", "O2", "O6", "D2", "F3"))


def test_without_dropout_nothing_else_differs():
    assert recipe.differences(find("dropout_cnn_without"), find("dropout_cnn")) == {
        "model.dropout": 0.0
    }
    assert set(recipe.differences(find("vgg16"), find("vgg16_as_written"))) == {
        "model.activation",
        "model.normalise",
        "model.initialise",
        "optim.schedule",
        "optim.warmup",
        "training.keep",
    }


def test_the_command_lists_every_recipe():
    out = command("recipes", "--json").out
    rows = {row["name"]: row for row in json.loads(out)["recipes"]}
    assert set(rows) == set(RECIPES)
    assert all(
        set(row) == {"name", "summary", "system", "source", "result"} for row in rows.values()
    )


def test_the_command_shows_parameters():
    out = command("show", "bottleneck", "--json").out
    assert json.loads(out)["parameters"] == 2_636_148
    out = command("show", "lenet5", "--set", "model.activation=tanh").out
    assert "61,706" in out and "model.activation = tanh" in out


def test_a_wrong_name_finds_the_right_one():
    with pytest.raises(UserError) as caught:
        resolve("dropout_cn")
    assert "dropout_cnn" in caught.value.hint


def test_settings_and_data_are_put_in():
    made = resolve("lenet5", "optim.lr=0.02", data="my/images")
    assert made.optim.lr == 0.02 and made.data == replace(find("lenet5").data, source="my/images")


@pytest.fixture
def pets(tmp_path):
    """Pictures of three classes, class after class, as an .npz."""
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 30)
    pixels = (draw.integers(0, 90, (90, 12, 12, 3)) + 80 * labels[:, None, None, None]).astype(
        np.uint8
    )
    np.savez(
        tmp_path / "pets.npz", images=pixels, labels=labels, classes=np.array(["cat", "dog", "hen"])
    )
    return tmp_path / "pets.npz"


def test_augment_draws_a_picture(pets, tmp_path):
    out = tmp_path / "seen" / "picture.png"
    arguments = ("augment", "basic_cnn_augmented", "--data", pets, "--out", out, "--json")
    assert command(*arguments).out == json.dumps({"picture": str(out)}, indent=2) + "\n"
    first = out.read_bytes()
    assert first.startswith(b"\x89PNG")
    command(*arguments)
    assert out.read_bytes() == first
    command(*arguments, "--seed", 5)
    assert out.read_bytes() != first


def test_pictures_that_come_class_after_class_are_shown_in_turn():
    from eyesight.views.augmentation import first

    def images(labels):
        return Images.of(
            np.zeros((len(labels), 1, 2, 2), np.uint8),
            np.array(labels),
            ("a", "b", "c"),
            tuple(map(str, range(len(labels)))),
        )

    in_order = first(images([0] * 20 + [1] * 3 + [2] * 20))
    assert in_order.labels.tolist() == [0, 1, 2] * 3 + [0, 2] * 3
    mixed = first(images([2, 0, 1] * 9))
    assert mixed.ids == tuple(map(str, range(15)))
    assert len(first(images([1, 1, 1, 2]))) == 4


def test_what_is_shown_is_what_training_sees():
    import torch

    from eyesight.augment import augment, generator
    from eyesight.tasks.losses import one_hot
    from eyesight.views.augmentation import changed

    pixels = np.random.default_rng(0).integers(0, 256, (15, 3, 8, 8), dtype=np.uint8)
    images = Images.of(pixels, np.arange(15) % 3, ("a", "b", "c"), tuple(map(str, range(15))))
    made = resolve("mixup_cnn", "augment.rotate=20", "training.seed=4")
    seen, captions = changed(images, made, epoch=2)
    expected, targets = augment(
        torch.from_numpy(pixels),
        one_hot(images.labels, 3),
        made.augment,
        generator(4, 2, 0),
        2,
        torch.arange(15),
    )
    assert np.array_equal(seen, (expected[:4] * 255).round().byte().numpy())
    assert len(captions) == 4
    for text, target in zip(captions, targets, strict=False):
        assert all(name in text for place, name in enumerate("abc") if target[place] > 0.01)


def test_every_trial_shows_other_images(monkeypatch, pets, tmp_path):
    from eyesight.views import augmentation, plots

    shown = {}

    def keep(pixels, names, trials, captions):
        shown.update(pixels=pixels, names=names, trials=trials, captions=captions)
        return draw_figure(pixels, names, trials, captions)

    draw_figure = plots.augmented
    monkeypatch.setattr(plots, "augmented", keep)
    augmentation.draw(resolve("basic_cnn", data=pets), tmp_path / "same.png")
    for trial, (images, captions) in enumerate(
        zip(shown["trials"], shown["captions"], strict=True)
    ):
        own = slice(4 * trial, 4 * trial + 4)
        assert np.array_equal(images, shown["pixels"][own]) and captions == shown["names"][own]


def test_captions_of_blends():
    import torch

    from eyesight.views.augmentation import caption

    assert caption(torch.tensor([0.0, 1.0]), ("cat", "dog")) == "dog"
    assert caption(torch.tensor([0.3, 0.7]), ("cat", "dog")) == "70% dog\n30% cat"


def test_a_recipe_that_changes_nothing_says_how_to(capsys, pets, tmp_path):
    from eyesight.views.augmentation import draw

    said = []
    draw(resolve("basic_cnn", data=pets), tmp_path / "same.png", talk=said.append)
    assert any("augment.rotate" in line for line in said)
