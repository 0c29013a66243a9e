"""The language of the words in figures: English, unless a caller asks for another one.

A character that no font has is drawn as a box. Figures therefore use a font with Hangul after the
usual one, and words in another language only if the fonts have all their characters.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import MappingProxyType

from matplotlib.font_manager import findfont, fontManager
from matplotlib.ft2font import FT2Font

LATIN = "DejaVu Sans"  # comes with matplotlib
# Fonts with Hangul, the plainest first. Of a collection matplotlib reads the first font only, which
# is the Japanese one in Noto Sans CJK; it has Hangul too.
HANGUL = (
    "Noto Sans CJK KR",
    "Noto Sans CJK JP",
    "Noto Sans KR",
    "Source Han Sans KR",
    "NanumGothic",
    "NanumBarunGothic",
    "NanumSquare",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "AppleGothic",
    "UnDotum",
    "Baekmuk Dotum",
    "Arial Unicode MS",
    "Droid Sans Fallback",
)
ENGLISH: Mapping[str, str] = MappingProxyType({})
_translations: ContextVar[Mapping[str, str]] = ContextVar("translations", default=ENGLISH)


@contextmanager
def translated(translations: Mapping[str, str]) -> Iterator[None]:
    """Draw figures with the words of another language, given by the English ones.

    They stay English if the fonts lack a character of the translations.
    """
    if not can_draw("".join(translations.values())):
        translations = ENGLISH
    token = _translations.set(translations)
    try:
        yield
    finally:
        _translations.reset(token)


def word(english: str, **values: object) -> str:
    """A text of a figure in the language of `translated`, with its {placeholders} filled in."""
    return _translations.get().get(english, english).format(**values)


def can_draw(text: str) -> bool:
    """Whether the fonts of figures have all characters of a text."""
    drawable = frozenset[int]().union(*(characters(family) for family in families()))
    return drawable.issuperset(map(ord, text))


@contextmanager
def without_font_warnings() -> Iterator[None]:
    """Find fonts without a line on standard error for every weight that a font lacks."""
    logger = logging.getLogger("matplotlib.font_manager")

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger.addFilter(is_error)
    try:
        yield
    finally:
        logger.removeFilter(is_error)


@cache
def families() -> tuple[str, ...]:
    """The font families of figures; a character is drawn from the first that has it."""
    installed = {entry.name for entry in fontManager.ttflist}
    with_hangul = [name for name in HANGUL if name in installed]
    return (LATIN, *with_hangul[:1])


@cache
def characters(family: str) -> frozenset[int]:
    """The code points for which a font family has a glyph."""
    return frozenset(FT2Font(findfont(family)).get_charmap())
