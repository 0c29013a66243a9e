"""What earlier versions wrote is read: a run, a classifier, an ONNX file.

An old cache is rebuilt.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from eyesight import classifier
from eyesight.data.opening import open_source
from eyesight.data.store import open_store, prepare_store, store_folder
from eyesight.inference import onnx_classifier
from eyesight.recipe import Data
from eyesight.runs import Run
from eyesight.system import cache

BEFORE = Path(__file__).parent / "before"
ANSWERS = json.loads((BEFORE / "answers.json").read_text("utf-8"))
PICTURES = [BEFORE / "pictures" / "test" / name for name in ANSWERS]


@pytest.fixture
def run(tmp_path):
    shutil.copytree(BEFORE / "run", tmp_path / "0001-digits")
    return Run.open(tmp_path / "0001-digits")


def test_a_run_is_read(run):
    assert run.status == "done" and run.recipe.name == "digits" and run.recipe.data.size == 12
    assert run.epochs[-1]["epoch"] >= 1 and run.result["test"]["n"] == 16
    predictions = run.predictions()
    assert predictions.classes == ("bars", "dots") and len(predictions) == 16
    assert predictions.summary()["top1"] == run.result["test"]["top1"]


@pytest.mark.parametrize("number", [1, 2])
def test_classifier_and_onnx_file_answer_as_they_did(run, number):
    files = {1: run.classifier_path, 2: BEFORE / "digits.onnx"}
    load = {1: classifier.load, 2: onnx_classifier.load}[number]
    loaded = load(files[number])
    pixels = np.stack([loaded.prepare(path.read_bytes()) for path in PICTURES])
    probabilities = loaded.probabilities(pixels)
    for row, (name, answer) in zip(probabilities, ANSWERS.items(), strict=True):
        assert loaded.classes[row.argmax()] == answer[0], name
        assert row.max() == pytest.approx(answer[number], abs=1e-5), name


def test_an_old_cache_is_not_read_but_built_again(run):
    shutil.copytree(BEFORE / "cache", cache.cache_dir(), dirs_exist_ok=True)
    assert open_store(store_folder(run.data["store"])) is None
    assert {entry.state for entry in cache.entries()} == {"old"}
    root = BEFORE / "pictures" / "test"
    store = prepare_store(open_source(root), Data(str(root), size=12))
    assert len(store.ids) == 16 and store.classes == ("bars", "dots")
    cache.clean()
    assert cache.entries() == []
