"""Photographs of envelopes with a postal code, from digits that no network here was trained on.

`python benchmarks/envelopes.py RUN` reads them and prints how many codes are right, and how many of
the wrong and of the right ones are marked to be checked. Digits: scikit-learn's 1,797 (8×8,
enlarged smoothly; 14 writers, of which `--writers` chooses) and MNIST's 10,000 test digits, whose
writers are not among the training ones. Everything else is drawn from a seed: paper, table, pens,
print, shadow, turn, perspective, noise and JPEG. `--look FOLDER` writes the photographs for people
to look at.
"""

import argparse
import io
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from sklearn.datasets import load_digits

from eyesight.data.named import open_named
from eyesight.inference import predict
from eyesight.inference.postal_code import digit_classifier
from eyesight.reader.mnist_digit import grey
from eyesight.reader.postcode import SURE, read_code

RESULTS = Path(__file__).parent / "results"

# Where a new writer begins among scikit-learn's digits: each wrote the same 130 or a few less.
WRITERS = (0, 130, 256, 386, 516, 646, 776, 905, 1029, 1157, 1287, 1415, 1541, 1667, 1797)
PAPERS = ((250, 249, 245), (240, 236, 224), (245, 240, 215), (226, 200, 160), (225, 228, 232))
TABLES = ((95, 62, 38), (60, 60, 64), (125, 95, 70), (40, 52, 45), (140, 130, 120))
INKS = ((30, 30, 34), (35, 50, 130), (55, 55, 60), (110, 110, 115), (150, 35, 45), (20, 80, 150))
LEVELS = (
    0.3,
    0.36,
    0.42,
    0.5,
    0.58,
    0.66,
)  # of grey, where the outline of an enlarged digit may lie
PRINT = (40, 40, 42)
LINES = ((150, 175, 210), (180, 180, 180), (215, 150, 150), (90, 90, 95))
ADDRESS = (
    ("Post Office Box 118", "Harbour Street 27", "Springfield"),
    ("J. Miller & Sons", "14 Mill Lane", "Oxford"),
    ("Kim Minji", "Sejong-daero 209", "Seoul"),
    ("An das Finanzamt", "Ringweg 3a", "Linz"),
)


@dataclass(frozen=True)
class Scene:
    """What a photograph is of. Each field that is None is drawn at random."""

    digits: str = "sklearn"  # or "mnist"
    pens: str = "one"  # "one" writer with one pen, or "mixed" writers, each digit with its own pen
    bold: bool = False  # one digit with a pen two to three times as wide as the others
    table: bool | None = None  # a whole envelope on a darker table, or the paper fills the picture
    layout: str | None = None  # "plain", "ruled" or "boxes"
    shadow: str | None = None  # "none", "soft" or "cast"
    empty: bool = False  # one box stays empty; needs boxes
    length: int = 5
    writers: tuple[int, ...] = tuple(range(14))  # of scikit-learn's


@dataclass(frozen=True, eq=False)
class Photo:
    """An encoded photograph, its code ("_" for an empty box), and the digits' corners N,4,2."""

    jpeg: bytes
    code: str
    corners: np.ndarray
    scene: Scene = field(default_factory=Scene)


class Writing:
    """The digits to compose from; `mnist` is uint8 N,28,28 with labels N, or None."""

    def __init__(self, sklearn_digits, mnist=None):
        self.small = sklearn_digits[0] / 16.0, sklearn_digits[1]
        self.mnist = None if mnist is None else (mnist[0] / 255.0, mnist[1])

    def draw(self, scene, random):
        """The digits of a code as grey images, and the code."""
        if scene.digits == "mnist":
            images, labels = self.mnist
            places = random.integers(0, len(labels), scene.length)
        else:
            images, labels = self.small
            writers = random.choice(scene.writers, scene.length)
            if scene.pens == "one":
                writers[:] = writers[0]
            places = [random.integers(WRITERS[writer], WRITERS[writer + 1]) for writer in writers]
        return [images[place] for place in places], "".join(str(labels[place]) for place in places)


def stroke(image, height, width, random):
    """A grey digit as coverage 0 to 1, `height` pixels high, with a pen about `width` pixels wide.

    The pen stays narrower or wider where it would close a loop or break a line: what people cannot
    read is no test of a reader.
    """
    rows = np.flatnonzero((image > 0.3).any(1))
    columns = np.flatnonzero((image > 0.3).any(0))
    image = np.pad(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 2)
    factor = height / (rows[-1] - rows[0] + 1)
    large = ndimage.zoom(
        ndimage.gaussian_filter(image, 0.02 * len(image)),
        factor,
        order=3,
        mode="grid-constant",
        grid_mode=True,
    )
    inside = large > max(
        LEVELS,
        key=lambda level: (
            -topology(large > level)[0],
            topology(large > level)[1],
            -abs(level - 0.42),
        ),
    )
    signed = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    own = 4 * float(signed[inside].mean() - 0.5)
    grow = (width - own) / 2
    legible = topology(inside)
    while topology(signed + grow > 0) != legible and abs(grow) > 0.3:
        grow *= 0.8
    wobble = ndimage.gaussian_filter(random.normal(size=signed.shape), 3)
    return np.clip(signed + 0.9 * grow + wobble * 2.0 + 0.5, 0, 1)


def topology(mask):
    """Pieces and loops of a digit, specks aside."""
    pieces, loops = (
        ndimage.label(part)[0] for part in (mask, np.pad(~mask, 1, constant_values=True))
    )
    return tuple(
        int((np.bincount(labels.ravel())[1:] > 0.004 * mask.size).sum())
        for labels in (pieces, loops)
    )


def compose(seed, scene, writing):
    """One photograph; the same for the same seed, scene and digits."""
    random = np.random.default_rng(seed)
    images, code = writing.draw(scene, random)
    table = random.random() < 0.5 if scene.table is None else scene.table
    layout = scene.layout or str(random.choice(["plain", "plain", "ruled", "boxes"]))
    shadow = scene.shadow or str(random.choice(["none", "soft", "soft", "cast"]))
    scene = replace(scene, table=table, layout=layout, shadow=shadow)
    height = float(random.uniform(62, 110))
    paper, boxes, empty, code = _paper(images, code, scene, height, random)
    view, corners = _view(paper, boxes, empty, scene, height, random)
    pixels = _light(view, scene, random)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=int(random.integers(45, 93)))
    return Photo(stream.getvalue(), code, corners, scene)


def _paper(images, code, scene, height, random):
    """The sheet, RGB floats 0 to 255; the boxes of its digits; those that stay empty; the code,
    "_" for an empty box.
    """
    pitch = height * random.uniform(0.95, 1.35)
    if scene.layout == "boxes":
        pitch = height * random.uniform(1.15, 1.4)
    wide = max(1500, round(len(code) * pitch + 700))
    high = round(wide * random.uniform(0.5, 0.68))
    colour = np.array(PAPERS[random.integers(len(PAPERS))], float)
    sheet = Image.new("RGB", (wide, high), tuple(int(value) for value in colour))
    draw = ImageDraw.Draw(sheet)
    left = random.uniform(0.25, 0.9) * (wide - len(code) * pitch - 120) + 60
    top = random.uniform(0.45, 0.75) * (high - height - 160) + 60
    if scene.layout == "ruled":
        _rule(draw, sheet.size, top, height, random)
    if scene.layout == "boxes":
        _boxes(draw, left, top, pitch, height, len(code), random)
    _print(draw, sheet.size, (left, top, len(code) * pitch, height), random)
    pixels = np.asarray(sheet, dtype=float)
    pixels += ndimage.gaussian_filter(random.normal(size=pixels.shape[:2]), 1.2)[..., None] * 6
    skip = int(random.integers(len(code))) if scene.empty else -1
    placed, empty = _write(pixels, images, scene, (left, top, pitch, height), skip, random)
    code = "".join("_" if place == skip else digit for place, digit in enumerate(code))
    return pixels, placed, empty, code


def _write(pixels, images, scene, where, skip, random):
    """The digits written onto the sheet, in place; their boxes left, top, right, bottom, and
    those that stay empty.
    """
    left, top, pitch, height = where
    pen = random.uniform(0.05, 0.13)
    ink = np.array(INKS[random.integers(len(INKS))], float)
    slant = random.normal(0, 0.08)
    climb = random.normal(0, 0.02)
    bold = int(random.integers(len(images))) if scene.bold else -1
    boxes, empty = [], []
    for place, image in enumerate(images):
        if scene.pens == "mixed":
            pen = random.uniform(0.045, 0.17)
            ink = np.array(INKS[random.integers(len(INKS))], float)
            slant = random.normal(0, 0.12)
        width = pen * height
        if place == bold:
            width *= random.uniform(2.0, 2.8) if pen < 0.09 else 1.8
        size = height * random.uniform(0.82, 1.1)
        if scene.layout == "boxes":
            size = height * random.uniform(0.72, 0.95)
        coverage = _sheared(stroke(image, size, width, random), slant)
        middle = left + (place + 0.5) * pitch + random.normal(0, 0.04) * height
        y = round(
            top
            + (height - coverage.shape[0]) / 2
            + random.normal(0, 0.03) * height
            + climb * place * pitch
        )
        x = round(middle - coverage.shape[1] / 2)
        if place == skip:
            empty.append((left + place * pitch, top, left + (place + 1) * pitch, top + height))
            continue
        strength = random.uniform(0.75, 0.97) * (
            1 - 0.15 * ndimage.gaussian_filter(random.random(coverage.shape), 4)
        )
        alpha = (ndimage.gaussian_filter(coverage, 0.7) * strength)[..., None]
        region = pixels[y : y + coverage.shape[0], x : x + coverage.shape[1]]
        region[:] = region * (1 - alpha) + np.minimum(ink, region) * alpha
        rows = np.flatnonzero((coverage > 0.5).any(1))
        columns = np.flatnonzero((coverage > 0.5).any(0))
        boxes.append((x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1))
    return boxes, empty


def _sheared(coverage, slant):
    """Slanted to the right by `slant` of its height."""
    reach = int(abs(slant) * len(coverage)) + 1
    padded = np.pad(coverage, ((0, 0), (reach, reach)))
    offset = -slant * len(coverage) / 2
    return ndimage.affine_transform(padded, [[1, 0], [slant, 1]], [0, offset], order=1)


def _rule(draw, size, top, height, random):
    spacing = height * random.uniform(1.15, 1.5)
    colour = LINES[random.integers(2)]
    first = (top + height * random.uniform(0.9, 1.15)) % spacing
    for y in np.arange(first, size[1], spacing):
        draw.line((0, y, size[0], y), fill=colour, width=int(random.integers(1, 4)))


def _boxes(draw, left, top, pitch, height, count, random):
    colour = LINES[random.integers(len(LINES))]
    gap = float(random.choice([0.0, 0.06, 0.12])) * height
    width = int(random.integers(2, 4))
    for place in range(count):
        x = left + place * pitch
        draw.rectangle(
            (x + gap / 2, top - 0.15 * height, x + pitch - gap / 2, top + 1.15 * height),
            outline=colour,
            width=width,
        )


def _print(draw, size, code, random):
    """A sender, a stamp and a label, away from the code."""
    left, top, _, high = code
    letters = int(random.uniform(20, 34))
    font = ImageFont.load_default(letters)
    for row, text in enumerate(ADDRESS[random.integers(len(ADDRESS))]):
        draw.text((50, 45 + row * letters * 1.3), text, PRINT, font)
    if random.random() < 0.6:
        right = size[0] - 50
        shade = tuple(int(value) for value in random.integers(60, 190, 3))
        draw.rectangle(
            (right - 150, 40, right, 40 + 180), fill=shade, outline=(245, 245, 245), width=6
        )
        draw.text(
            (right - 120, 90),
            str(random.integers(10, 99)),
            (240, 240, 240),
            ImageFont.load_default(60),
        )
    if random.random() < 0.6:
        text = str(random.choice(["Postal code", "ZIP", "PLZ Ort", "Code postal", "TO:"]))
        draw.text((left, top - 0.25 * high - letters * 1.3), text, PRINT, font)
    if random.random() < 0.4 and top + 1.5 * high + 2 * letters < size[1]:
        draw.text((left, top + 1.35 * high), ADDRESS[random.integers(len(ADDRESS))][2], PRINT, font)


def _view(paper, boxes, empty, scene, height, random):
    """The sheet as a camera sees it, RGB floats; and the corners of the digits there."""
    high, wide = paper.shape[:2]
    if scene.table:
        out_wide, out_high = (
            int(value) for value in random.choice([(1600, 1200), (1280, 960), (1024, 768)])
        )
        cover = random.uniform(0.66, 0.9)
        scale = min(cover * out_wide / wide, cover * out_high / high)
        centre = np.array([wide / 2, high / 2])
    else:
        all_boxes = np.array(boxes + empty, float)
        low, top = all_boxes[:, :2].min(0)
        right, bottom = all_boxes[:, 2:].max(0)
        around = height * random.uniform(0.45, 1.3, 4)
        low, top = max(low - around[0], 8), max(top - around[1], 8)
        right, bottom = min(right + around[2], wide - 8), min(bottom + around[3], high - 8)
        out_wide = int(random.integers(420, 1300))
        scale = out_wide / (right - low)
        out_high = round((bottom - top) * scale)
        centre = np.array([(low + right) / 2, (top + bottom) / 2])
    angle = np.radians(random.normal(0, 3.5))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    tilt = random.normal(0, 0.05, 2) / np.array([out_wide, out_high])
    shift = np.array([out_wide, out_high]) / 2
    if scene.table:
        shift = shift + random.normal(0, 0.02, 2) * out_wide
    forward = np.eye(3)
    forward[:2, :2] = turn
    forward[:2, 2] = shift - turn @ centre
    lens = np.eye(3)
    lens[2, :2] = tilt
    lens[2, 2] = 1 - tilt @ shift
    forward = lens @ forward
    inverse = np.linalg.inv(forward)
    ys, xs = np.mgrid[0:out_high, 0:out_wide]
    mapped = np.tensordot(inverse, np.stack([xs + 0.5, ys + 0.5, np.ones_like(xs)]), 1)
    source = np.stack([mapped[1] / mapped[2] - 0.5, mapped[0] / mapped[2] - 0.5])
    blurred = ndimage.gaussian_filter(paper, (max(0.0, 0.45 / scale - 0.45),) * 2 + (0,))
    view = np.stack(
        [
            ndimage.map_coordinates(blurred[..., c], source, order=1, mode="nearest")
            for c in range(3)
        ],
        -1,
    )
    inside = (source[0] > 0) & (source[0] < high - 1) & (source[1] > 0) & (source[1] < wide - 1)
    if scene.table:
        view = np.where(inside[..., None], view, _table((out_high, out_wide), inside, random))
    corners = np.array(
        [
            [(left, top), (right, top), (right, bottom), (left, bottom)]
            for left, top, right, bottom in boxes
        ],
        float,
    )
    points = np.concatenate([corners, np.ones((*corners.shape[:2], 1))], 2) @ forward.T
    return view, points[..., :2] / points[..., 2:]


def _table(shape, inside, random):
    """What the envelope lies on: darker, with a grain, and with the envelope's shadow."""
    colour = np.array(TABLES[random.integers(len(TABLES))], float)
    grain = ndimage.gaussian_filter(random.normal(size=shape), (1, 40)) * 8
    wood = colour * (1 + 0.25 * np.clip(grain * random.uniform(0, 1.5), -1, 1))[..., None]
    fallen = ndimage.gaussian_filter(ndimage.shift(inside.astype(float), (6, 5), order=0), 6)
    return wood * (1 - 0.5 * fallen)[..., None]


def _light(view, scene, random):
    """Exposure, shadow, focus and noise; uint8 RGB."""
    high, wide = view.shape[:2]
    ys, xs = np.mgrid[0:high, 0:wide] / max(high, wide)
    light = np.full((high, wide), random.uniform(0.8, 1.02))
    if scene.shadow != "none":
        way = random.uniform(0, 2 * np.pi)
        along = np.cos(way) * xs + np.sin(way) * ys
        light *= 1 - random.uniform(0.1, 0.45) * (along - along.min()) / np.ptp(along)
    if scene.shadow == "cast":
        way = random.normal(0, 0.7)
        edge = np.cos(way) * xs + np.sin(way) * ys
        edge -= np.quantile(edge, random.uniform(0.25, 0.75))
        side = random.choice([-1, 1])
        soft = random.uniform(0.0008, 0.012)
        light *= 1 - random.uniform(0.3, 0.6) / (1 + np.exp(-np.clip(side * edge / soft, -60, 60)))
    seen = ndimage.gaussian_filter(view * light[..., None], (random.uniform(0.3, 1.0),) * 2 + (0,))
    noise = (
        random.normal(size=seen.shape[:2])[..., None] * 0.7 + random.normal(size=seen.shape) * 0.7
    )
    return np.clip(seen + noise * random.uniform(1, 7), 0, 255).astype(np.uint8)


SCENES = {
    "one writer, one pen": {"pens": "one"},
    "mixed writers and pens": {"pens": "mixed"},
    "mixed, one digit bold": {"pens": "mixed", "bold": True},
}
SHARES = (0.05, 0.1, 0.15, 0.2)  # of the right codes, that might be marked
PLACES = {
    "on a darker table": {"table": True},
    "cast shadow": {"shadow": "cast"},
    "printed boxes": {"layout": "boxes"},
    "printed boxes, one empty": {"layout": "boxes", "empty": True},
    "ruled paper": {"layout": "ruled"},
}


def mnist_test():
    """MNIST's 10,000 test digits and labels."""
    source = open_named("mnist")
    test = source.splits == "test"
    return source.pixels[test][:, 0], source.labels[test]


def read_all(name, scene, writing, classify, given):
    """Read `given.photographs` photographs of a scene for each seed.

    Returns whether each code is right, how certain it is, and the seconds that reading them took.
    """
    right, certain = [], []
    taken = 0.0
    for seed in given.seed:
        for number in range(given.photographs):
            photo = compose((seed, *name.encode(), number), scene, writing)
            began = time.process_time()
            code = read_code(grey(photo.jpeg), classify, given.digits or None)
            taken += time.process_time() - began
            right.append(code.text == photo.code)
            certain.append(code.certainty(given.digits or None))
            if given.look:
                place = f"{name.replace(', ', '_').replace(' ', '_')}_{seed}_{number}"
                file = f"{place}_{photo.code}_{code.text}_{certain[-1]:.2f}.jpg"
                given.look.mkdir(parents=True, exist_ok=True)
                (given.look / file).write_bytes(photo.jpeg)
    return np.array(right), np.array(certain), taken


def counted(name, right, certain, sure):
    """A row of the table: how many codes are right, and how many of each are marked."""
    marked = certain < sure
    return {
        "photographs": name,
        "n": len(right),
        "right": int(right.sum()),
        "wrong and marked": int((~right & marked).sum()),
        "right and marked": int((right & marked).sum()),
    }


def print_row(row):
    right, wrong = row["right"], row["n"] - row["right"]
    print(
        f"{row['photographs']:<44} {right / row['n']:>7.1%} of {row['n']:<4} right; marked: "
        f"{row['wrong and marked']} of {wrong} wrong, {row['right and marked']} of {right} right"
    )


def trade(right, certain):
    """What could be had: the share of wrong codes marked when this share of right ones is."""
    curve = []
    if not right.any():
        return curve
    for share in SHARES:
        limit = np.quantile(certain[right], share, method="lower")
        curve.append(
            {
                "limit": round(float(limit), 4),
                "right marked": round(float((certain[right] < limit).mean()), 4),
                "wrong marked": int((certain[~right] < limit).sum()),
                "wrong": int((~right).sum()),
            }
        )
    return curve


def parsed():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a run of the ten digits or its ONNX file")
    parser.add_argument("--photographs", type=int, default=20, help="of each kind and seed")
    parser.add_argument("--digits", type=int, default=5, help="expected; 0: unknown")
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--sure", type=float, default=SURE)
    parser.add_argument("--writers", choices=["odd", "even", "all"], default="odd")
    parser.add_argument("--places", action="store_true", help="tables, shadows and boxes apart too")
    parser.add_argument("--only", help="the scenes with these words in their name; nothing is kept")
    parser.add_argument("--look", type=Path, help="write the photographs into this folder")
    return parser.parse_args()


def chosen_scenes(given, writers):
    """The names and scenes to be read."""
    scenes = dict(SCENES)
    if given.places or given.only:
        scenes.update(PLACES)
    if given.only:
        scenes = {name: scenes[name] for name in scenes if given.only in name}
    return [
        (f"{digits}: {kind}", Scene(digits=digits, writers=writers, **fields))
        for digits in ("sklearn", "mnist")
        for kind, fields in scenes.items()
    ]


def main():
    given = parsed()
    writers = {"odd": range(1, 14, 2), "even": range(0, 14, 2), "all": range(14)}[given.writers]
    bunch = load_digits()
    writing = Writing((bunch.images, bunch.target), mnist_test())
    classify = digit_classifier(predict.load(given.model))
    rows = []
    read = {}
    for name, scene in chosen_scenes(given, tuple(writers)):
        right, certain, taken = read_all(name, scene, writing, classify, given)
        read[name] = right, certain
        rows.append(counted(name, right, certain, given.sure))
        rows[-1]["processor seconds each"] = round(taken / len(right), 2)
        print_row(rows[-1])
    for kind in ("one writer", "mixed", ""):
        chosen = [read[name] for name in read if kind in name]
        if chosen:
            right, certain = (np.concatenate(parts) for parts in zip(*chosen, strict=True))
            print_row(counted(kind or "all", right, certain, given.sure))
    curve = trade(right, certain)
    for point in curve:
        print(
            f"below {point['limit']:.3f}: {point['wrong marked']} of {point['wrong']} wrong "
            f"and {point['right marked']:.1%} of the right codes"
        )
    if not given.only:
        keep(given, rows, curve)


def keep(given, rows, curve):
    """Write the figures into the results."""
    RESULTS.mkdir(exist_ok=True)
    seeds = " ".join(map(str, given.seed))
    command = f"python benchmarks/envelopes.py RUN --photographs {given.photographs} --seed {seeds}"
    settings = {**vars(given), "model": given.model.name}
    result = {"command": command, **settings, "rows": rows, "trade": curve}
    text = json.dumps(result, indent=2, default=str)
    (RESULTS / "envelopes.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
