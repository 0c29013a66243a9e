"""Every export has a model card beside it, whose figures are the run's own."""

import re

import pytest
from drawn import folder

from eyesight import classifier, experiment
from eyesight.exporting import card, export
from eyesight.recipe import Data, Model, Recipe, Training
from eyesight.results.slices import Slice
from eyesight.system.digest import file_sha256

SECTIONS = (
    "Intended use", "Data", "Accuracy", "Results per class", "Results per slice", "Calibration", "Limits",
    "Verification", "Licences", "Hashes",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run on drawn shapes."""
    root = tmp_path_factory.mktemp("card")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EYESIGHT_CACHE", str(root / "cache"))
        recipe = Recipe(
            "shapes",
            data=Data(str(folder(root / "shapes", 90, 28))),
            model=Model("lenet5"),
            training=Training(epochs=1, batch=16),
        )
        yield experiment.train(recipe, root / "runs")


def written(run, out, checked="Checked on nothing."):
    facts = export.description(run, classifier.load(run.classifier_path))
    return card.write_card(out, card.Evidence((out,), facts, checked), run)


def test_the_card_holds_what_the_run_holds(run, tmp_path):
    out = tmp_path / "shapes.onnx"
    out.write_bytes(b"network")
    path = written(run, out)
    assert path == tmp_path / "shapes.onnx.md"
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == list(SECTIONS)
    assert run.measure.sentence(run.result["test"]) in text
    assert "Data set: shapes." in text and str(tmp_path.parent.parent) not in text
    assert f"| test | {run.data['counts']['test']} |" in text
    predictions = run.predictions()
    for place, name in enumerate(predictions.classes):
        count = int((predictions.labels == place).sum())
        trained = run.data["per_class"]["train"][place]
        assert f"| {name} | {trained} | {count} |" in text
    error = run.result["test"]["ece"]
    assert f"Expected calibration error: {error:.3f}" in text
    assert f"| shapes.onnx | `{file_sha256(out)}` |" in text
    weights = classifier.read_description(run.classifier_path)["weights_sha256"]
    assert f"| weights | `{weights}` |" in text and run.data["split"] in text
    assert "Checked on nothing." in text and "[to be filled in]" in text


def test_slices_are_in_the_card(run, monkeypatch):
    worse = Slice("brightness, fifth 1 of 5", 40, 0.5, 0.9, 0.001)
    monkeypatch.setattr(card, "measured_slices", lambda run, predictions: [worse])
    text = card.by_slice(run, card.labelled_predictions(run))
    assert "| brightness, fifth 1 of 5 | 40 | 50.0% | 90.0% | yes |" in text


def test_a_folder_holds_its_card(run, tmp_path):
    assert card.card_path(tmp_path) == tmp_path / "MODEL_CARD.md"


def test_names_cannot_break_the_tables():
    assert card.escape("a|b\n<script>*_`") == "a\\|b &lt;script>\\*\\_\\`"
    line = card.table(("one", "two"), [(card.escape("x | y"), "z")]).splitlines()[-1]
    assert len(re.split(r"(?<!\\)\|", line)) == 4


def test_weights_of_others_have_a_row_among_the_licences(run, monkeypatch, tmp_path):
    weights = {"network": "lite0", "source": "package x", "sha256": "0"}
    monkeypatch.setattr(type(run), "environment", {"weights": weights})
    assert "lite0, from package x | [to be filled in] |" in card.licences(run, {})


def test_without_test_images_nothing_is_claimed(run, monkeypatch):
    monkeypatch.setattr(type(run), "result", {})
    assert "not measured" in card.accuracy(run)
