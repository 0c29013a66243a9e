"""The sliders show what training would do, with its own functions, and cover all that a recipe can
ask for.
"""

import base64
import dataclasses
import re
import threading

import pytest
import torch
from drawn import folder
from fastapi.testclient import TestClient
from portables import by_brightness

from eyesight.data import dataset
from eyesight.data.prepare import encode_png
from eyesight.inference import onnx_classifier
from eyesight.recipe import Augment, Data, Recipe, Training, override, to_dict
from eyesight.runs import Run
from eyesight.views import augmentation
from eyesight.web.application import application
from eyesight.web.limits import Queue, Refused
from eyesight.web.routes import augment


@pytest.fixture
def client(tmp_path):
    return TestClient(
        application(onnx_classifier.load(by_brightness(tmp_path / "it.onnx"))),
        base_url="http://localhost",
    )


def test_every_augmentation_has_its_sliders():
    named = {
        name.removesuffix("_low").removesuffix("_high") for name in augment.Settings.model_fields
    }
    masks_only = {"window"}  # the page's pictures have a class each
    assert named == {field.name for field in dataclasses.fields(Augment)} - masks_only | {"draw"}
    assert augment.augment_of(augment.Settings()) == Augment()


def value_of(page, name):
    """What a slider of the page stands at."""
    (found,) = re.findall(rf'name="{name}"[^>]* value="([^"]*)"', page)
    return float(found)


def test_the_page_begins_with_the_recipe_of_the_served_run(tmp_path):
    for name, shear in (("served", 17.0), ("newer", 3.0)):
        run = Run.create(tmp_path / "runs", name)
        recipe = Recipe(name, augment=Augment(shear=shear, contrast=(0.5, 1.5)))
        run.write_json("recipe.json", to_dict(recipe))
    served = onnx_classifier.load(by_brightness(tmp_path / "it.onnx", run="0001-served"))
    client = TestClient(application(served, runs=tmp_path / "runs"), base_url="http://localhost")
    page = client.get("/augment").text
    assert value_of(page, "shear") == 17 and value_of(page, "contrast_high") == 1.5
    assert "as in served" in page
    assert value_of(client.get("/augment?shear=5").text, "shear") == 5


@pytest.mark.parametrize("name", augment.PRESETS)
def test_a_preset_is_what_the_sliders_hold(name):
    preset = augment.PRESETS[name]
    assert augment.augment_of(augment.Settings(**augment.values_of(preset))) == preset


def test_the_line_makes_the_recipe_that_is_shown(client):
    query = "flip=random&crop=4&rotate=20&elastic=0.005&brightness_low=0.8&contrast_high=1.25&cutmix=0.5"
    line = client.get(f"/api/augment?{query}").json()["line"]
    assert line.startswith("--set augment.flip=random --set augment.crop=4 --set augment.rotate=20")
    made = override(Recipe(), line.removeprefix("--set ").split(" --set "))
    asked = Augment(
        flip="random",
        crop=4,
        rotate=20,
        elastic=0.005,
        brightness=(0.8, 1.0),
        contrast=(1.0, 1.25),
        cutmix=0.5,
    )
    assert made.augment == asked


def test_the_pictures_are_those_of_the_training_as_it_changes_them(tmp_path):
    data = dataset.load(Data(str(folder(tmp_path / "shapes", 60)), channels=1))
    client = TestClient(
        application(
            onnx_classifier.load(by_brightness(tmp_path / "it.onnx", store=data.store.key))
        ),
        base_url="http://localhost",
    )
    found = client.get("/api/augment?rotate=45&mixup=1&draw=7").json()
    assert found["source"] == "lamp"
    first = augmentation.first(dataset.images_of(data.store))
    pixels = first.take(torch.arange(len(first))).numpy()
    assert [base64.b64decode(one["picture"].partition(",")[2]) for one in found["before"]] == [
        encode_png(one) for one in pixels[:4]
    ]
    recipe = Recipe(augment=Augment(rotate=45, mixup=1), training=Training(seed=7))
    for epoch, trial in enumerate(found["trials"]):
        expected, captions = augmentation.changed(first, recipe, epoch)
        assert [one["label"] for one in trial] == captions and "%" in "".join(captions)
        assert [base64.b64decode(one["picture"].partition(",")[2]) for one in trial] == [
            encode_png(one) for one in expected
        ]
    assert len(found["trials"]) == 3 and found["trials"][0] != found["trials"][1]


def test_without_any_data_there_are_drawn_pictures(tmp_path, client):
    found = client.get("/api/augment").json()
    assert (
        found["source"] == ""
        and found["line"] == ""
        and {one["label"] for one in found["before"]} == {"boat", "flag", "house"}
    )
    pixels, labels = augment.drawn()
    assert len({encode_png(one) for one in pixels}) == len(labels)
    assert all((one != one[:, :, ::-1]).mean() > 0.02 for one in pixels), (
        "a mirrored picture must look different"
    )
    elsewhere = by_brightness(tmp_path / "evil.onnx", store="../../../../etc")
    assert (
        TestClient(application(onnx_classifier.load(elsewhere)), base_url="http://localhost")
        .get("/api/augment")
        .json()["source"]
        == ""
    )


def test_the_page_works_without_scripts_and_with_nonsense(client):
    plain, shown = (
        client.get("/augment").text,
        client.get("/augment?show=true&rotate=30&flip=random").text,
    )
    assert "data:image/png" not in plain and shown.count("data:image/png") == 16
    assert "--set augment.flip=random --set augment.rotate=30" in shown and 'value="30.0"' in shown
    assert client.get("/augment?rotate=x&flip=%3Cscript%3E").status_code == 200
    for query in (
        "rotate=nan",
        "rotate=inf",
        "rotate=-1",
        "rotate=1e308",
        "crop=99999",
        "crop=1.5",
        "flip=up",
        "draw=-1",
        "mixup=",
    ):
        assert client.get(f"/api/augment?{query}").status_code == 422, query


def test_only_so_many_wait_for_their_turn():
    turns = Queue("figures", most=2, timeout=0.05)
    inside, leave = threading.Event(), threading.Event()

    def stay():
        with turns.turn():
            inside.set()
            leave.wait(10)

    holder = threading.Thread(target=stay)
    holder.start()
    assert inside.wait(10)
    for _ in range(3):  # whoever was refused leaves no trace
        with pytest.raises(Refused, match="too many figures") as refused, turns.turn():
            raise AssertionError("two at once")
        assert refused.value.status == 503 and refused.value.headers == {"Retry-After": "1"}
    leave.set()
    holder.join()
    with turns.turn():
        pass
