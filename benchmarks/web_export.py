"""Whether an exported web page answers as its classifier does, on 200 awkward and ordinary pictures.

python benchmarks/web_export.py [RECIPE...]

Each recipe is trained for a moment on drawn shapes; its page is asked in Chromium, opened from a
file without a network, about pictures of every kind that it may be given. PNG files are decoded by
the page itself and must be equal to the last bit; the others are decoded by the browser.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import eyesight
from eyesight import classifier
from eyesight.data.prepare import BadPicture
from eyesight.exporting.browser import find_browser, opened
from eyesight.exporting.parity import TIE
from eyesight.exporting.web import export_web

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from drawn import folder

RESULTS = Path(__file__).parent / "results" / "web_export.json"
RECIPES = ("digits", "objects", "folder", "dogs")
PICTURES = 200
SIZES = {
    "ordinary": (320, 240),
    "large": (800, 600),
    "thin": (900, 3),
    "narrow": (2, 700),
    "tiny": (3, 2),
    "one pixel": (1, 1),
}
ORIENTATION = 0x0112
SETTINGS = {"training.epochs": 1, "data.validation": 0.2}


def painting(size: tuple[int, int], random: np.random.Generator) -> Image.Image:
    """Coloured shapes over a ramp."""
    width, height = size
    rows = np.linspace(0, 255, height)[:, None, None]
    columns = np.linspace(0, 255, width)[None, :, None]
    ramp = (rows * random.random(3) + columns * random.random(3)) / 2
    picture = Image.fromarray(ramp.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(6):
        x, y = random.random(2) * size
        reach = (0.05 + 0.2 * random.random()) * max(size)
        colour = tuple(random.integers(0, 256, 3).tolist())
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)
    return picture


def with_alpha(picture: Image.Image) -> Image.Image:
    """The picture, ever more transparent to the right."""
    width, height = picture.size
    ramp = np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))
    picture = picture.convert("RGBA")
    picture.putalpha(Image.fromarray(ramp))
    return picture


def encoded(picture: Image.Image, file_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()


def sixteen_bits(picture: Image.Image) -> bytes:
    values = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    return encoded(Image.fromarray(values), "PNG")


def turned(picture: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(picture, "JPEG", exif=exif, quality=90)


def animated(picture: Image.Image, file_format: str) -> bytes:
    frames = [picture.transpose(Image.Transpose.ROTATE_180)]
    return encoded(picture, file_format, save_all=True, append_images=frames)


def files(picture: Image.Image) -> dict[str, bytes]:
    """The same picture as every kind of file."""
    palette = picture.convert("P")
    kinds = {
        "PNG colour": encoded(picture, "PNG"),
        "PNG grey": encoded(picture.convert("L"), "PNG"),
        "PNG alpha": encoded(with_alpha(picture), "PNG"),
        "PNG grey + alpha": encoded(with_alpha(picture).convert("LA"), "PNG"),
        "PNG palette": encoded(palette, "PNG"),
        "PNG palette, one colour transparent": encoded(palette, "PNG", transparency=0),
        "PNG 1 bit": encoded(picture.convert("1"), "PNG"),
        "PNG 16 bit": sixteen_bits(picture),
        "JPEG colour": encoded(picture, "JPEG", quality=90),
        "JPEG grey": encoded(picture.convert("L"), "JPEG"),
        "JPEG CMYK": encoded(picture.convert("CMYK"), "JPEG"),
        "GIF": encoded(palette, "GIF"),
        "GIF animated": animated(palette, "GIF"),
        "WebP": encoded(picture, "WEBP"),
        "WebP lossless, alpha": encoded(with_alpha(picture), "WEBP", lossless=True),
        "BMP": encoded(picture, "BMP"),
    }
    for orientation in (2, 3, 6, 8):
        kinds[f"JPEG turned by EXIF {orientation}"] = turned(picture, orientation)
    return kinds


def pictures() -> list[tuple[str, str, bytes]]:
    """(kind of file, size, bytes) of PICTURES files, the same at every call."""
    random = np.random.default_rng(0)
    made: list[tuple[str, str, bytes]] = []
    while len(made) < PICTURES:
        for size_name, size in SIZES.items():
            picture = painting(size, random)
            made += [(kind, size_name, content) for kind, content in files(picture).items()]
    return made[:PICTURES]


def ask(page: Path, asked: list[bytes]) -> list[dict]:
    """What the page answers to each file, or its error."""
    answers = []
    with opened(find_browser(), page) as driver:
        driver.evaluate("eyesight.ready.then(() => true)")
        for content in asked:
            text = base64.b64encode(content).decode()
            call = f"eyesight.check('{text}', true).catch(error => ({{ error: String(error) }}))"
            answers.append(driver.evaluate(call))
    return answers


def judge(recipe: str, place: Path) -> dict:
    """Train the recipe for a moment, export its page, ask it, and compare."""
    data = place / "shapes"
    if not data.exists():
        folder(data, 90, 64)
    run = eyesight.train(recipe, data=data, set=SETTINGS, out=place / "runs", verbose=False)
    page = export_web(run, place / f"{recipe}.html", unproven=True)
    loaded = classifier.load(run.classifier_path)
    made = pictures()
    answers = ask(page.file, [content for _, _, content in made])
    rows = []
    for (kind, size, content), answer in zip(made, answers, strict=True):
        rows.append({"kind": kind, "size": size, **compared(loaded, content, answer)})
    return {"recipe": recipe, "bytes": page.bytes, "rows": rows}


def compared(loaded: classifier.Classifier, content: bytes, answer: dict) -> dict:
    """One picture by the classifier and by the page."""
    try:
        pixels = loaded.prepare(content)
    except BadPicture as error:
        return {"refused": "error" in answer, "reason": str(error)}
    if "error" in answer:
        return {"refused": False, "reason": answer["error"]}
    expected = loaded.answer(pixels[None]).probabilities[0]
    given = np.array(answer["probabilities"], dtype=np.float32)
    seen = np.frombuffer(base64.b64decode(answer["pixels"]), np.uint8).reshape(pixels.shape)
    named = loaded.classes.index(answer["name"])
    return {
        "same": bool(expected.max() - expected[named] < TIE),
        "pixels": int(np.abs(seen.astype(int) - pixels).max()),
        "probabilities": float(np.abs(expected - given).max()),
    }


def table(results: list[dict]) -> str:
    """The results as Markdown."""
    lines = [
        "| recipe | page | images | same class | PNG: pixels, probabilities differ by at most | "
        "others: pixels, probabilities differ by at most |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        rows = [row for row in result["rows"] if "same" in row]
        own = [row for row in rows if row["kind"].startswith("PNG")]
        others = [row for row in rows if not row["kind"].startswith("PNG")]
        size = f"{result['bytes'] / 1e6:.1f} MB"
        cells = [result["recipe"], size, str(len(result["rows"]))]
        cells.append(f"{sum(row['same'] for row in rows)} of {len(rows)}")
        for part in (own, others):
            pixels = max(row["pixels"] for row in part)
            probabilities = max(row["probabilities"] for row in part)
            cells.append(f"{pixels}, {probabilities:.0e}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def exceptions(results: list[dict]) -> list[str]:
    """What was not answered alike, kind by kind."""
    counts: Counter[str] = Counter()
    for result in results:
        for row in result["rows"]:
            label = f"{result['recipe']}: {row['kind']}, {row['size']}"
            if "same" not in row:
                counts[f"{label}: {row['reason']} (refused by both: {row['refused']})"] += 1
            elif not row["same"]:
                counts[f"{label}: another class, pixels differ by {row['pixels']}"] += 1
            elif row["kind"].startswith("PNG") and row["pixels"]:
                counts[f"{label}: pixels differ by {row['pixels']}"] += 1
    return [f"{count} × {label}" for label, count in counts.items()]


def keep(result: dict) -> None:
    """Write a recipe's result beside those of the others."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    kept[result["recipe"]] = result
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    results = []
    with tempfile.TemporaryDirectory() as place:
        for recipe in parser.parse_args().recipes:
            results.append(judge(recipe, Path(place)))
            print(table(results[-1:]).splitlines()[-1], flush=True)
            keep(results[-1])
    print(table(results))
    print("\n".join(exceptions(results)) or "no exceptions")


if __name__ == "__main__":
    main()
