"""eyesight turns a folder of images into a classifier that a person can trust.

The public names are loaded when they are first used, so importing the package does not import
PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eyesight.api import (
        Diagnosis,
        compare,
        doctor,
        evaluate,
        export,
        resolve,
        scan,
        train,
        write_report,
    )
    from eyesight.auditing.audit import Audit, audit
    from eyesight.classifier import Classifier
    from eyesight.comparison.compare import Comparison
    from eyesight.data.corrections import Corrections
    from eyesight.ensemble.blend import blend
    from eyesight.errors import UserError
    from eyesight.inference.onnx_classifier import OnnxClassifier
    from eyesight.inference.predict import load
    from eyesight.recipe import Augment, Data, Loss, Model, Optim, Recipe, Training, Transfer
    from eyesight.recipes import RECIPES
    from eyesight.results.history import EpochMetrics, History, Metrics
    from eyesight.results.predictions import Predictions
    from eyesight.runs import Run, list_runs

__version__ = "0.1.0"

HOMES = {
    "api": (
        "Diagnosis",
        "compare",
        "doctor",
        "evaluate",
        "export",
        "resolve",
        "scan",
        "train",
        "write_report",
    ),
    "auditing.audit": ("Audit", "audit"),
    "classifier": ("Classifier",),
    "comparison.compare": ("Comparison",),
    "data.corrections": ("Corrections",),
    "ensemble.blend": ("blend",),
    "errors": ("UserError",),
    "inference.onnx_classifier": ("OnnxClassifier",),
    "inference.predict": ("load",),
    "recipe": ("Augment", "Data", "Loss", "Model", "Optim", "Recipe", "Training", "Transfer"),
    "recipes": ("RECIPES",),
    "results.history": ("EpochMetrics", "History", "Metrics"),
    "results.predictions": ("Predictions",),
    "runs": ("Run", "list_runs"),
}

__all__ = [
    "RECIPES",
    "Audit",
    "Augment",
    "Classifier",
    "Comparison",
    "Corrections",
    "Data",
    "Diagnosis",
    "EpochMetrics",
    "History",
    "Loss",
    "Metrics",
    "Model",
    "OnnxClassifier",
    "Optim",
    "Predictions",
    "Recipe",
    "Run",
    "Training",
    "Transfer",
    "UserError",
    "audit",
    "blend",
    "compare",
    "doctor",
    "evaluate",
    "export",
    "list_runs",
    "load",
    "resolve",
    "scan",
    "train",
    "write_report",
]

if not TYPE_CHECKING:  # a type checker takes the names above, and no others

    def __getattr__(name: str) -> object:
        from importlib import import_module

        for module, names in HOMES.items():
            if name in names:
                value = getattr(import_module(f"eyesight.{module}"), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module 'eyesight' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
