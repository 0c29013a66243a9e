# %%
import math
import os
import string
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import eyesight

SHORT = "LESSON_SHORT" in os.environ  # a test runs the lesson in seconds
EPOCHS = 1 if SHORT else 25
LETTERS = string.ascii_uppercase + string.ascii_lowercase

# %%
bound = math.log(math.e + 51) - 1
print(f"ln(e + 51) - 1 = {bound:.3f}")
for right in (0.9, 0.95, 1.0):
    print(f"{right:.0%} right: a loss of about {right * bound + (1 - right) * (bound + 1):.3f}")
print(f"the surest answer: {math.e / (math.e + 51):.2%}")

# %%
folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
fonts = sorted(folder.glob("DejaVu*.ttf")) + sorted(folder.glob("STIXGeneral*.ttf"))
fonts = [font for font in fonts if "Display" not in font.name]


def drawn(letter: str, font: Path, random: np.random.Generator) -> np.ndarray:
    """A white letter on black, 28 by 28, in a random size and place."""
    image = Image.new("L", (28, 28))
    size = int(random.integers(16, 23))
    place = tuple(int(number) for number in random.integers(11, 18, 2))
    style = ImageFont.truetype(font, size)
    ImageDraw.Draw(image).text(place, letter, fill=255, font=style, anchor="mm")
    return np.asarray(image)


random = np.random.default_rng(0)
pixels, labels, held = [], [], []
for number, font in enumerate(fonts):
    for _ in range(1 if SHORT else 4):
        for place, letter in enumerate(LETTERS):
            pixels.append(drawn(letter, font, random))
            labels.append(place)
            held.append(number % 4 == 0)  # a quarter of the fonts is kept for the test
pixels, labels, held = np.stack(pixels), np.array(labels), np.array(held)
data = (pixels[~held], labels[~held], pixels[held], labels[held])
print(f"{len(fonts)} fonts, {len(data[0]):,} images to learn from, {len(data[2]):,} to test")

# %%
settings = {"training.epochs": EPOCHS, "training.batch": 64, "optim.lr": 0.002}
twice = eyesight.train("lenet5", data=data, set={**settings, "model.softmax": True}, verbose=False)
for epoch in twice.history[:: max(1, EPOCHS // 5)]:
    print(f"epoch {epoch.epoch:2}  training loss {epoch.train_loss:.3f}")
print(f"lowest {min(epoch.train_loss for epoch in twice.history):.3f}, bound {bound:.3f}")
print(f"test {twice.metrics.accuracy:.1%} of {twice.metrics.n}")

# %%
print(eyesight.doctor(twice))

# %%
once = eyesight.train("lenet5", data=data, set=settings, verbose=False)
print(f"lowest training loss {min(epoch.train_loss for epoch in once.history):.3f}")
print(f"test {once.metrics.accuracy:.1%} of {once.metrics.n}")
