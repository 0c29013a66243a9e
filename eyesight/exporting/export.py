"""A run's classifier as one ONNX file: uint8 images in, probabilities out.

Class names and preprocessing are inside. The file is kept only after real images went through both
networks: one that predicts differently never gets its name.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

import eyesight
from eyesight import classifier
from eyesight.classifier import Classifier, Facts
from eyesight.data.prepare import Pixels
from eyesight.errors import UserError
from eyesight.exporting.card import Evidence, without_path, write_card
from eyesight.exporting.onnx_file import file_of
from eyesight.exporting.onnx_graph import exportable
from eyesight.exporting.parity import (
    Held,
    Parity,
    compare,
    held_out,
    is_accurate,
    require_accurate,
    require_same,
    unlabelled,
)
from eyesight.inference import onnx_classifier
from eyesight.inference.onnx_classifier import INPUT
from eyesight.inference.pretrained import recogniser
from eyesight.results import threshold
from eyesight.runs import Run
from eyesight.system.files import scratch, whole_file
from eyesight.system.progress import Talk, silent

if TYPE_CHECKING:
    from onnx import ModelProto

EXACT = (0, 2, 4)  # convolutions from the first on that stay in float32
SQUARES = (2, 4, 8, 16, 32)  # in a row of a drawn image
EXPORTERS = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")  # their loggers


@dataclass(frozen=True)
class Exported:
    """A file that was kept, and how it was checked."""

    file: Path
    bytes: int
    parity: Parity
    int8: Exported | None = None  # its 8-bit variant
    card: Path | None = None  # its model card

    def __str__(self) -> str:
        return describe(self)

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "file": str(self.file),
            "bytes": self.bytes,
            "card": None if self.card is None else str(self.card),
            "parity": asdict(self.parity),
        }


def export(
    run: Run, file: Path | None = None, *, data: str | None = None, talk: Talk = silent
) -> Exported:
    """Write the run's classifier to `file` (.onnx), and its model card beside it.

    Raises UserError, and keeps nothing, when the file does not predict what the run predicts.
    """
    loaded = classifier.load(run.classifier_path)
    facts = description(run, loaded)
    exported = write_checked(run, loaded, facts, file or file_of(run), data=data, talk=talk)
    return with_card(exported, facts, run)


def write_checked(
    run: Run,
    loaded: Classifier,
    facts: Facts,
    file: Path,
    *,
    data: str | None = None,
    talk: Talk = silent,
) -> Exported:
    """Write the run's classifier to `file` (.onnx), checked on held-out images, without a card."""
    return _keep(loaded, facts, file, held_out(run, loaded, data, talk), talk)


def with_card(exported: Exported, facts: Facts, run: Run | None = None) -> Exported:
    """The same export, with its model card written beside the file."""
    evidence = Evidence((exported.file,), facts, checked(exported.parity))
    return replace(exported, card=write_card(exported.file, evidence, run))


def checked(parity: Parity) -> str:
    """How an exported network was checked, as a sentence of its card."""
    return (
        f"The exported network was compared with the trained one on {parity.pictures:,} "
        f"{without_path(parity.origin)}: {agreement_words(parity)}, probabilities within "
        f"{parity.largest_difference:.1e}."
    )


def agreement_words(parity: Parity) -> str:
    """How often two networks named the same class, in words."""
    if parity.agreement == 1:
        return "the same class for every image"
    return f"the same class for {parity.agreement:.2%}"


def export_network(
    name: str,
    file: Path,
    *,
    only: str | None = None,
    weights: Path | None = None,
    talk: Talk = silent,
) -> Exported:
    """Write a pretrained network to `file` (.onnx), checked on drawn images, since it has no own.

    Raises UserError when it has no weights, or when the file does not predict what it predicts.
    """
    loaded = recogniser(name, weights, only, talk=talk)
    facts: Facts = {
        "eyesight_format": onnx_classifier.FORMAT,
        "name": name,
        "classes": list(loaded.classes),
        "preparation": loaded.preparation.to_dict(),
        "views": loaded.views,
        "only": only,
        "weights": loaded.facts["weights"],
        "eyesight": eyesight.__version__,
    }
    held = unlabelled("drawn images", drawn(loaded.preparation.shape))
    return with_card(_keep(loaded, facts, file, held, talk), facts)


def _keep(loaded: Classifier, facts: Facts, file: Path, held: Held, talk: Talk) -> Exported:
    with scratch() as folder:
        trial = folder / "trial.onnx"
        talk("writing the ONNX file")
        write(loaded, facts, trial)
        images = f"{len(held.pixels):,} {without_path(held.origin)}"
        talk(f"checking the file against the classifier on {images}")
        parity = compare(loaded, onnx_classifier.load(trial), held)
        require_same(parity)
        return Exported(file, _install(trial, file), parity)


def _install(trial: Path, file: Path) -> int:
    """Copy a checked file to its place, whole or not at all; its bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with trial.open("rb") as source, whole_file(file) as target:
        shutil.copyfileobj(source, target)
    return trial.stat().st_size


def drawn(shape: tuple[int, int, int]) -> Pixels:
    """Coloured squares of several sizes, uint8 N,C,H,W, the same at every call."""
    random = np.random.default_rng(0)
    channels, height, width = shape
    pictures = []
    for squares in np.repeat(SQUARES, 6):
        colours = random.integers(0, 256, (channels, squares, squares), dtype=np.uint8)
        rows = np.arange(height) * squares // height
        columns = np.arange(width) * squares // width
        pictures.append(colours[:, rows[:, None], columns])
    return np.stack(pictures)


def export_int8(
    run: Run,
    file: Path,
    *,
    data: str | None = None,
    tolerance: float | None = None,
    deadline: float = math.inf,
    talk: Talk = silent,
) -> Exported:
    """Write FILE.int8.onnx, with 8-bit weights and activations, beside the exported `file`.

    `tolerance` is the largest accepted loss of accuracy; None accepts half a point, or one image
    if fewer than 200 are checked. If more is lost, the first 2 and then 4 convolutions stay in
    float32, as long as `deadline` (of time.monotonic()) allows; raises UserError if none is
    accurate.
    """
    loaded = classifier.load(run.classifier_path)
    if loaded.network.emits != "class":
        raise UserError(
            "int8 is supported only for classifiers",
            f"this network predicts a {loaded.network.emits}: leave out --int8",
        )
    held = held_out(run, loaded, data, talk)
    if not len(held.calibrating):
        raise UserError(
            "int8 needs the run's images for calibration and evaluation",
            "name them with --data DATA",
        )
    small = file.with_suffix(".int8.onnx")
    with scratch() as folder:
        from eyesight.exporting.quantise import quantise

        trial = folder / "trial.onnx"
        facts = Facts(**onnx_classifier.load(file).facts)
        facts["int8"] = True
        talk(f"quantising on {len(held.calibrating):,} images")
        for exact in EXACT:
            began = time.monotonic()
            quantise(file, trial, held.calibrating, exact)
            save(read(trial), facts, trial)
            parity = compare(loaded, onnx_classifier.load(trial), held)
            lasted = time.monotonic() - began
            if is_accurate(parity, tolerance) or time.monotonic() + lasted > deadline:
                break
            talk(f"int8 loses too much with the first {exact} convolutions in float32; trying more")
        require_accurate(parity, tolerance)
        return with_card(Exported(small, _install(trial, small), parity), facts, run)


def export_all(
    run: Run,
    file: Path | None = None,
    *,
    data: str | None = None,
    int8: bool = False,
    tolerance: float | None = None,
    talk: Talk = silent,
) -> list[Exported]:
    """Write the ONNX file, and with `int8` its 8-bit variant; raises UserError as these do."""
    exported = [export(run, file, data=data, talk=talk)]
    if int8:
        first = exported[0].file
        exported.append(export_int8(run, first, data=data, tolerance=tolerance, talk=talk))
    return exported


def describe(exported: Exported) -> str:
    """For people: where the file is and how it was checked."""
    parity = exported.parity
    lines = [
        f"{exported.file}  ({exported.bytes / 1e6:.2f} MB)",
        f"  verified on {parity.pictures:,} {parity.origin}: {agreement_words(parity)}, "
        f"probabilities within {parity.largest_difference:.1e}",
    ]
    if parity.accuracy is not None:
        before = f"{parity.accuracy_before:.2%}"
        lines.append(f"  accuracy {parity.accuracy:.2%}, {before} before")
    if exported.card is not None:
        lines.append(f"  model card {exported.card}")
    return "\n".join(lines)


def write(loaded: Classifier, facts: Facts, file: Path) -> None:
    """Write the network and `facts` as an ONNX file, not checked yet."""
    network = exportable(loaded)
    example = torch.zeros(2, *loaded.network.shape, dtype=torch.uint8)
    with _quietly():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=network.outputs,
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
        )
    assert program is not None
    model = program.model_proto
    for name in ("doc_string", "producer_version"):
        model.ClearField(name)
    for node in model.graph.node:  # each notes its place in the sources, with this machine's paths
        del node.metadata_props[:]
    del model.graph.metadata_props[:]
    save(model, facts, file)


def save(model: ModelProto, facts: Facts, file: Path) -> None:
    """Check the ONNX model and write it with `facts` as its metadata, one JSON value a key."""
    import onnx

    metadata = {}
    for key, value in facts.items():
        metadata[key] = json.dumps(value, ensure_ascii=False)
    metadata[onnx_classifier.CHECKSUM] = onnx_classifier.NO_CHECKSUM
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    file.write_bytes(onnx_classifier.seal(model.SerializeToString()))


def read(file: Path) -> ModelProto:
    """Read the ONNX model in a file."""
    import onnx

    return onnx.load_model(str(file))


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporters' remarks about themselves, which no user of ours can act on."""
    loggers = [logging.getLogger(name) for name in EXPORTERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def description(run: Run, loaded: Classifier) -> Facts:
    """The metadata of the exported file."""
    limit = None
    if (run.path / "validation.npz").is_file() and run.target == "class":
        chosen = threshold.choose(run.predictions("validation"))
        if chosen:
            limit = chosen.to_dict()
    kept = classifier.read_description(run.classifier_path)
    test = run.result.get("test") or {}
    facts: Facts = {
        "eyesight_format": onnx_classifier.FORMAT,
        "name": run.recipe.name or run.recipe.model.name,
        "classes": list(loaded.classes),
        "target": loaded.network.emits,
        "colours": loaded.facts.get("colours"),
        "preparation": loaded.preparation.to_dict(),
        "views": loaded.views,
        "accuracy": test.get("top1"),
        "accuracy_pictures": test.get("n"),
        "threshold": limit,
        "unfamiliar_from": run.unfamiliar_from,
        "calibration": loaded.calibration.to_dict(),
        "weights": kept["weights_sha256"],
    }
    origin = {key: loaded.facts.get(key) for key in ("run", "data", "store", "split", "eyesight")}
    return cast("Facts", {**facts, **origin})
