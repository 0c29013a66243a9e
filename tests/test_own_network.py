"""Networks of one's own, from a file: trained, saved by name, and used in other processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import drawn
import numpy as np
import pytest
import torch
from commands import command
from torch import nn

import eyesight
from eyesight import classifier, experiment
from eyesight.data.prepare import Preparation
from eyesight.errors import UserError
from eyesight.models import own, registry
from eyesight.recipe import Data, Model, Optim, Recipe, Training, is_own, override
from eyesight.runs import Run, list_runs

CODE = '''
import torch
from torch import nn


def plain(channels, classes, hidden=8):
    """Sequential."""
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(hidden, 2 * hidden, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * hidden, classes),
    )


class Branching(nn.Module):
    """Two branches that are joined, and a residual connection."""

    def __init__(self, channels, classes, hidden=8, dropout=0.0):
        super().__init__()
        self.narrow = nn.Conv2d(channels, hidden, 1)
        self.wide = nn.Conv2d(channels, hidden, 5, padding=2)
        self.norm = nn.BatchNorm2d(2 * hidden)
        self.again = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, x):
        x = torch.cat([self.narrow(x), self.wide(x)], dim=1)
        x = torch.relu(self.norm(x))
        x = x + torch.relu(self.again(x))
        return self.head(self.drop(x.amax((2, 3))))


class Wrong(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.head = nn.Linear(channels, classes + 1)

    def forward(self, x):
        return self.head(x.mean((2, 3)))


def fails(channels, classes):
    raise RuntimeError("not today")


def number(channels, classes):
    return 7
'''
WITH_LAYERS = {"hidden": "4"}


@pytest.fixture
def code(tmp_path):
    file = tmp_path / "my_net.py"
    file.write_text(CODE, encoding="utf-8")
    return file


def recipe(name, source="", **options):
    return Recipe(
        data=Data(source=str(source), validation=0.2, test=0.2, scaling="standard"),
        model=Model(name, options=tuple(f"{key}={value}" for key, value in options.items())),
        optim=Optim("adam", lr=0.01),
        training=Training(epochs=6, batch=32, seed=1, precision="float32"),
    )


def test_names_of_ones_own_networks_are_told_from_others(tmp_path, monkeypatch):
    assert is_own("my_net.py:Net") and is_own("pack.nets:Net.make") and is_own(r"C:\a b\n.py:Net")
    for name in ("lenet5", "hf-hub:timm/resnet50", "resnet50.tv_in1k", "my_net.py", ":Net"):
        assert not is_own(name)
    monkeypatch.chdir(tmp_path)
    changed = override(Recipe(), ["model.name=my_net.py:Net", "model.options=hidden=4,act=relu"])
    assert changed.model.name == f"{tmp_path / 'my_net.py'}:Net"
    assert own.options_of(changed.model) == {"hidden": 4, "act": "relu"}


def test_only_what_another_process_can_import_has_a_name(code):
    made = own.find(f"{code}:Branching").make
    main = type("Net", (nn.Module,), {"__module__": "__main__"})

    def inside(channels, classes):
        return made(channels, classes)

    for model, message in (
        (made(1, 3), "an instance of Branching"),
        (main, "the running script or notebook"),
        (inside, "defined inside a function"),
        (lambda channels, classes: made(channels, classes), "defined inside a function"),
        ("lenet5", "does not name a network in a file"),
        (7, "is a int, not a class"),
    ):
        with pytest.raises(UserError, match=message) as error:
            own.name_of(model)
        assert error.value.hint
    assert own.name_of(made) == f"{code}:Branching"
    assert own.name_of(drawn.folder).endswith("drawn.py:folder")
    assert own.name_of(experiment.fit) == "eyesight.training.loop:fit"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Wrong", (), "returns 2×4 for 2 images and 3 classes"),
        ("fails", (), "RuntimeError: not today"),
        ("number", (), "returns a int"),
        ("Branchin", (), "unknown name"),
        ("CODE", (), "unknown name"),
        ("plain", ("depth=2",), "cannot be called"),
        ("plain", ("depth",), "cannot read the option"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused(code, name, options, message):
    with pytest.raises(UserError, match=message) as error:
        registry.build(Model(f"{code}:{name}", options=options), (1, 16, 16), 3)
    assert error.value.hint


def test_refused_before_a_run_folder_is_made(code, tmp_path):
    photos = drawn.folder(tmp_path / "photos", 30)
    for name, message in (
        (f"{code}:Wrong", "returns 2×4"),
        (f"{code.parent}/no.py:Net", "no file"),
    ):
        with pytest.raises(UserError, match=message):
            experiment.train(recipe(name, photos), tmp_path / "runs")
    with pytest.raises(UserError, match="an instance"):
        eyesight.train("lenet5", data=photos, model=nn.Linear(1, 2), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_plain_module_registered_by_name_is_refused_in_words(monkeypatch):
    monkeypatch.setitem(registry.MODELS, "mine", lambda shape, classes: nn.Linear(1, 2))
    with pytest.raises(UserError, match="not a Network"):
        registry.build(Model("mine"), (1, 16, 16), 3)


def saved(code, folder):
    torch.manual_seed(0)
    model = Model(f"{code}:Branching", dropout=0.5, options=("hidden=4",))
    network = registry.build(model, (1, 16, 16), 3).eval()
    made = classifier.Classifier(network, model, drawn.SHAPES, Preparation(16, 16, 1))
    made.save(folder)
    return made


def test_saved_as_weights_name_options_and_hash(code, tmp_path, monkeypatch):
    made = saved(code, tmp_path / "kept")
    description = json.loads((tmp_path / "kept" / "classifier.json").read_text())
    assert description["model"] == {
        "name": f"{code}:Branching", "dropout": 0.5, "options": ["hidden=4"],
    }  # fmt: skip
    assert len(description["code_sha256"]) == 64
    pixels, _ = drawn.pictures(5)
    loaded = classifier.load(tmp_path / "kept")
    assert np.allclose(loaded.probabilities(pixels), made.probabilities(pixels), atol=1e-6)
    text = code.read_text()
    code.write_text(text.replace("5, padding=2", "5, padding=2, bias=True"))
    with pytest.raises(UserError, match="has changed since it was trained"):
        classifier.load(tmp_path / "kept")
    code.unlink()
    with pytest.raises(UserError, match="is missing"):
        classifier.load(tmp_path / "kept")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "my_net.py").write_text(text)
    monkeypatch.chdir(elsewhere)
    again = classifier.load(tmp_path / "kept").probabilities(pixels)
    assert np.allclose(again, made.probabilities(pixels), atol=1e-6)


def test_other_code_under_the_same_name_is_another_training(code, tmp_path):
    from eyesight.comparison.compare import trained_as
    from eyesight.training.resume import trained_alike

    photos = drawn.folder(tmp_path / "photos", 40)
    wanted = recipe(f"{code}:plain", photos, **WITH_LAYERS)
    run = experiment.train(wanted, tmp_path / "runs")
    assert trained_as(run, wanted) and trained_alike(run, wanted)
    code.write_text(CODE.replace("nn.ReLU()", "nn.Tanh()"))
    assert not trained_as(run, wanted) and not trained_alike(run, wanted)
    assert own.fingerprint("eyesight.training.loop:fit") and own.fingerprint("no.where:Net") == ""


def python(code, folder, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


TRAIN = """
import eyesight, my_net
for model in (my_net.plain, "my_net.py:Branching"):
    run = eyesight.train("lenet5", data="photos", model=model, options={"hidden": 8},
                         set={"training.epochs": 20, "optim.lr": 0.01}, out="runs", verbose=False)
    print(run.metrics.accuracy)
import sys
slow_to_import = {"timm", "sklearn"}.intersection(sys.modules)
assert not slow_to_import, f"not needed for a training: {slow_to_import}"
"""
USE = """
import sys, eyesight
from pathlib import Path
for run in eyesight.list_runs(sys.argv[1] + "/runs"):
    images = sorted(Path(sys.argv[1], "photos", "ring").glob("*.png"))[:20]
    names = eyesight.load(run.path).predict(images).names
    exported = eyesight.export(run)
    assert exported.parity.agreement == 1 and exported.parity.largest_difference < 1e-4
    assert eyesight.load(exported.file).predict(images).names == names
    diagnosis = eyesight.doctor(run)
    assert "the trained network" in str(diagnosis), str(diagnosis)
    assert eyesight.evaluate(run, str(Path(sys.argv[1], "photos"))).metrics.accuracy > 0.5
    print(run.name, diagnosis)
"""


@pytest.mark.whole
def test_from_training_to_every_use_in_new_processes(code, tmp_path):
    drawn.folder(tmp_path / "photos", 120)
    scores = [float(line) for line in python(TRAIN, tmp_path).split()]
    assert len(scores) == 2 and min(scores) > 0.5
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    python(f"import sys; sys.argv = ['', {str(tmp_path)!r}]\n{USE}", elsewhere)
    branching = list_runs(tmp_path / "runs")[1].path
    assert "wide" in command("show", branching).out
    compared = command(
        *("compare", "lenet5", "--data", "photos", "--set", "training.epochs=1", "--json"),
        *("--set", "model.name=my_net.py:plain,my_net.py:Branching"),
        folder=tmp_path,
    )
    rows = json.loads(compared.out)["rows"]
    assert len(rows) == 2 and all(row["seeds"] == 1 for row in rows), compared.err
    code.unlink()
    gone = command("predict", branching, tmp_path / "photos" / "ring", code=1)
    assert "is missing" in gone.err and "hint:" in gone.err


@pytest.mark.whole
def test_resumed_after_a_kill_it_is_as_uninterrupted(code, tmp_path):
    drawn.folder(tmp_path / "photos", 90)
    options = [
        *("train", "lenet5", "--data", "photos", "--set", "model.name=my_net.py:Branching"),
        *("--set", "training.epochs=30", "--set", "training.precision=float32"),
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "eyesight", *options, "--out", "killed"],
        cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if list(Path(tmp_path, "killed").glob("*/checkpoint/state.safetensors")):
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    (killed,) = list_runs(tmp_path / "killed")
    assert killed.status == "interrupted"
    command(*options, "--out", "killed", "--resume", folder=tmp_path)
    command(*options, "--out", "whole", folder=tmp_path)
    (whole,) = list_runs(tmp_path / "whole")
    losses = [[epoch.train_loss for epoch in Run(run.path).history] for run in (killed, whole)]
    assert losses[0] == losses[1] and killed.status == "done"
