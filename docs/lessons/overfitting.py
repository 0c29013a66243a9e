# %%
import os

from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import eyesight

SHORT = "LESSON_SHORT" in os.environ  # a test runs the lesson in seconds
EPOCHS = 2 if SHORT else 30
TRAINED = 60 if SHORT else 150

digits = load_digits()
images, labels = digits.images / 16, digits.target
data = (images[:TRAINED], labels[:TRAINED], images[1000:], labels[1000:])
settings = {
    "data.size": 28,
    "data.validation": 0.3,
    "training.epochs": EPOCHS,
    "training.batch": 32,
    "training.keep": "last",
}


# %%
def learn(**changes: object) -> eyesight.Run:
    """Train the textbook's network with its dropout, unless `changes` say otherwise."""
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return eyesight.train("digits_cnn", data=data, set={**settings, **changes}, verbose=False)


def describe(title: str, run: eyesight.Run) -> None:
    """Print the losses at the end, the best validation loss, and the test accuracy."""
    last = run.history[-1]
    best = min(run.history, key=lambda epoch: epoch.validation_loss)
    print(f"{title:<13} training loss {last.train_loss:.3f}, validation {last.validation_loss:.3f}")
    print(f"{'':<13} lowest validation loss {best.validation_loss:.3f}, after epoch {best.epoch}")
    print(f"{'':<13} test {run.metrics.accuracy:.1%} of {run.metrics.n}")


plain = learn(model__dropout=0.0)
describe("nothing", plain)

# %%
dropout = learn()
describe("dropout", dropout)

# %%
augmented = learn(model__dropout=0.0, augment__rotate=12.0, augment__shift=0.1, augment__zoom=0.1)
describe("augmentation", augmented)

# %%
mixup = learn(model__dropout=0.0, augment__mixup=0.4)
describe("mixup", mixup)

# %%
figure = Figure(figsize=(10, 2.6), layout="constrained")
places = figure.subplots(1, 4, sharey=True)
runs = {"nothing": plain, "dropout": dropout, "augmentation": augmented, "mixup": mixup}
for place, (title, run) in zip(places, runs.items(), strict=True):
    epochs = [epoch.epoch for epoch in run.history]
    place.plot(epochs, [epoch.train_loss for epoch in run.history], label="training")
    place.plot(epochs, [epoch.validation_loss for epoch in run.history], label="validation")
    place.set(title=title, xlabel="epoch", ylim=(0, 2.5))
places[0].set_ylabel("loss")
places[0].legend()
figure.savefig("lesson-overfitting.png", dpi=120)
