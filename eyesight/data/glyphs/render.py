"""Render the 52 characters of a font file, or report why it is unusable.

Rendering runs in a separate process, because a bad font can crash or hang FreeType. Then only that
font is lost.
"""

from __future__ import annotations

import faulthandler
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO

import numpy as np
import PIL
from PIL import Image, ImageDraw, ImageFont

RENDERER = f"2, Pillow {PIL.__version__}"  # increase when the images change
CLASSES = tuple("0123456789ABCDEFGHIJKLMNPQRSTUVWXYZabdefghijmnoqrtuy")
STYLES = ("regular", "italic", "bold", "bold italic")
SIDE = 90  # image size in pixels
# Height of a capital letter, which sets the scale of all characters of a face.
CAPITAL = 54
ROOM = 86  # larger characters are reduced to this size
FINE = 2  # supersampling factor
SLANT = math.tan(math.radians(12))
# Fine pixels added all round to embolden: about what separates the regular and bold of common text
# faces.
STROKE = 2.5
MISSING = (
    "\u0378",
    "\U0010fffd",
)  # unassigned codes, for which a font renders its "missing" box
TWO_CASES = "abdeghnqr"  # letters whose lowercase has another shape
SAME_SHAPE = 0.9  # correlation
KINDS = (
    "CDFGJLQRSUVW",
    "abdefghjmnqrty",
    "0123456789",
)  # letters that Greek and Cyrillic fonts do not have
# Symbols 0.1, Greek in Latin positions 0.2, extreme scripts 0.3 to 0.5, text faces 0.6 to 1.
LEGIBLE = 0.3
# Seconds per job; it needs 0.2 on an idle machine, and load must not reject fonts.
LIMIT = 60
CHUNK = 48  # jobs per process; starting one costs as much as rendering two faces

Job = dict[str, Any]
Reply = tuple[dict[str, Any], bytes]
Face = tuple[str, int]  # file, index in the file


class UnusableFont(Exception):  # noqa: N818 - an expected answer
    """The reason why a face is not used."""


def run(jobs: Sequence[Job], done: Callable[[int], None] = lambda count: None) -> Iterator[Reply]:
    """The reply to each job, in order; {"refused": …} for a job that crashed or hung."""
    chunks = [jobs[start : start + CHUNK] for start in range(0, len(jobs), CHUNK)]
    count = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for replies in pool.map(_chunk, chunks):
            yield from replies
            count += len(replies)
            done(count)


def _chunk(jobs: Sequence[Job]) -> list[Reply]:
    replies: list[Reply] = []
    while len(replies) < len(jobs):
        fresh = _process(jobs[len(replies) :])
        replies += fresh
        if len(replies) < len(jobs):  # the first job without a reply crashed it
            replies.append(({"refused": "crashes or hangs the renderer"}, b""))
    return replies


def _process(jobs: Sequence[Job]) -> list[Reply]:
    """The replies of a new process until it ended."""
    home = str(Path(__file__).parents[3])
    path = os.pathsep.join(part for part in (home, os.environ.get("PYTHONPATH", "")) if part)
    with subprocess.Popen(
        [sys.executable, "-c", "from eyesight.data.glyphs.render import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(list(jobs)).encode())
            process.stdin.close()
        except OSError:  # it ended before reading all jobs; its replies are still read
            pass
        return list(_replies(process.stdout))


def _replies(stream: BinaryIO | Any) -> Iterator[Reply]:
    """Complete replies only; the last one may be truncated."""
    while (line := stream.readline()).endswith(b"\n"):
        header = json.loads(line)
        payload = stream.read(header.pop("bytes"))
        if line.strip() and "end" in header:
            del header["end"]
            yield header, payload


def serve() -> None:
    """The child process of `run`: handle the jobs on standard input.

    A watchdog ends the process if a job takes too long.
    """
    for job in json.loads(sys.stdin.buffer.read()):
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        try:
            header, payload = JOBS[job["do"]](job)
        except UnusableFont as refusal:
            header, payload = {"refused": str(refusal)}, b""
        except Exception as error:  # any error of a broken font rejects that font
            header, payload = {"refused": f"cannot be rendered: {error}"}, b""
        line = json.dumps({**header, "bytes": len(payload), "end": True}).encode() + b"\n"
        sys.stdout.buffer.write(line + payload)
        sys.stdout.buffer.flush()
    faulthandler.cancel_dump_traceback_later()


def names(job: Job) -> Reply:
    """[index, family, style] of every face in a file."""
    faces = []
    for index in range(100 if job["path"].lower().endswith((".ttc", ".otc")) else 1):
        try:
            faces.append([index, *ImageFont.truetype(job["path"], 32, index).getname()])
        except OSError:
            if not index:
                raise
            break
    return {"names": faces}, b""


def check(job: Job) -> Reply:
    """Small images of a face, uint8 52,30,30, if it is usable."""
    pictures = draw_face(job["face"])
    check_usable(pictures)
    small = pictures.reshape(len(CLASSES), 30, 3, 30, 3).mean(axis=(2, 4))
    return {}, small.astype(np.uint8).tobytes()


def draw(job: Job) -> Reply:
    """Images of several styles of a family, uint8 styles,52,90,90.

    Missing or unusable styles are synthesised by slanting or emboldening.
    """
    faces: dict[str, Face] = job["faces"]
    made: list[str] = []
    pictures = []
    for style in job["styles"]:
        own = _drawn(faces.get(style))
        if own is None:
            made.append(style)
            own = _synthesised(faces, style)
        pictures.append(own)
    return {"made": made}, np.stack(pictures).tobytes()


def _drawn(face: Face | None) -> np.ndarray | None:
    try:
        pictures = None if face is None else draw_face(face)
        if pictures is not None:
            check_usable(pictures)
    except (UnusableFont, OSError):
        return None
    return pictures


def _synthesised(faces: dict[str, Face], style: str) -> np.ndarray:
    """Synthesise a missing style from the most similar face."""
    tries = {"bold italic": ("bold", "italic", "regular")}.get(style, ("regular",))
    for base in tries:
        if _drawn(faces.get(base)) is not None:
            slant = "italic" in style and "italic" not in base
            return draw_face(faces[base], slant=slant, bold="bold" in style and "bold" not in base)
    raise UnusableFont("its regular face cannot be rendered")


JOBS: dict[str, Callable[[Job], Reply]] = {"names": names, "check": check, "draw": draw}


def draw_face(face: Face, *, slant: bool = False, bold: bool = False) -> np.ndarray:
    """Render a face, uint8 52,90,90, dark on white: one scale per face, each character centred.

    Raises UnusableFont for a missing character.
    """
    font = _scaled_font(face)
    boxes = [ink(font, code) for code in MISSING]
    pictures = np.empty((len(CLASSES), SIDE, SIDE), np.uint8)
    for row, character in enumerate(CLASSES):
        plain = ink(font, character)
        if plain is None:
            raise UnusableFont(f"{character} is blank")
        if any(
            box is not None and box.size == plain.size and box.tobytes() == plain.tobytes()
            for box in boxes
        ):
            raise UnusableFont(f"lacks {character}")
        drawn = ink(font, character, STROKE) if bold else plain
        assert drawn is not None
        pictures[row] = placed(slanted(drawn) if slant else drawn)
    return pictures


def _scaled_font(face: Face) -> ImageFont.FreeTypeFont:
    """The face at the size at which capitals are `CAPITAL` pixels high."""
    font = ImageFont.truetype(face[0], 100, face[1], layout_engine=ImageFont.Layout.BASIC)
    letters = [ink(font, letter) for letter in "EHIXZ"]
    heights = [letter.height for letter in letters if letter is not None]
    if not heights or not 10 <= median(heights) <= 400:
        raise UnusableFont("has no capital letters of a usual size")
    return font.font_variant(size=100 * CAPITAL * FINE / median(heights))


def ink(font: ImageFont.FreeTypeFont, character: str, stroke: float = 0) -> Image.Image | None:
    """White ink on black, cropped to its bounding box, or None."""
    left, top, right, bottom = font.getbbox(character, stroke_width=stroke, anchor="ls")
    x, y = math.floor(left) - 1, math.floor(top) - 1
    width, height = math.ceil(right) + 1 - x, math.ceil(bottom) + 1 - y
    if max(width, height) > 20 * CAPITAL * FINE:
        raise UnusableFont(f"{character} is much larger than its capitals")
    picture = Image.new("L", (width, height))
    ImageDraw.Draw(picture).text((-x, -y), character, 255, font, anchor="ls", stroke_width=stroke)
    box = picture.getbbox()
    return picture.crop(box) if box else None


def slanted(picture: Image.Image) -> Image.Image:
    """Sheared to the right by 12°."""
    lean = SLANT * picture.height
    size = (picture.width + math.ceil(lean), picture.height)
    sheared = picture.transform(
        size, Image.Transform.AFFINE, (1, SLANT, -lean, 0, 1, 0), Image.Resampling.BICUBIC
    )
    return sheared.crop(sheared.getbbox())


def placed(picture: Image.Image) -> np.ndarray:
    """In the middle of the frame, dark on white, shrunk only when it is too large."""
    frame = Image.new("L", (SIDE * FINE, SIDE * FINE))
    picture = _within(picture, ROOM * FINE) if max(picture.size) > ROOM * FINE else picture
    frame.paste(picture, ((frame.width - picture.width) // 2, (frame.height - picture.height) // 2))
    return 255 - np.asarray(frame.reduce(FINE))


def check_usable(pictures: np.ndarray) -> None:
    """Raise UnusableFont for images (uint8 52,90,90) that look alike or are no Latin letters."""
    seen: dict[bytes, str] = {}
    for character, picture in zip(CLASSES, pictures, strict=True):
        other = seen.setdefault(picture.tobytes(), character)
        if other != character:
            raise UnusableFont(f"{other} and {character} look the same")
    shapes = {
        character: shape(picture) for character, picture in zip(CLASSES, pictures, strict=True)
    }
    if sum(one_case(shapes, letter) for letter in TWO_CASES) > len(TWO_CASES) // 2:
        raise UnusableFont("has no lowercase letters")
    if legibility(np.stack(list(shapes.values()))) < LEGIBLE:
        raise UnusableFont("does not look like letters and digits")


def one_case(shapes: dict[str, np.ndarray], letter: str) -> bool:
    """Whether a small letter is drawn as its capital, or is nearer to Pillow's capital."""
    like = _references() @ shapes[letter]  # 2,52
    small, capital = (
        float(like[:, CLASSES.index(case)].max()) for case in (letter, letter.upper())
    )
    return capital > small or float(shapes[letter] @ shapes[letter.upper()]) > SAME_SHAPE


def legibility(shapes: np.ndarray) -> float:
    """Fraction of characters whose five nearest shapes in Pillow's font include the right one.

    The minimum over capitals, lowercase letters and digits, because some fonts have symbols for one
    of them; the reference is tried upright and slanted.
    """
    folded = np.array([character.lower() for character in CLASSES])
    nearest = np.argsort(-(shapes @ _references().swapaxes(1, 2)), axis=2)[:, :, :5]
    right = (folded[nearest] == folded[:, None]).any(axis=2)
    rows = [[CLASSES.index(character) for character in kind] for kind in KINDS]
    return min(float(right[:, kind].mean(axis=1).max()) for kind in rows)


@cache
def _references() -> np.ndarray:
    """Float32 2,52,256: the shapes of an ordinary face, upright and strongly slanted."""
    font = ImageFont.load_default(CAPITAL * FINE)
    assert isinstance(font, ImageFont.FreeTypeFont)
    drawn = [
        picture
        for picture in (ink(font, character) for character in CLASSES)
        if picture is not None
    ]
    return np.stack(
        [
            [shape(placed(picture)) for picture in row]
            for row in (drawn, [slanted(slanted(one)) for one in drawn])
        ]
    )


def shape(picture: np.ndarray) -> np.ndarray:
    """The shape of the ink in its bounding box as a unit vector; dot products are correlations."""
    whole = Image.fromarray(255 - picture)
    values = np.asarray(
        whole.resize((16, 16), Image.Resampling.BOX, whole.getbbox()), np.float32
    ).ravel()
    values = values - values.mean()
    return np.asarray(values / max(float(np.linalg.norm(values)), 1e-6))


def _within(picture: Image.Image, side: int) -> Image.Image:
    """Shrunk so that its longer side is `side`."""
    scale = side / max(picture.size)
    return picture.resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))),
        Image.Resampling.BOX,
    )
