"""An ensemble of trained networks, each with its own image preparation.

The input is `data.prepare.together` of the members' preparations: their images stacked vertically.
Each member uses its own, averages over its own views and is calibrated by its own temperature; then
the predictions are averaged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, cast

import torch
from torch import Tensor, nn

from eyesight.models import registry
from eyesight.models.layers import Network, Shape
from eyesight.models.views import Views, augmented_views
from eyesight.recipe import Model, group

Space = Literal["probability", "log"]
TINY = 1e-6  # added to lengths


class MixtureJson(TypedDict):
    """A mixture as JSON."""

    space: Space
    members: list[dict[str, object]]


@dataclass(frozen=True)
class Member:
    """A network of a blend; its weight is its share in the average."""

    name: str  # of its run
    model: Model
    shape: Shape  # C,H,W of its images
    top: int  # the first row of its image in the blend's
    views: Views
    temperature: float
    weight: float
    code_sha256: str = ""  # of the source file of a user's network
    mixture: Mixture | None = None  # where it is a blend itself


@dataclass(frozen=True)
class Mixture:
    """The members of a blend, and whether probabilities or their logarithms are averaged."""

    space: Space
    members: tuple[Member, ...]

    def to_dict(self) -> MixtureJson:
        """As plain JSON values."""
        return cast(MixtureJson, dataclasses.asdict(self))

    @staticmethod
    def from_dict(values: MixtureJson) -> Mixture:
        """The inverse of `to_dict`; raises KeyError, TypeError or ValueError for other values."""
        members = []
        for one in values["members"]:
            own: dict[str, Any] = dict(one)
            own["model"] = group("model", own["model"])
            own["shape"] = tuple(own["shape"])
            if own.get("mixture") is not None:
                own["mixture"] = Mixture.from_dict(own["mixture"])
            members.append(Member(**own))
        if values["space"] not in ("probability", "log") or not members:
            raise ValueError(f"a blend of {len(members)} networks in {values['space']!r}")
        return Mixture(values["space"], tuple(members))


class Blend(Network):
    """The ensemble of `mixture`; `networks` are in its order."""

    shares: Tensor
    temperatures: Tensor

    def __init__(self, shape: Shape, mixture: Mixture, networks: Sequence[Network]) -> None:
        super().__init__(shape, nn.ModuleList(networks), nn.Identity())
        self.mixture = mixture
        weights = torch.tensor([member.weight for member in mixture.members])
        temperatures = torch.tensor([member.temperature for member in mixture.members])
        self.register_buffer("shares", weights / weights.sum())
        self.register_buffer("temperatures", temperatures)

    @property
    def needs_data_init(self) -> bool:
        """No: its members are trained."""
        return False

    @property
    def networks(self) -> list[Network]:
        """The members' networks."""
        return [cast(Network, network) for network in self.body.children()]

    def forward(self, pictures: Tensor) -> Tensor:
        """Images N,C,H,W to logits N,K."""
        return self.logits_and_features(pictures)[0]

    def logits_and_features(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits N,K, the logarithms of the mean; features N,D of all members side by side."""
        answers = []
        features = []
        for number, (member, network) in enumerate(
            zip(self.mixture.members, self.networks, strict=True)
        ):
            logits, own = member_outputs(member, network, pictures)
            answers.append((logits / self.temperatures[number]).log_softmax(1))
            length = own.square().sum(1, keepdim=True).sqrt() + TINY
            features.append(own / length * self.shares[number].sqrt())
        together = torch.stack(answers)
        weights = self.shares.view(-1, 1, 1)
        if self.mixture.space == "log":
            mean = (together * weights).sum(0)
        else:
            mean = (together + weights.log()).logsumexp(0)
        return mean, torch.cat(features, 1)


def member_outputs(member: Member, network: Network, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and features of one member, averaged over its views."""
    channels, height, width = member.shape
    own = pictures[:, :channels, member.top : member.top + height, :width]
    own = own.contiguous(memory_format=torch.channels_last)
    if own.dtype == torch.uint8:
        own = own.float() / 255
    logits = []
    features = []
    for view in augmented_views(own, member.views):
        outputs, maps = network.logits_and_features(view)
        logits.append(outputs.float())
        features.append(maps.float())
    return torch.stack(logits).mean(0), torch.stack(features).mean(0)


def build(mixture: Mixture, shape: Shape, classes: int) -> Blend:
    """The blend before its weights are loaded."""
    networks: list[Network] = []
    for member in mixture.members:
        if member.mixture is not None:
            networks.append(build(member.mixture, member.shape, classes))
            continue
        sha256 = member.code_sha256 or None
        networks.append(registry.build(member.model, member.shape, classes, sha256))
    return Blend(shape, mixture, networks)
