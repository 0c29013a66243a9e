"""Published rows: each trains a recipe, an unfinished run counts as a part, and the page
has all.
"""

import json
import re
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import drawn
import numpy as np
import pytest
import typer
from commands import command

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import published  # noqa: E402
import published_page  # noqa: E402

from eyesight.cli.main import app  # noqa: E402
from eyesight.data.source import from_arrays  # noqa: E402
from eyesight.recipe import override, to_dict  # noqa: E402
from eyesight.recipes import find  # noqa: E402
from eyesight.runs import Run, list_runs  # noqa: E402

ROW = published.Row("B1", 0.9904, printed="99.04 %")


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(published_page, "PAGE", tmp_path / "published.md")
    return tmp_path / "results"


@pytest.fixture(autouse=True)
def three_epochs(monkeypatch):
    """B1 as published here trains three epochs."""
    recipe = find("B1")
    short = replace(recipe, training=replace(recipe.training, epochs=3))
    monkeypatch.setattr(published, "find", lambda name: short if name == "B1" else find(name))
    return short


def trained(folder, epochs, top1=None, *settings):
    """A run of three planned epochs; without `top1` it was interrupted."""
    run = Run.create(folder, "lenet5_published")
    recipe = override(published.find("B1"), settings)
    run.write_json("recipe.json", to_dict(recipe))
    run.write_json("data.json", {"counts": {"train": 450, "validation": 50}})
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
    assert "only 2 of 3 epochs: 8 steps" in published_page.PAGE.read_text()  # of 128 images


def test_a_shortened_training_is_a_part_although_it_ended(tmp_path, results):
    runs = [trained(tmp_path, 2, 0.5, "training.epochs=2", "data.source=some.npz")]
    assert not published.keep(ROW, runs, [], "exact")
    record = json.loads((results / "B1.json").read_text())
    assert record["part"] == "2 of 3 epochs, 450 images" and record["measured_on"] == "test"
    assert not published.is_done(ROW)


def test_a_smaller_part_leaves_the_larger_one(tmp_path, results):
    published.keep(ROW, [trained(tmp_path / "a", 2)], [], "exact")
    published.keep(ROW, [trained(tmp_path / "b", 1)], [], "exact")
    assert json.loads((results / "B1.json").read_text())["epochs"] == 2


def test_a_part_has_images_spread_over_the_set_and_a_folder_of_its_own(tmp_path, monkeypatch):
    pixels, labels = drawn.pictures(9, 28)
    parts = [("train", pixels, labels), ("test", pixels[:3], labels[:3])]
    source = from_arrays("mnist", parts, drawn.SHAPES, "toy")
    monkeypatch.setattr(published, "open_source", lambda name: source)
    part = published.Part(epochs=2, images=5)
    settings = published.settings_of_part(ROW, part, tmp_path)
    file = tmp_path / "mnist-5.npz"
    assert settings == ["training.epochs=2", f"data.source={file}"] and part.name == "-5x2"
    with np.load(file) as arrays:
        assert np.array_equal(arrays["x_train"], pixels[::2]) and len(arrays["x_test"]) == 3
    assert published.settings_of_part(ROW, published.Part(), tmp_path) == []


@pytest.mark.whole
def test_a_killed_training_goes_on_where_it_was(tmp_path, monkeypatch):
    pixels, labels = drawn.pictures(60, 28)
    others, answers = drawn.pictures(30, 28, seed=1)
    arrays = {"x_train": pixels, "y_train": labels, "x_test": others, "y_test": answers}
    np.savez(tmp_path / "toy.npz", **arrays)
    settings = [f"data.source={tmp_path / 'toy.npz'}", "training.epochs=40", "training.batch=2"]
    out = tmp_path / "runs"

    def killed(arguments, **options):
        with subprocess.Popen(arguments, **options) as process:
            wait(lambda: has_checkpoint(out), process)
            process.kill()
        return process

    def resumed(arguments, **options):
        assert arguments[1:3] == ["-m", "eyesight"]
        command(*arguments[3:])
        return subprocess.CompletedProcess(arguments, 0)

    row = published.Row("B1", None)
    for run in (killed, resumed):
        programs = SimpleNamespace(run=run, DEVNULL=subprocess.DEVNULL)
        monkeypatch.setattr(published, "subprocess", programs)
        published.train(row, settings, out, 0)
        wait(lambda: list_runs(out)[0].status in ("interrupted", "done"))
    runs = list_runs(out)
    assert [run.status for run in runs] == ["done"]
    assert [epoch["epoch"] for epoch in runs[0].epochs] == list(range(1, 41))
    events = [event for event in runs[0].log if event["event"] in ("start", "epoch")]
    assert [event["event"] for event in events].count("start") == 2
    assert [event.get("epoch") for event in events].count(1) == 1, "it began anew"


def wait(condition, process=None):
    """Wait until the condition holds; fail where the process ends before that."""
    patience = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < patience and (process is None or process.poll() is None)
        time.sleep(0.02)


def has_checkpoint(runs):
    """Whether the training has written a checkpoint and finished three epochs."""
    written = bool(list(runs.glob("*/checkpoint/*")))
    return written and len(list_runs(runs)[0].epochs) >= 3


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


def page_commands():
    """(system, words) of every command in the page's table, as a shell reads it."""
    page = (BENCHMARKS.parent / "docs/published.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (\w+) \| `(eyesight [^`]+)` \|", page, flags=re.MULTILINE)
    return [(system, shlex.split(command)[1:]) for system, command in lines]


def test_every_system_has_a_command_in_the_page():
    assert [system for system, _ in page_commands()] == published_page.SYSTEMS


@pytest.mark.parametrize(
    ("system", "words"), page_commands(), ids=[row for row, _ in page_commands()]
)
def test_every_command_of_the_page_is_one_and_its_recipe_resolves(system, words):
    program = typer.main.get_command(app)
    name, *rest = words
    named = program.get_command(typer.Context(program), name)
    assert named is not None, f"there is no command {name}"
    given = named.make_context(name, list(rest)).params
    if name in ("train", "augment"):
        settings = given["settings"] or []
        assert not settings or override(find(rest[0]), settings) != find(rest[0])
