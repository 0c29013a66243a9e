"""Thumbnails that viewers leave among the images are no training images; hidden folders are named."""

import drawn
import numpy as np
import pytest

from eyesight.data.decode import left_out_by_kind
from eyesight.data.formats import folders, listing
from eyesight.data.layout import Layout
from eyesight.data.masks.scan import scan_masks
from eyesight.data.opening import open_source
from eyesight.recipe import Data
from eyesight.system.progress import silent


def with_thumbnails(root, place="cat", side=30):
    """Class folders with images of 100 pixels, and smaller ones in a folder of thumbnails."""
    for name in ("cat", "dog"):
        for number in range(4):
            file = root / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(drawn.png(np.full((100, 80), 10 * number, np.uint8)))
    small = root / place
    small.mkdir(parents=True, exist_ok=True)
    for number in range(4):
        (small / f"thumb_{number}.png").write_bytes(drawn.png(np.full((side, side), number, "u1")))
    return root


@pytest.mark.parametrize("place", ["cat/thumbs", "cat/Thumbnails_150", "thumbnails", "thumbs/cat"])
@pytest.mark.parametrize("level", [0, 1])
def test_thumbnails_are_no_images_of_a_class_and_no_class(tmp_path, place, level):
    source = open_source(with_thumbnails(tmp_path, place), layout=Layout(class_level=level))
    assert source.classes == ("cat", "dog") and len(source.ids) == 8
    (problem,) = source.problems
    assert (problem.kind, problem.fatal, problem.count) == ("thumbnails", True, 4)
    assert problem.id == place.removesuffix("/cat")
    assert problem.detail.startswith("4 images left out: smaller copies") and (
        "rename the folder" in problem.detail
    )


def test_thumbnails_do_not_train_an_autoencoder_and_match_no_row_of_a_table(tmp_path):
    root = with_thumbnails(tmp_path, "cat/thumbs")
    (root / "cat" / "thumbs" / "0.png").write_bytes(drawn.png(np.zeros((30, 30), np.uint8)))
    tree = listing.walk(root)
    assert len(folders.open_unlabelled("pets", tree).ids) == 8
    for number in range(4):
        (root / "dog" / f"{number}.png").rename(root / "dog" / f"{number + 4}.png")
    rows = [f"{number}.png,{'cat' if number < 4 else 'dog'}" for number in range(8)]
    (root / "labels.csv").write_text("\n".join(["file,label", *rows]))
    source = open_source(root / "labels.csv")
    assert len(source.ids) == 8
    (problem,) = [problem for problem in source.problems if problem.fatal]
    assert (problem.id, problem.count) == ("cat/thumbs", 5)


def test_thumbnails_beside_a_table_in_the_data_folder_match_no_row_and_are_counted(tmp_path):
    root = with_thumbnails(tmp_path, "cat/thumbs")
    for number in range(4):
        (root / "dog" / f"{number}.png").rename(root / "cat" / f"{number + 4}.png")
        (root / "cat" / "thumbs" / f"thumb_{number}.png").rename(
            root / "cat" / "thumbs" / f"{number}.png"
        )
    rows = [f"{number}.png,{'old' if number < 4 else 'new'}" for number in range(8)]
    (root / "labels.csv").write_text("\n".join(["file,label", *rows]))
    source = open_source(root)
    assert source.classes == ("new", "old") and len(source.ids) == 8
    assert left_out_by_kind(source.problems) == {"thumbnails": 4}
    assert not any("not listed" in note for note in source.notes)


def test_thumbnails_are_paired_with_no_mask(tmp_path):
    for folder, side in (("images", 40), ("masks", 40), ("images/thumbs", 12)):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((side, side), 0 if folder == "masks" else 99, np.uint8)
            pixels[: side // 2, : side // (number + 2)] = 1
            (tmp_path / folder / f"{number}.png").write_bytes(drawn.png(pixels))
    result = scan_masks(Data(str(tmp_path), target="mask"), silent, lambda done, total: None)
    assert result.usable == 3
    assert left_out_by_kind(result.problems) == {"thumbnails": 3}


def test_a_class_may_be_called_thumb(tmp_path):
    source = open_source(with_thumbnails(tmp_path, "thumb", side=100))
    assert "thumb" in source.classes, "its images are not smaller than the others"
    only = with_thumbnails(tmp_path / "other", "cat/thumbs")
    for file in only.glob("*/*.png"):
        file.unlink()
    for name in ("bird/thumbs", "cat/thumbs"):
        (only / name).mkdir(parents=True, exist_ok=True)
        (only / name / "1.png").write_bytes(drawn.png(np.zeros((30, 30), np.uint8)))
    assert open_source(only).classes == ("bird", "cat"), "there are no other images"


def test_hidden_and_system_folders_are_named(tmp_path):
    root = with_thumbnails(tmp_path, "cat/@eaDir")
    for name in (".thumbnails", "dog/.ipynb_checkpoints", "__MACOSX/cat"):
        with_thumbnails(root, name)
    source = open_source(root)
    assert source.classes == ("cat", "dog") and len(source.ids) == 8
    assert {(problem.id, problem.detail) for problem in source.problems} == {
        ("cat/@eaDir", "a system folder"),
        ("__MACOSX", "a system folder"),
        (".thumbnails", "a hidden folder"),
        ("dog/.ipynb_checkpoints", "a hidden folder"),
    }
