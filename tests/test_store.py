"""Prepared once, found again, never half-written, never trusted when damaged."""

import errno
import io
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyesight.data import pixel_file as rows_module
from eyesight.data import prepare as preparing
from eyesight.data.prepare import Preparation, prepare
from eyesight.data.source import Source
from eyesight.data.store import open_store, prepare_store
from eyesight.errors import UserError
from eyesight.recipe import Data
from eyesight.system import cache
from eyesight.system.array_file import ArrayFile
from eyesight.system.cache import cache_dir

Usage = namedtuple("Usage", "total used free")


def picture(seed, mode="RGB", size=(12, 10)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def source(files, fingerprint="folder:1"):
    ids = tuple(files)
    classes = tuple(sorted({name.split("/")[0] for name in ids}))
    labels = np.array([classes.index(name.split("/")[0]) for name in ids], dtype=np.int64)
    return Source(
        "pets",
        classes,
        ids,
        labels,
        np.full(len(ids), "", dtype="U10"),
        lambda index: files[ids[index]],
        None,
        fingerprint,
    )


def arrays(pixels, fingerprint="npz:1"):
    count = len(pixels)
    return Source(
        name="arrays",
        classes=("0", "1"),
        ids=tuple(f"train/{index:05d}" for index in range(count)),
        labels=np.arange(count) % 2,
        splits=np.array(["train"] * (count - 2) + ["test"] * 2),
        read=lambda index: (
            pixels[index, 0] if pixels.shape[1] == 1 else pixels[index].transpose(1, 2, 0)
        ),
        pixels=pixels,
        fingerprint=fingerprint,
    )


def noise(count=8, channels=1, side=6):
    return np.random.default_rng(0).integers(0, 256, (count, channels, side, side), dtype=np.uint8)


PETS = {f"{'cat' if index % 2 else 'dog'}/{index}.png": picture(index) for index in range(8)}


def unread(given):
    def read(index):
        raise AssertionError("read again")

    return replace(given, read=read)


def leftovers():
    return [path.name for path in (cache_dir() / "stores").glob(".eyesight-*")]


def test_a_store_holds_what_prepare_gives():
    store = prepare_store(source(PETS), Data(size=7, resize="crop", pad=1, channels=1))
    assert store.pixels.shape == (8, 1, 9, 9) and isinstance(store.pixels, ArrayFile)
    for row, name in enumerate(store.ids):
        assert np.array_equal(store.pixels[row], prepare(PETS[name], store.preparation))
    assert store.classes == ("cat", "dog") and store.labels.tolist() == [1, 0] * 4
    assert store.counts == {"cat": {"unsplit": 4}, "dog": {"unsplit": 4}}
    assert store.summary["sizes"] == {"12x10": 8} and store.splits.tolist() == [""] * 8
    assert leftovers() == []


def test_the_second_time_nothing_is_read():
    first = prepare_store(source(PETS), Data(size=7))
    again = prepare_store(unread(source(PETS)), Data(size=7))
    assert again.key == first.key and np.array_equal(again.pixels, first.pixels)
    assert (again.ids, again.digests, again.problems, again.preparation) == (
        first.ids,
        first.digests,
        first.problems,
        first.preparation,
    )
    assert np.array_equal(again.labels, first.labels) and again.summary == first.summary


def test_another_policy_or_content_or_name_is_another_store():
    keys = {
        prepare_store(source(PETS), Data(size=7, resize=resize)).key
        for resize in ("squash", "crop", "letterbox")
    }
    keys.add(prepare_store(source({**PETS, "cat/9.png": picture(9)}, "folder:2"), Data(size=7)).key)
    keys.add(
        prepare_store(
            source({name.replace("cat", "fox"): data for name, data in PETS.items()}), Data(size=7)
        ).key
    )
    assert len(keys) == 5


def test_the_same_content_at_another_time_is_the_same_store():
    first = prepare_store(source(PETS, "touched:1"), Data(size=7))
    assert prepare_store(source(PETS, "touched:2"), Data(size=7)).key == first.key
    assert leftovers() == []


def test_bad_pictures_and_copies_leave_no_gap():
    files = {
        **PETS,
        "cat/bad.png": b"?",
        "cat/copy.png": PETS["cat/1.png"],
        "cat/last.png": picture(20),
    }
    files = {"dog/first.png": b"", **files}
    store = prepare_store(source(files), Data(size=7))
    assert store.ids == (*PETS, "cat/last.png")
    for row, name in enumerate(store.ids):
        assert np.array_equal(store.pixels[row], prepare(files[name], store.preparation))
    assert {problem.kind for problem in store.problems} == {"empty", "unreadable", "duplicate"}
    assert np.load(cache_dir() / "stores" / store.key / "pixels.npy").shape == store.pixels.shape


@pytest.mark.parametrize("portion", [1, 1000, rows_module.PORTION])
def test_moving_rows_in_small_portions_changes_nothing(monkeypatch, portion):
    monkeypatch.setattr(rows_module, "PORTION", portion)
    files = {
        f"{'cat' if index % 2 else 'dog'}/{index}.png": picture(index, "L" if index < 20 else "RGB")
        for index in range(30)
    }
    files["cat/3.png"] = files["cat/1.png"]
    store = prepare_store(source(files), Data())
    assert store.pixels.shape == (29, 3, 10, 12)
    for row, name in enumerate(store.ids):
        assert np.array_equal(store.pixels[row], prepare(files[name], Preparation(channels=3)))


def test_size_and_channels_are_taken_as_found():
    grey = {name: picture(index, "L") for index, name in enumerate(PETS)}
    store = prepare_store(source(grey), Data())
    assert store.preparation == Preparation(10, 12, 1)
    assert prepare_store(source(grey), Data(channels=3)).preparation.channels == 3
    mixed = prepare_store(source({**grey, "cat/9.png": picture(9)}, "folder:2"), Data())
    assert mixed.preparation.channels == 3
    assert np.array_equal(mixed.pixels[0], np.repeat(store.pixels[0], 3, axis=0))


def test_several_sizes_need_a_choice():
    files = {**PETS, "cat/large.png": picture(30, size=(40, 30))}
    with pytest.raises(UserError, match=r"2 sizes: most often 12x10 \(8\), 40x30 \(1\)") as error:
        prepare_store(source(files), Data())
    assert "--set data.size=10" in error.value.hint and leftovers() == []


def test_the_policy_none_refuses_other_sizes():
    assert prepare_store(source(PETS), Data(resize="none")).pixels.shape == (8, 3, 10, 12)
    with pytest.raises(
        UserError,
        match=r"8 images have another size: dog/0.png is 12 x 10 where 28 x 28 is expected",
    ):
        prepare_store(source(PETS), Data(resize="none", size=28))


@pytest.mark.parametrize(
    "wanted",
    [
        Data(),
        Data(pad=2),
        Data(channels=3),
        Data(channels=1, padding="replicate", pad=1),
        Data(size=4),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_are_stored_as_prepare_gives_them(wanted, channels):
    pixels = noise(channels=channels)
    store = prepare_store(arrays(pixels), wanted)
    assert store.pixels.shape == (8, *store.preparation.shape)
    for row in range(8):
        assert np.array_equal(
            store.pixels[row], prepare(pixels[row].transpose(1, 2, 0), store.preparation)
        )
    assert store.splits.tolist() == ["train"] * 6 + ["test"] * 2


def test_arrays_have_one_digest_whatever_the_policy():
    pixels = noise()
    assert (
        prepare_store(arrays(pixels), Data()).digests
        == prepare_store(arrays(pixels), Data(size=4)).digests
    )


def test_seventy_thousand_digits_take_no_loop(monkeypatch):
    monkeypatch.setattr(preparing, "to_pixels", lambda *_: pytest.fail("one picture at a time"))
    given = arrays(np.random.default_rng(0).integers(0, 256, (70_000, 1, 28, 28), dtype=np.uint8))
    prepare_store(given, Data())
    start = time.perf_counter()
    store = prepare_store(unread(given), Data())
    assert time.perf_counter() - start < 0.5  # 0.03 s on an idle machine
    assert store.pixels.shape == (70_000, 1, 28, 28) and np.array_equal(
        store.pixels[69_999], given.pixels[69_999]
    )


def test_strict_names_the_bad_files_also_the_second_time():
    files = {**PETS, **{f"cat/bad{index}.png": b"?" for index in range(7)}}
    for _ in range(2):
        with pytest.raises(UserError, match=r"7 bad files: cat/bad0.png \(unreadable\); .*; …"):
            prepare_store(source(files), Data(size=7), strict=True)
    with pytest.raises(UserError, match="7 bad files"):
        prepare_store(source(files), Data(size=7, strict=True))
    assert prepare_store(source(PETS), Data(size=7), strict=True).ids == tuple(PETS)


def test_one_class_is_refused_for_training_and_taken_for_evaluation():
    cats = {name: data for name, data in PETS.items() if name.startswith("cat")}
    with pytest.raises(UserError, match="one class only"):
        prepare_store(source(cats), Data(size=7))
    how = Preparation(7, 7, 3, interpolation="bicubic", crop_fraction=0.9)
    store = prepare_store(source(cats), Data(), preparation=how)
    assert store.preparation == how and store.pixels.shape == (4, 3, 7, 7)
    with pytest.raises(UserError, match="no usable image"):
        prepare_store(source({"cat/1.png": b"?"}), Data(), preparation=how)


def damage_pixels(folder):
    with (folder / "pixels.npy").open("rb+") as file:
        file.truncate(300)


def damage_table(folder):
    (folder / "pictures.npz").write_bytes((folder / "pictures.npz").read_bytes()[:400])


def damage_middle(folder):
    data = bytearray((folder / "pictures.npz").read_bytes())
    data[100:140] = bytes(40)
    (folder / "pictures.npz").write_bytes(data)


def damage_words(folder):
    (folder / "store.json").write_text("{", "utf-8")


def swap_pixels(folder):
    np.save(folder / "pixels.npy", np.zeros((3, 3, 7, 7), dtype=np.uint8))


def remove_pixels(folder):
    (folder / "pixels.npy").unlink()


def empty_pixels(folder):
    (folder / "pixels.npy").write_bytes(b"")


DAMAGES = [
    damage_pixels,
    damage_table,
    damage_middle,
    damage_words,
    swap_pixels,
    remove_pixels,
    empty_pixels,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_built_again(damage):
    first = prepare_store(source(PETS), Data(size=7))
    wanted, key = np.array(first.pixels), first.key
    del first
    damage(cache_dir() / "stores" / key)
    assert open_store(cache_dir() / "stores" / key) is None
    store = prepare_store(source(PETS), Data(size=7))
    assert store.key == key and np.array_equal(store.pixels, wanted) and leftovers() == []


def test_a_store_from_the_future_is_not_read():
    key = prepare_store(source(PETS), Data(size=7)).key
    path = cache_dir() / "stores" / key / "store.json"
    path.write_text(path.read_text("utf-8").replace('"format": 2', '"format": 3'), "utf-8")
    (path.parent / "entry.json").unlink()
    cache._seal(path.parent, "pets")
    assert cache.is_whole(path.parent) and open_store(path.parent) is None


def test_a_full_disk_is_seen_before_writing(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 1000))
    with pytest.raises(UserError, match=r"need 0.0 MB|need .* MB, and .* has 0.0 MB free") as error:
        prepare_store(source(PETS), Data(size=60))
    assert "EYESIGHT_CACHE" in error.value.hint and leftovers() == []
    monkeypatch.undo()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_leaves_nothing(monkeypatch, number):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full: the prepared images need"):
        prepare_store(source(PETS), Data(size=60))
    assert leftovers() == [] and list((cache_dir() / "stores").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_clear_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("EYESIGHT_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot write to the cache"):
        prepare_store(source(PETS), Data(size=7))


def test_an_interruption_leaves_nothing():
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_store(source(PETS), Data(size=7), progress=stop)
    assert leftovers() == []


BUILD = """
import sys, numpy as np
sys.path.insert(0, {tests!r})
from test_store import arrays
from eyesight.data.store import prepare_store
from eyesight.recipe import Data
pixels = np.random.default_rng(0).integers(0, 256, (3000, 1, 28, 28), dtype=np.uint8)
print("ready", flush=True)
while True:
    store = prepare_store(arrays(pixels, sys.argv[1]), Data(size=20))
    assert int(np.asarray(store.pixels).sum()) > 0
    print(store.key, flush=True)
    if sys.argv[1] != "kill":
        break
"""


def start(fingerprint):
    code = BUILD.format(tests=str(Path(__file__).parent))
    return subprocess.Popen(
        [sys.executable, "-c", code, fingerprint], stdout=subprocess.PIPE, text=True
    )


def test_builders_at_the_same_time_agree():
    processes = [start(f"builder:{index}") for index in range(3)]
    keys = {process.communicate(timeout=60)[0].split()[-1] for process in processes}
    assert all(process.returncode == 0 for process in processes)
    (key,) = keys
    assert open_store(cache_dir() / "stores" / key) is not None and leftovers() == []


def test_killing_a_builder_leaves_no_store_that_lies():
    process = start("kill")
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.15)
    process.kill()
    process.communicate()
    finished = list((cache_dir() / "stores").glob("?" * 64))
    assert all(open_store(path) is not None for path in finished)
    pixels = np.random.default_rng(0).integers(0, 256, (3000, 1, 28, 28), dtype=np.uint8)
    store = prepare_store(arrays(pixels, "kill"), Data(size=20))
    assert np.array_equal(store.pixels[2999], prepare(pixels[2999, 0], store.preparation))


def test_the_cache_lies_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("EYESIGHT_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here" and not cache_dir().exists()
    monkeypatch.delenv("EYESIGHT_CACHE")
    assert "eyesight" in cache_dir().parts
