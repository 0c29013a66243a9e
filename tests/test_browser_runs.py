"""The pages about runs in a real browser: sorting, searching, runs that begin meanwhile.

Images of the pages are left in build/pictures for a person to look at.
"""

import time
from pathlib import Path

import pytest
from axe import check_with_axe
from browsing import LOOKS, NAMES, looked_at, served
from portables import by_brightness
from test_web_runs import begun, done

from eyesight.inference import onnx_classifier
from eyesight.web.application import application
from eyesight.web.connections import LimitedConnection

pytestmark = pytest.mark.whole
PICTURES = Path(__file__).parents[1] / "build" / "pictures"


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def address(tmp_path, runs):
    first = done(runs)
    failed = begun(runs, "other")
    failed.append({"event": "failed", "message": "the disk is full", "hint": "free some space"})
    assert first.name < failed.name
    app = application(onnx_classifier.load(by_brightness(tmp_path / "it.onnx")), runs)
    with served(app, http=LimitedConnection) as where:
        yield where


@pytest.fixture(params=LOOKS, ids=NAMES)
def page(request, browser, address):
    with looked_at(browser, request.param) as opened:
        opened.address = address
        yield opened


def names(page):
    return [link.text_content() for link in page.locator("td.name a").all()]


def wait(page, true, seconds=15):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        page.wait_for_timeout(50)
    return true()


def fits(page):
    """Whether nothing reaches beyond the right edge."""
    return page.locator("body").evaluate("body => body.scrollWidth <= innerWidth + 1")


def keep_picture(page, name):
    check_with_axe(page)
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}_{page.kind}.png", full_page=True)


def test_a_click_on_a_head_sorts_and_the_search_finds(page):
    page.goto(f"{page.address}/runs")
    assert names(page) == ["0002-other", "0001-pets"]
    page.locator("th a").first.click()
    assert wait(page, lambda: names(page) == ["0002-other", "0001-pets"])
    page.locator("th a").first.click()
    assert wait(page, lambda: names(page) == ["0001-pets", "0002-other"])
    assert page.locator("th[aria-sort=ascending]").count() == 1
    page.locator("input[type=search]").fill("disk")
    page.locator("form.filter button").click()
    assert wait(page, lambda: names(page) == ["0002-other"])
    assert "the disk is full" in page.locator("tbody").text_content()
    assert fits(page)


def test_ticks_draw_curves_and_runs_that_begin_meanwhile_appear(page, runs):
    page.goto(f"{page.address}/runs")
    page.locator(".tick input").first.check()
    assert wait(page, lambda: "run=0002-other" in page.url)
    assert page.locator("#together").is_visible()
    page.locator("h1").click()  # away from the row, which stays as it is while it has the focus
    begun(runs, "new")
    assert wait(page, lambda: names(page)[:1] == ["0003-new"])
    assert page.locator(".tick input:checked").count() == 1, "the tick stays"
    keep_picture(page, "runs")
    assert fits(page)


def test_the_tables_of_a_run_are_sorted_without_leaving_the_page(page):
    page.goto(f"{page.address}/runs/0001-pets")
    page.locator("table.sortable th button").nth(1).click()
    assert page.url.endswith("/runs/0001-pets")
    assert page.locator("th[aria-sort=descending]").count() == 1
    name = page.locator(".matrix th[scope=row]").first
    name.locator(".word").evaluate(
        "word => { word.textContent = 'Rhodesian ridgeback of Africa'; }"
    )
    assert name.evaluate("one => one.scrollWidth <= one.clientWidth"), "over its numbers"
    keep_picture(page, "run")
    assert fits(page)


@pytest.mark.parametrize("path", ["/docs", "/nothing", "/augment", "/"])
def test_every_page_fits_the_screen(page, path):
    page.goto(f"{page.address}{path}")
    page.wait_for_timeout(300)
    keep_picture(page, f"page_{path.strip('/') or 'front'}")
    assert fits(page)
