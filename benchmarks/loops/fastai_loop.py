"""fastai's fine-tuning in a given time, as its documentation shows it: an epoch of the head, then
as many epochs of all layers as the time allows; of the head, where it allows none.

    python fastai_loop.py FOLDER SECONDS SEED
"""

import time

BEGAN = time.monotonic()

import contextlib  # noqa: E402
import sys  # noqa: E402

import timm  # noqa: E402
import torch  # noqa: E402
from common import BATCH, NETWORK, SIDE, Task  # noqa: E402
from fastai.vision.all import (  # noqa: E402
    CategoryBlock,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    LabelSmoothingCrossEntropy,
    Resize,
    accuracy,
    aug_transforms,
    set_seed,
    vision_learner,
)

LR = 2e-3  # fine_tune's own
WHOLE = 2.7  # an epoch of all layers takes so many times as long as one of the head


def main():
    task = Task(BEGAN)
    set_seed(task.seed)
    training, validation = task.part("train"), task.part("validation")
    rows = [path for path, _ in training + validation]
    labels = dict(training + validation)
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=list(range(len(task.classes))))),
        get_y=labels.get,
        splitter=IndexSplitter(list(range(len(training), len(rows)))),
        item_tfms=Resize(SIDE + 32),
        batch_tfms=aug_transforms(size=SIDE),
    )
    loaders = block.dataloaders(rows, bs=BATCH, num_workers=2)
    learner = vision_learner(
        loaders, NETWORK, pretrained=False, loss_func=LabelSmoothingCrossEntropy(), metrics=accuracy
    )
    own = timm.create_model(NETWORK)
    own.load_state_dict(task.weights())
    learner.model[0].model.load_state_dict(own.state_dict(), strict=False)
    learner.freeze()
    tested = [path for path, _ in task.part("test")]
    test, few = loaders.test_dl(tested), loaders.test_dl(tested[: 2 * BATCH])
    with contextlib.redirect_stdout(sys.stderr), learner.no_bar():
        began = time.monotonic()
        learner.get_preds(dl=few)
        reserve = 1.2 * (time.monotonic() - began) * len(tested) / min(2 * BATCH, len(tested))
        began = time.monotonic()
        learner.fit_one_cycle(1, slice(LR), pct_start=0.99)
        epoch = time.monotonic() - began
        whole = int((task.left() - reserve) / (WHOLE * epoch))
        head = 0 if whole else int((task.left() - reserve) / epoch)
        if whole:
            learner.unfreeze()
            learner.fit_one_cycle(whole, slice(LR / 2 / 100, LR / 2), pct_start=0.3, div=5.0)
        elif head:
            learner.fit_one_cycle(head, slice(LR))
        predicted = learner.get_preds(dl=test)[0].argmax(1)
    task.finish(torch.as_tensor(predicted), f"{1 + head} epochs of the head, {whole} of all layers")


if __name__ == "__main__":
    main()
