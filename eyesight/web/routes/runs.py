"""The pages about runs: a table with the curves of the ticked ones, and a page for each run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, HTMLResponse
from starlette.responses import Response

from eyesight.auditing import record
from eyesight.data.prepare import Pixels, encode_png
from eyesight.errors import UserError
from eyesight.exporting.onnx_file import file_of
from eyesight.recipe import Recipe, differences, to_json
from eyesight.runs import Run
from eyesight.system.tables import csv_text
from eyesight.views import corrections_effect, run_view
from eyesight.views.run_view import Finding
from eyesight.web import i18n
from eyesight.web.doctor_texts import translate
from eyesight.web.limits import Refused
from eyesight.web.routes import confusion, figures
from eyesight.web.routes.api import find_run, gone, service_of
from eyesight.web.routes.figures import TOGETHER, pen
from eyesight.web.routes.serving import can_answer
from eyesight.web.run_table import Column, Selection, row, score_text, select, stamp
from eyesight.web.templating import templates

router = APIRouter(include_in_schema=False)
router.include_router(figures.router)
router.include_router(confusion.router)
MISTAKES = 24  # shown on a run's page
STATUSES = ("preparing", "running", "done", "failed", "interrupted", "damaged")
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
)


@router.get("/runs", response_class=HTMLResponse)
def table(
    request: Request,
    run: Annotated[list[str], Query(max_length=100)] = [],  # noqa: B006 - FastAPI copies it
    search: Annotated[str, Query(max_length=200)] = "",
    status: Annotated[str, Query(max_length=20)] = "",
    sort: Column = "time",
    up: bool = False,
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
) -> Response:
    """The runs that match, the newest first, and the curves of the first dozen that are ticked."""
    service = service_of(request)
    folder = service.runs
    selected = select(folder, Selection(search, status, sort, not up, page))
    names = {one.name for one in selected.rows}
    context = {
        "table": selected,
        "score_text": score_text,
        "folder": folder,
        "answering": service.run,
        "chosen": [name for name in run if name in names][:TOGETHER],
        "most": TOGETHER,
        "search": search,
        "status": status,
        "statuses": STATUSES,
        "sort": sort,
        "up": up,
    }
    return templates.TemplateResponse(request, "runs.html", context)


@router.get("/runs/{name}", response_class=HTMLResponse)
def page(request: Request, name: str) -> Response:
    """One run."""
    run = find_run(service_of(request), name)
    try:
        answers: dict[str, object] = {
            "answering": run.name == service_of(request).run,
            "score_text": score_text,
            "sentences": partial(translate, language=i18n.language_of(request)),
            "can_answer": bool(request.app.state.switches) and can_answer(run),
        }
        return templates.TemplateResponse(request, "run.html", {**facts(run), **answers})
    except (UserError, OSError) as error:
        raise gone(name, str(error)) from None


def facts(run: Run) -> dict[str, object]:
    """What the page shows, computed from the run folder."""
    predictions = run_view.labelled(run)
    judgement = run_view.judgement(predictions)
    has_predictions = run_view.has_predictions(run)
    return {
        "matrix": confusion.table(predictions) if predictions else [],
        "classes": judgement.class_names,
        "rows": judgement.rows,
        "pairs": judgement.pairs,
        "run": row(run),
        "epochs": len(run.epochs),
        "place": f"{run.path.absolute().parent.name}/{run.name}",
        "changes": differences(run.recipe, Recipe()),
        "recipe": to_json(run.recipe),
        "findings": findings(run),
        "mistakes": run_view.mistakes(run, MISTAKES),
        "slices": run_view.worst_slices(run, predictions),
        "audit": record.of_run(run.path),
        "effect": corrections_effect.effect(run),
        "source": run.recipe.data.source,
        "exported": file_of(run).is_file(),
        "kept": has_predictions,
        "named": run.target == "class",
        "panels": figures.PANELS.get(run.target, ()) if has_predictions else (),
    }


def findings(run: Run) -> list[Finding]:
    """The doctor's findings after the training, or those of its quick checks now."""
    from eyesight.diagnosis import diagnose

    stored = run_view.findings(run)
    if stored:
        return stored
    try:
        new = diagnose.examine(diagnose.admit_run(run, None, ask_network=False))
    except Exception:  # a damaged or half written run has a page without findings
        return []
    return [
        Finding(one.title, one.evidence, one.remedy, one.severity, one.id, one.why) for one in new
    ]


@router.get("/runs/{name}/mistakes/{place}.png")
def mistake(request: Request, name: str, place: int) -> Response:
    """The picture of one mistake as the network saw it."""
    return kept_picture(request, name, "mistakes", place)


@router.get("/runs/{name}/samples/{place}.png")
def sample(request: Request, name: str, place: int) -> Response:
    """One of the training pictures that the run keeps, as the network saw it."""
    return kept_picture(request, name, "samples", place)


def kept_picture(request: Request, name: str, part: str, place: int) -> Response:
    """A picture of a part of a run's gallery; raises Refused where there is none."""
    run = find_run(service_of(request), name)
    pixels = kept_pixels(run.path, part, stamp(run.path / "gallery.npz"))
    if not 0 <= place < len(pixels):
        raise Refused(
            404, "there is no such image", f"the page /runs/{name} shows the available ones"
        )
    return png(encode_png(pixels[place]))


@lru_cache(maxsize=4)  # a page of mistakes asks for two dozen pictures
def kept_pixels(path: Path, part: str, stamp: tuple[int, int]) -> Sequence[Pixels]:
    """The kept pictures of a run's "mistakes" or "samples", uint8 C,H,W each."""
    return list(Run(path).gallery().get(f"{part}_pixels", ()))


def png(data: bytes) -> Response:
    """A PNG image as an answer."""
    return Response(data, media_type="image/png")


@router.get("/runs/{name}/report")
def report(request: Request, name: str) -> Response:
    """The report as it would be written now; its policy allows its own styles and nothing else."""
    from eyesight.report import report

    with pen.turn():
        text = report.page(find_run(service_of(request), name))
    return HTMLResponse(
        text.encode(errors="replace"), headers={"Content-Security-Policy": REPORT_POLICY}
    )


@router.get("/runs/{name}/model.onnx")
def exported(request: Request, name: str) -> Response:
    """The exported classifier, where there is one."""
    file = file_of(find_run(service_of(request), name))
    if not file.is_file():
        raise Refused(404, "this run has not been exported yet", "eyesight export RUN")
    return FileResponse(file, media_type="application/octet-stream", filename=f"{name}.onnx")


@router.get("/runs/{name}/predictions.csv")
def predictions_csv(request: Request, name: str) -> Response:
    """The predictions for the test images: id, true class, predicted class, probability."""
    predictions = find_run(service_of(request), name).predictions()
    classes = predictions.classes
    rows = [("id", "true", "predicted", "probability")]
    for index, image_id in enumerate(predictions.ids):
        label = predictions.labels[index]
        true = classes[label] if label >= 0 else ""
        predicted = classes[predictions.predicted[index]]
        rows.append((image_id, true, predicted, f"{predictions.confidence[index]:.6f}"))
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, '')}.csv"}
    return Response(csv_text(rows), media_type="text/csv; charset=utf-8", headers=headers)
