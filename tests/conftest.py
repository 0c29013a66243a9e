"""Fixtures every test may use: a private cache, so that no test reads or leaves anything in the user's own."""

import os

import pytest

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # toy networks gain nothing from threads, and a busy machine makes them wait


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("EYESIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("EYESIGHT_DATA", raising=False)
