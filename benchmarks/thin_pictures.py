"""Peak memory of preparing thin pictures: `python benchmarks/thin_pictures.py`.

Each policy and aspect ratio is tried on pictures up to 65,000 pixels long. The peak is what the
process takes above what it took before, without the decoded picture and the result themselves.
"""

from __future__ import annotations

import io
import itertools
import sys
from pathlib import Path

from PIL import Image

from eyesight.data.prepare import Preparation, prepare

POLICIES = ("squash", "crop", "letterbox", "none")
RATIOS = (1, 100, 1_000, 65_000)
SIDE = 224
MOST = 100e6  # bytes


def picture(ratio: int, *, tall: bool, mode: str = "RGB") -> bytes:
    """A PNG file whose longer side is `ratio` times the shorter, at most 65,000 pixels long."""
    short = max(1, min(1000, 65_000 // ratio))
    size = (short, short * ratio) if tall else (short * ratio, short)
    file = io.BytesIO()
    Image.new(mode, size, 200 if mode == "L" else None).save(file, "PNG")
    return file.getvalue()


def peak(data: bytes, preparation: Preparation) -> float:
    """Bytes that preparing takes at its peak above picture and result; Linux only."""
    with Image.open(io.BytesIO(data)) as image:
        own = image.width * image.height * 4
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmHWM")
    result = prepare(data, preparation).nbytes
    return max(0.0, _status("VmHWM") - before - own - result)


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{name}:")[1].split()[0]) * 1024


def rows(
    ratios: tuple[int, ...] = RATIOS,
    modes: tuple[str, ...] = ("RGB", "L"),
    channels: tuple[int, ...] = (1, 3),
) -> list[tuple[str, str, float]]:
    """(policy, picture, megabytes) for every combination."""
    result = []
    forms = list(itertools.product(ratios, (False, True), modes))
    for ratio, tall, mode in forms:
        data = picture(ratio, tall=tall, mode=mode)
        for policy, count in itertools.product(POLICIES, channels):
            side = 0 if policy == "none" else SIDE
            used = peak(data, Preparation(side, side, count, policy))
            form = f"1:{ratio} {'tall' if tall else 'wide'} {mode} to {count}"
            result.append((policy, form, used / 1e6))
    return result


def main() -> None:
    """Print the worst of each policy and ratio, and fail when one is above 100 MB."""
    prepare(picture(2, tall=True), Preparation(8, 8, 3))
    worst: dict[tuple[str, str], float] = {}
    for policy, form, used in rows():
        key = (policy, form.split()[0])
        worst[key] = max(worst.get(key, 0.0), used)
    for (policy, ratio), used in worst.items():
        sys.stdout.write(f"{policy:<10} {ratio:>8} {used:8.1f} MB\n")
    if max(worst.values()) * 1e6 > MOST:
        sys.exit(1)


if __name__ == "__main__":
    main()
