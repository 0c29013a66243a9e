"""A network as it leaves in a file: scaling before it, test-time views and the softmax behind."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eyesight.classifier import Classifier
from eyesight.inference import gradcam
from eyesight.inference.gradcam import Halves
from eyesight.inference.onnx_classifier import HEAT, LOGITS, OUTPUT, SET, UNLIKE
from eyesight.models.layers import Network, pooled
from eyesight.models.views import Views, augmented_views
from eyesight.results.calibration import Calibration
from eyesight.results.conformal import SLACK, USUAL
from eyesight.results.unlike import TINY, Unlike

HUGE = 1e9  # the limit of a set of all classes


def stack_views(pictures: Tensor, views: Views) -> Tensor:
    """All views of uint8 N,C,H,W in one batch V·N.

    One pass for each view would leave a copy of every 8-bit weight for each view in the file.
    """
    return torch.cat(augmented_views(pictures.float() / 255, views))


def by_view(values: Tensor, views: Views) -> Tensor:
    """The outputs of such a batch, V·N,…, as V,N,…"""
    count = len(augmented_views(torch.zeros(1, 1, 2, 2), views))
    return values.reshape(count, -1, *values.shape[1:])


class Answering(nn.Module):
    """Logits and features to all that a classifier answers beside its probabilities.

    The same arithmetic as `eyesight.results.answers`, in float32.
    """

    directions: Tensor
    reference: Tensor

    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        self.temperature = calibration.temperature
        self.sets = calibration.sets
        self.limit = 0.0
        if self.sets is not None:
            self.limit = min(HUGE, self.sets.threshold(USUAL) + SLACK)
        self.unlike = calibration.unlike
        if self.unlike is not None:
            self.register_buffer("directions", torch.from_numpy(self.unlike.directions))
            transposed = torch.from_numpy(self.unlike.reference).T.contiguous()
            self.register_buffer("reference", transposed)

    @property
    def outputs(self) -> list[str]:
        """The names of what `forward` gives, after the probabilities."""
        names = [LOGITS]
        if self.sets is not None:
            names.append(SET)
        if self.unlike is not None:
            names.append(UNLIKE)
        return names

    def forward(self, logits: Tensor, features: Tensor) -> list[Tensor]:
        """Logits N,K and features N,D → probabilities N,K, logits, set N,K, unlike N."""
        probabilities = (logits / self.temperature).softmax(1)
        answers = [probabilities, logits]
        if self.sets is not None:
            answers.append(self._set(probabilities, self.sets.penalty))
        if self.unlike is not None:
            answers.append(self._unlike(logits, features, self.unlike))
        return answers

    def _set(self, probabilities: Tensor, penalty: float) -> Tensor:
        ranked, order = probabilities.sort(1, descending=True)
        above = ranked.cumsum(1) - ranked
        above = above + penalty * torch.arange(ranked.shape[1], dtype=ranked.dtype)
        chosen = (above <= self.limit).to(ranked.dtype)
        first = torch.ones_like(chosen[:, :1])  # a set is never empty
        chosen = torch.cat([first, chosen[:, 1:]], 1)
        return torch.zeros_like(probabilities).scatter(1, order, chosen) > 0.5

    def _unlike(self, logits: Tensor, features: Tensor, model: Unlike) -> Tensor:
        middle, deviation, usual, spread, limit = model.scales.tolist()
        lengths = features.square().sum(1, keepdim=True).sqrt()
        likeness = (features / (lengths + TINY)) @ self.directions @ self.reference
        distance = 1 - likeness.amax(1)
        energy = -logits.logsumexp(1)
        score: Tensor = (distance - middle) / deviation + (energy - usual) / spread - limit
        return score


class Plain(nn.Module):
    """Images in, probabilities out, and with them the other answers of a classifier."""

    def __init__(self, network: Network, views: Views, answering: Answering | None) -> None:
        super().__init__()
        self.network = network
        self.views = views
        self.answering = answering

    @property
    def outputs(self) -> list[str]:
        """The names of what `forward` gives."""
        if self.answering is None:
            return [OUTPUT]
        return [OUTPUT, *self.answering.outputs]

    def forward(self, pictures: Tensor) -> Tensor | list[Tensor]:
        """uint8 N,C,H,W → probabilities N,K …, as `eyesight.Classifier` gives them."""
        stacked = stack_views(pictures, self.views)
        if self.answering is None:
            return self.network.answer(by_view(self.network(stacked), self.views).mean(0))
        outputs, maps = self.network.logits_and_features(stacked)
        logits = by_view(outputs, self.views).mean(0)
        features = by_view(maps, self.views).mean(0)
        answers: list[Tensor] = self.answering(logits, features)
        return answers


class WithHeatmap(nn.Module):
    """Images in, probabilities, heatmaps and the other answers out.

    `weights` K,C are those of `gradcam.constant_weights`, for the first K classes.
    """

    weights: Tensor

    def __init__(self, cut: Halves, views: Views, weights: Tensor, answering: Answering) -> None:
        super().__init__()
        self.front = cut.front
        self.body = cut.rear[:-1]
        self.head = cut.rear[-1]
        self.views = views
        self.answering = answering
        self.register_buffer("weights", weights)

    @property
    def outputs(self) -> list[str]:
        """The names of what `forward` gives."""
        return [OUTPUT, HEAT, *self.answering.outputs]

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """uint8 N,C,H,W → probabilities N,K, heat N,h,w of the best class, as `gradcam.heat`, …"""
        maps = self.front(stack_views(pictures, self.views))
        last = self.body(maps)
        logits = by_view(self.head(last), self.views).mean(0)
        features = by_view(pooled(last), self.views).mean(0)
        probabilities, *others = self.answering(logits, features)
        best = probabilities[:, : len(self.weights)].argmax(1)
        weights = self.weights.index_select(0, best)
        heat = gradcam.seen_at(by_view(maps, self.views)[0], weights)
        return [probabilities, heat, *others]


def exportable(classifier: Classifier) -> Plain | WithHeatmap:
    """A module that predicts as the classifier does, with heatmaps if these take no gradient."""
    network = classifier.network.cpu().eval()
    if network.emits != "class":
        return Plain(network, classifier.views, None).eval()
    answering = Answering(classifier.calibration)
    plain = Plain(network, classifier.views, answering).eval()
    cut = gradcam.halves(network)
    if cut is None:
        return plain
    classes = len(classifier.classes)
    if classifier.facts.get("only"):
        classes -= 1  # the last class is everything else
    weights = gradcam.constant_weights(cut, network.shape, classes)
    if weights is None:
        return plain
    return WithHeatmap(cut, classifier.views, weights, answering).eval()
