"""What a result depends on besides its recipe: versions, commit, machine; found out without importing any of the libraries."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn", "safetensors")


def environment(**more: Any) -> dict[str, Any]:
    """Versions and machine as plain values, with what only the caller knows (threads, device, seed …) in `more`."""
    return {
        "eyesight": _version("eyesight"),
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "versions": {name: version for name in LIBRARIES if (version := _version(name)) is not None},
        **more,
    }


def commit() -> str | None:
    """The commit of the checkout this package runs from, `-dirty` when files differ; None outside a checkout."""
    root, git = Path(__file__).parents[1], shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    return _said([git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])


def cpu() -> str:
    """The processor's name as its maker gives it, or the architecture when the system does not tell."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    sysctl = shutil.which("sysctl") if platform.system() == "Darwin" else None
    return (_said([sysctl, "-n", "machdep.cpu.brand_string"]) if sysctl else None) or platform.processor() or platform.machine()


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
