"""What the service answers, and to whom."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from drawn import png
from fastapi.testclient import TestClient
from portables import by_brightness

from eyesight.errors import UserError
from eyesight.exporting import onnx_file
from eyesight.exporting.onnx_file import file_of
from eyesight.inference import onnx_classifier
from eyesight.runs import Run
from eyesight.system.child_process import Finished
from eyesight.web import server, uploads
from eyesight.web.application import application
from eyesight.web.limits import Refused

HERE = "http://127.0.0.1:8000"
WHITE, GREY = png(np.full((9, 9), 255, np.uint8)), png(np.full((9, 9), 130, np.uint8))


@pytest.fixture
def known(tmp_path):
    return onnx_classifier.load(by_brightness(tmp_path / "lamp.onnx", accuracy=0.9))


@pytest.fixture
def client(known):
    with TestClient(application(known), base_url=HERE) as made:
        yield made


def test_a_bare_picture_and_one_in_a_form_get_the_same_answer(client):
    bare = client.post("/api/predict", content=WHITE)
    form = client.post("/api/predict", files={"picture": ("any.txt", WHITE, "text/plain")})
    assert bare.status_code == form.status_code == 200
    assert bare.json() == form.json()
    assert [named["class"] for named in bare.json()["top"]] == ["bright", "dark"]
    assert bare.json()["top"][0]["probability"] > 0.99


def test_several_pictures_in_one_form_get_the_answers_they_get_alone(client):
    pictures = [WHITE, b"no picture", GREY, WHITE]
    answers = client.post(
        "/api/predict/many?top=1",
        files=[("picture", ("a.png", one, "image/png")) for one in pictures],
    ).json()["answers"]
    alone = [client.post("/api/predict?top=1", content=one).json() for one in pictures]
    assert [answer.get("error") for answer in answers] == [None, alone[1]["error"], None, None]
    assert answers[1]["hint"].startswith("send a JPEG")
    cut = client.post("/api/predict/many", files=[("picture", ("a.png", WHITE[:40]))]).json()[
        "answers"
    ][0]
    assert "error" in cut and "again" in cut["hint"]
    for place in (0, 2, 3):
        assert (
            answers[place]["top"][0]["class"] == alone[place]["top"][0]["class"]
            and answers[place]["sure"] == alone[place]["sure"]
        )
        assert answers[place]["top"][0]["probability"] == pytest.approx(
            alone[place]["top"][0]["probability"], abs=1e-6
        )
    assert client.post("/api/predict/many", content=WHITE).status_code == 422
    too_many = client.post(
        "/api/predict/many", files=[("picture", ("a.png", WHITE, "image/png"))] * 65
    )
    assert too_many.status_code == 422 and "more than 64 files" in too_many.json()["error"]


PART = b'--e d\r\nContent-Disposition: form-data; name="a"\r\n\r\nfield\r\n'
FILE = b"--e d\r\ncontent-type: image/png\r\ncontent-disposition: form-data; name=\"a\"; filename*=utf-8''x\r\n\r\n"
QUOTED = 'multipart/form-data; charset=utf-8; boundary="e d"'


def test_forms_are_read_however_they_are_written():
    body = PART + FILE + b"one\r\n--two\r\n--e" + b"\r\n" + PART + FILE + b"\r\n--e d--\r\nepilogue"
    assert uploads.files(body, QUOTED, 2) == [b"one\r\n--two\r\n--e", b""]
    assert uploads.files(b"preamble\r\n" + FILE + b"x\r\n--e d--", QUOTED, 1) == [b"x"]
    for broken, why in (
        (body[:-20], "does not end"),
        (b"", "no parts"),
        (PART * 100 + b"--e d--", "too many"),
        (PART + b"--e d--", "no file"),
    ):
        with pytest.raises(Refused, match=why) as refused:
            uploads.files(broken, QUOTED, 2)
        assert refused.value.status == 422


def test_top_and_doubt(client):
    sure, doubtful = (
        client.post("/api/predict?top=1", content=picture).json() for picture in (WHITE, GREY)
    )
    assert len(sure["top"]) == 1 and sure["sure"] is True and sure["threshold"] == 0.8
    assert doubtful["sure"] is False
    assert client.post("/api/predict?top=0", content=WHITE).status_code == 422
    assert "top" in client.post("/api/predict?top=x", content=WHITE).json()["error"]


def test_without_validation_pictures_nobody_claims_to_be_sure(tmp_path):
    app = application(onnx_classifier.load(by_brightness(tmp_path / "it.onnx", threshold=None)))
    answer = TestClient(app, base_url=HERE).post("/api/predict", content=WHITE).json()
    assert answer["sure"] is None and answer["threshold"] is None


def test_classes_health_and_unknown_paths(client):
    assert client.get("/api/classes").json() == {"classes": ["dark", "bright"]}
    health = client.get("/api/health").json()
    assert (
        health["status"] == "ok"
        and health["name"] == "lamp"
        and health["shape"] == [1, 8, 8]
        and health["accuracy"] == 0.9
    )
    assert client.get("/nowhere").json()["error"] == "Not Found"
    assert client.get("/api/predict").status_code == 405


def test_every_answer_tells_the_browser_to_be_careful(client):
    for response in (
        client.get("/"),
        client.get("/nowhere"),
        client.post("/api/predict", content=b"no"),
        client.get("/static/front.js"),
    ):
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'") and "frame-ancestors 'none'" in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in response.headers


def test_pages_ask_nobody_else_for_anything(client):
    for path in ("/", "/docs", "/static/docs.js", "/static/front.js", "/static/pages.css"):
        text = client.get(path).text.replace(HERE, "")
        assert "https://" not in text and "http://" not in text, path
        assert "<script>" not in text and "style=" not in text and "onclick" not in text, path
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths["/api/predict"]["post"]["requestBody"]["content"]) == {
        "image/*",
        "multipart/form-data",
    }
    assert {"413", "415", "422", "503"} <= set(paths["/api/predict"]["post"]["responses"])


def test_other_names_of_this_machine_and_other_sites_are_refused(client):
    assert client.get("/api/health", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/api/health", headers={"Host": "localhost:8000"}).status_code == 200
    assert (
        client.post(
            "/api/predict", content=WHITE, headers={"Origin": "http://evil.example"}
        ).status_code
        == 403
    )
    assert client.post("/api/predict", content=WHITE, headers={"Origin": "null"}).status_code == 403
    assert client.post("/api/predict", content=WHITE, headers={"Origin": HERE}).status_code == 200


def test_a_token_is_asked_for(known):
    client = TestClient(application(known, token="geheim"), base_url=HERE, follow_redirects=False)
    assert client.post("/api/predict", content=WHITE).status_code == 401
    assert client.get("/", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/?token=wrong").status_code == 401
    assert client.get("/api/health").status_code == 200
    assert client.get("/", headers={"Cookie": "eyesight_token=wrong"}).status_code == 401


def test_a_token_opens_everything(known):
    client = TestClient(application(known, token="s3cret"), base_url=HERE, follow_redirects=False)
    assert client.get("/api/classes", headers={"Authorization": "Bearer s3cret"}).status_code == 200
    visit = client.get("/?token=s3cret")
    assert (
        visit.status_code == 303
        and "HttpOnly" in visit.headers["set-cookie"]
        and "samesite=strict" in visit.headers["set-cookie"].lower()
    )
    assert client.get("/").status_code == 200


def make_run(folder, name="lenet5"):
    run = Run.create(folder, name)
    run.write_json("recipe.json", {"format": 1, "name": name})
    run.append({"event": "start"})
    run.append({"event": "epoch", "epoch": 1, "progress": 0.5, "train_loss": 1.0})
    return run


def test_runs_are_listed_with_what_they_know(known, tmp_path):
    done, open_ = make_run(tmp_path / "runs"), make_run(tmp_path / "runs", "other")
    done.append(
        {
            "event": "done",
            "test": {"top1": 0.5, "interval": [0.4, 0.6]},
            "seconds": {"total": 3.5},
            "parameters": 7,
        }
    )
    broken = make_run(tmp_path / "runs", "broken")
    (broken.path / "recipe.json").write_text("{")
    client = TestClient(application(known, tmp_path / "runs"), base_url=HERE)
    rows = client.get("/api/runs").json()["runs"]
    assert [row["status"] for row in rows] == ["done", "interrupted", "damaged"]
    assert (
        rows[0]["top1"] == 0.5
        and rows[0]["seconds"] == 3.5
        and rows[0]["progress"] == 1
        and rows[1]["progress"] == 0.5
    )
    detail = client.get(f"/api/runs/{done.name}").json()
    assert detail["result"]["parameters"] == 7 and detail["epochs"][0]["train_loss"] == 1.0
    assert client.get(f"/api/runs/{broken.name}").status_code == 404
    for name in ("nothing", "..", "%2e%2e", "..%2fruns", open_.name + "%00"):
        assert client.get(f"/api/runs/{name}").status_code == 404, name


def test_a_run_deleted_meanwhile_is_a_clear_answer(known, tmp_path):
    client = TestClient(application(known, tmp_path / "runs"), base_url=HERE)
    assert client.get("/api/runs").json() == {"runs": []}
    answer = client.get("/api/runs/0001-lenet5")
    assert answer.status_code == 404 and "no run '0001-lenet5'" in answer.json()["error"]


def test_a_port_in_use_names_the_next_free_one():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use") as found:
            server.listen("127.0.0.1", port)
    assert int(found.value.hint.rpartition(" ")[2]) > port


def test_hosts():
    assert (
        server.is_loopback("127.0.0.1")
        and server.is_loopback("::1")
        and server.is_loopback("localhost")
    )
    assert not server.is_loopback("0.0.0.0") and not server.is_loopback("example.org")
    with pytest.raises(UserError, match="no address"):
        server.listen("256.1.1.1", 0)


def test_what_to_serve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for where, message in (("no/where", "no run at"), (".", "contains no runs")):
        with pytest.raises(UserError, match=message):
            server.find(server.Path(where))
    run = make_run(tmp_path / "runs")
    with pytest.raises(UserError, match="has a classifier yet"):
        server.find(tmp_path / "runs")
    with pytest.raises(UserError, match="has no classifier"):
        server.find(run.path)
    run.classifier_path.mkdir()
    run.write_json("classifier/classifier.json", {"weights_sha256": "abc"})
    file_of(run).parent.mkdir()
    by_brightness(file_of(run), weights="abc")
    for where in (run.path, tmp_path / "runs"):
        assert server.find(where) == server.Served(file_of(run), tmp_path / "runs")
    by_brightness(file_of(run), weights="older")
    failed = Finished(1, "", "talk\nerror: the disk is full\nhint: none\n")
    monkeypatch.setattr(onnx_file, "run_eyesight", lambda *_, **__: failed)
    with pytest.raises(UserError, match="could not be exported: the disk is full"):
        server.find(run.path)


def test_what_is_nothing_is_not_said_to_be_exported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused = Finished(2, "", "error: unknown network 'nosuch'\nhint: `eyesight models`\n")
    monkeypatch.setattr(onnx_file, "run_eyesight", lambda *_, **__: refused)
    said = []
    with pytest.raises(UserError, match=r"^unknown network 'nosuch'") as problem:
        server.find(server.Path("nosuch"), said.append)
    assert said == ["nosuch is neither a run nor a file; looking for a pretrained network"]
    assert problem.value.hint == "`eyesight models`"


def test_the_command_is_ready_soon_without_torch(tmp_path):
    file = by_brightness(tmp_path / "lamp.onnx")
    program = (
        "import sys, threading, _thread; from eyesight.cli import main; from eyesight.web import server\n"
        "threading.Thread(target=lambda: (sys.stdin.readline(), print('torch' in sys.modules, flush=True), _thread.interrupt_main()),"
        " daemon=True).start()\n"
        "main.main()"
    )
    began = time.monotonic()
    command = [sys.executable, "-c", program, "serve", str(file), "--port", "0"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as it:
        try:
            url = it.stdout.readline().split()[-1]
            with urllib.request.urlopen(
                urllib.request.Request(f"{url}api/predict", data=WHITE)
            ) as answer:
                assert json.load(answer)["top"][0]["class"] == "bright"
            seconds = time.monotonic() - began
            it.stdin.write("\n")
            it.stdin.flush()
            assert it.stdout.readline() == "False\n", "torch was imported"
        finally:
            it.kill()
    assert seconds < 8, "2 seconds on a quiet machine"
