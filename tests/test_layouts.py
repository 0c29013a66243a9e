"""A folder is not a class because it holds pictures: splits, wrappers, folds, sites, strays."""

import os
import re

import numpy as np
import pytest
from test_sources import draw, draw_all, table, trouble

from eyesight.data.decode import Problem, left_out_by_kind
from eyesight.data.facts import count_line
from eyesight.data.formats.folders import UnclearError
from eyesight.data.layout import Layout
from eyesight.data.opening import open_source
from eyesight.data.scan import scan
from eyesight.errors import UserError


def filled(root, *folders, count=2):
    """`count` pictures in each of these folders."""
    for number, folder in enumerate(folders):
        for index in range(count):
            draw(root / folder / f"{number}_{index}.png", 100 * number + index)
    return root


def splits_of(source):
    """Folder → its splits, for the first two parts of each id."""
    return {
        name.split("/")[0]: split for name, split in zip(source.ids, source.splits, strict=True)
    }


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("training_set", "test_set", "test"),
        ("seg_train", "seg_test", "test"),
        ("asl_alphabet_train", "asl_alphabet_test", "test"),
        ("train_data", "test_data", "test"),
        ("train2017", "val2017", "validation"),
        ("train", "test1", "test"),
        ("train_images", "dev_images", "validation"),
        ("trainset", "testset", "test"),
        ("TrainImages", "ValidImages", "validation"),
        ("Training", "holdout", "test"),
        ("entrenamiento", "prueba", "test"),
        ("entraînement", "validation", "validation"),
        ("Trainingsdaten", "Testdaten", "test"),
        ("训练集", "测试集", "test"),
        ("훈련", "검증", "validation"),
        ("обучение", "тест", "test"),
        ("treino", "teste", "test"),
    ],
)
def test_splits_by_words_and_affixes(tmp_path, train, other, split):
    filled(tmp_path, f"{train}/cat", f"{train}/dog", f"{other}/cat", f"{other}/dog")
    source = open_source(tmp_path)
    assert source.classes == ("cat", "dog")
    assert splits_of(source) == {train: "train", other: split}
    assert source.problems == () and (train in source.notes[0] or train in ("train", "test"))


@pytest.mark.parametrize("inner", ["{split}", "images", "data"])
def test_a_split_within_a_folder_of_its_own_name(tmp_path, inner):
    names = [
        f"{split}/{inner.format(split=split)}/{name}"
        for split in ("seg_train", "seg_test")
        for name in ("sea", "street")
    ]
    source = open_source(filled(tmp_path, *names))
    assert source.classes == ("sea", "street")
    assert splits_of(source) == {"seg_train": "train", "seg_test": "test"}


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "test"),
        ("train", "test1"),
        ("train_images", "test_images"),
        ("train2017", "val2017"),
        ("images_part_1", "images_part_2"),
        ("fold_0", "fold_1", "fold_2"),
        ("site_a", "site_b"),
        ("dataset", "docs"),
        ("images",),
        ("images/train", "images/val"),
        ("train/images", "valid/images"),
        ("test/test", "train/train"),
    ],
)
def test_flat_splits_and_containers_are_no_classes(tmp_path, folders):
    filled(tmp_path, *folders)
    with pytest.raises(UnclearError, match="no class folders") as caught:
        open_source(tmp_path)
    assert f"{folders[0]} (2 images)" in caught.value.message
    assert ("data.class_level" in caught.value.hint) == (len(folders) > 1)


def test_images_without_folders_get_no_hint_about_folder_levels(tmp_path):
    filled(tmp_path, "photos")
    with pytest.raises(UnclearError) as caught:
        open_source(tmp_path / "photos")
    assert "class_level" not in caught.value.hint


def test_boxes_are_mentioned_where_they_lie(tmp_path):
    filled(tmp_path, "images/train", "images/val")
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "0_0.txt").write_text("0 0.5 0.5 0.1 0.1")
    with pytest.raises(UserError) as caught:
        open_source(tmp_path)
    assert "boxes" in caught.value.hint


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "bus", "car"),
        ("train_station", "test_tube"),
        ("bullet_train", "steam_train"),
        ("0", "1", "2"),
        ("camera", "plate"),
        ("valid", "invalid"),
        ("cat", "docs"),
        ("a", "b"),
    ],
)
def test_classes_that_only_look_like_splits(tmp_path, folders):
    source = open_source(filled(tmp_path, *folders))
    assert set(source.classes) == set(folders) and set(source.splits) == {""}


@pytest.mark.parametrize(
    "above",
    [("fold_0", "fold_1", "fold_2"), ("site_a", "site_b"), ("alice", "bob"), ("2019", "2020")],
)
def test_below_folds_and_sites_lie_the_classes(tmp_path, above):
    filled(tmp_path, *(f"{outer}/{name}" for outer in above for name in ("healthy", "ill")))
    source = open_source(tmp_path)
    assert source.classes == ("healthy", "ill") and set(source.splits) == {""}
    assert above[0] in source.notes[0] and "class_level" in source.notes[0]
    assert open_source(tmp_path, layout=Layout(class_level=1)).classes == tuple(above)


def test_a_site_may_lack_a_class(tmp_path):
    filled(tmp_path, "site_1/pos", "site_1/neg", "site_2/pos")
    assert open_source(tmp_path).classes == ("neg", "pos")


def test_what_two_levels_could_be_is_refused(tmp_path):
    filled(tmp_path, "alice/cat", "alice/dog", "bob/cat", "bob/bird", "eve/dog", "eve/bird")
    with pytest.raises(UserError, match="alice, bob, eve, or the folders in them") as caught:
        open_source(tmp_path)
    assert "data.class_level=1 or 2" in caught.value.hint
    assert open_source(tmp_path, layout=Layout(class_level=2)).classes == ("bird", "cat", "dog")


@pytest.mark.parametrize("inner", ["images", "part_{}", "batch{}"])
def test_containers_in_class_folders_are_not_asked(tmp_path, inner):
    names = [f"{name}/{inner.format(number)}" for name in ("cat", "dog") for number in (1, 2)]
    assert open_source(filled(tmp_path, *dict.fromkeys(names))).classes == ("cat", "dog")


def test_groups_of_classes_keep_the_outer_folder(tmp_path):
    filled(tmp_path, "animal/cat", "animal/dog", "vehicle/bus", "vehicle/car")
    source = open_source(tmp_path)
    assert source.classes == ("animal", "vehicle")
    (note,) = source.notes
    assert "cat, dog, bus, car" in note and "data.class_level=2" in note
    assert len(open_source(tmp_path, layout=Layout(class_level=2)).classes) == 4


def test_splits_inside_the_classes(tmp_path):
    filled(tmp_path, "cat/train", "cat/test", "dog/train", "dog/test")
    source = open_source(tmp_path)
    assert source.classes == ("cat", "dog")
    assert {name: split for name, (split, _) in table(source).items()}["cat/test/1_0.png"] == "test"


def test_sites_inside_the_splits(tmp_path):
    filled(
        tmp_path, "train/s1/a", "train/s1/b", "train/s2/a", "train/s2/b", "test/s1/a", "test/s1/b"
    )
    source = open_source(tmp_path)
    assert source.classes == ("a", "b") and set(source.splits) == {"train", "test"}


def test_a_repository_around_the_data(tmp_path):
    filled(tmp_path, "dataset/train/cat", "dataset/train/dog", "docs", "assets")
    source = open_source(tmp_path)
    assert source.classes == ("cat", "dog")
    assert trouble(source) == {("docs", "unlabelled"): True, ("assets", "unlabelled"): True}


def test_a_nested_copy_is_named_once_and_left_out(tmp_path):
    parts = [f"{split}/{name}" for split in ("train", "val") for name in ("a", "b")]
    filled(tmp_path / "xray", *parts, *(f"xray/{part}" for part in parts))
    source = open_source(tmp_path)
    assert len(source.ids) == 8 and trouble(source) == {("xray/xray", "unlabelled"): True}
    assert "8 images left out" in source.problems[0].detail
    assert left_out_by_kind(source.problems) == {"unlabelled": 8}


def test_a_stray_picture_beside_a_wrapper_is_named(tmp_path):
    filled(tmp_path, "photos/cat", "photos/dog")
    draw(tmp_path / "cover.png", 7)
    source = open_source(tmp_path)
    assert source.classes == ("cat", "dog")
    assert trouble(source) == {("cover.png", "unlabelled"): True}


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images", "masks"),
        ("JPEGImages", "SegmentationClass"),
        ("leftImg8bit/train/ulm", "gtFine/train/ulm"),
        ("train/images", "train/masks"),
        ("imgs", "labels"),
        ("7/images", "7/masks"),
    ],
)
def test_pictures_and_masks_are_no_classes(tmp_path, images, masks):
    filled(tmp_path, images, masks)
    if images.startswith("7"):
        filled(tmp_path, "8/images", "8/masks")
    with pytest.raises(UserError, match="masks, not classes") as caught:
        open_source(tmp_path)
    assert "data.target=mask" in caught.value.hint


def test_names_that_differ_only_in_spaces_are_refused(tmp_path):
    filled(tmp_path, "a", " a", "b")
    with pytest.raises(UserError, match="differ only in spaces"):
        open_source(tmp_path)


def test_the_level_a_person_names(tmp_path):
    filled(tmp_path, "2020/train/cat/small", "2020/test/dog/large", "2021/train/dog/small")
    source = open_source(tmp_path, layout=Layout(class_level=3))
    assert source.classes == ("cat", "dog")
    assert sorted(source.splits.tolist()) == ["test"] * 2 + ["train"] * 4
    assert any("class_level" in note for note in source.notes)
    with pytest.raises(UserError, match="no image is 9 folders deep"):
        open_source(tmp_path, layout=Layout(class_level=9))


def test_the_folder_a_person_names(tmp_path):
    filled(tmp_path, "photos/cat", "photos/dog", "drawings/cat", "drawings/dog")
    source = open_source(tmp_path, layout=Layout(images="photos"))
    assert source.classes == ("cat", "dog") and source.ids[0] == "cat/0_0.png"
    with pytest.raises(UserError, match="paintings"):
        open_source(tmp_path, layout=Layout(images="paintings"))


def test_groups_by_a_regular_expression(tmp_path):
    draw_all(tmp_path, "a/p1_1.png", "a/p1_2.png", "a/p2_1.png", "b/p2_2.png", "b/other.png")
    source = open_source(tmp_path, layout=Layout(group_pattern=r"(p\d+)_"))
    groups = dict(zip(source.ids, source.groups, strict=True))
    assert groups["a/p1_1.png"] == groups["a/p1_2.png"] == "p1" and groups["b/p2_2.png"] == "p2"
    assert len(set(source.groups)) == 3 and "images without a group: 1" in source.notes[-1]
    for pattern, message in (("(", "not a valid regular expression"), ("xyz", "matches no path")):
        with pytest.raises(UserError, match=message):
            open_source(tmp_path, layout=Layout(group_pattern=pattern))


def test_what_a_person_says_is_never_ignored(tmp_path):
    filled(tmp_path / "set", "a", "b")
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 4, 4), np.uint8), labels=[0, 1])
    for place, layout, message in (
        ("set", Layout(label_column="breed"), "has no table"),
        ("x.npz", Layout(class_level=1), "has no class_level"),
        ("x.npz", Layout(images="a"), "has no images"),
    ):
        with pytest.raises(UserError, match=message):
            open_source(tmp_path / place, layout=layout)


def test_a_very_deep_folder_ends(tmp_path):
    filled(tmp_path, "a", "b")
    deep = tmp_path / "a"
    for _ in range(230):
        deep = deep / "d"
    deep.mkdir(parents=True)
    source = open_source(tmp_path)
    assert len(source.ids) == 4
    assert any("levels deep" in problem.detail for problem in source.problems)


def test_names_of_a_split_and_something_else_are_no_classes(tmp_path):
    filled(tmp_path, "trainA", "trainB", "testA", "testB")
    with pytest.raises(UnclearError, match="mixture of splits and other names"):
        open_source(tmp_path)
    assert len(open_source(tmp_path, layout=Layout(class_level=1)).classes) == 4


def test_abbreviated_splits_count_where_both_are_there(tmp_path):
    filled(tmp_path, "tr/cat", "tr/dog", "te/cat", "te/dog")
    source = open_source(tmp_path)
    assert source.classes == ("cat", "dog")
    assert splits_of(source) == {"tr": "train", "te": "test"}


def test_folders_of_images_and_labels_by_part_are_no_classes(tmp_path):
    filled(tmp_path, "imagesTr", "imagesTs", "labelsTr")
    with pytest.raises(UserError, match="no class folders"):
        open_source(tmp_path)


def test_an_unlabelled_folder_is_no_class(tmp_path):
    source = open_source(filled(tmp_path, "cat", "dog", "unlabeled_data"))
    assert source.classes == ("cat", "dog")
    assert [problem.id for problem in source.problems] == ["unlabeled_data"]


@pytest.mark.parametrize("name", ["thumbnails", "images", "bounding_box_train"])
def test_a_class_by_a_doubtful_name_is_told(tmp_path, name):
    source = open_source(filled(tmp_path, "cat", "dog", name))
    assert name in source.classes and any(name in note for note in source.notes)


def test_a_class_with_one_split_only_beside_a_class_with_two(tmp_path):
    source = open_source(filled(tmp_path, "pos/train", "pos/test", "neg/train"))
    assert sorted(set(source.splits)) == ["test", "train"]


@pytest.mark.skipif(os.name != "posix", reason="paths as POSIX has them")
def test_a_folder_2500_deep_ends(tmp_path, monkeypatch):
    filled(tmp_path / "set", "a", "b")
    monkeypatch.chdir(tmp_path / "set" / "a")
    for _ in range(2500):
        os.mkdir("d")  # noqa: PTH102 - a path of that length is none that could be made at once
        os.chdir("d")
    try:
        source = open_source(tmp_path / "set")
    finally:  # pytest cannot remove it
        for _ in range(2500):
            os.chdir("..")
            os.rmdir("d")  # noqa: PTH106
    assert len(source.ids) == 4
    assert any("levels deep" in problem.detail for problem in source.problems)


@pytest.mark.parametrize(
    ("above", "copy"),
    [("", "brain_tumor"), ("cell_images/", "cell_images/cell_images"), ("Data/", "data/Data")],
)
def test_the_data_set_inside_itself_is_named_and_left_out(tmp_path, above, copy):
    inner = f"{above}1/" if copy == "data/Data" else above
    nested = f"{copy}/1/" if copy == "data/Data" else f"{copy}/"
    filled(tmp_path, f"{inner}yes", f"{inner}no", f"{nested}yes", f"{nested}no", count=3)
    source = open_source(tmp_path)
    assert source.classes == ("no", "yes") and len(source.ids) == 6
    (problem,) = source.problems
    assert "6 images left out" in problem.detail and "of the same names" in problem.detail


def test_folders_that_only_contain_lie_between_sites_and_classes(tmp_path):
    filled(tmp_path, *(f"{site}/images/{name}" for site in ("web", "slr") for name in ("a", "b")))
    assert open_source(tmp_path).classes == ("a", "b")


@pytest.mark.parametrize(
    ("base", "other", "flat"),
    [("rps/rps", "rps-test-set/rps-test-set", "rps-validation"), ("pets", "validation-pets", "")],
)
def test_the_folder_that_the_others_are_named_after_is_the_training_part(
    tmp_path, base, other, flat
):
    folders = [f"{split}/{name}" for split in (base, other) for name in ("cat", "dog")]
    source = open_source(filled(tmp_path, *folders, *[flat] * bool(flat)))
    assert source.classes == ("cat", "dog")
    splits = splits_of(source)
    assert splits[base.split("/")[0]] == "train"
    assert splits[other.split("/")[0]] == ("test" if "test" in other else "validation")


def test_a_class_whose_name_is_within_another_is_no_training_part(tmp_path):
    filled(tmp_path, "tube", "test_tube")
    assert open_source(tmp_path).classes == ("test_tube", "tube")


def test_the_hint_counts_levels_from_the_data_folder(tmp_path):
    filled(tmp_path, *(f"zebra/{name}" for name in ("trainA", "trainB", "testA", "testB")))
    with pytest.raises(UnclearError) as caught:
        open_source(tmp_path)
    assert "data.class_level=2" in caught.value.hint
    assert len(open_source(tmp_path, layout=Layout(class_level=2)).classes) == 4


def test_masks_among_the_images_of_a_class_are_left_out(tmp_path):
    for number, name in enumerate(("benign", "normal")):
        for index in range(3):
            draw(tmp_path / name / f"{name} ({index}).png", 10 * number + index)
            draw(tmp_path / name / f"{name} ({index})_mask.png", 100 + 10 * number + index)
    draw(tmp_path / "benign" / "benign (1)_mask_1.png", 99)
    source = open_source(tmp_path)
    assert source.classes == ("benign", "normal") and len(source.ids) == 6
    assert [problem.kind for problem in source.problems] == ["masks", "masks"]
    assert "4 images left out" in source.problems[0].detail
    assert left_out_by_kind(source.problems) == {"masks": 7}


def test_masks_are_left_out_of_one_folder_where_another_has_none(tmp_path):
    filled(tmp_path, "tumour", "normal", count=3)
    filled(tmp_path, "unused", "normal", count=9)
    for index in range(3):
        draw(tmp_path / "tumour" / f"0_{index}_mask.png", 300 + index)
    source = open_source(tmp_path, layout=Layout(class_level=1))
    assert sum(name.startswith("tumour/") for name in source.ids) == 3
    assert "rename them to use them as images" in source.problems[0].detail


def test_a_class_inside_another_folder_is_no_copy(tmp_path):
    filled(tmp_path, "land/sea", "sea")
    assert open_source(tmp_path).classes == ("land", "sea")


def test_a_few_names_that_end_in_mask_are_images(tmp_path):
    filled(tmp_path, "cat", "dog", count=6)
    draw(tmp_path / "cat" / "0_1_mask.png", 77)
    assert len(open_source(tmp_path).ids) == 13


@pytest.mark.parametrize(
    ("names", "other", "words"),
    [
        (
            ["cat.0.png", "cat.1.png", "dog.0.png", "dog.1.png", "dog.2.png", "cat.2.png"],
            "",
            "'cat'",
        ),
        ([f"s0{number % 2}.{number}.png" for number in range(6)], "", "'s00'"),
        ([f"x_{number}.png" for number in range(6)], "imagelabels.mat", "imagelabels.mat"),
        ([f"x_{number}.png" for number in range(6)], "lists/train.txt", "lists/train.txt"),
        ([f"x_{number}.png" for number in range(6)], "labels.xlsx", "labels.xlsx"),
    ],
)
@pytest.mark.parametrize("folder", ["photos", "val_256"])
def test_an_error_says_where_the_classes_may_be(tmp_path, names, other, words, folder):
    for number, name in enumerate(names):
        draw(tmp_path / folder / name, number)
    if other:
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_bytes(b"1")
    with pytest.raises(UserError) as caught:
        scan(open_source(tmp_path))
    assert words in caught.value.hint and "CSV with the columns path and label" in caught.value.hint
    assert "boxes" not in caught.value.hint


@pytest.mark.parametrize("inside", ["", "images/"])
def test_the_level_of_folders_inside_the_classes_is_right(tmp_path, inside):
    draw_all(
        tmp_path,
        *(
            f"{outer}/{inside}{inner}/{n}.png"
            for outer, inner in (
                ("animal", "cat"),
                ("animal", "dog"),
                ("car", "bus"),
                ("car", "van"),
            )
            for n in range(2)
        ),
    )
    note = next(note for note in open_source(tmp_path).notes if "not told apart" in note)
    level = int(note.partition("data.class_level=")[2].split()[0])
    inner = open_source(tmp_path, layout=Layout(class_level=level))
    assert inner.classes == ("bus", "cat", "dog", "van")


def test_either_level_of_an_unclear_data_set_works_as_told(tmp_path):
    for outer, names in (("north", ("cat", "dog")), ("south", ("cat", "dog", "bird"))):
        draw_all(tmp_path, *(f"{outer}/images/{name}/1.png" for name in names))
    with pytest.raises(UserError, match="could be") as caught:
        open_source(tmp_path)
    first, second = map(int, re.findall(r"=(\d+) or (\d+)", caught.value.hint)[0])
    outer = open_source(tmp_path, layout=Layout(class_level=first))
    assert outer.classes == ("north", "south")
    inner = open_source(tmp_path, layout=Layout(class_level=second))
    assert inner.classes == ("bird", "cat", "dog")


def test_rows_without_an_image_are_no_images(tmp_path):
    draw_all(tmp_path, *(f"{n}.png" for n in range(4)))
    rows = [f"{n}.png,{'ab'[n % 2]}" for n in range(4)]
    rows += ["path,label", "gone.png,a", "lost.png,b"]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    source = open_source(tmp_path / "labels.csv")
    assert len(source.problems) == 3
    assert count_line({"train": 3, "test": 1}, source.problems) == "4 images: 3 training, 1 test"
    with_thumbnails = [*source.problems, Problem("thumbs", "thumbnails", "", fatal=True, count=5)]
    assert count_line({"train": 4}, with_thumbnails, excluded=2) == (
        "11 images: 4 training, 5 left out (thumbnails), 2 left out (corrections)"
    )
