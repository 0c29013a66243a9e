"""The health check: every bad file by name, and what follows from copies."""

import io

import numpy as np
import pytest
from PIL import Image

from eyesight.data.prepare import Preparation, Problem
from eyesight.data.scan import array_digests, describe, examine, examine_all, scan
from eyesight.data.source import Source
from eyesight.errors import UserError


def picture(seed, format="PNG", mode="RGB", size=(12, 10), **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format, **options)
    return file.getvalue()


def source(files, fingerprint="folder:1", problems=()):
    """From {"train/cat/a.png": bytes}: split and class by folder, where the split may be absent."""
    ids = tuple(files)
    names = [name.split("/")[-2] for name in ids]
    classes = tuple(sorted(set(names) - {"unknown"}))

    def read(index):
        data = files[ids[index]]
        if isinstance(data, Exception):
            raise data
        return data

    return Source(
        name="pets",
        classes=classes,
        ids=ids,
        labels=np.array(
            [classes.index(name) if name in classes else -1 for name in names], dtype=np.int64
        ),
        splits=np.array(
            [name.split("/")[0] if name.count("/") == 2 else "" for name in ids], dtype="U10"
        ),
        read=read,
        pixels=None,
        fingerprint=fingerprint,
        problems=problems,
    )


def two_classes(**extra):
    return {
        "cat/1.png": picture(1),
        "dog/1.png": picture(2),
        **{name.replace("__", "/"): data for name, data in extra.items()},
    }


def found(result):
    return {(problem.id, problem.kind, problem.fatal) for problem in result.problems}


def test_each_awkward_file_is_named_with_its_kind():
    exif = Image.Exif()
    exif[0x0112] = 3
    frames = [Image.new("RGB", (12, 10), colour) for colour in ("red", "lime")]
    animation, deep = io.BytesIO(), io.BytesIO()
    frames[0].save(animation, "GIF", save_all=True, append_images=frames[1:])
    Image.fromarray(np.full((10, 12), 40000, dtype=np.uint16)).save(deep, "PNG")
    files = {
        **two_classes(),
        "cat/text.jpg": b"hello",
        "cat/cut.jpg": picture(3, "JPEG")[:200],
        "cat/empty.png": b"",
        "cat/wrong.jpg": picture(4),
        "cat/turned.jpg": picture(5, "JPEG", exif=exif),
        "cat/deep.png": deep.getvalue(),
        "dog/print.jpg": picture(6, "JPEG", mode="CMYK"),
        "dog/moving.gif": animation.getvalue(),
        "dog/gone.png": FileNotFoundError(2, "No such file or directory"),
        "dog/locked.png": PermissionError(13, "Permission denied"),
        "unknown/1.png": picture(7),
    }
    result = scan(
        source(files, problems=(Problem("notes.txt", "ignored", "not a picture", False),))
    )
    assert found(result) == {
        ("cat/text.jpg", "unreadable", True),
        ("cat/cut.jpg", "truncated", True),
        ("cat/empty.png", "empty", True),
        ("cat/wrong.jpg", "wrong_extension", False),
        ("cat/turned.jpg", "rotated", False),
        ("cat/deep.png", "deep16", False),
        ("dog/print.jpg", "cmyk", False),
        ("dog/moving.gif", "animated", False),
        ("dog/gone.png", "missing", True),
        ("dog/locked.png", "unreadable", True),
        ("unknown/1.png", "unlabelled", True),
        ("notes.txt", "ignored", False),
    }
    assert result.counts == {"cat": {"unsplit": 4}, "dog": {"unsplit": 3}}
    text = describe(result)
    assert all(problem.id in text for problem in result.problems)
    assert "left out" in text and "wrong extension: 1 noted" in text


def test_copies_in_one_class_keep_the_first():
    result = scan(source(two_classes(cat__2=picture(1), cat__3=picture(1))))
    assert found(result) == {("cat/2", "duplicate", True), ("cat/3", "duplicate", True)}
    assert result.usable.tolist() == [True, True, False, False]


def test_copies_across_splits_leave_out_the_training_side():
    files = {
        "train/cat/1.png": picture(1),
        "train/cat/2.png": picture(2),
        "train/dog/1.png": picture(3),
        "validation/cat/1.png": picture(2),
        "validation/dog/1.png": picture(4),
        "test/cat/1.png": picture(1),
        "test/dog/1.png": picture(4),
    }
    result = scan(source({**files, "train/cat/9.png": picture(9)}))
    assert found(result) == {
        ("train/cat/1.png", "leak", True),
        ("train/cat/2.png", "leak", True),
        ("validation/dog/1.png", "leak", True),
    }
    assert "same as test/cat/1.png in test" in describe(result)


def test_copies_within_the_test_part_are_noted_and_kept():
    files = {
        "train/cat/1.png": picture(1),
        "train/dog/1.png": picture(2),
        "test/cat/1.png": picture(3),
        "test/cat/2.png": picture(3),
    }
    result = scan(source(files))
    assert found(result) == {("test/cat/2.png", "duplicate", False)} and result.usable.all()


def test_copies_under_different_names_are_all_left_out_but_for_test():
    files = {
        "train/cat/1.png": picture(1),
        "train/cat/2.png": picture(2),
        "train/dog/1.png": picture(1),
        "train/dog/2.png": picture(3),
        "test/dog/3.png": picture(1),
    }
    result = scan(source(files))
    assert found(result) == {
        ("train/cat/1.png", "conflict", True),
        ("train/dog/1.png", "conflict", True),
        ("test/dog/3.png", "conflict", False),
    }
    assert result.usable.tolist() == [False, True, False, True, True]
    assert "same as train/dog/1.png, which is labelled 'dog'" in describe(result)


def test_official_sets_keep_their_copies():
    files = {
        "train/cat/1.png": picture(1),
        "train/cat/2.png": picture(1),
        "train/dog/1.png": picture(2),
        "test/dog/1.png": picture(1),
    }
    result = scan(source(files, fingerprint="named:pets"))
    assert result.usable.all()
    assert {kind for _, kind, _ in found(result)} == {"conflict"}


def test_what_the_pictures_are_is_counted():
    grey = {"cat/1.png": picture(1, mode="L"), "dog/1.png": picture(2, mode="L")}
    result = scan(source(grey))
    assert (result.channels, result.height, result.width) == (1, 10, 12)
    result = scan(source({**grey, "dog/2.jpg": picture(3, "JPEG", size=(9, 9))}))
    assert (result.channels, result.height, result.width) == (3, 0, 0)
    assert (
        result.sizes == {(12, 10): 2, (9, 9): 1}
        and result.formats == {"PNG": 2, "JPEG": 1}
        and result.modes == {"L": 2, "RGB": 1}
    )
    assert result.to_dict()["sizes"] == {"12x10": 2, "9x9": 1}


def test_classes_with_too_few_images_are_named():
    files = {f"owl/{index}.png": picture(index) for index in range(20)}
    files |= {f"fox/{index}.png": picture(30 + index) for index in range(19)}
    files |= {"bat/1.png": picture(60), "elk/1.png": b""}
    text = " ".join(describe(scan(source(files))).split())
    assert "note: no usable image of elk note:" in text
    assert "note: only one image of bat: it cannot be in both the training set and the test" in text
    assert "note: fewer than 20 images to learn fox (19) from: the accuracy" in text
    parts = {"train/fox/1.png": picture(1), "train/owl/1.png": picture(2)}
    parts |= {
        f"test/{name}/9.png": picture(number) for number, name in enumerate(("fox", "owl"), 7)
    }
    assert scan(source(parts)).notes == (
        "fewer than 20 images to learn fox (1), owl (1) from: the accuracy on so few is uncertain; "
        "add images",
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no usable image: of 0, none can be used"),
        ({"cat/1.png": b""}, r"holds no usable image: of 1, none can be used \(1 empty\)"),
        ({"cat/1.png": picture(1), "cat/2.png": picture(2)}, "one class only: 'cat' with 2"),
        (
            {"cat/1.png": picture(1), "dog/2.png": b"x"},
            r"one class only: 'cat' with 1 \(1 unreadable\)",
        ),
    ],
)
def test_nothing_to_learn_from_is_an_error_that_says_what_was_found(files, message):
    with pytest.raises(UserError, match=message):
        scan(source(files))


def arrays(pixels, labels=None, fingerprint="npz:1"):
    count = len(pixels)
    return Source(
        name="arrays",
        classes=("0", "1"),
        ids=tuple(f"train/{index:05d}" for index in range(count)),
        labels=np.arange(count) % 2 if labels is None else labels,
        splits=np.array(["train"] * count),
        read=lambda index: (
            pixels[index, 0] if pixels.shape[1] == 1 else pixels[index].transpose(1, 2, 0)
        ),
        pixels=pixels,
        fingerprint=fingerprint,
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_have_the_same_digests_at_once_and_one_by_one(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (6, channels, 5, 4), dtype=np.uint8)
    given = arrays(pixels)
    assert (
        array_digests(pixels)
        == [examine(given, index).digest for index in range(6)]
        == scan(given).digests
    )
    assert scan(given).channels == channels


def test_copies_among_arrays_are_found():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 1, 5, 4), dtype=np.uint8)
    pixels[4] = pixels[2]
    assert found(scan(arrays(pixels))) == {("train/00004", "duplicate", True)}


def test_the_walk_is_in_order_and_reads_ahead_by_little():
    started = []
    files = {f"{'cat' if index % 2 else 'dog'}/{index}.png": picture(index) for index in range(600)}
    given = source(files)
    read = given.read
    given = Source(**{**vars(given), "read": lambda index: (started.append(index), read(index))[1]})
    walking = examine_all(given, Preparation(4, 4, 0))
    first = [next(walking) for _ in range(3)]
    assert [one.digest for one in first] == [examine(given, index).digest for index in range(3)]
    assert len(started) < 600
    walking.close()  # as an exception in the caller does: nothing is left running
    assert first[0].pixels.shape == (3, 4, 4)


def test_progress_reaches_the_end():
    seen = []
    scan(source(two_classes()), lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_the_table_fits_a_terminal():
    long = {f"{'a very long class name ' * 5}{index}/1.png": picture(index) for index in range(3)}
    assert max(len(line) for line in describe(scan(source(long))).splitlines()) <= 80
