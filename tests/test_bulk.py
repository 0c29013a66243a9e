"""Parts say what one table would say, in order; what is finished is not done again, and parts of
two jobs are never mixed.
"""

import csv
import json

import drawn
import pytest
from portables import by_brightness

from eyesight.data.opening import each_picture, list_pictures
from eyesight.errors import UserError
from eyesight.inference import bulk, onnx_classifier
from eyesight.inference.predict import predict_files


@pytest.fixture
def pictures(tmp_path):
    """23 pictures in two folders, one of them broken."""
    folder = tmp_path / "pictures"
    pixels, _ = drawn.pictures(22, size=8)
    for number, picture in enumerate(pixels):
        file = folder / ("10" if number % 2 else "9") / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(drawn.png(picture[0]))
    (folder / "10" / "7b.jpg").write_bytes(b"broken")
    return folder


@pytest.fixture
def known(tmp_path):
    return onnx_classifier.load(by_brightness(tmp_path / "lamp.onnx"))


def ask(folder, out, engine, **other):
    return bulk.predict(
        [str(folder)], out, engine, bulk.Request(**{"model": "lamp", "top": 2, "part": 5, **other})
    )


def counted(engine, done):
    def answer(parts):
        for number, answered in engine(parts):
            done.append(number)
            yield number, answered

    return answer


def rows(out):
    return [
        row
        for file in sorted(out.glob("part-*.csv"))
        for row in list(csv.reader(file.read_text().splitlines()))[1:]
    ]


def test_the_parts_together_are_the_table(pictures, known, tmp_path):
    found = ask(pictures, tmp_path / "out", bulk.here(known, 2))
    assert (found.pictures, found.parts, found.reused, found.bad, found.missing) == (
        23,
        5,
        0,
        1,
        {},
    )
    expected = list(predict_files(known, list_pictures(pictures), 2))
    got = rows(tmp_path / "out")
    assert [row[0] for row in got] == [answer.path for answer in expected] and len(got) == 23
    assert [row[1] for row in got] == [
        answer.top[0][0] if answer.top else "" for answer in expected
    ]
    assert [row[-1] for row in got if row[-1]] == [
        answer.problem for answer in expected if answer.problem
    ]


def test_only_what_is_missing_or_torn_is_done_again(pictures, known, tmp_path):
    out, done = tmp_path / "out", []
    engine = counted(bulk.here(known, 2), done)
    ask(pictures, out, engine)
    before = rows(out)
    (out / bulk.name(1)).unlink()
    torn = (out / bulk.name(3)).read_text().splitlines()
    (out / bulk.name(3)).write_text("\n".join(torn[:-1]) + "\n")
    done.clear()
    found = ask(pictures, out, engine)
    assert done == [1, 3] and found.reused == 3 and found.bad == 1 and rows(out) == before


@pytest.mark.parametrize(
    "other, said",
    [
        ({"model": "another"}, "another model"),
        ({"top": 1}, "another --top"),
        ({}, "other images"),
    ],
)
def test_parts_of_another_job_are_left_alone(pictures, known, tmp_path, other, said):
    out = tmp_path / "out"
    ask(pictures, out, bulk.here(known, 2))
    before = {file.name: file.read_bytes() for file in out.glob("[!.]*")}
    if not other:
        (pictures / "9" / "0.png").write_bytes(drawn.png(drawn.pictures(2, size=9)[0][1][0]))
    with pytest.raises(UserError, match=said):
        ask(pictures, out, bulk.here(known, 2), **other)
    assert before == {file.name: file.read_bytes() for file in out.glob("[!.]*")}


def test_a_part_that_fails_leaves_the_others(pictures, known, tmp_path):
    def answer(parts):
        for number, _ in parts:
            yield (
                number,
                "its machine died"
                if number == 2
                else b"picture,problem\n" + b"a,\n" * (3 if number == 4 else 5),
            )

    found = ask(pictures, tmp_path / "out", answer)
    assert (
        found.missing == {2: "its machine died"} and not (tmp_path / "out" / bulk.name(2)).exists()
    )
    again = ask(pictures, tmp_path / "out", bulk.here(known, 2))
    assert (again.reused, again.missing) == (4, {})


def test_two_callers_do_not_write_into_one_folder(pictures, known, tmp_path):
    def answer(parts):
        with pytest.raises(UserError, match="another process"):
            ask(pictures, tmp_path / "out", bulk.here(known, 2))
        yield from bulk.here(known, 2)(parts)

    assert ask(pictures, tmp_path / "out", answer).missing == {}


def test_names_of_any_kind_survive_the_list(known, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in ("a\nb.png", "ä 1.png", "ä 01.png", "ä 2.png", "ä 10.png"):
        (folder / name).write_bytes(drawn.png(drawn.pictures(1, size=8)[0][0][0]))
    found = [one.path.name for one in each_picture(folder)]
    assert found == ["a\nb.png", "ä 01.png", "ä 1.png", "ä 2.png", "ä 10.png"]
    assert ask(folder, tmp_path / "out", bulk.here(known, 2)).bad == 0
    assert [
        json.loads(line)[0] for line in (tmp_path / "out" / bulk.LIST).read_text().splitlines()
    ] == [str(folder / n) for n in found]
