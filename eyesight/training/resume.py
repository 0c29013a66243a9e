"""Find the run and the checkpoint that a training continues from."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from eyesight.data.dataset import Dataset
from eyesight.errors import UserError
from eyesight.models import own
from eyesight.models.weights import HUB_WEIGHTS, NONE, fingerprint, read
from eyesight.recipe import Recipe, same_training
from eyesight.runs import Run, list_runs
from eyesight.training.context import Context


def unfinished(recipe: Recipe, data: Dataset, out: Path, context: Context) -> Run | None:
    """The newest unfinished run of the same training in `out`, or None.

    It was interrupted, or failed with a checkpoint (for example on a full disk), or only its report
    is missing. Leftovers in finished runs are removed.
    """
    talk = context.reporter.message
    for run in reversed(list_runs(out)):
        unended = is_unended(run, report=context.report)
        with suppress(UserError):  # skip runs of newer versions
            if not unended or not trained_alike(run, recipe):
                if unended and not own.is_same_code(recipe.model.name, run.environment):
                    talk(f"{run.path} was started with different code of {recipe.model.name}")
                continue
            if (run.data.get("split"), run.data.get("store")) == (data.hash, data.store.key):
                return run
            talk(f"{run.path} was started on other images than {data.name} contains now")
    talk("no unfinished run of this recipe on these images; starting a new one")
    return None


def is_unended(run: Run, *, report: bool) -> bool:
    """Whether a run is unfinished; with `report`, also if only its report is missing."""
    status = run.status
    if status == "done":
        if run.checkpoint_path.exists() and not run.held:
            remove_checkpoint(run)  # the process was killed before it could
        return report and not (run.path / "report.html").exists()
    return status == "interrupted" or (status == "failed" and run.checkpoint_path.exists())


def checkpoint(run: Run, stage: int) -> Path:
    """The path of a stage's checkpoint."""
    return run.checkpoint_path / (
        "state.safetensors" if stage == 1 else f"state{stage}.safetensors"
    )


def remove_checkpoint(run: Run) -> None:
    """Remove the checkpoints of a finished run."""
    shutil.rmtree(run.checkpoint_path, ignore_errors=True)


def trained_alike(run: Run, target: Recipe) -> bool:
    """Whether a run's recipe defines the same training as `target`.

    Weights files are compared by content; by path only if the file is missing or the run has no
    record of it.
    """
    recipe, given = run.recipe, target.model.weights
    if not own.is_same_code(target.model.name, run.environment):
        return False
    if not same_training(replace(recipe, model=replace(recipe.model, weights=given)), target):
        return False
    kept = run.environment.get("weights", {}).get("sha256")
    if (
        kept is None
        or given in (None, NONE, HUB_WEIGHTS)
        or not (file := Path(str(given)).expanduser()).is_file()
    ):
        return bool(recipe.model.weights == given)
    try:
        return bool(kept == _fingerprint(file, file.stat().st_size, file.stat().st_mtime_ns))
    except UserError:
        return False  # training reports the error


@lru_cache(maxsize=16)
def _fingerprint(file: Path, size: int, changed: int) -> str:
    return fingerprint(read(file))
