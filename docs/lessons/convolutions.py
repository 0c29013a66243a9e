# %%
import os
import subprocess
import sys

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import eyesight

SHORT = "LESSON_SHORT" in os.environ  # a test runs the lesson in seconds
EPOCHS = 1 if SHORT else 12


# %%
def weights(side: int, channels: int, filters: int) -> int:
    """Weights of a convolution: each filter has side · side · channels and a bias."""
    return (side * side * channels + 1) * filters


def operations(rows: int, columns: int, side: int, channels: int, filters: int) -> int:
    """Multiplications of a convolution whose output has `rows` · `columns` places."""
    return rows * columns * weights(side, channels, filters)


print(f"one filter of 3 × 3 on 3 channels has {weights(3, 3, 1)} weights")
print(f"64 of them: {weights(3, 3, 64):,}")
print(f"on 256 × 256 with stride 2: {operations(128, 128, 3, 3, 64):,} operations")
print(f"then 128 of 5 × 5, stride 2: {operations(64, 64, 5, 64, 128):,} operations")

# %%
line = "256x256x3 conv3x64/2 conv5x128/2"
table = subprocess.run(
    [sys.executable, "-m", "eyesight", "show", "--layers", line],
    capture_output=True,
    text=True,
    check=True,
)
print(table.stdout)

# %%
digits = load_digits()
images, labels = digits.images / 16, digits.target
data = (images[:1400], labels[:1400], images[1400:], labels[1400:])
run = eyesight.train(
    "lenet5",
    data=data,
    set={"data.size": 28, "training.epochs": EPOCHS},
    verbose=False,
)
print(f"{run.metrics.accuracy:.1%} of {run.metrics.n} digits that it had not seen")

# %%
network = eyesight.load(run.path).network
rows = 0
for name, parameter in network.named_parameters():
    print(f"{name:<20} {tuple(parameter.shape)!s:<18} {parameter.numel():>7,}")
    rows += parameter.numel()
print(f"{'all':<39} {rows:>7,}")

# %%
first = next(layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d))
figure = Figure(figsize=(7, 1.5), layout="constrained")
for place, image in zip(figure.subplots(1, 6), first.weight.detach()[:, 0], strict=True):
    place.imshow(image, cmap="RdBu", vmin=-image.abs().max(), vmax=image.abs().max())
    place.axis("off")
figure.savefig("lesson-filters.png", dpi=120)
