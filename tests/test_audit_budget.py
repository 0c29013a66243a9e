"""The budget of an audit: what there is no time for is left out and named."""

import math
import time

import numpy as np
import pytest
import torch
from commands import command
from drawn import folder

from eyesight.auditing import audit, copies, features, material, quality
from eyesight.auditing.material import affordable_part, open_material, part_of, sampled_sizes
from eyesight.data.images import Images
from eyesight.data.opening import open_source
from eyesight.recipe import Data
from eyesight.system.progress import Reporter


@pytest.fixture(autouse=True)
def no_backbone(monkeypatch):
    monkeypatch.setattr(features, "backbone_at_hand", lambda: None)
    monkeypatch.setattr(features, "FILTERS", 16)


def test_an_audit_without_time_names_every_part_that_it_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "MINIMUM_IMAGES", 32)
    monkeypatch.setattr(material, "FEWEST", 200)
    root = folder(tmp_path / "set", 300)
    result = audit.audit(root, budget=0.0)
    assert 32 <= len(result.labels) < 200
    assert result.shortcuts == result.series == result.quality == ()
    assert result.optimism is None
    for what in (
        "100 of 300 images left out, because preparing",
        "of 200 images left out to stay",
        "logistic regression left out",
        "near duplicates were not searched for",
        "low-quality images were not searched for",
        "shortcuts were not searched for",
        "series were not searched for",
    ):
        assert any(what in note for note in result.notes), what


def test_the_command_does_not_call_none_what_it_did_not_search_for(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "MINIMUM_IMAGES", 32)
    root = folder(tmp_path / "set", 60)
    with monkeypatch.context() as patch:
        patch.setattr(audit, "USABLE_SHARE", 0.0)
        printed = command("audit", root).out
    for part in ("groups of near duplicates", "series of images", "low-quality images"):
        assert f"{part}: not searched for" in printed
    assert "content of the images:\n  not searched for" in printed
    assert "not searched for" not in command("audit", root).out


def test_an_audit_with_time_leaves_nothing_out(tmp_path):
    result = audit.audit(folder(tmp_path / "set", 60), budget=600.0)
    assert [note for note in result.notes if "budget" in note] == []
    assert len(result.labels) == 60
    assert result.shortcuts


def test_the_budget_counts_from_the_start_that_is_given(tmp_path):
    root = folder(tmp_path / "set", 60)
    result = audit.audit(root, budget=600.0, started=time.monotonic() - 599.0)
    assert any("shortcuts were not searched for" in note for note in result.notes)
    assert result.seconds["data"] >= 599


def test_a_part_of_large_images_is_prepared_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr(material, "FEWEST", 40)
    root = folder(tmp_path / "set", 90)
    first = open_material(root, 0.0, Reporter())
    assert len(first.images) == 40
    assert first.notes == (
        "50 of 90 images left out, because preparing them all would exceed the budget",
    )
    assert open_material(Data(str(root)), 0.0, Reporter()).store.key == first.store.key
    whole = open_material(root, 600.0, Reporter())
    assert len(whole.images) == 90
    assert whole.notes == ()


def test_a_longer_budget_prepares_more_of_the_images(tmp_path, monkeypatch):
    monkeypatch.setattr(material, "FEWEST", 10)
    monkeypatch.setattr(material, "DECODED", 1e4)
    source = open_source(folder(tmp_path / "set", 90))
    sizes = sampled_sizes(source)
    few, more = (len(affordable_part(source, sizes, budget).ids) for budget in (100.0, 200.0))
    assert 10 < few < more < 90


def test_a_part_of_a_source_keeps_what_belongs_to_each_image(tmp_path):
    source = open_source(folder(tmp_path / "set", 30))
    rows = [3, 8, 20]
    part = part_of(source, rows)
    assert part.ids == tuple(source.ids[row] for row in rows)
    assert part.labels.tolist() == [source.labels[row] for row in rows]
    assert [part.read(place) for place in range(3)] == [source.read(row) for row in rows]
    assert part.fingerprint not in (source.fingerprint, part_of(source, [3, 8, 21]).fingerprint)


def images_of(pixels):
    count = len(pixels)
    labels = np.arange(count) % 2
    return Images.of(pixels, labels, ("a", "b"), tuple(str(number) for number in range(count)))


def test_near_duplicates_that_were_not_compared_are_counted(monkeypatch):
    monkeypatch.setattr(copies, "PAIRS", 16)
    pixels = np.repeat(np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32)), 2, 0)
    images = images_of(pixels.astype(np.uint8))
    values = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)).half()
    computed = features.Features(values, torch.arange(40), 8, "toy")

    def left(deadline):
        return copies.find_pairs(images, computed, lambda done, total: None, deadline)

    assert len(left(math.inf)[0]) == 20
    assert left(math.inf)[1] == 0
    pairs, count = left(time.monotonic())
    assert pairs == []
    assert count > 0


def test_low_quality_images_are_named_among_those_that_were_measured(monkeypatch):
    monkeypatch.setattr(quality, "CHUNK", 40)
    pixels = np.random.default_rng(0).integers(0, 256, (120, 3, 32, 32)).astype(np.uint8)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(0)).tolist()
    for place in (order[3], order[60]):
        pixels[place] = 128
    flaws, left = quality.find(images_of(pixels))
    assert ({flaw.id for flaw in flaws}, left) == ({str(order[3]), str(order[60])}, 0)
    flaws, left = quality.find(images_of(pixels), deadline=0.0)
    assert ([flaw.id for flaw in flaws], left) == ([str(order[3])], 80)
