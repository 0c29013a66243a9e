"""The lessons run from top to bottom, and their pages show the code that runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from drawn import folder

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import lessons  # noqa: E402 - its folder is no package

PAGES = lessons.pages()
SCRIPTS = sorted(lessons.LESSONS.glob("*.py"))


def test_every_lesson_has_a_page_in_both_languages():
    names = {script.stem for script in SCRIPTS}
    for ending in (".md", ".ko.md"):
        shown = [page for page in PAGES if page.name.endswith(ending)]
        if ending == ".md":
            shown = [page for page in shown if not page.name.endswith(".ko.md")]
        assert {lessons.script_of(page).stem for page in shown} == names
        assert [page.name[0] for page in shown] == list("12345")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_shows_the_code_of_its_script(page):
    assert lessons.code_of(page) == lessons.cells(lessons.script_of(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_output_an_exercise_and_its_figures(page):
    text = page.read_text(encoding="utf-8")
    assert "```text\n" in text and "<details>" in text and "</details>" in text
    for picture in re.findall(r"\]\(\.\./(pictures/[^)]+)\)", text):
        assert (ROOT / "docs" / picture).is_file(), picture
    assert f"]({lessons.script_of(page).name})" in text
    assert page.name in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_notebook_holds_all_of_a_page(page):
    nbformat = pytest.importorskip("nbformat")
    made = nbformat.from_dict(lessons.notebook(page))
    nbformat.validate(made)
    code = [cell.source for cell in made.cells if cell.cell_type == "code"]
    assert code == lessons.cells(lessons.script_of(page))
    words = "\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    assert words.startswith("# ") and "```text" not in words


@pytest.mark.whole
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_lesson_runs_from_top_to_bottom(script, tmp_path):
    short = {
        "LESSON_SHORT": "1",
        "LESSON_DATA": str(folder(tmp_path / "shapes", 90, 32)),
        "LESSON_WEIGHTS": "none",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, **short},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 5


@pytest.mark.whole
@pytest.mark.filterwarnings("default")  # of the kernel's libraries
def test_a_lesson_runs_as_a_notebook(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("LESSON_SHORT", "1")
    made = nbformat.from_dict(lessons.notebook(lessons.LESSONS / "1-convolutions.ko.md"))
    client = nbclient.NotebookClient(
        made, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    printed = [
        out["text"] for cell in made.cells for out in cell.get("outputs", []) if "text" in out
    ]
    assert any("28" in text for text in printed)
