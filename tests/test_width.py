"""The width of a network that a budget allows."""

import time

import drawn
import numpy as np
import pytest

from eyesight import experiment
from eyesight.data import dataset
from eyesight.experiment import Job, settle_width
from eyesight.recipe import Data, override
from eyesight.recipes.objects import objects
from eyesight.runs import Run
from eyesight.system.progress import Callbacks
from eyesight.training import width
from eyesight.training.clock import Clock
from eyesight.training.context import Context

SECONDS = {1.0: 0.01, 0.6: 0.005, 0.4: 0.002, 0.25: 0.001}  # for one image


@pytest.fixture
def speed(monkeypatch):
    """A machine whose speed is known: seconds for an image by the width of the network."""
    seconds = dict(SECONDS)
    monkeypatch.setattr(
        width, "seconds_per_image", lambda recipe, images, left: seconds[recipe.model.width or 1.0]
    )
    monkeypatch.setattr(width, "training_seconds", lambda recipe, left: max(0.0, left))
    return seconds


@pytest.fixture
def images(tmp_path):
    return dataset.load(Data(str(drawn.folder(tmp_path / "set", 40)), size=32, validation=0.1))


def recipe(*settings):
    return override(objects(), ["training.budget=60", *settings])


@pytest.mark.parametrize(("passes", "value"), [(7, 1.0), (4, 0.6), (2, 0.4), (1, 0.25), (0, 0.25)])
def test_the_widest_network_that_sees_every_image_often_enough_is_taken(
    speed, images, passes, value
):
    seconds = passes * len(images.train) * SECONDS[1.0]
    chosen = width.choose(recipe(), images.train, seconds)
    assert chosen.value == value
    assert chosen.passes_of_widest == pytest.approx(passes, rel=0.1, abs=0.1)
    assert chosen.passes == pytest.approx(passes * SECONDS[1.0] / SECONDS[value], rel=0.1, abs=0.1)


def test_a_network_is_not_narrowed_where_that_gains_nothing(speed, images):
    speed[0.6] = 0.95 * speed[1.0]
    chosen = width.choose(recipe(), images.train, len(images.train) * speed[1.0])
    assert chosen.value == 1.0
    assert width.with_width(recipe(), chosen.value) == recipe(), "the cache knows it by this name"


def test_no_width_is_larger_than_the_one_asked_for(speed, images):
    asked = recipe("model.width=0.6")
    assert width.choose(asked, images.train, 1e6).value == 0.6
    assert (
        width.choose(recipe("model.width=0.6", "training.budget=70"), images.train, 0.0).value
        == 0.25
    )


def test_seeds_get_one_width_for_an_hour(speed, images, monkeypatch):
    seconds = 7 * len(images.train) * SECONDS[1.0]
    assert width.choose(recipe(), images.train, seconds).value == 1.0
    speed.update({value: 10 * each for value, each in SECONDS.items()})
    assert width.choose(recipe("training.seed=1"), images.train, seconds).value == 1.0
    assert width.choose(recipe("training.budget=70"), images.train, seconds).value == 0.25
    later = time.time() + width.REMEMBERED + 1
    monkeypatch.setattr(width.time, "time", lambda: later)
    assert width.choose(recipe("training.seed=1"), images.train, seconds).value == 0.25


def test_another_number_of_images_gets_its_own_width(speed, images):
    seconds = 7 * len(images.train) * SECONDS[1.0]
    assert width.choose(recipe(), images.train, seconds).value == 1.0
    many = images.train.subset(np.arange(4 * len(images.train)) % len(images.train))
    assert width.choose(recipe(), many, seconds).value == 0.4


def test_small_first_images_are_more_images():
    training = objects().training
    assert (training.small, training.small_until) == (0.75, 0.4)
    assert width.acceleration(training) == pytest.approx(0.6 + 0.4 / 0.75**2)


def test_only_a_budget_chooses_and_a_width_that_is_set_stays(speed, images):
    for given in (objects(), recipe("model.width=0.5"), recipe("model.name=small_vgg")):
        assert width.fitted(given, images.train, 0.1) == given
    assert width.fitted(recipe(), images.train, 0.1).model.width == 0.25


def test_the_run_records_the_width_and_keeps_it_when_it_is_resumed(speed, images, tmp_path):
    asked = recipe("training.budget=0.1")
    said = []
    context = Context(Callbacks(said.append, lambda epoch: None), Clock(budget=0.1))
    run = experiment.begin(asked, images, tmp_path / "runs")
    job = settle_width(Job(run, asked, images, context))
    assert job.recipe.model.width == 0.25
    assert any("width 0.25" in line for line in said)
    experiment.build(job)
    opened = Run(run.path)
    assert opened.settled.model.width == 0.25
    assert opened.recipe.model.width is None
    later = settle_width(Job(opened, asked, images, Context(clock=Clock(budget=1e6))))
    assert later.recipe.model.width == 0.25


def test_seconds_of_a_step_are_measured(images):
    narrow = width.seconds_per_image(recipe("model.width=0.1"), images.train, 10.0)
    wide = width.seconds_per_image(recipe("model.width=1"), images.train, 10.0)
    assert 0 < narrow < wide
