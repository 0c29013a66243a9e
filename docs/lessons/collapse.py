# %%
import math
import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

SHORT = "LESSON_SHORT" in os.environ  # a test runs the lesson in seconds
STEPS = 4 if SHORT else 160

digits = load_digits()
images = torch.from_numpy(digits.images / 16).float()[:, None]
images = interpolate(images, size=32, mode="bilinear")
labels = torch.from_numpy(digits.target)


# %%
def vgg(activations: bool) -> nn.Sequential:
    """VGG16 with a quarter of the filters: rows of 2, 2, 3, 3 and 3 convolutions."""
    layers: list[nn.Module] = []
    channels = 1
    for filters, count in ((16, 2), (32, 2), (64, 3), (128, 3), (128, 3)):
        for _ in range(count):
            layer = nn.Conv2d(channels, filters, 3, padding=1)
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
            layers.append(layer)
            if activations:
                layers += [nn.BatchNorm2d(filters), nn.ReLU()]
            channels = filters
        layers.append(nn.MaxPool2d(2))
    head = [nn.Flatten(), nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 10)]
    return nn.Sequential(*layers, *head)


# %%
def first_step(network: nn.Sequential, rate: float) -> float:
    """How strong Adam's first step is beside the weights: the median over the convolutions."""
    convolutions = [layer for layer in network if isinstance(layer, nn.Conv2d)]
    before = [layer.weight.detach().flatten(1).clone() for layer in convolutions]
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    cross_entropy(network(images[:50]), labels[:50]).backward()
    optimiser.step()
    strengths = []
    for old, layer in zip(before, convolutions, strict=True):
        step = layer.weight.detach().flatten(1) - old
        strengths.append(
            (torch.linalg.matrix_norm(step, 2) / torch.linalg.matrix_norm(old, 2)).item()
        )
    return sorted(strengths)[len(strengths) // 2]


RATE = 0.004  # of a network with a quarter of the filters; the article's was 0.001
torch.manual_seed(0)
strength = first_step(vgg(activations=False), RATE)
print(f"one step is {strength:.2f} times as strong as the weights")
print(f"thirteen of them may change the product {(1 + strength) ** 13:.0f} times")


# %%
def train(network: nn.Sequential, rate: float) -> list[float]:
    """The loss of each step."""
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    losses = []
    for step in range(STEPS):
        rows = torch.randint(0, 1400, (50,), generator=generator)
        loss = cross_entropy(network(images[rows]), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if step % 20 == 0:
            print(f"step {step:3}  loss {losses[-1]:.3g}")
    return losses


def accuracy(network: nn.Sequential) -> float:
    """The share of right answers for images that it has not learnt from."""
    network.eval()
    with torch.no_grad():
        return (network(images[1400:]).argmax(1) == labels[1400:]).float().mean().item()


torch.manual_seed(0)
as_written = vgg(activations=False)
losses = train(as_written, RATE)
print(f"accuracy {accuracy(as_written):.3f}; ln 10 = {math.log(10):.3f}")

# %%
with torch.no_grad():
    hidden = as_written[:-1](images[1400:])
dead = (hidden == 0).all(0).float().mean().item()
print(f"{dead:.0%} of the hidden units are 0 for every image")

# %%
torch.manual_seed(0)
repaired = vgg(activations=True)
repaired_losses = train(repaired, RATE)
print(f"accuracy {accuracy(repaired):.3f}")
