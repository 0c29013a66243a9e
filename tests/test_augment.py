"""Each change to a picture does what it says, to every picture on its own, and the same way every
time it is asked.
"""

import math
from dataclasses import replace

import pytest
import torch

from eyesight.augment import (
    affine_matrices,
    augment,
    beta,
    crop_and_flip,
    displacement,
    generator,
    mixes,
    warp,
)
from eyesight.recipe import Augment
from eyesight.tasks.losses import one_hot

EVERYTHING = {
    "flip": Augment(flip="random"),
    "alternating": Augment(flip="alternating"),
    "crop": Augment(crop=3),
    "rotate": Augment(rotate=30.0),
    "shift": Augment(shift=0.2),
    "zoom": Augment(zoom=0.3),
    "shear": Augment(shear=15.0),
    "elastic": Augment(elastic=0.05),
    "brightness": Augment(brightness=(0.5, 0.9)),
    "contrast": Augment(contrast=(0.5, 0.9)),
    "noise": Augment(noise=0.1),
    "cutout": Augment(cutout=0.4),
    "mixup": Augment(mixup=1.0),
    "cutmix": Augment(cutmix=1.0),
}
SHAPES = [(1, 12, 12), (3, 10, 16)]


def pixels(count=16, shape=(3, 12, 12), seed=0):
    return torch.randint(
        0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def changed(given, how, seed=0, epoch=0, step=0, index=None):
    """The pictures after augmentation, and the targets of labels 0, 1, 2, …"""
    index = torch.arange(len(given)) if index is None else index
    return augment(
        given,
        one_hot(torch.arange(len(given)), max(2, len(given))),
        how,
        generator(seed, epoch, step),
        epoch,
        index,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_on_changes_nothing(shape):
    given = pixels(shape=shape)
    pictures, targets = changed(given, Augment())
    assert torch.equal(pictures, given.float() / 255) and torch.equal(
        targets, one_hot(torch.arange(16), 16)
    )
    assert pictures.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", EVERYTHING)
def test_shape_range_order_and_input(name, shape):
    given = pixels(shape=shape)
    before = given.clone()
    pictures, targets = changed(given, EVERYTHING[name])
    assert pictures.shape == given.shape and pictures.dtype == torch.float32
    assert pictures.is_contiguous(memory_format=torch.channels_last)
    assert pictures.min() >= 0 and pictures.max() <= 1
    assert torch.allclose(targets.sum(1), torch.ones(16))
    assert torch.equal(given, before)


@pytest.mark.parametrize("name", EVERYTHING)
def test_seed_epoch_and_step_decide(name):
    given, how = pixels(), EVERYTHING[name]
    first, targets = changed(given, how, 1, 2, 3)
    again, targets_again = changed(given, how, 1, 2, 3)
    assert torch.equal(first, again) and torch.equal(targets, targets_again)
    others = [changed(given, how, 1, 3, 3)[0]]
    if name != "alternating":
        others += [changed(given, how, 2, 2, 3)[0], changed(given, how, 1, 2, 4)[0]]
    assert all(not torch.equal(first, other) for other in others)


@pytest.mark.parametrize("name", EVERYTHING)
def test_pictures_of_a_batch_change_each_on_its_own(name):
    same = pixels(1).expand(16, -1, -1, -1).contiguous()
    if name in ("mixup", "cutmix"):
        same = pixels(16)  # the share of each is its own
        shares = changed(same, EVERYTHING[name])[1].amax(1)
        assert len(set(shares.tolist())) > 8
        return
    pictures = changed(same, EVERYTHING[name])[0]
    kinds = {tuple(picture.flatten().tolist()) for picture in pictures}
    assert len(kinds) == 2 if name in ("flip", "alternating") else len(kinds) > 8


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_batch_of_one(name):
    pictures, targets = changed(pixels(1), EVERYTHING[name])
    assert pictures.shape == (1, 3, 12, 12) and torch.allclose(targets, torch.tensor([[1.0, 0.0]]))
    assert pictures.isfinite().all()


def test_a_seed_for_every_batch():
    states = {
        generator(seed, epoch, step).initial_seed()
        for seed in range(4)
        for epoch in range(20)
        for step in range(-1, 200)
    }
    assert len(states) == 4 * 20 * 201


# --- left-right -----------------------------------------------------------------------------------
# ----------------------------------


def flipped(given, pictures):
    """For each picture, whether it is the mirror of the given one; it must be one or the other."""
    plain = given.float() / 255
    same, mirrored = ((pictures == other).all(3).all(2).all(1) for other in (plain, plain.flip(3)))
    assert (same ^ mirrored).all()
    return mirrored


def test_random_flip_mirrors_about_half():
    given = pixels(400, (1, 4, 6))
    assert 160 < flipped(given, changed(given, Augment(flip="random"))[0]).sum() < 240


def test_alternating_flip_mirrors_every_picture_every_other_epoch():
    given = pixels(400, (1, 4, 6))
    seen = torch.stack(
        [
            flipped(given, changed(given, Augment(flip="alternating"), epoch=epoch, seed=epoch)[0])
            for epoch in range(4)
        ]
    )
    assert (
        torch.equal(seen[0], ~seen[1])
        and torch.equal(seen[0], seen[2])
        and torch.equal(seen[1], seen[3])
    )
    assert 160 < seen[0].sum() < 240


def test_alternating_flip_knows_pictures_by_their_index_not_their_place():
    given, order = (
        pixels(50, (1, 4, 6)),
        torch.randperm(50, generator=torch.Generator().manual_seed(0)),
    )
    how = Augment(flip="alternating")
    straight = changed(given, how)[0]
    assert torch.equal(changed(given[order], how, step=9, index=order)[0], straight[order])


# --- crop -----------------------------------------------------------------------------------------
# ----------------------------------


def ramp(height, width, count=1):
    """Every pixel a value of its own: row times 16 plus column."""
    return (
        (torch.arange(height)[:, None] * 16 + torch.arange(width))
        .to(torch.uint8)
        .expand(count, 1, height, width)
        .contiguous()
    )


def test_crop_moves_by_at_most_its_pixels_over_the_pictures_reflection():
    given = ramp(10, 14, 300)
    moved = crop_and_flip(given, Augment(crop=2), generator(0, 0, 0), 0, torch.arange(300))
    padded = torch.nn.functional.pad(given[:1].float(), (2, 2, 2, 2), mode="reflect")[0, 0]
    windows = {
        (down, across): padded[down : down + 10, across : across + 14]
        for down in range(5)
        for across in range(5)
    }
    found = [
        next(key for key, window in windows.items() if torch.equal(window, picture[0].float()))
        for picture in moved
    ]
    assert set(found) == set(windows)


def test_crop_and_flip_go_together():
    given = ramp(8, 8, 60)
    how = Augment(crop=1, flip="alternating")
    both = crop_and_flip(given, how, generator(0, 0, 0), 0, torch.arange(60))
    only = crop_and_flip(given, Augment(crop=1), generator(0, 0, 0), 0, torch.arange(60))
    mirrored = (
        crop_and_flip(given, Augment(flip="alternating"), generator(0, 0, 0), 0, torch.arange(60))[
            :, 0, 0, 0
        ]
        != 0
    )
    assert torch.equal(both[mirrored], only[mirrored].flip(3)) and torch.equal(
        both[~mirrored], only[~mirrored]
    )


def test_crop_larger_than_the_picture_is_held_to_it():
    assert changed(pixels(4, (1, 3, 5)), Augment(crop=30))[0].shape == (4, 1, 3, 5)


# --- geometry -------------------------------------------------------------------------------------
# ----------------------------------


def forced(monkeypatch, **values):
    """Make the random numbers of `affine_matrices` what the test says; anything not named is in the
    middle of its range.
    """
    order = iter(("rotate", "shear", "zoom", "across", "down"))

    def uniform(count, low, high, random):
        place = values.get(next(order), 0.0)
        return torch.full((count,), (low + high) / 2 + place * (high - low) / 2)

    monkeypatch.setattr("eyesight.augment.uniform", uniform)


def dot(height, width, row, column):
    """A smooth bright spot."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    return torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 4.0).view(1, 1, height, width)


def centre(picture):
    """Where the brightness of a picture has its centre of mass: row and column."""
    weights = picture[0, 0] / picture[0, 0].sum()
    return (weights.sum(1) * torch.arange(picture.shape[2])).sum().item(), (
        weights.sum(0) * torch.arange(picture.shape[3])
    ).sum().item()


HEIGHT, WIDTH = 41, 61  # the middle is row 20, column 30
PLACES = [
    # setting, forced draws, a dot at (rows, columns) from the middle, where it has to appear
    # A turn by +90° of what is sampled shows the picture turned against the clock.
    ({"rotate": 90.0}, {"rotate": 1.0}, (0, 10), (-10, 0)),
    ({"rotate": 90.0}, {"rotate": -1.0}, (0, 10), (10, 0)),
    ({"rotate": 30.0}, {"rotate": 1.0}, (0, 10), (-5, 8.66)),
    ({"shift": 0.2}, {"across": 1.0}, (0, 15), (0, 15 - 0.2 * WIDTH)),
    ({"shift": 0.2}, {"down": -1.0}, (3, 0), (3 + 0.2 * HEIGHT, 0)),
    ({"zoom": 0.5}, {"zoom": 1.0}, (4, 6), (6, 9)),
    ({"zoom": 0.5}, {"zoom": -1.0}, (10, 20), (5, 10)),
    ({"shear": 45.0}, {"shear": 1.0}, (8, 0), (8, -8)),
    ({"rotate": 90.0, "zoom": 0.5}, {"rotate": 1.0, "zoom": 1.0}, (0, 8), (-12, 0)),
]


@pytest.mark.parametrize(("how", "draws", "start", "end"), PLACES)
def test_a_dot_moves_to_the_right_place_also_in_pictures_that_are_not_square(
    monkeypatch, how, draws, start, end
):
    forced(monkeypatch, **draws)
    moved = warp(
        dot(HEIGHT, WIDTH, 20 + start[0], 30 + start[1]), Augment(**how), generator(0, 0, 0)
    )
    assert centre(moved) == pytest.approx((20 + end[0], 30 + end[1]), abs=0.1)


def test_a_turned_square_keeps_its_size_in_a_wide_picture(monkeypatch):
    picture = torch.zeros(1, 1, HEIGHT, WIDTH)
    picture[:, :, 12:29, 22:39] = 1
    forced(monkeypatch, rotate=1.0)
    assert warp(picture, Augment(rotate=30.0), generator(0, 0, 0)).sum().item() == pytest.approx(
        17 * 17, rel=0.02
    )


def places(how, start=(0.0, 0.0), count=200):
    picture = dot(HEIGHT, WIDTH, 20 + start[0], 30 + start[1]).expand(count, -1, -1, -1)
    moved = warp(picture.contiguous(memory_format=torch.channels_last), how, generator(0, 0, 0))
    found = torch.tensor([centre(each[None]) for each in moved])
    return found[:, 0] - 20, found[:, 1] - 30


def test_the_range_of_shifts():
    down, across = places(Augment(shift=0.2))
    assert (
        0.18 * HEIGHT < down.abs().max() < 0.2 * HEIGHT + 0.1
        and 0.18 * WIDTH < across.abs().max() < 0.2 * WIDTH + 0.1
    )
    assert (
        abs(down.mean()) < 1
        and abs(across.mean()) < 1.5
        and abs(torch.corrcoef(torch.stack([down, across]))[0, 1]) < 0.2
    )


def test_the_range_of_zooms():
    _, across = places(Augment(zoom=0.3), (0, 10))
    assert 6.9 < across.min() < 7.3 and 12.7 < across.max() < 13.1


def test_the_range_of_turns():
    down, across = places(Augment(rotate=20.0), (0, 12))
    angles = torch.rad2deg(torch.atan2(-down, across))
    assert angles.abs().max() < 20.3 and angles.max() > 18.5 and angles.min() < -18.5
    assert torch.allclose(torch.hypot(down, across), torch.tensor(12.0), atol=0.1)


def test_edges_are_extended():
    how = Augment(shift=0.4, rotate=40.0)
    assert torch.allclose(
        warp(torch.full((8, 3, 9, 9), 0.7), how, generator(0, 0, 0)), torch.tensor(0.7)
    )


def test_zoom_by_everything_stays_finite():
    assert affine_matrices(500, 1.0, Augment(zoom=0.95), generator(0, 0, 0)).abs().max() <= 20


def test_displacements_are_smooth_and_as_large_as_asked():
    found = displacement(400, 20, 30, 0.05, generator(0, 0, 0))
    assert found.shape == (400, 20, 30, 2)
    corners = found[
        :, [0, 0, -1, -1], [0, -1, 0, -1]
    ]  # where the draws themselves lie; 2 is the whole side
    assert corners.std().item() == pytest.approx(2 * 0.05, rel=0.05) and abs(corners.mean()) < 0.01
    assert found.diff(dim=2).abs().max() < 0.12


def test_displacements_are_the_cubic_interpolation():
    found = displacement(3, 17, 12, 0.5, generator(0, 0, 0))
    coarse = torch.randn(3, 4, 4, 2, generator=generator(0, 0, 0)).permute(0, 3, 1, 2)
    slow = torch.nn.functional.interpolate(
        coarse, size=(17, 12), mode="bicubic", align_corners=True
    )
    assert torch.allclose(found, slow.permute(0, 2, 3, 1), atol=1e-5)


# --- colour ---------------------------------------------------------------------------------------
# ----------------------------------


def test_brightness_is_a_factor():
    given = pixels(200)
    ratio = changed(given, Augment(brightness=(0.8, 1.0)))[0] / (given.float() / 255).clamp_min(
        1e-9
    )
    factors = ratio.flatten(1).amax(1)
    bright = (given > 0).flatten(1)
    assert torch.allclose(
        ratio.flatten(1)[bright], factors[:, None].expand_as(bright)[bright], atol=1e-4
    )
    assert 0.8 <= factors.min() < 0.82 and 0.98 < factors.max() <= 1.0001


def test_contrast_is_a_factor_about_the_mean():
    given = pixels(100) // 2 + 64  # so that nothing is cut off
    pictures = changed(given, Augment(contrast=(0.5, 1.4)))[0]
    plain = given.float() / 255
    mean = plain.mean((1, 2, 3), keepdim=True)
    assert torch.allclose(pictures.mean((1, 2, 3), keepdim=True), mean, atol=1e-5)
    factors = pictures.std((1, 2, 3), keepdim=True) / plain.std((1, 2, 3), keepdim=True)
    assert torch.allclose(pictures, mean + (plain - mean) * factors, atol=1e-4)
    assert 0.5 <= factors.min() < 0.55 and 1.35 < factors.max() <= 1.401


def test_brightness_and_contrast_together():
    given = torch.full((20, 1, 4, 4), 100, dtype=torch.uint8)
    given[:, :, 0] = 140
    pictures = changed(given, Augment(brightness=(0.5, 0.5), contrast=(0.25, 0.25)))[0] * 255
    assert torch.allclose(pictures[:, :, 0], torch.tensor(0.5 * (110 + 30 * 0.25)), atol=1e-3)
    assert torch.allclose(pictures[:, :, 1:], torch.tensor(0.5 * (110 - 10 * 0.25)), atol=1e-3)


def test_noise_has_its_deviation_and_no_memory():
    grey = torch.full((20, 3, 20, 20), 128, dtype=torch.uint8)
    noise = changed(grey, Augment(noise=0.08))[0] - 128 / 255
    assert noise.std().item() == pytest.approx(0.08, rel=0.03) and abs(noise.mean()) < 0.002
    assert abs((noise[:, 0] * noise[:, 1]).mean()) < 0.0005  # every channel its own


def test_bright_pixels_are_cut_off_not_wrapped():
    white = torch.full((4, 1, 4, 4), 255, dtype=torch.uint8)
    assert (changed(white, Augment(brightness=(1.5, 1.5)))[0] == 1).all()


# --- cutout and blends ----------------------------------------------------------------------------
# ----------------------------------


@pytest.mark.parametrize("shape", [(1, 20, 20), (3, 20, 40)])
def test_cutout_paints_one_grey_square(shape):
    white = torch.full((300, *shape), 255, dtype=torch.uint8)
    grey = changed(white, Augment(cutout=0.3))[0] == 0.5
    assert (grey == grey[:, :1]).all()
    heights, widths = grey[:, 0].any(2).sum(1), grey[:, 0].any(1).sum(1)
    assert torch.equal(grey[:, 0].sum((1, 2)), heights * widths)  # a full rectangle
    assert (
        heights.max() == 6 and widths.max() == 6
    )  # 0.3 of the shorter side, less where the edge cuts it
    assert (heights < 6).any() and (heights >= 3).all()


def columns(count=32, height=10, width=10):
    """One-hot pictures: picture k is white in the bit pattern of k, so blends can be told apart by
    their targets alone.
    """
    levels = torch.linspace(0, 255, count).round().to(torch.uint8)
    return levels.view(-1, 1, 1, 1).expand(-1, 1, height, width).contiguous()


def test_mixup_mixes_pictures_as_it_mixes_targets():
    given = columns()
    pictures, targets = changed(given, Augment(mixup=0.4))
    assert torch.allclose(
        pictures.mean((1, 2, 3)), targets @ (given[:, 0, 0, 0].float() / 255), atol=1e-5
    )
    assert (
        torch.allclose(targets.sum(1), torch.ones(32))
        and (targets >= 0).all()
        and ((targets > 0).sum(1) <= 2).all()
    )


def test_cutmix_shares_are_the_mixed_areas():
    given = columns(height=9, width=14)
    pictures, targets = changed(given, Augment(cutmix=1.0))
    assert torch.allclose(
        pictures.mean((1, 2, 3)), targets @ (given[:, 0, 0, 0].float() / 255), atol=1e-5
    )
    values = [len(picture.unique()) for picture in pictures]
    assert max(values) == 2 and ((targets > 0).sum(1) <= 2).all()
    for picture, own in zip(pictures, given[:, 0, 0, 0] / 255, strict=True):
        inside = picture[0] != own
        assert inside.sum() == inside.any(1).sum() * inside.any(0).sum()  # a rectangle


def test_cutmix_boxes_have_the_pictures_proportions():
    black, white = (torch.full((1, 1, 40, 80), value, dtype=torch.uint8) for value in (0, 255))
    given = torch.cat([black, white]).repeat(200, 1, 1, 1)
    pictures, _ = changed(given, Augment(cutmix=1.0))
    foreign = (pictures != given / 255)[:, 0]
    heights, widths = foreign.any(2).sum(1), foreign.any(1).sum(1)
    inside = ~(
        foreign[:, 0].any(1)
        | foreign[:, -1].any(1)
        | foreign[:, :, 0].any(1)
        | foreign[:, :, -1].any(1)
    ) & (heights > 4)
    assert inside.any() and (widths[inside] - 2 * heights[inside]).abs().max() <= 2


def test_mixing_targets_that_are_soft_already():
    targets = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    _, mixed = augment(
        pixels(2), targets, Augment(mixup=1.0), generator(0, 0, 0), 0, torch.arange(2)
    )
    assert torch.allclose(mixed.sum(1), torch.ones(2)) and (mixed >= 0.0999).all()


def test_both_blends_take_turns():
    given, kinds = columns(), set()
    for step in range(20):
        pictures, _ = changed(given, Augment(mixup=1.0, cutmix=1.0), step=step)
        kinds.add(all(len(picture.unique()) == 1 for picture in pictures))
    assert kinds == {True, False}


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_beta_has_its_mean_and_spread(alpha):
    shares = beta(20_000, alpha, generator(0, 0, 0))
    assert shares.min() >= 0 and shares.max() <= 1
    assert shares.mean().item() == pytest.approx(0.5, abs=0.01)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


def test_what_counts_as_mixing():
    assert mixes(Augment(mixup=0.2)) and mixes(Augment(cutmix=1.0))
    assert not mixes(replace(EVERYTHING["crop"], cutout=0.5)) and not math.isnan(
        float(mixes(Augment()))
    )
