"""Whether a page in a browser answers as its classifier does, on images it has not learnt from."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict, cast

import numpy as np

from eyesight.classifier import Classifier
from eyesight.data.prepare import Pixels
from eyesight.errors import UserError
from eyesight.exporting.browser import can_drive, find_browser, opened
from eyesight.exporting.originals import Originals
from eyesight.exporting.parity import SAME, TIE
from eyesight.results.answers import Answers
from eyesight.system.progress import Talk, silent

LOSSLESS = (b"\x89PNG",)  # formats that the page decodes itself, to the last bit


class PageAnswer(TypedDict):
    """What a page says of one image."""

    name: str  # of the class that the page shows first
    probabilities: list[float]
    set: list[bool] | None
    unlike: float | None
    pixels: str  # uint8 C,H,W in base64
    milliseconds: float  # of the network
    preparing: float  # milliseconds of decoding and resizing


@dataclass(frozen=True)
class Proof:
    """What a browser showed: the same classes, and how far the rest was apart."""

    pictures: int
    origin: str
    agreement: float  # share of images for which the page names the same most probable class
    largest_difference: float  # between two probabilities
    lossless_difference: float  # the same, of PNG files and of prepared images alone
    same_sets: float  # share of images with the same set of classes
    same_doubt: float  # share of images that both or neither call unlike
    pixel_difference: int  # of PNG files and of prepared images, largest; 0 is equal to the bit
    lossy_pictures: int  # JPEG and others that the browser decodes
    lossy_pixel_difference: int
    milliseconds: float  # median of one image, preparing included
    opening: float  # seconds until the page can answer
    browser: str

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return asdict(self)


def prove(page: Path, loaded: Classifier, originals: Originals, talk: Talk = silent) -> Proof:
    """Ask the page in a browser without a network about every image, and compare.

    Raises UserError when there is no browser, and when the page does not answer as it should.
    """
    browser = find_browser()
    if browser is None or not can_drive():
        raise no_browser()
    pixels, answers, opening, version = _ask(browser, page, originals, loaded, talk)
    proof = _compare(loaded, originals, pixels, answers, opening, version)
    require_right(proof)
    return proof


def no_browser() -> UserError:
    """The error where nothing can show that a page is right."""
    return UserError(
        "verifying the page needs Chromium, Chrome or Edge, and none was found",
        "install one, or set EYESIGHT_CHROMIUM=PATH; to keep the page without verification, "
        "use --unproven (in Python unproven=True); the page then says so",
    )


def _ask(
    browser: Path, page: Path, originals: Originals, loaded: Classifier, talk: Talk
) -> tuple[Pixels, list[PageAnswer], float, str]:
    """The prepared pixels, the page's answers to each, seconds of opening, the browser's name."""
    images, pixels = _questions(originals, loaded)
    answers = []
    talk(f"verifying the page on {len(images):,} {originals.origin} in {browser.name}")
    with opened(browser, page) as driver:
        opening = driver.evaluate("eyesight.ready.then(() => performance.now() / 1000)")
        version = str(driver.evaluate("navigator.userAgent")).split("HeadlessChrome/")[-1]
        encoded = json.dumps(originals.pixels is None)
        for image in images:
            text = base64.b64encode(image).decode()
            answer = driver.evaluate(f"eyesight.check('{text}', {encoded})")
            answers.append(cast(PageAnswer, answer))
    assert isinstance(opening, float | int)
    return pixels, answers, float(opening), f"Chromium {version.split()[0]}"


def _questions(originals: Originals, loaded: Classifier) -> tuple[Sequence[bytes], Pixels]:
    """What the page is sent, and the same prepared by us."""
    if originals.pixels is not None:
        return [picture.tobytes() for picture in originals.pixels], originals.pixels
    return originals.files, np.stack([loaded.prepare(file) for file in originals.files])


def _compare(
    loaded: Classifier,
    originals: Originals,
    pixels: Pixels,
    answers: list[PageAnswer],
    opening: float,
    version: str,
) -> Proof:
    expected = loaded.answer(pixels)
    seen = np.stack([_decoded(answer, pixels.shape[1:]) for answer in answers])
    gaps = np.abs(seen.astype(np.int16) - pixels).reshape(len(pixels), -1).max(axis=1)
    lossless = np.ones(len(pixels), dtype=bool)
    if originals.pixels is None:
        lossless = np.array([file.startswith(LOSSLESS) for file in originals.files])
    given = np.array([answer["probabilities"] for answer in answers], dtype=np.float32)
    rows = np.arange(len(given))
    first = expected.probabilities
    apart = np.abs(first - given).max(axis=1)
    places = {name: place for place, name in enumerate(loaded.classes)}
    named = np.array([places.get(answer["name"], -1) for answer in answers])
    tied = first.max(axis=1) - first[rows, named] < TIE
    same = (named >= 0) & ((first.argmax(axis=1) == named) | tied)
    spent = [answer["milliseconds"] + answer["preparing"] for answer in answers]
    return Proof(
        pictures=len(pixels),
        origin=originals.origin,
        agreement=float(same.mean()),
        largest_difference=float(apart.max()),
        lossless_difference=float(apart[lossless].max(initial=0)),
        same_sets=_same_sets(expected, answers),
        same_doubt=_same_doubt(expected, answers),
        pixel_difference=int(gaps[lossless].max(initial=0)),
        lossy_pictures=int((~lossless).sum()),
        lossy_pixel_difference=int(gaps[~lossless].max(initial=0)),
        milliseconds=float(np.median(spent)),
        opening=opening,
        browser=version,
    )


def _decoded(answer: PageAnswer, shape: tuple[int, ...]) -> Pixels:
    return np.frombuffer(base64.b64decode(answer["pixels"]), dtype=np.uint8).reshape(shape)


def _same_sets(expected: Answers, answers: list[PageAnswer]) -> float:
    if expected.set is None:
        return 1.0
    given = np.array([answer["set"] for answer in answers])
    return float((given == expected.set).all(axis=1).mean())


def _same_doubt(expected: Answers, answers: list[PageAnswer]) -> float:
    if expected.unlike is None:
        return 1.0
    given = np.array([answer["unlike"] for answer in answers])
    return float(((given > 0) == (expected.unlike > 0)).mean())


def require_right(proof: Proof) -> None:
    """Raise UserError unless the page answers every image as the classifier does.

    Where the browser itself decodes an image, its pixels and probabilities may differ.
    """
    same = proof.agreement == 1 and proof.same_sets == 1 and proof.same_doubt == 1
    if same and proof.pixel_difference == 0 and proof.lossless_difference <= SAME:
        return
    raise UserError(
        f"the page predicts differently in {proof.browser}: of {proof.pictures:,} "
        f"{proof.origin} {1 - proof.agreement:.2%} get another class, {1 - proof.same_sets:.2%} "
        f"another prediction set, {1 - proof.same_doubt:.2%} another warning; pixels differ by "
        f"up to {proof.pixel_difference}, probabilities by up to "
        f"{proof.largest_difference:.2g}; it was not kept",
        "the page does not support this network or browser correctly: export to ONNX, or serve "
        "the run with `eyesight serve`",
    )
