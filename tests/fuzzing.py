"""Hypothesis for a number of inputs in the suite, or for so many seconds on request."""

import os
import time
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from eyesight.errors import UserError

EXAMPLES = 40
SECONDS = float(os.environ.get("EYESIGHT_FUZZ_SECONDS", "0"))
fewer = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
more = settings(fewer, max_examples=200)
few = settings(fewer, max_examples=4)  # for readers that start a process


def fuzz(test, inputs=fewer):
    """Try a few inputs, or, with EYESIGHT_FUZZ_SECONDS, new ones for that long."""
    inner = test.hypothesis.inner_test
    count = 0

    @wraps(inner)
    def counted(*args, **kwargs):
        nonlocal count
        count += 1
        return inner(*args, **kwargs)

    test.hypothesis.inner_test = counted
    configured = (more if SECONDS else inputs)(test)

    @wraps(configured)
    def repeated(*args, **kwargs):
        began = time.monotonic()
        configured(*args, **kwargs)
        while time.monotonic() - began < SECONDS:
            configured(*args, **kwargs)
        if SECONDS:
            seconds = time.monotonic() - began
            print(f"\n{test.__name__}: {count} inputs in {seconds:.0f} s", flush=True)

    return repeated


@contextmanager
def scratch():
    with TemporaryDirectory() as folder:
        yield Path(folder)


def clear(action, *arguments):
    """Run a reader: it may succeed, or say for people what is wrong, and nothing else."""
    try:
        return action(*arguments)
    except UserError as error:
        assert error.message and "Traceback" not in error.message
        return None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def mutated(document, draw):
    """The document with one value somewhere replaced by another, or removed."""
    if not isinstance(document, dict | list) or not document or draw(st.integers(0, 3)) == 0:
        return draw(values)
    if isinstance(document, dict):
        key = draw(st.sampled_from(sorted(document)))
        if draw(st.integers(0, 5)) == 0:
            return {name: value for name, value in document.items() if name != key}
        return {**document, key: mutated(document[key], draw)}
    place = draw(st.integers(0, len(document) - 1))
    return [*document[:place], mutated(document[place], draw), *document[place + 1 :]]


def spoiled(content, draw):
    """Bytes with a few changed, cut off, repeated, or replaced by what is nested very deep."""
    if draw(st.integers(0, 30)) == 0:
        deep = [b"[" * depth + b"]" * depth for depth in (90, 500, 900)]
        return draw(st.sampled_from([b"", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, *deep]))
    changed = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        if changed:
            changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.integers(0, len(changed)) | st.just(len(changed)))
    return bytes(changed[:cut]) * draw(st.sampled_from([1, 1, 1, 2]))
