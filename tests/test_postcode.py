"""A photographed code is read from left to right, and nothing else is; judged by likeness to
cleanly drawn digits.
"""

import json
import time
from functools import cache

import numpy as np
import pytest
from drawn import png
from PIL import Image, ImageDraw
from portables import by_brightness
from readers import by_likeness
from scipy import ndimage
from typer.testing import CliRunner
from written import STROKES, box, photo, write

from eyesight.cli.main import app
from eyesight.reader import mnist_digit
from eyesight.reader.locate import Row
from eyesight.reader.marks import Mark
from eyesight.reader.postcode import is_rest_of_line, read_code
from eyesight.reader.strip import on_paper, straighten

TILTS = (-6, 0, 6)


def blurred(images):
    """Prepared digits as unit vectors, blurred so that a pixel more or less to the left does not
    count.
    """
    smooth = ndimage.gaussian_filter(np.asarray(images, dtype=float), (0, 1.5, 1.5))
    rows = smooth.reshape(len(smooth), -1)
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6)


@cache
def templates():
    tilted = [
        ndimage.rotate(box(digit), tilt, cval=255, order=1) for tilt in TILTS for digit in STROKES
    ]
    return blurred([mnist_digit.digit(image) for image in tilted])


def classify(images):
    """Probabilities N,10 from the likeness to the digits as `written` draws them."""
    alike = (blurred(images) @ templates().T).reshape(len(images), len(TILTS), 10).max(axis=1)
    likely = np.exp(40 * alike)
    return (likely / likely.sum(axis=1, keepdims=True)).astype(np.float32)


def read(image, digits=None):
    return read_code(image, classify, digits).text


@pytest.mark.parametrize(
    "scene",
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
@pytest.mark.parametrize("digits", [None, 5])
def test_a_photographed_code_is_read_from_left_to_right(scene, digits):
    assert read(photo("20745", **scene), digits) == "20745"
    assert read(photo("13689", **scene), digits) == "13689"


def on_table(paper, border=150, brightness=50):
    """The paper lying on a darker table with a grain."""
    random = np.random.default_rng(1)
    shape = [side + 2 * border for side in paper.shape]
    grain = ndimage.gaussian_filter(random.normal(0, 1, shape), (1, 30)) * 60
    table = np.clip(brightness + grain, 0, 255)
    table[border:-border, border:-border] = paper
    return table.astype(np.uint8)


def test_an_envelope_on_a_darker_table():
    assert read(on_table(photo("20745"))) == "20745"
    assert read(on_table(photo("13689", shadow=0.4, noise=4), brightness=90), 5) == "13689"


def test_a_cast_shadow_across_the_code():
    for place in (250, 312, 380):
        picture = photo("20745").astype(float)
        picture[:, place:] *= 0.45
        assert read(picture.astype(np.uint8)) == "20745", place


def test_one_bold_digit_does_not_make_the_others_print():
    picture = Image.fromarray(photo("2 745"))
    write(ImageDraw.Draw(picture), "0", 160, 70, 90, 17, 45)
    assert read(np.asarray(picture)) == "20745"


def test_pens_of_different_darkness():
    picture = Image.new("L", (620, 230), 225)
    for place, (digit, grey) in enumerate(zip("20745", (20, 150, 60, 165, 100), strict=True)):
        write(ImageDraw.Draw(picture), digit, 60 + 100 * place, 70, 90, 6, grey)
    assert read(np.asarray(picture)) == "20745"


def test_ruled_paper():
    picture = photo("20745").copy()
    for row in range(20, picture.shape[0], 65):
        picture[row : row + 2] = 150
    assert read(picture, 5) == "20745"


def test_an_empty_box_keeps_its_place():
    code = read_code(photo("20 45", frames=True), classify, 5)
    assert code.text == "20_45"
    assert code.digits[2].pixels is None and code.digits[2].probability == 0
    assert code.is_doubtful(5) and code.certainty(5) == 0
    assert read(photo(" 0745", frames=True)) == "_0745"


@pytest.mark.parametrize("code", [" 0745", "20 45", "2074 "])
def test_an_empty_box_of_pale_lines_keeps_its_place(code):
    picture = photo(code, frames=True, outline=207, noise=2)
    assert read(picture, 5) == code.replace(" ", "_")


def test_the_leaning_line_of_a_box_is_no_digit():
    leaning = Mark(84, 60, 100, 120, label=1, darkness=0.5)
    assert is_rest_of_line(leaning, (120, 100))
    one_that_touches_the_line = Mark(40, 20, 60, 120, label=1, darkness=0.5)
    assert not is_rest_of_line(one_that_touches_the_line, (120, 100))


def test_beyond_the_edge_of_a_photograph_lies_no_ink():
    values = np.full((100, 200), 225.0)
    values[40:60, :4] = 30  # repeated beyond the edge this would be a long stroke
    row = Row(10, 50, 0.0, 60, 30, 2, 0.8)
    strip = straighten(values, row)
    inside = on_paper(strip.turn, strip.shift, values.shape, strip.mask.shape)
    assert not inside.all() and strip.mask[inside].any()
    assert not strip.mask[~inside].any()


def test_another_number_of_digits_than_expected_is_doubtful():
    code = read_code(photo("2074"), classify, 5)
    assert code.is_doubtful(5) and code.certainty(5) == 0
    least = min(digit.probability for digit in code.digits)
    assert code.certainty(4) == least > 0.9
    assert not code.is_doubtful(4, least) and code.is_doubtful(4, least + 0.001)


def test_what_was_left_out_is_told():
    picture = np.hstack([photo("20745"), photo("8")[:, 40:]])
    code = read_code(picture, classify, 5)
    assert code.text in ("20745", "07458") and len(code.left_out) == 1 and code.is_doubtful(5)
    assert read(picture) == "207458"


def test_places_are_in_the_pixels_of_the_photograph():
    for side, width in ((90, 6), (400, 24)):
        code = read_code(photo("357", side=side, width=width), classify)
        lefts = [60 + place * (side + 10) for place in range(3)]
        for digit, left in zip(code.digits, lefts, strict=True):
            across, down = np.ptp(digit.corners, axis=0)
            assert left < digit.corners[:, 0].min() < left + 0.4 * side
            assert 0.4 * side < across < 0.8 * side and 0.6 * side < down < side
            assert 60 < digit.corners[:, 1].min() < 120 + 0.2 * side


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
    blank = np.full((50, 200), 240, np.uint8)
    noise = random.normal(200, 5, (80, 200)).astype(np.uint8)
    for picture in (blank, photo("   ", frames=True), noise):
        assert read(picture) == ""
    for shape in ((1, 1), (1, 300), (300, 2), (5, 5)):
        assert read(random.integers(0, 255, shape).astype(np.uint8)) == ""


def test_images_full_of_dots_frames_or_noise_do_not_keep_a_core_busy():
    dots = np.full((300, 300), 255, np.uint8)
    dots[np.ix_(*[np.arange(300) % 6 < 4] * 2)] = 0
    frames = np.full((500, 500), 255, np.uint8)
    for edge in range(4, 240, 8):
        frames[edge:-edge, edge:-edge] = 0
        frames[edge + 2 : -edge - 2, edge + 2 : -edge - 2] = 255
    noise = np.random.default_rng(0).integers(0, 255, (300, 300)).astype(np.uint8)
    for picture in (dots, frames, noise):
        began = time.process_time()
        assert len(read_code(picture, classify).digits) <= 40
        assert time.process_time() - began < 3


def test_the_command_line_reads_codes(tmp_path):
    file = by_likeness(tmp_path / "digits.onnx", "3210987654")
    folder = tmp_path / "photographs"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(photo("20745")))
    (folder / "b.png").write_bytes(png(photo("20 45", frames=True)))
    (folder / "c.png").write_bytes(b"no image")
    answer = CliRunner().invoke(app, ["predict", str(file), str(folder), "--digits", "5"])
    lines = answer.stdout.splitlines()
    assert lines[0] == "picture,code,check,left out"
    assert lines[1] == f"{folder / 'a.png'},20745,,0"
    assert lines[2] == f"{folder / 'b.png'},20_45,check,0" and len(lines) == 3
    answer = CliRunner().invoke(app, ["predict", str(file), str(folder), "--digits=5", "--json"])
    first, second, third = json.loads(answer.stdout)["codes"]
    assert first["code"] == "20745" and not first["doubtful"] and len(first["digits"]) == 5
    assert second["digits"][2]["digit"] == "_" and third["problem"]


def test_a_network_of_other_things_reads_no_codes(tmp_path):
    file = by_brightness(tmp_path / "lamp.onnx")
    (tmp_path / "a.png").write_bytes(png(photo("2")))
    answer = CliRunner().invoke(app, ["predict", str(file), str(tmp_path / "a.png"), "--digits=1"])
    assert answer.exit_code != 0 and "ten digits" in str(answer.exception)
