"""`eyesight predict --like SAMPLE.csv`: write a competition's submission and a figure of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

import typer

from eyesight.cli.options import AsJson, app, say, show_json
from eyesight.errors import UserError, unknown
from eyesight.recipe import BLEND

if TYPE_CHECKING:
    from eyesight.inference.predict import AnyClassifier, FilePrediction
    from eyesight.inference.submission import Sample

Views = Literal["one", "flip", "shifts", "flip_shifts"]
ON_SHEET = 20  # images beside their predictions


@dataclass(frozen=True)
class Request:
    """The arguments of a submission."""

    model: str
    pictures: Sequence[str]
    sample: Path
    out: Path | None
    views: str
    preprocess: str


def refuse_runs(pictures: Sequence[str]) -> None:
    """Raise UserError if a run is given as images."""
    for place in pictures:
        if (Path(place) / "recipe.json").is_file():
            raise UserError(
                f"{place} is a run, not an image: predict takes one run, then images",
                "average several runs with `eyesight blend RUN RUN...` and predict with the blend",
                code=2,
            )


def with_views(classifier: AnyClassifier, views: str) -> AnyClassifier:
    """The classifier averaging over these views; as it was trained where `views` is empty."""
    from eyesight.inference.onnx_classifier import OnnxClassifier

    if not views:
        return classifier
    if views not in get_args(Views):
        raise unknown("value of --views", views, get_args(Views))
    if isinstance(classifier, OnnxClassifier):
        raise UserError(
            "an exported file always averages over the views it was exported with",
            "leave --views out, or name the run instead",
            code=2,
        )
    if classifier.model.name == BLEND:
        raise UserError(
            "a blend always averages over the views of its members",
            "leave --views out",
            code=2,
        )
    return replace(classifier, views=cast(Views, views))


def refuse_with_sample(**options: object) -> None:
    """Raise UserError for options that a submission does not support."""
    for name, value in options.items():
        if value:
            raise UserError(
                f"--{name} cannot be combined with --like, which sets the columns",
                f"leave --like out to use --{name}",
                code=2,
            )


def submit(request: Request, classifier: AnyClassifier, *, as_json: bool) -> None:
    """Write the submission and its sheet, and keep a copy in the run that it came from."""
    from eyesight.cli import console
    from eyesight.data.opening import list_pictures
    from eyesight.inference import submission
    from eyesight.inference.predict import predict_files
    from eyesight.runs import Run, is_run

    if request.out is None or request.out.suffix.lower() != ".csv":
        raise UserError("--like needs --out", "--out submission.csv", code=2)
    class_names = classifier.classes
    sample = submission.read_sample(request.sample, class_names)
    paths = [path for place in request.pictures for path in list_pictures(place)]
    chosen = [paths[index] for index in submission.in_order(sample, paths)]
    predictions = list(predict_files(classifier, chosen, len(class_names), request.preprocess))
    probabilities = submission.probabilities_of(predictions, class_names)
    submission.write(request.out, sample, probabilities, class_names)
    drawn = _draw_sheet(request.out.with_suffix(".png"), sample, predictions)
    facts: dict[str, object] = {
        "model": request.model,
        "sample": str(request.sample),
        "rows": len(sample.ids),
        "holds": sample.holds,
        "views": request.views or _views_of(classifier),
    }
    kept = None
    if is_run(request.model):
        kept = submission.keep(Run.open(request.model), request.out, facts)
    bad = [prediction for prediction in predictions if prediction.problem]
    if as_json:
        written = {"out": str(request.out), "sheet": str(drawn), "kept": kept and str(kept)}
        show_json({**facts, **written, "bad": [prediction.path for prediction in bad]})
    else:
        say(f"{request.out}: {len(sample.ids):,} rows of {sample.holds}")
        say(f"{drawn}: the first rows with their images")
        if kept is not None:
            say(f"{kept}: a copy, with the settings used")
    _name_misfits(request, sample, len(paths))
    for prediction in bad:
        console.talk(f"no target for {prediction.path}: {prediction.problem}")
    if bad:
        raise typer.Exit(1)


def _views_of(classifier: AnyClassifier) -> str:
    """The views that the classifier averages over, in words for a blend."""
    from eyesight.inference.onnx_classifier import OnnxClassifier

    if not isinstance(classifier, OnnxClassifier) and classifier.model.name == BLEND:
        return "those of its members"
    return getattr(classifier, "views", "one")


def _name_misfits(request: Request, sample: Sample, images: int) -> None:
    """Print what in the sample does not fit the classes or the images."""
    from eyesight.cli import console

    if sample.unknown_target:
        console.talk(
            f"{request.sample} has the target {sample.unknown_target}, which is not a class"
        )
    left_out = images - len(sample.ids)
    if left_out:
        console.talk(
            f"{left_out:,} of {images:,} images are not in {request.sample} and therefore not in "
            "the submission"
        )


def _draw_sheet(file: Path, sample: Sample, predictions: Sequence[FilePrediction]) -> Path:
    """The first rows of the submission beside their images."""
    from eyesight.inference.annotate import sheet
    from eyesight.system.files import whole_file

    pictures, captions = [], []
    for name, prediction in zip(sample.ids, predictions, strict=True):
        if prediction.problem:
            continue
        class_name, probability = prediction.top[0]
        pictures.append(Path(prediction.path).read_bytes())
        captions.append(f"{name}: {class_name} {probability:.0%}")
        if len(pictures) == ON_SHEET:
            break
    with whole_file(file) as opened:
        opened.write(sheet(pictures, captions))
    return file


@app.command()
def folds(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="runs trained with data.fold=1/K, 2/K …")
    ],
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="SAMPLE.csv",
            help=("a competition's sample submission, to estimate the gap to the leaderboard"),
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score the runs of a cross-validation together."""
    from eyesight.data.formats.table_text import read_cells
    from eyesight.results.folds import gap, out_of_fold
    from eyesight.runs import Run

    opened = [Run.open(run) for run in runs]
    joined = out_of_fold([run.predictions("validation") for run in opened]).labelled()
    summary = joined.summary()
    scores = {str(run.path): run.predictions("validation").summary()["top1"] for run in opened}
    facts: dict[str, object] = {"runs": scores, **summary}
    expected = None
    if like is not None:
        rows = len(read_cells(like)) - 1
        expected = gap(summary["top1"] or 0.0, summary["n"], rows)
        facts["leaderboard"] = {"n": rows, "gap": expected}
    if as_json:
        show_json(facts)
        return
    for name, score in scores.items():
        say(f"{score:.2%}  {name}")
    low, high = summary["interval"] or (0.0, 1.0)
    interval = f"95 % {low:.2%} to {high:.2%}"
    say(f"{summary['top1']:.2%}  out of fold, {summary['n']:,} images, {interval}")
    if expected is not None:
        points = f"±{100 * expected:.1f} points"
        say(f"a leaderboard of {rows:,} images may differ by {points}")
