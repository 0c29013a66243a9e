"""What a file of predictions promises: it comes back the same, and a broken one is an error for
people.
"""

import numpy as np
import pytest

from eyesight.errors import UserError
from eyesight.results.predictions import Predictions, load, readable


def drawn(n=6, k=3):
    p = np.random.default_rng(0).dirichlet(np.ones(k), n).astype(np.float32)
    return Predictions(
        tuple(f"test/{i:05d}" for i in range(n)),
        np.array([0, 1, 2, 0, -1, 1]),
        p,
        ("é", "b c", "<i>"),
    )


def test_comes_back_the_same(tmp_path):
    before = drawn()
    before.save(tmp_path / "predictions.npz")
    after = load(tmp_path / "predictions.npz")
    assert (after.ids, after.classes) == (before.ids, before.classes)
    assert (after.labels == before.labels).all() and after.labels.dtype == np.int64
    assert (
        after.probabilities == before.probabilities
    ).all() and after.probabilities.dtype == np.float32
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]


def test_no_pictures_at_all(tmp_path):
    Predictions((), np.zeros(0, np.int64), np.zeros((0, 2), np.float32), ("a", "b")).save(
        tmp_path / "p.npz"
    )
    assert len(load(tmp_path / "p.npz")) == 0


def test_predicted_and_confidence():
    some = Predictions(
        ("a", "b"), np.array([0, 1]), np.array([[0.2, 0.8], [0.7, 0.3]], np.float32), ("x", "y")
    )
    assert some.predicted.tolist() == [1, 0]
    assert some.confidence.tolist() == pytest.approx([0.8, 0.7])


def test_labelled_drops_the_unknown():
    assert drawn().labelled().ids == tuple(f"test/{i:05d}" for i in (0, 1, 2, 3, 5))


def test_mismatched_shapes_are_refused():
    with pytest.raises(ValueError):
        Predictions(("a",), np.array([0, 1]), np.ones((1, 2), np.float32), ("x", "y"))


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(UserError, match="no file"):
        load(tmp_path / "predictions.npz")


@pytest.mark.parametrize("cut", [0, 10, 300])
def test_a_torn_file_is_said(tmp_path, cut):
    path = tmp_path / "predictions.npz"
    drawn().save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match="cannot be read"):
        load(path)


def test_a_pickle_is_not_opened(tmp_path):
    path = tmp_path / "predictions.npz"
    np.savez(
        path,
        ids=np.array([{"a": 1}], dtype=object),
        labels=np.zeros(1),
        probabilities=np.zeros((1, 1)),
        classes=np.array(["a"]),
    )
    with pytest.raises(UserError, match="cannot be read"):
        load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "predictions.npz"
    drawn().save(path)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(UserError, match="disk is full"):
        drawn().save(path)
    assert path.read_bytes() == before
    assert [other.name for other in tmp_path.iterdir()] == [path.name]


def test_readable_names():
    assert readable(["n02085620-Shih_Tzu", "dingo"]) == ("Shih Tzu", "dingo")
    assert readable(["a_b", "a b"]) == ("a_b", "a b")  # never two that look alike
    assert readable(["_", "x"]) == ("_", "x")
