"""File names in zip archives that do not say how they are encoded.

A zip marks names as UTF-8 or leaves them in the code page of the computer that packed it, which it
does not name. One encoding is chosen for all names of an archive, by which of them gives words
instead of a jumble.
"""

from __future__ import annotations

import unicodedata
import zipfile
from collections.abc import Callable, Sequence

UTF8_FLAG = 0x800
ZIPFILE_DEFAULT = "cp437"  # what zipfile decodes unmarked names with
# The syllables of everyday Korean; a jumble from another code page consists of rare ones.
COMMON_HANGUL = frozenset(
    "이다는의에을가고하은지를도기사로어자한나들인그대시해서아리거과수정일보있구원전부여주만스라장것게국조"
    "세제상소용성들동우면모적비공치신무관계오연실방물생선안교미경물음식차간위내요진중발문화체개유마강야트"
    "산양말새개고양강아지얼룩범호랑토끼돼닭말소코뿔람쥐곰여늑대독수올뱀거북개구악숭염당나귀자동차비행배"
    "꽃나무풀잎사과배포감귤수박딸기바정합불량품검사학습훈련검증시험정상이병변양음성단추옷신발가방셔츠"
    "건물길집산강바다하늘구름별달해눈눈비람불물흙돌금은동철종파란빨노초검하흰색분홍보라회갈녹"
)
LABELS = {
    "cp949": "Korean",
    "cp932": "Japanese",
    "gbk": "Chinese",
    "big5": "traditional Chinese",
    "cp866": "Cyrillic",
    "cp1251": "Cyrillic",
    "utf-8": "UTF-8",
}
Test = Callable[[str], bool]


def decoded_names(entries: Sequence[zipfile.ZipInfo]) -> tuple[list[str], str]:
    """Every entry's name, and the encoding chosen for unmarked ones ("" if none was needed)."""
    names = [entry.filename for entry in entries]
    unmarked = [
        place
        for place, entry in enumerate(entries)
        if not entry.flag_bits & UTF8_FLAG and not entry.filename.isascii()
    ]
    raw: list[bytes] = []
    for place in unmarked:
        try:
            raw.append(names[place].encode(ZIPFILE_DEFAULT))
        except UnicodeEncodeError:  # decoded already, from an extra field
            return names, ""
    if not raw:
        return names, ""
    encoding = guess_encoding(raw)
    if encoding == ZIPFILE_DEFAULT:
        return names, ""
    for place, encoded in zip(unmarked, raw, strict=True):
        names[place] = encoded.decode(encoding)
    return names, encoding


def guess_encoding(names: Sequence[bytes]) -> str:
    """The encoding in which these names are words; zipfile's own where no other fits."""
    candidates: tuple[tuple[str, Test], ...] = (
        ("utf-8", lambda text: True),
        ("cp866", _is_cyrillic),
        ("cp949", _is_everyday_korean),
        ("cp932", _is_japanese),
        ("cp1251", _is_lower_case_cyrillic),
        ("gbk", _is_chinese),
        ("cp949", _is_korean),
        ("big5", _is_chinese),
    )
    if not _all_decode(names, "utf-8") and _is_latin(b"".join(names).decode(ZIPFILE_DEFAULT)):
        return ZIPFILE_DEFAULT
    for encoding, is_words in candidates:
        if not _all_decode(names, encoding):
            continue
        text = "".join(name.decode(encoding) for name in names)
        if is_words("".join(letter for letter in text if ord(letter) > 127)):
            return encoding
    return ZIPFILE_DEFAULT


def _all_decode(names: Sequence[bytes], encoding: str) -> bool:
    try:
        for name in names:
            name.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _is_latin(text: str) -> bool:
    """Whether what is beyond ASCII are Latin letters with accents."""
    beyond = [letter for letter in text if ord(letter) > 127]
    return all(unicodedata.name(letter, "").startswith("LATIN") for letter in beyond)


def _share(text: str, test: Test) -> float:
    return sum(map(test, text)) / max(1, len(text))


def _is_hangul(letter: str) -> bool:
    return "가" <= letter <= "힣"


def _is_korean(text: str) -> bool:
    return _share(text, _is_hangul) == 1


def _is_everyday_korean(text: str) -> bool:
    return _is_korean(text) and _share(text, lambda letter: letter in COMMON_HANGUL) >= 0.5


def _is_japanese(text: str) -> bool:
    """Kana or Chinese characters, without the half-width kana that other code pages give."""
    is_half_width = _share(text, lambda letter: "｡" <= letter <= "ﾟ") > 0
    kana = _share(text, lambda letter: "ぁ" <= letter <= "ヿ")
    return not is_half_width and kana + _share(text, _is_ideograph) > 0.9


def _is_ideograph(letter: str) -> bool:
    return "一" <= letter <= "鿿"


def _is_chinese(text: str) -> bool:
    return _share(text, _is_ideograph) > 0.9


def _is_cyrillic(text: str) -> bool:
    return _share(text, lambda letter: unicodedata.name(letter, "").startswith("CYRILLIC")) == 1


def _is_lower_case_cyrillic(text: str) -> bool:
    return _is_cyrillic(text) and _share(text, str.islower) > 0.6
