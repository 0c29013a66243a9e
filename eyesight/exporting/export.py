"""A run's classifier as one ONNX file: uint8 pictures in, probabilities out, class names and preparation inside.

The file is kept only after real pictures went through both: what answers differently never gets its name.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import eyesight
from eyesight import classifier
from eyesight.classifier import Classifier
from eyesight.data import dataset
from eyesight.data.images import Images
from eyesight.data.prepare import Pixels
from eyesight.errors import UserError
from eyesight.exporting.onnx_file import file_of
from eyesight.exporting.onnx_graph import Looking, around
from eyesight.inference import onnx_classifier
from eyesight.inference.onnx_classifier import HEAT, INPUT, OUTPUT, Portable
from eyesight.inference.pretrained import recogniser
from eyesight.results import threshold
from eyesight.runs import Run
from eyesight.system.progress import Talk, silent

MOST_CHECKED = 1000  # pictures that go through both
CALIBRATING = 300  # training pictures that int8 takes its ranges from
SAME = (
    1e-3  # largest difference of two probabilities that are the same but for the order of additions
)
TIE = 1e-5  # classes closer than this have no order that rounding could not change
TOLERANCE = 0.005  # accuracy that int8 may lose


@dataclass(frozen=True)
class Parity:
    """How two classifiers' answers to the same pictures compare; accuracies are None without labels."""

    pictures: int
    what: str  # which pictures they were
    agreement: float  # share of pictures with the same most probable class
    largest_difference: float  # between two probabilities
    accuracy: float | None
    accuracy_before: float | None


@dataclass(frozen=True)
class Exported:
    """A file that was kept, and how it was checked."""

    file: Path
    bytes: int
    parity: Parity

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"file": str(self.file), "bytes": self.bytes, "parity": asdict(self.parity)}


@dataclass(frozen=True, eq=False)
class Held:
    """Pictures to check with (labels of -1 are unknown) and others to calibrate int8 with."""

    what: str
    pixels: Pixels
    labels: npt.NDArray[np.int64]
    calibrating: Pixels


def export(
    run: Run, file: Path | None = None, *, data: str | None = None, talk: Talk = silent
) -> Exported:
    """Write the run's classifier to `file` (.onnx); raises UserError, and keeps nothing, when it does not answer as the run does."""
    loaded = classifier.load(run.classifier_path)
    file = file or file_of(run)
    return _keep(loaded, description(run, loaded), file, held_out(run, loaded, data, talk))


def export_network(
    name: str,
    file: Path,
    *,
    only: str | None = None,
    weights: Path | None = None,
    talk: Talk = silent,
) -> Exported:
    """Write a pretrained network as it is to `file` (.onnx), checked on drawn pictures, since it has none of its own."""
    loaded = recogniser(name, weights, only, talk=talk)
    pixels = drawn(loaded.preparation.shape)
    held = Held("drawn pictures", pixels, np.full(len(pixels), -1, dtype=np.int64), pixels[:0])
    facts = {
        "eyesight_format": onnx_classifier.FORMAT,
        "name": name,
        "classes": list(loaded.classes),
        "preparation": loaded.preparation.to_dict(),
        "views": loaded.views,
        "only": only,
        "weights": loaded.facts["weights"],
        "eyesight": eyesight.__version__,
    }
    return _keep(loaded, facts, file, held)


def _keep(loaded: Classifier, facts: dict[str, Any], file: Path, held: Held) -> Exported:
    with _trial(file) as temporary:
        write(loaded, facts, temporary)
        parity = compare(loaded, onnx_classifier.load(temporary), held)
        require_same(parity)
        temporary.replace(file)
    return Exported(file, file.stat().st_size, parity)


def drawn(shape: tuple[int, int, int]) -> Pixels:
    """Coloured squares of several sizes, uint8 N,C,H,W, drawn alike every time."""
    random, (channels, height, width) = np.random.default_rng(0), shape
    made = []
    for squares in np.repeat((2, 4, 8, 16, 32), 6):
        colours = random.integers(0, 256, (channels, squares, squares), dtype=np.uint8)
        made.append(
            colours[
                :,
                (np.arange(height) * squares // height)[:, None],
                np.arange(width) * squares // width,
            ]
        )
    return np.stack(made)


def export_int8(
    run: Run,
    file: Path,
    *,
    data: str | None = None,
    tolerance: float = TOLERANCE,
    talk: Talk = silent,
) -> Exported:
    """Write `file` with 8-bit weights and activations beside it; raises UserError when its accuracy falls by more than `tolerance`."""
    loaded = classifier.load(run.classifier_path)
    if loaded.network.emits != "class":
        raise UserError(
            "8 bits are judged by the accuracy of a classifier",
            f"a {loaded.network.emits} needs full precision: leave out --int8",
        )
    held = held_out(run, loaded, data, talk)
    if not len(held.calibrating):
        raise UserError(
            "int8 needs the run's own pictures, to take its ranges from and to be judged by",
            "name them with --data DATA",
        )
    small = file.with_suffix(".int8.onnx")
    with _trial(small) as temporary:
        from eyesight.exporting.quantise import quantise

        quantise(file, temporary, held.calibrating)
        save(read(temporary), {**onnx_classifier.load(file).facts, "int8": True}, temporary)
        parity = compare(loaded, onnx_classifier.load(temporary), held)
        require_accurate(parity, tolerance)
        temporary.replace(small)
    return Exported(small, small.stat().st_size, parity)


def export_all(
    run: Run,
    file: Path | None = None,
    *,
    data: str | None = None,
    int8: bool = False,
    tolerance: float = TOLERANCE,
    talk: Talk = silent,
) -> list[Exported]:
    """The file, then its 8-bit variant where that is wanted."""
    made = [export(run, file, data=data, talk=talk)]
    if int8:
        made.append(export_int8(run, made[0].file, data=data, tolerance=tolerance, talk=talk))
    return made


def describe(made: Exported) -> str:
    """For people: where it is and how it was checked."""
    parity = made.parity
    agreement = (
        "the same class for every one"
        if parity.agreement == 1
        else f"the same class for {parity.agreement:.2%}"
    )
    lines = [f"{made.file}  ({made.bytes / 1e6:.2f} MB)"]
    lines.append(
        f"  checked on {parity.pictures:,} {parity.what}: {agreement}, probabilities within {parity.largest_difference:.1e}"
    )
    if parity.accuracy is not None:
        lines.append(
            f"  accuracy on them {parity.accuracy:.2%}, {parity.accuracy_before:.2%} before"
        )
    return "\n".join(lines)


@contextmanager
def _trial(file: Path) -> Iterator[Path]:
    """A file in a folder of its own beside `file`; whatever is not moved away in the block is removed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
        yield Path(folder) / file.name


def write(loaded: Classifier, facts: dict[str, Any], file: Path) -> None:
    """The network and `facts` as an ONNX file, not checked yet."""
    answering = around(loaded)
    outputs = [OUTPUT, HEAT][: 2 if isinstance(answering, Looking) else 1]
    example = torch.zeros(2, *loaded.network.shape, dtype=torch.uint8)
    count = torch.export.Dim("n", min=1)
    with _quietly():
        program = torch.onnx.export(
            answering,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=outputs,
            dynamic_shapes=({0: count},),
        )
    assert program is not None
    model = program.model_proto
    for name in ("doc_string", "producer_version"):
        model.ClearField(name)
    for node in (
        model.graph.node
    ):  # the exporter notes where in the sources each node comes from, with this machine's paths
        del node.metadata_props[:]
    del model.graph.metadata_props[:]
    save(model, facts, file)


def save(model: Any, facts: dict[str, Any], file: Path) -> None:
    """Check the ONNX model and write it with `facts` as its metadata, one JSON value a key."""
    import onnx

    onnx.helper.set_model_props(
        model, {key: json.dumps(value, ensure_ascii=False) for key, value in facts.items()}
    )
    onnx.checker.check_model(model)
    onnx.save_model(model, str(file))


def read(file: Path) -> Any:
    """The ONNX model in a file."""
    import onnx

    return onnx.load_model(str(file))


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's remarks about itself, which no user of ours can act on."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")
    ]
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


def description(run: Run, loaded: Classifier) -> dict[str, Any]:
    """What the file says about itself."""
    validation = run.path / "validation.npz"
    sure = (
        threshold.choose(run.predictions("validation"))
        if validation.is_file() and run.target == "class"
        else None
    )
    kept = classifier.read_description(run.classifier_path)
    return {
        "eyesight_format": onnx_classifier.FORMAT,
        "name": run.recipe.name or run.recipe.model.name,
        "classes": list(loaded.classes),
        "target": loaded.network.emits,
        "colours": loaded.facts.get("colours"),
        "preparation": loaded.preparation.to_dict(),
        "views": loaded.views,
        "accuracy": (run.result.get("test") or {}).get("top1"),
        "accuracy_pictures": (run.result.get("test") or {}).get("n"),
        "threshold": sure.to_dict() if sure else None,
        "unfamiliar_from": run.unfamiliar_from,
        "weights": kept["weights_sha256"],
        **{key: loaded.facts.get(key) for key in ("run", "data", "store", "split", "eyesight")},
    }


def held_out(run: Run, loaded: Classifier, data: str | None, talk: Talk = silent) -> Held:
    """The pictures to check with: those at `data`, or the run's own test pictures, or what the run kept of them for its report."""
    if data is not None:
        images = dataset.to_judge_by(
            replace(run.recipe.data, source=data), loaded.preparation, loaded.classes, talk=talk
        )
        if len(images) < 2:
            raise UserError(
                f"{data} holds {len(images)} labelled pictures, too few to check with",
                "name at least two",
            )
        every = np.arange(len(images))
        return _held(data, images.subset(every[1::2]), images.subset(every[::2]))
    try:
        found = dataset.load(run.settled.data, talk=talk)
    except (UserError, OSError) as error:
        talk(f"the run's pictures are not at hand ({error})")
        return _kept(run)
    if found.hash != run.data.get("split"):
        talk("the run's pictures have changed since it was trained")
        return _kept(run)
    parts = {"test": found.test, "validation": found.validation, "training": found.train}
    name = next(name for name, images in parts.items() if len(images))
    return _held(f"{name} pictures of {found.name}", parts[name], found.train)


def _held(what: str, images: Images, others: Images) -> Held:
    chosen = _spread(len(images), min(MOST_CHECKED, 4 * images.portion))
    calibrating = others.take(_spread(len(others), CALIBRATING)).numpy()
    return Held(what, images.take(chosen).numpy(), images.labels[chosen].numpy(), calibrating)


def _spread(n: int, most: int) -> Tensor:
    """At most `most` of the numbers below `n`, evenly spread."""
    return torch.linspace(0, n - 1, min(n, most)).long()


def _kept(run: Run) -> Held:
    """The pictures in the run's gallery, samples and mistakes."""
    gallery = run.gallery()
    parts = [
        gallery[name]
        for name in ("samples_pixels", "mistakes_pixels")
        if name in gallery and len(gallery[name])
    ]
    if not parts:
        raise UserError(
            f"{run.path} keeps no pictures to check the exported file with",
            "name labelled pictures with --data DATA",
        )
    pixels = np.concatenate(parts)
    return Held(
        "pictures the run kept for its report",
        pixels,
        np.full(len(pixels), -1, dtype=np.int64),
        pixels[:0],
    )


def compare(before: Classifier, after: Portable, held: Held) -> Parity:
    """Both classifiers' answers to the same pictures, the second's in portions of several sizes, one of them a lone picture."""
    first = before.probabilities(held.pixels)
    portions = np.split(
        held.pixels, [size for size in (1, 8, 250, 500, 750) if size < len(held.pixels)]
    )
    second = np.concatenate([after.probabilities(portion) for portion in portions])
    if before.network.emits != "class":
        return _of_pixels(first, second, held.what, maps=before.network.emits == "mask")
    one, two = first.argmax(1), second.argmax(1)
    rows = np.arange(len(first))
    same = (one == two) | (first[rows, one] - first[rows, two] < TIE)
    known = held.labels >= 0
    accuracies = [
        float((said == held.labels)[known].mean()) if known.any() else None for said in (two, one)
    ]
    return Parity(
        len(first),
        held.what,
        float(same.mean()),
        float(np.abs(first - second).max()),
        accuracies[0],
        accuracies[1],
    )


def _of_pixels(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], what: str, *, maps: bool
) -> Parity:
    """How answers N,K,H,W compare: of maps, whether every pixel has the same class but where two are as probable to a thousandth."""
    apart, agreement = float(np.abs(first - second).max()), 1.0
    if maps:
        one, two = (answers.argmax(1)[:, None] for answers in (first, second))
        gap = np.take_along_axis(first, one, 1) - np.take_along_axis(first, two, 1)
        agreement = float((gap < SAME).all(axis=(1, 2, 3)).mean())
    return Parity(len(first), what, agreement, apart, None, None)


def require_same(parity: Parity) -> None:
    """Raise UserError unless every picture got the same class and nearly the same probabilities."""
    if parity.agreement < 1 or not parity.largest_difference <= SAME:
        raise UserError(
            f"the exported file answers differently: {1 - parity.agreement:.2%} of {parity.pictures:,} {parity.what} get another class, "
            f"probabilities differ by up to {parity.largest_difference:.2g}; it was not kept",
            "this is a fault of the exporter for this network; serve the run folder itself, or choose another network",
        )


def require_accurate(parity: Parity, tolerance: float) -> None:
    """Raise UserError when 8 bits cost more accuracy than `tolerance`."""
    assert parity.accuracy is not None and parity.accuracy_before is not None, (
        "int8 is judged by labelled pictures"
    )
    lost = parity.accuracy_before - parity.accuracy
    if lost > tolerance:
        raise UserError(
            f"int8 would lose {100 * lost:.2f} points of accuracy ({parity.accuracy_before:.2%} to {parity.accuracy:.2%} "
            f"on {parity.pictures:,} {parity.what}), more than the {100 * tolerance:g} allowed; it was not kept",
            "use the file with full precision, or allow more with --tolerance POINTS",
        )
