"""Draw and cut images of nothing that a classifier has learnt, for benchmarks/trust.py.

    python benchmarks/unknown_sets.py OUT [--solar FOLDER]

OUT/letters: letters of the installed fonts in MNIST's form, white on black, 28 pixels, without those
that may be digits. OUT/glyphs: the same letters in colour on colour, 32 pixels. OUT/textures: parts
of scikit-image's pictures of bricks, grass, gravel, cells, skin and coins. OUT/solar: solar cells of
the package elpv-dataset, FOLDER being where its PNG files lie.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from eyesight.data.glyphs.families import font_files, font_folders
from eyesight.reader import mnist_digit

LETTERS = [
    letter
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    if letter not in "IOSZilosz"
]
TEXTURES = ("brick", "grass", "gravel", "immunohistochemistry", "microaneurysms", "coins")
COUNT = 1200
SIDE = 32


def drawn(letter, file, paper, ink, side):
    """A letter in the middle of a square."""
    font = ImageFont.truetype(str(file), round(0.75 * side))
    image = Image.new("RGB", (side, side), paper)
    box = font.getbbox(letter)
    place = [(side - box[0] - box[2]) / 2, (side - box[1] - box[3]) / 2]
    ImageDraw.Draw(image).text(place, letter, ink, font)
    return image


def legible(file):
    """Whether a font draws some letters, and no two of them alike."""
    try:
        drawings = [np.asarray(drawn(one, file, "white", "black", 64)) for one in "ABgqw"]
    except OSError:
        return False
    dark = all(one.min() < 128 for one in drawings)
    return dark and len({one.tobytes() for one in drawings}) == len(drawings)


def save(images, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        image.save(folder / f"{number:05d}.png")
    print(folder, number + 1)


def letters(files, random):
    for _ in range(COUNT):
        letter, file = random.choice(LETTERS), files[random.integers(len(files))]
        picture = np.asarray(drawn(letter, file, "white", "black", 96))[..., 0]
        yield Image.fromarray(mnist_digit.digit(picture).reshape(28, 28))


def glyphs(files, random):
    for _ in range(COUNT):
        letter, file = random.choice(LETTERS), files[random.integers(len(files))]
        paper, ink = (tuple(int(value) for value in random.integers(0, 256, 3)) for _ in range(2))
        yield drawn(letter, file, paper, ink, SIDE)


def textures(random):
    pictures = [Image.fromarray(getattr(data, name)()).convert("RGB") for name in TEXTURES]
    for number in range(COUNT):
        picture = pictures[number % len(pictures)]
        side = int(random.integers(64, min(160, *picture.size)))
        left, top = (int(random.integers(0, size - side + 1)) for size in picture.size)
        part = picture.crop((left, top, left + side, top + side))
        yield part.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def solar(folder):
    files = sorted(Path(folder).rglob("*.png"))
    for file in files[:: max(1, len(files) // COUNT)][:COUNT]:
        picture = Image.open(file).convert("RGB")
        yield picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--solar", default="")
    options = parser.parse_args()
    files = [file for file in font_files(font_folders()) if legible(file)]
    random = np.random.default_rng(0)
    save(letters(files, random), options.out / "letters")
    save(glyphs(files, random), options.out / "glyphs")
    save(textures(random), options.out / "textures")
    if options.solar:
        save(solar(options.solar), options.out / "solar")


if __name__ == "__main__":
    main()
