"""Each loss is its formula, agrees with torch's where torch has it, and stays right for blended
labels.
"""

import math

import pytest
import torch
from torch.nn import functional

from eyesight.recipe import Loss
from eyesight.tasks import losses

COUNTS = torch.tensor([10, 20, 30, 40])


def drawn(count=12, classes=4, scale=3.0):
    draw = torch.Generator().manual_seed(2)
    logits = torch.randn(count, classes, generator=draw) * scale
    return logits, torch.randint(0, classes, (count,), generator=draw)


def blended(labels, classes=4, share=0.7):
    """Labels of a batch mixed with the same batch reversed."""
    return share * losses.one_hot(labels, classes) + (1 - share) * losses.one_hot(
        labels.flip(0), classes
    )


def value(loss, logits, targets, counts=COUNTS):
    return losses.build(loss, counts)(logits, targets)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_cross_entropy_is_torchs(smoothing, weights):
    logits, labels = drawn()
    ours = value(
        Loss(smoothing=smoothing, class_weights=weights), logits, losses.one_hot(labels, 4)
    )
    theirs = functional.cross_entropy(
        logits,
        labels,
        weight=losses.balanced(COUNTS) if weights == "balanced" else None,
        label_smoothing=smoothing,
    )
    assert torch.allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_blended_labels_is_torchs(smoothing):
    logits, labels = drawn()
    targets = blended(labels)
    theirs = functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    assert torch.allclose(value(Loss(smoothing=smoothing), logits, targets), theirs, rtol=1e-6)


def test_cross_entropy_of_a_known_case():
    logits = torch.tensor([[0.0, math.log(3)]])
    assert value(
        Loss(), logits, torch.tensor([[0.0, 1.0]]), torch.tensor([1, 1])
    ).item() == pytest.approx(math.log(4 / 3))


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_a_blend_costs_the_blend_of_what_its_parts_cost(name):
    logits, labels = drawn()
    loss = Loss(name)
    parts = [value(loss, logits, losses.one_hot(each, 4)) for each in (labels, labels.flip(0))]
    assert torch.allclose(
        value(loss, logits, blended(labels)), 0.7 * parts[0] + 0.3 * parts[1], rtol=1e-6
    )


def test_squared_error_of_a_blend():
    logits, labels = drawn()
    targets = blended(labels)
    assert torch.allclose(
        value(Loss("mse"), logits, targets), functional.mse_loss(logits.softmax(1), targets)
    )


def test_squared_error_of_a_known_case():
    # Equal logits say 1/2 and 1/2 where 1 and 0 are right: (1/4 + 1/4) / 2.
    assert value(
        Loss("mse"), torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.tensor([1, 1])
    ).item() == pytest.approx(0.25)


def test_weighted_squared_error_counts_pictures_by_their_class():
    logits, labels = drawn()
    targets, weights = losses.one_hot(labels, 4), losses.balanced(COUNTS)
    each = ((logits.softmax(1) - targets) ** 2).mean(1)
    expected = (each * weights[labels]).sum() / weights[labels].sum()
    assert torch.allclose(value(Loss("mse", class_weights="balanced"), logits, targets), expected)


def test_focal_loss_with_gamma_zero_is_cross_entropy():
    logits, labels = drawn()
    targets = losses.one_hot(labels, 4)
    assert torch.allclose(
        value(Loss("focal", gamma=0.0), logits, targets), value(Loss(), logits, targets)
    )


def test_focal_loss_of_a_known_case():
    # p = 0.9 with gamma 2: −0.1² · ln 0.9 = 0.00105361, a hundredth of the cross-entropy (Lin et
    # al. 2017, section 3.2).
    logits = torch.tensor([[math.log(9.0), 0.0]])
    found = value(
        Loss("focal", gamma=2.0), logits, torch.tensor([[1.0, 0.0]]), torch.tensor([1, 1])
    ).item()
    assert found == pytest.approx(0.01 * -math.log(0.9), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("name", ["cross_entropy", "focal", "mse"])
@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_stay_finite_at_extreme_logits(name, gamma, sign):
    logits = (
        sign * torch.tensor([[1e4, 0.0, -1e4, 3.0], [0.0, 0.0, 0.0, 0.0], [60.0, -60.0, 0.0, 0.0]])
    ).requires_grad_()
    found = value(
        Loss(name, gamma=gamma, smoothing=0.1), logits, losses.one_hot(torch.tensor([0, 1, 0]), 4)
    )
    found.backward()
    assert found.isfinite() and logits.grad.isfinite().all()


def test_half_precision_logits_are_judged_in_full():
    logits, labels = drawn()
    targets = losses.one_hot(labels, 4)
    found = value(Loss(), logits.bfloat16(), targets)
    assert found.dtype == torch.float32 and torch.allclose(
        found, value(Loss(), logits.bfloat16().float(), targets)
    )


def test_balanced_weights():
    weights = losses.balanced(COUNTS)
    assert torch.allclose(weights, torch.tensor([2.5, 1.25, 5 / 6, 0.625]))
    assert (weights * COUNTS).sum() / COUNTS.sum() == pytest.approx(1.0)
    assert losses.balanced(torch.tensor([3, 0, 1])).tolist() == pytest.approx([2 / 3, 0.0, 2.0])


def test_classes_without_a_training_picture_do_not_break_the_loss():
    found = value(
        Loss(class_weights="balanced"),
        torch.randn(2, 3),
        losses.one_hot(torch.tensor([1, 1]), 3),
        torch.tensor([3, 0, 1]),
    )
    assert found.isfinite()


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "mse"])
def test_balanced_loss_weighs_every_class_alike(name):
    """Nine easy pictures of one class and one hard one of another cost what one of each would."""
    logits = torch.tensor([[4.0, 0.0]] * 9 + [[2.0, 0.0]])
    targets = losses.one_hot(torch.tensor([0] * 9 + [1]), 2)
    rare = value(Loss(name, class_weights="balanced"), logits, targets, torch.tensor([9, 1]))
    assert torch.allclose(
        rare, value(Loss(name), logits[8:], targets[8:], torch.tensor([1, 1])), rtol=1e-5
    )


def test_double_softmax_cannot_fall_below_its_floor():
    """F5: probabilities taken for logits leave at least ln(e + 51) − 1."""
    floor = math.log(math.e + 51) - 1
    sure = losses.one_hot(torch.tensor([3]), 52)
    assert value(Loss(), sure, sure, torch.ones(52)).item() == pytest.approx(floor, abs=1e-5)
    assert floor == pytest.approx(2.984, abs=1e-3)
