"""A network with everything around it, as it leaves in a file: scaling before, the average over its views and the softmax behind."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eyesight import explain
from eyesight.classifier import Classifier, Views, seen
from eyesight.explain import Halves
from eyesight.models.layers import Network


class Answering(nn.Module):
    """Pictures in, probabilities out."""

    def __init__(self, network: Network, views: Views) -> None:
        super().__init__()
        self.network, self.views = network, views

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 N,C,H,W to probabilities N,K (or what else the network answers), as `eyesight.classifier.probabilities` computes them."""
        logits = [self.network(view) for view in seen(pictures.float() / 255, self.views)]
        return self.network.answer(torch.stack(logits).mean(0))


class Looking(nn.Module):
    """The same, and where it looked for the best of its first K classes: `weights` K,C are those of `explain.constant_weights`."""

    weights: Tensor

    def __init__(self, cut: Halves, views: Views, weights: Tensor) -> None:
        super().__init__()
        self.front, self.rear, self.views = cut.front, cut.rear, views
        self.register_buffer("weights", weights)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 N,C,H,W to probabilities N,K and heat N,h,w, as `eyesight.explain.heat` computes it."""
        maps = [self.front(view) for view in seen(pictures.float() / 255, self.views)]
        probabilities = torch.stack([self.rear(one) for one in maps]).mean(0).softmax(1)
        best = probabilities[:, : len(self.weights)].argmax(1)
        return probabilities, explain.seen_at(maps[0], self.weights.index_select(0, best))


def around(known: Classifier) -> Answering | Looking:
    """What answers as the classifier does; it tells where it looked, too, if that takes no gradient."""
    network = known.network.cpu().eval()
    cut = explain.halves(network) if network.emits == "class" else None
    named = len(known.classes) - bool(known.facts.get("only"))
    weights = explain.constant_weights(cut, network.shape, named) if cut else None
    made = Answering(network, known.views) if cut is None or weights is None else Looking(cut, known.views, weights)
    return made.eval()
