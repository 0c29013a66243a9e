"""Each training keeps how every image was learnt, and learns the same as without."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn import SHAPES, folder
from typer.testing import CliRunner

from eyesight import experiment
from eyesight.auditing import audit, features, labels, learnt
from eyesight.auditing.material import open_material
from eyesight.cli.main import app
from eyesight.data import dataset
from eyesight.errors import UserError
from eyesight.recipe import Augment, Data, Model, Recipe, Training
from eyesight.report.report import write_report
from eyesight.results import margins as kept_margins
from eyesight.system.progress import Reporter
from eyesight.training import margins


def toy(tmp_path, wrong=0, **changes):
    root = folder(tmp_path / "set", 240, size=32)
    for number in range(wrong):
        name = SHAPES[number % 3]
        file = root / name / f"{number:04d}.png"
        file.rename(root / SHAPES[(number + 1) % 3] / file.name)
    data = Data(str(root), size=32, channels=1)
    training = Training(epochs=4, min_steps=0, batch=32)
    return replace(Recipe("toy", data=data, model=Model("lenet5"), training=training), **changes)


def test_a_margin_is_the_given_logit_minus_the_largest_other():
    kept = margins.empty(4, torch.device("cpu"))
    logits = torch.tensor([[1.0, 3.0, 2.0], [5.0, 0.0, 1.0]])
    for _ in range(2):
        margins.add(kept, logits, torch.tensor([2, 0]), torch.tensor([3, 1]))
    assert kept.tolist() == [[0, 8, 0, -2], [0, 2, 0, 2]]


def test_wrong_labels_have_the_smallest_margins(tmp_path):
    recipe = toy(tmp_path, wrong=12)
    recipe = replace(recipe, training=replace(recipe.training, epochs=12))
    run = experiment.train(recipe, tmp_path / "runs")
    ids = dataset.load(recipe.data).train.ids
    kept = kept_margins.read(run.path, len(ids))
    assert np.isfinite(kept).all()
    wrong = np.array([SHAPES[int(one[-8:-4]) % 3] != one.split("/")[0] for one in ids])
    ranks = kept.argsort().argsort()
    assert ranks[wrong].mean() < 0.3 * len(ids)


def test_training_is_the_same_to_the_last_bit_as_without(tmp_path, monkeypatch):
    recipe = toy(tmp_path)
    kept = experiment.train(recipe, tmp_path / "with")
    monkeypatch.setattr(margins, "are_kept", lambda recipe, processes: False)
    without = experiment.train(recipe, tmp_path / "without")
    weights = [run.classifier_path / "weights.safetensors" for run in (kept, without)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert kept_margins.read(without.path, 1) is None


def test_blended_images_have_no_margins(tmp_path):
    run = experiment.train(toy(tmp_path, augment=Augment(mixup=0.2)), tmp_path / "runs")
    assert not (run.path / kept_margins.FILE).exists()


def test_damaged_margins_are_refused(tmp_path):
    run = experiment.train(toy(tmp_path), tmp_path / "runs")
    with pytest.raises(UserError, match="damaged"):
        kept_margins.read(run.path, 7)
    file = run.path / kept_margins.FILE
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(UserError):
        kept_margins.read(run.path, 7)


def test_an_audit_of_a_run_takes_its_margins_as_a_witness(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "backbone_at_hand", lambda: None)
    monkeypatch.setattr(features, "FILTERS", 16)
    recipe = toy(tmp_path, wrong=12)
    run = experiment.train(recipe, tmp_path / "runs")
    material = open_material(run.path, 60, Reporter())
    assert set(material.learnt) == set(dataset.load(recipe.data).train.ids)
    with_it = {label.id: label.score for label in audit.audit(run.path).labels}
    without = {label.id: label.score for label in audit.audit(recipe.data).labels}
    tested = dataset.load(recipe.data).test.ids
    assert with_it != without
    assert all(with_it[one] == without[one] for one in tested)
    monkeypatch.setattr(type(run), "data", property(lambda self: {"split": "another"}))
    assert learnt.margins_of(run, recipe.data) == {}


def test_after_an_audit_of_a_run_its_report_shows_the_audit(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "backbone_at_hand", lambda: None)
    monkeypatch.setattr(features, "FILTERS", 16)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = experiment.train(toy(tmp_path, wrong=12), tmp_path / "runs")
    call = ["audit", str(run.path), "--json"]
    assert CliRunner().invoke(app, call).exit_code == 0
    assert not (run.path / "report.html").exists()
    page = write_report(run)
    page.write_text("an old report")
    assert CliRunner().invoke(app, call).exit_code == 0
    assert "Data audit" in page.read_text()


def test_ranks_bring_a_runs_margins_to_the_scale_of_the_head():
    margin = torch.linspace(-2, 3, 100)
    suspicion = labels.Suspicion(
        torch.sigmoid(-margin), torch.zeros(100), torch.zeros(100, 2), margin
    )
    same = learnt.with_run(suspicion, 100 * margin)
    assert torch.allclose(same.score, suspicion.score, atol=1e-6)
    other = margin.clone()
    other[90] = -1000
    assert learnt.with_run(suspicion, other).score[90] > suspicion.score[90] + 0.1
    assert learnt.with_run(suspicion, torch.full((100,), torch.nan)) is suspicion
