"""The lessons run from top to bottom, and their pages show the code that runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import command
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


@pytest.fixture
def in_this_process(monkeypatch):
    """The commands that a lesson runs, in this process, which has imported what they need."""
    started = subprocess.run

    def run(arguments, **options):
        if arguments[:3] != [sys.executable, "-m", "eyesight"]:
            return started(arguments, **options)
        return subprocess.CompletedProcess(arguments, 0, *command(*arguments[3:]))

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.whole
@pytest.mark.filterwarnings("default")  # as in a notebook
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_lesson_runs_cell_by_cell(script, in_this_process, tmp_path, monkeypatch, capsys):
    """As a notebook runs it: the cells share their names, and there is no `__file__`."""
    monkeypatch.setenv("LESSON_SHORT", "1")
    monkeypatch.setenv("LESSON_DATA", str(folder(tmp_path / "shapes", 90, 32)))
    monkeypatch.setenv("LESSON_WEIGHTS", "none")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for cell in lessons.cells(script):
        exec(compile(cell, script.name, "exec"), names)
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) >= 5
