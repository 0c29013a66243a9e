"""Features of the frozen part of a network, computed once per view and cached.

The cache key covers images, weights, views and precision, so recipes share features exactly if
these agree.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from eyesight import augment, recipe
from eyesight.data.images import Images
from eyesight.errors import UserError
from eyesight.models.backbone import Backbone, keep_statistics
from eyesight.models.cores import folded, on_each_core
from eyesight.models.layers import Network, Shape
from eyesight.models.weights import fingerprint
from eyesight.system import cache
from eyesight.system.array_file import ArrayFile
from eyesight.system.digest import value_sha256
from eyesight.system.progress import Progress, Reporter
from eyesight.training.precision import autocast

FORMAT = 1
BATCH = 64
LEAST = 128  # images that are computed even if the time is up
PROBED = 16  # images for measuring speed; few, to save a short budget
SPARE = 1 << 30  # bytes that stay free on the disk
KINDS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BY_SIZE = {kind.itemsize: kind for kind in KINDS.values()}
VALUES = "values.bin"  # the file in an entry of the cache


@dataclass(frozen=True, eq=False)
class Activations(Images):
    """The features of N images in `views` views.

    Version v of row r is row `v * count + r` of `pixels`, floats M,H,W,C.
    """

    views: int = 1
    count: int = 0  # rows of one view
    passes: int = 0
    key: str = ""

    @property
    def shape(self) -> Shape:
        """C,H,W of the features of one image."""
        height, width, channels = self.pixels.shape[1:]
        return channels, height, width

    def at_pass(self, passes: int) -> Activations:
        """The features for a pass over the data; each image cycles through its views."""
        return replace(self, passes=passes)

    def only(self, version: int) -> Activations:
        """One view of every image."""
        return replace(self, rows=self.rows + version * self.count, views=1)

    def take(self, index: Tensor) -> Tensor:
        """The features of these images, n,C,H,W, channels last."""
        rows = self.rows[index.to(self.rows.device)]
        version = ((rows * 2654435761 >> 7) + self.passes) % self.views
        return self._rows(version * self.count + rows).permute(0, 3, 1, 2)

    @property
    def kind(self) -> torch.dtype:
        """The type of the numbers."""
        if isinstance(self.pixels, ArrayFile):
            return BY_SIZE[self.pixels.dtype.itemsize]
        return torch.as_tensor(self.pixels).dtype

    def _rows(self, rows: Tensor) -> Tensor:
        """Rows n,H,W,C of `pixels`."""
        if isinstance(self.pixels, ArrayFile):
            return torch.from_numpy(self.pixels[rows.numpy()]).view(self.kind)
        values = torch.as_tensor(self.pixels)
        return values[rows.to(values.device)]

    def resident(self, device: torch.device | str = "cpu", limit: int | None = None) -> Images:
        """Move the features to the device if they take at most half of its free memory.

        On the CPU the file is as fast as a copy.
        """
        device = torch.device(device)
        if device.type == "cpu":
            return self
        if limit is None:
            limit = torch.cuda.mem_get_info(device)[0] // 2
        if self.pixels.nbytes > limit:
            return self
        return replace(self, pixels=self._rows(torch.arange(len(self.pixels))).to(device))


class Trunk(Network):
    """The frozen first part of a network, which outputs features."""

    def __init__(
        self, network: Network, units: Sequence[nn.Module], shape: Shape, *, pictures: bool
    ) -> None:
        nn.Module.__init__(self)
        self.normalise = network.normalise
        self.body = nn.Sequential(*units)
        self.shape = shape
        self.pictures = pictures  # or activations, which are not normalised again

    def forward(self, pictures: Tensor) -> Tensor:
        """Images or features N,C,H,W to features."""
        values = self.normalise(pictures) if self.pictures else pictures
        features: Tensor = self.body(values)
        return features


class Tail(Network):
    """The trained part of a network, from features to logits.

    It shares its modules with the network.
    """

    def __init__(
        self,
        network: Network,
        units: Sequence[nn.Module],
        shape: Shape,
        kind: torch.dtype = torch.float32,
    ) -> None:
        nn.Module.__init__(self)
        self.kind = kind
        self.keeps = isinstance(network.body, Backbone) and network.body.keeps
        self.normalise = network.normalise  # not applied: it says on which device the network lies
        self.body = nn.Sequential(*units)
        self.head = network.head
        self.shape = shape

    def train(self, mode: bool = True) -> Tail:
        """As any module, but batch normalisation may have to keep its statistics."""
        super().train(mode)
        if self.keeps:
            keep_statistics(self.body)
        return self

    def forward(self, activations: Tensor) -> Tensor:
        """Logits, N,K.

        Under automatic casting the activations have the kind in which they left the trunk.
        """
        device = activations.device.type
        features = self.body(
            activations.to(self.kind if torch.is_autocast_enabled(device) else torch.float32)
        )
        with torch.autocast(device, enabled=False):  # as in the whole network
            logits: Tensor = self.head(features.float())
        return logits


@dataclass(frozen=True)
class Key:
    """What features depend on besides network, images and versions.

    `name` identifies the images and their preparation.
    """

    name: str
    seed: int = 0
    precision: str = "float32"

    @property
    def kind(self) -> torch.dtype:
        """The type in which the features are kept."""
        return KINDS[self.precision]


def versions(policy: recipe.Augment, asked: int) -> int:
    """The number of distinct views of an image, at most `asked`."""
    return asked if policy.flip != "none" or changes(policy) else 1


def changes(policy: recipe.Augment) -> bool:
    """Whether there is augmentation other than flips and mixing."""
    return replace(policy, flip="none", mixup=0.0, cutmix=0.0) != recipe.Augment()


@dataclass(frozen=True, eq=False)
class _Work:
    """Features to be computed: `views` views of `images` by `trunk`."""

    trunk: Trunk
    images: Images
    augment: recipe.Augment
    views: int
    key: Key
    shape: Shape  # C,H,W of the features of one image

    @property
    def total(self) -> int:
        """Rows of the file."""
        return self.views * len(self.images)

    @property
    def size(self) -> tuple[int, ...]:
        """The shape of the file, M,H,W,C."""
        return (self.total, *self.shape[1:], self.shape[0])

    @property
    def bytes(self) -> int:
        """Bytes of the file."""
        return math.prod(self.size) * self.key.kind.itemsize

    def digest(self) -> str:
        """A hash of everything that the features depend on."""
        policy = self.augment
        random = self.views > 2 or (self.views > 1 and policy.flip == "none")
        drawn = (self.key.seed, dataclasses.asdict(policy)) if random else ()
        facts = [
            FORMAT,
            self.key.name,
            self.images.key if isinstance(self.images, Activations) else "",
            fingerprint(self.trunk.state_dict()),
            str(self.trunk.body),
            self.images.shape,
            self.key.precision,
            self.images.ids,
            self.views,
            drawn,
            torch.__version__,
        ]
        return value_sha256(facts)[:32]


def compute(
    trunk: Trunk,
    images: Images,
    policy: recipe.Augment,
    views: int,
    key: Key,
    *,
    deadline: float = math.inf,
    reporter: Reporter | None = None,
) -> Activations:
    """The features of `images` in `views` views, from the cache or computed now.

    When `deadline` (of time.monotonic()) passes, the versions that are whole by then are kept; if
    none is, those of the first images, a few at least. Raises UserError, before anything is
    computed, when the disk has no room for them.
    """
    work = _Work(trunk, images, policy, views, key, output_shape(trunk))
    digest = work.digest()
    if not len(images):
        return _activations(work, digest, torch.empty(work.size, dtype=key.kind))
    folder = cache.recall("features", digest)
    if folder is None:
        make_room(work.bytes)
        with cache.build("features") as building:
            done = _compute(work, building / VALUES, deadline, reporter or Reporter())
            if done.total < work.total:
                work, digest = done, done.digest()
                os.truncate(building / VALUES, work.bytes)
            folder = cache.keep(building, digest, f"{len(work.images):,} images")
    values = ArrayFile(folder / VALUES, work.size, f"i{key.kind.itemsize}")
    return _activations(work, digest, values)


def _compute(work: _Work, file: Path, deadline: float, reporter: Reporter) -> _Work:
    """Write the features into `file`; what of the work was done before the deadline."""
    count = len(work.images)
    each = f"{work.views} views of " if work.views > 1 else ""
    plural = "" if count == 1 else "s"
    reporter.message(
        f"computing features of the frozen part: {work.bytes / 1000000.0:,.1f} MB for "
        f"{each}{count:,} image{plural}"
    )
    counter = reporter.counter("computing features")
    rows = _write(file, _batches(work, deadline), work.total, counter)
    if rows == work.total:
        return work
    views, count = max(1, rows // count), min(rows, count)
    reporter.message(
        f"the machine is slower than estimated: training with {views} views of {count:,} images"
    )
    return replace(work, images=work.images.subset(np.arange(count)), views=views)


def _activations(work: _Work, digest: str, values: Tensor | ArrayFile) -> Activations:
    images, count = work.images, len(work.images)
    return Activations(
        values,
        torch.arange(count),
        images.labels,
        images.classes,
        images.ids,
        views=work.views,
        count=count,
        key=digest,
        soft=images.soft,
    )


def output_shape(trunk: Trunk) -> Shape:
    """The shape C,H,W of the activations of one picture."""
    with torch.inference_mode():
        return tuple(
            trunk.eval()(torch.zeros(1, *trunk.shape, device=trunk.normalise.mean.device)).shape[1:]
        )


def make_room(needed: int) -> None:
    """Remove older features while the disk is short; raises UserError when that is not enough."""
    free = cache.make_room("features", needed, SPARE)
    if needed + SPARE > free:
        raise UserError(
            f"the features of the frozen part need {needed / 1000000000.0:.1f} GB, but the disk "
            f"of {cache.cache_dir()} has {free / 1000000000.0:.1f} GB left",
            "free some disk space, set EYESIGHT_CACHE to another folder, or use fewer views: "
            "--set transfer.views=1, or 0 to cache none",
        )


def fitting(size: int, views: int) -> int:
    """The number of views, each of `size` bytes, that fit on the disk; at least one.

    Older features may be removed for them.
    """
    room = cache.room("features") - SPARE
    return max(1, min(views, room // max(1, size)))


@torch.inference_mode()
def _batches(work: _Work, deadline: float) -> Iterator[Tensor]:
    """Activations n,H,W,C, version after version."""
    trunk, kind = work.trunk.eval(), work.key.kind
    device = trunk.normalise.mean.device
    if device.type == "cpu" and work.key.precision == "float32":
        trunk = folded(trunk)

    def run(part: Tensor) -> Tensor:
        with torch.inference_mode(), autocast(work.key.precision, device):
            features: Tensor = trunk(part)
            return features

    order = torch.arange(len(work.images))
    for view in range(work.views):
        images = work.images
        if isinstance(images, Activations):
            images = images.only(view)
        for step, (pixels, _, index) in enumerate(images.batches(order, BATCH, device)):
            started = view > 0 or step * BATCH >= LEAST
            if started and time.monotonic() > deadline:
                return
            random = augment.generator(work.key.seed, -2 - view, step, device)
            inputs = version(pixels, work.augment, view, random, index)
            if not trunk.pictures:
                inputs = inputs.to(kind)  # the trunk below may have used another arithmetic
            features = torch.cat(on_each_core(run, inputs, trunk))
            yield features.to(kind).permute(0, 2, 3, 1).contiguous()


def version(
    pixels: Tensor, policy: recipe.Augment, view: int, random: torch.Generator, index: Tensor
) -> Tensor:
    """One view of images: 0 unchanged, 1 flipped, others with random augmentation.

    Without flips, view 1 is random too.
    """
    if pixels.is_floating_point():
        return pixels
    if view == 0:
        policy = recipe.Augment()
    elif view == 1 and policy.flip != "none":
        pixels, policy, view = pixels.flip(3), recipe.Augment(), 0
    else:
        policy = replace(policy, mixup=0.0, cutmix=0.0)
    targets = torch.zeros(len(pixels), 0, device=pixels.device)
    return augment.augment(pixels, targets, policy, random, view, index)[0]


def _write(file: Path, batches: Iterator[Tensor], total: int, progress: Progress) -> int:
    """Write the batches one after another; return the number of images."""
    done = 0
    progress(done, total)
    with file.open("wb") as opened:
        for values in batches:
            opened.write(values.cpu().view(torch.uint8).numpy().data)
            done += len(values)
            progress(done, total)
    return done


def pace(trunk: Trunk, images: Images, precision: str) -> float:
    """Seconds per image of the trunk, measured on a batch."""
    device = trunk.normalise.mean.device
    few = images.take(torch.arange(min(PROBED, len(images)))).to(device).float() / 255
    few = few.contiguous(memory_format=torch.channels_last)
    trunk.eval()

    def run(part: Tensor) -> Tensor:
        with torch.inference_mode(), autocast(precision, device):
            features: Tensor = trunk(part)
            return features.cpu()  # fetching waits for a GPU, and is part of the work

    on_each_core(run, few, trunk)
    tries = []
    for _ in range(2):
        began = time.monotonic()
        on_each_core(run, few, trunk)
        tries.append(time.monotonic() - began)
    return min(tries) / len(few)
