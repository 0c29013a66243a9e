"""A classifier: a network, its class names and its preprocessing, in memory and as two files.

The folder holds `weights.safetensors` and `classifier.json`. The latter names the checksum of the
former, so neither is trusted alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypedDict, cast, get_args

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from eyesight.data import inputs
from eyesight.data.images import Images, chunk_size
from eyesight.data.prepare import MOST_SIDE, Pixels, Preparation, prepare, thumbnail
from eyesight.errors import UserError
from eyesight.models import own, registry
from eyesight.models.blend import Blend, Mixture, MixtureJson
from eyesight.models.blend import build as build_blend
from eyesight.models.cores import on_each_core
from eyesight.models.layers import Network
from eyesight.models.views import Views, augmented_views
from eyesight.recipe import Model, group, is_own
from eyesight.results.answers import Answers, answers
from eyesight.results.any_task import Results
from eyesight.results.calibration import Calibration, CalibrationJson
from eyesight.results.predictions import Predictions, predicted
from eyesight.results.threshold import ThresholdJson
from eyesight.results.unlike import Arrays
from eyesight.system.digest import file_sha256
from eyesight.system.files import sync_folder, unfinished_folder, whole_file
from eyesight.system.json_value import parse_json
from eyesight.system.tensors import save_tensors
from eyesight.tasks import TASKS, Task

FORMAT = 1
DIFFERENT_NAMES = 5  # tensors named in an error
UNLIKE = "unlike."  # prefix of tensors that are not weights


class Facts(TypedDict, total=False):
    """The origin of a classifier; in an exported file also what is needed to use it alone."""

    run: str
    data: str
    store: str
    split: str
    eyesight: str
    colours: Sequence[Sequence[int]] | None  # of the classes of a mask
    weights: object  # where a pretrained network's weights came from
    only: str | None  # the subset of classes of a restricted pretrained network
    eyesight_format: int
    name: str
    classes: Sequence[str]
    target: str
    preparation: dict[str, object]
    views: Views
    accuracy: float | None
    accuracy_pictures: int | None
    threshold: ThresholdJson | None
    unfamiliar_from: float | None
    calibration: CalibrationJson
    int8: bool


class Description(TypedDict, total=False):
    """The contents of `classifier.json`."""

    format: int
    model: dict[str, object]
    shape: list[int]
    classes: list[str]
    preparation: dict[str, object]
    mean: list[float]
    deviation: list[float]
    views: Views
    target: str
    noise: float
    calibration: CalibrationJson
    weights_sha256: str
    code_sha256: str  # of the source file of a user's network
    mixture: MixtureJson  # of a blend: its members
    facts: Facts


@dataclass(eq=False)
class Classifier:
    """A trained network that takes images of any kind and gives class probabilities."""

    network: Network
    model: Model
    classes: tuple[str, ...]
    preparation: Preparation
    views: Views = "one"  # averaged at test time
    facts: Facts = field(default_factory=Facts)
    noise: float = 0.0  # added to test images when a denoising autoencoder is scored
    arithmetic: str = "float32"  # of inference; "bfloat16" if a budget is too short for float32
    source: str = ""  # description of where it was loaded from
    calibration: Calibration = field(default_factory=Calibration)

    def __repr__(self) -> str:
        return describe(self.source or self.model.name, self.classes, self.preparation)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self.classes

    @property
    def several_parts(self) -> Preparation | None:
        """The preparation of a blend whose members prepare images differently, or None."""
        return self.preparation if self.preparation.parts else None

    def predict(self, images: inputs.Images) -> Predictions:
        """Class probabilities of one image or of a list of images.

        Parameters
        ----------
        images
            A path, encoded bytes, a PIL image, an array H,W or H,W,C (uint8, or floats from 0 to
            1), a tensor H,W or C,H,W, a batch N,… of these, or a list of any of them, which may be
            empty. Images are prepared exactly as in training.

        Raises
        ------
        UserError
            For a missing file, input that is not an image, and a network that predicts images or
            masks instead of classes.
        """
        if self.network.emits != "class":
            raise no_classes(self.network.emits)
        names, pixels = inputs.prepare_inputs(images, self.preparation)
        return predicted(names, self.answer(pixels), self.classes, partial(thumbnail, pixels))

    def prepare(self, picture: bytes | Pixels) -> Pixels:
        """Prepare an image as in training: encoded bytes or uint8 H,W[,C] to uint8 C,H,W.

        Raises BadPicture.
        """
        return prepare(picture, self.preparation)

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Probabilities N,K of prepared images, uint8 N,C,H,W."""
        if not len(pixels):
            return np.zeros((0, len(self.classes)), dtype=np.float32)
        batches = torch.split(torch.from_numpy(pixels), chunk_size(pixels.shape[1:]))
        return torch.cat([self.forward(batch).cpu() for batch in batches]).numpy()

    def answer(self, pixels: Pixels) -> Answers:
        """Probabilities, logits, prediction sets and doubts for prepared images, uint8 N,C,H,W."""
        if not len(pixels):
            return Answers(np.zeros((0, len(self.classes)), dtype=np.float32))
        logits, features = self.logits_and_features(pixels)
        return answers(self.calibration, logits, features)

    def logits_and_features(
        self, pixels: Pixels
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Raw logits N,K and pooled features N,D of prepared images, uint8 N,C,H,W."""
        parts = []
        for batch in torch.split(torch.from_numpy(pixels), chunk_size(pixels.shape[1:])):
            parts.append(logits_and_features(self.network, batch, self.views, self.arithmetic))
        logits = torch.cat([logits.cpu() for logits, _ in parts])
        features = torch.cat([features.cpu() for _, features in parts])
        return logits.numpy(), features.numpy()

    def forward(self, pictures: Tensor) -> Tensor:
        """N,C,H,W (uint8 or [0,1]) → probabilities N,K, images N,C,H,W, or maps N,K,H,W."""
        outputs = mean_outputs(self.network, pictures, self.views, self.arithmetic)
        if self.network.emits == "class":
            outputs = outputs / self.calibration.temperature
        return self.network.answer(outputs)

    @property
    def task(self) -> Task:
        """The task of the network: classify, reconstruct or segment."""
        return TASKS[self.network.emits]

    def infer(self, images: Images, batch: int | None = None) -> Results:
        """Results for prepared images, each image once: `Predictions` when the task is classes."""
        results: Results = self.task.infer(
            self.network, images, self.forward, batch=batch, noise=self.noise
        )
        return results

    def save(self, folder: Path) -> None:
        """Write the two files into `folder`, whole or not at all."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(folder.parent) as temporary:
            tensors = {}
            for name, tensor in self.network.state_dict().items():
                tensors[name] = tensor.contiguous().cpu()
            if self.calibration.unlike is not None:
                for name, array in self.calibration.unlike.tensors().items():
                    tensors[UNLIKE + name] = torch.from_numpy(array)
            save_tensors(tensors, temporary / "weights.safetensors")
            description = self._description(file_sha256(temporary / "weights.safetensors"))
            text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
            with whole_file(temporary / "classifier.json") as file:
                file.write(text.encode(errors="backslashreplace"))
            with unfinished_folder(folder.parent) as aside:
                if folder.exists():
                    folder.rename(aside / "replaced")
                temporary.rename(folder)
            sync_folder(folder.parent)

    def _description(self, weights: str) -> Description:
        options = dataclasses.asdict(self.model).items()
        description: Description = {
            "format": FORMAT,
            "model": {name: value for name, value in options if value not in (None, ())},
            "shape": list(self.network.shape),
            "classes": list(self.classes),
            "preparation": self.preparation.to_dict(),
            "mean": self.network.normalise.mean.flatten().tolist(),
            "deviation": self.network.normalise.deviation.flatten().tolist(),
            "views": self.views,
            "target": self.network.emits,
            "noise": self.noise,
            "calibration": self.calibration.to_dict(),
            "weights_sha256": weights,
            "facts": self.facts,
        }
        if is_own(self.model.name):
            description["code_sha256"] = own.fingerprint(self.model.name)
        if isinstance(self.network, Blend):
            description["mixture"] = self.network.mixture.to_dict()
        return description


def load(folder: Path, device: torch.device | str = "cpu") -> Classifier:
    """Load the classifier in `folder`.

    Raises UserError when it is missing, was written by a later version, or when its weights are not
    the ones that `classifier.json` names.
    """
    description = read_description(folder)
    try:
        model = cast(Model, group("model", description["model"]))
        classes = tuple(description["classes"])
        shape = tuple(description["shape"])
        views = description["views"]
        facts = description["facts"]
        preparation = Preparation.from_dict(description["preparation"])
        expected = description["weights_sha256"]
        target = description.get("target", "class")
        noise = float(description.get("noise", 0.0))
        mixture = None
        if "mixture" in description:
            mixture = Mixture.from_dict(description["mixture"])
        problem = _problem(description, preparation)
        if problem:
            raise ValueError(problem)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{folder / 'classifier.json'} does not describe a classifier: {error}",
            "copy the folder again",
        ) from None
    network: Network
    if mixture is not None:
        network = build_blend(mixture, shape, len(classes))
    else:
        outputs = registry.outputs(target, shape, len(classes))
        network = registry.build(model, shape, outputs, description.get("code_sha256"))
    weights, arrays = _load_weights(folder / "weights.safetensors", expected, network.state_dict())
    network.load_state_dict(weights)
    network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return Classifier(
        network,
        model,
        classes,
        preparation,
        views,
        facts,
        noise,
        source=f"classifier in {folder}",
        calibration=Calibration.from_dict(description.get("calibration", {}), arrays),
    )


def _problem(description: Description, preparation: Preparation) -> str:
    """The problem with hand-written values, or an empty string."""
    classes, shape = description["classes"], description["shape"]
    if not classes or not all(isinstance(name, str) for name in classes):
        return "classes is not a list of names"
    if tuple(shape) != preparation.shape or not all(0 < side <= MOST_SIDE for side in shape):
        return f"shape is {shape}, and images are prepared as {preparation.shape}"
    if description["views"] not in get_args(Views):
        return f"views is {description['views']!r}"
    if description.get("target", "class") not in TASKS:
        return f"target is {description.get('target')!r}"
    if not isinstance(description["facts"], dict):
        return "facts is not an object"
    return ""


def read_description(folder: Path) -> Description:
    """Read `classifier.json`; raises UserError if it is missing or invalid."""
    file = folder / "classifier.json"
    try:
        description: Description = parse_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{folder} is not a classifier folder: it has no {file.name}",
            "name a run that finished, or its classifier folder",
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read: {error}", "it may be damaged; copy the folder again"
        ) from None
    version = description.get("format", 0) if isinstance(description, dict) else None
    if not isinstance(version, int):
        raise UserError(
            f"{file} does not describe a classifier", "it may be damaged; copy the folder again"
        )
    if version > FORMAT:
        raise UserError(
            f"{folder} was written by a newer version of eyesight (format {version}; this "
            f"version reads up to {FORMAT})",
            "upgrade eyesight",
        )
    return description


def _load_weights(
    file: Path, expected: str, state: dict[str, Tensor]
) -> tuple[dict[str, Tensor], Arrays]:
    """The weights, and the reference features that detect unfamiliar images."""
    try:
        if file_sha256(file) != expected:
            raise UserError(
                f"{file} does not match its checksum in classifier.json",
                "the weights were changed or damaged; copy the folder again, or train again",
            )
        stored: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{file} cannot be read: {error}", "it may be damaged; copy the folder again"
        ) from None
    tensors = {name: value for name, value in stored.items() if not name.startswith(UNLIKE)}
    arrays: Arrays = {}
    for name in stored.keys() - tensors.keys():
        arrays[name.removeprefix(UNLIKE)] = stored[name].numpy()
    _check_fit(file, tensors, state)
    return tensors, arrays


def _check_fit(file: Path, tensors: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Raise UserError when weights do not fit the network or are not finite."""
    wrong = []
    for name in sorted(state.keys() | tensors.keys()):
        if name not in state or name not in tensors or state[name].shape != tensors[name].shape:
            wrong.append(name)
    if wrong:
        raise UserError(
            f"{file} does not fit the network: {', '.join(wrong[:DIFFERENT_NAMES])} differ",
            "the architecture may have changed since",
        )
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError(
                f"{file} contains NaN or infinite values in {name}",
                "the training diverged or the file is damaged: train again, with a smaller "
                "optim.lr if the loss diverged",
            )


def describe(source: str, classes: Sequence[str], preparation: Preparation) -> str:
    """One line for `repr`."""
    channels, height, width = preparation.shape
    return f"<{source}: {len(classes)} classes, images {channels}×{height}×{width}>"


def no_classes(target: str) -> UserError:
    """The error for requesting classes from a network that predicts images or masks."""
    kind = {"picture": "a reconstructed image", "mask": "a mask"}[target]
    return UserError(
        f"this network predicts {kind}, not a class",
        "use probabilities(prepare(...)), or `eyesight predict RUN IMAGES --out FOLDER`",
    )


def probabilities(
    network: Network, pixels: Tensor, views: Views = "one", arithmetic: str = "float32"
) -> Tensor:
    """The output for images N,C,H,W, averaged over the views before softmax.

    For a classifier, uncalibrated probabilities N,K.
    """
    return network.answer(mean_outputs(network, pixels, views, arithmetic))


def mean_outputs(
    network: Network, pixels: Tensor, views: Views = "one", arithmetic: str = "float32"
) -> Tensor:
    """The outputs of the network's head, its logits, averaged over the test-time views."""

    def compute(part: Tensor) -> Tensor:
        pictures = scaled(network, part)
        with inferring(pictures.device, arithmetic):
            outputs = [network(view).float() for view in augmented_views(pictures, views)]
            return torch.stack(outputs).mean(0)

    with evaluating(network):
        return torch.cat(on_each_core(compute, pixels.to(_device(network)), network))


def logits_and_features(
    network: Network, pixels: Tensor, views: Views = "one", arithmetic: str = "float32"
) -> tuple[Tensor, Tensor]:
    """Logits N,K and features N,D (maps averaged over their places), averaged over the views."""

    def compute(part: Tensor) -> tuple[Tensor, Tensor]:
        pictures = scaled(network, part)
        with inferring(pictures.device, arithmetic):
            each = [network.logits_and_features(view) for view in augmented_views(pictures, views)]
            logits = torch.stack([outputs.float() for outputs, _ in each]).mean(0)
            return logits, torch.stack([maps.float() for _, maps in each]).mean(0)

    with evaluating(network):
        parts = on_each_core(compute, pixels.to(_device(network)), network)
    return torch.cat([logits for logits, _ in parts]), torch.cat([maps for _, maps in parts])


@contextmanager
def inferring(device: torch.device, arithmetic: str) -> Iterator[None]:
    """Context manager: no gradients, and automatic casting for bfloat16."""
    casting = torch.autocast(device.type, torch.bfloat16, enabled=arithmetic == "bfloat16")
    with torch.no_grad(), casting:
        yield


@contextmanager
def evaluating(network: Network) -> Iterator[None]:
    """Context manager: the network in evaluation mode, restored afterwards."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def scaled(network: Network, pixels: Tensor) -> Tensor:
    """Images N,C,H,W on the network's device, floats from 0 to 1, channels last."""
    pictures = pixels.to(_device(network)).contiguous(memory_format=torch.channels_last)
    if pixels.dtype == torch.uint8:
        pictures = pictures.float().div_(255)
    return pictures


def _device(network: Network) -> torch.device:
    return network.normalise.mean.device
