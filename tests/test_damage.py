"""What is stored is checked when it is opened: damage is an error or is made anew, never
an answer.
"""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from eyesight import classifier
from eyesight.errors import UserError
from eyesight.inference import onnx_classifier
from eyesight.results import predictions
from eyesight.results.predictions import Predictions
from eyesight.system.digest import file_sha256

BEFORE = Path(__file__).parent / "before"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BEFORE / "run" / "classifier", tmp_path / "classifier")


def rewrite(folder, **tensors):
    """Weights with other values and a checksum that fits them."""
    file = folder / "weights.safetensors"
    save_file({**load_file(file), **tensors}, file)
    about = json.loads((folder / "classifier.json").read_text("utf-8"))
    about["weights_sha256"] = file_sha256(file)
    (folder / "classifier.json").write_text(json.dumps(about), "utf-8")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused_whatever_their_checksum(folder, value):
    name, tensor = next(
        (name, tensor)
        for name, tensor in load_file(folder / "weights.safetensors").items()
        if tensor.dtype.kind == "f" and tensor.ndim
    )
    broken = tensor.copy()
    broken.flat[0] = value
    rewrite(folder, **{name: broken})
    with pytest.raises(UserError, match="NaN or infinite"):
        classifier.load(folder)


def drawn_predictions():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(3), 8).astype(np.float32)
    ids = tuple(f"test/{number}" for number in range(8))
    return Predictions(ids, np.arange(8) % 3, probabilities, ("a", "b", "c"))


BROKEN = {
    "fewer labels": {"labels": np.arange(3)},
    "a label out of range": {"labels": np.full(8, 3)},
    "a label below -1": {"labels": np.full(8, -2)},
    "a column too few": {"probabilities": np.ones((8, 2), np.float32)},
    "a class too many": {"classes": np.array(["a", "b", "c", "d"])},
    "fewer names": {"ids": np.array(["a"])},
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_predictions_that_do_not_fit_are_refused(tmp_path, change):
    written(tmp_path / "predictions.npz", change)
    with pytest.raises(UserError, match="not a valid predictions file"):
        predictions.load(tmp_path / "predictions.npz")


def written(path, change):
    whole = drawn_predictions()
    whole.save(path)
    arrays = dict(predictions.read_arrays(path)) | change
    predictions.write_arrays(path, **arrays)


UNDER_O = """
import sys
from pathlib import Path
from eyesight.errors import UserError
from eyesight.results import predictions
if __debug__:
    sys.exit("asserts are on")
for path in sys.argv[1:]:
    try:
        print(predictions.load(Path(path)).summary()["top1"])
    except UserError as error:
        print("refused")
"""


def test_no_check_vanishes_without_asserts(tmp_path):
    files = []
    for number, change in enumerate(BROKEN.values()):
        files.append(str(tmp_path / f"{number}.npz"))
        written(Path(files[-1]), change)
    command = [sys.executable, "-O", "-c", UNDER_O, *files]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or done.stdout.split() != ["refused"] * len(files):
        raise ValueError(done.stdout + done.stderr)


def test_an_onnx_file_with_any_bit_changed_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(BEFORE / "digits.onnx")
    content = sealed(onnx, model)
    (tmp_path / "whole.onnx").write_bytes(content)
    assert onnx_classifier.load(tmp_path / "whole.onnx", 1).classes == ("bars", "dots")
    random = np.random.default_rng(0)
    for place in random.integers(0, len(content), 60).tolist():
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(random.integers(8))
        assert not onnx_classifier.is_sealed(bytes(damaged)), place
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 4
    (tmp_path / "changed.onnx").write_bytes(damaged)
    with pytest.raises(UserError, match="changed since it was exported"):
        onnx_classifier.load(tmp_path / "changed.onnx", 1)


def sealed(onnx, model):
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    metadata[onnx_classifier.CHECKSUM] = onnx_classifier.NO_CHECKSUM
    onnx.helper.set_model_props(model, metadata)
    return onnx_classifier.seal(model.SerializeToString())


def test_a_header_of_nine_terabytes_is_refused(tmp_path):
    import io
    import zipfile

    file = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (9 << 40,)}
    np.lib.format.write_array_header_1_0(file, header)
    with zipfile.ZipFile(tmp_path / "p.npz", "w") as archive:
        archive.writestr("probabilities.npy", file.getvalue())
    with pytest.raises(UserError, match="cannot be read"):
        predictions.load(tmp_path / "p.npz")


def test_an_onnx_file_from_before_checksums_is_told(tmp_path):
    old = BEFORE / "digits.onnx"
    assert "without checksums" in onnx_classifier.note_on_checksum(old)
    onnx = pytest.importorskip("onnx")
    (tmp_path / "new.onnx").write_bytes(sealed(onnx, onnx.load(old)))
    assert onnx_classifier.note_on_checksum(tmp_path / "new.onnx") == ""
    assert onnx_classifier.note_on_checksum(tmp_path) == ""


READERS_UNDER_O = """
import sys
from pathlib import Path
from eyesight import classifier
from eyesight.errors import UserError
from eyesight.inference import onnx_classifier
if __debug__:
    sys.exit("asserts are on")
for load, place in zip((classifier.load, onnx_classifier.load), sys.argv[1:]):
    try:
        load(Path(place))
        print("answered")
    except UserError:
        print("refused")
"""


def without_asserts(script, *arguments, **environment):
    """What a script prints under `python -O`; the checks on it are made here, where asserts are
    on.
    """
    command = [sys.executable, "-O", "-c", script, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}
    )
    if done.returncode:
        raise ValueError(done.stdout + done.stderr)
    return done.stdout.split()


def test_weights_and_onnx_files_are_checked_without_asserts(folder, tmp_path):
    onnx = pytest.importorskip("onnx")
    tensors = load_file(folder / "weights.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.dtype.kind == "f")
    rewrite(folder, **{name: np.full_like(tensors[name], np.nan)})
    content = bytearray(sealed(onnx, onnx.load(BEFORE / "digits.onnx")))
    content[len(content) // 2] ^= 4
    (tmp_path / "changed.onnx").write_bytes(content)
    answers = without_asserts(READERS_UNDER_O, folder, tmp_path / "changed.onnx")
    assert answers == ["refused", "refused"]


STORE_UNDER_O = """
import json
import sys
from pathlib import Path
import numpy as np
from eyesight.data.opening import open_source
from eyesight.data.store import prepare_store
from eyesight.recipe import Data
from eyesight.system import cache
if __debug__:
    sys.exit("asserts are on")
data, checks = sys.argv[1:]
def believed(files):
    return {file: json.loads((file.parent / cache.ENTRY).read_text())["files"][file.name]
            for file in files}
if checks == "unchecked":
    cache.chunked_sha256 = believed
store = prepare_store(open_source(Path(data)), Data(data, size=8))
print(np.asarray(store.pixels).tobytes().hex())
print(np.asarray(store.labels).tobytes().hex())
"""
STORED = {"pixels": "pixels.npy", "labels": "pictures.npz"}


def pictures_of_two_classes(folder):
    for number, label in enumerate(("cat", "cat", "dog", "dog")):
        file = folder / label / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 40 * number + 9, np.uint8)).save(file)
    return folder


def change_stored(cache, part):
    """Change what is stored so that it can still be read; return the changed bytes."""
    (file,) = cache.rglob(STORED[part])
    if part == "pixels":
        content = bytearray(file.read_bytes())
        content[-5] ^= 8
        file.write_bytes(content)
    else:
        with np.load(file) as table:
            arrays = dict(table)
        arrays["labels"] = arrays["labels"][::-1]
        np.savez(file, **arrays)
    return file.read_bytes()


@pytest.mark.whole
@pytest.mark.parametrize("part", STORED)
def test_a_damaged_cache_is_made_anew_without_asserts(tmp_path, part):
    """Each process checks what is stored once, so the damage happens between two processes."""
    data, cache = pictures_of_two_classes(tmp_path / "data"), tmp_path / "cache"

    def stored(checks):
        return without_asserts(STORE_UNDER_O, data, checks, EYESIGHT_CACHE=str(cache))

    whole = stored("checked")
    damaged = change_stored(cache, part)
    assert stored("unchecked") != whole, "without its check the damage would be an answer"
    assert stored("checked") == whole
    (file,) = (path for path in cache.rglob(STORED[part]) if "damaged" not in path.parts)
    assert file.read_bytes() != damaged, "the damaged file was replaced"
