"""Which run answers on the pages, and the runs of its folder that could."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from starlette.requests import Request

from eyesight.errors import UserError
from eyesight.runs import Run, list_runs
from eyesight.web.digit_reader import DIGITS
from eyesight.web.i18n import Translator, language_of, translator
from eyesight.web.routes.api import service_of
from eyesight.web.run_table import row, score_text, stamp

MOST = 50  # runs that are offered, the newest
DESCRIPTION = "classifier/classifier.json"


@dataclass(frozen=True)
class Candidate:
    """A run that could answer, and its score for people."""

    name: str
    score: str


@dataclass(frozen=True)
class Serving:
    """What the control that names the run and switches to another shows.

    `run` is "" for a network that is no run of the folder; `candidates` are the newest first.
    """

    run: str
    candidates: list[Candidate]
    back: str  # the page to return to


def serving_of(request: Request, run: str | None = None, *, digits: bool = False) -> Serving:
    """The run that answers, by default for the whole server, and what it can be switched to.

    With `digits` only networks for the ten digits are offered.
    """
    service = service_of(request)
    runs = list_runs(service.runs) if service.runs else []
    name = service.run if run is None else run
    if name not in {one.name for one in runs}:
        name = ""
    candidates: list[Candidate] = []
    t = translator(language_of(request))
    if request.app.state.switches:
        for one in reversed(runs):
            if one.name == name or (len(candidates) < MOST and can_answer(one, digits)):
                candidates.append(Candidate(one.name, score(one, t)))
    return Serving(name, candidates, request.url.path)


def can_answer(run: Run, digits: bool = False) -> bool:
    """Whether a run has a classifier, for the ten digits if asked."""
    changed = stamp(run.path / DESCRIPTION)
    if changed == (0, 0):
        return False
    return not digits or _reads_digits(run.path, changed)


@lru_cache(maxsize=10_000)
def _reads_digits(path: Path, changed: tuple[int, int]) -> bool:
    """Whether the classes of a run are the ten digits; `changed` tells a new file from an old."""
    try:
        description = Run(path).read_json(DESCRIPTION)
    except (UserError, OSError):
        return False
    classes = description.get("classes")
    if not isinstance(classes, list) or description.get("target", "class") != "class":
        return False
    return sorted(map(str, classes)) == sorted(DIGITS)


def score(run: Run, t: Translator) -> str:
    """What a run reached on its test images, for people; "" if unknown."""
    facts = row(run)
    if facts.top1 is not None:
        return f"{100 * facts.top1:.1f} %"
    return score_text(facts, t)
