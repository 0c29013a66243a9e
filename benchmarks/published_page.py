"""Write docs/published.md: every published system with its command, published and measured results."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from eyesight.recipes import find

PAGE = Path(__file__).parent.parent / "docs" / "published.md"


@dataclass(frozen=True)
class Other:
    """A system that is no training of `published.py`: what it is, how it is run, what it gives."""

    kind: str
    command: str
    here: str
    printed: str = ""
    n: str = ""
    seeds: str = ""
    seconds: str = ""


AUGMENT = "--set augment.rotate=20 --set augment.shift=0.2 --set augment.flip=random"
OTHER_ROWS = {
    "B4": Other(
        "postal-code reader", "eyesight serve RUN", "page `/reader`: [reader.md](reader.md)"
    ),
    "B5": Other(
        "losses: mse, cross-entropy, focal",
        "eyesight train digits_cnn --set loss.name=focal --set loss.gamma=2",
        "each equals its formula in `tests/test_losses.py`",
    ),
    "B6": Other(
        "SGD, AdaGrad, RMSProp, Adam",
        "eyesight train digits_cnn --set optim.name=rmsprop --set optim.centred=true",
        "each equals its formula in `tests/test_optim.py`",
    ),
    "B7": Other(
        "augmentation viewer",
        f"eyesight augment dropout_cnn {AUGMENT}",
        "15 images with names, then 3 trials of 4 augmented images",
        printed="15 images, 3 trials of 4",
    ),
    "B8": Other(
        "dropout, early stopping",
        "eyesight train dropout_cnn --set training.patience=3 --set training.min_delta=0.001 "
        "--set training.keep=best",
        "`tests/test_loop.py`",
    ),
    "B9": Other(
        "ImageNet classes of a photo",
        "eyesight predict ResNet50 photo.jpg --top 5 --draw named",
        "needs a file with ResNet50's weights (`--weights FILE`); "
        "[recogniser.md](recogniser.md) with EfficientNetLite0",
        printed="rabbit photo: wood_rabbit .743",
    ),
    "B10": Other("16 pretrained networks", "eyesight models --measure", "[zoo.md](zoo.md)"),
    "B11": Other(
        "EfficientNetLite0 for DenseNet121, ten breeds",
        "eyesight train dogs --data DOGS --budget 5m",
        "95.00% on test; `eyesight train B11 --data DOGS` with DenseNet121's weights",
        printed="curves over 200 epochs, no figure",
        n="500",
        seeds="1",
        seconds="297",
    ),
    "B12": Other("dog-breed program", "eyesight serve RUN", "[recogniser.md](recogniser.md)"),
    "B14": Other(
        "parameters and operations of a layer",
        'eyesight show --layers "256x256x3 conv3x64/2 conv5x128/2"',
        "1,792 weights; 29,360,128 and 839,385,088 operations",
        printed="28·64 weights; 128·128·28·64 and 64·64·1601·128 operations",
    ),
    "B15": Other(
        "sequential and branching networks",
        "eyesight train lenet5 --set model.name=my_net.py:Branching",
        "[own-networks.md](own-networks.md)",
    ),
    "F1": Other(
        "52 characters, rendered from installed fonts",
        "eyesight data glyphs",
        "716, 150 and 150 per class",
        printed="716, 150 and 150 per class",
        n="52,832",
    ),
    "F2": Other(
        "ten minutes at most",
        "eyesight train F3 --budget 10m",
        "93.87% on test, on font families that training has not seen",
        printed="95.00 % on validation, 9.98 minutes of a GPU",
        n="7,800",
        seeds="1",
        seconds="587",
    ),
    "F4": Other(
        "planned improvements",
        "eyesight train F3 --set augment.rotate=8 --set optim.schedule=cosine "
        "--set training.keep=best --every 100",
        "recipe `glyphs`: 94.31% on test in ten minutes",
        n="7,800",
        seeds="1",
        seconds="593",
    ),
    "F5": Other(
        "softmax applied twice", "eyesight doctor RUN", "[doctor.md](doctor.md)", printed="loss 3.0"
    ),
    "D1": Other("digits as 32×32×3", "eyesight augment D1", "part of D2"),
    "O1": Other(
        "the goal",
        "eyesight train objects --budget 10m",
        "90.66% on test: [budget.md](budget.md)",
        printed=".8752 in the competition",
        n="10,000",
        seeds="3",
        seconds="590",
    ),
    "O4": Other("mixup", "eyesight train basic_cnn --set augment.mixup=0.2", "part of O5"),
    "O11": Other(
        "competition submission",
        "eyesight predict RUN test.csv --out submission.csv",
        "a table `id,target`: [competition.md](competition.md)",
    ),
}
SYSTEMS = [
    *(f"B{number}" for number in range(1, 16)),
    *(f"F{number}" for number in range(1, 6)),
    *(f"D{number}" for number in range(1, 7)),
    *(f"O{number}" for number in range(1, 12)),
]
HEAD = """# Published systems reproduced

`make published` trains every published network with its published settings for its published
number of epochs, cheapest first, and writes this page from `benchmarks/results/published/`. It
can be interrupted at any time and resumes when called again.

If the source held out no validation set, a tenth of the training images is held out. The weights
of the last epoch are kept, as in the sources. *Exact* means the published network with the
published settings. If no package has the weights of a backbone, the named substitute is used;
`python benchmarks/published.py --weights ResNet50V2=FILE` trains the row exactly. *Seconds* is
the time of the whole training on a machine under other load; the number of threads is in the
row's file. *Partial* is a training with fewer epochs, or with images spread evenly over each
split; `python benchmarks/published.py ROW --images N --epochs N` repeats it. Rows that are not
trained by `make published` have their results from `benchmarks/results/`, measured on another
machine (two cores of an Intel Xeon with AMX).

Batch normalisation is PyTorch's (momentum 0.1, epsilon 1e-5), as in the source of F3. The sources of
O5, O6 and O8 used Keras' layers (momentum 0.99, which PyTorch calls 0.01, and epsilon 1e-3). Training
is the same unless a channel's variance is near 1e-3, but the running statistics used in evaluation
follow about ten steps instead of a hundred: after the 75 steps of O5 and the 12 of O6, their initial
values have a weight of 0.04 % and 28 % here, against 47 % and 89 % with Keras' momentum; after a full
training, none.

"""


NOTES = """D4 collapses to one class, as published: 10.28 % is that class's share of the test images.
[doctor.md](doctor.md) explains the cause, and `D4-repaired` is the same network with activations,
batch normalisation and a warm-up. Partial rows trained for seconds or minutes; their difference
from the published value says how short that was, and nothing about the network. Except for D4, rows
near 10 % (one of ten classes by chance) had too few steps to learn anything."""


def page(results: Path, rows: list[str]) -> None:
    """Write the page from the rows' files in the folder `results`."""
    records = {}
    for row in rows:
        file = results / f"{row}.json"
        if file.is_file():
            records[row] = json.loads(file.read_text(encoding="utf-8"))
    lines = ["## All 37 systems", "", *table(records, rows), "", "## Comparison of results", ""]
    lines += [*differences(records), "", NOTES]
    missing = [row for row in rows if row not in records]
    if missing:
        lines += ["", f"Not trained yet: {', '.join(missing)}."]
    PAGE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


def table(records: dict[str, dict], rows: list[str]) -> list[str]:
    """A row for each system: command, exact or substitute, results, n, seeds, seconds."""
    lines = [
        "| id | command | exact or substitute | published | measured here | n | seeds | seconds |",
        "|---|---|---|---|---|---:|---:|---:|",
    ]
    for system in SYSTEMS:
        if system in records:
            lines.append(trained_line(system, records[system]))
        elif system in OTHER_ROWS:
            lines.append(other_line(system, OTHER_ROWS[system]))
        else:
            lines.append(f"| {system} | `eyesight train {system}` | | | not trained yet | | | |")
    return lines


def other_line(system: str, row: Other) -> str:
    cells = [system, f"`{row.command}`", row.kind, row.printed, row.here, row.n, row.seeds]
    return f"| {' | '.join([*cells, row.seconds])} |"


def trained_line(system: str, record: dict) -> str:
    here = f"{record['here']:.2%} on {record['measured_on']}"
    kind = record["kind"]
    if record["part"]:
        kind += f", partial: {record['part']}"
    cells = [
        system,
        f"`{record['command']}`",
        kind,
        record["printed"],
        here,
        f"{record['n']:,}",
        str(record["seeds"]),
        f"{record['seconds']:,}",
    ]
    return f"| {' | '.join(cells)} |"


def differences(records: dict[str, dict]) -> list[str]:
    """For each trained row the published and the measured result, the difference, and the reason."""
    lines = ["| id | published | measured here | difference | reason |", "|---|---:|---:|---:|---|"]
    for row, record in records.items():
        printed, difference = "–", "–"
        if record["in_print"] is not None:
            printed = f"{record['in_print']:.2%}"
            points = 100 * (record["here"] - record["in_print"])
            difference = f"{points:+.2f} points".replace("-", "−")
        here = f"{record['here']:.2%}"
        lines.append(f"| {row} | {printed} | {here} | {difference} | {reason(record)} |")
    return lines


def reason(record: dict) -> str:
    """Why the results differ, if known."""
    if record["part"]:
        stand_in = "" if record["kind"] == "exact" else f"; {record['kind']}"
        why = f"; {record['why']}" if record["why"] else ""
        return f"only {record['part']}{steps(record)}{stand_in}{why}"
    reasons = [record["why"]] if record["why"] else []
    interval = record.get("interval")
    if record["kind"] != "exact":
        reasons.append(record["kind"])
    elif record["in_print"] is not None and interval:
        low, high = interval
        inside = low <= record["in_print"] <= high
        place = "inside" if inside else "outside"
        reasons.append(f"{place} the 95 % interval {low:.2%} to {high:.2%}")
    return "; ".join(reasons) or "no published value"


def steps(record: dict) -> str:
    """The number of steps of a part with a single stage, in words."""
    recipe = find(record["row"])
    if recipe.transfer.thaw:
        return ""
    images = record["image_epochs"] / record["epochs"]
    return f": {math.ceil(images / recipe.training.batch) * record['epochs']:,} steps"
