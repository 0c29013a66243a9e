"""The table of names people know, and the catalogue that counts what is in it."""

import pytest
import timm

from eyesight.comparison import zoo_table
from eyesight.errors import UserError
from eyesight.models import zoo

NAMES = [
    "Xception",
    "VGG16",
    "VGG19",
    "ResNet50",
    "ResNet101",
    "ResNet152",
    "ResNet50V2",
    "ResNet101V2",
    "ResNet152V2",
    "InceptionV3",
    "InceptionResNetV2",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Large",
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "EfficientNetB0",
    "EfficientNetB1",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_known_name_leads_to_weights_that_timm_has(name):
    entry = zoo.find(name)
    assert entry is not None and entry.name == name
    if name == "ResNet152V2":
        assert timm.is_model("resnetv2_152") and "no ImageNet weights" in entry.note
        return
    assert entry.timm in timm.list_pretrained(entry.timm.split(".")[0] + "*")


@pytest.mark.parametrize(
    "spelling", ["ResNet50V2", "resnet50v2", "RESNET-50-V2", "resnet_50 v2", "resnetv2_50.a1h_in1k"]
)
def test_case_and_separators_do_not_matter(spelling):
    assert zoo.timm_name(spelling) == "resnetv2_50.a1h_in1k"


def test_no_two_entries_share_a_spelling_and_other_names_stay_as_they_are():
    assert (
        len({zoo.plain(entry.name) for entry in zoo.ZOO})
        == len({entry.timm for entry in zoo.ZOO})
        == len(zoo.ZOO)
    )
    assert zoo.timm_name("convnext_tiny") == "convnext_tiny"


def test_published_facts_are_in_order():
    for entry in zoo.ZOO:
        assert 50 < entry.top1 < (entry.top5 or 99) < 100 and entry.parameters
        assert entry.source and entry.timm_source
        if entry.timm_top1 is not None:
            assert 50 < entry.timm_top1 < entry.timm_top5 < 100
            assert abs(entry.top1 - entry.timm_top1) < 6
    assert sum(entry.depth is None or entry.top5 is None for entry in zoo.ZOO) == 4, (
        "of the others all is published"
    )


@pytest.mark.whole
@pytest.mark.parametrize(
    "name", ["MobileNetV2", "DenseNet121", "EfficientNetB0", "MobileNet", "ResNet152V2"]
)
def test_counted_parameters_are_the_published_ones(name):
    (row,) = [row for row in zoo_table.rows(name) if row.entry.name == name]
    assert row.parameters / 1e6 == pytest.approx(row.entry.parameters, rel=0.03)
    assert row.multiply_adds > 2e8
    assert row.stages == ("conv1", "conv2", "conv3", "conv4", "conv5")


def test_the_facts_are_remembered(monkeypatch):
    first = list(zoo_table.rows("mobilenetv2"))
    monkeypatch.setattr(zoo_table, "counted", lambda name: pytest.fail("counted again"))
    assert [row.to_dict() for row in zoo_table.rows("mobilenetv2")] == [
        row.to_dict() for row in first
    ]


def test_the_table_names_its_sources_and_every_network():
    rows = list(zoo_table.rows("mobilenet"))
    text = zoo_table.table(rows)
    assert zoo.KNOWN_SOURCE in text and zoo.TIMM_SOURCE in text
    assert all(row.entry.timm in text for row in rows) and len(rows) == 3


def test_measuring_gives_seconds_of_a_picture_and_of_a_batch(monkeypatch):
    monkeypatch.setattr(zoo_table, "_seconds", lambda network, batch, size, device: 0.001 * batch)
    (row,) = zoo_table.rows("mobilenetv2", measure=True)
    assert row.seconds["cpu"] == (0.001, 0.001 * zoo_table.BATCH)
    assert row.to_dict()["seconds"]["cpu"][f"batch_of_{zoo_table.BATCH}"] == 0.001 * zoo_table.BATCH


def test_the_figure_has_a_panel_for_each_device_and_every_name(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo_table, "timed", lambda row: {"cpu": (0.01, 0.1), "cuda": (0.001, 0.01)})
    rows = list(zoo_table.rows("mobilenet", measure=True))
    figure = zoo_table.comparison_plots.networks(
        {"ms": {"a": 1.0, "b": 8.0}, "multiply-adds": {"a": 2.0, "b": 3.0}}, {"a": 0.7, "b": 0.8}
    )
    assert [axes.get_xlabel() for axes in figure.axes] == ["ms", "multiply-adds"]
    assert all({text.get_text() for text in axes.texts} >= {"a", "b"} for axes in figure.axes)
    assert zoo_table.draw(rows, tmp_path / "zoo.png").read_bytes().startswith(b"\x89PNG")
    files = zoo_table.write(rows, tmp_path / "zoo")
    assert sorted(file.name for file in files) == [
        "models.json",
        "models.md",
        "models.png",
    ] and all(file.is_file() for file in files)
    page = (tmp_path / "zoo" / "models.md").read_text()
    assert page.count("| MobileNet") == 3 and "cuda ms" in page and zoo.TIMM_SOURCE in page
    zoo_table.check_out(tmp_path / "zoo")
    for name in ("zoo.pdf", "zoo.json"):
        with pytest.raises(UserError, match="neither a"):
            zoo_table.check_out(tmp_path / name)
    with pytest.raises(UserError, match="none of these"):
        zoo_table.draw(list(zoo_table.rows("lcnet_035")), tmp_path / "none.png")


def test_any_of_timms_networks_can_be_listed_and_a_wrong_name_is_an_error():
    assert [row.entry.name for row in zoo_table.rows("lcnet_03*")] == ["lcnet_035"]
    with pytest.raises(UserError, match="nothing-like-this"):
        list(zoo_table.rows("nothing-like-this"))
