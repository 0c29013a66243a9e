"""The training loop: `for epoch in fit(state, …)` is the whole interface; early stopping and printing belong to the caller.

What decides the next step is only the state and (seed, pass, step), so a training continued from its state ends bit for bit
where an uninterrupted one does. In a group of processes each looks at its share of every batch.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eyesight import augment, tasks
from eyesight.data.images import Images, portions
from eyesight.distributed.batchnorm import Synchronised
from eyesight.distributed.group import Group
from eyesight.errors import UserError
from eyesight.models.layers import Network, Shape
from eyesight.recipe import Recipe, Training
from eyesight.training import optim
from eyesight.training.checkpoint import State
from eyesight.training.clock import Clock, Meter

LINES = 100  # of a log, about: where few pictures ask for more passes, several are one epoch
SAMPLE = (
    2000  # training pictures on which accuracy is measured when the batches themselves are blends
)
NOTHING = torch.zeros((), dtype=torch.float64)  # the sum of no tallies


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training pictures gave, scored by the task's measure; None where nothing was measured."""

    epoch: int
    progress: float
    lr: float
    train_loss: float
    train_score: float
    train_clean: bool  # measured after the pass on a sample of clean pictures, because the batches were blends
    validation_loss: float | None
    validation_score: float | None
    gradient: float  # norm of the last gradient
    pictures: int
    seconds: float
    best: bool
    measure: str = "top1"  # what the scores are called in a log

    def event(self) -> dict[str, Any]:
        """As a line of a run's log."""
        values = asdict(self)
        key = values.pop("measure")
        return {
            "event": "epoch",
            **{name.replace("score", key): value for name, value in values.items()},
        }


def plan(training: Training, count: int) -> tuple[int, int]:
    """(batch, epochs) for `count` pictures: a recipe with `min_steps` gets smaller batches and more epochs on small sets."""
    batch = min(training.batch, max(16, count // 16)) if training.min_steps else training.batch
    steps = max(1, -(-count // batch))
    return batch, max(training.epochs, -(-training.min_steps // steps))


def fit(
    state: State,
    train: Images,
    validation: Images | None,
    recipe: Recipe,
    *,
    precision: str = "float32",
    clock: Clock | None = None,
    meter: Meter | None = None,
    group: Group | None = None,
) -> Iterator[Epoch]:
    """Train `state.network` from where the state stands, an epoch at a time.

    Under a budget, progress is the share of the time for training that has passed, otherwise the share of the steps.
    Raises UserError when the loss is no longer a number, or when the budget leaves no time for a single step.
    """
    loop = _Loop(
        state,
        train,
        recipe,
        precision,
        clock or Clock(time.monotonic()),
        meter or Meter(),
        group or Group(),
    )
    if state.history and loop.allowed <= 0:
        return  # no time for this stage, but an earlier one left weights to keep
    while not loop.finished():
        began, seen = time.monotonic(), loop.meter.pictures
        done = loop.epoch()
        if done is None:  # the time ran out while the last epoch was validated and saved
            return
        loss, score, gradient = done
        clean = augment.mixes(recipe.augment)
        if clean:
            loss, score = loop.score(train, SAMPLE)
        measured = loop.score(validation) if validation is not None and len(validation) else None
        check(loss, measured, state.epoch + 1, loop.rate, recipe)
        state.epoch += 1
        best = state.record(
            dict(zip(("loss", "score"), measured or (loss, score), strict=True)), recipe.training
        )
        validation_loss, validation_score = measured or (None, None)
        yield Epoch(
            epoch=state.epoch,
            progress=round(state.progress, 6),
            lr=loop.rate,
            train_loss=loss,
            train_score=score,
            train_clean=clean,
            validation_loss=validation_loss,
            validation_score=validation_score,
            gradient=gradient,
            pictures=loop.meter.pictures - seen,
            seconds=round(time.monotonic() - began, 4),
            best=best,
            measure=loop.task.measure.key,
        )


class _Loop:
    """One training's moving parts that need not be saved."""

    def __init__(
        self,
        state: State,
        train: Images,
        recipe: Recipe,
        precision: str,
        clock: Clock,
        meter: Meter,
        group: Group,
    ) -> None:
        self.state, self.recipe, self.clock, self.meter, self.group = (
            state,
            recipe,
            clock,
            meter,
            group,
        )
        self.device = state.network.normalise.mean.device
        shared = (
            group.size > 1 and self.device.type == "cpu"
        )  # all processes read the same mapped file
        self.train = train if shared else train.resident(self.device)
        self.precision = precision
        self.batch, self.epochs = plan(recipe.training, len(train))
        self.steps_per_epoch = max(1, -(-len(train) // self.batch))
        self.task = tasks.of(recipe)
        self.loss = self.task.loss(recipe.loss, train)
        self.schedule = optim.schedule(recipe.optim, recipe.training.epochs)
        self.plateau = optim.Plateau(recipe.optim)
        share = self.batch / max(self.batch, recipe.training.batch)  # as in Goyal et al. 2017
        self.share = (
            share if recipe.optim.name in ("sgd", "muon") and recipe.training.min_steps else 1.0
        )
        if recipe.training.small < 1:
            check_small(state.network, recipe.training.small)
        if group.size == 1 and len(train) // self.steps_per_epoch < 2:
            check_lone(state.network, train.shape)
        group.check_shares(
            state.network, len(train) // self.steps_per_epoch, together=recipe.training.sync_norm
        )
        self.rate = 0.0
        self.began, self.origin = clock.elapsed(), state.progress
        self.allowed = group.agree(
            clock.left() * (1 - state.progress)
        )  # a resumed training has only its share of the time left
        self.repeats = max(1, self.epochs // max(LINES, recipe.training.epochs))
        meter.began, meter.origin, meter.progress = time.monotonic(), state.progress, state.progress

    def finished(self) -> bool:
        """Whether no further epoch is due."""
        return self.state.progress >= 1

    def progress(self) -> float:
        """Where the training stands before the next step, from 0 to 1."""
        if self.clock.budget is None:
            return self.group.agree(
                self.state.steps / (self.steps_per_epoch * self.epochs)
            )  # so that one that is gone is missed
        if self.allowed <= 0:
            return 1.0
        passed = (self.clock.elapsed() - self.began) / self.allowed
        return self.group.agree(min(1.0, self.origin + (1 - self.origin) * passed))

    def epoch(self) -> tuple[float, float, float] | None:
        """Mean loss, score and last gradient norm of a pass over the training pictures, or of several when they are quick.

        None when no time was left for a step after epochs that had it.
        """
        began, repeats = time.monotonic(), self.repeats
        totals = NOTHING
        for _ in range(repeats):
            totals = self._pass(totals)
        self.group.even_out(
            [
                self.state.network.state_dict(),
                self.state.average.tensors if self.state.average else {},
            ]
        )
        if self.clock.budget is not None and self.state.progress < 1:
            # Validating, logging and saving after every fraction of a second would eat the budget of a small data set.
            lasted = self.group.agree(time.monotonic() - began)
            self.repeats = max(1, math.ceil(self.clock.budget / 100 * repeats / max(1e-3, lasted)))
        totals = self.group.total(totals)
        if not totals.ndim and self.state.history:
            return None
        if not totals.ndim:
            raise UserError(
                f"the budget of {self.clock.budget:.0f} s leaves no time for a single training step",
                f"starting and loading took {self.began:.0f} s (less once the pictures are prepared) and evaluation needs about "
                f"{self.clock.reserve:.0f} s; try --budget {10 * math.ceil(0.15 * (self.began + self.clock.reserve)):.0f}s",
            )
        return *self._means(totals), self._gradient()

    def _means(self, totals: Tensor) -> tuple[float, float]:
        loss, weight, *tally = totals.tolist()
        return loss / weight, self.task.score(tally)

    def _pass(self, totals: Tensor) -> Tensor:
        state, seed = self.state, self.recipe.training.seed
        order = torch.randperm(len(self.train), generator=augment.generator(seed, state.passes, -1))
        with torch.random.fork_rng(enabled=self.device.type in ("cpu", "cuda")):
            torch.manual_seed(
                seed * 1_000_003 + state.passes + (self.group.rank << 40)
            )  # dropout takes no generator
            images = self.train.at(state.passes)
            for step, batch in enumerate(portions(order, self.batch)):
                state.progress = self.progress()
                if state.progress >= 1 and state.steps >= self.clock.least:
                    break
                mine, random = self._share(
                    batch, augment.generator(seed, state.passes, step, self.device)
                )
                totals = totals + self._step(images.see(mine, self.device), random)
                self.meter.pictures += len(batch)
        state.passes += 1
        state.progress = self.meter.progress = self.progress()
        return totals

    def _share(self, batch: Tensor, random: torch.Generator) -> tuple[Tensor, torch.Generator]:
        """Which pictures of a batch this process looks at, and their randomness; one without a share looks at the first for nothing."""
        if self.group.size == 1:
            return batch, random
        share = self.group.share(len(batch))
        self.group.busy = 1.0 if share else 0.0
        part = augment.Part(
            random, len(batch), share or range(1), augment.mixes(self.recipe.augment)
        )
        return batch[part.here], part

    def _step(self, batch: tuple[Tensor, Tensor, Tensor], random: torch.Generator) -> Tensor:
        state, (pixels, known, index) = self.state, batch
        self._set_rate()
        state.network.train()
        pictures, targets = self.task.change(
            pixels, known, self.train, self.recipe.augment, random, state.passes, index
        )
        if (
            self.recipe.training.small < 1
            and state.progress < self.recipe.training.small_until
            and pixels.dtype == torch.uint8
        ):
            pictures = augment.shrink(pictures, self.recipe.training.small)
        with self.autocast(), self._norms():
            outputs = state.network(pictures)
        targets = self.task.fitted(outputs, targets)
        loss = self.loss(outputs, targets)
        state.optimiser.zero_grad(set_to_none=True)
        self.group.backward(loss, self.loss.weigh, targets, state.network)
        optim.clip(state.network, self.recipe.optim.clip)
        with self.autocast():  # Muon multiplies matrices
            state.optimiser.step()
        if state.average is not None:
            state.average.update(state.network)
        state.steps += 1
        self.meter.epoch, self.meter.progress = state.epoch + 1, state.progress
        return self._counted(loss.detach(), outputs.detach(), targets) * self.group.busy

    def _counted(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """The batch's loss times what it weighs, what it weighs, and its tally: they add up over batches and processes."""
        weight = self.loss.weigh(targets).double()
        return torch.cat(
            [torch.stack([loss.double() * weight, weight]), self.task.tally(outputs, targets)]
        )

    def _set_rate(self) -> None:
        falls = self.plateau.factor([epoch["loss"] for epoch in self.state.history])
        self.rate = self.recipe.optim.lr * self.schedule(self.state.progress) * falls * self.share
        optim.set_rate(self.state.optimiser, self.rate)

    def _gradient(self) -> float:
        gradients = [
            parameter.grad
            for parameter in self.state.network.parameters()
            if parameter.grad is not None
        ]
        return float(nn.utils.get_total_norm(gradients)) if gradients else 0.0

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which the network runs."""
        return (
            torch.autocast(self.device.type, torch.bfloat16)
            if self.precision == "bfloat16"
            else nullcontext()
        )

    def _norms(self) -> AbstractContextManager[Any]:
        """The context in which batch normalisation sees the whole batch, where that is asked for."""
        return (
            Synchronised(self.group)
            if self.group.size > 1 and self.recipe.training.sync_norm
            else nullcontext()
        )

    @torch.no_grad()
    def score(self, images: Images, most: int | None = None) -> tuple[float, float]:
        """The recipe's own loss and the score on unchanged pictures, or on evenly spread `most` of them, by the weights to be kept."""
        order = (
            torch.arange(len(images))
            if most is None
            else torch.linspace(0, len(images) - 1, min(most, len(images))).long()
        )
        totals, share = NOTHING, self.group.share(len(order))
        order = order[share.start : share.stop]
        self.state.network.eval()
        for pixels, known, _ in images.batches(order, images.portion, self.device) if share else ():
            pictures, targets = self.task.question(pixels, known, images, self.recipe.augment)
            with self.autocast():
                outputs = self.state.forward(pictures).float()
            totals = totals + self._counted(self.loss(outputs, targets), outputs, targets)
        return self._means(self.group.total(totals))


@torch.no_grad()
def check_lone(network: Network, shape: Shape) -> None:
    """Raise UserError when batch normalisation cannot take one picture of `shape` at a time, as where only a vector is left of it."""
    try:
        copy.deepcopy(network).train()(torch.zeros(1, *shape, device=network.normalise.mean.device))
    except ValueError:
        raise UserError(
            "a batch of one picture is too few for this network's batch normalisation",
            "--set training.batch=2 or more; more pictures",
        ) from None


@torch.no_grad()
def check_small(network: Network, factor: float) -> None:
    """Raise UserError when the network cannot take pictures of `factor` times its own size."""
    network.eval()
    try:
        network(
            augment.shrink(
                torch.zeros(1, *network.shape, device=network.normalise.mean.device), factor
            )
        )
    except RuntimeError:
        raise UserError(
            f"this network takes only pictures of {network.shape[1]}×{network.shape[2]}, not of {factor:g} times that",
            "leave training.small at 1, or choose a larger one",
        ) from None


def check(
    loss: float, measured: tuple[float, float] | None, epoch: int, rate: float, recipe: Recipe
) -> None:
    """Raise UserError when a loss is not a finite number."""
    if math.isfinite(loss) and (measured is None or math.isfinite(measured[0])):
        return
    raise UserError(
        f"the loss was no longer a number in epoch {epoch}: the steps were too large (learning rate {rate:g})",
        f"lower the rate, for example --set optim.lr={recipe.optim.lr / 10:g}, or clip the gradient with --set optim.clip=1",
    )
