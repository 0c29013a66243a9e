"""What a result depends on besides its recipe: versions, commit and machine.

None of the libraries is imported for it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from eyesight.system.digest import sha256

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn", "safetensors")
BUILD = re.compile(r"\+(?:cpu|cu\d+|rocm[\d.]+|xpu)(?:\.cxx11\.abi)?$")


def environment(**more: object) -> dict[str, object]:
    """Versions and machine as plain values; the caller adds what only it knows (device, seed …)."""
    versions = {}
    for name in LIBRARIES:
        version = _version(name)
        if version is not None:
            versions[name] = version
    return {
        "eyesight": _version("eyesight"),
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "versions": versions,
        **more,
    }


def shared_versions() -> dict[str, str]:
    """What machines that train together must have alike: the release of torch, and this code."""
    torch = _version("torch")
    return {
        "eyesight": f"{_version('eyesight')} ({code()})",
        "torch": release(torch) if torch else "none",
    }


def release(version: str) -> str:
    """A version without the processor or card it was built for: `2.11.0+cpu` is 2.11.0.

    Other suffixes stay: `2.12.0.dev20260101`, `2.12.0rc1`, `2.11.0+git0123`.
    """
    return BUILD.sub("", version)


@cache
def code() -> str:
    """A short SHA-256 of the package's own source, whatever its lines end with."""
    root = Path(__file__).parents[1]
    files = {file.relative_to(root).as_posix(): file for file in root.rglob("*.py")}
    parts = []
    for name, file in sorted(files.items()):
        parts += [name.encode(), b"\0", file.read_bytes().replace(b"\r\n", b"\n"), b"\0"]
    return sha256(*parts)[:12]


def commit() -> str | None:
    """The commit of the checkout this package runs from, or None outside a checkout.

    It ends with `-dirty` when files differ from the commit.
    """
    root = Path(__file__).parents[2]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    describe = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return _output([git, "-C", str(root), *describe])


def cpu() -> str:
    """The processor's name, or the architecture when the system does not tell."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    sysctl = shutil.which("sysctl")
    if platform.system() == "Darwin" and sysctl:
        brand = _output([sysctl, "-n", "machdep.cpu.brand_string"])
        if brand:
            return brand
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _output(command: list[str]) -> str | None:
    """The standard output of a command, or None when it failed."""
    try:
        # All commands are constants.
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
