"""Every network leaves as an ONNX file that answers as it does, or does not leave at all."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import command
from drawn import folder, pictures
from PIL import Image

import eyesight
from eyesight import experiment
from eyesight.classifier import Classifier
from eyesight.data.prepare import Preparation
from eyesight.errors import UserError
from eyesight.exporting import export, quantise
from eyesight.exporting.onnx_file import file_of, is_fresh
from eyesight.inference import onnx_classifier
from eyesight.models import registry
from eyesight.recipe import Data, Model, Optim, Recipe, Training, Transfer
from eyesight.results import threshold
from eyesight.runs import Run

pytestmark = pytest.mark.whole

CLASSES = ("bar", "cross", "ring")
SIZES = {"lenet5": 28, "bottleneck": 64, "vgg16": 32}
ODD = {"lenet5_1998": (1, 32, 32)}


def write(loaded, file):
    facts = {
        "eyesight_format": 1,
        "classes": loaded.classes,
        "preparation": loaded.preparation.to_dict(),
    }
    export.write(loaded, facts, file)
    return onnx_classifier.load(file)


def untrained(name):
    torch.manual_seed(0)
    shape = ODD.get(name, (3, *[SIZES.get(name, 16)] * 2))
    how = Preparation(shape[1], shape[2], shape[0])
    return Classifier(
        registry.build(Model(name), shape, 3).eval(), Model(name), CLASSES, how, "flip"
    )


def kinds(name):
    return {type(layer) for layer in untrained(name).network.modules()}


# They have every kind of layer between them; each takes a second, all networks with EYESIGHT_SLOW=1.
EXPORTED = [
    "skips",
    "bottleneck",
    "autoencoder",
    "mixup_cnn",
    "fast_digits",
    "fast_objects",
    "lenet5_1998",
]
if os.environ.get("EYESIGHT_SLOW"):
    EXPORTED = list(registry.MODELS)


def test_the_exported_networks_have_every_kind_of_layer():
    exported = set().union(*map(kinds, EXPORTED))
    assert set().union(*map(kinds, registry.MODELS)) == exported


@pytest.mark.parametrize("name", EXPORTED)
def test_every_network_answers_the_same(name, tmp_path):
    known = untrained(name)
    pixels, labels = pictures(12, known.preparation.height, channels=known.preparation.channels)
    parity = export.compare(
        known, write(known, tmp_path / "it.onnx"), export.Held("drawn", pixels, labels, pixels)
    )
    assert parity.agreement == 1 and parity.largest_difference < 1e-5


def lenet(views="one"):
    torch.manual_seed(0)
    return Classifier(
        registry.build(Model("lenet5"), (1, 28, 28), 3).eval(),
        Model("lenet5"),
        CLASSES,
        Preparation(28, 28, 1),
        views,
    )


def test_views_are_averaged_in_the_file(tmp_path):
    pixels, labels = pictures(300, 28)
    known, one = lenet("shifts"), lenet()
    parity = export.compare(
        known, write(known, tmp_path / "it.onnx"), export.Held("drawn", pixels, labels, pixels)
    )
    assert parity.agreement == 1 and parity.largest_difference < 1e-5
    assert np.abs(known.probabilities(pixels) - one.probabilities(pixels)).max() > 1e-4, (
        "the views make no difference here"
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on drawn shapes, in a folder of its own, with its cache."""
    root = tmp_path_factory.mktemp("export")
    patch = pytest.MonkeyPatch()
    patch.setenv("EYESIGHT_CACHE", str(root / "cache"))
    data = folder(root / "shapes", 120, 28)
    recipe = Recipe(
        "shapes",
        data=Data(str(data)),
        model=Model("lenet5"),
        optim=Optim(lr=0.003),
        training=Training(epochs=3, batch=16),
    )
    run = experiment.train(recipe, root / "runs")
    yield run
    patch.undo()


@pytest.fixture
def run(trained, tmp_path):
    """A copy to export from; the data is where the original has it."""
    return Run(Path(shutil.copytree(trained.path, tmp_path / "runs" / trained.name)))


@pytest.fixture(scope="module")
def made(trained, tmp_path_factory):
    """The run's file."""
    return export.export(trained, tmp_path_factory.mktemp("made") / "some" / "shapes.onnx")


def test_the_file_answers_plain_onnxruntime_without_us(run, made):
    assert (
        made.parity.pictures == 24
        and made.parity.origin.startswith("test images of ")
        and made.parity.agreement == 1
    )
    card = made.card.read_text(encoding="utf-8")
    assert made.card.name == "shapes.onnx.md" and "24 test images of shapes:" in card
    program = f"""
import json, numpy, onnxruntime
session = onnxruntime.InferenceSession({str(made.file)!r})
facts = session.get_modelmeta().custom_metadata_map
pictures = numpy.load({str(run.path / "gallery.npz")!r})["samples_pixels"]
answers = session.run(None, {{"pictures": pictures}})[0]
print(json.dumps([json.loads(facts["classes"])[best] for best in answers.argmax(1)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    from eyesight.classifier import load

    known = load(run.classifier_path)
    expected = known.probabilities(run.gallery()["samples_pixels"]).argmax(1)
    assert json.loads(done.stdout) == [known.classes[best] for best in expected]


def test_the_example_of_the_docs_answers_as_the_classifier_does(
    trained, made, tmp_path, monkeypatch
):
    page = Path(__file__).parents[1] / "docs" / "export.md"
    example = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    noise = np.random.default_rng(0).integers(0, 256, (61, 47), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "seven.png")
    shutil.copy(made.file, tmp_path / "digits.onnx")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(example, names)
    answer = names["session"].run(["probabilities"], {"pictures": names["pixels"]})[0]
    expected = eyesight.load(trained.path).predict("seven.png").probabilities
    np.testing.assert_allclose(answer, expected, atol=1e-4)


def test_the_file_knows_what_it_is_and_nothing_of_this_machine(run, made):
    file = made.file
    facts = onnx_classifier.load(file).facts
    assert (
        facts["name"] == "shapes"
        and facts["classes"] == list(CLASSES)
        and facts["split"] == run.data["split"]
    )
    assert facts["accuracy"] == run.result["test"]["top1"]
    sure = threshold.choose(
        run.predictions("validation")
    )  # None where the ten pictures do not do for one
    assert facts["threshold"] == (sure.to_dict() if sure else None)
    assert str(Path(export.__file__).parent).encode() not in file.read_bytes()
    assert is_fresh(run, file)
    assert sorted(path.name for path in file.parent.iterdir()) == ["shapes.onnx", "shapes.onnx.md"]


def test_a_file_that_answers_differently_is_not_kept(run, made, monkeypatch):
    monkeypatch.setattr(export, "write", lambda loaded, facts, file: shutil.copy(made.file, file))
    monkeypatch.setattr(export.classifier, "load", lambda folder: lenet())
    with pytest.raises(UserError, match="predicts differently"):
        export.export(run)
    assert list((run.path / "export").glob("*")) == []


def test_a_failed_export_leaves_the_older_file(run, monkeypatch):
    file = file_of(run)
    file.parent.mkdir()
    file.write_bytes(b"older")
    monkeypatch.setattr(export, "write", lambda loaded, facts, file: file.write_bytes(b"broken"))
    with pytest.raises(UserError, match="not a usable ONNX file"):
        export.export(run)
    assert file.read_bytes() == b"older" and len(list(file.parent.iterdir())) == 1


def test_without_the_data_the_kept_pictures_are_checked_and_int8_is_refused(run, tmp_path):
    recipe = run.read_json("recipe.json")
    recipe["data"]["source"] = str(tmp_path / "gone")
    run.write_json("recipe.json", recipe)
    said = []
    held = export.held_out(run, lenet(), None, said.append)
    assert (
        held.origin == "images stored in the run for its report"
        and len(held.pixels) >= 40
        and (held.labels == -1).all()
    )
    assert "not available" in said[0]
    with pytest.raises(UserError, match="int8 needs the run's images"):
        export.export_int8(run, tmp_path / "it.onnx")


def test_changed_data_is_not_taken_for_the_held_out_pictures(run):
    data = run.data
    data["split"] = "another"
    run.write_json("data.json", data)
    assert export.held_out(run, lenet(), None).origin == "images stored in the run for its report"


def test_int8_is_smaller_and_judged_by_accuracy(run, made, monkeypatch):
    monkeypatch.setattr(export, "write", lambda loaded, facts, file: shutil.copy(made.file, file))
    exact, small = export.export_all(run, int8=True, tolerance=1.0)
    assert small.file.name == "shapes.int8.onnx" and small.bytes < exact.bytes / 2
    assert (
        small.parity.agreement > 0.5
        and small.parity.largest_difference > exact.parity.largest_difference
    )
    facts = onnx_classifier.load(small.file).facts
    assert facts["int8"] is True and facts["classes"] == list(CLASSES)
    assert "the same class for every image" in export.describe(exact)


def lossy(count, lost):
    """The parity of an int8 file that gets so many more of the images wrong."""
    before = round(0.9 * count)
    accuracies = ((before - lost) / count, before / count)
    return export.Parity(count, "drawn", 0.9, 0.1, *accuracies)


def test_int8_may_cost_half_a_point_or_one_image_unless_a_tolerance_is_given():
    export.require_accurate(lossy(1000, 5), None)
    with pytest.raises(UserError, match=r"loses 0\.60 points .* the allowed 0\.5;"):
        export.require_accurate(lossy(1000, 6), None)
    export.require_accurate(lossy(90, 1), None)
    with pytest.raises(UserError, match=r"loses 2\.22 points .* the allowed 1\.11;"):
        export.require_accurate(lossy(90, 2), None)
    for tolerance in (0.0, 0.005, 0.01):
        assert not export.is_accurate(lossy(90, 1), tolerance)
    for count in range(2, 1000):
        assert export.is_accurate(lossy(count, 1), 1 / count)
        assert export.is_accurate(lossy(count, 0), 0.0)


def test_a_tolerance_that_is_given_reaches_the_check(run, monkeypatch):
    given = []

    def seen(*rest, tolerance, **others):
        given.append(tolerance)
        raise UserError("seen enough")

    monkeypatch.setattr(export, "export_all", seen)
    command("export", run.path, "--int8", code=1)
    command("export", run.path, "--int8", "--tolerance", "0.5", code=1)
    for options in ({}, {"tolerance": 0.005}):
        with pytest.raises(UserError, match="seen enough"):
            eyesight.export(run, int8=True, **options)
    assert given == [None, 0.005] * 2


def test_first_convolutions_stay_in_float32_where_int8_loses_too_much(run, made, monkeypatch):
    monkeypatch.setattr(export, "write", lambda loaded, facts, file: shutil.copy(made.file, file))
    tried = []
    real = quantise.first_convolutions

    def first(file, count):
        names = real(file, count)
        tried.append((count, len(names)))
        return names

    monkeypatch.setattr(quantise, "first_convolutions", first)
    losses = iter((0.2, 0.001))
    monkeypatch.setattr(
        export,
        "compare",
        lambda *rest: export.Parity(9, "drawn", 0.9, 0.1, 0.8 - next(losses), 0.8),
    )
    said = []
    export.export_int8(run, made.file, talk=said.append)
    assert tried == [(0, 0), (2, 2)]
    assert "trying more" in " ".join(said)
    losses = iter((0.2, 0.001))
    with pytest.raises(UserError, match=r"int8 loses 20\.00 points"):
        export.export_int8(run, made.file, deadline=0.0)


def test_other_labelled_pictures_can_be_named(run, tmp_path):
    held = export.held_out(run, lenet(), str(folder(tmp_path / "more", 30, 28, seed=5)))
    assert len(held.pixels) == len(held.calibrating) == 15 and set(held.labels) == {0, 1, 2}


def test_a_transfer_run_leaves_as_a_file_too(tmp_path):
    data = Data(str(folder(tmp_path / "shapes", 60, 32)), size=32, channels=3)
    model = Model(
        "test_resnet", weights="none", head="average 16"
    )  # timm's own toy of 0.5 M parameters
    recipe = Recipe(
        "toy",
        data=data,
        model=model,
        training=Training(epochs=1, batch=16),
        transfer=Transfer(freeze="conv4"),
    )
    run = experiment.train(recipe, tmp_path / "runs")
    made = export.export(run)
    assert (
        made.parity.pictures == 12
        and made.parity.agreement == 1
        and made.parity.largest_difference < 1e-5
    )
    known = onnx_classifier.load(made.file)
    assert known.classes == CLASSES and known.facts["split"] == run.data["split"]
    assert np.ptp(known.probabilities(pictures(12, 32, channels=3)[0]), axis=0).max() > 1e-3, (
        "every picture gets the same answer"
    )
