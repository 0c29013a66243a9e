"""The `review` command: check suspicious images in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyesight.cli.options import DataOrRun, Host, OpenPage, Port, Settings, Token, app
from eyesight.errors import UserError

if TYPE_CHECKING:
    from eyesight.recipe import Data
    from eyesight.system.progress import Reporter
    from eyesight.web.review import Review


@app.command()
def review(
    where: DataOrRun,
    settings: Settings = None,
    budget: Annotated[
        str,
        typer.Option(
            metavar="10m", help=("time limit of the audit, if the data has not been audited yet")
        ),
    ] = "10m",
    file: Annotated[
        Path | None,
        typer.Option(
            "--corrections",
            metavar="FILE.csv",
            help="where to write the decisions; default: NAME.corrections.csv beside the data",
        ),
    ] = None,
    who: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="name of the reviewer; default: the account name"),
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 8001,
    token: Token = None,
    open_page: OpenPage = False,
) -> None:
    """Keep, relabel or leave out suspicious images in the browser."""
    from eyesight.cli import console
    from eyesight.data import opening
    from eyesight.data.correction_file import account_name
    from eyesight.recipe import seconds
    from eyesight.system.extras import require

    opening.check_exists(where)
    require("serve", "the review page")
    from eyesight.web import server

    data = data_of(where, settings)
    opened = open_review(
        data, file, who or account_name(), budget=seconds(budget), reporter=console.reporter
    )
    if len(opened.file.corrections):
        console.talk(f"continuing with {len(opened.file.corrections):,} rows of {opened.file.path}")
    console.talk(f"decisions are saved to {opened.file.path}")

    def ready(url: str) -> None:
        typer.echo(f"listening on {url}")  # flushed, for whoever waits for it

    options = server.Options(host, port, token, None, open_page)
    server.serve_review(opened, options, ready=ready)


def data_of(where: str, settings: list[str] | None = None) -> Data:
    """The data to review: a data set with settings, or what a run was trained on."""
    from eyesight.recipe import Recipe, override
    from eyesight.runs import Run

    if not (Path(where) / "recipe.json").is_file():
        return override(Recipe(), [f"data.source={where}", *(settings or [])]).data
    if settings:
        raise UserError(
            "--set applies to data sets, not to runs",
            "leave out --set, or name the data set",
            code=2,
        )
    return Run.open(Path(where)).settled.data


def open_review(
    data: Data, file: Path | None, who: str, *, budget: float, reporter: Reporter
) -> Review:
    """Open a review of a data set; audit it first if there is no audit of these images.

    Raises UserError for data that cannot be audited, and for corrections of other data.
    """
    reporter.message("starting PyTorch")
    from eyesight.auditing import audit as auditing
    from eyesight.auditing import material, record
    from eyesight.web.review import Review

    opened = material.open_material(data, budget, reporter)
    kept = record.recall(opened.store.key)
    if kept is None:
        kept = auditing.audit(data, budget=budget, reporter=reporter).record()
        record.remember(kept)
    return Review.open(kept, opened.source, file or corrections_path(data), who)


def corrections_path(data: Data) -> Path:
    """The file that a training on this data would use."""
    from eyesight.data.corrections import BESIDE, NONE, beside

    if data.corrections in ("", NONE, BESIDE):
        return beside(data.source)
    return Path(data.corrections).expanduser()
