"""axe-core finds nothing on any page, light and dark, wide and narrow, in both languages.

EYESIGHT_AXE names axe-core's script (axe.min.js of the npm package axe-core). Images of the pages
are left in build/pictures for a person to look at.
"""

import os
from pathlib import Path

import pytest
from axe import check_with_axe
from browsing import served
from drawn import folder
from portables import by_brightness

from eyesight.auditing import features
from eyesight.cli.reviewing import data_of, open_review
from eyesight.inference import onnx_classifier
from eyesight.runs import Run
from eyesight.studio import projects, training
from eyesight.system.progress import Reporter
from eyesight.web.application import application, review_application
from eyesight.web.limits import Limits
from eyesight.web.studio.desk import Desk

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif("EYESIGHT_AXE" not in os.environ, reason="EYESIGHT_AXE names no axe-core"),
]
PICTURES = Path(__file__).parents[1] / "build" / "pictures"
LOOKS = (("en", "light", 1280), ("ko", "dark", 360))
SERVICE = ("/", "/runs", "/augment", "/reader", "/docs", "/studio")
STEPS = ("collect", "check", "train", "try", "compare", "take")


def findings_on(browser, address, paths, ready="main"):
    """What axe-core finds on each page in each look."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    findings = []
    for language, scheme, width in LOOKS:
        context = browser.new_context(
            locale=language, color_scheme=scheme, viewport={"width": width, "height": 800}
        )
        page = context.new_page()
        for path in paths:
            page.goto(address + path)
            page.locator(ready).first.wait_for()
            page.wait_for_timeout(300)
            name = f"{path.strip('/').replace('/', '_') or 'front'}_{language}_{scheme}.png"
            page.screenshot(path=PICTURES / name, full_page=True)
            try:
                check_with_axe(page)
            except AssertionError as error:
                findings.append(f"{language} {scheme} {path}: {error}")
        context.close()
    return findings


def test_the_pages_of_the_service_and_the_studio(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "recipe_name", lambda: training.FROM_SCRATCH)
    project = projects.create_project(tmp_path / "studio", "Shapes")
    folder(project.pictures, 30)
    failed = Run.create(project.runs_path, "folder")
    failed.write_json("recipe.json", {"format": 1, "name": "folder"})
    failed.append({"event": "failed", "message": "a fault", "hint": "try --budget 90s"})
    going = under_way(projects.create_project(tmp_path / "studio", "Leaves"))
    app = application(
        onnx_classifier.load(by_brightness(tmp_path / "it.onnx")),
        runs=project.runs_path,
        studio=Desk(tmp_path / "studio", Limits()),
    )
    steps = [f"/studio/shapes/{step}" for step in STEPS]
    pages = (*SERVICE, *steps, f"/runs/{failed.name}", "/studio/leaves/train")
    with going.hold(), served(app) as address:
        assert findings_on(browser, address, pages) == []


def under_way(project):
    """A run of the project that has finished two epochs; it goes on while it is held."""
    folder(project.pictures, 60)
    run = Run.create(project.runs_path, "objects")
    run.write_json("recipe.json", {"format": 1, "name": "objects"})
    run.write_json("data.json", {"counts": {"train": 40, "validation": 20, "test": 20}})
    run.append({"event": "start"})
    for number in (1, 2):
        epoch = {"epoch": number, "progress": number / 4, "validation_top1": number / 3}
        run.append({"event": "epoch", **epoch})
    return run


def test_a_service_without_runs_and_studio(browser, tmp_path):
    (tmp_path / "runs").mkdir()
    file = by_brightness(tmp_path / "it.onnx")
    for runs in (tmp_path / "runs", None):
        app = application(onnx_classifier.load(file), runs=runs)
        with served(app) as address:
            assert findings_on(browser, address, ("/runs", "/nowhere")) == []


def test_the_review_page(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "backbone_at_hand", lambda: None)
    monkeypatch.setattr(features, "FILTERS", 16)
    data = folder(tmp_path / "shapes", 90, size=32)
    (data / "bar" / "0000.png").rename(data / "ring" / "0000.png")
    review = open_review(data_of(str(data)), None, "ann", budget=60, reporter=Reporter())
    with served(review_application(review)) as address:
        assert findings_on(browser, address, ("/review",), ready="#one") == []
