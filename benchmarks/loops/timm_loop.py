"""A plain loop on a timm network in a given time, as people write it: the head for a fifth of the
time, then all layers at a tenth of the learning rate, both with AdamW and a cosine schedule.

    python timm_loop.py FOLDER SECONDS SEED
"""

import time

BEGAN = time.monotonic()

import math  # noqa: E402

import timm  # noqa: E402
import torch  # noqa: E402
from common import BATCH, NETWORK, SIDE, Task  # noqa: E402
from PIL import Image  # noqa: E402
from timm.data import create_transform, resolve_data_config  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

HEAD = 0.2  # of the time
HEAD_LR = 2e-3
SMOOTHING = 0.1


class Listed(Dataset):
    def __init__(self, rows, transform):
        self.rows = rows
        self.transform = transform

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        path, label = self.rows[index]
        return self.transform(Image.open(path).convert("RGB")), label


def endless(loader):
    while True:
        yield from loader


def train(network, parameters, loader, rate, seconds):
    """Train until the seconds are over; returns the number of images."""
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    began = time.monotonic()
    seen = 0
    for images, labels in endless(loader):
        share = (time.monotonic() - began) / max(seconds, 1e-6)
        if share >= 1:
            return seen
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 + math.cos(math.pi * share)) / 2
        optimiser.zero_grad()
        loss = functional.cross_entropy(network(images), labels, label_smoothing=SMOOTHING)
        loss.backward()
        optimiser.step()
        seen += len(images)
    return seen


@torch.no_grad()
def predict(network, loader):
    network.eval()
    return torch.cat([network(images).argmax(1) for images, _ in loader])


def main():
    task = Task(BEGAN)
    network = timm.create_model(NETWORK)
    network.load_state_dict(task.weights())
    network.reset_classifier(len(task.classes))
    config = resolve_data_config({"input_size": (3, SIDE, SIDE)}, model=network)
    augmented = create_transform(**config, is_training=True, auto_augment=None)
    plain = create_transform(**config)
    options = {"batch_size": BATCH, "num_workers": 2}
    loader = DataLoader(
        Listed(task.part("train"), augmented), shuffle=True, drop_last=True, **options
    )
    test = task.part("test")
    began = time.monotonic()
    predict(network, DataLoader(Listed(test[: 2 * BATCH], plain), **options))
    reserve = 1.2 * (time.monotonic() - began) * len(test) / min(2 * BATCH, len(test))
    network.train()
    network.requires_grad_(False)
    network.get_classifier().requires_grad_(True)
    head = train(
        network, network.get_classifier().parameters(), loader, HEAD_LR, HEAD * task.budget
    )
    network.requires_grad_(True)
    whole = train(network, network.parameters(), loader, HEAD_LR / 10, task.left() - reserve)
    predicted = predict(network, DataLoader(Listed(test, plain), **options))
    task.finish(predicted, f"{head} images for the head, {whole} for all layers")


if __name__ == "__main__":
    main()
