"""The calls that a Python user tries first: run by test_python.py, and checked by mypy --strict
in `make check`.

Arguments: a folder of class folders, and a folder to work in.
"""

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import eyesight


def main(photos: str, place: Path) -> None:
    runs = place / "runs"
    network = {"model.name": "basic_cnn", "training.epochs": 4, "optim.lr": 0.003}
    few = {"training.max_epochs": 2}
    run = eyesight.train("lenet5", data=photos, budget="2m", set=few, out=runs, verbose=False)
    second = eyesight.train(
        eyesight.Recipe(
            name="small",
            data=eyesight.Data(source=photos, validation=0.2, test=0.2, scaling="standard"),
            model=eyesight.Model("basic_cnn"),
            optim=eyesight.Optim("adam", lr=0.003),
            training=eyesight.Training(epochs=4, batch=32),
            augment=eyesight.Augment(shift=0.05),
            loss=eyesight.Loss(smoothing=0.1),
            transfer=eyesight.Transfer(),
        ),
        out=str(runs),
        verbose=False,
    )
    third = eyesight.train("lenet5", data=Path(photos), set=network, out=runs, verbose=False)
    assert [opened.name for opened in eyesight.list_runs(str(runs))] == [
        run.name,
        second.name,
        third.name,
    ]

    status: str = eyesight.Run(str(third.path)).status
    metrics: eyesight.Metrics = eyesight.Run(third.path).metrics
    history: eyesight.History = third.history
    assert status == "done" and metrics.n > 0 and metrics.accuracy is not None
    assert len(history) == 4 and history[-1].train_loss is not None
    assert "svg" in history._repr_html_() and third.name in third._repr_html_()
    predictions: eyesight.Predictions = third.predictions("test")
    assert predictions.probabilities.shape == (metrics.n, 3)

    exported = eyesight.export(third, place / "shapes.onnx")
    assert exported.parity.agreement == 1 and "the same class" in str(exported)
    folder = third.path / "classifier"
    loaded = [
        eyesight.load(str(third.path)),
        eyesight.load(third.path),
        eyesight.load(str(folder)),
        eyesight.load(folder),
        eyesight.load(str(place / "shapes.onnx")),
        eyesight.load(place / "shapes.onnx"),
    ]
    print([classifier.source for classifier in loaded])

    files = sorted(Path(photos).glob("ring/*.png"))[:3]
    picture = Image.open(files[0])
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    array = np.asarray(picture)
    fractions = array / 255
    colour = np.stack([array] * 3, axis=2)
    for classifier in loaded:
        expected = classifier.predict(str(files[0])).probabilities
        assert expected.shape == (1, 3) and classifier.class_names == classifier.classes
        for image in (
            files[0],
            buffer.getvalue(),
            picture,
            array,
            fractions,
            colour,
            torch.from_numpy(array.copy()),
            torch.from_numpy(fractions)[None],
            array[None, :, :, None],
        ):
            given = classifier.predict(image)
            assert np.allclose(given.probabilities, expected, atol=1e-5), type(image)
        several = classifier.predict([str(file) for file in files])
        mixed = classifier.predict([files[0], array, picture, buffer.getvalue()])
        nothing = classifier.predict([])
        assert np.allclose(mixed.probabilities, expected.repeat(4, axis=0), atol=1e-5)
        assert len(several) == 3 and several.ids[0] == str(files[0])
        assert nothing.probabilities.shape == (0, 3) and nothing.top(2) == []
        name, probability = several.top(2)[0][0]
        assert name in classifier.class_names and probability == several.confidence[0]
        assert several.classes == several.class_names and name == several.names[0]
        assert "data:image/png" in several._repr_html_()

    comparison = eyesight.compare(second, third, out=runs, verbose=False)
    assert len(comparison.rows) == 2 and "<table>" in comparison._repr_html_()
    health = eyesight.scan(photos)
    assert health.classes == ("bar", "cross", "ring")
    diagnosis = eyesight.doctor(third)
    assert diagnosis.checks and str(diagnosis)
    before = eyesight.doctor("lenet5", data=photos, set={"optim.lr": 30})
    assert before.findings
    judged = eyesight.evaluate(third, photos)
    assert judged.summary()["n"] > 0
    page = eyesight.write_report(third, str(place / "x.html"))
    assert page.is_file() and eyesight.write_report(str(third.path)).is_file()
    recipe = eyesight.resolve("digits", set={"optim.lr": 0.02})
    assert recipe.optim.lr == 0.02 and "optim.lr" in recipe._repr_html_()
    print("every call works")


def mistakes() -> None:
    """Never run. mypy must find both: it rejects a `type: ignore` that hides no error."""
    eyesight.trian("lenet5")  # type: ignore[attr-defined]
    eyesight.load(3)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
