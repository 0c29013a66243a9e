"""A classifier: a network, its class names and its preprocessing, in memory and as a folder of two files.

The folder holds `weights.safetensors` and `classifier.json`; the latter names the former's checksum, so neither is trusted alone.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from eyesight.data.images import Images, at_once
from eyesight.data.prepare import Pixels, Preparation, prepare
from eyesight.errors import UserError
from eyesight.models import registry
from eyesight.models.layers import Network
from eyesight.recipe import Model, group
from eyesight.system.files import whole_file
from eyesight.system.tensors import checksum, save_tensors
from eyesight.tasks import TASKS, Task

FORMAT = 1
Views = Literal["one", "flip", "shifts", "flip_shifts"]


@dataclass(eq=False)
class Classifier:
    """`facts` is what a person may want to know later: data and split hashes, metrics, versions."""

    network: Network
    model: Model
    classes: tuple[str, ...]
    preparation: Preparation
    views: Views = "one"
    facts: dict[str, Any] = field(default_factory=dict)
    noise: float = 0.0  # added to the pictures on which one that removes it is judged
    arithmetic: str = (
        "float32"  # of inference; "bfloat16" only where a short budget cannot afford better
    )

    def prepare(self, picture: bytes | Pixels) -> Pixels:
        """An encoded picture or a uint8 array H,W or H,W,C as uint8 C,H,W, exactly as in training; raises BadPicture."""
        return prepare(picture, self.preparation)

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Probabilities N,K of prepared pictures, uint8 N,C,H,W."""
        parts = torch.split(torch.from_numpy(pixels), at_once(pixels.shape[1:]))
        return torch.cat(
            [probabilities(self.network, part, self.views, self.arithmetic).cpu() for part in parts]
        ).numpy()

    def predict(self, pictures: Sequence[bytes | Pixels | Path]) -> npt.NDArray[np.float32]:
        """Probabilities N,K of files, encoded pictures or uint8 arrays H,W or H,W,C; raises BadPicture for what is no picture."""
        read = [
            picture.read_bytes() if isinstance(picture, Path) else picture for picture in pictures
        ]
        return self.probabilities(np.stack([self.prepare(picture) for picture in read]))

    @property
    def task(self) -> Task:
        """What its network does."""
        return TASKS[self.network.emits]

    def infer(self, images: Images, batch: int | None = None) -> Any:
        """`Predictions` for prepared pictures (or what else the task gives), each picture once."""
        return self.task.infer(self.network, images, self.answers, batch=batch, noise=self.noise)

    def answers(self, pictures: Tensor) -> Tensor:
        """What the network says of pictures N,C,H,W, uint8 or from 0 to 1: probabilities, restored pictures, or maps of probabilities."""
        return probabilities(self.network, pictures, self.views, self.arithmetic)

    def save(self, folder: Path) -> None:
        """Write the two files into `folder`, whole or not at all."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            tensors = {
                name: tensor.contiguous().cpu()
                for name, tensor in self.network.state_dict().items()
            }
            save_tensors(tensors, temporary / "weights.safetensors")
            description = self._description(checksum(temporary / "weights.safetensors"))
            with whole_file(temporary / "classifier.json") as file:
                file.write(
                    json.dumps(description, indent=2, ensure_ascii=False).encode(
                        errors="backslashreplace"
                    )
                    + b"\n"
                )
            if folder.exists():
                shutil.rmtree(folder)
            temporary.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _description(self, weights: str) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "model": {
                key: value
                for key, value in dataclasses.asdict(self.model).items()
                if value is not None
            },
            "shape": list(self.network.shape),
            "classes": list(self.classes),
            "preparation": self.preparation.to_dict(),
            "mean": self.network.normalise.mean.flatten().tolist(),
            "deviation": self.network.normalise.deviation.flatten().tolist(),
            "views": self.views,
            "target": self.network.emits,
            "noise": self.noise,
            "weights_sha256": weights,
            "facts": self.facts,
        }


def load(folder: Path, device: torch.device | str = "cpu") -> Classifier:
    """The classifier in `folder`; raises UserError when it is missing, too new, or its weights are not the ones it names."""
    description = read_description(folder)
    try:
        model, classes = (
            cast(Model, group("model", description["model"])),
            tuple(description["classes"]),
        )
        shape, views, facts = (
            tuple(description["shape"]),
            description["views"],
            description["facts"],
        )
        preparation, expected = (
            Preparation.from_dict(description["preparation"]),
            description["weights_sha256"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder / 'classifier.json'} does not describe a classifier: {error}",
            "copy the folder again",
        ) from None
    network = registry.build(
        model, shape, registry.outputs(description.get("target", "class"), shape, len(classes))
    )
    network.load_state_dict(
        _weights(folder / "weights.safetensors", expected, network.state_dict())
    )
    network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return Classifier(
        network, model, classes, preparation, views, facts, float(description.get("noise", 0.0))
    )


def read_description(folder: Path) -> dict[str, Any]:
    """What `classifier.json` says, without torch's help."""
    file = folder / "classifier.json"
    try:
        description: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{folder} holds no classifier: there is no {file.name}",
            "name a run that finished, or its classifier folder",
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read: {error}", "it may be damaged; copy the folder again"
        ) from None
    if description.get("format", 0) > FORMAT:
        found = description["format"]
        raise UserError(
            f"{folder} was written by a later eyesight (format {found}, this one reads up to {FORMAT})",
            "upgrade eyesight",
        )
    return description


def _weights(file: Path, expected: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    try:
        if checksum(file) != expected:
            raise UserError(
                f"{file} is not the file that classifier.json was written for: its checksum differs",
                "the weights were changed or damaged; copy the folder again, or train again",
            )
        tensors: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{file} cannot be read: {error}", "it may be damaged; copy the folder again"
        ) from None
    wrong = [
        name
        for name in state.keys() | tensors.keys()
        if name not in state or name not in tensors or state[name].shape != tensors[name].shape
    ]
    if wrong:
        raise UserError(
            f"{file} does not fit the network: {', '.join(sorted(wrong)[:5])} differ",
            "the architecture may have changed since",
        )
    return tensors


@torch.no_grad()
def probabilities(
    network: Network, pixels: Tensor, views: Views = "one", arithmetic: str = "float32"
) -> Tensor:
    """Probabilities N,K (or what else the network answers) of uint8 pictures N,C,H,W, averaged over the views in logit space."""
    training = network.training
    network.eval()
    pictures = pixels.to(_device(network)).contiguous(memory_format=torch.channels_last)
    pictures = pictures.float().div_(255) if pixels.dtype == torch.uint8 else pictures
    with torch.autocast(pictures.device.type, torch.bfloat16, enabled=arithmetic == "bfloat16"):
        logits = [network(view).float() for view in seen(pictures, views)]
    network.train(training)
    return network.answer(torch.stack(logits).mean(0))


def seen(pictures: Tensor, views: Views) -> list[Tensor]:
    """The versions of a batch that are averaged: itself; mirrored; moved by a pixel along four diagonals, or along two and all mirrored."""
    if views == "one":
        return [pictures]
    if views == "flip":
        return [pictures, pictures.flip(3)]
    padded = torch.nn.functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
    height, width = pictures.shape[2:]
    ways = [(0, 0), (2, 2)] if views == "flip_shifts" else [(0, 0), (0, 2), (2, 0), (2, 2)]
    moved = [pictures] + [
        padded[:, :, down : down + height, across : across + width] for down, across in ways
    ]
    return moved + [view.flip(3) for view in moved] if views == "flip_shifts" else moved


def _device(network: Network) -> torch.device:
    return network.normalise.mean.device
