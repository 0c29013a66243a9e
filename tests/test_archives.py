"""Nothing in an archive can write outside its folder, fill the disk, or go missing without
a word.
"""

import gzip
import io
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from pathlib import Path

import pytest

from eyesight.data import archives
from eyesight.data.archives import Limits, extract, is_archive, unpack
from eyesight.errors import UserError
from eyesight.system.cache import cache_dir

SMALL = Limits(bytes=1 << 20, count=20, ratio=10, small=1 << 16)


def make_tar(path, members, mode="w", **options):
    """A tar of (name, bytes) or ready TarInfo entries."""
    with tarfile.open(path, mode, **options) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def make_zip(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, contents in members:
            archive.writestr(name, contents)
    return path


def entry(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def inner(tmp_path):
    """Where to unpack: a folder whose neighbourhood shows what escaped."""
    folder = tmp_path / "around" / "inner"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_every_tar_gives_back_its_files(tmp_path, inner, mode):
    members = [
        ("./", b""),
        ("a/one.png", b"1"),
        ("a/größe 2.png", b"22"),
        ("b/" + "long" * 60 + ".png", b"333"),
    ]
    archive = make_tar(tmp_path / "some", members[1:], mode, format=tarfile.PAX_FORMAT)
    assert is_archive(archive)
    extract(archive, inner)
    assert files(inner) == dict(members[1:])


def test_zip_with_backslashes_and_unicode_names(tmp_path, inner):
    archive = make_zip(
        tmp_path / "some", [("a\\one.png", b"1"), ("ü/二.png", b"2"), ("empty\\", b"")]
    )
    assert is_archive(archive)
    extract(archive, inner)
    assert files(inner) == {"a/one.png": b"1", "ü/二.png": b"2"}
    assert (inner / "empty").is_dir()


def test_system_members_are_not_unpacked(tmp_path, inner):
    extract(
        make_zip(
            tmp_path / "a.zip",
            [("__MACOSX/a/._1.png", b"x"), (".git/config", b"x"), ("a/1.png", b"1")],
        ),
        inner,
    )
    assert files(inner) == {"a/1.png": b"1"}


EVIL = ["../x", "a/../../x", "/tmp/x", "..\\x", "C:\\x", "c:x", "\\\\server\\x", "a/..", "//x"]


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_no_member_leaves_its_folder(tmp_path, inner, name, make):
    before = set(tmp_path.rglob("*"))
    archive = make(tmp_path / "evil", [(name, b"evil")])
    with pytest.raises(UserError, match="outside its folder"):
        extract(archive, inner)
    assert set(tmp_path.rglob("*")) - before == {archive}


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CONTTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)
def test_links_and_devices_are_refused(tmp_path, inner, kind):
    archive = make_tar(
        tmp_path / "a.tar", [entry("door", kind, "/etc/passwd"), ("door/x", b"evil")]
    )
    if kind == tarfile.CONTTYPE:  # an ordinary file by an old name
        with pytest.raises(UserError, match="share the name"):
            extract(archive, inner)
    else:
        with pytest.raises(UserError, match=r"link or a device|damaged"):
            extract(archive, inner)
        assert files(inner) == {}


def test_links_in_a_zip_are_refused(tmp_path, inner):
    info = zipfile.ZipInfo("door")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(UserError, match="link or a device"):
        extract(make_zip(tmp_path / "a.zip", [(info, "/etc")]), inner)


def test_a_file_without_a_name_is_refused(tmp_path, inner):
    nameless = [(zipfile.ZipInfo("\0"), b"1")]
    with pytest.raises(UserError, match="no name"):
        extract(make_zip(tmp_path / "a.zip", nameless), inner)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize("second", ["a/1.png", "./a/1.png", "a/1.png/2.png", "a//1.png"])
def test_two_members_of_one_name_are_refused(tmp_path, inner, make, second):
    with pytest.raises(UserError, match="share the name"):
        extract(make(tmp_path / "a", [("a/1.png", b"1"), (second, b"2")]), inner)
    assert files(inner) == {"a/1.png": b"1"}


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_too_many_members_are_refused(tmp_path, inner, make):
    with pytest.raises(UserError, match="more than 20 members"):
        extract(make(tmp_path / "a", [(f"{number}", b"") for number in range(21)]), inner, SMALL)


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_too_many_bytes_are_refused(tmp_path, inner, make):
    noise = bytes(range(256)) * 2048
    options = {"compression": zipfile.ZIP_STORED} if make is make_zip else {}
    with pytest.raises(UserError, match="more than 1,048,576 bytes"):
        extract(
            make(tmp_path / "a", [(f"{number}", noise) for number in range(3)], **options),
            inner,
            SMALL,
        )
    assert sum(map(len, files(inner).values())) <= SMALL.bytes


@pytest.mark.parametrize(
    ("make", "options"),
    [(make_zip, {}), (make_tar, {"mode": "w:gz"}), (make_tar, {"mode": "w:xz"})],
)
def test_bombs_are_refused_by_their_ratio(tmp_path, inner, make, options):
    archive = make(tmp_path / "bomb", [("zeros", bytes(900_000))], **options)
    with pytest.raises(UserError, match="like an archive bomb"):
        extract(archive, inner, SMALL)
    assert sum(map(len, files(inner).values())) <= SMALL.small
    extract(archive, inner)  # the same is harmless under the real limits


def test_little_files_of_one_colour_are_no_bomb(tmp_path, inner):
    archive = make_tar(
        tmp_path / "a.tar.xz", [(f"{number}.png", bytes(100)) for number in range(19)], "w:xz"
    )
    assert archive.stat().st_size * SMALL.ratio < 19 * 1024
    extract(archive, inner, SMALL)
    assert len(files(inner)) == 19


def test_a_giant_header_is_refused_before_it_is_read(tmp_path, inner):
    header = entry("x", tarfile.XHDTYPE)
    header.size = 1 << 40
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096)))
    with pytest.raises(UserError):
        extract(archive, inner)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_cut_tar_is_never_taken_for_a_whole_one(tmp_path, inner, mode, part):
    noise = [
        (f"{number}", bytes((number * byte * byte) % 251 for byte in range(3000)))
        for number in range(9)
    ]
    archive = make_tar(tmp_path / "a.tar", noise, mode)
    with tarfile.open(archive) as whole:
        end = whole.getmembers()[-1].offset_data + 3000 if mode == "w" else archive.stat().st_size
    archive.write_bytes(archive.read_bytes()[: int(end * part)])
    with pytest.raises(UserError, match=r"damaged|truncated"):
        extract(archive, inner)


def test_a_tar_cut_between_two_members_is_noticed(tmp_path, inner):
    archive = make_tar(tmp_path / "a.tar", [("1", b"1"), ("2", b"2")])
    archive.write_bytes(archive.read_bytes()[:1024])
    with pytest.raises(UserError, match="truncated"):
        extract(archive, inner)


def test_a_flipped_byte_is_noticed(tmp_path, inner):
    for archive in (
        make_zip(tmp_path / "a.zip", [("1", b"1" * 99)], zipfile.ZIP_STORED),
        make_tar(tmp_path / "a.tgz", [("1", b"1")], "w:gz"),
    ):
        broken = bytearray(archive.read_bytes())
        broken[60 if archive.suffix == ".zip" else -6] ^= 1
        archive.write_bytes(broken)
        with pytest.raises(UserError):
            extract(archive, inner)


def test_what_is_no_archive_is_said(tmp_path, inner):
    for name, contents in (
        ("a.zip", b"PK\3\4 no"),
        ("a.tar", b"no tar"),
        ("a.tar.gz", b"\x1f\x8bno"),
        ("empty.tar", b""),
    ):
        (tmp_path / name).write_bytes(contents)
        with pytest.raises(UserError, match=name):
            extract(tmp_path / name, inner)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    assert not is_archive(tmp_path / "photo.jpg")


def test_unpacking_happens_once_and_moves_with_the_bytes(tmp_path):
    talk = []
    archive = make_tar(tmp_path / "a.tar", [("x/1.png", b"1")])
    first, checksum = unpack(archive, talk=talk.append)
    copy = tmp_path / "copy.tar"
    copy.write_bytes(archive.read_bytes())
    assert unpack(copy, talk=talk.append) == (first, checksum)
    assert len(talk) == 1
    make_tar(copy, [("x/1.png", b"2")])
    assert files(unpack(copy)[0]) == {"x/1.png": b"2"}
    assert files(first) == {"x/1.png": b"1"}


def test_a_refused_archive_leaves_nothing_behind(tmp_path):
    with pytest.raises(UserError):
        unpack(make_tar(tmp_path / "a.tar", [("1", b"1"), ("../2", b"2")]))
    assert list((cache_dir() / "archives").iterdir()) == []


def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    with pytest.raises(UserError, match="the disk is full"):
        unpack(make_tar(tmp_path / "a.tar", [("1", b"1")]))
    assert list((cache_dir() / "archives").iterdir()) == []


def test_two_at_once_end_with_one_whole_folder(tmp_path):
    archive = make_tar(
        tmp_path / "a.tar", [(f"{number}.png", bytes(2000)) for number in range(200)]
    )
    results: list[Path] = []
    threads = [
        threading.Thread(target=lambda: results.append(unpack(archive)[0])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and len(set(results)) == 1
    assert len(files(results[0])) == 200
    assert list((cache_dir() / "archives").glob(".eyesight-*")) == []


def unmarked(names):
    """A zip written by hand, without the mark of UTF-8: local headers, the directory, its end."""
    body = directory = b""
    for name in names:
        header = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0, zlib.crc32(b"x"), 1, 1, len(name), 0)
        directory += b"PK\1\2\x14\0" + header + struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + name
        body += b"PK\3\4" + header + name + b"x"
    end = struct.pack("<HHHHIIH", 0, 0, len(names), len(names), len(directory), len(body), 0)
    return body + directory + b"PK\5\6" + end


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("cp949", ["고양이/1.png", "개/2.png"]),
        ("cp949", ["불량/사진.png", "정상/사진 2.png"]),
        ("gbk", ["猫/1.png", "狗/2.png"]),
        ("gbk", ["训练集/玫瑰/1.png", "训练集/向日葵/2.png"]),
        ("cp932", ["ねこ/1.png", "犬/いぬ2.png"]),
        ("cp866", ["кошка/1.png", "собака/2.png"]),
        ("cp1251", ["кошка/1.png", "собака/2.png"]),
        ("utf-8", ["größe/1.png", "猫/2.png"]),
        ("cp437", ["café/1.png", "größe/2.png"]),
    ],
)
def test_names_in_a_code_page_are_read_as_words(tmp_path, encoding, names):
    path = tmp_path / "set.zip"
    path.write_bytes(unmarked([name.encode(encoding) for name in names]))
    (tmp_path / "out").mkdir()
    lines = []
    extract(path, tmp_path / "out", talk=lines.append)
    assert sorted(files(tmp_path / "out")) == sorted(names)
    if encoding == "cp437":
        assert lines == []
    else:
        assert f"using {encoding}" in lines[0]


def test_a_tar_of_a_million_empty_members_is_refused_early(tmp_path):
    path = tmp_path / "many.tar"
    with path.open("wb") as file:
        for number in range(120):
            file.write(tarfile.TarInfo(f"{number}.png").tobuf())
        file.write(bytes(1024))
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="100 nearly empty members"):
        extract(path, tmp_path / "out", Limits(many=100))
    assert len(files(tmp_path / "out")) == 100


def test_a_tar_of_a_million_members_is_refused_early(tmp_path, inner):
    """Its first 20,001 headers are read, and no more."""
    path = tmp_path / "many.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(20_100):
            archive.addfile(tarfile.TarInfo(f"{number % 50}/{number}"))
    with path.open("ab") as file:
        file.truncate(512 * 1_000_000)
    with pytest.raises(UserError, match="nearly empty"):
        extract(path, inner, Limits())
