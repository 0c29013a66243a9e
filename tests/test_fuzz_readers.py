"""Files that anybody could have written: each reader gives a data set or a clear error, never a
traceback.

A few inputs of each kind in the suite. For a minute of each kind, with the numbers of inputs:
`EYESIGHT_FUZZ_SECONDS=60 pytest -s tests/test_fuzz_readers.py`.
"""

import io
import json
import shutil
import tarfile
import zipfile
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from fuzzing import clear, few, fuzz, mutated, scratch, spoiled
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eyesight import classifier, recipe
from eyesight.auditing.record import AuditRecord
from eyesight.data import group_file
from eyesight.data.archives import Limits, extract
from eyesight.data.corrections import Corrections, columns
from eyesight.data.decode import FORMATS, BadPicture
from eyesight.data.formats.table_text import read_rows
from eyesight.data.masks import legend
from eyesight.data.masks.mask_file import class_numbers, decode_mask
from eyesight.data.masks.scan import scan_masks
from eyesight.data.opening import open_source
from eyesight.data.prepare import Preparation, encode_png, prepare
from eyesight.data.zip_names import decoded_names, guess_encoding
from eyesight.errors import UserError
from eyesight.inference import onnx_classifier
from eyesight.models.keras import file as keras_file
from eyesight.results import predictions, reconstructions, segmentations
from eyesight.runs import Run, Status
from eyesight.system import cache as stored
from eyesight.views.run_view import findings

BEFORE = Path(__file__).parent / "before"
PICTURE = encode_png(np.arange(48, dtype=np.uint8).reshape(3, 4, 4))
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


def tried(where):
    """Open what lies there; None for an error for people, and nothing else may come out."""
    return clear(open_source, where)


def is_whole(source):
    """Whether every image has a label, a split and a class; also where there is no source."""
    if source is None:
        return True
    if not len(source.ids) == len(source.labels) == len(source.splits):
        return False
    return source.labels.max(initial=-1) < len(source.classes)


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
        assert is_whole(tried(table))
        assert is_whole(tried(folder))
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
        assert is_whole(source)
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
        assert is_whole(tried(path))
        path.write_bytes(damaged(file.getvalue(), change)[: -cut or None])
        assert is_whole(tried(path))


@fuzz
@given(header=st.binary(max_size=16), images=st.binary(max_size=80), labels=st.binary(max_size=20))
def test_idx_and_cifar(header, images, labels):
    with scratch() as folder:
        (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + header + images)
        (folder / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + labels)
        assert is_whole(tried(folder))
    with scratch() as folder:
        (folder / "test_batch.bin").write_bytes((header + images) * 40)
        assert is_whole(tried(folder))


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
        except (ValueError, IndexError):  # no name that an archive can hold
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
    | st.sampled_from(
        ['{"a": [1, 2]}', "[1, {}]", '{"a": "#zzzzzz"}', "a,1,2", "[" * 100_000, "a" * 140_000]
    ),
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
            mask = decode_mask(contents)
            numbers = class_numbers(mask, None)
            assert numbers.shape == mask.size[::-1]
            assert np.issubdtype(numbers.dtype, np.integer)


@fuzz
@given(data=st.data(), key=st.sampled_from(["masks", "labels", "annotations", "SegmentationClass"]))
def test_folders_of_masks(data, key):
    with scratch() as folder:
        for name in data.draw(st.lists(words, max_size=4)):
            for part in ("images", key):
                file = folder / part / f"{name.replace('.png', '')}.png"
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(spoiled(PICTURE, data.draw))
        for name in data.draw(st.sets(st.sampled_from(["classes.json", "class_dict.csv"]))):
            (folder / name).write_bytes(spoiled(b'{"cat": [1, 2, 3]}', data.draw))
        scanned = clear(scan_masks, str(folder))
        assert scanned is None or scanned.usable > 0


@cache
def drawn(format_name):
    """A small picture in each of the formats that are read."""
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    frames = [Image.fromarray(pixels[::step]) for step in (1, -1)]
    several = format_name in ("GIF", "TIFF", "WEBP")
    more = {"save_all": True, "append_images": frames[1:]} if several else {}
    frames[0].save(file, format_name, **more)
    return file.getvalue()


@fuzz
@given(
    data=st.data(),
    name=st.sampled_from(FORMATS),
    resize=st.sampled_from(["crop", "squash", "pad", "none"]),
    channels=st.sampled_from([1, 3]),
)
def test_pictures(data, name, resize, channels):
    content = spoiled(drawn(name), data.draw)
    size = None if resize == "none" else 8
    preparation = Preparation(height=size, width=size, channels=channels, resize=resize)
    try:
        pixels = prepare(content, preparation)
    except BadPicture as error:
        assert error.kind and str(error)
        return
    assert pixels.dtype == np.uint8 and pixels.shape[0] == channels


@fuzz
@given(data=st.data())
def test_descriptions_of_classifiers(data):
    original = json.loads((BEFORE / "run" / "classifier" / "classifier.json").read_text("utf-8"))
    with scratch() as place:
        folder = shutil.copytree(BEFORE / "run" / "classifier", place / "classifier")
        text = json.dumps(mutated(original, data.draw)).encode()
        (folder / "classifier.json").write_bytes(spoiled(text, data.draw))
        loaded = clear(classifier.load, folder)
        assert loaded is None or len(set(loaded.classes)) == 2


@fuzz
@given(data=st.data())
def test_weights(data):
    with scratch() as place:
        folder = shutil.copytree(BEFORE / "run" / "classifier", place / "classifier")
        file = folder / "weights.safetensors"
        whole = file.read_bytes()
        file.write_bytes(spoiled(whole, data.draw))
        loaded = clear(classifier.load, folder)
        assert loaded is None or file.read_bytes() == whole
        place = data.draw(st.integers(len(whole) // 2, len(whole) - 1))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert clear(classifier.load, folder) is None


@fuzz
@given(data=st.data())
def test_recipes(data):
    original = json.loads((BEFORE / "run" / "recipe.json").read_text("utf-8"))
    read = clear(recipe.from_dict, mutated(original, data.draw))
    assert read is None or recipe.from_dict(recipe.to_dict(read)) == read


PARTS_OF_A_RUN = ["recipe.json", "data.json", "environment.json", "log.jsonl", "doctor.json"]


@fuzz
@given(data=st.data(), name=st.sampled_from(PARTS_OF_A_RUN))
def test_files_of_runs(data, name):
    with scratch() as place:
        folder = shutil.copytree(BEFORE / "run", place / "0001-digits")
        content = b'{"findings": [{"title": "a"}]}'
        if (folder / name).exists():
            content = (folder / name).read_bytes()
        lines = content.splitlines() if name.endswith("l") else [content]
        line = data.draw(st.integers(0, len(lines) - 1))
        lines[line] = json.dumps(mutated(json.loads(lines[line]), data.draw)).encode()
        (folder / name).write_bytes(spoiled(b"\n".join(lines), data.draw))
        run = Run(folder)
        assert clear(getattr, run, "status") in (None, *get_args(Status))
        for part in ("epochs", "result", "log", "recipe", "data", "environment"):
            clear(getattr, run, part)
        for part in ("settled", "history", "metrics", "measure", "unfamiliar_from", "way_on"):
            clear(getattr, run, part)
        findings(run)


@fuzz
@given(data=st.data())
def test_predictions(data):
    content = spoiled((BEFORE / "run" / "predictions.npz").read_bytes(), data.draw)
    with scratch() as folder:
        (folder / "p.npz").write_bytes(content)
        for module in (predictions, segmentations, reconstructions):
            read = clear(module.load, folder / "p.npz")
            assert read is None or len(read.ids) == len(read) == len(read.scores())


@fuzz
@given(data=st.data())
def test_descriptions_in_onnx_files(data):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(BEFORE / "digits.onnx")
    entry = data.draw(st.sampled_from(list(model.metadata_props)))
    try:
        text = json.dumps(mutated(json.loads(entry.value), data.draw)).encode()
        entry.value = spoiled(text, data.draw).decode("utf-8", "replace")
    except ValueError:
        entry.value = data.draw(st.text(max_size=9))
    with scratch() as folder:
        onnx.save(model, folder / "changed.onnx")
        loaded = clear(onnx_classifier.load, folder / "changed.onnx", 1)
        assert loaded is None or len(set(loaded.classes)) == 2


@fuzz
@given(data=st.data(), rows=st.lists(st.lists(words | st.text(max_size=6), max_size=8), max_size=5))
def test_corrections(data, rows):
    lines = [",".join(columns()), *(",".join(row) for row in rows)]
    content = "\n".join(lines).encode("utf-8", "replace")
    if data.draw(st.integers(0, 9)) == 0:
        content += b"\n" + b"a" * 140_000 + b","  # longer than the csv module allows
    with scratch() as folder:
        (folder / "c.csv").write_bytes(spoiled(content, data.draw))
        read = clear(Corrections.read, folder / "c.csv")
        if read is not None:
            read.write(folder / "again.csv")
            assert Corrections.read(folder / "again.csv") == read


@fuzz
@given(data=st.data())
def test_audits(data):
    with scratch() as folder:
        (folder / "a.json").write_bytes(spoiled(b'{"sha256": "", "audit": {}}', data.draw))
        assert clear(AuditRecord.read, folder / "a.json") is None


@fuzz
@given(data=st.data())
def test_entries_of_the_cache(data):
    with scratch() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("EYESIGHT_CACHE", str(folder))
        with stored.build("stores") as building:
            (building / "a").write_bytes(b"content")
            entry = stored.keep(building, "key", "of a test")
        stored.write_note("topic", "key", {"value": 1})
        for file in (entry / stored.ENTRY, *folder.glob("notes/topic/*")):
            text = json.dumps(mutated(json.loads(file.read_bytes()), data.draw)).encode()
            file.write_bytes(spoiled(text, data.draw))
        assert stored.recall("stores", "key") in (None, entry)
        assert stored.read_note("topic", "key") in (None, {"value": 1})


@fuzz
@given(data=st.data(), rows=st.lists(st.lists(words | st.text(max_size=6), max_size=4), max_size=5))
def test_files_of_groups(data, rows):
    head = data.draw(st.sampled_from(["id,group", "group,id", "id", "a,b"]))
    content = "\n".join([head, *(",".join(row) for row in rows)]).encode("utf-8", "replace")
    with scratch() as folder:
        (folder / "groups.csv").write_bytes(spoiled(content, data.draw))
        groups = clear(group_file.read, folder / "groups.csv")
        assert groups is None or (all(groups.values()) and None not in groups)


@partial(fuzz, inputs=few)
@given(data=st.data())
def test_weights_of_keras(data):
    pytest.importorskip("h5py", reason="the extra keras")
    with scratch() as folder:
        (folder / "weights.h5").write_bytes(spoiled(keras_weights(), data.draw))
        layers = clear(keras_file.read, folder / "weights.h5")
        assert layers is None or all(
            array.dtype == np.float32 for one in layers.values() for array in one
        )


@cache
def keras_weights():
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        opened.attrs["layer_names"] = [b"dense"]
        opened.require_group("dense")["kernel:0"] = np.zeros((3, 2), "float32")
        opened["dense"].attrs["weight_names"] = [b"kernel:0"]
    return file.getvalue()
