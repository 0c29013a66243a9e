"""On a cluster a comparison and a list of pictures come out as they do here, also when a process is
killed half way.
"""

import gc
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import drawn
import numpy as np
import pytest
from portables import by_brightness
from test_compare import drawn_run, first, lenet, never
from typer.testing import CliRunner

from eyesight.cli import main
from eyesight.cluster import packing, ray_cluster
from eyesight.comparison import compare
from eyesight.comparison.compare import Member
from eyesight.distributed import child
from eyesight.errors import UserError
from eyesight.inference import bulk, onnx_classifier
from eyesight.runs import Run, list_runs
from eyesight.system.environment import release, shared_versions

pytestmark = pytest.mark.whole

HERE = ray_cluster.Share()


# without Ray, without a cluster


@pytest.mark.parametrize(
    "call",
    [
        ["compare", "lenet5", "--on", "ray"],
        ["predict", "run", str(Path(__file__).parent), "--on", "ray", "--out", "parts"],
    ],
)
def test_without_ray_one_line_says_how_to_get_it(monkeypatch, call):
    monkeypatch.setitem(sys.modules, "ray", None)
    problem = CliRunner().invoke(main.app, call).exception
    assert (
        isinstance(problem, UserError)
        and "ray, which is not installed" in problem.message
        and "eyesight[ray]" in problem.hint
    )


def test_what_names_no_cluster_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(ray_cluster, "greet", lambda address: None)
    for where in ("local", "somewhere", "host:", ":1", "ray://host", "host:99999999"):
        with pytest.raises(UserError, match="is not the address of a cluster"):
            ray_cluster.check(where)
    for where in ("ray", "auto", "host:6379", "ray://host:10001", "[::1]:6379"):
        ray_cluster.check(where)


def test_an_address_where_nobody_answers_or_somebody_else(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(ray_cluster, "PATIENCE", 0.2)
    with pytest.raises(UserError, match="no cluster answers at"):
        list(ray_cluster.trainer("127.0.0.1:1", HERE)([Member("lenet5", lenet())], tmp_path))
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(UserError, match="timed out"),
    ):
        ray_cluster.check(f"ray://127.0.0.1:{mute.getsockname()[1]}")
    with socket.create_server(("127.0.0.1", 0)) as other:

        def talk():
            with other.accept()[0] as connection:
                connection.sendall(b"SSH-2.0-anything")
                connection.recv(100)

        threading.Thread(target=talk).start()
        with pytest.raises(UserError, match="another program listens"):
            ray_cluster.check(f"127.0.0.1:{other.getsockname()[1]}")
    assert not list(tmp_path.iterdir())


def test_nothing_to_do_needs_no_cluster(tmp_path):
    assert list(ray_cluster.trainer("127.0.0.1:1", HERE)([], tmp_path)) == []
    assert list(ray_cluster.answerer("127.0.0.1:1", HERE, {}, [], 1, "")(iter(()))) == []


def test_how_many_tasks_a_machine_holds():
    machine = {"CPU": 8.0, "GPU": 1.0, "memory": 10e9}
    assert [
        ray_cluster.Share(*share).times(machine)
        for share in ((1,), (3,), (1, 0.25), (1, 0.0, 4_000_000_000), (9,))
    ] == [8, 2, 4, 2, 0]
    assert str(ray_cluster.Share(2, 0.5, 4_000_000_000)) == "2 cores, 0.5 GPU, 4 GB"


# what travels


def made(parent):
    return drawn_run(parent, first(90), recipe=lenet())


def errand(out, **other):
    return {
        "sign": str(out / "sign"),
        "folder": str(out),
        "share": vars(HERE),
        "versions": shared_versions(),
        **other,
    }


def test_a_run_arrives_from_a_machine_that_does_not_see_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(child, "train", lambda arguments, out, **_: made(out))
    answer = ray_cluster._train(["lenet5"], **errand(tmp_path / "elsewhere"))
    assert answer[0] == "packed"
    made(tmp_path / "runs")
    run = ray_cluster._arrived(answer, tmp_path / "runs", "lenet5")
    assert (
        run.name == "0002-lenet5"
        and run.status == "done"
        and run.predictions().ids == made(tmp_path / "other").predictions().ids
    )
    assert [one.name for one in list_runs(tmp_path / "runs")] == [
        "0001-toy",
        "0002-lenet5",
    ] and len(list((tmp_path / "runs").iterdir())) == 2


def test_a_machine_that_sees_the_folder_writes_into_it(tmp_path, monkeypatch):
    monkeypatch.setattr(child, "train", lambda arguments, out, **_: made(out))
    with ray_cluster._sign(tmp_path) as sign:
        answer = ray_cluster._train(["lenet5"], **errand(tmp_path, sign=str(sign)))
    assert answer == ("run", "0001-toy") and ray_cluster._arrived(
        answer, tmp_path, "lenet5"
    ) == Run(tmp_path / "0001-toy")
    assert not sign.exists()


def test_what_is_no_run_does_not_arrive(tmp_path):
    assert "could not be transferred" in ray_cluster._arrived(
        ("packed", b"rubbish"), tmp_path, "lenet5"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_at_home_is_that_runs_reason_and_the_run_stays_where_it_was_made(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("EYESIGHT_CACHE", str(tmp_path / "cache"))
    old = tmp_path / "cache" / "cluster" / "old"
    old.mkdir(parents=True)
    os.utime(old, (1, 1))
    monkeypatch.setattr(child, "train", lambda arguments, out, **_: made(out))
    answer = ray_cluster._train(["lenet5"], **errand(tmp_path / "elsewhere"))
    monkeypatch.setattr(
        ray_cluster.packing, "unpack_run", lambda *_: raised(OSError(28, "No space left on device"))
    )
    assert "No space left" in ray_cluster._arrived(answer, tmp_path / "runs", "lenet5")
    folders = (tmp_path / "cache" / "cluster").iterdir()
    (kept,) = [folder for folder in folders if list_runs(folder)]
    assert [run.status for run in list_runs(kept)] == ["done"]


def raised(error):
    raise error


def test_other_versions_and_other_pictures_are_refused(tmp_path):
    kind, said = ray_cluster._train(
        ["lenet5"], **errand(tmp_path, versions=shared_versions() | {"torch": "1.0"})
    )
    assert kind == "problem" and "other versions: torch" in said and "instead of 1.0;" in said
    theirs = {"eyesight": shared_versions()["eyesight"].replace("(", "(0")}
    ask = {
        "folder": str(tmp_path),
        "roots": [],
        "top": 1,
        "prepare": "",
        "share": vars(HERE),
        "versions": theirs,
    }
    kind, said = ray_cluster._answer({}, "key", [], **ask)
    assert kind == "problem" and "other versions: eyesight" in said, (
        "the same number, but other code"
    )
    run = made(tmp_path)
    run.write_json("data.json", {"store": "theirs"})
    assert (
        "other images" in compare.of_these_pictures(run, "ours")
        and compare.of_these_pictures(run, "theirs") == run
    )


@pytest.mark.parametrize(
    "here, there, alike",
    [
        ("2.9.0", "2.9.0+cpu", True),
        ("2.9.0+cu128", "2.9.0+rocm6.4", True),
        ("2.9.0+cpu.cxx11.abi", "2.9.0+xpu", True),
        ("2.9.0", "2.9.1+cpu", False),
        ("2.9.0", "2.9.0rc1", False),
        ("2.9.0.dev20250801+cpu", "2.9.0.dev20250802+cpu", False),
        ("2.9.0a0+git0123abc", "2.9.0a0+git4567def", False),
    ],
)
def test_builds_of_one_release_work_together_and_releases_do_not(here, there, alike):
    assert (release(here) == release(there)) is alike


# with Ray


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    ray = pytest.importorskip("ray")
    monkey = pytest.MonkeyPatch()
    monkey.setenv("EYESIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkey.setenv("RAY_AUTH_TOKEN", "0" * 64)  # Ray would leave one in the user's home
    for key, value in ray_cluster.SETTINGS.items():
        monkey.setenv(key, value)
    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 << 20,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield ray
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "subprocess .* is still running", ResourceWarning
        )  # Ray leaves its own to the system
        ray.shutdown()
        gc.collect()
    monkey.undo()


def trainings(out):
    """The processes that train into `out`, each with the one that began it."""
    listed = subprocess.run(
        ["ps", "-eo", "pid,ppid,args", "-ww"], capture_output=True, text=True, check=True
    ).stdout
    return [
        tuple(map(int, line.split()[:2])) for line in listed.splitlines() if f"--out={out}" in line
    ]


def kill_one(out, killed):
    """Kill a process of the cluster as soon as every training has left a checkpoint."""
    end = time.monotonic() + 500
    while not killed and time.monotonic() < end:
        running = trainings(out)
        begun = [
            run
            for run in list_runs(out)
            if (run.checkpoint_path / "state.safetensors").exists() and not run.result
        ]
        if running and len(begun) == len(running):
            os.kill(running[0][1], signal.SIGKILL)
            killed.append(running[0][1])
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_the_table_is_complete_although_a_worker_was_killed(two_workers, tmp_path, monkeypatch):
    pixels, labels = drawn.pictures(60, size=28)
    np.savez(
        tmp_path / "shapes.npz",
        x_train=pixels[:40, 0],
        y_train=labels[:40],
        x_test=pixels[40:, 0],
        y_test=labels[40:],
    )
    settings = ["training.epochs=90", "training.min_steps=0", "training.precision=float32"]
    members = compare.members(
        ["lenet5"], data=str(tmp_path / "shapes.npz"), settings=settings, seeds=2
    )
    out, killed, said = tmp_path / "runs", [], []
    killer = threading.Thread(target=kill_one, args=(out, killed))
    killer.start()
    found = compare.compare(
        members, out, train=ray_cluster.trainer("ray", HERE, said.append), talk=said.append
    )
    killer.join()
    assert killed and (found.trained, found.failed) == (2, 0) and found.rows[0].seeds == 2
    starts = [sum(event["event"] == "start" for event in run.log) for run in list_runs(out)]
    assert sorted(starts) == [1, 2], "the run that was interrupted goes on, and there is no other"
    assert "2 trainings of 1 core each, 2 at a time" in said[0] and not [
        path for path in out.iterdir() if path.name.startswith(".")
    ]
    again = compare.compare(members, out, train=never)
    assert (again.trained, again.reused) == (0, 2)


def test_what_cannot_be_trained_is_a_row(two_workers, tmp_path):
    [(_, said)] = ray_cluster.trainer("ray", HERE)([Member("x", lenet(), ("lenet6",))], tmp_path)
    assert said.startswith("unknown recipe 'lenet6'")
    with pytest.raises(UserError, match="no machine of the cluster has 64 cores"):
        list(ray_cluster.trainer("ray", ray_cluster.Share(64))([Member("x", lenet())], tmp_path))


def test_parts_come_out_as_here_and_only_missing_ones_are_redone(two_workers, tmp_path):
    pixels, _ = drawn.pictures(23, size=8)
    (tmp_path / "pictures").mkdir()
    for number, picture in enumerate(pixels):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(drawn.png(picture[0]))
    file, where = by_brightness(tmp_path / "lamp.onnx"), [str(tmp_path / "pictures")]
    engine = ray_cluster.answerer("ray", HERE, packing.pack_classifier(file), where, 2, "")
    found = bulk.predict(where, tmp_path / "out", engine, bulk.Request("lamp", 2, part=4))
    bulk.predict(
        where,
        tmp_path / "here",
        bulk.here(onnx_classifier.load(file), 2),
        bulk.Request("lamp", 2, part=4),
    )
    parts = {part.name: part.read_bytes() for part in (tmp_path / "here").glob("part-*")}
    assert (found.parts, found.missing) == (6, {}) and {
        part.name: part.read_bytes() for part in (tmp_path / "out").glob("part-*")
    } == parts
    (tmp_path / "out" / bulk.name(2)).unlink()
    times = {part: part.stat().st_mtime_ns for part in (tmp_path / "out").glob("part-*")}
    assert (
        bulk.predict(where, tmp_path / "out", engine, bulk.Request("lamp", 2, part=4)).reused == 5
    )
    assert (tmp_path / "out" / bulk.name(2)).read_bytes() == parts[bulk.name(2)]
    assert all(part.stat().st_mtime_ns == changed for part, changed in times.items())


def test_machines_that_do_not_see_the_pictures_say_so(two_workers, tmp_path):
    file = by_brightness(tmp_path / "lamp.onnx")
    engine = ray_cluster.answerer(
        "ray", HERE, packing.pack_classifier(file), [str(Path("/no/such/folder"))], 1, ""
    )
    [(number, said)] = engine(iter([(0, ["/no/such/folder/1.png"])]))
    assert number == 0 and "cannot access" in said
