"""The layout of Stanford Dogs: breeds by their names, the official lists."""

import tarfile

import drawn
import numpy as np
import pytest
from scipy.io import savemat

from eyesight.data.formats.stanford_dogs import LISTS
from eyesight.data.opening import open_source
from eyesight.data.store import prepare_store
from eyesight.errors import UserError
from eyesight.recipe import Data

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
    names = sorted(
        file.relative_to(root / "Images").as_posix() for file in (root / "Images").rglob("*.jpg")
    )
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
    (dogs / "Images" / BREEDS[0] / "n02085620_999.jpg").write_bytes(
        drawn.png(drawn.pictures(1, seed=9)[0][0, 0])
    )
    with pytest.raises(UserError, match="in neither list"):
        open_source(dogs)
    (dogs / "test_list.mat").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="not a list of Stanford Dogs"):
        open_source(dogs)


def test_without_the_pictures_the_named_set_says_where_they_are():
    with pytest.raises(UserError, match="stanford_dogs is not on this machine") as caught:
        open_source("stanford_dogs")
    assert "images.tar" in caught.value.hint


def archive(file, root, *names):
    with tarfile.open(file, "w") as packed:
        for name in names:
            packed.add(root / name, arcname=name)


def annotate(root, box):
    for picture in (root / "Images").rglob("*.jpg"):
        file = root / "Annotation" / picture.parent.name / picture.stem
        file.parent.mkdir(parents=True, exist_ok=True)
        sides = "".join(
            f"<{side}>{place}</{side}>\n"
            for side, place in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        small = "<bndbox><xmin>0</xmin><ymin>0</ymin><xmax>1</xmax><ymax>1</ymax></bndbox>"
        file.write_text(
            f"<annotation><object>{small}</object><object><bndbox>{sides}</bndbox></object></annotation>"
        )


@pytest.fixture
def packed(dogs, tmp_path_factory):
    """The three archives of the official page side by side, of pictures whose box is their
    middle.
    """
    folder = tmp_path_factory.mktemp("official")
    write_lists(dogs / "lists", dogs, 5)
    annotate(dogs, (4, 5, 12, 11))
    archive(folder / "images.tar", dogs, "Images")
    archive(folder / "lists.tar", dogs / "lists", *LISTS)
    archive(folder / "annotation.tar", dogs, "Annotation")
    return folder


def test_the_official_archives_side_by_side_are_the_unpacked_folder(dogs, packed):
    source, unpacked = open_source(packed), open_source(dogs)
    assert source.classes == unpacked.classes and source.ids == unpacked.ids
    assert (
        source.splits.tolist() == unpacked.splits.tolist() and (source.splits == "test").sum() == 5
    )
    assert source.boxes() == unpacked.boxes() == [(4, 5, 12, 11)] * 12
    (packed / "lists.tar").unlink()
    assert set(open_source(packed).splits) == {""}


def test_pictures_are_cut_to_their_boxes_when_asked(dogs, packed):
    whole = prepare_store(open_source(packed), Data(resize="none", channels=1))
    cut = prepare_store(open_source(packed), Data(resize="none", channels=1, box=True))
    assert cut.key != whole.key and cut.pixels.shape[1:] == (1, 6, 8)
    place = {name: row for row, name in enumerate(whole.ids)}
    for row, name in enumerate(cut.ids):
        assert np.array_equal(cut.pixels[row], whole.pixels[place[name]][:, 5:11, 4:12])


def test_boxes_that_are_not_there_are_an_error(dogs):
    with pytest.raises(UserError, match="has none"):
        prepare_store(open_source(dogs), Data(size=8, box=True))
    annotate(dogs, (4, 5, 12, 11))
    file = next(file for file in (dogs / "Annotation").rglob("*_4"))
    file.write_text("<annotation></annotation>")
    with pytest.raises(UserError, match="has no bounding box"):
        open_source(dogs).boxes()
    file.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        open_source(dogs).boxes()
