"""The score of each task: its key in results and logs, its name and its unit; greater is better."""

from __future__ import annotations

from dataclasses import dataclass

from eyesight.results.records import Summary, number


@dataclass(frozen=True)
class Measure:
    """`key` names the score in results, and after `train_` and `validation_` in the log."""

    key: str
    title: str
    unit: str  # "%" for shares, which are kept from 0 to 1
    digits: int = 2

    @property
    def scale(self) -> float:
        """The factor from a stored value to a shown one."""
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

    def of(self, summary: Summary) -> float | None:
        """The score in a summary; None where no image was labelled."""
        return number(summary, self.key)

    def sentence(self, test: Summary) -> str:
        """The score in a result with its interval and the number of pictures."""
        score, interval = self.of(test), test.get("interval")
        if score is None or interval is None:
            return "unknown: no labelled test images"
        mark = ""
        unit = f" {self.unit}"
        if self.unit == "%":
            mark = "%"
            unit = "%"
        low, high = (f"{self.number(end)}{mark}" for end in interval)
        value = f"{self.number(score)}{unit}"
        return f"{value} (95 % interval {low} to {high}, n = {test['n']:,})"


MEASURES: dict[str, Measure] = {
    "class": Measure("top1", "accuracy", "%"),
    "picture": Measure("psnr", "PSNR", "dB"),
    "mask": Measure("mean_iou", "mean IoU", "%"),
}
