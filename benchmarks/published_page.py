"""docs/published.md: every published system, its command, its figure in print and ours."""

import json
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "published.md"
# Rows that no figure of ours stands for: what they are, the command or page, and what it shows.
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
        "fifteen images with names, four of them in three trials",
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
    "B10": ("the zoo of 16", "`eyesight models --measure`", "[zoo.md](zoo.md)"),
    "B11": (
        "dogs, DenseNet121",
        "`eyesight train B11 --data DOGS`",
        "needs DenseNet121's weights; [recogniser.md](recogniser.md) with EfficientNetLite0",
    ),
    "B12": ("dog-breed program", "`eyesight serve RUN`", "[recogniser.md](recogniser.md)"),
    "B14": (
        "arithmetic of a layer",
        '`eyesight show --layers "256x256x3 conv3x64/2 conv5x128/2"`',
        "1,792 weights; 29,360,128 and 839,385,088 operations, as in print",
    ),
    "B15": (
        "sequential and branching networks",
        "`--set model.name=FILE.py:CLASS`",
        "[recipes.md](recipes.md)",
    ),
    "F1": ("52 characters", "`eyesight data glyphs`", "drawn from installed fonts"),
    "F2": ("ten minutes at most", "`eyesight train F3 --budget 10m`", "[budget.md](budget.md)"),
    "F4": (
        "its wishes",
        "`--set augment.rotate=8 --set optim.schedule=cosine --set training.keep=best`",
        "recipe `glyphs`",
    ),
    "F5": ("softmax twice", "`eyesight doctor RUN`", "[doctor.md](doctor.md)"),
    "D1": ("digits as 32×32×3", "`eyesight augment D1`", "part of D2"),
    "O1": ("the goal", "`eyesight train objects --budget 10m`", "[recipes.md](recipes.md)"),
    "O4": ("mixup", "`--set augment.mixup=0.2`", "part of O5"),
    "O11": ("competition file", "`eyesight predict RUN test.csv --out submission.csv`", "the file"),
}
SYSTEMS = [
    *(f"B{number}" for number in range(1, 16)),
    *(f"F{number}" for number in range(1, 6)),
    *(f"D{number}" for number in range(1, 7)),
    *(f"O{number}" for number in range(1, 12)),
]
HEAD = """# The published systems, here and in print

`make published` trains every published network with its published settings to its published
length, cheapest first, and writes this page from `benchmarks/results/published/`. It can be
stopped at any time and goes on where it ended.

A tenth of the training images is held out (as validation) where the source held out none, and
the weights of the last epoch are kept, as the sources did. *Exact* is the published network with
the published settings. Where no package holds a backbone's weights another stands in, by name;
`python benchmarks/published.py --weights ResNet50V2=FILE` trains the row exactly. *Seconds* are
those of the whole training on a machine that had other work to do, with the threads named in the
row's file.

"""


def page(results: Path, rows: list[str]) -> None:
    """Write the page from the rows' files in the folder `results`."""
    records = {}
    for row in rows:
        file = results / f"{row}.json"
        if file.is_file():
            records[row] = json.loads(file.read_text(encoding="utf-8"))
    lines = ["## All 37 systems", "", *table(records, rows), "", "## What was trained", ""]
    lines += differences(records)
    missing = [row for row in rows if row not in records]
    if missing:
        lines += ["", f"Not trained yet: {', '.join(missing)}."]
    PAGE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


def table(records: dict[str, dict], rows: list[str]) -> list[str]:
    """A line for each system: command, exact or standing in, in print, here, n, seeds, seconds."""
    lines = [
        "| id | command | exact or standing in | in print | here | n | seeds | seconds |",
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
        kind += f", a part: {record['part']}"
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
    """For each trained row its figure in print, here, the difference, and why."""
    lines = ["| id | in print | here | difference | why |", "|---|---:|---:|---:|---|"]
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
    """Why the figures differ, as far as it is known."""
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
    return "; ".join(reasons) or "nothing to compare with"
