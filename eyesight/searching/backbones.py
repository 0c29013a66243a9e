"""Which pretrained networks take part in a search: those at hand, by a linear probe and by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from eyesight.models import weights, zoo
from eyesight.recipes.folder import PREFERRED
from eyesight.searching.candidates import PRETRAINED, Candidate
from eyesight.searching.under_way import PREPARING, Search, prepared
from eyesight.training import probe, transfer
from eyesight.training.budget import MAXIMUM_RESERVE, least_evaluated
from eyesight.training.probe import Probed

PROBING = 0.06  # of the budget, into the linear probe of the pretrained networks
PROBED_FROM = 60.0  # seconds of the budget
BEST_BACKBONES = 2  # after the probe


def backbones_at_hand() -> list[str]:
    """The pretrained networks of the recipes whose weights lie on this machine."""
    by_timm: dict[str, str] = {}
    for name in [*PREFERRED, *(entry.name for entry in zoo.ZOO)]:
        by_timm.setdefault(weights.bare(zoo.timm_name(name)), name)
    return [name for name in by_timm.values() if weights.at_hand(zoo.timm_name(name))]


def without_weak_backbones(made: Sequence[Candidate], search: Search) -> list[Candidate]:
    """The candidates without those on pretrained networks that a linear probe ranks low."""
    names = [one.recipe.model.name for one in made if one.name.startswith("folder ")]
    if len(names) < 2:
        return list(made)
    if made[0].family != PRETRAINED:
        prepared(made[:1], search)  # what is small first: it shows how slow the machine is
    late = search.clock.elapsed() > PREPARING / 2 * search.budget
    if search.budget < PROBED_FROM or late:
        search.looked_at.append(f"{names[0]} of {len(names)} pretrained networks: no time to probe")
        only = f"folder {names[0]}"
        return [one for one in made if one.family != PRETRAINED or one.name == only]
    best = best_backbones(made, names, search)
    return [kept for one in made if (kept := with_backbone(one, best)) is not None]


def with_backbone(candidate: Candidate, best: Sequence[str]) -> Candidate | None:
    """The candidate on one of the best pretrained networks; None if it has no part in the search.

    `objects_lite0` takes the first of them.
    """
    if candidate.family != PRETRAINED:
        return candidate
    if not candidate.name.startswith("objects_lite0"):
        return candidate if candidate.recipe.model.name in best else None
    if not best:
        return None
    model = replace(candidate.recipe.model, name=best[0])
    recipe = replace(candidate.recipe, model=model)
    return replace(candidate, name=f"objects_lite0 {best[0]}", recipe=recipe)


def best_backbones(made: Sequence[Candidate], names: Sequence[str], search: Search) -> list[str]:
    """The networks with the best linear probe, of those that the time allows."""
    first = next(one for one in made if one.name.startswith("folder "))
    recipe = transfer.resolve_preprocessing(first.recipe)
    parts = search.division.parts(recipe)
    probed = probe.probe(parts.train, names, PROBING * search.budget, search.reporter.message)
    for one in probed:
        rate = f"{1 / one.seconds:,.0f} images/s"
        search.looked_at.append(f"{one.name}: linear probe {one.accuracy:.1%}, {rate}")
    if made[0].family != PRETRAINED:  # otherwise one is trained, whatever its evaluation takes
        probed = quick_enough(probed, least_evaluated(parts.data, recipe), search)
    return strongest(probed, len(parts.train), search)


def quick_enough(probed: Sequence[Probed], images: float, search: Search) -> list[Probed]:
    """The networks that can evaluate so many images in the time that a training may keep for it."""
    quick = []
    for one in probed:
        seconds, most = one.seconds * images, MAXIMUM_RESERVE * search.left()
        if seconds <= most:
            quick.append(one)
            continue
        search.looked_at.append(
            f"{one.name}: evaluating would take about {seconds:.0f} s, and {most:.0f} s at most "
            "can be kept for it"
        )
        search.reporter.message(search.looked_at[-1])
    return quick


def strongest(probed: Sequence[Probed], images: int, search: Search) -> list[str]:
    """The networks with the best linear probe, of those that have time for every image."""
    time_for_all = [one for one in probed if one.seconds * images < 0.3 * search.left()]
    quickest = sorted(probed, key=lambda one: one.seconds)[:1]
    return [one.name for one in (time_for_all or quickest)[:BEST_BACKBONES]]
