"""Corrections of labels: reading, writing, merging, applying; never labels themselves."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from commands import command
from drawn import folder

from eyesight import experiment
from eyesight.auditing import features
from eyesight.cli.auditing import with_suggestions
from eyesight.data import dataset
from eyesight.data.corrections import AUDIT, Correction, Corrections, beside, is_corrections
from eyesight.data.opening import open_source
from eyesight.errors import UserError
from eyesight.recipe import Data, Model, Recipe, Training


def row(number, new="b", old="a", who="ann"):
    return Correction(f"{number}.png", f"hash{number}", old, new, who, "2026-01-01T00:00:00")


def test_written_corrections_are_read_back(tmp_path):
    corrections = Corrections((row(1), row(2, new="")))
    corrections.write(tmp_path / "x.corrections.csv")
    file = tmp_path / "x.corrections.csv"
    assert Corrections.read(file) == corrections
    file.write_bytes(file.read_bytes() + b"\r\n")  # as editors leave it
    assert Corrections.read(file) == corrections


@pytest.mark.parametrize("text", ["path,label\n1.png,a\n", "", "id,content,old,new,who,when\n1\n"])
def test_a_file_that_holds_no_corrections_is_refused(tmp_path, text):
    file = tmp_path / "x.csv"
    file.write_text(text)
    with pytest.raises(UserError):
        Corrections.read(file)


def test_merging_shows_conflicts_and_prefers_people_to_the_audit():
    first = Corrections((row(1), row(2), row(3, who=AUDIT)))
    second = Corrections((row(1), row(2, new="c", who="bob"), row(3, new="c", who="bob"), row(4)))
    merged, conflicts = first.merge(second)
    assert {one.id: one.new for one in merged} == {"1.png": "b", "3.png": "c", "4.png": "b"}
    assert [str(conflict) for conflict in conflicts] == ["2.png: b (ann) or c (bob)"]


def test_the_later_row_counts_and_content_counts_more_than_names():
    corrections = Corrections((row(1, new="c"), row(1, new="b")))
    applied = corrections.apply(["renamed.png"], ["hash1"], np.array([0]), ["a", "b", "c"])
    assert applied.labels.tolist() == [1]


def test_changed_labels_and_contents_are_not_applied():
    corrections = Corrections((row(1), row(2), row(3)))
    applied = corrections.apply(
        ["1.png", "2.png", "3.png"],
        ["hash1", "hash2", "other"],
        np.array([0, 2, 0]),
        ["a", "b", "c"],
    )
    assert applied.labels.tolist() == [1, 2, 0]
    assert len(applied.refused) == 2


def test_corrections_of_another_data_set_are_refused():
    with pytest.raises(UserError, match="another data set"):
        Corrections((row(1), row(2))).apply(["1.png"], ["else"], np.array([0]), ["a", "b"])


def test_an_unknown_class_is_refused():
    with pytest.raises(UserError, match="does not have") as refused:
        Corrections((row(1, new="z"),)).apply(["1.png"], ["hash1"], np.array([0]), ["a", "b"])
    assert "if a class was renamed" in refused.value.hint


def corrected_folder(tmp_path, who="ann"):
    """A folder with a corrections file beside it that calls a bar a cross and leaves out a
    cross.
    """
    root = folder(tmp_path / "set", 36)
    data = Data(str(root), size=16)
    loaded = dataset.load(data)
    store = loaded.store
    train = set(loaded.train.ids)
    ids = [one for one in store.ids if one in train]
    first = next(one for one in ids if one.startswith("bar/"))
    second = next(one for one in ids if one.startswith("cross/"))
    digests = dict(zip(store.ids, store.digests, strict=True))
    rows = (
        Correction(first, digests[first], "bar", "cross", who, ""),
        Correction(second, digests[second], "cross", "", who, ""),
    )
    Corrections(rows).write(beside(str(root)))
    return data, loaded, first, second


def test_corrections_beside_the_data_are_used_and_recorded(tmp_path):
    data, before, first, second = corrected_folder(tmp_path)
    after = dataset.load(data)
    labels = dict(zip(after.train.ids, after.train.labels.tolist(), strict=True))
    assert labels[first] == 1
    assert second not in labels
    assert len(after.train) == len(before.train) - 1
    assert after.facts()["corrections"]["relabelled"] == 1
    assert any("1 labels changed" in note for note in after.notes)
    assert after.hash != before.hash
    assert dataset.load(replace(data, corrections="none")).hash == before.hash


def test_corrections_survive_renamed_folders(tmp_path):
    data, _, _, _ = corrected_folder(tmp_path)
    root = tmp_path / "set"
    for image in sorted((root / "bar").iterdir()):
        image.rename(image.with_name(f"new_{image.name}"))
    assert dataset.load(data).facts()["corrections"]["relabelled"] == 1


def test_corrections_survive_a_renamed_class(tmp_path):
    data, _, first, _ = corrected_folder(tmp_path)
    root = tmp_path / "set"
    (root / "bar").rename(root / "beam")
    after = dataset.load(data)
    facts = after.facts()["corrections"]
    assert (facts["relabelled"], facts["excluded"], facts["refused"]) == (1, 1, [])
    labels = dict(zip(after.train.ids, after.train.labels.tolist(), strict=True))
    assert after.train.classes[labels[first.replace("bar/", "beam/")]] == "cross"


def test_corrections_survive_a_renamed_data_set_and_those_of_another_are_left_alone(tmp_path):
    data, _, _, _ = corrected_folder(tmp_path)
    root = tmp_path / "set"
    root.rename(tmp_path / "renamed")
    other = folder(tmp_path / "other", 36, seed=9)
    after = dataset.load(replace(data, source=str(tmp_path / "renamed")))
    assert after.facts()["corrections"]["relabelled"] == 1
    assert any("set.corrections.csv" in note for note in after.notes)
    assert "corrections" not in dataset.load(replace(data, source=str(other))).facts()
    folder(tmp_path / "set", 36, seed=5)
    again = dataset.load(replace(data, source=str(tmp_path / "renamed")))
    assert "corrections" not in again.facts()


def test_the_audit_alone_never_changes_a_test_label(tmp_path):
    root = folder(tmp_path / "set", 30)
    data = Data(str(root), size=16)
    loaded = dataset.load(data)
    digests = dict(zip(loaded.store.ids, loaded.store.digests, strict=True))
    names = loaded.store.classes
    rows = [
        Correction(one, digests[one], names[label], names[(label + 1) % 3], AUDIT, "")
        for one, label in zip(loaded.test.ids, loaded.test.labels.tolist(), strict=True)
    ]
    Corrections(tuple(rows)).write(beside(str(root)))
    after = dataset.load(data)
    assert after.test.labels.tolist() == loaded.test.labels.tolist()
    assert len(after.facts()["corrections"]["refused"]) == len(rows)
    waiting = f"; {len(rows)} suggestions about test images not applied; confirm them"
    assert any(waiting in note for note in after.notes)
    assert not any(f"{len(rows)} not applied" in note for note in after.notes)
    gone = replace(rows[0], id="bar/gone.png", content="0" * 64)
    Corrections((gone, *rows)).write(beside(str(root)))
    notes = dataset.load(data).notes
    assert any(
        f", 1 not applied (bar/gone.png: it is no longer there){waiting}" in one for one in notes
    )
    people = Corrections(tuple(replace(one, who="ann") for one in rows))
    people.write(beside(str(root)))
    assert dataset.load(data).test.labels.tolist() != loaded.test.labels.tolist()


def test_corrections_are_never_read_as_labels(tmp_path):
    root = folder(tmp_path / "set", 6)
    file = tmp_path / "set" / "set.corrections.csv"
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([["path", "label"], ["bar/0000.png", "cross"]])
    assert is_corrections(file.name)
    assert open_source(str(root)).classes == ("bar", "cross", "ring")
    with pytest.raises(UserError, match="corrections"):
        open_source(str(file))


def test_training_uses_corrections_and_says_what_they_change_on_the_test_images(tmp_path):
    root = folder(tmp_path / "set", 60)
    data = Data(str(root), size=32, channels=1)
    loaded = dataset.load(data)
    digests = dict(zip(loaded.store.ids, loaded.store.digests, strict=True))
    names = loaded.store.classes
    one = loaded.test.ids[0]
    old = names[int(loaded.test.labels[0])]
    new = next(name for name in names if name != old)
    Corrections((Correction(one, digests[one], old, new, "ann", ""),)).write(beside(str(root)))
    recipe = Recipe(
        "toy", data=data, model=Model("lenet5"), training=Training(epochs=1, min_steps=0)
    )
    run = experiment.train(recipe, tmp_path / "runs")
    assert run.read_json("data.json")["corrections"]["relabelled"] == 1
    assert run.result["test_uncorrected"]["n"] == run.result["test"]["n"]


def test_suggestions_of_an_audit_become_the_corrections_of_a_training(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "backbone_at_hand", lambda: None)
    monkeypatch.setattr(features, "FILTERS", 16)
    root = folder(tmp_path / "set", 60)
    recipe = Recipe("toy", data=Data(str(root), size=16))
    asked = with_suggestions(recipe, tmp_path / "runs", None)
    assert asked.data.corrections == str(tmp_path / "runs" / "set.suggested.corrections.csv")
    assert "corrections" in dataset.load(asked.data).facts()


def test_the_command_merges_files_and_shows_conflicts(tmp_path):
    files = [str(tmp_path / f"{name}.csv") for name in ("ann", "bob", "both")]
    Corrections((row(1), row(2))).write(files[0])
    Corrections((row(2, new="c", who="bob"), row(3))).write(files[1])
    printed = command("corrections", *files[:2], "--out", files[2], code=1)
    assert "2.png: b (ann) or c (bob)" in printed.out
    assert [one.id for one in Corrections.read(files[2])] == ["1.png", "3.png"]


def test_merging_replaces_no_file(tmp_path):
    files = [tmp_path / f"{name}.csv" for name in ("ann", "bob")]
    for file in files:
        Corrections((row(1, who=file.stem),)).write(file)
    kept = files[0].read_bytes()
    printed = command("corrections", *files, "--out", files[0], code=1)
    assert "already exists" in printed.err
    assert files[0].read_bytes() == kept
