"""The ONNX Runtime for browsers: one script and one WebAssembly file, fetched once and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eyesight.data.downloads import REASONS, Mirror, npm
from eyesight.errors import UserError
from eyesight.system import cache
from eyesight.system.digest import file_sha256
from eyesight.system.progress import Talk, silent

VERSION = "1.30.0"
MIRRORS: tuple[Mirror, ...] = (npm(f"onnxruntime-web@{VERSION}"),)
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
SHA256 = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}


@dataclass(frozen=True)
class Runtime:
    """The two files of the runtime, as they were published."""

    script: Path
    wasm: Path


def runtime(talk: Talk = silent) -> Runtime:
    """The runtime's files in the cache, fetched when they are missing.

    Raises UserError when they cannot be had.
    """
    key = f"onnxruntime-web-{VERSION}"
    folder = cache.recall("runtimes", key)
    if folder is None:
        folder = _fetch(key, talk)
    return Runtime(folder / SCRIPT, folder / WASM)


def _fetch(key: str, talk: Talk) -> Path:
    reasons = []
    for mirror in MIRRORS:
        with cache.build("runtimes") as building, cache.build("runtimes") as unpacked:
            talk(f"downloading the ONNX Runtime for browsers with {mirror.name}")
            try:
                mirror.open(unpacked, (SCRIPT, WASM), talk)
                for name, expected in SHA256.items():
                    _pick(unpacked, name, expected).rename(building / name)
            except REASONS as error:
                reasons.append(f"{mirror.name}: {error}")
                continue
            return cache.keep(building, key, f"ONNX Runtime {VERSION} for browsers")
    raise UserError(
        f"the ONNX Runtime for browsers could not be downloaded ({'; '.join(reasons)})",
        f"install npm and check that `npm view onnxruntime-web@{VERSION}` works; it is "
        "downloaded only once",
    )


def _pick(folder: Path, name: str, expected: str) -> Path:
    """The file of this name; raises UserError when there is none with the right bytes."""
    for file in sorted(folder.rglob(name)):
        if file_sha256(file) == expected:
            return file
    raise UserError(f"no {name} with the checksum of version {VERSION}", "try again later")
