"""Let another run of the folder answer, on all pages and in the API."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from eyesight.web import i18n
from eyesight.web.digit_reader import Reader, reads_digits
from eyesight.web.limits import Refused
from eyesight.web.routes.api import find_run, service_of
from eyesight.web.run_services import RunServices
from eyesight.web.service import Service
from eyesight.web.uploads import read_body

router = APIRouter(include_in_schema=False)
LONGEST = 2000  # bytes of the form


@router.post("/use")
async def use(request: Request) -> Response:
    """Serve the run that a form names, and return to the form's page."""
    services: RunServices | None = request.app.state.run_services
    if services is None or not request.app.state.switches:
        raise Refused(404, "this server serves no folder of runs", "eyesight serve RUNS")
    current = service_of(request)
    body = await read_body(request, LONGEST, current.limits)
    fields = parse_qs(body.decode(errors="replace"))
    run = find_run(current, fields.get("run", [""])[0])
    if run.name != current.run:
        service = await run_in_threadpool(services.of, run)
        request.app.state.service = service
    follow(request.app.state.reader, service_of(request))
    return RedirectResponse(i18n.own_page(fields.get("back", ["/"])[0]), 303)


def follow(reader: Reader, service: Service) -> None:
    """Let the reader read with the served network if that knows the digits."""
    if reads_digits(service.recogniser) and service.run != reader.run:
        reader.use(service.recogniser, service.run)
