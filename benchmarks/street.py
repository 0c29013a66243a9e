"""Draws street scenes of 480×360 with masks in CamVid's folders: eleven classes and void, for
trying segmentation without the photographs.

    python benchmarks/street.py DIR [--count 300]

They have what makes streets hard (perspective, texture, shadow, thin poles, few bicyclists), but
they are drawings: figures say what fits
into time and memory, not how well photographs are understood.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

HIGH, WIDE = 360, 480
SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST, VOID = range(12)
SHARES = {"train": 0.52, "val": 0.15, "test": 0.33}  # as CamVid is divided


class Scene:
    """A picture float H,W,3 and its mask, painted from far to near."""

    def __init__(self, random):
        self.random, self.light = random, random.uniform(0.55, 1.1)
        self.picture, self.mask = np.zeros((HIGH, WIDE, 3)), np.full((HIGH, WIDE), VOID, np.uint8)
        self.rows, self.columns = np.mgrid[0:HIGH, 0:WIDE]

    def paint(self, inside, kind, colour, rough=0.05, grain=1):
        """Fill a region with a colour and its texture: noise whose spots are `grain` pixels
        wide."""
        noise = (
            self.random.normal(0, rough, (HIGH // grain + 1, WIDE // grain + 1, 1))
            .repeat(grain, 0)
            .repeat(grain, 1)[:HIGH, :WIDE]
        )
        self.picture[inside] = (np.asarray(colour) * self.light + noise)[inside]
        self.mask[inside] = kind

    def box(self, left, top, wide, high):
        """Whether each pixel is in a box."""
        return (
            (self.columns >= left)
            & (self.columns < left + wide)
            & (self.rows >= top)
            & (self.rows < top + high)
        )

    def oval(self, x, y, wide, high):
        """Whether each pixel is in an oval about x, y."""
        return ((self.columns - x) / max(wide, 1)) ** 2 + ((self.rows - y) / max(high, 1)) ** 2 < 1

    def grey(self, low, high):
        """A colour that is nearly grey."""
        return self.random.uniform(low, high) + self.random.uniform(-0.06, 0.06, 3)


def draw(seed):
    """A picture uint8 360,480,3 and its mask uint8 360,480."""
    scene = Scene(np.random.default_rng((31_337, seed)))
    random, horizon, vanish = (
        scene.random,
        scene.random.integers(130, 190),
        scene.random.uniform(0.35, 0.65) * WIDE,
    )
    blue = random.uniform(0, 0.3)
    scene.paint(scene.rows >= 0, SKY, (0.85 - blue, 0.88 - blue / 2, 0.95), 0.03, 8)
    houses(scene, horizon)
    ground(scene, horizon, vanish)
    for _ in range(random.integers(2, 6)):
        tree(scene, horizon)
    if random.random() < 0.6:
        left = random.integers(0, WIDE - 120)
        bars = scene.box(left, horizon - 8, random.integers(60, 200), 34) & (
            (scene.columns % 7 < 4) | (scene.rows % 13 < 3)
        )
        scene.paint(bars, FENCE, scene.grey(0.25, 0.6))
    for near in sorted(random.uniform(0.05, 1, random.integers(2, 7))):
        x, feet = random.uniform(0.05, 0.95) * WIDE, horizon + 12 + near * 130
        (car, car, person, person, rider, post, post)[random.integers(7)](
            scene, x, feet, 0.25 + near
        )
    shade = 1 - 0.35 * ((scene.columns + 0.7 * scene.rows + random.uniform(0, 480)) % 400 < 90) * (
        scene.rows > horizon + 10
    )
    noisy = scene.picture * shade[:, :, None] + random.normal(0, 0.03, scene.picture.shape)
    edge = random.integers(0, 5)
    scene.mask[: int(edge)] = VOID
    return (np.clip(noisy, 0, 1) * 255).astype(np.uint8), scene.mask


def houses(scene, horizon):
    """A row of house fronts with windows, with gaps through which the sky is seen."""
    random, left = scene.random, -20
    while left < WIDE:
        wide, high = random.integers(50, 140), random.integers(40, 175)
        if random.random() < 0.85:
            front = scene.box(left, horizon - high, wide, high + 20)
            scene.paint(
                front,
                BUILDING,
                scene.grey(0.3, 0.7) + (random.uniform(0, 0.2), 0.05, -0.05),
                0.05,
                3,
            )
            panes = front & ((scene.columns - left) % 22 > 10) & ((scene.rows - horizon) % 30 > 14)
            scene.paint(panes, BUILDING, scene.grey(0.15, 0.6), 0.04)
        left += wide + random.integers(0, 25)


def ground(scene, horizon, vanish):
    """Road in perspective with a dashed line, pavement on both sides."""
    depth = (scene.rows - horizon).clip(0)
    scene.paint(scene.rows >= horizon, PAVEMENT, scene.grey(0.45, 0.65) + (0.05, 0.02, 0), 0.05, 4)
    half = 12 + depth * scene.random.uniform(1.0, 1.6)
    middle = vanish + (WIDE / 2 - vanish) * depth / (HIGH - horizon)
    road = (scene.rows >= horizon + 2) & (np.abs(scene.columns - middle) < half)
    scene.paint(road, ROAD, scene.grey(0.25, 0.42), 0.04, 2)
    dashes = (
        road
        & (np.abs(scene.columns - middle) < 0.5 + depth * 0.02)
        & ((2000 / (depth + 9)).astype(int) % 4 < 2)
    )
    scene.paint(dashes, ROAD, (0.8, 0.8, 0.75))


def tree(scene, horizon):
    """A trunk and a crown of many ovals."""
    random, x, size = scene.random, scene.random.uniform(0, WIDE), scene.random.uniform(20, 60)
    scene.paint(
        scene.box(x - size / 12, horizon - size, size / 6, size + 25), TREE, (0.25, 0.18, 0.12)
    )
    colour = (random.uniform(0.1, 0.3), random.uniform(0.25, 0.45), random.uniform(0.05, 0.2))
    for _ in range(7):
        away = random.normal(0, size / 2.2, 2)
        scene.paint(
            scene.oval(x + away[0], horizon - 1.5 * size + away[1], size / 2, size / 2.5),
            TREE,
            colour,
            0.12,
            2,
        )


def car(scene, x, feet, near):
    """Body, cabin, windows, wheels."""
    wide, high, colour = 110 * near, 34 * near, scene.random.uniform(0.05, 0.95, 3)
    scene.paint(scene.box(x - wide / 2, feet - high, wide, high * 0.85), CAR, colour, 0.03)
    scene.paint(
        scene.oval(x, feet - high, wide / 3.2, high * 0.75) & (scene.rows < feet - high / 2),
        CAR,
        colour * 0.9,
        0.03,
    )
    scene.paint(
        scene.oval(x, feet - high, wide / 4, high / 2) & (scene.rows < feet - high),
        CAR,
        (0.2, 0.25, 0.3),
    )
    for side in (-0.3, 0.3):
        scene.paint(
            scene.oval(x + side * wide, feet - high / 6, high / 3, high / 3),
            CAR,
            (0.08, 0.08, 0.08),
        )


def person(scene, x, feet, near, kind=PEDESTRIAN):
    """Head, trunk, legs."""
    high, colour = 62 * near, scene.random.uniform(0.05, 0.9, 3)
    scene.paint(scene.box(x - high / 9, feet - high / 2, high / 4.5, high / 2), kind, colour * 0.5)
    scene.paint(scene.oval(x, feet - high * 0.62, high / 6, high / 4.5), kind, colour)
    scene.paint(scene.oval(x, feet - high * 0.9, high / 13, high / 10), kind, (0.75, 0.6, 0.5))


def rider(scene, x, feet, near):
    """Somebody on two wheels."""
    for side in (-1, 1):
        away = np.hypot(scene.columns - x - side * 16 * near, scene.rows - feet + 12 * near)
        scene.paint(np.abs(away - 11 * near) < 1.5 + near, BICYCLIST, (0.1, 0.1, 0.12))
    person(scene, x, feet - 9 * near, near, BICYCLIST)


def post(scene, x, feet, near):
    """A pole, often with a sign on it."""
    high = 130 * near
    scene.paint(scene.box(x, feet - high, 1.5 + 3.5 * near, high), POLE, scene.grey(0.3, 0.6))
    if scene.random.random() < 0.6:
        colour = ((0.8, 0.1, 0.1), (0.1, 0.2, 0.7), (0.9, 0.8, 0.2))[scene.random.integers(3)]
        scene.paint(scene.oval(x + 2, feet - high, 13 * near, 13 * near), SIGN, colour)


def write(folder, count):
    """`count` scenes in train/ and trainannot/, val/ and valannot/, test/ and testannot/."""
    edges = np.cumsum([0, *SHARES.values()]) * count
    for split, first, last in zip(SHARES, edges, edges[1:], strict=True):
        for part in (split, f"{split}annot"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for seed in range(round(first), round(last)):
            picture, mask = draw(seed)
            Image.fromarray(picture).save(folder / split / f"{seed:05d}.png")
            Image.fromarray(mask).save(folder / f"{split}annot" / f"{seed:05d}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=300)
    given = parser.parse_args()
    write(given.folder, given.count)


if __name__ == "__main__":
    main()
