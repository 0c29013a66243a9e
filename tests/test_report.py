"""The page stands alone, says what the stored predictions say, and never lets a file name become
markup.
"""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from eyesight import recipe as recipes
from eyesight.recipe import Data, Recipe, Training
from eyesight.report import report
from eyesight.report.cards import kept_epoch
from eyesight.report.settings import settings
from eyesight.results import metrics
from eyesight.results.predictions import Predictions, summary, write_arrays
from eyesight.runs import Run
from eyesight.views import html, run_view

EVIL = "<script>alert(1)</script>"


def drawn_run(parent, classes=("a", "b", EVIL), status="done", n=60, channels=1, side=8):
    rng = np.random.default_rng(0)
    run = Run.create(parent, "toy")
    run.write_json(
        "recipe.json", recipes.to_dict(Recipe(name="toy", data=Data(source=f"pictures {EVIL}")))
    )
    problem = {"id": f"x/{EVIL}.png", "kind": "truncated", "detail": EVIL, "fatal": True}
    run.write_json(
        "data.json",
        {"classes": list(classes), "counts": {"train": 100, "test": n}, "problems": [problem] * 7},
    )
    run.write_json("environment.json", {"python": "3", "device": "cpu", "threads": 2, "note": EVIL})
    run.append({"event": "start", "command": f"eyesight train toy {EVIL}"})
    for epoch in (1, 2):
        run.append(
            {
                "event": "epoch",
                "epoch": epoch,
                "train_loss": 1 / epoch,
                "train_top1": 0.5,
                "validation_loss": None,
                "best": True,
            }
        )
    if status == "failed":
        run.append(
            {"event": "failed", "message": f"the loss became NaN {EVIL}", "hint": "a lower rate"}
        )
    if status != "done":
        return run
    p = rng.dirichlet(np.ones(len(classes)), n).astype(np.float32)
    labels = rng.integers(0, len(classes), n)
    predictions = Predictions(tuple(f"test/{EVIL}{k}" for k in range(n)), labels, p, tuple(classes))
    predictions.save(run.path / "predictions.npz")
    worst = metrics.costly_mistakes(p, labels, 30)
    pixels = rng.integers(0, 256, (30, channels, side, side), dtype=np.uint8)
    write_arrays(
        run.path / "gallery.npz",
        samples_pixels=pixels,
        samples_labels=np.arange(30) % len(classes),
        mistakes_pixels=pixels[: len(worst)],
        mistakes_index=worst,
    )
    run.append(
        {
            "event": "done",
            "test": summary(predictions),
            "seconds": {"training": 75.0, "total": 80.0},
            "parameters": 61706,
        }
    )
    return run


class Reader(HTMLParser):
    """Counts elements, checks that they are closed in order, and collects addresses."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self):
        super().__init__()
        self.open, self.found, self.addresses = [], [], []

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.addresses += [
            value
            for name, value in attrs
            if name in ("src", "href", "xlink:href", "srcset", "action")
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(text):
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def test_says_what_the_predictions_say(tmp_path):
    run = drawn_run(tmp_path / "runs")
    text = report.write_report(run).read_text(encoding="utf-8")
    test = summary(run.predictions())
    assert f"{100 * test['top1']:.2f}<small>" in text
    assert (
        f"{100 * test['interval'][0]:.2f} – {100 * test['interval'][1]:.2f}\N{NO-BREAK SPACE}%, n = 60"
        in text
    )
    for words in ("61,706", "1 min 15 s", "2 threads", "runs/0001-toy", "100 train · 60 test"):
        assert words in text


def test_says_what_the_training_really_used(tmp_path):
    run = drawn_run(tmp_path, status="trained")
    used = {"images": 120, "of": 1800, "versions": 2, "epochs": 7, "steps": 14, "lr": 0.0001}
    run.append({"event": "done", "test": {}, "trained": [used]})
    text = report.write_report(run).read_text(encoding="utf-8")
    assert (
        "Trained 120 of 1,800 training images in 2 views each, 7 passes (14 steps), "
        "last learning rate 0.0001." in text
    )


def test_epochs_that_are_several_passes_are_told_apart(tmp_path):
    used = {"images": 120, "of": 1800, "versions": 1, "epochs": 1, "steps": 14, "lr": 0.0001}
    run = drawn_run(tmp_path, status="trained")
    run.append({"event": "done", "test": {}, "trained": [used | {"epochs": 2}]})
    text = report.page(run)
    assert "epoch 2 kept<" in text and "An epoch is one point" not in text
    run.append({"event": "done", "test": {}, "trained": [used | {"epochs": 41}, used]})
    text = report.page(run)
    assert "epoch 2 kept · 42 passes over the images<" in text
    assert "An epoch is one point of the curves, which may be several passes" in text


def test_settings_are_shown_as_they_were_used(tmp_path):
    run = drawn_run(tmp_path, status="trained")
    recipe = replace(Recipe(name="toy"), data=Data(size=0), training=Training(epochs=20))
    run.write_json("recipe.json", recipes.to_dict(recipe))
    facts = {
        "chosen": {"data.size": 224, "transfer.views": 4},
        "without_effect": {"loss.gamma": "the loss is not focal"},
        "validation_images": 2000,
    }
    run.write_json("environment.json", facts)
    used = {"images": 120, "of": 1800, "versions": 2, "epochs": 43, "steps": 14, "lr": 0.0001}
    second = used | {"stage": 2, "epochs": 3}
    run.append({"event": "done", "test": {}, "trained": [used | {"stage": 1}, second]})
    shown = {setting.path: (setting.value, setting.remark) for setting in settings(run)}
    assert shown["data.size"] == (224, "chosen for these images")
    assert shown["transfer.views"] == (4, "chosen for these images, 2 views were used")
    assert shown["training.epochs"] == (20, "43 passes were made")
    assert shown["transfer.thaw_epochs"][1] == "3 passes were made"
    assert shown["data.validation"][1].startswith("2,000 validation images were used")
    assert shown["loss.gamma"][1] == "without effect: the loss is not focal"
    text = report.page(run)
    assert "chosen for these images, 2 views were used" in text
    assert "&#34;size&#34;: 224" in text, "the full recipe is the one that was used"


def test_says_how_many_images_were_used_and_left_out(tmp_path):
    run = drawn_run(tmp_path)
    left_out = [
        {"id": "thumbs", "kind": "thumbnails", "detail": "", "fatal": True, "count": 5},
        {"id": "gone.png", "kind": "missing", "detail": "", "fatal": True, "count": 0},
    ]
    facts = {"counts": {"train": 1100, "test": 60}, "problems": left_out}
    run.write_json("data.json", dict(run.data) | facts | {"corrections": {"excluded": 2}})
    text = report.page(run)
    assert (
        "<p>1,167 images: 1,100 training, 60 test, 5 left out (thumbnails), "
        "2 left out (corrections).</p>" in text
    )


def test_the_epoch_of_a_run_that_chose_to_keep_its_last_one(tmp_path):
    run = drawn_run(tmp_path, status="trained")
    run.append({"event": "epoch", "epoch": 3, "train_loss": 2.0, "best": False})
    assert kept_epoch(run)["epoch"] == 2
    run.write_json("environment.json", {"chosen": {"training.keep": "last"}})
    assert kept_epoch(run)["epoch"] == 3


def test_loads_nothing_from_anywhere(tmp_path):
    reader = read(report.page(drawn_run(tmp_path)))
    assert reader.addresses
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in reader.addresses)
    assert reader.found.count("img") == 30 + min(30, report.MISTAKES)


def test_names_of_files_and_classes_never_become_markup(tmp_path):
    run = drawn_run(tmp_path)
    run.write_json(
        "doctor.json",
        {"findings": [{"title": EVIL, "evidence": EVIL, "remedy": EVIL, "severity": EVIL}]},
    )
    text = report.page(run)
    assert EVIL not in text
    assert "&lt;script&gt;alert(1)" in text
    assert read(text).found.count("script") == 1


def test_no_scripts_but_its_own_and_no_network_by_policy(tmp_path):
    assert "default-src 'none'" in report.page(drawn_run(tmp_path))


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_run_that_is_not_done_says_so(tmp_path, status):
    text = report.page(drawn_run(tmp_path, status=status))
    read(text)
    assert f"This training {'failed' if status == 'failed' else 'was interrupted'}" in text
    assert "test accuracy" not in text


def test_a_run_that_has_hardly_begun(tmp_path):
    run = Run.create(tmp_path, "toy")
    run.write_json("recipe.json", recipes.to_dict(Recipe()))
    text = report.page(run)
    read(text)
    assert "test accuracy" not in text, "there is none yet"


def test_problems_are_listed_by_kind_with_those_left_out_first():
    problems = [{"id": "a", "kind": "rotated", "fatal": False}] * 3 + [
        {"id": "b", "kind": "truncated", "fatal": True}
    ]
    groups = report.by_kind(problems)
    assert [(group.kind, group.fatal, len(group.problems)) for group in groups] == [
        ("truncated", True, 1),
        ("rotated", False, 3),
    ]


def test_doctor_findings_are_shown_and_a_broken_file_is_not_fatal(tmp_path):
    run = drawn_run(tmp_path)
    run.write_json(
        "doctor.json",
        {"findings": [{"title": "Softmax twice", "evidence": "floor 2.984", "severity": "error"}]},
    )
    assert "floor 2.984" in report.page(run)
    (run.path / "doctor.json").write_text("{")
    assert run_view.findings(run) == []


def test_large_colour_pictures_are_made_small(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 300, 200), dtype=np.uint8)
    assert len(report.thumbnail(pixels)) < 4 / 3 * 100 * 66 * 3 * 1.1
    read(report.page(drawn_run(tmp_path, channels=3, side=200)))


@pytest.mark.parametrize("count", [2, 52, 120])
def test_any_number_of_classes(tmp_path, count):
    text = report.page(
        drawn_run(tmp_path, classes=tuple(f"class {k}" for k in range(count)), n=200)
    )
    assert read(text).found.count("tr") > count


def test_unlabelled_test_pictures_give_a_page_without_figures(tmp_path):
    run = drawn_run(tmp_path, status="running")
    p = np.full((2, 3), 1 / 3, np.float32)
    Predictions(("x", "y"), np.array([-1, -1]), p, ("a", "b", "c")).save(
        run.path / "predictions.npz"
    )
    assert "test accuracy" not in report.page(run)


def right_and_wrong(right, wrong):
    p = np.array([[0.9, 0.1]] * right + [[0.1, 0.9]] * wrong, np.float32)
    n = right + wrong
    return Predictions(tuple(map(str, range(n))), np.zeros(n, np.int64), p, ("a", "b"))


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        (101, 1, "misclassified 1 of 102 images"),
        (1, 3, "misclassified 3 of 4 images"),
        (60, 40, "misclassified 40 of 100 images"),
        (5, 0, "no mistake"),
        (0, 5, "misclassified all of 5"),
    ],
)
def test_the_plain_sentence(right, wrong, words):
    assert words in report.sentence(right_and_wrong(right, wrong))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (59.99, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.9, "1 h 0 min"),
        (3900, "1 h 5 min"),
    ],
)
def test_durations(seconds, words):
    assert report.duration(seconds) == words


def test_written_elsewhere_on_request(tmp_path):
    out = report.write_report(drawn_run(tmp_path / "runs"), tmp_path / "pages" / "toy.html")
    assert out.is_file() and not re.search(
        r"https?://(?!www\.w3\.org)", out.read_text(encoding="utf-8")
    )


def test_works_without_torch():
    code = "import sys, eyesight.report.report, eyesight.runs; print('torch' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "False"
    )


def staged(parent, best):
    """A run of two stages; `best` is the epoch whose weights were kept."""
    run = drawn_run(parent, status="running")
    run.write_json("environment.json", {"chosen": {"transfer.thaw": "conv5"}})
    for epoch, stage in ((3, 1), (4, 2)):
        facts = {
            "train_loss": 0.5,
            "train_top1": 0.9,
            "validation_loss": 0.4,
            "validation_top1": 0.8,
        }
        run.append(
            {"event": "epoch", "epoch": epoch, "stage": stage, "best": epoch == best, **facts}
        )
    found = [
        {
            "stage": n,
            "epochs": 1,
            "seconds": 61.0,
            "validation_loss": 0.4,
            "validation_top1": 0.8125,
        }
        for n in (1, 2)
    ]
    run.append({"event": "done", "test": {}, "stages": found})
    return run


def test_each_stage_of_a_staged_training_has_a_row_and_the_one_that_was_kept_is_named(tmp_path):
    for best, kept in ((3, [True, False]), (4, [False, True])):
        rows = report.stages(staged(tmp_path / str(best), best))
        assert [(row.number, row.part) for row in rows] == [
            (1, "only the head"),
            (2, "from conv5 on"),
        ]
        assert all(row.seconds == "1 min 1 s" for row in rows)
        assert all(row.score == html.percent(0.8125) for row in rows)
        assert [row.kept for row in rows] == kept
    assert ">Stages<" in report.page(staged(tmp_path / "page", 4))
    assert ">Stages<" not in report.page(drawn_run(tmp_path / "plain"))
