"""The studio's work: check, train, try, switch, take away."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response

from eyesight.errors import UserError
from eyesight.exporting.onnx_file import exported, file_of
from eyesight.results.predictions import Predictions
from eyesight.runs import Run
from eyesight.studio import checking
from eyesight.studio.jobs import Job
from eyesight.studio.projects import Project
from eyesight.web.limits import Refused
from eyesight.web.routes.api import recognised
from eyesight.web.routes.studio import body_of, picture_address, text_of, texts_of
from eyesight.web.studio.desk import desk_of
from eyesight.web.studio.reviewing import open_review

TOP = 5
HELD_OUT = 60  # held-out images that are shown, wrong answers first
router = APIRouter(prefix="/studio", include_in_schema=False)


class HeldImage(TypedDict):
    """A held-out image and the network's answer to it."""

    id: str
    address: str
    truth: str
    answer: str
    probability: float
    right: bool


@router.post("/{name}/check")
async def check(request: Request, name: str) -> Response:
    """Begin a check of the images."""
    desk = desk_of(request)
    project = desk.project(name)
    await run_in_threadpool(desk.jobs.start, project, "check", checking.check)
    return JSONResponse({"began": True})


@router.post("/{name}/review")
async def review(request: Request, name: str) -> Response:
    """Open the review page for a project."""
    project = desk_of(request).project(name)
    request.app.state.review = await run_in_threadpool(open_review, project)
    request.app.state.review_back = f"/studio/{quote(project.name)}/check"
    return RedirectResponse("/review", 303)


@router.post("/{name}/correct")
async def correct(request: Request, name: str) -> Response:
    """Note a person's word about images: their class, or that they are left out."""
    project = desk_of(request).project(name)
    values = await body_of(request)
    count = await run_in_threadpool(
        checking.correct, project, texts_of(values, "ids"), text_of(values, "new")
    )
    return JSONResponse({"corrections": count})


@router.post("/{name}/train")
async def train(request: Request, name: str) -> Response:
    """Begin a training, or go on with an interrupted one."""
    desk = desk_of(request)
    project = desk.project(name)
    values = await body_of(request)
    run_name = text_of(values, "resume")
    if run_name:
        await run_in_threadpool(desk.go_on, project, project.run(run_name))
        return JSONResponse({"began": True})
    seconds = values.get("seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise Refused(422, "seconds is not a number", "for example 60")
    await run_in_threadpool(desk.train, project, float(seconds))
    return JSONResponse({"began": True})


@router.post("/{name}/stop")
async def stop(request: Request, name: str) -> Response:
    """End a training and keep what it has learnt, or interrupt it at once."""
    desk = desk_of(request)
    project = desk.project(name)
    values = await body_of(request)
    action = desk.stop if values.get("keep") else desk.pause
    await run_in_threadpool(action, project)
    return JSONResponse({"stopped": True})


@router.post("/{name}/predict")
async def predict(request: Request, name: str, run: str = "") -> Response:
    """Classify an image with the run that answers. Nothing is kept."""
    desk = desk_of(request)
    answering = desk.answering(desk.project(name), run)
    service = await run_in_threadpool(desk.service, answering)
    answer = recognised(service, await service.recognise(request), TOP)
    heatmap = {"supports_heatmap": service.recogniser.supports_heatmap}
    return JSONResponse({"run": answering.name, **heatmap, **answer.model_dump(by_alias=True)})


@router.post("/{name}/explain")
async def explain(request: Request, name: str, run: str = "") -> Response:
    """Show where the network looked, as PNG. Nothing is kept."""
    desk = desk_of(request)
    service = await run_in_threadpool(desk.service, desk.answering(desk.project(name), run))
    return Response(await service.explain(request), media_type="image/png")


@router.get("/{name}/held")
def held(request: Request, name: str) -> Response:
    """What the answering run said about the images that it was tested with, mistakes first."""
    desk = desk_of(request)
    project = desk.project(name)
    run = desk.answering(project)
    return JSONResponse({"run": run.name, "pictures": held_rows(project, run)})


def held_rows(project: Project, run: Run) -> list[HeldImage]:
    """The held-out images of a run that are still there, mistakes first."""
    try:
        predictions = run.predictions()
    except UserError:
        return []
    rows: list[HeldImage] = []
    for place in worst_first(predictions).tolist():
        row = held_row(project, predictions, place)
        if row is not None:
            rows.append(row)
        if len(rows) == HELD_OUT:
            break
    return rows


def worst_first(predictions: Predictions) -> npt.NDArray[np.int64]:
    """The rows, the most confident mistakes first and the most confident right answers last."""
    right = predictions.predicted == predictions.labels
    return np.lexsort((np.where(right, predictions.confidence, -predictions.confidence), right))


def held_row(project: Project, predictions: Predictions, row: int) -> HeldImage | None:
    """One held-out image with what was said about it; None when it is gone."""
    image_id = predictions.ids[row]
    class_name, _, file = image_id.partition("/")
    try:
        project.picture(class_name, file)
    except UserError:
        return None
    label = int(predictions.labels[row])
    answer = predictions.classes[int(predictions.probabilities[row].argmax())]
    truth = predictions.classes[label] if label >= 0 else ""
    return {
        "id": image_id,
        "address": picture_address(project, class_name, file),
        "truth": truth,
        "answer": answer,
        "probability": round(float(predictions.probabilities[row].max()), 4),
        "right": truth == answer,
    }


@router.post("/{name}/use")
async def use(request: Request, name: str) -> Response:
    """Let another run answer from now on."""
    desk = desk_of(request)
    project = desk.project(name)
    run = desk.answering(project, text_of(await body_of(request), "run"))
    project.change({"answers": run.name})
    return JSONResponse({"answers": run.name})


@router.post("/{name}/export")
async def export(request: Request, name: str) -> Response:
    """Begin making what can be taken away: "onnx" or "web"."""
    desk = desk_of(request)
    project = desk.project(name)
    run = desk.answering(project)
    to = text_of(await body_of(request), "to")
    if to not in ("onnx", "web"):
        raise Refused(422, f"unknown format {to!r}", "onnx or web")

    def work(job: Job) -> None:
        if to == "web":
            job.run(["export", str(run.path), "--to", "web", "--title", project.title])
        else:
            exported(run)

    await run_in_threadpool(desk.jobs.start, project, "export", work)
    return JSONResponse({"began": True})


@router.get("/{name}/download/{kind}")
def download(request: Request, name: str, kind: str) -> Response:
    """A file of the answering run: "onnx" or "web"."""
    desk = desk_of(request)
    project = desk.project(name)
    run = desk.answering(project)
    file = file_of(run)
    if kind == "web":
        file = web_page(run)
    elif kind != "onnx":
        raise Refused(404, f"there is no export {kind!r}", "onnx or web")
    if not file.is_file():
        raise Refused(404, "it has not been exported yet", "export it on the page Export")
    shown = re.sub(r"[^\w.-]+", "-", project.name) + file.suffix
    return FileResponse(file, filename=shown, content_disposition_type="attachment")


def web_page(run: Run) -> Path:
    """The single HTML file that `eyesight export --to web` left."""
    folder = file_of(run).parent
    pages = sorted(folder.glob("*.html")) or sorted(folder.rglob("*.html"))
    return max(pages, key=lambda path: path.stat().st_mtime_ns, default=folder / "none.html")
