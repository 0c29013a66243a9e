"""A network as it leaves in a file: scaling before it, test-time views and the softmax behind."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eyesight.classifier import Classifier, Views, augmented_views
from eyesight.inference import gradcam
from eyesight.inference.gradcam import Halves
from eyesight.models.layers import Network


def stack_views(pictures: Tensor, views: Views) -> Tensor:
    """All views of uint8 N,C,H,W in one batch V·N.

    One pass for each view would leave a copy of every 8-bit weight for each view in the file.
    """
    return torch.cat(augmented_views(pictures.float() / 255, views))


def by_view(values: Tensor, views: Views) -> Tensor:
    """The outputs of such a batch, V·N,…, as V,N,…"""
    count = len(augmented_views(torch.zeros(1, 1, 2, 2), views))
    return values.reshape(count, -1, *values.shape[1:])


class Plain(nn.Module):
    """Images in, probabilities out."""

    def __init__(self, network: Network, views: Views) -> None:
        super().__init__()
        self.network = network
        self.views = views

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 N,C,H,W → probabilities N,K, as `eyesight.classifier.probabilities` gives them."""
        logits = self.network(stack_views(pictures, self.views))
        return self.network.answer(by_view(logits, self.views).mean(0))


class WithHeatmap(nn.Module):
    """Images in, probabilities and heatmaps out.

    `weights` K,C are those of `gradcam.constant_weights`, for the first K classes.
    """

    weights: Tensor

    def __init__(self, cut: Halves, views: Views, weights: Tensor) -> None:
        super().__init__()
        self.front = cut.front
        self.rear = cut.rear
        self.views = views
        self.register_buffer("weights", weights)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 N,C,H,W → probabilities N,K and heat N,h,w of the best class, as `gradcam.heat`."""
        maps = self.front(stack_views(pictures, self.views))
        probabilities = by_view(self.rear(maps), self.views).mean(0).softmax(1)
        best = probabilities[:, : len(self.weights)].argmax(1)
        weights = self.weights.index_select(0, best)
        return probabilities, gradcam.seen_at(by_view(maps, self.views)[0], weights)


def exportable(classifier: Classifier) -> Plain | WithHeatmap:
    """A module that predicts as the classifier does, with heatmaps if these take no gradient."""
    network = classifier.network.cpu().eval()
    plain = Plain(network, classifier.views).eval()
    cut = None
    if network.emits == "class":
        cut = gradcam.halves(network)
    if cut is None:
        return plain
    classes = len(classifier.classes)
    if classifier.facts.get("only"):
        classes -= 1  # the last class is everything else
    weights = gradcam.constant_weights(cut, network.shape, classes)
    if weights is None:
        return plain
    return WithHeatmap(cut, classifier.views, weights).eval()
