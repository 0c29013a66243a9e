"""Optimisers take the steps their formulas say, schedules are functions of progress, averages are
averages.
"""

import math
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from eyesight.models.layers import Network
from eyesight.recipe import Optim
from eyesight.training import optim
from eyesight.training.muon import Muon, orthogonalise


def line(*values):
    """A network of one matrix row and one bias, to step by hand."""
    layer = nn.Linear(len(values), 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([values]))
        layer.bias.fill_(0.5)
    return layer


GRADIENTS = ([1.0, -2.0], [0.5, 3.0], [-4.0, 0.25])


def walk(settings, rates=(0.1, 0.1, 0.1)):
    """The weights after three steps along `GRADIENTS`; the bias goes along the first of each."""
    layer = line(1.0, 2.0)
    optimiser = optim.build(settings, layer)
    for gradient, rate in zip(GRADIENTS, rates, strict=True):
        layer.weight.grad, layer.bias.grad = torch.tensor([gradient]), torch.tensor(gradient[:1])
        optim.set_rate(optimiser, rate)
        optim.step(optimiser)
    return layer.weight.detach().double()[0], layer.bias.item()


def by_hand(step, start=(1.0, 2.0)):
    """The same walk by a function (gradient, memory) → step on numbers."""
    weights = torch.tensor(start, dtype=torch.float64)
    memory = {}
    for gradient in GRADIENTS:
        weights = weights + step(torch.tensor(gradient, dtype=torch.float64), memory, weights)
    return weights


def momentum(gradient, memory, weights, alpha=0.9, rate=0.1):
    """V = αV − ρ ∂J/∂W; W = W + V."""
    memory["v"] = alpha * memory.get("v", 0) - rate * gradient
    return memory["v"]


def nesterov(gradient, memory, weights):
    velocity = momentum(gradient, memory, weights)
    return 0.9 * velocity - 0.1 * gradient


def adagrad(gradient, memory, weights):
    memory["sum"] = memory.get("sum", 0.1) + gradient**2
    return -0.1 * gradient / (memory["sum"].sqrt() + 1e-7)


def rmsprop(gradient, memory, weights, centred=False):
    memory["square"] = 0.9 * memory.get("square", 0) + 0.1 * gradient**2
    memory["mean"] = 0.9 * memory.get("mean", 0) + 0.1 * gradient
    spread = memory["square"] - memory["mean"] ** 2 if centred else memory["square"]
    return -0.1 * gradient / (spread.sqrt() + 1e-7)


def adam(gradient, memory, weights, largest=False, decay=0.0):
    memory["t"] = memory.get("t", 0) + 1
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * gradient
    memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * gradient**2
    memory["most"] = torch.maximum(memory.get("most", memory["v"]), memory["v"])
    spread = (memory["most"] if largest else memory["v"]) / (1 - 0.999 ** memory["t"])
    return -0.1 * decay * weights - 0.1 * memory["m"] / (1 - 0.9 ** memory["t"]) / (
        spread.sqrt() + 1e-7
    )


@pytest.mark.parametrize(
    ("settings", "formula"),
    [
        (Optim("sgd"), lambda g, m, w: -0.1 * g),
        (Optim("sgd", momentum=0.9), momentum),
        (Optim("sgd", momentum=0.9, nesterov=True), nesterov),
        (Optim("sgd", weight_decay=0.3), lambda g, m, w: -0.1 * (g + 0.3 * w)),
        (Optim("adagrad"), adagrad),
        (Optim("rmsprop"), rmsprop),
        (Optim("rmsprop", centred=True), lambda g, m, w: rmsprop(g, m, w, centred=True)),
        (Optim("adam"), adam),
        (Optim("adam", amsgrad=True), lambda g, m, w: adam(g, m, w, largest=True)),
        (Optim("adamw", weight_decay=0.2), lambda g, m, w: adam(g, m, w, decay=0.2)),
    ],
)
def test_optimisers_step_by_their_formulas(settings, formula):
    assert torch.allclose(walk(settings)[0], by_hand(formula), rtol=1e-5)


def test_optimisers_are_not_changed_if_the_compiler_is_imported_already(monkeypatch):
    method = torch.optim.Optimizer.zero_grad.__wrapped__
    monkeypatch.delattr(method, optim.MARK, raising=False)
    monkeypatch.setitem(sys.modules, "torch._dynamo", ModuleType("torch._dynamo"))
    optim.leave_out_compiler()
    assert not hasattr(method, optim.MARK)


def test_amsgrad_and_adam_part_ways_after_a_large_gradient():
    layer, found = line(1.0, 2.0), {}
    for amsgrad in (False, True):
        layer = line(1.0, 2.0)
        optimiser = optim.build(Optim("adam", lr=0.1, amsgrad=amsgrad, beta2=0.5), layer)
        for size in (10.0, 0.1, 0.1, 0.1):
            layer.weight.grad, layer.bias.grad = torch.full((1, 2), size), torch.zeros(1)
            optim.step(optimiser)
        found[amsgrad] = layer.weight[0, 0].item()
    assert found[True] > found[False] + 0.01


def test_nesterov_without_momentum_is_plain():
    assert torch.equal(walk(Optim("sgd", nesterov=True))[0], walk(Optim("sgd"))[0])


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "muon"])
def test_biases_and_norms_never_decay(name):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].bias.fill_(1.0)
    groups = optim.build(Optim(name, weight_decay=0.1, momentum=0.5), network).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert (
        all(parameter.ndim > 1 for parameter in groups[0]["params"])
        and len(groups[0]["params"]) == 2
    )
    assert (
        all(parameter.ndim == 1 for parameter in groups[1]["params"])
        and len(groups[1]["params"]) == 4
    )
    before = (
        network[0].bias.detach().clone(),
        network[1].weight.detach().clone(),
        network[0].weight.detach().clone(),
    )
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser = optim.build(Optim(name, lr=0.1, weight_decay=0.1, momentum=0.5), network)
    optim.step(optimiser)
    assert torch.equal(network[0].bias, before[0]) and torch.equal(network[1].weight, before[1])
    assert not torch.equal(network[0].weight, before[2])


def test_biases_can_learn_faster():
    weights, bias = walk(Optim("sgd", bias_scale=4.0))
    assert torch.equal(weights, walk(Optim("sgd"))[0])
    assert bias == pytest.approx(0.5 - 4 * 0.1 * (1.0 + 0.5 - 4.0), rel=1e-5)


def test_the_first_rate_knows_the_scale_after_set_rate():
    optimiser = optim.build(Optim("sgd", lr=0.5, bias_scale=3.0), line(1.0))
    optim.set_rate(optimiser, 0.2)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.2, 0.6])


def test_frozen_parameters_are_left_out():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(False)
    groups = optim.build(Optim("adam"), network).param_groups
    assert [len(group["params"]) for group in groups] == [1, 1]


def test_a_network_without_biases_has_one_group():
    assert len(optim.build(Optim("adam"), nn.Linear(2, 2, bias=False)).param_groups) == 1


def test_step_halves_every_three_epochs_of_seven():
    factor = optim.Schedule(Optim(schedule="step", step_epochs=3, step_factor=0.5), epochs=7)
    assert factor(0.0) == 1 and factor(3 / 7 - 1e-4) == 1
    assert factor(3 / 7) == 0.5 and factor(6 / 7 - 1e-4) == 0.5
    assert factor(6 / 7) == 0.25 and factor(1.0) == 0.25


def test_step_changes_exactly_between_epochs():
    """844 steps an epoch: the share of the steps is not an exact fraction, but no step of an epoch
    gets another's rate.
    """
    factor = optim.Schedule(Optim(schedule="step", step_epochs=3, step_factor=0.5), epochs=7)
    assert [
        factor((epoch * 844 + step) / (7 * 844)) for epoch in range(7) for step in (0, 843)
    ] == [0.5 ** (epoch // 3) for epoch in range(7) for _ in range(2)]


def test_cosine_ends_at_its_floor():
    factor = optim.Schedule(Optim(schedule="cosine", floor=0.05), epochs=10)
    assert (
        factor(0.0) == pytest.approx(1)
        and factor(0.5) == pytest.approx(0.525)
        and factor(1.0) == pytest.approx(0.05)
    )


def test_linear_falls_to_its_floor():
    factor = optim.Schedule(Optim(schedule="linear", floor=0.2), epochs=10)
    assert [factor(at) for at in (0.0, 0.25, 1.0)] == pytest.approx([1, 0.8, 0.2])


@pytest.mark.parametrize(("warmup", "peak"), [(0.0, 0.3), (0.2, 0.2)])
def test_one_cycle_rises_to_its_peak_and_falls(warmup, peak):
    factor = optim.Schedule(Optim(schedule="one_cycle", warmup=warmup), epochs=10)
    places = [step / 1000 for step in range(1001)]
    values = [factor(place) for place in places]
    assert places[values.index(max(values))] == pytest.approx(peak) and max(
        values
    ) == pytest.approx(1)
    assert values[0] == pytest.approx(0.04) and values[-1] == pytest.approx(0)
    rising = values[: values.index(max(values)) + 1]
    assert rising == sorted(rising) and values[len(rising) :] == sorted(
        values[len(rising) :], reverse=True
    )


def test_warm_up_rises_then_hands_over():
    factor = optim.Schedule(Optim(schedule="cosine", warmup=0.1), epochs=10)
    assert (
        factor(0.05) == pytest.approx(0.5)
        and factor(0.1) == pytest.approx(1)
        and factor(1.0) == pytest.approx(0)
    )
    assert optim.Schedule(Optim(warmup=0.5), epochs=1)(0.75) == 1


@pytest.mark.parametrize(
    "schedule", ["constant", "step", "cosine", "one_cycle", "linear", "plateau"]
)
@pytest.mark.parametrize("warmup", [0.0, 0.1, 1.0])
def test_every_schedule_is_defined_from_start_to_end_and_beyond(schedule, warmup):
    factor = optim.Schedule(Optim(schedule=schedule, warmup=warmup), epochs=5)
    assert all(0 <= factor(step / 10) <= 1 for step in range(-1, 12))


def test_plateau_waits_for_its_patience():
    plateau = optim.Plateau(Optim(schedule="plateau", plateau_patience=2, step_factor=0.1))
    losses = [1.0, 0.9, 0.95, 0.92, 0.91, 0.93, 0.5, 0.6]
    assert [plateau.factor(losses[:seen]) for seen in range(len(losses) + 1)] == pytest.approx(
        [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01]
    )


def test_plateau_stops_at_its_floor_and_only_plateau_falls():
    settings = Optim(schedule="plateau", plateau_patience=1, step_factor=0.1, floor=0.05)
    assert optim.Plateau(settings).factor([1.0] * 9) == 0.05
    assert optim.Plateau(Optim(schedule="cosine")).factor([1.0] * 9) == 1


@pytest.mark.parametrize("shape", [(16, 16), (8, 144), (144, 8), (1, 9)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalise(matrix, steps=5)
    assert found.shape == shape
    values = torch.linalg.svdvals(found)
    assert values.max() < 1.3 and (values > 0.6).float().mean() > 0.9


def test_orthogonalising_keeps_the_directions():
    matrix = torch.randn(6, 20, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ orthogonalise(matrix, steps=5) @ right.T
    assert (turned - torch.diag(turned.diagonal())).abs().max() < 1e-4 and (
        turned.diagonal() > 0.6
    ).all()


def test_orthogonalising_is_the_same_for_a_matrix_and_its_transpose_and_every_time():
    matrix = torch.randn(5, 30, generator=torch.Generator().manual_seed(1))
    assert torch.equal(orthogonalise(matrix), orthogonalise(matrix))
    assert torch.allclose(orthogonalise(matrix), orthogonalise(matrix.T).T)
    assert torch.allclose(orthogonalise(1000 * matrix), orthogonalise(matrix), atol=1e-5)


def test_orthogonalising_nothing_gives_nothing():
    assert not orthogonalise(torch.zeros(3, 4)).any()


def muon(*parameters, orthogonal, momentum=0.6, lr=0.1):
    return Muon(
        [{"params": list(parameters), "scale": 1.0, "weight_decay": 0.0, "orthogonal": orthogonal}],
        lr,
        momentum,
    )


def gradients(*shape, count=2):
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=draw) for _ in range(count)]


def test_muon_steps_along_the_orthogonalised_nesterov_momentum():
    weights = nn.Parameter(torch.zeros(4, 18))
    optimiser = muon(weights, orthogonal=True)
    first, second = gradients(4, 18)
    weights.grad = first
    optim.step(optimiser)
    expected = -0.1 * orthogonalise(first + 0.6 * first)
    assert torch.allclose(weights, expected, atol=1e-6)
    weights.grad = second
    optim.step(optimiser)
    assert torch.allclose(
        weights, expected - 0.1 * orthogonalise(second + 0.6 * (0.6 * first + second)), atol=1e-6
    )


def test_muon_keeps_the_norm_of_filters_and_sees_them_as_matrices():
    (filters,), weights = (
        gradients(4, 2, 3, 3, count=1),
        nn.Parameter(torch.full((4, 2, 3, 3), 7.0)),
    )
    optimiser = muon(weights, orthogonal=True, momentum=0.0)
    weights.grad = filters
    optim.step(optimiser)
    expected = torch.full((4, 2, 3, 3), 2 / math.sqrt(72)) - 0.1 * orthogonalise(
        filters.view(4, 18)
    ).view(4, 2, 3, 3)
    assert torch.allclose(weights, expected, atol=1e-6)  # norm √4 before the step


def test_muon_gives_everything_else_plain_nesterov_momentum():
    weights, start = nn.Parameter(torch.ones(3)), torch.ones(3)
    optimiser = muon(weights, orthogonal=False)
    velocity = torch.zeros(3)
    for gradient in gradients(3):
        weights.grad = gradient
        optim.step(optimiser)
        velocity = Muon.PLAIN_MOMENTUM * velocity - 0.1 * gradient
        start = start + Muon.PLAIN_MOMENTUM * velocity - 0.1 * gradient
    assert torch.allclose(weights, start)


def test_muon_orthogonalises_the_body_alone():
    network = Network((1, 4, 4), nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), nn.Linear(8, 3))
    body, head, rest = optim.build(Optim("muon"), network).param_groups
    assert [group["orthogonal"] for group in (body, head, rest)] == [True, False, False]
    assert [[tuple(p.shape) for p in group["params"]] for group in (body, head, rest)] == [
        [(2, 1, 3, 3)],
        [(3, 8)],
        [(2,), (3,)],
    ]


def test_the_head_can_learn_at_a_rate_of_its_own():
    network = Network((1, 4, 4), nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), nn.Linear(8, 3))
    optimiser = optim.build(Optim("sgd", head_scale=0.5, bias_scale=2.0), network)
    optim.set_rate(optimiser, 0.2)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.2, 0.1, 0.4])


def test_average_forgets_its_start_and_then_decays():
    network = line(0.0)
    average = optim.Average(network, 0.9)
    expected = 0.0
    for step in range(1, 200):
        with torch.no_grad():
            network.weight.fill_(float(step))
        average.update(network)
        decay = min(0.9, step / (step + 10))
        expected = decay * expected + (1 - decay) * step
    assert average.tensors["weight"].item() == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(
        199 - 9, abs=0.1
    )  # a decay of d lags d / (1 − d) steps behind a steady climb


def test_average_keeps_counters_and_running_statistics():
    network = nn.Sequential(nn.BatchNorm1d(2))
    average = optim.Average(network, 0.5)
    network(torch.randn(8, 2) + 5)
    average.update(network)
    assert average.tensors["0.num_batches_tracked"] == 1
    share = 1 - 1 / 11
    assert torch.allclose(average.tensors["0.running_mean"], share * network[0].running_mean)
    assert network[0].running_mean.any()


def test_average_of_what_stands_still_does_not_move():
    network = line(0.1, 0.7)
    average = optim.Average(network, 0.99)
    for _ in range(50):
        average.update(network)
    assert torch.equal(average.tensors["weight"], network.weight)


def test_clipping_scales_to_the_largest_norm():
    network = line(3.0, 4.0)
    network.weight.grad, network.bias.grad = torch.tensor([[3.0, 4.0]]), torch.tensor([12.0])
    assert optim.clip(network, 0.0) is None and network.bias.grad.item() == 12
    assert optim.clip(network, 1.3).item() == pytest.approx(13)
    total = math.sqrt(network.weight.grad.square().sum() + network.bias.grad.square().sum())
    assert total == pytest.approx(1.3, rel=1e-4)
    optim.clip(network, 5.0)
    assert network.bias.grad.item() == pytest.approx(1.2, rel=1e-4)
