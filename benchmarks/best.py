"""train auto beside single recipes with the same budget, on one data set, in turns.

    python benchmarks/best.py NAME --data DATA --budget 3m --against folder dogs [--set K=V]...

The recipes learn with the same validation share as auto, and with the same test images: the pairs
are exact. Writes benchmarks/results/best_NAME_BUDGET.json: every run's accuracy and seconds, what
auto tried, and the paired difference to the best of the others with its 95 % interval. The best of
the others is the best on the test images, which favours them.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from eyesight.results.metrics import mc_nemar
from eyesight.runs import Run
from eyesight.system.environment import environment

HERE = Path(__file__).parent
EYESIGHT = (sys.executable, "-m", "eyesight")


def trained(name, arguments, out):
    """The run of a recipe in a process of its own, and the seconds until the process ended."""
    command = [*EYESIGHT, "train", name, "--out", str(out), "--json", *arguments]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return None, seconds
    return Run(json.loads(done.stdout)["run"]), seconds


def row(run, seconds):
    """What the results keep of a run."""
    if run is None:
        return {"accuracy": None, "wall_seconds": round(seconds, 1)}
    test = run.result["test"]
    return {"accuracy": test["top1"], "n": test["n"], "wall_seconds": round(seconds, 1)}


def paired(first, second):
    """The difference in points of two runs on the same images, its 95 % interval, McNemar's p."""
    pairs = [run.predictions() for run in (first, second)]
    place = {name: index for index, name in enumerate(pairs[1].ids)}
    return paired_scores(
        pairs[0].scores(), pairs[1].scores()[[place[name] for name in pairs[0].ids]]
    )


def paired_scores(first, second):
    """The same of whether each image was classified correctly."""
    tested = mc_nemar(first, second)
    n = len(first)
    discordant = tested.only_first + tested.only_second
    variance = discordant - (tested.only_first - tested.only_second) ** 2 / n
    half = 1.96 * math.sqrt(max(0.0, variance)) / n
    difference = tested.difference
    return {
        "points": 100 * difference,
        "interval": [100 * (difference - half), 100 * (difference + half)],
        "p": tested.p,
    }


def main():
    """Train, compare and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--data", required=True)
    parser.add_argument("--budget", default="3m")
    parser.add_argument("--against", nargs="+", required=True)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    given = parser.parse_args()
    arguments = ["--data", given.data, "--budget", given.budget]
    for setting in given.settings:
        arguments += ["--set", setting]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        load = os.getloadavg()[0]
        auto, seconds = trained("auto", arguments, out / "auto")
        rows = {"auto": row(auto, seconds)}
        share = f"data.validation={auto.recipe.data.validation}"
        runs = {}
        for name in given.against:
            run, spent = trained(name, [*arguments, "--set", share], out / name)
            rows[name] = row(run, spent)
            if run is not None:
                runs[name] = run
        best = max(runs, key=lambda name: rows[name]["accuracy"])
        result = {
            "command": " ".join(["python", "benchmarks/best.py", given.name, *sys.argv[2:]]),
            "budget": given.budget,
            "rows": rows,
            "best_single": best,
            "auto_minus_best": paired(auto, runs[best]),
            "search": auto.read_json("search.json"),
            "load_before": load,
            "environment": environment(),
        }
    result["command"] = result["command"].replace(given.data, "DATA")
    file = HERE / "results" / f"best_{given.name}_{given.budget}.json"
    file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({key: result[key] for key in ("rows", "best_single", "auto_minus_best")}))


if __name__ == "__main__":
    main()
