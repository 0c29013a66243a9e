"""Samples that a person named, as class folders of PNG files; only with `serve --collect`.

A sample is the prepared digit, 28×28, because that is what a training on it should see. Its file is
named after its content.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from eyesight.data.prepare import Pixels, encode_png
from eyesight.errors import UserError
from eyesight.system.digest import sha256
from eyesight.system.files import whole_file
from eyesight.web.limits import Refused

MOST = 10_000  # samples
MOST_BYTES = 4_000  # of one; a digit of 28×28 has a few hundred


class Collection:
    """A folder of class folders; safe to use from several threads."""

    def __init__(self, folder: Path, classes: tuple[str, ...], most: int = MOST) -> None:
        self.folder = folder
        self.classes = classes
        self.most = most
        self.lock = Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"cannot collect into {folder}: {error.strerror}"
            raise UserError(reason, "name another folder with --collect") from None

    def __len__(self) -> int:
        return sum(1 for name in self.classes for _ in (self.folder / name).glob("*.png"))

    def keep(self, samples: list[tuple[str, Pixels]]) -> int:
        """Keep images uint8 C,H,W under the names of their classes; returns how many are kept now.

        All are kept or none. An image that was kept under another name moves. Raises Refused when
        the folder is full.
        """
        for name, _ in samples:
            if name not in self.classes:
                raise Refused(422, f"{name} is not a class", f"one of {', '.join(self.classes)}")
        with self.lock:
            held = len(self)
            if held + len(samples) > self.most:
                reason = f"{held:,} samples are stored, the maximum is {self.most:,}"
                raise Refused(507, reason, f"train on them, then empty {self.folder.name}")
            for name, pixels in samples:
                self._write(name, encode_png(pixels))
            return len(self)

    def _write(self, name: str, image: bytes) -> None:
        if len(image) > MOST_BYTES:
            reason = f"a sample has {len(image):,} bytes, but at most {MOST_BYTES:,} are allowed"
            raise Refused(413, reason, "send the drawing of one box")
        file = f"{sha256(image)[:24]}.png"
        (self.folder / name).mkdir(exist_ok=True)
        with whole_file(self.folder / name / file) as opened:
            opened.write(image)
        for other in self.classes:
            if other != name:
                (self.folder / other / file).unlink(missing_ok=True)
