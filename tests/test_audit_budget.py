"""The budget of an audit: what there is no time for is left out and named."""

import math
import re
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from commands import command
from drawn import folder

from eyesight.auditing import audit, copies, features, material, quality, record
from eyesight.auditing.material import affordable_part, open_material, part_of, sampled_sizes
from eyesight.auditing.record import AuditRecord
from eyesight.cli.reviewing import open_review
from eyesight.data.corrections import Correction, Corrections, beside
from eyesight.data.images import Images
from eyesight.data.opening import open_source
from eyesight.errors import UserError
from eyesight.recipe import Data
from eyesight.system import memory
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
        "near duplicates: only exact ones searched for",
        "low-quality images: not searched for",
        "shortcuts: not searched for",
        "series: not searched for",
    ):
        assert any(what in note for note in result.notes), what


def test_the_command_does_not_call_none_what_it_did_not_search_for(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "MINIMUM_IMAGES", 32)
    root = folder(tmp_path / "set", 60)
    with monkeypatch.context() as patch:
        patch.setattr(audit, "USABLE_SHARE", 0.0)
        printed = command("audit", root).out
    for part in ("series of images", "low-quality images"):
        assert f"{part}: not searched for" in printed
    assert "content of the images:\n  not searched for" in printed
    assert "groups of near duplicates: 0 (only exact ones searched for" in printed
    assert "searched for" not in command("audit", root).out


def test_what_was_done_of_a_part_is_printed_and_exact_copies_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "CHUNK", 20)
    monkeypatch.setattr(audit, "COPIES_SHARE", -1.0)
    monkeypatch.setattr(audit, "QUALITY_SHARE", -1.0)
    root = folder(tmp_path / "set", 60)
    for name in ("bar", "ring"):
        file = next((root / name).iterdir())
        (root / name / "copy.png").write_bytes(file.read_bytes())
    printed = command("audit", root).out
    assert re.search(r"near duplicates: 2 \(0 of \d+ pairs of similar images compared", printed)
    assert "low-quality images: 0 (20 of 60 images measured" in printed
    with monkeypatch.context() as patch:
        patch.setattr(audit, "USABLE_SHARE", 0.0)
        printed = command("audit", root).out
    assert "near duplicates: 2 (only exact ones searched for" in printed


def test_an_audit_with_time_leaves_nothing_out(tmp_path):
    result = audit.audit(folder(tmp_path / "set", 60), budget=600.0)
    assert [note for note in result.notes if "budget" in note] == []
    assert len(result.labels) == 60
    assert result.shortcuts


def test_the_budget_counts_from_the_start_that_is_given(tmp_path):
    root = folder(tmp_path / "set", 60)
    result = audit.audit(root, budget=600.0, started=time.monotonic() - 599.0)
    assert any("shortcuts: not searched for" in note for note in result.notes)
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
    assert first.left_out == 50
    whole = open_material(root, 600.0, Reporter())
    assert (len(whole.images), whole.left_out) == (90, 0)
    assert whole.notes == ()


def test_a_longer_budget_prepares_more_of_the_images(tmp_path, monkeypatch):
    monkeypatch.setattr(material, "FEWEST", 10)
    monkeypatch.setattr(material, "DECODED", 1e4)
    source = open_source(folder(tmp_path / "set", 90))
    sizes = sampled_sizes(source)
    few, more = (len(affordable_part(source, sizes, budget).ids) for budget in (100.0, 200.0))
    assert 10 < few < more < 90


def test_a_process_that_may_use_fewer_cores_prepares_fewer_images(tmp_path, monkeypatch):
    monkeypatch.setattr(material, "FEWEST", 10)
    monkeypatch.setattr(material, "DECODED", 1e4)
    source = open_source(folder(tmp_path / "set", 90))
    counts = []
    for cores in (1, 2):
        monkeypatch.setattr(memory, "cores", lambda cores=cores: cores)
        counts.append(len(affordable_part(source, sampled_sizes(source), 150.0).ids))
    assert counts[1] == pytest.approx(2 * counts[0], abs=1)


def test_a_part_has_images_of_rare_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(material, "FEWEST", 20)
    rare = np.array([1] * 2 + [0] * 88)
    source = replace(open_source(folder(tmp_path / "set", 90)), labels=rare)
    part = affordable_part(source, sampled_sizes(source), 0.0)
    assert np.bincount(part.labels).tolist() == [18, 2]
    monkeypatch.setattr(material, "FEWEST", 80)
    balanced = replace(source, labels=np.array([1] * 30 + [0] * 60))
    part = affordable_part(balanced, sampled_sizes(source), 0.0)
    assert 20 <= np.bincount(part.labels)[1] < 30


def test_images_that_were_not_prepared_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(material, "FEWEST", 40)
    monkeypatch.setattr(material, "DECODED", 1.0)
    root = folder(tmp_path / "set", 90)
    result = audit.audit(root, budget=60.0)
    assert result.images == 90
    assert "fewer than 20 prepared images of" in " ".join(result.notes)
    assert result.record().unfinished == {
        "wrong labels and outliers": "40 of 90 images checked, to stay within the budget"
    }


def test_corrections_of_all_images_fit_a_review_of_a_part(tmp_path, monkeypatch):
    root = folder(tmp_path / "set", 120)
    store = open_material(root, 600.0, Reporter()).store
    rows = [
        Correction(one, content, store.classes[label], store.classes[label], "ann", f"{place:04d}")
        for place, (one, content, label) in enumerate(
            zip(store.ids, store.digests, store.labels, strict=True)
        )
    ]
    Corrections(tuple(rows)).write(beside(str(root)))
    monkeypatch.setattr(material, "FEWEST", 40)
    monkeypatch.setattr(material, "DECODED", 1.0)
    review = open_review(Data(str(root)), None, "ann", budget=60.0, reporter=Reporter())
    assert len(review.store.ids) == 40
    assert review.facts().progress.seen == 40
    others = [replace(row, content="0" * 64) for row in rows[:1]]
    Corrections(tuple(others)).write(beside(str(root)))
    with pytest.raises(UserError, match="belongs to another data set"):
        open_review(Data(str(root)), None, "ann", budget=600_000_000.0, reporter=Reporter())


def test_a_short_audit_does_not_replace_a_complete_one(tmp_path, monkeypatch):
    root = folder(tmp_path / "set", 60)
    complete = audit.audit(root, budget=60.0).record()
    record.remember(complete)
    with monkeypatch.context() as patch:
        patch.setattr(audit, "USABLE_SHARE", 0.0)
        short = audit.audit(root, budget=60.0).record()
    assert set(short.unfinished) >= {"near duplicates", "low-quality images", "shortcuts", "series"}
    assert AuditRecord.from_dict(short.to_dict()).unfinished == short.unfinished
    older = short.to_dict()
    del older["unfinished"]
    assert AuditRecord.from_dict(older).unfinished == {}
    record.remember(short)
    assert record.recall(complete.store).unfinished == {}
    assert record.more_complete(short, complete) is complete
    assert record.more_complete(None, short) is short
    assert record.more_complete(replace(complete, features="others"), short) is short


def test_a_part_of_a_source_keeps_what_belongs_to_each_image(tmp_path):
    source = open_source(folder(tmp_path / "set", 30))
    rows = [3, 8, 20]
    part = part_of(source, rows)
    assert part.ids == tuple(source.ids[row] for row in rows)
    assert part.labels.tolist() == [source.labels[row] for row in rows]
    assert [part.read(place) for place in range(3)] == [source.read(row) for row in rows]
    assert part.fingerprint not in (source.fingerprint, part_of(source, [3, 8, 21]).fingerprint)


def test_the_boxes_of_a_part_are_read_once(tmp_path):
    calls = []

    def boxes():
        calls.append(None)
        return [(row, 0, row + 5, 5) for row in range(30)]

    source = replace(open_source(folder(tmp_path / "set", 30)), boxes=boxes)
    part = part_of(source, [3, 8, 20])
    assert calls == []
    assert part.boxes() == [(3, 0, 8, 5), (8, 0, 13, 5), (20, 0, 25, 5)]
    assert len(calls) == 1


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

    def found(deadline):
        return copies.find_pairs(images, computed, lambda done, total: None, deadline)

    whole = found(math.inf)
    assert len(whole.pairs) == 20
    assert whole.compared == whole.candidates > 0
    assert found(time.monotonic()) == copies.Found([], whole.candidates, 0, [])


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
