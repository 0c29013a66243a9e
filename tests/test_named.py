"""A named set is its verified bytes, whichever mirror they came through."""

import gzip
import hashlib
import http.server
import io
import struct
import tarfile
import threading
import time
from functools import partial

import numpy as np
import pytest

from eyesight.data import downloads, named
from eyesight.data.downloads import Mirror, Unavailable, download, unpack_deb, web, web_archive
from eyesight.data.named import NAMED, NamedSet, Payload, fetch, open_named
from eyesight.errors import UserError
from eyesight.system.cache import cache_dir


def idx(array):
    return (
        struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        + array.astype(np.uint8).tobytes()
    )


GENERATOR = np.random.default_rng(0)
CONTENTS = {
    "train-images-idx3-ubyte": idx(GENERATOR.integers(0, 256, (20, 4, 4))),
    "train-labels-idx1-ubyte": idx(np.arange(20) % 10),
    "t10k-images-idx3-ubyte": idx(GENERATOR.integers(0, 256, (10, 4, 4))),
    "t10k-labels-idx1-ubyte": idx(np.arange(10)),
}
PAYLOADS = tuple(
    Payload(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in CONTENTS.items()
)


def mirror(contents=CONTENTS, name="toy mirror", pack=False, opened=None):
    """A mirror that puts these files there."""

    def fetch_files(folder, names, talk):
        if opened is not None:
            opened.append(list(names))
        for file, data in contents.items():
            (folder / f"{file}.gz" if pack else folder / file).write_bytes(
                gzip.compress(data) if pack else data
            )

    return Mirror(name, fetch_files)


def closed(reason="nobody home"):
    def fetch_files(folder, names, talk):
        raise Unavailable(reason)

    return Mirror("closed mirror", fetch_files)


def offer(monkeypatch, *ways, name="mnist"):
    monkeypatch.setitem(NAMED, name, NamedSet("toy", tuple("0123456789"), PAYLOADS, ways))


def held(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("EYESIGHT_DATA", str(tmp_path / "data"))
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("pack", [False, True])
def test_the_bytes_are_verified_and_opened(monkeypatch, pack):
    offer(monkeypatch, mirror(pack=pack))
    source = open_named("mnist")
    assert source.pixels.shape == (30, 1, 4, 4)
    assert source.labels.tolist() == [*range(10), *range(10), *range(10)]
    assert source.splits.tolist() == ["train"] * 20 + ["test"] * 10
    assert source.ids[19:21] == ("train/00019", "test/00000")
    assert source.fingerprint.startswith("named:")
    assert np.array_equal(source.read(0), source.pixels[0, 0])


def test_every_door_yields_the_same(monkeypatch, tmp_path):
    prints = set()
    for number, way in enumerate((mirror(), mirror(pack=True))):
        monkeypatch.setenv("EYESIGHT_CACHE", str(tmp_path / str(number)))
        offer(monkeypatch, way)
        prints.add(open_named("mnist").fingerprint)
    assert len(prints) == 1


def test_doors_are_tried_in_order_and_only_until_one_opens(monkeypatch):
    asked, said = [], []
    offer(monkeypatch, closed(), mirror(opened=asked), mirror(opened=asked))
    fetch("mnist", talk=said.append)
    assert len(asked) == 1 and any("nobody home" in line for line in said)
    fetch("mnist")
    assert len(asked) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    ],
)
def test_wrong_bytes_are_discarded_and_the_next_door_is_asked_for_them_only(monkeypatch, change):
    wrong = CONTENTS | {"train-images-idx3-ubyte": change(CONTENTS["train-images-idx3-ubyte"])}
    asked, said = [], []
    offer(monkeypatch, mirror(wrong), mirror(opened=asked))
    folder = fetch("mnist", talk=said.append)
    assert asked == [["train-images-idx3-ubyte"]]
    assert any("train-images-idx3-ubyte is not the original" in line for line in said)
    assert held(folder) == CONTENTS


def test_damaged_gzip_is_said_and_not_used(monkeypatch):
    def fetch_files(folder, names, talk):
        (folder / "train-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(CONTENTS["train-labels-idx1-ubyte"])[:-9]
        )

    said = []
    offer(monkeypatch, Mirror("cut", fetch_files), mirror())
    assert held(fetch("mnist", talk=said.append)) == CONTENTS
    assert any("damaged" in line for line in said)


def test_no_open_door_is_one_error_with_every_way_out(monkeypatch):
    offer(
        monkeypatch,
        closed(),
        Mirror("npm pack toy@1", closed().open),
        Mirror("http://toy.example/", closed().open),
    )
    with pytest.raises(UserError, match="could not be downloaded") as caught:
        open_named("mnist")
    hint = caught.value.hint
    for way in (
        "EYESIGHT_DATA",
        "train-images-idx3-ubyte",
        "npm pack toy@1",
        "http://toy.example/",
        str(cache_dir()),
        "digits",
    ):
        assert way in hint
    assert "http" not in str(held(cache_dir() / "named" / "mnist"))


def test_what_the_user_gave_comes_first(monkeypatch, own):
    asked = []
    offer(monkeypatch, mirror(opened=asked))
    for name, data in CONTENTS.items():
        (own / f"{name}.gz").write_bytes(gzip.compress(data))
    assert held(fetch("mnist")) == CONTENTS
    assert asked == []


def test_what_the_user_gave_may_be_packed(monkeypatch, own):
    offer(monkeypatch)
    with tarfile.open(own / "somehow.tgz", "w:gz") as archive:
        for name, data in CONTENTS.items():
            info = tarfile.TarInfo(f"package/data/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert held(fetch("mnist")) == CONTENTS


def test_wrong_files_of_the_user_are_said_and_a_door_opens(monkeypatch, own):
    said = []
    offer(monkeypatch, mirror())
    (own / "train-images-idx3-ubyte").write_bytes(b"mine")
    assert held(fetch("mnist", talk=said.append)) == CONTENTS
    assert any("not the original" in line for line in said)
    assert (own / "train-images-idx3-ubyte").read_bytes() == b"mine"


def test_many_at_once_do_not_spoil_the_cache(monkeypatch):
    offer(monkeypatch, mirror())
    folders = []
    threads = [threading.Thread(target=lambda: folders.append(fetch("mnist"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 8
    assert held(folders[0]) == CONTENTS


def test_a_file_of_another_size_in_the_cache_is_fetched_again(monkeypatch):
    offer(monkeypatch, mirror())
    folder = fetch("mnist")
    (folder / "t10k-images-idx3-ubyte").write_bytes(b"torn")
    assert held(fetch("mnist")) == CONTENTS


def test_digits_are_mnist_where_it_can_be_had(monkeypatch):
    offer(monkeypatch, mirror())
    source = open_named("digits")
    assert source.name == "digits" and len(source.ids) == 30


def test_digits_fall_back_to_the_bundled_ones_and_say_so(monkeypatch):
    said = []
    offer(monkeypatch, closed())
    source = open_named("digits", talk=said.append)
    assert (
        source.pixels.shape == (1797, 1, 8, 8)
        and source.pixels.dtype == np.uint8
        and source.pixels.max() == 255
    )
    assert source.classes == tuple("0123456789") and set(source.splits.tolist()) == {""}
    assert "1,797" in said[-1]


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UserError) as caught:
        open_named("fashion")
    assert "fashion_mnist" in caught.value.hint


def test_the_named_sets_are_complete():
    assert list(NAMED) == [
        "mnist",
        "fashion_mnist",
        "cifar10",
        "glyphs",
        "chars74k",
        "stanford_dogs",
        "shapes",
        "postal_digits",
        "digits",
    ]
    for name in ("mnist", "fashion_mnist", "cifar10"):
        assert len(NAMED[name].classes) == 10 and NAMED[name].mirrors
        assert all(len(payload.sha256) == 64 for payload in NAMED[name].payloads)
    assert (
        NAMED["fashion_mnist"].classes[9] == "Ankle boot"
        and NAMED["cifar10"].classes[0] == "airplane"
    )


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """A web server on this machine and the folder it shows."""
    shown = tmp_path / "shown"
    shown.mkdir()
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(shown))
    ) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/", shown
        running.shutdown()
        thread.join()


def test_files_come_from_an_address(monkeypatch, server):
    address, shown = server
    for name, data in CONTENTS.items():
        (shown / f"{name}.gz").write_bytes(gzip.compress(data))
    said = []
    offer(monkeypatch, web(f"{address}nothing/"), web(address))
    assert held(fetch("mnist", talk=said.append)) == CONTENTS
    assert any("404" in line for line in said)


def test_an_archive_comes_from_an_address(monkeypatch, server):
    address, shown = server
    with tarfile.open(shown / "toy.tar.gz", "w:gz") as archive:
        for name, data in CONTENTS.items():
            info = tarfile.TarInfo(f"toy/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    offer(monkeypatch, web_archive(f"{address}toy.tar.gz"))
    assert held(fetch("mnist")) == CONTENTS


def test_a_download_is_capped_and_leaves_no_half_file(tmp_path, server):
    address, shown = server
    (shown / "big").write_bytes(bytes(3000))
    with pytest.raises(Unavailable, match="more than"):
        download(f"{address}big", tmp_path / "big", 2999, lambda _: None)
    assert not (tmp_path / "big").exists()
    download(f"{address}big", tmp_path / "big", 3000, lambda _: None)
    assert (tmp_path / "big").stat().st_size == 3000


def test_an_address_that_never_answers_is_left_in_time(tmp_path, monkeypatch):
    leave = threading.Event()
    monkeypatch.setattr(downloads, "PATIENCE", 0.1)
    monkeypatch.setattr(downloads.urllib.request, "urlopen", lambda *_, **__: leave.wait(5))
    began = time.monotonic()
    with pytest.raises(Unavailable, match="no response"):
        download("http://toy.example/x", tmp_path / "x", 10, lambda _: None)
    leave.set()
    assert time.monotonic() - began < 2


def test_a_package_manager_that_is_missing_or_fails_is_a_closed_door(monkeypatch, tmp_path):
    monkeypatch.setattr(downloads.shutil, "which", lambda _: None)
    with pytest.raises(Unavailable, match="npm is not installed"):
        downloads.npm("toy@1").open(tmp_path, [], lambda _: None)
    monkeypatch.setattr(downloads.shutil, "which", lambda _: "toy")

    def run(command, **options):
        assert options["cwd"] == tmp_path and options["timeout"] > 0
        return downloads.subprocess.CompletedProcess(command, 1, "", "first\nE: no such package\n")

    monkeypatch.setattr(downloads.subprocess, "run", run)
    with pytest.raises(Unavailable, match="E: no such package"):
        downloads.debian("toy").open(tmp_path, [], lambda _: None)


def deb(path, members):
    """A Debian package, as ar writes it."""
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, data in members:
            file.write(
                f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
                + data
                + b"\n" * (len(data) % 2)
            )
    return path


def test_a_debian_package_is_opened_without_debian(monkeypatch, tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        for name, data in CONTENTS.items():
            info = tarfile.TarInfo(f"./usr/share/datasets/toy/{name}.gz")
            info.size = len(zipped := gzip.compress(data))
            archive.addfile(info, io.BytesIO(zipped))
    members = [
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", b"odd"),
        ("data.tar.xz", packed.getvalue()),
    ]
    package = deb(tmp_path / "toy.deb", members)

    def run(command, cwd, **_):
        (cwd / "toy.deb").write_bytes(package.read_bytes())
        return downloads.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(downloads.shutil, "which", lambda _: "toy")
    monkeypatch.setattr(downloads.subprocess, "run", run)
    offer(monkeypatch, downloads.debian("toy"))
    assert held(fetch("mnist")) == CONTENTS


@pytest.mark.parametrize("members", [[], [("../data.tar.xz", b"x")], [("data.tar/../../x", b"x")]])
def test_an_odd_debian_package_is_a_closed_door(tmp_path, members):
    with pytest.raises(Unavailable):
        unpack_deb(deb(tmp_path / "odd.deb", members), tmp_path)
    (tmp_path / "no.deb").write_bytes(b"no package")
    with pytest.raises(Unavailable):
        unpack_deb(tmp_path / "no.deb", tmp_path)


def test_given_is_a_folder_or_an_archive_of_the_name(own, monkeypatch):
    assert named.user_files("mnist") == own
    assert named.user_files("cifar10") is None
    (own.parent / "cifar10.tar").write_bytes(b"")
    assert named.user_files("cifar10") == own.parent / "cifar10.tar"
    monkeypatch.delenv("EYESIGHT_DATA")
    assert named.user_files("mnist") is None


def test_a_full_disk_is_one_message_and_leaves_nothing(monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    offer(monkeypatch, mirror())
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="the disk is full"):
        fetch("mnist")
    assert held(cache_dir() / "named" / "mnist") == {}


def test_a_damaged_download_is_fetched_again(monkeypatch):
    offer(monkeypatch, mirror())
    file = next(path for path in fetch("mnist").iterdir() if path.is_file())
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    offer(monkeypatch, mirror())
    assert fetch("mnist") and file.read_bytes() == content


def test_a_folder_of_the_name_of_a_file_is_looked_into(monkeypatch, own):
    offer(monkeypatch)
    for name, data in CONTENTS.items():
        (own / name).mkdir()
        (own / name / name).write_bytes(data)
    assert held(fetch("mnist")) == CONTENTS
