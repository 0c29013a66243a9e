"""A classifier read from one ONNX file: the same answers without torch, and the only home of onnxruntime.

Class names and preparation come from the file's own metadata, so it is all that has to be copied to another machine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eyesight.data.prepare import Pixels, Preparation, prepare
from eyesight.errors import MissingError, UserError
from eyesight.system.memory import cores

FORMAT = 1
INPUT, OUTPUT, HEAT = "pictures", "probabilities", "heat"
MOST_THREADS = 4  # more only get in each other's way on pictures this small


@dataclass(frozen=True, eq=False)
class Portable:
    """Answers as `eyesight.classifier.Classifier` does; `facts` is what the exporter knew: name, accuracy, threshold, data …"""

    session: Any
    classes: tuple[str, ...]
    preparation: Preparation
    facts: dict[str, Any]

    def prepare(self, picture: bytes | Pixels) -> Pixels:
        """An encoded picture or a uint8 array H,W or H,W,C as uint8 C,H,W, exactly as in training; raises BadPicture."""
        return prepare(picture, self.preparation)

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Probabilities N,K of prepared pictures, uint8 N,C,H,W."""
        if not len(pixels):
            return np.zeros((0, len(self.classes)), dtype=np.float32)
        return np.asarray(self.session.run([OUTPUT], {INPUT: pixels})[0], dtype=np.float32)

    @property
    def looks(self) -> bool:
        """Whether the file can say where it looked."""
        return any(output.name == HEAT for output in self.session.get_outputs())

    def heat(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Where it looked for the best class, N,h,w ≥ 0, of prepared pictures, uint8 N,C,H,W; raises UserError when it cannot say."""
        if not self.looks:
            raise MissingError(
                "this file does not say where it looked",
                "it can where an average and one dense layer end the network; export again",
            )
        return np.asarray(self.session.run([HEAT], {INPUT: pixels})[0], dtype=np.float32)


def load(file: Path, threads: int | None = None) -> Portable:
    """The classifier in an ONNX file; raises UserError when it is missing, damaged, too new or not written by `eyesight export`."""
    session = _session(file, threads or min(MOST_THREADS, cores()))
    facts = {key: _value(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    _check_format(file, facts)
    try:
        classes = tuple(str(name) for name in facts["classes"])
        loaded = Portable(session, classes, Preparation.from_dict(facts["preparation"]), facts)
        _check_shapes(loaded)
    except (KeyError, TypeError, IndexError, AssertionError) as error:
        raise UserError(
            f"{file} is damaged: its description does not fit its network ({error})",
            "export the run again",
        ) from None
    return loaded


def _session(file: Path, threads: int) -> Any:
    if not file.is_file():
        raise UserError(f"there is no file {file}", "`eyesight export RUN` writes one")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is said by the exception
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # leave the cores to others between two calls
    try:
        return onnxruntime.InferenceSession(
            file.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except OSError as error:
        raise UserError(
            f"{file} cannot be read: {error}",
            "it may be damaged, or belong to somebody else; copy it again",
        ) from None
    except Exception as error:  # onnxruntime raises classes of its own for each way of being broken
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{file} is no ONNX file that can be used: {reason}",
            "copy it again, or export the run again",
        ) from None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _check_format(file: Path, facts: dict[str, Any]) -> None:
    found = facts.get("eyesight_format")
    if not isinstance(found, int):
        raise UserError(
            f"{file} was not written by `eyesight export`: it does not name its classes and how pictures are prepared",
            "export a run; files of other programs do not say what their outputs mean",
        )
    if found > FORMAT:
        raise UserError(
            f"{file} was written by a later eyesight (format {found}, this one reads up to {FORMAT})",
            "upgrade eyesight",
        )


def _check_shapes(loaded: Portable) -> None:
    """What the network takes and gives must be what the description says."""
    given, taken = loaded.session.get_outputs()[0], loaded.session.get_inputs()[0]
    assert (taken.name, given.name) == (INPUT, OUTPUT), f"input {taken.name}, output {given.name}"
    assert taken.type == "tensor(uint8)", f"input of type {taken.type}"
    assert tuple(taken.shape[1:]) == loaded.preparation.shape, (
        f"pictures of {taken.shape[1:]}, prepared as {loaded.preparation.shape}"
    )
    wanted = (
        loaded.preparation.channels
        if loaded.facts.get("target") == "picture"
        else len(loaded.classes)
    )
    assert given.shape[1] == wanted, f"{given.shape[1]} outputs where {wanted} are described"
