"""Several processes train what one would; one that dies ends all in good order, and any number goes
on from there.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import drawn
import numpy as np
import pytest
import ranks
import torch

from eyesight import augment, experiment
from eyesight.distributed import group as distributed
from eyesight.distributed import launch
from eyesight.distributed.batchnorm import Synchronised
from eyesight.distributed.group import Group
from eyesight.distributed.launch import Place
from eyesight.errors import UserError
from eyesight.models import registry
from eyesight.recipe import Augment, Model
from eyesight.runs import Run, list_runs, resolve

pytestmark = pytest.mark.whole

WITHIN = {
    "norm": 2e-4,
    "muon": 2e-4,
}  # else 1e-5: sums in another order; weights are of size 1, running variances up to 8


def free_ports(count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [str(opened.getsockname()[1]) for opened in sockets]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What groups of 3 and of 2 processes made of every case, and what they refused."""
    folder = tmp_path_factory.mktemp("together")
    command = [sys.executable, ranks.__file__]
    environment = (
        {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
        if sys.platform.startswith("linux")
        else dict(os.environ)
    )
    ports = free_ports(2)
    started = [
        subprocess.Popen(
            [*command, str(rank), str(folder), *ports],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(3)
    ]
    said = [process.communicate(timeout=500)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    return folder


@pytest.fixture(scope="module")
def alone():
    """The same in one process."""
    found = {
        key: value for name in ranks.CASES for key, value in ranks.train(name, Group()).items()
    }
    return found | {
        key: value for count in (31, 1, 0) for key, value in ranks.inferred(Group(), count).items()
    }


@pytest.mark.parametrize("name", ranks.CASES)
@pytest.mark.parametrize("size", [2, 3])
def test_a_group_learns_what_one_process_learns(together, alone, size, name):
    for rank in range(size):
        found = np.load(together / f"{size}-{rank}.npz")
        for key, value in alone.items():
            if key.startswith(f"{name}/"):
                np.testing.assert_allclose(
                    found[key],
                    value,
                    atol=WITHIN.get(name, 1e-5),
                    rtol=WITHIN.get(name, 1e-5),
                    err_msg=key,
                )


@pytest.mark.parametrize("size", [2, 3])
def test_every_picture_is_looked_at_once_and_in_its_place(together, alone, size):
    found = np.load(together / f"{size}-0.npz")
    for count in (31, 1, 0):
        assert (found[f"said{count}/labels"] == alone[f"said{count}/labels"]).all()
        np.testing.assert_allclose(
            found[f"said{count}/probabilities"], alone[f"said{count}/probabilities"], atol=1e-6
        )


@pytest.mark.parametrize("size", [2, 3])
def test_other_data_or_an_error_in_one_process_is_the_error_of_all(together, size):
    for rank in range(size):
        differs, once, in_turn = json.loads((together / f"{size}-{rank}.json").read_text())
        assert (
            differs.startswith("process 1 (on ")
            and "different set of images than process 0" in differs
        )
        assert (once, in_turn) == ("no room in 0", "process 1: no room in 1")


def test_shares_are_stretches_that_cover_every_batch():
    for count in (0, 1, 5, 64):
        shares = [Group(Place(rank, 3)).share(count) for rank in range(3)]
        assert [place for share in shares for place in share] == list(range(count))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_part_of_a_batch_is_changed_as_in_the_whole():
    moved = Augment(flip="random", crop=2, rotate=10, shift=0.1, zoom=0.1, shear=5, elastic=0.02)
    how = replace(
        moved,
        brightness=(0.8, 1.2),
        contrast=(0.8, 1.2),
        noise=0.05,
        cutout=0.2,
        mixup=0.4,
        cutmix=1.0,
    )
    pixels, index = drawn.images(9).take(torch.arange(9)), torch.arange(9)
    targets = torch.eye(9)
    for step in range(4):  # mixup and CutMix take turns
        whole, blends = augment.augment(
            pixels, targets, how, augment.generator(1, 2, step), 0, index
        )
        part = augment.Part(augment.generator(1, 2, step), 9, range(3, 7), blends=True)
        here = part.here
        some, shares = augment.augment(pixels[here], targets[here], how, part, 0, index[here])
        assert torch.equal(shares, blends[3:7])
        assert torch.allclose(some, whole[3:7], atol=1e-6)


def test_a_share_too_small_for_batch_normalisation_is_refused():
    network = registry.build(Model("fast_objects", width=0.125), (3, 16, 16), 3)
    with pytest.raises(UserError, match="fewer than two images"):
        Group(Place(0, 3)).check_shares(network, 5, together=False)
    Group(Place(0, 3)).check_shares(network, 5, together=True)


def test_a_process_without_a_picture_has_no_gradient():
    group = Group(Place(2, 3))
    group.busy, group.sum = 0.0, lambda values: values + 1  # by what the others have seen
    pictures = torch.randn(1, 3, 4, 4, requires_grad=True)
    with Synchronised(group):
        seen = torch.nn.functional.batch_norm(pictures * 2, None, None, training=True)
    (seen.sum() * 0).backward()
    assert not pictures.grad.any()


def test_frozen_statistics_stay_what_they_are_to_the_last_bit():
    group = Group(Place(0, 3))
    group.sum, group._of_first = (
        lambda values: values * 3,
        lambda values: values,
    )  # three processes that have the same
    frozen = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    before = frozen.clone()
    group.even_out([{"norm.running_var": frozen}])
    assert torch.equal(frozen, before)


def test_what_torchrun_says_is_understood(monkeypatch):
    assert launch.place() == Place() and not launch.silent()
    for name, value in {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
    }.items():
        monkeypatch.setenv(name, value)
    assert launch.place() == Place(3, 4, 1, 2) and launch.silent() and launch.refuses_silently()
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert launch.silent() and not launch.refuses_silently(), (
        "nobody else knows what is wrong with this machine"
    )
    monkeypatch.setenv(launch.MET, "1")
    assert launch.refuses_silently()
    with pytest.raises(UserError, match="4 processes were started already, not 2"):
        launch.several(2, print)
    monkeypatch.setenv("RANK", "4")
    with pytest.raises(UserError, match="RANK=4"):
        launch.place()


def test_the_others_are_told_why_one_failed(monkeypatch):
    kept = torch.distributed.HashStore()
    monkeypatch.setattr(distributed.socket, "gethostname", lambda: "far")
    with pytest.raises(UserError), Group(Place(1, 2), kept):
        raise UserError("the disk is full", "free some space")
    first = Group(Place(0, 2), kept)
    with (
        pytest.raises(UserError, match=r"process 1 of 2 \(on far\) ended: the disk is full"),
        first._talking(),
    ):
        raise RuntimeError("connection closed by peer")


SETTINGS = (
    "training.batch=32",
    "training.precision=float32",
    "training.epochs=25",
    "training.seed=1",
)  # and a network without dropout


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run of which one of two processes was killed, what was said, and the folder of the
    pictures.
    """
    root = tmp_path_factory.mktemp("killed")
    (root / "temporary").mkdir()
    os.environ["EYESIGHT_CACHE"] = str(root / "cache")
    drawn.folder(root / "pictures", 120, size=28)
    command = [
        sys.executable,
        "-m",
        "eyesight",
        "train",
        "lenet5",
        "--data",
        str(root / "pictures"),
        "--out",
        str(root / "runs"),
    ]
    command += [part for setting in SETTINGS for part in ("--set", setting)]
    surroundings = {**os.environ, "TMPDIR": str(root / "temporary")}
    with subprocess.Popen(
        [*command, "--processes", "2"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
        env=surroundings,
    ) as process:
        for line in process.stderr:
            if line.startswith("epoch   5"):
                os.kill(child_of(process.pid), signal.SIGKILL)
                break
        said = process.stderr.read()
    return root, command, process.returncode, said


def child_of(parent):
    """The second child of a process, from Linux's own list."""
    return int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the children are found in /proc")
def test_a_killed_process_ends_the_run_in_good_order_and_three_go_on(killed, tmp_path, monkeypatch):
    root, command, code, said = killed
    monkeypatch.setenv("EYESIGHT_CACHE", str(root / "cache"))
    assert code == 1 and "Traceback" not in said
    assert said.count("error:") == 1 and "another of the 2 processes of this training ended" in said
    assert (
        "--resume` continues from the last checkpoint" in said
        and "process 1 of 2 was killed by SIGKILL" in said
    )
    (run,) = list_runs(root / "runs")
    assert run.status == "failed" and run.checkpoint_path.is_dir()
    assert not list((root / "temporary").glob("eyesight-*")), (
        "the killed process could not remove its folder"
    )
    done = subprocess.run(
        [*command, "--processes", "3", "--resume", "--json"],
        capture_output=True,
        text=True,
        cwd=root,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["run"] == str(run.path) and "resuming" in done.stderr
    assert run.environment["processes"] == 3
    monkeypatch.setenv(launch.ALONE, str(tmp_path / "alone"))
    whole = experiment.train(
        resolve("lenet5", *SETTINGS, data=str(root / "pictures")), tmp_path / "runs"
    )
    assert (
        [epoch["epoch"] for epoch in run.epochs]
        == [epoch["epoch"] for epoch in whole.epochs]
        == list(range(1, 26))
    )
    for mine, other in zip(run.epochs, whole.epochs, strict=True):
        assert mine["train_loss"] == pytest.approx(other["train_loss"], abs=1e-3)
    assert (tmp_path / "alone").exists(), (
        "the one that started it was told when the others had nothing more to do"
    )
    assert Run.open(run.path).result["test"]["n"] == whole.result["test"]["n"]
    np.testing.assert_allclose(
        run.predictions().probabilities, whole.predictions().probabilities, atol=1e-2
    )
