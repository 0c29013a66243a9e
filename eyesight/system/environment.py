"""What a result depends on besides its recipe: versions, commit, machine; found out without importing any of the libraries."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn", "safetensors")
BUILD = re.compile(
    r"\+(?:cpu|cu\d+|rocm[\d.]+|xpu)(?:\.cxx11\.abi)?$"
)  # for which processor or card the same code was built


def environment(**more: Any) -> dict[str, Any]:
    """Versions and machine as plain values, with what only the caller knows (threads, device, seed …) in `more`."""
    return {
        "eyesight": _version("eyesight"),
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "versions": {
            name: version for name in LIBRARIES if (version := _version(name)) is not None
        },
        **more,
    }


def in_common() -> dict[str, str]:
    """What machines that work together must have alike: the release of torch, and eyesight, whose very code counts and not its number."""
    torch, own = _version("torch"), _version("eyesight")
    return {"eyesight": f"{own} ({code()})", "torch": release(torch) if torch else "none"}


def release(version: str) -> str:
    """A version without what it was built for: `2.11.0+cpu` is 2.11.0; `2.12.0.dev20260101`, `2.12.0rc1` and `2.11.0+git0123` stay."""
    return BUILD.sub("", version)


@cache
def code() -> str:
    """A short SHA-256 of the package's own source, whatever its lines end with."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for name, file in sorted(
        (file.relative_to(root).as_posix(), file) for file in root.rglob("*.py")
    ):
        digest.update(name.encode() + b"\0" + file.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()[:12]


def commit() -> str | None:
    """The commit of the checkout this package runs from, `-dirty` when files differ; None outside a checkout."""
    root, git = Path(__file__).parents[2], shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    return _said(
        [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    )


def cpu() -> str:
    """The processor's name as its maker gives it, or the architecture when the system does not tell."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    sysctl = shutil.which("sysctl") if platform.system() == "Darwin" else None
    return (
        (_said([sysctl, "-n", "machdep.cpu.brand_string"]) if sysctl else None)
        or platform.processor()
        or platform.machine()
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _said(command: list[str]) -> str | None:
    """What a command printed; None when it failed."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)  # noqa: S603 - fixed commands
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
