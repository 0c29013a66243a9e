"""Write docs/published.md: every published system with its command, published and measured results."""

import json
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "published.md"
# Rows without a measured result: title, command or page, and what it shows.
OTHER_ROWS = {
    "B4": ("postal-code reader", "`eyesight serve RUN`, page `/reader`", "[reader.md](reader.md)"),
    "B5": (
        "losses: mse, cross-entropy, focal",
        "`--set loss.name=focal --set loss.gamma=2`",
        "each equals its formula in `tests/test_losses.py`",
    ),
    "B6": (
        "SGD, AdaGrad, RMSProp, Adam",
        "`--set optim.name=rmsprop --set optim.centred=true`",
        "each equals its formula in `tests/test_optim.py`",
    ),
    "B7": (
        "augmentation viewer",
        "`eyesight augment dropout_cnn --set augment.rotate=20 --set augment.shift=0.2 "
        "--set augment.flip=random`",
        "fifteen labelled images, four of them augmented three times",
    ),
    "B8": (
        "dropout, early stopping",
        "`--set training.patience=3 --set training.min_delta=0.001 --set training.keep=best`",
        "`tests/test_loop.py`",
    ),
    "B9": (
        "ImageNet classes of a photo",
        "`eyesight predict ResNet50 photo.jpg --top 5 --draw named`",
        "needs ResNet50's weights; [recogniser.md](recogniser.md) with EfficientNetLite0",
    ),
    "B10": ("16 pretrained networks", "`eyesight models --measure`", "[zoo.md](zoo.md)"),
    "B11": (
        "dogs, DenseNet121",
        "`eyesight train B11 --data DOGS`",
        "needs DenseNet121's weights; [recogniser.md](recogniser.md) with EfficientNetLite0",
    ),
    "B12": ("dog-breed program", "`eyesight serve RUN`", "[recogniser.md](recogniser.md)"),
    "B14": (
        "parameters and operations of a layer",
        '`eyesight show --layers "256x256x3 conv3x64/2 conv5x128/2"`',
        "1,792 weights; 29,360,128 and 839,385,088 operations, as published",
    ),
    "B15": (
        "sequential and branching networks",
        "`--set model.name=FILE.py:CLASS`",
        "[recipes.md](recipes.md)",
    ),
    "F1": ("52 characters", "`eyesight data glyphs`", "rendered from installed fonts"),
    "F2": ("ten minutes at most", "`eyesight train F3 --budget 10m`", "[budget.md](budget.md)"),
    "F4": (
        "planned improvements",
        "`--set augment.rotate=8 --set optim.schedule=cosine --set training.keep=best`",
        "recipe `glyphs`",
    ),
    "F5": ("softmax applied twice", "`eyesight doctor RUN`", "[doctor.md](doctor.md)"),
    "D1": ("digits as 32×32×3", "`eyesight augment D1`", "part of D2"),
    "O1": ("the goal", "`eyesight train objects --budget 10m`", "[recipes.md](recipes.md)"),
    "O4": ("mixup", "`--set augment.mixup=0.2`", "part of O5"),
    "O11": (
        "competition submission",
        "`eyesight predict RUN test.csv --out submission.csv`",
        "the file",
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
row's file.

"""


def page(results: Path, rows: list[str]) -> None:
    """Write the page from the rows' files in the folder `results`."""
    records = {}
    for row in rows:
        file = results / f"{row}.json"
        if file.is_file():
            records[row] = json.loads(file.read_text(encoding="utf-8"))
    lines = ["## All 37 systems", "", *table(records, rows), "", "## Comparison of results", ""]
    lines += differences(records)
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
            title, command, shows = OTHER_ROWS[system]
            lines.append(f"| {system} | {command} | {title} | | {shows} | | | |")
        else:
            lines.append(f"| {system} | `eyesight train {system}` | | | not trained yet | | | |")
    return lines


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
        return f"only {record['part']}{stand_in}"
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
