"""What the studio's pages show of a project that changes: chosen images, trainings, long names.

Images of the pages are left in build/pictures for a person to look at.
"""

import json

import pytest
from browsing import LOOKS, NAMES, looked_at, served
from drawn import folder, png
from drawn import pictures as drawn_pictures
from portables import by_brightness
from test_browser_runs import fits, keep_picture
from test_browser_try import answer
from test_web_switch import trained

from eyesight.inference import onnx_classifier
from eyesight.runs import Run
from eyesight.studio import projects
from eyesight.web import i18n
from eyesight.web.application import application
from eyesight.web.limits import Limits
from eyesight.web.studio.desk import Desk

pytestmark = pytest.mark.whole
PICTURE = {"name": "a.png", "mimeType": "image/png", "buffer": png(drawn_pictures(1)[0][0, 0])}
LONG = ("English_foxhound_of_the_north", "Rhodesian_ridgeback")
WHOLE_PARTS = """one => [...one.childNodes].filter(node => node.data).every(node => {
  const range = document.createRange();
  range.selectNodeContents(node);
  return new Set([...range.getClientRects()].map(box => box.top)).size === 1;
})"""
UNCOVERED = """one => {
  const box = one.getBoundingClientRect();
  return one.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2));
}"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Projects: without images, with a training elsewhere, with one that failed, and trained."""
    place = tmp_path_factory.mktemp("steps")
    projects.create_project(place, "Empty")
    for title in ("Elsewhere", "Failed", "Shapes"):
        folder(projects.create_project(place, title).pictures, 90)
    trained(projects.open_project(place, "shapes").runs_path, "lamps", ["dark", "bright"])
    failed = begun(projects.open_project(place, "failed"))
    failed.append({"event": "failed", "message": "the disk is full", "hint": "free some space"})
    return place


@pytest.fixture(scope="module")
def address(place):
    going = begun(projects.open_project(place, "elsewhere"))
    model = onnx_classifier.load(by_brightness(place.parent / "it.onnx"))
    app = application(model, studio=Desk(place, Limits()))
    with going.hold(), served(app) as where:
        yield where


def begun(project):
    """A training from the command line that has 20 of its 600 seconds behind it."""
    run = Run.create(project.runs_path, "folder")
    run.write_json("recipe.json", {"format": 1, "name": "folder", "training": {"budget": 600}})
    run.write_json("data.json", {"counts": {"train": 60, "validation": 20, "test": 20}})
    run.append({"event": "start", "elapsed": 20.0})
    run.append({"event": "epoch", "epoch": 1, "progress": 0.1, "validation_top1": 0.5})
    return run


@pytest.fixture(params=LOOKS, ids=NAMES)
def page(request, browser, address):
    with looked_at(browser, request.param) as opened:
        opened.t = i18n.translator(opened.language)
        opened.address = address
        yield opened


def test_what_can_be_done_with_chosen_images_stays_above_the_bar(page):
    page.set_viewport_size({**page.viewport_size, "height": 500})
    page.goto(page.address + "/studio/shapes/collect")
    card = page.locator(".card").first
    card.locator(".thumbs button").first.click()
    page.evaluate("scrollTo(0, 0)")
    row, bar = card.locator(".chosen").bounding_box(), page.locator(".bar-below").bounding_box()
    assert row["y"] + row["height"] <= bar["y"], "below the bar or under it"
    assert card.locator(".remove").evaluate(UNCOVERED) and card.locator("select").evaluate(
        UNCOVERED
    )
    keep_picture(page, "collect_chosen")
    assert fits(page)


def test_without_anything_to_say_there_is_no_bar(page):
    page.goto(page.address + "/studio/shapes/collect")
    page.locator("#next").wait_for()
    assert page.locator(".bar-below").is_visible()
    page.goto(page.address + "/studio/empty/collect")
    page.locator("#add-class").wait_for()
    assert page.locator(".bar-below").is_hidden()


def test_a_training_from_the_command_line_shows_its_time_left(page):
    page.goto(page.address + "/studio/elsewhere/train")
    page.locator("#going").wait_for()
    assert page.locator("#left").text_content() in {
        page.t("studio.minutes_left", n=minutes) for minutes in (9, 10)
    }
    assert page.locator("#pause").is_hidden() and page.locator("#keep").is_enabled()
    assert page.locator("#may-close").text_content() == page.t("studio.begun_elsewhere")
    keep_picture(page, "train_elsewhere")


def test_the_english_words_of_the_program_are_presented_as_its_own(page):
    page.goto(page.address + "/studio/failed/train")
    page.locator("#failed").wait_for()
    said = page.t("problem.program") + " the disk is full"
    assert page.locator("#reason").text_content() == said
    for part in ("#reason", "#remedy"):
        assert page.locator(f"{part} [lang=en]").is_visible(), part
    keep_picture(page, "train_failed")
    page.goto(page.address + "/studio/failed/compare")
    assert said in page.locator(".trainings").text_content()
    page.goto(page.address + "/studio/nowhere/collect")
    assert page.t("problem.program") in page.locator("main").text_content()


def test_a_long_name_is_broken_between_its_words(page):
    said = {"supports_heatmap": True, **answer().model_dump(by_alias=True)}
    for named, long in zip(said["top"], LONG, strict=False):
        named["class"] = long
    page.route("**/predict", lambda route: route.fulfill(body=json.dumps(said)))
    page.goto(page.address + "/studio/shapes/try")
    page.set_input_files("#picture", PICTURE)
    page.locator("#answer .name").wait_for()
    assert page.locator("#answer .name").text_content() == LONG[0]
    for place, long in enumerate(LONG):
        name = page.locator("#answer .bar").nth(place).locator("span").first
        assert name.text_content() == long and name.evaluate(WHOLE_PARTS)
    keep_picture(page, "try_long_names")
    assert fits(page)
