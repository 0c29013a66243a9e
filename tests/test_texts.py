"""Every word of the pages exists in every language, and every visitor reads the language
they want.
"""

import ast
import json
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from portables import by_brightness

from eyesight.inference import onnx_classifier
from eyesight.web import i18n
from eyesight.web.application import application

WEB = Path(i18n.__file__).parent
TEMPLATES, SCRIPTS = (
    sorted((WEB / "templates").glob("*.html")),
    sorted((WEB / "static").glob("*.js")),
)
PAGES = {key.partition(".")[0] for key in i18n.texts("en")}
KEY = re.compile(rf"""["'`]((?:{"|".join(PAGES)})\.[a-z0-9_]*)["'`$]""")
CALL = re.compile(r"""\bt\(\s*["'`]([a-z0-9_.]+)["'`$]""")
WORDS = re.compile(r">[^<>{}]*[A-Za-z]{3}[^<>{}]*<")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    file = by_brightness(tmp_path_factory.mktemp("it") / "it.onnx")
    return TestClient(application(onnx_classifier.load(file)), base_url="http://localhost")


def quoted(files):
    """Everything in these files that looks like a key; one that ends with a dot or a dash below
    stands for all that begin so.
    """
    return {key for file in files for key in KEY.findall(file.read_text(encoding="utf-8"))}


def placeholders(text):
    return sorted(re.findall(r"\{(\w*)\}", text))


@pytest.mark.parametrize("language", i18n.LANGUAGES)
def test_each_language_says_the_same_things(language):
    english, other = i18n.texts("en"), i18n.texts(language)
    assert list(other) == list(english), "the same keys in the same order"
    for key, text in english.items():
        assert placeholders(other[key]) == placeholders(text), key
        assert other[key].strip() == other[key] and other[key] and "<" not in other[key], key
        assert re.sub(r"\{\w+\}", "", other[key]).count("{") == 0, key
        assert re.fullmatch(r"[a-z]+\.[a-z0-9_]+", key), key


def test_no_key_is_named_twice():
    for language in i18n.LANGUAGES:
        names = re.findall(
            r'^  "([^"]+)":',
            (WEB / "translations" / f"{language}.json").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
        assert len(names) == len(set(names))


def test_every_word_of_a_figure_that_pages_show_exists_and_no_other():
    source = Path(i18n.__file__).parents[1]
    files = [*(source / "views").glob("*.py"), source / "comparison" / "plots.py"]
    drawn = {
        call.args[0].value
        for file in files
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", "") == "word"
        and isinstance(call.args[0], ast.Constant)
    }
    english = i18n.texts("en")
    assert drawn <= set(i18n.chart_words("ko"))
    assert {text for key, text in english.items() if key.startswith("chart.")} <= drawn


def test_every_text_that_is_used_exists_and_no_other():
    known = set(i18n.texts("en"))
    files = [*TEMPLATES, *SCRIPTS, *WEB.rglob("*.py")]
    called = {
        key
        for file in (*TEMPLATES, *SCRIPTS)
        for key in CALL.findall(file.read_text(encoding="utf-8"))
    }
    assert {key for key in called if not key.endswith((".", "_"))} <= known
    used = quoted(files)
    beginnings = tuple(key for key in used if key.endswith((".", "_")))
    assert {key for key in known if key not in used and not key.startswith(beginnings)} == set(), (
        "nobody says these"
    )
    assert all(any(key.startswith(beginning) for key in known) for beginning in beginnings)


def test_every_script_gets_the_texts_it_reads():
    for template in TEMPLATES:
        page = template.read_text(encoding="utf-8")
        given = set(re.findall(r'"(\w+)"', "".join(re.findall(r"set speaks = \((.*?)\)", page))))
        for name in re.findall(r"/static/(\w+\.js)", page):
            if name != "texts.js":
                assert {
                    key.partition(".")[0] for key in quoted([WEB / "static" / name])
                } <= given, (template.name, name)


def test_no_words_stand_in_the_templates():
    for template in TEMPLATES:
        page = re.sub(
            r"\{[{%#].*?[%}#]\}", "", template.read_text(encoding="utf-8"), flags=re.DOTALL
        )
        page = (
            re.sub(r"<(pre|code|title|kbd)\b.*?</\1>", "", page, flags=re.DOTALL)
            .replace(">eyesight<", "><")
            .replace(">API<", "><")
        )
        assert not WORDS.findall(page), template.name
        assert not re.findall(r'(?:alt|title|aria-label|placeholder)="[^"]*[a-z]{3}', page), (
            template.name
        )


@pytest.mark.parametrize(
    "accept, expected",
    [
        ("", "en"),
        ("ko", "ko"),
        ("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", "ko"),
        ("en-GB, ko;q=0.9", "en"),
        ("de, fr;q=0.8, KO;q=0.3, en; q=0.2", "ko"),
        ("ko;q=0, en;q=0.1", "en"),
        ("ko;q=0", "en"),
        ("de", "en"),
        (",;q=x, %%, ko;q=7", "en"),
    ],
)
def test_the_browser_chooses(accept, expected):
    assert i18n.asked_for(accept) == expected


def test_pages_speak_the_language_asked_for(client):
    english, korean = (
        client.get("/", headers={"Accept-Language": name}).text for name in ("en", "ko-KR")
    )
    assert '<html lang="en">' in english and i18n.texts("en")["front.kept"] in english
    assert '<html lang="ko">' in korean and i18n.texts("ko")["front.kept"] in korean
    found = json.loads(
        re.search(r'<script type="application/json" id="texts">(.*?)</script>', korean)[1]
    )
    assert found["front.looking"] == i18n.texts("ko")["front.looking"] and not any(
        key.startswith("runs.") for key in found
    )


def test_a_visitor_who_chooses_is_remembered_and_stays_on_the_page(client):
    assert 'href="/language/ko?back=/runs"' in client.get("/runs").text
    answer = client.get("/language/ko?back=/runs", follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "/runs"
    assert "samesite=lax" in answer.headers["set-cookie"].lower()
    assert '<html lang="ko">' in client.get("/runs", headers={"Accept-Language": "en"}).text
    client.get("/language/en")
    assert '<html lang="en">' in client.get("/runs", headers={"Accept-Language": "ko"}).text
    client.cookies.clear()
    client.cookies.set("language", "xx")
    assert '<html lang="en">' in client.get("/runs").text, "an unknown choice is none"
    client.cookies.clear()


def test_a_choice_of_language_keeps_what_was_chosen_on_the_page(client):
    link = re.search(r'href="(/language/ko[^"]*)"', client.get("/runs?run=a&run=b%26c").text)[1]
    answer = client.get(link.replace("&amp;", "&"), follow_redirects=False)
    assert answer.headers["location"] == "/runs?run=a&run=b%26c"
    client.cookies.clear()


@pytest.mark.parametrize(
    "back", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "", "/a b"]
)
def test_choosing_a_language_leads_nowhere_else(client, back):
    answer = client.get("/language/xx", params={"back": back}, follow_redirects=False)
    assert (
        answer.status_code == 303
        and answer.headers["location"] == "/"
        and "set-cookie" not in answer.headers
    )


def test_values_are_escaped_unless_they_are_marked_safe():
    said = i18n.translator("en")("run.said", true="<b>", said=i18n.Markup("<i>"), share=1)
    assert said == "&lt;b&gt;, predicted <i> (1\N{NO-BREAK SPACE}%)"
    with pytest.raises(KeyError):
        i18n.translator("ko")("nothing.here")


def test_the_word_is_image():
    page = json.loads((WEB.parent / "exporting/page/en.json").read_text(encoding="utf-8"))
    for key, text in {**i18n.texts("en"), **page}.items():
        assert "picture" not in re.sub(r"\{\w+\}", "", text).lower(), key
