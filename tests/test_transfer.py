"""Frozen features computed once: equal to computing them always, never taken for others, within the
space they announce.
"""

import shutil
import time
from collections import namedtuple
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import drawn
import numpy as np
import pytest
import torch

from eyesight import experiment
from eyesight.cli import show
from eyesight.data import dataset
from eyesight.errors import UserError
from eyesight.models import registry
from eyesight.recipe import Augment, Data, Model, Optim, Recipe, Training, Transfer, override
from eyesight.recipes import RECIPES, folder
from eyesight.system import cache
from eyesight.system.array_file import ArrayFile
from eyesight.system.cache import cache_dir
from eyesight.system.progress import Callbacks, Reporter
from eyesight.training import budget, features, probe, transfer
from eyesight.training.checkpoint import State
from eyesight.training.clock import Clock
from eyesight.training.context import Context
from eyesight.training.features import Activations, Tail, Trunk
from eyesight.training.history import keeps_first_stage
from eyesight.training.loop import fit

NAME = "test_resnet"  # timm's own toy of 0.5 M parameters
MODEL = Model(NAME, weights="none", head="average 16")
RECIPE = Recipe(
    name="toy",
    data=Data(size=32, channels=3),
    model=MODEL,
    optim=Optim("sgd", lr=0.05),
    training=Training(epochs=3, batch=16, seed=1, precision="float32"),
    transfer=Transfer(freeze="conv4"),
)
PLAIN = Augment()


@pytest.fixture(scope="module")
def images():
    return drawn.images(48, 32, channels=3)


def network(images, seed=0):
    torch.manual_seed(seed)
    return registry.build(MODEL, images.shape, len(images.classes)).to(
        memory_format=torch.channels_last
    )


def halves(net, images, where="conv4"):
    cut = net.body.place(where)
    net.body.freeze(cut)
    return cut, Trunk(net, list(net.body.units[:cut]), images.shape, pictures=True)


def cached(net, images, where="conv4", how=PLAIN, views=1, **options):
    cut, trunk = halves(net, images, where)
    key = features.Key("toy", options.pop("seed", 0), options.pop("precision", "float32"))
    found = features.compute(trunk, images, how, views, key, **options)
    return Tail(net, list(net.body.units[cut:]), found.shape, found.kind), found


@pytest.mark.parametrize("where", ["all", "conv4", "conv2"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_on_cached_features_equals_computing_them_in_every_step(
    images, where, precision, monkeypatch
):
    monkeypatch.setattr(features, "folded", lambda trunk: trunk)  # it rounds otherwise
    losses = []
    for keep in (False, True):
        net = network(images)
        if keep:
            tail, train = cached(net, images, where, precision=precision)
        else:
            halves(net, images, where)
            tail, train = net, images
        losses.append(
            [
                epoch.train_loss
                for epoch in fit(
                    State.start(tail, RECIPE), train, None, RECIPE, precision=precision
                )
            ]
        )
    assert losses[0] == losses[1], "to the last bit"


@pytest.mark.parametrize("where", ["all", "conv4", "conv2"])
def test_features_are_those_of_the_frozen_part(images, where):
    """Computed with batch normalisation folded into the convolutions, they differ by rounding."""
    net = network(images)
    _, found = cached(net, images, where)
    _, trunk = halves(net, images, where)
    order = torch.arange(len(images))
    with torch.no_grad():
        expected = trunk.eval()(images.take(order).float() / 255)
    torch.testing.assert_close(found.take(order), expected, atol=1e-5, rtol=1e-4)


def test_the_whole_network_is_trained_when_its_tail_is(images):
    net = network(images)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    tail, train = cached(net, images)
    state = State.start(tail, RECIPE)
    list(fit(state, train, train, RECIPE))
    state.finish(RECIPE.training)
    changed = {
        key for key, value in net.state_dict().items() if not torch.equal(value, before[key])
    }
    first = net.body.units[net.body.place("conv4") :]
    assert changed and not any(
        key.startswith(f"body.units.{next(iter(net.body.units._modules))}.") for key in changed
    )
    assert len(changed) >= len(list(first.parameters()))
    pictures = images.take(torch.arange(8))
    with torch.no_grad():
        taken = train.take(torch.arange(8)).contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(tail.eval()(taken), net.eval()(pictures), atol=1e-5, rtol=1e-5)


def test_versions_are_the_picture_its_mirror_image_and_random_changes(images):
    net = network(images)
    how = Augment(flip="random", rotate=20)
    _, found = cached(net, images, how=how, views=3)
    _, trunk = halves(net, images)
    with torch.no_grad():
        mirrored = trunk.eval()(
            images.take(torch.arange(4)).flip(3).contiguous(memory_format=torch.channels_last)
        )
    torch.testing.assert_close(found.only(1).take(torch.arange(4)), mirrored, atol=1e-5, rtol=1e-5)
    first, third = found.only(0).take(torch.arange(4)), found.only(2).take(torch.arange(4))
    assert not torch.allclose(first, third) and not torch.allclose(mirrored, third)
    shown = [found.at_pass(number).take(torch.arange(4)) for number in range(4)]
    assert torch.equal(shown[0], shown[3]) and not torch.equal(shown[0], shown[1])
    assert features.versions(PLAIN, 4) == 1


def test_the_file_is_as_large_as_announced_and_is_used_again(images, monkeypatch):
    said = []
    _, found = cached(
        network(images), images, views=2, how=Augment(flip="random"), reporter=to(said)
    )
    (file,) = (cache_dir() / "features").glob("*/values.bin")
    assert file.stat().st_size == found.count * 2 * 4 * int(np.prod(found.shape))
    assert "MB" in said[0]
    monkeypatch.setattr(features, "_write", lambda *rest: pytest.fail("computed again"))
    _, again = cached(network(images), images, views=2, how=Augment(flip="random"))
    assert torch.equal(
        torch.from_numpy(np.asarray(again.pixels)), torch.from_numpy(np.asarray(found.pixels))
    )


def test_other_weights_pictures_cuts_versions_or_arithmetic_never_share_a_file(images):
    keys = [cached(network(images, seed), images)[1].key for seed in (0, 1)]
    keys.append(cached(network(images), images.subset(np.arange(40)))[1].key)
    keys.append(cached(network(images), images, "conv3")[1].key)
    keys.append(cached(network(images), images, views=2, how=Augment(flip="random"))[1].key)
    keys.append(cached(network(images), images, precision="bfloat16")[1].key)
    _, trunk = halves(network(images), images)
    keys.append(
        features.compute(
            trunk, images, PLAIN, 1, features.Key("other pictures of the same names")
        ).key
    )
    assert len(set(keys)) == len(keys)


def test_without_room_on_the_disk_it_stops_before_computing(images, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, features.SPARE + 10))
    monkeypatch.setattr(features, "_write", lambda *rest: pytest.fail("computed"))
    with pytest.raises(UserError, match="features of the frozen part need"):
        cached(network(images), images)


def test_features_larger_than_the_memory_of_any_machine_are_read(tmp_path):
    try:
        with (tmp_path / "many.bin").open("wb") as file:
            file.truncate(1 << 40)  # without a byte on the disk
    except OSError:
        pytest.skip("this file system has no sparse files of that size")
    rows = torch.arange(1 << 10)
    values = ArrayFile(tmp_path / "many.bin", (1 << 20, 1, 1, 1 << 19), "i2")
    found = Activations(values, rows, rows, ("a",), ("",) * len(rows), count=len(rows))
    taken = found.take(torch.tensor([1 << 9]))
    assert taken.sum() == 0 and taken.dtype == torch.bfloat16


def test_without_validation_pictures_the_training_ones_are_computed_all_the_same(tmp_path):
    run = train(tmp_path, "data.validation=0", "training.epochs=1")
    assert (
        run.status == "done"
        and run.epochs[0]["validation_loss"] is None
        and run.result["test"]["n"]
    )


def test_as_many_versions_are_kept_as_the_disk_has_room_for(images, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, features.SPARE + 100))
    assert [features.fitting(size, 4) for size in (60, 1000, 1)] == [1, 1, 4]
    with cache.build("features") as folder:
        (folder / "values.bin").write_bytes(b"makes way " * 5)
        cache.keep(folder, "older", "older pictures")
    assert features.fitting(60, 4) >= 2


def test_where_the_disk_is_short_fewer_versions_of_all_features_are_made(images, monkeypatch):
    said, sizes = [], []
    monkeypatch.setattr(features, "fitting", lambda size, views: sizes.append(size) or 2)
    plan = frozen(images, freeze="all", thaw="conv4", thaw_epochs=1, views=3)
    recipe = replace(plan.recipe, augment=Augment(flip="random", rotate=5))
    plan = replace(plan, recipe=recipe, context=Context(to(said)))
    first, second = plan.stages()
    assert first.train.views == second.train.views == 2
    assert next(plan.stages(2)).train.key == second.train.key
    assert sizes == [(first.train.pixels.nbytes + second.train.pixels.nbytes) // 2] * 2, (
        "the same when the second stage is gone on with"
    )
    assert "the disk has space for the features of 2 of 3 views per image" in said


@pytest.mark.parametrize("held_out", [0, 8])
def test_extra_pictures_of_the_same_names_never_share_features(images, held_out):
    keys = set()
    for extra in ("a", "b"):
        plan = frozen(images, freeze="conv4", views=1)
        data = SimpleNamespace(
            **{**vars(plan.data), "own": images.subset(np.arange(held_out)), "hash": extra}
        )
        keys.add(next(replace(plan, data=data).stages()).train.key)
    assert len(keys) == 2


def test_a_file_that_was_torn_is_computed_again(images):
    _, found = cached(network(images), images)
    wanted = torch.from_numpy(np.asarray(found.pixels)).clone()
    (file,) = (cache_dir() / "features").glob("*/values.bin")
    file.write_bytes(file.read_bytes()[:-7])
    assert torch.equal(
        torch.from_numpy(np.asarray(cached(network(images), images)[1].pixels)), wanted
    )


def test_features_go_to_a_device_only_where_they_leave_room(images, monkeypatch):
    _, found = cached(network(images), images)
    monkeypatch.setattr(
        torch.cuda,
        "mem_get_info",
        lambda device: (2 * torch.from_numpy(np.asarray(found.pixels)).nbytes - 2, 1 << 40),
    )
    assert found.resident("cuda") is found


def to(said):
    """A reporter that keeps its messages in a list."""
    return Callbacks(said.append, lambda epoch: None)


@dataclass(frozen=True, eq=False)
class Plan:
    recipe: Recipe
    network: object
    data: object
    context: Context

    def stages(self, start=1):
        return transfer.stages(self.recipe, self.network, self.data, self.context, start)


def frozen(images, **transfer_options):
    """A plan for a network on drawn pictures, without a run around it."""
    recipe = replace(
        RECIPE,
        transfer=Transfer(**transfer_options),
        training=replace(RECIPE.training, precision="auto"),
    )
    data = SimpleNamespace(
        train=images,
        validation=images.subset(np.arange(8)),
        store=SimpleNamespace(key="toy"),
        own=None,
    )
    return Plan(recipe, network(images), data, Context())


def test_all_that_is_frozen_uses_one_arithmetic(images, monkeypatch):
    answers = iter(["bfloat16", "float32", "float32"])
    monkeypatch.setattr(transfer.precision, "choose", lambda *rest, **options: next(answers))
    first, second = frozen(images, freeze="all", thaw="conv4", thaw_epochs=1).stages()
    assert first.train.kind == second.train.kind == torch.bfloat16


def test_a_float32_trunk_goes_on_from_bfloat16_features(images):
    net = network(images)
    _, below = cached(net, images, precision="bfloat16")
    cut = net.body.place("conv4")
    above = Trunk(net, list(net.body.units[cut:]), below.shape, pictures=False)
    assert features.compute(above, below, PLAIN, 1, features.Key("toy")).kind == torch.float32


def test_a_second_stage_that_would_lose_what_the_first_trained_is_refused(images):
    with pytest.raises(UserError, match="at least the layers of the first") as refused:
        next(frozen(images, freeze="conv3", thaw="conv4", thaw_epochs=1).stages())
    assert "transfer.thaw=conv3" in refused.value.hint


def test_it_is_said_when_reading_took_most_of_the_budget(tmp_path):
    said = []
    train(
        tmp_path,
        "training.budget=10",
        "transfer.freeze=all",
        clock=Clock(time.monotonic() - 8),
        talk=said.append,
    )
    assert any("of 10 s were needed before training" in line for line in said)


def train(tmp_path, *settings, **options):
    data = drawn.folder(tmp_path / "data", 60, 24)
    recipe = override(replace(RECIPE, data=replace(RECIPE.data, source=str(data))), settings)
    clock = options.pop("clock", None) or Clock()
    reporter = Callbacks(options.pop("talk", print), options.pop("tell", lambda epoch: None))
    context = Context(reporter, clock, resume=options.pop("resume", False))
    assert not options
    return experiment.run(recipe, tmp_path / "runs", context)


def test_two_stages_are_one_run_with_one_curve(tmp_path):
    said = []
    run = train(
        tmp_path,
        "transfer.freeze=all",
        "transfer.thaw=conv4",
        "transfer.thaw_epochs=2",
        "augment.flip=random",
        talk=said.append,
    )
    epochs = run.epochs
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4, 5]
    assert [epoch["stage"] for epoch in epochs] == [1, 1, 1, 2, 2]
    assert [epoch["lr"] for epoch in epochs] == [0.05] * 3 + [1e-4] * 2
    assert epochs[-1]["progress"] == 1.0 and run.status == "done"
    assert sum("training" in line and "tensors" in line for line in said) == 2
    assert run.environment["weights"]["source"].startswith("none")
    assert run.environment["chosen"]["data.interpolation"] == "bilinear"


def epochs_with(scores, stage):
    """Epochs of a log whose scores on the two halves are given."""
    return [{"stage": stage, "halves": [[1.0, a], [1.0, b]]} for a, b in scores]


def test_a_second_stage_that_is_best_by_chance_alone_is_not_kept():
    first = epochs_with([(0.7, 0.7)], 1)
    lucky = epochs_with([(0.9, 0.5), (0.5, 0.9), (0.6, 0.6)], 2)
    assert keeps_first_stage([*first, *lucky]), "each half's best is the other half's worst"
    better = epochs_with([(0.9, 0.5), (0.95, 0.95)], 2)
    assert not keeps_first_stage([*first, *better])
    assert keeps_first_stage([*first, *epochs_with([(0.7, 0.7)], 2)]), "no better is not kept"
    assert not keeps_first_stage([*first, {"stage": 2}]), "a run of before has no halves"


def test_the_weights_of_the_first_stage_come_back_where_the_second_is_no_better(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(experiment, "keeps_first_stage", lambda epochs: True)
    both = replace(RECIPE.transfer, freeze="all", thaw="conv4", thaw_epochs=2, thaw_lr=0.05)
    data = replace(RECIPE.data, source=str(drawn.folder(tmp_path / "data", 60, 32)))
    recipe = replace(RECIPE, data=data, transfer=both)
    run = experiment.train(recipe, tmp_path / "runs")
    alone = experiment.train(
        replace(recipe, transfer=replace(both, thaw="", thaw_epochs=0)), tmp_path / "runs"
    )
    kept, head = (run.predictions(), alone.predictions())
    assert np.allclose(kept.probabilities, head.probabilities, atol=1e-4)
    assert not any(epoch["best"] for epoch in run.epochs if epoch["stage"] == 2)
    assert [event["stage"] for event in run.log if event["event"] == "kept"] == [1]
    assert all(len(epoch["halves"]) == 2 for epoch in run.epochs)


def test_interrupted_in_the_second_stage_and_resumed_is_uninterrupted(tmp_path, monkeypatch):
    settings = (
        "transfer.freeze=all",
        "transfer.thaw=conv4",
        "transfer.thaw_epochs=4",
        "training.seed=3",
    )
    monkeypatch.setattr(experiment, "SAVE_EVERY", 0.0)
    whole = train(tmp_path / "whole", *settings)

    def stop(epoch):
        if epoch.epoch == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", *settings, tell=stop)
    resumed = train(tmp_path / "broken", *settings, resume=True)
    assert [epoch["train_loss"] for epoch in resumed.epochs] == [
        epoch["train_loss"] for epoch in whole.epochs
    ]
    first, second = (run.predictions("test").probabilities for run in (whole, resumed))
    np.testing.assert_array_equal(first, second)


def test_without_weights_the_run_fails_with_the_ways_on(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer.weights, "reachable", lambda: False)
    with pytest.raises(UserError, match="no pretrained weights"):
        train(tmp_path, "model.weights=imagenet", "model.name=resnet18d")


def test_a_stage_that_does_not_exist_is_told_before_anything_trains(tmp_path):
    with pytest.raises(UserError, match="no stage 'conv9'"):
        train(tmp_path, "transfer.freeze=conv9")


def test_what_the_weights_expect_fills_what_the_recipe_leaves_open():
    made = transfer.resolve_preprocessing(
        Recipe(model=Model("inception_v3"), data=Data(resize="crop"))
    )
    assert (
        made.data.size,
        made.data.channels,
        made.data.interpolation,
        made.data.crop_fraction,
    ) == (299, 3, "bicubic", 0.875)
    small = transfer.resolve_preprocessing(
        Recipe(model=Model("inception_v3"), data=Data(resize="crop", size=96, interpolation="area"))
    )
    assert (small.data.size, small.data.interpolation, small.data.crop_fraction) == (
        96,
        "area",
        1.0,
    )
    assert transfer.resolve_preprocessing(Recipe()) == Recipe()


def test_a_budget_takes_fewer_versions_and_then_fewer_pictures(images, monkeypatch):
    monkeypatch.setattr(features, "pace", lambda trunk, images, precision: 1.0)
    said = []
    for seconds, views, count in ((1000, 4, 48), (170, 2, 48), (50, 1, 30)):
        context = Context(to(said), Clock(budget=float(seconds)))
        part, kept = transfer.FrozenFeatures(RECIPE, None, None, context, ()).affordable(
            None, images, 4
        )
        assert kept == views
        assert len(part) == pytest.approx(count, abs=1)
    assert sum("the budget allows" in line for line in said) == 3


def test_a_bad_estimate_of_the_speed_leaves_enough_pictures_to_learn_from(images):
    labels = torch.tensor([0] * 590 + [1] * 10)
    many = replace(
        images, rows=torch.arange(600) % 48, labels=labels, ids=tuple(map(str, range(600)))
    )
    order = transfer.mixed(many, seed=0)
    assert torch.equal(order.sort().values, torch.arange(600)) and not torch.equal(
        order, torch.arange(600)
    )
    chosen = order[: transfer.enough(many, -5)]
    assert len(chosen) == 60 and (labels[chosen] == 1).sum() >= transfer.EACH
    assert transfer.enough(images.subset(np.arange(6)), 1) == 6


def test_what_a_person_sets_stays_as_they_set_it():
    asked = override(
        folder.folder(),
        ["transfer.freeze=conv4", "transfer.views=1", "model.head=average", "augment.zoom=0.5"],
    )
    made, _ = folder.choose(asked, folder.Seen(500, 5, 200), ["tf_efficientnet_lite0"])
    assert (made.transfer.freeze, made.transfer.views, made.model.head, made.augment.zoom) == (
        "conv4",
        1,
        "average",
        0.5,
    )
    assert (made.model.name, made.transfer.thaw, made.augment.shift) == (
        "tf_efficientnet_lite0",
        "conv5",
        0.05,
    ), "the rest is chosen"
    assert (
        folder.choose(override(asked, ["transfer.thaw="]), folder.Seen(500, 5, 200), [])[
            0
        ].transfer.thaw
        == ""
    )
    named = override(asked, ["model.name=tf_efficientnet_lite1"])
    made, why = folder.choose(named, folder.Seen(500, 5, 200), ["tf_efficientnet_lite0"])
    assert made.model.name == "tf_efficientnet_lite1" and why[0].endswith("as set")
    assert made.transfer.thaw == "conv5"

    made, why = folder.choose(override(asked, ["data.size=128"]), folder.Seen(500, 5, 200), [])
    assert made.data.size == 128 and "128 pixels, as set" in why


@pytest.mark.parametrize("change", ["data.test=0.3", "data.fold=1/4"])
def test_the_images_per_class_are_those_that_are_trained_on(tmp_path, change):
    drawn.folder(tmp_path / "photos", 240, 28)
    recipe = override(folder.folder(), [f"data.source={tmp_path / 'photos'}", change])
    train = dataset.load(override(recipe, ["data.size=28"]).data).train
    each = len(train) / len(train.classes)
    seen = transfer.look(recipe)
    assert seen.trained_on == f"about {each:.0f} training images per class"
    assert folder.choose(recipe, seen, [])[1][2].endswith(seen.trained_on)


@pytest.mark.parametrize(
    ("seen", "budget", "side", "thaw", "views"),
    [
        (folder.Seen(100, 10, 500), None, 224, "", 6),
        (folder.Seen(2000, 10, 500), None, 224, "conv5", 4),
        (folder.Seen(2000, 10, 32), None, 96, "conv5", 4),
        (folder.Seen(199, 10, 160), None, 224, "", 6),
        (folder.Seen(200, 10, 159), None, 160, "conv5", 4),
        (folder.Seen(20_000, 10, 64), None, 160, "conv5", 4),
        (folder.Seen(20_001, 10, 63), None, 96, "conv5", 2),
        (folder.Seen(60_000, 10, 100), None, 160, "conv5", 2),
        (folder.Seen(10_000, 10, 500), 120.0, 96, "conv5", 4),
        (folder.Seen(2500, 10, 224), 180.0, 224, "conv5", 4),
    ],
)
def test_the_rules_for_a_folder(seen, budget, side, thaw, views):
    asked = replace(folder.folder(), training=replace(folder.folder().training, budget=budget))
    made, why = folder.choose(asked, seen, ["tf_efficientnet_lite1"])
    assert made.model.name == "tf_efficientnet_lite1" and made.data.size == side
    assert (made.transfer.thaw, made.transfer.views) == (thaw, views) and len(why) == 3


def test_a_slow_machine_gets_smaller_images_than_the_usual_one():
    training = replace(folder.folder().training, budget=180.0)
    asked = replace(folder.folder(), training=training)
    sides = []
    for pace in (folder.PACE, 40.0, 10.0):
        made, why = folder.choose(asked, folder.Seen(2500, 10, 224), ["lite"], pace)
        sides.append(made.data.size)
    assert sides == [224, 160, 96]
    assert "would not allow two passes" in why[1]


def test_a_head_that_knows_most_classes_learns_more_gently_than_one_from_random_numbers():
    rates = {}
    for known in (5, 6):
        made, why = folder.choose(folder.folder(), folder.Seen(500, 10, 200, known), [])
        rates[known] = (made.optim.lr, made.transfer.thaw_lr)
        assert any("learning rate" in reason for reason in why) is (known == 6)
    assert rates == {5: (0.002, 2e-4), 6: (folder.GENTLE, 1e-4)}
    asked = override(folder.folder(), ["optim.lr=0.01"])
    assert folder.choose(asked, folder.Seen(500, 10, 200, 10), [])[0].optim.lr == 0.01, (
        "as the person said"
    )


def test_a_look_at_the_pictures_counts_the_classes_that_imagenet_has(tmp_path):
    drawn.folder(tmp_path, 12, 24)
    (tmp_path / "ring").rename(tmp_path / "tiger lily")
    (tmp_path / "bar").rename(tmp_path / "tiger")
    assert transfer.look(Recipe(data=Data(source=str(tmp_path)))) == folder.Seen(
        12, 3, 24, 1, held_out=3
    )


def test_pictures_without_a_class_do_not_make_a_folder_look_larger(tmp_path):
    drawn.folder(tmp_path / "train", 12, 24)
    drawn.folder(tmp_path / "unnamed", 30, 24)
    (tmp_path / "test").mkdir()
    for place, file in enumerate((tmp_path / "unnamed").rglob("*.png")):
        file.rename(tmp_path / "test" / f"{place}.png")
    assert transfer.look(Recipe(data=Data(source=str(tmp_path)))).pictures == 12


def test_folds_compute_the_features_of_every_image_once(tmp_path, monkeypatch):
    computed = []
    original = features._write

    def counted(file, batches, total, progress):
        computed.append(total)
        return original(file, batches, total, progress)

    monkeypatch.setattr(features, "_write", counted)
    given = drawn.folder(tmp_path / "data", 60, 32)
    runs = []
    for fold in ("1/3", "2/3"):
        data = replace(RECIPE.data, source=str(given), fold=fold)
        runs.append(experiment.train(replace(RECIPE, data=data), tmp_path / "runs"))
    counts = [run.data["counts"] for run in runs]
    pool = counts[0]["train"] + counts[0]["validation"]
    assert computed.count(pool) == 1, "the second fold takes those of the first"
    assert counts[0]["train"] not in computed
    plain = []
    monkeypatch.setattr(transfer.FrozenFeatures, "_shares_folds", lambda self, trunk: False)
    for fold in ("1/3", "2/3"):
        data = replace(RECIPE.data, source=str(given), fold=fold)
        plain.append(experiment.train(replace(RECIPE, data=data), tmp_path / "plain"))
    for shared, alone in zip(runs, plain, strict=True):
        difference = shared.predictions().probabilities - alone.predictions().probabilities
        assert np.abs(difference).max() < 0.02, "features of one view are the same"


def test_folder_takes_a_larger_backbone_only_where_a_probe_is_clearly_ahead_and_time_allows(
    tmp_path, monkeypatch
):
    given = drawn.folder(tmp_path / "data", 60, 32)
    names = ["tf_efficientnet_lite0", "tf_efficientnet_lite2"]
    recipe = replace(
        folder.folder(),
        data=Data(str(given), size=32, channels=3),
        model=Model(names[0], weights="imagenet", head="average"),
        training=Training(budget=60.0),
        transfer=Transfer(),
    )
    hits = {"worse": np.arange(100) < 60, "better": np.arange(100) < 80}
    asked = []

    def planted(second, seconds):
        def probe_of(images, names, seconds_for_all, talk):
            asked.append(images.ids)
            return [
                probe.Probed(names[0], hits["worse"], 0.001),
                probe.Probed(names[1], hits[second], seconds),
            ]

        monkeypatch.setattr(probe, "probe", probe_of)

    planted("better", 10.0)
    pace = 32**2 / 224**2 / 0.001
    assert transfer.best_backbone(recipe, names) == (names[0], pace), "no time for all images"
    shorter = replace(recipe, training=Training(budget=59.0))
    assert transfer.best_backbone(shorter, names) is None, "no time for a probe"
    planted("better", 0.001)
    longer = replace(recipe, training=Training(budget=61.0))
    assert transfer.best_backbone(longer, names) == (names[1], pace)
    planted("worse", 0.001)
    assert transfer.best_backbone(longer, names) == (names[1], pace), "remembered"
    even_longer = replace(recipe, training=Training(budget=62.0))
    assert transfer.best_backbone(even_longer, names) == (names[0], pace), "no better"
    test = {one.rsplit("/", 1)[-1] for one in experiment.load_data(recipe, Reporter()).test.ids}
    assert asked
    assert not any({one.rsplit("/", 1)[-1] for one in ids} & test for ids in asked)


def test_the_documented_rules_are_those_of_the_code():
    def rules(text):
        lines = [
            [cell.strip() for cell in line.split("|")[1:3]]
            for line in text.splitlines()
            if line.startswith("| ")
        ]
        return [line for line in lines if line[0] not in ("condition", "available weights")]

    page = (Path(__file__).parents[1] / "docs" / "transfer.md").read_text(encoding="utf-8")
    told = rules(page[page.index("## The rules of `folder`") : page.index("## Cost")])
    assert told == rules(folder.__doc__) and len(told) == 6


def test_every_transfer_recipe_builds_for_its_data(monkeypatch):
    for name in ("objects_transfer", "objects_finetune", "objects_backbones", "dogs"):
        made = transfer.resolve_preprocessing(RECIPES[name]())
        assert made.model.weights == "imagenet" and made.transfer.freeze == "all"
        with torch.device("meta"):
            net = registry.build(made.model, (3, made.data.size, made.data.size), 10)
        assert net.body.place(made.transfer.thaw or "conv5") > 0


def test_activations_are_pictures_to_the_loop(images):
    _, found = cached(network(images), images)
    assert isinstance(found, Activations) and len(found) == 48 and found.resident("cpu") is found
    (first, labels, index), *_ = found.batches(torch.arange(48), 16)
    assert first.shape == (16, *found.shape) and first.is_contiguous(
        memory_format=torch.channels_last
    )
    assert labels.tolist() == images.labels[index].tolist()
    assert (cache_dir() / "features" / found.key / "values.bin").is_file()


def test_when_the_machine_is_slow_the_versions_that_are_whole_are_kept(images):
    said = []
    how = Augment(flip="random")
    _, short = cached(network(images), images, how=how, views=3, deadline=0.0, reporter=to(said))
    assert short.views == 1 and len(short) == 48 and "1 views of 48" in said[-1]
    _, one = cached(network(images), images, how=how, views=1)
    assert one.key == short.key and torch.equal(
        torch.from_numpy(np.asarray(one.pixels)), torch.from_numpy(np.asarray(short.pixels))
    )
    (file,) = (cache_dir() / "features").glob("*/values.bin")
    assert file.stat().st_size == short.count * 4 * int(np.prod(short.shape))


def test_when_it_is_slower_still_the_first_pictures_are_kept(images, monkeypatch):
    monkeypatch.setattr(features, "BATCH", 16)
    monkeypatch.setattr(features, "LEAST", 32)
    _, short = cached(network(images), images, deadline=0.0)
    _, first = cached(network(images), images.subset(np.arange(32)))
    assert (
        short.ids == images.ids[:32]
        and short.key == first.key
        and short.take(torch.arange(32)).shape[0] == 32
    )


def test_the_first_stage_always_gets_some_time():
    for reserve, seconds in ((100.0, 60.0), (0.0, 0.001)):
        clock = Clock(time.monotonic() - 1, budget=seconds, reserve=reserve)
        budget.ensure_minimum_training(clock)
        assert clock.left() == pytest.approx(budget.MINIMUM_TRAINING * seconds, abs=0.01)
    clock = Clock(time.monotonic(), budget=60.0, reserve=5.0)
    budget.ensure_minimum_training(clock)
    assert clock.reserve == 5.0


def test_what_was_seen_just_now_counts_more_than_a_short_try(images, monkeypatch):
    monkeypatch.setattr(features, "pace", lambda trunk, images, precision: 0.001)
    context = Context(clock=Clock(budget=170.0))
    frozen_features = transfer.FrozenFeatures(RECIPE, None, None, context, ())
    assert frozen_features.affordable(None, images, 4)[1] == 4
    assert frozen_features.affordable(None, images, 4, measured=1.0)[1] == 2


@pytest.mark.parametrize(
    "minimum", [budget.MINIMUM_TRAINING, -1.0]
)  # and where not even that is left: a step is
def test_a_budget_far_too_short_still_leaves_a_classifier_and_every_stage_its_result(
    tmp_path, monkeypatch, minimum
):
    settings = (
        "transfer.freeze=all",
        "transfer.thaw=conv4",
        "augment.flip=random",
        "training.budget=1.5",
    )
    monkeypatch.setattr(budget, "MINIMUM_TRAINING", minimum)
    run = train(tmp_path, *settings, clock=Clock(time.monotonic() - 1.4))
    assert run.status == "done" and run.result["test"]["n"]
    assert [found["stage"] for found in run.result["stages"]] in ([1], [1, 2])
    assert 0 <= run.result["stages"][0]["validation_top1"] <= 1


def test_show_tells_what_the_weights_expect_and_what_trains():
    recipe = replace(
        RECIPES["objects_finetune"](),
        data=Data("cifar10", size=96, channels=3),
        model=Model("tf_efficientnet_lite0", weights="none", head="average 256 dropout.5"),
    )
    found = show.describe(recipe, Path("nowhere"))
    assert (
        found["shape"] == [3, 96, 96]
        and found["pretrained"]["size"] == 224
        and found["pretrained"]["mean"] == (0.5, 0.5, 0.5)
    )
    first, second = found["trains"]
    assert first.startswith("training 4 of 151 tensors") and second.endswith("from blocks.5.0 on")
    lines = show.pretrained_lines(found)
    assert (
        lines[0]
        == "preprocessing of the weights: 224×224, bicubic, centre 0.875; mean 0.5, 0.5, 0.5; standard deviation 0.5, 0.5, 0.5"
    )
    assert lines[2].startswith("stage 1: training 4 of 151") and len(lines) == 4


def test_a_second_stage_without_time_is_left_out(images):
    plan = frozen(images, freeze="all", thaw="conv4", views=1)
    plan.context.clock.budget, said = 100.0, []
    plan = replace(plan, context=replace(plan.context, reporter=to(said)))
    made = plan.stages()
    next(made)
    plan.context.clock.started -= 1000
    assert list(made) == [] and "no time left" in said[-1]
