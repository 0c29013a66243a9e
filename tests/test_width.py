"""The width of a network that a budget allows."""

import drawn
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
def slow(monkeypatch):
    """A machine whose speed is known."""
    monkeypatch.setattr(
        width, "seconds_per_image", lambda recipe, images, limit: SECONDS[recipe.model.width]
    )


@pytest.fixture
def images(tmp_path):
    return dataset.load(Data(str(drawn.folder(tmp_path / "set", 40)), size=32, validation=0.1))


def recipe(*settings):
    return override(objects(), ["training.budget=60", *settings])


@pytest.mark.parametrize(("passes", "value"), [(7, 1.0), (4, 0.6), (2, 0.4), (1, 0.25), (0, 0.25)])
def test_the_widest_network_that_sees_every_image_often_enough_is_taken(
    slow, images, passes, value
):
    seconds = passes * len(images.train) * SECONDS[1.0] / width.TRAINING_SHARE
    chosen = width.choose(recipe(), images.train, seconds)
    assert chosen.value == value
    assert chosen.at_full_width == pytest.approx(passes)
    assert f"{passes:.1f} at full width" in str(chosen)


def test_only_a_budget_chooses_and_a_width_that_is_set_stays(slow, images):
    for given in (objects(), recipe("model.width=0.5"), recipe("model.name=lenet5")):
        assert width.fitted(given, images.train, 0.1) == given
    assert width.fitted(recipe(), images.train, 0.1).model.width == 0.25


def test_the_run_records_the_width_and_keeps_it_when_it_is_resumed(slow, images, tmp_path):
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
    narrow = width.seconds_per_image(recipe("model.width=0.1"), images.train, 0.3)
    wide = width.seconds_per_image(recipe("model.width=1"), images.train, 0.3)
    assert 0 < narrow < wide
