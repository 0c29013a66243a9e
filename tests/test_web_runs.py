"""The pages about runs, while they train, when they are done, and when somebody removes them."""

import asyncio
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn import folder
from fastapi.testclient import TestClient
from portables import by_brightness

from eyesight.auditing import record
from eyesight.auditing.record import AuditRecord
from eyesight.data import dataset
from eyesight.data.prepare import encode_png
from eyesight.exporting.onnx_file import file_of
from eyesight.inference import onnx_classifier
from eyesight.recipe import Data
from eyesight.results.predictions import Predictions, write_arrays
from eyesight.results.scores import MEASURES
from eyesight.runs import Run
from eyesight.views import words
from eyesight.web import i18n, run_table
from eyesight.web.application import application
from eyesight.web.routes import confusion, events
from eyesight.web.schemas import RunRow

CLASSES = ("cat", "<b>dog</b>")


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def client(tmp_path, runs):
    return TestClient(
        application(onnx_classifier.load(by_brightness(tmp_path / "it.onnx")), runs),
        base_url="http://localhost",
    )


def begun(folder, name="pets"):
    run = Run.create(folder, name)
    run.write_json("recipe.json", {"format": 1, "name": name})
    run.append({"event": "start"})
    for number in (1, 2):
        losses = {
            "train_loss": 1 / number,
            "train_top1": 0.5,
            "validation_loss": 1.1 / number,
            "validation_top1": 0.4,
        }
        run.append(
            {
                "event": "epoch",
                "epoch": number,
                "progress": number / 2,
                "lr": 0.1,
                "seconds": 1.0,
                "best": True,
                **losses,
            }
        )
    return run


def test_the_page_of_a_run_names_the_parts_of_an_audit_without_time(client, runs):
    run = begun(runs)
    share = {"value": 0.0, "low": 0.0, "high": 0.0}
    kept = AuditRecord("toy", "s", 9, "f", share, (), (), (), (), ())
    kept.save(run.path / record.FILE)
    assert "too short for" not in client.get(f"/runs/{run.name}").text
    replace(kept, unfinished={"series": "not searched for"}).save(run.path / record.FILE)
    text = client.get(f"/runs/{run.name}").text
    assert "The budget was too short for:" in text
    assert "series (not searched for)" in text


def test_a_row_shows_where_a_training_is_after_it_failed_and_was_resumed(runs):
    run = begun(runs)
    run.append({"event": "failed", "message": "the disk is full"})
    failed = run_table.row(run)
    assert (failed.status, failed.epochs, failed.problem) == ("failed", 2, "the disk is full")
    run.append({"event": "start"})
    again = run_table.row(run)
    assert (again.status, again.epochs, again.progress) == ("interrupted", 2, 1.0)
    run.append({"event": "epoch", "epoch": 1, "progress": 0.5})
    with (run.path / "log.jsonl").open("ab") as log:
        log.write(b'{"event": "epo')
    assert (run_table.row(run).epochs, run_table.row(run).progress) == (1, 0.5)


def done(folder):
    run = begun(folder)
    labels, values = (
        np.array([0, 0, 1, 1]),
        np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]], np.float32),
    )
    Predictions(("a.png", "b.png", "c.png", "d.png"), labels, values, CLASSES).save(
        run.path / "predictions.npz"
    )
    pixels = np.zeros((1, 1, 8, 8), np.uint8)
    write_arrays(
        run.path / "gallery.npz",
        samples_pixels=pixels,
        samples_labels=labels[:1],
        mistakes_pixels=pixels,
        mistakes_index=np.array([1]),
    )
    run.append(
        {
            "event": "done",
            "test": {"n": 4, "top1": 0.75, "interval": [0.3, 0.95]},
            "seconds": {"total": 2.0},
            "parameters": 5,
        }
    )
    return run


def test_the_table_names_every_run_and_escapes_what_it_shows(client, runs):
    first, second = done(runs), begun(runs, "other")
    text = client.get("/runs").text
    assert text.index(second.name) < text.index(first.name), "the newest comes first"
    assert "75.00\N{NO-BREAK SPACE}%" in text and "interrupted" in text


@pytest.mark.skipif(not words.can_draw("한"), reason="no font with Hangul is installed")
@pytest.mark.parametrize("figure", ["loss.png", "confusion.png", "calibration.png"])
def test_figures_are_in_the_language_of_the_pages(client, runs, figure):
    address = f"/runs/{done(runs).name}/{figure}"
    english = client.get(address).content
    assert client.get(address, headers={"Accept-Language": "ko"}).content != english
    client.cookies.set(i18n.COOKIE, "ko")
    assert client.get(address).content != english


def test_a_page_shows_a_run_with_its_figures_and_downloads(client, runs):
    run = done(runs)
    text = client.get(f"/runs/{run.name}").text
    assert "75.00" in text and "predicted as" in text and "mistakes/0.png" in text
    assert "<b>dog</b>" not in text and "&lt;b&gt;dog" in text
    for figure in ("loss", "accuracy", "confusion", "calibration", "mistakes/0"):
        answer = client.get(f"/runs/{run.name}/{figure}.png")
        assert answer.headers["content-type"] == "image/png" and answer.content.startswith(
            b"\x89PNG"
        ), figure
    rows = client.get(f"/runs/{run.name}/predictions.csv").text.splitlines()
    assert (
        rows[0] == "id,true,predicted,probability"
        and rows[2] == "b.png,cat,<b>dog</b>,0.800000"
        and len(rows) == 5
    )
    korean = run.path.rename(runs / "0009-글자")
    assert (
        client.get(f"/runs/{korean.name}/predictions.csv")
        .headers["content-disposition"]
        .endswith("0009-%EA%B8%80%EC%9E%90.csv")
    )
    korean.rename(run.path)
    for missing in ("nothing.png", "mistakes/7.png", "model.onnx"):
        assert client.get(f"/runs/{run.name}/{missing}").status_code == 404
    file_of(run).parent.mkdir()
    file_of(run).write_bytes(b"onnx")
    assert client.get(f"/runs/{run.name}/model.onnx").content == b"onnx"


def test_the_report_is_shown_without_being_allowed_anything(client, runs):
    answer = client.get(f"/runs/{done(runs).name}/report")
    assert answer.status_code == 200 and "sandbox" in answer.headers["content-security-policy"]


def test_a_run_that_has_just_begun_has_a_page(client, runs):
    run = Run.create(runs, "new")
    run.write_json("recipe.json", {"format": 1, "name": "new"})
    assert client.get(f"/runs/{run.name}").status_code == 200
    assert client.get(f"/runs/{run.name}/loss.png").status_code == 404
    assert client.get(f"/runs/{run.name}/predictions.csv").status_code == 404


def test_a_run_removed_while_its_page_is_open(client, runs):
    run = done(runs)
    assert client.get(f"/runs/{run.name}").status_code == 200
    shutil.rmtree(run.path)
    for path in ("", "/loss.png", "/report", "/predictions.csv", "/model.onnx", "/mistakes/0.png"):
        answer = client.get(f"/runs/{run.name}{path}")
        assert answer.status_code == 404 and "no run" in answer.json()["error"], path
    assert client.get(f"/api/runs/{run.name}/events").status_code == 404


def test_damaged_predictions_are_said_to_be_damaged(client, runs):
    run = done(runs)
    (run.path / "predictions.npz").write_bytes(b"PK broken")
    answer = client.get(f"/runs/{run.name}")
    assert answer.status_code == 404 and "predictions.npz" in answer.json()["error"]


def test_a_finished_log_is_told_to_its_end(client, runs):
    answer = client.get(f"/api/runs/{done(runs).name}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [event.get("event") for event in told] == ["start", "epoch", "epoch", "done", None]
    assert "event: end" in answer.text


def test_a_growing_log_is_followed_torn_lines_and_all(runs, monkeypatch):
    monkeypatch.setattr(events, "PAUSE", 0.01)
    run = begun(runs)
    file = run.path / "log.jsonl"

    async def watch():
        stream = events.follow(file)
        first = [await anext(stream) for _ in range(3)]
        with file.open("ab") as log:
            log.write(b'{"event": "epo')
        coming = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.05)
        assert not coming.done()
        with file.open("ab") as log:
            log.write(b'ch", "epoch": 3}\nno json\n')
        third = await coming
        file.unlink()
        return first, third, await anext(stream)

    first, third, last = asyncio.run(watch())
    assert len(first) == 3 and '"epoch": 3' in third and "gone" in last


def test_a_cell_of_the_matrix_leads_to_its_pictures(client, runs):
    run = done(runs)
    text = client.get(f"/runs/{run.name}").text
    assert (
        f'href="/runs/{run.name}/pictures?true=0&amp;said=1" aria-label="cat predicted as &lt;b&gt;dog&lt;/b&gt;: 1"'
        in text
    )
    page = client.get(f"/runs/{run.name}/pictures?true=0&said=1").text
    assert "b.png" in page and "pictures/1.png" in page and "no longer on this machine" in page
    assert client.get(f"/runs/{run.name}/pictures/1.png").content.startswith(b"\x89PNG")
    assert "pictures/2.png" not in client.get(f"/runs/{run.name}/pictures?true=1&said=1").text, (
        "only what the run kept can be shown"
    )
    for query in ("true=2&said=0", "true=-1&said=0", "true=x&said=0", ""):
        assert client.get(f"/runs/{run.name}/pictures?{query}").status_code in (404, 422)
    assert client.get(f"/runs/{run.name}/pictures/2.png").status_code == 404


@pytest.mark.parametrize("key", ["../../elsewhere", "absolute", None, "..", "index"])
def test_only_prepared_data_is_looked_for_and_nothing_else_on_the_disk(
    client, runs, tmp_path, key, monkeypatch
):
    run, opened = done(runs), []
    monkeypatch.setattr(confusion, "open_store", opened.append)
    run.write_json(
        "data.json", {"classes": ["a"], "store": str(tmp_path) if key == "absolute" else key}
    )
    client.get(f"/runs/{run.name}/pictures/1.png")
    assert opened == []
    run.write_json("data.json", {"classes": ["a"], "store": "0" * 64})
    client.get(f"/runs/{run.name}/pictures/1.png")
    assert [folder.name for folder in opened] == ["0" * 64]


def test_all_pictures_are_shown_where_the_prepared_data_is_at_hand(client, runs, tmp_path):
    data = dataset.load(Data(str(folder(tmp_path / "shapes", 60)), channels=1))
    run = begun(runs)
    run.write_json("data.json", {"classes": data.test.classes, "store": data.store.key})
    values = np.full((len(data.test), 3), [0.1, 0.6, 0.3], np.float32)
    Predictions(data.test.ids, data.test.labels.numpy(), values, data.test.classes).save(
        run.path / "predictions.npz"
    )
    page = client.get(f"/runs/{run.name}/pictures?true=0&said=1").text
    places = np.flatnonzero(data.test.labels.numpy() == 0)
    assert (
        len(places) > 1
        and page.count("<figcaption>") == len(places)
        and "not on this machine" not in page
    )
    shown = client.get(f"/runs/{run.name}/pictures/{places[1]}.png").content
    assert shown == encode_png(data.test.take(torch.tensor(places[1:2])).numpy()[0])


def test_ticked_runs_are_drawn_together(client, runs):
    first, second = done(runs), begun(runs, "other")
    text = client.get(f"/runs?run={first.name}&run=nowhere").text
    assert text.count(" checked") == 1 and f"/curves/loss.png?run={first.name}&amp;" in text
    for measure in ("loss", "accuracy"):
        answer = client.get(f"/curves/{measure}.png?run={first.name}&run={second.name}")
        assert answer.headers["content-type"] == "image/png"
    assert client.get("/curves/lr.png?run=" + first.name).status_code == 404
    assert client.get("/curves/loss.png?run=nowhere").status_code == 404
    assert (
        client.get("/curves/loss.png").status_code
        == client.get("/curves/loss.png?" + "run=a&" * 13).status_code
        == 422
    )


def test_what_the_doctor_found_stands_on_the_page(client, runs):
    run = done(runs)
    run.write_json(
        "doctor.json",
        {
            "findings": [
                {
                    "title": "It <stopped>",
                    "severity": "warning",
                    "evidence": "loss",
                    "remedy": "less",
                }
            ]
        },
    )
    text = client.get(f"/runs/{run.name}").text
    assert 'warning: <span lang="en">It &lt;stopped&gt;' in text and "Remedy" in text


def test_a_run_that_prepares_is_said_to_prepare_and_its_log_is_waited_for(
    client, runs, monkeypatch
):
    monkeypatch.setattr(events, "PAUSE", 0.01)
    run = Run.create(runs, "new")
    run.write_json("recipe.json", {"format": 1, "name": "new"})
    with run.hold():
        assert client.get("/api/runs").json()["runs"][0]["status"] == "preparing"
    assert client.get("/api/runs").json()["runs"][0]["status"] == "interrupted"

    async def first_event():
        stream = events.follow(run.path / "log.jsonl")
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.05)
        assert not waiting.done(), "nothing is said to be gone while the run prepares"
        run.append({"event": "start"})
        return await asyncio.wait_for(waiting, 10)

    assert '"start"' in asyncio.run(first_event())


def test_the_table_can_be_searched_sorted_and_paged(client, runs, monkeypatch):
    monkeypatch.setattr(run_table, "PAGE", 2)
    first, second, third = done(runs), begun(runs, "other"), begun(runs, "third")
    third.append({"event": "failed", "message": "the disk is full"})

    def names(**query):
        text = client.get("/runs", params=query).text
        return re.findall(r'<tr data-run="([^"]+)"', text)

    assert names() == [third.name, second.name], "the newest first, two on a page"
    assert names(page=2) == [first.name]
    assert names(search="OTHER") == [second.name]
    assert names(search="disk full") == [third.name], "the reason of a failure is searched too"
    assert names(status="done") == [first.name]
    assert names(sort="score")[0] == first.name, "runs without a score come last"
    assert names(sort="score", up=True)[0] == first.name
    assert names(sort="name", up=True) == [first.name, second.name]
    assert client.get("/runs?sort=nothing").status_code == 422
    assert "the disk is full" in client.get("/runs").text


def test_scores_of_different_measures_are_named_and_sorted_apart():
    def of(name, measure, value):
        return RunRow(name=name, recipe="", status="done", measure=measure, value=value)

    rows = [of("a", "mean IoU", 0.9), of("b", "accuracy", 0.2), of("c", "accuracy", 0.99)]
    ordered = run_table.in_order(rows, "score", descending=False)
    assert [row.name for row in ordered] == ["b", "c", "a"]


@pytest.mark.parametrize("measure", MEASURES.values(), ids=lambda measure: measure.key)
def test_a_score_is_named_in_every_language(measure):
    row = RunRow(name="a", recipe="", status="done", measure=measure.title, value=0.5)
    for language in i18n.LANGUAGES:
        t = i18n.translator(language)
        words = f"{t(f'measure.{measure.key}')} {measure.text(0.5)}"
        assert run_table.score_text(row, t) == words
    english = run_table.score_text(row, i18n.translator("en"))
    assert english == f"{measure.title} {measure.text(0.5)}"


def test_the_table_and_the_page_of_a_run_name_its_score_in_korean(client, runs):
    run = begun(runs)
    run.append({"event": "done", "test": {"n": 4, "mean_iou": 0.75}, "parameters": 5})
    run.write_json("recipe.json", {"format": 1, "name": "pets", "data": {"target": "mask"}})
    for page in ("/runs", f"/runs/{run.name}"):
        text = client.get(page, headers={"Accept-Language": "ko"}).text
        assert "평균 IoU 75.00" in text and "mean IoU" not in text, page


def test_a_row_is_read_once_while_its_run_stays_as_it_is(client, runs, monkeypatch):
    run = done(runs)
    assert client.get("/api/runs").json()["runs"][0]["value"] == 0.75
    monkeypatch.setattr(run_table, "build_row", lambda run: pytest.fail("read again"))
    assert client.get("/api/runs").json()["runs"][0]["value"] == 0.75
    monkeypatch.undo()
    run.append({"event": "done", "test": {"top1": 0.5}})
    assert client.get("/api/runs").json()["runs"][0]["value"] == 0.5


def test_the_gallery_is_read_once_for_all_mistakes(client, runs, monkeypatch):
    run = done(runs)
    reads = []
    monkeypatch.setattr(Run, "gallery", counted(Run.gallery, reads))
    for _ in range(3):
        assert client.get(f"/runs/{run.name}/mistakes/0.png").status_code == 200
    assert len(reads) == 1


def counted(function, calls):
    def call(self):
        calls.append(self.path)
        return function(self)

    return call
