"""The run folder under bad circumstances: two writers at once, a torn line, a killed process, a
format from the future.
"""

import json
import math
import subprocess
import sys
from datetime import datetime
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest

from eyesight import recipe as recipes
from eyesight.errors import UserError
from eyesight.recipe import Recipe
from eyesight.results.predictions import Predictions
from eyesight.runs import Run, list_runs
from eyesight.system.environment import environment


@pytest.fixture
def run(tmp_path):
    run = Run.create(tmp_path / "runs", "lenet5")
    run.write_json("recipe.json", recipes.to_dict(Recipe(name="lenet5")))
    return run


def without_time(log):
    return [{key: value for key, value in event.items() if key != "time"} for event in log]


def test_folders_are_numbered(tmp_path):
    names = [Run.create(tmp_path, name).name for name in ("lenet5", "my digits/../x", "lenet5")]
    assert names == ["0001-lenet5", "0002-my-digits-..-x", "0003-lenet5"]
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_numbers_go_on_after_a_gap_and_above_four_digits(tmp_path):
    (tmp_path / "9999-old").mkdir()
    (tmp_path / "notes").mkdir()
    assert Run.create(tmp_path, "new").name == "10000-new"
    assert Run.create(tmp_path, "new").name == "10001-new"


def test_makers_at_once_get_different_numbers(tmp_path):
    with ThreadPool(8) as pool:
        runs = pool.map(lambda k: Run.create(tmp_path, f"run{k}"), range(64))
    assert sorted(run.name[:4] for run in runs) == [f"{number:04d}" for number in range(1, 65)]
    assert all(run.path.is_dir() for run in runs)


def test_a_path_that_is_no_text_is_kept_as_it_is(run):
    path = "caf\udce9"  # as Python reads the byte E9 in a file's name
    run.write_json("data.json", {"name": path})
    run.append({"event": "note", "path": path})
    assert (run.data["name"], run.log[-1]["path"]) == (path, path)


def test_open_by_number(run):
    assert (
        Run.open(run.path.parent / "1")
        == Run.open(run.path.parent / "0001")
        == Run.open(run.path)
        == run
    )


def test_open_says_what_is_wrong(run, tmp_path):
    with pytest.raises(UserError, match="no run at") as error:
        Run.open(run.path.parent / "0001-lenet")
    assert "0001-lenet5" in error.value.hint
    with pytest.raises(UserError, match="no run at"):
        Run.open(tmp_path / "nowhere" / "0001")
    with pytest.raises(UserError, match="is not a run"):
        Run.open(tmp_path)


def test_a_run_from_the_future_is_refused(run):
    run.write_json("recipe.json", {"format": recipes.FORMAT + 1, "unheard_of": 1})
    with pytest.raises(UserError, match="newer version of eyesight"):
        Run.open(run.path)


@pytest.mark.parametrize("text", ["", "{", "[]", '"no"'])
def test_a_broken_recipe_is_an_error_for_people(run, text):
    (run.path / "recipe.json").write_text(text)
    with pytest.raises(UserError, match="cannot be read"):
        Run.open(run.path)


def test_recipe_comes_back(run):
    assert run.recipe == Recipe(name="lenet5")


def test_log_keeps_events_in_order(run):
    assert run.log == []
    run.append({"event": "start", "when": "now"})
    run.append(
        {
            "event": "epoch",
            "epoch": 1,
            "train_loss": np.float32(0.5),
            "where": Path("a/b"),
            "name": "é\n",
        }
    )
    assert without_time(run.log)[1] == {
        "event": "epoch",
        "epoch": 1,
        "train_loss": 0.5,
        "where": "a/b",
        "name": "é\n",
    }
    assert all(datetime.fromisoformat(event["time"]).tzinfo for event in run.log)
    assert (run.path / "log.jsonl").read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_numbers_that_are_not_finite_stay_valid_json(run, value):
    run.append({"event": "epoch", "train_loss": value, "test": {"losses": [1.0, value]}})
    text = (run.path / "log.jsonl").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert without_time(run.log) == [
        {
            "event": "epoch",
            "train_loss": None,
            "test": {"losses": [1.0, None]},
            "not_finite": ["train_loss", "test.losses.1"],
        }
    ]


@pytest.mark.parametrize("cut", range(1, 80, 4))
def test_a_torn_last_line_is_passed_over_and_does_not_spoil_the_next(run, cut):
    run.append({"event": "epoch", "epoch": 1})
    run.append({"event": "epoch", "epoch": 2, "note": "ééé"})
    file = run.path / "log.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    assert [event["epoch"] for event in run.log if event.get("epoch") == 1] == [1]
    run.append({"event": "epoch", "epoch": 3})
    assert [event["epoch"] for event in run.log] in ([1, 3], [1, 2, 3])
    assert ([event["epoch"] for event in run.log] == [1, 2, 3]) == (
        cut == 1
    )  # only the newline is lost: the line is whole


def test_epochs_done_again_after_resuming_replace_the_old_ones(run):
    for epoch, loss in ((1, 1.0), (2, 0.9), (3, 0.8), (2, 0.7)):
        run.append({"event": "epoch", "epoch": epoch, "train_loss": loss})
    assert [(event["epoch"], event["train_loss"]) for event in run.epochs] == [(1, 1.0), (2, 0.7)]


def test_status_follows_the_log_and_the_holder(run):
    assert run.status == "interrupted"
    with run.hold():
        run.append({"event": "start"})
        assert run.status == "running"
        run.append({"event": "failed", "message": "no"})
        assert run.status == "failed"
    run.append({"event": "start"})
    assert run.status == "interrupted"
    run.append({"event": "done", "test": {"top1": 0.5}})
    assert run.status == "done"
    assert run.result["test"] == {"top1": 0.5}


def test_a_run_is_held_once(run):
    with run.hold(), pytest.raises(UserError, match="another process"), run.hold():
        pass
    with run.hold():
        assert run.held


def test_a_killed_holder_lets_go(run):
    code = f"from eyesight.runs import *\nwith Run(Path({str(run.path)!r})).hold(): print(1, flush=True), input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        assert run.status == "running"
        process.kill()
        process.wait()
        assert run.status == "interrupted"


def test_json_is_replaced_whole_or_not_at_all(run, monkeypatch):
    run.write_json("data.json", {"classes": ["a"]})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="disk is full"):
        run.write_json("data.json", {"classes": ["b"]})
    with pytest.raises(UserError, match="disk is full"):
        run.append({"event": "epoch"})
    assert run.data == {"classes": ["a"]}
    assert not [path for path in run.path.iterdir() if path.name.startswith(".")]


def test_missing_parts_are_empty_or_said(run):
    assert (run.data, run.environment, run.result, run.gallery()) == ({}, {}, {}, {})
    with pytest.raises(UserError, match="no test predictions"):
        run.predictions()


def test_resuming_is_proposed_only_where_it_helps(run):
    checkpoint = run.checkpoint_path
    checkpoint.mkdir()
    assert "--resume" in run.way_on, "interrupted"
    failures = {
        ("too short for a single training step", "give a longer --budget"): False,
        ("no longer a number", "lower the rate: --set optim.lr=0.1"): False,
        ("the disk is full", "free some disk space and try again"): True,
    }
    (checkpoint / "state.safetensors").write_bytes(b"")
    for (message, hint), helps in failures.items():
        run.append({"event": "failed", "message": message, "hint": hint})
        assert message in run.way_on and hint in run.way_on and ("--resume" in run.way_on) == helps
    (checkpoint / "state.safetensors").unlink()
    assert "--resume" not in run.way_on, "there is nothing to go on from"
    run.append({"event": "done"})
    assert "--resume" not in run.way_on and f"eyesight train {run.path}" in run.way_on
    with pytest.raises(UserError) as caught:
        run.predictions()
    assert caught.value.hint == run.way_on


def test_what_was_chosen_for_a_run_completes_its_recipe_and_what_a_person_sets_stays(run):
    assert run.settled == run.recipe, "nothing is known to have been chosen"
    run.write_json(
        "environment.json",
        {"chosen": {"model.name": "lcnet_050", "data.size": 96, "augment.brightness": [0.8, 1.2]}},
    )
    assert (run.settled.model.name, run.settled.data.size, run.settled.augment.brightness) == (
        "lcnet_050",
        96,
        (0.8, 1.2),
    )
    assert run.settle(recipes.override(run.recipe, ["data.size=64"])).data.size == 64


def test_predictions_by_split(run):
    some = Predictions(("a",), np.array([0]), np.ones((1, 1), np.float32), ("x",))
    some.save(run.path / "predictions.npz")
    some.save(run.path / "validation.npz")
    assert run.predictions().ids == run.predictions("validation").ids == ("a",)


def test_gallery_is_read_or_said(run):
    np.savez(run.path / "gallery.npz", samples_pixels=np.zeros((2, 1, 4, 4), np.uint8))
    assert run.gallery()["samples_pixels"].shape == (2, 1, 4, 4)
    (run.path / "gallery.npz").write_bytes(b"PK no")
    with pytest.raises(UserError, match="cannot be read"):
        run.gallery()


def test_list_runs_in_order_and_only_runs(run):
    parent = run.path.parent
    (parent / "0002-no-recipe").mkdir()
    (parent / "10000-late").mkdir()
    (parent / "10000-late" / "recipe.json").write_text("{}")
    assert [found.name for found in list_runs(parent)] == ["0001-lenet5", "10000-late"]
    assert list_runs(parent / "nowhere") == []


def test_environment_is_plain_and_imports_no_torch(run):
    found = environment(threads=2)
    run.write_json("environment.json", found)
    assert run.environment == json.loads(json.dumps(found))
    assert found["threads"] == 2 and found["versions"]["numpy"] == np.__version__ and found["cpu"]
    code = "import sys, eyesight.system.environment as e; e.environment(); print([m for m in ('torch', 'numpy') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


@pytest.mark.parametrize(
    "damaged", ['{"event": [1\n2]}', '{"a": 1}, {"b": 2}', "nothing", "[1]", ""]
)
def test_whole_events_around_damaged_lines_are_read(damaged, tmp_path):
    """Also where the lines, joined by a comma, would be JSON."""
    run = Run.create(tmp_path, "toy")
    lines = ['{"event": "start"}', damaged, '{"event": "done"}']
    (run.path / "log.jsonl").write_text("\n".join(lines) + "\n")
    assert run.log == [{"event": "start"}, {"event": "done"}]
