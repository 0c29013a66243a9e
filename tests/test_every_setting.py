"""No setting is ignored: every field of a recipe, in every kind of training, changes the result, is
refused, or is noted.
"""

import hashlib
import os
from dataclasses import dataclass, field, replace

import drawn
import numpy as np
import pytest
from PIL import Image

from eyesight import experiment
from eyesight.data.masks import shapes
from eyesight.errors import UserError
from eyesight.recipe import Data, Recipe, override, paths

BACKBONE = (
    "model.name=test_resnet",
    "model.weights=none",
    "model.head=average 8 dropout.2",
    "data.size=32",
    "augment.flip=random",
    "transfer.views=2",
)
KINDS = {
    "class": ("model.name=basic_cnn", "data.size=16"),
    "frozen": (*BACKBONE, "transfer.freeze=all"),
    "two_stages": (*BACKBONE, "transfer.thaw=conv4", "transfer.thaw_epochs=1"),
    "picture": (
        "model.name=autoencoder",
        "model.width=0.25",
        "data.size=16",
        "data.target=picture",
        "loss.name=mse",
    ),
    "mask": ("model.name=skips", "model.width=0.25", "data.size=32", "data.target=mask"),
}
COMMON = (
    "training.epochs=2",
    "training.batch=8",
    "training.precision=float32",
    "training.seed=3",
    "optim.lr=0.01",
    "training.keep=last",
)


@dataclass(frozen=True)
class Change:
    """A field, another value for it, and what must be set besides for it to act."""

    path: str
    value: str
    besides: tuple[str, ...] = ()
    only: tuple[str, ...] = tuple(KINDS)  # kinds of training for which the value makes sense
    acts: tuple[str, ...] = field(default=())  # kinds for which it must change the result
    somewhere: bool = False  # it may come to the same by chance, but not for every kind

    def __str__(self):
        return "+".join([f"{self.path}={self.value}", *self.besides])


STEP = ("optim.schedule=step", "optim.step_epochs=1")
SGD = ("optim.name=sgd",)
RMS = ("optim.name=rmsprop",)
MANY = ("training.epochs=6", "optim.lr=0.05")
BEST = (*MANY, "training.keep=best")
IMAGES = ("class", "picture", "mask")
THAW = ("two_stages",)
ALL = tuple(KINDS)
CHANGES = (
    Change("data.source", "OTHER", acts=ALL),
    Change("data.images", "bar"),
    Change("data.image_column", "file"),
    Change("data.label_column", "label"),
    Change("data.split_column", "split"),
    Change("data.group_column", "patient"),
    Change("data.group_pattern", r"00(\d)"),
    Change("data.group_file", "missing.csv"),
    Change("data.class_level", "1"),
    Change("data.size", "24", acts=("class", "mask")),
    Change("data.channels", "3", only=("class", "picture"), acts=("class", "picture")),
    Change("data.channels", "1", only=("frozen", "two_stages", "mask"), acts=("mask",)),
    Change("data.resize", "crop", acts=ALL),
    Change("data.pad", "2", acts=("class", "picture")),
    Change("data.padding", "replicate"),
    Change("data.padding", "replicate", ("data.pad=2",), acts=("class",)),
    Change("data.interpolation", "area", acts=ALL),
    Change("data.crop_fraction", "0.8", acts=IMAGES),
    Change("data.scaling", "standard", acts=IMAGES),
    Change("data.validation", "0.4", acts=ALL),
    Change("data.test", "0.4", acts=ALL),
    Change("data.split_seed", "1", acts=ALL),
    Change("data.fold", "2/3", acts=ALL),
    Change("data.corrections", "missing.csv"),
    Change("data.box", "true"),
    Change("data.strict", "true"),
    Change("data.target", "picture", only=("class", "frozen", "two_stages", "mask")),
    Change("data.target", "class", only=("picture",)),
    Change("data.names", "NAMES"),
    Change("data.ignore", "1"),
    Change("data.extra", "OTHER", acts=("class", "frozen", "two_stages")),
    Change("augment.flip", "none", only=("frozen", "two_stages"), acts=("frozen", "two_stages")),
    Change("augment.flip", "random", only=("class", "picture", "mask"), acts=("class", "mask")),
    Change("augment.flip", "alternating", only=IMAGES, acts=IMAGES),
    Change("augment.window", "0.5", acts=("mask",)),
    *(
        change
        for path, value in (
            ("crop", "3"),
            ("rotate", "30"),
            ("shift", "0.2"),
            ("zoom", "0.3"),
            ("shear", "20"),
            ("elastic", "0.1"),
            ("brightness", "0.5,0.9"),
            ("contrast", "0.5,0.9"),
            ("noise", "0.3"),
            ("cutout", "0.4"),
        )
        for change in (
            Change(f"augment.{path}", value, acts=IMAGES),
            Change(
                f"augment.{path}",
                value,
                ("transfer.views=3",),
                only=("frozen", "two_stages"),
                acts=("frozen", "two_stages"),
            ),
        )
    ),
    Change("augment.mixup", "0.4", acts=("class", "frozen", "two_stages")),
    Change("augment.cutmix", "0.4", acts=("class",)),
    Change("augment.cutmix", "0.4", ("transfer.views=0",), only=("frozen",), acts=("frozen",)),
    Change("model.name", "baseline_cnn", only=("class",), acts=("class",)),
    Change("model.name", "resnet18", only=("frozen", "two_stages"), acts=("frozen",)),
    Change("model.name", "basic_cnn", only=("picture", "mask")),
    Change("model.width", "0.5", acts=("picture", "mask")),
    Change("model.depth", "2", acts=("mask",)),
    Change("model.dropout", "0.4", acts=("class", "mask")),
    Change("model.activation", "tanh"),
    Change("model.normalise", "true"),
    Change("model.initialise", "he"),
    Change("model.softmax", "true"),
    Change("model.weights", "imagenet"),
    Change("model.head", "average", acts=("frozen", "two_stages")),
    Change("model.code", "4", acts=("picture",)),
    Change("model.options", "width=4"),
    Change("loss.name", "focal", acts=("class", "frozen", "two_stages", "mask")),
    Change("loss.name", "binary_cross_entropy", acts=("picture",)),
    Change("loss.smoothing", "0.2", acts=("class", "frozen", "two_stages", "mask")),
    Change("loss.smoothing", "0.2", ("loss.name=dice",), only=("mask",)),
    Change("loss.gamma", "1"),
    Change("loss.gamma", "1", ("loss.name=focal",), only=("class", "mask"), acts=("class", "mask")),
    Change("loss.class_weights", "balanced", acts=("class", "frozen", "two_stages", "mask")),
    *(
        Change("optim.name", name, acts=ALL)
        for name in ("sgd", "adamw", "rmsprop", "adagrad", "muon")
        if name != "adamw"
    ),
    Change("optim.name", "adamw", ("optim.weight_decay=0.1",), acts=ALL),
    Change("optim.lr", "0.02", acts=ALL),
    Change("optim.momentum", "0.5"),
    *(
        Change("optim.momentum", "0.5", (f"optim.name={name}",), only=("class",), acts=("class",))
        for name in ("sgd", "rmsprop", "muon")
    ),
    Change("optim.nesterov", "true"),
    Change("optim.nesterov", "true", SGD),
    Change("optim.nesterov", "true", (*SGD, "optim.momentum=0.5"), acts=ALL),
    Change("optim.weight_decay", "0.1", acts=ALL),
    Change("optim.beta1", "0.5", acts=ALL),
    Change("optim.beta1", "0.5", SGD, acts=THAW),
    Change("optim.beta2", "0.5", acts=ALL),
    Change("optim.epsilon", "0.01", acts=ALL),
    Change("optim.epsilon", "0.01", SGD, acts=THAW),
    Change("optim.rho", "0.5"),
    Change("optim.rho", "0.5", RMS, acts=ALL),
    Change("optim.centred", "true"),
    Change("optim.centred", "true", RMS, acts=ALL),
    Change("optim.amsgrad", "true", ("training.epochs=4", "optim.beta2=0.5"), acts=("class",)),
    Change("optim.amsgrad", "true", SGD),
    Change("optim.accumulator", "0.5"),
    Change("optim.accumulator", "0.5", ("optim.name=adagrad",), acts=ALL),
    *(Change("optim.schedule", name, acts=ALL) for name in ("cosine", "one_cycle", "linear")),
    Change("optim.schedule", "step"),
    Change("optim.schedule", "plateau", (*MANY, "optim.plateau_patience=1"), somewhere=True),
    Change("optim.warmup", "0.5", acts=ALL),
    Change("optim.floor", "0.5"),
    Change("optim.floor", "0.5", ("optim.schedule=cosine",), acts=ALL),
    Change("optim.step_epochs", "1"),
    Change("optim.step_epochs", "2", STEP, acts=ALL),
    Change("optim.step_factor", "0.1"),
    Change("optim.step_factor", "0.1", STEP, acts=ALL),
    Change("optim.plateau_patience", "1"),
    Change("optim.plateau_patience", "1", (*MANY, "optim.schedule=plateau"), somewhere=True),
    Change("optim.bias_scale", "2", acts=ALL),
    Change("optim.head_scale", "2", acts=("class", "frozen", "two_stages", "mask")),
    Change("optim.layer_decay", "0.5", acts=THAW),
    Change("optim.clip", "0.001", SGD, acts=ALL),
    Change("training.epochs", "3", acts=ALL),
    Change("training.budget", "4", acts=ALL),
    Change("training.max_epochs", "3"),
    Change("training.small", "0.5", acts=()),
    Change("training.small_until", "0.9"),
    Change("training.min_steps", "20", acts=ALL),
    Change("training.batch", "4", acts=ALL),
    Change("training.seed", "4", acts=ALL),
    Change("training.precision", "bfloat16", acts=ALL),
    Change("training.patience", "1", (*MANY, "training.min_delta=10"), acts=ALL),
    Change("training.min_delta", "10"),
    Change("training.min_delta", "10", BEST, somewhere=True),
    Change("training.monitor", "score"),
    *(
        Change("training.monitor", name, BEST, somewhere=True)
        for name in ("score", "train_loss", "train_score")
    ),
    Change("training.keep", "best", MANY, somewhere=True),
    Change("training.sync_norm", "true"),
    Change("training.average", "0.5", acts=ALL),
    Change("training.views", "flip", acts=("class", "frozen", "two_stages")),
    Change("transfer.freeze", "conv4", acts=("frozen",)),
    Change("transfer.statistics", "update"),
    Change("transfer.views", "3", acts=()),
    Change("transfer.views", "1", acts=("frozen", "two_stages")),
    Change("transfer.thaw", "conv3", ("transfer.thaw_epochs=1",), acts=("frozen", "two_stages")),
    Change("transfer.thaw_epochs", "2", acts=THAW),
    Change("transfer.thaw_share", "0.3"),
    Change("transfer.thaw_optimiser", "sgd", acts=THAW),
    Change("transfer.thaw_lr", "0.01", acts=THAW),
    Change("transfer.thaw_batch", "4", acts=THAW),
)


@dataclass(frozen=True)
class Outcome:
    """What became of a training: a hash of its weights and predictions, or why it was refused."""

    result: str
    notes: tuple[str, ...] = ()
    refusal: str = ""


class Bench:
    """Drawn data sets and the outcomes of trainings on them, each trained once."""

    def __init__(self, root):
        self.root = root
        self.outcomes = {}
        for seed, name in enumerate(("data", "OTHER")):
            pixels, labels = drawn.pictures(36, 20, seed)
            for place, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
                if place % 5 == 0 and label == 2:
                    continue  # one class is rare, so that weights by class matter
                wide = np.pad(picture[0], ((0, 0), (2, 3)), constant_values=90)
                file = root / name / drawn.SHAPES[label] / f"{place:04d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(drawn.png(wide))
            for place in range(20):
                pixels, mask = shapes.draw(place + 100 * seed, 40)
                for part, values in (("images", pixels), ("masks", mask)):
                    file = root / f"{name}-masks" / part / f"{place:03d}.png"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(values[:, :34]).save(file)
        (root / "data" / "bar" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
        (root / "data-masks" / "images" / "005.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
        (root / "NAMES").write_text("nothing\ncircle\nsquare\ntriangle\n")

    def outcome(self, kind, *settings):
        """Train one kind with these settings on top of its own."""
        if (kind, settings) not in self.outcomes:
            self.outcomes[kind, settings] = self._train(kind, settings)
        return self.outcomes[kind, settings]

    def _train(self, kind, settings):
        suffix = "-masks" if kind == "mask" else ""
        notes = []
        places = {
            "data.source=OTHER": f"data.source={self.root}/OTHER{suffix}",
            "data.extra=OTHER": f"data.extra={self.root}/OTHER{suffix}",
            "data.names=NAMES": f"data.names={self.root}/NAMES",
        }
        try:
            recipe = replace(Recipe(name=kind), data=Data(f"{self.root}/data{suffix}"))
            recipe = override(recipe, [*COMMON, *KINDS[kind]])
            recipe = override(recipe, [places.get(setting, setting) for setting in settings])
            run = experiment.train(recipe, self.root / "runs", talk=notes.append)
        except UserError as error:
            return Outcome("refused", tuple(notes), f"{error.message} {error.hint}")
        digest = hashlib.sha256((run.classifier_path / "weights.safetensors").read_bytes())
        for name in ("predictions.npz", "validation.npz"):
            if (run.path / name).is_file():
                with np.load(run.path / name) as arrays:
                    for key in sorted(arrays):
                        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
        return Outcome(digest.hexdigest(), tuple(notes))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    root = tmp_path_factory.mktemp("settings")
    with pytest.MonkeyPatch.context() as monkey:
        monkey.setenv("EYESIGHT_CACHE", str(root / "cache"))
        yield Bench(root)


@pytest.fixture(autouse=True)
def one_cache(bench, monkeypatch):
    """Pictures are prepared once for all of these tests."""
    monkeypatch.setenv("EYESIGHT_CACHE", str(bench.root / "cache"))


def test_every_field_has_a_change_for_every_kind_of_training():
    for kind in KINDS:
        changed = {change.path for change in CHANGES if kind in change.only}
        assert set(paths()) - changed == set(), kind


def verdict(bench, kind, change):
    """How a change shows: "acts", "refused", "noted", or "ignored"."""
    before = bench.outcome(kind, *change.besides)
    assert not before.refusal, f"{kind} with {change.besides}: {before.refusal}"
    after = bench.outcome(kind, *change.besides, f"{change.path}={change.value}")
    name = change.path.split(".")[1]
    if after.refusal:
        names = (name, name.replace("_", " "), change.value)
        told = any(text in after.refusal for text in names)
        return "refused" if told else f"lost: {after.refusal}"
    if any(change.path in note for note in after.notes):
        return "noted" if after.result == before.result else "acts"
    return "ignored" if after.result == before.result else "acts"


FAST = {"class": "optim", "frozen": "transfer", "picture": "loss", "mask": "loss"}


def cases(whole):
    for kind in KINDS:
        for change in CHANGES:
            fast = change.path.startswith(FAST.get(kind, "never"))
            if kind in change.only and fast != whole:
                yield pytest.param(kind, change, id=f"{kind}-{change}")


def allowed(kind, change):
    """The verdicts that a change may have."""
    if kind in change.acts:
        return {"acts"}
    if change.somewhere:
        return {"acts", "refused", "noted", "ignored"}
    return {"acts", "refused", "noted"}


@pytest.mark.parametrize(("kind", "change"), list(cases(whole=False)))
def test_a_setting_acts_or_is_refused_or_noted(bench, kind, change):
    assert verdict(bench, kind, change) in allowed(kind, change)


SLOW = pytest.mark.skipif(
    not os.environ.get("EYESIGHT_SLOW"), reason="ten minutes; EYESIGHT_SLOW=1 runs it"
)


@SLOW
@pytest.mark.whole
@pytest.mark.parametrize(("kind", "change"), list(cases(whole=True)))
def test_every_other_setting_acts_or_is_refused_or_noted(bench, kind, change):
    assert verdict(bench, kind, change) in allowed(kind, change)


@SLOW
@pytest.mark.whole
@pytest.mark.parametrize("change", [change for change in CHANGES if change.somewhere], ids=str)
def test_what_may_come_to_the_same_by_chance_acts_for_some_kind(bench, change):
    assert "acts" in {verdict(bench, kind, change) for kind in change.only}
