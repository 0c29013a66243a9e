"""How much data may be copied into memory: what the person says, else a half of what the machine or
the container has left.
"""

import drawn
import pytest
import torch

from eyesight.errors import UserError
from eyesight.system import memory


@pytest.mark.parametrize(
    ("said", "bytes_"), [("500M", 500 << 20), ("2g", 2 << 30), ("1.5GB", 3 << 29), ("4096", 4096)]
)
def test_a_person_may_say_how_much(monkeypatch, said, bytes_):
    monkeypatch.setenv("EYESIGHT_MEMORY", said)
    assert memory.data_limit() == bytes_


def test_nonsense_is_an_error(monkeypatch):
    monkeypatch.setenv("EYESIGHT_MEMORY", "much")
    with pytest.raises(UserError, match="'much', which is not a size"):
        memory.data_limit()


def system(root, available, limit="", used=0):
    (root / "proc").mkdir()
    (root / "proc" / "meminfo").write_text(
        f"MemTotal: 999999999 kB\nMemAvailable:   {available} kB\n"
    )
    (root / "sys" / "fs" / "cgroup").mkdir(parents=True)
    if limit:
        (root / "sys" / "fs" / "cgroup" / "memory.max").write_text(f"{limit}\n")
        (root / "sys" / "fs" / "cgroup" / "memory.current").write_text(f"{used}\n")
    return root


def test_a_container_counts_where_it_leaves_less(tmp_path):
    for name, more, left in (
        ("none", (), 1 << 30),
        ("endless", ("max", 5), 1 << 30),
        ("small", (str(500 << 20), 100 << 20), 400 << 20),
    ):
        (tmp_path / name).mkdir()
        assert memory.available(system(tmp_path / name, 1 << 20, *more)) == left
    assert memory.available(tmp_path / "nothing") > memory.MOST


def test_larger_pictures_stay_where_they_are(monkeypatch):
    images = drawn.images(8)
    size = images.pixels.nbytes
    for allowed, copied in ((size - 1, False), (size, True)):
        monkeypatch.setenv("EYESIGHT_MEMORY", str(allowed))
        assert isinstance(images.resident().pixels, torch.Tensor) is copied
