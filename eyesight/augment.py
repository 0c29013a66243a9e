"""Random changes to whole batches of pictures: one gather for crop and flip, one resampling for everything geometric.

Every picture of a batch is changed on its own; all randomness comes from the generator that is passed in.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from eyesight.recipe import Augment


def generator(seed: int, epoch: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The randomness of one batch, the same wherever and whenever that batch is made."""
    mixed = (seed * 1_000_003 + epoch) * 1_000_003 + step
    return torch.Generator(device).manual_seed(mixed % (2**63))


def augment(pixels: Tensor, targets: Tensor, how: Augment, random: torch.Generator, epoch: int, index: Tensor) -> tuple[Tensor, Tensor]:
    """Change uint8 pictures N,C,H,W and their targets N,K; gives floats from 0 to 1 in channels-last order, and targets.

    `index` (N) says which picture of the data set each one is: alternating flip needs to know what it did last time.
    """
    if how.crop or how.flip != "none":
        pixels = crop_and_flip(pixels, how, random, epoch, index)
    pictures = pixels.contiguous(memory_format=torch.channels_last).float().div_(255)
    if geometric(how):
        pictures = warp(pictures, how, random)
    pictures = recolour(pictures, how, random)
    if how.cutout:
        pictures = cut_out(pictures, how.cutout, random)
    if how.mixup or how.cutmix:
        pictures, targets = mix(pictures, targets, how, random)
    return pictures, targets


def mixes(how: Augment) -> bool:
    """Whether training pictures are blends, so that accuracy on them means little."""
    return bool(how.mixup or how.cutmix)


def geometric(how: Augment) -> bool:
    """Whether anything needs resampling."""
    return bool(how.rotate or how.shift or how.zoom or how.shear or how.elastic)


def uniform(count: int, low: float, high: float, random: torch.Generator) -> Tensor:
    """`count` numbers between low and high, on the generator's device."""
    return torch.rand(count, generator=random, device=random.device) * (high - low) + low


def crop_and_flip(pixels: Tensor, how: Augment, random: torch.Generator, epoch: int, index: Tensor) -> Tensor:
    """Move each picture by up to `crop` pixels over its own reflection, mirror some, in one gather."""
    count, _, height, width = pixels.shape
    padded = pixels
    if how.crop:
        by = min(how.crop, height - 1, width - 1)
        rows = _reflect(torch.arange(-by, height + by, device=pixels.device), height)
        columns = _reflect(torch.arange(-by, width + by, device=pixels.device), width)
        padded = pixels[:, :, rows][:, :, :, columns]
        down, across = (torch.randint(0, 2 * by + 1, (count, 1), generator=random, device=pixels.device) for _ in range(2))
    else:
        down = across = torch.zeros(count, 1, dtype=torch.long, device=pixels.device)
    flipped = _flips(how, random, epoch, index)
    ahead = torch.arange(width, device=pixels.device)
    columns = torch.where(flipped[:, None], width - 1 - ahead, ahead) + across
    rows = torch.arange(height, device=pixels.device) + down
    which = torch.arange(count, device=pixels.device)[:, None, None]
    gathered = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return gathered.permute(0, 3, 1, 2)


def _reflect(places: Tensor, length: int) -> Tensor:
    return (length - 1) - ((length - 1) - places.abs()).abs()


def _flips(how: Augment, random: torch.Generator, epoch: int, index: Tensor) -> Tensor:
    if how.flip == "random":
        return torch.rand(len(index), generator=random, device=index.device) < 0.5
    if how.flip == "alternating":
        # A fixed half is flipped in even epochs, the other half in odd ones (Jordan 2024, airbench); the product scatters the halves.
        return ((index * 2654435761 >> 7) + epoch) % 2 == 1
    return torch.zeros_like(index, dtype=torch.bool)


def warp(pictures: Tensor, how: Augment, random: torch.Generator) -> Tensor:
    """Rotation, shift, zoom, shear and smooth displacement in one bilinear resampling; the edges are extended."""
    matrices = affine_matrices(len(pictures), pictures.shape[2] / pictures.shape[3], how, random)
    grid = functional.affine_grid(matrices, list(pictures.shape), align_corners=False)
    if how.elastic:
        coarse = torch.randn(len(pictures), 2, 4, 4, generator=random, device=pictures.device) * (2 * how.elastic)
        smooth = functional.interpolate(coarse, size=pictures.shape[2:], mode="bicubic", align_corners=True)
        grid = grid + smooth.permute(0, 2, 3, 1)
    return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def affine_matrices(count: int, aspect: float, how: Augment, random: torch.Generator) -> Tensor:
    """Random matrices N,2,3 from output to input places, both from −1 to 1; `aspect` is height / width."""
    angle = uniform(count, -1, 1, random) * math.radians(how.rotate)
    shear = torch.tan(uniform(count, -1, 1, random) * math.radians(how.shear))
    scale = 1 / uniform(count, 1 - how.zoom, 1 + how.zoom, random)
    across, down = uniform(count, -2, 2, random) * how.shift, uniform(count, -2, 2, random) * how.shift
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    top = torch.stack([cosine, (cosine * shear - sine) * aspect, across], 1)
    bottom = torch.stack([sine / aspect, sine * shear + cosine, down], 1)
    return torch.stack([top, bottom], 1)


def recolour(pictures: Tensor, how: Augment, random: torch.Generator) -> Tensor:
    """Brightness as a factor, contrast as a factor about each picture's mean, Gaussian noise; the result stays in 0..1."""
    if how.brightness == (1.0, 1.0) and how.contrast == (1.0, 1.0) and not how.noise:
        return pictures
    count = len(pictures)
    factor = uniform(count, *how.brightness, random).view(-1, 1, 1, 1)
    if how.contrast != (1.0, 1.0):
        contrast = uniform(count, *how.contrast, random).view(-1, 1, 1, 1)
        mean = pictures.mean((1, 2, 3), keepdim=True)
        pictures = pictures * (contrast * factor) + mean * ((1 - contrast) * factor)
    else:
        pictures = pictures * factor
    if how.noise:
        noise = torch.randn(pictures.shape, generator=random, device=pictures.device) * how.noise
        pictures = pictures + noise.contiguous(memory_format=torch.channels_last)
    return pictures.clamp_(0, 1)


def cut_out(pictures: Tensor, side: float, random: torch.Generator) -> Tensor:
    """Paint one grey square per picture, `side` times its shorter side long, anywhere in it (DeVries and Taylor 2017)."""
    inside = _boxes(pictures, torch.full((len(pictures),), side, device=pictures.device), random)
    return torch.where(inside[:, None], pictures.new_tensor(0.5), pictures)


def _boxes(pictures: Tensor, side: Tensor, random: torch.Generator) -> Tensor:
    """Masks N,H,W of one box per picture, `side` (N) times as long as each axis, about a centre anywhere."""
    masks = []
    for length in pictures.shape[2:]:
        centre = uniform(len(pictures), 0, length, random)[:, None]
        distance = (torch.arange(length, device=pictures.device) + 0.5 - centre).abs()
        masks.append(distance <= side[:, None] * length / 2)
    return masks[0][:, :, None] & masks[1][:, None, :]


def mix(pictures: Tensor, targets: Tensor, how: Augment, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blend each picture with another of the batch: mixup (Zhang et al. 2018), or CutMix (Yun et al. 2019), or a draw between both."""
    other = torch.randperm(len(pictures), generator=random, device=pictures.device)
    cutmix = bool(how.cutmix) and (not how.mixup or float(torch.rand(1, generator=random, device=random.device)) < 0.5)
    share = beta(len(pictures), how.cutmix if cutmix else how.mixup, random)
    if cutmix:
        inside = _boxes(pictures, (1 - share).sqrt(), random)
        share = 1 - inside.float().mean((1, 2))
        mixed = torch.where(inside[:, None], pictures[other], pictures)
    else:
        weight = share.view(-1, 1, 1, 1)
        mixed = pictures * weight + pictures[other] * (1 - weight)
    return mixed, targets * share[:, None] + targets[other] * (1 - share[:, None])


def beta(count: int, alpha: float, random: torch.Generator) -> Tensor:
    """Draws from Beta(alpha, alpha), by the ratio of two Gamma draws."""
    concentration = torch.full((2, count), float(alpha), device=random.device)
    first, second = torch._standard_gamma(concentration, generator=random)
    share: Tensor = first / (first + second).clamp_min(1e-12)
    return share
