"""The page that shows augmentation: a slider for each setting, images changed as in training.

torch is imported with the first image: a server that only answers never loads it.
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
from eyesight.data.store import open_store, store_folder
from eyesight.errors import UserError
from eyesight.recipe import Augment, Recipe, Training, differences
from eyesight.results.predictions import readable
from eyesight.runs import list_runs
from eyesight.web.limits import Queue
from eyesight.web.routes.api import service_of
from eyesight.web.routes.serving import serving_of
from eyesight.web.schemas import Problem
from eyesight.web.service import Service
from eyesight.web.templating import templates

if TYPE_CHECKING:
    from eyesight.data.images import Images

router = APIRouter()
# Lowest value, highest value, step, and the value that changes nothing.
SLIDERS: dict[str, tuple[float, float, float, float]] = {
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
PRESETS = {
    "none": Augment(),
    "light": Augment(flip="random", shift=0.05, zoom=0.1),
    "strong": Augment(
        flip="random", rotate=20.0, shift=0.1, zoom=0.2, brightness=(0.7, 1.3), cutout=0.3
    ),
    "mixed": Augment(flip="random", crop=4, mixup=0.2),
}
FLIPS = Literal["none", "random", "alternating"]
SIDE = 112  # pixels of a shown image at least, where it has as many
turns = Queue("augmented images", 8)

_fields: dict[str, Any] = {
    name: (type(getattr(Augment(), name, 0.0)), Field(still, ge=low, le=high, allow_inf_nan=False))
    for name, (low, high, _, still) in SLIDERS.items()
}
Settings = create_model(
    "Settings",
    flip=(FLIPS, "none"),
    draw=(int, Field(0, ge=0, le=10**6, description="another seed")),
    **_fields,
)


class Shown(BaseModel):
    """An image as a data: address, and its label."""

    picture: str
    label: str


class Augmented(BaseModel):
    """Images as they are, and as training would see them in a few epochs."""

    source: str = Field(description="where the images come from; empty for drawn ones")
    line: str = Field(description="the same settings for a command")
    before: list[Shown]
    trials: list[list[Shown]]


@router.get("/augment", response_class=HTMLResponse, include_in_schema=False)
def page(request: Request, show: bool = False) -> Response:
    """The sliders; the images come by script, or with the page for browsers without scripts."""
    query = request.query_params.items()
    given = {name: value for name, value in query if name in Settings.model_fields}
    own = recipe_of(service_of(request))
    presets = {name: values_of(augment) for name, augment in presets_of(own).items()}
    try:
        settings = Settings(**(given or presets.get("recipe", {})))
    except ValueError:
        settings = Settings()
    context = {
        "serving": serving_of(request),
        "presets": presets,
        "recipe": own.name if own else "",
        "sliders": SLIDERS,
        "flips": ("none", "random", "alternating"),
        "settings": settings.model_dump(),
        "found": changed(service_of(request), settings) if show else None,
    }
    return templates.TemplateResponse(request, "augment.html", context)


@router.get(
    "/api/augment",
    responses={
        503: {
            "model": Problem,
            "description": "too many at once; Retry-After says when to try again",
        }
    },
)
def augmented(
    request: Request,
    settings: Annotated[Settings, Query()],  # type: ignore[valid-type]
) -> Augmented:
    """Augment images of the served network's training data, of a run's, or drawn ones."""
    return changed(service_of(request), settings)


def changed(service: Service, settings: BaseModel) -> Augmented:
    """The images before and after augmentation; raises Refused when too many requests wait."""
    augment = augment_of(settings)
    seed = settings.model_dump()["draw"]
    with turns.turn():
        from eyesight.views import augmentation

        source, images = material(service)
        recipe = Recipe(augment=augment, training=Training(seed=seed))
        before = np.asarray(images.pixels)
        labels = [images.classes[label] for label in images.labels]
        trials = [
            augmentation.changed(images, recipe, epoch) for epoch in range(augmentation.TRIALS)
        ]
        few = augmentation.CHANGED
    return Augmented(
        source=source,
        line=line(augment),
        before=shown(before[:few], labels[:few]),
        trials=[shown(pixels, captions) for pixels, captions in trials],
    )


def recipe_of(service: Service) -> Recipe | None:
    """The recipe that the served network was trained by, or that of the newest run."""
    runs = list_runs(service.runs) if service.runs else []
    name = service.run
    runs.sort(key=lambda run: run.name == name)
    for run in reversed(runs):
        try:
            return run.settled
        except UserError:
            continue
    return None


def presets_of(own: Recipe | None) -> dict[str, Augment]:
    """Settings to begin with, by name; the recipe's own first where there is one."""
    mine = {} if own is None else {"recipe": own.augment}
    return {**mine, **PRESETS}


def values_of(augment: Augment) -> dict[str, float | str]:
    """A recipe's augmentation as the sliders hold it."""
    values: dict[str, float | str] = {"flip": augment.flip}
    ranges = {"brightness": augment.brightness, "contrast": augment.contrast}
    for name, (low, high) in ranges.items():
        values[f"{name}_low"], values[f"{name}_high"] = low, high
    for name, (lowest, highest, _, _) in SLIDERS.items():
        if name not in values:
            value = getattr(augment, name)
            values[name] = min(max(value, lowest), highest)
    return values


def augment_of(settings: BaseModel) -> Augment:
    """The sliders' values as a recipe holds them."""
    values = settings.model_dump(exclude={"draw"})
    for name in ("brightness", "contrast"):
        values[name] = (values.pop(f"{name}_low"), values.pop(f"{name}_high"))
    return Augment(**values)


def line(augment: Augment) -> str:
    """The settings that change something, as options of a command."""
    changes = differences(Recipe(augment=augment), Recipe())
    return " ".join(f"--set {path}={_text(value)}" for path, value in changes.items())


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(_text(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def shown(pixels: Pixels, labels: list[str]) -> list[Shown]:
    """Images N,C,H,W for a page; of large ones only every second, third … pixel."""
    step = max(1, min(pixels.shape[2:]) // SIDE)
    shown_images = []
    for image, label in zip(pixels, labels, strict=True):
        file = encode_png(np.ascontiguousarray(image[:, ::step, ::step]))
        address = f"data:image/png;base64,{base64.b64encode(file).decode()}"
        shown_images.append(Shown(picture=address, label=label))
    return shown_images


def material(service: Service) -> tuple[str, Images]:
    """A few images and where they come from: the name of a network or run, "" for drawn ones.

    The training data of the served network is taken first, then that of the newest run.
    """
    facts = service.recogniser.facts
    folders = {store_folder(facts.get("store")): str(facts.get("name") or "")}
    for run in reversed(list_runs(service.runs) if service.runs else []):
        folders.setdefault(store_folder(run.data.get("store")), run.name)
    for folder, name in folders.items():
        if folder is None or not (folder / "store.json").is_file():
            continue
        images = _of_store(folder)
        if images is not None:
            return name, images
    return "", _drawn()


@lru_cache(maxsize=4)
def _of_store(folder: Path) -> Images | None:
    """The first training images of prepared data; None when it is damaged or has none."""
    from eyesight.data.images import Images
    from eyesight.views import augmentation

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
    """Boats, flags and houses in several colours, none symmetric: pixels N,3,H,W, labels N."""
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
