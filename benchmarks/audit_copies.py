"""Recall and precision of near copies, beside imagededup's hashes; writes
benchmarks/results/audit_copies_NAME.json.

    python -m venv dedup-env && dedup-env/bin/pip install -r benchmarks/imagededup/requirements.txt
    python benchmarks/audit_copies.py DATA --imagededup dedup-env/bin/python

COPIES images of DATA are changed in each of six ways and laid among LIMIT of its images. A pair
counts as right when both come from one image. DATA may hold near copies of its own, and they are no
mistakes: `own` counts the pairs between images of DATA, which `--montage FILE.png` draws for a
person to judge, and precision is given without and with them as mistakes.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance

from eyesight.auditing import copies, features
from eyesight.auditing.material import open_material
from eyesight.data.images import Images
from eyesight.system.environment import environment
from eyesight.system.progress import Reporter

HERE = Path(__file__).parent


def recopied(image, random):
    return image.copy()


def rescaled(image, random):
    share = random.uniform(0.5, 0.8)
    width, height = image.size
    small = image.resize((round(width * share), round(height * share)), Image.Resampling.LANCZOS)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def recompressed(image, random):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(random.integers(40, 80)))
    return Image.open(stream).convert("RGB")


def cropped(image, random):
    width, height = image.size
    wide, high = round(width * 0.9), round(height * 0.9)
    left = int(random.integers(0, width - wide + 1))
    top = int(random.integers(0, height - high + 1))
    part = image.crop((left, top, left + wide, top + high))
    return part.resize(image.size, Image.Resampling.BICUBIC)


def mirrored(image, random):
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def brightened(image, random):
    return ImageEnhance.Brightness(image).enhance(random.uniform(1.2, 1.4))


CHANGES = (recopied, rescaled, recompressed, cropped, mirrored, brightened)


def planted(pixels, count, seed):
    """The images with changed ones behind them, the image that each comes from, and how each was
    changed.
    """
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(pixels))[: count * len(CHANGES)]
    origins = list(range(len(pixels)))
    kinds = [""] * len(pixels)
    made = []
    for place, row in enumerate(chosen.tolist()):
        change = CHANGES[place % len(CHANGES)]
        image = Image.fromarray(pixels[row].transpose(1, 2, 0))
        made.append(np.asarray(change(image, random)).transpose(2, 0, 1))
        origins.append(row)
        kinds.append(change.__name__)
    return np.concatenate([pixels, np.stack(made)]), np.array(origins), kinds


def judged(pairs, origins, kinds, own_rows):
    """Recall by kind of change and precision of pairs of rows."""
    pairs = set(pairs)
    recall = {}
    for change in CHANGES:
        rows = [row for row, kind in enumerate(kinds) if kind == change.__name__]
        hits = sum((int(origins[row]), row) in pairs for row in rows)
        recall[change.__name__] = hits / len(rows)
    right = sum(bool(origins[first] == origins[second]) for first, second in pairs)
    own = sum(first < own_rows and second < own_rows for first, second in pairs)
    others = len(pairs) - right - own
    return {
        "recall": sum(recall.values()) / len(recall),
        "recall_by_change": recall,
        "precision": right / max(1, right + others),
        "precision_if_own_copies_were_mistakes": right / max(1, len(pairs)),
        "pairs": len(pairs),
        "own": own,
        "strangers": others,
    }


def draw(pixels, pairs, file):
    """Pairs side by side, ten a row."""
    cells = [np.concatenate([pixels[a], pixels[b]], 2).transpose(1, 2, 0) for a, b in pairs]
    cells += [np.zeros_like(cells[0])] * (-len(cells) % 10)
    rows = [np.concatenate(cells[start : start + 10], 1) for start in range(0, len(cells), 10)]
    Image.fromarray(np.concatenate(rows)).save(file)


def hash_pairs(python, pixels):
    """Pairs of rows by each of imagededup's hashes."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "images"
        place.mkdir()
        for row, image in enumerate(pixels):
            Image.fromarray(image.transpose(1, 2, 0)).save(place / f"{row:06d}.png")
        out = Path(folder) / "pairs.json"
        subprocess.run([python, HERE / "imagededup" / "hashes.py", place, out], check=True)
        tables = json.loads(out.read_text())
    return {
        name: [(int(first[:6]), int(second[:6])) for first, second in pairs]
        for name, pairs in tables.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--name", default="")
    parser.add_argument("--limit", type=int, default=3000)
    parser.add_argument("--copies", type=int, default=100, help="of each kind")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--imagededup", default="", help="a Python that has imagededup")
    parser.add_argument("--montage", default="", help="where to draw the other pairs")
    options = parser.parse_args()
    material = open_material(options.data, 600.0, Reporter())
    results = []
    for seed in range(options.seeds):
        chosen = torch.randperm(
            len(material.images), generator=torch.Generator().manual_seed(seed)
        )[: options.limit]
        whole = np.ascontiguousarray(material.images.take(chosen).numpy())
        pixels, origins, kinds = planted(whole, options.copies, seed)
        names = tuple(str(row) for row in range(len(pixels)))
        images = Images.of(pixels, np.zeros(len(pixels), dtype=np.int64), ("all",), names)
        began = time.process_time()
        computed = features.compute(
            images,
            f"{material.store.key} {seed} {options.copies}",
            float("inf"),
            Reporter(),
            features.backbone_at_hand(),
        )
        feature_seconds = time.process_time() - began
        began = time.process_time()
        rows = copies.find_pairs(images, computed, lambda done, total: None).pairs
        seconds = time.process_time() - began
        pairs = [tuple(sorted((pair.first, pair.second))) for pair in rows]
        result = {
            "seed": seed,
            "images": len(pixels),
            "features": computed.source,
            "feature_cpu_seconds": round(feature_seconds, 1),
            "cpu_seconds": round(seconds, 1),
            "eyesight": judged(pairs, origins, kinds, len(whole)),
        }
        if options.imagededup and seed == 0:
            tables = hash_pairs(options.imagededup, pixels)
            result["imagededup"] = {
                name: judged(table, origins, kinds, len(whole)) for name, table in tables.items()
            }
        if options.montage and seed == 0:
            draw(pixels, [(a, b) for a, b in pairs if origins[a] != origins[b]], options.montage)
        print(json.dumps(result), file=sys.stderr)
        results.append(result)
    name = options.name or Path(options.data).name.partition(".")[0]
    file = HERE / "results" / f"audit_copies_{name}.json"
    command = (
        f"python benchmarks/audit_copies.py {Path(options.data).name} --limit {options.limit} "
        f"--copies {options.copies} --seeds {options.seeds}"
    )
    if options.imagededup:
        command += " --imagededup PYTHON"
    written = {
        "command": command,
        "results": results,
        "environment": environment(threads=torch.get_num_threads(), device="cpu", seed=0),
    }
    file.write_text(json.dumps(written, indent=2) + "\n")
    print(file)


if __name__ == "__main__":
    main()
