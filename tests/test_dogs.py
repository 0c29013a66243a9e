"""The layout of Stanford Dogs: breeds by their names, the official lists."""

import drawn
import numpy as np
import pytest
from scipy.io import savemat

from eyesight.data.sources import open_source
from eyesight.errors import UserError

BREEDS = ("n02085620-Chihuahua", "n02086240-Shih-Tzu", "n02099601-golden_retriever")


@pytest.fixture
def dogs(tmp_path):
    pixels, _ = drawn.pictures(12)
    for place, picture in enumerate(pixels):
        file = tmp_path / "Images" / BREEDS[place % 3] / f"{BREEDS[place % 3][:9]}_{place}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(drawn.png(picture[0]))
    return tmp_path


def write_lists(folder, root, test):
    names = sorted(file.relative_to(root / "Images").as_posix() for file in (root / "Images").rglob("*.jpg"))
    folder.mkdir(exist_ok=True)
    for name, chosen in (("train_list.mat", names[test:]), ("test_list.mat", names[:test])):
        rows = np.empty((len(chosen), 1), dtype=object)
        rows[:, 0] = chosen
        savemat(folder / name, {"file_list": rows})


def test_breeds_are_named_without_their_numbers(dogs):
    source = open_source(dogs)
    assert source.classes == ("Chihuahua", "Shih-Tzu", "golden retriever")
    assert set(source.splits) == {""}


@pytest.mark.parametrize("where", ["", "lists"])
def test_the_official_lists_decide_the_split(dogs, where):
    before = open_source(dogs).fingerprint
    write_lists(dogs / where, dogs, 5)
    source = open_source(dogs)
    assert (source.splits == "test").sum() == 5 and (source.splits == "train").sum() == 7
    assert source.fingerprint != before


def test_lists_of_other_pictures_and_damaged_ones_are_errors(dogs):
    write_lists(dogs, dogs, 5)
    (dogs / "Images" / BREEDS[0] / "n02085620_999.jpg").write_bytes(drawn.png(drawn.pictures(1, seed=9)[0][0, 0]))
    with pytest.raises(UserError, match="in neither list"):
        open_source(dogs)
    (dogs / "test_list.mat").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="not a list of Stanford Dogs"):
        open_source(dogs)


def test_without_the_pictures_the_named_set_says_where_they_are():
    with pytest.raises(UserError, match="stanford_dogs is not on this machine") as caught:
        open_source("stanford_dogs")
    assert "images.tar" in caught.value.hint
