"""Segmentation: masks are found, checked and moved with their pictures.

The same loop, run and comparison carry it.
"""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from commands import command
from drawn import folder
from PIL import Image

from eyesight import augment, experiment, recipe
from eyesight.comparison import compare, statistics
from eyesight.data import dataset
from eyesight.data.decode import BadPicture
from eyesight.data.loading import prepare_data
from eyesight.data.masks import legend, mask_file, shapes
from eyesight.errors import UserError
from eyesight.exporting import export
from eyesight.inference import dense, onnx_classifier
from eyesight.models.registry import build
from eyesight.recipe import Augment, Data, Loss, Model
from eyesight.report import report
from eyesight.results import segmentations
from eyesight.results.segmentations import Segmentations, iou, mean_iou
from eyesight.runs import Run, resolve
from eyesight.tasks import pixel_losses

COLOURS = {
    "background": (0, 0, 0),
    "circle": (255, 0, 0),
    "square": (0, 255, 0),
    "triangle": (0, 0, 255),
}
TINY = (
    "model.width=0.5",
    "training.epochs=10",
    "training.batch=8",
    "training.min_steps=0",
    "optim.lr=0.05",
    "training.precision=float32",
)


def save(file, pixels, mode=None):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels, mode).save(file)


def in_numbers(values, colours):
    """A mask as class numbers by the colours of its classes."""
    names = legend.Legend(tuple(map(str, range(len(colours)))), tuple(colours))
    return mask_file.class_numbers(mask_file.Mask(values), names)


def masked_folder(root, count=24, side=32, colours=False, split=lambda place: ""):
    """Drawn shapes with masks below images/ and masks/, or in CamVid's folders."""
    table = np.array(list(COLOURS.values()), dtype=np.uint8)
    for place in range(count):
        pixels, mask = shapes.draw(place, side)
        part = split(place)
        folders = (f"{part}", f"{part}annot") if part else ("images", "masks")
        save(root / folders[0] / f"{place:03d}.png", pixels)
        save(root / folders[1] / f"{place:03d}.png", table[mask] if colours else mask)
    return root


def found(root, **options):
    return prepare_data(Data(str(root), target="mask", **options))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("segment")
    with pytest.MonkeyPatch.context() as monkey:
        monkey.setenv("EYESIGHT_CACHE", str(root / "cache"))
        masked_folder(root / "data", 40)
        (root / "data" / "classes.txt").write_text("\n".join(COLOURS))
        run = experiment.train(resolve("segment", *TINY, data=root / "data"), root / "runs")
        yield root, run


def test_a_run_of_segmentation_is_a_run_like_any_other(trained):
    _, run = trained
    test, said = run.result["test"], run.results()
    assert run.status == "done" and run.target == "mask"
    assert (
        0.15 < test["mean_iou"] < 1
        and test["interval"][0] <= test["mean_iou"] <= test["interval"][1]
    )
    assert set(test["per_class_iou"]) == set(COLOURS) and test["n"] == len(said)
    assert test["mean_iou"] == pytest.approx(mean_iou(said.counts.sum(0)))
    assert {"train_mean_iou", "validation_mean_iou"} <= set(run.epochs[0])
    assert run.epochs[-1]["train_mean_iou"] > run.epochs[0]["train_mean_iou"]
    with pytest.raises(UserError, match="predicts a mask"):
        run.predictions()


def test_its_report_shows_overlays_and_every_class(trained):
    _, run = trained
    text = report.page(run)
    assert "test mean IoU" in text and "The worst images" in text and "triangle" in text
    assert {"curves.png", "overlays.png", "worst.png", "ious.png"} <= {
        file.name for file in report.write_figures(run)
    }


def test_predicted_masks_are_those_of_the_test_and_have_the_size_of_the_picture(trained, tmp_path):
    root, run = trained
    from eyesight.inference import predict

    known, said = predict.load(run.path), run.results()
    picture = root / "data" / said.ids[0]
    (made,) = dense.render(known, [str(picture)], tmp_path / "out")
    image = Image.open(made.file)
    mask = np.asarray(Image.open(picture.parent.parent / "masks" / picture.name))
    counts = np.zeros((4, 4), dtype=int)
    np.add.at(counts, (mask.ravel(), np.asarray(image).ravel()), 1)
    assert image.mode == "P" and (counts == said.counts[0]).all()
    assert sum(dict(made.shares).values()) == pytest.approx(1)
    assert (
        (tmp_path / "out" / "answers.csv")
        .read_text()
        .startswith("picture,written,background,circle")
    )


def test_the_exported_file_gives_the_same_maps(trained, tmp_path):
    _, run = trained
    made = export.export(run, tmp_path / "map.onnx")
    assert made.parity.agreement == 1 and made.parity.largest_difference < 1e-3
    known = onnx_classifier.load(made.file)
    assert dense.target_of(known) == "mask" and known.facts["colours"]
    assert known.probabilities(np.zeros((1, 3, 32, 32), np.uint8)).shape == (1, 4, 32, 32)


def test_runs_of_two_tasks_stand_in_one_comparison(trained):
    _, run = trained
    members = [compare.Member(run.name, run.recipe, run=run)]
    rows = compare.compare(members, run.path.parent, train=lambda missing, out: iter(())).rows
    assert (
        rows[0].measure.key == "mean_iou" and rows[0].score.mean == run.result["test"]["mean_iou"]
    )
    assert statistics.judge(run).scores.shape == (run.result["test"]["n"],)
    assert rows[0].to_dict()["top1"] is None


def test_evaluating_elsewhere_matches_classes_by_name(trained, tmp_path):
    _, run = trained
    masked_folder(tmp_path / "other", 6)
    (tmp_path / "other" / "classes.txt").write_text("background\nring\nsquare\ntriangle")
    with pytest.raises(UserError, match="does not have the classes 'ring'"):
        experiment.evaluate(run, str(tmp_path / "other"))
    (tmp_path / "other" / "classes.txt").write_text("\n".join(COLOURS))
    assert len(experiment.evaluate(run, str(tmp_path / "other"))) == 6


def test_folders_beside_each_other_are_splits(tmp_path):
    parts = {0: "train", 1: "val", 2: "test"}
    made = found(masked_folder(tmp_path / "street", 12, split=lambda place: parts[place % 3]))
    assert sorted(set(made.store.splits)) == ["test", "train", "validation"]
    assert made.classes == ("0", "1", "2", "3") and made.masks.shape == (12, 32, 32)
    assert (made.masks[0] == shapes.draw(int(made.store.ids[0][-7:-4]), 32)[1]).all()


@pytest.mark.parametrize(
    "name, text",
    [
        (
            "classes.csv",
            "name,r,g,b\n"
            + "\n".join(f"{name},{r},{g},{b}" for name, (r, g, b) in COLOURS.items()),
        ),
        ("classes.json", json.dumps({name: list(colour) for name, colour in COLOURS.items()})),
        (
            "label_colors.txt",
            "\n".join(f"{r} {g} {b}\t{name}" for name, (r, g, b) in COLOURS.items()),
        ),
    ],
)
def test_colour_masks_are_read_with_a_file_of_colours(tmp_path, name, text):
    folder = masked_folder(tmp_path / "data", 5, colours=True)
    with pytest.raises(UserError, match="no file assigns colours to classes"):
        found(folder)
    (folder / name).write_text(text)
    made = found(folder)
    assert made.classes == tuple(COLOURS) and made.colours == tuple(COLOURS.values())
    assert (made.masks[2] == shapes.draw(2, 32)[1]).all()


def test_what_is_wrong_is_named_and_left_out(tmp_path):
    folder = masked_folder(tmp_path / "data", 10)
    (folder / "classes.txt").write_text("\n".join(COLOURS))
    (folder / "masks" / "000.png").unlink()
    (folder / "images" / "001.png").unlink()
    save(folder / "masks" / "002.png", np.zeros((16, 32), np.uint8))
    save(folder / "masks" / "003.png", np.full((32, 32), 9, np.uint8))
    save(folder / "masks" / "004.png", np.full((32, 32), 255, np.uint8))
    (folder / "masks" / "005.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    made = found(folder)
    kinds = {problem.id: problem.kind for problem in made.store.problems if problem.fatal}
    assert kinds["images/000.png"] == "no mask" and kinds["masks/001.png"] == "no image"
    assert kinds["images/002.png"] == "mask size" and kinds["images/003.png"] == "mask value"
    assert kinds["images/004.png"] == "mask" and "images/005.png" in kinds
    assert made.usable.sum() == 4, "the other pictures are used"
    data = dataset.load(Data(str(folder), target="mask"))
    assert len(data.train) + len(data.validation) + len(data.test) == 4
    with pytest.raises(UserError, match="bad files"):
        found(folder, strict=True)


@pytest.mark.parametrize(
    "prepare, said",
    [
        ("empty", "contains no"),
        ("pictures", "contains no masks"),
        ("names", "has the name of an image"),
    ],
)
def test_folders_without_pairs_say_what_was_expected(tmp_path, prepare, said):
    (tmp_path / "images").mkdir()
    if prepare != "empty":
        save(tmp_path / "images" / "one.png", np.zeros((8, 8), np.uint8))
    if prepare == "names":
        save(tmp_path / "masks" / "two.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(UserError, match=said):
        found(tmp_path)


def test_nothing_but_ignored_values_is_an_error(tmp_path):
    for place in range(3):
        save(tmp_path / "images" / f"{place}.png", np.full((8, 8), 40 * place, np.uint8))
        save(tmp_path / "masks" / f"{place}.png", np.full((8, 8), 9 * (place == 1), np.uint8))
    with pytest.raises(UserError, match="1 is not ignored") as caught:
        found(tmp_path, ignore="9")
    assert "data.ignore=none" in caught.value.hint
    assert found(tmp_path, ignore="none").classes == ("0", "9")


def test_a_void_class_counts_for_nothing(tmp_path):
    folder = masked_folder(tmp_path / "data", 4)
    (folder / "classes.txt").write_text("background\nVoid\nsquare\ntriangle")
    made = found(folder)
    assert made.classes == ("background", "square", "triangle") and 255 in np.asarray(made.masks)
    made = found(folder, ignore="255 background void")
    assert made.classes == ("square", "triangle")


def test_palette_masks_keep_their_numbers_and_jpeg_is_refused():
    image, stream = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)), io.BytesIO()
    image.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
    image.save(stream, "PNG")
    assert mask_file.decode_mask(stream.getvalue()).values.tolist() == [[0, 1], [2, 1]]
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(stream, "JPEG")
    with pytest.raises(BadPicture, match="JPEG"):
        mask_file.decode_mask(stream.getvalue())


def test_the_mask_of_a_turned_picture_has_the_size_of_the_upright_one(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for place in range(6):
        save(tmp_path / "masks" / f"{place}.png", np.arange(48, dtype=np.uint8).reshape(8, 6) % 2)
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(np.full((6, 8), 30 * place, np.uint8)).save(
            tmp_path / "images" / f"{place}.png", exif=exif
        )
    assert found(tmp_path).usable.all()


@pytest.mark.parametrize("channels", [1, 3])
def test_black_and_white_are_two_classes_where_a_file_says_so(channels):
    mask = np.array([[0, 255], [0, 0]], np.uint8)
    mask = mask if channels == 1 else np.stack([mask] * 3, 2)
    for colours in (((0,) * 3, (255,) * 3), ((255,) * 3, (0,) * 3)):
        black = colours.index((0, 0, 0))
        assert in_numbers(mask, colours).tolist() == [[black, 1 - black], [black, black]]
        assert (in_numbers(mask * 0, colours) == black).all()


def test_numbers_are_numbers_although_colours_are_given():
    colours = ((128, 64, 128), (0, 0, 0), (9, 9, 9))
    numbers = np.array([[0, 2], [1, 255]], np.uint8)
    assert in_numbers(numbers, colours) is numbers
    assert (in_numbers(np.stack([numbers] * 3, 2), colours) == numbers).all()
    assert (in_numbers(np.zeros((2, 2, 3), np.uint8), colours) == 1).all(), (
        "nothing but black in a file of colours"
    )


def test_a_class_may_be_called_red(tmp_path):
    (tmp_path / "classes.txt").write_text("red\nb\nblue")
    assert legend.read(tmp_path / "classes.txt").names == ("red", "b", "blue")


def test_a_bad_file_of_names_is_refused(tmp_path):
    for text in ("", "a\na", "a,300,0,0\nb,1,1,1", "a,1,1,1\nb,1,1,1"):
        (tmp_path / "classes.csv").write_text(text)
        with pytest.raises(UserError, match=r"classes\.csv"):
            legend.read(tmp_path / "classes.csv")


@pytest.mark.parametrize(
    "how",
    [
        Augment(flip="random"),
        Augment(crop=4),
        Augment(rotate=40, shift=0.1, zoom=0.3, elastic=0.02),
    ],
)
def test_pictures_and_masks_move_together(how):
    masks_ = torch.stack([torch.from_numpy(shapes.draw(place, 64)[1]) for place in range(6)])
    pixels = (masks_ * 60)[:, None].expand(-1, 3, -1, -1).contiguous()
    pictures, moved = augment.move(
        pixels, masks_, how, augment.generator(0, 0, 0), 1, torch.arange(6)
    )
    assert moved.dtype == torch.uint8 and set(moved.unique().tolist()) <= {0, 1, 2, 3}
    assert not torch.equal(moved, masks_)
    same = (pictures[:, 0] * 255 / 60).round() == moved
    assert same.float().mean() > 0.97, "they differ only where a picture is blurred at an edge"


def test_losses_ignore_what_does_not_count_and_know_a_perfect_map():
    true = torch.tensor([[[0, 1], [2, 255]]], dtype=torch.uint8)
    perfect = torch.nn.functional.one_hot(true.long().clamp(max=2), 3).movedim(-1, 1).float() * 40
    spoilt = perfect.clone()
    spoilt[:, :, 1, 1] = torch.tensor([50.0, -50.0, 0.0])
    blank = torch.zeros_like(perfect)
    for name in ("cross_entropy", "focal", "dice"):
        for weights in ("none", "balanced"):
            value = pixel_losses.build(Loss(name, class_weights=weights), torch.tensor([4, 1, 1]))
            assert value(perfect, true) == pytest.approx(0, abs=1e-5) and value(blank, true) > 0.2
            assert value(spoilt, true) == pytest.approx(float(value(perfect, true)), abs=1e-6)
    assert pixel_losses.build(Loss("cross_entropy"), torch.ones(3))(blank, true) == pytest.approx(
        np.log(3)
    )
    nothing = torch.full((1, 2, 2), 255, dtype=torch.uint8)
    assert pixel_losses.build(Loss("cross_entropy"), torch.ones(3))(blank, nothing) == 0


def test_dice_is_of_the_batch_and_of_the_classes_it_shows_by_their_weight():
    true = torch.tensor([[[0, 0], [0, 1]], [[1, 255], [255, 255]]], dtype=torch.uint8)
    sure = (
        torch.nn.functional.one_hot(torch.tensor([[[0, 0], [1, 1]], [[0, 2], [2, 2]]]), 3)
        .movedim(-1, 1)
        .float()
        * 40
    )
    lost = [
        1 - 2 * 2 / (3 + 3),
        1 - 2 * 1 / (2 + 2),
    ]  # overlap 2 and 1; nothing shows the third class, whatever is said of ignored pixels
    assert pixel_losses.build(Loss("dice"), torch.tensor([3, 2, 5]))(sure, true) == pytest.approx(
        sum(lost) / 2, abs=1e-5
    )
    shares = pixel_losses.build(Loss("dice", class_weights="balanced"), torch.tensor([3, 2, 5]))(
        sure, true
    )
    assert shares == pytest.approx((lost[0] / 3 + lost[1] / 2) / (1 / 3 + 1 / 2), abs=1e-5)


def test_a_share_without_a_class_does_not_thin_out_the_dice_of_the_others():
    dice, shown = (
        pixel_losses.build(Loss("dice"), torch.ones(2)),
        torch.tensor([[[0, 1]]], dtype=torch.uint8),
    )
    blank = torch.full_like(shown, 255)
    assert dice.weigh(torch.cat([shown, blank, shown])) == 2 and 0 < dice.weigh(blank) < 1e-3


def test_iou_and_its_interval():
    counts = np.array([[[3, 1, 0], [0, 4, 0], [0, 0, 0]], [[4, 0, 0], [2, 2, 0], [0, 0, 0]]])
    assert np.allclose(iou(counts.sum(0)), [7 / 10, 6 / 9, np.nan], equal_nan=True)
    said = Segmentations(("a", "b"), counts, ("x", "y", "z"))
    summary = said.summary()
    assert summary["mean_iou"] == pytest.approx((7 / 10 + 6 / 9) / 2) and summary[
        "pixel_accuracy"
    ] == pytest.approx(13 / 16)
    assert summary["per_class_iou"]["z"] is None
    assert summary["interval"][0] < summary["mean_iou"] < summary["interval"][1]
    assert said.worst(1).tolist() == [1]


def test_predictions_survive_the_disk(tmp_path):
    said = Segmentations(("a",), np.ones((1, 2, 2), np.int64), ("x", "y"))
    said.save(tmp_path / "said.npz")
    assert segmentations.load(tmp_path / "said.npz").summary() == said.summary()


def test_a_network_a_loss_or_a_blend_of_another_task_is_refused(tmp_path):
    other = ["model.name=lenet5", "model.width=none", "data.channels=1"]
    for settings, said in (
        (other, "predicts a class"),
        (["loss.name=mse"], "does not support the target mask"),
        (["augment.mixup=1"], "mixup and CutMix do not support"),
    ):
        made = recipe.override(
            resolve("segment", *TINY, data=masked_folder(tmp_path / "data", 6)), settings
        )
        with pytest.raises(UserError, match=said):
            experiment.train(made, tmp_path / "runs")


def test_a_pretrained_backbone_hands_its_stages_on_and_stays_frozen(tmp_path):
    folder = masked_folder(tmp_path / "data", 8, side=64)
    made = resolve(
        "segment_transfer",
        "model.weights=none",
        "training.epochs=1",
        "training.min_steps=0",
        "training.batch=4",
        data=folder,
    )
    made = replace(made, model=Model("mobilenetv3_small_050", weights="none", head="skips 16"))
    run = experiment.train(made, tmp_path / "runs")
    assert run.status == "done" and run.result["test"]["n"] > 0
    network = experiment.classifier.load(run.classifier_path).network
    assert len(network.body.ends) == len(network.neck.steps) + 1
    assert Run.open(run.path).results().counts.shape[1:] == (4, 4)


def test_a_window_is_a_part_of_the_picture_and_of_its_mask(tmp_path):
    masks_ = torch.arange(64, dtype=torch.uint8).view(1, 8, 8).repeat(5, 1, 1)
    pixels = masks_[:, None].repeat(1, 3, 1, 1)
    pictures, moved = augment.move(
        pixels, masks_, Augment(window=0.5), augment.generator(0, 0, 0), 1, torch.arange(5)
    )
    assert pictures.shape == (5, 3, 4, 4) and moved.shape == (5, 4, 4)
    corners = moved[:, 0, 0].long()
    assert len(set(corners.tolist())) > 1, "somewhere else in every picture"
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    assert (moved == corners[:, None, None] + 8 * rows + columns).all(), (
        "neighbours stay neighbours"
    )
    assert (pictures[:, 0] * 255 - moved).abs().max() < 5, (
        "the picture lies where its mask lies, to half a pixel"
    )
    with pytest.raises(UserError, match="window does not support the target class"):
        experiment.train(resolve("lenet5", "augment.window=0.5", data=folder(tmp_path, 30, 32)))


def test_maps_are_coarser_while_a_large_network_learns():
    network = build(Model("skips", width=0.5), (3, 192, 176), 3)
    pictures = torch.zeros(2, 3, 192, 176)
    assert network.train()(pictures).shape == (2, 3, 96, 88) and network.eval()(pictures).shape == (
        2,
        3,
        192,
        176,
    )
    masks_ = torch.arange(192, dtype=torch.uint8)[None, :, None].expand(2, -1, 176)
    assert pixel_losses.thinned(masks_, (96, 88))[0, :, 0].tolist() == list(range(0, 192, 2))


def test_what_only_classes_have_a_meaning_for_is_refused(trained, tmp_path):
    root, run = trained
    picture = root / "data" / "images" / "001.png"
    for option in (
        ["--top", "3"],
        ["--explain", tmp_path / "x"],
        ["--prepare", "digit"],
        ["--unfamiliar", run.path],
    ):
        command("predict", run.path, picture, *option, code=2)
    command("predict", run.path, picture, "--draw", tmp_path / "drawn")
    drawn = np.asarray(Image.open(tmp_path / "drawn" / "001.masked.png"))
    assert drawn.shape == (224, 224, 3)
    assert not (drawn == np.asarray(Image.open(picture)).repeat(7, 0).repeat(7, 1)).all()


def test_the_viewer_lays_masks_over_pictures(trained, tmp_path):
    root, _ = trained
    from eyesight.views import augmentation

    made = resolve("segment", "augment.rotate=30", data=root / "data")
    images = augmentation.first(dataset.load(made.data).train)
    pixels, names = augmentation.changed(images, made, 0)
    assert pixels.shape == (4, 3, 32, 32) and all("background" in name for name in names)
    assert augmentation.draw(made, tmp_path / "seen.png").is_file()


def test_the_table_takes_any_file_name(tmp_path):
    dense.write_table(
        [dense.Rendered("a/\udcff.png", shares=(("sky", 0.5),))], tmp_path / "answers.csv"
    )
    assert (tmp_path / "answers.csv").read_text("utf-8").splitlines() == [
        "picture,written,sky",
        r"a/\udcff.png,,0.5",
    ]
