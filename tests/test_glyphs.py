"""Characters from font files, drawn from the faces that come with matplotlib, so that no system
font is needed.
"""

import os
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from eyesight.data.glyphs import families, glyphs, render
from eyesight.data.glyphs.families import (
    Family,
    copies,
    designs,
    font_files,
    font_folders,
    similarity,
    split_families,
    stem,
    styles,
)
from eyesight.data.glyphs.glyphs import glyph_source
from eyesight.data.glyphs.render import (
    CLASSES,
    LEGIBLE,
    UnusableFont,
    check_usable,
    draw_face,
    legibility,
    shape,
)
from eyesight.errors import UserError

SHIPPED = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
SANS = (str(SHIPPED / "DejaVuSans.ttf"), 0)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder of five good families, a symbol font and two broken files."""
    folder = tmp_path_factory.mktemp("fonts")
    names = [
        "DejaVuSans",
        "DejaVuSans-Bold",
        "DejaVuSans-Oblique",
        "DejaVuSerif",
        "cmr10",
        "cmss10",
        "cmtt10",
        "cmsy10",
        "STIXNonUni",
    ]
    for name in names:
        (folder / f"{name}.ttf").write_bytes((SHIPPED / f"{name}.ttf").read_bytes())
    (folder / "torn.ttf").write_bytes((SHIPPED / "cmr10.ttf").read_bytes()[:700])
    (folder / "empty.otf").write_bytes(b"")
    (folder / "copy.ttf").write_bytes((SHIPPED / "cmr10.ttf").read_bytes())
    return folder


@pytest.fixture(scope="module")
def warm(shelf, tmp_path_factory):
    """A cache, the source of that folder drawn into it, and what was said about it."""
    cache = tmp_path_factory.mktemp("drawn")
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EYESIGHT_CACHE", str(cache))
        source = glyph_source([shelf], said.append)
    return cache, source, said


@pytest.fixture
def drawn(warm):
    return warm[1:]


def test_the_source_has_every_class_in_every_face(drawn):
    source, _ = drawn
    assert source.classes == CLASSES
    assert "".join(CLASSES) == "0123456789ABCDEFGHIJKLMNPQRSTUVWXYZabdefghijmnoqrtuy"
    assert source.pixels.shape == (len(source.ids), 1, 90, 90)
    assert source.pixels.dtype == np.uint8
    assert len(source.ids) == 5 * 4 * 52 == len(set(source.ids))
    assert set(np.bincount(source.labels)) == {5 * 4}
    assert all(
        name.endswith(f"/{CLASSES[label]}")
        for name, label in zip(source.ids, source.labels, strict=True)
    )
    assert source.read(3).shape == (90, 90)
    assert source.ids[0].split("/")[0] == source.splits[0] == "train"


def test_no_family_is_in_two_splits(drawn):
    source, _ = drawn
    split_of = {}
    for name, split in zip(source.ids, source.splits, strict=True):
        assert split_of.setdefault(name.split("/")[1], split) == split
    assert sorted(set(split_of.values())) == ["test", "train", "validation"]


def test_pictures_are_dark_on_white_whole_and_all_different_within_a_face(drawn):
    source, _ = drawn
    edges = [
        source.pixels[:, 0, 0],
        source.pixels[:, 0, -1],
        source.pixels[:, 0, :, 0],
        source.pixels[:, 0, :, -1],
    ]
    assert all((edge == 255).all() for edge in edges)
    assert (source.pixels.min(axis=(1, 2, 3)) < 64).all()
    assert len({picture.tobytes() for picture in source.pixels[:52]}) == 52


def test_a_missing_style_is_made_up_and_differs(drawn):
    source, said = drawn
    row = {name.split("/", 1)[1]: index for index, name in enumerate(source.ids)}
    pictures = {
        style: 255 - source.pixels[row[f"cmr10/{style}/I"], 0].astype(int)
        for style in render.STYLES
    }
    assert pictures["bold"].sum() > 1.1 * pictures["regular"].sum()
    assert abs(pictures["italic"].sum() / pictures["regular"].sum() - 1) < 0.05
    top, bottom = (
        np.flatnonzero(pictures["italic"][rows].sum(axis=0)).mean()
        for rows in (slice(20, 25), slice(65, 70))
    )
    assert top > bottom + 5
    assert "13 of 20 faces are synthetic" in said[-1]  # DejaVu Sans brought its bold and oblique


def test_few_fonts_are_told(drawn):
    _, said = drawn
    assert "5 font families: 3 (12 per class) / 1 (4 per class) / 1 (4 per class)" in said[-1]
    assert "the full set uses 255 families, so this is 2% of it" in said[-1]


def test_what_is_left_out_is_named(drawn):
    source, _ = drawn
    reasons = {problem.id: problem.detail for problem in source.problems}
    assert set(reasons) == {"cmsy10", "STIXNonUnicode", "torn.ttf", "empty.otf"}
    assert reasons["torn.ttf"].startswith("cannot be rendered")
    assert not any(problem.fatal for problem in source.problems)


def test_the_second_time_comes_from_the_cache(warm, shelf, monkeypatch):
    cache, source, _ = warm
    monkeypatch.setenv("EYESIGHT_CACHE", str(cache))
    monkeypatch.setattr(glyphs, "_build", None)
    again = glyph_source([shelf])
    assert again.fingerprint == source.fingerprint
    assert again.ids == source.ids
    assert (again.pixels[-1] == source.pixels[-1]).all()
    assert len(again.problems) == len(source.problems)


def test_a_failed_drawing_leaves_nothing_behind(shelf, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(glyphs, "_draw", full)
    with pytest.raises(UserError, match="the disk is full"):
        glyph_source([shelf])
    assert list((Path(os.environ["EYESIGHT_CACHE"]) / "glyphs").iterdir()) == []


def test_too_few_designs_and_no_fonts_are_errors(tmp_path):
    with pytest.raises(UserError, match="no font files"):
        glyph_source([tmp_path])
    (tmp_path / "only.ttf").write_bytes((SHIPPED / "cmr10.ttf").read_bytes())
    with pytest.raises(UserError, match="only 1 font designs"):
        glyph_source([tmp_path])


def test_a_crash_and_a_hang_cost_one_font_each(monkeypatch):
    jobs = [
        {"do": "names", "path": SANS[0]},
        {"do": "crash"},
        {"do": "names", "path": SANS[0]},
        {"do": "hang"},
        {"do": "names", "path": SANS[0]},
    ]
    trap = (
        "import ctypes, time; from eyesight.data.glyphs import render; render.LIMIT = 2; "
        "render.JOBS.update(crash=lambda job: ctypes.string_at(0), hang=lambda job: time.sleep(60)); render.serve()"
    )
    popen = render.subprocess.Popen
    monkeypatch.setattr(
        render.subprocess, "Popen", lambda command, **rest: popen([*command[:2], trap], **rest)
    )
    replies = [reply for reply, _ in render.run(jobs)]
    assert [("refused" in reply) for reply in replies] == [False, True, False, True, False]
    assert "crashes or hangs" in replies[1]["refused"]
    assert replies[4]["names"] == [[0, "DejaVu Sans", "Book"]]


@pytest.mark.parametrize("name", ["cmsy10", "cmex10", "STIXNonUni", "STIXSizOneSymReg"])
def test_symbol_fonts_are_refused(name):
    with pytest.raises(UnusableFont):
        check_usable(draw_face((str(SHIPPED / f"{name}.ttf"), 0)))


def test_faces_that_do_not_tell_classes_apart_are_refused():
    pictures = draw_face(SANS)
    check_usable(pictures)
    same = pictures.copy()
    same[CLASSES.index("u")] = same[CLASSES.index("U")]
    with pytest.raises(UnusableFont, match="U and u look the same"):
        check_usable(same)
    capitals = pictures.copy()
    for letter in render.TWO_CASES:
        small = pictures[CLASSES.index(letter.upper())][::2, ::2]
        capitals[CLASSES.index(letter)] = np.pad(small, ((22, 23), (22, 23)), constant_values=255)
    with pytest.raises(UnusableFont, match="no lowercase"):
        check_usable(capitals)


def test_small_letters_drawn_as_other_capitals_are_refused():
    pictures, serif = draw_face(SANS), draw_face((str(SHIPPED / "DejaVuSerif.ttf"), 0))
    check_usable(serif)
    for letter in render.TWO_CASES:
        capital = (
            serif[CLASSES.index(letter.upper())]
            .reshape(45, 2, 45, 2)
            .mean(axis=(1, 3))
            .astype(np.uint8)
        )
        pictures[CLASSES.index(letter)] = np.pad(capital, ((22, 23), (22, 23)), constant_values=255)
    shapes = {
        letter: shape(pictures[CLASSES.index(letter)])
        for letter in render.TWO_CASES + render.TWO_CASES.upper()
    }
    assert (
        sum(
            float(shapes[letter] @ shapes[letter.upper()]) > render.SAME_SHAPE
            for letter in render.TWO_CASES
        )
        < 5
    ), "not the same drawings"
    with pytest.raises(UnusableFont, match="no lowercase"):
        check_usable(pictures)


def test_legibility_knows_letters_from_shuffled_ones():
    shapes = np.stack([shape(picture) for picture in draw_face(SANS)])
    assert legibility(shapes) > 0.8
    assert legibility(np.roll(shapes, 7, axis=0)) < LEGIBLE


def test_styles_are_found_by_their_names():
    faces = [
        (name, (name, 0))
        for name in [
            "Thin",
            "Book",
            "Medium",
            "SemiBold",
            "Bold",
            "Black",
            "Oblique",
            "Bold Oblique",
            "Condensed",
            "Condensed Bold",
        ]
    ]
    chosen = {style: face[0] for style, face in styles(faces).items()}
    assert chosen == {
        "regular": "Book",
        "italic": "Oblique",
        "bold": "Bold",
        "bold italic": "Bold Oblique",
    }
    assert styles([("Bold Italic", ("only", 0))]) == {"regular": ("only", 0)}
    light = {
        style: face[0]
        for style, face in styles(
            [(name, (name, 0)) for name in ("Demi", "Light", "Light Italic")]
        ).items()
    }
    assert light == {"regular": "Light", "italic": "Light Italic", "bold": "Demi"}


def test_faces_of_one_style_name_go_by_their_files():
    found = families.families(
        ("Prime", "Light", (f"/fonts/Prime-{style}.ttf", 0))
        for style in ("Bold", "BoldItalic", "Italic", "Regular")
    )
    assert {style: Path(face[0]).stem for style, face in found[0].faces.items()} == {
        "regular": "Prime-Regular",
        "italic": "Prime-Italic",
        "bold": "Prime-Bold",
        "bold italic": "Prime-BoldItalic",
    }


def test_copies_are_dropped_and_kin_stay_together():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (4, 52, 900), dtype=np.uint8)
    pictures[1] = np.where(
        rng.random((52, 900)) < 0.001, 0, pictures[0]
    )  # the same drawings but for a few pixels
    pictures[2, :10] = pictures[3, :10]  # a fifth of the pictures exactly the same
    alike = similarity(pictures)
    found = [
        Family(name, {"regular": ("", 0)})
        for name in ("Vera", "Bitstream Vera", "Inter", "Roboto Old")
    ]
    assert copies(found, alike) == {1: 0, 3: 2}
    assert designs(["Inter", "Lato", "Inter Display", "Roboto"], np.eye(4)) == [
        ["Inter", "Inter Display"],
        ["Lato"],
        ["Roboto"],
    ]
    close = np.eye(3)
    close[0, 1] = close[1, 0] = 0.96
    assert designs(["FreeSerif", "Doulos", "Lato"], close) == [["FreeSerif", "Doulos"], ["Lato"]]
    assert stem("OCRABold") == stem("OCRA") != stem("OCR B")
    assert stem("Roadgeek 2014 Series C") == stem("Roadgeek 2014 Series EM")


def test_many_families_give_the_full_set_whatever_their_order():
    groups = [[f"family {number}"] for number in range(262)] + [["a", "b"], ["c", "d", "e"]]
    parts = split_families(groups)
    assert {split: len(names) for split, names in parts.items()} == families.FULL
    assert parts == split_families(groups[::-1])
    assert not set(parts["train"]) & set(parts["test"]) and not set(parts["train"]) & set(
        parts["validation"]
    )
    counts = {
        split: sum(len(part.styles) for part in glyphs.shares(parts) if part.split == split)
        for split in parts
    }
    assert counts == {"train": 716, "validation": 150, "test": 150}
    assert {"c", "d", "e"}.isdisjoint(parts["validation"] + parts["test"])


@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 1, 1), (2, 2, 2), (9, 9, 9), (1,) * 40])
def test_few_families_still_fill_every_split(sizes):
    groups = [[f"{group}.{member}" for member in range(size)] for group, size in enumerate(sizes)]
    parts = split_families(groups)
    assert all(parts.values())
    owners = [{name.split(".")[0] for name in names} for names in parts.values()]
    assert sum(map(len, owners)) == len(set.union(*owners))


def test_folders_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("EYESIGHT_FONTS", os.pathsep.join([str(tmp_path), "elsewhere"]))
    assert font_folders() == [tmp_path, Path("elsewhere")]
    monkeypatch.delenv("EYESIGHT_FONTS")
    assert all(folder.is_absolute() for folder in font_folders())


def test_a_file_reached_twice_counts_once(shelf):
    assert len(font_files([shelf, shelf])) == len(font_files([shelf])) == 12
