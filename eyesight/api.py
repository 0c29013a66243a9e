"""The public functions of `import eyesight`, one for each command.

They accept names, paths and objects, and return objects instead of printing. Messages go to
standard error, or in a notebook to one output that is updated.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from eyesight.errors import UserError
from eyesight.recipe import Model, Recipe, override, to_dict
from eyesight.results.any_task import Results
from eyesight.runs import Run
from eyesight.runs import resolve as resolve_name
from eyesight.system.digest import sha256

if TYPE_CHECKING:
    from eyesight.comparison.compare import Comparison, Member
    from eyesight.data.masks.scan import MaskScan
    from eyesight.data.own import DataSource
    from eyesight.data.scan import Scan
    from eyesight.diagnosis.evidence import Finding
    from eyesight.exporting.export import Exported
    from eyesight.models.own import NetworkSource

Settings: TypeAlias = Mapping[str, object]
RecipeLike: TypeAlias = "str | Path | Recipe | Run"
RunLike: TypeAlias = "str | Path | Run"


def train(
    recipe: RecipeLike,
    *,
    data: DataSource | None = None,
    model: NetworkSource | None = None,
    options: Settings | None = None,
    set: Settings | None = None,
    budget: str | float | None = None,
    seed: int | None = None,
    out: str | Path = "runs",
    resume: bool = False,
    verbose: bool = True,
) -> Run:
    """Train a recipe and return its run.

    Parameters
    ----------
    recipe
        A recipe's name, a `Recipe`, or a run to repeat.
    data
        A folder, CSV file, `.npz` file, archive or named set; or arrays
        `(x_train, y_train, x_test, y_test)`, a torch `Dataset`, `(train, test)` of these, or a
        Hugging Face data set. Data from memory is written into `OUT/data` once.
    model
        Your own network: a class or function called as `model(channels, classes, **options)`
        that returns a `torch.nn.Module` from N,C,H,W to N,K; or its name, `my_net.py:MyNet`. It
        must be importable, since a run keeps its name and not its code.
    options
        Keyword arguments for `model`.
    set
        Recipe fields by their dotted path, such as `{"optim.lr": 0.02}`.
    budget
        Time limit of the whole run, in seconds or as a string such as `"2m"`.
    seed
        Random seed of weights, order and augmentation.
    out
        The folder in which the run folder is created.
    resume
        Continue the newest unfinished run of this recipe on this data.
    verbose
        Report progress.

    Raises
    ------
    UserError
        For unknown names, fields and values, unusable data, a network that cannot be imported
        again, and other errors that the user can fix.
    """
    from eyesight.views.live import reporter

    own = reporter(verbose=verbose)  # before the libraries whose remarks it silences
    from eyesight import experiment
    from eyesight.distributed import group
    from eyesight.system.progress import Reporter
    from eyesight.training.clock import Clock
    from eyesight.training.context import Context

    place = Path(out)
    resolved = resolve(
        recipe, data=data, model=model, options=options, set=set, budget=budget, seed=seed, out=out
    )
    with group.join() as processes:
        if not processes.first:
            own = Reporter()
        return experiment.run(resolved, place, Context(own, Clock(), processes, resume))


def resolve(
    recipe: RecipeLike,
    *settings: str,
    data: DataSource | None = None,
    model: NetworkSource | None = None,
    options: Settings | None = None,
    set: Settings | None = None,
    budget: str | float | None = None,
    seed: int | None = None,
    out: str | Path = "runs",
) -> Recipe:
    """Return the recipe that `train` would train with these arguments.

    `settings` are further fields as text, such as `"optim.lr=0.02"`. Raises UserError for unknown
    names, fields and values.
    """
    if isinstance(recipe, Run):
        recipe = recipe.recipe
    elif not isinstance(recipe, Recipe):
        recipe = resolve_name(str(recipe))
    if data is not None:
        from eyesight.data.own import source_of

        source = source_of(data, Path(out) / "data")
        recipe = replace(recipe, data=replace(recipe.data, source=source))
    if model is not None:
        from eyesight.models.own import name_of

        recipe = replace(recipe, model=Model(name_of(model), options=_texts(options or {})))
    elif options:
        raise UserError("options= is only for your own networks", "pass the network with model=")
    fields: dict[str, object] = {"training.budget": budget, "training.seed": seed}
    given = {path: value for path, value in fields.items() if value is not None}
    return override(recipe, [*settings, *_texts({**(set or {}), **given})])


def _texts(settings: Settings) -> tuple[str, ...]:
    """Settings as on the command line."""
    return tuple(f"{path}={_text(value)}" for path, value in settings.items())


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(_text(item) for item in value)
    return str(value)


def evaluate(run: RunLike, data: DataSource | None = None) -> Results:
    """Evaluate a run's classifier on its test images, or on labelled images at `data`.

    Returns `Predictions` for a run that predicts classes. Raises UserError if the run has no
    classifier, or if the data has a class that the classifier does not have.
    """
    opened = _run(run)
    if data is None:
        results: Results = opened.results("test")
        return results
    from eyesight import experiment
    from eyesight.data.own import source_of

    judged: Results = experiment.evaluate(opened, source_of(data, opened.path.parent / "data"))
    return judged


def compare(
    *recipes: RecipeLike,
    data: DataSource | None = None,
    set: Settings | None = None,
    seeds: int = 1,
    budget: str | float | None = None,
    out: str | Path = "runs",
    verbose: bool = True,
) -> Comparison:
    """Train recipes as needed and compare them with intervals and significance tests.

    Runs are used unchanged. Recipes are trained with `seeds` seeds each, in separate processes;
    finished runs in `out` are reused. A list as a value in `set` adds one row per value.

    Raises UserError for unknown names, fields and values, and without recipes.
    """
    from eyesight.comparison import compare as comparison
    from eyesight.views.live import reporter

    source = None
    if data is not None:
        from eyesight.data.own import source_of

        source = source_of(data, Path(out) / "data")
    settings = _texts(set or {})
    limit = None if budget is None else str(budget)
    names = []
    members: list[Member] = []
    for recipe in recipes:
        if isinstance(recipe, Recipe):
            folder = _recipe_folder(recipe, Path(out))
            members += comparison.members_of(recipe, str(folder), source, settings, seeds, limit)
            continue
        names.append(str(recipe.path if isinstance(recipe, Run) else recipe))
    if names:
        members += comparison.members(
            names, data=source, settings=settings, seeds=seeds, budget=limit
        )
    own = reporter(verbose=verbose)
    return comparison.compare(
        members,
        Path(out),
        train=comparison.one_after_another,
        talk=own.message,
        progress=own.counter("preparing images"),
    )


def _recipe_folder(recipe: Recipe, out: Path) -> Path:
    """Write the recipe into a folder that `eyesight train` accepts like a run folder."""
    import json

    from eyesight.system.files import whole_file

    content = json.dumps(to_dict(recipe), indent=2, ensure_ascii=False).encode()
    folder = out / "recipes" / sha256(content)[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / "recipe.json") as file:
        file.write(content)
    return folder


def export(
    model: RunLike,
    file: str | Path | None = None,
    *,
    data: DataSource | None = None,
    int8: bool = False,
    tolerance: float | None = None,
    weights: str | Path | None = None,
    only: str | None = None,
    to: str = "onnx",
    unproven: bool = False,
    verbose: bool = False,
) -> Exported:
    """Export a run's classifier or a pretrained backbone to an ONNX file or a web page.

    The file is kept only if its predictions on real images match the classifier's.

    Parameters
    ----------
    model
        A run, or a backbone's name.
    file
        Where to write it; by default into `RUN/export/`.
    data
        Labelled images for verification instead of the run's test images.
    int8
        Also write FILE.int8.onnx, with 8-bit weights and activations.
    tolerance
        The largest accepted loss of accuracy with int8, as a fraction. By default 0.005, or one
        image if fewer than 200 are checked.
    weights, only
        As in `load`, for a backbone.
    to
        `"onnx"`, or `"web"` for one HTML file, or for a folder if `file` does not end in .html. The
        page is verified on held-out images in Chromium, Chrome or Edge.
    unproven
        Keep a web page without verifying it in a browser.

    Raises
    ------
    UserError
        If the run has no classifier, the file predicts differently, int8 loses too much
        accuracy, or no browser is available to verify a web page.
    """
    from eyesight.data.own import source_of
    from eyesight.exporting import export as exporting
    from eyesight.exporting import web
    from eyesight.inference.predict import is_backbone_name
    from eyesight.views.live import reporter

    own = reporter(verbose=verbose)
    target = None if file is None else Path(file)
    name = str(model.path if isinstance(model, Run) else model)
    is_network = weights is not None or only is not None or is_backbone_name(Path(name))
    _check_format(to, is_network=is_network, int8=int8, unproven=unproven)
    if is_network:
        if int8 or data is not None:
            raise UserError(
                "int8 and data apply only to runs, which have images and labels",
                "leave them out",
            )
        return exporting.export_network(
            name,
            target or Path(f"{Path(name).name}.onnx"),
            only=only,
            weights=None if weights is None else Path(weights),
            talk=own.message,
        )
    run = _run(model)
    source = None if data is None else source_of(data, run.path.parent / "data")
    if to == "web":
        return web.export_web(run, target, data=source, unproven=unproven, talk=own.message)
    exported = exporting.export_all(
        run, target, data=source, int8=int8, tolerance=tolerance, talk=own.message
    )
    return replace(exported[0], int8=exported[1] if int8 else None)


def _check_format(to: str, *, is_network: bool, int8: bool, unproven: bool) -> None:
    if to not in ("onnx", "web"):
        raise UserError(f"unknown format {to!r}", 'expected "onnx" or "web"')
    if to == "web" and (is_network or int8):
        raise UserError(
            "a web page can only be exported from a run, without int8",
            'pass a run and leave out int8, or leave out to="web"',
        )
    if to == "onnx" and unproven:
        raise UserError("unproven applies only to web pages", 'add to="web", or leave it out')


@dataclass(frozen=True)
class Diagnosis:
    """The doctor's findings, most severe first, and the checks it made."""

    findings: list[Finding]
    checks: list[str]
    not_checked: dict[str, str]  # checks that lacked something to look at, with what that was
    text: str

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text)}</pre>"


def doctor(
    subject: RecipeLike,
    *,
    data: DataSource | None = None,
    set: Settings | None = None,
    verbose: bool = False,
) -> Diagnosis:
    """Diagnose a run, or a recipe before it is trained.

    Raises UserError for unknown names, fields and values.
    """
    from eyesight.diagnosis import diagnose
    from eyesight.report import report
    from eyesight.views.live import reporter

    own = reporter(verbose=verbose)
    run = subject if isinstance(subject, Run) else None
    if isinstance(subject, str | Path) and (Path(subject) / "recipe.json").is_file():
        run = _run(subject)
    recipe = resolve(subject, data=data, set=set)
    if run is not None:
        patient = diagnose.admit_run(run, diagnose.open_data(run.settle(recipe), own.message))
    else:
        patient = diagnose.admit_recipe(recipe, diagnose.open_data(recipe, own.message))
    findings = diagnose.examine(patient)
    if run is not None:
        diagnose.keep(run, patient, findings)
        report.update_report(run, own.message)
    return Diagnosis(
        findings,
        diagnose.checked(patient),
        diagnose.not_checked(patient),
        diagnose.describe(patient, findings),
    )


def scan(data: DataSource, *, out: str | Path = "runs") -> Scan | MaskScan:
    """Check a data set: classes, counts, sizes, and every problem by file name.

    Data from memory is written into `OUT/data` first. Raises UserError if it is not a data set or
    has fewer than two classes.
    """
    from eyesight.data import opening
    from eyesight.data import scan as scanning
    from eyesight.data.masks import pairs
    from eyesight.data.masks import scan as mask_scanning
    from eyesight.data.own import source_of

    source = source_of(data, Path(out) / "data")
    if pairs.is_masked(source):
        return mask_scanning.scan_masks(source)
    return scanning.scan(opening.open_source(source))


def write_report(run: RunLike, file: str | Path | None = None) -> Path:
    """Write the report of a run, a self-contained HTML page, by default to `RUN/report.html`.

    Returns its path. Raises UserError if there is no such run.
    """
    from eyesight.report import report

    return report.write_report(_run(run), None if file is None else Path(file))


def _run(run: RunLike) -> Run:
    if isinstance(run, Run):
        return run
    return Run.open(run)
