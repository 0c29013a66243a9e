"""Figures at their extremes: every one must draw without a warning, and nothing may be cut or lie
on top of other text.
"""

import logging
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from eyesight.results import metrics
from eyesight.views import plots
from eyesight.views import words as languages


def drawn_epochs(count, **more):
    epochs = [
        {
            "epoch": number,
            "train_loss": 2 / number,
            "train_top1": 1 - 0.5 / number,
            "validation_loss": 2.1 / number,
            "validation_top1": 1 - 0.6 / number,
            "best": False,
            **more,
        }
        for number in range(1, count + 1)
    ]
    epochs[-1]["best"] = True
    return epochs


def drawn_pictures(count, channels=1, side=8):
    return np.random.default_rng(0).integers(0, 256, (count, channels, side, side), dtype=np.uint8)


def drawn(figure):
    """The renderer of a figure after drawing it."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas.get_renderer()


def words(figure):
    """The texts of a figure with the boxes they take up, in pixels."""
    renderer = drawn(figure)
    texts = [
        text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()
    ]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in texts]


def is_whole(figure):
    """Whether everything that is drawn lies within the figure."""
    box = figure.get_tightbbox(drawn(figure))  # inches
    width, height = figure.get_size_inches()
    return (
        box.x0 >= -0.01 and box.y0 >= -0.01 and box.x1 <= width + 0.01 and box.y1 <= height + 0.01
    )


@pytest.mark.parametrize("count", [1, 3, 100])
def test_curves_show_both_parts_and_the_kept_epoch(count):
    figure = plots.curves(drawn_epochs(count))
    labels = [label for label, _ in words(figure)]
    assert labels.count("training") == labels.count("validation") == 2
    assert any(label.startswith(f"epoch {count} kept") for label in labels)
    assert is_whole(figure)


def test_curves_without_any_validation():
    figure = plots.curves(drawn_epochs(4, validation_loss=None, validation_top1=None))
    labels = [label for label, _ in words(figure)]
    assert "validation" not in labels and "epoch 4 kept" in labels


def test_curves_show_their_first_point_whole_and_mark_what_diverged():
    axes = plots.curves(drawn_epochs(5), ("loss",)).axes[0]
    assert axes.get_xlim()[0] < 1 and axes.get_ylim()[1] > 2.1
    epochs = drawn_epochs(6)
    epochs[4]["validation_loss"] = 1e6
    axes = plots.curves(epochs, ("loss",)).axes[0]
    assert axes.get_ylim()[1] < 10
    assert [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "^"] == [[5]]


def test_a_confusion_matrix_of_many_classes_has_a_scale():
    few, many = (plots.confusion(np.eye(count, dtype=np.int64), ["a"] * count) for count in (5, 40))
    assert len(few.axes[0].child_axes) == 0
    scale = many.axes[0].child_axes[0]
    assert "10 %" in [label.get_text() for label in scale.get_yticklabels()]
    assert is_whole(many)


def test_long_names_are_wrapped_instead_of_cut():
    assert plots.wrapped("Shih Tzu") == "Shih Tzu"
    assert plots.wrapped("Staffordshire bullterrier") == "Staffordshire\nbullterrier"
    longer = "American Staffordshire terrier"
    assert plots.wrapped(longer) == "American\nStaffordshire\nterrier"
    assert plots.wrapped(longer, 18, 2) == "American\nStaffordshire ter…"
    figure = plots.confusion(np.eye(2, dtype=np.int64), ["Staffordshire bullterrier", "pug"])
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["Staffordshire\nbullterrier", "pug"]


def test_curves_of_one_score_have_readable_axes():
    epochs = drawn_epochs(1, train_top1=0.4, validation_top1=0.4)
    axes = plots.curves(epochs, ("top1",)).axes[0]
    assert axes.get_ylim() == pytest.approx((0.39, 0.41))
    loss = plots.curves(drawn_epochs(5), ("loss",)).axes[0]
    assert loss.get_ylim()[0] < 0  # a point at zero is whole


def test_the_bars_of_the_reliability_diagram_carry_their_counts():
    p = np.array([[0.9, 0.1]] * 7 + [[0.4, 0.6]] * 3)
    figure = plots.reliability(metrics.reliability(p, np.zeros(10, np.int64)))
    assert [text.get_text() for text in figure.axes[0].texts] == ["3", "7"]


def test_curves_bridge_missing_values():
    epochs = drawn_epochs(5)
    epochs[1]["validation_loss"] = None
    line = next(
        line
        for line in plots.curves(epochs, ("loss",)).axes[0].lines
        if line.get_label() == "validation"
    )
    assert line.get_xdata().tolist() == [1, 3, 4, 5]


def test_curves_say_when_training_was_measured_on_a_clean_sample():
    assert "training (without augmentation)" in [
        label for label, _ in words(plots.curves(drawn_epochs(3, train_clean=True)))
    ]


def test_curves_mark_stages():
    epochs = drawn_epochs(4, stage=1)
    epochs[2]["stage"] = epochs[3]["stage"] = 2
    assert " stage 2" in [label for label, _ in words(plots.curves(epochs, ("loss",)))]


@pytest.mark.parametrize(
    ("count", "long"), [(2, True), (10, False), (15, True), (16, True), (52, False), (120, True)]
)
def test_confusion_names_do_not_touch(count, long):
    classes = [f"{'a rather long class name ' if long else ''}{k}" for k in range(count)]
    matrix = np.eye(count, dtype=np.int64) * 9
    matrix[0, 1] = 3
    figure = plots.confusion(matrix, classes)
    assert is_whole(figure)
    names = figure.axes[0].get_yticklabels()
    renderer = drawn(figure)
    boxes = [name.get_window_extent(renderer) for name in names]
    assert 2 <= len(names) <= plots.NAMED
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == (["9", "3"] + ["9"] * (count - 1) if count <= plots.COUNTED else [])


def test_confusion_of_a_class_without_pictures():
    assert is_whole(plots.confusion(np.zeros((3, 3), np.int64), ["a", "b", "c"]))


def test_a_rare_mistake_can_be_seen():
    image = plots.confusion(np.array([[99, 1], [0, 100]]), ["a", "b"]).axes[0].images[0].get_array()
    assert image[0, 1, 3] >= 0.1 and image[1, 0, 3] == 0


@pytest.mark.parametrize("name", ["$", "a$b$c", r"\alpha_{", "<b>", "개", "a&b"])
def test_names_are_text_and_nothing_else(name):
    figure = plots.confusion(np.eye(2, dtype=np.int64), [name, "x"])
    assert plots.png(figure)[:4] == b"\x89PNG"
    assert "<b>" not in plots.svg(figure)


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 8), (3, 128)])
@pytest.mark.parametrize("count", [1, 11])
def test_samples_of_any_kind(channels, side, count):
    figure = plots.samples(
        drawn_pictures(count, channels, side), [f"a very long class name {k}" for k in range(count)]
    )
    assert is_whole(figure)
    assert len(figure.axes) == count
    assert figure.axes[0].images[0].get_interpolation() == (
        "nearest" if side == 8 else "antialiased"
    )


def test_grey_is_shown_as_it_is_not_stretched():
    image = plots.samples(np.full((1, 1, 4, 4), 128, np.uint8), ["a"]).axes[0].images[0]
    assert image.get_clim() == (0, 255)


@pytest.mark.parametrize("name", ["3", "Staffordshire bullterrier"])
def test_mistakes_say_true_predicted_and_probability(name):
    figure = plots.mistakes(drawn_pictures(9), [name] * 9, ["5"] * 9, [0.934] * 9)
    assert is_whole(figure)
    caption = figure.axes[0].texts[0].get_text()
    assert caption.startswith(name[:10]) and "→ 5" in caption and "93 %" in caption
    boxes = [box for _, box in words(figure)]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[k + 1 :])


def test_calibration_skips_empty_bins():
    p = np.array([[0.9, 0.1], [0.95, 0.05], [0.4, 0.6]])
    figure = plots.reliability(metrics.reliability(p, np.array([0, 1, 1])))
    assert is_whole(figure)
    assert np.isfinite(figure.axes[0].lines[1].get_ydata()).all()


def test_svg_takes_its_colours_from_the_page():
    text = plots.svg(plots.curves(drawn_epochs(3)))
    assert text.startswith("<svg") and text.rstrip().endswith("</svg>")
    assert "var(--accent)" in text and plots.BLUE not in text
    assert "width=" not in text[: text.index(">")]
    assert text == plots.svg(plots.curves(drawn_epochs(3)))


def test_saved_whole(tmp_path):
    plots.save(plots.curves(drawn_epochs(2)), tmp_path / "figures" / "curves.png")
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["curves.png"]


@pytest.mark.parametrize("count", [1, 3, 15])
def test_the_titles_over_augmented_pictures_fit_however_few_there_are(count):
    names, few = ["a"] * count, min(count, 4)
    figure = plots.augmented(
        drawn_pictures(count), names, [drawn_pictures(few)] * 3, [names[:few]] * 3
    )
    renderer = drawn(figure)
    assert all(text.get_window_extent(renderer).x1 <= figure.bbox.x1 for text in figure.texts)


def test_the_words_of_a_figure_are_in_the_language_that_is_asked_for():
    with languages.translated({"epoch": "Époque", "validation": "épreuve"}):
        figure = plots.curves(drawn_epochs(3))
    texts = {text for text, _ in words(figure)}
    assert {"Époque", "épreuve", "training"} <= texts and "epoch" not in texts
    assert "epoch" in {text for text, _ in words(plots.curves(drawn_epochs(3)))}


def test_words_that_no_font_has_stay_english(monkeypatch):
    monkeypatch.setattr(languages, "families", lambda: (languages.LATIN,))
    with languages.translated({"epoch": "에포크"}):
        assert "epoch" in {text for text, _ in words(plots.curves(drawn_epochs(3)))}


@pytest.mark.skipif(not languages.can_draw("에포크"), reason="no font with Hangul is installed")
def test_hangul_is_drawn_and_is_no_box():
    with languages.translated({"predicted": "예측"}):
        figure = plots.confusion(np.eye(2, dtype=np.int64), ["가위", "바위"])
    texts = words(figure)
    assert {"예측", "가위"} <= {text for text, _ in texts} and is_whole(figure)


def test_warnings_about_fonts_are_hidden_while_a_figure_is_drawn_and_no_longer(caplog):
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    figure = plots.curves(drawn_epochs(3))
    with languages.without_font_warnings():
        logger.warning("no such weight")
        plots.png(figure)
        logger.warning("no such weight")
    assert not caplog.records
    logger.warning("no such font")
    assert [record.message for record in caplog.records] == ["no such font"]
    assert logger.level == level
