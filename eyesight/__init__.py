"""eyesight turns a folder of images into a classifier that a person can trust.

The public names are loaded when they are first used, so importing the package does not import
PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eyesight.classifier import Classifier, load
    from eyesight.errors import UserError
    from eyesight.experiment import evaluate, train
    from eyesight.recipe import Recipe
    from eyesight.recipes import RECIPES
    from eyesight.report.report import write_report
    from eyesight.results.predictions import Predictions, summary
    from eyesight.runs import Run, list_runs, resolve

__version__ = "0.1.0"

_HOMES = {
    "Classifier": "classifier",
    "load": "classifier",
    "UserError": "errors",
    "evaluate": "experiment",
    "train": "experiment",
    "summary": "results.predictions",
    "Predictions": "results.predictions",
    "Recipe": "recipe",
    "RECIPES": "recipes",
    "resolve": "runs",
    "write_report": "report.report",
    "Run": "runs",
    "list_runs": "runs",
}

__all__ = [
    "RECIPES",
    "Classifier",
    "Predictions",
    "Recipe",
    "Run",
    "UserError",
    "evaluate",
    "list_runs",
    "load",
    "resolve",
    "summary",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'eyesight' has no attribute {name!r}")
    return getattr(import_module(f"eyesight.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
