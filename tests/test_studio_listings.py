"""Folders of images are listed once while they stay the same, and the memory for it is bounded."""

import os

import pytest

from eyesight.studio import listings
from eyesight.studio.listings import Listings

OLD = 1_700_000_000_000_000_000  # nanoseconds, long ago


@pytest.fixture
def folder(tmp_path):
    return filled(tmp_path / "a", 3)


def filled(folder, count):
    """A folder of images that was last changed long ago."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.png").touch()
    os.utime(folder, ns=(OLD, OLD))
    return folder


def test_a_folder_is_read_once_while_it_stays_as_it_is(folder, monkeypatch):
    kept = Listings()
    names = kept.of(folder)
    assert sorted(names) == ["0.png", "1.png", "2.png"]
    monkeypatch.setattr(listings, "image_files", lambda folder: pytest.fail("read again"))
    assert kept.of(folder) is names
    monkeypatch.undo()
    (folder / "3.png").touch()
    assert len(kept.of(folder)) == 4


def test_a_second_change_at_the_same_time_is_seen(folder):
    kept = Listings()
    (folder / "3.png").touch()
    changed = folder.stat().st_mtime_ns
    assert len(kept.of(folder)) == 4
    (folder / "4.png").touch()
    os.utime(folder, ns=(changed, changed))
    assert len(kept.of(folder)) == 5


def test_a_folder_that_grows_takes_the_memory_of_one_listing(folder):
    kept = Listings()
    for number in range(100):
        (folder / f"new {number}.png").touch()
        os.utime(folder, ns=(OLD + number + 1, OLD + number + 1))
        kept.of(folder)
    assert len(kept.kept) == 1 and kept.count == 103


def test_the_listings_of_many_folders_are_bounded(tmp_path):
    kept = Listings(most=20)
    folders = [filled(tmp_path / str(number), 6) for number in range(10)]
    for folder in folders:
        kept.of(folder)
    assert kept.count == 18 and list(kept.kept) == folders[-3:]
    large = filled(tmp_path / "large", 30)
    assert len(kept.of(large)) == 30
    assert list(kept.kept) == [large], "one that is too large alone is kept alone"


def test_only_images_are_listed_the_newest_first(folder):
    for name in (".hidden.png", "notes.txt", "link.png"):
        (folder / name).touch()
    (folder / "link.png").unlink()
    (folder / "link.png").symlink_to(folder / "0.png")
    os.utime(folder / "1.png", ns=(OLD, OLD))
    os.utime(folder / "0.png", ns=(OLD + 5, OLD + 5))
    os.utime(folder / "2.png", ns=(OLD + 9, OLD + 9))
    assert listings.image_files(folder) == ("2.png", "0.png", "1.png")
