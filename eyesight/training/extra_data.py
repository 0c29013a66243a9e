"""The effect of extra training images: accuracy before and after on held-out ones.

"Before" is the newest finished run in the same folder without extra images; nothing is retrained.
"""

from __future__ import annotations

from eyesight import classifier
from eyesight.classifier import Classifier
from eyesight.data.dataset import base_hash
from eyesight.data.images import Images
from eyesight.errors import UserError
from eyesight.results.records import OwnImages, Result
from eyesight.runs import Run, list_runs


def compared(run: Run, after: Classifier, held: Images) -> OwnImages:
    """Accuracy on the held-out images before and after, as plain JSON values.

    "before" is None if there is no earlier run.
    """
    earlier = before(run, after)
    comparison: OwnImages = {
        "extra": run.recipe.data.extra,
        "after": after.infer(held).summary(),
        "before": None,
    }
    if earlier is not None:
        old, earlier_classifier = earlier
        same = base_hash(old.data.get("split", "")) == base_hash(run.data["split"])
        test = old.result.get("test") if same else None
        comparison |= {
            "before": earlier_classifier.infer(held).summary(),
            "before_run": old.name,
            "before_test": test,
        }
    return comparison


def before(run: Run, after: Classifier) -> tuple[Run, Classifier] | None:
    """The newest finished run beside this one with the same classes and no extra images.

    Runs of the same recipe come first.
    """
    others = [other for other in reversed(list_runs(run.path.parent)) if other.path != run.path]
    for other in sorted(others, key=lambda other: not other.name.endswith(f"-{run.recipe.name}")):
        try:
            if (
                other.recipe.data.extra
                or other.target != run.target
                or other.status != "done"
                or set(other.data.get("classes", ())) != set(after.classes)
            ):
                continue
            candidate = classifier.load(other.classifier_path, after.network.normalise.mean.device)
        except (UserError, OSError):  # damaged, or of a later eyesight
            continue
        if (candidate.classes, candidate.preparation) == (after.classes, after.preparation):
            return other, candidate
    return None


def lines(result: Result) -> list[str]:
    """The comparison as printed lines; empty without extra images."""
    comparison = result.get("own")
    if not comparison or not comparison["after"]["n"]:
        return []
    test, after, earlier = result["test"], comparison["after"], comparison["before"]
    if earlier is None:
        return [
            f"your own {after['n']:,} held-out images: {after['top1']:.2%}; no earlier run "
            "without --extra to compare with"
        ]
    sentences = [
        f"your own {after['n']:,} held-out images: {earlier['top1']:.2%} before "
        f"({comparison['before_run']}), {after['top1']:.2%} after"
    ]
    if (
        (old := comparison["before_test"])
        and old.get("top1") is not None
        and test["top1"] is not None
    ):
        sentences.append(
            f"the original test images: {old['top1']:.2%} before, {test['top1']:.2%} after"
        )
    return sentences
