"""Thin, deep, animated and rare files, each handled on purpose by scan, store and classifier."""

import io
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from eyesight.data import decode as decoding
from eyesight.data.opening import open_source
from eyesight.data.prepare import BadPicture, Preparation, prepare, read
from eyesight.data.scan import scan_any
from eyesight.data.store import prepare_store
from eyesight.recipe import Data

FORMATS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]
FORMATS += ["AVIF"] * features.check("avif")
MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"]


def drawn(mode, seed=0, side=12):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
    if mode == "PA":
        return Image.fromarray(pixels).convert("P").convert("PA")
    if mode == "LAB":
        return Image.frombytes("LAB", (side, side), pixels.tobytes())
    return Image.fromarray(pixels).convert(mode)


def encoded(mode, file_format, animated, seed=0):
    """The bytes of a file, or None where Pillow cannot write one."""
    file = io.BytesIO()
    more = {}
    if animated:
        more = {
            "save_all": True,
            "append_images": [drawn(mode, seed + 100), drawn(mode, seed + 200)],
        }
    try:
        drawn(mode, seed).save(file, file_format, **more)
    except (OSError, ValueError, KeyError, SystemError, TypeError, AttributeError):
        return None
    return file.getvalue()


CASES = list(itertools.product(MODES, FORMATS, (False, True)))


def test_every_mode_format_and_animation_that_pillow_writes(tmp_path):
    names = []
    for mode, file_format, animated in CASES:
        for label in ("cat", "dog"):
            data = encoded(mode, file_format, animated, seed=len(names))
            if data is not None:
                name = f"{label}/{mode.replace(';', '')}-{animated}.{file_format.lower()}"
                (tmp_path / label).mkdir(exist_ok=True)
                (tmp_path / name).write_bytes(data)
                names.append(name)
    assert len(names) > 100
    source = open_source(tmp_path)
    scan = scan_any(source)
    alike = {problem.id for problem in scan.problems if problem.kind == "conflict"}
    bad = [problem for problem in scan.problems if problem.fatal and problem.id not in alike]
    assert bad == [] and len(alike) < 8  # where Pillow writes two pictures as one
    store = prepare_store(source, Data(str(tmp_path), size=8))
    assert set(store.ids) == set(names) - alike
    preparation = store.preparation
    for row, name in enumerate(store.ids):
        data = (tmp_path / name).read_bytes()
        assert np.array_equal(prepare(data, preparation), store.pixels[row]), name


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "1"])
def test_the_first_frame_of_an_animated_gif_is_used(mode):
    frames = [Image.new("L", (8, 8), value).convert(mode) for value in (0, 255, 0)]
    file = io.BytesIO()
    frames[1].save(file, "GIF", save_all=True, append_images=[frames[0], frames[2]])
    decoded = read(file.getvalue())
    assert np.asarray(decoded.image).min() == 255
    assert "animated" in dict(decoded.notes)


THIN = """
import io, json, sys
sys.path.insert(0, "benchmarks")
from thin_pictures import rows, prepare, picture
from eyesight.data.prepare import Preparation
prepare(picture(2, tall=True), Preparation(8, 8, 3))
print(json.dumps(rows((100, 65_000), modes=("RGB",), channels=(3,))))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak")
@pytest.mark.whole
def test_memory_is_bounded_by_the_output_for_every_policy_and_thin_picture():
    import json

    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", THIN], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    assert len(table) == 16 and max(used for *_, used in table) < 100


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (3, 20_000)])
@pytest.mark.parametrize("policy", ["squash", "crop", "letterbox"])
def test_a_thin_picture_becomes_what_its_kept_part_holds(size, policy):
    rows = np.arange(size[1]) * 255 // size[1]
    columns = np.arange(size[0]) * 255 // size[0]
    pixels = np.maximum(rows[:, None], columns[None, :]).astype(np.uint8)
    result = prepare(pixels, Preparation(64, 64, 1, policy))[0].astype(int)
    assert result.shape == (64, 64)
    if policy == "crop":  # the middle, where the ramp is half way
        assert np.abs(result - 127).max() < 3 if min(size) == 1 else True
    if policy == "squash":
        along = result[:, 0] if size[1] > size[0] else result[0]
        assert np.abs(along - (np.arange(64) + 0.5) * 255 / 64).max() < 3 or min(size) > 1


def test_too_little_memory_is_a_bad_file_and_no_end(monkeypatch):
    def short(*_):
        raise MemoryError

    data = encoded("RGB", "PNG", False)
    monkeypatch.setattr(Image.Image, "resize", short)
    with pytest.raises(BadPicture, match="huge: there is not enough memory"):
        prepare(data, Preparation(8, 8, 3))
    monkeypatch.setattr(decoding, "_load", short)
    with pytest.raises(BadPicture, match="huge"):
        read(data)


def deep(root, top, count=4):
    """Grey files of 16 bits with values up to `top`."""
    random = np.random.default_rng(0)
    values = {}
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, top + 1, (9, 9)).astype(np.uint16)
            pixels[0, 0] = top
            Image.fromarray(pixels).save(root / label / f"{number}.png")
            values[f"{label}/{number}.png"] = pixels
    return values


@pytest.mark.parametrize(
    ("top", "depth"), [(200, 8), (1000, 10), (4000, 12), (16000, 14), (65000, 16)]
)
def test_values_of_fewer_bits_keep_their_grey_levels(tmp_path, top, depth):
    values = deep(tmp_path, top)
    source = open_source(tmp_path)
    store = prepare_store(source, Data(str(tmp_path)))
    assert store.preparation.depth == depth
    peak = 2**depth - 1
    for row, name in enumerate(store.ids):
        expected = np.rint(values[name] * (255 / peak))
        assert np.abs(store.pixels[row][0].astype(int) - expected).max() <= 1
        again = prepare((tmp_path / name).read_bytes(), store.preparation)
        assert np.array_equal(again, store.pixels[row]), "a service prepares alike"
    details = {problem.detail for problem in scan_any(source).problems}
    assert details == {problem.detail for problem in store.problems}
    if depth < 16:
        assert details == {f"{depth} of 16 bits a sample are used in this set, and scaled to 8"}


def test_the_depth_travels_with_the_weights_and_older_files_have_16_bits():
    preparation = Preparation(4, 4, 1, depth=12)
    assert Preparation.from_dict(preparation.to_dict()) == preparation
    older = {"height": 4, "width": 4, "channels": 1}
    assert Preparation.from_dict(older).depth == 16
    assert "depth" not in Preparation(4, 4, 1).to_dict()


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


def test_a_heic_file_without_the_extra_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(BadPicture, match=r"eyesight\[heif\]"):
        read(HEIC)


def test_a_heic_file_is_read_with_the_extra(monkeypatch):
    class Heif:
        @staticmethod
        def register_heif_opener():
            registered.append(True)

    registered = []
    monkeypatch.setitem(sys.modules, "pillow_heif", Heif)
    monkeypatch.setattr(decoding, "FORMATS", ["PNG"])
    with pytest.raises(BadPicture):  # these bytes only begin as such a file
        read(HEIC)
    assert registered == [True] and "HEIF" in decoding.FORMATS


def test_predict_and_the_service_answer_alike_for_every_mode_and_format(tmp_path):
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient
    from portables import by_brightness

    from eyesight.inference import onnx_classifier
    from eyesight.inference.predict import predict_folders
    from eyesight.web.application import application

    classifier = onnx_classifier.load(by_brightness(tmp_path / "lamp.onnx"))
    folder = tmp_path / "files"
    folder.mkdir()
    for number, (mode, file_format, animated) in enumerate(CASES):
        data = encoded(mode, file_format, animated, seed=number)
        if data is not None:
            (folder / f"{number}.{file_format.lower()}").write_bytes(data)
    predictions = predict_folders(classifier, [str(folder)], 1)
    assert len(predictions) > 50
    with TestClient(application(classifier), base_url="http://127.0.0.1:8000") as client:
        for prediction in predictions:
            assert not prediction.problem, prediction
            content = Path(prediction.path).read_bytes()
            answer = client.post("/api/predict", content=content)
            assert answer.status_code == 200, (prediction.path, answer.text)
            name, probability = prediction.top[0]
            best = answer.json()["top"][0]
            assert (best["class"], best["probability"]) == (name, pytest.approx(probability, 1e-5))


def test_an_image_of_fewer_bits_than_its_set_is_told_to_be_dark(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (6, 8, 8)).astype(np.uint16)
    for number, pixels in enumerate(values):
        file = tmp_path / ("cat" if number % 2 else "dog") / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels if number == 0 else pixels * 256).save(file)
    problems = scan_any(open_source(tmp_path)).problems
    dark = [problem.id for problem in problems if problem.kind == "dark"]
    assert dark == ["dog/0.png"]
