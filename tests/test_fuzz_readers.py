"""Files that anybody could have written: each reader gives a data set or a clear error, never a
traceback.

A few seconds in the suite; `EYESIGHT_FUZZ=3000` tries so many inputs of each kind (about a minute
each).
"""

import io
import os
import tarfile
import tempfile
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eyesight.data.archives import Limits, extract
from eyesight.data.decode import BadPicture
from eyesight.data.formats.table_text import read_rows
from eyesight.data.masks import legend
from eyesight.data.masks.mask_file import class_numbers, decode_mask
from eyesight.data.opening import open_source
from eyesight.data.prepare import encode_png
from eyesight.data.zip_names import decoded_names, guess_encoding
from eyesight.errors import UserError

EXAMPLES = int(os.environ.get("EYESIGHT_FUZZ", "40"))
PICTURE = encode_png(np.arange(48, dtype=np.uint8).reshape(3, 4, 4))
fuzz = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
words = st.sampled_from(
    [
        "train",
        "test",
        "val",
        "dev",
        "fold_0",
        "fold_1",
        "images",
        "masks",
        "cat",
        "dog",
        "data",
        "docs",
        "1",
        "a.png",
        "训练",
        "site_a",
        "labels",
        "path",
        "label",
        "split",
        "is_valid",
        "image",
        "NaN",
        "0",
        "1.0",
        "x",
        "y",
    ]
)


@contextmanager
def scratch():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def tried(where):
    """Open what lies there; only an error for people may come out."""
    try:
        source = open_source(where)
    except UserError as error:
        assert error.message and "Traceback" not in error.message
        return None
    assert len(source.ids) == len(source.labels) == len(source.splits)
    assert source.labels.max(initial=-1) < len(source.classes)
    return source


def damaged(data, draw_positions):
    """The bytes with some of them replaced."""
    changed = bytearray(data)
    for position, value in draw_positions:
        if changed:
            changed[position % len(changed)] = value
    return bytes(changed)


places = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=8)


@fuzz
@given(
    rows=st.lists(st.lists(words | st.text(max_size=8), max_size=6), max_size=8),
    mark=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-16", "latin-1"]),
    raw=st.binary(max_size=60),
)
def test_tables(rows, mark, encoding, raw):
    with scratch() as folder:
        for name in ("a.png", "1.png", "cat.png"):
            (folder / name).write_bytes(PICTURE)
        text = "\n".join(mark.join(row) for row in rows)
        table = folder / "labels.csv"
        table.write_bytes(text.encode(encoding, "replace") + raw)
        tried(table)
        tried(folder)
        with suppress(UserError):
            read_rows(table)


@fuzz
@given(st.lists(st.lists(words, min_size=1, max_size=5), min_size=1, max_size=12))
def test_folders(paths):
    with scratch() as folder:
        for number, parts in enumerate(paths):
            where = folder.joinpath(*(part.replace(".png", "_png") for part in parts))
            where.mkdir(parents=True, exist_ok=True)
            (where / f"{number}.png").write_bytes(PICTURE)
        source = tried(folder)
        if source is not None:
            left_out = {problem.id for problem in source.problems}
            assert left_out or len(source.ids) == len(paths), "a picture is used or named"


@fuzz
@given(
    shape=st.lists(st.integers(0, 5), max_size=5),
    kind=st.sampled_from(["uint8", "int64", "float32", "float16", "bool", "complex64", "U3", "S2"]),
    labels=st.lists(st.integers(-3, 300), max_size=6),
    keys=st.sampled_from(
        [("images", "labels"), ("x_train", "y_train"), ("X_test", "y"), ("data", "z")]
    ),
    change=places,
    cut=st.integers(0, 2000),
)
def test_arrays(shape, kind, labels, keys, change, cut):
    with scratch() as folder:
        file = io.BytesIO()
        array = np.random.default_rng(0).random(shape) * 300
        np.savez(file, **{keys[0]: array.astype(kind), keys[1]: np.array(labels)})
        path = folder / "a.npz"
        path.write_bytes(file.getvalue())
        tried(path)
        path.write_bytes(damaged(file.getvalue(), change)[: -cut or None])
        tried(path)


@fuzz
@given(header=st.binary(max_size=16), images=st.binary(max_size=80), labels=st.binary(max_size=20))
def test_idx_and_cifar(header, images, labels):
    with scratch() as folder:
        (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + header + images)
        (folder / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + labels)
        tried(folder)
    with scratch() as folder:
        (folder / "test_batch.bin").write_bytes((header + images) * 40)
        tried(folder)


@fuzz
@given(
    names=st.lists(words | st.text(min_size=1, max_size=12), min_size=1, max_size=6),
    change=places,
    cut=st.integers(0, 600),
    kind=st.sampled_from(["zip", "tar", "tar.gz"]),
)
def test_archives(names, change, cut, kind):
    with scratch() as folder:
        path = folder / f"set.{kind}"
        try:
            if kind == "zip":
                with zipfile.ZipFile(path, "w") as archive:
                    for name in dict.fromkeys(names):
                        archive.writestr(name, PICTURE)
            else:
                with tarfile.open(path, "w:gz" if kind.endswith("gz") else "w") as archive:
                    for name in names:
                        entry = tarfile.TarInfo(name)
                        entry.size = len(PICTURE)
                        archive.addfile(entry, io.BytesIO(PICTURE))
        except (ValueError, UnicodeError):  # no name that an archive can hold
            return
        path.write_bytes(damaged(path.read_bytes(), change)[: -cut or None])
        (folder / "out").mkdir()
        try:
            extract(path, folder / "out", Limits(bytes=1 << 22))
        except UserError:
            pass
        except OSError as error:  # a name too long, or a character that the system refuses
            assert error.errno is not None
        outside = [item.name for item in folder.iterdir()]
        assert sorted(outside) == sorted(["out", path.name])


@fuzz
@given(st.lists(st.binary(max_size=20), max_size=5))
def test_names_in_zips(names):
    encoding = guess_encoding(names)
    assert all(isinstance(name.decode(encoding), str) for name in names)
    assert decoded_names([]) == ([], "")


@fuzz
@given(
    st.text(max_size=80)
    | st.sampled_from(['{"a": [1, 2]}', "[1, {}]", '{"a": "#zzzzzz"}', "a,1,2"]),
    st.sampled_from(["classes.csv", "classes.json", "classes.txt"]),
)
def test_legends(text, name):
    with scratch() as folder:
        path = folder / name
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            names = legend.read(path)
        except UserError:
            return
        assert names.names and len(set(names.names)) == len(names.names)


@fuzz
@given(change=places, cut=st.integers(0, 100), data=st.binary(max_size=100))
def test_mask_files(change, cut, data):
    for contents in (damaged(PICTURE, change)[: -cut or None], data, PICTURE[:33] + data):
        with suppress(BadPicture, UserError):
            class_numbers(decode_mask(contents), None)
