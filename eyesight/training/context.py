"""The context of a training: reporter, clock, process group and options."""

from __future__ import annotations

from dataclasses import dataclass, field

from eyesight.distributed.group import Group
from eyesight.system.progress import Reporter
from eyesight.training.clock import Clock


@dataclass(frozen=True)
class Context:
    """Created once and passed down; a training changes only its clock."""

    reporter: Reporter = field(default_factory=Reporter)
    clock: Clock = field(default_factory=Clock)
    group: Group = field(default_factory=Group)
    resume: bool = False  # continue the newest unfinished run of the same recipe and images
    report: bool = False  # a report follows, so that a run without one is unfinished
    every: int = 0  # report the loss of every so many steps; 0 reports none
