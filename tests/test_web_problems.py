"""Errors for people are pages in their language; programs get JSON."""

import pytest
from fastapi.testclient import TestClient
from portables import by_brightness

from eyesight.inference import onnx_classifier
from eyesight.web.application import application

BROWSER = {"accept": "text/html,application/xhtml+xml"}
KOREAN = {**BROWSER, "accept-language": "ko"}


@pytest.fixture
def recogniser(tmp_path):
    return onnx_classifier.load(by_brightness(tmp_path / "it.onnx"))


def test_a_missing_page_is_a_page_for_a_browser_and_json_for_a_program(recogniser):
    client = TestClient(application(recogniser), base_url="http://localhost")
    page = client.get("/nothing", headers=BROWSER)
    assert page.status_code == 404 and "Page not found" in page.text
    assert "/docs</span>" not in page.text, "a person has no use for it"
    assert "페이지를 찾을 수 없습니다" in client.get("/runs/nothing", headers=KOREAN).text
    assert set(client.get("/nothing").json()) == {"error", "hint"}
    assert set(client.get("/api/runs/nothing", headers=BROWSER).json()) == {"error", "hint"}


def test_a_fault_of_the_server_is_a_page_too(recogniser, monkeypatch):
    from eyesight.web.routes import runs

    app = application(recogniser)
    monkeypatch.setattr(runs, "select", lambda *_: 1 / 0)
    client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
    page = client.get("/runs", headers=BROWSER)
    assert page.status_code == 500 and "Internal server error" in page.text
    assert "ZeroDivisionError" not in page.text


def test_the_page_that_asks_for_the_token_takes_it(recogniser):
    client = TestClient(application(recogniser, token="s3cret"), base_url="http://localhost")
    page = client.get("/docs", headers=KOREAN)
    assert page.status_code == 401 and 'type="password"' in page.text and "토큰" in page.text
    wrong = client.post("/token", data={"token": "guess", "back": "/docs"}, headers=BROWSER)
    assert wrong.status_code == 401 and "This is not the token" in wrong.text
    assert "This is not the token" not in client.get("/docs", headers=BROWSER).text
    assert 'name="back" value="/docs"' in wrong.text, "the way on is kept"
    assert client.get("/docs", headers=BROWSER).status_code == 401
    right = client.post(
        "/token", data={"token": "s3cret", "back": "/docs"}, headers=BROWSER, follow_redirects=False
    )
    assert (right.status_code, right.headers["location"]) == (303, "/docs")
    assert client.get("/docs", headers=BROWSER).status_code == 200


@pytest.mark.parametrize("back", ["https://elsewhere.example", "//elsewhere.example", "\\\\x"])
def test_the_token_leads_to_no_other_site(recogniser, back):
    client = TestClient(application(recogniser, token="s3cret"), base_url="http://localhost")
    answer = client.post("/token", data={"token": "s3cret", "back": back}, follow_redirects=False)
    assert answer.headers["location"] == "/"
