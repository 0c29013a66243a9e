"""The doctor's sentences in other languages.

A run keeps its findings in English, with their numbers. `translations/doctor_ko.json` has a text
for every sentence, with {placeholders} for what differs; "; " joins sentences.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

JOINED = "; "
VALUE = "(?:(?!; ).)+?"  # of a placeholder: it never reaches into the next sentence
# Settings are the same in every language.
SETTINGS = re.compile(r"--set \S+=\S+( --set \S+=\S+)*")
PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Sentence:
    """A sentence for people; `translated` is false where only the English one is known."""

    text: str
    translated: bool


@dataclass(frozen=True)
class Pattern:
    """An English sentence with placeholders, and its translation."""

    english: re.Pattern[str]
    translation: str


@cache
def whole_texts(language: str) -> dict[str, str]:
    """Translations by English text; empty for a language without any."""
    file = Path(__file__).parent / "translations" / f"doctor_{language}.json"
    if not file.is_file():
        return {}
    return dict(json.loads(file.read_text(encoding="utf-8")))


@cache
def patterns(language: str) -> tuple[Pattern, ...]:
    """The sentences of a language, those with the most fixed words first."""
    texts = whole_texts(language).items()
    ordered = sorted(texts, key=lambda text: -len(PLACEHOLDER.sub("", text[0])))
    return tuple(Pattern(expression(english), other) for english, other in ordered)


def expression(english: str) -> re.Pattern[str]:
    """What matches a sentence with any values in its placeholders."""
    parts = PLACEHOLDER.split(english)
    pieces = [
        f"(?P<{part}>{VALUE})" if place % 2 else re.escape(part) for place, part in enumerate(parts)
    ]
    return re.compile("".join(pieces), re.DOTALL)


def translate(text: str, language: str) -> list[Sentence]:
    """The sentences of a text in a language; English where a sentence has no translation."""
    if language == "en" or not text:
        return [Sentence(text, True)] if text else []
    whole = _sentence(text, language)
    if whole.translated:
        return [whole]
    return [_sentence(part, language) for part in text.split(JOINED)]


def _sentence(text: str, language: str) -> Sentence:
    if SETTINGS.fullmatch(text):
        return Sentence(text, True)
    for pattern in patterns(language):
        match = pattern.english.fullmatch(text)
        if match is not None:
            return Sentence(pattern.translation.format(**match.groupdict()), True)
    return Sentence(text, False)
