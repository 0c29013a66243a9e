"""All folds of a training as one run: every image judged once, finished folds used again."""

import json
from pathlib import Path

import drawn
import numpy as np
import pytest
from commands import command

import eyesight
from eyesight.cli import training
from eyesight.ensemble.folds import fold_recipes, out_of_fold_temperature
from eyesight.errors import UserError
from eyesight.exporting import export
from eyesight.inference import predict
from eyesight.results.predictions import Predictions
from eyesight.runs import Run, list_runs, resolve
from eyesight.training import calibrate
from eyesight.views import run_view


def test_every_image_is_judged_once_and_finished_folds_are_used_again(monkeypatch, tmp_path):
    monkeypatch.setattr(calibrate, "DIVIDED_FROM", 20)  # a fold has 24 images
    folder = drawn.folder(tmp_path / "data", 90, 16)
    runs = tmp_path / "runs"
    arguments = ["train", "lenet5", "--data", folder, "--out", runs, "--folds", "3", "--json"]
    arguments += ["--budget", "300s"]
    for setting in ("data.size=16", "model.name=small_cnn", "training.epochs=1"):
        arguments += ["--set", setting]
    trained = command(*arguments)
    assert "no unfinished run" not in trained.err, "nobody asked for one"
    answer = json.loads(trained.out)
    run = Run(answer["run"])
    assert run.status == "done"
    assert len(answer["scores"]) == 3
    judged = run.predictions("out_of_fold")
    assert len(set(judged.ids)) == len(judged) == 72
    assert not set(judged.ids) & set(run.predictions().ids)
    assert eyesight.load(run.path).predict(next(folder.rglob("*.png"))).names
    assert (run.path / "export" / "blend.onnx").is_file()
    calibration = run_view.calibration(run)
    assert calibration.images == 72, "the answers out of fold"
    assert "out of fold" in calibration.note
    reserved = "every image was used to train some members"
    assert calibration.reason("sets") == calibration.reason("unlike") == reserved
    assert f"{reserved}: no prediction sets" in calibration.note
    for model in (run.path, run.path / "export" / "blend.onnx"):
        with pytest.raises(UserError, match=f"no prediction sets: {reserved}") as refused:
            predict.prediction_sets(predict.load(model))
        assert "the run of a single fold" in refused.value.hint
    assert all(predict.load(Path(fold)).calibration.sets for fold in answer["runs"])
    assert "data.validation" not in trained.err, "a fold has its own size"
    assert "evaluating 18 test images" in trained.err, "the average has no validation images"
    assert "<h2>Folds</h2>" in (run.path / "report.html").read_text()
    doctor = command("doctor", run.path, code=1)
    assert f"eyesight doctor {answer['runs'][0]}" in doctor.err
    monkeypatch.setattr(export, "export_all", lambda run, talk: [])  # it was checked above
    monkeypatch.setattr(training, "waited", lambda: 992.5)
    assert "992.5 s, over the budget of 300 s" in command(*arguments).err
    assert len(list_runs(runs)) == 5, "three folds, and their average twice"
    refused = command(*arguments, "--set", "data.fold=1/3", code=2)
    assert "leave out one of the two" in refused.err


def test_folds_leave_a_part_of_the_budget_for_their_average():
    recipe = resolve("digits", "training.budget=100")
    budgets = [fold.training.budget for fold in fold_recipes(recipe, 5)]
    assert budgets == [15.0] * 5


def test_answers_out_of_fold_that_are_too_sure_make_the_average_less_sure():
    labels = np.arange(400) % 2
    sure = np.where(np.arange(400) % 5 == 0, 0.001, 0.999)  # right in four of five
    probabilities = np.where(labels[:, None] == np.arange(2), sure[:, None], 1 - sure[:, None])
    ids = tuple(str(number) for number in range(400))
    judged = Predictions(ids, labels, probabilities.astype(np.float32), ("a", "b"))
    calibration = out_of_fold_temperature(judged)
    assert calibration.temperature > 2
    assert calibration.images == 400
