"""Columns are read by where they lead and what they are called, or refused by name."""

import shlex
import unicodedata

import numpy as np
import pytest
from test_sources import draw, draw_all, table, trouble

from eyesight.data.dataset import evaluation_images
from eyesight.data.layout import Layout
from eyesight.data.opening import open_source
from eyesight.data.prepare import Preparation
from eyesight.data.split import Holdout, split
from eyesight.errors import UserError
from eyesight.recipe import Data

NAMES = [f"{number}.png" for number in range(6)]
KINDS = ["cat", "dog", "bird"]


def written(tmp_path, text, encoding="utf-8", names=NAMES):
    """A table beside six pictures."""
    draw_all(tmp_path, *names)
    (tmp_path / "labels.csv").write_text(text, encoding=encoding)
    return tmp_path


def lines(header, form, count=6, names=NAMES):
    """`form` filled in for each picture: i its number, name, stem and kind."""
    rows = [header] * bool(header)
    for number in range(count):
        name = names[number]
        rows.append(
            form.format(i=number, name=name, stem=name.split(".")[0], kind=KINDS[number % 3])
        )
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("image,x,y,class", "{name},{i},{i},{kind}"),
        ("id,path,label", "{i},{name},{kind}"),
        ("label,path", "{kind},{name}"),
        ("path,category,label", "{name},animal,{kind}"),
        ("path,class,species", "{name},{kind},s{i}"),
        ("path,width,height,klass", "{name},32,32,{kind}"),
        ("filename,width,height,class,xmin,ymin,xmax,ymax", "{name},9,9,{kind},1,1,5,5"),
        ("id,breed", "{stem},{kind}"),
        ("Image Index,Finding Labels,Patient Age", "{name},{kind},4{i}"),
        ("image_id;dx;age", "{stem};{kind};4{i}"),
        ("path,label,fold", "{name},{kind},{i}"),
        ("class_id,class_name,file", "1{i},{kind},{name}"),
        ("Datei;Kategorie", "{name};{kind}"),
        ("image|label", "{name}|{kind}"),
        ("file\tlabel", "{name}\t{kind}"),
        ("이미지,라벨", "{name},{kind}"),
        ("image_name,target", "{stem},{kind}"),
        ("Image,Id", "{name},{kind}"),
        ("fname,what", "{name},{kind}"),
        ("sep=;\npath;label", "{name};{kind}"),
        ("# drawn by hand\npath,label", "{name},{kind}"),
        ("", "{name},{kind}"),
        ("", "{kind},{name}"),
        ("", "TRAIN,{name},{kind}"),
        ("", "{name}      {kind}"),
        ("path     label", "{name}    {kind}"),
        ("path,label", "./{name},{kind}"),
        ("path,label", "/home/me/{name},{kind}"),
        ("path,label", ".\\{name},{kind}"),
        ("image,MEL,NV,UNK", None),
        ("filename, cat, dog, bird", None),
    ],
)
def test_the_right_columns(tmp_path, header, form):
    if form is None:
        ones = "\n".join(
            f"{name}, " + ", ".join("1.0" if i % 3 == k else "0.0" for k in range(3))
            for i, name in enumerate(NAMES)
        )
        source = open_source(written(tmp_path, f"{header}\n{ones}\n"))
        names = [name.strip() for name in header.split(",")[1:]]
        assert sorted(source.classes) == sorted(names)
        assert [source.classes[label] for label in source.labels[:3]] == names
    else:
        source = open_source(written(tmp_path, lines(header, form)))
        assert [source.classes[label] for label in source.labels] == KINDS * 2
    assert source.problems == () and source.notes[0].startswith("labels.csv: column")


@pytest.mark.parametrize(
    ("header", "form", "names", "hint"),
    [
        ("path,colour,shape", "{name},c{i},{kind}", ["'colour'", "'shape'"], "label_column=colour"),
        (
            "path,species,breed",
            "{name},s{i},{kind}",
            ["'species'", "'breed'"],
            "label_column=species",
        ),
        ("left,right,label", "{name},0.png,{kind}", ["'left'", "'right'"], "image_column=left"),
        ("", "{name},{kind},{i}", ["'2'", "'3'"], "label_column=2"),
        ("path,width,fold", "{name},3,{i}", ["no label column"], "label_column"),
        ("path,label,split", "{name},{kind},1", ["'split'", "contains 1"], "split_column=none"),
    ],
)
def test_what_is_ambiguous_is_refused_with_the_candidates(tmp_path, header, form, names, hint):
    with pytest.raises(UserError) as caught:
        open_source(written(tmp_path, lines(header, form)))
    assert all(name in caught.value.message for name in names) and hint in caught.value.hint


def test_what_a_person_says_decides(tmp_path):
    text = lines("left,right,colour,shape,part", "{name},0.png,c{i},{kind},test")
    layout = Layout(image_column="left", label_column="shape", split_column="none")
    source = open_source(written(tmp_path, text), layout=layout)
    assert source.classes == ("bird", "cat", "dog") and set(source.splits) == {""}
    by_number = Layout(image_column="1", label_column="4", split_column="part")
    source = open_source(tmp_path / "labels.csv", layout=by_number)
    assert set(source.splits) == {"test"} and source.classes == ("bird", "cat", "dog")
    with pytest.raises(UserError, match="'shapes'") as caught:
        open_source(tmp_path, layout=Layout(image_column="left", label_column="shapes"))
    assert "did you mean shape" in caught.value.hint


def test_two_classes_in_a_one_hot_row_are_refused(tmp_path):
    text = "image,a,b\n0.png,1,1\n1.png,0,1\n2.png,1,0\n"
    with pytest.raises(UserError, match="several of the columns a, b"):
        open_source(written(tmp_path, text))


@pytest.mark.parametrize(
    ("header", "values", "expected"),
    [
        ("path,label,is_valid", ["True", "False"], ["validation", "train"]),
        ("path,label,is_test", ["1", "0"], ["test", "train"]),
        ("path,label,is_training_image", ["1", "0"], ["train", "test"]),
        ("path,label,split", ["dev", "train"], ["validation", "train"]),
        ("path,label,subset", ["Testing", "Training"], ["test", "train"]),
        ("path,label,Usage", ["검증", "훈련"], ["validation", "train"]),
        ("path,label,data_split", ["holdout", "UNASSIGNED"], ["test", ""]),
    ],
)
def test_splits_in_a_column(tmp_path, header, values, expected):
    rows = [f"{name},{KINDS[i % 3]},{values[i % 2]}" for i, name in enumerate(NAMES)]
    source = open_source(written(tmp_path, "\n".join([header, *rows])))
    assert source.splits.tolist() == expected * 3
    assert f"split = {header.split(',')[2]}" in source.notes[0]


@pytest.mark.parametrize("missing", ["NaN", "nan", "", "null", "<NA>", "N/A"])
def test_a_missing_label_is_no_class(tmp_path, missing):
    source = open_source(written(tmp_path, f"path,label\n0.png,{missing}\n1.png,a\n2.png,None\n"))
    assert source.classes == ("None", "a") and trouble(source) == {("0.png", "unlabelled"): True}


def test_numbers_in_two_spellings_are_one_class(tmp_path):
    source = open_source(
        written(tmp_path, "path,label\n0.png,1.0\n1.png,1\n2.png,2.0\n3.png,NaN\n")
    )
    assert source.classes == ("1", "2")
    other = open_source(
        written(tmp_path / "b", "path,label\n0.png,01\n1.png,1\n2.png,1.5\n3.png,1.0\n")
    )
    assert other.classes == ("01", "1", "1.0", "1.5")


def test_a_second_header_is_no_row(tmp_path):
    text = "path,label\n0.png,a\n1.png,b\npath,label\n2.png,a\n"
    source = open_source(written(tmp_path, text))
    assert source.classes == ("a", "b") and trouble(source) == {("path", "header"): True}


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ('0.png;"cat, grey"\n1.png;"dog, brown"\n', ("cat, grey", "dog, brown")),
        ("0.png,cat;small\n1.png,dog;small\n", ("cat;small", "dog;small")),
        ("path;label\n0.png;a|b\n1.png;c|d\n", ("a|b", "c|d")),
        ('path,label\n0.png,"a\nb"\n1.png,c\n', ("a b", "c")),
        ("#1.png,a\n0.png,b\n", ("a", "b")),
    ],
)
def test_delimiters_and_what_labels_hold(tmp_path, text, classes):
    draw(tmp_path / "#1.png", 9)
    assert open_source(written(tmp_path, text)).classes == classes


def test_names_are_found_in_other_spellings(tmp_path):
    decomposed = unicodedata.normalize("NFD", "Hündin.png")
    draw_all(tmp_path, decomposed, "B.PNG", "sub/c d#%20.png", "sub/e.png", "deep/er/e.png")
    text = "path,label\nHündin.png,a\nb.png,b\nc d#%20.png,a\ner/e.png,b\ngone.png,a\ne,b\n"
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    source = open_source(tmp_path)
    assert len(source.ids) == 4 and source.read(3) == (tmp_path / "deep/er/e.png").read_bytes()
    details = {problem.id: problem.detail for problem in source.problems}
    assert "several files have this name" in details["e"] and "no such file" in details["gone.png"]


def test_a_file_in_another_folder_is_not_taken_for_it(tmp_path):
    draw_all(tmp_path, "cat/1.png", "x.png", "y.png")
    (tmp_path / "labels.csv").write_text("path,label\ndog/1.png,dog\nx.png,a\ny.png,b\n")
    source = open_source(tmp_path / "labels.csv")
    assert trouble(source) == {("dog/1.png", "missing"): True}


def test_a_table_decides_over_flat_splits(tmp_path):
    draw_all(tmp_path, *(f"train/{name}" for name in NAMES), "test/900.png")
    (tmp_path / "labels.csv").write_text(lines("id,label", "{name},{kind}"))
    (tmp_path / "sample_submission.csv").write_text("id,label\n900.png,cat\n")
    source = open_source(tmp_path)
    assert source.classes == ("bird", "cat", "dog") and len(source.ids) == 6
    assert any(
        "not listed in labels.csv and therefore not used: 1" in note for note in source.notes
    )


def test_a_table_of_metadata_over_numbered_parts(tmp_path):
    draw_all(tmp_path, *(f"images_{1 + n % 2:03d}/images/{name}" for n, name in enumerate(NAMES)))
    (tmp_path / "Data_Entry.csv").write_text(
        lines("Image Index,Finding Labels,Follow-up #", "{name},{kind},{i}")
    )
    assert open_source(tmp_path).classes == ("bird", "cat", "dog")


def test_tables_of_two_splits_name_their_own_folder(tmp_path):
    draw_all(tmp_path, *(f"{part}/{name}" for part in ("train", "test") for name in NAMES))
    for part in ("train", "test"):
        (tmp_path / f"{part}.csv").write_text(lines("path,label", "{name},{kind}"))
    source = open_source(tmp_path)
    places = table(source)
    assert len(places) == 12 and sorted(source.splits.tolist()) == ["test"] * 6 + ["train"] * 6
    assert source.read(0) == (tmp_path / "test/0.png").read_bytes()


def test_two_tables_of_the_same_pictures_are_refused(tmp_path):
    written(tmp_path, lines("path,label", "{name},{kind}"))
    (tmp_path / "other.csv").write_text(lines("path,label", "{name},x{i}"))
    with pytest.raises(UserError, match=r"labels\.csv, other\.csv"):
        open_source(tmp_path)


def test_class_folders_win_over_a_table_which_is_named(tmp_path):
    draw_all(tmp_path, "cat/0.png", "dog/1.png")
    (tmp_path / "labels.csv").write_text("path,label\ncat/0.png,x\ndog/1.png,y\n")
    source = open_source(tmp_path)
    assert source.classes == ("cat", "dog") and "a table" in source.problems[0].detail
    assert open_source(tmp_path / "labels.csv").classes == ("x", "y")


def test_images_of_a_table_lie_where_a_person_says(tmp_path):
    draw_all(tmp_path, *(f"photos/{name}" for name in NAMES))
    (tmp_path / "about").mkdir()
    path = tmp_path / "about" / "labels.csv"
    path.write_text(lines("path,label", "{name},{kind}"))
    with pytest.raises(UserError, match="no row"):
        open_source(path)
    assert len(open_source(path, layout=Layout(images="../photos")).ids) == 6
    with pytest.raises(UserError, match=r"data\.images"):
        open_source(path, layout=Layout(images="nowhere"))


def test_groups_of_a_column_stay_on_one_side(tmp_path):
    names = [f"{number}.png" for number in range(40)]
    draw_all(tmp_path, *names)
    rows = [f"{name},{KINDS[i % 2]},p{i // 4}" for i, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("\n".join(["path,label,patient", *rows]))
    layout = Layout(group_column="patient", label_column="label")
    source = open_source(tmp_path, layout=layout)
    digests = [str(i) for i in range(40)]
    usable = np.ones(40, dtype=bool)
    for seed in range(5):
        division = split(
            source.labels,
            source.splits,
            digests,
            usable,
            Holdout(0.1, 0.25, seed),
            groups=source.groups,
        )
        sides = [{source.groups[i] for i in rows.tolist()} for rows in division.parts.values()]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
        assert 4 <= len(division.parts["test"]) <= 12 and len(division.parts["validation"]) >= 4
        assert set(source.labels[division.parts["train"]]) == {0, 1}


def test_groups_that_the_data_tears_are_told():
    labels = np.arange(8) % 2
    given = np.array(["train"] * 4 + ["test"] * 4)
    groups = ["a", "a", "b", "b", "b", "c", "c", "c"]
    division = split(
        labels, given, list("12345678"), np.ones(8, bool), Holdout(0.0, 0.2), groups=groups
    )
    assert any("both sides" in note and "b" in note for note in division.notes)


def test_other_data_is_read_with_the_columns_of_the_training(tmp_path):
    text = lines("left,colour,shape", "{name},c{i},{kind}")
    written(tmp_path / "table", text)
    draw_all(tmp_path / "folders", "cat/1.png", "dog/2.png", "bird/3.png")
    classes = ("bird", "cat", "dog")
    preparation = Preparation(4, 4, 1)
    heard = []
    for place, count in (("table", 6), ("folders", 3)):
        data = Data(str(tmp_path / place), label_column="shape", group_pattern="(x)")
        images = evaluation_images(data, preparation, classes, talk=heard.append)
        assert len(images) == count and images.classes == classes
    assert any("data.label_column from training" in line for line in heard)


@pytest.mark.parametrize(("yes", "no"), [("True", "False"), ("1.00", "0.00"), ("true", "false")])
def test_one_hot_columns_of_words_and_decimals(tmp_path, yes, no):
    rows = []
    for number in range(12):
        draw(tmp_path / "pics" / f"{number}.png", number)
        cells = (yes, no) if number % 2 else (no, yes)
        rows.append(f"pics/{number}.png,{','.join(cells)}")
    (tmp_path / "labels.csv").write_text("\n".join(["image,is_cat,is_dog", *rows]))
    source = open_source(tmp_path)
    assert source.classes == ("is_cat", "is_dog") and source.labels.tolist() == [1, 0] * 6


def test_free_text_is_no_column_of_classes(tmp_path):
    rows = []
    for number in range(12):
        draw(tmp_path / f"{number}.png", number)
        rows.append(f"{number}.png,a photo of {number}")
    (tmp_path / "labels.csv").write_text("\n".join(["file_name,text", *rows]))
    with pytest.raises(UserError, match="different value in nearly every row"):
        open_source(tmp_path)


def test_folders_that_a_table_contradicts_are_refused(tmp_path):
    rows = []
    for number in range(8):
        for folder in ("left", "right"):
            draw(tmp_path / folder / f"{number}.png", number + 50 * (folder == "left"))
            rows.append(f"{folder}/{number}.png,{'cat' if number % 2 else 'dog'}")
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    with pytest.raises(UserError, match=r"folders .* give the classes left, right"):
        open_source(tmp_path)
    assert open_source(tmp_path, layout=Layout(label_column="label")).classes == ("cat", "dog")
    assert open_source(tmp_path, layout=Layout(class_level=1)).classes == ("left", "right")


def test_folders_that_share_the_names_of_a_table_are_no_classes(tmp_path):
    rows = []
    for number in range(8):
        for folder in ("rgb", "depth"):
            draw(tmp_path / folder / f"{number}.png", number + 50 * (folder == "rgb"))
        rows.append(f"{number}.png,{'cat' if number % 2 else 'dog'}")
    (tmp_path / "labels.csv").write_text("\n".join(["name,label", *rows]))
    with pytest.raises(UserError, match=r"folders .* give the classes depth, rgb, but labels\.csv"):
        open_source(tmp_path)
    source = open_source(tmp_path, layout=Layout(images="rgb", label_column="label"))
    assert source.classes == ("cat", "dog") and len(source.ids) == 8


def test_folders_of_images_and_masks_that_a_table_names_are_no_classes(tmp_path):
    rows = []
    for number in range(8):
        for folder in ("img", "msk"):
            draw(tmp_path / folder / f"{number}.png", number + 50 * (folder == "img"))
        label = "cat" if number % 2 else "dog"
        rows.append(f"img/{number}.png,msk/{number}.png,{label}")
    (tmp_path / "labels.csv").write_text("\n".join(["image,mask,label", *rows]))
    with pytest.raises(UserError, match=r"labels\.csv gives cat, dog"):
        open_source(tmp_path)


def test_empty_lines_above_a_table_of_two_delimiters(tmp_path):
    written(tmp_path, "\n\n" + lines("path;label,size", "{name};{kind}, big"))
    assert open_source(tmp_path).classes == ("bird, big", "cat, big", "dog, big")


def test_a_table_in_the_folder_of_each_split(tmp_path):
    for part in ("train", "valid", "test"):
        draw_all(tmp_path, *(f"{part}/{name}" for name in NAMES))
        text = lines("filename, cat, dog", "{name}, 1, 0").replace("3.png, 1, 0", "3.png, 0, 1")
        (tmp_path / part / "_classes.csv").write_text(text)
    source = open_source(tmp_path)
    assert source.classes == ("cat", "dog") and len(source.ids) == 18
    counts = dict(zip(*np.unique(source.splits, return_counts=True), strict=True))
    assert counts == {"train": 6, "validation": 6, "test": 6}
    for index, part in enumerate(source.splits):  # each table names the images beside it
        folder = "valid" if part == "validation" else part
        assert source.read(index) == (tmp_path / folder / NAMES[index % 6]).read_bytes()


def test_tables_of_splits_whose_images_lie_elsewhere(tmp_path):
    draw_all(tmp_path / "photos", *NAMES)
    (tmp_path / "lists").mkdir()
    for part, count in (("train", 4), ("test", 6)):
        text = lines("path,label", f"{tmp_path}/photos/{{name}},{{kind}}", count)
        (tmp_path / "lists" / f"{part}.csv").write_text(text)
    assert len(open_source(tmp_path / "lists").ids) == 10


def test_an_unclear_table_of_one_split_is_not_passed_over(tmp_path):
    draw_all(tmp_path, *NAMES)
    (tmp_path / "train.csv").write_text(lines("path,age_group,sex", "{name},old{i},{kind}"))
    (tmp_path / "test.csv").write_text(lines("path,label", "{name},{kind}"))
    with pytest.raises(UserError, match="'age_group', 'sex'"):
        open_source(tmp_path)


@pytest.mark.parametrize("column", ["Finding Labels", "it's"])
def test_hints_are_quoted_for_a_shell(tmp_path, column):
    written(tmp_path, lines(f"path,{column} 1,{column} 2", "{name},{kind},x{i}"))
    with pytest.raises(UserError) as caught:
        open_source(tmp_path)
    _, option, value = shlex.split(caught.value.hint)[-3:]
    assert option == "--set"
    layout = Layout(label_column=value.removeprefix("data.label_column="))
    assert open_source(tmp_path, layout=layout).classes == ("bird", "cat", "dog")


@pytest.mark.parametrize("index", ["", "Unnamed: 0"])
def test_the_row_numbers_of_pandas_are_no_classes(tmp_path, index):
    written(tmp_path, lines(f"{index},file,what", "{i},{name},{kind}"))
    assert open_source(tmp_path).classes == ("bird", "cat", "dog")


def test_numbers_that_repeat_are_no_row_numbers(tmp_path):
    written(tmp_path, "Unnamed: 0,file\n0,0.png\n1,1.png\n0,2.png\n1,3.png\n")
    assert open_source(tmp_path).classes == ("0", "1")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_a_nul_character_is_no_text(tmp_path, encoding):
    text = lines("path,label", "{name},{kind}").replace("2.png,bird", "2.png,bird\0")
    written(tmp_path, text, encoding)
    with pytest.raises(UserError, match="NUL character in line") as caught:
        open_source(tmp_path)
    assert "UTF-8" in caught.value.hint


@pytest.mark.parametrize("form", ["columns", "no header", "text"])
def test_pixels_in_a_table_are_told(tmp_path, form):
    random = np.random.default_rng(0)
    rows = []
    for number in range(12):
        pixels = random.integers(0, 256, 64).astype(str).tolist()
        if form == "text":
            rows.append(f"{number % 3},{' '.join(pixels)},Training")
        else:
            rows.append(",".join([str(number % 3), *pixels]))
    if form == "columns":
        rows.insert(0, ",".join(["label", *(f"pixel{place}" for place in range(64))]))
    (tmp_path / "train.csv").write_text("\n".join(rows))
    with pytest.raises(UserError, match="contains the pixels of images"):
        open_source(tmp_path / "train.csv")


def test_a_table_that_does_not_name_the_images_is_compared_with_one(tmp_path):
    draw_all(tmp_path, "img/007.png", "img/008.png")
    (tmp_path / "labels.csv").write_text("id,label\n7,cat\n8,dog\n")
    with pytest.raises(UserError, match=r"no image of .* is named in labels\.csv") as caught:
        open_source(tmp_path)
    assert "7, cat" in caught.value.hint and "img/007.png" in caught.value.hint


def test_folders_of_two_views_that_a_table_names_are_no_classes(tmp_path):
    draw_all(tmp_path, *(f"{side}/{side}{name}" for side in ("left", "right") for name in NAMES))
    text = lines("left_image,right_image,label", "left/left{name},right/right{name},{kind}")
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(UserError, match="two columns") as caught:
        open_source(tmp_path)
    assert "data.image_column=left_image" in caught.value.hint
    assert len(open_source(tmp_path, layout=Layout(image_column="left_image")).ids) == 6


def test_a_folder_for_each_patient_is_no_class_where_a_table_tells_more(tmp_path):
    names = [f"train/case{number:02d}/view.png" for number in range(12)]
    draw_all(tmp_path, *names)
    text = "\n".join(f"{name},{number % 2},{number % 3}" for number, name in enumerate(names))
    (tmp_path / "train.csv").write_text(f"Path,Edema,Fracture\n{text}\n")
    with pytest.raises(UserError, match="'Edema', 'Fracture'"):
        open_source(tmp_path)
    assert open_source(tmp_path, layout=Layout(label_column="Edema")).classes == ("0", "1")


def test_folders_that_differ_in_a_number_are_parts_where_they_say_so(tmp_path):
    draw_all(tmp_path, *(f"HAM_images_part_{1 + n % 2}/{name}" for n, name in enumerate(NAMES)))
    (tmp_path / "HAM_metadata.csv").write_text(lines("lesion_id,image_id,dx", "L{i},{stem},{kind}"))
    (tmp_path / "pixels.csv").write_text("pixel0,pixel1,label\n100,101,0\n103,104,1\n")
    assert open_source(tmp_path).classes == ("bird", "cat", "dog")


@pytest.mark.parametrize("header", ["image_id", "image_id,age"])
def test_a_table_of_test_images_may_lack_labels(tmp_path, header):
    draw_all(tmp_path, *(f"images/{part}_{name}" for part in ("a", "b") for name in NAMES))
    (tmp_path / "train.csv").write_text(lines("image_id,label", "a_{stem},{kind}"))
    form = "b_{stem},{i}" if "," in header else "b_{stem}"
    (tmp_path / "test.csv").write_text(lines(header, form))
    source = open_source(tmp_path)
    assert source.classes == ("bird", "cat", "dog") and len(source.ids) == 6
    (note,) = [note for note in source.notes if note.startswith("not used: test.csv ")]
    assert str(tmp_path) not in note


def test_a_table_that_contradicts_the_folders_is_found_below_data_images(tmp_path):
    rows = []
    for number in range(8):
        for folder in ("left", "right"):
            draw(tmp_path / "photos" / folder / f"{number}.png", number + 50 * (folder == "left"))
            rows.append(f"photos/{folder}/{number}.png,{'cat' if number % 2 else 'dog'}")
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    with pytest.raises(UserError, match=r"folders .* give the classes left, right, but labels"):
        open_source(tmp_path, layout=Layout(images="photos"))
    layout = Layout(images="photos", class_level=1)
    assert open_source(tmp_path, layout=layout).classes == ("left", "right")


UNRELATED = {
    "empty": b"",
    "one column": b"note\nall\nof them\n",
    "Latin-1": "name,note\nJos\u00e9,old\n".encode("latin-1"),
    "NUL": b"name,note\na,b\0\n",
    "other words": b"name,note\n" + b"".join(b"%d x,text %d\n" % (n, n) for n in range(20)),
    "several ones": b"who,a,b\nme,1,1\nyou,0,1\nyou,0,1\n",
}


@pytest.mark.parametrize("content", UNRELATED)
def test_class_folders_of_single_images_do_not_yield_to_an_unrelated_table(tmp_path, content):
    names = [f"person{number:02d}/{number:02d}.png" for number in range(12)]
    draw_all(tmp_path, *names)
    (tmp_path / "notes.csv").write_bytes(UNRELATED[content])
    assert len(open_source(tmp_path).classes) == 12


def test_tables_of_images_that_are_not_there_are_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("path,x\n1.png,cat\n2.png,dog\n")
    with pytest.raises(UserError, match=r"no image of .* is named in a\.csv, b\.csv") as caught:
        open_source(tmp_path, layout=Layout(label_column="x"))
    assert "1.png, cat" in caught.value.hint and "first image" not in caught.value.hint


@pytest.mark.parametrize("form", ["{name},{i}", "{name},1{i}"])
def test_a_last_column_without_a_name_may_hold_the_classes(tmp_path, form):
    written(tmp_path, lines("file,", form))
    assert len(open_source(tmp_path).classes) == 6


def test_a_first_column_without_a_name_may_repeat_classes(tmp_path):
    rows = [f"{number % 2},{name}" for number, name in enumerate(NAMES)]
    written(tmp_path, "\n".join([",file", *rows]))
    assert open_source(tmp_path).classes == ("0", "1")


def test_a_wide_table_of_ones_is_no_table_of_pixels(tmp_path):
    rows = []
    for number in range(60):
        ones = ["1" if place == number else "0" for place in range(60)]
        rows.append(f"{number},{','.join(ones)}")
    header = ",".join(["id", *(f"kind {place}" for place in range(60))])
    (tmp_path / "labels.csv").write_text("\n".join([header, *rows]))
    with pytest.raises(UserError, match=r"no row of .* refers to an image"):
        open_source(tmp_path / "labels.csv")


def test_images_that_no_table_lists_are_counted_beside_the_tables_by_place(tmp_path):
    for part in ("train", "valid"):
        draw_all(tmp_path, *(f"{part}/{name}" for name in NAMES))
        (tmp_path / part / "_classes.csv").write_text(lines("filename,label", "{name},{kind}", 5))
    (note,) = [note for note in open_source(tmp_path).notes if "images not listed" in note]
    assert "train/_classes.csv and valid/_classes.csv" in note and note.endswith(": 2")
