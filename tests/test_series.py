"""Bursts are found as groups, how much they inflate the accuracy is measured, and no group lies on two sides."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from commands import command
from PIL import Image
from test_audit import textures

from eyesight.auditing import audit, features, record, series
from eyesight.auditing.record import AuditRecord
from eyesight.data import dataset, group_file
from eyesight.errors import UserError
from eyesight.recipe import Data

BURST = 5


@pytest.fixture(autouse=True)
def no_backbone(monkeypatch):
    monkeypatch.setattr(features, "backbone_at_hand", lambda: None)
    monkeypatch.setattr(features, "FILTERS", 32)


def bursts(count, side=32, seed=0):
    """Bursts of five: a drawn image, moved, brighter or darker, with noise, uint8 N,3,H,W."""
    random = np.random.default_rng(seed)
    images = []
    for base in textures(count, side + 8, seed):
        for _ in range(BURST):
            x, y = random.integers(0, 5, 2)
            view = base[:, y : y + side, x : x + side] * random.uniform(0.8, 1.1)
            view = view + random.normal(0, 4, view.shape)
            images.append(view.clip(0, 255).astype(np.uint8))
    return np.stack(images)


def burst_folder(root, count):
    """The bursts as files of two classes, which nothing in the images tells apart."""
    for number, pixels in enumerate(bursts(count)):
        file = root / ("one", "two")[number // BURST % 2] / f"{number:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(file)
    return root


def test_bursts_are_found_and_inflate_the_accuracy_of_a_random_split(tmp_path):
    result = audit.audit(burst_folder(tmp_path / "set", 40), budget=60)
    expected = {
        tuple(f"{('one', 'two')[first % 2]}/{BURST * first + row:03d}.png" for row in range(BURST))
        for first in range(40)
    }
    found = {tuple(sorted(one.id for one in group)) for group in result.series}
    assert len(found & expected) >= 36
    assert result.optimism is not None
    assert result.optimism.random > 0.9
    assert result.optimism.grouped < 0.7
    assert result.to_dict()["optimism"]["images"] == result.optimism.images
    result.record().save(tmp_path / record.FILE)
    kept = record.of_run(tmp_path)
    assert kept.optimism == result.optimism.to_dict()
    older = kept.to_dict()
    del older["optimism"]
    assert AuditRecord.from_dict(older).optimism is None


def test_images_that_are_no_series_make_none():
    values = torch.randn(400, 60, generator=torch.Generator().manual_seed(0))
    values[:, :10] += 4 * torch.randn(4, 10)[torch.arange(400) % 4]
    computed = features.Features(values.half(), torch.arange(400), 60, "drawn")
    assert series.find(computed, []) == []


def test_leaving_out_a_group_is_what_training_without_it_gives():
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(200) // BURST
    centres = torch.randn(40, 30, generator=generator)
    values = (centres[groups] + 0.3 * torch.randn(200, 30, generator=generator)).half()
    given = groups % 2
    optimism = series.optimism(values, given, 2, groups, "drawn")
    standardise = series.Standardiser.of(values)
    inputs = torch.nn.functional.pad(standardise(values), (0, 1), value=1.0).double()
    targets = torch.nn.functional.one_hot(given, 2).double()
    penalties = torch.tensor([series.PENALTY * 200] * 30 + [0.0]).double().diag()
    right = 0
    for group in range(40):
        kept = groups != group
        normal = inputs[kept].T @ inputs[kept] + penalties
        scores = inputs[~kept] @ torch.linalg.solve(normal, inputs[kept].T @ targets[kept])
        right += int((scores.argmax(1) == given[~kept]).sum())
    assert optimism.grouped == pytest.approx(right / 200, abs=0.011)
    assert optimism.random > optimism.grouped + 0.2


def test_a_large_group_is_left_out_as_a_small_one_is_and_in_bounded_memory(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(600, 20, generator=generator)
    values[:, 0] += torch.arange(600) % 2
    groups = (torch.arange(600) - 400).clamp_min(0)  # one of 401 images
    given = torch.arange(600) % 2
    direct = series.Ridge.fit(values.half(), given, 2)
    rows = torch.arange(401)
    expected = direct.correct_in_groups(rows, groups)
    monkeypatch.setattr(series, "MOST", 64)
    assert direct.correct_in_large_group(rows, groups) == expected
    assert expected[0] > 220


@pytest.mark.skipif(sys.platform != "linux", reason="measures resident memory by /proc")
def test_a_group_of_20_000_images_takes_less_than_a_gigabyte():
    """As a matrix of the group's images it would take 1.6 GB, and several times that to solve."""
    program = (
        "import resource, torch\n"
        "from eyesight.auditing import series\n"
        "torch.set_num_threads(1)\n"
        "values = torch.randn(20_200, 64).half()\n"
        "groups = (torch.arange(20_200) - 19_999).clamp_min(0) // 2\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(series.optimism(values, torch.arange(20_200) % 2, 2, groups, 'drawn').images)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    images, kilobytes = map(int, done.stdout.split())
    assert images >= 20_000
    assert kilobytes < 1_000_000


def test_groups_that_were_found_are_kept_on_one_side(tmp_path):
    root = burst_folder(tmp_path / "set", 30)
    file = tmp_path / "groups.csv"
    command("audit", root, "--groups", file)
    groups = group_file.read(file)
    kept = file.read_bytes()
    printed = command("audit", root, "--groups", file, code=1)
    assert "already exists" in printed.err
    assert file.read_bytes() == kept
    assert len(set(groups.values())) >= 25
    torn = {}
    for setting in ("", str(file)):
        loaded = dataset.load(Data(str(root), size=16, group_file=setting))
        sides = {}
        for name in ("train", "validation", "test"):
            for one in getattr(loaded, name).ids:
                sides.setdefault(groups.get(one, one), set()).add(name)
        torn[setting] = sum(len(names) > 1 for names in sides.values())
    assert torn == {"": torn[""], str(file): 0}
    assert torn[""] > 0


def test_no_file_is_written_where_series_were_not_searched_for(tmp_path, monkeypatch):
    root = burst_folder(tmp_path / "set", 8)
    file = tmp_path / "groups.csv"
    with monkeypatch.context() as patch:
        patch.setattr(audit, "USABLE_SHARE", 0.0)
        printed = command("audit", root, "--groups", file)
    assert "groups.csv not written: series were not searched for" in printed.err
    assert not file.exists()
    command("audit", root, "--groups", file)
    assert file.is_file()


def test_no_file_is_written_where_there_are_no_series(tmp_path, monkeypatch):
    monkeypatch.setattr(audit.series, "find", lambda computed, pairs: [])
    file = tmp_path / "groups.csv"
    printed = command("audit", burst_folder(tmp_path / "set", 8), "--groups", file)
    assert "groups.csv not written: no series were found" in printed.err
    assert not file.exists()


def test_a_group_file_of_other_data_is_refused(tmp_path):
    root = burst_folder(tmp_path / "set", 4)
    file = tmp_path / "groups.csv"
    group_file.write(file, [["other/1.png", "other/2.png"]])
    with pytest.raises(UserError, match="none of the images"):
        dataset.load(Data(str(root), size=16, group_file=str(file)))
    file.write_text("nothing\n")
    with pytest.raises(UserError, match="id and group"):
        dataset.load(Data(str(root), size=16, group_file=str(file)))


def test_an_image_in_two_groups_is_refused(tmp_path):
    file = tmp_path / "groups.csv"
    file.write_text("id,group\na.png,1\nb.png,1\na.png,2\n")
    with pytest.raises(UserError, match="into two groups: 1 and 2"):
        group_file.read(file)
    file.write_text("id,group\n" + "a" * 200_000 + ",1\n")
    with pytest.raises(UserError, match="not a table"):
        group_file.read(file)
