"""Predictions for millions of images in numbered parts, in this process or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from eyesight.cli.options import show_json
from eyesight.errors import UserError
from eyesight.system.json_value import parse_json

if TYPE_CHECKING:
    from eyesight.inference.bulk import Engine, Outcome
    from eyesight.inference.predict import AnyClassifier


@dataclass(frozen=True)
class Order:
    """The arguments of `eyesight predict` that a bulk prediction needs."""

    model: str
    pictures: Sequence[str]
    out: Path
    top: int
    prepare: str
    as_json: bool


def refuse(**options: object) -> None:
    """Raise UserError for options that bulk prediction does not support."""
    for name, value in options.items():
        if value:
            raise UserError(
                f"--{name} cannot be combined with predictions in parts",
                "use --out FILE.csv without --on",
                code=2,
            )


def on_cluster(order: Order, address: str, share: tuple[int, float, float]) -> None:
    """Predict every image on the cluster at `address`; `share` is cores, GPUs and GB per part.

    Raises UserError for a model that cannot be sent or does not classify, and for a file as output.
    """
    from eyesight.cli import console
    from eyesight.cluster import packing, ray_cluster
    from eyesight.inference.predict import is_backbone_name, preprocessing

    ray_cluster.check(address)
    preprocessing(order.prepare)
    model = order.model
    if order.out.suffix and not order.out.is_dir():
        raise no_folder()
    if is_backbone_name(Path(model)):
        raise UserError(
            f"{model} is the name of a pretrained network; --on needs a run or a file",
            f"run `eyesight export {model}`, then use {model}.onnx",
            code=2,
        )
    files = packing.pack_classifier(_files_of(Path(model)))
    target = target_of(files)
    if target != "class":
        raise UserError(
            f"--on predicts classes, but {model} predicts a {target}", "leave --on out", code=2
        )
    engine = ray_cluster.answerer(
        address,
        ray_cluster.Share.of(*share),
        files,
        order.pictures,
        order.top,
        order.prepare,
        console.talk,
    )
    _predict(order, packing.key(files), engine)


def no_folder() -> UserError:
    """The error for --on without a folder."""
    return UserError("--on writes numbered parts into a folder", "--out FOLDER", code=2)


def _files_of(model: Path) -> Path:
    """The ONNX file, or the classifier's folder."""
    from eyesight.inference.predict import classifier_folder

    if model.suffix.lower() == ".onnx":
        return model
    return classifier_folder(model)


def target_of(files: dict[str, bytes]) -> str:
    """The target of a classifier, read from its files."""
    if "classifier.json" in files:
        return str(parse_json(files["classifier.json"]).get("target", "class"))
    from eyesight.cluster import packing
    from eyesight.inference import dense

    return dense.target_of(packing.open_classifier(files))


def in_this_process(
    order: Order, classifier: AnyClassifier, weights: Path | None, only: str | None
) -> None:
    """Predict every image in this process.

    `weights` and `only` are the options that tell pretrained networks of one name apart.
    """
    from eyesight.cluster import packing
    from eyesight.data.source import digest
    from eyesight.inference import bulk
    from eyesight.inference.predict import is_backbone_name

    model = Path(order.model)
    if is_backbone_name(model) or weights or only:
        key = digest([model, weights, only])
    else:
        key = packing.key(packing.pack_classifier(_files_of(model)))
    _predict(order, key, bulk.here(classifier, order.top, order.prepare))


def _predict(order: Order, key: str, engine: Engine) -> None:
    from eyesight.cli import console
    from eyesight.inference import bulk

    outcome = bulk.predict(
        order.pictures,
        order.out,
        engine,
        bulk.Request(key, order.top, order.prepare),
        talk=console.talk,
        progress=console.reporter.counter("predicted"),
    )
    if order.as_json:
        show_json({"model": order.model, "out": str(order.out), **outcome.to_dict()})
    for line in _lines(outcome, order.out):
        console.talk(line)
    if outcome.missing or outcome.bad:
        raise typer.Exit(1)


def _lines(outcome: Outcome, out: Path) -> list[str]:
    """Printed lines: number of rows, missing parts, number of bad files."""
    from eyesight.inference.bulk import name

    if outcome.missing:
        missing = f"{len(outcome.missing):,} of {outcome.parts:,} parts are missing"
        lines = [f"{missing}; run the same command again to compute only these"]
    else:
        parts = f"{name(0)} to {name(outcome.parts - 1)}"
        lines = [f"{outcome.pictures:,} rows in {out}, {parts}"]
    if outcome.bad:
        bad = f"{outcome.bad:,} of {outcome.pictures:,} files could not be read"
        lines.append(f"{bad}; the last column of their rows says why")
    return lines
