"""What corrections changed: paired, by corrected labels and by those that were given."""

from dataclasses import replace

import numpy as np
import pytest

from eyesight.auditing import record
from eyesight.auditing.record import AuditRecord
from eyesight.comparison import compare, statistics
from eyesight.recipe import Data, Recipe, to_dict
from eyesight.report import report
from eyesight.results.predictions import Predictions
from eyesight.runs import Run
from eyesight.views import corrections_effect, html

CLASSES = ("a", "b")


def finished(runs, predicted, labels, *, corrections=None, store="s", recipe=None):
    """A finished run with these predictions of images 0, 1, 2 …, n."""
    run = Run.create(runs, "toy")
    recipe = recipe or Recipe("toy", data=Data("somewhere"))
    run.write_json("recipe.json", to_dict(recipe))
    facts = {"store": store, "classes": list(CLASSES)}
    if corrections is not None:
        facts["corrections"] = corrections
    run.write_json("data.json", facts)
    probabilities = np.eye(2, dtype=np.float32)[predicted] * 0.8 + 0.1
    ids = tuple(str(place) for place in range(len(labels)))
    said = Predictions(ids, np.array(labels), probabilities, CLASSES)
    said.save(run.path / "predictions.npz")
    run.append({"event": "start"})
    run.append({"event": "done", "test": said.summary(), "seconds": {"total": 1.0}})
    return run


def before_and_after(runs, **options):
    """100 images of which the first ten are wrongly labelled; one run learnt them, one did not."""
    given = [0] * 100
    corrected = [1] * 10 + [0] * 90
    finished(runs, given, given)
    return finished(runs, corrected, corrected, corrections={"relabelled": 10}, **options)


def test_before_and_after_are_judged_by_both_labels(tmp_path):
    effect = corrections_effect.effect(before_and_after(tmp_path))
    assert effect.before == "0001-toy"
    assert (effect.corrected.before, effect.corrected.after) == (0.9, 1.0)
    assert (effect.uncorrected.before, effect.uncorrected.after) == (1.0, 0.9)
    assert effect.corrected.low == pytest.approx(0.1 - 1.96 * 0.03, abs=1e-3)
    assert effect.corrected.p < 0.01
    line = effect.lines()[0]
    assert "90.00% before, 100.00% after (+10.00 points" in line
    assert "100 test images" in line


@pytest.mark.parametrize(
    "options", [{"store": "t"}, {"recipe": Recipe("toy", data=Data("somewhere", size=9))}]
)
def test_another_training_or_other_images_are_no_before(tmp_path, options):
    assert corrections_effect.effect(before_and_after(tmp_path, **options)) is None


def test_a_named_file_of_corrections_is_no_other_training(tmp_path):
    recipe = Recipe("toy", data=Data("somewhere"))
    recipe = replace(recipe, data=replace(recipe.data, corrections="x.csv"))
    assert corrections_effect.effect(before_and_after(tmp_path, recipe=recipe)) is not None


def test_without_corrections_there_is_no_effect(tmp_path):
    run = before_and_after(tmp_path)
    assert corrections_effect.effect(Run(tmp_path / "0001-toy")) is None
    assert corrections_effect.effect(run) is not None


def test_the_report_shows_the_effect(tmp_path):
    text = report.page(before_and_after(tmp_path))
    assert "Effect of corrected labels" in text
    assert "0001-toy" in text


def test_the_page_of_a_comparison_shows_the_effect_of_each_run(tmp_path):
    after = before_and_after(tmp_path)
    rows = [statistics.row("before", [Run(tmp_path / "0001-toy")]), statistics.row("toy", [after])]
    statistics.rank(rows)
    text = compare.page(rows, tmp_path / "comparison", "")
    assert f"{after.name}: corrections, with corrected labels of 100 test images: 90.00%" in text
    assert text.count("with corrected labels of 100 test images") == 1


def test_the_report_does_not_call_none_what_was_not_searched_for(tmp_path):
    run = before_and_after(tmp_path)
    share = {"value": 0.0, "low": 0.0, "high": 0.0}
    kept = AuditRecord("toy", "s", 9, "f", share, (), (), (), (), ())
    kept.save(run.path / record.FILE)
    assert "not complete" not in report.page(run)
    unfinished = {"near duplicates": "0 of 7 pairs compared", "series": "not searched for"}
    replace(kept, unfinished=unfinished).save(run.path / record.FILE)
    text = report.page(run)
    assert "0 groups of images are near duplicates (0 of 7 pairs compared)" in text
    assert "series: not searched for." in text


def test_the_report_shows_what_groups_flatter(tmp_path):
    run = before_and_after(tmp_path)
    share = {"value": 0.0, "low": 0.0, "high": 0.0}
    optimism = {"groups": 1234, "images": 5000, "random": 0.9, "grouped": 0.7, "source": "the data"}
    kept = AuditRecord("toy", "s", 9, "f", share, (), (), (), (), (), optimism=optimism)
    kept.save(run.path / record.FILE)
    text = report.page(run)
    random, grouped = html.percent(0.9, 1), html.percent(0.7, 1)
    assert f"{random} of the images with a random split, and for {grouped}" in text
    assert "1,234 groups (the data) in one split" in text
