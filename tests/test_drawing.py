"""What is drawn can be read: names on copies that never touch the original, heat where it
belongs.
"""

import io
from pathlib import Path

import numpy as np
import pytest
from drawn import png
from PIL import Image
from portables import by_brightness

from eyesight.data.prepare import BadPicture
from eyesight.errors import UserError
from eyesight.inference import annotate, dense, onnx_classifier, predict
from eyesight.system.files import unique_names

TOP = [
    ("golden retriever", 0.9),
    ("a dog with a name that is much too long for such a small picture of it", 0.1),
]


def opened(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int64)


def photo(width, height, **options):
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (90, 160, 90)).save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "width, height, expected",
    [(640, 480, (640, 480)), (28, 28, (320, 320)), (4000, 1000, (1600, 400)), (3, 900, (3, 900))],
)
def test_names_are_written_on_a_copy_of_a_usable_size(width, height, expected):
    data = annotate.annotated(photo(width, height), TOP)
    assert data.startswith(b"\xff\xd8") and Image.open(io.BytesIO(data)).size == expected
    if width > 3:
        found = opened(data)
        assert (found > 200).all(2).sum() > 50, "white letters"
        assert np.abs(found[-20:, -20:] - (90, 160, 90)).max() < 12, "the rest is the picture"


def test_the_bar_is_as_long_as_the_name_is_probable():
    lengths = []
    for sure in (0.2, 0.8):
        found = opened(annotate.annotated(photo(640, 480), [("a name of some length", sure)]))
        blue = (found[..., 2] > found[..., 0] + 60) & (found[..., 2] > found[..., 1])
        lengths.append(int(blue.any(0).sum()))
    assert lengths[0] > 10 and 3 < lengths[1] / lengths[0] < 5


def test_a_turned_photo_is_upright_on_its_copy():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert Image.open(
        io.BytesIO(annotate.annotated(photo(640, 400, exif=exif.tobytes()), TOP))
    ).size == (400, 640)


def test_names_in_other_scripts_and_no_names_are_drawn_too():
    for top in ([("진돗개", 1.0)], []):
        assert annotate.annotated(photo(300, 300), top)
    with pytest.raises(BadPicture):
        annotate.annotated(b"no picture", TOP)


def test_heat_is_bright_where_it_is_hot_and_grey_where_it_is_cold():
    pixels = np.full((3, 64, 64), 100, np.uint8)
    pixels[2] = 180
    heat = np.zeros((4, 4), np.float32)
    heat[0, 3] = 2e-9
    found = opened(annotate.overlaid(pixels, heat))
    assert found.shape == (256, 256, 3)
    assert found[:48, -48:].mean() > found[160:, :96].mean() + 40
    assert np.ptp(found[-60:, :60].mean((0, 1))) < 2, "cold places lose their colour"
    blank = opened(annotate.overlaid(pixels[:1], np.zeros((4, 4), np.float32)))
    assert np.ptp(blank) == 0


def test_copies_lie_beside_each_other_and_originals_stay(tmp_path):
    bright, dark = png(np.full((20, 20), 255, np.uint8)), png(np.zeros((20, 20), np.uint8))
    for folder, data in (("one", bright), ("two", dark)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "lamp.png").write_bytes(data)
    (tmp_path / "one" / "broken.png").write_bytes(b"broken")
    known = onnx_classifier.load(by_brightness(tmp_path / "it.onnx", looks=True))
    answers = predict.predict_folders(known, [str(tmp_path / "one"), str(tmp_path / "two")], 2)
    out = tmp_path / "one"
    for _ in range(2):
        predict.draw_predictions(answers, out)
        predict.draw_heatmaps(known, answers, out)
    names = {path.name for path in out.iterdir()}
    assert names == {
        "broken.png",
        "lamp.png",
        "lamp.named.jpg",
        "lamp-2.named.jpg",
        "lamp.places.png",
        "lamp-2.places.png",
    }
    assert (out / "lamp.png").read_bytes() == bright
    assert (
        opened((out / "lamp.places.png").read_bytes()).mean()
        > 150
        > opened((out / "lamp-2.places.png").read_bytes()).mean()
    )


def test_names_that_would_meet_get_a_number_that_nobody_has():
    assert unique_names(["a", "a", "a-2", "b", "a"]) == ["a", "a-3", "a-2", "b", "a-4"]
    assert unique_names(["a-2", "A", "a", "a"]) == ["a-2", "A", "a-3", "a-4"], (
        "some disks see no difference between A and a"
    )
    paths = [Path("x/a.png"), Path("y/a.png"), Path("z/a-2.png"), Path("x/a.png")]
    assert list(dense.named(paths).values()) == ["a", "a-3", "a-2"]


def test_a_file_that_cannot_tell_where_it_looked_says_so(tmp_path):
    (tmp_path / "lamp.png").write_bytes(png(np.zeros((20, 20), np.uint8)))
    known = onnx_classifier.load(by_brightness(tmp_path / "it.onnx"))
    answers = predict.predict_folders(known, [str(tmp_path / "lamp.png")])
    with pytest.raises(UserError, match="has no heatmap"):
        predict.draw_heatmaps(known, answers, tmp_path / "out")


def test_only_pretrained_networks_are_narrowed(tmp_path):
    with pytest.raises(UserError, match="only to pretrained networks"):
        predict.load(by_brightness(tmp_path / "it.onnx"), only="dogs")
