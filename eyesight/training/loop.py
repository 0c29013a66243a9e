"""The training loop: `for epoch in fit(state, …)`.

Early stopping and printing belong to the caller. Each step depends only on the state and (seed,
pass, step), so a resumed training ends bit for bit like an uninterrupted one. In a group of
processes each handles its share of every batch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from eyesight import augment, tasks
from eyesight.data.images import Images, even_batches
from eyesight.distributed.batchnorm import Synchronised
from eyesight.errors import TrainingFailedError, UserError
from eyesight.models.cores import on_each_core
from eyesight.models.layers import Network, Shape
from eyesight.recipe import Recipe, Training
from eyesight.system.progress import Epoch
from eyesight.training import margins, optim
from eyesight.training.checkpoint import State
from eyesight.training.context import Context
from eyesight.training.history import Monitored, monitors_training
from eyesight.training.precision import autocast

TRAINING = "training"  # label of the progress
LINES = 100  # approximate number of logged epochs; on small data sets one epoch is several passes
SAMPLE = 2000  # training images on which scores are measured when the batches are blends
NOTHING = torch.zeros((), dtype=torch.float64)  # the sum of no tallies


def plan(training: Training, count: int) -> tuple[int, int]:
    """Batch size and number of epochs for `count` images.

    With `min_steps`, small data sets get smaller batches and more epochs.
    """
    batch = training.batch
    if training.min_steps:
        batch = min(batch, max(16, count // 16))
    steps = max(1, -(-count // batch))
    return batch, max(training.epochs, -(-training.min_steps // steps))


def fit(
    state: State,
    train: Images,
    validation: Images | None,
    recipe: Recipe,
    context: Context | None = None,
    *,
    precision: str = "float32",
) -> Iterator[Epoch]:
    """Train `state.network` and yield after every epoch.

    With a budget, progress is the elapsed share of the training time, otherwise the share of steps.
    Raises UserError if the loss becomes NaN or infinite, or if the budget is too short for a
    single step.
    """
    loop = _Loop(state, train, recipe, context or Context(), precision)
    if state.history and loop.allowed <= 0:
        return  # no time for this stage, but an earlier one left weights to keep
    while not loop.finished():
        began, seen = loop.clock.now(), loop.seen
        trained = loop.epoch()
        if trained is None:  # the time ran out while the last epoch was validated and saved
            return
        yield loop.measure(trained, validation, began, seen)


@dataclass(frozen=True)
class _Trained:
    """The results of the training steps of an epoch."""

    loss: float
    score: float
    gradient: float


class _Loop:
    """The parts of a training that are not saved."""

    def __init__(
        self, state: State, train: Images, recipe: Recipe, context: Context, precision: str
    ) -> None:
        self.state = state
        self.recipe = recipe
        self.clock, self.group = context.clock, context.group
        self.reporter, self.every = context.reporter, context.every
        self.precision = precision
        self.device = state.network.normalise.mean.device
        # On the CPU all processes read the same mapped file.
        shared = self.group.size > 1 and self.device.type == "cpu"
        self.train = train if shared else train.resident(self.device)
        self.batch, self.epochs = plan(recipe.training, len(train))
        self.steps_per_epoch = max(1, -(-len(train) // self.batch))
        self.task = tasks.of(recipe)
        self.loss = self.task.loss(recipe.loss, train)
        self.schedule = optim.Schedule(recipe.optim, recipe.training.epochs)
        self.plateau = optim.Plateau(recipe.optim)
        self.small_batch_factor = self._small_batch_factor()
        self._check_network(train)
        self._keep_margins()
        self.seen = 0  # images
        self.step_began: float | None = None  # when the step under way began
        self.step_seconds = math.inf  # of the fastest step
        self.lr = 0.0
        self.began, self.origin = self.clock.elapsed(), state.progress
        # A resumed training has only its share of the time left.
        self.allowed = self.group.agree(self.clock.left() * (1 - state.progress))
        self.repeats = max(1, self.epochs // max(LINES, recipe.training.epochs))
        self.reporter.progress(TRAINING, state.progress, 1.0)

    def _small_batch_factor(self) -> float:
        """The factor on the learning rate for batches smaller than the recipe's.

        As in Goyal et al. 2017.
        """
        training = self.recipe.training
        if self.recipe.optim.name not in ("sgd", "muon") or not training.min_steps:
            return 1.0
        return self.batch / max(self.batch, training.batch)

    def _keep_margins(self) -> None:
        """Start recording margins of the training images, if supported."""
        state = self.state
        if not margins.are_kept(self.recipe, self.group.size):
            state.margins = None
        elif state.margins is None:
            state.margins = margins.empty(len(self.train), self.device)

    def _check_network(self, train: Images) -> None:
        """Raise UserError if the network does not accept the planned images or batches."""
        network, training = self.state.network, self.recipe.training
        smallest_batch = len(train) // self.steps_per_epoch
        if training.small < 1:
            check_small(network, training.small)
        if self.group.size == 1 and smallest_batch < 2:
            check_lone(network, train.shape)
        self.group.check_shares(network, smallest_batch, together=training.sync_norm)

    def finished(self) -> bool:
        """Whether training has ended."""
        return self.state.progress >= 1

    def progress(self) -> float:
        """The progress before the next step, from 0 to 1."""
        if self.clock.budget is None:
            steps = self.steps_per_epoch * self.epochs
            # Agreed on although all know it, so that a process that is gone is missed.
            return self.group.agree(self.state.steps / steps)
        if self.allowed <= 0:
            return 1.0
        elapsed = self.clock.elapsed()
        if self.step_began is not None:
            self.step_seconds = min(self.step_seconds, elapsed - self.step_began)
        self.step_began = elapsed
        half_step = self.step_seconds / 2 if math.isfinite(self.step_seconds) else 0.0
        # The next step is taken if more than half of it lies within the time.
        passed = (elapsed + half_step - self.began) / self.allowed
        progress = max(self.state.progress, self.origin + (1 - self.origin) * passed)
        if self.recipe.training.max_epochs:  # whichever comes first
            progress = max(progress, self._epochs_passed() / self.recipe.training.max_epochs)
        return self.group.agree(min(1.0, progress))

    def _epochs_passed(self) -> float:
        """Number of passes over the training images."""
        return self.state.steps / self.steps_per_epoch

    def epoch(self) -> _Trained | None:
        """Train one epoch: one pass over the images, or several if they are fast.

        Returns None if no time is left for a step.
        """
        began, repeats = self.clock.now(), self.repeats
        totals = NOTHING
        for _ in range(repeats):
            totals = self._pass(totals)
        average = self.state.average
        averaged = average.tensors if average else {}
        self.group.even_out([self.state.network.state_dict(), averaged])
        if self.clock.budget is not None and self.state.progress < 1:
            # Validating, logging and saving several times a second would use up the budget of a
            # small data set.
            lasted = self.group.agree(self.clock.now() - began)
            self.repeats = max(1, math.ceil(self.clock.budget / 100 * repeats / max(1e-3, lasted)))
        totals = self.group.total(totals)
        if not totals.ndim and self.state.history:
            return None
        if not totals.ndim:
            raise self._no_time()
        loss, score = self._means(totals)
        return _Trained(loss, score, self._gradient_norm())

    def _no_time(self) -> UserError:
        seconds = 10 * math.ceil(0.15 * (self.began + self.clock.reserve))
        return UserError(
            f"the budget of {self.clock.budget:.0f} s is too short for a single training step",
            f"loading took {self.began:.0f} s (less once the images are prepared) and "
            f"evaluation needs about {self.clock.reserve:.0f} s; try --budget {seconds}s",
        )

    def measure(
        self, trained: _Trained, validation: Images | None, began: float, seen: int
    ) -> Epoch:
        """Score the epoch on validation images, if there are any, and add it to the state."""
        state = self.state
        train_loss, train_score = trained.loss, trained.score
        clean = augment.mixes(self.recipe.augment)
        if clean:
            train_loss, train_score = self.score(self.train, SAMPLE)
        validation_loss: float | None = None
        validation_score: float | None = None
        halves = None
        if validation is not None and len(validation) > 1 and self.compares_stages:
            totals = [self.totals(validation.subset(rows)) for rows in halved(len(validation))]
            halves = self._means(totals[0]), self._means(totals[1])
            validation_loss, validation_score = self._means(totals[0] + totals[1])
        elif validation is not None and len(validation):
            validation_loss, validation_score = self.score(validation)
        check([train_loss, validation_loss], state.epoch + 1, self.lr, self.recipe)
        state.epoch += 1
        monitored = Monitored(loss=train_loss, score=train_score)
        by_training = monitors_training(self.recipe.training)
        if validation_loss is not None and validation_score is not None and not by_training:
            monitored = Monitored(loss=validation_loss, score=validation_score)
        best = state.record(monitored, self.recipe.training)
        return Epoch(
            epoch=state.epoch,
            progress=round(state.progress, 6),
            lr=self.lr,
            train_loss=train_loss,
            train_score=train_score,
            train_clean=clean,
            validation_loss=validation_loss,
            validation_score=validation_score,
            gradient=trained.gradient,
            pictures=self.seen - seen,
            seconds=round(self.clock.now() - began, 4),
            best=best,
            measure=self.task.measure.key,
            halves=halves,
        )

    @property
    def compares_stages(self) -> bool:
        """Whether a second stage must be better than the first on images that did not choose."""
        training = self.recipe.training
        by_validation = training.keep == "best" and not monitors_training(training)
        return bool(self.recipe.transfer.thaw) and by_validation

    def _means(self, totals: Tensor) -> tuple[float, float]:
        loss, weight, *tally = totals.tolist()
        return loss / weight, self.task.score(tally)

    def _pass(self, totals: Tensor) -> Tensor:
        state, seed = self.state, self.recipe.training.seed
        self.step_began = None
        seen = self.seen
        order = torch.randperm(len(self.train), generator=augment.generator(seed, state.passes, -1))
        with torch.random.fork_rng(enabled=self.device.type in ("cpu", "cuda")):
            # Dropout takes no generator.
            torch.manual_seed(seed * 1_000_003 + state.passes + (self.group.rank << 40))
            images = self.train.at_pass(state.passes)
            for step, batch in enumerate(even_batches(order, self.batch)):
                state.progress = self.progress()
                if state.progress >= 1 and state.steps >= self.clock.minimum_steps:
                    break
                generator = augment.generator(seed, state.passes, step, self.device)
                own, random = self._share(batch, generator)
                totals = totals + self._step(images.batch(own, self.device), random)
                self.seen += len(batch)
        if self.seen > seen:  # the time may be up before the first step
            state.passes += 1
        if state.progress < 1:
            state.progress = self.progress()
        self.reporter.progress(TRAINING, state.progress, 1.0)
        return totals

    def _share(self, batch: Tensor, random: torch.Generator) -> tuple[Tensor, torch.Generator]:
        """This process's images of a batch, and their randomness.

        A process without a share takes the first image with weight 0.
        """
        if self.group.size == 1:
            return batch, random
        share = self.group.share(len(batch))
        self.group.busy = 1.0 if share else 0.0
        blends = augment.mixes(self.recipe.augment)
        part = augment.Part(random, len(batch), share or range(1), blends)
        return batch[part.here], part

    def _step(self, batch: tuple[Tensor, Tensor, Tensor], random: torch.Generator) -> Tensor:
        state = self.state
        self._set_rate()
        state.network.train()
        inputs, targets = self._inputs(batch, random)
        with self.autocast(), self._norms():
            outputs = state.network(inputs)
        targets = self.task.fitted(outputs, targets)
        loss = self.loss(outputs, targets)
        state.optimiser.zero_grad(set_to_none=True)
        if state.margins is not None:
            margins.add(state.margins, outputs.detach(), batch[1], batch[2])
        self.group.backward(loss, self.loss.weigh, targets, state.network)
        optim.clip(state.network, self.recipe.optim.clip)
        with self.autocast():  # Muon multiplies matrices
            optim.step(state.optimiser)
        if state.average is not None:
            state.average.update(state.network)
        state.steps += 1
        if self.every and state.steps % self.every == 0:
            self.reporter.step(state.steps, float(loss.detach()))
        self.reporter.progress(TRAINING, state.progress, 1.0)
        return self._weighted(loss.detach(), outputs.detach(), targets) * self.group.busy

    def _inputs(
        self, batch: tuple[Tensor, Tensor, Tensor], random: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a training batch, augmented, and smaller with training.small."""
        pixels, labels, index = batch
        training = self.recipe.training
        inputs, targets = self.task.change(
            pixels, labels, self.train, self.recipe.augment, random, self.state.passes, index
        )
        early = training.small < 1 and self.state.progress < training.small_until
        if early and pixels.dtype == torch.uint8:
            inputs = augment.shrink(inputs, training.small)
        return inputs, targets

    def _weighted(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss times weight, weight, and tally of a batch.

        They add up over batches and processes.
        """
        weight = self.loss.weigh(targets).double()
        weighted = torch.stack([loss.double() * weight, weight])
        return torch.cat([weighted, self.task.tally(outputs, targets)])

    def _set_rate(self) -> None:
        losses = [epoch["loss"] for epoch in self.state.history]
        # Under a budget no number of epochs is known before, so they are counted.
        epochs = None if self.clock.budget is None else self._epochs_passed()
        factor = self.schedule(self.state.progress, epochs) * self.plateau.factor(losses)
        self.lr = self.recipe.optim.lr * factor * self.small_batch_factor
        optim.set_rate(self.state.optimiser, self.lr)

    def _gradient_norm(self) -> float:
        parameters = self.state.network.parameters()
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        return float(nn.utils.get_total_norm(gradients)) if gradients else 0.0

    def _outputs(self, inputs: Tensor) -> Tensor:
        """The outputs for some images, without gradients, with the weights to be saved."""

        def run(part: Tensor) -> Tensor:
            with torch.no_grad(), self.autocast():
                return self.state.forward(part).float()

        if self.state.average is not None:  # its weights are put into the network for each call
            return run(inputs)
        return torch.cat(on_each_core(run, inputs, self.state.network))

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which the network runs."""
        return autocast(self.precision, self.device)

    def _norms(self) -> AbstractContextManager[object]:
        """The context in which batch normalisation is synchronised, if enabled."""
        if self.group.size > 1 and self.recipe.training.sync_norm:
            return Synchronised(self.group)
        return nullcontext()

    @torch.no_grad()
    def score(self, images: Images, maximum: int | None = None) -> tuple[float, float]:
        """Loss and score on images without augmentation, with the weights to be saved.

        `maximum` limits the number of images, evenly spread.
        """
        return self._means(self.totals(images, maximum))

    @torch.no_grad()
    def totals(self, images: Images, maximum: int | None = None) -> Tensor:
        """The sums behind `score`, which add up over disjoint images."""
        order = torch.arange(len(images))
        if maximum is not None:
            order = torch.linspace(0, len(images) - 1, min(maximum, len(images))).long()
        share = self.group.share(len(order))
        order = order[share.start : share.stop]
        self.state.network.eval()
        totals = NOTHING
        if share:
            for pixels, labels, _ in images.batches(order, images.chunk, self.device):
                inputs, targets = self.task.eval_batch(pixels, labels, images, self.recipe.augment)
                outputs = self._outputs(inputs)
                totals = totals + self._weighted(self.loss(outputs, targets), outputs, targets)
        return self.group.total(totals)


def halved(count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows of two halves at random."""
    order = np.random.default_rng(0).permutation(count)
    return np.sort(order[: count // 2]), np.sort(order[count // 2 :])


@torch.no_grad()
def check_lone(network: Network, shape: Shape) -> None:
    """Raise UserError if batch normalisation fails on a batch of one image of `shape`."""
    try:
        copy.deepcopy(network).train()(torch.zeros(1, *shape, device=network.normalise.mean.device))
    except ValueError:
        raise UserError(
            "a batch of one image is too small for batch normalisation",
            "use --set training.batch=2 or more, or more images",
        ) from None


@torch.no_grad()
def check_small(network: Network, factor: float) -> None:
    """Raise UserError if the network does not accept images of `factor` times its size."""
    network.eval()
    try:
        network(
            augment.shrink(
                torch.zeros(1, *network.shape, device=network.normalise.mean.device), factor
            )
        )
    except RuntimeError:
        raise UserError(
            f"this network accepts only images of {network.shape[1]}×{network.shape[2]}, not "
            f"{factor:g} times that",
            "set training.small to 1, or to a larger value",
        ) from None


def check(losses: Sequence[float | None], epoch: int, lr: float, recipe: Recipe) -> None:
    """Raise TrainingFailedError if a loss is NaN or infinite."""
    if all(loss is None or math.isfinite(loss) for loss in losses):
        return
    raise TrainingFailedError(
        f"the loss became NaN or infinite in epoch {epoch}: the learning rate {lr:g} was too high",
        f"lower the learning rate, for example --set optim.lr={recipe.optim.lr / 10:g}, or clip "
        "the gradient with --set optim.clip=1",
    )
