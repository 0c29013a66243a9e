"""The cache: entries whole or not at all, checked when opened, held by locks not by the clock."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from eyesight.errors import DiskFullError, UserError
from eyesight.system import cache, files
from eyesight.system.array_file import ArrayFile
from eyesight.system.digest import chunked_sha256


def made(key="a", content=b"content", kind="stores", name="pictures"):
    with cache.build(kind) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "values.bin").write_bytes(content)
        (folder / "about.txt").write_text("words", "utf-8")
        return cache.keep(folder, key, name)


def forget():
    """As a process that begins now."""
    cache._verified.clear()
    cache._made_here.clear()


def shelf(kind="stores"):
    return sorted(path.name for path in (cache.cache_dir() / kind).iterdir())


def test_an_entry_is_there_when_it_is_whole_and_nothing_else_is():
    assert cache.recall("stores", "a") is None
    folder = made()
    assert cache.recall("stores", "a") == folder == cache.entry_path("stores", "a")
    assert shelf() == ["a"]
    with pytest.raises(KeyboardInterrupt), cache.build("stores") as folder:
        (folder / "half").write_bytes(b"half")
        raise KeyboardInterrupt
    assert shelf() == ["a"]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def keep_times(path, change):
    status = path.stat()
    change(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


DAMAGES = {
    "one bit": lambda path: keep_times(path, flip),
    "cut short": lambda path: os.truncate(path, 3),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "removed": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("file", ["inner/values.bin", "about.txt", "entry.json"])
@pytest.mark.parametrize("same_process", [False, True])
def test_a_damaged_entry_is_none_and_can_be_made_again(damage, file, same_process):
    folder = made(content=bytes(range(256)) * 9)
    assert cache.recall("stores", "a") == folder
    damage(folder / file)
    if not same_process:
        forget()
    assert cache.recall("stores", "a") is None
    assert made(content=bytes(range(256)) * 9) == folder
    assert cache.recall("stores", "a") == folder and shelf() == ["a"]


def test_an_entry_of_another_version_is_not_read():
    folder = made()
    text = (folder / "entry.json").read_text("utf-8")
    (folder / "entry.json").write_text(text.replace('"format": 1', '"format": 2'), "utf-8")
    forget()
    assert cache.recall("stores", "a") is None


def test_digests_depend_on_every_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr("eyesight.system.digest.CHUNK", 7)
    file = tmp_path / "file"
    digests = set()
    for place in range(30):
        content = bytearray(range(30))
        content[place] ^= 1
        file.write_bytes(content)
        digests.add(chunked_sha256([file])[file])
    assert len(digests) == 30


BUILDS = """
from eyesight.system import cache
with cache.build("stores") as folder:
    (folder / "pixels").write_bytes(b"half")
    print(folder, flush=True)
    import time
    time.sleep(60)
"""


def test_what_another_process_builds_stays_whatever_the_clock_says_and_goes_with_it():
    with subprocess.Popen(
        [sys.executable, "-c", BUILDS], stdout=subprocess.PIPE, text=True
    ) as child:
        folder = Path(child.stdout.readline().strip())
        for path in (*folder.iterdir(), *folder.parent.iterdir()):
            os.utime(path, (1, 1))  # as if the clock were years ahead
        made()
        cache.clean()
        assert (folder / "pixels").is_file(), "its process lives"
        (entry,) = cache.entries()
        assert entry.state == "unfinished"
        child.kill()
    future = time.time() + 1e6
    for path in folder.parent.iterdir():
        os.utime(path, (future, future))  # as if it had been written to just now
    made()
    assert shelf() == ["a"]


def test_names_and_content_are_on_the_disk_before_an_entry_counts(monkeypatch):
    synced = []
    fsync = os.fsync

    def noted(number):
        synced.append(str(Path(f"/proc/self/fd/{number}").readlink()))
        fsync(number)

    monkeypatch.setattr(os, "fsync", noted)
    folder = made()
    names = {Path(path).name for path in synced}
    assert {"values.bin", "about.txt", "inner", "stores"} <= names
    order = [Path(path).name for path in synced]
    assert order.index("values.bin") < order.index("inner") < order.index("stores")
    assert folder.is_dir()


def test_what_was_used_last_stays_when_the_cache_is_too_large():
    sizes = {}
    for key, used in (("a", 300), ("b", 100), ("c", 200)):
        folder = made(key, bytes(5000))
        os.utime(folder / "entry.json", (used, used))
        sizes[key] = next(entry.bytes for entry in cache.entries() if entry.key == key)
    cache.set_limit(sum(sizes.values()) - 1)
    removed = cache.trim(cache.get_limit())
    assert [entry.key for entry in removed] == ["b"]
    assert cache.recall("stores", "c")  # which is now the last to be used
    made("d", bytes(5000))
    assert shelf() == ["c", "d"]


def test_the_entry_that_is_kept_now_is_never_removed():
    cache.set_limit(1) if cache.cache_dir().is_dir() else None
    cache.set_limit(1)
    assert made("a").is_dir() and made("b").is_dir()
    assert shelf() == ["b"]


def test_clean_removes_all_but_downloads():
    made("a")
    made("b", kind="features")
    (cache.cache_dir() / "named" / "mnist").mkdir(parents=True)
    (cache.cache_dir() / "stores" / "older").mkdir()
    cache.write_note("topic", "key", 1)
    cache.clean()
    assert [entry.kind for entry in cache.entries()] == ["named"]
    cache.clean(downloads=True)
    assert cache.entries() == []


def test_fresh_builds_everything_once_more(monkeypatch):
    monkeypatch.setattr(cache, "_fresh", False)
    monkeypatch.delenv("RANK", raising=False)
    made(content=b"old")
    forget()
    cache.start_fresh()
    assert cache.recall("stores", "a") is None
    folder = made(content=b"new")
    assert cache.recall("stores", "a") == folder
    assert (folder / "inner" / "values.bin").read_bytes() == b"new"
    monkeypatch.setenv("RANK", "1")
    cache.start_fresh()
    forget()
    assert cache.recall("stores", "a") == folder, "only the first of several processes builds anew"


def test_notes_are_remembered_and_damaged_ones_are_not():
    assert cache.read_note("topic", ["key", 1]) is None
    cache.write_note("topic", ["key", 1], {"value": [1, 2]})
    assert cache.read_note("topic", ["key", 1]) == {"value": [1, 2]}
    (file,) = (cache.cache_dir() / "notes" / "topic").iterdir()
    file.write_text(file.read_text("utf-8").replace("[1, 2]", "[1, 3]"), "utf-8")
    assert cache.read_note("topic", ["key", 1]) is None


def as_another_account(code):
    """Run a program as nobody, who may only read."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another account")
    become = "import os, fcntl, concurrent.futures.thread; os.setgid(65534); os.setuid(65534)\n"
    program = code.replace("# here\n", become)  # after the imports, which it may not read
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout.split()


READS = """
from eyesight.system import cache
from eyesight.errors import UserError
# here
print(cache.recall("stores", "a") is not None)
cache.write_note("topic", "key", 1)
try:
    with cache.build("stores") as folder:
        (folder / "values").write_bytes(b"x")
        cache.keep(folder, "b", "")
    print("built")
except UserError as error:
    print("refused" if "cannot write to the cache" in error.message else error)
"""


@pytest.fixture
def seen_by_all(tmp_path, monkeypatch):
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    monkeypatch.setenv("EYESIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_another_account_reads_a_cache_that_is_not_its_own(seen_by_all):
    made()
    assert as_another_account(READS) == ["True", "refused"]


def test_two_accounts_share_a_cache_that_both_may_write(seen_by_all):
    seen_by_all.mkdir()
    seen_by_all.chmod(0o1777)
    made()
    assert as_another_account(READS) == ["True", "built"]
    assert cache.recall("stores", "b") is not None


def test_no_room_is_said_with_the_way_out(monkeypatch):
    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="the disk is full") as caught:
        made()
    assert "EYESIGHT_CACHE" in caught.value.hint and shelf() == []


def test_an_array_in_a_file_reads_as_an_array(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (50, 3, 4), dtype=np.uint8)
    np.save(tmp_path / "a.npy", values)
    array = ArrayFile.from_npy(tmp_path / "a.npy")
    assert array.shape == values.shape and array.nbytes == values.nbytes and len(array) == 50
    rows = np.array([3, 4, 5, 9, 0, 49, 49, -1])
    assert np.array_equal(array[rows], values[rows]) and np.array_equal(array[-2], values[-2])
    assert np.array_equal(array[5:30], values[5:30]) and np.array_equal(array[::7], values[::7])
    assert np.array_equal(np.asarray(array), values)
    mask = values[:, 0, 0] > 100
    assert np.array_equal(array[mask], values[mask]) and not len(array[np.array([], dtype=int)])
    with pytest.raises(IndexError):
        array[np.array([50])]


def test_a_file_cut_short_while_it_is_read_is_an_error_and_not_a_signal(tmp_path):
    code = f"""
import numpy as np, os
from eyesight.system.array_file import ArrayFile
from eyesight.errors import UserError
path = {str(tmp_path / "a.npy")!r}
np.save(path, np.ones((1000, 64, 64), dtype=np.uint8))
from pathlib import Path
array = ArrayFile.from_npy(Path(path))
array[np.arange(1000)]
os.truncate(path, 5000)
try:
    array[np.arange(500, 600)]
except UserError as error:
    print("error:", error.message)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "was truncated while it was read" in done.stdout


@pytest.mark.parametrize("header", [b"", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x03\x00" + bytes(60)])
def test_what_is_no_array_is_refused(tmp_path, header):
    (tmp_path / "a.npy").write_bytes(header)
    with pytest.raises((ValueError, EOFError)):
        ArrayFile.from_npy(tmp_path / "a.npy")


# Files written whole or not at all.


def test_a_link_stays_a_link_and_a_mode_stays(tmp_path):
    target, link = tmp_path / "deep" / "target.csv", tmp_path / "link.csv"
    target.parent.mkdir()
    target.write_text("old", "utf-8")
    target.chmod(0o640)
    link.symlink_to(target)
    with files.whole_file(link) as file:
        file.write(b"new")
    assert link.is_symlink() and target.read_text("utf-8") == "new"
    assert target.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in target.parent.iterdir()) == ["target.csv"]


def test_a_link_that_leads_nowhere_yet_gets_its_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with files.whole_file(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there").read_bytes() == b"new"


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes with names")
def test_a_pipe_is_written_through_and_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE) as reader:
        with files.whole_file(tmp_path / "pipe") as file:
            file.write(b"through")
        assert reader.communicate()[0] == b"through"
    assert (tmp_path / "pipe").is_fifo()


def test_devices_are_written_to_and_not_replaced(tmp_path):
    for device in ("/dev/null", "/dev/stdout"):
        if Path(device).exists():
            with files.whole_file(Path(device)) as file:
                file.write(b"")
    assert Path("/dev/null").is_char_device()
    if Path("/dev/full").exists():
        with pytest.raises(DiskFullError), files.whole_file(Path("/dev/full")) as file:
            file.write(b"x" * 100_000)


def test_an_unfinished_file_of_a_killed_process_is_swept(tmp_path):
    code = f"""
import os
from pathlib import Path
from eyesight.system.files import whole_file
with whole_file(Path({str(tmp_path / "report.html")!r})) as file:
    file.write(b"half")
    file.flush()
    print("ready", flush=True)
    import time; time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        (half,) = tmp_path.iterdir()
        files.sweep(tmp_path)
        assert half.exists(), "its process lives"
        child.kill()
    files.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_shows_limits_and_cleans():
    from typer.testing import CliRunner

    from eyesight.cli.main import app

    def run(*arguments):
        return CliRunner().invoke(app, ["cache", *arguments], catch_exceptions=False)

    made(name="holiday pictures", content=bytes(20_000))
    shown = run().output
    assert "prepared images" in shown and "holiday pictures" in shown and "KB" in shown
    listed = json.loads(run("--json").output)
    assert listed["entries"][0]["name"] == "holiday pictures" and listed["limit"] is None
    assert json.loads(run("--limit", "1M", "--json").output)["limit"] == 1 << 20
    cleaned = json.loads(run("--clean", "--limit", "none", "--json").output)
    assert cleaned["entries"] == [] and cleaned["removed"][0]["name"] == "holiday pictures"
    with pytest.raises(UserError, match="is not a size"):
        run("--limit", "much")
