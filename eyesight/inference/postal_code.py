"""Read postal codes in photographs with a classifier of the ten digits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eyesight.data.opening import list_pictures
from eyesight.data.prepare import BadPicture, Pixels
from eyesight.errors import UserError
from eyesight.reader.mnist_digit import grey
from eyesight.reader.postcode import PostalCode, read_code
from eyesight.reader.segmentation import Classify, Probabilities
from eyesight.reader.strip import Corners

if TYPE_CHECKING:
    from eyesight.inference.predict import AnyClassifier

DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class FileCode:
    """The code on a photograph, or the problem with its file."""

    path: str
    code: PostalCode = field(default_factory=PostalCode)
    doubtful: bool = True
    problem: str = ""

    def to_dict(self) -> dict[str, object]:
        """As plain JSON values."""
        if self.problem:
            return {"path": self.path, "problem": self.problem}
        digits = []
        for digit in self.code.digits:
            values: dict[str, object] = {"digit": digit.digit, "probability": digit.probability}
            digits.append(values | rectangle(digit.corners))
        return {
            "path": self.path,
            "code": self.code.text,
            "doubtful": self.doubtful,
            "digits": digits,
            "left_out": [rectangle(corners) for corners in self.code.left_out],
        }


def rectangle(corners: Corners) -> dict[str, int]:
    """The upright rectangle around corners, in pixels."""
    left, top = (round(float(value)) for value in corners.min(axis=0))
    right, bottom = (round(float(value)) for value in corners.max(axis=0))
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def digit_classifier(classifier: AnyClassifier) -> Classify:
    """A function from prepared digits, uint8 N,28,28, to probabilities N,10 of 0 to 9.

    Raises UserError if the classes are not the ten digits.
    """
    names = classifier.classes
    if sorted(names) != sorted(DIGITS):
        raise UserError(
            f"this network has other classes than the ten digits: {names[0]}, {names[1]} …",
            "eyesight train postal_digits",
            code=2,
        )
    order = [names.index(digit) for digit in DIGITS]

    def classify(images: Pixels) -> Probabilities:
        prepared = np.stack([classifier.prepare(image) for image in images])
        return classifier.probabilities(prepared)[:, order]

    return classify


def read_codes(
    classifier: AnyClassifier, pictures: Sequence[str], digits: int | None
) -> Iterator[FileCode]:
    """The codes on photographs and on all photographs in folders, in natural order.

    `digits` is how many digits a code has, if that is known. Raises UserError for a classifier of
    anything but digits.
    """
    classify = digit_classifier(classifier)
    for place in pictures:
        for path in list_pictures(place):
            yield read_file(path, classify, digits)


def read_file(path: Path, classify: Classify, digits: int | None) -> FileCode:
    """The code on one photograph."""
    try:
        code = read_code(grey(path.read_bytes()), classify, digits)
    except BadPicture as error:
        return FileCode(str(path), problem=str(error))
    except OSError as error:
        return FileCode(str(path), problem=f"unreadable: {error.strerror}")
    return FileCode(str(path), code, code.is_doubtful(digits))
