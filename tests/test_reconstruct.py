"""Autoencoders: a picture through few numbers and back, on any folder; what is restored badly is
unlike what was learnt.
"""

import json

import drawn
import numpy as np
import pytest
import torch
from commands import command

from eyesight import experiment, recipe
from eyesight.errors import UserError
from eyesight.exporting import export
from eyesight.inference import dense
from eyesight.models import registry
from eyesight.models.autoencoder import autoencoder
from eyesight.recipe import Augment, Model
from eyesight.report import report
from eyesight.results import reconstructions
from eyesight.results.reconstructions import Reconstructions, in_two_dimensions
from eyesight.runs import resolve
from eyesight.tasks import TASKS
from eyesight.tasks.reconstruct import noisy

TINY = (
    "model.width=0.25",
    "model.code=8",
    "training.batch=16",
    "training.min_steps=0",
    "training.precision=float32",
    "optim.lr=0.01",
)
CLASSIFIER = (
    "model.name=small_cnn",
    "training.epochs=1",
    "training.min_steps=0",
    "training.precision=float32",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on one class only, and a folder of that class and of another."""
    root = tmp_path_factory.mktemp("reconstruct")
    with pytest.MonkeyPatch.context() as monkey:
        monkey.setenv("EYESIGHT_CACHE", str(root / "cache"))
        drawn.folder(root / "all", 240)
        for number, file in enumerate(sorted((root / "all" / "bar").iterdir())):
            target = root / ("few" if number < 8 else "flat") / file.name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(file.read_bytes())
        yield (
            root,
            experiment.train(
                resolve("autoencoder", *TINY, "training.epochs=15", data=root / "flat"),
                root / "runs",
            ),
        )


def test_a_folder_without_classes_is_enough(trained):
    _, run = trained
    test = run.result["test"]
    assert (
        run.status == "done" and run.data["classes"] == ["unlabelled"] and run.target == "picture"
    )
    assert (
        test["psnr"] == pytest.approx(float(run.results().psnr.mean()))
        and test["interval"][0] < test["psnr"] < test["interval"][1]
    )
    assert run.epochs[-1]["validation_psnr"] > run.epochs[0]["validation_psnr"] + 1
    assert run.results().codes.shape == (test["n"], 8)


def test_what_was_never_seen_is_unfamiliar(trained, tmp_path):
    root, run = trained
    from eyesight.inference import predict

    usual = dense.usual_error(run.path)
    known = dense.render(predict.load(run.path), [str(root / "few")], tmp_path / "out", usual)
    strange = dense.render(predict.load(run.path), [str(root / "all" / "ring")], usual=usual)
    assert np.median([one.score for one in strange]) > np.median([one.score for one in known])
    assert sum(one.unfamiliar for one in strange) > 0.9 * len(strange)
    assert sum(one.unfamiliar for one in known) < len(known), (
        "few validation pictures make the threshold a tight one"
    )
    with pytest.raises(UserError, match="could overwrite"):
        dense.render(predict.load(run.path), [str(root / "few")], root / "few")
    assert (tmp_path / "out" / "0000.png").is_file() and "anomaly" in (
        tmp_path / "out" / "answers.csv"
    ).read_text()


def test_the_command_doubts_a_classifier(trained, tmp_path):
    root, run = trained
    settings = []
    for setting in (*CLASSIFIER, "data.size=16"):
        settings += ["--set", setting]
    runs = tmp_path / "runs"
    data = ("--data", root / "all")
    made = json.loads(command("train", "lenet5", *data, "--out", runs, "--json", *settings).out)
    arguments = ("predict", made["run"], root / "all" / "ring", "--unfamiliar")
    answers = json.loads(command(*arguments, run.path, "--json").out)["predictions"]
    assert any(answer["unfamiliar"] for answer in answers)
    assert all("top" in answer for answer in answers)
    command(*arguments, made["run"], code=2)  # a classifier is no autoencoder
    out = command("evaluate", run.path).out
    assert out.startswith("PSNR ") and " dB" in out


def test_the_report_has_the_figures(trained):
    _, run = trained
    text = report.page(run)
    assert "test PSNR" in text and "The most unusual images" in text and "The bottleneck" in text
    assert {"restored.png", "strangest.png", "bottleneck.png"} <= {
        file.name for file in report.write_figures(run)
    }


def test_the_exported_file_restores_alike(trained, tmp_path):
    _, run = trained
    made = export.export(run, tmp_path / "restore.onnx")
    assert made.parity.largest_difference < 1e-3
    with pytest.raises(UserError, match="int8 is supported only for classifiers"):
        export.export_int8(run, made.file)


def test_a_denoiser_learns_from_noisy_pictures_and_is_judged_on_them(tmp_path):
    drawn.folder(tmp_path / "all", 120)
    made = resolve(
        "denoiser", *TINY, "training.epochs=3", "augment.noise=0.4", data=tmp_path / "all"
    )
    run = experiment.train(made, tmp_path / "runs")
    assert run.status == "done" and run.data["classes"] == list(drawn.SHAPES)
    loaded = experiment.classifier.load(run.classifier_path)
    assert loaded.noise == pytest.approx(0.4)
    assert (run.gallery()["shown_asked"] != run.gallery()["shown_pixels"]).any()
    again = experiment.evaluate(run, str(tmp_path / "all"))
    assert np.allclose(again.errors, run.results().errors, atol=1e-6), (
        "the same noise at every asking"
    )


def test_noise_depends_on_the_picture_alone():
    pictures = torch.rand(5, 1, 8, 8)
    assert torch.equal(noisy(pictures, 0.3)[3], noisy(pictures[3:4], 0.3)[0])
    assert noisy(pictures, 0.0) is pictures
    assert (noisy(pictures, 0.3) - pictures).std() == pytest.approx(0.25, abs=0.1)


def test_the_target_moves_with_the_picture_but_stays_clean():
    task, images = TASKS["picture"], drawn.images(8)
    how = Augment(flip="random", rotate=20, noise=0.2, cutout=0.4)
    random = torch.Generator().manual_seed(0)
    pictures, targets = task.change(
        images.take(torch.arange(8)), images.labels, images, how, random, 0, torch.arange(8)
    )
    assert (pictures - targets).abs().mean() > 0.05
    plain = recipe.Augment(flip="random", rotate=20)
    random = torch.Generator().manual_seed(0)
    again, same = task.change(
        images.take(torch.arange(8)), images.labels, images, plain, random, 0, torch.arange(8)
    )
    assert torch.equal(again, same) and torch.equal(targets, same)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 45, 33), (1, 8, 8), (3, 90, 90)])
def test_the_decoder_mirrors_the_encoder(shape):
    network = autoencoder(shape, shape[0], code=5, width=0.25).eval()
    pictures = torch.randint(0, 256, (2, *shape), dtype=torch.uint8)
    assert network(pictures).shape == (2, *shape) and network.code_of(pictures).shape == (2, 5)
    restored = network.answer(network(pictures))
    assert restored.min() >= 0 and restored.max() <= 1


def test_the_published_size_of_the_network():
    network = registry.build(Model("autoencoder", code=32), (1, 28, 28), 1)
    assert sum(parameter.numel() for parameter in network.parameters()) == 6_595_012
    with pytest.raises(UserError, match="from 1 to"):
        registry.build(Model("autoencoder", code=0), (1, 28, 28), 1)


def test_psnr_and_ssim():
    random = np.random.default_rng(0)
    true = random.random((3, 1, 16, 16)).astype(np.float32)
    near = np.clip(true + 0.01, 0, 1)
    assert reconstructions.psnr(true, true).tolist() == [100.0] * 3
    assert reconstructions.psnr(true, near) == pytest.approx(
        -10 * np.log10(((true - near) ** 2).mean((1, 2, 3))), rel=1e-4
    )
    assert (
        reconstructions.ssim(true, true) == pytest.approx(1.0)
        and (reconstructions.ssim(true, 1 - true) < 0.5).all()
    )
    assert np.isnan(reconstructions.ssim(true[:, :, :2, :2], true[:, :, :2, :2])).all(), (
        "too small for a window"
    )


def test_the_strangest_come_first_and_survive_the_disk(tmp_path):
    columns = {name: np.array([0.1, 0.3, 0.2], np.float32) for name in ("errors", "psnr", "ssim")}
    said = Reconstructions(
        ("a", "b", "c"),
        np.zeros(3, np.int64),
        ("x",),
        **columns,
        codes=np.eye(3, 4, dtype=np.float32),
    )
    assert said.strangest(2).tolist() == [1, 2]
    said.save(tmp_path / "said.npz")
    assert reconstructions.load(tmp_path / "said.npz").summary() == said.summary()
    (tmp_path / "said.npz").write_bytes(b"no")
    with pytest.raises(UserError, match="cannot be read"):
        reconstructions.load(tmp_path / "said.npz")


def test_two_dimensions_show_where_codes_differ_most():
    random = np.random.default_rng(0)
    codes = np.hstack(
        [random.normal(0, 9, (50, 1)), random.normal(0, 3, (50, 1)), random.normal(0, 0.1, (50, 6))]
    ).astype(np.float32)
    points, share = in_two_dimensions(codes)
    assert (
        points.shape == (50, 2)
        and share > 0.99
        and abs(np.corrcoef(points[:, 0], codes[:, 0])[0, 1]) > 0.99
    )
    assert in_two_dimensions(codes[:, :1])[0].shape == (50, 2)
