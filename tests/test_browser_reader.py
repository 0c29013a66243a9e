"""The reader's page in a real browser: 0 to 9 written with the pointer, the keyboard and a finger
are read, and empty boxes stay empty.

The network is made by hand and knows how `written` writes; EYESIGHT_DIGITS can name a digits.onnx
trained on MNIST to read with instead. Pictures of the page are left in build/pictures for a person
to look at.
"""

import os
import threading
import time
from pathlib import Path

import pytest
import uvicorn
from axe import check_with_axe
from drawn import png
from readers import by_likeness
from written import STROKES, photo, smooth

from eyesight.inference import onnx_classifier
from eyesight.web import server
from eyesight.web.application import application

pytestmark = pytest.mark.whole

PICTURES = Path(__file__).parents[1] / "build" / "pictures"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server that reads digits and collects them."""
    folder = tmp_path_factory.mktemp("reader")
    file = Path(os.environ.get("EYESIGHT_DIGITS") or by_likeness(folder / "digits.onnx"))
    sock = server.listen("127.0.0.1", 0)
    running = uvicorn.Server(
        uvicorn.Config(
            application(onnx_classifier.load(file), collect=folder / "mine"),
            log_level="warning",
            ws="none",
        )
    )
    thread = threading.Thread(target=running.run, kwargs={"sockets": [sock]})
    thread.start()
    yield f"http://127.0.0.1:{sock.getsockname()[1]}", folder / "mine"
    running.should_exit = True
    thread.join(20)
    sock.close()


@pytest.fixture(
    params=[(1280, 900, "desktop", "en"), (360, 740, "phone", "ko")], ids=["desktop", "phone"]
)
def page(request, browser, address):
    width, height, name, language = request.param
    context = browser.new_context(
        viewport={"width": width, "height": height}, has_touch=name == "phone", locale=language
    )
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on(
        "console", lambda message: problems.append(message.text) if is_problem(message) else None
    )
    opened.goto(address[0] + "/reader")
    opened.kind = name
    yield opened
    context.close()
    assert problems == []


def is_problem(message):
    """Whether the browser complains of the page; that it logs every refused upload is no
    complaint.
    """
    return message.type in ("error", "warning") and "(Unsupported Media Type)" not in message.text


def write(page, number, digit):
    """A digit in a box with the mouse, one point after the other."""
    page.locator(".digit canvas").nth(number).scroll_into_view_if_needed()
    frame = page.locator(".digit canvas").nth(number).bounding_box()
    for stroke in STROKES[digit]:
        points = [
            (frame["x"] + frame["width"] * x, frame["y"] + frame["height"] * y)
            for x, y in smooth(stroke, 3)
        ]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def said(page):
    return [box.text_content() for box in page.locator("#boxes output").all()]


def wait(page, true, seconds=15):
    """Until it is so; the page's policy forbids the evaluation that Playwright's own
    waiting needs.
    """
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        page.wait_for_timeout(30)
    return true()


def reads(page, code):
    """Wait until the boxes say it; "." is an empty one."""
    assert wait(page, lambda: "".join(text or "." for text in said(page)) == code), (
        f"{said(page)} where {code} was written"
    )


def keep_picture(page, name):
    check_with_axe(page)
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"reader_{name}_{page.kind}.png", full_page=True)


def test_the_boxes_stand_in_one_row_that_fills_the_screen(page):
    boxes = [one.bounding_box() for one in page.locator("#boxes canvas").all()]
    assert len({box["y"] for box in boxes}) == 1
    assert all(abs(box["width"] - box["height"]) < 1 for box in boxes)
    reach = boxes[-1]["x"] + boxes[-1]["width"] - boxes[0]["x"]
    assert reach > 0.6 * page.viewport_size["width"]
    assert page.evaluate("() => document.body.scrollWidth <= innerWidth")


def test_all_ten_digits_are_read_while_they_are_written(page):
    reads(page, ".....")
    for code in ("01234", "56789"):
        for number, digit in enumerate(code):
            write(page, number, digit)
        reads(page, code)
        assert page.locator("#code b").text_content() == code
        if code == "01234":
            page.keyboard.press("e")
            reads(page, ".....")
    page.keyboard.press("s")
    assert page.locator("#boxes img:visible").count() == 5
    keep_picture(page, "boxes")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways"
    spent = page.evaluate(
        "performance.getEntriesByName('pen-up to digits').map(one => one.duration)"
    )
    print(f"pen-up to digits: median {sorted(spent)[len(spent) // 2]:.0f} ms of {len(spent)}")
    assert len(spent) >= 10 and min(spent) < 1000, "100 ms on a quiet machine"
    page.keyboard.press("s")
    assert page.locator("#boxes img:visible").count() == 0
    page.keyboard.press("q")
    page.wait_for_url("**/")


def test_empty_boxes_stay_empty_undo_and_reading_on_demand(page):
    page.locator("#while").uncheck()
    write(page, 1, "4")
    write(page, 3, "7")
    page.wait_for_timeout(400)
    reads(page, ".....")
    page.keyboard.press("r")
    reads(page, ".4.7.")
    assert page.locator("#boxes .said").nth(0).text_content() == ""
    page.keyboard.press("Control+z")
    reads(page, ".4...")
    page.locator("#undo").click()
    page.locator("#undo").click()
    reads(page, ".....")
    page.locator("#undo").click()


def test_the_keyboard_alone_is_enough(page):
    page.locator(".digit canvas").first.focus()
    for key, times in (("ArrowUp", 8), ("Shift+ArrowDown", 16)):
        for _ in range(times):
            page.keyboard.press(key)
    reads(page, "1....")
    assert (
        page.locator(".digit canvas")
        .first.get_attribute("aria-label")
        .startswith("box 1: 1," if page.kind == "desktop" else "1번째 칸: 1,")
    )
    page.keyboard.press("Delete")
    reads(page, ".....")
    page.locator("#keys").uncheck()
    page.locator("#sound").focus()
    page.keyboard.press("m")
    assert page.locator("#sound").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Enter")
    assert page.locator("#sound").get_attribute("aria-pressed") == "false"


def test_a_finger_writes_too_and_does_not_scroll(page):
    if page.kind != "phone":
        pytest.skip("no touch screen")
    frame = page.locator(".digit canvas").first.bounding_box()
    touch = page.context.new_cdp_session(page)
    points = [
        {"x": frame["x"] + frame["width"] * x, "y": frame["y"] + frame["height"] * y}
        for x, y in smooth(STROKES["7"][0], 3)
    ]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [points[0]]})
    for point in points[1:]:
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    reads(page, "7....")
    assert page.evaluate("scrollY") == 0


def test_a_photographed_code(page, tmp_path):
    picture = tmp_path / "code.png"
    picture.write_bytes(png(photo("20745", frames=True, shadow=0.3, noise=4)))
    page.locator("#photo").set_input_files(picture)
    page.wait_for_selector("#read b", timeout=15_000)
    assert page.locator("#read b").text_content() == "20745"
    assert page.locator("#sheet rect").count() == 5
    keep_picture(page, "photo")
    (tmp_path / "text.png").write_bytes(b"not a picture")
    page.locator("#photo").set_input_files(tmp_path / "text.png")
    assert wait(page, lambda: "JPEG" in page.locator("#read").text_content()), page.locator(
        "#read"
    ).text_content()


def test_corrected_digits_are_saved(page, address):
    before = len(list(address[1].rglob("*.png")))
    write(page, 0, "5" if page.kind == "phone" else "6")
    reads(page, "5...." if page.kind == "phone" else "6....")
    page.locator(".digit input").first.fill("8")
    page.locator("#save").click()
    assert wait(page, lambda: page.locator("#samples").text_content().startswith("1"))
    assert (
        len(list(address[1].rglob("8/*.png")))
        and len(list(address[1].rglob("*.png"))) == before + 1
    )
