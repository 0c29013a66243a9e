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
    """The newest run of the same training in `out` that has something left to do.

    It was interrupted, or failed with a checkpoint (on a full disk, say), or lacks only the report
    that is to follow. What a kill left behind in finished runs is removed.
    """
    talk = context.reporter.message
    for run in reversed(list_runs(out)):
        unended = is_unended(run, report=context.report)
        with suppress(UserError):  # a run of a later eyesight is none of ours
            if not unended or not trained_alike(run, recipe):
                if unended and not own.is_same_code(recipe.model.name, run.environment):
                    talk(f"{run.path} was begun with other code of {recipe.model.name}")
                continue
            if (run.data.get("split"), run.data.get("store")) == (data.hash, data.store.key):
                return run
            talk(f"{run.path} was begun on other pictures than {data.name} holds now")
    talk("no unfinished run of this recipe on these pictures: a new one begins")
    return None


def is_unended(run: Run, *, report: bool) -> bool:
    """Whether a run has something left to do.

    With `report`, also where only its report is missing.
    """
    status = run.status
    if status == "done":
        if run.checkpoint_path.exists() and not run.held:
            remove_checkpoint(run)  # the process was killed before it could
        return report and not (run.path / "report.html").exists()
    return status == "interrupted" or (status == "failed" and run.checkpoint_path.exists())


def checkpoint(run: Run, stage: int) -> Path:
    """Where the state of a stage is kept while it trains."""
    return run.checkpoint_path / (
        "state.safetensors" if stage == 1 else f"state{stage}.safetensors"
    )


def remove_checkpoint(run: Run) -> None:
    """What was there to resume from is of no use to a run that is done."""
    shutil.rmtree(run.checkpoint_path, ignore_errors=True)


def trained_alike(run: Run, target: Recipe) -> bool:
    """Whether a run's recipe decides a training as `target` does.

    A file of weights counts by what is in it, wherever it lies. By its place only where that cannot
    be told: the file is gone, or the run did not note what it began with.
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
        return False  # training will say what is wrong with it


@lru_cache(maxsize=16)
def _fingerprint(file: Path, size: int, changed: int) -> str:
    return fingerprint(read(file))
