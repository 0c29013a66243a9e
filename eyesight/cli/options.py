"""The Typer application that the commands join, and the options they share."""

from __future__ import annotations

import codecs
import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

import eyesight
from eyesight.cli.streams import write

STARTED = time.monotonic()
app = typer.Typer(
    name="eyesight",
    help="Train image classifiers from a folder of images, on your own computer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def waited() -> float:
    """Seconds since the command began, as a person counts them."""
    return time.monotonic() - STARTED


def _show_version(wanted: bool) -> None:
    if wanted:
        say(eyesight.__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="print the version"),
    ] = False,
) -> None:
    """The options of `eyesight` itself."""


RecipeName = Annotated[
    str,
    typer.Argument(metavar="RECIPE|RUN", help="a recipe's name, or the folder of a run"),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run")]
DataPath = Annotated[
    str | None,
    typer.Option("--data", metavar="DATA", help="a folder, CSV, .npz, archive or named set"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="K=V", help="change a field, e.g. optim.lr=0.02; repeatable"),
]
DataOrRun = Annotated[
    str, typer.Argument(metavar="DATA|RUN", help="a data set, or the folder of a run")
]
Host = Annotated[
    str,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="address to listen on; by default only this machine can connect",
    ),
]
Port = Annotated[
    int, typer.Option("--port", metavar="N", min=0, max=65535, help="0 chooses a free port")
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="PASSWORD",
        envvar="EYESIGHT_TOKEN",
        help="a password that all clients must send",
    ),
]
OpenPage = Annotated[bool, typer.Option("--open", help="open the page in the browser")]
WeightsPath = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="a pretrained network's weights, .safetensors, .pth or Keras' .h5",
    ),
]
Only = Annotated[
    str | None,
    typer.Option(
        "--only", metavar="dogs", help="restrict an ImageNet network to its 118 dog breeds"
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="prepare the data again instead of using the cache")
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")]
Strict = Annotated[
    bool, typer.Option("--strict", help=("stop if there are bad files instead of leaving them out"))
]

On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="ray|ADDRESS",
        help="use a Ray cluster: started here, auto, HOST:PORT, ray://HOST:PORT",
    ),
]
Cores = Annotated[
    int, typer.Option("--cores", metavar="N", min=1, help="CPU cores for each task of --on")
]
Gpus = Annotated[
    float,
    typer.Option(
        "--gpus", metavar="N", min=0, help="GPUs for each task of --on; a fraction shares one"
    ),
]
Memory = Annotated[
    float,
    typer.Option("--memory", min=0, metavar="GB", help="memory to reserve for each task of --on"),
]


def show_json(values: object) -> None:
    """Print one JSON object on standard output.

    In ASCII unless the output is UTF-8: a replaced character would be no JSON.
    """
    ascii_only = codecs.lookup(sys.stdout.encoding or "utf-8").name != "utf-8"
    write(json.dumps(values, indent=2, ensure_ascii=ascii_only) + "\n")


def say(text: str = "") -> None:
    """Print a line on standard output."""
    write(text + "\n")
