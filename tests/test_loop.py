import itertools
import math
import time
from contextlib import nullcontext
from dataclasses import replace

import drawn
import pytest
import torch

from eyesight.errors import UserError
from eyesight.models import registry
from eyesight.recipe import Augment, Loss, Model, Optim, Recipe, Training, override
from eyesight.system.progress import Reporter
from eyesight.training import loop
from eyesight.training.checkpoint import State
from eyesight.training.clock import Clock
from eyesight.training.context import Context
from eyesight.training.history import best_epoch, is_perfect, out_of_patience
from eyesight.training.loop import _Loop, _Trained, fit, plan

SMALL = Recipe(
    name="small",
    model=Model("basic_cnn"),
    augment=Augment(rotate=10, shift=0.1, noise=0.02),
    optim=Optim("adam", lr=0.002, schedule="cosine"),
    training=Training(epochs=3, batch=32, seed=5, average=0.9),
)


def start(recipe, images):
    torch.manual_seed(recipe.training.seed)
    network = registry.build(recipe.model, images.shape, len(images.classes)).to(
        memory_format=torch.channels_last
    )
    return State.start(network, recipe)


def weights(state):
    return {name: tensor.clone() for name, tensor in state.network.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def test_it_learns_shapes_it_has_not_seen():
    train, validation = drawn.images(300), drawn.images(90, seed=1)
    recipe = override(SMALL, ["training.epochs=10", "training.average=0", "augment.rotate=0"])
    state = start(recipe, train)
    epochs = list(fit(state, train, validation, recipe))
    assert [epoch.epoch for epoch in epochs] == list(range(1, 11))
    assert epochs[-1].validation_score > 0.9
    assert epochs[-1].train_loss < epochs[0].train_loss / 2
    assert epochs[-1].progress == 1.0


def test_pictures_are_small_early_on():
    train = drawn.images(96)
    recipe = override(
        SMALL,
        [
            "model.name=fast_objects",
            "model.width=0.125",
            "training.average=0",
            "training.small=0.75",
            "training.small_until=0.5",
        ],
    )
    state, sides = start(recipe, train), []
    state.network.normalise.register_forward_pre_hook(
        lambda layer, given: sides.append(given[0].shape[2])
    )
    full = train.shape[1]
    for _ in fit(state, train, None, override(recipe, ["training.epochs=2"])):
        pass
    assert (
        sides[1:] == [round(full * 0.75)] * 3 + [full] * 3
    )  # the first was the check that the network takes them


def test_a_network_that_takes_one_size_only_refuses_smaller_pictures():
    train = drawn.images(40)
    recipe = override(SMALL, ["training.small=0.5"])
    with pytest.raises(UserError, match="accepts only images of"):
        next(fit(start(recipe, train), train, None, recipe))


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "muon"])
@pytest.mark.parametrize("stop", [1, 2])
def test_interrupted_and_resumed_is_uninterrupted(tmp_path, optimiser, stop):
    images = drawn.images(96)
    recipe = override(SMALL, [f"optim.name={optimiser}", "optim.momentum=0.5", "augment.mixup=0.2"])
    whole = start(recipe, images)
    losses = [epoch.train_loss for epoch in fit(whole, images, images, recipe)]
    whole.finish(recipe.training)

    first = start(recipe, images)
    for _, epoch in zip(range(stop), fit(first, images, images, recipe), strict=False):
        assert epoch.train_loss == losses[epoch.epoch - 1], (
            "the same seed gives the same loss to the last bit"
        )
        first.save(tmp_path / "state.safetensors")
    torch.rand(7)  # whatever else the process did must not matter
    second = start(replace(recipe), images)
    second.restore(tmp_path / "state.safetensors")
    assert second.epoch == stop
    rest = [epoch.train_loss for epoch in fit(second, images, images, recipe)]
    second.finish(recipe.training)
    assert losses[stop:] == rest
    assert same(weights(whole), weights(second))


def test_another_seed_gives_another_result():
    images = drawn.images(64)
    results = []
    for seed in (1, 2):
        recipe = override(SMALL, [f"training.seed={seed}", "training.epochs=1"])
        state = start(recipe, images)
        results.append([epoch.train_loss for epoch in fit(state, images, None, recipe)])
    assert results[0] != results[1]


def test_a_loss_that_is_no_number_stops_with_an_explanation():
    images = drawn.images(64)
    recipe = override(SMALL, ["optim.name=sgd", "optim.lr=1e30", "training.average=0"])
    with pytest.raises(UserError, match="NaN or infinite in epoch 1") as caught:
        list(fit(start(recipe, images), images, images, recipe))
    assert "optim.lr" in caught.value.hint


def test_the_best_weights_are_kept_or_the_last():
    images, other = drawn.images(90), drawn.images(60, seed=3)
    kept = {}
    for keep in ("best", "last"):
        recipe = override(
            SMALL,
            [
                f"training.keep={keep}",
                "optim.lr=0.05",
                "optim.schedule=constant",
                "training.epochs=6",
            ],
        )
        state = start(recipe, images)
        scores = [epoch.validation_loss for epoch in fit(state, images, other, recipe)]
        state.finish(recipe.training)
        with torch.no_grad():
            loss = torch.nn.functional.cross_entropy(
                state.network.eval()(other.take(torch.arange(len(other)))), other.labels
            )
        kept[keep] = (float(loss), scores)
    loss, scores = kept["best"]
    assert loss == pytest.approx(min(scores), rel=1e-3)
    loss, scores = kept["last"]
    assert loss == pytest.approx(scores[-1], rel=1e-3)


def history(*losses):
    return [{"loss": loss, "score": 1 - loss} for loss in losses]


def test_patience_counts_epochs_without_enough_improvement():
    training = Training(patience=2, min_delta=0.05)
    assert best_epoch(history(1.0, 0.8, 0.79, 0.78), training) == 2
    assert out_of_patience(history(1.0, 0.8, 0.79, 0.78), training)
    assert not out_of_patience(history(1.0, 0.8, 0.79, 0.7), training)
    assert not out_of_patience(history(1.0, 1.0, 1.0), Training(patience=0))
    assert best_epoch(history(0.5, 0.9, 0.4), Training(monitor="top1")) == 3
    ties = [{"loss": loss, "score": 0.9} for loss in (0.5, 0.4, 0.4)]
    assert (
        best_epoch(ties, Training(monitor="score")) == 2
        and best_epoch(ties, Training(monitor="score", min_delta=0.01)) == 1
    )


def test_a_budget_ends_the_schedule_and_the_training_in_time():
    looks = itertools.count()
    images = drawn.images(300)
    recipe = override(
        SMALL, ["optim.schedule=linear", "training.epochs=1000", "training.average=0"]
    )
    # 20 ms from one look to the next
    clock = Clock(0.0, budget=3.0, reserve=1.0, now=lambda: next(looks) / 50)
    epochs = list(fit(start(recipe, images), images, images, recipe, Context(clock=clock)))
    assert 2.0 <= clock.elapsed() < 2.2
    assert epochs[-1].progress == 1.0
    assert epochs[-1].lr < 0.1 * recipe.optim.lr, "the rate reaches its floor with the budget"


def test_a_pass_that_the_budget_left_no_step_for_is_not_counted():
    images = drawn.images(30)
    recipe = override(SMALL, ["training.average=0", "training.budget=2"])
    state = start(recipe, images)
    clock = Clock(0.0, budget=2.0, now=Ticks(0.02))
    list(fit(state, images, images, recipe, Context(clock=clock)))
    assert state.passes == state.steps > 1, "all images are one batch"


def test_a_budget_too_short_for_one_step_is_an_error():
    images = drawn.images(64)
    with pytest.raises(UserError, match="too short for a single training step"):
        list(
            fit(
                start(SMALL, images),
                images,
                None,
                SMALL,
                Context(clock=Clock(time.monotonic() - 5, budget=2.0)),
            )
        )


def test_small_sets_get_smaller_batches_and_more_epochs_where_a_recipe_asks_for_steps():
    assert plan(Training(epochs=10, batch=512), 60_000) == (512, 10)
    assert plan(Training(epochs=10, batch=512, min_steps=400), 60_000) == (512, 10)
    batch, epochs = plan(Training(epochs=10, batch=512, min_steps=400), 320)
    assert batch == 20
    assert epochs * 320 / batch >= 400


def test_many_passes_over_a_few_pictures_are_few_lines(monkeypatch):
    monkeypatch.setattr(loop, "LINES", 20)
    recipe = override(SMALL, ["training.min_steps=90", "training.average=0"])
    images = drawn.images(6)
    state = start(recipe, images)
    found = list(fit(state, images, images, recipe))
    assert state.steps == 90 and sum(epoch.pictures for epoch in found) == 90 * 6
    assert len(found) == 23 and found[-1].progress == 1.0


@pytest.mark.parametrize("count", [33, 65])
def test_a_lone_picture_is_never_a_batch(count):
    images = drawn.images(count)
    sizes = [len(labels) for _, labels, _ in images.batches(torch.arange(count), 32)]
    assert sum(sizes) == count
    assert min(sizes) > 1
    recipe = override(
        SMALL, ["model.name=mixup_cnn", "training.epochs=1", "training.batch=32", "model.dropout=0"]
    )
    assert len(list(fit(start(recipe, images), images, images, recipe))) == 1


def test_batches_of_one_are_refused_where_a_network_cannot_take_them():
    images = drawn.images(6, size=32)
    for name, refused in (("bottleneck", True), ("mixup_cnn", False)):
        recipe = override(SMALL, [f"model.name={name}", "training.epochs=1", "training.batch=1"])
        with pytest.raises(UserError, match="batch of one") if refused else nullcontext():
            list(fit(start(recipe, images), images, None, recipe))


def test_training_on_blends_measures_the_curve_on_clean_pictures():
    images = drawn.images(120)
    recipe = override(
        SMALL, ["augment.mixup=1", "training.epochs=14", "training.average=0", "augment.rotate=0"]
    )
    epochs = list(fit(start(recipe, images), images, images, recipe))
    assert all(epoch.train_clean for epoch in epochs)
    assert epochs[-1].train_score > 0.6
    assert epochs[-1].train_score == pytest.approx(epochs[-1].validation_score, abs=0.02), (
        "validation is the training set here"
    )


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "mse"])
def test_every_loss_trains_with_blends_and_weights(name):
    images = drawn.images(60)
    recipe = replace(
        SMALL, loss=Loss(name, smoothing=0.1, class_weights="balanced"), augment=Augment(cutmix=1.0)
    )
    epochs = list(fit(start(recipe, images), images, images, recipe))
    assert all(math.isfinite(epoch.train_loss) for epoch in epochs)


def test_the_loss_of_every_nth_step_is_reported_when_asked_for():
    images, steps = drawn.images(96), []

    class Steps(Reporter):
        def step(self, step, loss):
            steps.append((step, loss))

    for _ in fit(start(SMALL, images), images, None, SMALL, Context(Steps(), every=2)):
        pass
    assert [step for step, _ in steps] == [2, 4, 6, 8]
    assert all(math.isfinite(loss) and loss > 0 for _, loss in steps)
    steps.clear()
    for _ in fit(start(SMALL, images), images, None, SMALL, Context(Steps())):
        pass
    assert not steps


def test_every_step_reports_how_far_the_training_is():
    images, shares = drawn.images(96), []

    class Shares(Reporter):
        def progress(self, doing, done, total):
            assert (doing, total) == ("training", 1.0)
            shares.append(done)

    for _ in fit(start(SMALL, images), images, None, SMALL, Context(Shares())):
        pass
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    assert len(set(shares)) == 10, "three steps in each of three epochs"


class Ticks:
    """A clock that moves by a fixed time whenever it is read."""

    def __init__(self, seconds):
        self.seconds, self.time = seconds, 0.0

    def __call__(self):
        self.time += self.seconds
        return self.time


def budgeted(seconds, *settings, tick=0.02):
    """The epochs of a training of 300 images under a budget, on a clock that ticks with
    every look.
    """
    images = drawn.images(300)
    recipe = override(
        SMALL, ["training.average=0", "augment.rotate=0", f"training.budget={seconds}", *settings]
    )
    state = start(recipe, images)
    clock = Clock(0.0, budget=float(seconds), now=Ticks(tick))
    return state, list(fit(state, images, images, recipe, Context(clock=clock)))


def test_under_a_budget_set_epochs_end_a_training_when_they_come_first():
    state, epochs = budgeted(1000, "training.epochs=2", "optim.schedule=linear")
    assert state.steps == 2 * 10 and epochs[-1].progress == 1.0
    assert epochs[-1].lr < 0.15 * SMALL.optim.lr, "the rate reaches its floor with the epochs"
    state, epochs = budgeted(1, "training.epochs=2000")
    assert 0 < state.steps < 100, "here the budget comes first"
    state, epochs = budgeted(3)
    assert state.steps > 3 * 10, "epochs of the recipe alone end nothing"


def test_under_a_budget_the_rate_falls_after_as_many_epochs_as_the_recipe_says():
    step = ("optim.schedule=step", "optim.step_epochs=2", "optim.step_factor=0.5")
    _, epochs = budgeted(2, *step)
    passed, rates = 0.0, []
    for epoch in epochs:
        passed += epoch.pictures / 300
        rates.append((passed, epoch.lr / SMALL.optim.lr))
    assert passed > 4
    for passed, rate in rates:
        # The rate is that of the last step of an epoch of the log.
        assert rate == 0.5 ** int((passed - 1 / 10) / 2 + 1e-6)


def test_a_second_stage_repeats_no_random_numbers_of_the_first():
    images, orders = drawn.images(40), {}
    for stage in (1, 2):
        recipe = override(SMALL, ["training.epochs=2", "training.average=0"])
        torch.manual_seed(0)
        network = registry.build(recipe.model, images.shape, 3)
        state, seen = State.start(network, recipe, stage), []
        real = type(images).batch

        def see(self, index, device="cpu", seen=seen, real=real):
            seen.append(tuple(index.tolist()))
            return real(self, index, device)

        with pytest.MonkeyPatch.context() as monkey:
            monkey.setattr(type(images), "batch", see)
            list(fit(state, images, None, recipe))
        orders[stage] = seen
    assert not set(orders[1]) & set(orders[2])


@pytest.mark.parametrize(
    ("monitor", "kept"), [("loss", 1), ("score", 2), ("train_loss", 4), ("train_score", 3)]
)
def test_the_monitored_value_decides_which_epoch_is_kept(monitor, kept, monkeypatch):
    curves = [  # train loss and score, validation loss and score
        (0.9, 0.5, 0.5, 0.6),
        (0.8, 0.6, 0.6, 0.9),
        (0.7, 0.9, 0.7, 0.7),
        (0.6, 0.8, 0.8, 0.8),
    ]
    images = drawn.images(64)
    recipe = override(
        SMALL, [f"training.monitor={monitor}", "training.epochs=4", "training.average=0"]
    )
    loop, number = "eyesight.training.loop._Loop", iter(range(4))

    def epoch(self, real=_Loop.epoch):
        real(self)
        self.place = next(number)
        return _Trained(*curves[self.place][:2], 1.0)

    monkeypatch.setattr(f"{loop}.epoch", epoch)
    monkeypatch.setattr(f"{loop}.score", lambda self, *rest: curves[self.place][2:])
    state = start(recipe, images)
    best = [epoch.epoch for epoch in fit(state, images, images, recipe) if epoch.best]
    assert best[-1] == kept == best_epoch(state.history, recipe.training)


def test_three_epochs_without_a_mistake_are_perfect():
    scores = [{"loss": 0.1, "score": score} for score in (1.0, 0.9, 1.0, 1.0, 1.0)]
    assert [is_perfect(scores[:count]) for count in range(6)] == [False] * 5 + [True]


def test_nan_never_wins():
    for monitor in ("loss", "score"):
        training = Training(monitor=monitor)
        assert best_epoch(history(math.nan, 0.9), training) == 2
        assert best_epoch(history(0.9, math.nan), training) == 1
        assert best_epoch(history(math.nan, 0.9, 0.8, math.nan), training) == 3
        assert best_epoch(history(math.nan), training) == 1, "there is no other"
    tie = [{"loss": math.nan, "score": 0.9}, {"loss": 0.5, "score": 0.9}]
    assert best_epoch(tie, Training(monitor="score")) == 2, "the one whose loss is a number"
    assert best_epoch(tie[::-1], Training(monitor="score")) == 1
