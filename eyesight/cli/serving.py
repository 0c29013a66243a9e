"""Commands for using what was trained: models, export, serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eyesight.cli.options import AsJson, DataPath, Only, WeightsPath, app, say, show_json
from eyesight.errors import UserError


@app.command("models")
def models_(
    pattern: Annotated[
        str,
        typer.Argument(metavar="[PATTERN]", help="part of a name, or a pattern such as convnext*"),
    ] = "",
    measure: Annotated[
        bool, typer.Option("--measure", help="time a forward pass on every device that is here")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png|FOLDER",
            help="draw accuracy against time, or multiply-adds; a folder gets the table too",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List pretrained networks: size, multiply-adds, accuracy, and which weights are at hand."""
    from eyesight.cli import console
    from eyesight.comparison import zoo_table

    if out is not None:
        zoo_table.check_out(out)
    rows = list(zoo_table.rows(pattern, measure=measure, talk=console.talk))
    figure = None
    if out is not None:
        written = zoo_table.write(rows, out)
        figure = str(written[0])
        for file in written:
            console.talk(f"written: {file}")
    if as_json:
        show_json({"models": [row.to_dict() for row in rows], "figure": figure})
    else:
        say(zoo_table.table(rows))


@app.command()
def export(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN|MODEL", help="the folder of a run, or a pretrained network"),
    ],
    to: Annotated[str, typer.Option("--to", metavar="onnx", help="the format")] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.onnx", help="where to write it; RUN/export/ otherwise"),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="also write FILE.int8.onnx, with 8-bit weights and activations"
        ),
    ] = False,
    tolerance: Annotated[
        float, typer.Option(metavar="POINTS", help="accuracy that int8 may lose")
    ] = 0.5,
    data: DataPath = None,
    weights: WeightsPath = None,
    only: Only = None,
    as_json: AsJson = False,
) -> None:
    """Write a classifier as an ONNX file, kept only if it answers as the classifier does."""
    if to != "onnx":
        raise UserError(f"unknown format {to!r}", "known: onnx", code=2)
    from eyesight.cli import console
    from eyesight.exporting import export as exporting
    from eyesight.inference.predict import is_backbone_name
    from eyesight.runs import Run

    if weights is None and only is None and not is_backbone_name(run):
        allowed = tolerance / 100
        exported = exporting.export_all(
            Run.open(run), out, data=data, int8=int8, tolerance=allowed, talk=console.talk
        )
    elif int8 or data is not None:
        raise UserError(
            "--int8 and --data are for runs, which have pictures and labels of their own",
            "leave them out",
            code=2,
        )
    else:
        variant = f"-{only}" if only else ""
        file = out or Path(f"{run.name}{variant}.onnx")
        first = exporting.export_network(
            str(run), file, only=only, weights=weights, talk=console.talk
        )
        exported = [first]
    if as_json:
        small = exported[1].to_dict() if int8 else None
        show_json({"run": str(run), **exported[0].to_dict(), "int8": small})
        return
    for item in exported:
        say(exporting.describe(item))


@app.command()
def serve(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="[RUN|RUNS|FILE.onnx|MODEL]", help="the newest run of a folder otherwise"
        ),
    ] = Path("runs"),
    only: Only = None,
    host: Annotated[
        str, typer.Option(help="who can reach the server; this machine only otherwise")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="EYESIGHT_TOKEN", help="a password that every visitor must know"),
    ] = None,
    collect: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="keep the digits that people correct on /reader; nothing is kept otherwise",
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
) -> None:
    """Answer over HTTP, and show the runs, until interrupted."""
    from eyesight.cli import console
    from eyesight.system.extras import require

    require("serve", "the web service")
    from eyesight.web import server

    served = server.find(path, console.talk, only)

    def ready(url: str) -> None:
        typer.echo(f"listening on {url}")  # flushed, for whoever waits for it

    projects = Path("studio") if served.file is None else None
    options = server.Options(host, port, token, collect, open_page, projects)
    server.serve(served, options, talk=console.talk, ready=ready)


@app.command()
def studio(
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="where projects are kept")
    ] = Path("studio"),
    share: Annotated[
        bool,
        typer.Option("--share", help="let phones on the local network in, by a QR code"),
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="EYESIGHT_TOKEN", help="a password that every visitor must know"),
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="open the page in the browser")
    ] = True,
) -> None:
    """Collect pictures in the browser, train on them, try the classifier and take it away."""
    import secrets

    from eyesight.cli import console
    from eyesight.system.extras import require

    require("serve", "the studio")
    from eyesight.web import server

    def ready(url: str) -> None:
        typer.echo(f"listening on {url}")

    host = "127.0.0.1"
    if share:
        host = "0.0.0.0"  # noqa: S104 - on request, and only with a token
        token = token or secrets.token_urlsafe(12)
    runs = Path("runs") if Path("runs").is_dir() else None
    options = server.Options(host, port, token, open_page=open_page, studio=folder)
    server.serve(server.Served(None, runs), options, talk=console.talk, ready=ready)
