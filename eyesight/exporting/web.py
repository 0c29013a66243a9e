"""A run's classifier as a web page that needs no network, kept only if a browser shows it right."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from eyesight import classifier
from eyesight.classifier import Classifier, Facts
from eyesight.errors import UserError
from eyesight.exporting import export, page_files, runtime
from eyesight.exporting.browser import can_drive, find_browser
from eyesight.exporting.card import Evidence, without_path, write_card
from eyesight.exporting.export import Exported
from eyesight.exporting.onnx_file import file_of
from eyesight.exporting.originals import held_out_originals
from eyesight.exporting.page_files import Parts
from eyesight.exporting.proof import Proof, no_browser, prove
from eyesight.runs import Run
from eyesight.system.files import scratch, whole_file
from eyesight.system.progress import Talk, silent

ENDINGS = (".html", ".htm")
FIRST = "index.html"  # of a folder


@dataclass(frozen=True)
class WebPage(Exported):
    """A page that was kept; `parity` is of the network in it, `proof` of the page in a browser."""

    proof: Proof | None = None  # None: nothing has shown that it answers rightly

    def __str__(self) -> str:
        return describe(self)

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        proof = None if self.proof is None else self.proof.to_dict()
        return {**super().to_dict(), "proof": proof}


def export_web(
    run: Run,
    out: Path | None = None,
    *,
    data: str | None = None,
    title: str | None = None,
    unproven: bool = False,
    talk: Talk = silent,
) -> WebPage:
    """Write the run's classifier as one HTML file, or as a folder when `out` is no .html.

    The page is titled `title`, by default the name of the recipe.

    Raises UserError, and keeps nothing, when it cannot be a page, when there is no browser to ask,
    and when the page answers differently in it.
    """
    loaded = classifier.load(run.classifier_path)
    require_possible(loaded)
    out = out or file_of(run).with_suffix(".html")
    _check_out(out)
    if not unproven and (find_browser() is None or not can_drive()):
        raise no_browser()
    with scratch() as folder:
        description = export.description(run, loaded)
        file = folder / "network.onnx"
        network = export.write_checked(run, loaded, description, file, data=data, talk=talk)
        model = network.file.read_bytes()
        facts = facts_of(description, loaded, model)
        if title:
            facts = {**facts, "name": title}
        parts = Parts(model, runtime.runtime(talk), facts)
        proof = None
        if not unproven:
            trial = _write(parts, folder / "trial" / out.name)
            proof = prove(trial, loaded, held_out_originals(run, loaded, data, talk), talk)
            parts = Parts(model, parts.runtime, {**facts, "proof": proof.to_dict()})
        first = _write(parts, out)
    files = [first] if _is_file(out) else [out / name for name in page_files.NAMES]
    size = sum(file.stat().st_size for file in files)
    page = WebPage(first, size, network.parity, proof=proof)
    words = f"{export.checked(network.parity)}\n\n{proof_words(page)}"
    return replace(page, card=write_card(out, Evidence(tuple(files), description, words), run))


def require_possible(loaded: Classifier) -> None:
    """Raise UserError when the page could not prepare or show what the network takes or gives."""
    if loaded.network.emits != "class":
        raise UserError(
            "web pages support only classifiers, but this network predicts "
            f"{loaded.network.emits}s",
            "export to ONNX: leave out --to web",
        )
    if loaded.preparation.parts:
        raise UserError(
            "a blend whose members prepare images differently cannot be exported as a web page",
            "export one of its members with --to web, or the blend to ONNX",
        )
    if not (loaded.preparation.height and loaded.preparation.width):
        raise UserError(
            "this network accepts images of any size, which a web page does not support",
            "export to ONNX: leave out --to web",
        )


def facts_of(description: Facts, loaded: Classifier, model: bytes) -> Mapping[str, object]:
    """What the page says of its classifier, as plain JSON values; not proven yet."""
    names = ("name", "classes", "preparation", "accuracy", "accuracy_pictures", "threshold")
    facts: dict[str, object] = {name: description.get(name) for name in names}
    sets = loaded.calibration.sets
    return {
        **facts,
        "run": description.get("run"),
        "data": description.get("data"),
        "eyesight": description.get("eyesight"),
        "temperature_pictures": loaded.calibration.images,
        "set_pictures": 0 if sets is None else len(sets),
        "runtime": runtime.VERSION,
        "sha256": hashlib.sha256(model).hexdigest(),
        "examples": [],  # somebody's pictures leave only when they are shown, not by themselves
        "proof": None,
    }


def proof_words(page: WebPage) -> str:
    """What a browser showed of the page, as a paragraph of its card."""
    proof = page.proof
    if proof is None:
        return "Not verified in a browser."
    return (
        f"Verified in {proof.browser} on {proof.pictures:,} {without_path(proof.origin)}, "
        "with the page opened from a file and no network: the same class for every image, "
        f"probabilities within {proof.largest_difference:.1e}. Pixels of PNG files were equal; of "
        f"{proof.lossy_pictures:,} others, which the browser decodes, within "
        f"{proof.lossy_pixel_difference}."
    )


def describe(page: WebPage) -> str:
    """For people: where the page is and what a browser showed."""
    lines = [f"{page.file}  ({page.bytes / 1e6:.2f} MB)", *proof_lines(page.proof)]
    if page.card is not None:
        lines.append(f"  model card {page.card}")
    return "\n".join(lines)


def proof_lines(proof: Proof | None) -> list[str]:
    """What a browser showed, for the terminal."""
    if proof is None:
        return ["  not verified in a browser; the page says so"]
    return [
        f"  verified in {proof.browser} on {proof.pictures:,} {proof.origin}: the same class "
        f"for every image, probabilities within {proof.largest_difference:.1e}, pixels within "
        f"{max(proof.pixel_difference, proof.lossy_pixel_difference)}",
        f"  {proof.milliseconds:.1f} ms per image, ready {proof.opening:.1f} s after opening",
    ]


def _is_file(out: Path) -> bool:
    return out.suffix.lower() in ENDINGS


def _check_out(out: Path) -> None:
    if _is_file(out):
        wrong = out.is_dir()
    else:
        wrong = out.suffix.lower() == ".onnx" or (out.exists() and not out.is_dir())
    if wrong:
        raise UserError(
            f"{out} is not a valid name for a web page",
            "use FILE.html or a folder with --out",
            code=2,
        )


def _write(parts: Parts, out: Path) -> Path:
    """Write the page as a file or as a folder; the file to open."""
    if _is_file(out):
        contents = {out: page_files.one_file(parts)}
    else:
        contents = {out / name: text for name, text in page_files.folder(parts).items()}
    for file, content in contents.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as target:
            target.write(content)
    return out if _is_file(out) else out / FIRST
