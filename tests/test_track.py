"""A track has every event of a run's log once, also after a training was resumed."""

import pytest
from commands import command
from drawn import folder

from eyesight.errors import UserError
from eyesight.runs import Run
from eyesight.system.progress import Reporter
from eyesight.views import track
from eyesight.views.track import TrackingReporter


class Noted:
    """A track that keeps what it is given."""

    def __init__(self):
        self.id = "noted"
        self.written = []
        self.texts = {}
        self.first_step = "not opened"
        self.status = None

    def numbers(self, values, step, time):
        self.written.append((step, values))

    def text(self, name, text):
        self.texts[name] = text

    def close(self, status):
        self.status = status


@pytest.fixture
def run(tmp_path):
    made = Run.create(tmp_path / "runs", "shapes")
    made.write_json("recipe.json", {"format": 1})
    return made


@pytest.fixture
def noted(monkeypatch):
    made = Noted()

    def opened(kind, run, first_step):
        made.first_step = first_step
        return made

    monkeypatch.setattr(track, "open_track", opened)
    monkeypatch.setattr(track, "check_kind", lambda kind: None)
    return made


def epoch(number, loss):
    return {"event": "epoch", "epoch": number, "train_loss": loss, "best": True}


def followed(run, *events):
    """A reporter that has followed the run while these were appended."""
    reporter = TrackingReporter(Reporter(), "tensorboard")
    reporter.run_began(run.path)
    for event in events:
        run.append(event)
        if event["event"] == "epoch":
            reporter.epoch(None)
    return reporter


def test_a_track_has_the_numbers_of_the_log(run, noted):
    summary = {"top1": 0.9, "interval": [0.8, 1.0], "loss": 0.2}
    start = {"event": "start", "recipe": "shapes", "parameters": 7}
    reporter = followed(
        run, start, epoch(1, 2.0), epoch(2, 1.0), {"event": "done", "test": summary}
    )
    reporter.close()
    assert noted.written == [
        (0, {"parameters": 7.0}),
        (1, {"train_loss": 2.0}),
        (2, {"train_loss": 1.0}),
        (2, {"test/top1": 0.9, "test/loss": 0.2}),
    ]
    assert noted.texts == {"recipe": "shapes"}
    assert noted.first_step is None and noted.status == "done"


def test_a_resumed_training_continues_its_track(run, noted):
    followed(run, {"event": "start"}, epoch(1, 2.0), epoch(2, 1.0))
    before = list(noted.written)
    followed(run, {"event": "start"}, epoch(2, 0.9), epoch(3, 0.8)).close()
    assert noted.first_step == 2, "what was done again replaces what was written"
    assert noted.written[: len(before)] == before
    losses = [values["train_loss"] for _, values in noted.written[len(before) :] if values]
    assert losses == [0.9, 0.8]


def test_a_failure_is_written(run, noted):
    failure = {"event": "failed", "message": "no room", "hint": "make some"}
    reporter = followed(run, {"event": "start"}, epoch(1, 2.0), failure)
    reporter.close()
    assert noted.status == "failed" and noted.texts == {"message": "no room", "hint": "make some"}


def test_a_track_that_breaks_is_told_and_ends_nothing(run, noted, monkeypatch):
    told = []
    reporter = followed(run, {"event": "start"}, epoch(1, 2.0))
    monkeypatch.setattr(reporter.reporter, "message", told.append)
    monkeypatch.setattr(noted, "numbers", lambda *values: 1 / 0)
    run.append(epoch(2, 1.0))
    reporter.epoch(None)
    reporter.epoch(None)
    reporter.close()
    assert told == ["tensorboard is not written any more: division by zero"]


def test_an_unknown_track_is_refused():
    with pytest.raises(UserError, match="unknown track 'tensorbord'") as error:
        track.check_kind("tensorbord")
    assert "tensorboard" in error.value.hint


def test_a_track_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setattr(track, "PACKAGES", {"mlflow": ("no_such_package",)})
    with pytest.raises(UserError, match="not installed") as error:
        track.check_kind("mlflow")
    assert "eyesight[track]" in error.value.hint


@pytest.mark.whole
@pytest.mark.filterwarnings("default")  # of TensorBoard
def test_tensorboard_reads_what_a_training_wrote(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    data = folder(tmp_path / "shapes", 60, 28)
    asked = ("train", "lenet5", "--data", data, "--out", tmp_path / "runs", "--track")
    command(*asked, "tensorboard", "--set", "training.epochs=3", "--json")
    (path,) = (tmp_path / "runs").glob("0001-*")
    read = EventAccumulator(str(path / "track"))
    read.Reload()
    run = Run(path)
    losses = [one.value for one in read.Scalars("train_loss")]
    assert losses == pytest.approx([one.train_loss for one in run.history], rel=1e-6)
    assert [one.step for one in read.Scalars("train_loss")] == [1, 2, 3]
    assert read.Scalars("test/top1")[0].value == pytest.approx(run.metrics.accuracy)


@pytest.mark.whole
def test_mlflow_reads_what_was_written(run, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for events in ((epoch(1, 2.0),), (epoch(2, 1.0), {"event": "done", "test": {"top1": 0.9}})):
        reporter = TrackingReporter(Reporter(), "mlflow")
        reporter.run_began(run.path)
        for event in events:
            run.append(event)
        reporter.close()
    client = MlflowClient()
    (made,) = client.search_runs([client.get_experiment_by_name("eyesight").experiment_id])
    history = client.get_metric_history(made.info.run_id, "train_loss")
    assert [(one.step, one.value) for one in history] == [(1, 2.0), (2, 1.0)]
    assert made.info.status == "FINISHED" and made.data.metrics["test/top1"] == 0.9
