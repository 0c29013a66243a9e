"""A web page leaves only when a browser without a network has shown that it answers rightly."""

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from axe import check_with_axe
from commands import command
from drawn import folder

import eyesight
from eyesight import experiment
from eyesight.data.prepare import Preparation
from eyesight.errors import UserError
from eyesight.exporting import export, page_files, runtime, web
from eyesight.exporting.browser import can_drive, find_browser
from eyesight.exporting.page_files import Parts
from eyesight.exporting.proof import Proof, require_right
from eyesight.recipe import Data, Model, Optim, Recipe, Training

RIGHT = Proof(
    pictures=20,
    origin="test images",
    agreement=1.0,
    largest_difference=1e-6,
    lossless_difference=1e-6,
    same_sets=1.0,
    same_doubt=1.0,
    pixel_difference=0,
    lossy_pictures=5,
    lossy_pixel_difference=0,
    milliseconds=2.0,
    opening=0.5,
    browser="Chromium",
)


@pytest.fixture
def parts(tmp_path):
    """A page's parts, with a runtime of one line."""
    script, wasm = tmp_path / "ort.mjs", tmp_path / "ort.wasm"
    script.write_text("const a=import.meta.url;export{a as InferenceSession};\n")
    wasm.write_bytes(b"\0asm" * 100)
    facts = {"name": "<b>&", "classes": ["</script>", "고양이", "\udcff"], "accuracy": None}
    return Parts(b"network", runtime.Runtime(script, wasm), facts)


def policy(page):
    """The sources that the page's content security policy allows, by directive."""
    (text,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    rules = (rule.split() for rule in text.replace("&#x27;", "'").split("; "))
    return {name: sources for name, *sources in rules}


def fetched(page):
    """Addresses that a browser would fetch for the page."""
    return [
        address
        for address in re.findall(r'(?:src|href)="([^"]*)"', page)
        if not address.startswith("data:")
    ]


def test_one_file_allows_nothing_but_its_own_scripts(parts):
    page = page_files.one_file(parts).decode()
    rules = policy(page)
    assert rules["default-src"] == ["'none'"] and "connect-src" not in rules
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    digests = [hashlib.sha256(text.encode()).digest() for text in scripts]
    allowed = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    assert rules["script-src"] == [*allowed, "'wasm-unsafe-eval'"] and len(scripts) == 5
    assert fetched(page) == [] and "import.meta" not in page
    for name in page_files.SCRIPTS:
        assert (page_files.PAGE / f"{name}.js").read_text(encoding="utf-8") in page, name
    assert "<title>&lt;b&gt;&amp;</title>" in page and "MIT License" in page


def test_a_folder_fetches_its_own_files_alone(parts):
    files = page_files.folder(parts)
    assert tuple(files) == page_files.NAMES
    page = files["index.html"].decode()
    assert policy(page)["default-src"] == ["'none'"]
    assert set(fetched(page)) == set(files) - {"index.html"}
    assert len(page) < 20_000


def test_both_languages_say_the_same():
    texts = {}
    for language in page_files.LANGUAGES:
        text = (page_files.PAGE / f"{language}.json").read_text(encoding="utf-8")
        texts[language] = json.loads(text)
    assert texts["en"].keys() == texts["ko"].keys()
    for key, text in texts["en"].items():
        korean = re.findall(r"\{\w+\}", texts["ko"][key])
        assert set(re.findall(r"\{\w+\}", text)) == set(korean), key


@pytest.mark.parametrize(
    "fault",
    [
        {"agreement": 0.95},
        {"same_sets": 0.95},
        {"same_doubt": 0.95},
        {"pixel_difference": 1},
        {"lossless_difference": 0.01},
        {"lossless_difference": float("nan")},
    ],
)
def test_what_a_browser_answers_otherwise_is_refused(fault):
    require_right(replace(RIGHT, lossy_pixel_difference=3, largest_difference=0.01))
    with pytest.raises(UserError, match="predicts differently"):
        require_right(replace(RIGHT, **fault))


@pytest.mark.parametrize(
    ("emits", "preparation", "message"),
    [
        ("image", Preparation(28, 28, 1), "predicts images"),
        ("mask", Preparation(28, 28, 1), "predicts masks"),
        ("class", Preparation(), "any size"),
        (
            "class",
            Preparation(28, 56, parts=(Preparation(28, 28),) * 2),
            "prepare images differently",
        ),
    ],
)
def test_what_cannot_be_a_page_is_refused(emits, preparation, message):
    network = SimpleNamespace(emits=emits)
    with pytest.raises(UserError, match=message):
        web.require_possible(SimpleNamespace(network=network, preparation=preparation))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--to", "pdf"), "expected onnx or web"),
        (("--to", "web", "--int8"), "leave it out"),
        (("--unproven",), "add --to web"),
        (("--title", "Dogs"), "add --to web"),
        (("--to", "web", "--only", "dogs"), "name a run folder"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message, tmp_path):
    _, said = command("export", tmp_path / "run", *options, code=2)
    assert message in said


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on drawn shapes."""
    root = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EYESIGHT_CACHE", str(root / "cache"))
        recipe = Recipe(
            "shapes",
            data=Data(str(folder(root / "shapes", 120, 28))),
            model=Model("lenet5"),
            optim=Optim(lr=0.003),
            training=Training(epochs=3, batch=16),
        )
        yield experiment.train(recipe, root / "runs")


@pytest.fixture(scope="module")
def fetched_runtime(tmp_path_factory):
    """The real runtime; the test is skipped where it cannot be had."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EYESIGHT_CACHE", str(tmp_path_factory.mktemp("runtime")))
        try:
            return runtime.runtime()
        except UserError as error:
            pytest.skip(str(error))


@pytest.fixture
def real(fetched_runtime, monkeypatch):
    """The real runtime in place, and a browser."""
    if find_browser() is None or not can_drive():
        pytest.skip("no Chromium")
    monkeypatch.setattr(runtime, "runtime", lambda talk: fetched_runtime)


@pytest.fixture(scope="module", autouse=True)
def one_network_file(tmp_path_factory):
    """PyTorch writes the network of a run once; every page of these tests is made of that file."""
    folder = tmp_path_factory.mktemp("networks")
    real = export.write

    def write(loaded, facts, file):
        kept = folder / f"{facts['weights']}.onnx"
        if not kept.exists():
            real(loaded, facts, kept)
        shutil.copy(kept, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "write", write)
        yield


@pytest.mark.whole
def test_without_a_browser_nothing_is_kept_but_unproven(
    trained, fetched_runtime, monkeypatch, tmp_path
):
    monkeypatch.setattr(runtime, "runtime", lambda talk: fetched_runtime)
    monkeypatch.setenv("EYESIGHT_CHROMIUM", str(tmp_path / "none"))
    out = tmp_path / "page.html"
    _, said = command("export", trained.path, "--to", "web", "--out", out, code=1)
    assert "--unproven" in said and not out.exists()
    printed, _ = command("export", trained.path, "--to", "web", "--out", out, "--unproven")
    assert "not verified" in printed and '"proof": null' in out.read_text(encoding="utf-8")
    assert "Not verified" in (tmp_path / "page.html.md").read_text(encoding="utf-8")


@pytest.mark.whole
@pytest.mark.parametrize("name", ["page.html", "page"])
def test_a_page_is_proven_and_says_so(trained, real, name, tmp_path):
    options = ("--to", "web", "--out", tmp_path / name, "--title", "My <shapes>", "--json")
    printed, _ = command("export", trained.path, *options)
    made = json.loads(printed)
    assert "<title>My &lt;shapes&gt;</title>" in Path(made["file"]).read_text(encoding="utf-8")
    proof = made["proof"]
    assert proof["pictures"] == 24 and proof["origin"].startswith("test images of ")
    assert proof["agreement"] == proof["same_sets"] == proof["same_doubt"] == 1
    assert proof["pixel_difference"] == 0 and proof["largest_difference"] < 1e-5
    card = Path(made["card"])
    assert "on 24 test images of shapes," in card.read_text(encoding="utf-8")
    files = [Path(made["file"])]
    if name == "page":
        files = [file for file in (tmp_path / name).iterdir() if file != card]
    assert made["bytes"] == sum(file.stat().st_size for file in files) < 8e6
    assert any('"proof": {"pictures": 24' in file.read_text(encoding="utf-8") for file in files)


@pytest.mark.whole
def test_the_kept_page_answers_a_person(trained, real, browser, tmp_path):
    made = eyesight.export(trained, tmp_path / "page.html", to="web")
    assert "the same class for every image" in str(made)
    picture = next(Path(trained.recipe.data.source).rglob("*.png"))
    context = browser.new_context(locale="en")
    context.set_offline(True)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.goto(made.file.resolve().as_uri())
    page.set_input_files("#file", picture)
    expected = eyesight.load(trained.path).predict(picture).names[0]
    page.wait_for_selector(".bar")
    assert page.text_content(".bar span") == expected
    assert page.is_hidden("#unproven") and errors == []
    check_with_axe(page)
    context.close()


def swapped(facts):
    first, second, *others = facts["classes"]
    return {**facts, "classes": [second, first, *others]}


def resized(facts):
    return {**facts, "preparation": {**facts["preparation"], "crop_fraction": 0.8}}


@pytest.mark.whole
@pytest.mark.parametrize("fault", [swapped, resized])
def test_a_faulty_page_is_refused_and_the_older_one_stays(
    trained, real, fault, monkeypatch, tmp_path
):
    right = web.facts_of
    monkeypatch.setattr(web, "facts_of", lambda *arguments: fault(right(*arguments)))
    out = tmp_path / "page.html"
    out.write_text("older")
    with pytest.raises(UserError, match="predicts differently"):
        web.export_web(trained, out)
    assert out.read_text() == "older"
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
