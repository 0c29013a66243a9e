"""The digits of a photographed code are found in order, and nothing else is; judged by the nearest cleanly drawn digit."""

import time

import numpy as np
import pytest
from scipy import ndimage
from written import STROKES, box, photo

from eyesight.reader import mnist_digit, postcode

USUAL = {
    (digit, tilt): ndimage.rotate(box(digit), tilt, cval=255, order=1)
    for digit in STROKES
    for tilt in (-6, 0, 6)
}


def seen(pixels):
    """A prepared digit as one direction, blurred so that a pixel more or less to the left does not count."""
    blurred = ndimage.gaussian_filter(pixels.astype(float), 1.5).ravel()
    return blurred / np.linalg.norm(blurred)


def read(pixels, known={}):  # noqa: B006 - filled once
    known.update(
        {} if known else {digit: seen(mnist_digit.digit(usual)) for digit, usual in USUAL.items()}
    )
    return "".join(
        max(known, key=lambda one: seen(found.pixels) @ known[one])[0]
        for found in postcode.read_row(pixels)
    )


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"frames": True},
        {"frames": True, "gap": 6, "tilt": 2},
        {"frames": True, "shadow": 0.4, "noise": 6, "tilt": -2, "side": 150, "width": 9},
        {"shadow": 0.5, "noise": 4},
        {"tilt": 6},
        {"light_on_dark": True},
        {"width": 3, "noise": 8},
        {"side": 36, "width": 3},
        {"side": 380, "width": 22},
    ],
    ids=str,
)
def test_a_photographed_code_is_read_from_left_to_right(how):
    assert read(photo("20745", **how)) == "20745"
    assert read(photo("13689", **how)) == "13689"


def test_places_are_in_the_pixels_of_the_picture_given():
    for side, width in ((90, 6), (400, 24)):
        found = postcode.read_row(photo("357", side=side, width=width))
        lefts = [60 + place * (side + 10) for place in range(3)]
        for digit, left in zip(found, lefts, strict=True):
            assert left < digit.left < left + 0.4 * side and 0.4 * side < digit.width < 0.8 * side
            assert 60 < digit.top < 120 + 0.2 * side and 0.6 * side < digit.height < side


def test_broken_digits_are_joined_and_touching_ones_cut():
    broken = photo("58")
    broken[100:104, :150] = 225
    assert read(broken) == "58"
    assert read(photo("24", gap=-44)) == "24"


def test_specks_and_a_second_line_are_left_out():
    picture = photo("4207").copy()
    picture[20:26, 30:36] = picture[180:183, 300:304] = 40
    small = photo("11", side=40, width=3)[40:140]
    lower = np.full((100, picture.shape[1]), 225, np.uint8)
    lower[:, : small.shape[1]] = small
    assert read(np.vstack([picture, lower])) == "4207"


def test_paper_without_a_code_holds_no_digit():
    random = np.random.default_rng(0)
    for picture in (
        np.full((50, 200), 240, np.uint8),
        photo("   ", frames=True),
        random.normal(200, 5, (80, 200)).astype(np.uint8),
    ):
        assert postcode.read_row(picture) == []
    for shape in ((1, 1), (1, 300), (300, 2), (5, 5)):
        assert postcode.read_row(random.integers(0, 255, shape).astype(np.uint8)) == []


def test_pictures_full_of_dots_or_of_frames_do_not_keep_a_core_busy():
    dots = np.full((300, 300), 255, np.uint8)
    dots[np.ix_(*[np.arange(300) % 6 < 4] * 2)] = 0
    frames = np.full((500, 500), 255, np.uint8)
    for edge in range(4, 240, 8):
        frames[edge:-edge, edge:-edge] = 0
        frames[edge + 2 : -edge - 2, edge + 2 : -edge - 2] = 255
    began = time.process_time()
    assert postcode.read_row(dots) == postcode.read_row(frames) == []
    assert (
        time.process_time() - began < 3
    )  # 20 s when every pair was compared and lines were found by the length of a side


def test_a_picture_full_of_noise_ends_soon_with_few_marks():
    picture = np.random.default_rng(0).integers(0, 255, (300, 300)).astype(np.uint8)
    assert len(postcode.read_row(picture)) <= postcode.MOST
