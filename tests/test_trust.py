"""The same calibrated answer, set and doubt by Python, command line, service and the plain file."""

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from commands import command
from starlette.testclient import TestClient
from typer.testing import CliRunner

from eyesight import classifier
from eyesight.classifier import Classifier
from eyesight.cli.main import app
from eyesight.data.prepare import Preparation, encode_png
from eyesight.exporting import export
from eyesight.inference import onnx_classifier
from eyesight.models import registry
from eyesight.recipe import Model
from eyesight.results.calibration import Calibration, softmax
from eyesight.results.conformal import PredictionSets
from eyesight.results.unlike import Unlike
from eyesight.training import calibrate
from eyesight.web.application import application

pytestmark = pytest.mark.whole
CLASSES = ("bar", "cross", "ring")


def pictures(count, seed=0, bright=100):
    random = np.random.default_rng(seed)
    return random.integers(0, bright, (count, 1, 28, 28), dtype=np.uint8)


@pytest.fixture(scope="module", params=["lenet5", "fast_digits"])
def calibrated(request):
    """A tiny untrained network with a calibration as training leaves it."""
    torch.manual_seed(0)
    shape = (1, 28, 28)
    network = registry.build(Model(request.param), shape, 3).eval()
    made = Classifier(network, Model(request.param), CLASSES, Preparation(28, 28, 1), "flip")
    pixels = pictures(300)
    logits, features = made.logits_and_features(pixels)
    labels = np.random.default_rng(1).integers(0, 3, 300)
    sets = PredictionSets.fit(softmax(logits, 0.2), labels, 0.01)
    unlike = Unlike.fit(features[:150], features[150:], logits[150:])
    made.calibration = Calibration(0.2, 300, sets, unlike)
    return made


@pytest.fixture(scope="module")
def kept(calibrated, tmp_path_factory):
    """The classifier's folder and its exported file."""
    folder = tmp_path_factory.mktemp("trust")
    calibrated.save(folder / "classifier")
    facts = {
        "eyesight_format": 1,
        "classes": list(CLASSES),
        "preparation": calibrated.preparation.to_dict(),
        "calibration": calibrated.calibration.to_dict(),
    }
    export.write(calibrated, facts, folder / "it.onnx")
    return folder


def test_the_classifier_read_back_answers_alike(calibrated, kept):
    pixels = np.concatenate([pictures(20, 5), pictures(5, 6, bright=256)])
    one = calibrated.answer(pixels)
    two = classifier.load(kept / "classifier").answer(pixels)
    assert two.probabilities == pytest.approx(one.probabilities, abs=1e-6)
    assert np.array_equal(one.set, two.set)
    assert two.unlike == pytest.approx(one.unlike, abs=1e-3)
    assert calibrated.probabilities(pixels) == pytest.approx(one.probabilities, abs=1e-6)
    assert one.probabilities == pytest.approx(softmax(one.logits, 0.2), abs=1e-6)


def test_plain_onnxruntime_gives_the_same_probabilities_set_and_doubt(calibrated, kept):
    pixels = np.concatenate([pictures(20, 5), pictures(5, 6, bright=256)])
    session = onnxruntime.InferenceSession(kept / "it.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert {"probabilities", "logits", "set", "unlike"} <= set(names)
    values = dict(zip(names, session.run(None, {"pictures": pixels}), strict=True))
    own = calibrated.answer(pixels)
    assert values["probabilities"] == pytest.approx(own.probabilities, abs=1e-4)
    assert values["logits"] == pytest.approx(own.logits, abs=1e-4)
    assert values["set"].dtype == bool and np.array_equal(values["set"], own.set)
    assert values["unlike"] == pytest.approx(own.unlike, abs=5e-3)
    assert not own.set.all() and own.set.any(axis=1).all()


def test_command_line_python_and_service_say_the_same(calibrated, kept, tmp_path):
    pixels = pictures(3, 9)
    files = []
    for number, image in enumerate(pixels):
        files.append(tmp_path / f"{number}.png")
        files[-1].write_bytes(encode_png(image))
    said = []
    for model in (kept / "classifier", kept / "it.onnx"):
        answer = CliRunner().invoke(app, ["predict", str(model), *map(str, files), "--json"])
        assert answer.exit_code == 0, answer.output
        said.append(json.loads(answer.stdout)["predictions"])
    python = calibrated.predict(files)
    client = TestClient(
        application(onnx_classifier.load(kept / "it.onnx")), base_url="http://localhost"
    )
    for number, file in enumerate(files):
        served = client.post("/api/predict", content=file.read_bytes()).json()
        expected = python.set_names(number)
        assert served["set"] == said[0][number]["set"] == said[1][number]["set"] == expected
        assert served["unlike"] == said[0][number]["unlike"] == bool(python.unlike[number])
        best = float(python.confidence[number])
        assert served["top"][0]["probability"] == pytest.approx(best, abs=1e-4)
        assert said[0][number]["top"][0]["probability"] == pytest.approx(best, abs=1e-4)
        assert served["doubt"] == (
            "unlike" if served["unlike"] else "unsure" if len(expected) > 1 else None
        )


def test_another_level_is_asked_for_and_a_promise_that_cannot_be_made_is_refused(kept, tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(encode_png(pictures(1, 3)[0]))
    sizes = []
    for level in ("50%", "0.99"):
        options = ["predict", str(kept / "classifier"), str(file), "--sure", level, "--json"]
        found = json.loads(CliRunner().invoke(app, options).stdout)
        assert found["sure"] == {"50%": 0.5, "0.99": 0.99}[level]
        sizes.append(len(found["predictions"][0]["set"]))
    assert 1 <= sizes[0] <= sizes[1]
    bare = classifier.load(kept / "classifier")
    bare.calibration = Calibration(note="too few images")
    bare.save(tmp_path / "bare")
    refused = CliRunner().invoke(
        app, ["predict", str(tmp_path / "bare"), str(file), "--sure", "95%"]
    )
    assert refused.exit_code != 0
    assert "a larger share" in refused.exception.hint  # .1 is what data.validation already is


def test_what_differs_from_all_training_images_is_unlike():
    random = np.random.default_rng(0)
    train, same = random.normal(0, 1, (300, 8)), random.normal(0, 1, (300, 8))
    train[:, 0] += 5
    same[:, 0] += 5
    logits = random.normal(0, 1, (300, 3)) + [6, 0, 0]
    fitted = Unlike.fit(train, same, logits)
    assert (fitted.scores(same, logits) > fitted.limit).mean() == pytest.approx(0.01, abs=0.01)
    strange = random.normal(0, 1, (100, 8)) - [5, 0, 0, 0, 0, 0, 0, 0]
    flat = np.zeros((100, 3))
    assert (fitted.scores(strange, flat) > fitted.limit).mean() > 0.95
    assert Unlike.fit(train[:10], same, logits) is None


def test_features_outside_the_principal_directions_are_unlike():
    random = np.random.default_rng(0)
    features = random.normal(0, 0.01, (600, 200))
    features[:, :64] += random.uniform(0.5, 1.0, (600, 64))
    logits = random.normal(0, 1, (600, 3)) + [6, 0, 0]
    fitted = Unlike.fit(features[:300], features[300:450], logits[300:450])
    strange = features[450:].copy()
    strange[:, 64:] += random.uniform(0.5, 1.0, (150, 136))  # the rest is that of known images
    assert (fitted.scores(features[450:], logits[450:]) > fitted.limit).mean() < 0.1
    assert (fitted.scores(strange, logits[450:]) > fitted.limit).mean() > 0.95


def test_the_references_of_an_earlier_score_are_left_out_and_the_note_says_so(kept):
    values = classifier.read_description(kept / "classifier")["calibration"]
    unlike = classifier.load(kept / "classifier").calibration.unlike
    arrays = unlike.tensors()
    assert Calibration.from_dict(values, arrays).unlike.limit == unlike.limit
    earlier = Calibration.from_dict(values, {"mean": np.zeros(4, np.float32), **arrays})
    assert earlier.unlike is None and "earlier version" in earlier.note
    assert earlier.reason("unlike") == "trained by an earlier version (train again)"


def test_why_a_part_is_missing_travels_with_the_classifier_and_older_ones_have_the_note(kept):
    few = "fewer than 200 validation images"
    made = Calibration(note=f"{few}: no sets; it is old", reasons={"sets": few})
    values = made.to_dict()
    assert Calibration.from_dict(values).reason("sets") == few
    del values["reasons"]
    assert Calibration.from_dict(values).reason("sets") == made.note


def test_images_that_calibrate_the_sets_choose_nothing():
    choosing, calibrating = calibrate.divided(1000)
    assert len(calibrating) == 500 and not set(choosing) & set(calibrating)
    assert len(calibrate.divided(10_000)[1]) == calibrate.MOST
    choosing, calibrating = calibrate.divided(150)
    assert len(choosing) == 150 and len(calibrating) == 0


def test_a_classifier_that_cannot_detect_unlike_images_says_so_once(kept, calibrated, tmp_path):
    (tmp_path / "0.png").write_bytes(encode_png(pictures(1)[0]))
    (tmp_path / "1.png").write_bytes(encode_png(pictures(1)[0]))
    earlier = Calibration(note="trained by an earlier version")
    replace(calibrated, calibration=earlier).save(tmp_path / "plain")
    reason = "cannot detect images unlike its training images"
    files = (tmp_path / "0.png", tmp_path / "1.png")
    printed = command("predict", tmp_path / "plain", *files)
    assert printed.err.count(f"{reason}: trained by an earlier version") == 1
    printed = command("predict", tmp_path / "plain", *files, "--json")
    assert [row["unlike"] for row in json.loads(printed.out)["predictions"]] == [None, None]
    printed = command("predict", kept / "classifier", *files)
    assert reason not in printed.err
