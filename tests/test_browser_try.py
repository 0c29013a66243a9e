"""An answer reads alike on the first page and in the studio's Try, with and without scripts.

Images of the pages are left in build/pictures for a person to look at.
"""

import json

import pytest
from browsing import LOOKS, NAMES, looked_at, served
from drawn import folder, png
from drawn import pictures as drawn_pictures
from test_browser_runs import fits, keep_picture
from test_web_switch import trained

from eyesight.exporting.onnx_file import file_of
from eyesight.exporting.page_files import PAGE
from eyesight.inference import onnx_classifier
from eyesight.studio import projects
from eyesight.web import i18n
from eyesight.web.application import application
from eyesight.web.limits import Limits
from eyesight.web.routes.pages import doubt_of
from eyesight.web.schemas import Named, Recognised
from eyesight.web.studio.desk import Desk

CLASSES = ["bar", "cross", "ring", "dot", "wave"]
PICTURE = {"name": "a.png", "mimeType": "image/png", "buffer": png(drawn_pictures(1)[0][0, 0])}


def answer(best=0.97, doubt=None, among=None, sure=None):
    """What the service answers about a picture."""
    rest = (1 - best) / (len(CLASSES) - 1)
    top = [Named(name=name, probability=rest) for name in CLASSES]
    top[0] = Named(name=CLASSES[0], probability=best)
    return Recognised(
        top=top,
        set=among,
        level=0.95 if among else None,
        unlike=doubt == "unlike",
        sure=sure,
        threshold=None if sure is None else 0.8,
        other=None,
        doubt=doubt,
    )


DOUBTS = {
    "unlike": answer(0.6, "unlike"),
    "even": answer(0.4, "even", sure=False),
    "two": answer(0.6, "unsure", among=CLASSES[:2], sure=False),
    "three": answer(0.5, "unsure", among=CLASSES[:3], sure=False),
    "many": answer(0.3, "unsure", among=CLASSES, sure=False),
}
TRY = "/studio/shapes/try"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    place = tmp_path_factory.mktemp("try")
    project = projects.create_project(place, "Shapes")
    folder(project.pictures, 180)
    run = trained(project.runs_path, "lamps", ["dark", "bright"])
    app = application(onnx_classifier.load(file_of(run)), studio=Desk(place, Limits()))
    with served(app) as where:
        yield where


@pytest.fixture(params=LOOKS, ids=NAMES)
def page(request, browser, address):
    with looked_at(browser, request.param) as opened:
        opened.words = i18n.texts(opened.language)
        opened.t = i18n.translator(opened.language)
        opened.address = address
        yield opened


def ask(page, path, said, *, heatmap=True):
    """What a page shows about a picture that the service answers so."""
    body = json.dumps({"supports_heatmap": heatmap, **said.model_dump(by_alias=True)})
    page.unroute("**/predict")
    page.route("**/predict", lambda route: route.fulfill(body=body))
    page.goto(page.address + path)
    page.set_input_files("#picture", PICTURE)
    page.locator("#answer .name").wait_for()
    sure = page.locator("#answer .sure")
    return page.locator("#answer .name").text_content(), sure.text_content() if sure.count() else ""


@pytest.mark.whole
def test_a_doubt_reads_alike_on_both_pages(page):
    for kind, said in DOUBTS.items():
        front, studio = ask(page, "/", said), ask(page, TRY, said)
        name = page.words["doubt.nothing_known"] if kind == "unlike" else CLASSES[0]
        assert front == studio == (name, doubt_of(said, page.t)), kind
        assert page.locator("#answer .sure.warn").is_visible()
        assert page.locator("#answer .bar").first.is_hidden() == (kind == "unlike"), kind
        keep_picture(page, f"try_{kind}")
        assert fits(page)


@pytest.mark.whole
def test_a_heatmap_is_offered_only_where_the_network_has_one(page):
    for heatmap in (True, False):
        ask(page, TRY, answer(), heatmap=heatmap)
        assert page.locator("#look").is_visible() == heatmap


@pytest.mark.whole
def test_without_a_doubt_only_a_sure_answer_is_called_sure(page):
    for best, sure, key in (
        (0.97, True, "studio.very_sure"),
        (0.8, True, "studio.rather_sure"),
        (0.6, True, None),
        (0.6, None, "doubt.even"),
    ):
        said = page.words[key] if key else ""
        assert ask(page, TRY, answer(best, sure=sure)) == (CLASSES[0], said)


@pytest.mark.whole
def test_what_can_be_done_with_a_class_of_many_pictures_stays_in_sight(page):
    page.goto(page.address + "/studio/shapes/collect")
    card = page.locator('section.card[aria-label="bar"]')
    card.locator(".thumbs button").first.click()
    assert card.locator(".remove").is_visible() and card.locator(".thumbs li").count() == 60
    assert card.bounding_box()["height"] < page.viewport_size["height"]
    keep_picture(page, "collect_many")
    assert fits(page)


@pytest.mark.parametrize("language", i18n.LANGUAGES)
def test_an_exported_page_knows_nothing_in_the_same_words(language):
    exported = json.loads((PAGE / f"{language}.json").read_text(encoding="utf-8"))
    assert exported["unlike"] == i18n.texts(language)["doubt.nothing_known"]


@pytest.mark.parametrize("language", i18n.LANGUAGES)
def test_a_long_set_is_named_in_part(language):
    t = i18n.translator(language)
    said = doubt_of(DOUBTS["many"], t)
    assert said == t("doubt.unsure_many", others="cross, ring, dot", n=1)
    others = t("doubt.or", some="cross", last="ring")
    assert doubt_of(DOUBTS["three"], t) == t("doubt.unsure", others=others)
    assert doubt_of(DOUBTS["two"], t) == t("doubt.unsure", others="cross")
    assert doubt_of(answer(sure=True), t) == ""
