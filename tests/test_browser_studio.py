"""The studio as a newcomer uses it: by mouse, and by the keyboard alone; training for real.

Images of the pages are left in build/pictures for a person to look at.
"""

import os
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from axe import check_with_axe
from PIL import Image, ImageDraw

from eyesight.runs import Run
from eyesight.studio import projects, training
from eyesight.studio.collecting import BURST_PATTERN
from eyesight.web import server
from eyesight.web.application import application
from eyesight.web.batching import Untrained
from eyesight.web.connections import LimitedConnection
from eyesight.web.limits import Limits
from eyesight.web.studio.desk import Desk

try:
    from playwright.sync_api import TimeoutError
except ImportError:  # the fixture `browser` skips the tests then
    TimeoutError = OSError

pytestmark = pytest.mark.whole
slow = pytest.mark.skipif(
    not os.environ.get("EYESIGHT_SLOW"), reason="trains for minutes; EYESIGHT_SLOW=1 runs it"
)
PICTURES = Path(__file__).parents[1] / "build" / "pictures"
NAMES = ("disc", "block", "peak")
REACHED = re.compile(r"\d+ of \d+")
STEPS = ("collect", "check", "train", "try", "compare", "take")


def drawing(name, random):
    ground, ink = random.integers(150, 255, 3).tolist(), random.integers(0, 110, 3).tolist()
    picture = Image.new("RGB", (96, 96), tuple(ground))
    draw = ImageDraw.Draw(picture)
    x, y = random.integers(32, 64, 2).tolist()
    reach = int(random.integers(16, 28))
    if name == "disc":
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=tuple(ink))
    if name == "block":
        draw.rectangle((x - reach, y - reach, x + reach, y + reach), fill=tuple(ink))
    if name == "peak":
        corners = [(x, y - reach), (x - reach, y + reach), (x + reach, y + reach)]
        draw.polygon(corners, fill=tuple(ink))
    return picture


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Class folders with 30 pictures each, and one more of each to try."""
    root = tmp_path_factory.mktemp("drawn")
    random = np.random.default_rng(0)
    for name in NAMES:
        (root / name).mkdir()
        for number in range(31):
            drawing(name, random).save(root / name / f"{number:02d}.png")
    return root


def files(drawn, name):
    return [str(file) for file in sorted((drawn / name).iterdir())[:30]]


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studio")
    app = application(Untrained(), studio=Desk(folder, Limits(seconds=60.0)))
    sock = server.listen("127.0.0.1", 0)
    config = uvicorn.Config(app, log_level="warning", http=LimitedConnection, ws="none")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [sock]})
    thread.start()
    yield f"http://127.0.0.1:{sock.getsockname()[1]}/studio", folder
    running.should_exit = True
    thread.join(30)
    sock.close()


def opened(browser, problems, **options):
    context = browser.new_context(accept_downloads=True, **options)
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    return page


def count(page, number):
    page.locator(f'#sum:has-text(" {number} ")').wait_for(timeout=60_000)


def begun(page, address, title):
    """A new project of this title, at its first step; its address."""
    page.goto(address)
    page.fill("#title", title)
    page.click("#begin button")
    page.wait_for_url("**/collect")
    return page.url.removesuffix("/collect")


def add_class(page, name):
    page.fill("#class-name", name)
    page.click("#add-class button")
    card = page.locator(f'section.card[aria-label="{name}"]')
    card.wait_for()
    return card


def ended(page):
    """What a training reached; fails with the page's own words when it failed."""
    try:
        page.locator("#ended, #failed").locator("visible=true").first.wait_for(timeout=400_000)
    except TimeoutError:
        shown = [page.locator(place).text_content() for place in ("#going", "#doing", "#refused")]
        pytest.fail(f"the training did not end: {shown}")
    assert page.locator("#failed").is_hidden(), page.locator("#failed").text_content()
    return page.locator("#result").text_content()


def train(page, here, minutes="1"):
    page.goto(f"{here}/train")
    page.locator("input[value=other]").check(force=True)
    page.fill("#minutes", minutes)
    page.click("#begin")
    return ended(page)


def answers(page, here, picture):
    page.goto(f"{here}/try")
    page.set_input_files("#picture", picture)
    page.locator("#answer .name").wait_for(timeout=60_000)
    return page.locator("#answer .name").text_content()


def answers_away(browser, problems, page_file, pictures):
    """What a page that was taken away answers, opened from its file without a network."""
    page = opened(browser, problems, locale="en")
    page.context.set_offline(True)
    page.goto(page_file.resolve().as_uri())
    names = []
    for picture in pictures:
        page.reload()
        page.set_input_files("#file", picture)
        page.wait_for_selector(".bar", timeout=120_000)
        names.append(page.text_content(".bar span"))
    check_with_axe(page)
    keep(page, "taken_away_en_light")
    page.context.close()
    return names


@slow
def test_by_mouse_from_nothing_to_a_classifier_that_is_taken_away(browser, studio, drawn, tmp_path):
    address, folder = studio
    problems = []
    page = opened(browser, problems, viewport={"width": 1280, "height": 900}, locale="en")
    here = begun(page, address, "By mouse")
    for name in NAMES:
        card = add_class(page, name)
        card.locator(".pick").set_input_files(files(drawn, name))
    count(page, 90)
    card.locator(".thumbs button").first.click()
    card.locator(".remove").click()
    count(page, 89)
    page.click("#undo")
    count(page, 90)
    assert REACHED.search(train(page, here))
    new = str(drawn / "peak" / "30.png")
    assert answers(page, here, new) in NAMES
    page.click("#look")
    page.locator("#names button", has_text="peak").click()
    page.locator("#toast", has_text="peak").wait_for()
    assert len(list((folder / "by-mouse" / "pictures" / "peak").iterdir())) == 31
    page.click("#watch")
    page.locator("#answer .name").wait_for(timeout=60_000)
    page.click("#watch")
    assert REACHED.search(train(page, here))
    page.goto(f"{here}/compare")
    assert page.locator(".trainings li").count() == 2
    page.locator(".use").click()
    page.locator(".trainings li.answers h2", has_text="0001-").wait_for()
    every = [str(drawn / name / "30.png") for name in NAMES]
    said = [answers(page, here, picture) for picture in every]
    assert said == list(NAMES)
    for step in STEPS:
        page.goto(f"{here}/{step}")
        page.wait_for_timeout(300)
        keep(page, f"studio_{step}_en_light")
        check_with_axe(page)
    phone = opened(
        browser, problems, viewport={"width": 360, "height": 740}, locale="ko",
        color_scheme="dark", has_touch=True,
    )  # fmt: skip
    for step in ("", *(f"/by-mouse/{step}" for step in STEPS)):
        phone.goto(f"{address}{step}")
        phone.wait_for_timeout(300)
        keep(phone, f"studio{step.replace('/', '_')}_ko_dark")
        check_with_axe(phone)
        assert phone.locator("body").evaluate("body => body.scrollWidth <= innerWidth + 1"), step
    phone.context.close()
    page.goto(f"{here}/take")
    with page.expect_download(timeout=900_000) as download:
        page.locator(".make[data-to=web]").click()
        page.locator("#working, #problem").locator("visible=true").first.wait_for()
        page.locator("#working").wait_for(state="hidden", timeout=900_000)
        problem = page.locator("#problem").text_content() or ""
        if "npm" in problem or "fetched" in problem:
            pytest.skip(f"the browsers' runtime cannot be had: {problem}")
        assert problem == ""
    page_file = tmp_path / download.value.suggested_filename
    download.value.save_as(page_file)
    page.context.close()
    assert page_file.suffix == ".html"
    assert answers_away(browser, problems, page_file, every) == said
    assert problems == []


def keep(page, name):
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def tab_to(page, selector, most=80):
    for _ in range(most):
        if page.locator(selector).first.evaluate("one => one === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} cannot be reached by Tab")


def choose_by_key(page, chosen):
    """Open the file dialogue of the field in focus, and choose files.

    Playwright sometimes misses the first dialogue of a page that was just opened.
    """
    for last in (False, False, True):
        try:
            with page.expect_file_chooser(timeout=8000) as chooser:
                page.keyboard.press("Space")
            chooser.value.set_files(chosen)
            return
        except TimeoutError:
            if last:
                raise


@slow
def test_by_the_keyboard_alone(browser, studio, drawn):
    address, _ = studio
    problems = []
    page = opened(browser, problems, viewport={"width": 1280, "height": 900}, locale="en")
    page.goto(address)
    tab_to(page, "#title")
    page.keyboard.type("By keys")
    page.keyboard.press("Enter")
    page.wait_for_url("**/collect")
    for name in NAMES:
        tab_to(page, "#class-name", 200)
        page.keyboard.type(name)
        page.keyboard.press("Enter")
        pick = f'section.card[aria-label="{name}"] .pick'
        page.locator(pick).wait_for(state="attached")
        tab_to(page, pick, 400)
        choose_by_key(page, files(drawn, name))
        page.locator(f'section.card[aria-label="{name}"] .count', has_text="30").wait_for(
            timeout=60_000
        )
    tab_to(page, "#next", 400)
    page.keyboard.press("Enter")
    page.wait_for_url("**/check")
    tab_to(page, 'a.button[href$="/train"]')
    page.keyboard.press("Enter")
    page.wait_for_url("**/train")
    tab_to(page, "input[value='60']")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    tab_to(page, "#minutes")
    page.keyboard.press("Control+A")
    page.keyboard.type("1")
    page.keyboard.press("Enter")
    assert REACHED.search(ended(page))
    tab_to(page, '#ended a[href$="/try"]')
    page.keyboard.press("Enter")
    page.wait_for_url("**/try")
    tab_to(page, "#picture")
    choose_by_key(page, str(drawn / "block" / "30.png"))
    page.locator("#answer .name").wait_for(timeout=60_000)
    assert page.locator("#answer .name").text_content() in NAMES
    page.context.close()
    assert problems == []


def test_closing_the_browser_loses_nothing_and_two_tabs_agree(browser, studio, drawn, monkeypatch):
    # A small network, which is quicker to train and to export.
    monkeypatch.setattr(training, "recipe_name", lambda: training.FROM_SCRATCH)
    address, _ = studio
    problems = []
    one = opened(browser, problems, locale="en")
    here = begun(one, address, "Two tabs")
    two = one.context.new_page()
    two.goto(one.url)
    for name in NAMES[:2]:
        add_class(one, name).locator(".pick").set_input_files(files(drawn, name))
    count(one, 60)
    two.bring_to_front()
    count(two, 60)
    two.goto(f"{here}/train")
    two.click("#begin")
    two.locator("#going").wait_for(timeout=30_000)
    one.context.close()
    again = opened(browser, problems, locale="en")
    again.goto(here)
    assert again.url.endswith("/train"), "the training is still going on"
    again.locator("#keep:enabled").wait_for(timeout=240_000)
    again.click("#keep")
    assert REACHED.search(ended(again))
    again.context.close()
    assert problems == []


def test_the_camera_takes_pictures_while_its_button_is_held(browser, studio):
    address, folder = studio
    problems = []
    page = opened(browser, problems, locale="en")
    begun(page, address, "By camera")
    card = add_class(page, "thing")
    card.locator(".camera").click()
    page.locator("#camera video").evaluate(
        "video => new Promise(done => { if (video.videoWidth) done(); "
        "else video.onloadeddata = () => done(); })"
    )
    page.locator("#hold").hover()
    page.mouse.down()
    page.locator("#shots", has_text="3").wait_for(timeout=60_000)
    page.mouse.up()
    page.locator("#hold:not(.rolling)").wait_for()
    page.click("#camera-done")
    card.locator(".thumbs img").nth(2).wait_for(timeout=60_000)
    taken = list((folder / "by-camera" / "pictures" / "thing").iterdir())
    assert len(taken) >= 3
    groups = {re.search(BURST_PATTERN, file.name)[1] for file in taken}
    assert len(groups) == 1, "what one press took must stay together"
    assert problems == []
    page.context.close()


def failed_run(project, hint):
    """A training of the project that ended with an error."""
    run = Run.create(project.runs_path, "folder")
    run.write_json("recipe.json", {"format": 1, "name": "folder"})
    run.append({"event": "start"})
    run.append({"event": "failed", "message": "a fault that was made", "hint": hint})


@pytest.mark.parametrize(
    ("hint", "reason", "seconds"),
    [
        ("mend it so", ("a fault that was made", "mend it so"), "60"),
        ("try --budget 90s", ("The time limit was reached", "Choose a longer time"), "300"),
    ],
)
def test_a_failed_training_is_shown_with_its_reason(browser, studio, drawn, hint, reason, seconds):
    address, folder = studio
    project = projects.create_project(folder, f"Failed {seconds}")
    for name in NAMES:
        shutil.copytree(drawn / name, project.pictures / name)
    failed_run(project, hint)
    problems = []
    page = opened(browser, problems, locale="en")
    page.goto(f"{address}/{project.name}/train")
    page.locator("#failed").wait_for()
    text = page.locator("#failed").text_content()
    assert all(part in text for part in reason)
    assert page.locator("#ended").is_hidden() and page.locator("#begin").is_enabled()
    assert page.locator("input[name=seconds]:checked").get_attribute("value") == seconds
    keep(page, f"studio_failed_{seconds}")
    check_with_axe(page)
    page.context.close()
    assert problems == []
