"""Every field of a recipe has a range, and it holds wherever the recipe comes from."""

import json
from dataclasses import replace
from functools import partial

import pytest

from eyesight.errors import UserError
from eyesight.recipe import (
    GROUPS,
    Augment,
    Model,
    Recipe,
    Training,
    field_value,
    from_dict,
    override,
    paths,
    replace_field,
    to_dict,
    to_json,
)
from eyesight.recipes import RECIPES

NUMBERS = {path: limits for path, limits in paths().items() if limits is not None}


def test_every_number_has_a_range():
    values = {path: field_value(Recipe(), path) for path in paths()}
    numeric = {
        path
        for path, value in values.items()
        if isinstance(value, int | float | tuple) and not isinstance(value, bool)
    }
    choices = {"data.channels", "model.options"}  # not numbers in a range
    assert numeric - set(NUMBERS) == choices
    assert len(NUMBERS) > 55


@pytest.mark.parametrize("path", NUMBERS)
def test_numbers_outside_their_range_are_refused_from_everywhere(path):
    group, name = path.split(".")
    limits, pair = NUMBERS[path], isinstance(field_value(Recipe(), path), tuple)
    part = getattr(Recipe(), group)
    for number in (limits.low - 1, limits.high * 2 + 1, float("nan"), float("inf")):
        value = (number, number) if pair else number
        text = f"{number},{number}" if pair else str(number)
        values = to_dict(Recipe())
        values[group] = {**values[group], name: list(value) if pair else value}
        for refused in (
            partial(replace, part, **{name: value}),
            partial(override, Recipe(), [f"{path}={text}"]),
            partial(from_dict, values),
        ):
            with pytest.raises(UserError) as error:
                refused()
            if path != "training.budget":  # as a text it is a duration
                assert path in error.value.message
                assert "from" in error.value.message and error.value.hint


@pytest.mark.parametrize("path", NUMBERS)
def test_the_ends_of_a_range_are_allowed(path):
    for number in (NUMBERS[path].low, NUMBERS[path].high):
        default = field_value(Recipe(), path)
        value = (float(number),) * 2 if isinstance(default, tuple) else number
        assert field_value(replace_field(Recipe(), path, value), path) == value


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Training(epochs=2.5), "training.epochs must be an integer from 1 to 1,000,000"),
        (lambda: Training(epochs=True), "training.epochs must be an integer"),
        (lambda: Training(batch="32"), "training.batch must be an integer"),
        (lambda: Training(views="two"), "unknown value of training.views 'two'"),
        (lambda: Model(name=3), "model.name must be text, not 3"),
        (lambda: Model(softmax=1), "model.softmax must be true or false, not 1"),
        (lambda: Augment(brightness=(3.0, 1.0)), "needs the smaller number first, not 3,1"),
        (lambda: Augment(brightness=(1.0,)), "2 numbers separated by commas"),
        (lambda: from_dict({"model": [1]}), "model is not an object"),
        (lambda: from_dict({"format": "x"}), "newer version of eyesight"),
        (lambda: override(Recipe(), ["data.channels=2"]), "unknown value of data.channels '2'"),
        (lambda: override(Recipe(), ["augment.flip=true"]), "unknown value of augment.flip"),
    ],
)
def test_values_of_another_kind_are_refused(build, message):
    with pytest.raises(UserError) as error:
        build()
    assert message in error.value.message


def test_numbers_of_numpy_and_whole_numbers_for_fractions_are_taken():
    numpy = pytest.importorskip("numpy")
    training = Training(epochs=numpy.int64(3), budget=numpy.float32(2), average=0)
    assert training.epochs == 3


def test_every_recipe_is_read_back_as_it_was_written():
    for build in RECIPES.values():
        assert from_dict(json.loads(to_json(build()))) == build()
    assert set(GROUPS) < set(to_dict(Recipe()))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Model("dropout_cnn"), (3, 4000, 4000)),
        (Model("allconv", width=100), (3, 32, 32)),
        (Model("test_resnet", weights="none", head="average 100000000"), (3, 32, 32)),
    ],
)
def test_a_network_that_cannot_fit_in_memory_is_refused_before_it_is_built(
    model, shape, monkeypatch
):
    from eyesight.models import registry

    monkeypatch.setattr(registry.memory, "available", lambda: 1 << 30)
    with pytest.raises(UserError, match="GB of memory for its"):
        registry.build(model, shape, 10)


def test_a_large_network_that_fits_is_built():
    from eyesight.models import registry

    network = registry.build(Model("fast_digits", width=0.5, depth=60), (1, 28, 28), 10)
    assert len(list(network.parameters())) > 120
