"""Measures what a cluster of two workers on this machine gains, and whether prediction over many
pictures keeps its memory flat.

    python benchmarks/cluster.py              both, about seven minutes; writes
        benchmarks/results/cluster.json
    python benchmarks/cluster.py speed        runs of one core each: Ray with two workers against
        one after another, in turns
    python benchmarks/cluster.py memory       peak memory of `eyesight predict` over 20,000 and
        200,000 pictures of one folder

Run it on a quiet machine with two cores. The start of Ray and of every process counts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from run import measured

from eyesight.cluster import ray_cluster
from eyesight.comparison import compare
from eyesight.data.prepare import encode_png
from eyesight.system.environment import environment

HERE = Path(__file__).parent
SETTINGS = ["training.precision=float32", "training.min_steps=0"]


def comparison(train, epochs, place):
    """Seconds for four trainings of LeNet-5, and their scores."""
    members = compare.members(
        ["lenet5"], data="digits", settings=[*SETTINGS, f"training.epochs={epochs}"], seeds=4
    )
    began = time.monotonic()
    outcome = compare.compare(members, place, train=train)
    assert (outcome.trained, outcome.failed) == (4, 0), outcome.rows[0].reason
    return time.monotonic() - began, [run.result["test"]["top1"] for run in outcome.rows[0].runs]


def speed(place, rounds=1, epochs=4):
    """In turns: one after another with one core each, and two at a time by Ray with one core
    each."""
    os.environ["OMP_NUM_THREADS"] = (
        "1"  # for the trainings that follow one another; the cluster's get it from --cores
    )
    ways = {
        "one_after_another": compare.one_after_another,
        "ray": ray_cluster.trainer("ray", ray_cluster.Share(cores=1)),
    }
    seconds, scores = {name: [] for name in ways}, {name: [] for name in ways}
    comparison(compare.one_after_another, 1, place / "warm")  # prepares the pictures
    for turn in range(rounds):
        for name, train in ways.items():
            spent, outcome = comparison(train, epochs, place / f"{name}-{turn}")
            seconds[name].append(round(spent, 1))
            scores[name].append(outcome)
            print(f"{name}: {spent:.1f} s", flush=True)
    ratios = [
        alone / shared
        for alone, shared in zip(seconds["one_after_another"], seconds["ray"], strict=True)
    ]
    same = scores["ray"] == scores["one_after_another"]
    return {
        "claim": "at least 1.7 times",
        "seconds": seconds,
        "ratio": round(statistics.median(ratios), 3),
        "same_scores": same,
    }


def pictures(folder, count, kinds=8):
    """`count` files of 28 x 28 pixels in one folder; every eighth is the same file under
    another name."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(kinds):
        (folder / f"{number}.png").write_bytes(
            encode_png(random.integers(0, 256, (1, 28, 28), np.uint8))
        )
    for number in range(kinds, count):
        os.link(folder / f"{number % kinds}.png", folder / f"{number}.png")
    return folder


def largest_worker(stop, outcome):
    """The most megabytes that any process of the cluster held, looked at five times a second."""
    while not stop.wait(0.2):
        listed = subprocess.run(
            ["ps", "-eo", "rss,args"], capture_output=True, text=True, check=False
        ).stdout
        outcome += [
            int(line.split()[0]) / 1024 for line in listed.splitlines() if "ray::_answer" in line
        ]


def memory(place):
    """Peak memory in MB of the process, and of the largest worker of the cluster, at two sizes."""
    train = [
        "train",
        "lenet5",
        "--data",
        "digits",
        "--set",
        "training.epochs=1",
        "--set",
        "training.min_steps=0",
    ]
    run = measured(
        "train", [sys.executable, "-m", "eyesight", *train, "--out", str(place / "run"), "--json"]
    )[0]["run"]
    rows = []
    for count in (20_000, 200_000):
        folder = pictures(place / str(count), count)
        for name, more in (("here", []), ("ray", ["--on", "ray"])):
            stop, workers = threading.Event(), []
            watch = threading.Thread(target=largest_worker, args=(stop, workers))
            watch.start()
            command = [
                "predict",
                run,
                str(folder),
                "--out",
                str(place / f"{name}-{count}"),
                "--json",
                *more,
            ]
            outcome, wall, peak = measured(name, [sys.executable, "-m", "eyesight", *command])
            stop.set()
            watch.join()
            assert outcome["pictures"] == count and not outcome["missing"] and not outcome["bad"]
            rows.append(
                {
                    "way": name,
                    "pictures": count,
                    "peak_megabytes": peak,
                    "seconds": wall,
                    "per_second": round(count / wall),
                }
            )
            rows[-1] |= {"largest_worker_megabytes": round(max(workers))} if workers else {}
            print(rows[-1], flush=True)
    growth = {
        way: peaks[1] / peaks[0]
        for way in ("here", "ray")
        if (peaks := [row["peak_megabytes"] for row in rows if row["way"] == way])
    }
    return {
        "claim": "flat",
        "rows": rows,
        "ratio_of_peaks": {way: round(ratio, 3) for way, ratio in growth.items()},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help="of speed, memory")
    given = parser.parse_args()
    file = HERE / "results" / "cluster.json"
    record = json.loads(file.read_text()) if file.exists() else {}
    for part in given.parts or ["speed", "memory"]:
        with tempfile.TemporaryDirectory() as place:
            record[part] = {"speed": speed, "memory": memory}[part](Path(place))
        print(part, json.dumps(record[part]), flush=True)
        record["environment"] = {
            key: value
            for key, value in environment().items()
            if key in ("cpu", "cores", "python", "versions")
        }
        file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
