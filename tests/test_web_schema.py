"""The service keeps the promises of its own description, whatever is sent to any of its paths
(schemathesis).

The requests are drawn by chance but the same every time; EYESIGHT_SLOW=1 sends many more.
"""

import importlib
import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from portables import by_brightness

from eyesight.inference import onnx_classifier
from eyesight.runs import Run
from eyesight.views import augmentation
from eyesight.web.application import application
from eyesight.web.limits import Limits

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
EXAMPLES = 200 if os.environ.get("EYESIGHT_SLOW") else 6


CHECKS = (
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)
STILL = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def no_accident(context, response, case):
    """503 and 504 are answers on purpose, and described; 500 never is."""
    assert response.status_code != 500, response.text


@pytest.fixture(scope="module")
def operations(tmp_path_factory):
    """What the service says it does, with one finished run."""
    folder = tmp_path_factory.mktemp("described")
    run = Run.create(folder / "runs", "lamp")
    run.write_json("recipe.json", {"format": 1, "name": "lamp"})
    run.append(
        {
            "event": "done",
            "test": {"n": 4, "top1": 0.75, "interval": [0.3, 0.95]},
            "seconds": {"total": 2.0},
            "parameters": 5,
        }
    )
    assert augmentation.SHOWN, "imported here, so that no request waits for torch"
    file = by_brightness(folder / "lamp.onnx", looks=True)
    app = application(
        onnx_classifier.load(file, 1),
        folder / "runs",
        hosts=("*",),
        limits=Limits(bytes=100_000, upload_seconds=2.0),
    )
    return [
        found.ok()
        for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations()
    ]


def test_every_answer_is_one_that_is_described(operations):
    found = importlib.import_module("schemathesis.specs.openapi.checks")
    checks = [no_accident, *(getattr(found, name) for name in CHECKS)]
    assert {operation.path for operation in operations} >= {
        "/api/predict",
        "/api/predict/many",
        "/api/runs/{name}",
        "/api/augment",
    }
    for operation in operations:

        @STILL
        @given(case=operation.as_strategy())
        def agrees(case):
            case.call_and_validate(checks=checks, timeout=120)

        agrees()
