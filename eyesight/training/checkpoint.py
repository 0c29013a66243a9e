"""The state of a training: network, optimiser, averages, best weights and history.

Saved as a .safetensors file with numbers in its header, so loading cannot execute code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.func import functional_call

from eyesight.errors import UserError
from eyesight.models.layers import Network
from eyesight.recipe import Recipe, Training
from eyesight.system.json_value import parse_json
from eyesight.system.tensors import save_tensors
from eyesight.training import optim
from eyesight.training.history import Monitored, best_epoch

# Passes are counted from here in the second stage, so that it repeats no random numbers of the
# first.
STAGE_PASSES = 1_000_003


@dataclass(eq=False)
class State:
    """The state of a training.

    `history` holds one dict per epoch with the monitored "loss" and "score". `passes` counts passes
    over the data.
    """

    network: Network
    optimiser: torch.optim.Optimizer
    average: optim.Average | None = None
    best: dict[str, Tensor] = field(default_factory=dict)
    first: dict[str, Tensor] = field(default_factory=dict)  # the weights of the stage before
    history: list[Monitored] = field(default_factory=list)
    epoch: int = 0
    passes: int = 0
    steps: int = 0
    progress: float = 0.0
    margins: Tensor | None = None  # 2,N: sum and number of margins of each training image

    @staticmethod
    def start(network: Network, recipe: Recipe, stage: int = 1) -> State:
        """The state before the first step; a second stage has its own random streams."""
        average = (
            optim.Average(network, recipe.training.average) if recipe.training.average else None
        )
        optimiser = optim.build(recipe.optim, network)
        return State(network, optimiser, average, passes=(stage - 1) * STAGE_PASSES)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits with the weights that would be saved now: the average, if there is one."""
        if self.average is None:
            return self.network(pictures)  # type: ignore[no-any-return]
        logits: Tensor = functional_call(self.network, self.average.tensors, (pictures,))
        return logits

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights that would be saved now."""
        tensors = self.average.tensors if self.average else self.network.state_dict()
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}

    def record(self, monitored: Monitored, training: Training) -> bool:
        """Add an epoch's monitored values to the history.

        Returns whether they are the best so far, in which case the weights are kept.
        """
        self.history.append(monitored)
        best = best_epoch(self.history, training) == len(self.history)
        if best and training.keep == "best":
            self.best = self.weights()
        return best and training.keep == "best"

    def seed_best(self, monitored: Monitored) -> None:
        """Start with the previous stage's weights and scores as the best so far."""
        self.history, self.best = [monitored], self.weights()
        self.first = self.weights()

    def finish(self, training: Training) -> None:
        """Load the weights of the best or last epoch into the network."""
        self.network.load_state_dict(
            self.best if training.keep == "best" and self.best else self.weights()
        )

    def save(self, path: Path) -> None:
        """Write the state to a file atomically."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"first.{name}": tensor for name, tensor in self.first.items()}
        tensors |= {
            f"average.{name}": tensor
            for name, tensor in (self.average.tensors.items() if self.average else ())
        }
        if self.margins is not None:
            tensors["margins"] = self.margins
        for place, values in self.optimiser.state_dict()["state"].items():
            tensors |= {
                f"optimiser.{place}.{name}": torch.as_tensor(value)
                for name, value in values.items()
            }
        numbers = {
            name: getattr(self, name)
            for name in ("epoch", "passes", "steps", "progress", "history")
        }
        numbers["average_steps"] = self.average.steps if self.average else 0
        save_tensors(
            {name: tensor.contiguous().cpu() for name, tensor in tensors.items()},
            path,
            {"state": json.dumps(numbers)},
        )

    def restore(self, path: Path) -> None:
        """Continue from what `save` wrote.

        Raises UserError if the file is damaged or belongs to another network.
        """
        try:
            with safe_open(path, framework="pt") as file:
                numbers = parse_json(file.metadata()["state"])
                names = file.keys()
                # Copies, so that the file can be replaced.
                tensors = {name: file.get_tensor(name).clone() for name in names}
            self._fill(tensors)
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise UserError(
                f"cannot resume from the checkpoint {path}: {error}",
                "remove this file and run the command again: the training starts anew",
            ) from None
        steps = numbers.pop("average_steps")
        if self.average:
            self.average.steps = steps
        for name, value in numbers.items():
            setattr(self, name, value)

    def _fill(self, tensors: dict[str, Tensor]) -> None:
        device = self.network.normalise.mean.device
        self.network.load_state_dict(part(tensors, "network."))
        self.best = {name: tensor.to(device) for name, tensor in part(tensors, "best.").items()}
        self.first = {name: tensor.to(device) for name, tensor in part(tensors, "first.").items()}
        if "margins" in tensors:  # a checkpoint of before has none
            self.margins = tensors["margins"].to(device)
        if self.average:
            for name, tensor in part(tensors, "average.").items():
                self.average.tensors[name].copy_(tensor)
        places: dict[int, dict[str, Tensor]] = {}
        parameters = [
            parameter for group in self.optimiser.param_groups for parameter in group["params"]
        ]
        for name, tensor in part(tensors, "optimiser.").items():
            place, key = name.split(".", 1)
            places.setdefault(int(place), {})[key] = laid_out(tensor, parameters[int(place)])
        self.optimiser.load_state_dict(
            {"state": places, "param_groups": self.optimiser.state_dict()["param_groups"]}
        )


def laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor in the memory order of `like`, if their shapes agree.

    Fused optimisers need both in the same order.
    """
    return (
        torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
        if tensor.shape == like.shape
        else tensor
    )


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
