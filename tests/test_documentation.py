"""The documentation: examples and the notebook run. `make docs` builds the site."""

import ast
import os
import re
import sys
from pathlib import Path

import drawn
import numpy as np
import pytest

import eyesight
from eyesight.models import weights, zoo
from eyesight.recipes.folder import PREFERRED

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md"])
BLOCK = re.compile(r"^( *)```(python|py)\b([^\n]*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
LARGEST = 200_000  # characters of one output
LINES = 60


def examples(page):
    """(language, title, code) of every example of a page."""
    for indent, language, options, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        lines = [line.removeprefix(indent) for line in code.splitlines()]
        title = re.search(r'title="([^"]+)"', options)
        yield language, title and title[1], "\n".join(lines)


def with_examples():
    return [page for page in PAGES if any(kind == "python" for kind, *_ in examples(page))]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with everything that the examples name."""
    root = tmp_path_factory.mktemp("examples")
    drawn.folder(root / "photos", 45, 28)
    drawn.folder(root / "my_images", 60, 28)
    drawn.folder(root / "flowers", 45, 64)
    pixels, _ = drawn.pictures(1, 28)
    for name in ("photo.png", "digit.png", "seven.png"):
        (root / name).write_bytes(drawn.png(pixels[0, 0]))
    sys.path.insert(0, str(Path(__file__).parent))
    from portables import by_brightness

    by_brightness(root / "digits.onnx", 28)
    own = next(code for _, title, code in examples(ROOT / "docs/own-networks.md") if title)
    (root / "my_net.py").write_text(own, encoding="utf-8")
    return root


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_is_python(page):
    for _, _, code in examples(page):
        assert ast.parse(code.replace("[...]", "[]")).body
        assert {*re.findall(r"\beyesight\.([a-z]\w*)\(", code)} <= {*eyesight.__all__}


# What takes time in the examples and the notebook, and what is as good to see that they run.
SHORTER = (
    (r"""epochs("?[=:] ?\[?)\d+""", r"epochs\g<1>1"),
    (r":1200\]", ":200]"),
    (r"\[1200:\]", "[1200:1300]"),
    (r":600\]", ":120]"),
    (r"600:900", "600:650"),
    (r"budget=600", "budget=30"),
    (r'budget="10s"', 'budget="300s", set={"training.max_epochs": 1}'),
    (r'export\(run, "photos', 'export(second, "photos'),
    (r'("folder", data="photos", set=\{)', r'\g<1>"data.size": 64, '),
)


def shorter(code):
    """The same code with fewer epochs and images."""
    for pattern, replacement in SHORTER:
        code = re.sub(pattern, replacement, code)
    return code


@pytest.mark.whole
@pytest.mark.filterwarnings("default")  # of the libraries that the examples import
@pytest.mark.parametrize("page", with_examples(), ids=lambda page: page.name)
def test_the_examples_of_a_page_run(page, place, tmp_path, monkeypatch):
    needs_weights = 'train("folder"' in page.read_text(encoding="utf-8")
    if needs_weights and not any(weights.at_hand(zoo.timm_name(name)) for name in PREFERRED):
        pytest.skip("the recipe folder needs pretrained weights")
    for file in place.iterdir():
        (tmp_path / file.name).symlink_to(file)
    code = [code for kind, title, code in examples(page) if kind == "python" and not title]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_net", raising=False)
    names = {"__name__": "__main__"}
    exec(compile(shorter("\n".join(code)), page.name, "exec"), names)
    assert set(names) - {"__name__", "__builtins__"}, "the examples define something"


def outputs(notebook):
    for cell in notebook.cells:
        yield from cell.get("outputs", ())


@pytest.mark.whole
@pytest.mark.filterwarnings("default")  # of the kernel's libraries
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(ROOT / "docs/notebook.ipynb", as_version=4)
    assert not any(outputs(notebook)), "nothing generated is committed"
    for cell in notebook.cells:
        cell.source = shorter(cell.source)
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    texts = []
    for output in outputs(notebook):
        data = output.get("data", {"text/plain": output.get("text", "")})
        assert output.output_type != "error" and output.get("name") != "stderr", output
        assert max(len(text) for text in data.values()) < LARGEST
        assert data["text/plain"].count("\n") < LINES
        texts.append(data.get("text/html", ""))
    pages = [text for text in texts if text]
    assert len(pages) >= 7
    training = notebook.cells[3].outputs
    assert len(training) == 1 and "<svg" in training[0].data["text/html"]
    assert "data:image/png" in "".join(pages)
    if folder := os.environ.get("EYESIGHT_KEEP_NOTEBOOK"):
        Path(folder, "notebook.html").write_text("\n".join(pages), encoding="utf-8")


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    missing = [
        page.name for page in PAGES if page.parent.name == "docs" and page.name not in navigation
    ]
    assert missing == []


def test_the_tests_that_the_pages_name_exist():
    named = []
    for page in PAGES:
        named += re.findall(r"(tests/\w+\.py)::(\w+)", page.read_text(encoding="utf-8"))
    missing = [
        f"{file}::{name}"
        for file, name in named
        if f"\ndef {name}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert missing == []
    table = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    kinds = re.findall(r"^\| (\d+) .*::test_", table, re.MULTILINE)
    assert [int(kind) for kind in kinds] == list(range(1, 20)), "a row for every kind of input"


def test_frames_have_a_row_for_each_image(tmp_path):
    pytest.importorskip("pandas")
    from eyesight.results.history import EpochMetrics, History
    from eyesight.results.predictions import Predictions

    probabilities = np.array([[0.2, 0.8], [0.6, 0.4]], np.float32)
    made = Predictions(("a.png", "b.png"), np.array([1, -1]), probabilities, ("cat", "dog"))
    frame = made.to_frame()
    assert frame["class"].tolist() == ["dog", "cat"] and frame["cat"].tolist() == pytest.approx(
        [0.2, 0.6]
    )
    assert frame["label"].iloc[0] == "dog" and frame["image"].tolist() == list(made.ids)
    epochs = History([EpochMetrics(1, 0.1, 2.0, 0.3, None, None, 1.5, True)])
    assert epochs.to_frame()["train_loss"].tolist() == [2.0]
