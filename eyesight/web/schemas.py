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
        description="a set that contains the correct class for a share `level` of images like "
        "the training images, most probable first; null without calibration",
    )
    level: float | None = Field(default=None, description="of the set")
    unlike: bool | None = Field(
        default=None, description="whether the image is unlike the training images"
    )
    sure: bool | None = Field(description="whether the first class is reliable; null if unknown")
    threshold: float | None = Field(
        description="chosen on validation images so that 99 % of sure predictions are correct"
    )
    other: float | None = Field(
        default=None,
        description=(
            "probability of everything else, for a network restricted to some classes (dogs)"
        ),
    )
    doubt: Doubt | None = Field(
        default=None,
        description="why the prediction is unreliable: the image is unlike the training images "
        "or shows none of the classes; the set has several classes; or, without "
        "sets, the first probability is too low",
    )


class Share(BaseModel):
    """One class and the share of the image that it covers."""

    name: str = Field(serialization_alias="class")
    share: float
    colour: str = Field(description="colour of the class, as #rrggbb")


class Made(BaseModel):
    """A mask over the image, or the restored image."""

    target: Literal["picture", "mask"]
    picture: str = Field(
        description=("PNG in base64: the image with its mask, or the image and its reconstruction")
    )
    shares: list[Share] = Field(
        default=[], description="area of each class in a mask, largest first"
    )
    anomaly: float | None = Field(
        default=None, description="mean squared error of the reconstruction, pixels from 0 to 1"
    )
    usual: float | None = Field(
        default=None, description="99 % of the validation images have a smaller error"
    )
    unfamiliar: bool | None = Field(
        default=None, description=("whether the error is above `usual`")
    )


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
    run: str = Field(description="the run that answers; empty for a network that is no run")
    classes: int
    shape: list[int] = Field(
        min_length=3,
        max_length=3,
        description=("channels, height and width of the network's input"),
    )
    accuracy: float | None = Field(description="accuracy on test images")
    in_flight: int


class Classes(BaseModel):
    """The class names, in the order of the network's outputs."""

    classes: list[str]


class RunRow(BaseModel):
    """One training for a table; figures it does not have are null."""

    name: str
    recipe: str
    status: str
    measure: str = Field(default="", description="the name of the score, for example accuracy")
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
