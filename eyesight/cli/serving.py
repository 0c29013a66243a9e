"""Commands that publish a classifier: models, export, serve, studio."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eyesight.cli.options import (
    AsJson,
    DataPath,
    Host,
    Only,
    OpenPage,
    Port,
    Token,
    WeightsPath,
    app,
    say,
    show_json,
)
from eyesight.errors import UserError


@app.command("models")
def models_(
    pattern: Annotated[
        str,
        typer.Argument(metavar="PATTERN", help="part of a name, or a pattern such as convnext*"),
    ] = "",
    measure: Annotated[
        bool, typer.Option("--measure", help="time a forward pass on every available device")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png|FOLDER",
            help=(
                "plot accuracy against time or multiply-adds; with a folder, also write the table"
            ),
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List pretrained networks: size, accuracy, available weights."""
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
    to: Annotated[
        str, typer.Option("--to", metavar="onnx|web", help="the format of the file")
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.onnx|FILE.html|DIR", help="where to write it; default: RUN/export/"
        ),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="also write FILE.int8.onnx, with 8-bit weights and activations"
        ),
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="largest loss of accuracy that --int8 accepts; default: 0.5, or one image if "
            "that is more",
        ),
    ] = None,
    title: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="title of a web page; default: the recipe's name"),
    ] = None,
    unproven: Annotated[
        bool, typer.Option("--unproven", help=("keep a web page without verifying it in a browser"))
    ] = False,
    data: DataPath = None,
    weights: WeightsPath = None,
    only: Only = None,
    as_json: AsJson = False,
) -> None:
    """Export a classifier to ONNX or a web page, and verify it."""
    from eyesight.inference.predict import is_backbone_name

    is_network = weights is not None or only is not None or is_backbone_name(run)
    _check_format(to, is_network=is_network, int8=int8, title=title, unproven=unproven)
    from eyesight.data import opening

    opening.check_data(data)
    from eyesight.cli import console
    from eyesight.runs import Run

    if not is_network:
        Run.open(run)
    console.talk("starting PyTorch")
    from eyesight.exporting import export as exporting

    if to == "web":
        _export_page(run, out, data, title=title, unproven=unproven, as_json=as_json)
        return
    if not is_network:
        allowed = None if tolerance is None else tolerance / 100
        exported = exporting.export_all(
            Run.open(run), out, data=data, int8=int8, tolerance=allowed, talk=console.talk
        )
    elif int8 or data is not None:
        raise UserError(
            "--int8 and --data apply only to runs, which have images and labels",
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


def _check_format(
    to: str, *, is_network: bool, int8: bool, title: str | None, unproven: bool
) -> None:
    if to not in ("onnx", "web"):
        raise UserError(f"unknown format {to!r}", "expected onnx or web", code=2)
    if to == "web" and is_network:
        raise UserError(
            "a web page can only be exported from a run, whose images verify it",
            "name a run folder, or leave out --to web",
            code=2,
        )
    if to == "web" and int8:
        raise UserError(
            "--int8 applies only to ONNX files", "leave it out, or leave out --to web", code=2
        )
    for option, given in (("--unproven", unproven), ("--title", title is not None)):
        if to == "onnx" and given:
            raise UserError(
                f"{option} applies only to web pages", "add --to web, or leave it out", code=2
            )


def _export_page(
    run: Path,
    out: Path | None,
    data: str | None,
    *,
    title: str | None,
    unproven: bool,
    as_json: bool,
) -> None:
    from eyesight.cli import console
    from eyesight.exporting import web
    from eyesight.runs import Run

    page = web.export_web(
        Run.open(run), out, data=data, title=title, unproven=unproven, talk=console.talk
    )
    if as_json:
        show_json({"run": str(run), **page.to_dict()})
    else:
        say(web.describe(page))


@app.command()
def serve(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|RUNS|FILE.onnx|MODEL",
            help="what to serve; of a folder of runs, the newest one",
        ),
    ] = Path("runs"),
    only: Only = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token: Token = None,
    collect: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help=(
                "store the digits that visitors correct on /reader; by default nothing is stored"
            ),
        ),
    ] = None,
    open_page: OpenPage = False,
) -> None:
    """Serve predictions over HTTP, and show the runs."""
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
        typer.Option("--share", help="allow phones on the local network, by a QR code"),
    ] = False,
    port: Port = 8000,
    token: Token = None,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="open the page in the browser")
    ] = True,
) -> None:
    """Collect images, train and try a classifier in the browser."""
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
