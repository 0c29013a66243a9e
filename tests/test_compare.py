"""The table says what the stored predictions say, ties are ties, a failure is a row, and the second
call trains nothing.
"""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import drawn
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from eyesight import recipe as recipes
from eyesight.comparison import compare, plots, statistics, table
from eyesight.comparison.compare import Member
from eyesight.comparison.statistics import Judged, Row, Spread
from eyesight.distributed import child
from eyesight.errors import UserError
from eyesight.recipe import Data, Recipe, Training
from eyesight.recipes import find
from eyesight.results import metrics
from eyesight.results.predictions import Predictions, summary
from eyesight.runs import Run

pytestmark = pytest.mark.whole

EVIL = "<script>alert(1)</script>"


def drawn_run(
    parent, right, *, name="toy", seed=0, ids=None, labels=None, recipe=None, seconds=2.0, epochs=2
):
    """A finished run that got `right` (bool N) right, without any training."""
    right = np.asarray(right, dtype=bool)
    run = Run.create(parent, name)
    recipe = recipe or Recipe(name=name, data=Data("nowhere"), training=Training(seed=seed))
    run.write_json("recipe.json", recipes.to_dict(recipe))
    run.append({"event": "start"})
    for epoch in range(1, epochs + 1):
        share = right.mean() - 0.1 / epoch
        run.append(
            {
                "event": "epoch",
                "epoch": epoch,
                "seconds": seconds / epochs,
                "pictures": 300,
                "validation_top1": share,
            }
        )
    labels = np.arange(len(right)) % 3 if labels is None else labels
    p = np.full((len(right), 3), 0.1, np.float32)
    p[np.arange(len(right)), np.where(right, labels, (labels + 1) % 3)] = 0.8
    found = Predictions(
        ids or tuple(f"test/{k:05d}" for k in range(len(right))), labels, p, ("a", "b", "c")
    )
    found.save(run.path / "predictions.npz")
    run.classifier_path.mkdir()
    (run.classifier_path / "weights.safetensors").write_bytes(b"0" * 1234)
    spent = {"training": seconds, "total": seconds + 1}
    run.append(
        {
            "event": "done",
            "test": summary(found),
            "parameters": 61706,
            "multiply_adds": 416_520,
            "seconds": spent,
        }
    )
    return run


def first(count, n=100):
    """The first `count` of `n` right."""
    return np.arange(n) < count


def drawn_rows(parent, *counts, n=100):
    return [
        statistics.row(f"row {place}", [drawn_run(parent, first(count, n))])
        for place, count in enumerate(counts)
    ]


# the figures of a row


def test_one_seed_has_the_interval_of_its_pictures(tmp_path):
    row = statistics.row("toy", [drawn_run(tmp_path, first(90))])
    assert row.score == Spread(0.9, None, metrics.wilson(90, 100), "wilson")
    assert (row.parameters, row.multiply_adds, row.bytes, row.seconds, row.pictures_per_second) == (
        61706,
        416_520,
        1234,
        3.0,
        300.0,
    )


def test_several_seeds_have_students_interval():
    found = statistics.over_seeds([0.80, 0.82, 0.84])
    assert found.mean == pytest.approx(0.82) and found.sd == pytest.approx(0.02)
    assert found.interval == pytest.approx(
        (0.82 - 4.302653 * 0.02 / 3**0.5, 0.82 + 4.302653 * 0.02 / 3**0.5), abs=1e-7
    )  # t of 2 degrees
    assert statistics.over_seeds([0.90, 0.99]).interval[1] == 1.0


def test_a_resumed_run_counts_the_seconds_of_all_its_parts(tmp_path):
    run = drawn_run(tmp_path, first(90), seconds=100.0)
    run.append({**run.result, "seconds": {"training": 30.0, "total": 33.0}})
    assert statistics.row("toy", [run]).seconds == pytest.approx(100.0)


def test_seconds_are_all_that_a_person_waited_and_their_parts_are_columns(tmp_path):
    run = drawn_run(tmp_path, first(90))
    spent = {"data": 1.0, "features": 44.0, "training": 2.0, "evaluation": 3.0, "total": 50.5}
    run.append({**run.result, "seconds": spent})
    row = statistics.row("toy", [run])
    assert row.seconds == 50.5 and row.parts["features"] == 44.0
    assert "features 44.0" in table.parts(row)
    record = next(csv.DictReader(table.comma_separated([row]).splitlines()))
    assert float(record["seconds_features"]) == 44.0


def test_training_and_validation_scores_are_those_of_the_kept_epoch(tmp_path):
    run = drawn_run(tmp_path, first(90))
    scores = {"train_top1": 0.98, "validation_top1": 0.82, "train_loss": 0.1}
    run.append({"event": "epoch", "epoch": 3, "best": True, **scores})
    run.append({"event": "epoch", "epoch": 4, "train_top1": 1.0, "validation_top1": 0.7})
    row = statistics.row("toy", [run])
    assert (row.train_score, row.validation_score, row.train_loss) == (0.98, 0.82, 0.1)
    assert "98.00" in table.terminal([row]) and "82.00" in table.terminal([row])


def test_one_diverged_run_does_not_flatten_the_curves_of_the_others(tmp_path):
    good = drawn_run(tmp_path, first(99), name="good")
    other = drawn_run(tmp_path, first(98), name="other")
    bad = drawn_run(tmp_path, first(10), name="bad")
    rows = [statistics.row(run.name, [run]) for run in (good, other, bad)]
    axes = plots.curves(rows, plots.colours(rows), "epoch").axes[0]
    assert axes.get_ylim()[0] > 0.5
    marks = [line for line in axes.lines if line.get_marker() == "v"]
    assert len(marks) >= 1, "what lies outside is marked"


def test_a_run_without_labelled_test_pictures_is_a_row_without_a_rank(tmp_path):
    run = drawn_run(tmp_path, first(0), labels=np.full(100, -1))
    row = statistics.row("toy", [run])
    statistics.rank([row])
    assert row.score is None and row.rank is None and row.status == "done"


# ties


def test_one_seed_each_is_mc_nemars_test():
    a, b = Judged("k", first(95)), Judged("k", first(90))
    assert statistics.difference([a], [b]) == pytest.approx(
        2 * 0.5 * 0.5**5
    )  # five pictures, all for the first: mid-p
    assert statistics.difference([a], [a]) == 1.0


def test_several_seeds_are_welchs_test_with_the_pictures_as_a_part():
    a = [Judged("k", np.array([1, 1, 1, 0], bool)), Judged("k", np.array([1, 1, 0, 0], bool))]
    b = [Judged("k", np.array([1, 0, 0, 0], bool)), Judged("k", np.array([0, 0, 0, 0], bool))]
    # per picture 0.5, 1, 0.5, 0: variance 1/6, over 4 pictures 1/24; seeds (0.75, 0.5) and (0.25,
    # 0): variance 1/32, over 2 1/64 each
    variance = 1 / 24 + 1 / 64 + 1 / 64
    free = variance**2 / ((1 / 24) ** 2 / 3 + 2 * (1 / 64) ** 2)
    from scipy.stats import t

    assert statistics.difference(a, b) == pytest.approx(2 * t.sf(0.5 / variance**0.5, free))


def test_scattered_seeds_make_a_tie_that_the_pictures_alone_would_not():
    steady = [Judged("k", first(905, 1000)), Judged("k", first(905, 1000))]
    scattered = [Judged("k", first(900, 1000)), Judged("k", first(800, 1000))]
    assert statistics.difference(steady, scattered) > 0.05
    assert statistics.difference(steady, [Judged("k", first(850, 1000))] * 2) < 1e-6


def test_holms_correction():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([]) == []


def test_ranks_and_ties(tmp_path):
    rows = drawn_rows(tmp_path, 800, 950, 952, n=1000)
    statistics.rank(rows)
    assert [row.rank for row in rows] == [3, 1, 1]
    assert [row.tied_with for row in rows] == [[], ["row 2"], ["row 1"]]


def test_the_middle_one_of_three_may_be_tied_with_both_ends(tmp_path):
    rows = drawn_rows(tmp_path, 900, 905, 910, n=1000)
    statistics.rank(rows)
    assert [row.rank for row in rows] == [2, 1, 1]
    assert rows[1].tied_with == ["row 0", "row 2"]


def test_the_order_of_pictures_and_of_classes_does_not_matter(tmp_path):
    right = np.random.default_rng(0).random(50) < 0.8
    one, other = drawn_run(tmp_path, right), drawn_run(tmp_path, right)
    known = other.predictions()
    turn = np.random.default_rng(1).permutation(50)
    classes = np.array([2, 0, 1])  # the new place of each class
    p = known.probabilities[turn][:, np.argsort(classes)]
    Predictions(
        tuple(known.ids[k] for k in turn), classes[known.labels[turn]], p, ("b", "c", "a")
    ).save(other.path / "predictions.npz")
    a, b = statistics.judge(one), statistics.judge(other)
    assert a.key == b.key and (a.scores == b.scores).all()


def test_runs_judged_on_other_pictures_are_not_compared(tmp_path):
    here = statistics.row("here", [drawn_run(tmp_path, first(99))])
    there = statistics.row(
        "there", [drawn_run(tmp_path, first(50), ids=tuple(f"other/{k}" for k in range(100)))]
    )
    statistics.rank([here, there])
    assert (
        (here.rank, there.rank) == (1, 1)
        and (here.test, there.test) == ("A", "B")
        and not here.tied_with
    )
    assert any("different test images" in note for note in statistics.notes([here, there]))
    assert compare.sentence([here, there]) == ""


# what is compared


def test_every_recipe_with_every_seed():
    found = compare.members(
        ["lenet5", "digits_cnn"], data="digits", seeds=2, budget="60s", settings=["optim.lr=0.01"]
    )
    assert [str(member) for member in found] == [
        "lenet5, seed 0",
        "lenet5, seed 1",
        "digits_cnn, seed 0",
        "digits_cnn, seed 1",
    ]
    assert all(
        m.recipe.data.source == "digits"
        and m.recipe.training.budget == 60
        and m.recipe.optim.lr == 0.01
        for m in found
    )


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        (["model.name=lenet5,dropout_cnn"], ["lenet5", "dropout_cnn"]),
        (["optim.lr=0.1,0.2", "training.batch=8"], ["optim.lr=0.1", "optim.lr=0.2"]),
        (
            ["model.name=a,b", "optim.lr=1,2"],
            ["a optim.lr=1", "a optim.lr=2", "b optim.lr=1", "b optim.lr=2"],
        ),
        (["augment.brightness=0.8,1.2"], ["lenet5"]),  # a pair is one value
        (["data.source=a,b"], ["lenet5"]),  # so is a path
    ],
)
def test_several_values_are_several_rows(settings, rows):
    assert list(compare.grouped(compare.members(["lenet5"], settings=settings))) == rows


def test_the_arguments_of_a_member_make_its_recipe():
    from eyesight.runs import resolve

    member = compare.members(
        ["lenet5"], data="digits", settings=["model.name=lenet5,dropout_cnn"], seeds=2, budget="1m"
    )[3]
    settings = [
        argument.removeprefix("--set=")
        for argument in member.arguments
        if argument.startswith("--set=")
    ]
    assert (
        resolve(member.arguments[0], *settings, data="digits") == member.recipe
        and member.recipe.training.seed == 1
    )


@pytest.mark.parametrize(
    "wrong", [{"names": ["lenet6"]}, {"names": ["lenet5"], "seeds": 0}, {"names": ["./no/run"]}]
)
def test_what_is_not_there_is_refused_at_once(wrong):
    with pytest.raises(UserError):
        compare.members(**wrong)


# reuse


def never(members, out):
    assert not members, "nothing was to be trained"
    return iter(())


def lenet(seed=0):
    return replace(find("lenet5"), data=Data("nowhere"), training=Training(seed=seed))


def member(seed=0):
    return Member("lenet5", lenet(seed), ("lenet5",))


def test_a_finished_run_of_the_same_recipe_is_used_again(tmp_path):
    drawn_run(tmp_path, first(90), recipe=replace(lenet(0), result="words that decide nothing"))
    drawn_run(tmp_path, first(80), recipe=replace(lenet(0), training=Training(seed=0, batch=7)))
    found = compare.compare([member(0)], tmp_path, train=never)
    assert (found.trained, found.reused, found.failed) == (0, 1, 0) and found.rows[
        0
    ].score.mean == 0.9


def test_only_what_is_missing_is_trained_and_failures_are_rows(tmp_path):
    drawn_run(tmp_path, first(90), recipe=lenet(0))

    def train(members, out):
        assert [one.recipe.training.seed for one in members] == [1, 2]
        yield members[0], drawn_run(out, first(92), recipe=members[0].recipe)
        yield members[1], "it was killed by SIGSEGV"

    said = []
    found = compare.compare(
        [member(0), member(1), member(2)], tmp_path, train=train, talk=said.append
    )
    row = found.rows[0]
    assert (found.trained, found.reused, found.failed) == (1, 1, 1)
    assert (row.status, row.seeds, row.score.mean) == ("partial", 2, 0.91)
    assert row.reason == "1 of 3 are missing: it was killed by SIGSEGV"
    assert (
        any(line.startswith("[1/2] lenet5, seed 1: 92.00") for line in said) and "left" in said[-2]
    )


def test_a_run_of_pictures_that_have_changed_is_not_used_again(tmp_path):
    run = drawn_run(tmp_path, first(90), recipe=lenet(0))
    run.write_json("data.json", {"store": "before"})
    assert compare.at_hand(member(0), tmp_path, {lenet().data: "before"}).path == run.path
    assert compare.at_hand(member(0), tmp_path, {lenet().data: "now"}) is None


def test_a_run_that_another_process_trains_is_waited_for(tmp_path):
    run = Run.create(tmp_path, "lenet5")
    run.write_json("recipe.json", recipes.to_dict(lenet(0)))
    with run.hold():
        found = compare.compare([member(0)], tmp_path, train=never)
    assert found.rows[0].status == "running"


def test_a_given_run_is_taken_as_it_is(tmp_path):
    done = drawn_run(tmp_path, first(90))
    failed = Run.create(tmp_path, "toy")
    failed.write_json("recipe.json", recipes.to_dict(Recipe()))
    failed.append({"event": "failed", "message": "the loss was NaN or infinite"})
    found = compare.compare(
        compare.members([str(done.path), str(failed.path)], seeds=3), tmp_path, train=never
    )
    assert [row.status for row in found.rows] == ["done", "failed"]
    assert "NaN or infinite" in found.rows[1].reason


def test_runs_of_one_name_from_two_folders_are_two_rows(tmp_path):
    good, bad = (
        drawn_run(tmp_path / place, first(count)) for place, count in (("here", 90), ("there", 40))
    )
    assert good.name == bad.name
    found = compare.compare(compare.members([str(good.path), str(bad.path)]), tmp_path, train=never)
    assert [(row.name, row.seeds, row.score.mean) for row in found.rows] == [
        (str(good.path), 1, 0.9),
        (str(bad.path), 1, 0.4),
    ]


def test_how_a_process_died():
    assert (
        child.outcome(-9, "", "a\nlast words\n")
        == "it was killed by SIGKILL, probably because it ran out of memory: last words"
    )
    assert (
        child.outcome(1, json.dumps({"error": "no data", "hint": "give some"}), "")
        == "no data (give some)"
    )
    assert child.outcome(3, "garbage", "") == "it ended with exit code 3: no reason was given"


# tables and the page


def drawn_comparison(parent, name="good"):
    rows = [
        statistics.row(
            name, [drawn_run(parent, first(97), seconds=4.0), drawn_run(parent, first(96), seed=1)]
        ),
        statistics.row(
            "better | half",
            [drawn_run(parent, first(99), seconds=9.0)],
            ["it was killed by SIGKILL"],
        ),
        statistics.row("bad", [], [f"no weights {EVIL}"]),
    ]
    statistics.rank(rows)
    return compare.Comparison(rows, 1, 2, 2)


def test_sorted_as_asked_with_failures_last(tmp_path):
    rows = drawn_comparison(tmp_path).rows
    assert [row.name for row in table.ordered(rows)] == ["better | half", "good", "bad"]
    assert [row.name for row in table.ordered(rows, "seconds")] == ["good", "better | half", "bad"]
    with pytest.raises(UserError, match="column"):
        table.check("acuracy", "table")
    with pytest.raises(UserError, match="format"):
        table.check("accuracy", "yaml")


def test_terminal_table_is_aligned_and_says_why(tmp_path):
    rows = drawn_comparison(tmp_path).rows
    lines = table.terminal(rows).splitlines()
    assert "96.50 ± 0.71" in lines[1] and "1=" in lines[1]
    assert lines[1].index("96.50") < lines[0].index("95 %") and len(lines[0]) == len(lines[1])
    assert "1 of 2 are missing: it was killed by SIGKILL" in lines[4]
    assert lines[5].endswith(f"failed: no weights {EVIL}")


def test_csv_and_markdown(tmp_path):
    rows = drawn_comparison(tmp_path).rows
    read = list(csv.DictReader(table.comma_separated(rows).splitlines()))
    assert (
        float(read[0]["accuracy"]) == 0.965
        and read[0]["tied_with"] == "better | half"
        and read[2]["accuracy"] == ""
    )
    text = table.markdown(rows).splitlines()
    assert len({line.replace("\\|", "").count("|") for line in text}) == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (12, "12"),
        (416_520, "417 k"),
        (999_900, "1.00 M"),
        (24_140_000, "24.1 M"),
        (1_352e6, "1.35 G"),
    ],
)
def test_large_numbers_in_short(value, words):
    assert table.short(value) == words


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.scripts, self.addresses = 0, []

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href")]


def test_the_page_stands_alone_and_names_never_become_markup(tmp_path):
    place = tmp_path / "comparison-x"
    page = compare.write(
        drawn_comparison(tmp_path, name=EVIL), place, command=f"eyesight compare {EVIL}"
    )
    text = page.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.scripts == 1 and EVIL not in text
    assert all(address.startswith(("#", "../000")) for address in reader.addresses)
    assert text.count("<svg") == 4 and "1 of 2 are missing" in text
    assert sorted(path.name for path in place.iterdir()) == [
        "comparison.json",
        "index.html",
        "table.csv",
        "table.md",
    ]
    assert json.loads((place / "comparison.json").read_text())["rows"][0]["top1"]["mean"] == 0.99


def test_a_comparison_of_nothing_but_failures_has_a_page(tmp_path):
    rows = [statistics.row("bad", [], ["no data"])]
    statistics.rank(rows)
    assert "no data" in compare.write(compare.Comparison(rows, 0, 0, 1), tmp_path / "c").read_text(
        encoding="utf-8"
    )


def test_the_same_members_have_the_same_folder(tmp_path):
    one = compare.folder([member(0), member(1)], ["lenet5"], tmp_path)
    assert one == compare.folder([member(1), member(0)], ["lenet5"], tmp_path)
    assert one != compare.folder([member(0)], ["lenet5"], tmp_path) and one.name.startswith(
        "comparison-lenet5-"
    )


def test_names_in_the_figure_overlap_nothing():
    random = np.random.default_rng(0)
    rows = [
        Row(f"network number {k}", "done", runs=[Run(".")], seconds=float(random.uniform(50, 60)))
        for k in range(12)
    ]
    for row in rows:
        share = float(random.uniform(0.98, 0.99))
        row.score = Spread(share, 0.001, (share - 0.001, share + 0.001), "student")
    figure = plots.costs(rows, plots.colours(rows), "seconds", "seconds")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [
        text
        for text in figure.findobj(Text)
        if text.get_text().startswith("network") and text.get_visible()
    ]
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in texts]
    assert len(boxes) >= 8
    assert not any(box.count_overlaps(boxes[:place]) for place, box in enumerate(boxes))


def test_heights_are_spread_within_their_place():
    found = plots.spread([0.99, 0.98, 0.97, 0.02, 0.01], 0.05)
    assert (
        all(a - b >= 0.05 - 1e-9 for a, b in pairwise(found))
        and max(found) <= 1
        and min(found) >= 0
    )
    assert len(plots.spread([0.5] * 40, 0.05)) == 40


# the whole of it


CALL = """
import sys
sys.argv = ["eyesight", *sys.argv[1:]]
from eyesight.cli.main import main
try:
    main()
finally:
    sys.stderr.write("torch" if "torch" in sys.modules else "light")
"""


def test_an_unfinished_training_goes_on_in_a_process_of_its_own(tmp_path, monkeypatch):
    done = drawn_run(tmp_path, first(90))
    commands = []

    def ended(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, json.dumps({"run": str(done.path)}), "")

    monkeypatch.setattr(subprocess, "run", ended)
    found = compare.members(["lenet5"], data="digits", budget="60s")
    assert child.train(found[0].arguments, tmp_path).path == done.path
    assert commands[0][0] == sys.executable and commands[0][3:5] == ["train", "lenet5"]
    assert {"--resume", f"--out={tmp_path}", "--data=digits", "--set=training.budget=60s"} <= set(
        commands[0]
    )


def test_a_training_that_fails_says_why(tmp_path):
    assert child.train(("lenet6",), tmp_path).startswith(
        "unknown recipe 'lenet6' (did you mean lenet5"
    )


def test_trains_what_is_missing_and_the_second_call_trains_nothing(tmp_path):
    pixels, labels = drawn.pictures(60, size=28)
    np.savez(
        tmp_path / "shapes.npz",
        x_train=pixels[:40, 0],
        y_train=labels[:40],
        x_test=pixels[40:, 0],
        y_test=labels[40:],
    )
    call = ["compare", "lenet5", "--data", "shapes.npz", "--set", "training.epochs=1", "--json"]
    answers = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", CALL, *call],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 and done.stderr.endswith("light"), done.stderr
        answers.append(json.loads(done.stdout))
    row = answers[0]["rows"][0]
    assert (row["status"], answers[0]["trained"], answers[0]["reused"], answers[0]["failed"]) == (
        "done",
        1,
        0,
        0,
    )
    assert (
        row["parameters"] == 61111
        and row["multiply_adds"] > 400_000
        and row["bytes"] > 200_000
        and row["pictures_per_second"] > 0
    )
    assert (answers[1]["trained"], answers[1]["reused"], answers[1]["failed"]) == (0, 1, 0)
    assert answers[1]["rows"] == answers[0]["rows"] and (tmp_path / answers[1]["page"]).is_file()


def test_a_comparison_whose_rows_all_failed_ends_with_1(tmp_path, monkeypatch):
    monkeypatch.setenv("EYESIGHT_CACHE", str(tmp_path / "cache"))
    failed = Run.create(tmp_path / "runs", "toy")
    failed.write_json("recipe.json", recipes.to_dict(Recipe()))
    failed.append({"event": "failed", "message": "the loss was NaN or infinite"})
    call = ["compare", str(failed.path), "--out", str(tmp_path / "runs")]
    from typer.testing import CliRunner

    from eyesight.cli.main import app

    answer = CliRunner().invoke(app, call)
    assert answer.exit_code == 1 and "NaN or infinite" in answer.stdout
