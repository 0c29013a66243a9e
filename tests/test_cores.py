"""Small batches on each core answer as one batch does, and only where that is safe."""

import threading

import drawn
import pytest
import torch
from torch import nn

from eyesight import classifier
from eyesight.models import cores, registry
from eyesight.recipe import Augment, Model, Recipe, Training
from eyesight.training import features, loop
from eyesight.training.checkpoint import State
from eyesight.training.context import Context


@pytest.fixture
def two_cores():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def network_with_statistics(shape=(3, 32, 32)):
    """A network whose batch normalisation is not the identity."""
    torch.manual_seed(0)  # with some statistics every image gets nearly the same answer
    network = registry.build(Model("fast_objects", width=0.25), shape, 3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    return network.eval()


def test_small_batches_on_two_cores_answer_as_one_batch_in_order(two_cores):
    network = network_with_statistics()
    images = torch.rand(150, 3, 32, 32)
    threads = set()

    def compute(part):
        threads.add((threading.get_ident(), torch.get_num_threads()))
        with torch.no_grad():
            return network(part)

    parts = cores.on_each_core(compute, images, network)
    assert [len(part) for part in parts] == [38, 38, 37, 37], "as many for each core"
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(parts), network(images))
    assert {number for _, number in threads} == {1}, "each core alone"
    assert threading.get_ident() not in {thread for thread, _ in threads}
    assert torch.get_num_threads() == 2


class Remembering(nn.Module):
    """A person's own layer, which two threads must not run at once."""

    def forward(self, values):
        self.last = values
        return self.last


def test_layers_that_may_keep_something_run_in_one_thread(two_cores):
    own = nn.Sequential(nn.Conv2d(3, 4, 3), Remembering())
    hooked = nn.Sequential(nn.Conv2d(3, 4, 3))
    hooked[0].register_forward_hook(lambda module, given, made: None)
    assert cores.keeps_nothing(network_with_statistics())
    for network in (own, hooked):
        threads = set()
        cores.on_each_core(
            lambda part, threads=threads: threads.add(threading.get_ident()),
            torch.rand(100, 3, 32, 32),
            network,
        )
        assert threads == {threading.get_ident()}


def test_a_thread_of_a_service_does_not_share_its_work(two_cores):
    threads = set()

    def serve():
        cores.on_each_core(
            lambda part: threads.add(threading.get_ident()),
            torch.rand(100, 3, 32, 32),
            nn.Identity(),
        )

    serving = threading.Thread(target=serve)
    serving.start()
    serving.join()
    assert threads == {serving.ident}


def test_batch_normalisation_is_folded_without_changing_what_is_computed():
    network = network_with_statistics()
    quicker = cores.folded(network)
    before, after = (
        sum(isinstance(module, nn.BatchNorm2d) for module in one.modules())
        for one in (network, quicker)
    )
    assert after < before, "each that follows a convolution"
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(quicker.body(images), network.body(images), atol=1e-4, rtol=1e-4)


class Crossed(nn.Module):
    """Its layers are not executed in the order in which they are named."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        nn.init.constant_(self.norm.bias, 2.0)

    def forward(self, images):
        return self.first(self.norm(images))


def test_a_network_of_another_order_is_left_as_it_is():
    network = network_with_statistics()
    network.body = Crossed().eval()
    assert cores.folded(network) is network


def asked_in_every_way(network, precision):
    """What each caller of `on_each_core` computes."""
    images = drawn.images(70, 32, channels=3)
    pixels = images.take(torch.arange(70))
    trunk = features.Trunk(network, list(network.body)[:9], images.shape, pictures=True)
    key = features.Key("toy", precision=precision)
    recipe = Recipe(model=Model("fast_objects"), training=Training(batch=16))
    state = State.start(network, recipe, 1)
    under_way = loop._Loop(state, images, recipe, Context(), precision)
    network.eval()
    return {
        "outputs": classifier.mean_outputs(network, pixels, "flip", precision),
        "logits": classifier.logits_and_features(network, pixels, "one", precision)[0],
        "features": classifier.logits_and_features(network, pixels, "one", precision)[1],
        "frozen": features.compute(trunk, images, Augment(), 1, key).take(torch.arange(70)),
        "scored": under_way._outputs(pixels.float() / 255),
    }


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_caller_answers_on_two_cores_as_on_one(precision, monkeypatch):
    monkeypatch.setattr(features.cache, "recall", lambda *place: None)
    network = network_with_statistics()
    found = {}
    before = torch.get_num_threads()
    for cores_at_hand in (1, 2):
        torch.set_num_threads(cores_at_hand)
        found[cores_at_hand] = asked_in_every_way(network, precision)
    torch.set_num_threads(before)
    for name, values in found[2].items():
        assert not values.requires_grad, name
        assert not torch.allclose(values, values.flip(0), atol=0.05, rtol=0.05), (
            f"{name}: all alike"
        )
        torch.testing.assert_close(values, found[1][name], atol=0.05, rtol=0.05, msg=name)
