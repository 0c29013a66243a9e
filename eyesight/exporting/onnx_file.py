"""Where a run keeps its ONNX file, and how it is made in a child process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import eyesight
from eyesight.errors import UserError
from eyesight.inference.onnx_classifier import load
from eyesight.inference.predict import classifier_folder
from eyesight.models.zoo import timm_name
from eyesight.runs import Run
from eyesight.system.cache import cache_dir
from eyesight.system.child_process import last_error
from eyesight.system.progress import Talk, silent


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
        talk(f"exporting {run.path} once, to {file}")
        _export(str(run.path))
    return file


def pretrained(name: str, only: str | None = None, talk: Talk = silent) -> Path:
    """The ONNX file of a pretrained network, in the cache; exported in a child process once.

    Raises UserError when the export fails.
    """
    folder = cache_dir() / "networks"
    options = []
    variant = timm_name(name)
    if only:
        options = ["--only", only]
        variant += f"-{only}"
    file = folder / f"{variant}-{eyesight.__version__}.onnx"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        talk(f"exporting {name} once, to {file}")
        _export(name, "--out", str(file), *options)
    return file


def _export(name: str, *options: str) -> None:
    command = [sys.executable, "-m", "eyesight", "export", name, *options]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 - this very program
    if done.returncode:
        hint = f"see `eyesight export {name}`"
        if "hint: " in done.stderr:
            hint = done.stderr.rpartition("hint: ")[2].strip()
        raise UserError(f"{name} could not be exported: {last_error(done.stderr)}", hint)
