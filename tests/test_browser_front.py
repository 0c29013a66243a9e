"""The first page in a real browser: drop, examples, camera, a stranger, and another run.

Images of the page are left in build/pictures for a person to look at.
"""

import numpy as np
import pytest
from browsing import LOOKS, NAMES, looked_at, served
from drawn import png
from test_browser_runs import fits, keep_picture, wait
from test_web_switch import trained

from eyesight.exporting.onnx_file import file_of
from eyesight.inference import onnx_classifier
from eyesight.results.predictions import write_arrays
from eyesight.web import run_services
from eyesight.web.application import application

pytestmark = pytest.mark.whole
DROP = """(stage, bytes) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], "lamp.png", { type: "image/png" }));
  stage.dispatchEvent(new DragEvent("drop", { bubbles: true, dataTransfer: transfer }));
}"""


@pytest.fixture
def address(tmp_path, monkeypatch):
    monkeypatch.setattr(run_services, "exported", file_of)
    runs = tmp_path / "runs"
    first = trained(runs, "lamps", ["dark", "bright"])
    trained(runs, "doors", ["shut", "open"])
    pixels = np.stack([np.full((1, 8, 8), shade, np.uint8) for shade in (20, 240)])
    write_arrays(first.path / "gallery.npz", samples_pixels=pixels, samples_labels=np.arange(2))
    app = application(onnx_classifier.load(file_of(first)), runs)
    with served(app) as where:
        yield where


@pytest.fixture(params=LOOKS, ids=NAMES)
def page(request, browser, address):
    with looked_at(browser, request.param) as opened:
        opened.goto(address)
        yield opened


def name(page):
    page.locator("#answer .name").wait_for()
    return page.locator("#answer .name").text_content()


def test_a_dropped_picture_is_shown_large_beside_its_answer(page):
    page.locator("#stage").evaluate(DROP, list(png(np.full((9, 9), 255, np.uint8))))
    assert name(page) == "bright"
    stage = page.locator("#preview").bounding_box()
    answer = page.locator("#answer").bounding_box()
    beside = stage["x"] + stage["width"] <= answer["x"]
    assert beside if page.kind == "en_light" else stage["y"] + stage["height"] <= answer["y"]
    assert stage["width"] > 300
    assert page.locator("#invite").is_hidden()
    keep_picture(page, "front_answer")
    page.locator(".example").first.click()
    assert wait(page, lambda: name(page) == "dark")
    assert fits(page)


def test_another_picture_is_chosen_by_a_button_that_the_keyboard_reaches(page):
    another = page.locator("#another")
    assert another.is_hidden(), "the empty stage itself asks for a picture"
    page.locator(".example").first.click()
    assert name(page) == "dark"
    box = another.bounding_box()
    assert box["y"] + box["height"] <= page.viewport_size["height"], "seen without scrolling"
    page.locator("#picture").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "another"
    with page.expect_file_chooser() as chosen:
        another.press("Enter")
    bright = png(np.full((9, 9), 255, np.uint8))
    chosen.value.set_files({"name": "b.png", "mimeType": "image/png", "buffer": bright})
    assert wait(page, lambda: name(page) == "bright")


def test_the_camera_is_watched_and_its_last_picture_stays(page):
    page.locator("#watch").click()
    assert name(page) in ("dark", "bright")
    assert page.locator("#live").is_visible() and page.locator("#preview").is_hidden()
    page.locator("#watch").click()
    page.locator("#preview:visible").wait_for()
    assert page.locator("#live").is_hidden()
    assert page.locator("#watch").get_attribute("aria-pressed") == "false"
    keep_picture(page, "front_camera")


def test_what_is_like_nothing_known_says_so_and_names_no_classes(page):
    answer = (
        '{"top": [{"class": "dark", "probability": 0.6}], "set": null, "level": null, '
        '"unlike": true, "sure": false, "threshold": 0.8, "other": null, "doubt": "unlike"}'
    )
    page.route("**/api/predict", lambda route: route.fulfill(body=answer))
    page.locator(".example").first.click()
    assert name(page) != "dark"
    assert page.locator("#answer .warn").is_visible()
    assert page.locator("#answer .bar").is_hidden()
    page.locator("#answer summary").click()
    assert page.locator("#answer .bar").is_visible()
    keep_picture(page, "front_stranger")


def test_another_run_is_chosen_on_the_page_and_another_tab_follows(page):
    other = page.context.new_page()
    other.goto(page.url)
    assert page.locator(".serving button").is_disabled()
    page.locator(".serving select").select_option("0002-doors")
    page.locator(".serving button").click()
    page.locator(".serving[data-run='0002-doors']").wait_for()
    page.set_input_files("#picture", {"name": "a.png", "mimeType": "image/png",
                                      "buffer": png(np.full((9, 9), 255, np.uint8))})  # fmt: skip
    assert name(page) == "open"
    other.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    other.locator(".serving[data-run='0002-doors']").wait_for()
    assert fits(page)
