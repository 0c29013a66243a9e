"""Services that answer from runs: exported and loaded when asked for, a few kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock

from eyesight.exporting.onnx_file import exported
from eyesight.inference import onnx_classifier
from eyesight.runs import Run
from eyesight.web.limits import Limits
from eyesight.web.service import Service

READY = 3  # networks kept in memory


class RunServices:
    """The services of runs that were asked for last; `runs` is the folder that their pages show."""

    def __init__(self, runs: Path | None, limits: Limits) -> None:
        self.runs = runs
        self.limits = limits
        self.lock = Lock()
        self.services: OrderedDict[tuple[str, str], Service] = OrderedDict()

    def of(self, run: Run) -> Service:
        """A service that answers from a run's exported file; slow the first time."""
        weights = str(run.read_json("classifier/classifier.json").get("weights_sha256"))
        key = (str(run.path), weights)
        with self.lock:
            if key in self.services:
                self.services.move_to_end(key)
                return self.services[key]
            recogniser = onnx_classifier.load(exported(run))
            service = Service(recogniser, self.runs, self.limits, run.name)
            self.services[key] = service
            self._close_oldest()
            return service

    def _close_oldest(self) -> None:
        """Close the services that were not asked for lately, but none that is answering."""
        for key in list(self.services)[:-READY]:
            if not self.services[key].gate.inside:
                self.services.pop(key).close()

    def close(self) -> None:
        """Stop all services."""
        for service in self.services.values():
            service.close()
