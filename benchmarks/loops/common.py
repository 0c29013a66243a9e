"""What both loops share: the listed images, the seconds left, and the result as JSON."""

import csv
import json
import sys
import time
from pathlib import Path

import torch

BATCH = 64
SIDE = 224
NETWORK = "tf_efficientnet_lite0"


class Task:
    """The images of `list.csv` in a folder, and the time, which began with the process."""

    def __init__(self, began):
        self.folder = Path(sys.argv[1])
        self.budget = float(sys.argv[2])
        self.seed = int(sys.argv[3])
        self.began = began
        with (self.folder / "list.csv").open(newline="") as file:
            self.rows = list(csv.DictReader(file))
        self.classes = sorted({row["label"] for row in self.rows})
        torch.manual_seed(self.seed)

    def part(self, split):
        """Paths and labels of a part, in the order of the list."""
        return [
            (self.folder / row["file"], self.classes.index(row["label"]))
            for row in self.rows
            if row["split"] == split
        ]

    def weights(self):
        """The pretrained weights by timm's names."""
        return torch.load(self.folder / "weights.pt", weights_only=True)

    def left(self):
        """Seconds until the budget is used up."""
        return self.budget - (time.monotonic() - self.began)

    def finish(self, predicted, did):
        """Print what was reached."""
        truth = torch.tensor([label for _, label in self.part("test")])
        hits = (predicted == truth).int().tolist()
        print(json.dumps({"hits": hits, "seconds": self.budget - self.left(), "did": did}))
