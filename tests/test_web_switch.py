"""The run that answers is named on every page that answers, and another one can be chosen there."""

import json
import re

import numpy as np
import pytest
from drawn import png
from fastapi.testclient import TestClient
from portables import by_brightness
from readers import by_likeness

from eyesight.exporting.onnx_file import file_of
from eyesight.inference import onnx_classifier
from eyesight.results.predictions import Predictions
from eyesight.runs import Run
from eyesight.web import i18n, run_services
from eyesight.web.application import application

WHITE = png(np.full((9, 9), 255, np.uint8))
ENGLISH = i18n.texts("en")
DIGITS = list("0123456789")


def trained(folder, name, classes):
    """A run with a network that says the second class of a white picture."""
    run = Run.create(folder, name)
    run.write_json("recipe.json", {"format": 1, "name": name})
    run.write_json("data.json", {"classes": classes})
    run.classifier_path.mkdir()
    description = {"classes": classes, "target": "class", "weights_sha256": run.name}
    (run.classifier_path / "classifier.json").write_text(json.dumps(description))
    file_of(run).parent.mkdir(exist_ok=True)
    make = by_likeness if len(classes) == len(DIGITS) else by_brightness
    make(file_of(run), classes=classes, name=name, run=run.name)
    return run


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three runs that are exported already."""
    monkeypatch.setattr(run_services, "exported", file_of)
    folder = tmp_path / "runs"
    trained(folder, "lamps", ["dark", "bright"])
    trained(folder, "doors", ["shut", "open"])
    begun = Run.create(folder, "begun")
    begun.write_json("recipe.json", {"format": 1, "name": "begun"})
    return folder


def served(runs, name="0001-lamps", **options):
    file = file_of(Run(runs / name))
    return TestClient(
        application(onnx_classifier.load(file), runs, **options), base_url="http://localhost"
    )


def answer(client):
    return client.post("/api/predict", content=WHITE).json()["top"][0]["class"]


def use(client, run, back="/", **options):
    return client.post("/use", data={"run": run, "back": back}, follow_redirects=False, **options)


def options_of(text):
    return re.findall(r'<option value="([^"]*)"( selected)?', text)


def test_another_run_answers_everywhere_once_it_is_chosen(runs):
    with served(runs) as client:
        assert answer(client) == "bright"
        assert client.get("/api/health").json()["run"] == "0001-lamps"
        for path in ("/", "/augment"):
            shown = options_of(client.get(path).text.partition("<form id=")[0])
            assert shown == [("0002-doors", ""), ("0001-lamps", " selected")], path
        response = use(client, "0002-doors", "/augment")
        assert response.status_code == 303 and response.headers["location"] == "/augment"
        assert answer(client) == "open"
        assert client.get("/api/health").json()["run"] == "0002-doors"
        assert client.get("/api/classes").json() == {"classes": ["shut", "open"]}
        assert ("0002-doors", " selected") in options_of(client.get("/").text)
        use(client, "0001-lamps")
        assert answer(client) == "bright", "and back"


def test_the_runs_pages_say_which_one_answers(runs):
    with served(runs) as client:
        table = client.get("/runs").text
        row = table.partition('data-run="0001-lamps"')[2].partition("</tr>")[0]
        assert ENGLISH["serving.in_use"] in row
        assert table.count("answering") == 1
        assert ENGLISH["serving.use"] not in client.get("/runs/0001-lamps").text
        assert ENGLISH["serving.use"] in client.get("/runs/0002-doors").text
        assert ENGLISH["serving.use"] not in client.get("/runs/0003-begun").text
        use(client, "0002-doors")
        assert ENGLISH["serving.use"] in client.get("/runs/0001-lamps").text


def test_what_cannot_answer_is_refused_and_nothing_changes(runs):
    with served(runs) as client:
        assert use(client, "0009-gone").status_code == 404
        assert use(client, "../runs/0002-doors").status_code == 404
        assert use(client, "0003-begun").status_code == 404
        assert use(client, "0002-doors", "//elsewhere.example").headers["location"] == "/"
        origin = {"Origin": "http://elsewhere.example"}
        assert use(client, "0001-lamps", headers=origin).status_code == 403
        assert answer(client) == "open"


def test_only_who_may_change_something_may_switch(runs):
    with served(runs, hosts=["*"]) as client:
        assert use(client, "0002-doors").status_code == 403
        assert options_of(client.get("/").text) == [] and "0001-lamps" in client.get("/").text
    with served(runs, hosts=["*"], token="secret") as client:
        assert use(client, "0002-doors").status_code == 401
        secret = {"Authorization": "Bearer secret"}
        assert use(client, "0002-doors", headers=secret).status_code == 303
    file = by_brightness(runs.parent / "it.onnx")
    with TestClient(application(onnx_classifier.load(file)), base_url="http://localhost") as client:
        assert use(client, "0001-lamps").status_code == 404, "a file has no folder of runs"
        assert options_of(client.get("/").text) == []


def test_the_reader_reads_with_a_run_that_knows_the_digits(runs, monkeypatch):
    trained(runs, "digits", DIGITS)
    trained(runs, "more", DIGITS[::-1])
    with served(runs, "0004-digits") as client:
        reader = client.app.state.reader
        assert reader.run == "0004-digits"
        shown = options_of(client.get("/reader").text)
        assert shown == [("0005-more", ""), ("0004-digits", " selected")], "digits only"
        use(client, "0005-more", "/reader")
        assert reader.run == "0005-more" and reader.recogniser.classes == tuple(DIGITS[::-1])
        use(client, "0001-lamps")
        assert reader.run == "0005-more", "the reader keeps what reads digits"
        assert ("0005-more", " selected") in options_of(client.get("/reader").text)


def test_few_networks_stay_in_memory_and_none_that_answers_is_closed(runs):
    for number in range(3):
        trained(runs, f"more{number}", ["no", "yes"])
    with served(runs) as client:
        names = [run.name for run in sorted(runs.iterdir()) if "begun" not in run.name]
        services = client.app.state.run_services
        use(client, "0002-doors")
        busy = client.app.state.service
        with busy.gate.enter():
            for name in names[2:]:
                use(client, name)
            assert busy in services.services.values()
        use(client, names[0])
        assert len(services.services) <= run_services.READY
        assert answer(client) == "bright"


def test_examples_are_test_pictures_where_they_are_at_hand(runs, monkeypatch):
    run = Run(runs / "0001-lamps")
    labels = np.array([0, 0, 0, 1, 1, 1])
    values = np.tile(np.array([[0.9, 0.1]], np.float32), (6, 1))
    ids = tuple(f"{number}.png" for number in range(6))
    Predictions(ids, labels, values, ("dark", "bright")).save(run.path / "predictions.npz")
    with served(runs) as client:
        assert "/pictures/" not in client.get("/").text
        from eyesight.web.routes import confusion

        pixels = np.zeros((6, 1, 8, 8), np.uint8)
        at_hand = confusion.Pictures(pixels, {place: place for place in range(6)}, True)
        monkeypatch.setattr(confusion, "pictures", lambda run: at_hand)
        page = client.get("/").text
        places = [int(place) for place in re.findall(r"/pictures/(\d+)\.png", page)]
        assert places == [0, 3, 1, 4, 2, 5], "one class after the other"
        assert ENGLISH["front.tests"] in page
        assert client.get("/runs/0001-lamps/pictures/3.png").status_code == 200
