"""Named tensors in .safetensors files, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from eyesight.errors import UserError
from eyesight.system.files import whole_file


def save_tensors(
    tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None
) -> None:
    """Write named tensors and the file's metadata to `path` (.safetensors), whole or not at all."""
    with whole_file(path) as file:
        file.write(save(tensors, metadata))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors of a .safetensors file; raises UserError when it cannot be read."""
    try:
        return load_file(path)  # type: ignore[no-any-return, unused-ignore]
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path} cannot be read: {error}", "it may be damaged; copy or download it again"
        ) from None
