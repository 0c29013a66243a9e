"""A teacher, its student and the student in 8 bits: accuracy, bytes and milliseconds.

    python benchmarks/distilling.py NAME --data DATA --teacher "RECIPE [OPTIONS]" \\
        [--teacher "RECIPE [OPTIONS]" ...] --student "RECIPE [OPTIONS]" [--equal] [--control]
        [--out DIR]

Several teachers are blended, with --equal by equal weights. OPTIONS are those of `eyesight train`,
for the student those of `eyesight distil`, for example "--set training.epochs=8" or "--budget 10m".
--control trains the student's recipe on the labels alone, with the same options. With --out,
finished runs are kept there and taken again. The accuracies are those of all test images; the
differences to the teacher are paired, with their 95 % intervals. Writes
benchmarks/results/distil_NAME.json.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from best import paired_scores

from eyesight import classifier
from eyesight.data import dataset
from eyesight.inference import onnx_classifier
from eyesight.runs import Run, list_runs
from eyesight.system.environment import environment
from eyesight.views import joined

HERE = Path(__file__).parent
EYESIGHT = (sys.executable, "-m", "eyesight")
BATCH = 50  # images


@dataclass(frozen=True)
class Row:
    """A classifier: whether each test image was classified correctly, bytes and milliseconds."""

    hits: np.ndarray
    bytes: int
    milliseconds: float

    def values(self, teacher):
        """As plain JSON values."""
        return {
            "accuracy": float(self.hits.mean()),
            "n": len(self.hits),
            "bytes": self.bytes,
            "share_of_bytes": self.bytes / teacher.bytes,
            "milliseconds": self.milliseconds,
            "minus_teacher": paired_scores(self.hits, teacher.hits),
        }


def finished(arguments, out):
    """The run of a command in a process of its own, or the one that it left in `out` earlier."""
    for run in list_runs(out) if out.is_dir() else ():
        if run.status == "done" and (run.path / "report.html").is_file():
            return run
    command = [*EYESIGHT, *arguments, "--out", str(out), "--json"]
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(f"{' '.join(arguments)}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return Run(json.loads(done.stdout)["run"])


def hits_of_file(run, file):
    """Whether an exported file classifies each test image of a run correctly."""
    loaded = classifier.load(run.classifier_path)
    test = dataset.load(run.settled.data, preparation=loaded.several_parts).test
    session = onnx_classifier.load(file)
    parts = []
    for index in torch.arange(len(test)).split(BATCH):
        probabilities = session.probabilities(test.take(index).numpy())
        parts.append(probabilities.argmax(1) == test.labels[index].numpy())
    assert list(test.ids) == list(run.predictions().ids)
    return np.concatenate(parts)


def hits_of_run(run, ids):
    """Whether a run's classifier was correct, in the order of `ids`."""
    predictions = run.predictions()
    place = {name: row for row, name in enumerate(predictions.ids)}
    return predictions.scores()[[place[name] for name in ids]]


def rows_of(teacher, student):
    """The rows of the teacher, the student and its file in 8 bits if it was kept."""
    ids = student.predictions().ids
    files = {file.name: file for file in joined.distil(student).files}
    hits = {"teacher": hits_of_run(teacher, ids), "student": hits_of_run(student, ids)}
    if "student, 8 bits" in files:
        small = next((student.path / "export").glob("*.int8.onnx"))
        hits["student, 8 bits"] = hits_of_file(student, small)
    return {name: Row(hits[name], file.bytes, file.milliseconds) for name, file in files.items()}


def trained(given, out):
    """The teacher and the student."""
    teachers = []
    for number, text in enumerate(given.teacher):
        arguments = ["train", *shlex.split(text), "--data", given.data]
        teachers.append(finished(arguments, out / f"teacher{number}"))
    teacher = teachers[0]
    if len(teachers) > 1:
        paths = [str(run.path) for run in teachers]
        equal = ["--equal"] if given.equal else []
        teacher = finished(["blend", *paths, *equal], out / "blend")
    recipe, *options = shlex.split(given.student)
    arguments = ["distil", str(teacher.path), "--to", recipe, *options]
    return teachers, teacher, finished(arguments, out / "student")


def control(given, out, student):
    """The student's recipe on the labels, on the same images."""
    data = student.recipe.data
    same = [f"data.{name}={getattr(data, name)}" for name in ("validation", "test", "split_seed")]
    settings = [part for setting in same for part in ("--set", setting)]
    arguments = ["train", *shlex.split(given.student), "--data", given.data, *settings]
    return finished(arguments, out / "control")


def main():
    """Train, distil, measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--data", required=True)
    parser.add_argument("--teacher", required=True, action="append")
    parser.add_argument("--student", required=True)
    parser.add_argument("--equal", action="store_true")
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        out = given.out or Path(folder)
        teachers, teacher, student = trained(given, out)
        rows = rows_of(teacher, student)
        result = {
            "command": command_of(given),
            "members": [run.result["test"]["top1"] for run in teachers],
            "rows": {name: row.values(rows["teacher"]) for name, row in rows.items()},
            "load_before": load,
            "environment": environment(),
        }
        if given.control:
            hits = hits_of_run(control(given, out, student), student.predictions().ids)
            result["labels_only"] = {
                "accuracy": float(hits.mean()),
                "student_minus": paired_scores(rows["student"].hits, hits),
            }
    show(result)
    file = HERE / "results" / f"distil_{given.name}.json"
    file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def command_of(given):
    """The command without this machine's folders."""
    options = [f"--teacher {shlex.quote(text)}" for text in given.teacher]
    options.append(f"--student {shlex.quote(given.student)}")
    options += [f"--{name}" for name in ("equal", "control") if getattr(given, name)]
    source = Path(given.data).name
    return f"python benchmarks/distilling.py {given.name} --data {source} {' '.join(options)}"


def show(result):
    """Print the table."""
    print(f"{'':16} accuracy        kB   share       ms  against the teacher (95 %)")
    for name, row in result["rows"].items():
        difference = row["minus_teacher"]
        low, high = difference["interval"]
        numbers = f"{row['accuracy']:8.2%} {row['bytes'] / 1000:9,.0f} {row['share_of_bytes']:7.3f}"
        against = f"{difference['points']:+.2f} ({low:+.2f} to {high:+.2f})"
        print(f"{name:16} {numbers} {row['milliseconds']:8.2f}  {against}")
    if "labels_only" in result:
        print(f"{'labels only':16} {result['labels_only']['accuracy']:8.2%}")


if __name__ == "__main__":
    main()
