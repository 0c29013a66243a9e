"""What travels to another machine and back as bytes: a classifier there, a finished run here.

Nothing is ever unpickled: a classifier is the files it always is, checked as always, and a run is a
tar that cannot leave its folder.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from eyesight.data import archives
from eyesight.errors import UserError
from eyesight.inference import onnx_classifier
from eyesight.runs import Run
from eyesight.system.digest import sha256
from eyesight.system.files import scratch

if TYPE_CHECKING:
    from eyesight.classifier import Classifier

STAYS = ("checkpoint", "lock")  # of a run that is done


def pack_classifier(where: Path) -> dict[str, bytes]:
    """The files of a classifier by name: an ONNX file, or the two of its folder.

    Raises UserError when they cannot be read.
    """
    files = (
        [where]
        if where.suffix.lower() == ".onnx"
        else [where / "classifier.json", where / "weights.safetensors"]
    )
    try:
        return {file.name: file.read_bytes() for file in files}
    except OSError as error:
        raise UserError(
            f"{error.filename} cannot be read: {error.strerror}",
            "name a finished run or an exported file",
        ) from None


def key(files: Mapping[str, bytes]) -> str:
    """A short SHA-256 of the files' contents."""
    return sha256(
        "\0".join(hashlib.sha256(files[name]).hexdigest() for name in sorted(files)).encode()
    )[:32]


def open_classifier(
    files: Mapping[str, bytes], *, threads: int = 1, device: str = "cpu"
) -> Classifier | onnx_classifier.OnnxClassifier:
    """The classifier in the files, ready to answer with `threads`.

    Raises UserError for what is damaged.
    """
    with scratch() as folder:
        for name, content in files.items():
            (folder / Path(name).name).write_bytes(content)
        if (
            file := next((name for name in files if name.lower().endswith(".onnx")), None)
        ) is not None:
            return onnx_classifier.load(folder / file, threads)
        import torch

        from eyesight import classifier

        torch.set_num_threads(threads)
        return classifier.load(folder, device)


def pack_run(run: Run) -> bytes:
    """A finished run as a tar."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path in sorted(run.path.rglob("*")):
            inside = path.relative_to(run.path)
            if path.is_file() and inside.parts[0] not in STAYS:
                tar.add(path, inside.as_posix(), recursive=False)
    return stream.getvalue()


def unpack_run(packed: bytes, out: Path, name: str) -> Run:
    """The run of a tar, under the next free number in `out`, whole or not at all.

    Raises UserError for what is no run.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".arriving-", dir=out) as place:
        (Path(place) / "run.tar").write_bytes(packed)
        arrived = Path(place) / "run"
        arrived.mkdir()
        archives.extract(Path(place) / "run.tar", arrived)
        Run.open(arrived)
        run = Run.create(out, name)
        for path in sorted(arrived.iterdir(), key=lambda path: path.name == "recipe.json"):
            path.rename(
                run.path / path.name
            )  # the recipe comes last: without it the folder is no run yet
    return run
