"""Content decides what is stored; names, sizes and times only when to read it again."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from eyesight.data import store as stores
from eyesight.data.opening import open_source
from eyesight.data.store import prepare_store
from eyesight.errors import UserError
from eyesight.recipe import Data
from eyesight.system import cache


def draw(root, seed, count=6):
    """Uncompressed pictures, so that all have one size in bytes, and all one time."""
    random = np.random.default_rng(seed)
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.bmp")
            os.utime(root / label / f"{number}.bmp", (10**9, 10**9))
    return root


def prepared(root):
    return prepare_store(open_source(root), Data(str(root)))


def same(store, root):
    for row, name in enumerate(store.ids):
        pixels = np.asarray(Image.open(root / name)).transpose(2, 0, 1)
        if not np.array_equal(store.pixels[row], pixels):
            return False
    return True


@pytest.fixture
def building(monkeypatch):
    """How often a store was built."""
    built = []
    build = stores._build

    def noted(*arguments, **options):
        built.append(1)
        return build(*arguments, **options)

    monkeypatch.setattr(stores, "_build", noted)
    return built


def test_two_folders_of_the_same_names_sizes_and_times_are_two_data_sets(tmp_path):
    first, second = draw(tmp_path / "first", 1), draw(tmp_path / "second", 2)
    assert same(prepared(first), first) and same(prepared(second), second)
    assert prepared(first).key != prepared(second).key


def test_a_file_replaced_in_place_with_its_size_and_time_is_read_again(tmp_path):
    root = draw(tmp_path / "data", 1)
    prepared(root)
    file = root / "cat" / "3.bmp"
    content = bytearray(file.read_bytes())
    content[-10] ^= 255
    file.write_bytes(content)
    os.utime(file, (10**9, 10**9))
    assert same(prepared(root), root)


def test_swapped_files_are_read_again(tmp_path):
    root = draw(tmp_path / "data", 1)
    prepared(root)
    (root / "cat" / "0.bmp").rename(root / "aside")
    (root / "dog" / "0.bmp").rename(root / "cat" / "0.bmp")
    (root / "aside").rename(root / "dog" / "0.bmp")
    assert same(prepared(root), root)


def test_a_moved_or_copied_folder_is_hashed_but_not_prepared_again(tmp_path, building):
    root = draw(tmp_path / "data", 1)
    key = prepared(root).key
    shutil.copytree(root, tmp_path / "copy")
    root.rename(tmp_path / "moved")
    assert prepared(tmp_path / "copy").key == prepared(tmp_path / "moved").key == key
    assert len(building) == 1


def test_a_moved_cache_serves_as_before(tmp_path, building, monkeypatch):
    root = draw(tmp_path / "data", 1)
    key = prepared(root).key
    moved = tmp_path / "elsewhere"
    cache.cache_dir().rename(moved)
    monkeypatch.setenv("EYESIGHT_CACHE", str(moved))
    assert prepared(root).key == key and len(building) == 1


def test_damaged_pixels_are_prepared_again(tmp_path, building):
    root = draw(tmp_path / "data", 1)
    key = prepared(root).key
    file = cache.entry_path("stores", key) / "pixels.npy"
    status = file.stat()
    content = bytearray(file.read_bytes())
    content[-40:] = bytes(40)
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    cache._verified.clear()
    assert same(prepared(root), root) and len(building) == 2


def test_a_store_cut_short_under_a_training_is_an_error(tmp_path):
    root = draw(tmp_path / "data", 1)
    store = prepared(root)
    os.truncate(cache.entry_path("stores", store.key) / "pixels.npy", 200)
    with pytest.raises(UserError, match="was truncated"):
        np.asarray(store.pixels)
    assert same(prepared(root), root)


def test_fresh_prepares_anew(tmp_path, building, monkeypatch):
    root = draw(tmp_path / "data", 1)
    prepared(root)
    monkeypatch.setattr(cache, "_fresh", False)
    cache._made_here.clear()
    cache.start_fresh()
    assert same(prepared(root), root) and len(building) == 2
    prepared(root)
    assert len(building) == 2, "what this process has prepared is fresh"
