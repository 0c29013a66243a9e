"""The commands as Python functions: what `import eyesight` offers.

Each takes names, paths and objects alike, and returns an object instead of printing. Messages go to
standard error, or in a notebook into one output that is updated.
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
        A network of your own: a class or function called as `model(channels, classes, **options)`
        that returns a `torch.nn.Module` from N,C,H,W to N,K; or its name, `my_net.py:MyNet`. It
        must be importable, since a run keeps its name and not its code.
    options
        Keyword arguments for `model`.
    set
        Recipe fields by their dotted path, such as `{"optim.lr": 0.02}`.
    budget
        The time for everything, in seconds or as text: `"2m"`.
    seed
        Decides weights, order and augmentation.
    out
        The folder in which the run's folder is made.
    resume
        Continue the newest unfinished run of this recipe on this data.
    verbose
        Report progress.

    Raises
    ------
    UserError
        For unknown names, fields and values, data that cannot be used, a network that cannot be
        used again, and whatever ends the training that a person can mend.
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
    """The recipe that `train` would train with these arguments.

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
        raise UserError("options are for a network of your own", "name it with model=")
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
    """Results of a run's classifier on its own test images, or on labelled images at `data`.

    `Predictions` for a run that gives classes. Raises UserError when the run has no classifier, or
    when the data holds a class that it does not know.
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
    """Train what is missing and set all side by side, with intervals and significance.

    Runs are taken as they are. Recipes are trained with `seeds` seeds each, in processes of their
    own; finished runs in `out` are used again. A list as a value in `set` makes a row of each.

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
    """A folder with the recipe, which `eyesight train` takes as it takes a run's."""
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
    tolerance: float = 0.005,
    weights: str | Path | None = None,
    only: str | None = None,
    to: str = "onnx",
    unproven: bool = False,
    verbose: bool = False,
) -> Exported:
    """Write a run's classifier, or a pretrained backbone, as an ONNX file or a web page.

    The file is kept only if it predicts what the classifier predicts, on real images.

    Parameters
    ----------
    model
        A run, or a backbone's name.
    file
        Where to write it; `RUN/export/` otherwise.
    data
        Labelled images to check with, instead of the run's own test images.
    int8
        Also write FILE.int8.onnx, with 8-bit weights and activations.
    tolerance
        The accuracy that int8 may lose, as a fraction.
    weights, only
        As in `load`, for a backbone.
    to
        `"onnx"`, or `"web"`: one HTML file, or a folder when `file` has no such ending. A run's
        page is opened in Chromium, Chrome or Edge, and asked about held-out images.
    unproven
        Keep a web page without asking a browser.

    Raises
    ------
    UserError
        When the run has no classifier, when the file would predict otherwise, when int8 loses
        more than `tolerance`, and when there is no browser to ask about a web page.
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
                "int8 and data are for runs, which have images and labels of their own",
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
        raise UserError(f"unknown format {to!r}", 'known: "onnx", "web"')
    if to == "web" and (is_network or int8):
        raise UserError(
            "a web page is made from a run, in full precision",
            'name a run and leave out int8, or leave out to="web"',
        )
    if to == "onnx" and unproven:
        raise UserError("unproven is for web pages", 'add to="web", or leave it out')


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found, the worst first, and which checks it made."""

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
    """Say what is wrong with a training, and why: of a run, or of a recipe before it is run.

    Raises UserError for unknown names, fields and values.
    """
    from eyesight.diagnosis import diagnose
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
    return Diagnosis(
        findings,
        diagnose.checked(patient),
        diagnose.not_checked(patient),
        diagnose.describe(patient, findings),
    )


def scan(data: DataSource, *, out: str | Path = "runs") -> Scan | MaskScan:
    """Check the health of a data set: classes, counts, sizes, and every problem by file name.

    Data from memory is written into `OUT/data` first. Raises UserError for what is no data set, and
    for one without two classes.
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
    """Write the report of a run, one HTML page that needs no network; `RUN/report.html` otherwise.

    Returns its path. Raises UserError when there is no such run.
    """
    from eyesight.report import report

    return report.write_report(_run(run), None if file is None else Path(file))


def _run(run: RunLike) -> Run:
    if isinstance(run, Run):
        return run
    return Run.open(run)
