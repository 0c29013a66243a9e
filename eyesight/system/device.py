"""The device that networks run on when nobody chooses one."""

from __future__ import annotations

import torch


def default_device() -> torch.device:
    """The current CUDA device where there is one, else the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")
