"""What is kept of a budget, and what is left to do after a kill; on clocks that tests wind."""

import json
from dataclasses import replace
from types import SimpleNamespace

import drawn
import pytest
import torch

from eyesight import experiment
from eyesight.data.images import Images
from eyesight.recipe import Data, Model, Recipe, Training, override
from eyesight.results.records import used_lines
from eyesight.runs import Run, list_runs
from eyesight.system.progress import Callbacks
from eyesight.training import budget, initialise, loop, precision
from eyesight.training.checkpoint import State
from eyesight.training.clock import Clock
from eyesight.training.context import Context
from eyesight.training.loop import SAMPLE

RECIPE = Recipe(
    name="toy",
    model=Model("basic_cnn"),
    training=Training(epochs=1, batch=16, precision="float32"),
)


def recipe_on(folder):
    return Recipe(name="toy", data=Data(str(folder)), model=RECIPE.model, training=RECIPE.training)


def reporting(said, **options):
    return Context(Callbacks(said.append, lambda epoch: None), **options)


def test_time_for_evaluation_is_kept_from_training(monkeypatch, tmp_path):
    monkeypatch.setattr(budget, "evaluation_seconds", lambda *rest: 10.0)
    monkeypatch.setattr(budget, "slowness", lambda: 1.0)
    clock = Clock(0.0, now=lambda: 20.0)
    training = Training(budget=100.0, precision="float32")
    job = SimpleNamespace(
        recipe=Recipe(training=training),
        data=SimpleNamespace(train=range(0), test=range(50), validation=range(50)),
        run=Run.create(tmp_path, "toy"),
        context=Context(clock=clock),
    )
    clock.budget = 100.0
    evaluation = experiment.prepare_evaluation(job, None)
    assert evaluation.seconds == 10.0
    assert clock.reserve == budget.SAVING["class"] + 10.0
    assert clock.left() == 100 - 20 - 18, "and training stops before it"
    job.context.clock.reserve = 0.0
    monkeypatch.setattr(budget, "evaluation_seconds", lambda *rest: 1000.0)
    experiment.prepare_evaluation(job, None)
    assert clock.reserve == budget.MAXIMUM_RESERVE * 80, "but some is left to train"


def test_a_short_budget_uses_a_part_of_many_validation_images(monkeypatch):
    def seconds(network, data, recipe, views, arithmetic):
        return 0.004 * budget.evaluated(data, recipe, budget.Evaluation(arithmetic, views))

    monkeypatch.setattr(budget, "evaluation_seconds", seconds)
    data = SimpleNamespace(train=range(9000), validation=range(8000), test=range(3000))

    def used(left, *settings):
        return budget.plan_evaluation(None, data, override(RECIPE, settings), left).validation

    assert used(3600) is None, "all"
    assert used(200) == budget.FEW_VALIDATION
    assert used(200, "data.fold=1/5") is None, "out-of-fold predictions are of all images"
    data.test = range(0)
    assert used(200) is None, "without test images they are the result"


def test_the_validation_images_that_a_budget_leaves_out_are_said_and_not_used(
    monkeypatch, tmp_path
):
    folder = drawn.folder(tmp_path / "data", 300, 16)
    monkeypatch.setattr(budget, "FEW_VALIDATION", 40)
    monkeypatch.setattr(budget, "FEWER_VIEWS_ABOVE", 0.0)
    said = []
    recipe = replace(recipe_on(folder), data=Data(str(folder), validation=0.3))
    recipe = replace(recipe, training=replace(recipe.training, budget=60.0, max_epochs=1))
    run = experiment.run(recipe, tmp_path / "runs", reporting(said))
    total = run.data["counts"]["validation"]
    assert total > 40
    (line,) = [line for line in said if "validation images; using" in line]
    assert line.endswith(f"are too short for {total} validation images; using 40")
    assert len(run.predictions("validation")) == run.result["validation"]["n"] == 40
    assert run.environment["validation_images"] == 40
    longer = budget.Evaluation("float32", "one")
    assert experiment.settle_validation(run, longer).validation == 40, "a resumed run goes on so"


def test_the_time_to_evaluate_is_tried_on_batches_as_large_as_those_of_evaluation(monkeypatch):
    now, sizes = [0.0], []

    def infer(network, batch, views, arithmetic):
        sizes.append(len(batch))
        now[0] += 0.01 + 0.0001 * len(batch)  # ten milliseconds for each call
        return batch

    monkeypatch.setattr(budget.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(budget.classifier, "probabilities", infer)
    images = Images.of(*[*drawn.pictures(500)], drawn.SHAPES, tuple(map(str, range(500))))
    data = SimpleNamespace(train=images, test=range(10_000), validation=range(0))
    seconds = budget.evaluation_seconds(None, data, RECIPE, "one", "float32")
    assert max(sizes) == images.chunk == 500
    right = (0.01 / 500 + 0.0001) * 10_000
    assert right < seconds < 1.8 * right, "by batches of 64 it would be 3.8 times"


def test_the_trial_of_bfloat16_ends_where_a_budget_has_no_time_for_it(monkeypatch):
    """A small batch is timed first, so that not even one whole step takes too long."""
    tried = []

    def step(network, batch, arithmetic, patience, *, trains):
        tried.append((batch, arithmetic))
        return batch * each[arithmetic]

    monkeypatch.setattr(precision, "seconds", step)
    network = SimpleNamespace(
        normalise=SimpleNamespace(mean=torch.zeros(1)), shape=(1, 8, 8), parameters=lambda: []
    )
    each = {"float32": 0.01, "bfloat16": 0.005}
    chosen = precision.choose("auto", network, RECIPE.model, 320, limit=1.0)
    assert (chosen, tried) == ("float32", [(20, "float32")])
    tried.clear()
    chosen = precision.choose("auto", network, RECIPE.model, 320, limit=10.0)
    assert chosen == "bfloat16", "that there was no time was not remembered"
    assert [batch for batch, _ in tried] == [20, 20, 320, 320]
    tried.clear()
    each["bfloat16"] = 0.05
    chosen = precision.choose("auto", network, RECIPE.model, 640, limit=100.0)
    assert (chosen, len(tried)) == ("float32", 2), "far slower on a few images"
    clock = Clock(0.0, budget=100.0, reserve=20.0, now=lambda: 40.0)
    assert budget.trial_limit(clock) == pytest.approx(0.05 * 40)


def test_a_slow_or_busy_machine_keeps_more_time_for_the_report(monkeypatch):
    ticks = iter((10.0, 19.0, 20.0, 20.0 + 3 * budget.LOOP_SECONDS, 30.0, 39.0))
    assert budget.slowness(lambda: next(ticks)) == pytest.approx(3.0)
    reserves = []
    for busy in (1.0, 3.0, 30.0):
        monkeypatch.setattr(budget, "slowness", lambda busy=busy: busy)
        clock = Clock(0.0, budget=60.0, now=lambda: 0.0)
        budget.reserve_for_evaluation(clock, 2.0, "class")
        reserves.append(clock.reserve)
    assert reserves == [10.0, 22.0, 22.0]


def test_a_slow_step_is_not_tried_three_times(monkeypatch):
    now, steps = [0.0], []

    class Slow(torch.nn.Module):
        shape = (1, 4, 4)

        def __init__(self):
            super().__init__()
            self.normalise = torch.nn.Module()
            self.normalise.register_buffer("mean", torch.zeros(1))
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, pictures):
            steps.append(1)
            now[0] += 30.0
            return pictures * self.weight

    monkeypatch.setattr(precision.time, "perf_counter", lambda: now[0])
    assert precision.seconds(Slow(), 2, "float32", patience=0.5) == 30.0
    assert len(steps) == 1


@pytest.fixture
def trained(tmp_path):
    drawn.folder(tmp_path / "data", 30)
    recipe = recipe_on(tmp_path / "data")
    return recipe, experiment.run(recipe, tmp_path / "runs", Context(report=True))


def test_killed_while_the_report_is_drawn_only_the_report_is_left_to_do(trained, tmp_path):
    recipe, run = trained
    before, said = (run.path / "log.jsonl").read_bytes(), []
    again = experiment.run(recipe, tmp_path / "runs", reporting(said, resume=True, report=True))
    assert again.path == run.path and (run.path / "log.jsonl").read_bytes() == before
    assert "only its report is missing" in said[-1]
    (run.path / "report.html").write_text("the report")
    other = experiment.run(recipe, tmp_path / "runs", reporting(said, resume=True, report=True))
    assert other.path != run.path, "with its report a run is complete"


def test_without_a_report_to_come_a_finished_run_is_complete(trained, tmp_path):
    recipe, run = trained
    other = experiment.run(recipe, tmp_path / "runs", reporting([], resume=True))
    assert other.path != run.path


def test_the_checkpoint_goes_after_the_run_is_done(tmp_path, monkeypatch):
    drawn.folder(tmp_path / "data", 30)
    there, real = [], Run.append

    def append(self, event):
        there.append((event["event"], self.checkpoint_path.is_dir()))
        return real(self, event)

    monkeypatch.setattr(Run, "append", append)
    run = experiment.run(recipe_on(tmp_path / "data"), tmp_path / "runs", Context())
    assert there[-1] == ("done", True), "killed before, the run goes on from its checkpoint"
    assert not run.checkpoint_path.exists()


def test_killed_between_done_and_its_removal_a_checkpoint_goes_at_the_next_start(
    trained, tmp_path, monkeypatch
):
    recipe, _ = trained
    monkeypatch.setattr(experiment, "remove_checkpoint", lambda run: None)
    killed = experiment.run(recipe, tmp_path / "runs", Context())
    assert killed.status == "done" and killed.checkpoint_path.is_dir()
    monkeypatch.undo()
    experiment.run(recipe, tmp_path / "runs", Context(resume=True))
    assert not killed.checkpoint_path.exists()


def test_going_on_with_another_number_of_threads_is_said(tmp_path):
    drawn.folder(tmp_path / "data", 30)
    recipe, said = recipe_on(tmp_path / "data"), []

    def stop(epoch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experiment.run(recipe, tmp_path / "runs", Context(Callbacks(said.append, stop)))
    (run,) = list_runs(tmp_path / "runs")
    machine = json.loads((run.path / "environment.json").read_text())
    machine["threads"] += 1
    run.write_json("environment.json", machine)
    experiment.run(recipe, tmp_path / "runs", reporting(said, resume=True))
    assert any(f"started with {machine['threads']} threads" in line for line in said)
    assert run.status == "done"


def test_the_log_says_how_long_the_program_had_run_when_the_training_began(trained):
    _, run = trained
    start = run.log[0]
    assert start["event"] == "start" and 0 < start["elapsed"] <= run.result["seconds"]["total"]


def test_what_was_really_used_is_recorded(trained):
    _, run = trained
    (used,) = run.result["trained"]
    assert used["images"] == used["of"] == run.data["counts"]["train"]
    assert (used["versions"], used["epochs"]) == (1, 1)
    assert used["lr"] == run.epochs[-1]["lr"] and used["steps"] == -(-used["images"] // 16)


def test_a_pass_that_the_budget_ended_counts_only_the_images_it_drew():
    run = SimpleNamespace(epochs=[{"pictures": 48, "lr": 0.1}])
    job = SimpleNamespace(run=run, data=SimpleNamespace(train=range(100)))
    stage = SimpleNamespace(number=1, train=range(100))
    used = experiment.used(job, stage, SimpleNamespace(passes=1, steps=3))
    assert (used["images"], used["of"], used["partial"]) == (48, 100, True)
    (line,) = used_lines({"trained": [used]})
    assert line.startswith("trained 48 of 100 training images, less than one pass (3 steps)")


def test_bfloat16_that_is_far_slower_is_not_measured_for_the_evaluation(monkeypatch):
    """Without instructions for it, measuring took longer than a whole budget."""
    now, tried = [0.0], []
    each = {"float32": 0.1, "bfloat16": 2.0}

    def infer(network, batch, views, arithmetic):
        tried.append((arithmetic, len(batch)))
        now[0] += each[arithmetic] * len(batch)
        return batch

    monkeypatch.setattr(budget.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(budget.classifier, "probabilities", infer)
    images = Images.of(*[*drawn.pictures(100)], drawn.SHAPES, tuple(map(str, range(100))))
    data = SimpleNamespace(train=images, test=range(500), validation=range(100))
    recipe = override(RECIPE, ["training.precision=auto"])
    assert budget.faster_arithmetic(None, data, recipe, "one", 100.0).arithmetic == "float32"
    assert max(count for kind, count in tried if kind == "bfloat16") == budget.FEW
    each["bfloat16"] = 0.05
    assert budget.faster_arithmetic(None, data, recipe, "one", 100.0).arithmetic == "bfloat16"


def test_the_last_epochs_scores_are_part_of_what_follows_the_last_step():
    """Of validation images, and of training images whose batches were blends."""
    data = SimpleNamespace(train=range(5000), validation=range(300), test=range(400))
    few = budget.Evaluation("float32", "one", references=250)
    plain = budget.evaluated(data, RECIPE, few)
    assert plain == 400 + 3 * 300 + 2 * budget.CHECKED + 250
    blended = override(RECIPE, ["augment.mixup=0.2"])
    assert budget.evaluated(data, blended, few) - plain == SAMPLE


def test_no_step_is_begun_of_which_the_larger_part_lies_beyond_the_budget():
    """Steps of 4 s in 10 s: the third would end at 12 s, and is taken; with 9.9 s it is not."""
    steps = {}
    for seconds in (10.1, 9.9):
        now = [0.0]
        clock = Clock(0.0, budget=seconds, now=lambda now=now: now[0])
        pixels, labels = drawn.pictures(64)
        images = Images.of(pixels, labels, drawn.SHAPES, tuple(map(str, range(64))))
        network = initialise.network_for(RECIPE, images, torch.device("cpu"))
        state = State.start(network, RECIPE)
        under_way = loop._Loop(state, images, RECIPE, Context(clock=clock), "float32")

        def step(batch, random, now=now):
            now[0] += 4.0
            return torch.ones(4, dtype=torch.float64)

        under_way._step = step
        while not under_way.finished():
            under_way._pass(torch.zeros(4, dtype=torch.float64))
        steps[seconds] = now[0] / 4
    assert steps == {10.1: 3, 9.9: 2}
