"""Measures the slopes of docs/scale.md on this machine, and writes its tables: what a picture
costs, and what 10^4 to 10^9 of them do.

    python benchmarks/scale.py            everything, about four minutes; writes
        benchmarks/results/scale.json and docs/scale.md
    python benchmarks/scale.py --table    writes the tables again from what was measured

Run it on a quiet machine. Decoding is measured on one core, training on all.
"""

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from eyesight.data.prepare import Preparation, prepare
from eyesight.system.environment import environment

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "scale.md"
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
DECODED = {  # name: (format, width, height, side prepared to, channels)
    "PNG 28 × 28, grey": ("PNG", 28, 28, 28, 1),
    "JPEG 32 × 32": ("JPEG", 32, 32, 32, 3),
    "JPEG 500 × 375 to 224 × 224": ("JPEG", 500, 375, 224, 3),
    "JPEG 1920 × 1080 to 224 × 224": ("JPEG", 1920, 1080, 224, 3),
    "JPEG 4000 × 3000 to 224 × 224": ("JPEG", 4000, 3000, 224, 3),
}
TRAINED = {  # name: (recipe, pictures, side, channels, settings)
    "lenet5, 28 × 28 × 1": ("lenet5", 20_000, 28, 1, ["training.epochs=3", "training.min_steps=0"]),
    "objects, 32 × 32 × 3": (
        "objects",
        6_000,
        32,
        3,
        ["training.epochs=2", "training.min_steps=0", "training.small=1"],
    ),
    "features of a frozen lite0, 96 × 96 × 3": (
        "objects_lite0",
        2_000,
        96,
        3,
        ["transfer.freeze=all", "transfer.views=1", "training.epochs=8", "data.size=96"],
    ),
}
EPOCHS = {"lenet5, 28 × 28 × 1": 784, "objects, 32 × 32 × 3": 3072}  # bytes a picture in the store
SIZES = [10**power for power in range(4, 10)]


def per_second(work, count=1, seconds=1.5):
    """How often `work` (of `count` pictures) is done in a second: median of three tries."""
    rates = []
    for _ in range(3):
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            work()
            done += count
        rates.append(done / (time.perf_counter() - began))
    return statistics.median(rates)


def photograph(form, width, height, channels):
    """An encoded picture with the detail of a photograph: noise of several scales."""
    random = np.random.default_rng(0)
    pixels = np.zeros((height, width, channels), np.float32)
    for side in (4, 16, 64, 256):
        coarse = random.uniform(
            0, 64, (max(2, height * side // 1024), max(2, width * side // 1024), channels)
        ).astype(np.uint8)
        layer = Image.fromarray(coarse.squeeze()).resize((width, height), Image.Resampling.BICUBIC)
        pixels += np.asarray(layer, np.float32).reshape(height, width, channels)
    file = io.BytesIO()
    options = {"quality": 85} if form == "JPEG" else {}
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8).squeeze()).save(file, form, **options)
    return file.getvalue()


def decoding():
    """Pictures a second on one core from bytes to pixels, and the bytes of the file."""
    result = {}
    for name, (form, width, height, side, channels) in DECODED.items():
        data, mode = (
            photograph(form, width, height, channels),
            Preparation(side, side, channels, "squash"),
        )
        result[name] = {
            "bytes": len(data),
            "per_second": round(per_second(lambda data=data, mode=mode: prepare(data, mode))),
        }
        print(name, result[name], flush=True)
    return result


def reading(place, side=224, count=2048, batch=64):
    """Pictures a second in random order from a mapped file: from memory, and from the disk
    after the system forgot it."""
    file = place / "pixels.npy"
    np.save(file, np.random.default_rng(0).integers(0, 256, (count, 3, side, side), np.uint8))
    random, mapped = np.random.default_rng(1), np.load(file, mmap_mode="r")

    def rows():
        return np.ascontiguousarray(mapped[np.sort(random.integers(0, count, batch))])

    mapped.sum(dtype=np.int64)
    warm = per_second(rows, batch)
    cold = []
    for _ in range(3):
        os.sync()
        del mapped
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        mapped = np.load(file, mmap_mode="r")
        began = time.perf_counter()
        for _ in range(16):
            rows()
        cold.append(16 * batch / (time.perf_counter() - began))
    return {
        "bytes": 3 * side * side,
        "from_memory": round(warm),
        "from_disk": round(statistics.median(cold)),
    }


LISTING = """
import json, resource, sys, time
from pathlib import Path
from eyesight.data.opening import open_source
from eyesight.data.store import prepare_store
from eyesight.recipe import Data
# the system's own count begins with the size of the process that started this one; Linux has
# another
def megabytes():
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peak = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return (peak or [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss])[0] / 1024
before, began = megabytes(), time.time()
source = open_source(sys.argv[1])
listed, seconds = megabytes(), time.time() - began
began = time.time()
store = prepare_store(source, Data(sys.argv[1], size=28, channels=1))
print(json.dumps([before, listed, seconds, megabytes(), time.time() - began, store.key]))
"""


def listing(place, counts=(5_000, 30_000)):
    """What a file costs while a folder is listed and prepared: bytes of memory, seconds, bytes
    of the store beside its pixels."""
    result = []
    for count in counts:
        folder = place / f"folder-{count}"
        random = np.random.default_rng(0)
        for number in range(count):
            file = folder / str(number % 10) / f"{number:09d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (28, 28), np.uint8)).save(
                file, compress_level=0
            )
        os.environ["EYESIGHT_CACHE"] = str(place / "cache")
        output = subprocess.run(
            [sys.executable, "-c", LISTING, str(folder)], capture_output=True, text=True, check=True
        ).stdout
        *numbers, key = json.loads(output)
        store = place / "cache" / "stores" / key
        beside = sum(part.stat().st_size for part in store.iterdir() if part.name != "pixels.npy")
        result.append([*numbers, beside])
    (
        (_, listed, seconds, whole, building, beside),
        (_, listed2, seconds2, whole2, building2, beside2),
    ) = result
    more = counts[1] - counts[0]
    return {
        "listing_bytes": round((listed2 - listed) * 2**20 / more),
        "preparing_bytes": round((whole2 - whole) * 2**20 / more),
        "listed_per_second": round(more / (seconds2 - seconds)),
        "prepared_per_second": round(more / (building2 - building)),
        "store_bytes_beside": round((beside2 - beside) / more),
    }


def training(place):
    """Training pictures a second by the log of `eyesight train`, the best epoch; for frozen
    features also the pass that computes them."""
    result = {}
    for name, (recipe, count, side, channels, settings) in TRAINED.items():
        random = np.random.default_rng(0)
        shape = (count, side, side) if channels == 1 else (count, side, side, channels)
        data = place / f"{recipe}.npz"
        labels = np.arange(count) % 10
        np.savez(
            data,
            x_train=random.integers(0, 256, shape, np.uint8),
            y_train=labels,
            x_test=random.integers(0, 256, (100, *shape[1:]), np.uint8),
            y_test=labels[:100],
        )
        command = [
            sys.executable,
            "-m",
            "eyesight",
            "train",
            recipe,
            "--data",
            str(data),
            "--out",
            str(place / "runs"),
            "--json",
        ]
        done = subprocess.run(
            [*command, *(f"--set={one}" for one in settings)],
            capture_output=True,
            text=True,
            check=False,
        )
        answer = json.loads(done.stdout)
        if "error" in answer:
            result[name] = {"missing": answer["error"]}
            continue
        log = [
            json.loads(line)
            for line in (Path(answer["run"]) / "log.jsonl").read_text().splitlines()
        ]
        rates = [event["pictures"] / event["seconds"] for event in log if event["event"] == "epoch"]
        result[name] = {"per_second": round(max(rates))}
        if answer["parts"].get("features"):
            result[name]["once_per_second"] = round(count / answer["parts"]["features"])
        print(name, result[name], flush=True)
    return result


def predicting(place, count=10_000):
    """Files a second of `eyesight predict` with LeNet-5 on small pictures, its start counted
    out by two sizes."""
    run = next((place / "runs").glob("*lenet5"))
    folder, encoded = place / "small", photograph("PNG", 28, 28, 1)
    folder.mkdir()
    seconds = []
    for number in range(count):
        (folder / f"{number}.png").write_bytes(encoded)
    for place_of, many in ((folder / "0.png", 1), (folder, count)):
        began = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "eyesight",
            "predict",
            str(run),
            str(place_of),
            "--out",
            str(place / f"parts-{many}"),
        ]
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.monotonic() - began)
    return {
        "per_second": round((count - 1) / (seconds[1] - seconds[0])),
        "start_seconds": round(seconds[0], 1),
    }


def size(count):
    """Bytes in three digits."""
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} B"


def duration(seconds):
    """For people."""
    for unit, name in (
        (365.25 * 86400, "years"),
        (86400, "days"),
        (3600, "h"),
        (60, "min"),
        (1, "s"),
    ):
        if seconds >= 1.5 * unit:
            return (
                f"{seconds / unit:.2g} {name}"
                if seconds < 100 * unit
                else f"{seconds / unit:,.0f} {name}"
            )
    return f"{seconds:.1f} s"


def tables(result):
    """The two tables as Markdown."""
    machine, listed, read = result["environment"], result["listing"], result["reading"]
    lines = [
        BEGIN,
        f"Measured by `python benchmarks/scale.py` on {machine['cpu']}, {machine['cores']} cores.",
        "",
    ]
    lines += ["| what | images/s | bytes per image |", "|---|---:|---:|"]
    lines += [
        f"| decode and prepare on one core: {name} | {row['per_second']:,} | {row['bytes']:,} "
        "(file) |"
        for name, row in result["decoding"].items()
    ]
    lines += [
        f"| list files | {listed['listed_per_second']:,} | {listed['listing_bytes']:,} (memory) |",
        f"| list, check and prepare PNG 28 × 28 | {listed['prepared_per_second']:,} | "
        f"{listed['preparing_bytes']:,} (memory), "
        f"{listed['store_bytes_beside']:,} (store, beside the pixels) |",
        f"| read 224 × 224 × 3 from the store, in memory | {read['from_memory']:,} | "
        f"{read['bytes']:,} |",
        f"| the same from the disk | {read['from_disk']:,} | {read['bytes']:,} |",
    ]
    for name, row in result["training"].items():
        lines.append(
            f"| train {name} | {row['per_second']:,} | |"
            if "per_second" in row
            else f"| train {name} | {row['missing']} | |"
        )
        if "once_per_second" in row:
            lines.append(f"| compute {name}, once | {row['once_per_second']:,} | |")
    lines += [
        "| predict from files with lenet5, one process | "
        f"{result['predicting']['per_second']:,} | |",
        "",
    ]
    lines += [
        "| images | store 32 × 32 × 3 | store 224 × 224 × 3 | memory while preparing "
        "| decode 500 × 375 on one core | epoch of lenet5 | epoch of objects "
        "| predict small files, one process |",
        "|---:" * 8 + "|",
    ]
    decode = result["decoding"]["JPEG 500 × 375 to 224 × 224"]["per_second"]
    for count in SIZES:
        cells = [
            f"10^{len(str(count)) - 1}",
            *(size(count * (bytes_ + listed["store_bytes_beside"])) for bytes_ in (3072, 150_528)),
        ]
        cells += [size(count * listed["preparing_bytes"]), duration(count / decode)]
        cells += [duration(count / result["training"][name]["per_second"]) for name in EPOCHS]
        cells.append(duration(count / result["predicting"]["per_second"]))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", END])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    file = HERE / "results" / "scale.json"
    if not given.table:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            result = {
                "decoding": decoding(),
                "reading": reading(place),
                "listing": listing(place),
                "training": training(place),
            }
            result["predicting"] = predicting(place)
        result["peak_megabytes"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        result["environment"] = {
            key: value
            for key, value in environment().items()
            if key in ("cpu", "cores", "python", "versions")
        }
        file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    text = PAGE.read_text(encoding="utf-8")
    made = tables(json.loads(file.read_text()))
    PAGE.write_text(
        text[: text.index(BEGIN)] + made + text[text.index(END) + len(END) :], encoding="utf-8"
    )
    print(made)


if __name__ == "__main__":
    main()
