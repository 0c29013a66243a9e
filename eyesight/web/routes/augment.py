"""What augmentation does, to look at: every setting a slider, the pictures changed by the very functions of training.

torch is imported when the first picture is asked for, not before: a server that only answers never loads it.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field, create_model
from starlette.responses import Response

from eyesight.data.prepare import Pixels, encode_png
from eyesight.data.store import kept_at, open_store
from eyesight.recipe import Augment, Recipe, Training, differences
from eyesight.results.predictions import readable
from eyesight.runs import list_runs
from eyesight.web.limits import Queue
from eyesight.web.routes.api import service_of
from eyesight.web.schemas import Problem
from eyesight.web.service import Service
from eyesight.web.templating import templates

if TYPE_CHECKING:
    from eyesight.data.images import Images

router = APIRouter()
SLIDERS: dict[
    str, tuple[float, float, float, float]
] = {  # lowest, highest, step, and what changes nothing
    "crop": (0, 16, 1, 0),
    "rotate": (0, 180, 1, 0),
    "shift": (0, 0.5, 0.01, 0),
    "zoom": (0, 0.9, 0.01, 0),
    "shear": (0, 45, 1, 0),
    "elastic": (0, 0.2, 0.005, 0),
    "brightness_low": (0, 1, 0.05, 1),
    "brightness_high": (1, 3, 0.05, 1),
    "contrast_low": (0, 1, 0.05, 1),
    "contrast_high": (1, 3, 0.05, 1),
    "noise": (0, 0.5, 0.01, 0),
    "cutout": (0, 1, 0.05, 0),
    "mixup": (0, 2, 0.1, 0),
    "cutmix": (0, 2, 0.1, 0),
}
FLIPS = Literal["none", "random", "alternating"]
SIDE = 112  # pixels of a shown picture at least, where it has so many
turns = Queue("augmented images", 8)

_fields: dict[str, Any] = {
    name: (type(getattr(Augment(), name, 0.0)), Field(still, ge=low, le=high, allow_inf_nan=False))
    for name, (low, high, _, still) in SLIDERS.items()
}
Wanted = create_model(
    "Wanted",
    flip=(FLIPS, "none"),
    draw=(int, Field(0, ge=0, le=10**6, description="another seed")),
    **_fields,
)


class Shown(BaseModel):
    """A picture as a data: address, and what it is taken for."""

    picture: str
    label: str


class Augmented(BaseModel):
    """Pictures as they are, and the first of them as training would see them in a few epochs."""

    source: str = Field(description="what the pictures are from; empty for drawn ones")
    line: str = Field(description="the same settings for a command")
    before: list[Shown]
    trials: list[list[Shown]]


@router.get("/augment", response_class=HTMLResponse, include_in_schema=False)
def page(request: Request, show: bool = False) -> Response:
    """The sliders; the pictures come by script, or with the page where there is none."""
    asked = {
        name: value for name, value in request.query_params.items() if name in Wanted.model_fields
    }
    try:
        settings = Wanted(**asked)
    except ValueError:
        settings = Wanted()
    found = changed(service_of(request), settings) if show else None
    facts = {
        "sliders": SLIDERS,
        "flips": ("none", "random", "alternating"),
        "settings": settings.model_dump(),
        "found": found,
    }
    return templates.TemplateResponse(request, "augment.html", facts)


@router.get(
    "/api/augment",
    responses={
        503: {
            "model": Problem,
            "description": "too many at once; Retry-After says when to come again",
        }
    },
)
def augmented(request: Request, wanted: Annotated[Wanted, Query()]) -> Augmented:  # type: ignore[valid-type]
    """What these settings do to pictures of the served network's training, of a run, or drawn ones, whichever is at hand."""
    return changed(service_of(request), wanted)


def changed(service: Service, wanted: Any) -> Augmented:
    """The pictures of `augmented`; raises Refused when too many wait for theirs."""
    how = asked_for(wanted)
    with turns.turn():
        from eyesight.report import augmentation

        source, images = material(service)
        recipe = Recipe(augment=how, training=Training(seed=wanted.draw))
        before = np.asarray(images.pixels)
        labels = [images.classes[label] for label in images.labels]
        trials = [
            augmentation.changed(images, recipe, epoch) for epoch in range(augmentation.TRIALS)
        ]
        few = augmentation.CHANGED
    return Augmented(
        source=source,
        line=line(how),
        before=shown(before[:few], labels[:few]),
        trials=[shown(pixels, captions) for pixels, captions in trials],
    )


def asked_for(wanted: Any) -> Augment:
    """The sliders' values as a recipe holds them."""
    values: dict[str, Any] = wanted.model_dump(exclude={"draw"})
    values |= {
        name: (values.pop(f"{name}_low"), values.pop(f"{name}_high"))
        for name in ("brightness", "contrast")
    }
    return Augment(**values)


def line(how: Augment) -> str:
    """The settings that change something, for a command."""
    changes = differences(Recipe(augment=how), Recipe())
    return " ".join(f"--set {path}={_text(value)}" for path, value in changes.items())


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(_text(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def shown(pixels: Pixels, labels: list[str]) -> list[Shown]:
    """Pictures N,C,H,W as a page can show them, large ones thinned out."""
    step = max(1, min(pixels.shape[2:]) // SIDE)
    files = [encode_png(np.ascontiguousarray(one[:, ::step, ::step])) for one in pixels]
    return [
        Shown(picture=f"data:image/png;base64,{base64.b64encode(file).decode()}", label=label)
        for file, label in zip(files, labels, strict=True)
    ]


def material(service: Service) -> tuple[str, Images]:
    """A few pictures and what they are from: the served network's training, the newest run whose data is at hand, or drawn ones ("")."""
    facts = service.recogniser.facts
    folders = {kept_at(facts.get("store")): str(facts.get("name") or "")}
    for run in reversed(list_runs(service.runs) if service.runs else []):
        folders.setdefault(kept_at(run.data.get("store")), run.name)
    for folder, name in folders.items():
        if (
            folder is not None
            and (folder / "store.json").is_file()
            and (found := _of_store(folder))
        ):
            return name, found
    return "", _drawn()


@lru_cache(maxsize=4)
def _of_store(folder: Path) -> Images | None:
    """The first training pictures of prepared data, in memory; None when it is damaged or has none."""
    from eyesight.data.images import Images
    from eyesight.report import augmentation

    store = open_store(folder)
    if store is None:
        return None
    trained = np.flatnonzero((store.splits != "test") & (store.labels >= 0))
    if not len(trained):
        return None
    first = augmentation.first(
        Images.of(store.pixels, store.labels, readable(store.classes), store.ids).subset(trained)
    )
    return Images.of(
        first.take(first.rows.new_tensor(range(len(first)))).numpy(),
        first.labels.numpy(),
        first.classes,
        first.ids,
    )


@lru_cache(maxsize=1)
def _drawn() -> Images:
    from eyesight.data.images import Images

    pixels, labels = drawn()
    return Images.of(
        pixels, labels, ("boat", "flag", "house"), tuple(str(place) for place in range(len(labels)))
    )


def drawn(side: int = 96) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """A boat, a flag and a house that are not symmetric, in several colours: pixels N,3,H,W and labels N."""
    down, across = np.mgrid[0:side, 0:side] / side
    boat = ((down > 0.65) & (down < 0.8) & (np.abs(across - 0.5) < 0.75 - down + 0.25)) | (
        (across > 0.5) & (down > across - 0.35) & (down < 0.6)
    )
    flag = ((across > 0.2) & (across < 0.26) & (down > 0.15) & (down < 0.9)) | (
        (across >= 0.26) & (across < 0.85 - np.abs(down - 0.35)) & (np.abs(down - 0.35) < 0.2)
    )
    roof = (down > 0.2) & (down <= 0.45) & (np.abs(across - 0.5) < 1.2 * (down - 0.2))
    house = roof | (
        (down > 0.45)
        & (down < 0.85)
        & (np.abs(across - 0.5) < 0.25)
        & ~((down > 0.6) & (across > 0.52) & (across < 0.64))
    )
    random = np.random.default_rng(0)
    made = []
    for shape in (boat, flag, house) * 5:
        front, back = random.uniform(140, 255, 3), random.uniform(20, 110, 3)
        sky = back[:, None, None] * (1.2 - 0.5 * down)
        made.append(np.where(shape, front[:, None, None], sky).clip(0, 255).astype(np.uint8))
    return np.stack(made), np.arange(len(made)) % 3
