"""Seeded, stratified, stable splits."""

import numpy as np
import pytest

from eyesight.data.split import Holdout, quotas, split, split_hash
from eyesight.errors import UserError


def parts_of(
    labels,
    splits="",
    digests=None,
    validation=0.1,
    test=0.2,
    seed=0,
    usable=None,
    notes=None,
    **more,
):
    labels = np.asarray(labels)
    splits = (
        np.full(len(labels), splits, dtype="U10") if isinstance(splits, str) else np.asarray(splits)
    )
    digests = digests or [f"picture {index}" for index in range(len(labels))]
    usable = np.ones(len(labels), dtype=bool) if usable is None else usable
    division = split(labels, splits, digests, usable, Holdout(validation, test, seed), **more)
    if notes is not None:
        notes += division.notes
    return division.parts


def sizes(parts):
    return {name: len(indices) for name, indices in parts.items()}


def test_every_picture_is_in_one_part_and_classes_in_proportion():
    labels = np.repeat([0, 1, 2], [500, 300, 50])
    parts = parts_of(labels)
    assert sizes(parts) == {"train": 612, "validation": 68, "test": 170}
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(850))
    assert np.bincount(labels[parts["test"]]).tolist() == [100, 60, 10]
    assert all((np.diff(indices) > 0).all() for indices in parts.values())


def test_the_total_is_right_although_no_class_divides_evenly():
    parts = parts_of(np.repeat(np.arange(40), 7), validation=0.0, test=0.2)
    assert sizes(parts) == {"train": 224, "validation": 0, "test": 56}
    assert set(np.bincount(np.repeat(np.arange(40), 7)[parts["test"]])) == {1, 2}


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.1, 0.29, 0.5])
def test_quotas_are_never_more_than_one_off(fraction):
    counts = np.array([1, 2, 3, 10, 33, 100, 1000])
    drawn = quotas(counts, fraction)
    assert (np.abs(drawn - counts * fraction) <= 1).all() and (drawn < counts).all()
    assert abs(drawn.sum() - counts.sum() * fraction) <= 1


def test_what_the_data_says_stands():
    splits = ["train"] * 60 + ["validation"] * 20 + ["test"] * 20
    parts = parts_of(np.arange(100) % 2, splits)
    assert sizes(parts) == {"train": 60, "validation": 20, "test": 20}
    assert parts["test"].tolist() == list(range(80, 100))


def test_validation_comes_out_of_training_when_a_test_part_is_given():
    parts = parts_of(np.arange(100) % 2, ["train"] * 80 + ["test"] * 20)
    assert sizes(parts) == {"train": 72, "validation": 8, "test": 20}
    assert parts["validation"].max() < 80


def test_the_test_part_comes_out_of_training_when_only_validation_is_given():
    notes = []
    parts = parts_of(np.arange(100) % 2, ["train"] * 80 + ["validation"] * 20, notes=notes)
    assert sizes(parts) == {"train": 64, "validation": 20, "test": 16}
    assert "no test part" in notes[0]


def test_nothing_is_held_out_at_fraction_zero():
    assert sizes(parts_of(np.arange(20) % 2, validation=0.0, test=0.0)) == {
        "train": 20,
        "validation": 0,
        "test": 0,
    }


def test_a_part_that_stays_empty_for_want_of_pictures_is_said():
    notes = []
    assert sizes(parts_of([0, 1, 2], notes=notes)) == {"train": 3, "validation": 0, "test": 0}
    assert notes == [
        f"too few images to hold any out for {name}" for name in ("test", "validation")
    ]
    parts_of(np.arange(20) % 2, validation=0.0, test=0.0, notes=(none := []))
    assert none == []


def test_the_seed_decides_and_nothing_else():
    labels = np.arange(200) % 4
    one, again, other = parts_of(labels, seed=1), parts_of(labels, seed=1), parts_of(labels, seed=2)
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not np.array_equal(one["test"], other["test"])


def test_the_order_of_pictures_does_not_matter():
    labels, digests = np.arange(200) % 4, [f"picture {index}" for index in range(200)]
    order = np.random.default_rng(0).permutation(200)
    one = parts_of(labels, digests=digests)
    other = parts_of(labels[order], digests=[digests[index] for index in order])
    assert {digests[index] for index in one["test"]} == {
        digests[order[index]] for index in other["test"]
    }


def test_a_new_picture_moves_hardly_any_other():
    labels = np.arange(1000) % 2
    before, after = parts_of(labels[:-2]), parts_of(labels)
    assert len(np.setxor1d(before["test"], after["test"])) < 6


def test_copies_stay_on_one_side():
    digests = [f"picture {index // 3}" for index in range(300)]
    parts = parts_of(np.repeat([0, 1], 150), digests=digests)
    sides = [{digests[index] for index in indices} for indices in parts.values()]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert 50 <= len(parts["test"]) <= 60


def test_every_class_keeps_a_training_picture():
    labels = np.concatenate([np.repeat(0, 50), np.arange(1, 11), np.repeat(np.arange(11, 21), 2)])
    parts = parts_of(labels, validation=0.5, test=0.5)
    assert set(labels[parts["train"]]) == set(range(21))


def test_a_class_of_one_is_told():
    notes = []
    parts_of([0] * 20 + [1], notes=notes, class_names=("cat", "dog"))
    assert notes == ["no image in validation of class dog", "no image in test of class dog"]


def test_a_class_of_copies_only_stays_in_training():
    parts = parts_of(
        [0] * 20 + [1] * 10, digests=[f"picture {index}" for index in range(20)] + ["same"] * 10
    )
    assert set(range(20, 30)) <= set(parts["train"].tolist())


def test_unusable_and_unlabelled_pictures_are_in_no_part():
    labels = np.arange(100) % 2
    labels[7] = -1
    usable = np.ones(100, dtype=bool)
    usable[3] = False
    parts = parts_of(labels, usable=usable)
    assert np.setdiff1d(np.arange(100), np.concatenate(list(parts.values()))).tolist() == [3, 7]


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 20])
def test_a_fraction_is_a_fraction(fraction):
    with pytest.raises(UserError, match=r"data\.validation is a fraction"):
        parts_of([0, 1], validation=fraction)


def test_the_hash_follows_the_parts_not_the_order():
    ids = [f"{index}.png" for index in range(100)]
    parts = parts_of(np.arange(100) % 2)
    backwards = {name: 99 - indices for name, indices in reversed(list(parts.items()))}
    assert split_hash(ids, parts) == split_hash(ids[::-1], backwards)
    moved = {
        **parts,
        "train": parts["train"][1:],
        "test": np.append(parts["test"], parts["train"][0]),
    }
    assert split_hash(ids, parts) != split_hash(ids, moved)
    assert split_hash(
        ["\udcff.png", "b"], {"train": np.array([0, 1])}
    )  # a file name that is no UTF-8


def folds_of(labels, count, **more):
    labels = np.asarray(labels)
    digests = more.pop("digests", [f"picture {index}" for index in range(len(labels))])
    usable = np.ones(len(labels), dtype=bool)
    splits = more.pop("splits", np.full(len(labels), "", dtype="U10"))
    divisions = []
    for number in range(1, count + 1):
        holdout = Holdout(0.1, more.get("test", 0.0), 3, f"{number}/{count}")
        divisions.append(
            split(labels, splits, digests, usable, holdout, groups=more.get("groups")).parts
        )
    return divisions


def test_folds_are_disjoint_in_proportion_and_together_everything():
    labels = np.repeat([0, 1, 2], [50, 31, 6])
    folds = folds_of(labels, 5)
    held_out = np.concatenate([parts["validation"] for parts in folds])
    assert sorted(held_out.tolist()) == list(range(87))
    for parts in folds:
        assert set(parts["train"]) == set(range(87)) - set(parts["validation"])
        counts = np.bincount(labels[parts["validation"]], minlength=3)
        assert counts[0] == 10 and counts[1] in (6, 7) and counts[2] in (1, 2)
    assert max(len(parts["validation"]) for parts in folds) <= 18


def test_every_fold_leaves_the_same_test_part_alone():
    folds = folds_of(np.repeat([0, 1], 50), 4, test=0.2)
    assert len({tuple(parts["test"]) for parts in folds}) == 1
    assert sum(len(parts["validation"]) for parts in folds) == 80


def test_copies_and_groups_stay_in_one_fold():
    labels = np.repeat([0, 1], 20)
    digests = [f"copy {index // 2}" for index in range(40)]
    for parts in folds_of(labels, 3, digests=digests):
        assert all((index ^ 1) in parts["validation"] for index in parts["validation"])
    groups = [f"patient {index // 4}" for index in range(40)]
    for parts in folds_of(labels, 3, groups=groups):
        held_out = {groups[index] for index in parts["validation"]}
        assert not held_out & {groups[index] for index in parts["train"]}


@pytest.mark.parametrize("fold", ["6/5", "0/5", "1/1", "2", "a/b", "1/5000"])
def test_a_fold_that_does_not_exist_is_refused(fold):
    with pytest.raises(UserError, match=r"data\.fold"):
        split(
            np.zeros(9, int),
            np.full(9, "", "U10"),
            list("abcdefghi"),
            np.ones(9, bool),
            Holdout(0.1, 0.0, 0, fold),
        )


def test_folds_are_refused_where_the_data_has_a_validation_part():
    splits = np.array(["", "", "validation", ""], dtype="U10")
    with pytest.raises(UserError, match="validation part of its own"):
        folds_of(np.zeros(4, int), 2, splits=splits)
