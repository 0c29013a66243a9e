"""The doctor speaks every language of the pages; `test_doctor.py` checks each finding it makes."""

import ast
import json
import re
from pathlib import Path

import pytest

from eyesight import diagnosis
from eyesight.diagnosis import diagnose
from eyesight.runs import Run
from eyesight.web import doctor_texts, i18n

CHECKS = sorted(Path(diagnosis.__file__).parent.glob("check_*.py"))
OTHERS = [language for language in i18n.LANGUAGES if language != "en"]
FEW = 10  # letters between two placeholders that say nothing by themselves
NOT_SHOWN = (
    "--set model.",
    "no longer a number",
    "--set training.keep=best",
    "--set optim.",
    "--set data.",
)


def not_alone(node):
    """The nodes below this one that are parts of a text, a docstring or a finding's title."""
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    if docstring or isinstance(node, ast.JoinedStr):
        return [child for child in ast.walk(node) if child is not node]
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
        return [node.args[1]]
    return []


def text_of(node):
    """The text that a node is, {} for what differs; None for other nodes."""
    if isinstance(node, ast.JoinedStr):
        parts = node.values
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in parts)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def templates():
    """Every text with a space in the checks but docstrings and titles; {} for what differs.

    Titles are translated by the finding's id.
    """
    for file in CHECKS:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        inside = set()
        for node in ast.walk(tree):
            inside.update(map(id, not_alone(node)))
        for node in ast.walk(tree):
            if id(node) in inside:
                continue
            text = text_of(node)
            if text is not None and " " in text.strip():
                yield text


def fixed_words(text):
    """What stands between the placeholders of a text, sentence by sentence."""
    for sentence in text.split("; "):
        for words in re.split(r"\{\w*\}", sentence):
            words = words.strip(" ,;:()")
            if sum(letter.isalpha() for letter in words) >= FEW:
                yield words


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_of_the_doctor_is_translated(language):
    english = "\n".join(doctor_texts.whole_texts(language))
    words = [part for text in templates() for part in fixed_words(text)]
    assert len(words) > 80
    shown = [part for part in words if not part.startswith(NOT_SHOWN)]
    assert [part for part in shown if part not in english] == []


@pytest.mark.parametrize("language", OTHERS)
def test_every_finding_has_a_title(language):
    names = {check.name for check in diagnose.CHECKS} - {"learning_rate_trial"}
    missing = [name for name in names if f"doctor.{name}" not in i18n.texts(language)]
    assert missing == []


@pytest.mark.parametrize("language", OTHERS)
def test_translations_keep_every_value(language):
    for english, other in doctor_texts.whole_texts(language).items():
        values = set(doctor_texts.PLACEHOLDER.findall(english))
        assert set(doctor_texts.PLACEHOLDER.findall(other)) == values, english


def test_numbers_stay_and_unknown_words_are_marked():
    text = "the disk is full; 3 epochs had finished"
    foreign, known = doctor_texts.translate(text, "ko")
    assert not foreign.translated and foreign.text == "the disk is full"
    assert known.translated and "3" in known.text and "epoch" not in known.text
    settings = "--set optim.lr=0.01; or --set optim.clip=1"
    assert all(one.translated for one in doctor_texts.translate(settings, "ko"))
    assert [one.text for one in doctor_texts.translate(text, "en")] == [text]
    assert doctor_texts.translate("", "ko") == []


def test_the_page_of_a_run_speaks_korean(tmp_path):
    from fastapi.testclient import TestClient
    from portables import by_brightness

    from eyesight.inference import onnx_classifier
    from eyesight.web.application import application

    run = Run.create(tmp_path / "runs", "toy")
    run.write_json("recipe.json", {"format": 1, "name": "toy"})
    finding = {
        "id": "diverged",
        "title": "The loss increased instead of decreasing",
        "severity": "fatal",
        "evidence": "the training loss was 1.2 in epoch 2 and 9.5 in epoch 7; "
        "uniform guessing has 2.3",
        "remedy": "--set optim.lr=0.001; or --set optim.clip=1",
        "why": "Steps that are too large overshoot the minimum and end at a higher loss each time.",
    }
    (run.path / "doctor.json").write_text(json.dumps({"findings": [finding]}))
    app = application(onnx_classifier.load(by_brightness(tmp_path / "it.onnx")), tmp_path / "runs")
    client = TestClient(app, base_url="http://localhost")
    korean = client.get(f"/runs/{run.name}", headers={"Accept-Language": "ko"}).text
    part = korean.partition('class="finding')[2].partition("</div>")[0]
    assert "9.5" in part and "에포크" in part and "lang=" not in part
    english = client.get(f"/runs/{run.name}", headers={"Accept-Language": "en"}).text
    assert finding["evidence"] in english and finding["why"] in english
