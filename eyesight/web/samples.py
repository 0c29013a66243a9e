"""Samples that a person gave and named, as class folders of PNG files; only where the server was started with a folder for them.

What is kept is the prepared digit, 28×28, because that is what a training on it should see; its name is made from its content.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from threading import Lock

from eyesight.data.prepare import Pixels, encode_png
from eyesight.errors import UserError
from eyesight.system.files import whole_file
from eyesight.web.limits import Refused

MOST = 10_000  # samples
MOST_BYTES = 4_000  # of one; a digit of 28×28 has a few hundred


class Collection:
    """A folder of class folders; safe to use from several threads."""

    def __init__(self, folder: Path, classes: tuple[str, ...], most: int = MOST) -> None:
        self.folder, self.classes, self.most, self.lock = folder, classes, most, Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot collect into {folder}: {error.strerror}",
                "name another folder with --collect",
            ) from None

    def __len__(self) -> int:
        return sum(1 for name in self.classes for _ in (self.folder / name).glob("*.png"))

    def keep(self, samples: list[tuple[str, Pixels]]) -> int:
        """Keep pictures uint8 C,H,W with the names of their classes, all or none; returns how many are kept by now.

        The same picture under another name was a mistake, and moves. Raises Refused when the folder is full.
        """
        assert all(name in self.classes for name, _ in samples)
        with self.lock:
            held = len(self)
            if held + len(samples) > self.most:
                hint = f"train on them, then empty {self.folder.name}"
                raise Refused(
                    507, f"{held:,} samples are kept already, of {self.most:,} at most", hint
                )
            for name, pixels in samples:
                self._write(name, encode_png(pixels))
            return len(self)

    def _write(self, name: str, picture: bytes) -> None:
        if len(picture) > MOST_BYTES:
            raise Refused(
                413,
                f"a sample has {len(picture):,} bytes, of {MOST_BYTES:,} at most",
                "send what was drawn in one box",
            )
        file = f"{sha256(picture).hexdigest()[:24]}.png"
        (self.folder / name).mkdir(exist_ok=True)
        with whole_file(self.folder / name / file) as opened:
            opened.write(picture)
        for other in self.classes:
            if other != name:
                (self.folder / other / file).unlink(missing_ok=True)
