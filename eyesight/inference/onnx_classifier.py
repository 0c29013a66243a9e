"""A classifier read from one ONNX file: the same predictions without PyTorch.

Class names and preprocessing are in the file's metadata, so the file is self-contained.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from eyesight.data import inputs
from eyesight.data.prepare import Pixels, Preparation, prepare, thumbnail
from eyesight.errors import MissingError, UserError
from eyesight.results.answers import Answers
from eyesight.results.calibration import Calibration
from eyesight.results.predictions import Predictions, predicted
from eyesight.system.digest import sha256
from eyesight.system.json_value import parse_json
from eyesight.system.memory import cores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eyesight.classifier import Facts

FORMAT = 1
INPUT, OUTPUT, HEAT = "pictures", "probabilities", "heat"
CHECKSUM = "eyesight_sha256"  # the key in the metadata
NO_CHECKSUM = "0" * 64
# The encoding in the metadata: the key, then the tag and the length of the value.
MARK = CHECKSUM.encode() + bytes([0x12, len(NO_CHECKSUM)])
LOGITS, SET, UNLIKE = "logits", "set", "unlike"
MOST_THREADS = 4  # more threads do not help on small images


class Tensor(Protocol):
    """The description of an input or output by onnxruntime."""

    name: str
    type: str
    shape: Sequence[int | str]


class Session(Protocol):
    """The used interface of `onnxruntime.InferenceSession`."""

    def run(
        self, names: Sequence[str], feed: Mapping[str, Pixels]
    ) -> Sequence[npt.NDArray[np.float32]]:
        """Compute the outputs called `names`."""

    def get_inputs(self) -> Sequence[Tensor]:
        """Describe the inputs."""

    def get_outputs(self) -> Sequence[Tensor]:
        """Describe the outputs."""


@dataclass(frozen=True, eq=False, repr=False)
class OnnxClassifier:
    """An exported classifier with the prediction interface of `eyesight.Classifier`.

    `facts` is the file's metadata: name, accuracy, threshold, data …
    """

    session: Session
    classes: tuple[str, ...]
    preparation: Preparation
    facts: Facts
    source: str = ""  # description of the file

    def __repr__(self) -> str:
        channels, height, width = self.preparation.shape
        size = f"{channels}×{height}×{width}"
        return f"<{self.source}: {len(self.classes)} classes, images {size}>"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self.classes

    def predict(self, images: inputs.Images) -> Predictions:
        """Class probabilities of one image or of a list of images.

        Takes what `eyesight.Classifier.predict` takes.

        Raises
        ------
        UserError
            For a missing file, input that is not an image, and a network that predicts images or
            masks instead of classes.
        """
        target = self.facts.get("target") or "class"
        if target != "class":
            raise UserError(
                f"this network predicts a {target}, not a class",
                "use probabilities(prepare(...)), or `eyesight predict FILE.onnx IMAGES --out DIR`",
            )
        names, pixels = inputs.prepare_inputs(images, self.preparation)
        return predicted(names, self.answer(pixels), self.classes, partial(thumbnail, pixels))

    def prepare(self, picture: bytes | Pixels) -> Pixels:
        """Prepare an image as in training: encoded bytes or uint8 H,W[,C] to uint8 C,H,W.

        Raises BadPicture.
        """
        return prepare(picture, self.preparation)

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Probabilities N,K of prepared images, uint8 N,C,H,W."""
        if not len(pixels):
            return np.zeros((0, len(self.classes)), dtype=np.float32)
        result = np.asarray(self.session.run([OUTPUT], {INPUT: pixels})[0], dtype=np.float32)
        if not np.isfinite(result).all():
            raise UserError(
                f"the output of {self.source} is NaN or infinite",
                "the weights are damaged or the training diverged: train and export again",
            )
        return result

    def answer(self, pixels: Pixels) -> Answers:
        """Probabilities, logits, prediction sets and doubts for prepared images, uint8 N,C,H,W."""
        names = [name for name in (OUTPUT, LOGITS, SET, UNLIKE) if name in self._outputs]
        if not len(pixels):
            return Answers(np.zeros((0, len(self.classes)), dtype=np.float32))
        values = dict(zip(names, self.session.run(names, {INPUT: pixels}), strict=True))
        chosen = None
        if SET in values:
            chosen = np.asarray(values[SET], dtype=np.bool_)
        return Answers(values[OUTPUT], values.get(LOGITS), chosen, values.get(UNLIKE))

    @cached_property
    def calibration(self) -> Calibration:
        """Temperature and prediction sets; unfamiliar images are detected within the file."""
        return Calibration.from_dict(self.facts.get("calibration") or {})

    @cached_property
    def _outputs(self) -> frozenset[str]:
        return frozenset(output.name for output in self.session.get_outputs())

    @property
    def supports_heatmap(self) -> bool:
        """Whether the file can compute heatmaps."""
        return HEAT in self._outputs

    def heat(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Grad-CAM heat N,h,w ≥ 0 of the best class, for prepared images uint8 N,C,H,W.

        Raises UserError when the file has no such output.
        """
        if not self.supports_heatmap:
            raise MissingError(
                "this file has no heatmap",
                "networks that end in average pooling and one dense layer have one; export again",
            )
        return np.asarray(self.session.run([HEAT], {INPUT: pixels})[0], dtype=np.float32)


def load(file: Path, threads: int | None = None) -> OnnxClassifier:
    """Load the classifier in an ONNX file.

    Raises UserError when the file is missing, damaged, too new or not written by `eyesight export`.
    """
    session, metadata = _open(file, threads or min(MOST_THREADS, cores()))
    facts = cast("Facts", {key: _value(text) for key, text in metadata.items()})
    _check_format(file, facts)
    try:
        classes = tuple(str(name) for name in facts["classes"])
        preparation = Preparation.from_dict(facts["preparation"])
        loaded = OnnxClassifier(session, classes, preparation, facts, f"ONNX file {file}")
        problem = _mismatch(loaded)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        problem = str(error)
    if problem:
        raise UserError(
            f"{file} is damaged: its metadata does not match its network ({problem})",
            "export the run again",
        )
    return loaded


def _open(file: Path, threads: int) -> tuple[Session, dict[str, str]]:
    """An inference session, and the metadata of its model."""
    if not file.is_file():
        raise UserError(f"there is no file {file}", "create one with `eyesight export RUN`")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors come as exceptions
    # Do not spin between calls.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = ["CPUExecutionProvider"]
    try:
        content = file.read_bytes()
        if not is_sealed(content):
            raise UserError(
                f"{file} was changed since it was exported: its checksum differs",
                "copy it again, or export the run again",
            )
        session = onnxruntime.InferenceSession(content, options, providers=providers)
    except UserError:
        raise
    except OSError as error:
        raise UserError(
            f"{file} cannot be read: {error}",
            "it may be damaged or have the wrong permissions; copy it again",
        ) from None
    except Exception as error:  # onnxruntime raises many different classes
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{file} is not a usable ONNX file: {reason}",
            "copy it again, or export the run again",
        ) from None
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    metadata.pop(CHECKSUM, None)
    return session, metadata


def seal(content: bytes) -> bytes:
    """An ONNX model in which `NO_CHECKSUM` is replaced by the SHA-256 of all its bytes."""
    place = content.rfind(MARK + NO_CHECKSUM.encode())
    if place < 0:
        raise ValueError("the model has no place for its checksum")
    start = place + len(MARK)
    return content[:start] + sha256(content).encode() + content[start + len(NO_CHECKSUM) :]


def note_on_checksum(path: str | Path) -> str:
    """A note for an ONNX file without a checksum; otherwise empty."""
    file = Path(path)
    if file.suffix.lower() != ".onnx" or not file.is_file() or MARK in file.read_bytes():
        return ""
    return f"{file} was exported by an early version without checksums; damage cannot be detected"


def is_sealed(content: bytes) -> bool:
    """Whether an ONNX model is unchanged since export; True for early files without checksums."""
    start = content.rfind(MARK) + len(MARK)
    if start < len(MARK):
        return CHECKSUM.encode() not in content
    checksum = content[start : start + len(NO_CHECKSUM)]
    original = content[:start] + NO_CHECKSUM.encode() + content[start + len(NO_CHECKSUM) :]
    return sha256(original).encode() == checksum


def _value(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return text


def _check_format(file: Path, facts: Facts) -> None:
    version = facts.get("eyesight_format")
    if not isinstance(version, int):
        raise UserError(
            f"{file} was not written by `eyesight export`: its metadata has no classes or "
            "preprocessing",
            "export a run; files of other programs do not describe their outputs",
        )
    if version > FORMAT:
        raise UserError(
            f"{file} was written by a newer version of eyesight (format {version}; this version "
            f"reads up to {FORMAT})",
            "upgrade eyesight",
        )


def _mismatch(loaded: OnnxClassifier) -> str:
    """The difference between the network's inputs and outputs and the metadata; "" if none."""
    given = loaded.session.get_inputs()[0]
    result = loaded.session.get_outputs()[0]
    expected = loaded.preparation.shape
    channels = len(loaded.classes)
    if loaded.facts.get("target") == "picture":
        channels = loaded.preparation.channels
    if (given.name, result.name) != (INPUT, OUTPUT):
        return f"input {given.name}, output {result.name}"
    if given.type != "tensor(uint8)":
        return f"input of type {given.type}"
    if tuple(given.shape[1:]) != expected:
        return f"images of {given.shape[1:]}, prepared as {expected}"
    if result.shape[1] != channels:
        return f"{result.shape[1]} outputs instead of {channels}"
    return ""
