"""Each fault is planted and must be named; healthy and half-finished trainings must pass in
silence.
"""

import json
import math
from dataclasses import replace

import drawn
import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from eyesight import experiment
from eyesight.cli.main import app
from eyesight.diagnosis import check_curves, check_data, check_network, diagnose, probes
from eyesight.diagnosis.evidence import Copied, Finding, Patient, Sample
from eyesight.errors import UserError
from eyesight.models import registry
from eyesight.models.layers import Network, Stack
from eyesight.recipe import Data, Loss, Model, Optim, Recipe, Training
from eyesight.results.predictions import Predictions
from eyesight.runs import Run
from eyesight.training.loop import check as check_loss
from eyesight.web import doctor_texts

TEN = tuple("abcdefghij")
RECIPE = Recipe(
    name="toy",
    model=Model("lenet5"),
    optim=Optim("adam", lr=0.001),
    training=Training(epochs=10, batch=100),
)


def epochs(loss, top1, validation_loss=None, validation_top1=None, gradient=None, pictures=50_000):
    count = len(loss)
    columns = {
        "train_loss": loss,
        "train_top1": top1,
        "validation_loss": [None] * count if validation_loss is None else validation_loss,
        "validation_top1": [None] * count if validation_top1 is None else validation_top1,
        "gradient": [1.0] * count if gradient is None else gradient,
    }
    return tuple(
        {
            "event": "epoch",
            "epoch": place + 1,
            "pictures": pictures,
            **{name: values[place] for name, values in columns.items()},
        }
        for place in range(count)
    )


def answers(labels, classes=TEN, right=0.9, sure=0.95, seed=0):
    """Predictions that are right for a share of the pictures."""
    random = np.random.default_rng(seed)
    said = np.where(random.random(len(labels)) < right, labels, (labels + 1) % len(classes))
    share = random.uniform(0.7, sure, len(labels))
    p = np.repeat(((1 - share) / (len(classes) - 1))[:, None], len(classes), 1)
    p[np.arange(len(labels)), said] = share
    return Predictions(tuple(map(str, range(len(labels)))), labels, p.astype(np.float32), classes)


LABELS = np.arange(1000) % 10
HEALTHY = Patient(
    name="healthy",
    recipe=RECIPE,
    classes=TEN,
    per_class=(5000,) * 10,
    epochs=epochs(
        [0.9, 0.4, 0.25, 0.2, 0.17, 0.15, 0.14, 0.13],
        [0.7, 0.87, 0.92, 0.94, 0.95, 0.955, 0.96, 0.96],
        [0.5, 0.3, 0.25, 0.21, 0.2, 0.19, 0.19, 0.19],
        [0.84, 0.9, 0.92, 0.93, 0.935, 0.94, 0.94, 0.94],
    ),
    validation=answers(LABELS),
    test=answers(LABELS, seed=1),
)


def ids(patient):
    return [finding.id for finding in diagnose.examine(patient)]


def named(patient, name):
    found = {finding.id: finding for finding in diagnose.examine(patient)}
    assert name in found, f"{name} was not found among {list(found)}"
    finding = found[name]
    assert (
        finding.title
        and finding.remedy
        and finding.why
        and any(letter.isdigit() for letter in finding.evidence)
    )
    return finding


def tiny(model="lenet5", classes=10, shape=(1, 28, 28), **options):
    torch.manual_seed(0)
    return registry.build(Model(model, **options), shape, classes)


def digits(count=60, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)


@pytest.fixture(autouse=True)
def findings_speak_korean(monkeypatch):
    """Every sentence of every finding that a test comes across has a Korean text."""
    made = []
    init = Finding.__init__

    def noted(self, *arguments, **named):
        init(self, *arguments, **named)
        made.append(self)

    monkeypatch.setattr(Finding, "__init__", noted)
    yield
    for finding in made:
        texts = (finding.evidence, finding.remedy, finding.why)
        sentences = [one for text in texts for one in doctor_texts.translate(text, "ko")]
        foreign = [one.text for one in sentences if not one.translated]
        if finding.id in ("failed", "not_finite"):  # which begin with the error's own words
            assert len(foreign) < len(sentences) - 1, finding
        else:
            assert foreign == [], finding.id


# Silence


def test_a_healthy_log_passes_in_silence():
    assert ids(HEALTHY) == []


@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_a_healthy_training_is_healthy_from_its_first_epoch(length):
    assert ids(replace(HEALTHY, epochs=HEALTHY.epochs[:length])) == []
    assert ids(replace(HEALTHY, epochs=HEALTHY.epochs[:length], validation=None, test=None)) == []


def test_nothing_known_is_nothing_wrong():
    assert ids(Patient("empty", Recipe())) == []
    assert (
        ids(
            Patient(
                "torn",
                RECIPE,
                TEN,
                epochs=(
                    {"event": "epoch", "epoch": 1},
                    {"event": "epoch", "epoch": 2, "train_loss": "x"},
                ),
            )
        )
        == []
    )


def test_one_epoch_on_few_pictures_at_chance_is_only_a_beginning():
    start = epochs([2.31], [0.11], [2.3], [0.1], pictures=300)
    p = answers(LABELS[:50])
    same = replace(p, probabilities=np.tile(p.probabilities[:1], (50, 1)))
    assert ids(replace(HEALTHY, epochs=start, validation=same, test=same)) == []


def test_a_trained_network_on_drawn_pictures_passes_in_silence(tmp_path, monkeypatch):
    run, pictures = trained(tmp_path)
    patient = diagnose.admit_run(run, pictures)
    assert (
        patient.trained
        and patient.thorough
        and patient.probe
        and len(patient.samples["train"]) == 288
    )
    assert [finding.to_dict() for finding in diagnose.examine(patient)] == []
    assert diagnose.diagnose(run, pytest.fail) == []
    assert not (run.path / "doctor.json").exists()
    assert ids(diagnose.admit_recipe(run.recipe, pictures)) == []


def trained(tmp_path, **changes):
    """A run of a tiny network on drawn pictures, and its pictures."""
    root = drawn.folder(tmp_path / "pictures", 400, size=28)
    recipe = replace(RECIPE, training=Training(epochs=4, batch=16, precision="float32"))
    recipe = replace(recipe, data=replace(recipe.data, source=str(root)), **changes)
    run = experiment.train(recipe, tmp_path / "runs")
    return run, diagnose.open_data(recipe)


# Softmax twice


def test_the_floor_of_a_double_softmax_is_the_published_loss():
    assert check_curves.double_softmax_loss(1.0, 52) == pytest.approx(math.log(math.e + 51) - 1)
    assert check_curves.double_softmax_loss(0.95, 52) == pytest.approx(3.034, abs=5e-4)
    answers = torch.eye(52)[:4]
    value = nn.functional.cross_entropy(answers, torch.tensor([0, 1, 2, 0]), label_smoothing=0.1)
    assert check_curves.double_softmax_loss(0.75, 52, 0.1) == pytest.approx(float(value), abs=1e-6)


def font_log(slack=0.004):
    top1 = np.array([0.5, 0.8, 0.9, 0.93, 0.94, 0.945, 0.95])
    loss = [check_curves.double_softmax_loss(value, 52) + slack for value in top1]
    return epochs(loss, top1.tolist(), loss, top1.tolist())


def test_double_softmax_is_named_from_the_network_with_its_floor():
    network = tiny(classes=52, softmax=True)
    names = tuple(map(str, range(52)))
    finding = named(
        Patient("f3", RECIPE, names, epochs=font_log(), network=network), "double_softmax"
    )
    assert (
        "2.984" in finding.evidence and "3.034" in finding.evidence and "3.038" in finding.evidence
    )
    assert "softmax=false" in finding.remedy


def test_double_softmax_is_named_from_the_log_alone():
    patient = Patient("f3", RECIPE, tuple(map(str, range(52))), epochs=font_log())
    assert "2.984" in named(patient, "double_softmax").evidence
    assert "learning_rate_low" not in ids(patient)
    assert (
        ids(replace(patient, network=tiny(classes=52))) == []
    )  # a network that ends in logits cannot have the fault


@pytest.mark.parametrize("twice", [True, False])
def test_double_softmax_is_named_from_answers_that_never_pass_its_bound(twice):
    random, classes = np.random.default_rng(0), 52
    labels = random.integers(0, classes, 400)
    logits = random.normal(0, 1, (400, classes)) + 3 * np.eye(classes)[labels]
    once = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    given = np.exp(once) / np.exp(once).sum(1, keepdims=True) if twice else once
    names = tuple(str(number) for number in range(classes))
    test = Predictions(tuple(map(str, range(400))), labels, given.astype(np.float32), names)
    found = check_network.double_softmax(
        Patient("f3", RECIPE, names, epochs=font_log()[:0], test=test)
    )
    assert (found is not None) == twice
    assert not twice or "e / (e + 51) = 5.06%" in found.evidence


def test_double_softmax_is_named_when_it_hides_in_the_last_layer():
    class Hidden(nn.Module):
        def forward(self, x):
            return x.softmax(1)

    network = tiny()
    network.head.append(Hidden())
    patient = Patient(
        "hidden",
        RECIPE,
        TEN,
        network=network,
        samples={"train": Sample(digits(), np.zeros(60, np.int64))},
    )
    assert "1.461" in named(patient, "double_softmax").evidence
    assert probes.are_probabilities(torch.randn(5, 3)) is False


# Collapse


def collapsed():
    loss = [0.6, 0.2, 0.1, 0.08, 37.0, 2.303, 2.301, 2.302]
    top1 = [0.8, 0.94, 0.97, 0.975, 0.12, 0.112, 0.111, 0.112]
    return epochs(loss, top1, loss, top1, [2.0, 1.5, 1.1, 1.4, 9e5, 0.1, 0.1, 0.1])


def test_collapse_is_dated_with_its_jump_and_its_last_loss():
    finding = named(replace(HEALTHY, epochs=collapsed()), "collapse")
    assert finding.severity == "fatal"
    for number in ("epoch 5", "97.5%", "0.08 to 37", "1.4 to 9e+05", "2.302", "ln 10 = 2.303"):
        assert number in finding.evidence


def test_a_dip_that_recovers_is_no_collapse():
    loss, top1 = [0.6, 0.2, 2.0, 0.3, 0.2, 0.18], [0.8, 0.94, 0.1, 0.9, 0.94, 0.95]
    assert "collapse" not in ids(replace(HEALTHY, epochs=epochs(loss, top1)))


def test_one_answer_to_everything_is_a_collapse_that_ignores_its_input():
    p = np.tile(np.linspace(0.05, 0.15, 10, dtype=np.float32), (1000, 1))
    same = Predictions(tuple(map(str, range(1000))), LABELS, p, TEN)
    log = epochs([2.303] * 4, [0.112] * 4)
    patient = replace(HEALTHY, epochs=log, test=same, validation=same)
    assert (
        "100.0% of the held-out images are predicted as 'j'" in named(patient, "collapse").evidence
    )
    assert "0.00%" in named(patient, "ignores_input").evidence
    assert set(ids(patient)) == {"collapse", "ignores_input"}


def test_dead_units_are_counted():
    network = tiny()
    with torch.no_grad():
        network.body[-2].bias.fill_(-1e6)
    patient = replace(
        HEALTHY,
        network=network,
        trained=True,
        samples={"train": Sample(digits(), np.arange(60) % 10)},
    )
    assert "100.0% of the units of body.10" in named(patient, "dead_units").evidence
    assert "dead_units" not in ids(replace(patient, network=tiny()))
    patient = replace(patient, epochs=collapsed())
    assert "100% of the units of body.10 are 0" in named(patient, "collapse").evidence


def test_layers_without_activation_between_them_are_counted():
    network = tiny("vgg16", shape=(3, 32, 32))
    assert [len(run) for run in probes.linear_runs(network)] == [2, 2, 3, 3, 3]
    recipe = replace(RECIPE, model=Model("vgg16"))
    finding = named(Patient("d4", recipe, TEN, network=network), "linear_stack")
    assert "13 layers form 5 groups of 2, 2, 3, 3, 3" in finding.evidence
    assert "model.activation=relu" in finding.remedy
    finding = named(
        replace(HEALTHY, recipe=recipe, epochs=collapsed(), network=network), "collapse"
    )
    assert "model.activation=relu" in finding.remedy


def test_only_plain_successions_are_read_for_linear_layers():
    assert (
        probes.linear_runs(tiny())
        == probes.linear_runs(tiny("baseline_cnn", shape=(3, 32, 32)))
        == ()
    )

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return torch.relu(self.one(x)) + self.two(x)

    body = Stack((1, 8, 8)).conv(4).add(Branches())
    assert (
        probes.linear_runs(
            Network((1, 8, 8), body.build(), Stack(body.shape).dense(3, act="linear").build())
        )
        == ()
    )


def test_a_trial_shows_how_a_linear_stack_multiplies_its_steps():
    body = Stack((1, 12, 12), act="linear")
    for _ in range(6):
        body.conv(16)
    network = Network((1, 12, 12), body.build(), Stack(body.shape).dense(3, act="linear").build())
    pixels, labels = drawn.pictures(120, 12)
    recipe = replace(
        RECIPE, model=Model("vgg16"), optim=Optim("adam", lr=0.02), training=Training(batch=20)
    )
    patient = Patient(
        "stack",
        recipe,
        drawn.SHAPES,
        (40,) * 3,
        network=network,
        fresh=lambda: network,
        samples={"train": Sample(pixels, labels)},
        thorough=True,
    )
    weights = [weight.clone() for weight in network.parameters()]
    finding = named(patient, "linear_stack")
    assert (
        "times as large as the weights" in finding.evidence
        and "largest logit grew" in finding.evidence
    )
    assert patient.trial.step > 0.1 and patient.trial.growth > 10
    assert all(torch.equal(*pair) for pair in zip(weights, network.parameters(), strict=True))


# Numbers


def test_numbers_that_overflowed_are_fatal(tmp_path):
    run = planted(tmp_path, epochs([2.1, 8.5], [0.3, 0.2], gradient=[2.0, 900.0]))
    with pytest.raises(UserError) as failure:
        check_loss([math.nan], 3, 0.1, RECIPE)
    run.append({"event": "failed", "message": failure.value.message, "hint": failure.value.hint})
    finding = named(diagnose.admit_run(run, None), "not_finite")
    assert "epoch 3" in finding.evidence and "8.5" in finding.evidence and "900" in finding.evidence
    assert "--set optim.lr=0.0001" in finding.remedy


def test_a_run_that_ended_with_an_error_is_told_that_error_and_nothing_of_its_rate(tmp_path):
    run = planted(tmp_path, ())
    message, hint = (
        "the budget of 2 s is too short for a single training step",
        "give a longer --budget",
    )
    run.append({"event": "failed", "message": message, "hint": hint})
    patient = replace(
        diagnose.admit_run(run, None), recipe=replace(RECIPE, optim=Optim("adam", lr=30.0))
    )
    finding = named(patient, "failed")
    assert (
        "budget of 2 s" in finding.evidence
        and "no epoch" in finding.evidence
        and finding.remedy == hint
    )
    assert "learning_rate_high" not in ids(patient)
    assert "learning_rate_high" in ids(replace(patient, failure=""))
    said = []
    assert [finding.id for finding in diagnose.diagnose(run, said.append)] == [
        "failed"
    ] and said == [], "who asked has the error before them"


def test_a_budget_with_time_for_a_few_steps_is_named_before_the_rate():
    crawl = epochs(
        np.linspace(2.30, 2.10, 8).tolist(), np.linspace(0.12, 0.3, 8).tolist(), pictures=700
    )
    patient = replace(
        HEALTHY, epochs=crawl, recipe=replace(RECIPE, training=Training(budget=20, batch=100))
    )
    assert "56 steps" in named(patient, "too_short").evidence and "learning_rate_low" not in ids(
        patient
    )
    assert "too_short" not in ids(replace(patient, recipe=RECIPE))
    assert "too_short" not in ids(replace(patient, epochs=epochs([0.5], [0.9], pictures=700)))
    assert "too_short" in ids(
        replace(patient, epochs=tuple({**epoch, "progress": 0.99} for epoch in crawl))
    )
    assert "too_short" not in ids(
        replace(patient, epochs=tuple({**epoch, "progress": 0.3} for epoch in crawl))
    ), "patience ended it"
    small = Training(budget=20, batch=512, min_steps=100)
    smaller = replace(patient, recipe=replace(RECIPE, training=small), per_class=(350, 350))
    assert "too_short" not in ids(smaller), "128 steps, in batches of 43"
    smaller = replace(smaller, epochs=crawl[:5])
    assert "82 steps" in named(smaller, "too_short").evidence
    recipe = replace(patient.recipe, training=Training(budget=20, batch=100, max_epochs=8))
    own = replace(patient, recipe=recipe, per_class=(350, 350))
    assert "too_short" not in ids(own), "the explicit epochs ended it"
    assert "too_short" in ids(replace(own, epochs=crawl[:7]))


def test_a_few_steps_say_nothing_of_the_learning_rate():
    crawl = epochs(np.linspace(2.30, 2.29, 8).tolist(), [0.1] * 8, pictures=700)
    patient = replace(HEALTHY, epochs=crawl, recipe=replace(RECIPE, training=Training(batch=100)))
    assert "learning_rate_low" in ids(patient)
    few = replace(RECIPE, training=Training(batch=700))
    assert "learning_rate_low" not in ids(replace(patient, recipe=few))


def test_values_lost_from_the_log_are_fatal(tmp_path):
    run = planted(tmp_path, epochs([2.1, math.inf], [0.3, 0.2]))
    assert "train_loss" in named(diagnose.admit_run(run, None), "not_finite").evidence


def test_a_growing_loss_is_divergence():
    loss = [1.9, 1.5, 2.4, 4.0, 9.0]
    assert (
        "1.5 in epoch 2"
        in named(
            replace(HEALTHY, epochs=epochs(loss, [0.3, 0.5, 0.3, 0.2, 0.2])), "diverged"
        ).evidence
    )


# Learning rate


def test_a_first_epoch_worse_than_chance_means_too_high_a_rate():
    finding = named(
        replace(HEALTHY, epochs=epochs([9.1, 2.2, 1.9], [0.1, 0.2, 0.3])), "learning_rate_high"
    )
    assert "9.1" in finding.evidence and "2.3" in finding.evidence


def test_the_first_steps_of_a_budget_that_was_too_short_say_nothing_of_the_rate():
    few = replace(RECIPE, training=Training(budget=60, batch=100))
    recovered = epochs([3.6], [0.27], [1.7], pictures=4600)
    assert "learning_rate_high" not in ids(replace(HEALTHY, epochs=recovered, recipe=few))
    lost = epochs([3.6], [0.27], [3.0], pictures=4600)
    assert "learning_rate_high" in ids(replace(HEALTHY, epochs=lost, recipe=few))


def test_a_loss_that_swings_means_too_high_a_rate():
    loss = [1.5, 0.9, 1.6, 0.8, 1.4, 0.9, 1.5]
    assert (
        "3 of 6"
        in named(replace(HEALTHY, epochs=epochs(loss, [0.5] * 7)), "learning_rate_high").evidence
    )


def test_a_loss_that_crawls_means_too_low_a_rate():
    loss = np.linspace(2.30, 2.10, 8)
    patient = replace(HEALTHY, epochs=epochs(loss.tolist(), np.linspace(0.12, 0.3, 8).tolist()))
    assert "2.3 to 2.1" in named(patient, "learning_rate_low").evidence


@pytest.mark.parametrize(
    ("rate", "found"), [(30.0, "learning_rate_high"), (1e-9, "learning_rate_low"), (0.001, None)]
)
def test_a_rate_is_judged_before_any_run(rate, found):
    patient = Patient("static", replace(RECIPE, optim=Optim("adam", lr=rate)), TEN)
    assert ids(patient) == ([found] if found else [])


@pytest.mark.parametrize(
    ("rate", "found"), [(0.03, "learning_rate_high"), (2e-6, "learning_rate_low"), (0.001, None)]
)
def test_a_short_trial_judges_a_plausible_rate(rate, found):
    pixels, labels = drawn.pictures(200, 28)
    network = tiny("lenet5", 3)
    recipe = replace(RECIPE, optim=Optim("adam", lr=rate), training=Training(batch=32))
    patient = Patient(
        "trial",
        recipe,
        drawn.SHAPES,
        samples={"train": Sample(pixels, labels)},
        thorough=True,
        fresh=lambda: network,
    )
    finding = check_network.learning_rate_trial(patient)
    assert (finding and finding.id) == found, (patient.trial, finding)
    assert 1e-5 < patient.trial.best < 0.3


def test_the_range_is_read_where_the_loss_falls_fastest():
    rates, values = [1e-4, 1e-3, 1e-2, 1e-1, 1.0], [2.3, 2.2, 1.2, 1.1, 9.0]
    assert probes.read_range(rates, values) == (1e-2, 1.0)
    assert probes.read_range(rates, [2.3, 2.2, 1.2, 1.1, math.nan]) == (1e-2, 1.0)
    assert probes.read_range(rates[:3], values[:3]) == (1e-2, None)


# Fit


def test_overfitting_is_named_with_both_curves():
    held = [1.2, 1.0, 0.9, 1.0, 1.2, 1.4, 1.7, 2.0]
    train = [1.3, 0.8, 0.5, 0.3, 0.15, 0.08, 0.04, 0.02]
    top1 = [0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999]
    patient = replace(
        HEALTHY, epochs=epochs(train, top1, held, [0.5, 0.6, 0.66, 0.67, 0.66, 0.66, 0.66, 0.66])
    )
    finding = named(patient, "overfitting")
    assert (
        "epoch 3 of 8" in finding.evidence
        and "99.9%" in finding.evidence
        and "66.0%" in finding.evidence
    )
    last = replace(patient, recipe=replace(RECIPE, training=Training(keep="last")))
    assert "keep=best" in named(last, "overfitting").remedy and "keep=best" not in finding.remedy


def test_underfitting_is_named_when_both_stand_still():
    loss = [1.9, 1.7, 1.63, 1.61, 1.602, 1.601, 1.6, 1.6, 1.6, 1.599]
    top1 = [0.3, 0.36, 0.39, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]
    assert (
        "40.0%"
        in named(replace(HEALTHY, epochs=epochs(loss, top1, loss, top1)), "underfitting").evidence
    )


# Labels and pictures


def test_labels_learnt_by_heart_look_shuffled():
    train, top1 = [2.3, 2.0, 1.4, 0.6, 0.2], [0.12, 0.3, 0.6, 0.9, 0.98]
    patient = replace(
        HEALTHY,
        epochs=epochs(train, top1, [2.4, 2.6, 3, 4, 5], [0.1, 0.1, 0.11, 0.1, 0.1]),
        validation=answers(LABELS, right=0.1),
    )
    finding = named(patient, "labels_shuffled")
    assert (
        "98.0%" in finding.evidence and "11.0%" in finding.evidence and "1000" in finding.evidence
    )


def test_labels_are_not_shuffled_where_only_the_accuracy_hides_what_was_learnt():
    """One class is frequent, so that few images tell the accuracy from chance."""
    frequent = np.repeat([0, 1, 2], [120, 60, 30])
    patient = replace(
        HEALTHY,
        per_class=(1200, 600, 300),
        epochs=epochs([0.9, 0.7, 0.5], [0.6, 0.75, 0.85], [0.9, 0.75, 0.76], [0.6, 0.66, 0.66]),
        validation=answers(frequent, right=0.66),
    )
    assert "labels_shuffled" not in ids(patient)
    uninformed = epochs([0.9, 0.7, 0.5], [0.6, 0.75, 0.85], [0.95, 0.97, 1.2], [0.6, 0.6, 0.6])
    assert "labels_shuffled" in ids(replace(patient, epochs=uninformed))


STUCK = epochs([1.1, 1.0987, 1.0986, 1.0986], [0.33, 0.34, 0.33, 0.33], pictures=20_000)


def stuck(labels=None):
    pixels, true = drawn.pictures(600, 12)
    labels = true if labels is None else labels
    samples = {
        "train": Sample(pixels[:400], labels[:400]),
        "test": Sample(pixels[400:], labels[400:]),
    }
    return Patient("stuck", RECIPE, drawn.SHAPES, (133, 133, 134), STUCK, samples=samples)


def test_where_pictures_that_look_alike_share_no_label_the_labels_look_shuffled():
    patient = stuck(np.random.default_rng(0).integers(0, 3, 600))
    assert "most similar training" in named(patient, "labels_shuffled").evidence
    assert "not_learning" not in ids(patient)


def test_where_pictures_that_look_alike_share_their_label_the_training_is_to_blame():
    assert "the labels are meaningful" in named(stuck(), "not_learning").evidence
    assert "labels_shuffled" not in ids(stuck())


def test_constant_labels_are_named():
    patient = replace(
        HEALTHY,
        per_class=(50_000, 3, 0, 0, 0, 0, 0, 0, 0, 0),
        epochs=(),
        validation=None,
        test=None,
    )
    assert "50,000 of 50,003" in named(patient, "labels_constant").evidence
    assert ids(patient) == ["labels_constant"]


def test_neglected_small_classes_are_named_with_their_recall():
    counts = (5000,) * 5 + (200,) * 5
    said = answers(LABELS, right=1.0)
    spoilt = said.probabilities.copy()
    spoilt[LABELS >= 5] = spoilt[0]
    patient = replace(HEALTHY, per_class=counts, test=replace(said, probabilities=spoilt))
    finding = named(patient, "class_imbalance")
    assert (
        "25 to 1" in finding.evidence
        and "0.0%" in finding.evidence
        and "balanced" in finding.remedy
    )
    assert "class_imbalance" not in ids(replace(HEALTHY, per_class=counts, test=said))
    balanced = replace(RECIPE, loss=Loss(class_weights="balanced"))
    before = Patient("before", RECIPE, TEN, counts)
    assert ids(before) == ["class_imbalance"] and ids(replace(before, recipe=balanced)) == []


def test_copies_across_the_split_are_counted():
    pixels, labels = drawn.pictures(300, 32)
    again = np.clip(
        pixels[:20].astype(int) + np.random.default_rng(1).integers(-2, 3, pixels[:20].shape),
        0,
        255,
    ).astype(np.uint8)
    held = Sample(
        np.concatenate([pixels[200:], again]), np.concatenate([labels[200:], labels[:20]])
    )
    patient = Patient(
        "leak",
        RECIPE,
        drawn.SHAPES,
        samples={"train": Sample(pixels[:200], labels[:200]), "validation": held},
        thorough=True,
    )
    assert named(patient, "leak").evidence == (
        "20 of 120 held-out images (16.7%) are copies of training images"
    )
    by_bytes = replace(patient, copies=Copied(12, 40))
    assert named(by_bytes, "leak").evidence.startswith("12 of 40 held-out images (30.0%) are")
    clean = {
        "train": Sample(pixels[:200], labels[:200]),
        "validation": Sample(pixels[200:], labels[200:]),
    }
    assert ids(replace(patient, samples=clean)) == []
    blank = Sample(np.full((30, 1, 32, 32), 255, np.uint8), np.zeros(30, np.int64))
    assert not check_data.copies(blank.pixels, blank.pixels).any()


# What goes in, and what should stay


def normalised():
    """A convolution, a batch norm, an activation, and the head."""
    body = Stack((1, 28, 28)).conv(4, act="linear").add(nn.BatchNorm2d(4)).add(nn.ReLU()).pool(4)
    return Network((1, 28, 28), body.build(), Stack(body.shape).dense(10, act="linear").build())


def test_pixels_from_0_to_255_are_named():
    network = tiny()
    network.normalise.set(torch.zeros(1), torch.ones(1))
    network.normalise.deviation.fill_(1 / 255)
    patient = replace(
        HEALTHY, network=network, samples={"train": Sample(digits(), np.arange(60) % 10)}
    )
    assert "mean 127" in named(patient, "input_scaling").evidence
    assert "input_scaling" not in ids(replace(patient, network=tiny()))


def test_inputs_that_a_pretrained_batch_norm_does_not_know_are_named():
    network = normalised()
    pixels = digits(30)
    sample = {"train": Sample(pixels, np.arange(30) % 10)}
    network.normalise.set(torch.tensor([0.5]), torch.tensor([0.28]))
    norm = network.body[1]
    with torch.no_grad():
        seen = network.body[0](network.normalise(torch.from_numpy(pixels)))
        norm.running_mean.copy_(seen.mean((0, 2, 3)))
        norm.running_var.copy_(seen.var((0, 2, 3)))
    norm.num_batches_tracked.fill_(1000)
    patient = replace(HEALTHY, network=network, samples=sample)
    assert "input_scaling" not in ids(patient)
    network.normalise.set(torch.zeros(1), torch.ones(1))
    assert (
        "running statistics of body.1 do not match"
        in named(replace(patient), "input_scaling").evidence
    )


def test_frozen_layers_that_moved_are_named_with_their_statistics():
    network = normalised()
    for parameter in network.body[:3].parameters():
        parameter.requires_grad_(False)
    names = probes.frozen(network)
    assert "body.0.weight" in names and "body.1" in names
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    patient = replace(HEALTHY, network=network, trained=True, frozen=names, before=lambda: before)
    assert ids(patient) == []
    with torch.no_grad():
        network.body[1].running_mean += 0.5
        network.head[-1].weight += 1
    assert list(probes.moved(before, network.state_dict(), names)) == ["body.1.running_mean"]
    assert "1 of them running statistics" in named(patient, "frozen_moved").evidence


# Runs


def planted(tmp_path, log=(), classes=TEN, recipe=RECIPE):
    """A run with a log and nothing else."""
    from eyesight.recipe import to_dict

    run = Run.create(tmp_path / "runs", "toy")
    run.write_json("recipe.json", to_dict(recipe))
    how = {"height": 28, "width": 28, "channels": 1, "pad": 0}
    run.write_json(
        "data.json",
        {
            "classes": list(classes),
            "per_class": {"train": [5000] * len(classes)},
            "preparation": how,
        },
    )
    run.append({"event": "start"})
    for epoch in log:
        run.append(epoch)
    return run


def test_an_interrupted_run_without_data_or_predictions_is_examined(tmp_path):
    run = planted(tmp_path, HEALTHY.epochs[:2])
    (run.path / "data.json").unlink()
    with (run.path / "log.jsonl").open("ab") as log:
        log.write(b'{"event": "epo')
    (run.path / "validation.npz").write_bytes(b"torn")
    (run.path / "gallery.npz").write_bytes(b"torn")
    run.classifier_path.mkdir()
    assert ids(diagnose.admit_run(run, None)) == []


def test_the_doctor_comes_unasked_only_when_something_looks_wrong(tmp_path):
    said = []
    assert diagnose.diagnose(planted(tmp_path, HEALTHY.epochs), said.append) == [] and said == []
    run = planted(tmp_path, collapsed())
    assert [finding.id for finding in diagnose.diagnose(run, said.append)] == ["collapse"]
    assert "same class for every image" in said[0] and str(run.path) in said[1]
    assert [finding["id"] for finding in run.read_json("doctor.json")["findings"]] == ["collapse"]


def test_a_doctor_who_fails_spoils_nothing(tmp_path, monkeypatch):
    def broken(patient):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(diagnose, "CHECKS", (diagnose.Check(broken, ("curves", "recipe alone")),))
    said = []
    assert diagnose.diagnose(planted(tmp_path), said.append) == []
    assert "oh" in said[0]


def test_the_command_prints_one_object_or_words(tmp_path):
    run = planted(tmp_path, collapsed())
    page = run.path / "report.html"
    page.write_text("an old report")
    answer = CliRunner().invoke(app, ["doctor", str(run.path), "--json"])
    found = json.loads(answer.stdout)
    assert answer.exit_code == 0 and found["run"] == str(run.path)
    assert [finding["id"] for finding in found["findings"]] == ["collapse"]
    assert found["findings"][0]["title"] in page.read_text()
    assert {"collapse", "double_softmax"} <= set(found["checked"])
    assert found["not_checked"]["leak"] == "all images", "there are none at hand"
    assert not set(found["checked"]) & set(found["not_checked"])
    words = CliRunner().invoke(app, ["doctor", str(planted(tmp_path, HEALTHY.epochs).path)]).stdout
    assert words.startswith("no problems found in") and "8 epochs" in words


def test_a_run_whose_report_cannot_be_written_is_diagnosed(tmp_path):
    run = planted(tmp_path, collapsed())
    page = run.path / "report.html"
    page.write_text("an old report")
    (run.path / "predictions.npz").write_bytes(b"damaged")
    answer = CliRunner().invoke(app, ["doctor", str(run.path)])
    assert answer.exit_code == 0 and "same class for every image" in answer.stdout
    assert "was not updated" in answer.stderr and page.read_text() == "an old report"


def test_the_command_reads_a_recipe_whose_pictures_are_elsewhere():
    answer = CliRunner().invoke(app, ["doctor", "lenet5", "--set", "model.softmax=true", "--json"])
    found = json.loads(answer.stdout)
    assert [finding["id"] for finding in found["findings"]] == ["double_softmax"] and found[
        "run"
    ] is None
    assert "1.461" in found["findings"][0]["evidence"]


def test_characters_that_were_drawn_are_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("EYESIGHT_CACHE", str(tmp_path))
    monkeypatch.delenv("EYESIGHT_DATA", raising=False)
    recipe = Recipe(data=Data("glyphs"))
    assert not diagnose.at_hand(recipe)
    (tmp_path / "glyphs").mkdir()
    assert diagnose.at_hand(recipe)
