"""Where a run keeps its ONNX file, and how it is made in a child process."""

from __future__ import annotations

from pathlib import Path

import eyesight
from eyesight.errors import UserError
from eyesight.inference.onnx_classifier import load
from eyesight.inference.predict import classifier_folder
from eyesight.models.zoo import find, timm_name
from eyesight.runs import Run
from eyesight.system import cache
from eyesight.system.child_process import run_eyesight
from eyesight.system.digest import value_sha256
from eyesight.system.progress import Talk, silent

WRONG_USAGE = 2


def file_of(run: Run) -> Path:
    """Where a run keeps its ONNX file unless another place is named."""
    return run.path / "export" / f"{run.recipe.name or run.recipe.model.name}.onnx"


def is_fresh(run: Run, file: Path) -> bool:
    """Whether the file was exported from the weights that the run has now."""
    try:
        exported_from = load(file, 1).facts.get("weights")
        weights = run.read_json("classifier/classifier.json")["weights_sha256"]
    except (UserError, KeyError):
        return False
    return bool(exported_from == weights)


def exported(run: Run, talk: Talk = silent) -> Path:
    """The run's ONNX file, exported in a child process when missing or older than the weights.

    Raises UserError when the run has no classifier, or when the export fails.
    """
    classifier_folder(run.path)
    file = file_of(run)
    if not is_fresh(run, file):
        talk(f"exporting {run.path} to {file}")
        _export(str(run.path))
    return file


def pretrained(name: str, only: str | None = None, talk: Talk = silent) -> Path:
    """The ONNX file of a pretrained network, in the cache; exported in a child process once.

    Raises UserError when the export fails.
    """
    network = timm_name(name)
    options = ["--only", only] if only else []
    file_name = f"{network}-{only}.onnx" if only else f"{network}.onnx"
    key = value_sha256([network, only, eyesight.__version__])
    folder = cache.recall("networks", key)
    if folder is None:
        if find(name) is not None:
            talk(f"exporting {name} into the cache")
        else:  # only the child loads timm, which knows the other names
            talk(f"{name} is neither a run nor a file; looking for a pretrained network")
        with cache.build("networks") as building:
            _export(name, "--out", str(building / file_name), *options)
            folder = cache.keep(building, key, file_name)
    return folder / file_name


def _export(name: str, *options: str) -> None:
    done = run_eyesight("export", name, *options)
    if done.code == WRONG_USAGE:  # the name itself
        raise UserError(done.error, done.hint, code=WRONG_USAGE)
    if done.code:
        hint = done.hint or f"see `eyesight export {name}`"
        raise UserError(f"{name} could not be exported: {done.error}", hint)
