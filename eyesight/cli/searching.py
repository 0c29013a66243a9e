"""The command that tries settings of one's own: search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eyesight.cli import options
from eyesight.cli.options import AsJson, DataPath, RecipeName, Settings, app
from eyesight.cli.training import print_search


@app.command()
def search(
    name: RecipeName,
    space: Annotated[
        list[str],
        typer.Option(metavar="K=A,B", help="values to try, e.g. optim.lr=0.01,0.02; repeatable"),
    ],
    data: DataPath = None,
    settings: Settings = None,
    budget: Annotated[
        str | None, typer.Option(metavar="10m", help="time limit for the search and the training")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="random seed of weights, order and augmentation")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder of runs")] = Path("runs"),
    resume: Annotated[
        bool, typer.Option("--resume", help="continue an interrupted search")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Try combinations of settings briefly, and train the best."""
    from eyesight.cli import console
    from eyesight.data import opening
    from eyesight.runs import resolve

    given = {"training.budget": budget, "training.seed": seed}
    own = [f"{path}={value}" for path, value in given.items() if value is not None]
    recipe = resolve(name, *(settings or ()), *own, data=data)
    opening.check_data(data)
    if recipe.training.budget is not None:
        console.talk(console.budget_line(recipe.training.budget, budget))
    from eyesight.searching import search as searching
    from eyesight.training.clock import Clock
    from eyesight.training.context import Context

    context = Context(console.reporter, Clock(options.STARTED), resume=resume, report=True)
    with console.reporter.bar():
        run = searching.search_space(recipe, space, out, context)
    print_search(run, as_json=as_json)
