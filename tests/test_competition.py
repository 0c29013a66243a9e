"""A competition's way: a table of images, a sample to follow, a sheet, and a copy in the run."""

import csv
import json

import drawn
import numpy as np
import pytest
import torch
from commands import command

from eyesight.classifier import Classifier
from eyesight.data.formats.picture_list import read_picture_list
from eyesight.data.opening import list_pictures, open_source
from eyesight.data.prepare import Preparation
from eyesight.errors import UserError
from eyesight.inference import submission
from eyesight.inference.predict import FilePrediction, write_submission
from eyesight.models.registry import build
from eyesight.recipe import Model, to_dict
from eyesight.recipes import find
from eyesight.results.folds import gap, out_of_fold
from eyesight.results.predictions import Predictions
from eyesight.runs import Run

CLASSES = ("cat", "dog", "hen")


def write_csv(file, rows):
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows(rows)
    return file


def read_csv(file):
    return list(csv.reader(file.read_text().splitlines()))


@pytest.fixture
def contest(tmp_path):
    """train/ and test/ with images called alike, train.csv, test.csv and a shuffled sample."""
    pixels, labels = drawn.pictures(9, 12)
    root = tmp_path / "contest"
    for part in ("train", "test"):
        (root / part).mkdir(parents=True)
    for number, picture in enumerate(pixels):
        (root / "train" / f"{number}.png").write_bytes(drawn.png(picture[0]))
        if number < 5:
            (root / "test" / f"{number}.png").write_bytes(drawn.png(255 - picture[0]))
    names = [CLASSES[label] for label in labels]
    write_csv(root / "train.csv", [("id", "label"), *enumerate(names)])
    write_csv(root / "test.csv", [("id",), *((number,) for number in range(5))])
    rows = [(number, "cat") for number in (3, 0, 4, 1, 2)]
    write_csv(root / "sample_submission.csv", [("id", "target"), *rows])
    return root


@pytest.fixture
def trained(tmp_path):
    """A run whose network has random weights."""
    torch.manual_seed(0)
    run = Run.create(tmp_path / "runs", "lenet5")
    run.write_json("recipe.json", to_dict(find("lenet5")))
    network = build(Model("lenet5"), (1, 28, 28), 3).eval()
    classifier = Classifier(network, Model("lenet5"), CLASSES, Preparation(28, 28, 1))
    classifier.save(run.classifier_path)
    return run


def test_ids_of_a_training_table_mean_the_training_folder(contest):
    source = open_source(str(contest))
    assert len(source.ids) == 9 and set(source.classes) == set(CLASSES)
    first = source.read(0)
    assert first == (contest / "train" / "0.png").read_bytes()


def test_a_table_lists_its_images_in_its_order(contest):
    expected = [contest / "test" / f"{number}.png" for number in range(5)]
    assert list_pictures(contest / "test.csv") == expected
    reversed_rows = [("n", "file"), *((number, f"test/{number}.png") for number in (4, 2))]
    table = write_csv(contest / "some.csv", reversed_rows)
    assert read_picture_list(table) == [contest / "test" / "4.png", contest / "test" / "2.png"]


def test_a_table_that_names_a_missing_image_is_refused(contest):
    write_csv(contest / "test.csv", [("id",), (0,), (1,), (2,), (77,)])
    with pytest.raises(UserError, match=r"77 \(line 5: no file\)"):
        list_pictures(contest / "test.csv")
    write_csv(contest / "test.csv", [("id",), ("x",), ("y",)])
    with pytest.raises(UserError, match="no column"):
        list_pictures(contest / "test.csv")


def test_a_submission_has_the_order_of_its_sample(contest, trained, tmp_path):
    out = tmp_path / "out" / "submission.csv"
    sample = contest / "sample_submission.csv"
    arguments = ("predict", trained.path, contest / "test.csv", "--like", sample, "--out", out)
    command(*arguments)
    rows = read_csv(out)
    assert rows[0] == ["id", "target"] and [row[0] for row in rows[1:]] == ["3", "0", "4", "1", "2"]
    command("predict", trained.path, contest / "test", "--out", tmp_path / "p.csv")
    plain = dict(read_csv(tmp_path / "p.csv")[1:])
    assert all(plain[name] == target for name, target in rows[1:])
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    copy = trained.path / "submissions" / "0001-submission.csv"
    assert copy.read_bytes() == out.read_bytes()
    record = json.loads(copy.with_suffix(".json").read_text())
    assert record["rows"] == 5 and record["holds"] == "class names"
    command(*arguments, "--views", "flip", "--json")
    second = json.loads((trained.path / "submissions" / "0002-submission.json").read_text())
    assert second["views"] == "flip"


def test_a_sample_that_does_not_fit_is_noted(contest, trained, tmp_path):
    def said(*rows):
        sample = write_csv(tmp_path / "sample.csv", [("id", "target"), *rows])
        out = tmp_path / "out.csv"
        return command(
            "predict", trained.path, contest / "test.csv", "--like", sample, "--out", out
        )

    every = range(5)
    fitting = said(*((number, "cat") for number in every))
    assert "not a class" not in fitting.err and "not in the submission" not in fitting.err
    assert "2 of 5 images are not in" in said((0, "cat"), (1, "cat"), (2, "")).err
    assert (
        "target kitten, which is not a class" in said(*((number, "kitten") for number in every)).err
    )
    assert "target 3, which is not a class" in said(*((number, 3) for number in every)).err
    assert "not a class" not in said(*((number, 2) for number in every)).err


def test_mirrored_views_are_averaged(trained, contest):
    from eyesight.cli.competition import with_views
    from eyesight.inference.predict import load

    usual = load(trained.path)
    averaged = with_views(usual, "flip")
    pixels = np.stack([usual.prepare((contest / "test" / "0.png").read_bytes())])
    mirrored = pixels[..., ::-1].copy()
    assert averaged.probabilities(pixels) == pytest.approx(
        averaged.probabilities(mirrored), abs=1e-6
    )
    assert not np.allclose(usual.probabilities(pixels), usual.probabilities(mirrored), atol=1e-6)
    with pytest.raises(UserError, match="views"):
        with_views(usual, "flop")


PROBABILITIES = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]], dtype=np.float32)


@pytest.mark.parametrize(
    ("header", "example", "expected"),
    [
        (("id", "target"), ("cat",), [["dog"], ["cat"]]),
        (("id", "target"), ("0",), [["1"], ["0"]]),
        (
            ("id", "hen", "cat", "dog"),
            ("0", "0", "1"),
            [["0.2", "0.1", "0.7"], ["0.3", "0.5", "0.2"]],
        ),
        (("id", "0", "1", "2"), ("0", "0", "1"), [["0.1", "0.7", "0.2"], ["0.5", "0.2", "0.3"]]),
    ],
)
def test_columns_hold_names_numbers_or_probabilities(tmp_path, header, example, expected):
    table = write_csv(tmp_path / "sample.csv", [header, ("b", *example), ("a", *example)])
    sample = submission.read_sample(table, CLASSES)
    assert sample.ids == ("b", "a")
    assert submission.targets(sample, PROBABILITIES, CLASSES) == expected


def test_classes_that_are_numbers_are_names(tmp_path):
    table = write_csv(tmp_path / "sample.csv", [("id", "label"), ("b", "7"), ("a", "7")])
    sample = submission.read_sample(table, ("7", "8", "9"))
    assert submission.targets(sample, PROBABILITIES, ("7", "8", "9")) == [["8"], ["7"]]


def test_a_sample_of_other_classes_and_ids_without_images_are_refused(tmp_path):
    table = write_csv(tmp_path / "sample.csv", [("id", "cat", "dog", "cow"), ("a", 0, 0, 1)])
    with pytest.raises(UserError, match="not the 3 classes"):
        submission.read_sample(table, CLASSES)
    sample = submission.Sample(("id", "target"), ("1", "2"))
    with pytest.raises(UserError, match="1 of 2 ids of the sample have no image: 2"):
        submission.in_order(sample, [tmp_path / "1.png"])


def test_an_unreadable_image_keeps_its_row_and_has_no_target():
    predictions = [FilePrediction("a", problem="broken"), FilePrediction("b", (("hen", 1.0),))]
    probabilities = submission.probabilities_of(predictions, CLASSES)
    sample = submission.Sample(("id", "target"), ("a", "b"))
    assert submission.targets(sample, probabilities, CLASSES)[0] == [""]


def test_a_run_among_the_images_is_refused(contest, trained):
    captured = command("predict", trained.path, trained.path, contest / "test", code=2)
    assert "is a run, not an image" in captured.err and "eyesight blend RUN RUN" in captured.err


def test_the_table_of_several_classes_has_their_probabilities(tmp_path):
    rows = [
        FilePrediction("x/1.png", (("cat", 0.75), ("dog", 0.25))),
        FilePrediction("x/2.png", problem="broken"),
    ]
    write_submission(rows, tmp_path / "top.csv")
    assert read_csv(tmp_path / "top.csv") == [
        ["id", "target", "probability", "class2", "probability2"],
        ["1", "cat", "0.7500", "dog", "0.2500"],
        ["2", "", "", "", ""],
    ]


def test_options_without_effect_are_refused(contest, trained):
    sample = contest / "sample_submission.csv"
    arguments = ("predict", trained.path, contest / "test.csv", "--like", sample)
    assert "--out" in command(*arguments, code=2).err
    arguments = (*arguments, "--out", "s.csv", "--top", "3")
    assert "--top" in command(*arguments, code=2).err


def judged(ids, right, classes=("a", "b")):
    """Predictions for images of class a, the first `right` of them correct."""
    rows = [[0.9, 0.1]] * right + [[0.2, 0.8]] * (len(ids) - right)
    labels = np.zeros(len(ids), np.int64)
    return Predictions(tuple(ids), labels, np.array(rows, np.float32), classes)


def test_folds_are_judged_together():
    joined = out_of_fold([judged("abcd", 3), judged("efgh", 4)])
    assert len(joined) == 8 and joined.summary()["top1"] == 7 / 8
    with pytest.raises(
        UserError, match="2 images are validation images of several runs, such as c"
    ):
        out_of_fold([judged("abcd", 3), judged("cdef", 4)])
    with pytest.raises(UserError, match="different classes"):
        out_of_fold([judged("ab", 1), judged("cd", 1, ("a", "c"))])


def test_the_gap_shrinks_with_the_leaderboard():
    assert gap(0.5, 1000, 1000) == pytest.approx(1.96 * (0.25 / 500) ** 0.5)
    assert gap(0.9, 50_000, 10_000) < gap(0.9, 50_000, 1_000) < gap(0.5, 50_000, 1_000)


def test_the_command_prints_the_score_out_of_fold(contest, tmp_path):
    runs = []
    for fold in (judged("abcd", 3), judged("efgh", 4)):
        run = Run.create(tmp_path / "runs", "lenet5")
        run.write_json("recipe.json", to_dict(find("lenet5")))
        fold.save(run.path / "validation.npz")
        runs.append(run.path)
    sample = contest / "sample_submission.csv"
    lines = command("folds", *runs, "--like", sample).out.splitlines()
    assert lines[2].startswith("87.50%  out of fold, 8 images")
    assert "leaderboard of 5 images" in lines[3]
