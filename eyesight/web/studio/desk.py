"""The state that the studio's pages share: projects, the work going on, networks that answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from starlette.requests import Request

from eyesight.errors import MissingError
from eyesight.exporting.onnx_file import exported
from eyesight.runs import Run
from eyesight.studio import projects, training
from eyesight.studio.jobs import Job, Jobs
from eyesight.studio.projects import Project
from eyesight.studio.training import Progress
from eyesight.web.limits import Limits, Refused
from eyesight.web.run_services import RunServices
from eyesight.web.service import Service
from eyesight.web.studio.share import Share


class Desk:
    """The studio of one server."""

    def __init__(self, folder: Path, limits: Limits, share: Share | None = None) -> None:
        self.folder = folder
        self.limits = limits
        self.share = share
        self.jobs = Jobs()
        self.services = RunServices(None, limits)

    def project(self, name: str) -> Project:
        """The project of this name; raises MissingError."""
        return projects.open_project(self.folder, name)

    def train(self, project: Project, seconds: float) -> None:
        """Begin a training; raises UserError when it cannot be."""
        training.check_ready(project)

        def work(job: Job) -> None:
            job.run(training.command(project, seconds))
            self.finish(job)

        self.jobs.start(project, "train", work, seconds)

    def go_on(self, project: Project, run: Run) -> None:
        """Go on with an interrupted run."""

        def work(job: Job) -> None:
            job.before -= {run.name}
            run.ask_to_stop(stop=False)
            job.run(training.resume_command(run))
            self.finish(job)

        self.jobs.start(project, "train", work, training.seconds_to_go(run))

    def finish(self, job: Job) -> None:
        """Let the run of a training that has ended answer, and export it for that."""
        run = training.latest(job.project)
        if run is not None:
            job.project.change({"answers": run.name})
            exported(run)

    def stop(self, project: Project) -> None:
        """End a project's training and keep what it has learnt, or end what has no run yet.

        A training that was begun elsewhere, as by `eyesight train`, is asked to end too.
        """
        job = self.jobs.of(project)
        if job is None or not job.busy:
            run = training.latest(project)
            if run is not None and run.held:
                run.ask_to_stop()
            return
        run = started_run(job)
        if run is None or job.kind != "train" or not run.epochs:
            job.stop()
        else:
            run.ask_to_stop()

    def pause(self, project: Project) -> None:
        """Interrupt a project's work at once."""
        job = self.jobs.of(project)
        if job is not None:
            job.stop()

    def progress(self, project: Project) -> Progress:
        """How far the project's last training is."""
        job = self.jobs.of(project)
        if job is None or job.kind != "train":
            run = training.latest(project)
        elif job.busy:
            return progress_of(job)
        else:
            run = started_run(job)
            if job.problem and not job.stopped:
                name = run.name if run else ""
                return Progress("failed", name, problem=job.problem, hint=job.hint)
        if run is None:
            return Progress("none")
        return training.progress(run)

    def answering(self, project: Project, run_name: str = "") -> Run:
        """The run that answers for a project; raises MissingError when there is none."""
        run = project.run(run_name) if run_name else project.answering
        if run is None or not projects.has_classifier(run):
            raise MissingError("nothing has been trained yet", "train first, in step 3")
        return run

    def service(self, run: Run) -> Service:
        """A service that answers from a run's exported file; slow the first time."""
        return self.services.of(run)

    def close(self) -> None:
        """Stop the work and the networks."""
        self.jobs.close()
        self.services.close()


def started_run(job: Job) -> Run | None:
    """The run that a training began or goes on with, as soon as there is one."""
    fresh = [run for run in job.project.runs if run.name not in job.before]
    return fresh[-1] if fresh else None


def progress_of(job: Job) -> Progress:
    """How far a training is that is going on."""
    run = started_run(job)
    reached = training.progress(run) if run is not None else Progress("preparing")
    if reached.phase == "stopped":  # its process has not opened the run yet
        reached = replace(reached, phase="preparing")
    return replace(reached, seconds_left=job.seconds_left)


def desk_of(request: Request) -> Desk:
    """The application's studio; raises Refused where there is none."""
    desk = request.app.state.studio
    if not isinstance(desk, Desk):
        raise Refused(404, "this server has no studio", "start it with eyesight studio")
    return desk
