"""Answers for folders of millions of pictures, in numbered parts: by this process or by a cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from eyesight.cli.options import show_json
from eyesight.errors import UserError

if TYPE_CHECKING:
    from eyesight.inference.bulk import Engine
    from eyesight.inference.predict import Known


def refuse(**options: Any) -> None:
    """Raise UserError for options that are for few pictures."""
    for name in (name for name, value in options.items() if value):
        raise UserError(
            f"--{name} is for few pictures: it does not go with parts in a folder",
            "--out FILE.csv, without --on",
            code=2,
        )


def on_cluster(
    model: Path,
    pictures: Sequence[str],
    out: Path | None,
    on: str,
    share: tuple[int, float, float],
    top: int,
    prepare: str,
    *,
    as_json: bool,
) -> None:
    """Answer every picture on the cluster `on`, each part with its `share` of cores, GPUs and GB; raises UserError for what cannot be."""
    from eyesight.cli import console
    from eyesight.cluster import packing, ray_cluster
    from eyesight.inference import recognise
    from eyesight.inference.predict import beforehand

    ray_cluster.check(on)
    beforehand(prepare)
    if out is None or (out.suffix and not out.is_dir()):
        raise UserError(
            "--on writes its answers in numbered parts, into a folder", "--out FOLDER", code=2
        )
    if recognise.is_name(model):
        raise UserError(
            f"{model} is a name, and a cluster is sent files",
            f"`eyesight export {model}`, then name {model}.onnx",
            code=2,
        )
    files = packing.pack_classifier(
        model if model.suffix.lower() == ".onnx" else recognise.classifier_folder(model)
    )
    if (target := target_of(files)) != "class":
        raise UserError(
            f"--on answers with classes, and {model} gives a {target}", "leave --on out", code=2
        )
    engine = ray_cluster.answerer(
        on, ray_cluster.Share.of(*share), files, pictures, top, prepare, console.talk
    )
    _predict(str(model), packing.key(files), pictures, out, engine, top, prepare, as_json=as_json)


def target_of(files: dict[str, bytes]) -> str:
    """What a classifier gives for a picture, by its files."""
    if "classifier.json" in files:
        return str(json.loads(files["classifier.json"]).get("target", "class"))
    from eyesight.cluster import packing
    from eyesight.inference import dense

    return dense.target_of(packing.open_classifier(files))


def one_by_one(
    model: Path,
    known: Known,
    pictures: Sequence[str],
    out: Path,
    top: int,
    prepare: str,
    named: Sequence[object],
    *,
    as_json: bool,
) -> None:
    """Answer every picture in this process; `named` are the options that make a pretrained network what it is."""
    from eyesight.cluster import packing
    from eyesight.data.source import digest
    from eyesight.inference import bulk, recognise

    if recognise.is_name(model) or any(named):
        key = digest([model, *named])
    else:
        key = packing.key(
            packing.pack_classifier(
                model if model.suffix.lower() == ".onnx" else recognise.classifier_folder(model)
            )
        )
    _predict(
        str(model),
        key,
        pictures,
        out,
        bulk.here(known, top, prepare),
        top,
        prepare,
        as_json=as_json,
    )


def _predict(
    model: str,
    key: str,
    pictures: Sequence[str],
    out: Path,
    engine: Engine,
    top: int,
    prepare: str,
    *,
    as_json: bool,
) -> None:
    from eyesight.cli import console
    from eyesight.inference import bulk

    progress = console.Preparing("answered")
    found = bulk.predict(
        pictures,
        out,
        engine,
        model=key,
        top=top,
        prepare=prepare,
        talk=console.talk,
        progress=progress,
    )
    if as_json:
        show_json({"model": model, "out": str(out), **found.to_dict()})
    if not found.missing:
        console.talk(
            f"{found.pictures:,} rows in {out}, {bulk.name(0)} to {bulk.name(found.parts - 1)}"
        )
    else:
        console.talk(
            f"{len(found.missing):,} of {found.parts:,} parts are missing; the same call does only these"
        )
    if found.bad:
        console.talk(
            f"{found.bad:,} of {found.pictures:,} files could not be read; the last column of their rows says why"
        )
    if found.missing or found.bad:
        raise typer.Exit(1)
