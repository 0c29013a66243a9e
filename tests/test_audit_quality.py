"""Images that show little: each kind is drawn once and named, healthy images raise no alarm."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn import SHAPES, folder, pictures, png
from PIL import Image
from test_audit import textures

from eyesight.auditing import audit, features, quality, record
from eyesight.auditing.record import AuditRecord
from eyesight.cli.auditing import describe
from eyesight.data.images import Images

PLANTED = 7


@pytest.fixture(autouse=True)
def no_backbone(monkeypatch):
    monkeypatch.setattr(features, "backbone_at_hand", lambda: None)
    monkeypatch.setattr(features, "FILTERS", 16)


def images_of(pixels):
    labels = np.arange(len(pixels)) % 2
    return Images.of(pixels, labels, ("a", "b"), tuple(map(str, range(len(pixels)))))


def photographs(count, side, seed=0):
    """Images with detail of every size, uint8 N,3,side,side."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.full((count, 3, side, side), 128.0)
    for cells in (5, 11, 23, side):
        noise = 30 * torch.randn(count, 3, cells, cells, generator=generator)
        values += torch.nn.functional.interpolate(noise, (side, side), mode="bilinear")
    return values.clamp(0, 255).byte().numpy()


def spoilt(kind, image):
    """The image with one flaw, uint8 C,H,W."""
    side = image.shape[1]
    if kind == "blank":
        return np.full_like(image, 130)
    if kind == "dark":
        return (image * 0.15).astype(np.uint8)
    if kind == "washed out":
        return (200 + image * 0.2).astype(np.uint8)
    if kind == "blurred":
        upright = Image.fromarray(image.transpose(1, 2, 0))
        small = upright.resize((4, 4), Image.Resampling.BOX)
        return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    changed = image.copy()
    if kind == "tiny content":
        changed[:] = 250
        size, middle = side // 8, side // 2
        changed[:, middle : middle + size, middle : middle + size] = image[:, :size, :size] // 2
    if kind == "frame":
        changed[:, : side // 6] = changed[:, -(side // 6) :] = 0
    return changed


def test_colours_of_the_same_brightness_are_not_blank():
    pixels = photographs(100, 64, seed=1)
    pixels[PLANTED, 0] = np.where(pixels[PLANTED, 0] > 128, 220, 40)
    pixels[PLANTED, 1] = 255 - pixels[PLANTED, 0]
    pixels[PLANTED, 2] = 130
    assert quality.find(images_of(pixels))[0] == ()


@pytest.mark.parametrize("side", [32, 64, 128])
@pytest.mark.parametrize("kind", list(quality.LIMITS))
def test_each_flaw_is_named_once_and_the_others_are_not(kind, side):
    pixels = photographs(100, side, seed=1)
    pixels[PLANTED] = spoilt(kind, pixels[PLANTED])
    assert [(flaw.id, flaw.kind) for flaw in quality.find(images_of(pixels))[0]] == [
        (str(PLANTED), kind)
    ]


@pytest.mark.parametrize(
    "pixels",
    [
        textures(150),
        textures(150, 64),
        photographs(150, 32),
        photographs(150, 96),
        pictures(150)[0],
        pictures(150, 28)[0],
        np.where(pictures(150, 28)[0] < 60, 0, pictures(150, 28)[0]),
        (photographs(150, 32) * 0.15).astype(np.uint8),
        np.stack([spoilt("frame", image) for image in photographs(50, 32)]),
    ],
    ids=["smooth", "larger", "photographs", "large", "shapes", "digits", "clean", "dark", "framed"],
)
def test_healthy_images_and_the_look_of_a_whole_set_raise_no_alarm(pixels):
    assert quality.find(images_of(pixels))[0] == ()


def test_a_long_file_is_odd_and_an_upright_one_among_wide_ones_is_not():
    shapes = [(160, 90)] * 48 + [(90, 160), (900, 90)]
    ids = [str(number) for number in range(50)]
    flaws = quality.odd_shapes(ids, shapes)
    assert [(flaw.id, flaw.kind, round(flaw.value)) for flaw in flaws] == [("49", "odd shape", 10)]
    assert quality.odd_shapes(ids, [(90, 90)] * 40 + [(900, 90)] * 10) == []


def test_the_audit_its_json_its_text_and_its_record_name_the_flaws(tmp_path):
    root = folder(tmp_path / "set", 90)
    file = root / SHAPES[0] / "black.png"
    file.write_bytes(png(np.zeros((16, 16), dtype=np.uint8)))
    long = root / SHAPES[1] / "long.png"
    long.write_bytes(png(np.tile(pictures(1, seed=9)[0][0, 0], (1, 4))))
    result = audit.audit(root, budget=60)
    expected = [(f"{SHAPES[0]}/black.png", "blank"), (f"{SHAPES[1]}/long.png", "odd shape")]
    values = json.loads(json.dumps(result.to_dict()))["quality"]
    assert [(one["id"], one["kind"]) for one in values] == expected
    assert list(values[0]) == ["id", "kind", "value"]
    lines = describe(result, every=False)
    assert "low-quality images: 2" in lines
    assert f"  blank  {SHAPES[0]}/black.png" in lines
    result.record().save(tmp_path / record.FILE)
    kept = record.of_run(tmp_path)
    assert kept.flaws == {kind: [one] for one, kind in expected}
    older = kept.to_dict()
    del older["quality"]
    assert AuditRecord.from_dict(older).quality == ()
    assert not any("different labels" in line for line in lines)
    pair = tuple(record.CopiedImage(f"{name}.png", "train", name) for name in SHAPES[:2])
    lines = describe(replace(result, copies=(pair,)), every=False)
    words = "  near duplicates with different labels: 1 group (see below); at least one label in each is probably wrong"
    assert any(line.startswith(words) for line in lines)


def test_a_stroke_across_a_tiny_image_is_no_frame():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    pixels[:3] = 0
    pixels[:3, :, :, 3:5] = 255
    assert [flaw for flaw in quality.find(images_of(pixels))[0] if flaw.kind == "frame"] == []
