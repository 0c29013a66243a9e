"""What the folder of a run says of how it was chosen or joined: search, blend, folds, distil."""

from __future__ import annotations

from typing import cast

from eyesight.errors import UserError
from eyesight.results.blending import BlendRecord
from eyesight.results.distilling import DistilRecord
from eyesight.results.folds import FoldsRecord
from eyesight.results.searching import SearchRecord
from eyesight.runs import Run

SEARCH = "search.json"
BLEND = "blend.json"
FOLDS = "folds.json"
DISTIL = "distil.json"


def search(run: Run) -> SearchRecord | None:
    """What was tried before this run was trained; None for other runs, or a damaged file."""
    try:
        return SearchRecord.from_dict(run.read_json(SEARCH))
    except (UserError, KeyError, TypeError):
        return None


def blend(run: Run) -> BlendRecord | None:
    """How a blend was made; None for other runs, or a damaged file."""
    try:
        return BlendRecord.from_dict(run.read_json(BLEND))
    except (UserError, KeyError, TypeError):
        return None


def folds(run: Run) -> FoldsRecord | None:
    """What the folds of a run reached; None for other runs, or a damaged file."""
    values = run.read_json(FOLDS, missing_ok=True)
    if not FoldsRecord.__required_keys__ <= values.keys():
        return None
    return cast(FoldsRecord, values)


def distil(run: Run) -> DistilRecord | None:
    """How a student was taught; None for other runs, or a damaged file."""
    try:
        return DistilRecord.from_dict(run.read_json(DISTIL))
    except (UserError, KeyError, TypeError):
        return None
