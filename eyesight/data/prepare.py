"""From encoded bytes to uint8 pixels: the one function that training and serving share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Problem:
    """Something about one picture that a person should know; `fatal` ones are left out."""

    id: str
    kind: str
    detail: str
    fatal: bool


class BadPicture(Exception):
    """Bytes that cannot become a picture: `kind` is unreadable, truncated, empty, huge or size."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes pixels; it travels with the weights."""

    height: int = 0  # 0 keeps the picture's own
    width: int = 0
    channels: int = 3  # 1 grey, 3 colour
    resize: Literal["squash", "crop", "letterbox", "none"] = "squash"
    pad: int = 0  # pixels added on every side after resizing
    padding: Literal["zero", "replicate"] = "zero"
    interpolation: Literal["bilinear", "bicubic", "area"] = "bilinear"
    crop_fraction: float = 1.0  # resize to size / fraction, then cut the centre; what pretrained networks expect

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width after padding."""
        return self.channels, self.height + 2 * self.pad, self.width + 2 * self.pad

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preparation:
        """What `to_dict` wrote; raises TypeError for unknown fields."""
        return cls(**values)
