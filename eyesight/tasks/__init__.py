"""The tasks by their target, as `data.target` names it.

To add a task, write a class in this package and register it here.
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
    """The task of a recipe."""
    return TASKS[recipe.data.target]
