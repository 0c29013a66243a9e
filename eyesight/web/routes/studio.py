"""The studio's pages, and what they ask while they are open."""

from __future__ import annotations

import json
import shlex
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response

from eyesight.errors import UserError
from eyesight.runs import Run
from eyesight.studio import checking, projects, qr, training
from eyesight.studio.projects import Project
from eyesight.system.json_value import JsonObject
from eyesight.web.limits import Refused
from eyesight.web.run_table import stamp
from eyesight.web.studio.desk import Desk, desk_of
from eyesight.web.templating import templates
from eyesight.web.uploads import read_body

ROW_FILES = ("log.jsonl", "data.json", "recipe.json", "classifier/classifier.json")
STEPS = ("collect", "check", "train", "try", "compare", "take")
TIMES = (60, 300, 3600)  # seconds that are offered
AUTO_SECONDS = 600  # of the command that is shown for `auto`
WEB_EXPORT = "eyesight.exporting.page_files"  # where there is an export as a web page
JSON_BYTES = 2_000_000
COVERS = 4  # pictures of a project on the list
Facts: TypeAlias = dict[str, object]  # for a page, by the name in its template
router = APIRouter(prefix="/studio", include_in_schema=False)


async def body_of(request: Request) -> JsonObject:
    """The JSON object in a request's body; raises Refused."""
    desk = desk_of(request)
    try:
        values = json.loads(await read_body(request, JSON_BYTES, desk.limits) or b"{}")
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise Refused(422, "the request is not a JSON object", "send one, such as {}")
    return values


def text_of(values: JsonObject, key: str) -> str:
    """A text of a request's body; raises Refused."""
    value = values.get(key, "")
    if not isinstance(value, str):
        raise Refused(422, f"{key} is not a string", "send a JSON string")
    return value


def texts_of(values: JsonObject, key: str) -> list[str]:
    """A list of texts of a request's body; raises Refused."""
    value = values.get(key, [])
    texts = [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
    if texts != value:
        raise Refused(422, f"{key} is not a list of strings", "send a JSON array of strings")
    return texts


@router.get("", response_class=HTMLResponse)
def front(request: Request) -> Response:
    """The list of projects, and the offer to begin one."""
    desk = desk_of(request)
    rows = [card(project) for project in projects.list_projects(desk.folder)]
    code = ""
    if desk.share is not None:
        code = b64encode(qr.svg(desk.share.address).encode()).decode()
    context = {
        "projects": rows,
        "folder": str(desk.folder.absolute()),
        "share": desk.share,
        "code": code,
        "here": "/studio",
        "step": "front",
    }
    return templates.TemplateResponse(request, "studio_front.html", context)


def card(project: Project) -> Facts:
    """A project on the list."""
    counts = project.counts()
    covers = []
    for name in list(counts)[:COVERS]:
        files = project.files(name)
        if files:
            covers.append(picture_address(project, name, files[0]))
    return {
        "name": project.name,
        "title": project.title,
        "classes": list(counts),
        "pictures": sum(counts.values()),
        "trainings": len(project.runs),
        "covers": covers,
    }


def picture_address(project: Project, class_name: str, file: str) -> str:
    """Where a thumbnail of an image is."""
    return f"/studio/{quote(project.name)}/pictures/{quote(class_name)}/{quote(file)}"


@router.post("")
async def create(request: Request) -> Response:
    """Make a project; answers where it is."""
    values = await body_of(request)
    project = await run_in_threadpool(
        projects.create_project, desk_of(request).folder, text_of(values, "title")
    )
    return JSONResponse({"name": project.name, "address": f"/studio/{quote(project.name)}/collect"})


@router.get("/{name}", response_class=HTMLResponse)
def opened(request: Request, name: str) -> Response:
    """The step at which a project is."""
    desk = desk_of(request)
    project = desk.project(name)
    step = "try" if project.answering else "collect"
    if desk.progress(project).phase in ("preparing", "training", "judging"):
        step = "train"
    return RedirectResponse(f"/studio/{quote(name)}/{step}", 303)


@router.get("/{name}/state")
def state(request: Request, name: str) -> Response:
    """What every open tab of a project should show now."""
    desk = desk_of(request)
    project = desk.project(name)
    return JSONResponse(state_of(desk, project), headers={"Cache-Control": "no-store"})


def state_of(desk: Desk, project: Project) -> Facts:
    """The state of a project as JSON values."""
    counts = project.counts()
    job = desk.jobs.of(project)
    current = desk.jobs.current
    elsewhere = ""
    if current is not None and current.busy and current.project.path != project.path:
        elsewhere = current.project.title
    answering = project.answering
    removals = project.removals()
    return {
        "version": project.version,
        "classes": [{"name": name, "count": count} for name, count in counts.items()],
        "removed": removals[-1].count if removals else 0,
        "working": job.kind if job is not None and job.busy else "",
        "doing": job.doing if job is not None and job.busy else "",
        "problem": job.problem if job is not None and not job.stopped else "",
        "elsewhere": elsewhere,
        "answers": answering.name if answering else "",
        "trainings": len(project.runs),
        "progress": desk.progress(project).to_dict(),
    }


@router.get("/{name}/{step}", response_class=HTMLResponse)
def page(request: Request, name: str, step: str) -> Response:
    """One step of a project."""
    desk = desk_of(request)
    project = desk.project(name)
    if step not in STEPS:
        raise Refused(404, f"there is no step {step!r}", f"one of {', '.join(STEPS)}")
    context = {
        "project": project.name,
        "title": project.title,
        "here": f"/studio/{quote(project.name)}",
        "step": step,
        "steps": STEPS,
        "state": state_of(desk, project),
        **STEP_FACTS.get(step, no_facts)(desk, project),
    }
    return templates.TemplateResponse(request, f"studio_{step}.html", context)


def no_facts(desk: Desk, project: Project) -> Facts:
    """A step that shows only the state."""
    return {}


def check_facts(desk: Desk, project: Project) -> Facts:
    """What the page Check shows."""
    counts = project.counts()
    try:
        corrected = len(project.corrections.latest())
    except UserError:
        corrected = 0
    small = too_small(counts)
    return {
        "check": checking.read_check(project),
        "uneven": checking.uneven(counts),
        "few": [name for name in checking.few(counts) if name not in small],
        "small": small,
        "least": training.LEAST,
        "counts": counts,
        "corrected": corrected,
        "data": str(project.pictures),
    }


def too_small(counts: Mapping[str, int]) -> list[str]:
    """The classes with too few images to train."""
    return [name for name, count in counts.items() if count < training.LEAST]


def train_facts(desk: Desk, project: Project) -> Facts:
    """What the page Train shows."""
    counts = project.counts()
    small = too_small(counts)
    ready = len(counts) > 1 and not small
    arguments: list[str] = []
    auto: list[str] = []
    if ready:
        arguments = ["eyesight", *training.command(project, TIMES[0])]
        auto = ["eyesight", *training.command(project, AUTO_SECONDS, "auto")]
    run = training.latest(project)
    return {
        "times": TIMES,
        "line": shlex.join(arguments),
        "auto": shlex.join(auto),
        "ready": ready,
        "counts": counts,
        "small": small,
        "least": training.LEAST,
        "interrupted": run is not None and training.can_go_on(run),
    }


@dataclass(frozen=True)
class RunFacts:
    """A training in the comparison; `share` of the test images were right."""

    name: str
    phase: str
    right: int = 0
    judged: int = 0
    share: float | None = None
    interval: Sequence[float] | None = None
    seconds: float | None = None
    pictures: int = 0
    classes: Sequence[str] = ()
    began: str | None = None
    problem: str = ""
    short_of_time: bool = False
    usable: bool = False


def compare_facts(desk: Desk, project: Project) -> Facts:
    """What the page Compare shows."""
    rows = [run_facts(run) for run in reversed(project.runs)]
    finished = [row.share for row in rows if row.share is not None]
    return {"runs": rows, "best": max(finished, default=None)}


def run_facts(run: Run) -> RunFacts:
    """A training in the comparison, read again only when it has changed."""
    stamps = tuple(stamp(run.path / name) for name in ROW_FILES)
    try:
        return read_facts(run.path, stamps, is_held=run.held)
    except OSError:
        return RunFacts(run.name, "damaged")


@lru_cache(maxsize=10_000)
def read_facts(path: Path, stamps: tuple[tuple[int, int], ...], *, is_held: bool) -> RunFacts:
    """The training whose files have these stamps, while a process holds it or none does."""
    run = Run(path)
    try:
        reached = training.progress(run)
        log, data, seconds = run.log, run.data, run.result.get("seconds") or {}
    except (UserError, OSError, KeyError, TypeError, ValueError):
        return RunFacts(run.name, "damaged")
    counts = data.get("counts") or {}
    test = run.result.get("test") or {}
    return RunFacts(
        name=run.name,
        phase=reached.phase,
        right=reached.right,
        judged=reached.judged,
        share=test.get("top1"),
        interval=test.get("interval"),
        seconds=seconds.get("total"),
        pictures=sum(value for value in counts.values() if isinstance(value, int)),
        classes=data.get("classes") or [],
        began=log[0].get("time") if log else None,
        problem=reached.problem,
        short_of_time=reached.short_of_time,
        usable=projects.has_classifier(run),
    )


def take_facts(desk: Desk, project: Project) -> Facts:
    """What the page Take away shows."""
    run = project.answering
    if run is None:
        return {"run": "", "path": ""}
    pages = find_spec(WEB_EXPORT) is not None
    return {"run": run.name, "path": str(run.path), "data": str(project.pictures), "pages": pages}


STEP_FACTS = {
    "check": check_facts,
    "train": train_facts,
    "compare": compare_facts,
    "take": take_facts,
}
