import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import drawn
import numpy as np
import pytest

from eyesight import classifier, experiment, runs
from eyesight.errors import UserError
from eyesight.recipe import Augment, Data, Model, Optim, Recipe, Training, override
from eyesight.results.predictions import load as load_predictions
from eyesight.runs import Run
from eyesight.tasks.task import in_turn
from eyesight.training import budget
from eyesight.training.clock import Clock
from eyesight.training.context import Context

SMALL = Recipe(
    name="small",
    data=Data(validation=0.2, test=0.2, scaling="standard"),
    augment=Augment(shift=0.05),
    model=Model("basic_cnn", dropout=0.2),
    optim=Optim("adam", lr=0.003, schedule="cosine"),
    training=Training(epochs=4, batch=32, seed=1, precision="float32"),
)


def on(folder, *settings):
    return override(replace(SMALL, data=replace(SMALL.data, source=str(folder))), settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder of drawn shapes and the run of a training on them."""
    root = tmp_path_factory.mktemp("finished")
    os.environ["EYESIGHT_CACHE"] = str(root / "cache")
    drawn.folder(root / "pictures", 240)
    (root / "pictures" / "bar" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return root, experiment.train(
        on(root / "pictures", "training.epochs=8", "training.views=shifts"), root / "runs"
    )


def test_a_run_holds_everything(finished):
    root, run = finished
    assert run.path == root / "runs" / "0001-small"
    assert run.status == "done"
    assert run.recipe.data.source == str(root / "pictures")
    assert run.data["counts"] == {"train": 154, "validation": 38, "test": 48}
    assert [(problem["id"], problem["kind"]) for problem in run.data["problems"]] == [
        ("bar/broken.png", "truncated")
    ]
    assert run.environment["seed"] == 1
    assert run.environment["precision"] == "float32"
    assert [epoch["epoch"] for epoch in run.epochs] == list(range(1, 9))
    assert set(run.result["seconds"]) == {"data", "training", "evaluation", "total"}
    assert run.result["test"]["n"] == 48
    assert run.result["test"]["top1"] > 0.8
    assert not run.checkpoint_path.exists()
    assert run.gallery()["samples_pixels"].shape[1:] == (1, 16, 16)


def test_averaging_over_views_is_told_apart_from_a_single_look(finished):
    root, run = finished
    once = replace(classifier.load(run.classifier_path), views="one")
    said = once.predict([root / "pictures" / name for name in run.predictions().ids]).probabilities
    plain = run.result["test_one_view"]
    assert plain["top1"] == (said.argmax(1) == run.predictions().labels).mean()
    assert plain["loss"] != run.result["test"]["loss"]


def test_a_budget_too_short_for_many_views_takes_fewer(monkeypatch):
    cost = {"flip_shifts": 9.0, "flip": 3.0, "one": 1.5}
    monkeypatch.setattr(
        budget,
        "evaluation_seconds",
        lambda network, data, recipe, views, arithmetic: (
            cost[views] / (1 + (arithmetic == "bfloat16"))
        ),
    )
    monkeypatch.setattr(budget, "far_slower_in_bfloat16", lambda network, data, views: False)
    recipe = override(SMALL, ["training.views=flip_shifts", "training.precision=auto"])
    # 1,000 references for unfamiliar images are as many as the other images, and 250 a quarter.
    images = SimpleNamespace(train=range(5000), validation=range(9), test=range(1000))
    monkeypatch.setattr(
        budget, "evaluated", lambda data, recipe, how: len(data.test) + how.references
    )
    found = [
        budget.plan_evaluation(None, images, recipe, seconds) for seconds in (600, 60, 24, 13, 5)
    ]
    assert found == [
        budget.Evaluation("float32", "flip_shifts", 9.0),
        budget.Evaluation("bfloat16", "flip_shifts", 4.5),
        budget.Evaluation("bfloat16", "flip_shifts", 4.5 * 1250 / 2000, 250),
        budget.Evaluation("bfloat16", "flip", 1.5),
        budget.Evaluation("bfloat16", "one", 0.75 * 1250 / 2000, 250),
    ]


def test_the_gallery_shows_every_class_and_the_real_mistakes(finished):
    _, run = finished
    gallery, test = run.gallery(), run.predictions()
    assert set(gallery["samples_labels"][:3]) == {0, 1, 2}
    wrong = gallery["mistakes_index"]
    assert (test.predicted[wrong] != test.labels[wrong]).all()
    assert len(gallery["mistakes_pixels"]) == len(wrong)


def test_predicting_the_files_gives_what_the_test_predictions_said(finished):
    root, run = finished
    test, loaded = run.predictions(), classifier.load(run.classifier_path)
    said = loaded.predict([root / "pictures" / name for name in test.ids]).probabilities
    assert np.abs(said - test.probabilities).max() < 1e-5


def test_the_parts_do_not_overlap(finished):
    _, run = finished
    assert not set(run.predictions().ids) & set(run.predictions("validation").ids)


def test_evaluating_on_other_pictures_matches_classes_by_name(finished, tmp_path):
    _, run = finished
    drawn.folder(tmp_path / "other", 30, seed=9)
    (tmp_path / "other" / "bar").rename(tmp_path / "other" / "zzz")
    with pytest.raises(UserError, match="does not have the classes 'zzz'"):
        experiment.evaluate(run, str(tmp_path / "other"))
    (tmp_path / "other" / "zzz").rename(tmp_path / "other" / "bar")
    for file in (tmp_path / "other" / "cross").iterdir():
        file.unlink()
    (tmp_path / "other" / "cross").rmdir()
    said = experiment.evaluate(run, str(tmp_path / "other"))
    assert said.classes == drawn.SHAPES
    assert set(said.labels) == {0, 2}, "bar and ring keep the places they had in training"


def test_a_run_folder_is_a_recipe(finished, tmp_path):
    _, run = finished
    again = experiment.train(run.recipe, tmp_path / "runs")
    assert [epoch["train_loss"] for epoch in again.epochs] == [
        epoch["train_loss"] for epoch in run.epochs
    ]
    assert again.result["test"] == run.result["test"]


def test_strict_stops_at_a_bad_file(finished, tmp_path):
    root, _ = finished
    with pytest.raises(UserError, match=r"bar/broken\.png"):
        experiment.train(on(root / "pictures", "data.strict=true"), tmp_path / "runs")
    assert not (tmp_path / "runs").exists(), "nothing is left behind"


def test_early_stopping_ends_the_run_in_good_order(finished, tmp_path):
    root, _ = finished
    run = experiment.train(
        on(root / "pictures", "training.epochs=50", "training.patience=2", "training.min_delta=10"),
        tmp_path / "runs",
    )
    assert len(run.epochs) == 3
    assert run.status == "done"


def test_a_network_that_does_not_fit_the_images_leaves_no_run(finished, tmp_path):
    root, _ = finished
    with pytest.raises(UserError, match="too small for this network"):
        experiment.train(on(root / "pictures", "model.name=vgg16"), tmp_path / "runs")
    assert runs.list_runs(tmp_path / "runs") == []


def test_a_training_says_what_it_ignores_and_counts_every_image_once(finished, tmp_path):
    drawn.folder(tmp_path / "pictures", 60, size=32)
    drawn.folder(tmp_path / "pictures" / ".hidden", 3)
    drawn.folder(tmp_path / "pictures" / "ring" / "thumbs", 3)
    (tmp_path / "pictures" / "bar" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    said = []
    experiment.train(
        on(tmp_path / "pictures", "training.epochs=1"), tmp_path / "runs", talk=said.append
    )
    assert "ignored: .hidden (a hidden folder)" in said
    line = "64 images: 38 training, 10 validation, 12 test, "
    assert any(text.startswith(line) for text in said), said
    assert any("3 left out (thumbnails), 1 left out (truncated)" in text for text in said), said


@pytest.mark.parametrize(
    "settings", [["training.budget=0.01"], ["model.weights=nowhere.safetensors"]]
)
def test_a_refused_training_leaves_no_run(finished, tmp_path, settings):
    root, _ = finished
    name = "basic_cnn" if "budget" in settings[0] else "EfficientNetB0"
    recipe = on(root / "pictures", f"model.name={name}", *settings)
    with pytest.raises(UserError):
        experiment.train(recipe, tmp_path / "runs")
    assert list((tmp_path / "runs").glob("*")) == []


def test_a_training_that_crashes_keeps_its_reason(finished, tmp_path):
    root, _ = finished

    def crash(epoch):
        raise ZeroDivisionError("of the caller")

    with pytest.raises(ZeroDivisionError):
        experiment.train(on(root / "pictures"), tmp_path / "runs", tell=crash)
    (run,) = runs.list_runs(tmp_path / "runs")
    assert (run.status, run.log[-1]["message"]) == ("failed", "ZeroDivisionError: of the caller")


def test_nan_fails_the_run_with_an_explanation(finished, tmp_path):
    root, _ = finished
    with pytest.raises(UserError, match="NaN or infinite"):
        experiment.train(
            on(root / "pictures", "optim.name=sgd", "optim.lr=1e30"), tmp_path / "runs"
        )
    run = runs.list_runs(tmp_path / "runs")[0]
    assert run.status == "failed"
    assert "NaN or infinite" in run.log[-1]["message"]


def test_resuming_passes_over_a_run_on_other_pictures_or_labels(finished, tmp_path):
    drawn.folder(tmp_path / "pictures", 60)
    recipe = on(tmp_path / "pictures", "training.epochs=1")
    begun = experiment.begin(recipe, experiment.dataset.load(recipe.data), tmp_path / "runs")
    (tmp_path / "pictures" / "bar" / "0000.png").rename(tmp_path / "pictures" / "ring" / "bar.png")
    said = []
    run = experiment.train(recipe, tmp_path / "runs", resume=True, talk=said.append)
    assert run.path != begun.path
    assert any("started on other images" in line for line in said)
    assert begun.status == "interrupted"


def test_a_run_that_failed_on_a_full_disk_goes_on(finished, tmp_path, monkeypatch):
    root, _ = finished
    recipe = on(root / "pictures", "training.epochs=3")
    real = classifier.Classifier.save
    monkeypatch.setattr(
        classifier.Classifier,
        "save",
        lambda self, folder: (_ for _ in ()).throw(UserError("the disk is full")),
    )
    with pytest.raises(UserError, match="disk is full"):
        experiment.train(recipe, tmp_path / "runs")
    monkeypatch.setattr(classifier.Classifier, "save", real)
    run = experiment.train(recipe, tmp_path / "runs", resume=True)
    assert run.path.name.startswith("0001")
    assert run.status == "done"


def test_a_run_from_elsewhere_does_not_hide_what_went_wrong(finished, tmp_path):
    root, run = finished
    (tmp_path / "runs" / "0001-later").mkdir(parents=True)
    values = json.loads((run.path / "recipe.json").read_text())
    (tmp_path / "runs" / "0001-later" / "recipe.json").write_text(
        json.dumps(values | {"format": 99})
    )
    assert (
        experiment.train(
            on(root / "pictures", "training.epochs=1"), tmp_path / "runs", resume=True
        ).status
        == "done"
    )


def test_evaluating_on_its_own_pictures_leaves_out_what_it_learnt_from(finished):
    root, run = finished
    assert experiment.evaluate(run, str(root / "pictures")).ids == run.predictions().ids


def test_the_public_functions_stay_functions(finished, tmp_path):
    import eyesight

    root, _ = finished
    for _ in range(2):
        assert (
            eyesight.train(on(root / "pictures", "training.epochs=1"), out=tmp_path / "runs").status
            == "done"
        )


def test_a_saved_classifier_that_says_something_else_is_an_error(finished, tmp_path, monkeypatch):
    root, _ = finished
    real = classifier.load
    monkeypatch.setattr(
        classifier, "load", lambda folder, device="cpu": damage(real(folder, device))
    )
    with pytest.raises(UserError, match="predict differently"):
        experiment.train(on(root / "pictures", "training.epochs=1"), tmp_path / "runs")


def damage(loaded):
    loaded.network.head[0].bias.data[1] += 3
    return loaded


def test_a_budget_is_kept(finished, tmp_path):
    root, _ = finished
    clock = Clock(time.monotonic())
    run = experiment.run(
        on(root / "pictures", "training.epochs=100000", "training.budget=6"),
        tmp_path / "runs",
        Context(clock=clock),
    )
    assert 3 < clock.elapsed() < 6.5
    assert run.epochs[-1]["progress"] > 0.97  # a step that would not end in time is not begun
    assert run.status == "done"


PROGRAM = """
import sys
from pathlib import Path
from eyesight import experiment, runs
recipe = runs.Run.open(Path(sys.argv[1])).recipe
experiment.SAVE_EVERY = 0.0
experiment.train(recipe, Path(sys.argv[2]), resume=True, tell=lambda epoch: print(epoch.epoch, flush=True))
"""


@pytest.mark.whole
def test_killed_at_any_moment_and_resumed_ends_with_the_same_weights(finished, tmp_path):
    root, _ = finished
    recipe = on(root / "pictures", "training.epochs=5", "training.average=0.9")
    whole = experiment.train(recipe, tmp_path / "whole")
    moments = random.Random(3)
    for attempt in range(2):
        out = tmp_path / f"killed{attempt}"
        experiment.begin(recipe, experiment.dataset.load(recipe.data), out)
        epoch = moments.randint(1, 4)
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(whole.path), str(out)],
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        for line in process.stdout:
            if int(line) >= epoch:
                time.sleep(moments.random() * 0.05)
                process.send_signal(
                    signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM
                )
                break
        process.stdout.close()
        process.wait()
        (run,) = runs.list_runs(out)
        assert run.status == "interrupted" and run.epochs
        experiment.train(recipe, out, resume=True)
        assert run.status == "done"
        for name in ("weights.safetensors",):
            assert (run.classifier_path / name).read_bytes() == (
                whole.classifier_path / name
            ).read_bytes()
        assert [event["train_loss"] for event in run.epochs] == [
            event["train_loss"] for event in whole.epochs
        ]


def test_a_full_disk_is_one_clear_error_and_no_half_written_classifier(
    finished, tmp_path, monkeypatch
):
    root, _ = finished
    from eyesight.system import files

    def full(descriptor):
        raise OSError(28, "No space left on device")

    def only_at_the_end(self, folder):
        monkeypatch.setattr(files.os, "fsync", full)
        return real(self, folder)

    real = classifier.Classifier.save
    monkeypatch.setattr(classifier.Classifier, "save", only_at_the_end)
    with pytest.raises(UserError, match="disk is full"):
        experiment.train(on(root / "pictures", "training.epochs=1"), tmp_path / "runs")
    (run,) = runs.list_runs(tmp_path / "runs")
    assert not run.classifier_path.exists()
    assert run.status in ("failed", "interrupted")


def test_a_run_from_the_future_is_refused(finished, tmp_path):
    _, run = finished
    (tmp_path / "run").mkdir()
    values = json.loads((run.path / "recipe.json").read_text())
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(values | {"format": 99}))
    with pytest.raises(UserError, match="newer version of eyesight"):
        Run.open(tmp_path / "run")


def test_stored_predictions_are_the_reported_ones(finished):
    _, run = finished
    test = load_predictions(run.path / "predictions.npz")
    assert run.result["test"]["top1"] == (test.predicted == test.labels).mean()


def test_samples_are_one_image_of_every_class_from_many_origins():
    labels = np.repeat(np.arange(52), 20)  # stored by class, and by font within a class
    chosen = in_turn(labels)
    assert labels[chosen].tolist() == list(range(52))
    assert len(set(chosen % 20)) > 10
    assert len(in_turn(np.repeat([0, 1], 30))) == 40
    assert len(in_turn(np.repeat(np.arange(200), 3))) == 60
    assert in_turn(np.array([1, 0, 1])).tolist()[0] == 1 and len(in_turn(labels[:0])) == 0
