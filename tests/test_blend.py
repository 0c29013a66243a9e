"""A blend is no worse than its best member on the images that chose it, and a run as any other."""

import json
import shutil

import drawn
import numpy as np
import pytest
from commands import command

import eyesight
from eyesight import classifier
from eyesight.data.prepare import Preparation, prepare, together
from eyesight.ensemble import blend as blending
from eyesight.errors import UserError
from eyesight.exporting import export
from eyesight.results import metrics
from eyesight.results.blending import mixed, select
from eyesight.results.predictions import Predictions
from eyesight.runs import Run
from eyesight.views import joined as views

SETTINGS = {
    "training.epochs": 2,
    "training.precision": "float32",
    "data.validation": 0.3,
    "augment.rotate": 0,
}
SIZES = {"first": 16, "second": 20}


def train(folder, root, size, seed=0, **settings):
    return eyesight.train(
        "lenet5",
        data=folder,
        set={**SETTINGS, "data.size": size, "model.name": "small_cnn", **settings},
        seed=seed,
        out=root / "runs",
        verbose=False,
    )


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Two runs on the same split whose classifiers see images of other sizes and channels."""
    root = tmp_path_factory.mktemp("members")
    folder = drawn.folder(root / "data", 240, 16)
    return [
        train(folder, root, 16, **{"training.views": "flip"}),
        train(folder, root, 20, seed=1, **{"data.channels": 3, "data.scaling": "standard"}),
    ]


@pytest.fixture(scope="module")
def blended(members):
    return eyesight.blend(*members, out=members[0].path.parent, verbose=False)


def answers(random, labels, skill):
    """Probabilities of a member that is right with about this chance."""
    logits = random.normal(size=(len(labels), 3))
    logits[np.arange(len(labels)), labels] += skill
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.mark.parametrize("space", ["probability", "log"])
def test_a_selection_is_never_worse_than_its_best_member(space):
    random = np.random.default_rng(0)
    for _ in range(60):
        labels = random.integers(0, 3, 20)
        members = [answers(random, labels, skill) for skill in random.uniform(-1, 2, 4)]
        selection = select(members, labels, space, rounds=10)
        alone = [metrics.correct(values, labels).mean() for values in members]
        assert selection.accuracy >= max(alone) == selection.best_accuracy
        reached = metrics.correct(mixed(members, selection.weights, space), labels).mean()
        assert reached == selection.accuracy
        assert sum(selection.weights) == pytest.approx(1)


def test_members_that_help_each_other_join_and_a_useless_one_does_not():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 2000)
    members = [answers(random, labels, skill) for skill in (1.5, 1.5, -3)]
    selection = select(members, labels)
    assert selection.weights[0] > 0.3
    assert selection.weights[1] > 0.3
    assert selection.weights[2] == 0
    assert selection.accuracy > selection.best_accuracy + 0.02


def test_images_of_all_members_lie_below_each_other():
    random = np.random.default_rng(0)
    picture = drawn.png(random.integers(0, 256, (30, 40, 3)).astype(np.uint8))
    parts = [Preparation(8, 10, 3), Preparation(6, 6, 1, "crop"), Preparation(8, 10, 3)]
    whole = together(parts)
    assert whole.shape == (3, 14, 10)
    assert Preparation.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole
    pixels = prepare(picture, whole)
    assert (pixels[:, :8] == prepare(picture, parts[0])).all()
    assert (pixels[:1, 8:, :6] == prepare(picture, parts[1])).all()
    assert together(parts[:1] * 3) == parts[0]


def test_a_blend_answers_with_the_mean_of_its_members(members, blended):
    loaded = classifier.load(blended.classifier_path)
    picture = drawn.png(drawn.pictures(1, 16)[0][0, 0])
    record = views.blend(blended)
    own = []
    for member in members:
        alone = classifier.load(member.classifier_path)
        own.append(alone.probabilities(alone.prepare(picture)[None]))
    weights = [member.weight for member in record.members]
    expected = mixed(own, weights, record.space)
    loaded.calibration = eyesight.classifier.Calibration()
    seen = loaded.probabilities(loaded.prepare(picture)[None])
    np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_a_blend_is_no_worse_than_its_members_on_what_chose_it(members, blended):
    record = views.blend(blended)
    assert record.accuracy >= max(member.validation for member in record.members)
    assert blended.result["test"]["n"] == 48
    assert record.gain.images == 48
    assert blended.status == "done"


def test_one_file_answers_as_the_blend_does(blended):
    loaded = eyesight.load(blended.path)
    exported = eyesight.load(blended.path / "export" / "blend.onnx")
    pictures = [drawn.png(picture[0]) for picture in drawn.pictures(6, 16, seed=5)[0]]
    first, second = loaded.predict(pictures), exported.predict(pictures)
    np.testing.assert_allclose(first.probabilities, second.probabilities, atol=1e-4)
    assert exported.preparation.parts == loaded.preparation.parts
    assert len(loaded.preparation.parts) == 2


def test_every_command_takes_a_blend(tmp_path, members, blended):
    pictures = tmp_path / "pictures"
    drawn.folder(pictures, 6, 16, seed=9)
    source = members[0].recipe.data.source
    out = tmp_path / "submission.csv"
    command("predict", blended.path, pictures, "--out", out)
    assert len(out.read_text().splitlines()) == 7
    own = json.loads(command("evaluate", blended.path, "--json").out)
    again = command("evaluate", blended.path, "--data", source, "--json")
    assert json.loads(again.out)["top1"] == own["top1"]
    other = command("evaluate", blended.path, "--data", pictures, "--json")
    assert json.loads(other.out)["n"] == 6
    exported = tmp_path / "blend.onnx"
    command("export", blended.path, "--out", exported)
    command("report", blended.path)
    refused = command("doctor", blended.path, code=1)
    assert "is a blend, which was not trained" in refused.err
    command("show", blended.path)
    table = command("compare", blended.path, members[0].path, "--json", "--out", tmp_path)
    assert {row["name"] for row in json.loads(table.out)["rows"]} == {
        blended.name,
        members[0].name,
    }
    refused = command("predict", blended.path, pictures, "--views", "flip", code=2)
    assert "leave --views out" in refused.err
    trained = command("train", blended.path, "--out", tmp_path, code=2)
    assert "a blend cannot be trained" in trained.err


@pytest.fixture
def without_file(monkeypatch):
    """Blends leave no ONNX file, which takes seconds to export."""
    monkeypatch.setattr(export, "export_all", lambda run, talk: [])


def test_the_command_prints_weights_and_gain(without_file, tmp_path, members):
    paths = [member.path for member in members]
    printed = command("blend", *paths, "--out", tmp_path / "runs")
    assert "against its best member" in printed.out
    answer = command("blend", *paths, "--equal", "--out", tmp_path, "--json")
    facts = json.loads(answer.out)
    assert [member["weight"] for member in facts["members"]] == [0.5, 0.5]
    assert Run(facts["run"]).status == "done"


def test_a_blend_of_a_blend_is_one_file(tmp_path, members, blended):
    third = train(members[0].recipe.data.source, tmp_path, 16, seed=2)
    made = eyesight.blend(blended, third, out=tmp_path / "runs", equal=True, verbose=False)
    picture = drawn.png(drawn.pictures(1, 16)[0][0, 0])
    file = eyesight.load(made.path / "export" / "blend.onnx")
    np.testing.assert_allclose(
        eyesight.load(made.path).predict(picture).probabilities,
        file.predict(picture).probabilities,
        atol=1e-4,
    )


def test_what_cannot_be_blended_is_refused(tmp_path, members):
    source = members[0].recipe.data.source
    with pytest.raises(UserError, match="at least two different runs, not 1"):
        eyesight.blend(members[0], members[0], verbose=False)
    other_split = train(source, tmp_path, 16, **{"data.split_seed": 1})
    with pytest.raises(UserError, match="different splits"):
        eyesight.blend(members[0], other_split, verbose=False)
    names = ("bar", "cross", "circle")
    folder = drawn.folder(tmp_path / "other", 90, 16)
    (folder / "ring").rename(folder / names[2])
    with pytest.raises(UserError, match="has different classes"):
        eyesight.blend(members[0], train(folder, tmp_path, 16), verbose=False)
    autoencoder = eyesight.train(
        "autoencoder",
        data=source,
        set={"training.epochs": 1, "training.min_steps": 1, "data.size": 16},
        out=tmp_path / "runs",
        verbose=False,
    )
    with pytest.raises(UserError, match="only class predictions can be blended"):
        eyesight.blend(members[0], autoencoder, verbose=False)


def test_a_blend_that_is_refused_leaves_no_run_folder(tmp_path, members):
    copied = tmp_path / "runs" / "0001-copy"
    shutil.copytree(members[1].path, copied)
    predictions = eyesight.Run(copied).predictions("validation")
    predictions.subset(np.arange(1, len(predictions))).save(copied / "validation.npz")
    for equal in (False, True):
        with pytest.raises(UserError, match="no prediction for the validation image"):
            eyesight.blend(members[0], copied, out=tmp_path / "out", equal=equal, verbose=False)
    assert not (tmp_path / "out").exists()


def test_answers_to_other_images_are_seen(members):
    joined = blending.open_members(members, eyesight.views.live.Lines())
    validation = members[0].predictions("validation")
    fewer = Predictions(
        validation.ids[1:], validation.labels[1:], validation.probabilities[1:], validation.classes
    )
    with pytest.raises(UserError, match="no prediction for the validation"):
        blending.aligned(fewer, joined)
