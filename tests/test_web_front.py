"""The recogniser's page, with and without scripts, and its honesty about what it does not know."""

import html
import io
import re

import numpy as np
import pytest
from drawn import png
from fastapi.testclient import TestClient
from PIL import Image
from portables import by_brightness

from eyesight.exporting import onnx_file
from eyesight.inference import onnx_classifier
from eyesight.results.predictions import write_arrays
from eyesight.runs import Run
from eyesight.system.child_process import Finished
from eyesight.web import i18n, server
from eyesight.web.application import application

WHITE, GREY, BLACK = (png(np.full((9, 9), shade, np.uint8)) for shade in (255, 130, 0))
ENGLISH = i18n.texts("en")


def client(folder, **facts):
    return TestClient(
        application(onnx_classifier.load(by_brightness(folder / "it.onnx", **facts))),
        base_url="http://localhost",
    )


def shown(answer):
    """What a page says, without the texts that wait for its scripts."""
    return html.unescape(answer.text.partition("<main>")[2])


def dogs(folder):
    return client(
        folder,
        classes=["n02099601-golden_retriever", "something else"],
        only="dogs",
        threshold=None,
    )


def test_without_scripts_the_page_comes_back_with_the_answer(tmp_path):
    it = client(tmp_path)
    answer = it.post("/", files={"picture": ("lamp.png", WHITE)})
    assert (
        answer.status_code == 200
        and '<meter value="0.99' in shown(answer)
        and ENGLISH["doubt.even"] not in shown(answer)
    )
    assert ENGLISH["doubt.even"] in shown(it.post("/", files={"picture": GREY}))
    korean = {"Accept-Language": "ko"}
    assert i18n.texts("ko")["doubt.even"] in shown(
        it.post("/", files={"picture": GREY}, headers=korean)
    )
    refused = it.post("/", files={"picture": b"no picture"}, headers=korean)
    assert refused.status_code == 415 and i18n.texts("ko")["problem.415"] in shown(refused)


def test_every_refusal_of_a_picture_has_words_in_every_language():
    from eyesight.web.routes.api import MESSAGES

    for status in MESSAGES:
        assert f"problem.{status}" in ENGLISH


def test_the_page_says_who_answers(tmp_path):
    assert "accuracy of 91.0 % on 1,000" in shown(
        client(tmp_path, accuracy=0.91, accuracy_pictures=1000).get("/")
    )
    assert "lamp distinguishes 2 classes" in shown(client(tmp_path).get("/"))
    assert ENGLISH["front.breed"] in shown(client(tmp_path, name="dogs_densenet121").get("/"))
    narrowed = shown(dogs(tmp_path).get("/"))
    assert ENGLISH["front.breed"] in narrowed and "restricted to its 1 dog breeds" in narrowed
    assert (
        "golden retriever" in narrowed
        and "n02099601" not in narrowed
        and "something else" not in narrowed
    )


def test_a_picture_that_may_be_no_dog_says_so(tmp_path):
    it = dogs(tmp_path)
    white, black = (it.post("/api/predict", content=picture).json() for picture in (WHITE, BLACK))
    assert [one["class"] for one in white["top"]] == ["n02099601-golden_retriever"], (
        "everything else is never an answer"
    )
    assert white["doubt"] == "unlike" and white["other"] > 0.99 and white["sure"] is None
    assert (
        black["doubt"] is None and black["other"] < 0.01 and black["top"][0]["probability"] > 0.99
    )
    assert it.get("/api/classes").json() == {"classes": ["n02099601-golden_retriever"]}
    page = shown(it.post("/", files={"picture": WHITE}))
    assert ENGLISH["front.not_dog"] in page
    rows = re.findall(r'<div class="bar"><span>([^<]*)</span>', page)
    assert rows == [ENGLISH["front.other"]], "what is no dog gets no list of breeds at 0.0 %"


@pytest.mark.parametrize(
    "threshold, picture, expected",
    [({"value": 0.8}, GREY, "even"), ({"value": 0.8}, WHITE, None), (None, WHITE, None)],
)
def test_doubt_has_its_reason(tmp_path, threshold, picture, expected):
    answer = client(tmp_path, threshold=threshold).post("/api/predict", content=picture).json()
    assert answer["doubt"] == expected and answer["other"] is None


def test_where_it_looked_is_a_picture_of_what_it_saw(tmp_path):
    half = np.zeros((40, 40), np.uint8)
    half[:, 20:] = 255
    it = client(tmp_path, looks=True)
    answer = it.post("/api/explain", content=png(half))
    assert answer.headers["content-type"] == "image/png"
    found = np.asarray(Image.open(io.BytesIO(answer.content)).convert("L"), np.float64)
    assert found.shape == (224, 224) and found[:, 150:].mean() > found[:, :70].mean() + 100
    assert it.post("/api/explain", content=b"no picture").status_code == 415
    page = shown(it.get("/"))
    assert 'id="look"' in page and ENGLISH["front.blind"] not in page


def test_a_file_that_cannot_tell_where_it_looked_says_so(tmp_path):
    it = client(tmp_path)
    assert it.post("/api/explain", content=WHITE).status_code == 404, (
        "as the API's own description has it"
    )
    page = shown(it.get("/"))
    assert 'id="look"' not in page and ENGLISH["front.blind"] in page


def test_a_turned_photo_gets_the_answer_of_the_upright_one(tmp_path):
    """Only the upper left quarter counts for this network, and it is bright only when the photo is
    turned as its EXIF data say.
    """
    half = np.zeros((32, 32), np.uint8)
    half[:, :16] = 255
    upright, turned = (
        Image.fromarray(half),
        Image.fromarray(half).transpose(Image.Transpose.ROTATE_180),
    )
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = 3
    turned.save(stream, "PNG", exif=exif)
    it = client(tmp_path)
    stream.seek(0)
    said = it.post("/api/predict", content=stream.read()).json()["top"][0]
    assert (
        said["class"] == "bright"
        and said == it.post("/api/predict", content=png(np.asarray(upright))).json()["top"][0]
    )


def test_a_network_is_served_by_its_name_and_exported_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = []

    def export(*command, **_):
        calls.append(command)
        by_brightness(command[command.index("--out") + 1])
        return Finished(0, "", "")

    monkeypatch.setattr(onnx_file, "run_eyesight", export)
    files = [
        server.find(server.Path("ResNet-50"), only=only).file for only in (None, "dogs", "dogs")
    ]
    assert len(calls) == 2 and files[1] == files[2] != files[0]
    assert (
        files[0].name.startswith("resnet50.tv_in1k")
        and calls[1][-2:] == ("--only", "dogs")
        and "--only" not in calls[0]
    )


def test_a_name_nobody_knows_is_answered_with_the_exporters_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = "error: unknown network 'resnt50'\nhint: did you mean ResNet50?\n"
    monkeypatch.setattr(onnx_file, "run_eyesight", lambda *_, **__: Finished(2, "", said))
    with pytest.raises(server.UserError, match="unknown network 'resnt50'") as found:
        server.find(server.Path("resnt50"))
    assert found.value.hint == "did you mean ResNet50?"


def test_the_page_names_the_run_that_answers_and_offers_its_pictures(tmp_path):
    run = Run.create(tmp_path / "runs", "lamps")
    run.write_json("recipe.json", {"format": 1, "name": "lamps"})
    run.write_json("data.json", {"classes": ["dark", "bright"]})
    pixels = np.full((2, 1, 8, 8), 200, np.uint8)
    write_arrays(run.path / "gallery.npz", samples_pixels=pixels, samples_labels=np.array([0, 1]))
    served = onnx_classifier.load(by_brightness(tmp_path / "it.onnx", run=run.name))
    it = TestClient(application(served, runs=tmp_path / "runs"), base_url="http://localhost")
    page = it.get("/").text
    assert f'<a href="/runs/{run.name}">{run.name}</a>' in page
    addresses = re.findall(r'src="(/runs/[^"]*/samples/\d+\.png)"', page)
    assert len(addresses) == 2
    picture = it.get(addresses[0])
    assert picture.headers["content-type"] == "image/png"
    assert it.post("/api/predict", content=picture.content).status_code == 200
    assert it.get(f"/runs/{run.name}/samples/9.png").status_code == 404
    other = onnx_classifier.load(by_brightness(tmp_path / "other.onnx", run="gone"))
    it = TestClient(application(other, runs=tmp_path / "runs"), base_url="http://localhost")
    assert 'id="examples"' not in it.get("/").text
