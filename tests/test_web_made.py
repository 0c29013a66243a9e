"""The page and the path of networks that give a mask or a restored picture: what they made, its
figures, and no classes.
"""

import base64
import html
import io
import re
from pathlib import Path

import numpy as np
import pytest
from drawn import png
from fastapi.testclient import TestClient
from PIL import Image
from portables import by_pixel

from eyesight.inference import annotate, onnx_classifier
from eyesight.runs import Run
from eyesight.web import i18n, server
from eyesight.web.application import application

HALF = png(np.hstack([np.full((8, 6), 255, np.uint8), np.zeros((8, 2), np.uint8)]))
ENGLISH = i18n.texts("en")


def client(folder, target, **facts):
    return TestClient(
        application(onnx_classifier.load(by_pixel(folder / "it.onnx", target, **facts))),
        base_url="http://localhost",
    )


def shown(answer):
    return html.unescape(answer.text.partition("<main>")[2])


def picture(made):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(made["picture"]))))


def test_a_mask_lies_over_the_picture_and_says_what_each_class_covers(tmp_path):
    it = client(tmp_path, "mask", colours=[[0, 0, 200], [250, 0, 0]])
    made = it.post("/api/render", content=HALF).json()
    assert made["target"] == "mask" and made["anomaly"] is None
    assert made["shares"] == [
        {"class": "bright", "share": 0.75, "colour": "#fa0000"},
        {"class": "dark", "share": 0.25, "colour": "#0000c8"},
    ]
    drawn = picture(made)
    assert (drawn[0, 0] == (252, 102, 102)).all() and (drawn[0, -1] == (0, 0, 120)).all(), (
        "shaded, not hidden"
    )
    edge = np.flatnonzero((drawn[0] == (250, 0, 0)).all(axis=1))
    assert len(edge) == 1, "the edge of an area has exactly the colour of the legend"
    assert (drawn[0, edge[0] + 1] == (0, 0, 200)).all()
    style = (Path(server.__file__).parent / "static" / "pages.css").read_text(encoding="utf-8")
    opacity = float(re.search(r"\.swatch rect \{ fill-opacity: ([\d.]+)", style)[1])
    assert opacity == annotate.SHADE, "the legend is as see-through as the mask"
    page = shown(it.post("/", files={"picture": HALF}))
    assert made["picture"] in page and "bright" in page and "75.0 %" in page and "#fa0000" in page
    assert ENGLISH["made.where"] in shown(it.get("/"))


def test_without_scripts_classes_have_the_names_that_people_read(tmp_path):
    it = client(
        tmp_path,
        "mask",
        colours=[[0, 0, 200], [250, 0, 0]],
        classes=["traffic_sign", "n02085620-Shih_Tzu"],
    )
    page = shown(it.post("/", files={"picture": HALF}))
    assert page.count("traffic sign") == page.count("Shih Tzu") == 2, (
        "beside its share and in the list"
    )
    assert "traffic_sign" not in page and "n02085620" not in page


def test_a_restored_picture_has_an_anomaly_score(tmp_path):
    it = client(tmp_path, "picture", unfamiliar_from=0.1)
    white, black = (
        it.post("/api/render", content=png(np.full((8, 8), shade, np.uint8))).json()
        for shade in (255, 0)
    )
    assert (
        white["anomaly"] == pytest.approx(0.25)
        and white["unfamiliar"] is True
        and white["usual"] == 0.1
    )
    assert black["anomaly"] == 0 and black["unfamiliar"] is False
    assert picture(white)[0, 0] == 255 and picture(white)[0, -1] in (127, 128)
    assert ENGLISH["made.strange"] in shown(it.post("/", files={"picture": HALF}))
    unknown = client(tmp_path, "picture").post("/api/render", content=HALF).json()
    assert unknown["unfamiliar"] is None and unknown["usual"] is None


@pytest.mark.parametrize("target", ["mask", "picture"])
def test_who_asks_for_classes_is_told_where_to_go(tmp_path, target):
    it = client(tmp_path, target)
    for path in ("/api/predict", "/api/predict/many", "/api/explain"):
        answer = it.post(path, files={"picture": HALF})
        assert (
            answer.status_code == 404
            and target in answer.json()["error"]
            and "/api/render" in answer.json()["hint"]
        )
    refused = it.post("/", files={"picture": b"no picture"})
    assert refused.status_code == 415 and ENGLISH["problem.415"] in shown(refused)
    assert it.get("/api/health").json()["classes"] == 2


def test_a_classifier_renders_nothing(tmp_path):
    from portables import by_brightness

    it = TestClient(
        application(onnx_classifier.load(by_brightness(tmp_path / "it.onnx"))),
        base_url="http://localhost",
    )
    assert it.post("/api/render", content=HALF).status_code == 404


def test_an_autoencoder_of_digits_reads_no_postal_codes(tmp_path):
    it = client(tmp_path, "picture", classes=list("0123456789"))
    assert it.app.state.reader.recogniser is None


def test_a_folder_of_runs_serves_the_newest_that_names_classes(tmp_path):
    for target in ("class", "mask"):
        run = Run.create(tmp_path, target)
        run.write_json("recipe.json", {"format": 1, "name": target, "data": {"target": target}})
        run.classifier_path.mkdir()
        (run.classifier_path / "classifier.json").write_text("{}")
    assert server.newest(tmp_path).target == "class"
    (run.path / "recipe.json").write_text("{")
    assert server.newest(tmp_path).target == "class", (
        "a damaged run keeps no other from being served"
    )
