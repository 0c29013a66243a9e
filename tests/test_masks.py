"""Masks as tools write them: palettes, alpha, soft edges, 4 bits, names.

The same mask is the same classes.
"""

import unicodedata

import numpy as np
import pytest
from PIL import Image
from test_segment import found, save

from eyesight.data.decode import BadPicture
from eyesight.data.masks import mask_file, pairs, scan
from eyesight.data.masks.legend import Legend
from eyesight.data.masks.mask_file import class_numbers, decode_mask
from eyesight.errors import UserError

COLOURS = {"background": (0, 0, 0), "road": (128, 0, 0), "tree": (0, 128, 0)}
LEGEND = Legend(tuple(COLOURS), tuple(COLOURS.values()))
TABLE = np.array(list(COLOURS.values()), dtype=np.uint8)
SHAPES = np.zeros((24, 32), np.uint8)
SHAPES[4:12, 5:15] = 1
SHAPES[14:20, 8:30] = 2


def folder_of(root, masks, images="images", folder="masks", name="{:02d}"):
    """Pictures with these masks, each an image of Pillow."""
    random = np.random.default_rng(0)
    for number, mask in enumerate(masks):
        pixels = random.integers(0, 256, (mask.height, mask.width, 3), dtype=np.uint8)
        save(root / images / f"{name.format(number)}.png", pixels)
        (root / folder).mkdir(parents=True, exist_ok=True)
        mask.save(root / folder / f"{name.format(number)}.png")
    return root


def palette_mask(numbers, colours):
    image = Image.fromarray(numbers)
    image.putpalette([part for colour in colours for part in colour])
    return image


def shares(root, **options):
    seen = scan.scan_masks(str(root), **options)
    return dict(zip(seen.classes, (seen.pixels / seen.pixels.sum()).round(3).tolist(), strict=True))


RIGHT = {name: round(float((i == SHAPES).mean()), 3) for i, name in enumerate(COLOURS)}
ORDER = [2, 0, 1]  # of the colours in another palette


@pytest.mark.parametrize(
    "kind", ["rgb", "palette", "shuffled", "rgba", "adaptive", "numbers", "la"]
)
def test_one_mask_in_every_form_is_the_same_classes(tmp_path, kind):
    colours = TABLE[SHAPES]
    forms = {
        "rgb": lambda: Image.fromarray(colours),
        "palette": lambda: palette_mask(SHAPES, TABLE.tolist()),
        "shuffled": lambda: palette_mask(
            np.argsort(ORDER).astype(np.uint8)[SHAPES], TABLE[ORDER].tolist()
        ),
        "rgba": lambda: Image.fromarray(colours).convert("RGBA"),
        "adaptive": lambda: Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE),
        "numbers": lambda: Image.fromarray(SHAPES),
        "la": lambda: Image.fromarray(SHAPES).convert("LA"),
    }
    folder_of(tmp_path, [forms[kind]() for _ in range(3)])
    lines = [f"{name},{r},{g},{b}" for name, (r, g, b) in COLOURS.items()]
    (tmp_path / "classes.csv").write_text("\n".join(["name,r,g,b", *lines]))
    assert shares(tmp_path) == RIGHT


def test_a_palette_of_other_colours_is_numbers():
    image = mask_file.Mask(SHAPES, np.full((256, 3), 9, np.uint8))
    assert np.array_equal(class_numbers(image, LEGEND), SHAPES)


def test_palettes_that_differ_are_refused_without_a_file_of_colours(tmp_path):
    other = [COLOURS["road"], COLOURS["background"], COLOURS["tree"]]
    folder_of(tmp_path, [palette_mask(SHAPES, TABLE.tolist()), palette_mask(SHAPES, other)])
    with pytest.raises(UserError, match=r"0 is \(0, 0, 0\) in .*00\.png, but \(128, 0, 0\)"):
        scan.scan_masks(str(tmp_path))
    (tmp_path / "classes.txt").write_text("\n".join(COLOURS))
    assert shares(tmp_path) == RIGHT


def test_palettes_may_differ_in_what_no_mask_uses(tmp_path):
    longer = [*TABLE.tolist(), [9, 9, 9]]
    folder_of(tmp_path, [palette_mask(SHAPES, TABLE.tolist()), palette_mask(SHAPES, longer)])
    assert list(shares(tmp_path)) == ["0", "1", "2"]


def test_transparent_pixels_are_the_background_whatever_lies_under_them(tmp_path):
    under = np.dstack(
        [TABLE[np.maximum(SHAPES, 1)], np.where(SHAPES == 0, 0, 255).astype(np.uint8)]
    )
    mask = Image.fromarray(under, "RGBA")
    folder_of(tmp_path, [mask] * 3)
    lines = [f"{name},{r},{g},{b}" for name, (r, g, b) in COLOURS.items()]
    (tmp_path / "classes.csv").write_text("\n".join(lines))
    assert shares(tmp_path) == RIGHT
    assert "are background" in scan.scan_masks(str(tmp_path)).notes[0]
    (tmp_path / "classes.csv").write_text(
        "\n".join(line.replace("background", "sky") for line in lines)
    )
    with pytest.raises(UserError, match="transparent"):
        scan.scan_masks(str(tmp_path))


@pytest.mark.parametrize("levels", [(0, 255), (0, 128, 255), (10, 200)])
def test_soft_and_noisy_masks_are_drawn_to_their_real_values(tmp_path, levels):
    random = np.random.default_rng(1)
    masks = []
    for _ in range(8):
        clean = np.array(levels)[np.minimum(SHAPES, len(levels) - 1)]
        noise = random.integers(-9, 10, clean.shape) * (random.random(clean.shape) < 0.2)
        masks.append(Image.fromarray(np.clip(clean + noise, 0, 255).astype(np.uint8)))
    seen = scan.scan_masks(
        str(folder_of(tmp_path, masks)),
    )
    assert seen.classes == tuple(map(str, levels)) or seen.classes == tuple(map(str, levels[:-1]))
    assert any("each is rounded to the nearest of" in note for note in seen.notes)
    assert not any(problem.fatal for problem in seen.problems)


def test_noise_without_real_values_is_refused(tmp_path):
    random = np.random.default_rng(2)
    masks = [Image.fromarray(random.integers(0, 60, (24, 32), dtype=np.uint8)) for _ in range(4)]
    with pytest.raises(UserError, match="scattered pixels"):
        scan.scan_masks(str(folder_of(tmp_path, masks)))


def test_many_true_classes_are_no_noise(tmp_path):
    """As ADE20K has them: a hundred classes, most of them rare, each in regions."""
    random = np.random.default_rng(3)
    masks = []
    for _ in range(30):
        values = np.zeros((48, 48), np.uint8)
        for _ in range(6):
            row, column = random.integers(0, 40, 2)
            values[row : row + 6, column : column + 8] = random.integers(1, 100)
        masks.append(Image.fromarray(values))
    seen = scan.scan_masks(str(folder_of(tmp_path, masks)))
    assert len(seen.classes) > 50 and not any("nearest of" in note for note in seen.notes)


def test_0_and_255_alone_are_two_classes(tmp_path):
    folder_of(tmp_path, [Image.fromarray(np.where(SHAPES > 0, 255, 0).astype(np.uint8))] * 2)
    seen = scan.scan_masks(str(tmp_path))
    assert seen.classes == ("0", "255") and "255 is a class" in seen.notes[0]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_files_of_few_bits_keep_their_numbers(tmp_path, bits):
    values = SHAPES if bits > 1 else np.minimum(SHAPES, 1)
    file = tmp_path / "mask.png"
    if bits == 1:
        Image.fromarray(values.astype(bool)).save(file)
    else:
        file.write_bytes(grey_png(values, bits))
    assert np.array_equal(decode_mask(file.read_bytes()).values, values)


def grey_png(values, bits):
    """A grey PNG of so many bits, which Pillow does not write."""
    import struct
    import zlib

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    height, width = values.shape
    rows = []
    for row in values:
        text = "".join(format(int(value), f"0{bits}b") for value in row)
        rows.append(b"\0" + int(text, 2).to_bytes(len(text) // 8, "big"))
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    data = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + data


def test_why_no_mask_can_be_used_is_said(tmp_path):
    for number in range(3):
        save(tmp_path / "images" / f"{number}.png", np.full((8, 8, 3), number, np.uint8))
        save(tmp_path / "masks" / f"{number}.jpg", np.zeros((8, 8), np.uint8))
    with pytest.raises(UserError, match="3 × JPEG changes the values"):
        scan.scan_masks(str(tmp_path))


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.b.001.png", "masks/a.b.001.png"),
        ("images/x.jpg", "masks/x.jpg.png"),
        ("Images/IMG_1.PNG", "Masks/img_1.png"),
        ("JPEGImages/2007_1.jpg", "SegmentationClass/2007_1.png"),
        ("images/x.jpg", "annotations/trimaps/x.png"),
        ("images/training/x.png", "annotations/training/x.png"),
        ("leftImg8bit/train/ulm/u_1_leftImg8bit.png", "gtFine/train/ulm/u_1_gtFine_labelIds.png"),
        ("train/x.png", "train_masks/x_mask.png"),
        ("images/x_sat.png", "masks/x_mask.png"),
        (f"images/{unicodedata.normalize('NFD', 'größe')}.png", "masks/größe.png"),
        ("val/images/x.png", "val/masks/x.png"),
    ],
)
def test_pairs_by_the_names_that_people_use(tmp_path, image, mask):
    for suffix in ("", "_2"):
        for name, pixels in (
            (image, np.zeros((8, 8, 3), np.uint8)),
            (mask, np.eye(8, dtype=np.uint8)),
        ):
            folder, _, file = name.rpartition("/")
            stem, dot, rest = file.partition(".")
            save(tmp_path / f"{folder}{suffix and '/more'}" / f"{stem}{dot}{rest}", pixels)
    assert pairs.is_masked(str(tmp_path))
    opened = pairs.open_pairs(pairs.Data(str(tmp_path), target="mask"))
    assert len(opened.source.ids) == 2 and opened.source.problems == ()


def test_of_cityscapes_the_training_numbers_count(tmp_path):
    for kind, value in (("labelIds", 7), ("labelTrainIds", 0), ("instanceIds", 999), ("color", 3)):
        save(
            tmp_path / f"gtFine/train/ulm/u_gtFine_{kind}.png",
            np.full((8, 8), value % 256, np.uint8),
        )
    save(tmp_path / "leftImg8bit/train/ulm/u_leftImg8bit.png", np.zeros((8, 8, 3), np.uint8))
    opened = pairs.open_pairs(pairs.Data(str(tmp_path), target="mask"))
    assert opened.source.splits.tolist() == ["train"] and opened.source.problems == ()
    assert (opened.mask(0).values == 0).all()


def test_several_masks_of_one_picture_are_refused_by_name(tmp_path):
    for number in range(3):
        save(tmp_path / f"n{number}/images/n{number}.png", np.zeros((8, 8, 3), np.uint8))
        for part in "ab":
            save(tmp_path / f"n{number}/masks/{part}{number}.png", np.eye(8, dtype=np.uint8))
    assert pairs.is_masked(str(tmp_path))
    with pytest.raises(UserError, match="several masks, such as the 2 in n0/masks"):
        scan.scan_masks(str(tmp_path))


def test_boxes_as_text_are_no_masks(tmp_path):
    save(tmp_path / "images" / "1.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "1.txt").write_text("0 0.5 0.5 0.1 0.1")
    assert not pairs.is_masked(str(tmp_path))


def test_a_broken_mask_is_a_bad_picture():
    with pytest.raises(BadPicture):
        decode_mask(b"\x89PNG\r\n\x1a\nno more")


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("Kvasir-SEG/images/{}.png", "Kvasir-SEG/masks/{}.png"),
        ("Lung Segmentation/CXR_png/a_{}.png", "Lung Segmentation/masks/a_{}_mask.png"),
        ("Task1_Training_Input/{}.png", "Task1_Training_GroundTruth/{}_segmentation.png"),
        ("JPEGImages/{}.png", "SegmentationClassPNG/{}.png"),
        ("Rural/images_png/{}.png", "Rural/masks_png/{}.png"),
        ("images/img_{}.png", "masks/mask_{}.png"),
        ("all/{}.png", "all/{}_mask.png"),
        ("patient_{}/scan_{}.png", "patient_{}/scan_{}_mask.png"),
        ("benign/b ({}).png", "benign/b ({})_mask.png"),
    ],
)
def test_images_and_masks_in_the_folders_that_people_have(tmp_path, image, mask):
    random = np.random.default_rng(0)
    for number in range(4):
        pixels = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        save(tmp_path / image.format(number, number), pixels)
        save(tmp_path / mask.format(number, number), SHAPES)
    seen = scan.scan_masks(str(tmp_path))
    assert seen.usable == 4 and seen.classes == ("0", "1", "2") and not seen.problems


def test_drawings_of_masks_are_no_images(tmp_path):
    folder_of(tmp_path, [Image.fromarray(SHAPES)] * 3, "JPEGImages", "SegmentationClassPNG")
    folder_of(tmp_path, [Image.fromarray(TABLE[SHAPES])] * 3, "x", "SegmentationClassVisualization")
    (tmp_path / "x").rename(tmp_path / "SegmentationObjectPNG")
    assert scan.scan_masks(str(tmp_path)).usable == 3


def test_the_names_and_colours_of_cvat(tmp_path):
    folder_of(tmp_path, [Image.fromarray(TABLE[SHAPES])] * 2, "JPEGImages", "SegmentationClass")
    rows = [f"{name}:{','.join(map(str, colour))}::" for name, colour in COLOURS.items()]
    (tmp_path / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *rows]))
    assert shares(tmp_path) == RIGHT


def test_numbers_of_names_are_no_file_of_colours(tmp_path):
    folder_of(tmp_path, [Image.fromarray(SHAPES)] * 2)
    (tmp_path / "label_map.json").write_text('{"road": 0}')
    assert list(shares(tmp_path)) == ["0", "1", "2"]


def test_masks_that_are_no_images_are_named(tmp_path):
    folder_of(tmp_path, [Image.fromarray(SHAPES)], folder="old")
    (tmp_path / "masks").mkdir()
    np.save(tmp_path / "masks" / "00.npy", SHAPES)
    with pytest.raises(UserError, match="contains no masks") as caught:
        scan.scan_masks(str(tmp_path))
    assert "masks/00.npy" in caught.value.hint


def test_255_that_is_a_class_in_some_masks_is_told(tmp_path):
    binary = (SHAPES > 0).astype(np.uint8)
    folder_of(tmp_path, [Image.fromarray(binary)] * 3 + [Image.fromarray(255 * binary)] * 2)
    notes = scan.scan_masks(str(tmp_path)).notes
    assert any("2 of 5 masks have one class only" in note for note in notes)


def test_masks_of_one_class_are_refused(tmp_path):
    with pytest.raises(UserError, match="all masks have only the class 0"):
        scan.scan_masks(str(folder_of(tmp_path, [Image.fromarray(0 * SHAPES)] * 2)))


def pair_files(root, *names, mask=SHAPES):
    """Photographs, and masks where a name says so, below a folder."""
    for name in names:
        random = np.random.default_rng(list(name.encode()))
        is_mask = "mask" in name or "manual" in name or "label" in name
        pixels = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        save(root / name, mask if is_mask else pixels)
    return root


def test_pairs_by_number_are_told(tmp_path):
    pair_files(tmp_path, *(f"CXR/img_{n}.png" for n in range(3)))
    pair_files(tmp_path, *(f"masks/mask_{n:02d}.png" for n in range(3)))
    seen = scan.scan_masks(str(tmp_path))
    assert seen.usable == 3 and "paired by the numbers in their names" in seen.notes[0]
    notes = found(tmp_path, size=16).notes
    assert any("paired by the numbers" in note for note in notes)


def test_pairs_by_name_need_no_note(tmp_path):
    pair_files(tmp_path, "CXR/a.png", "CXR/b.png", "masks/a_mask.png", "masks/b_mask.png")
    seen = scan.scan_masks(str(tmp_path))
    assert seen.usable == 2 and not any("numbers" in note for note in seen.notes)


def test_a_word_within_a_name_is_no_prefix_of_its_number(tmp_path):
    """`bigmask_1` and `smallmask_1` would both be 1."""
    pair_files(tmp_path, "CXR/1.png", "masks/bigmask_1.png")
    with pytest.raises(UserError, match="has the name of an image"):
        scan.scan_masks(str(tmp_path))


def test_a_mask_of_two_images_is_refused_with_both(tmp_path):
    pair_files(tmp_path, "CXR/1.png", "infrared/1.png", "masks/1.png")
    with pytest.raises(UserError, match=r"masks/1\.png .* CXR/1\.png and infrared/1\.png"):
        scan.scan_masks(str(tmp_path))


def test_numbers_that_several_images_share_pair_nothing(tmp_path):
    pair_files(tmp_path, "images/7_1.png", "images/7_2.png", "masks/7_9_mask.png")
    with pytest.raises(UserError, match="has the name of an image"):
        scan.scan_masks(str(tmp_path))


@pytest.mark.parametrize(
    ("images", "masks", "message", "hint"),
    [
        ("images/1.npy", "masks/1.png", "no images: found 0 images and 1 mask", "images/1.npy"),
        ("CXR/1.dcm", "masks/1.png", "no images: found 0 images and 1 mask", "CXR/1.dcm"),
        ("images/1.png", "masks/1.nii", "no masks: found 1 images and 0 mask", "masks/1.nii"),
        ("x-seg/images/1.png", "x-seg/masks/1.nii", "no masks: found 1 images", "masks/1.nii"),
    ],
)
def test_files_of_other_formats_are_named(tmp_path, images, masks, message, hint):
    for name in (images, masks):
        if name.endswith(".png"):
            pair_files(tmp_path, name)
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(UserError, match=message) as caught:
        scan.scan_masks(str(tmp_path))
    assert f"are read from files such as .png, not from {hint}" in caught.value.hint.replace(
        "x-seg/", ""
    )


def test_two_folders_of_masks_are_refused_with_both(tmp_path):
    """As in DRIVE, where `mask` is the field of view and `1st_manual` the vessels."""
    for n in range(21, 24):
        pair_files(
            tmp_path,
            f"training/images/{n}_training.tif",
            f"training/1st_manual/{n}_manual1.gif",
            f"training/mask/{n}_training_mask.gif",
        )
    with pytest.raises(UserError, match="training/mask or training/1st_manual") as caught:
        scan.scan_masks(str(tmp_path))
    assert "named masks" in caught.value.hint
    (tmp_path / "training/mask").rename(tmp_path.parent / f"{tmp_path.name}-mask")
    (tmp_path / "training/1st_manual").rename(tmp_path / "training/masks")
    seen = scan.scan_masks(str(tmp_path))
    assert seen.usable == 3 and "numbers" in seen.notes[0]


def test_two_folders_called_masks_are_refused_with_both(tmp_path):
    pair_files(tmp_path, "images/1.png", "masks/1.png", "labels/1.png")
    with pytest.raises(UserError, match="labels or masks"):
        scan.scan_masks(str(tmp_path))


def test_two_folders_of_masks_are_refused_with_splits_inside(tmp_path):
    for split in ("train", "test"):
        for folder in ("images", "1st_manual", "mask"):
            pair_files(tmp_path, *(f"{folder}/{split}/{n}.png" for n in range(2)))
    with pytest.raises(UserError, match="mask/test or 1st_manual/test"):
        scan.scan_masks(str(tmp_path))


def test_photographs_beside_the_images_are_left_out(tmp_path):
    pair_files(tmp_path, *(f"{folder}/{n}.png" for n in range(3) for folder in ("images", "masks")))
    pair_files(tmp_path, *(f"infrared/{n}.png" for n in range(3)))
    seen = scan.scan_masks(str(tmp_path))
    assert seen.usable == 3 and [problem.kind for problem in seen.problems] == ["no mask"] * 3


def test_drawings_without_a_mask_beside_others_are_no_masks(tmp_path):
    pair_files(tmp_path, *(f"masks/{n}.png" for n in range(2)))
    for n in range(4):
        save(tmp_path / f"images/{n}.png", np.uint8(SHAPES * 50 + n))
    assert scan.scan_masks(str(tmp_path)).usable == 2


@pytest.mark.parametrize(
    "aside",
    [
        "edges",
        "trimaps",
        "labels_vis",
        "masks_colour",
        "instanceIds",
        "instance_masks",
        "SegmentationObject",
        "segmentationobject",
        "skeletons",
        "depthMap",
    ],
)
def test_folders_made_from_the_masks_are_named_and_left_out(tmp_path, aside):
    pair_files(tmp_path, *(f"{folder}/{n}.png" for n in range(3) for folder in ("images", "masks")))
    for n in range(3):
        save(tmp_path / aside / f"{n}.png", SHAPES)
    seen = scan.scan_masks(str(tmp_path))
    assert seen.usable == 3 and [p.kind for p in seen.problems] == ["ignored_folder"]
    assert seen.problems[0].id == aside and not seen.problems[0].fatal


@pytest.mark.parametrize("names", [("images", "trimaps"), ("depth", "masks")])
def test_a_name_such_as_depth_says_nothing_where_no_other_folder_fits(tmp_path, names):
    images, masks = names
    pair_files(tmp_path, *(f"{images}/{n}.png" for n in range(3)))
    for n in range(3):
        save(tmp_path / masks / f"{n}.png", SHAPES)
    assert scan.scan_masks(str(tmp_path)).usable == 3


@pytest.mark.parametrize("layout", ["{place}/{kind}", "{kind}/{place}"])
def test_folders_of_images_and_masks_are_used_whatever_their_name(tmp_path, layout):
    for where in ("boxes", "streets"):
        for kind in ("images", "masks"):
            folder = layout.format(place=where, kind=kind)
            pair_files(tmp_path, *(f"{folder}/{n}.png" for n in range(2)))
    assert scan.scan_masks(str(tmp_path)).usable == 4


def test_fine_masks_are_used_before_coarse_ones(tmp_path):
    """As in Cityscapes with both archives unpacked."""
    for n in range(2):
        pair_files(tmp_path, f"leftImg8bit/train/a/{n}_leftImg8bit.png")
        save(tmp_path / f"gtFine/train/a/{n}_gtFine_labelIds.png", SHAPES)
        save(tmp_path / f"gtCoarse/train/a/{n}_gtCoarse_labelIds.png", SHAPES + 7)
    assert scan.scan_masks(str(tmp_path)).classes == ("0", "1", "2")


def test_images_and_masks_pair_by_split_and_name_wherever_they_lie(tmp_path):
    """As in LIP."""
    for split in ("train", "val"):
        pair_files(tmp_path, *(f"All_images/{split}_images/{n}.png" for n in range(2)))
        folder = f"All_parsing_annotations/{split}_segmentations"
        for n in range(2):
            save(tmp_path / folder / f"{n}.png", SHAPES)
    seen = scan.scan_masks(str(tmp_path))
    assert seen.usable == 4 and seen.splits == {"train": 2, "validation": 2}
