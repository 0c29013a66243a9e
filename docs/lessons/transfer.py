# %%
import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import eyesight
from eyesight.data.opening import open_source

SHORT = "LESSON_SHORT" in os.environ  # a test runs the lesson in seconds
DATA = os.environ.get("LESSON_DATA", "cifar10")
BACKBONE = os.environ.get("LESSON_BACKBONE", "EfficientNetLite0")
WEIGHTS = os.environ.get("LESSON_WEIGHTS", "imagenet")
LEARNT, TESTED = (40, 20) if SHORT else (600, 300)
EPOCHS = 1 if SHORT else 10

# %%
source = open_source(DATA)
chosen = np.random.default_rng(0).permutation(len(source.ids))[: LEARNT + TESTED]
photos = Path("photos")
rows = {"train": [], "test": []}
truth = []
for number, place in enumerate(chosen):
    part = "train" if number < LEARNT else "test"
    image = source.read(int(place))
    picture = Image.open(io.BytesIO(image)) if isinstance(image, bytes) else Image.fromarray(image)
    file = photos / part / f"{number:04}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.convert("RGB").save(file)
    name = source.classes[source.labels[place]]
    rows[part].append((file.stem, name if part == "train" else source.classes[0]))
    if part == "test":
        truth.append(name)
with (photos / "train.csv").open("w", newline="") as file:
    csv.writer(file).writerows([("id", "label"), *rows["train"]])
with (photos / "sample_submission.csv").open("w", newline="") as file:
    csv.writer(file).writerows([("id", "target"), *rows["test"]])
print(len(rows["train"]), "photographs to learn from,", len(rows["test"]), "to be named")

# %%
common = {"data.validation": 0.25, "data.test": 0, "training.epochs": EPOCHS}
scratch = eyesight.train("basic_cnn", data=photos, set=common, verbose=False)
best = max(epoch.validation_score for epoch in scratch.history)
print(f"from scratch: {best:.1%} of {scratch.data['counts']['validation']}")

# %%
pretrained = {**common, "model.name": BACKBONE, "model.weights": WEIGHTS, "data.size": 96}
frozen = eyesight.train("objects_transfer", data=photos, set=pretrained, verbose=False)
best = max(epoch.validation_score for epoch in frozen.history)
print(f"a head on a frozen backbone: {best:.1%}")

# %%
stages = {**pretrained, "transfer.thaw_epochs": min(EPOCHS, 5)}
tuned = eyesight.train("objects_finetune", data=photos, set=stages, verbose=False)
best = max(epoch.validation_score for epoch in tuned.history)
print(f"its last stage trained too: {best:.1%}")

# %%
command = ["predict", str(tuned.path), "photos/test", "--like", "photos/sample_submission.csv"]
subprocess.run(
    [sys.executable, "-m", "eyesight", *command, "--out", "submission.csv"],
    check=True,
    stdout=subprocess.DEVNULL,
)
with Path("submission.csv").open(newline="") as file:
    answers = list(csv.DictReader(file))
print(answers[:3])

# %%
right = sum(row["target"] == name for row, name in zip(answers, truth, strict=True))
print(f"{right} of {len(truth)} right")
