"""Drawn boxes and photographed codes are read, empty boxes stay empty, and nothing is kept that
nobody asked to keep.
"""

import json
import threading
import time
from base64 import b64decode
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from drawn import png
from fastapi.testclient import TestClient
from portables import by_brightness
from readers import by_likeness
from written import box, photo

from eyesight.data import decode
from eyesight.errors import UserError
from eyesight.exporting import onnx_file
from eyesight.exporting.onnx_file import file_of
from eyesight.inference import onnx_classifier
from eyesight.reader import mnist_digit
from eyesight.runs import Run, list_runs
from eyesight.web import digit_reader, server, training_job
from eyesight.web.application import application
from eyesight.web.batching import Untrained
from eyesight.web.limits import Limits, Refused
from eyesight.web.samples import Collection

HERE = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return onnx_classifier.load(
        by_likeness(tmp_path_factory.mktemp("it") / "digits.onnx", "3210987654")
    )


@pytest.fixture
def client(known):
    with TestClient(application(known), base_url=HERE) as made:
        yield made


def form(digits):
    return [("picture", ("box.png", png(box(digit)), "image/png")) for digit in digits]


def ask(client, digits, path="boxes"):
    return client.post(f"/api/reader/{path}", files=form(digits))


def digits_run(folder, name="digits", classes="0123456789"):
    """A run with an exported network that knows the digits."""
    run = Run.create(folder, name)
    run.write_json("recipe.json", {"format": 1, "name": name})
    run.append({"event": "start"})
    run.classifier_path.mkdir()
    run.write_json(
        "classifier/classifier.json", {"weights_sha256": "abc", "classes": list(classes)}
    )
    file_of(run).parent.mkdir()
    by_likeness(file_of(run), weights="abc", name=run.name)
    return run


def test_five_boxes_at_once_in_any_order_of_classes(client):
    found = ask(client, "207 5").json()
    assert found["code"] == "207_5"
    assert [one["digit"] for one in found["digits"]] == ["2", "0", "7", None, "5"]
    assert found["digits"][3] == {
        "empty": True,
        "digit": None,
        "probability": None,
        "sure": None,
        "top": [],
        "seen": None,
    }
    first = found["digits"][0]
    assert first["sure"] and first["probability"] == first["top"][0]["probability"] > 0.9
    assert first["top"][0]["class"] == "2" and len(first["top"]) == 3
    assert np.array_equal(
        np.asarray(decode.read(b64decode(first["seen"].partition(",")[2])).image),
        mnist_digit.digit(box("2")),
    )


def test_a_doubtful_digit_is_to_be_checked(known, tmp_path):
    vague = onnx_classifier.load(by_likeness(tmp_path / "vague.onnx", sharpness=3.0))
    strict = onnx_classifier.load(
        by_likeness(tmp_path / "strict.onnx", threshold={"value": 0.99999})
    )
    for it in (vague, strict):
        (one,) = ask(TestClient(application(it), base_url=HERE), "3").json()["digits"]
        assert one["digit"] == "3" and one["sure"] is False


def test_a_photographed_code_is_read_with_places(client):
    picture = photo("40915", frames=True, shadow=0.3, noise=4)
    found = client.post("/api/reader/code", content=png(picture)).json()
    assert found["code"] == "40915" and (found["height"], found["width"]) == picture.shape
    assert [one["x"] for one in found["digits"]] == sorted(one["x"] for one in found["digits"])
    for place, one in enumerate(found["digits"]):
        assert (
            60 + 100 * place < one["x"] < one["x"] + one["width"] < 160 + 100 * place
            and 70 < one["y"] < 70 + one["height"] < 170
        )
    in_form = client.post("/api/reader/code", files={"picture": ("x", png(picture))})
    assert in_form.json() == found
    assert client.post("/api/reader/code", content=png(box(" "))).json()["digits"] == []


def test_a_photographed_code_tells_empty_boxes_and_what_it_left_out(client):
    boxed = png(photo("3 7", frames=True))
    found = client.post("/api/reader/code?digits=3", content=boxed).json()
    assert found["code"] == "3_7" and found["doubtful"] and found["digits"][1]["empty"]
    assert found["digits"][1]["width"] > 50 and found["left_out"] == []
    longer = png(photo("207458"))
    found = client.post("/api/reader/code?digits=5", content=longer).json()
    assert len(found["code"]) == 5 and found["doubtful"] and len(found["left_out"]) == 1
    assert found["left_out"][0]["height"] > 40
    assert client.post("/api/reader/code", content=longer).json()["code"] == "207458"
    assert client.post("/api/reader/code?digits=0", content=boxed).status_code == 422


def test_a_photograph_is_read_without_javascript(client):
    page = client.get("/reader").text
    assert '<form method="post" action="/reader" enctype="multipart/form-data">' in page
    answer = client.post("/reader", files={"picture": ("x.png", png(photo("20745")))})
    assert answer.status_code == 200 and "<b>20745</b>" in answer.text
    empty = client.post("/reader", files={"picture": ("x.png", png(box(" ")))})
    assert "No row of digits" in empty.text


def test_what_is_no_picture_or_too_much_is_refused(known):
    client = TestClient(
        application(known, limits=Limits(bytes=300_000, pixels=90_000)), base_url=HERE
    )
    assert (
        client.post("/api/reader/boxes", files=[("picture", ("a.png", b"text"))]).status_code == 415
    )
    assert client.post("/api/reader/boxes", files=form("1" * 21)).status_code == 422
    assert client.post("/api/reader/boxes", content=b"x").status_code == 422
    assert (
        client.post(
            "/api/reader/boxes",
            content=b"",
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        ).status_code
        == 422
    )
    large = png(np.zeros((1001, 1000), np.uint8))
    assert (
        client.post("/api/reader/boxes", files=[("picture", ("a.png", large))]).status_code == 413
    )
    assert client.post("/api/reader/code", content=large).status_code == 413
    assert client.post("/api/reader/code", content=b"x" * 300_001).status_code == 413
    assert client.post("/api/reader/code", content=b"text").status_code == 415
    assert ask(client, "1").status_code == 200


def test_another_site_cannot_train_or_save(client):
    for path in ("train", "samples?digits=1", "boxes"):
        assert (
            client.post(
                f"/api/reader/{path}", files=form("1"), headers={"Origin": "http://evil.example"}
            ).status_code
            == 403
        )


def test_nothing_is_kept_unless_collecting(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ask(client, "1", "samples?digits=1").status_code == 404
    ask(client, "12")
    client.post("/api/reader/code", content=png(photo("12")))
    assert list(tmp_path.rglob("*")) == []
    assert (
        client.get("/api/reader").json()["collecting"] is False
        and 'id="save"' not in client.get("/reader").text
    )


def test_corrected_digits_are_kept_as_class_folders(known, tmp_path):
    client = TestClient(application(known, collect=tmp_path / "mine"), base_url=HERE)
    assert client.get("/api/reader").json() == {
        "state": "ready", "name": "alike", "run": "", "progress": 0.0, "problem": "", "collecting": True, "samples": 0, "seconds_left": None,
    }  # fmt: skip
    assert ask(client, "17", "samples?digits=77").json() == {"samples": 2}
    assert ask(client, "1", "samples?digits=1").json() == {
        "samples": 2
    }  # the same picture moves to its right name
    files = sorted(path.relative_to(tmp_path / "mine") for path in (tmp_path / "mine").rglob("*.*"))
    assert [path.parent.name for path in files] == ["1", "7"]
    kept = np.asarray(decode.read((tmp_path / "mine" / files[0]).read_bytes()).image)
    assert np.array_equal(kept, mnist_digit.digit(box("1")))
    for digits, boxes in (
        ("12", "1"),
        ("1", " "),
        ("12", "1 "),
        ("x", "1"),
        ("", "1"),
        ("..", "11"),
    ):
        assert ask(client, boxes, f"samples?digits={digits}").status_code == 422
    assert len(list((tmp_path / "mine").rglob("*.*"))) == 2


def test_a_collection_is_full_some_day(tmp_path):
    collection = Collection(tmp_path / "mine", ("a", "b"), most=3)
    pixels = np.arange(4 * 784).reshape(4, 1, 28, 28).astype(np.uint8)
    pixels[1:, 0, 0, 0] = (1, 2, 3)
    assert collection.keep([("a", one) for one in pixels[:2]]) == 2
    with pytest.raises(Refused) as found:
        collection.keep([("a", one) for one in pixels[2:]])
    assert found.value.status == 507 and len(collection) == 2
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot collect"):
        Collection(tmp_path / "file", ("a",))


def test_the_newest_run_that_knows_the_digits_reads_where_another_network_is_served(tmp_path):
    runs, lamp = tmp_path / "runs", onnx_classifier.load(by_brightness(tmp_path / "lamp.onnx"))
    client = TestClient(application(lamp, runs), base_url=HERE)
    assert client.get("/api/reader").json()["state"] == "untrained"
    refused = ask(client, "1")
    assert refused.status_code == 503 and "Retry-After" in refused.headers
    assert "Train a network for digits" in client.get("/reader").text
    digits_run(runs, "older"), digits_run(runs, "newer"), digits_run(runs, "letters", "abcdefghij")
    restoring = {"weights_sha256": "abc", "classes": list("0123456789"), "target": "picture"}
    digits_run(runs, "autoencoder").write_json("classifier/classifier.json", restoring)
    assert client.get("/api/reader").json()["name"] == "0002-newer"
    assert ask(client, "42").json()["code"] == "42"
    assert client.get("/api/health").json()["name"] == "lamp"


def test_a_run_that_is_being_exported_keeps_nobody_waiting(tmp_path, monkeypatch):
    runs, lamp, go = (
        tmp_path / "runs",
        onnx_classifier.load(by_brightness(tmp_path / "lamp.onnx")),
        threading.Event(),
    )
    file = file_of(digits_run(runs))
    exports = []

    def export(run):
        exports.append(run.name)
        assert go.wait(200)
        return file

    monkeypatch.setattr(onnx_file, "exported", export)
    monkeypatch.setattr(digit_reader, "PATIENCE", 0.05)
    with TestClient(application(lamp, runs), base_url=HERE) as client:
        began, before = time.monotonic(), threading.active_count()
        for _ in range(20):
            now = client.get("/api/reader").json()
            assert (now["state"], now["run"], now["progress"]) == ("training", "0001-digits", 1.0)
        assert time.monotonic() - began < 100 and threading.active_count() < before + 8
        go.set()
        assert until(client, lambda now: now["state"] == "ready")["name"] == "0001-digits"
    assert exports == ["0001-digits"]


@pytest.mark.parametrize("error", [UserError("the disk is full"), OSError("the disk is full")])
def test_a_run_that_cannot_be_exported_says_why(tmp_path, monkeypatch, error):
    runs, lamp = tmp_path / "runs", onnx_classifier.load(by_brightness(tmp_path / "lamp.onnx"))
    digits_run(runs)

    def export(run):
        raise error

    monkeypatch.setattr(onnx_file, "exported", export)
    monkeypatch.setattr(digit_reader, "PATIENCE", 100)
    with TestClient(application(lamp, runs), base_url=HERE) as client:
        for _ in range(2):
            now = client.get("/api/reader").json()
            assert (now["state"], now["problem"]) == ("failed", "the disk is full")


@pytest.mark.parametrize("cause", ["files", "time"])
def test_a_run_that_could_not_be_exported_once_is_tried_again(tmp_path, monkeypatch, cause):
    runs, lamp, tries = (
        tmp_path / "runs",
        onnx_classifier.load(by_brightness(tmp_path / "lamp.onnx")),
        [],
    )
    run = digits_run(runs)

    def export(run):
        tries.append(run.name)
        if len(tries) == 1:
            raise UserError("the disk is full", "free some space")
        return file_of(run)

    monkeypatch.setattr(onnx_file, "exported", export)
    monkeypatch.setattr(digit_reader, "PATIENCE", 100)
    with TestClient(application(lamp, runs), base_url=HERE) as client:
        for _ in range(3):
            assert client.get("/api/reader").json()["state"] == "failed" and len(tries) == 1, (
                "not with every request"
            )
        if cause == "files":
            (run.classifier_path / "weights.safetensors").write_bytes(b"others")
        else:
            monkeypatch.setattr(digit_reader, "AGAIN", 0.0)
        assert (
            until(client, lambda now: now["state"] == "ready")["name"] == "0001-digits"
            and len(tries) == 2
        )


def test_others_train_and_save_only_with_the_token(tmp_path, monkeypatch):
    lamp, mine = onnx_classifier.load(by_brightness(tmp_path / "lamp.onnx")), tmp_path / "mine"
    monkeypatch.setattr(
        training_job.TrainingJob, "_train", lambda self, command: digits_run(self.runs)
    )
    public = TestClient(
        application(lamp, tmp_path / "runs", hosts=("*",), collect=mine), base_url=HERE
    )
    for path in ("train", "samples?digits=1"):
        refused = ask(public, "1", path)
        assert refused.status_code == 403 and "--token" in refused.json()["hint"]
    assert public.get("/api/reader").json()["state"] == "unable" and not mine.exists()
    with TestClient(
        application(lamp, tmp_path / "runs", hosts=("*",), token="s3cret", collect=mine),
        base_url=HERE,
    ) as known:
        assert known.post("/api/reader/train").status_code == 401
        known.headers["Authorization"] = "Bearer s3cret"
        assert known.post("/api/reader/train").status_code == 202
        until(known, lambda now: now["state"] == "ready")
        assert ask(known, "1", "samples?digits=1").json() == {"samples": 1}


def test_what_a_page_began_is_served_only_where_nobody_trained_anything(tmp_path, monkeypatch):
    monkeypatch.setattr(
        training_job.TrainingJob, "_train", lambda self, command: digits_run(self.runs)
    )
    worker = training_job.TrainingJob(tmp_path, lambda: None)
    worker.busy = True
    worker._work("digits")
    assert worker.problem == "" and server.newest(tmp_path).name == "0001-digits"
    digits_run(tmp_path, "mine"), digits_run(tmp_path, "other")
    worker.busy, worker.before = True, frozenset(run.name for run in list_runs(tmp_path))
    worker._work("digits")
    assert server.newest(tmp_path).name == "0003-other"


def test_the_time_left_follows_from_the_epochs_so_far(tmp_path):
    run = Run.create(tmp_path, "digits")
    assert training_job.seconds_left(run) is None
    now = datetime.now(UTC)

    def event(kind, ago, **values):
        at = (now - timedelta(seconds=ago)).isoformat()
        return json.dumps({"event": kind, "time": at, **values}) + "\n"

    log = event("start", 70)
    (run.path / "log.jsonl").write_text(log)
    assert training_job.seconds_left(run) is None
    log += event("epoch", 10, epoch=1, progress=0.25)
    (run.path / "log.jsonl").write_text(log)
    assert training_job.seconds_left(run) == pytest.approx(170, abs=5)
    log += event("epoch", 2, epoch=2, progress=1.0)
    (run.path / "log.jsonl").write_text(log)
    assert training_job.seconds_left(run) == 0


def test_a_full_disk_is_said_to_be_full(known, tmp_path, monkeypatch):
    client = TestClient(application(known, collect=tmp_path / "mine"), base_url=HERE)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    for name in ("os.fsync", "pathlib.Path.mkdir"):
        with monkeypatch.context() as patched:
            patched.setattr(name, full)
            answer = ask(client, "3", "samples?digits=3")
            assert (
                answer.status_code == 507
                and "full" in answer.json()["error"]
                and answer.json()["hint"]
            ), name
    assert ask(client, "3", "samples?digits=3").json() == {"samples": 1}


def test_an_onnx_file_that_knows_no_digits_says_what_to_do(tmp_path):
    client = TestClient(
        application(onnx_classifier.load(by_brightness(tmp_path / "lamp.onnx"))), base_url=HERE
    )
    assert client.get("/api/reader").json()["state"] == "unable"
    assert client.post("/api/reader/train").status_code == 409
    assert "eyesight train postal_digits" in client.get("/reader").text


def test_a_server_without_anything_offers_to_train_and_serves_what_was_trained(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    served = server.find(server.Path("runs"))
    assert served == server.Served(None, server.Path("runs"))
    go = threading.Event()

    def train(self, command):
        assert command[:2] == ["train", "postal_digits"]
        run = digits_run(self.runs)
        run.append({"event": "epoch", "epoch": 1, "progress": 0.25})
        assert go.wait(20)

    monkeypatch.setattr(training_job.TrainingJob, "_train", train)
    with TestClient(application(Untrained(), served.runs), base_url=HERE) as client:
        assert client.get("/", follow_redirects=False).headers["location"] == "/reader"
        assert client.post("/api/predict", content=png(box("1"))).status_code == 503
        assert client.post("/api/reader/train").status_code == 202
        assert client.post("/api/reader/train").status_code == 409
        now = until(client, lambda now: now["progress"])
        assert (
            now["state"] == "training" and now["run"] == "0001-digits" and now["progress"] == 0.25
        )
        go.set()
        assert until(client, lambda now: now["state"] == "ready")["name"] == "0001-digits"
        assert ask(client, "9").json()["code"] == "9"
        assert (
            client.post("/api/predict", content=png(mnist_digit.digit(box("3")))).json()["top"][0][
                "class"
            ]
            == "3"
        )
        assert client.get("/", follow_redirects=False).status_code == 200


def until(client, found, seconds=200):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now = client.get("/api/reader").json()
        if found(now):
            return now
        time.sleep(0.02)
    raise AssertionError(now)


def test_a_training_that_fails_says_why(tmp_path):
    worker = training_job.TrainingJob(tmp_path / "runs", lambda: None)
    assert worker.start("nonsense")
    end = time.monotonic() + 60
    while worker.busy and time.monotonic() < end:
        time.sleep(0.05)
    assert "unknown recipe" in worker.problem and worker.run is None
    worker.stop()


def test_a_training_does_not_begin_after_the_server_has_stopped(tmp_path):
    worker = training_job.TrainingJob(tmp_path / "runs", lambda: None)
    worker.stop()
    worker._work("nonsense")
    assert worker.process is None and worker.problem == "the training was stopped"
