"""The original Chars74K layout, in small."""

import io
import tarfile

import numpy as np
import pytest

from eyesight.data.glyphs.chars74k import ORIGINAL, chars74k_source, is_original, split_of
from eyesight.data.glyphs.render import CLASSES
from eyesight.data.prepare import encode_png
from eyesight.errors import UserError


def picture(sample, number):
    return encode_png(np.full((1, 8, 8), (sample * 4 + number) % 256, np.uint8))


@pytest.fixture
def original(tmp_path):
    """A folder with all 62 samples, eight pictures each, and strays that are none of them."""
    for sample in range(1, 63):
        folder = tmp_path / "English" / "Fnt" / f"Sample{sample:03d}"
        folder.mkdir(parents=True)
        for number in range(1, 9):
            (folder / f"img{sample:03d}-{number:05d}.png").write_bytes(picture(sample, number))
    (folder / "img001-00001.png").write_bytes(b"not of this class")
    (folder / "Thumbs.db").write_bytes(b"")
    return tmp_path


def test_classes_are_the_52_with_their_own_pictures(original):
    source = chars74k_source(original)
    assert source.classes == CLASSES
    assert np.bincount(source.labels).tolist() == [8] * 52
    for row in (0, 100, len(source.ids) - 1):
        sample = ORIGINAL.index(CLASSES[source.labels[row]]) + 1
        assert f"Sample{sample:03d}/" in source.ids[row]
        assert source.read(row) == picture(sample, int(source.ids[row][-9:-4]))
    assert not any("Sample025" in name for name in source.ids)  # O looks like o


def test_photographs_and_handwriting_unpacked_beside_the_fonts_are_passed_over(original):
    for place in (
        "Img/GoodImg/Bmp/Sample001/img001-00009.png",
        "Img/BadImag/Bmp/Sample001/img001-00002.png",
        "Hnd/Img/Sample001/img001-009.png",
    ):
        file = original / "English" / place
        file.parent.mkdir(parents=True)
        file.write_bytes(picture(1, 9))
    assert np.bincount(chars74k_source(original).labels).tolist() == [8] * 52
    assert is_original(original)
    assert not is_original(
        original / "English" / "Img" / "GoodImg" / "Bmp"
    )  # class folders like any other


def test_the_split_is_the_same_picture_numbers_in_every_class(original):
    source = chars74k_source(original)
    shares = {}
    for name, split in zip(source.ids, source.splits, strict=True):
        assert shares.setdefault(name[-9:-4], split) == split
    assert list(shares.values()) == ["train"] * 4 + ["validation"] * 2 + ["test"] * 2


def test_the_full_set_has_716_150_150():
    parts = split_of(1016)
    assert [parts.count(split) for split in ("train", "validation", "test")] == [716, 150, 150]
    assert parts == sorted(parts, key=["train", "validation", "test"].index)
    assert [split_of(3).count(split) for split in ("train", "validation", "test")] == [1, 1, 1]


def test_the_archive_gives_the_same(original, tmp_path):
    archive = tmp_path / "EnglishFnt.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for file in sorted((original / "English").rglob("*.png")):
            entry = tarfile.TarInfo(file.relative_to(original).as_posix())
            entry.size = file.stat().st_size
            tar.addfile(entry, io.BytesIO(file.read_bytes()))
    packed, folder = chars74k_source(archive), chars74k_source(original / "English")
    assert packed.labels.tolist() == folder.labels.tolist()
    assert packed.splits.tolist() == folder.splits.tolist()
    assert packed.read(17) == folder.read(17)


def test_few_pictures_are_told(original):
    said = []
    chars74k_source(original, said.append)
    assert said == ["8 images per class; the original has 1016"]


def test_another_layout_is_an_error(tmp_path, original):
    with pytest.raises(UserError, match="no Chars74K images of 1 2"):
        chars74k_source(original / "English" / "Fnt" / "Sample001")
    with pytest.raises(UserError, match="neither a folder nor an archive"):
        chars74k_source(tmp_path / "nothing.tgz")
