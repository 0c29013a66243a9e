"""The audit: planted wrong labels, near copies and strangers come first; healthy images raise no
alarm.
"""

import io
import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from commands import command
from drawn import SHAPES, folder, pictures, png
from PIL import Image, ImageDraw

from eyesight.auditing import (
    alignment,
    audit,
    copies,
    features,
    labels,
    logistic,
    noise_share,
    shortcuts,
    unlike,
)
from eyesight.auditing.material import open_material
from eyesight.data.corrections import Correction, Corrections
from eyesight.data.images import Images
from eyesight.errors import UserError
from eyesight.system.progress import Reporter


@pytest.fixture(autouse=True)
def no_backbone(monkeypatch):
    monkeypatch.setattr(features, "backbone_at_hand", lambda: None)
    monkeypatch.setattr(features, "FILTERS", 16)


def blobs(count=300, classes=3, wrong=0, seed=0):
    """Features of well separated classes, the true labels, and labels of which the first `wrong`
    are not true.
    """
    generator = torch.Generator().manual_seed(seed)
    true = torch.arange(count) % classes
    centres = 3 * torch.randn(classes, 20, generator=generator)
    values = centres[true] + torch.randn(count, 20, generator=generator)
    given = true.clone()
    given[:wrong] = (given[:wrong] + 1) % classes
    return values.half(), true, given


def test_leave_one_out_is_what_training_without_the_image_gives():
    values, _, given = blobs(60)
    standardise = labels.Standardiser.of(values)
    targets = torch.nn.functional.one_hot(given, 3).float()
    mean = targets.mean(0)
    gram, moments = labels.normal_equations(values, standardise, targets - mean)
    scores = labels.ridge_scores(values, standardise, targets - mean, gram, moments, 0.1) + mean
    inputs = torch.nn.functional.pad(standardise(values), (0, 1), value=1.0).double()
    kept = torch.arange(60) != 7
    penalties = torch.tensor([0.1 * 60] * 20 + [0.0]).double()
    penalised = inputs[kept].T @ inputs[kept] + penalties.diag()
    coefficients = torch.linalg.solve(penalised, inputs[kept].T @ targets[kept].double())
    assert torch.allclose(scores[7].double(), inputs[7] @ coefficients, atol=1e-4)


def test_more_features_than_images_do_not_give_labels_away():
    values = torch.randn(60, 200, generator=torch.Generator().manual_seed(0)).half()
    given = torch.arange(60) % 2
    probabilities = labels.leave_one_out(values, labels.Standardiser.of(values), given, 2)
    assert (probabilities.argmax(1) == given).float().mean() < 0.7


@pytest.mark.parametrize(("count", "classes"), [(3, 3), (4, 2), (20, 2)])
def test_a_handful_of_images_gives_no_label_away(count, classes):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(count, 768, generator=generator).half()
    given = torch.arange(count) % classes
    probabilities = labels.leave_one_out(values, labels.Standardiser.of(values), given, classes)
    assert (probabilities.argmax(1) == given).float().mean() < 0.7


def test_the_only_image_of_a_class_is_not_called_wrong():
    probabilities = torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.2, 0.8]])
    judged = noise_share.confidently_other(probabilities, torch.tensor([0, 1, 1]))
    assert judged.tolist() == [False, False, False]
    values, _, given = blobs(60, 2)
    given[7] = 2
    suspicion = labels.judge(values, given, 3)
    assert suspicion.score[7] == 0.5


def test_planted_wrong_labels_come_first_with_their_true_class():
    values, true, given = blobs(wrong=15)
    suspicion = labels.judge(values, given, 3)
    first = suspicion.score.argsort(descending=True)[:15]
    assert set(first.tolist()) == set(range(15))
    assert torch.equal(suspicion.suggested[:15], true[:15])
    assert suspicion.score.min() >= 0
    assert suspicion.score.max() <= 1


def test_logistic_regression_is_that_of_each_fold():
    values, _, given = blobs(120, wrong=6)
    standardise = labels.Standardiser.of(values)
    inputs = standardise(values)
    fold = logistic.stratified_folds(given, 0)
    assert torch.bincount(3 * fold + given).tolist() == [8] * 15
    gram = inputs.T @ inputs
    problem = logistic.Problem(lambda rows: inputs[rows], gram, given, 3, fold)
    coefficients = torch.zeros(21, 15)
    for _ in range(4):
        coefficients = logistic.minimise(problem, coefficients, 0.1)
    loss, gradient = problem.loss(coefficients)
    gradient[:-1] += 0.1 * coefficients[:-1]
    assert gradient.abs().max() < 1e-3
    held_out = problem.held_out(coefficients).exp()
    assert (held_out.argmax(1) == given)[6:].float().mean() > 0.95
    assert (held_out.argmax(1) == given)[:6].float().mean() < 0.2
    assert float(loss) / 5 < 0.4


def test_logistic_regression_is_left_out_where_there_is_no_time_for_it():
    values, _, given = blobs(120, wrong=6)
    assert labels.judge(values, given, 3).logistic is not None
    hurried = labels.judge(values, given, 3, deadline=time.monotonic())
    assert hurried.logistic is None
    assert set(hurried.score.argsort(descending=True)[:6].tolist()) == set(range(6))


def test_the_share_of_wrong_labels_covers_the_planted_one_and_is_low_without_any():
    values, _, given = blobs(600, wrong=60)
    suspicion = labels.judge(values, given, 3)
    share = noise_share.share_wrong(suspicion, given)
    assert share.low <= 0.1 <= share.high
    assert noise_share.wrong_labels(suspicion, given)[:60].float().mean() > 0.6
    values, _, given = blobs(600)
    healthy = labels.judge(values, given, 3)
    assert noise_share.share_wrong(healthy, given).value < 0.02
    assert not noise_share.wrong_labels(healthy, given).any()


def test_a_few_images_without_a_wrong_label_do_not_exclude_any():
    given = torch.arange(12) % 2
    probabilities = torch.nn.functional.one_hot(given, 2) * 0.8 + 0.1
    nothing = torch.zeros(12)
    suspicion = labels.Suspicion(nothing, given, probabilities, nothing + 1)
    share = noise_share.share_wrong(suspicion, given)
    assert share.value == share.low == 0
    assert share.high == pytest.approx(0.53, abs=0.01)


def test_correct_labels_that_features_hardly_predict_are_not_estimated_to_be_wrong():
    generator = torch.Generator().manual_seed(0)
    given = torch.arange(400) % 4
    values = 0.3 * torch.randn(4, 20, generator=generator)[given]
    values += torch.randn(400, 20, generator=generator)
    suspicion = labels.judge(values.half(), given, 4)
    share = noise_share.share_wrong(suspicion, given)
    assert share.value == noise_share.wrong_labels(suspicion, given).double().mean() < 0.05
    assert share.high > 0.3
    clearer = torch.nn.functional.one_hot(given, 4).float()
    assert noise_share.skill(clearer, given) == 1
    assert noise_share.skill(clearer.roll(1, 1), given) < 0


@pytest.mark.parametrize("classes", [2, 5])
def test_many_wrong_labels_are_not_taken_for_features_that_hardly_predict(classes):
    values, true, _ = blobs(600, classes)
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(600, generator=generator) < 0.25
    given = torch.where(wrong, (true + 1) % classes, true)
    suspicion = labels.judge(values, given, classes)
    assert noise_share.skill(suspicion.probabilities, given) > noise_share.ENOUGH_SKILL
    assert 0.15 < noise_share.share_wrong(suspicion, given).value < 0.3


@pytest.mark.parametrize(
    ("found", "high"), [(0, 0.072), (1, 0.109), (2, 0.141), (3, 0.170), (60, 1), (100, 1)]
)
def test_the_upper_end_of_the_share_of_few_findings_is_exact(found, high):
    given = torch.zeros(100, dtype=torch.long)
    given[50:] = 1
    true = given.clone()
    true[:found] = 1 - true[:found]
    probabilities = torch.nn.functional.one_hot(true, 2) * 0.8 + 0.1
    probabilities[:found] = torch.nn.functional.one_hot(true[:found], 2) * 0.9 + 0.05
    nothing = torch.zeros(100)
    suspicion = labels.Suspicion(nothing, true, probabilities, nothing + 1)
    assert noise_share.highest_share(found, 100) == pytest.approx(high, abs=0.001)
    share = noise_share.share_wrong(suspicion, given)
    assert 0 <= share.low <= share.value <= share.high <= 1
    if found < 4:
        assert share.high >= high - 0.001


def test_classes_with_few_images_are_named(tmp_path):
    notes = audit.audit(folder(tmp_path / "few", 9, 16), budget=600).notes
    assert any("fewer than 20 images of bar (3), cross (3), ring (3)" in note for note in notes)


def test_suggestions_replace_no_file_of_a_person(tmp_path):
    toys = folder(tmp_path / "toys", 9, 16)
    by_hand = tmp_path / "toys.corrections.csv"
    row = Correction("bar/0.png", "a" * 64, "bar", "ring", "ann", "2026-01-01")
    Corrections((row,)).write(by_hand)
    labels_file = tmp_path / "labels.csv"
    labels_file.write_text("file,label\n1.png,bar\n")
    for file, reason in ((by_hand, "by ann"), (labels_file, "not a corrections file")):
        before = file.read_bytes()
        assert reason in command("audit", toys, "--corrections", file, code=1).err
        assert file.read_bytes() == before


@pytest.mark.parametrize(("classes", "expected"), [(2, True), (3, False), (10, False)])
def test_fewer_classes_need_a_lower_score_to_call_a_label_wrong(classes, expected):
    given = torch.tensor([0, *range(classes)])
    probabilities = torch.full((classes + 1, classes), 0.2 / (classes - 1))
    probabilities[torch.arange(classes + 1), given] = 0.8
    probabilities[0] = probabilities[2]
    score = torch.tensor([0.8] + [0.1] * classes)
    margin = torch.ones(classes + 1)
    suspicion = labels.Suspicion(score, given, probabilities, margin)
    assert bool(noise_share.wrong_labels(suspicion, given)[0]) == expected


def textures(count, side=32, seed=0):
    """Smooth random colour images, uint8 N,3,side,side."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 7, 7, generator=generator) * 255
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    return smooth.clamp(0, 255).to(torch.uint8).numpy()


def recompressed(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(stream, "JPEG", quality=60)
    return np.asarray(Image.open(stream)).transpose(2, 0, 1)


def cropped(pixels):
    whole = Image.fromarray(pixels.transpose(1, 2, 0))
    return np.asarray(whole.crop((0, 3, 29, 32)).resize((32, 32))).transpose(2, 0, 1)


def brightened(pixels):
    return np.clip(pixels * 1.2, 0, 255).astype(np.uint8)


def mirrored(pixels):
    return pixels[:, :, ::-1]


@pytest.mark.parametrize("change", [np.array, recompressed, cropped, brightened, mirrored])
def test_near_copies_are_paired_and_strangers_are_not(change):
    pixels = textures(40)
    pixels = np.concatenate([pixels, [change(image) for image in pixels[:6]]])
    data = Images.of(
        pixels, np.zeros(46, dtype=np.int64), ("a",), tuple(str(number) for number in range(46))
    )
    extractor = features.Patches(data)
    values = extractor(torch.from_numpy(pixels)).half()
    computed = features.Features(values, torch.arange(46), extractor.middle, "patches")
    found = copies.find_pairs(data, computed, lambda done, total: None)
    pairs = found.pairs
    assert found.compared == found.candidates
    assert {(pair.first, pair.second) for pair in pairs} == {(row, 40 + row) for row in range(6)}
    assert all(pair.mirrored == (change is mirrored) for pair in pairs)


def test_drawings_that_differ_in_one_stroke_are_no_near_duplicates():
    random = np.random.default_rng(0)
    pixels = random.integers(240, 256, (40, 1, 32, 32), dtype=np.uint8)
    pixels[:, 0, 6:26, 6:10] = 0
    pixels[:, 0, 6:10, 6:24] = 0
    pixels[:, 0, 14:18, 6:20] = 0
    pixels[::2, 0, 23:26, 6:13] = 0
    data = Images.of(pixels, np.arange(40) % 2, ("c", "f"), tuple(map(str, range(40))))
    computed = features.Features(torch.ones(40, 8).half(), torch.arange(40), 8, "toy")
    first, second = torch.arange(0, 38), torch.arange(1, 39)
    fine = copies.fine_images(data, computed.index)
    small = copies.small_grey(fine)
    assert copies.verify(fine, small, first, second) == []
    assert len(copies.verify(fine, small, first, first + 2)) == 38


@pytest.mark.parametrize("columns", [3, 40, 200, 1003])
def test_the_largest_values_of_a_row_are_those_of_a_full_sort(columns):
    values = torch.randperm(6 * columns, generator=torch.Generator().manual_seed(0)).float()
    values = values.reshape(6, columns)
    best, place = copies.largest(values, 3)
    wanted = values.topk(3)
    assert torch.equal(best, wanted.values)
    assert torch.equal(place, wanted.indices)


def test_a_window_is_the_same_by_products_and_by_sampling():
    images = torch.rand(26, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    by_products = alignment.cut(images, torch.arange(26))
    for place, grid in enumerate(alignment.window_grids()):
        sampled = alignment.window(images[place : place + 1], grid)
        assert torch.allclose(by_products[place : place + 1], sampled, atol=1e-5)


def test_where_images_often_look_alike_only_certain_near_duplicates_are_listed():
    from sklearn.datasets import load_digits

    digits = (load_digits().images[:500] * 15.9).astype(np.uint8)
    brighter = np.minimum(digits[:20] * 1.2 + 10, 255).astype(np.uint8)
    pixels = np.concatenate([digits, brighter])[:, None]
    data = Images.of(pixels, np.arange(520) % 2, ("a", "b"), tuple(map(str, range(520))))
    extractor = features.Patches(data)
    values = torch.cat([extractor(part).half() for part in data.take(torch.arange(520)).split(130)])
    computed = features.Features(values, torch.arange(520), extractor.middle, "patches")
    found = copies.find_pairs(data, computed, lambda done, total: None)
    pairs = found.pairs
    assert len(found.doubtful) > 10
    assert min(pair.disagreement for pair in found.doubtful) > copies.CERTAIN_DISAGREEMENT
    planted = [pair for pair in pairs if pair.second - pair.first == 500]
    assert len(planted) >= 18
    assert len(pairs) - len(planted) <= 10


def test_doubtful_near_duplicates_that_are_not_listed_are_counted():
    pixels = textures(60)
    pixels = np.concatenate([pixels, pixels // 2])
    data = Images.of(pixels, np.arange(120) % 2, ("a", "b"), tuple(map(str, range(120))))
    extractor = features.Patches(data)
    values = extractor(torch.from_numpy(pixels)).half()
    computed = features.Features(values, torch.arange(120), extractor.middle, "patches")
    material = SimpleNamespace(images=data, splits=("train",) * 90 + ("test",) * 30)
    limit = audit.TimeLimit(600.0, time.monotonic())
    notes = []
    pairs = audit.find_copies(material, computed, limit, notes, Reporter())
    assert 0 < len(pairs) < 50
    left = 60 - len(pairs)
    assert len(notes) == 1
    assert notes[0].startswith(f"{left} doubtful pairs of near duplicates not listed, ")
    assert 0 < int(notes[0].split()[8]) < left


def test_images_without_any_candidates_have_no_near_duplicates():
    pixels = (textures(2) // 255) * np.array([0, 255], dtype=np.uint8).reshape(2, 1, 1, 1)
    data = Images.of(pixels, np.arange(2), ("a", "b"), ("0", "1"))
    values = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).half()
    computed = features.Features(values, torch.arange(2), 2, "toy")
    found = copies.find_pairs(data, computed, lambda done, total: None)
    assert found == copies.Found([], 0, 0, [])


def test_pairs_that_share_an_image_make_one_group():
    pairs = [
        copies.Pair(1, 2, 0.9, False),
        copies.Pair(5, 6, 0.99, False),
        copies.Pair(2, 3, 0.8, False),
    ]
    assert copies.groups(pairs) == [[5, 6], [1, 2, 3]]


def test_a_stranger_raises_an_alarm_and_its_kin_do_not():
    values, _, _ = blobs(300)
    values[9] = 40 * torch.randn(20, generator=torch.Generator().manual_seed(5)).half()
    result = unlike.strangeness(features.Features(values, torch.arange(300), 20, "toy"))
    assert int(result.score.argmax()) == 9
    assert result.alarm.nonzero()[:, 0].tolist() == [9]


def test_outliers_of_one_kind_are_found_together():
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(300, 20, generator=generator)
    values[:10] = 8 * torch.randn(20, generator=generator) + 0.1 * values[:10]
    result = unlike.strangeness(features.Features(values.half(), torch.arange(300), 20, "toy"))
    assert set(result.score.argsort(descending=True)[:10].tolist()) == set(range(10))
    assert result.alarm.nonzero()[:, 0].tolist() == list(range(10))
    assert result.score.min() >= 0
    assert result.score.max() <= 1


def shortcut_alarms(root):
    material = open_material(str(root), 60, Reporter())
    found = shortcuts.find(material.source, material.images)
    return {shortcut.name: shortcut for shortcut in found if shortcut.alarm}


def spoilt_folder(root, spoil, count=120):
    """Two classes of textures as files; `spoil` saves those of the first class."""
    for number, pixels in enumerate(textures(count, 48)):
        image = Image.fromarray(pixels.transpose(1, 2, 0))
        file = root / ("one", "two")[number % 2] / f"{number:03d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        if number % 2 and spoil is not None:
            spoil(image, file)
        else:
            image.save(file, quality=90)
    return root


def darker(image, file):
    Image.fromarray(np.asarray(image) // 2).save(file, quality=90)


def framed(image, file):
    image.paste((200, 30, 30), (0, 0, 48, 3))
    image.save(file, quality=90)


def stamped(image, file):
    ImageDraw.Draw(image).text((2, 38), "12:00", fill="white")
    image.save(file, quality=90)


def compressed(image, file):
    image.save(file, quality=40)


def taken(image, file):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0110] = "Model 2"
    image.save(file, quality=90, exif=exif)


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (darker, "brightness"),
        (framed, "borders"),
        (stamped, "overlays"),
        (compressed, "compression"),
        (taken, "camera"),
    ],
)
def test_what_gives_a_class_away_raises_an_alarm_that_leads_to_images(tmp_path, spoil, name):
    alarms = shortcut_alarms(spoilt_folder(tmp_path / "set", spoil))
    assert name in alarms
    assert alarms[name].accuracy > 0.9
    assert set(alarms[name].classes) == {"one", "two"}
    folders = [one.partition("/")[0] for one in alarms[name].examples]
    assert sorted(folders) == ["one"] * 3 + ["two"] * 3


def resized(image, file):
    image.resize((60, 60)).save(file, quality=90)


@pytest.mark.parametrize(
    ("spoil", "name"),
    [(framed, "borders"), (compressed, "compression"), (resized, "file facts")],
)
def test_one_class_of_eight_that_is_given_away_raises_an_alarm(tmp_path, spoil, name):
    for number, pixels in enumerate(textures(240, 48)):
        image = Image.fromarray(pixels.transpose(1, 2, 0))
        file = tmp_path / "set" / f"class {number % 8}" / f"{number:03d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        if number % 8 == 3:
            spoil(image, file)
        else:
            image.save(file, quality=90)
    alarm = shortcut_alarms(tmp_path / "set")[name]
    assert alarm.classes[0] == "class 3"
    assert all(one.startswith("class 3/") for one in alarm.examples[:3])


def test_content_that_reaches_the_sides_is_no_border():
    pixels = np.zeros((150, 1, 32, 32), dtype=np.uint8)
    for number, image in enumerate(pixels[:, 0]):
        image[:, 6 + 8 * (number % 3) : 12 + 8 * (number % 3)] = 255
    names = tuple(map(str, range(150)))
    images = Images.of(pixels, np.arange(150) % 3, ("a", "b", "c"), names)
    found = shortcuts.find(SimpleNamespace(pixels=pixels), images)
    borders = {one.name: one for one in found}["borders"]
    assert borders.accuracy == borders.middle == 1
    assert not borders.alarm


def test_content_that_reaches_the_sides_is_no_overlay():
    pixels = np.zeros((150, 1, 32, 32), dtype=np.uint8)
    random = np.random.default_rng(0)
    for number, image in enumerate(pixels[:, 0]):
        middle = 8 + 8 * (number % 3) + random.integers(-2, 3)
        image[1:31, middle - 1 : middle + 2] = 255
    names = tuple(map(str, range(150)))
    images = Images.of(pixels, np.arange(150) % 3, ("a", "b", "c"), names)
    source = SimpleNamespace(pixels=pixels)
    overlays = {one.name: one for one in shortcuts.find(source, images)}["overlays"]
    assert overlays.accuracy > 0.8
    assert overlays.middle >= overlays.accuracy
    assert not overlays.alarm


def test_healthy_files_raise_no_alarm_of_a_shortcut(tmp_path):
    assert shortcut_alarms(spoilt_folder(tmp_path / "set", None)) == {}


def test_an_audit_of_a_folder_names_what_was_planted(tmp_path):
    root = folder(tmp_path / "set", 240)
    for number in (200, 201, 202):
        name = SHAPES[number % 3]
        other = SHAPES[(number + 1) % 3]
        file = root / name / f"{number:04d}.png"
        file.rename(root / other / file.name)
    original = next((root / "ring").iterdir())
    (root / "ring" / "copy.png").write_bytes(original.read_bytes())
    result = audit.audit(root, budget=60)
    planted = {"0200.png", "0201.png", "0202.png"}
    first = {label.id.rpartition("/")[2] for label in result.labels[:6]}
    assert planted <= first
    assert {f"ring/{original.name}", "ring/copy.png"} in [
        {one.id for one in group} for group in result.copies
    ]
    assert any("no pretrained backbone" in note for note in result.notes)
    values = json.loads(json.dumps(result.to_dict(every=True)))
    assert list(values["labels"][0]) == ["id", "given", "suggested", "score"]
    assert len(values["labels"]) == 240
    assert set(values["share_wrong"]) == {"value", "low", "high"}
    assert set(values["copies"][0][0]) == {"id", "split"}


def test_features_are_computed_once_and_damage_is_computed_anew(tmp_path, monkeypatch):
    root = folder(tmp_path / "set", 60)
    first = audit.audit(root, budget=60).to_dict(every=True)
    (file,) = (features.cache_dir() / "audit").glob("*.npz")
    file.write_bytes(file.read_bytes()[:-200])
    second = audit.audit(root, budget=60).to_dict(every=True)
    assert first["labels"] == second["labels"]


def test_one_class_is_refused(tmp_path):
    file = tmp_path / "one" / "bar" / "0.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(png(pictures(1)[0][0, 0]))
    with pytest.raises(UserError):
        audit.audit(tmp_path / "one")


def test_the_command_prints_one_json_object_and_writes_corrections(tmp_path):
    root = folder(tmp_path / "set", 60)
    file = tmp_path / "suggested.csv"
    printed = command("audit", root, "--json", "--corrections", file)
    assert json.loads(printed.out)["images"] == 60
    Corrections.read(file)
