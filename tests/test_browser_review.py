"""The loop in a real browser: find, look, mend by keys, train again, and see that it helped.

Images of the page are left in build/pictures for a person to look at.
"""

import json
import random
import threading
from pathlib import Path

import pytest
import uvicorn
from commands import command
from drawn import SHAPES, folder

from eyesight.auditing import features
from eyesight.cli.reviewing import data_of, open_review
from eyesight.data.corrections import Corrections
from eyesight.system.progress import Reporter
from eyesight.web import server
from eyesight.web.application import review_application
from eyesight.web.connections import LimitedConnection

pytestmark = pytest.mark.whole
PICTURES = Path(__file__).parents[1] / "build" / "pictures"
COUNT = 180
WRONG = 18
SETTINGS = ("data.size=32", "data.channels=1", "training.epochs=8", "training.min_steps=0")


@pytest.fixture(autouse=True)
def no_backbone(monkeypatch):
    monkeypatch.setattr(features, "backbone_at_hand", lambda: None)
    monkeypatch.setattr(features, "FILTERS", 16)


@pytest.fixture
def root(tmp_path):
    """Shapes of which a tenth lie in the folder of another shape."""
    made = folder(tmp_path / "shapes", COUNT, size=32)
    drawn = random.Random(0)
    files = sorted(made.rglob("*.png"))
    for file in drawn.sample(files, WRONG):
        other = drawn.choice([name for name in SHAPES if name != file.parent.name])
        file.rename(made / other / file.name)
    return made


def true_name(item_id):
    """The shape that was drawn under this name."""
    return SHAPES[int(Path(item_id).stem) % len(SHAPES)]


class Server:
    """The review of a folder, served until it is closed."""

    def __init__(self, root):
        review = open_review(data_of(str(root)), None, "ann", budget=60, reporter=Reporter())
        self.sock = server.listen("127.0.0.1", 0)
        app = review_application(review)
        config = uvicorn.Config(app, log_level="warning", http=LimitedConnection, ws="none")
        self.running = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.running.run, kwargs={"sockets": [self.sock]})
        self.thread.start()
        self.address = f"http://127.0.0.1:{self.sock.getsockname()[1]}"

    def close(self):
        self.running.should_exit = True
        self.thread.join(20)
        self.sock.close()


def opened(browser, address, width=1280, height=900, language="en", scheme="light"):
    context = browser.new_context(
        viewport={"width": width, "height": height}, locale=language, color_scheme=scheme
    )
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(address)
    page.locator("#one").wait_for()
    return page


def press(page, key):
    """Press a key and wait until what it does is saved and shown."""
    with page.expect_response("**/api/review/**"):
        page.keyboard.press(key)
    page.wait_for_function("() => !busy")


def decide(page):
    """Give the picture that is shown its true class, by keys alone; the class."""
    name = true_name(page.locator("#file").text_content())
    given = page.locator("#which").text_content().rpartition(" ")[2]
    press(page, "k" if name == given else str(SHAPES.index(name) + 1))
    return name


def seen(page):
    return page.evaluate("() => facts.progress.seen")


def train(root, runs, *options):
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    return command("train", "lenet5", "--data", root, "--out", runs, *settings, *options).out


def test_the_loop_by_keys_alone(browser, root, tmp_path):
    runs = tmp_path / "runs"
    train(root, runs)
    first = Server(root)
    try:
        page = opened(browser, first.address)
        for _ in range(20):
            decide(page)
        assert seen(page) == 20
        press(page, "u")
        press(page, "u")
        assert seen(page) == 18
        assert page.problems == []
        page.context.close()
    finally:
        first.close()
    file = tmp_path / "shapes.corrections.csv"
    assert len(Corrections.read(file)) == 18
    second = Server(root)
    try:
        page = opened(browser, second.address)
        assert seen(page) == 18
        with page.expect_response("**/api/review/items?*kind=label*"):
            page.locator("#kind").select_option("label")
        page.wait_for_function("() => !busy")
        assert page.evaluate("() => items.filter(item => item.decision).length") == 0
        while seen(page) < 36:
            decide(page)
        assert page.problems == []
        page.context.close()
    finally:
        second.close()
    rows = Corrections.read(file).rows
    assert all(row.new == true_name(row.id) for row in rows)
    changed = sum(row.new != row.old for row in rows)
    assert changed >= 0.8 * WRONG, "what is wrong comes first"
    printed = train(root, runs)
    line = next(line for line in printed.splitlines() if "with corrected labels" in line)
    assert "before" in line and "after" in line and "p = " in line
    values = json.loads(train(root, runs, "--json"))
    assert values["corrections"]["before"] == "0001-lenet5"
    assert values["corrections"]["corrected"]["n"] > 30


SLOW_ITEMS = """() => {
  const real = window.fetch;
  window.fetch = async (path, options) => {
    if (path.includes("/items")) await new Promise(resolve => setTimeout(resolve, 800));
    return real(path, options);
  };
}"""


def test_many_at_once_typing_and_two_pages(browser, root):
    running = Server(root)
    try:
        page = opened(browser, running.address)
        page.evaluate(SLOW_ITEMS)
        page.locator("#later").click()
        page.keyboard.press("k")
        page.wait_for_function("() => items[0].place > 0")
        page.wait_for_function("() => !busy")
        assert seen(page) == 0, "a key does not decide about an image that is being replaced"
        page.reload()
        page.locator("#one").wait_for()
        other = opened(browser, running.address)
        for _ in range(3):
            page.keyboard.press("m")
            page.keyboard.press("ArrowRight")
        assert page.locator("#strip input:checked").count() == 3
        press(page, "x")
        assert seen(page) == 3
        other.wait_for_function("() => facts.progress.seen === 3", timeout=8000)
        press(other, "u")
        page.wait_for_function("() => facts.progress.seen === 0", timeout=8000)
        page.keyboard.press("/")
        page.keyboard.type("cro")
        press(page, "Enter")
        page.locator("#decided").select_option("decided")
        page.wait_for_function("() => items.length === 1")
        assert "cross" in page.locator("#decision").text_content() or page.evaluate(
            "() => items[0].given === 'cross'"
        )
        page.locator("summary").click()
        page.locator("#keys").uncheck()
        page.keyboard.press("x")
        page.wait_for_timeout(300)
        assert seen(page) == 1, "single keys can be turned off"
        assert page.problems == other.problems == []
    finally:
        running.close()


LABELLED = """() => [...document.querySelectorAll("button, input, select, img, summary")]
  .filter(one => one.checkVisibility())
  .filter(one => {
    const text = one.labels && one.labels.length ? one.labels[0].textContent : one.textContent;
    return !(one.getAttribute("aria-label") || text.trim() || one.hasAttribute("alt"));
  }).map(one => one.outerHTML)"""
SMALL = """() => [...document.querySelectorAll("main button, main select, .tick")]
  .filter(one => one.checkVisibility())
  .filter(one => Math.min(one.offsetWidth, one.offsetHeight) < 24).map(one => one.outerHTML)"""
CONTRAST = """() => {
  const channel = value => {
    value /= 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const luminance = colour => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data;
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  };
  const behind = one => {
    for (let at = one; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!colour.endsWith(", 0)") && colour !== "transparent") return colour;
    }
    return "white";
  };
  const low = [];
  for (const one of document.querySelectorAll("main *")) {
    const own = [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || !one.checkVisibility() || one.closest(":disabled")) continue;
    const pair = [luminance(getComputedStyle(one).color), luminance(behind(one))];
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${one.outerHTML.slice(0, 120)}`);
  }
  return low;
}"""


@pytest.fixture(scope="module")
def small_review(tmp_path_factory):
    """A review of a few images, for tests that look at its page alone."""
    place = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EYESIGHT_CACHE", str(place / "cache"))
        patch.setattr(features, "backbone_at_hand", lambda: None)
        patch.setattr(features, "FILTERS", 16)
        running = Server(folder(place / "shapes", 90, size=32))
        yield running.address
        running.close()


@pytest.mark.parametrize(
    ("width", "height", "language", "scheme"),
    [
        (1280, 900, "en", "light"),
        (1280, 900, "ko", "dark"),
        (360, 740, "ko", "dark"),
        (360, 740, "en", "light"),
    ],
)
def test_the_page_fits_and_can_be_read_and_reached(
    browser, small_review, width, height, language, scheme
):
    page = opened(browser, small_review, width, height, language, scheme)
    press(page, "2")
    page.wait_for_timeout(300)
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"review_{width}_{scheme}.png", full_page=True)
    assert page.evaluate("() => document.body.scrollWidth <= innerWidth + 1")
    assert page.evaluate(LABELLED) == []
    assert page.evaluate(SMALL) == []
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate("() => document.querySelectorAll('h1').length") == 1
    duplicates = page.evaluate(
        "() => { const ids = [...document.querySelectorAll('[id]')].map(one => one.id);"
        " return ids.filter((id, place) => ids.indexOf(id) !== place); }"
    )
    assert duplicates == []
    assert page.problems == []
    page.context.close()
