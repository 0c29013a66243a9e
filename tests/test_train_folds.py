"""All folds of a training as one run: every image judged once, finished folds used again."""

import json

import drawn
from commands import command

import eyesight
from eyesight.runs import Run, list_runs


def test_every_image_is_judged_once_and_finished_folds_are_used_again(tmp_path):
    folder = drawn.folder(tmp_path / "data", 90, 16)
    runs = tmp_path / "runs"
    arguments = ["train", "lenet5", "--data", folder, "--out", runs, "--folds", "3", "--json"]
    for setting in ("data.size=16", "model.name=small_cnn", "training.epochs=1"):
        arguments += ["--set", setting]
    answer = json.loads(command(*arguments).out)
    run = Run(answer["run"])
    assert run.status == "done"
    assert len(answer["scores"]) == 3
    judged = run.predictions("out_of_fold")
    assert len(set(judged.ids)) == len(judged) == 72
    assert not set(judged.ids) & set(run.predictions().ids)
    assert eyesight.load(run.path).predict(next(folder.rglob("*.png"))).names
    assert (run.path / "export" / "blend.onnx").is_file()
    command(*arguments)
    assert len(list_runs(runs)) == 5, "three folds, and their average twice"
    refused = command(*arguments, "--set", "data.fold=1/3", code=2)
    assert "leave out one of the two" in refused.err
