"""By what a task is scored: its key in results and logs, its name for people, how it is written; greater is better for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measure:
    """`key` names the score in a run's results and, behind `train_` and `validation_`, in its log."""

    key: str
    title: str
    unit: str  # "%" for shares, which are kept from 0 to 1
    digits: int = 2

    @property
    def scale(self) -> float:
        """What a kept value is multiplied by to be shown."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def words(self) -> str:
        """Title and unit, as over a column."""
        return f"{self.title} {self.unit}"

    def number(self, value: float) -> str:
        """The value without its unit."""
        return f"{self.scale * value:.{self.digits}f}"

    def text(self, value: float) -> str:
        """The value for people, never broken from its unit."""
        return f"{self.number(value)}\N{NO-BREAK SPACE}{self.unit}"

    def sentence(self, test: Mapping[str, Any]) -> str:
        """The score in a result with its interval and the number of pictures."""
        if test.get(self.key) is None:
            return "unknown: no labelled test pictures"
        low, high = (
            f"{self.number(end)}{'%' if self.unit == '%' else ''}" for end in test["interval"]
        )
        value = (
            f"{self.number(test[self.key])}%"
            if self.unit == "%"
            else f"{self.number(test[self.key])} {self.unit}"
        )
        return f"{value} (95 % interval {low} to {high}, n = {test['n']:,})"


MEASURES: dict[str, Measure] = {
    "class": Measure("top1", "accuracy", "%"),
    "picture": Measure("psnr", "PSNR", "dB"),
    "mask": Measure("mean_iou", "mean IoU", "%"),
}
