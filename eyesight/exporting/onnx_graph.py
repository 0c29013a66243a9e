"""A network with everything around it, as it leaves in a file: scaling before, the average over its views and the softmax behind."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eyesight.classifier import Classifier, Views, seen
from eyesight.inference import gradcam
from eyesight.inference.gradcam import Halves
from eyesight.models.layers import Network


def together(pictures: Tensor, views: Views) -> Tensor:
    """All views of uint8 N,C,H,W in one batch V·N: one pass a view would leave a copy of every 8-bit weight a view in the file."""
    return torch.cat(seen(pictures.float() / 255, views))


def by_view(values: Tensor, views: Views) -> Tensor:
    """What became of such a batch, V·N,…, as V,N,…"""
    count = len(seen(torch.zeros(1, 1, 2, 2), views))
    return values.reshape(count, -1, *values.shape[1:])


def averaged(logits: Tensor, views: Views) -> Tensor:
    """Probabilities N,K of the mean logits of such a batch."""
    return by_view(logits, views).mean(0).softmax(1)


class Answering(nn.Module):
    """Pictures in, probabilities out."""

    def __init__(self, network: Network, views: Views) -> None:
        super().__init__()
        self.network, self.views = network, views

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 N,C,H,W to probabilities N,K (or what else the network answers), as `eyesight.classifier.probabilities` computes them."""
        return self.network.answer(
            by_view(self.network(together(pictures, self.views)), self.views).mean(0)
        )


class Looking(nn.Module):
    """The same, and where it looked for the best of its first K classes: `weights` K,C are those of `explain.constant_weights`."""

    weights: Tensor

    def __init__(self, cut: Halves, views: Views, weights: Tensor) -> None:
        super().__init__()
        self.front, self.rear, self.views = cut.front, cut.rear, views
        self.register_buffer("weights", weights)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 N,C,H,W to probabilities N,K and heat N,h,w, as `eyesight.inference.gradcam.heat` computes it."""
        maps = self.front(together(pictures, self.views))
        probabilities = averaged(self.rear(maps), self.views)
        best = probabilities[:, : len(self.weights)].argmax(1)
        return probabilities, gradcam.seen_at(
            by_view(maps, self.views)[0], self.weights.index_select(0, best)
        )


def around(known: Classifier) -> Answering | Looking:
    """What answers as the classifier does; it tells where it looked, too, if that takes no gradient."""
    network = known.network.cpu().eval()
    cut = gradcam.halves(network) if network.emits == "class" else None
    named = len(known.classes) - bool(known.facts.get("only"))
    weights = gradcam.constant_weights(cut, network.shape, named) if cut else None
    made = (
        Answering(network, known.views)
        if cut is None or weights is None
        else Looking(cut, known.views, weights)
    )
    return made.eval()
