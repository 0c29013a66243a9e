"""Exported files are read without torch, and broken or foreign ones are refused with a reason."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from drawn import png
from portables import by_brightness

from eyesight.errors import UserError
from eyesight.inference import onnx_classifier, predict


def test_answers_for_any_number_of_pictures(tmp_path):
    known = onnx_classifier.load(by_brightness(tmp_path / "lamp.onnx"))
    pixels = np.stack([np.full((1, 8, 8), value, np.uint8) for value in (0, 127, 255)])
    assert known.classes == ("dark", "bright")
    assert known.probabilities(pixels)[:, 1].round(3).tolist() == pytest.approx([0.0, 0.49, 1.0])
    assert known.probabilities(pixels[:1]).dtype == np.float32
    assert known.probabilities(pixels[:0]).shape == (0, 2)


def test_prepares_as_its_description_says(tmp_path):
    known = onnx_classifier.load(by_brightness(tmp_path / "lamp.onnx", size=6, channels=3))
    assert known.prepare(png(np.zeros((20, 10), np.uint8))).shape == (3, 6, 6)


@pytest.mark.parametrize(
    "facts",
    [
        {"classes": ["one"]},
        {"classes": 5},
        {"preparation": {"height": 3}},
        {"preparation": {"colour": 1}},
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, facts):
    with pytest.raises(UserError, match="damaged"):
        onnx_classifier.load(by_brightness(tmp_path / "lamp.onnx", **facts))


def test_missing_broken_empty_foreign_and_later_files_are_refused(tmp_path):
    good = by_brightness(tmp_path / "lamp.onnx").read_bytes()
    for name, content in (
        ("broken.onnx", good[:200]),
        ("text.onnx", b"hello"),
        ("empty.onnx", b""),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            onnx_classifier.load(tmp_path / name)
    with pytest.raises(UserError, match="there is no file"):
        onnx_classifier.load(tmp_path / "nowhere.onnx")
    with pytest.raises(UserError, match="newer version of eyesight"):
        onnx_classifier.load(by_brightness(tmp_path / "later.onnx", eyesight_format=99))
    foreign = onnx.load_model_from_string(good)
    del foreign.metadata_props[:]
    onnx.save_model(foreign, str(tmp_path / "foreign.onnx"))
    with pytest.raises(UserError, match="was not written by `eyesight export`"):
        onnx_classifier.load(tmp_path / "foreign.onnx")


def test_recognise_names_bad_files_and_answers_the_others(tmp_path):
    file = by_brightness(tmp_path / "lamp.onnx")
    (tmp_path / "bad.jpg").write_text("no picture")
    (tmp_path / "good.png").write_bytes(png(np.full((9, 9), 255, np.uint8)))
    bad, good = predict.predict_folders(
        onnx_classifier.load(file), [str(tmp_path / "bad.jpg"), str(tmp_path / "good.png")]
    )
    assert bad.problem.startswith("unreadable")
    assert good.top[0][0] == "bright"


def test_predict_does_not_import_torch(tmp_path):
    file = by_brightness(tmp_path / "lamp.onnx")
    (tmp_path / "good.png").write_bytes(png(np.full((9, 9), 255, np.uint8)))
    program = (
        "import sys; from eyesight.cli import main\n"
        "try: main.main()\nexcept SystemExit as end: assert not end.code\nassert 'torch' not in sys.modules, 'torch was imported'"
    )
    command = [
        sys.executable,
        "-c",
        program,
        "predict",
        str(file),
        str(tmp_path / "good.png"),
        "--json",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["predictions"][0]["top"][0]["class"] == "bright"
