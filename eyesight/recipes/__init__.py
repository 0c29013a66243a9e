"""Recipes by name: functions that return a `Recipe`, so that each can say where it comes from and what it reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from eyesight.errors import unknown
from eyesight.recipe import Recipe, override
from eyesight.recipes import digits
from eyesight.runs import Run

RECIPES: dict[str, Callable[[], Recipe]] = {
    "lenet5": digits.lenet5,
    "lenet5_1998": digits.lenet5_1998,
    "digits_cnn": digits.digits_cnn,
}


def find(name: str) -> Recipe:
    """The recipe called `name`; raises UserError naming the nearest one."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]()


def resolve(name: str, *settings: str, data: str | Path | None = None) -> Recipe:
    """The recipe called `name`, or of the run in the folder `name`, on other pictures and with `group.field=value` settings."""
    a_run = name not in RECIPES and ("/" in name or "\\" in name or Path(name).exists())
    recipe = Run.open(Path(name)).recipe if a_run else find(name)
    if data is not None:
        recipe = replace(recipe, data=replace(recipe.data, source=str(data)))
    return override(recipe, settings)
