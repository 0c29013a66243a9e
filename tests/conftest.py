"""Fixtures that every test may use: a private cache, and a browser."""

import functools
import inspect
import os
import sys
from pathlib import Path

import pytest

# Toy networks gain nothing from threads, and a busy machine makes them wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Chromium then shows a camera that it draws itself, and does not ask whether it may be used.
DRAWN_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
BROWSERS = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    """A cache of its own for each test: no test reads or leaves anything in the user's."""
    monkeypatch.setenv("EYESIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("EYESIGHT_DATA", raising=False)


def pytest_runtest_setup():
    """PyTorch reads the sources of its 500 operators anew at every ONNX export: here once.

    That is a third of the time of an export. Where PyTorch has changed, nothing is kept. PyTorch
    loads what is changed here at the first export: only those of later tests are quicker.
    """
    exporter = sys.modules.get("torch.onnx._internal.exporter._registration")
    registry = getattr(exporter, "ONNXRegistry", None)
    if inspect.ismethod(getattr(registry, "from_torchlib", None)):
        registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))


@pytest.fixture
def undrawn(monkeypatch):
    """Networks whose weights are whatever the memory held."""
    from torch import nn

    for name in (
        "kaiming_uniform_",
        "kaiming_normal_",
        "normal_",
        "uniform_",
        "trunc_normal_",
        "xavier_uniform_",
    ):
        monkeypatch.setattr(nn.init, name, lambda tensor, *rest, **options: tensor)


@pytest.fixture(scope="module")
def browser():
    """Chromium, headless; the test is skipped where there is none.

    Closed after each module: while it is open, no other test of the process can run an event loop.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("EYESIGHT_CHROMIUM")
    if path is None:
        path = next((path for path in BROWSERS if Path(path).exists()), None)
    with playwright.sync_playwright() as driver:
        try:
            opened = driver.chromium.launch(
                executable_path=path, args=["--no-sandbox", *DRAWN_CAMERA]
            )
        except playwright.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield opened
        opened.close()
