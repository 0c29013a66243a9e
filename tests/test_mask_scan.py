"""The health check of masks names every file that is wrong, and says what each class covers."""

import json
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from commands import command
from test_segment import COLOURS, masked_folder, save

from eyesight.data.loading import prepare_data
from eyesight.data.masks import legend, scan
from eyesight.data.masks import pairs as masks
from eyesight.data.masks.mask_file import Mask
from eyesight.errors import UserError
from eyesight.recipe import Data


@pytest.fixture
def folder(tmp_path):
    made = masked_folder(tmp_path / "data", 10)
    (made / "classes.txt").write_text("\n".join([*COLOURS, "ring"]))
    return made


def test_every_fault_of_a_mask_is_named(folder):
    (folder / "masks" / "000.png").unlink()
    (folder / "images" / "001.png").unlink()
    save(folder / "masks" / "002.png", np.zeros((16, 32), np.uint8))
    save(folder / "masks" / "003.png", np.full((32, 32), 9, np.uint8))
    save(folder / "masks" / "004.png", np.full((32, 32), 255, np.uint8))
    (folder / "masks" / "005.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    found = json.loads(command("data", folder, "--json").out)
    kinds = {problem["id"]: problem["kind"] for problem in found["problems"]}
    assert found["usable"] == 4
    assert kinds["images/000.png"] == "no mask" and kinds["masks/001.png"] == "no image"
    assert kinds["images/002.png"] == "mask size" and kinds["images/003.png"] == "mask value"
    assert kinds["images/004.png"] == "mask" and kinds["images/005.png"] == "truncated"
    assert sum(row["share"] for row in found["classes"].values()) == pytest.approx(1)
    assert found["classes"]["background"]["pictures"] == 4 and found["classes"]["ring"] == {
        "share": 0.0,
        "pictures": 0,
    }
    out = command("data", folder, "--strict", code=1).out
    assert "images/003.png: its mask has 9" in out and "classes in no mask: ring" in out
    assert "4 usable images with masks of 5 classes, 5 left out" in out


def test_pictures_of_many_sizes_can_be_checked(folder):
    save(folder / "images" / "006.png", np.zeros((40, 60, 3), np.uint8))
    save(folder / "masks" / "006.png", np.ones((40, 60), np.uint8))
    found = scan.scan_masks(str(folder))
    assert found.usable == 10 and len(found.images.sizes) == 2


def camvid(root):
    """Pictures with SegNet's twelve values, in CamVid's folders."""
    values = np.repeat(np.arange(12, dtype=np.uint8), 4)[None].repeat(32, 0)
    for split in ("train", "val", "test"):
        for place in range(2):
            save(
                root / split / f"{split}{place}.png",
                np.full((32, 48, 3), 40 * place + len(split), np.uint8),
            )
            save(root / f"{split}annot" / f"{split}{place}.png", values)
    return root


def test_the_numbers_of_camvid_are_known_without_a_file(tmp_path):
    folder = camvid(tmp_path / "street")
    found = prepare_data(Data(str(folder), target="mask"))
    assert (
        found.classes == legend.CAMVID.names[:-1]
        and len(found.classes) == 11
        and (np.asarray(found.masks) == 255).any()
    )
    assert "11 as void" in found.notes[0] and found.colours[3] == (128, 64, 128)
    assert "11 as void" in scan.describe(scan.scan_masks(str(folder)))
    (folder / "classes.txt").write_text("\n".join(map(str, range(12))))
    assert len(prepare_data(Data(str(folder), target="mask")).classes) == 12, (
        "a file decides otherwise"
    )


def test_many_masks_are_counted_in_the_memory_of_a_few():
    values = [np.full((64, 64), place, np.uint8) for place in (0, 1, 9)]
    pairs = masks.Pairs(
        SimpleNamespace(ids=range(3000)), lambda row: Mask(values[row % 3]), None, ""
    )
    tracemalloc.start()
    pixels, shown, _ = scan.count_pixels(
        pairs, legend.key(None, np.arange(2), ""), range(3000), bad := {}
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        pixels[:2].tolist() == [4_096_000] * 2
        and shown[:2].tolist() == [1000] * 2
        and not pixels[2:].any()
    )
    assert list(bad) == list(range(2, 3000, 3)) and bad[2].kind == "mask value"
    assert peak < 3 << 20, (
        "256 counts of each would be 6 MB, 2 GB for a million; every wrong mask that is kept 100 kB"
    )


def test_colour_masks_without_a_file_of_colours_stop_the_check(tmp_path):
    with pytest.raises(UserError, match="no file assigns colours to classes"):
        scan.scan_masks(str(masked_folder(tmp_path / "data", 3, colours=True)))


@pytest.mark.parametrize(
    "folders, expected",
    [
        ("images masks", True),
        ("images labels", True),
        ("train trainannot", True),
        ("train/images train/masks", True),
        ("with_mask without_mask", False),
        ("cat dog", False),
        ("train/cat train/dog", False),
    ],
)
def test_what_looks_like_masks(tmp_path, folders, expected):
    for name in folders.split():
        (tmp_path / name).mkdir(parents=True)
    assert masks.is_masked(str(tmp_path)) is expected


def test_a_known_name_wins_over_a_folder_with_masks_for_the_check_as_for_training(
    tmp_path, monkeypatch
):
    masked_folder(tmp_path / "digits", 4)
    masked_folder(tmp_path / "shapes", 4)
    monkeypatch.chdir(tmp_path)
    assert (
        not masks.is_masked("digits") and masks.is_masked("./digits") and masks.is_masked("shapes")
    )
    for ask in (scan.scan_masks, lambda where: prepare_data(Data(where, target="mask"))):
        with pytest.raises(UserError, match="has no masks") as refused:
            ask("digits")
        assert "./digits" in refused.value.hint
    assert len(masks.open_pairs(Data("./shapes", target="mask")).source.ids) == 4
    heard = []
    assert (
        len(masks.open_pairs(Data("shapes", target="mask"), heard.append).source.ids) > 4
        and "./shapes" in heard[0]
    )


def test_arrays_are_not_unpacked_to_look_for_masks(tmp_path, monkeypatch):
    monkeypatch.setenv("EYESIGHT_CACHE", str(tmp_path / "cache"))
    np.savez(tmp_path / "pictures.npz", images=np.zeros((2, 8, 8), np.uint8))
    assert not masks.is_masked(str(tmp_path / "pictures.npz")) and not (tmp_path / "cache").exists()


def plain_masks(root, shade):
    """Eight pictures whose masks hold `shade(number)` on a third, and 0 beside it."""
    for number in range(8):
        mask = np.zeros((18, 18), np.uint16)
        mask[:6], mask[6:12] = shade(number)
        save(root / "images" / f"{number}.png", np.full((18, 18, 3), 9 * number, np.uint8))
        save(root / "masks" / f"{number}.png", mask.astype("u2" if mask.max() > 255 else "u1"))
    return str(root)


def test_white_is_a_class_among_even_greys(tmp_path):
    found = scan.scan_masks(plain_masks(tmp_path, lambda number: (127, 255)))
    assert found.classes == ("0", "127", "255") and found.ignored == 0
    assert any("255 is a class" in note for note in found.notes)


def test_white_is_ignored_among_numbers(tmp_path):
    found = scan.scan_masks(plain_masks(tmp_path, lambda number: (1, 255)))
    assert found.classes == ("0", "1") and found.ignored > 0


def test_numbers_of_objects_are_told(tmp_path):
    found = scan.scan_masks(plain_masks(tmp_path, lambda number: (1000 + number, 2000 + number)))
    assert any("every object had its own number" in note for note in found.notes)
