"""Every way to name pictures ends in the same kind of source, and what is left out is said
by name.
"""

import gzip
import os
import struct
import sys
import tarfile
import zipfile
from collections import Counter

import numpy as np
import pytest

from eyesight.data import opening
from eyesight.data.formats import listing
from eyesight.data.formats.cifar import CLASSES
from eyesight.data.opening import Source, list_pictures, open_source
from eyesight.data.prepare import BadPicture, Problem, encode_png
from eyesight.data.source import is_picture, natural
from eyesight.errors import UserError

LINKS = pytest.mark.skipif(sys.platform == "win32", reason="making links needs rights there")


def draw(path, seed=0):
    """A little picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        encode_png(np.random.default_rng(seed).integers(0, 256, (1, 4, 4), dtype=np.uint8))
    )
    return path


def draw_all(root, *names):
    for seed, name in enumerate(names):
        draw(root / name, seed)
    return root


def table(source):
    """id → (split, class or None)."""
    names = [None if label < 0 else source.classes[label] for label in source.labels]
    return dict(zip(source.ids, zip(source.splits.tolist(), names, strict=True), strict=True))


def trouble(source):
    return {(problem.id, problem.kind): problem.fatal for problem in source.problems}


def idx(array):
    return (
        struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        + array.astype(np.uint8).tobytes()
    )


# folders


def test_class_folders(tmp_path):
    draw_all(tmp_path, "cat/2.png", "cat/10.png", "dog/x/deep.png", "ant/1.png")
    source = open_source(tmp_path)
    assert isinstance(source, Source) and source.name == str(tmp_path) and source.pixels is None
    assert source.classes == ("ant", "cat", "dog")
    assert source.ids == ("ant/1.png", "cat/2.png", "cat/10.png", "dog/x/deep.png")
    assert source.labels.tolist() == [0, 1, 1, 2] and source.labels.dtype == np.int64
    assert source.splits.tolist() == [""] * 4
    assert source.read(1) == (tmp_path / "cat/2.png").read_bytes()
    assert source.problems == ()


def test_a_long_list_says_how_far_it_is(tmp_path, monkeypatch):
    draw_all(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png", "b/3.png")
    monkeypatch.setattr(listing, "REPORT_EVERY", 2)
    said = []
    open_source(tmp_path, talk=said.append)
    assert said == [f"listing {tmp_path}: {count} files so far" for count in (2, 4)]


def test_classes_are_in_natural_order(tmp_path):
    draw_all(tmp_path, "10/a.png", "2/a.png", "1/a.png", "b/a.png", "02/a.png")
    assert open_source(tmp_path).classes == ("1", "02", "2", "10", "b")


def test_natural_order_of_odd_names():
    names = ["a10", "a9", "a", "10", "9", "", "a9b2", "a9b10", "007", "7", "²", "٣"]
    ordered = ["", "007", "7", "9", "10", "a", "a9", "a9b2", "a9b10", "a10", "²", "٣"]
    assert sorted(names, key=natural) == ordered
    names.reverse()
    assert sorted(names, key=natural) == ordered


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "val", "test"), ("Training", "VALID", "Testing"), ("TRAIN", "Validation", "Test")],
)
def test_split_folders(tmp_path, train, validation, test):
    draw_all(
        tmp_path,
        f"{train}/a/1.png",
        f"{train}/b/2.png",
        f"{validation}/a/3.png",
        f"{test}/b/4.png",
        f"{test}/c/5.png",
    )
    source = open_source(tmp_path)
    assert source.classes == ("a", "b", "c")
    assert sorted(table(source).values()) == [
        ("test", "b"),
        ("test", "c"),
        ("train", "a"),
        ("train", "b"),
        ("validation", "a"),
    ]
    assert source.problems == ()


@pytest.mark.parametrize("around", ["Images", "images/Images", "dataset/2024"])
def test_folders_around_the_class_folders_are_unwrapped(tmp_path, around):
    draw_all(tmp_path, f"{around}/husky/1.png", f"{around}/beagle/2.png")
    (tmp_path / "annotations" / "husky").mkdir(parents=True)
    (tmp_path / "annotations" / "husky" / "1").write_text("<xml/>")
    source = open_source(tmp_path)
    assert source.classes == ("beagle", "husky")
    assert source.ids[0] == f"{around}/beagle/2.png"
    assert trouble(source) == {("annotations", "ignored_folder"): False}


def test_split_folders_inside_a_wrapper(tmp_path):
    draw_all(tmp_path, "data/train/a/1.png", "data/train/b/1.png", "data/test/a/2.png")
    assert Counter(open_source(tmp_path).splits.tolist()) == {"train": 2, "test": 1}


def test_a_class_may_be_called_train(tmp_path):
    draw_all(tmp_path, "train/1.png", "plane/1.png", "test/1.png")
    source = open_source(tmp_path)
    assert source.classes == ("plane", "test", "train") and set(source.splits.tolist()) == {""}


def test_an_unlabelled_test_folder(tmp_path):
    draw_all(tmp_path, "train/a/1.png", "train/b/2.png", "test/1.png", "test/2.png")
    source = open_source(tmp_path)
    assert table(source)["test/2.png"] == ("test", None)
    assert source.labels.tolist().count(-1) == 2 and source.classes == ("a", "b")
    assert source.problems == ()


def test_pictures_outside_class_folders_are_named(tmp_path):
    draw_all(
        tmp_path, "train/a/1.png", "train/b/1.png", "train/stray.png", "cover.png", "extra/a/1.png"
    )
    source = open_source(tmp_path)
    assert set(source.ids) == {"train/a/1.png", "train/b/1.png"}
    assert trouble(source) == {
        (name, "unlabelled"): True for name in ("train/stray.png", "cover.png", "extra")
    }


def test_hidden_and_system_folders_are_no_classes(tmp_path):
    system = (
        ".git/1.png",
        "__MACOSX/a/1.png",
        "@eaDir/1.png",
        "a/.hidden.png",
        "a/Thumbs.db",
        "a/.DS_Store",
        "b/@eaDir/1.png",
        "lost+found/1.png",
    )
    draw_all(tmp_path, "a/1.png", "b/_DSC0001.png", *system)
    source = open_source(tmp_path)
    assert source.classes == ("a", "b") and source.ids == ("a/1.png", "b/_DSC0001.png")
    ignored = {problem.id for problem in source.problems}
    assert ignored == {".git", "__MACOSX", "@eaDir", "b/@eaDir", "lost+found"}
    assert not any(problem.fatal for problem in source.problems)


def test_other_files_are_named_and_harmless(tmp_path):
    draw_all(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "notes.txt").write_text("hello")
    (tmp_path / "README.md").write_text("hello")
    (tmp_path / "empty").mkdir()
    source = open_source(tmp_path)
    assert source.classes == ("a", "b")
    assert trouble(source) == {
        ("a/notes.txt", "ignored"): False,
        ("README.md", "ignored"): False,
        ("empty", "ignored_folder"): False,
    }


def test_a_picture_is_told_by_name_or_by_content(tmp_path):
    draw_all(tmp_path, "a/1.png", "b/no_extension", "b/odd.dat")
    (tmp_path / "a" / "broken.JPG").write_bytes(b"")
    (tmp_path / "a" / "text").write_bytes(b"BMW is no bitmap")
    source = open_source(tmp_path)
    assert source.ids == ("a/1.png", "a/broken.JPG", "b/no_extension", "b/odd.dat")
    assert trouble(source) == {("a/text", "ignored"): False}


@pytest.mark.parametrize(
    "start",
    [
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"RIFF1234WEBPVP8 ",
        b"II*\0",
        b"MM\0*",
        b"BM1234\0\0\0\0",
        b"P5\n3 3\n255\n",
        b"\0\0\0\x1cftypavif",
    ],
)
def test_the_first_bytes_of_pictures(tmp_path, start):
    (tmp_path / "file").write_bytes(start)
    assert is_picture(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"x" + start)
    assert not is_picture(tmp_path / "file")


def test_classes_that_differ_only_in_case_are_refused(tmp_path):
    draw_all(tmp_path, "train/Cat/1.png", "train/dog/1.png", "test/cat/1.png")
    with pytest.raises(UserError, match="'Cat' and 'cat'"):
        open_source(tmp_path)


def test_one_name_in_two_unicode_forms_is_one_class(tmp_path):
    draw_all(tmp_path, "train/caf\u00e9/1.png", "test/cafe\u0301/2.png", "train/b/1.png")
    assert open_source(tmp_path).classes == ("b", "caf\u00e9")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_text_can_still_be_printed(tmp_path):
    draw(tmp_path / "a" / "1.png")
    draw(tmp_path / "b" / os.fsdecode(b"\xff\xfe.png"))
    source = open_source(tmp_path)
    assert source.ids[1].encode() and source.read(1)[:4] == b"\x89PNG"


@LINKS
def test_links_are_followed_and_loops_end(tmp_path):
    outside = draw(tmp_path / "outside" / "1.png")
    root = draw_all(tmp_path / "root", "a/1.png", "b/1.png")
    (root / "a" / "linked.png").symlink_to(outside)
    (root / "a" / "gone.png").symlink_to(tmp_path / "nothing.png")
    (root / "a" / "self.png").symlink_to(root / "a" / "self.png")
    (root / "b" / "up").symlink_to(root, target_is_directory=True)
    (root / "c").symlink_to(outside.parent, target_is_directory=True)
    source = open_source(root)
    assert source.ids == ("a/1.png", "a/linked.png", "b/1.png", "c/1.png")
    assert trouble(source) == {
        ("a/gone.png", "unreadable"): True,
        ("a/self.png", "unreadable"): True,
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    draw_all(tmp_path, "a/1.png", "b/1.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    source = open_source(tmp_path)
    assert len(source.ids) == 2 and trouble(source) == {("a/pipe.png", "ignored"): False}


def test_a_vanished_or_giant_file_is_a_bad_picture(tmp_path, monkeypatch):
    draw_all(tmp_path, "a/1.png", "b/1.png")
    source = open_source(tmp_path)
    (tmp_path / "a" / "1.png").unlink()
    with pytest.raises(BadPicture, match="unreadable"):
        source.read(0)
    monkeypatch.setattr("eyesight.data.source.MOST_BYTES", 10)
    with pytest.raises(BadPicture, match="huge"):
        source.read(1)


def test_the_fingerprint_follows_the_content(tmp_path):
    draw_all(tmp_path, "a/1.png", "b/1.png")
    first = open_source(tmp_path).fingerprint
    assert open_source(tmp_path).fingerprint == first
    prints = {first}
    os.utime(tmp_path / "a" / "1.png", (1, 1))
    prints.add(open_source(tmp_path).fingerprint)
    draw(tmp_path / "b" / "2.png")
    prints.add(open_source(tmp_path).fingerprint)
    (tmp_path / "b" / "2.png").replace(tmp_path / "a" / "2.png")
    prints.add(open_source(tmp_path).fingerprint)
    assert len(prints) == 4


def test_folders_without_pictures_say_what_they_hold(tmp_path):
    with pytest.raises(UserError, match="empty"):
        open_source(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"no images, only 1 other files such as notes\.txt"):
        open_source(tmp_path)
    (tmp_path / "A.TTF").write_bytes(b"")
    with pytest.raises(UserError, match="fonts, not images") as caught:
        open_source(tmp_path)
    assert f"EYESIGHT_FONTS={tmp_path}" in caught.value.hint
    draw(tmp_path / "1.png")
    with pytest.raises(UserError, match=r"no class folders: its own folder \(1 image\)"):
        open_source(tmp_path)


def test_what_does_not_exist_is_said_with_the_nearest_name(tmp_path):
    with pytest.raises(UserError, match="does not exist") as caught:
        open_source("mnits")
    assert "mnist" in caught.value.hint
    with pytest.raises(UserError, match="does not exist"):
        open_source(tmp_path / "mnist")
    with pytest.raises(UserError, match="single image"):
        open_source(draw(tmp_path / "1.png"))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="not a data set"):
        open_source(tmp_path / "notes.txt")


# tables


def write_csv(tmp_path, text, encoding="utf-8"):
    draw_all(tmp_path, "p/1.png", "p/2.png", "p/3.png")
    (tmp_path / "table.csv").write_bytes(text.encode(encoding))
    return tmp_path / "table.csv"


@pytest.mark.parametrize(
    "text",
    [
        "path,label\np/1.png,cat\np/2.png,dog\n",
        "p/1.png,cat\np/2.png,dog\n",
        "label;path\r\ncat;p/1.png\r\ndog;p/2.png\r\n",
        "Filename\tid_of_row\tClass\np/1.png\t7\tcat\np/2.png\t8\tdog\n",
        "whatever,kind\np/1.png,cat\np/2.png,dog",
        'path,label\n"p/1.png"," cat "\n\np\\2.png,dog\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_as_people_write_them(tmp_path, text, encoding):
    source = open_source(write_csv(tmp_path, text, encoding))
    assert table(source) == {"p/1.png": ("", "cat"), "p/2.png": ("", "dog")}
    assert source.problems == () and source.read(1) == (tmp_path / "p/2.png").read_bytes()


def test_a_split_column_with_or_without_header(tmp_path):
    rows = "p/1.png,a,train\np/2.png,b,Val\np/3.png,,test\n"
    expected = {
        "p/1.png": ("train", "a"),
        "p/2.png": ("validation", "b"),
        "p/3.png": ("test", None),
    }
    for text in (rows, f"path,label,split\n{rows}"):
        source = open_source(write_csv(tmp_path, text))
        assert table(source) == expected and source.problems == ()


def test_a_split_is_never_taken_for_the_label(tmp_path):
    with pytest.raises(UserError, match="no label column, only path, split"):
        open_source(write_csv(tmp_path, "path,split\np/1.png,train\np/2.png,test\n"))
    source = open_source(
        write_csv(tmp_path, "path,split,kind\np/1.png,train,cat\np/2.png,test,dog\n")
    )
    assert table(source) == {"p/1.png": ("train", "cat"), "p/2.png": ("test", "dog")}


def test_rows_that_lead_nowhere_are_listed_by_line(tmp_path):
    source = open_source(
        write_csv(
            tmp_path,
            "path,label,split\np/1.png,a,\np/2.png,,\ngone.png,a,\n,b,\np/3.png,b,other\np,a,\n",
        )
    )
    assert source.ids == ("p/1.png",)
    assert source.problems == (
        Problem("p/2.png", "unlabelled", "line 3: no label", fatal=True),
        Problem("gone.png", "missing", "line 4: no such file", fatal=True, count=0),
        Problem("", "missing", "line 5: no path", fatal=True, count=0),
        Problem(
            "p/3.png",
            "ignored",
            "line 6: unknown split 'other', expected train, validation or test",
            fatal=True,
        ),
        Problem("p", "missing", "line 7: no such file", fatal=True, count=0),
    )


def test_a_path_listed_twice_keeps_both_rows_apart(tmp_path):
    source = open_source(write_csv(tmp_path, "p/1.png,a\np/1.png,b\n"))
    assert table(source) == {"p/1.png": ("", "a"), "p/1.png (line 2)": ("", "b")}


def test_case_in_a_table(tmp_path):
    assert open_source(write_csv(tmp_path, "p/1.png,a\np/2.png,A\n")).classes == ("A", "a")
    with pytest.raises(UserError, match="'Cat' and 'cat'"):
        open_source(write_csv(tmp_path, "p/1.png,cat\np/2.png,Cat\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("path\np/1.png\n", "single column"),
        ("gone.png,a\n", "no row"),
        ("path,label\n", "no row"),
        ("path,label,split\np/1.png,,test", "no label"),
    ],
)
def test_tables_that_say_nothing(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        open_source(write_csv(tmp_path, text))


def test_a_table_in_another_encoding_or_with_odd_bytes(tmp_path):
    with pytest.raises(UserError, match="UTF-8"):
        open_source(write_csv(tmp_path, "p/1.png,größe\n", "latin-1"))
    with pytest.raises(UserError):
        open_source(write_csv(tmp_path, '"p/1.png,a\n'))
    with pytest.raises(UserError):
        open_source(write_csv(tmp_path, "p/\0.png,a\n"))


def test_a_folder_with_one_table_is_that_table(tmp_path):
    write_csv(tmp_path, "p/1.png,a\np/2.png,b\n")
    assert open_source(tmp_path).ids == ("p/1.png", "p/2.png")
    draw(tmp_path / "q" / "1.png")
    assert open_source(tmp_path).classes == ("p", "q")


# arrays


def test_keras_arrays(tmp_path):
    pixels = np.arange(6 * 4 * 5 * 3, dtype=np.uint8).reshape(6, 4, 5, 3)
    np.savez(
        tmp_path / "a.npz",
        x_train=pixels[:4],
        y_train=[[3], [1], [3], [1]],
        x_test=pixels[4:],
        y_test=[[1], [3]],
    )
    source = open_source(tmp_path / "a.npz")
    assert source.classes == ("1", "3") and source.labels.tolist() == [1, 0, 1, 0, 0, 1]
    assert (
        source.ids[3:5] == ("train/00003", "test/00000")
        and source.splits.tolist() == ["train"] * 4 + ["test"] * 2
    )
    assert source.pixels.shape == (6, 3, 4, 5) and np.array_equal(source.read(2), pixels[2])


@pytest.mark.parametrize("shape", [(6, 4, 5), (6, 4, 5, 1), (6, 1, 4, 5)])
def test_grey_arrays_in_every_shape(tmp_path, shape):
    pixels = np.arange(120, dtype=np.uint8).reshape(shape)
    np.savez(
        tmp_path / "a.npz",
        images=pixels,
        labels=[0, 1, 2, 0, 1, -1],
        classes=["zero", "one", "two"],
    )
    source = open_source(tmp_path / "a.npz")
    assert source.classes == ("zero", "one", "two") and source.labels.tolist() == [
        0,
        1,
        2,
        0,
        1,
        -1,
    ]
    assert (
        source.pixels.shape == (6, 1, 4, 5)
        and source.read(0).shape == (4, 5)
        and set(source.splits.tolist()) == {""}
    )


def test_other_kinds_of_labels_and_numbers(tmp_path):
    fractions = np.linspace(0, 1, 4 * 9).reshape(4, 3, 3)
    np.savez(tmp_path / "a.npz", images=fractions, labels=["dog", "cat", "", "dog"])
    source = open_source(tmp_path / "a.npz")
    assert (
        source.classes == ("cat", "dog")
        and source.labels.tolist() == [1, 0, -1, 1]
        and source.pixels.max() == 255
    )
    np.savez(
        tmp_path / "b.npz",
        x_train=np.zeros((3, 2, 2), int),
        y_train=np.eye(3)[[2, 0, 1]],
        x_test=np.zeros((1, 2, 2), int),
    )
    source = open_source(tmp_path / "b.npz")
    assert source.labels.tolist() == [2, 0, 1, -1]


GREY = np.zeros((2, 3, 3), np.uint8)


@pytest.mark.parametrize(
    "arrays",
    [
        {"other": GREY},
        {"images": GREY},
        {"images": GREY, "labels": [1]},
        {"images": GREY, "labels": [0.5, 1.0]},
        {"images": GREY, "labels": [0, 5], "classes": ["a", "b"]},
        {"images": GREY, "labels": ["a", "c"], "classes": ["a", "b"]},
        {"images": GREY, "labels": [0, 1], "classes": ["a", "a"]},
        {"images": GREY[0], "labels": [0, 1, 2]},
        {"images": GREY.astype(float) - 1, "labels": [0, 1]},
        {"images": GREY.astype(float) + np.nan, "labels": [0, 1]},
        {"images": np.array([{}, {}], dtype=object), "labels": [0, 1]},
        {"images": np.zeros((2, 5, 5, 2), np.uint8), "labels": [0, 1]},
        {"x_train": GREY, "y_train": [0, 1], "x_test": GREY[:, :2], "y_test": [0, 1]},
    ],
)
def test_arrays_that_are_not_as_expected(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError):
        open_source(tmp_path / "a.npz")


def test_a_broken_npz(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\3\4 no")
    with pytest.raises(UserError, match="cannot read"):
        open_source(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", bytes(1 << 20))
    blob = bytearray((tmp_path / "bomb.npz").read_bytes())
    size = blob.rindex(struct.pack("<I", 1 << 20))
    blob[size : size + 4] = struct.pack("<I", 3 << 30)
    (tmp_path / "bomb.npz").write_bytes(blob)
    with pytest.raises(UserError, match="would unpack to"):
        open_source(tmp_path / "bomb.npz")


# IDX and CIFAR-10


@pytest.mark.parametrize(
    "pattern", ["{}-{}-idx{}-ubyte", "{}-{}.idx{}-ubyte", "{}-{}-idx{}-ubyte.gz"]
)
@pytest.mark.parametrize("under", ["", "raw/MNIST/"])
def test_a_folder_of_idx_files(tmp_path, pattern, under):
    generator = np.random.default_rng(0)
    pixels = {
        "train": generator.integers(0, 256, (5, 3, 4), dtype=np.uint8),
        "t10k": generator.integers(0, 256, (2, 3, 4), dtype=np.uint8),
    }
    for part, array in pixels.items():
        for kind, contents in (("images", array), ("labels", np.arange(len(array)) * 2)):
            path = tmp_path / under / pattern.format(part, kind, 3 if kind == "images" else 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(
                gzip.compress(idx(contents)) if path.suffix == ".gz" else idx(contents)
            )
    source = open_source(tmp_path)
    assert source.classes == ("0", "2", "4", "6", "8") and source.labels.tolist() == [
        0,
        1,
        2,
        3,
        4,
        0,
        1,
    ]
    assert source.splits.tolist() == ["train"] * 5 + ["test"] * 2 and np.array_equal(
        source.pixels[:5, 0], pixels["train"]
    )
    assert len(open_source(path).ids) == 2
    path.unlink()
    with pytest.raises(UserError, match="no partner"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x0d\3",
        idx(np.zeros((2, 3, 3)))[:-1],
        idx(np.zeros((2, 3, 3))) + b"x",
        b"\0\0\x08\3" + b"\xff" * 12,
        idx(np.zeros((3, 3, 3))),
    ],
)
def test_idx_files_that_are_not_as_expected(tmp_path, contents):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(contents)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(2)))
    with pytest.raises(UserError):
        open_source(tmp_path)


def write_cifar(folder):
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.random.default_rng(0).integers(0, 256, (9, 3073), dtype=np.uint8)
    rows[:, 0] = np.arange(9)
    (folder / "data_batch_1.bin").write_bytes(rows[:4].tobytes())
    (folder / "data_batch_2.bin").write_bytes(rows[4:7].tobytes())
    (folder / "test_batch.bin").write_bytes(rows[7:].tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES))
    return rows


def test_cifar_batches(tmp_path):
    rows = write_cifar(tmp_path / "cifar-10-batches-bin")
    source = open_source(tmp_path)
    assert source.classes == CLASSES and source.labels.tolist() == list(range(9))
    assert source.ids[5:8] == ("train/00005", "train/00006", "test/00000")
    assert np.array_equal(source.pixels[8].ravel(), rows[8, 1:]) and source.read(0).shape == (
        32,
        32,
        3,
    )
    assert np.array_equal(source.read(0)[0, 1], rows[0, 1:].reshape(3, 32, 32)[:, 0, 1])


def test_cifar_that_is_broken_or_pickled(tmp_path):
    write_cifar(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(bytes(3072))
    with pytest.raises(UserError, match="not a multiple of"):
        open_source(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(bytes([10]) * 3073)
    with pytest.raises(UserError, match="label 10"):
        open_source(tmp_path)
    (tmp_path / "py").mkdir()
    (tmp_path / "py" / "data_batch_1").write_bytes(b"\x80\x02")
    with pytest.raises(UserError, match="pickle files"):
        open_source(tmp_path / "py")


def test_what_the_user_keeps_as_cifar10_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("EYESIGHT_DATA", str(tmp_path))
    draw_all(tmp_path / "made", "train/cat/1.png", "train/dog/1.png")
    with tarfile.open(tmp_path / "cifar10.tar", "w") as archive:
        archive.add(tmp_path / "made", "cifar")
    said = []
    source = open_source("cifar10", talk=said.append)
    assert (
        source.name == "cifar10" and source.classes == ("cat", "dog") and "cifar10.tar" in said[0]
    )
    assert not source.fingerprint.startswith("named:")
    (tmp_path / "cifar10.tar").unlink()
    write_cifar(tmp_path / "cifar10")
    assert open_source("cifar10").classes == CLASSES


# archives


def pack(folder, archive):
    """The folder's files as a tar or zip inside a top folder, as people pack them."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path in folder.rglob("*"):
                packed.write(path, f"top/{path.relative_to(folder).as_posix()}")
    else:
        with tarfile.open(archive, "w:gz") as packed:
            packed.add(folder, "top")
    return archive


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_an_archive_of_class_folders(tmp_path, suffix):
    archive = pack(
        draw_all(tmp_path / "made", "train/a/1.png", "train/b/2.png", "test/a/3.png"),
        tmp_path / f"x{suffix}",
    )
    source = open_source(archive)
    assert table(source) == {
        "top/train/a/1.png": ("train", "a"),
        "top/train/b/2.png": ("train", "b"),
        "top/test/a/3.png": ("test", "a"),
    }
    copy = tmp_path / f"other{suffix}"
    archive.replace(copy)
    assert open_source(copy).fingerprint == source.fingerprint
    (tmp_path / "lone").mkdir()
    copy.replace(tmp_path / "lone" / copy.name)
    assert open_source(tmp_path / "lone").fingerprint == source.fingerprint


def test_an_archive_of_a_table_an_npz_or_idx(tmp_path):
    write_csv(tmp_path / "csv", "path,label\np/1.png,a\np/2.png,b\n")
    assert open_source(pack(tmp_path / "csv", tmp_path / "csv.zip")).classes == ("a", "b")
    (tmp_path / "npz").mkdir()
    np.savez(tmp_path / "npz" / "a.npz", images=GREY, labels=[0, 1])
    assert open_source(pack(tmp_path / "npz", tmp_path / "npz.zip")).pixels.shape == (2, 1, 3, 3)
    (tmp_path / "idx").mkdir()
    (tmp_path / "idx" / "train-images-idx3-ubyte").write_bytes(idx(GREY))
    (tmp_path / "idx" / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(2)))
    assert open_source(pack(tmp_path / "idx", tmp_path / "idx.tgz")).splits.tolist() == [
        "train",
        "train",
    ]


def test_a_table_in_an_archive_cannot_name_files_outside(tmp_path):
    secret = draw(tmp_path / "secret.png")
    folder = tmp_path / "csv"
    climb = "../" * 12 + secret.relative_to(secret.anchor).as_posix()
    write_csv(folder, f"path,label\np/1.png,a\n{secret.as_posix()},b\n{climb},c\n")
    source = open_source(pack(folder, tmp_path / "x.zip"))
    assert source.ids == ("p/1.png",) and source.classes == ("a",)
    assert [problem.detail for problem in source.problems] == [
        f"line {line}: the path is outside the archive's folder" for line in (3, 4)
    ]
    assert (
        len(open_source(folder / "table.csv").ids) >= 2
    )  # in the person's own table an absolute path is theirs to give


def test_an_archive_in_an_archive_is_not_opened(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    pack(draw_all(tmp_path / "made", "a/1.png", "b/1.png"), inner / "x.zip")
    with pytest.raises(UserError, match="no images"):
        open_source(pack(inner, tmp_path / "outer.zip"))


# names and lists


def test_a_bare_name_means_the_named_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_all(tmp_path / "digits", "a/1.png", "b/1.png")
    monkeypatch.setattr(opening.named, "open_named", lambda name, talk: f"named {name}")
    said = []
    assert open_source("digits", talk=said.append) == "named digits"
    assert "./digits" in said[0]
    assert open_source("./digits").classes == ("a", "b")


def test_listing_pictures_to_predict(tmp_path):
    draw_all(tmp_path, "10.png", "2.png", "sub/1.png", ".hidden.png", "__MACOSX/1.png")
    (tmp_path / "notes.txt").write_text("x")
    assert list_pictures(tmp_path) == [
        tmp_path / "2.png",
        tmp_path / "10.png",
        tmp_path / "sub" / "1.png",
    ]
    assert list_pictures(str(tmp_path / "notes.txt")) == [tmp_path / "notes.txt"]
    with pytest.raises(UserError, match="does not exist"):
        list_pictures(tmp_path / "nothing")
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match="no images"):
        list_pictures(tmp_path / "bare")
