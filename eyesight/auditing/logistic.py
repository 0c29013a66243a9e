"""Out-of-fold probabilities of logistic regression for label scores.

The folds are trained together, by one L-BFGS over all their coefficients, so that the features are
read once a step. It runs in coordinates in which the features are uncorrelated, and needs a tenth
of the steps for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

FOLDS = 5
PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01)  # on half the squared coefficients, beside the mean loss
STEPS = 8  # of L-BFGS for each penalty; each starts where the one before ended
EVALUATIONS = 1.3  # a step, counting those of the line search
CHUNK = 4096  # images at a time


@dataclass(eq=False)
class Problem:
    """The folds of a data set for logistic regression.

    `standardised` gives rows of the features as float32 n,D; `gram` is their XᵀX; `fold` (n) is the
    fold in which each image is held out.
    """

    standardised: Callable[[Tensor], Tensor]
    gram: Tensor
    labels: Tensor
    classes: int
    fold: Tensor

    def weights(self, rows: Tensor) -> Tensor:
        """The weight of each image in the mean loss of each fold, n,FOLDS."""
        trained = self.fold[:, None] != torch.arange(FOLDS)
        return trained[rows] / trained.sum(0).clamp_min(1)

    def logits(self, rows: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """The features n,D+1 with a constant, and the logits n,FOLDS,K of every fold."""
        inputs = functional.pad(self.standardised(rows), (0, 1), value=1.0)
        return inputs, (inputs @ coefficients).reshape(len(rows), FOLDS, self.classes)

    def loss(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the mean losses of the folds, and its gradient."""
        total = torch.zeros(())
        gradient = torch.zeros_like(coefficients)
        for rows in torch.split(torch.arange(len(self.labels)), CHUNK):
            inputs, logits = self.logits(rows, coefficients)
            weights = self.weights(rows)[:, :, None]
            targets = functional.one_hot(self.labels[rows], self.classes)[:, None]
            logarithms = logits.log_softmax(2)
            total -= (weights * targets * logarithms).sum()
            residuals = weights * (logarithms.exp() - targets)
            gradient += inputs.T @ residuals.flatten(1)
        return total, gradient

    def held_out(self, coefficients: Tensor) -> Tensor:
        """Log probabilities n,K of each image by the fold that was not trained on it."""
        parts = []
        for rows in torch.split(torch.arange(len(self.labels)), CHUNK):
            _, logits = self.logits(rows, coefficients)
            parts.append(logits[torch.arange(len(rows)), self.fold[rows]].log_softmax(1))
        return torch.cat(parts)


def out_of_fold(
    standardised: Callable[[Tensor], Tensor],
    gram: Tensor,
    labels: Tensor,
    classes: int,
    deadline: float = math.inf,
    seed: int = 0,
) -> Tensor | None:
    """Probabilities n,K of each image by logistic regression on the other folds.

    The penalty with the lowest held-out log loss is taken. None where the time of one evaluation
    shows that it would not end before `deadline`, which is one of time.monotonic(), or where no
    penalty gives finite probabilities.
    """
    fold = stratified_folds(labels, seed)
    problem = Problem(standardised, gram, labels, classes, fold)
    coefficients = torch.zeros(len(gram) + 1, FOLDS * classes)
    began = time.monotonic()
    problem.loss(coefficients)
    seconds = time.monotonic() - began
    if began + seconds * EVALUATIONS * STEPS * len(PENALTIES) > deadline:
        return None
    best = torch.empty(0)
    best_loss = math.inf
    for penalty in PENALTIES:
        coefficients = minimise(problem, coefficients, penalty)
        logarithms = problem.held_out(coefficients)
        loss = float(functional.nll_loss(logarithms, labels))
        if not loss <= best_loss:  # also where it is not a number
            break
        best_loss = loss
        best = logarithms.exp()
    return best if len(best) else None


def stratified_folds(labels: Tensor, seed: int) -> Tensor:
    """The fold of each image, n; the images of a class are spread evenly over the folds."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    order = shuffled[labels[shuffled].argsort(stable=True)]
    fold = torch.empty_like(labels)
    fold[order] = torch.arange(len(labels)) % FOLDS
    return fold


def minimise(problem: Problem, coefficients: Tensor, penalty: float) -> Tensor:
    """The coefficients D+1,FOLDS·K after some steps of L-BFGS from those given.

    The coordinates are those in which the curvature of the first step is the identity.
    """
    curvature = (1 - 1 / problem.classes) / problem.classes
    matrix = curvature * problem.gram / len(problem.labels)
    matrix.diagonal().add_(penalty)
    lower = torch.linalg.cholesky(matrix.double()).float()
    constant = math.sqrt(curvature)

    def outward(values: Tensor) -> Tensor:
        solved = torch.linalg.solve_triangular(lower.T, values[:-1], upper=True)
        return torch.cat([solved, values[-1:] / constant])

    def downward(gradient: Tensor) -> Tensor:
        solved = torch.linalg.solve_triangular(lower, gradient[:-1], upper=False)
        return torch.cat([solved, gradient[-1:] / constant])

    start = torch.cat([lower.T @ coefficients[:-1], coefficients[-1:] * constant])
    values = start.requires_grad_()
    optimiser = torch.optim.LBFGS([values], max_iter=STEPS, line_search_fn="strong_wolfe")

    @torch.no_grad()
    def closure() -> Tensor:
        current = outward(values)
        loss, gradient = problem.loss(current)
        loss += penalty / 2 * current[:-1].square().sum()
        gradient[:-1] += penalty * current[:-1]
        values.grad = downward(gradient)
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return outward(values.detach())
