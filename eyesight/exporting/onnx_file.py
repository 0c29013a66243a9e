"""Where a run keeps its ONNX file, and how it is made in a child process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import eyesight
from eyesight.errors import UserError
from eyesight.inference.onnx_classifier import load
from eyesight.inference.recognise import classifier_folder
from eyesight.models.zoo import timm_name
from eyesight.runs import Run
from eyesight.system.cache import cache_dir
from eyesight.system.child_process import last_error
from eyesight.system.progress import Talk, silent


def file_of(run: Run) -> Path:
    """Where a run keeps its ONNX file when nobody says otherwise."""
    return run.path / "export" / f"{run.recipe.name or run.recipe.model.name}.onnx"


def is_fresh(run: Run, file: Path) -> bool:
    """Whether the file was exported from the weights that the run has now."""
    try:
        made_from = load(file, 1).facts.get("weights")
        return bool(made_from == run.read_json("classifier/classifier.json")["weights_sha256"])
    except (UserError, KeyError):
        return False


def exported(run: Run, talk: Talk = silent) -> Path:
    """The run's ONNX file, made by a process of its own when it is missing or older than the weights."""
    classifier_folder(run.path)
    file = file_of(run)
    if is_fresh(run, file):
        return file
    talk(f"exporting {run.path} once, to {file}")
    _export(str(run.path))
    return file


def pretrained(name: str, only: str | None = None, talk: Talk = silent) -> Path:
    """The ONNX file of a pretrained network, in the cache, made by a process of its own the first time."""
    folder = cache_dir() / "networks"
    file = folder / f"{timm_name(name)}{f'-{only}' if only else ''}-{eyesight.__version__}.onnx"
    if file.is_file():
        return file
    folder.mkdir(parents=True, exist_ok=True)
    talk(f"exporting {name} once, to {file}")
    _export(name, "--out", str(file), *(("--only", only) if only else ()))
    return file


def _export(what: str, *options: str) -> None:
    command = [sys.executable, "-m", "eyesight", "export", what, *options]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 - this very program
    if done.returncode:
        hint = (
            done.stderr.rpartition("hint: ")[2].strip()
            if "hint: " in done.stderr
            else f"see `eyesight export {what}`"
        )
        raise UserError(f"{what} could not be exported: {last_error(done.stderr)}", hint)
