"""The settings of a run that differ from the defaults, and what was really used of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from eyesight import recipe as recipes
from eyesight.results.records import Used
from eyesight.runs import Run


@dataclass(frozen=True)
class Setting:
    """A field of the recipe, by its dotted path."""

    path: str
    value: object
    remark: str


def settings(run: Run) -> list[Setting]:
    """What differs from the defaults, and what training did otherwise than set."""
    settled = run.settled
    changed = recipes.differences(settled, recipes.Recipe())
    shown = []
    for path in recipes.paths():
        value = recipes.field_value(settled, path)
        remark = ", ".join(_remarks(run, path, value))
        if path in changed or remark:
            shown.append(Setting(path, value, remark))
    return shown


def _remarks(run: Run, path: str, value: object) -> Iterator[str]:
    environment = run.environment
    if path in (environment.get("chosen") or {}):
        yield "chosen for the budget" if path == "model.width" else "chosen for these images"
    reason = (environment.get("without_effect") or {}).get(path)
    if reason:
        yield f"without effect: {reason}"
    validation = environment.get("validation_images")
    if path == "data.validation" and validation is not None:
        yield f"{validation:,} validation images were used to stay within the budget"
    for used in run.result.get("trained") or ():
        yield from _otherwise(used, path, value)


def _otherwise(used: Used, path: str, value: object) -> Iterator[str]:
    """What a stage of the training did otherwise than set."""
    is_second = used.get("stage") == 2
    epochs = "transfer.thaw_epochs" if is_second else "training.epochs"
    if path == epochs and used.get("partial"):
        yield "less than one pass was made"
    elif path == epochs and used["epochs"] != value:
        yield "1 pass was made" if used["epochs"] == 1 else f"{used['epochs']:,} passes were made"
    if path == "transfer.views" and not is_second and used["versions"] != value:
        yield "1 view was used" if used["versions"] == 1 else f"{used['versions']} views were used"
