"""The Python API: every call that a user tries first, typed, with errors that say what to do."""

import re
import tomllib
from pathlib import Path

import drawn
import numpy as np
import pytest
import users_script

import eyesight
from eyesight.data.inputs import prepare_inputs
from eyesight.data.own import source_of
from eyesight.data.prepare import Preparation

SCRIPT = Path(__file__).parent / "users_script.py"


@pytest.mark.whole
def test_every_call_of_a_users_script_works(tmp_path, capsys):
    """With every warning as an error, as in all tests."""
    photos = drawn.folder(tmp_path / "photos", 120, 28)
    users_script.main(str(photos), tmp_path)
    printed = capsys.readouterr().out
    assert "every call works" in printed
    for word in ("run ", "classifier in ", "ONNX file "):
        assert word in printed


def test_the_users_script_is_among_what_make_check_types_strictly():
    """`make check` runs mypy; an ignored error that is none fails it, because it is strict."""
    settings = tomllib.loads((SCRIPT.parents[1] / "pyproject.toml").read_text("utf-8"))
    mypy = settings["tool"]["mypy"]
    assert mypy["strict"] is True and "warn_unused_ignores" not in mypy
    assert "tests/users_script.py" in mypy["files"]
    text = SCRIPT.read_text(encoding="utf-8")
    assert re.findall(r"# type: ignore\S*", text) == [
        "# type: ignore[attr-defined]",
        "# type: ignore[arg-type]",
    ]


def test_the_public_names_are_typed_and_documented():
    import inspect

    for name in eyesight.__all__:
        public = getattr(eyesight, name)
        if inspect.isfunction(public) and name != "list_runs":
            assert not re.search(r"\bAny\b", str(inspect.signature(public))), name
            assert "UserError" in (public.__doc__ or ""), name


GREY = Preparation(8, 8, 1)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("nowhere.png", "there is no file"),
        (".", "is a folder"),
        (b"no image", "image 0 is not a usable image"),
        (np.zeros((8, 8), np.float64) + 2, "values from 2 to 2"),
        (np.zeros((8, 8), np.int64) - 1, "values from -1 to -1"),
        (np.full((8, 8), np.nan), "values from nan"),
        ([np.zeros((8, 8, 7), np.uint8)], "the shape 8×8×7"),
        (np.zeros((3, 8, 8), np.uint8), "could be one image C,H,W or several"),
        (np.zeros(8, np.uint8), "the shape 8"),
        (np.zeros((8, 8), "<U1"), "holds <U1"),
        (7, "a int is not an image"),
        ([None], "is a NoneType"),
    ],
)
def test_what_is_no_image_is_refused_in_words(image, message):
    with pytest.raises(eyesight.UserError, match=message) as error:
        prepare_inputs(image, GREY)
    assert error.value.hint


def test_images_of_every_kind_become_the_same_pixels(tmp_path):
    import torch
    from PIL import Image

    pixels, _ = drawn.pictures(1, 8)
    array = pixels[0, 0]
    file = tmp_path / "a.png"
    file.write_bytes(drawn.png(array))
    colour = np.repeat(array[:, :, None], 3, 2)
    images = [
        str(file), file, file.read_bytes(), Image.open(file), array, array / 255, array.astype(int),
        array[:, :, None], colour, torch.from_numpy(colour.transpose(2, 0, 1)), torch.from_numpy(array),
    ]  # fmt: skip
    names, prepared = prepare_inputs(images, GREY)
    assert names[:3] == (str(file), str(file), "image 2") and len(prepared) == len(images)
    assert (prepared == pixels[:1]).all()
    assert prepare_inputs(np.repeat(pixels, 5, 0).transpose(0, 2, 3, 1), GREY)[1].shape[0] == 5
    assert prepare_inputs(np.repeat(pixels[0], 5, 0), GREY)[1].shape[0] == 5
    assert prepare_inputs(array > 100, GREY)[1].max() == 255
    assert prepare_inputs([], GREY)[1].shape == (0, 1, 8, 8)


class Pairs:
    """As a torch Dataset: (image, label) by index, and the names of the classes."""

    classes = ("left", "right")

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


def test_data_in_memory_is_written_once_and_read_as_a_source(tmp_path):
    from eyesight.data.opening import open_source

    pixels, labels = drawn.pictures(12, 8)
    first = source_of((pixels, labels, pixels[:6], labels[:6]), tmp_path)
    assert source_of((pixels / 255, labels), tmp_path) != first
    assert source_of([pixels, labels, pixels[:6], labels[:6]], tmp_path) == first
    source = open_source(first)
    assert source.classes == ("0", "1", "2") and (source.splits == "test").sum() == 6
    pairs = Pairs([picture[0] for picture in pixels], (labels % 2).tolist())
    source = open_source(source_of(pairs, tmp_path))
    assert source.classes == ("left", "right") and len(source.ids) == 12
    odd = Pairs([*pairs.images, np.zeros((9, 7), np.uint8)], [*pairs.labels, 1])
    source = open_source(source_of((odd, pairs), tmp_path))
    assert source.classes == ("left", "right") and (source.splits == "test").sum() == 12
    assert source.labels[12] == 1


class Columns(list):
    """As a Hugging Face data set: dictionaries, with the names of columns and classes."""

    column_names = ("image", "label")

    class Feature:
        names = ("left", "right")

    features = {"label": Feature}  # noqa: RUF012


def test_a_hugging_face_data_set_is_read_by_its_columns(tmp_path):
    from eyesight.data.opening import open_source

    pixels, labels = drawn.pictures(12, 8)
    rows = Columns(
        {"image": picture[0], "label": int(label % 2)}
        for picture, label in zip(pixels, labels, strict=True)
    )
    source = open_source(source_of({"train": rows, "test": Columns(rows[:4])}, tmp_path))
    assert source.classes == ("left", "right") and (source.splits == "test").sum() == 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((np.zeros((4, 8, 8)), [0, 1]), "x_train has 4 images but y_train has 2 labels"),
        (7, "a int is not a data set"),
        (Pairs([], []), "is empty"),
        ({"rows": []}, "has the parts rows"),
        ([(1, 2, 3)], "item 0 of the data set is a tuple"),
    ],
)
def test_what_is_no_data_set_is_refused_in_words(data, message, tmp_path):
    with pytest.raises(eyesight.UserError, match=message) as error:
        source_of(data, tmp_path)
    assert error.value.hint and not list(tmp_path.iterdir())


def test_settings_are_typed_as_on_the_command_line():
    recipe = eyesight.resolve(
        "lenet5", set={"augment.brightness": (0.8, 1.2), "data.box": True, "model.dropout": None},
        budget=90, seed=3,
    )  # fmt: skip
    assert recipe.augment.brightness == (0.8, 1.2) and recipe.data.box
    assert (recipe.training.budget, recipe.training.seed) == (90.0, 3)
    with pytest.raises(eyesight.UserError, match="unknown recipe field"):
        eyesight.resolve("lenet5", set={"optim.rate": 1})
    with pytest.raises(eyesight.UserError, match="unknown recipe"):
        eyesight.resolve("lenet6")


def test_a_hint_stands_below_the_traceback():
    assert eyesight.UserError("no", "mend it").__notes__ == ["hint: mend it"]
