"""A small network learns a large one's probabilities, on unlabelled images too; the files and the
choice among them.
"""

import json
import sys
import time
from dataclasses import replace

import drawn
import numpy as np
import pytest
import torch

from eyesight import experiment
from eyesight.cli import main
from eyesight.data import dataset
from eyesight.data.images import Images
from eyesight.errors import UserError
from eyesight.recipe import Data, Model, Optim, Recipe, Training, override
from eyesight.recipes.folder import folder
from eyesight.report import report
from eyesight.results.distilling import FileRecord, is_beaten
from eyesight.runs import Run
from eyesight.searching import distil
from eyesight.training.clock import Clock
from eyesight.training.context import Context
from eyesight.views import joined


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A trained run on drawn shapes."""
    root = tmp_path_factory.mktemp("teacher")
    recipe = Recipe(
        name="teacher",
        data=Data(str(drawn.folder(root / "data", 150, 16)), size=16, channels=1),
        model=Model("small_cnn"),
        optim=Optim("adam", lr=0.005),
        training=Training(epochs=12, batch=16),
    )
    return experiment.train(recipe, root / "runs")


def command(monkeypatch, capsys, *arguments, code=0):
    monkeypatch.setattr(sys, "argv", ["eyesight", *map(str, arguments)])
    monkeypatch.setattr(report, "write_figures", lambda run: [])  # they take seconds
    with pytest.raises(SystemExit) as ended:
        main.main()
    captured = capsys.readouterr()
    assert (ended.value.code or 0) == code, captured.err
    return captured


def test_a_student_learns_the_teachers_probabilities_and_not_the_labels(
    teacher, tmp_path, monkeypatch, capsys
):
    """The targets of the loss are the teacher's answers, softened, also for unlabelled images."""
    seen = []
    original = experiment.execute

    def watched(job):
        seen.append(job.data.train)
        return original(job)

    monkeypatch.setattr(experiment, "execute", watched)
    more = drawn.folder(tmp_path / "more", 30, 16, seed=9)
    copy = next((tmp_path.parent / teacher.recipe.data.source).rglob("*.png"))
    (more / "copy.png").write_bytes(copy.read_bytes())
    printed = command(
        *(monkeypatch, capsys, "distil", teacher.path, "--to", "digits", "--unlabelled", more),
        *("--set", "data.size=16", "--set", "model.width=0.25"),
        *("--set", "training.epochs=12", "--set", "training.batch=16"),
        *("--out", tmp_path / "runs", "--json"),
    )
    answer = json.loads(printed.out)
    run = Run(answer["run"])
    student_images = seen[0]
    assert answer["unlabelled"] == 30, "a copy of a picture of the data is left out"
    targets = student_images.targets(torch.arange(len(student_images)))
    assert targets.shape == (len(student_images), 3)
    assert torch.allclose(targets.sum(1), torch.ones(len(student_images)), atol=1e-5)
    assert (targets.amax(1) < 1).any(), "softened"
    test = set(run.predictions().ids)
    assert test == set(teacher.predictions().ids)
    assert not test & set(student_images.ids)
    assert [file["name"] for file in answer["files"]][:2] == ["teacher", "student"]
    assert answer["files"][1]["bytes"] < answer["files"][0]["bytes"]
    assert "Taught by a larger one" in (run.path / "report.html").read_text()
    assert joined.distil(run).images == len(student_images)


def test_soft_targets_follow_their_images():
    images = drawn.images(6)
    soft = torch.eye(3)[torch.arange(6) % 3] * 0.7 + 0.1
    student_images = replace(images, soft=soft)
    chosen = student_images.subset(np.array([4, 1]))
    assert torch.equal(chosen.targets(torch.tensor([0])), soft[4:5])
    assert torch.equal(student_images.resident().targets(torch.tensor([2])), soft[2:3])
    assert isinstance(chosen, Images)


def test_the_student_is_made_narrower_until_it_fits(teacher):
    small = replace(teacher.recipe, name="student", model=Model("fast_digits"))
    recipe = distil.student_recipe(teacher, small)
    data = dataset.load(recipe.data)
    widest = distil.fitting(recipe, data, distil.Limits(bytes=1e9))
    small = distil.fitting(recipe, data, distil.Limits(bytes=100_000))
    assert widest.model.width == 1
    assert small.model.width < 1
    with pytest.raises(UserError, match=r"no width .* the narrowest network has \d+ kB"):
        distil.fitting(recipe, data, distil.Limits(bytes=10))


def test_limits_are_read_with_their_units():
    limits = distil.read_limits("300kB", "2ms")
    assert limits == distil.Limits(300_000, 2)
    assert distil.read_limits("1.5MB", None).bytes == 1.5e6
    for wrong in ("300", "kB", "-3kB", "3 ms"):
        with pytest.raises(UserError, match="cannot read"):
            distil.read_limits(wrong, None)


def test_the_front_holds_what_nothing_beats():
    good = FileRecord("student", 0.9, 1000, 1.0)
    small = FileRecord("student, 8 bits", 0.9, 300, 1.0)
    large = FileRecord("teacher", 0.95, 9000, 5.0)
    files = [good, small, large]
    assert [is_beaten(file, files) for file in files] == [True, False, False]
    assert distil.choose(files, distil.Limits()) == small
    assert distil.choose([large, good], distil.Limits(bytes=10)) == good


def test_what_cannot_teach_is_refused(teacher, tmp_path, monkeypatch, capsys):
    unfinished = Run.create(tmp_path, "unfinished")
    unfinished.write_json("recipe.json", teacher.read_json("recipe.json"))
    printed = command(monkeypatch, capsys, "distil", unfinished.path, "--to", "lenet5", code=1)
    assert "interrupted" in printed.err


SMALL = ("--to", "digits", "--set", "data.size=16")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--to", "vgg16", "--set", "data.size=16"), "too small"),
        ((*SMALL, "--size", "10B"), "no width of"),
        (("--to", "lenet5", "--size", "10"), "cannot read '10'"),
        (("--to", "nosuch"), "unknown recipe 'nosuch'"),
        ((*SMALL, "--unlabelled", "nosuch"), "nosuch"),
    ],
)
def test_a_refused_student_leaves_no_run_folder(
    teacher, tmp_path, monkeypatch, capsys, options, message
):
    monkeypatch.setattr(sys, "argv", ["eyesight", "distil", str(teacher.path), *options])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code in (1, 2) and message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("setting", ["data.validation=0.2", "loss.smoothing=0.1", "model.width=2"])
def test_settings_without_effect_on_the_student_are_refused(setting):
    limits = distil.Limits(bytes=300_000)
    with pytest.raises(UserError, match="has no effect here"):
        distil.check_settings([setting], limits)
    distil.check_settings(["data.size=32", "optim.lr=0.01"], limits)


class SeenEnoughError(Exception):
    """Raised where a test has seen enough."""


def test_the_budget_counts_from_the_start_of_the_command(teacher, tmp_path, monkeypatch, capsys):
    clocks = []

    def watched(opened, student, out, context, **rest):
        clocks.append(context.clock)
        raise UserError("seen enough")

    monkeypatch.setattr("eyesight.cli.options.STARTED", time.monotonic() - 1000)
    monkeypatch.setattr(distil, "distil", watched)
    arguments = ("distil", teacher.path, "--to", "lenet5", "--budget", "60s", "--out", tmp_path)
    command(monkeypatch, capsys, *arguments, code=1)
    assert clocks[0].elapsed() > 1000


def test_the_students_training_leaves_time_for_its_export(teacher, tmp_path, monkeypatch):
    def ended(job):
        raise SeenEnoughError

    monkeypatch.setattr(experiment, "execute", ended)
    monkeypatch.setattr(distil, "exporting_seconds", lambda *rest: 40.0)
    context = Context()
    small = Recipe(model=Model("fast_digits"), training=Training(budget=500.0))
    with pytest.raises(SeenEnoughError):
        distil.distil(teacher, small, tmp_path, context)
    assert context.clock.budget == 460.0
    late = Clock(0.0, now=lambda: 50.0)
    assert distil.training_budget(60.0, 40.0, late) == 56.0, "a tenth is kept for the training"
    later = Clock(0.0, now=lambda: 80.0)
    assert distil.training_budget(60.0, 40.0, later) == 60.0


def test_a_pretrained_network_can_be_the_student(teacher):
    """It sees the teacher's images as its weights ask for; its width cannot be chosen."""
    asked = override(folder(), ["model.name=tf_efficientnet_lite0", "data.size=32"])
    recipe = distil.student_recipe(teacher, asked)
    assert recipe.data.source == teacher.recipe.data.source
    assert (recipe.data.size, recipe.data.channels, recipe.loss.smoothing) == (32, 3, 0.0)
    assert recipe.model.name == "tf_efficientnet_lite0"
    data = dataset.load(recipe.data)
    assert distil.fitting(recipe, data, distil.Limits(bytes=20e6)) == recipe
    with pytest.raises(UserError, match="its width is fixed"):
        distil.fitting(recipe, data, distil.Limits(bytes=1e6))
