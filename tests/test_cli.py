import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import drawn
import pytest
import typer
from commands import command
from PIL import Image

import eyesight
from eyesight.cli import main, training
from eyesight.inference.predict import FilePrediction, file_ids, write_submission

# What people have in their scripts: a flag is added here on purpose, and never removed.
FLAGS = {
    "audit": {"--all", "--budget", "--corrections", "--groups", "--json", "--set"},
    "blend": {"--equal", "--json", "--out"},
    "search": {
        "--space",
        "--data",
        "--set",
        "--budget",
        "--seed",
        "--out",
        "--resume",
        "--json",
    },
    "distil": {
        "--to",
        "--size",
        "--latency",
        "--unlabelled",
        "--temperature",
        "--set",
        "--budget",
        "--seed",
        "--out",
        "--json",
    },
    "augment": {"--data", "--json", "--out", "--seed", "--set"},
    "cache": {"--clean", "--downloads", "--json", "--limit"},
    "compare": {
        "--budget",
        "--cores",
        "--data",
        "--format",
        "--gpus",
        "--json",
        "--memory",
        "--on",
        "--out",
        "--seeds",
        "--set",
        "--sort",
    },
    "corrections": {"--json", "--out"},
    "data": {"--json", "--set", "--strict"},
    "doctor": {"--data", "--json", "--set"},
    "evaluate": {"--data", "--json"},
    "folds": {"--json", "--like"},
    "export": {
        "--data",
        "--int8",
        "--json",
        "--only",
        "--out",
        "--title",
        "--to",
        "--tolerance",
        "--unproven",
        "--weights",
    },
    "models": {"--json", "--measure", "--out"},
    "predict": {
        "--cores",
        "--digits",
        "--draw",
        "--explain",
        "--gpus",
        "--json",
        "--like",
        "--memory",
        "--on",
        "--only",
        "--out",
        "--prepare",
        "--sure",
        "--top",
        "--unfamiliar",
        "--views",
        "--weights",
    },
    "recipes": {"--json"},
    "report": {"--out"},
    "serve": {"--collect", "--host", "--only", "--open", "--port", "--token"},
    "review": {
        "--budget",
        "--corrections",
        "--host",
        "--open",
        "--port",
        "--set",
        "--token",
        "--who",
    },
    "show": {"--data", "--json", "--layers", "--set"},
    "studio": {"--folder", "--open", "--port", "--share", "--token"},
    "train": {
        "--budget",
        "--corrections",
        "--data",
        "--every",
        "--extra",
        "--folds",
        "--fresh",
        "--json",
        "--out",
        "--processes",
        "--resume",
        "--seed",
        "--set",
        "--strict",
        "--track",
    },
}


def test_the_flags_are_frozen():
    commands = typer.main.get_command(main.app).commands
    flags = {
        name: {
            option
            for parameter in command.params
            for option in parameter.opts
            if option.startswith("--")
        }
        - {"--help"}
        for name, command in commands.items()
    }
    assert flags == FLAGS


def test_the_help_lists_the_commands_in_the_order_of_use():
    commands = list(typer.main.get_command(main.app).commands)
    assert commands == main.ORDER
    lines = [line.split() for line in command("--help").out.splitlines()]
    listed = [line[0] for line in lines if line and line[0] in commands]
    assert listed == main.ORDER


def test_no_line_of_the_help_is_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = command("--help").out.splitlines()
    assert not [line for line in lines[1:] if line.endswith("...")]


@pytest.mark.parametrize("name", main.ORDER)
def test_the_help_names_arguments_and_values_without_their_types(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = command(name, "--help").out
    assert not re.search(r"<\w|\.\.\.[\]}]?\.\.\.|\[\[|\{", text), text


@pytest.mark.parametrize(
    ("name", "way_on"),
    [
        ("train", "stopped; repeat the command with --resume to continue from the last checkpoint"),
        ("search", "stopped; repeat the command with --resume to continue"),
        ("compare", "stopped; repeat the command to continue"),
        ("distil", "stopped"),
    ],
)
def test_after_an_interruption_the_hint_suits_the_command(name, way_on, monkeypatch):
    monkeypatch.setattr(main, "app", lambda standalone_mode: main.INTERRUPTED)
    assert command(name, "x", code=1).err.strip() == way_on
    flags = FLAGS.get(name, set())
    assert ("--resume" in way_on) <= ("--resume" in flags)


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "nosuch"),
        ("review", "nosuch"),
        ("doctor", "lenet5", "--data", "nosuch"),
        ("search", "lenet5", "--space", "optim.lr=0.1,0.2", "--data", "nosuch", "--budget", "1m"),
    ],
)
def test_data_that_does_not_exist_is_said_first(arguments, tmp_path):
    said = command(*arguments, code=1, folder=tmp_path).err.splitlines()
    assert said[0] == "error: nosuch does not exist" and said[1].startswith("hint: named sets are")
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_is_no_classifier_before_it_is_trained(tmp_path):
    said = command("export", "lenet5", code=2, folder=tmp_path).err
    assert "lenet5 is a recipe, which has no classifier before it is trained" in said
    assert "hint: train it with `eyesight train lenet5`" in said


def test_the_version_is_printed():
    assert command("--version").out.strip() == eyesight.__version__


def program(*arguments, code=0, folder=None, **environment):
    """The command in a process of its own, which takes seconds to import what it needs."""
    line = [sys.executable, "-m", "eyesight", *map(str, arguments)]
    done = subprocess.run(
        line,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
        env={**os.environ, **environment},
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of somebody's digits-like shapes, of another size, with broken files among them, and
    a run of `digits` on it.
    """
    root = tmp_path_factory.mktemp("trained")
    monkey = pytest.MonkeyPatch()
    monkey.setenv("EYESIGHT_CACHE", str(root / "cache"))
    drawn.folder(root / "pictures", 120, size=40)
    (root / "pictures" / "ring" / "text.jpg").write_text("not a picture")
    (root / "pictures" / "ring" / "empty.png").write_bytes(b"")
    said = command(
        "train",
        "digits",
        "--data",
        root / "pictures",
        "--set",
        "training.min_steps=120",
        "--json",
        folder=root,
        figures=True,
    )
    yield root, json.loads(said.out), said.err
    monkey.undo()


def test_training_on_somebody_elses_pictures(trained):
    root, found, talk = trained
    assert set(found) >= {"run", "report", "parameters", "seconds", "parts", "test"}
    assert found["parts"]["report"] > 0
    assert found["seconds"] > sum(found["parts"].values()) - 0.01  # what a person waited for
    assert found["test"]["n"] == 24
    assert found["test"]["top1"] > 0.7
    assert (root / found["report"]).is_file()
    assert {path.name for path in (root / found["run"] / "figures").iterdir()} >= {
        "curves.png",
        "samples.png",
        "confusion.png",
    }
    assert "ring/text.jpg" in talk
    assert "ring/empty.png" in talk


def test_predict_says_what_the_test_predictions_said(trained, monkeypatch):
    root, found, _ = trained
    from eyesight.runs import Run

    test = Run.open(root / found["run"]).predictions()
    files = [root / "pictures" / name for name in test.ids]
    answers = json.loads(command("predict", root / found["run"], *files, "--json").out)[
        "predictions"
    ]
    for answer, said, sure in zip(answers, test.predicted, test.confidence, strict=True):
        assert answer["top"][0]["class"] == test.classes[said]
        assert answer["top"][0]["probability"] == pytest.approx(float(sure), abs=1e-4)
    assert [Path(answer["path"]) for answer in answers] == files


def test_the_competition_table_keeps_order_and_names_bad_files(trained, tmp_path):
    root, found, _ = trained
    folder = tmp_path / "unlabelled"
    folder.mkdir()
    pixels, _ = drawn.pictures(4, size=40)
    for number, picture in enumerate(pixels):
        (folder / f"{number + 8}.png").write_bytes(drawn.png(picture[0]))
    (folder / "9.png").write_bytes(b"broken")
    said = command(
        "predict", root / found["run"], folder, "--out", tmp_path / "submission.csv", code=1
    )
    rows = list(csv.reader((tmp_path / "submission.csv").read_text().splitlines()))
    assert rows[0] == ["id", "target"]
    assert [row[0] for row in rows[1:]] == ["8", "9", "10", "11"]
    assert rows[2][1] == "" and all(row[1] in drawn.SHAPES for row in (rows[1], rows[3], rows[4]))
    assert "9.png" in said.err


def test_the_competition_table_takes_any_file_name(tmp_path):
    answers = [
        FilePrediction("a/x.png", (("cat, or dog", 0.9),)),
        FilePrediction("b/x.png", (("ring", 0.9),)),
        FilePrediction("b/\udcff.png", (("bar", 0.9),)),
    ]
    write_submission(answers, tmp_path / "new" / "submission.csv")
    rows = list(csv.reader((tmp_path / "new" / "submission.csv").read_text("utf-8").splitlines()))
    assert rows == [["id", "target"], ["a/x", "cat, or dog"], ["b/x", "ring"], [r"b/\udcff", "bar"]]


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (["t/10.png", "t/s/2.png"], ["10", "2"]),
        (["t/2.png", "t/s/2.png"], ["2", "s/2"]),
        (["/t/2.png", "/t/2.jpg"], ["2.png", "2.jpg"]),
        (["2.png", str(Path("s/2.png").absolute())], ["2", "s/2"]),
        (["t/2.png", "t/2.png"], ["2.png", "2.png"]),
        ([], []),
    ],
)
def test_ids_are_file_names_and_no_more_of_a_path_than_tells_them_apart(paths, named):
    assert file_ids([Path(path) for path in paths]) == named


def test_ids_of_pictures_on_two_drives(monkeypatch):
    def refused(paths):
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(os.path, "commonpath", refused)
    assert file_ids([Path("c/1.png"), Path("d/2.png")]) == ["1", "2"]
    assert file_ids([Path("c/1.png"), Path("d/1.png")]) == ["c/1.png", "d/1.png"]


def test_evaluate_show_and_report(trained):
    root, found, _ = trained
    folder = root / found["run"]
    judged = json.loads(command("evaluate", folder, "--json").out)
    assert judged["top1"] == found["test"]["top1"]
    assert [row["name"] for row in judged["per_class"]] == list(drawn.SHAPES)
    assert "95 % interval" in command("evaluate", folder).out
    shown = json.loads(command("show", folder, "--json").out)
    assert (
        shown["parameters"]
        == found["parameters"]
        == sum(row["parameters"] for row in shown["layers"])
    )
    assert command("report", folder).out.strip().endswith("report.html")


def test_show_prints_every_layer_and_the_total():
    lines = command("show", "lenet5").out.splitlines()
    assert any(
        line.split() == ["body.3", "Conv2d", "5×5", "16×10×10", "2,416", "240,000"]
        for line in lines
    )
    assert lines[-1].split()[-3:] == ["10", "61,706", "416,520"]
    place = lines.index("optim.name = adam")
    assert lines[place : place + 2] == ["optim.name = adam", "optim.lr = 0.005"]
    assert "training.batch = 128" in lines


def test_show_knows_pretrained_networks_by_name():
    lines = command("show", "test_resnet").out.splitlines()
    assert lines[0].startswith("preprocessing of the weights: 160×160")
    assert any("Conv2d" in line and "stride 2, padding 1" in line for line in lines)
    assert lines[-1].split()[:4] == ["total", "from", "3×160×160", "1000"]
    shown = json.loads(command("show", "MobileNetV2", "--json").out)
    assert shown["parameters"] == 3_504_872 and "recipe" not in shown
    refused = command("show", "test_resnet", "--set", "data.size=64", code=2).err
    assert "objects_transfer --set model.name=test_resnet" in refused
    assert "unknown recipe 'tset_resnet'" in command("show", "tset_resnet", code=2).err


def test_show_counts_the_layers_of_a_line_as_the_textbook_does():
    lines = command("show", "--layers", "256x256x3 conv3x64/2 conv5x128/2").out.splitlines()
    first, second, total = lines[1:]
    assert first.split()[-3] == f"{28 * 64:,}" and first.split()[-1] == f"{128 * 128 * 28 * 64:,}"
    assert second.split()[-1] == f"{64 * 64 * 1601 * 128:,}"
    assert "128×64×64" in total
    assert "--layers" in command("show", code=2).err
    assert json.loads(command("show", "lenet5", "--json").out)["parameters"] == 61706


def test_data_names_every_problem(tmp_path):
    folder = drawn.folder(tmp_path / "pictures", 9)
    (folder / "bar" / "text.jpg").write_text("hello")
    (folder / "ring" / "empty.png").write_bytes(b"")
    (folder / "cross" / "copy.png").write_bytes((folder / "cross" / "0001.png").read_bytes())
    Image.new("CMYK", (16, 16)).save(folder / "bar" / "cmyk.jpg")
    (folder / ".hidden").mkdir()
    kinds = {
        problem["id"]: problem["kind"]
        for problem in json.loads(command("data", folder, "--json").out)["problems"]
    }
    assert kinds == {
        "bar/text.jpg": "unreadable",
        "ring/empty.png": "empty",
        "cross/copy.png": "duplicate",
        "bar/cmyk.jpg": "cmyk",
    }
    assert "cross/copy.png" in command("data", folder).out
    assert "bad files" in command("data", folder, "--strict", code=1).err
    json.loads(command("data", folder, "--strict", "--json", code=1).out)


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (["train", "lenet"], 2, "did you mean lenet5"),
        (["train", "lenet5", "--set", "optim.lrr=1"], 2, "did you mean optim.lr"),
        (["train", "lenet5", "--set", "optim.learning_rate=1"], 2, "did you mean optim.lr?"),
        (["train", "lenet5", "--set", "optim.lr=fast"], 2, "optim.lr must be a number"),
        (["train", "lenet5", "--budget", "soon"], 2, "cannot read the duration"),
        (["train", "lenet5", "--data", "nowhere"], 1, "nowhere does not exist"),
        (["evaluate", "nowhere"], 1, "there is no run at nowhere"),
        (
            ["train", "lenet5", "--set", "training.batch=0"],
            2,
            "training.batch must be an integer from 1",
        ),
        (["train", "lenet5", "--set", "data.size=-3"], 2, "data.size must be an integer from 0"),
        (["nonsense"], 2, "No such command"),
        (["train"], 2, "Missing argument"),
    ],
)
def test_mistakes_are_answered_with_a_way_out(arguments, code, said, tmp_path):
    assert said in command(*arguments, code=code, folder=tmp_path).err


# PyTorch takes seconds to load, and far longer the first time.
MISTAKEN = """
import sys
sys.modules["torch"] = None
from eyesight.cli import main
for line in (
    "train lenet5 --data nowhere",
    "predict runs/7 tests/__init__.py",
    "predict runs/7 nowhere.png",
    "doctor runs/7",
    "export runs/7 --to webb",
    "train auto --data nowhere --budget 1m",
    "search lenet5 --data nowhere --space optim.lr=1,2 --budget 1m",
    "compare lenet5 digits --data nowhere",
    "audit nowhere",
    "review nowhere",
    "blend runs/7 runs/8",
    "distil runs/7 --to digits",
    "predict lenet5 tests",
    "evaluate lenet5",
    "train lenet5 tests",
):
    sys.argv = ["eyesight", *line.split()]
    try:
        main.main()
    except SystemExit:
        pass
"""


def test_a_mistyped_path_is_reported_before_pytorch_is_loaded(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", MISTAKEN], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert said == [
        "error: nowhere does not exist",
        "error: there is no run at runs/7",
        "error: nowhere.png does not exist",
        "error: there is no run at runs/7",
        "error: unknown format 'webb'",
        *["error: nowhere does not exist"] * 5,
        *["error: there is no run at runs/7"] * 2,
        *["error: lenet5 is a recipe, which has no classifier before it is trained"] * 2,
        "error: unexpected argument tests",
    ]


def test_a_training_that_exceeds_its_budget_says_so():
    assert training.time_taken(290.0, 300.0) == "290.0 s"
    assert training.time_taken(992.5, None) == "992.5 s"
    assert "over the budget of 300 s" in training.time_taken(992.5, 300.0)


def test_a_training_that_exceeds_its_budget_says_so_beside_json(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "waited", lambda: 992.5)
    data = drawn.folder(tmp_path / "set", 36)
    asked = ("train", "digits", "--data", data, "--budget", "20s", "--json")
    said = command(*asked, "--set", "training.max_epochs=1", folder=tmp_path)
    assert json.loads(said.out)["seconds"] == 992.5
    assert "the training took 992.5 s, over the budget of 20 s" in said.err


def test_an_empty_folder_and_a_single_class_say_what_was_found(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty" in command("train", "lenet5", "--data", tmp_path / "empty", code=1).err
    drawn.folder(tmp_path / "one", 6)
    for name in ("bar", "ring"):
        for file in (tmp_path / "one" / name).iterdir():
            file.unlink()
        (tmp_path / "one" / name).rmdir()
    assert "cross" in command("train", "lenet5", "--data", tmp_path / "one", code=1).err


def test_errors_are_one_json_object_too():
    assert "did you mean" in json.loads(program("train", "lenet", "--json", code=2).stdout)["hint"]


def test_a_terminal_that_knows_few_characters_is_served_all_the_same():
    assert r"99.53 \xb1" in program("recipes", PYTHONIOENCODING="ascii").stdout
    found = json.loads(program("recipes", "--json", PYTHONIOENCODING="ascii").stdout)["recipes"]
    assert any("99.53 ±" in recipe["result"] for recipe in found)


def test_recipes_are_listed_with_their_systems():
    found = json.loads(command("recipes", "--json").out)["recipes"]
    assert {recipe["name"]: recipe["system"] for recipe in found}["lenet5_published"] == "B1"
    assert all(set(recipe) == {"name", "summary", "system", "source", "result"} for recipe in found)


def test_a_process_ends_with_the_code_of_its_command_after_everything_is_written():
    """Also where it ends without taking every object apart."""
    program = (
        "import atexit, sys\n"
        "from os import write\n"
        "from eyesight.cli import main\n"
        "class Slow:\n"
        "    def __del__(self, write=write):\n"
        "        write(2, b'taken apart')\n"
        "kept = Slow()\n"
        "main.open_streams = lambda: atexit.register(write, 2, b'a handler of a library')\n"
        "sys.argv = ['eyesight', *sys.argv[1:]]\n"
        "main.process()\n"
    )
    ended = [
        subprocess.run([sys.executable, "-c", program, *asked], capture_output=True, text=True)
        for asked in (["recipes"], ["nosuch"])
    ]
    assert [end.returncode for end in ended] == [0, 2]
    assert "a handler of a library" in ended[0].stderr
    assert "taken apart" not in ended[0].stderr
    assert "nosuch" in ended[1].stderr


def test_a_mistyped_folder_is_hinted_at_and_images_are_not_taken_for_a_run(tmp_path):
    drawn.folder(tmp_path / "my_photos", 6)
    said = command("train", "folder", "--data", "my_phots", code=1, folder=tmp_path).err
    assert "did you mean my_photos?" in said
    said = command("evaluate", "my_photos", code=1, folder=tmp_path).err
    assert "eyesight train folder --data my_photos" in said
    for given, meant in (
        ("train folder --budget 9m my_photos", "train folder --budget 9m --data my_photos"),
        ("train folder my_photos --budget 9m", "train folder --data my_photos --budget 9m"),
        ("evaluate runs/1 my_photos", "evaluate runs/1 --data my_photos"),
        ("doctor folder my_photos", "doctor folder --data my_photos"),
    ):
        said = " ".join(command(*given.split(), code=2, folder=tmp_path).err.split())
        assert "unexpected argument my_photos" in said and f"`eyesight {meant}`" in said
    said = command("data", "my_photos", "more", code=2, folder=tmp_path).err
    assert "unexpected argument more" in said and "eyesight data --help" in said


@pytest.mark.parametrize("name", ["evaluate", "predict", "doctor", "compare", "report"])
def test_a_run_is_no_data_set_and_a_recipe_no_run(trained, name, tmp_path):
    root = trained[0]
    run = root / trained[1]["run"]
    if name in ("evaluate", "compare", "doctor"):
        said = command(name, run, "--data", run, code=2, folder=tmp_path).err
        assert "is a run, not a data set" in said and "it was trained on" in said
    if name in ("evaluate", "predict", "report"):
        said = command(name, "lenet5", *[root] * (name == "predict"), code=2, folder=tmp_path).err
        assert "lenet5 is a recipe, which has no classifier" in said
