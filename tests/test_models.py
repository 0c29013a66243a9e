"""Every network is what its description says, and every one trains."""

import copy
import math
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import nn

from eyesight.errors import UserError
from eyesight.models.layers import Normalise, ScaledTanh, Stack, activation, initialise
from eyesight.models.lenet import SparseConvolution, Subsample
from eyesight.models.registry import MODELS, build
from eyesight.models.sketch import sketch
from eyesight.models.summary import count, layers, summarise
from eyesight.recipe import Model

CLASSIFIERS = [
    name for name in MODELS if name not in ("autoencoder", "skips")
]  # those have tests of their own

GREY, COLOUR = (1, 28, 28), (3, 32, 32)
SHAPES = {"lenet5_1998": [(1, 32, 32)], "bottleneck": [(1, 48, 48), (3, 40, 64)]}
SMALL = {
    "lenet5_1998": (1, 32, 32),
    "bottleneck": (1, 32, 32),
    "vgg16": COLOUR,
    "lenet5": GREY,
    "dropout_cnn": GREY,
    "allconv": (3, 20, 20),
}
HEAVY = (
    "small_vgg",
    "vgg16",
    "mixup_cnn",
    "deep_mixup_cnn",
)  # a few steps on a few pictures must do


def network(name, shape=COLOUR, classes=10, seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(Model(name, **options), shape, classes)


@cache
def described(name):
    """The network on the pictures of its description, built once for all tests that only look at
    it.
    """
    _, shape, classes, *_ = next(row for row in COUNTS if row[0] == name)
    return network(name, shape, classes)


def conv(kernel, came, filters):
    """k·h²+1 weights a filter, as the textbook counts (B14)."""
    return filters * (came * kernel * kernel + 1)


def dense(came, units):
    return units * (came + 1)


def norm(filters):
    return 2 * filters


def bottlenecks(came, narrow, wide):
    """[1×1, 3×3, 1×1] twice, each convolution with its normalisation."""
    blocks = ((came, narrow, wide), (wide, narrow, wide))
    return sum(
        conv(1, a, n) + norm(n) + conv(3, n, n) + norm(n) + conv(1, n, w) + norm(w)
        for a, n, w in blocks
    )


def vgg(depths, filters=(64, 128, 256, 512, 512)):
    """3×3 convolutions, block after block, from three channels."""
    wide = [3] + [
        count for count, depth in zip(filters, depths, strict=False) for _ in range(depth)
    ]
    return sum(conv(3, came, filters) for came, filters in pairwise(wide))


# From the descriptions alone: (network, shape, classes, sum, the number).
COUNTS = [
    # 28 → same 28 → 14 → 10 → 5 → 1
    (
        "lenet5",
        GREY,
        10,
        conv(5, 1, 6) + conv(5, 6, 16) + conv(5, 16, 120) + dense(120, 84) + dense(84, 10),
        61_706,
    ),
    # 156 + 12 + 1,516 + 32 + 48,120 + 10,164 = 60,000 in the paper, then a dense layer of ten
    (
        "lenet5_1998",
        (1, 32, 32),
        10,
        conv(5, 1, 6) + 12 + 1516 + 32 + conv(5, 16, 120) + dense(120, 84) + dense(84, 10),
        60_850,
    ),
    # 32 → 30 → 28 → 14 → 12 → 10 → 5, so 5·5·64 = 1,600 values reach the dense layer
    (
        "dropout_cnn",
        COLOUR,
        10,
        conv(3, 3, 32)
        + conv(3, 32, 32)
        + conv(3, 32, 64)
        + conv(3, 64, 64)
        + dense(1600, 512)
        + dense(512, 10),
        890_410,
    ),
    # 28 → 26 → 24 → 12 → 10 → 8 → 4: 1,024
    (
        "dropout_cnn",
        GREY,
        10,
        conv(3, 1, 32)
        + conv(3, 32, 32)
        + conv(3, 32, 64)
        + conv(3, 64, 64)
        + dense(1024, 512)
        + dense(512, 10),
        594_922,
    ),
    # valid convolutions, pooling of 2 with stride 1: 32 → 30 → 29 → 27 → 26, so 26·26·32 = 21,632
    (
        "baseline_cnn",
        COLOUR,
        10,
        conv(3, 3, 64) + conv(3, 64, 32) + dense(21_632, 64) + dense(64, 32) + dense(32, 10),
        1_407_178,
    ),
    # same: 32 → 16 → 8 → 4, so 4·4·32 = 512
    (
        "basic_cnn",
        COLOUR,
        10,
        conv(3, 3, 16) + conv(3, 16, 32) + conv(3, 32, 32) + dense(512, 1024) + dense(1024, 10),
        549_898,
    ),
    # same: 32 → 16 → 8, so 8·8·128 = 8,192
    (
        "small_vgg",
        COLOUR,
        10,
        vgg((2, 2)) + dense(8192, 4096) + dense(4096, 1000) + dense(1000, 10),
        37_925_698,
    ),
    # five halvings leave 1·1·512
    (
        "vgg16",
        COLOUR,
        10,
        vgg((2, 2, 3, 3, 3)) + dense(512, 4096) + dense(4096, 1000) + dense(1000, 10),
        20_922_946,
    ),
    (
        "mixup_cnn",
        COLOUR,
        10,
        vgg((2, 2, 2, 2)) + 2 * norm(64 + 128 + 256 + 512) + dense(512, 256) + dense(256, 10),
        4_823_114,
    ),
    (
        "deep_mixup_cnn",
        COLOUR,
        10,
        vgg((3, 3, 4, 4))
        + norm(3 * 64 + 3 * 128 + 4 * 256 + 4 * 512)
        + dense(512, 256)
        + dense(256, 64)
        + dense(64, 10),
        10_925_386,
    ),
    # 90 → 45 → 22 → 11 → 5 → 2: 2·2·512 = 2,048
    (
        "bottleneck",
        (1, 90, 90),
        52,
        conv(7, 1, 16)
        + norm(16)
        + bottlenecks(16, 16, 32)
        + bottlenecks(32, 32, 128)
        + bottlenecks(128, 128, 256)
        + bottlenecks(256, 256, 512)
        + dense(2048, 256)
        + norm(256)
        + dense(256, 52),
        2_636_148,
    ),
    # 8 → 4: 4·4·64 = 1,024
    (
        "small_cnn",
        (1, 8, 8),
        10,
        conv(3, 1, 32) + conv(3, 32, 32) + conv(3, 32, 64) + dense(1024, 128) + dense(128, 10),
        160_554,
    ),
    (
        "allconv",
        COLOUR,
        10,
        conv(3, 3, 96)
        + 2 * conv(3, 96, 96)
        + conv(3, 96, 192)
        + 3 * conv(3, 192, 192)
        + conv(1, 192, 192)
        + conv(1, 192, 10),
        1_369_738,
    ),
]


@pytest.mark.parametrize(
    ("name", "shape", "classes", "derived", "number"),
    COUNTS,
    ids=[f"{row[0]}-{row[4]}" for row in COUNTS],
)
def test_parameters_are_those_the_description_implies(name, shape, classes, derived, number):
    assert derived == number
    assert count(network(name, shape, classes) if shape == GREY else described(name)) == number


def test_every_network_has_a_derived_count():
    described = {row[0] for row in COUNTS}
    ours = {name for name in MODELS if MODELS[name].__module__ == "eyesight.models.fast"}
    assert described | ours >= set(CLASSIFIERS)


def spell(layer):
    """A layer as SYSTEMS writes it: C(k,n) with its stride and padding where they are not 1 and
    same, P, D, FC, names of the rest.
    """
    if isinstance(layer, nn.Conv2d):
        same = layer.padding[0] == layer.kernel_size[0] // 2
        return (
            f"C{layer.kernel_size[0]},{layer.out_channels}"
            + f"s{layer.stride[0]}" * (layer.stride[0] > 1)
            + "v" * (not same)
        )
    if isinstance(layer, nn.MaxPool2d):
        plain = layer.kernel_size == layer.stride and not layer.padding
        return (
            f"P{layer.kernel_size}"
            if plain
            else f"P{layer.kernel_size}s{layer.stride}p{layer.padding}"
        )
    if isinstance(layer, nn.AvgPool2d | nn.AdaptiveAvgPool2d):
        return f"A{layer.kernel_size}" if isinstance(layer, nn.AvgPool2d) else "GAP"
    if isinstance(layer, nn.Dropout):
        return f"D{layer.p:.3g}"
    if isinstance(layer, nn.Linear):
        return f"FC{layer.out_features}"
    short = {
        "ReLU": "r",
        "BatchNorm2d": "B",
        "BatchNorm1d": "B",
        "ScaledTanh": "t",
        "Subsample": "S",
        "SparseConvolution": "C5,16sparse",
    }
    return short[type(layer).__name__]


def spelled(made):
    left_out = (Normalise, nn.Flatten)
    leaves = [
        layer
        for layer in made.modules()
        if not list(layer.children()) and not isinstance(layer, left_out)
    ]
    return " ".join(spell(layer) for layer in leaves)


def block(narrow, wide):
    return f"C1,{narrow} B r C3,{narrow} B r C1,{wide} B r"


def after(filters, depth):
    return " ".join([f"C3,{filters} r B"] * depth) + " P2"


PLAN = {
    "lenet5": "C5,6 r P2 C5,16v r P2 C5,120v r FC84 r FC10",
    "lenet5_1998": "C5,6v t S t C5,16sparse t S t C5,120v t FC84 t FC10",
    "dropout_cnn": "C3,32v r C3,32v r P2 D0.25 C3,64v r C3,64v r P2 D0.25 FC512 r D0.5 FC10",
    "baseline_cnn": "C3,64v P2s1p0 C3,32v P2s1p0 FC64 r D0.2 FC32 r D0.2 FC10",
    "basic_cnn": "C3,16 r P2 D0.23 C3,32 r P2 D0.23 C3,32 r P2 D0.23 FC1024 r D0.5 FC10",
    "small_vgg": "C3,64 C3,64 P2 C3,128 C3,128 P2 FC4096 r D0.5 FC1000 r FC10",
    "vgg16": "C3,64 C3,64 P2 C3,128 C3,128 P2 C3,256 C3,256 C3,256 P2 C3,512 C3,512 C3,512 P2 C3,512 C3,512 C3,512 P2 "
    "FC4096 r D0.5 FC1000 r FC10",
    "mixup_cnn": f"{after(64, 2)} {after(128, 2)} {after(256, 2)} {after(512, 2)} GAP FC256 r D0.8 FC10",
    "deep_mixup_cnn": f"{after(64, 3)} {after(128, 3)} {after(256, 4)} {after(512, 4)} GAP FC256 r D0.5 FC64 r D0.5 FC10",
    "bottleneck": f"C7,16 B r P3s2p1 {block(16, 32)} {block(16, 32)} P2 {block(32, 128)} {block(32, 128)} P2 "
    f"{block(128, 256)} {block(128, 256)} P2 {block(256, 512)} {block(256, 512)} A2 D0.5 FC256 B r D0.3 FC52",
    "allconv": "D0.2 C3,96 r C3,96 r C3,96s2 r D0.5 C3,192 r C3,192 r C3,192s2 r D0.5 C3,192v r C1,192 r C1,10 r GAP",
}


@pytest.mark.parametrize("name", PLAN)
def test_layers_stand_in_the_described_order(name):
    assert spelled(described(name)) == PLAN[name]


def test_vgg16_that_trains_has_the_same_layers_with_activation_and_normalisation():
    found = spelled(network("vgg16", activation="relu", normalise=True, initialise="he"))
    assert found.replace(" B r", "") == PLAN["vgg16"]
    assert found.count(" B r") == 13


def test_without_dropout_only_dropout_is_missing():
    assert spelled(network("dropout_cnn", dropout=0.0)) == PLAN["dropout_cnn"].replace(
        " D0.25", ""
    ).replace(" D0.5", "")


def test_sizes_inside_the_font_network():
    sides = [
        row.shape[1]
        for row in layers(network("bottleneck", (1, 90, 90), 52), (1, 90, 90))
        if "Pool" in row.kind
    ]
    assert sides == [45, 22, 11, 5, 2]


def test_sizes_inside_the_baseline():
    rows = layers(network("baseline_cnn"), COLOUR)
    assert [row.shape for row in rows if "Pool" in row.kind] == [(64, 29, 29), (32, 26, 26)]


def test_the_network_without_pooling_averages_six_by_six_class_maps():
    rows = layers(network("allconv"), COLOUR)
    assert [row.shape for row in rows if row.kind == "Conv2d"][-1] == (10, 6, 6)


def test_costs_follow_the_textbook():
    # B14: 256×256×3 through 64 filters 3×3 with stride 2, then 128 filters 5×5 with stride 2.
    net, shape = sketch("256x256x3 conv3x64/2 conv5x128/2")
    summary = summarise(net, shape)
    first, second = summary.layers
    assert (first.parameters, second.parameters) == (28 * 64, 1601 * 128)
    assert first.operations == 128 * 128 * 28 * 64 and second.operations == 64 * 64 * 1601 * 128
    assert first.multiply_adds == 128 * 128 * 27 * 64
    assert summary.output == (128, 64, 64)
    assert summary.operations == first.operations + second.operations


def test_a_sketch_reads_every_kind_of_layer():
    net, shape = sketch("8x8x1 conv3x4-replicate max2 conv3x4-valid average2/1 dropout.5 fc3")
    rows = layers(net, shape)
    assert [(row.kind, row.settings, row.shape) for row in rows] == [
        ("Conv2d", "3×3, padding 1, replicate", (4, 8, 8)),
        ("MaxPool2d", "2×2, stride 2", (4, 4, 4)),
        ("Conv2d", "3×3", (4, 2, 2)),
        ("AvgPool2d", "2×2, stride 1", (4, 1, 1)),
        ("Dropout", "rate 0.5", (4, 1, 1)),
        ("Flatten", "", (4,)),
        ("Linear", "", (3,)),
    ]
    flat = net[0](torch.full((1, 1, 8, 8), 3.0))
    torch.testing.assert_close(flat, flat[:, :, :1, :1].expand_as(flat))  # no border of zeros


@pytest.mark.parametrize("line", ["", "8x8x1", "8x8 conv3x4", "8x8x1 conv3", "8x8x1 dense4"])
def test_a_sketch_that_cannot_be_read_is_refused_with_an_example(line):
    with pytest.raises(UserError, match="cannot read") as caught:
        sketch(line)
    assert "conv3x64/2" in caught.value.hint


def test_layers_are_called_by_their_public_names():
    rows = layers(network("fast_digits", GREY), GREY)
    assert {row.kind for row in rows} == {
        "Normalise",
        "Conv2d",
        "MaxPool2d",
        "BatchNorm2d",
        "ReLU",
        "Flatten",
        "Linear",
    }


@pytest.mark.parametrize("name", ["lenet5", "dropout_cnn", "allconv", "autoencoder", "skips"])
def test_every_parameter_stands_in_a_row(name):
    net = network(name)
    rows = layers(net, COLOUR)
    assert sum(row.parameters for row in rows) == count(net)


def test_upsampling_has_rows_and_the_summary_ends_with_the_output():
    net = network("autoencoder", GREY, 1)
    summary = summarise(net, GREY)
    shuffles = [row.shape for row in summary.layers if row.kind == "PixelShuffle"]
    assert shuffles == [(32, 14, 14), (1, 28, 28)] and summary.output == GREY
    maps = summarise(network("skips", COLOUR, 4), COLOUR)
    assert maps.output == (4, 32, 32)
    assert [row.settings for row in maps.layers if row.kind == "Upsample"] == ["nearest"] * 3


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("place", [0, 1])
def test_builds_at_two_shapes_and_trains_a_step(name, place):
    shapes = SHAPES.get(
        name,
        [(3, 32, 33)]
        if name == "vgg16"
        else [(1, 16, 16), (3, 20, 18)]
        if name in HEAVY
        else [COLOUR, GREY],
    )
    if place >= len(shapes):
        pytest.skip("takes one shape only")
    shape = shapes[place]
    made = network(name, shape, 7, **({"normalise": True} if name == "vgg16" else {})).train()
    before = {key: value.detach().clone() for key, value in made.named_parameters()}
    logits = made(torch.randint(0, 256, (2, *shape), dtype=torch.uint8))
    assert logits.shape == (2, 7)
    nn.functional.cross_entropy(logits, torch.tensor([1, 5])).backward()
    torch.optim.SGD(made.parameters(), 0.1).step()
    moved = [key for key, value in made.named_parameters() if not torch.equal(value, before[key])]
    assert any(key.startswith("head") for key in moved) and any(
        key.startswith("body") for key in moved
    )


def toys(shape, count=24):
    """Pictures of three classes that differ by where they are bright."""
    draw = torch.Generator().manual_seed(5)
    labels = torch.arange(count) % 3
    pixels = torch.randint(0, 60, (count, *shape), dtype=torch.uint8, generator=draw)
    third = shape[2] // 3
    for place, label in enumerate(labels.tolist()):
        pixels[place, :, :, label * third : (label + 1) * third] += 150
    return pixels, labels


@pytest.mark.whole
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_loss_falls_over_thirty_steps(name):
    torch.manual_seed(1)
    shape = SMALL.get(name, (3, 16, 16))
    options = {
        "vgg16": {"activation": "relu", "normalise": True, "initialise": "he"},
        "allconv": {"width": 0.25},
    }.get(name, {})
    pixels, labels = toys(shape, 6 if name in HEAVY else 9)
    made = network(name, shape, 3, **options, **({"dropout": 0.0} if name in HEAVY else {}))
    rates = {"small_vgg": 0.005, "vgg16": 0.002}
    rate = rates.get(name, 0.02 if name in HEAVY else 0.0005)
    optimiser = (
        torch.optim.SGD(made.parameters(), rate, momentum=0.9)
        if name in HEAVY
        else torch.optim.Adam(made.parameters(), rate)
    )
    steps = 7 if name in HEAVY else 30

    def loss():
        return nn.functional.cross_entropy(made(pixels), labels)

    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss()
        value.backward()
        optimiser.step()
        losses.append(value.item())
    assert math.isfinite(losses[-1]) and min(losses[-3:]) < 0.8 * losses[0], losses


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_bytes_floats_and_memory_orders_agree(name):
    shape = SMALL.get(name, (3, 16, 16))
    made = network(name, shape, 4, **({"width": 0.25} if name == "allconv" else {})).eval()
    made.normalise.set(torch.full((shape[0],), 0.4), torch.full((shape[0],), 0.3))
    pixels = torch.randint(
        0, 256, (3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        expected = made(pixels)
        assert torch.allclose(made(pixels.float() / 255), expected, atol=1e-5)
        order = pixels.contiguous(memory_format=torch.channels_last)
        assert torch.allclose(
            made.to(memory_format=torch.channels_last)(order), expected, atol=1e-4
        )
    assert expected.std() > 0


def test_normalisation_of_the_first_layer():
    layer = Normalise(2)
    layer.set(torch.tensor([0.5, 0.2]), torch.tensor([0.25, 0.0]))
    found = layer(torch.tensor([255, 51], dtype=torch.uint8).view(1, 2, 1, 1)).flatten()
    assert torch.allclose(
        found, torch.tensor([2.0, 0.0]), atol=1e-4
    )  # a channel that never changes is not divided by nothing


def limits(weight, how):
    came, went = nn.init._calculate_fan_in_and_fan_out(weight)
    return math.sqrt(6 / (came + went)) if how == "glorot" else math.sqrt(6 / came)


@pytest.mark.parametrize(
    "name", [name for name in CLASSIFIERS if MODELS[name].__module__ != "eyesight.models.fast"]
)
def test_weights_are_drawn_as_described_with_zero_biases(name):
    how = "he" if name in ("bottleneck", "allconv") else "glorot"
    made = described(name)
    drawn = [layer for layer in made.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert drawn
    for layer in drawn:
        limit = limits(layer.weight, how)
        assert 0.9 * limit < layer.weight.abs().max() <= limit
        assert not layer.bias.any()
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            assert (layer.weight == 1).all() and not layer.bias.any()


def test_initialisation_can_be_chosen():
    chosen = network("dropout_cnn", initialise="he").body[0].weight
    assert 0.9 * limits(chosen, "he") < chosen.abs().max() <= limits(chosen, "he")
    assert limits(chosen, "glorot") < 0.9 * chosen.abs().max()


def test_same_seed_same_weights():
    assert torch.equal(
        network("lenet5", seed=3).head[-1].weight, network("lenet5", seed=3).head[-1].weight
    )
    assert not torch.equal(
        network("lenet5", seed=3).head[-1].weight, network("lenet5", seed=4).head[-1].weight
    )


def test_the_planted_softmax_gives_probabilities():
    out = network("bottleneck", (1, 64, 64), 5, softmax=True).eval()(torch.zeros(2, 1, 64, 64))
    assert torch.allclose(out.sum(1), torch.ones(2)) and (out >= 0).all()


def test_subsampling_of_1998():
    layer = Subsample(2)
    with torch.no_grad():
        layer.coefficient.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1))
        layer.bias.copy_(torch.tensor([0.0, 1.0]).view(2, 1, 1))
    picture = torch.tensor([[1.0, 2.0], [3.0, 6.0]]).expand(1, 2, 2, 2)
    assert layer(picture).flatten().tolist() == [3.0, 7.0]


def test_sparse_layer_of_1998_sees_only_its_connections():
    layer = SparseConvolution()
    assert count(layer) == 1516
    only_map_3 = torch.zeros(1, 6, 5, 5)
    only_map_3[:, 3] = 1
    reached = (layer(only_map_3) - layer(torch.zeros(1, 6, 5, 5))).flatten().abs() > 0
    assert reached.nonzero().flatten().tolist() == [
        1,
        2,
        3,
        6,
        7,
        8,
        9,
        12,
        14,
        15,
    ]  # the row of map 3 in the paper's table I


def test_scaled_tanh_passes_through_one():
    assert torch.allclose(
        ScaledTanh()(torch.tensor([1.0, -1.0])), torch.tensor([1.0, -1.0]), atol=1e-3
    )


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Model("lenet"), "lenet5"),
        (Model("lenet5", dropout=0.5), "dropout"),
        (Model("lenet5", activation="rellu"), "relu"),
    ],
)
def test_what_cannot_be_built_says_what_would(model, says):
    with pytest.raises(UserError) as caught:
        build(model, COLOUR, 10)
    assert says in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("name", ["lenet5", "dropout_cnn", "vgg16", "allconv", "bottleneck"])
def test_pictures_too_small_are_refused(name):
    with pytest.raises(UserError, match="too small"):
        network(name, (1, 5, 5))


def test_only_one_size_for_the_network_of_1998():
    with pytest.raises(UserError, match="32×32"):
        network("lenet5_1998", GREY)


def test_a_stack_knows_its_shape():
    stack = (
        Stack((3, 17, 17), padding="valid")
        .conv(4, 5)
        .pool(2, 1)
        .conv(8, 3, padding="same", stride=2)
        .dense(6, normalise=True)
    )
    assert stack.shape == (6,)
    assert stack.build()(torch.zeros(2, 3, 17, 17)).shape == (2, 6)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_stack_knows_its_shape_without_computing_an_image(device):
    counts = []

    class Watched(nn.Conv2d):
        def forward(self, x):
            counts.append(len(x))
            return super().forward(x)

    with torch.device(device):
        assert Stack((3, 9, 9)).add(Watched(3, 4, 3)).shape == (4, 7, 7)
    assert counts == [0]


def test_a_stack_takes_layers_that_need_an_image_or_their_values():
    class Flat(nn.Module):
        def forward(self, x):
            return x.view(len(x), -1)

    class Chosen(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("chosen", torch.tensor([True, False, True]))

        def forward(self, x):
            return x[:, self.chosen]

    assert Stack((3, 4, 4)).add(Chosen(), Flat()).shape == (32,)
    with torch.device("meta"):
        assert Stack((3, 4, 4)).add(Flat()).shape == (48,)


def test_activations_by_name():
    assert isinstance(activation("gelu"), nn.GELU)


def test_initialise_leaves_running_statistics_fresh():
    layer = nn.BatchNorm2d(3)
    layer(torch.randn(4, 3, 2, 2))
    initialise(layer, "he")
    assert not layer.running_mean.any()


def test_a_copy_of_a_network_is_independent():
    made = network("lenet5")
    other = copy.deepcopy(made)
    with torch.no_grad():
        other.head[-1].weight.zero_()
    assert made.head[-1].weight.any()
