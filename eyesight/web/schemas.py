"""The answers of the API, as models from which its documentation is made."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class Named(BaseModel):
    """One class and how probable it is."""

    name: str = Field(serialization_alias="class")
    probability: float


Doubt = Literal["unlike", "unsure", "even"]


class Recognised(BaseModel):
    """The most probable classes of an image, the best first."""

    top: list[Named]
    set: list[str] | None = Field(
        default=None,
        description="the classes among which the right one is in `level` of the images like those "
        "of the training, most probable first; null for a network that was not calibrated",
    )
    level: float | None = Field(default=None, description="of the set")
    unlike: bool | None = Field(
        default=None, description="whether the image is unlike anything it learnt from"
    )
    sure: bool | None = Field(
        description="whether nothing speaks against relying on the first class; null if unknown"
    )
    threshold: float | None = Field(
        description="chosen on validation images so that 99 % of the sure answers are right"
    )
    other: float | None = Field(
        default=None,
        description="probability of everything else, for a network narrowed to some classes (dogs)",
    )
    doubt: Doubt | None = Field(
        default=None,
        description="why not to rely on the answer: it is unlike what it learnt from, or none of "
        "the classes; several are in the set; or, without sets, the first has too little",
    )


class Share(BaseModel):
    """One class and the share of the image that it covers."""

    name: str = Field(serialization_alias="class")
    share: float
    colour: str = Field(description="in which it is drawn, as #rrggbb")


class Made(BaseModel):
    """A mask over the image, or the restored image."""

    target: Literal["picture", "mask"]
    picture: str = Field(
        description="PNG in base64: the mask over the image, or the image and its restoration"
    )
    shares: list[Share] = Field(
        default=[], description="of the classes in a mask, the greatest first"
    )
    anomaly: float | None = Field(
        default=None, description="mean squared error of the restoration, pixels from 0 to 1"
    )
    usual: float | None = Field(
        default=None, description="the error that 99 % of the validation images stay below"
    )
    unfamiliar: bool | None = Field(default=None, description="whether the error is above that")


class Problem(BaseModel):
    """Why there is no answer."""

    error: str
    hint: str = ""


class RecognisedMany(BaseModel):
    """An answer for each image, in the order of the form."""

    answers: list[Recognised | Problem]


class Health(BaseModel):
    """What is being served."""

    status: str
    version: str
    name: str
    classes: int
    shape: list[int] = Field(
        min_length=3, max_length=3, description="channels, height, width of what the network sees"
    )
    accuracy: float | None = Field(description="share of right answers on test pictures")
    in_flight: int


class Classes(BaseModel):
    """The class names, in the order of the network's outputs."""

    classes: list[str]


class RunRow(BaseModel):
    """One training for a table; figures it does not have are null."""

    name: str
    recipe: str
    status: str
    measure: str = Field(default="", description="what it is scored by, for example accuracy")
    value: float | None = Field(default=None, description="the score on the test images")
    score: str | None = Field(default=None, description="measure and value with its unit")
    top1: float | None = None
    interval: list[float] | None = Field(default=None, min_length=2, max_length=2)
    seconds: float | None = None
    parameters: int | None = None
    epochs: int = 0
    progress: float = 0.0
    time: str | None = None
    problem: str = ""


class Runs(BaseModel):
    """Every run of the folder, the oldest first."""

    runs: list[RunRow]


class RunDetail(BaseModel):
    """Everything a run says about itself, without its predictions."""

    run: RunRow
    recipe: dict[str, Any]
    environment: dict[str, Any]
    data: dict[str, Any]
    epochs: list[dict[str, Any]]
    result: dict[str, Any]
