"""Published rows: each trains a recipe, an unfinished run counts as a part, and the page
has all.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import published  # noqa: E402
import published_page  # noqa: E402

from eyesight.recipe import to_dict  # noqa: E402
from eyesight.recipes import find  # noqa: E402
from eyesight.runs import Run  # noqa: E402

ROW = published.Row("B1", 0.9904, printed="99.04 %")


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(published_page, "PAGE", tmp_path / "published.md")
    return tmp_path / "results"


def trained(folder, epochs, top1=None):
    """A run of three planned epochs; without `top1` it was interrupted."""
    run = Run.create(folder, "lenet5_published")
    recipe = find("B1")
    recipe = replace(recipe, training=replace(recipe.training, epochs=3))
    run.write_json("recipe.json", to_dict(recipe))
    run.write_json("data.json", {"counts": {"validation": 50}})
    for epoch in range(1, epochs + 1):
        run.append(
            {"event": "epoch", "epoch": epoch, "validation_top1": epoch / 10, "seconds": 2.0}
        )
    if top1 is not None:
        test = {"n": 100, "top1": top1, "interval": [top1 - 0.01, top1 + 0.01]}
        run.append({"event": "done", "test": test, "seconds": {"total": 9.0}})
    return run


def test_every_system_stands_once_in_the_page():
    assert len(published_page.SYSTEMS) == 37
    rows = {row.id for row in published.ROWS}
    assert set(published_page.SYSTEMS) <= rows | set(published_page.OTHER_ROWS)
    assert not rows & set(published_page.OTHER_ROWS)


@pytest.mark.parametrize("row", published.ROWS, ids=lambda row: row.id)
def test_every_row_trains_a_published_recipe(row):
    recipe = find(row.id)
    assert recipe.system and bool(row.backbone) == (recipe.model.weights is not None)


def test_a_finished_training_is_kept_with_its_figures(tmp_path, results):
    assert published.keep(ROW, [trained(tmp_path, 3, 0.99)], [], "exact")
    record = json.loads((results / "B1.json").read_text())
    assert (record["here"], record["n"], record["seconds"], record["part"]) == (0.99, 100, 9, "")
    assert published.is_done(ROW) and record["curves"]["validation_top1"] == [0.1, 0.2, 0.3]
    published_page.page(results, ["B1", "F3"])
    text = published_page.PAGE.read_text()
    assert "| B1 | 99.04% | 99.00% | −0.04 points | inside the 95 % interval" in text
    assert "Not trained yet: F3." in text


def test_an_interrupted_training_is_a_part_and_not_done(tmp_path, results):
    assert not published.keep(ROW, [trained(tmp_path, 2)], [], "exact")
    record = json.loads((results / "B1.json").read_text())
    assert record["part"] == "2 of 3 epochs" and record["measured_on"] == "validation"
    assert (record["here"], record["n"], record["seconds"]) == (0.2, 50, 4)
    assert not published.is_done(ROW)
    published_page.page(results, ["B1"])
    assert "only 2 of 3 epochs" in published_page.PAGE.read_text()


def test_several_seeds_are_averaged(tmp_path, results):
    runs = [trained(tmp_path / "a", 3, 0.98), trained(tmp_path / "b", 3, 0.99)]
    published.keep(ROW, runs, [], "exact")
    record = json.loads((results / "B1.json").read_text())
    assert record["seeds"] == 2 and record["here"] == pytest.approx(0.985)
    assert record["spread"] == pytest.approx(0.00707, abs=1e-4)


def test_a_backbone_without_weights_has_a_stand_in_by_name(monkeypatch):
    monkeypatch.setattr(published.weights, "at_hand", lambda name: None)
    row = published.Row("O10", 0.8918, backbone="ResNet50V2")
    settings, kind = published.settings_of(row, {})
    assert settings == ["model.name=EfficientNetLite0", "data.size=96"]
    assert kind == "EfficientNetLite0 for ResNet50V2"
    assert published.settings_of(row, {"ResNet50V2": "w.pth"}) == (
        ["model.weights=w.pth"],
        "exact",
    )
