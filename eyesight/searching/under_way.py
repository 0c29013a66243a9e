"""A search under way: its time, its images, and what was tried so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from eyesight.errors import UserError
from eyesight.recipe import Recipe
from eyesight.searching import trial as trials
from eyesight.searching.candidates import Candidate
from eyesight.searching.interrupted import State, content_hash, write_state
from eyesight.searching.parts import Division
from eyesight.searching.trial import Trial
from eyesight.system.progress import Reporter
from eyesight.training.clock import Clock

PREPARING = 0.2  # of the budget: then the images of no further candidate are prepared
LATEST = 0.45  # of the budget: then no further trial begins, …
LEAST = 0.25  # … nor where less than this is left for the training of the winner


@dataclass(eq=False)
class Search:
    """A search under way: the time, the images, and what was tried so far."""

    budget: float
    reporter: Reporter
    clock: Clock
    division: Division
    folder: Path  # of the trials
    state: State
    saving: float = 0.0  # seconds for saving the run and its report
    trials: list[Trial] = field(default_factory=list)
    dropped: dict[tuple[str, int], str] = field(default_factory=dict)
    forecasts: dict[tuple[str, int], float] = field(default_factory=dict)
    looked_at: list[str] = field(default_factory=list)
    improves: bool = True  # whether the winner's other settings are tried

    def left(self) -> float:
        """Seconds for trials and the training of the winner."""
        return self.budget - self.saving - self.clock.elapsed()

    def late(self, seconds: float) -> bool:
        """Whether a trial of so many seconds would take time that the winner's training needs.

        It is expected to take longer than asked, as the slowest trial so far did.
        """
        over = [trial.seconds - trial.budget for trial in self.trials if trial.score is not None]
        cost = seconds + max([0.0, *over])
        least = LEAST * self.budget
        return self.clock.elapsed() > LATEST * self.budget or self.left() - cost < least

    def attempt(self, candidate: Candidate, number: int, seconds: float) -> Trial:
        """A trial, made now or found finished from before an interruption."""
        finished = trials.recall(candidate, number, self.folder)
        tried = any(trial.score is not None for trial in self.trials)
        if finished is None and tried and self.late(seconds):
            finished = trials.untried(candidate, number, seconds, "no time left to try it")
        elif finished is None:
            finished = trials.attempt(
                candidate, number, seconds, self.division, however_slow=not tried
            )
            trials.save(finished, self.folder)
            self.keep_state()
            self.reporter.message(trial_line(finished))
        self.trials.append(finished)
        if finished.failure:
            self.dropped[candidate.name, number] = finished.failure
        return finished

    def keep_state(self) -> None:
        """Keep the elapsed seconds with the settings and images, for `--resume`."""
        write_state(self.folder, replace(self.state, seconds=self.clock.elapsed()))

    def check_images(self, recipes: Sequence[Recipe]) -> None:
        """Keep the hash of the images; raise UserError if an interrupted search had others.

        The first recipe that its images suit decides.
        """
        for recipe in recipes:
            try:
                images = self.division.parts(recipe).data
            except UserError:  # its trial will say why
                continue
            content = content_hash(images)
            if self.state.images not in ("", content):
                raise UserError(
                    f"the images at {recipe.data.source} have changed since the search was "
                    "interrupted, so its trials do not count for them",
                    "restore the images, or leave out --resume to start a new search",
                )
            self.state = replace(self.state, images=content)
            self.keep_state()
            return

    def drop(self, trial: Trial, reason: str) -> None:
        """Note why a candidate goes no further."""
        self.dropped[trial.candidate.name, trial.round] = reason


def trial_line(trial: Trial) -> str:
    """A finished trial for people."""
    name = trial.candidate.name
    if trial.score is None:
        return f"{name}: {trial.failure}"
    return f"round {trial.round}: {trial.score:.2%} in {trial.seconds:.0f} s, {name}"


def prepared(entered: Sequence[Candidate], search: Search) -> list[Candidate]:
    """The candidates whose images are ready before too much of the time has passed.

    What is wrong with the images of one, its trial will say.
    """
    ready: list[Candidate] = []
    for candidate in entered:
        opened = candidate.recipe.data in search.division.opened
        if ready and not opened and search.clock.elapsed() > PREPARING * search.budget:
            late = trials.untried(candidate, 1, 0.0, "no time left to prepare its images")
            search.trials.append(late)
            search.dropped[candidate.name, 1] = late.failure
            continue
        try:
            search.division.parts(candidate.recipe)
        except UserError as error:
            search.reporter.message(f"{candidate.name}: {error.message}")
        ready.append(candidate)
    return ready
