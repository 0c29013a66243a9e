"""The model card beside an exported file: what it learnt, how good it is, where its limits are.

Everything in it is read from the run; what only a person can know is left to fill in, in brackets.
The sections follow Mitchell et al. 2019.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import cast

from eyesight import classifier
from eyesight.classifier import Facts
from eyesight.data.decode import left_out_by_kind
from eyesight.data.facts import problems_of
from eyesight.data.source import count_of_images
from eyesight.recipe import BLEND
from eyesight.results import calibration, conformal, metrics, slices, threshold
from eyesight.results.calibration import Calibration
from eyesight.results.metrics import ClassRow
from eyesight.results.predictions import Predictions, read_arrays, readable
from eyesight.results.slices import Slice
from eyesight.runs import Run
from eyesight.system.digest import file_sha256
from eyesight.system.files import whole_file

FOLDER_CARD = "MODEL_CARD.md"
SLICES = 10  # rows of the table
MOST_CLASSES = 200  # rows of the table of classes
ESCAPED = {"\\": "\\\\", "|": "\\|", "<": "&lt;", "`": "\\`", "*": "\\*", "_": "\\_", "[": "\\["}
TO_FILL = "[to be filled in]"


@dataclass(frozen=True)
class Evidence:
    """What an export knows beyond its run: its files, the metadata in them, and the check."""

    files: tuple[Path, ...]
    facts: Facts
    checked: str


def card_path(out: Path) -> Path:
    """Where the card of an exported file or folder lies: FILE.md, or MODEL_CARD.md inside."""
    if out.is_dir():
        return out / FOLDER_CARD
    return out.with_name(f"{out.name}.md")


def write_card(out: Path, evidence: Evidence, run: Run | None = None) -> Path:
    """Write the card of the export at `out` and return its path; without a run, a shorter one."""
    path = card_path(out)
    text = "\n\n".join(sections(evidence, run)) + "\n"
    with whole_file(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
    return path


def sections(evidence: Evidence, run: Run | None) -> Iterator[str]:
    """The parts of the card in order, as Markdown."""
    facts = evidence.facts
    predictions = None if run is None else labelled_predictions(run)
    yield f"# {escape(str(facts.get('name')))}: model card"
    yield introduction(facts)
    yield intended_use(facts)
    if run is not None:
        yield from data_sections(run)
        yield accuracy(run)
    if run is not None and predictions is not None:
        yield by_class(run, predictions)
        yield by_slice(run, predictions)
        yield confidence(run, predictions)
    yield limits(run)
    yield f"## Verification\n\n{evidence.checked}"
    yield licences(run, facts)
    yield hashes(evidence)


def introduction(facts: Facts) -> str:
    """What the network gives."""
    count = len(facts.get("classes") or ())
    gives = {
        "image": "A network that reconstructs images.",
        "mask": f"A segmentation network with {count:,} classes.",
    }
    target = str(facts.get("target"))
    return gives.get(target, f"An image classifier with {count:,} classes.")


def intended_use(facts: Facts) -> str:
    """For which images it was made, and what the person who passes it on should add."""
    names = readable(list(facts.get("classes") or ()))
    listed = ", ".join(escape(name) for name in names[:MOST_CLASSES])
    more = f", and {len(names) - MOST_CLASSES:,} more" if len(names) > MOST_CLASSES else ""
    lines = ["## Intended use", ""]
    if names:
        lines += [f"Classes: {listed}{more}.", ""]
    lines += [
        "Use it for images like the training and test images: the same kinds of objects, "
        "cameras, lighting and backgrounds.",
        "",
        f"- Purpose and users: {TO_FILL}",
        f"- Out of scope: {TO_FILL}",
        f"- Contact: {TO_FILL}",
    ]
    return "\n".join(lines)


def data_sections(run: Run) -> Iterator[str]:
    """The images that it was trained and tested on."""
    data = run.data
    counts = data.get("counts") or {}
    rows = [(name, f"{number:,}") for name, number in counts.items()]
    left_out = left_out_by_kind(problems_of(data))
    lines = [
        f"## Data\n\nData set: {escape(without_path(str(data.get('name'))))}.",
        table(("part", "images"), rows),
    ]
    if left_out:
        kinds = [f"{number:,} {kind.replace('_', ' ')}" for kind, number in left_out.items()]
        total = sum(left_out.values())
        verb = "was" if total == 1 else "were"
        lines.append(f"{count_of_images(total)} {verb} left out: {', '.join(kinds)}.")
    corrections = data.get("corrections")
    if corrections:
        lines.append(
            f"Corrected labels were used: {corrections['relabelled']:,} images relabelled, "
            f"{corrections['excluded']:,} left out."
        )
    lines.append(f"- Origin and licence of the images: {TO_FILL}")
    lines.append(f"- Whether the images show identifiable people: {TO_FILL}")
    yield "\n\n".join(lines[:-2]) + "\n\n" + "\n".join(lines[-2:])


def accuracy(run: Run) -> str:
    """The score on test images, with its interval, and on validation images."""
    result = run.result
    lines = ["## Accuracy", ""]
    test = result.get("test")
    if test:
        lines.append(f"Test {run.measure.title}: {run.measure.sentence(test)}.")
        lines.append("The test images were evaluated once, after training.")
    else:
        lines.append("There are no test images, so its accuracy was not measured.")
    if result.get("validation"):
        validation = run.measure.sentence(result["validation"])
        lines += [
            "",
            f"Validation {run.measure.title}: {validation}{chose_epoch(run)}.",
        ]
    if "test_uncorrected" in result:
        uncorrected = run.measure.sentence(result["test_uncorrected"])
        lines += ["", f"With the uncorrected labels: {uncorrected}."]
    return "\n".join(lines)


def chose_epoch(run: Run) -> str:
    """Whether the validation images are too friendly a measure, because they chose the epoch."""
    if run.recipe.model.name != BLEND and run.recipe.training.keep == "best":
        return "; these images chose the epoch"
    return ""


def by_class(run: Run, predictions: Predictions) -> str:
    """Images, recall and precision of each class."""
    names = readable(predictions.classes)
    trained = (run.data.get("per_class") or {}).get("train") or []
    rows = []
    judged = metrics.per_class(predictions.probabilities, predictions.labels, names)
    for place, row in enumerate(judged[:MOST_CLASSES]):
        count = f"{trained[place]:,}" if place < len(trained) else ""
        rows.append((escape(row.name), count, f"{row.n:,}", *rates(row)))
    head = ("class", "training images", "test images", "recall", "precision")
    return f"## Results per class\n\n{table(head, rows)}"


def rates(row: ClassRow) -> tuple[str, str]:
    """Recall and precision in percent; a dash where there is none."""
    values = []
    for value in (row.recall, row.precision):
        values.append("–" if value is None else f"{value:.1%}")
    return values[0], values[1]


def by_slice(run: Run, predictions: Predictions) -> str:
    """Accuracy on parts of the test images, the worst first."""
    slices = measured_slices(run, predictions)
    title = "## Results per slice"
    if not slices:
        return f"{title}\n\nThere are too few test images for slices."
    rows = []
    for one in slices[:SLICES]:
        mark = "yes" if one.is_worse else "no"
        rows.append(
            (escape(one.name), f"{one.n:,}", f"{one.accuracy:.1%}", f"{one.rest:.1%}", mark)
        )
    head = (
        "slice of the test images",
        "images",
        "accuracy",
        "accuracy on the rest",
        "significantly worse",
    )
    return f"{title}\n\n{len(slices)} slices, worst first.\n\n{table(head, rows)}"


def measured_slices(run: Run, predictions: Predictions) -> list[Slice]:
    """The slices of the labelled test images; none for runs that measured no properties."""
    file = run.path / "properties.npz"
    if not file.is_file():
        return []
    labelled = run.predictions().labels >= 0
    measured = read_arrays(file)
    return slices.find(predictions, {name: measured[name][labelled] for name in measured})


def confidence(run: Run, predictions: Predictions) -> str:
    """Whether its probabilities can be believed."""
    kept = kept_calibration(run)
    error = calibration.calibration_error(predictions.probabilities, predictions.labels)
    low, high = error.interval
    perfect = error.perfect[1]
    verdict = "not significant"
    if error.value > perfect:
        verdict = "significant"
    lines = [
        "## Calibration",
        "",
        f"Expected calibration error: {error.value:.3f} (95 % interval {low:.3f} to {high:.3f}, "
        f"n = {len(predictions):,}), {verdict}: a perfectly calibrated classifier would show up to "
        f"{perfect:.3f}.",
    ]
    if kept.images:
        lines.append(f"Temperature {kept.temperature:.3f}, from {kept.images:,} validation images.")
    if kept.sets is not None:
        for level in conformal.LEVELS:
            held = conformal.coverage(
                kept.sets, predictions.probabilities, predictions.labels, level
            )
            lines.append(
                f"- Prediction sets at {level:.0%}: coverage {held['coverage']:.1%} on the test "
                f"images, {held['size']:.2f} classes on average."
            )
    if kept.note:
        lines += ["", f"{kept.note}."]
    limit = sure_threshold(run)
    if limit is not None:
        lines += [
            "",
            f"A prediction with probability {limit.value:.3f} or more is called sure; "
            f"{limit.share:.1%} of {limit.n:,} validation images were, with an accuracy of "
            f"{limit.accuracy:.1%}.",
        ]
    return "\n".join(lines)


def sure_threshold(run: Run) -> threshold.Threshold | None:
    """The probability from which an answer is called sure, if the run can tell."""
    if not (run.path / "validation.npz").is_file():
        return None
    return threshold.choose(run.predictions("validation"))


def kept_calibration(run: Run) -> Calibration:
    """How the run's classifier was calibrated."""
    values = classifier.read_description(run.classifier_path).get("calibration") or {}
    return Calibration.from_dict(values)


def labelled_predictions(run: Run) -> Predictions | None:
    """The labelled test predictions of a classifier; None without any, and for other tasks."""
    if run.target != "class" or not (run.path / "predictions.npz").is_file():
        return None
    predictions = run.predictions().labelled()
    return predictions if len(predictions) else None


def limits(run: Run | None) -> str:
    """What it cannot do."""
    lines = ["## Limits", ""]
    if run is None or run.target == "class":
        lines += [
            "- It always predicts one of its classes, whatever the image shows. Its warnings "
            "are not a guarantee.",
        ]
    if run is None:
        lines.append("- It was evaluated by its publishers, not here.")
    lines += [
        "- The results hold for images from the same source as the test images; they change "
        "with another camera, place or class distribution.",
        "- Fairness across groups of people was not evaluated, unless stated above.",
    ]
    return "\n".join(lines)


def licences(run: Run | None, facts: Facts) -> str:
    """The licence fields, with what is known."""
    rows = [("this classifier", TO_FILL), ("the training images", TO_FILL)]
    weights = run.environment.get("weights") if run is not None else facts.get("weights")
    if isinstance(weights, dict) and weights.get("sha256"):
        name = weights.get("network")
        source = weights.get("source") or weights.get("door")  # as older runs call it
        of = without_path(f"the pretrained weights of {name}, from {PurePath(str(source)).name}")
        rows.append((escape(of), TO_FILL))
    rows.append(("eyesight, which wrote the file", "Apache-2.0"))
    return f"## Licences\n\n{table(('of', 'licence'), rows)}"


def hashes(evidence: Evidence) -> str:
    """Checksums of the files, weights, images and split."""
    rows = [(escape(file.name), f"`{file_sha256(file)}`") for file in evidence.files]
    facts = evidence.facts
    for name, title in (("weights", "weights"), ("store", "prepared images"), ("split", "split")):
        value = cast("dict[str, object]", facts).get(name)
        if isinstance(value, str):
            rows.append((title, f"`{value}`"))
    made = f"Written by eyesight {facts.get('eyesight')}"
    if facts.get("run"):
        made += f" from the run {escape(str(facts.get('run')))}"
    return f"## Hashes\n\n{table(('of', 'SHA-256'), rows)}\n\n{made}."


def without_path(name: str) -> str:
    """The name of a data set without the folders above it, for privacy.

    Also at the end of words such as "test images of /home/ann/leaves".
    """
    words, of, place = name.rpartition(" of ")
    return f"{words}{of}{PurePath(place).name or place}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of texts that are escaped already."""
    lines = [row_of(head), row_of(["---"] * len(head))]
    lines += [row_of(row) for row in rows]
    return "\n".join(lines)


def row_of(cells: Sequence[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


def escape(text: str) -> str:
    """A text that Markdown shows as it is, in one line."""
    return "".join(ESCAPED.get(letter, letter) for letter in " ".join(text.split()))
