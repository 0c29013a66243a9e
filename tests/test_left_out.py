"""Rows and masks that lead to no image are named, but not counted as images that are left out."""

import json

import pytest
from test_masks import pair_files
from test_sources import draw_all

from eyesight.auditing.material import open_material
from eyesight.data.decode import Problem, left_out_by_kind
from eyesight.data.masks import scan
from eyesight.data.store import refuse_problems
from eyesight.errors import UserError
from eyesight.exporting import card
from eyesight.runs import Run
from eyesight.system.progress import Reporter

PROBLEMS = (
    Problem("gone.png", "missing", "line 4: no such file", fatal=True, count=0),
    Problem("thumbs", "thumbnails", "", fatal=True, count=5),
)


def test_the_model_card_counts_images_alone(tmp_path):
    run = Run.create(tmp_path, "toy")
    facts = {"name": "toy", "counts": {"train": 4}, "problems": [vars(one) for one in PROBLEMS]}
    (run.path / "data.json").write_text(json.dumps(facts))
    text = "\n".join(card.data_sections(run))
    assert "5 images were left out: 5 thumbnails." in text


@pytest.mark.parametrize(("broken", "line"), [(0, []), (1, ["left out 1 image;"])])
def test_the_audit_counts_images_alone(tmp_path, broken, line):
    draw_all(tmp_path, *(f"{n}.png" for n in range(6)))
    for n in range(broken):
        (tmp_path / f"{n}.png").write_bytes(b"no image")
    rows = [f"{n}.png,{'ab'[n % 2]}" for n in range(6)] + ["gone.png,a", "lost.png,b"]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    told = []
    reporter = Reporter()
    reporter.message = told.append
    open_material(tmp_path / "labels.csv", 10.0, reporter)
    said = [text.partition(" list")[0] for text in told if text.startswith("left out")]
    assert said == line


def test_strict_refuses_rows_without_an_image_by_name():
    with pytest.raises(UserError, match=r"6 bad files: gone\.png \(missing\)"):
        refuse_problems(PROBLEMS)


def test_a_second_mask_of_an_image_is_no_image(tmp_path):
    pair_files(tmp_path, "images/1.png", "images/2.png", "masks/1.png", "masks/2.png")
    pair_files(tmp_path, "masks/1.gif")
    problems = scan.scan_masks(str(tmp_path)).problems
    assert [problem.kind for problem in problems] == ["double"]
    assert left_out_by_kind(problems) == {}
