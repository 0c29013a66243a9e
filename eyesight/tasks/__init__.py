"""The tasks by their target, as `data.target` names it.

A new one is a class beside these and a line here.
"""

from __future__ import annotations

from eyesight.recipe import Recipe
from eyesight.tasks.classify import Classify
from eyesight.tasks.reconstruct import Reconstruct
from eyesight.tasks.segment import Segment
from eyesight.tasks.task import Task

__all__ = ["TASKS", "Task", "of"]

TASKS: dict[str, Task] = {task.target: task for task in (Classify(), Reconstruct(), Segment())}


def of(recipe: Recipe) -> Task:
    """What a recipe's network has to do."""
    return TASKS[recipe.data.target]
