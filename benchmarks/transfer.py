"""Measures transfer learning and writes each part into benchmarks/results/transfer.json.

    python benchmarks/transfer.py                              what needs no pictures: forward,
        once, memory
    python benchmarks/transfer.py forward                      only this
    python benchmarks/transfer.py head --data DOGS       a head on a frozen backbone, and nothing
        else

forward: a pass through tf_efficientnet_lite0 in our engine (bfloat16, channels last) against timm's
as people call it (float32), in turns.
once: a head trained for 20 epochs on features computed once against features computed in every
epoch; the same pictures, both ours.
memory: the announced size of the features against their files, then pictures and features that are
larger than the memory allowed.
Pictures are noise where speed is measured. Run it on a quiet machine; every part takes less than
four minutes there.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from run import measured

from eyesight.system.environment import environment

HERE = Path(__file__).parent
NETWORK = "tf_efficientnet_lite0"
SIZES = ("128", "224")
EYESIGHT = (sys.executable, "-m", "eyesight")
SPINS = {"ours": {"GOMP_SPINCOUNT": "20000"}, "timm": {}}  # as our command line sets it
# MiB of private memory: 950 are PyTorch and its threads, 600 a training on 200 such pictures;
# mapped files do not count
ALLOWED = 2500
KEPT = {"stores": "pixels.npy", "activations": "*.bin"}  # what lies in the cache
SETTINGS = (
    "model.name=lcnet_050",
    "model.weights=none",
    "model.head=flatten",
    "data.size=224",
    "data.test=0.05",
    "data.validation=0.05",
)
# pictures of 224×224, which are as many times 150 kB: the pixels alone are more than what is
# allowed
LARGE = 20_000


def forward(given):
    """Milliseconds a picture on both sides in turns, and how many times as fast ours is: median
    and range of the rounds."""
    rounds = []
    for _ in range(given.rounds):
        row = {}
        for side in ("ours", "timm"):
            command = [sys.executable, HERE / "forward_pass.py", side, NETWORK, *SIZES]
            output = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | SPINS[side]
            )
            row[side] = json.loads(output.stdout)
        rounds.append(row)
        print(row, flush=True)
    ratios = {
        size: sorted(row["timm"][size] / row["ours"][size] for row in rounds) for size in SIZES
    }
    measured = {
        size: {"median": statistics.median(result), "from": result[0], "to": result[-1]}
        for size, result in ratios.items()
    }
    return {"claim": "at least 3 times timm's speed", "rounds": rounds, "ratio": measured}


def noise(file, count, side, held=100, classes=10):
    """An .npz file of noise pictures in Keras' layout."""
    random = np.random.default_rng(0)
    parts = {}
    for part, number in (("train", count), ("test", held)):
        parts |= {
            f"x_{part}": random.integers(0, 256, (number, side, side, 3), dtype=np.uint8),
            f"y_{part}": np.arange(number) % classes,
        }
    np.savez(file, **parts)
    return file


def train(recipe, data, folder, *settings, name="transfer", **options):
    """What `eyesight train` said, its seconds and its peak memory."""
    command = [
        *EYESIGHT,
        "train",
        recipe,
        "--data",
        str(data),
        "--out",
        str(folder / "runs"),
        "--json",
    ]
    command += [f"--{option}={value}" for option, value in options.items()]
    return measured(
        name, [*command, *(part for setting in settings for part in ("--set", setting))]
    )


def frozen(file, folder, *, views, epochs=20):
    """Seconds of a head on a frozen backbone: for features and training, and of the whole
    process. `views` 0 computes features always."""
    settings = (
        "model.weights=none",
        "data.validation=0.1",
        "augment.flip=none",
        f"training.epochs={epochs}",
        f"transfer.views={views}",
    )
    side = np.load(file)["x_train"].shape[1]
    result, wall, _ = train("objects_transfer", file, folder, *settings, f"data.size={side}")
    parts = result["parts"]
    return {
        "learning": round(parts["training"] + parts.get("features", 0.0), 2),
        "parts": parts,
        "wall": wall,
    }


def privately(folder):
    """A cache of one's own from here on, so that nothing is found that a measurement should
    make."""
    os.environ["EYESIGHT_CACHE"] = str(folder / "cache")


def forget_features(folder):
    """Remove what was computed once, but not the prepared pictures and the choice of arithmetic."""
    for file in (folder / "cache" / "activations").glob("*.bin"):
        file.unlink()


def once(given):
    """A training of 20 epochs with features computed once, and the same with features computed
    in every epoch."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        privately(folder)
        file = noise(folder / "noise.npz", given.pictures, 128)
        for views in (1, 0):  # prepares the pictures and chooses the arithmetic
            frozen(file, folder, views=views, epochs=1)
        rounds = []
        for _ in range(given.again):
            forget_features(folder)
            rounds.append(
                {"once": frozen(file, folder, views=1), "always": frozen(file, folder, views=0)}
            )
            print(rounds[-1], flush=True)
    measured = {}
    for part in ("learning", "wall"):
        result = sorted(row["always"][part] / row["once"][part] for row in rounds)
        measured[part] = {"median": statistics.median(result), "from": result[0], "to": result[-1]}
    facts = {"pictures": given.pictures, "size": 128, "epochs": 20}
    return {
        "claim": "at least 15 times as fast as computing them in every epoch",
        **facts,
        "rounds": rounds,
        "ratio": measured,
    }


def memory(given):
    """Announced and real size of the features, then the peak memory of a training on more than
    it is allowed to hold."""
    with tempfile.TemporaryDirectory(dir=given.scratch) as name:
        folder = Path(name)
        privately(folder)
        return {
            "claim": "never larger than announced; larger data than memory",
            "size": announced(folder),
            "mapped": mapped(folder),
        }


def announced(folder):
    """Megabytes that a training said its features would take, and that their files take."""
    file = noise(folder / "noise.npz", 300, 96)
    command = [
        *EYESIGHT,
        "train",
        "objects_transfer",
        "--data",
        file,
        "--out",
        folder / "runs",
        "--json",
        "--set",
        "model.weights=none",
    ]
    command += [
        "--set",
        "training.epochs=1",
        "--set",
        "data.size=96",
        "--set",
        "transfer.freeze=conv5",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"memory: the training failed: {done.stderr.strip()}")
    measured = [
        float(number.replace(",", ""))
        for number in re.findall(r"frozen part once: ([\d.,]+) MB", done.stderr)
    ]
    real = (
        sum(file.stat().st_size for file in (folder / "cache" / "activations").glob("*.bin")) / 1e6
    )
    return {
        "announced_megabytes": measured,
        "sum": round(sum(measured), 1),
        "real_megabytes": round(real, 1),
    }


def photographs(folder, count):
    """Class folders of small JPEG files that become large pictures."""
    random = np.random.default_rng(1)
    for number in range(count):
        file = folder / "ab"[number % 2] / f"{number:05d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
    return folder


def mapped(folder):
    """A training on pictures and features that together are larger than what the process may
    keep for itself."""
    import resource  # not on Windows

    data = photographs(folder / "photographs", LARGE)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    os.environ["EYESIGHT_MEMORY"] = f"{ALLOWED // 4}M"
    if (
        platform.system() == "Linux"
    ):  # where the limit is on memory of one's own: mapped files do not count
        resource.setrlimit(resource.RLIMIT_DATA, (ALLOWED << 20, before[1]))
    try:
        result, wall, peak = train(
            "objects_transfer",
            data,
            folder,
            *SETTINGS,
            "training.epochs=2",
            "transfer.views=2",
            name="memory",
        )
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
        del os.environ["EYESIGHT_MEMORY"]
    sizes = {
        name: sum(f.stat().st_size for f in (folder / "cache" / name).rglob(ending)) // 2**20
        for name, ending in KEPT.items()
    }
    kept = {
        "allowed_megabytes": ALLOWED,
        "on_disk_megabytes": sizes,
        "peak_megabytes_with_mapped_files": peak,
    }
    return {**kept, "wall": wall, "n": result["test"]["n"]}


def head(given):
    """Dogs by a head alone: the first stage of the recipe `dogs` in a time of its own."""
    if not given.data:
        raise SystemExit("head needs --data: photographs in the layout of Stanford Dogs")
    rows = []
    for seed in range(given.seeds):
        result, wall, peak = train(
            "dogs",
            given.data,
            Path("runs/benchmarks"),
            "transfer.thaw=",
            name="head",
            budget="2m",
            seed=seed,
        )
        test = result["test"]
        rows.append(
            {
                "seed": seed,
                "top1": test["top1"],
                "n": test["n"],
                "parts": result["parts"],
                "wall": wall,
                "peak_megabytes": peak,
            }
        )
        print(rows[-1], flush=True)
    top1 = [row["top1"] for row in rows]
    return {
        "runs": rows,
        "mean": statistics.mean(top1),
        "spread": statistics.stdev(top1) if len(top1) > 1 else None,
    }


PARTS = {"forward": forward, "once": once, "memory": memory, "head": head}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=5, help="of forward")
    parser.add_argument("--again", type=int, default=1, help="rounds of once")
    parser.add_argument("--pictures", type=int, default=1500, help="of once, on both sides")
    parser.add_argument("--data", help="photographs of dogs, for head")
    parser.add_argument("--seeds", type=int, default=1, help="of head")
    parser.add_argument(
        "--scratch",
        help="a folder with 6 GB of room, for memory; the system's for temporary files otherwise",
    )
    given = parser.parse_args()
    file = HERE / "results" / "transfer.json"
    for part in given.parts or ["forward", "once", "memory"]:
        result = PARTS[part](given)
        machine = {
            key: value
            for key, value in environment().items()
            if key in ("cpu", "cores", "python", "versions")
        }
        references = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(
            json.dumps({**references, part: {**result, "environment": machine}}, indent=1) + "\n"
        )
        print(
            part,
            {key: value for key, value in result.items() if key not in ("rounds", "runs")},
            flush=True,
        )


if __name__ == "__main__":
    main()
