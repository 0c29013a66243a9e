"""A digit is prepared as MNIST was made, whatever pen, paper and size it comes from.

Where nothing is written there is no digit.
"""

import tracemalloc

import numpy as np
import pytest
from drawn import png
from portables import by_brightness
from scipy import ndimage
from written import STROKES, box

from eyesight.data.prepare import BadPicture
from eyesight.errors import UserError
from eyesight.inference import onnx_classifier, predict
from eyesight.reader import mnist_digit


def like(one, other):
    """How alike two prepared digits are, up to 1."""
    one, other = (
        ndimage.gaussian_filter(pixels.astype(float), 1).ravel() for pixels in (one, other)
    )
    return one @ other / np.sqrt((one @ one) * (other @ other))


@pytest.mark.parametrize("digit", STROKES)
def test_twenty_pixels_at_most_with_the_mass_in_the_middle(digit):
    made = mnist_digit.digit(box(digit))
    assert made.shape == (28, 28) and made.dtype == np.uint8 and made.max() == 255
    assert max(mnist_digit.extent(made > 0)) <= 20 <= max(mnist_digit.extent(made > 0)) + 1
    assert np.allclose(ndimage.center_of_mass(made.astype(float)), 14, atol=0.51)
    assert made[0].max() == made[-1].max() == made[:, 0].max() == made[:, -1].max() == 0


def test_proportions_are_kept():
    height, width = mnist_digit.extent(mnist_digit.digit(box("1")) > 100)
    assert width < 0.4 * height


@pytest.mark.parametrize("digit", STROKES)
def test_the_pen_the_size_the_place_and_the_polarity_do_not_matter(digit):
    usual = mnist_digit.digit(box(digit))
    moved = np.full((300, 400), 255, np.uint8)
    moved[190:290, 20:120] = box(digit)
    others = {
        "fine pen": box(digit, width=2),
        "thick pen": box(digit, width=14),
        "large": box(digit, 400, 30),
        "large and fine": box(digit, 1200, 3),
        "small": box(digit, 40, 3),
        "moved": moved,
        "light on dark": 255 - box(digit),
        "pale": (box(digit) / 4 + 150).astype(np.uint8),
        "coloured": np.stack([box(digit), 255 - box(digit) // 4, box(digit)], axis=2),
    }
    for name, picture in others.items():
        assert like(mnist_digit.digit(picture), usual) > 0.8, name


def test_a_fine_pen_becomes_a_stroke_as_wide_as_mnists():
    for width in (1, 2, 4, 8):
        made = mnist_digit.digit(box("0", 200, width)) / 255
        across = made[14]  # through both sides of the ring
        assert 1.5 < across.sum() / 2 < 3.5, width
        assert across.max() > 0.85, width


def test_a_bar_without_a_soft_edge_keeps_its_ink():
    bar = np.full((100, 100), 255, np.uint8)
    bar[10:90, 47:53] = 0
    soft = bar.copy()
    soft[10:90, [46, 53]] = 200
    sharp, usual = (int(mnist_digit.digit(picture).sum()) for picture in (bar, soft))
    assert 0.8 < sharp / usual < 1.25


def test_nothing_written_is_no_digit():
    random = np.random.default_rng(0)
    dot = np.full((100, 100), 255, np.uint8)
    dot[50:58, 50:58] = 0
    shaded = np.tile(np.linspace(200, 230, 100).astype(np.uint8), (100, 1))
    noisy = random.normal(220, 4, (100, 100)).astype(np.uint8)
    for name, picture in {
        "empty": box(" "),
        "black": 0 * dot,
        "dot": dot,
        "shaded": shaded,
        "noisy": noisy,
    }.items():
        with pytest.raises(BadPicture) as found:
            mnist_digit.digit(picture)
        assert found.value.kind == "empty", name


def test_specks_and_scanner_noise_are_not_part_of_the_digit():
    random = np.random.default_rng(0)
    dirty = np.clip(box("3") * 0.8 + random.normal(20, 6, (100, 100)), 0, 255).astype(np.uint8)
    dirty[3:5, 3:5] = 0
    assert like(mnist_digit.digit(dirty), mnist_digit.digit(box("3"))) > 0.9


def test_a_digit_of_two_strokes_keeps_both():
    apart = box("5").copy()
    apart[:, 40:44] = np.where(np.arange(100)[:, None] < 30, 255, apart[:, 40:44])
    assert like(mnist_digit.digit(apart), mnist_digit.digit(box("5"))) > 0.9


def test_files_are_read_as_everywhere_else():
    assert np.array_equal(mnist_digit.digit(png(box("7"))), mnist_digit.digit(box("7")))
    with pytest.raises(BadPicture):
        mnist_digit.digit(b"not a picture")


def test_sixteen_grey_pixels_as_from_an_envelope():
    small = np.rint(mnist_digit.resample(box("2").astype(float), 16, 16)).astype(np.uint8)
    assert like(mnist_digit.digit(small), mnist_digit.digit(box("2"))) > 0.75


def test_resampling_shrinks_by_area_and_grows_linearly():
    values = np.array([[0.0, 1.0, 1.0, 0.0]])
    assert np.allclose(mnist_digit.resample(values, 1, 2), [[0.5, 0.5]])
    assert np.allclose(mnist_digit.resample(np.array([[0.0, 1.0]]), 1, 4), [[0, 0.25, 0.75, 1]])
    assert all(
        np.allclose(mnist_digit.overlaps(old, new)[1].sum(1), 1) for old, new in ((7, 3), (3, 7))
    )
    long = np.random.default_rng(0).random((3, 900))
    assert np.allclose(
        mnist_digit.resample(long, 3, 300), long.reshape(3, 300, 3).mean(2)
    )  # in blocks as in one


def test_resampling_a_long_strip_never_holds_all_weights():
    strip = np.ones((1, 200_000))
    tracemalloc.start()
    shrunk = mnist_digit.resample(strip, 1, 1000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.allclose(shrunk, 1)
    assert most < 400e6, "all weights at once would be 1.6 GB"


def test_predict_prepares_digits_on_request(tmp_path):
    (tmp_path / "digit.png").write_bytes(png(box("0")))
    (tmp_path / "empty.png").write_bytes(png(box(" ")))
    known = onnx_classifier.load(by_brightness(tmp_path / "lamp.onnx", 28))
    assert [answer.top[0][0] for answer in predict.predict_folders(known, [str(tmp_path)])] == [
        "bright",
        "bright",
    ]
    first, second = predict.predict_folders(known, [str(tmp_path)], preprocess="digit")
    assert first.top[0][0] == "dark" and second.problem == "empty: nothing is written here"
    with pytest.raises(UserError, match="unknown preparation"):
        predict.predict_folders(known, [str(tmp_path)], preprocess="digits")
