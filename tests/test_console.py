"""Nobody is left in silence for long: counts, speed and the time left, on a terminal and elsewhere."""

import io

import pytest
from rich.console import Console

from eyesight.cli import console
from eyesight.training.clock import Meter


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def test_a_count_says_how_far_it_is_and_the_time_left_once_the_speed_is_known(clock):
    said = []
    progress = console.Preparing("counting", lambda text, share: said.append((text, share)))
    for seconds, done in ((0.0, 0), (0.5, 1), (6.0, 10), (12.0, 100), (20.0, 1000)):
        clock[0] = 100.0 + seconds
        progress(done, 1000)
    assert said == [
        ("counting 10 of 1,000", 0.01),
        ("counting 100 of 1,000, 1 min 48 s left", 0.1),
        ("counting 1,000 of 1,000, 0 s left", 1.0),
    ]


def test_what_is_quick_says_nothing_and_another_series_begins_anew(clock):
    said = []
    progress = console.Preparing("counting", lambda text, share: said.append(text))
    for done in (1, 5, 10):
        progress(done, 10)
    assert said == []
    clock[0] += 100
    progress(0, 40)
    clock[0] += 10
    progress(20, 40)
    assert said == ["counting 20 of 40, 10 s left"], "by its own speed"


def test_on_a_terminal_one_bar_tells_what_is_done_now(clock, monkeypatch):
    written = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")  # a dumb one shows no bars
    monkeypatch.setattr(console, "console", Console(file=written, force_terminal=True, width=100))
    meter = Meter()
    standing = console.Standing(meter)

    class Task:
        total, completed = None, 0.0

    assert str(standing.render(Task())) == "" and Task.total is None
    with console.training(meter) as progress:
        pictures = progress("preparing pictures")
        pictures(0, 10)
        clock[0] += 2
        pictures(5, 10)
        console.talk("a note")
    assert (
        "preparing pictures 5 of 10, 2 s left" in written.getvalue()
        and "a note" in written.getvalue()
    )


def test_the_bar_follows_the_training_once_it_has_begun_and_what_comes_between_stages(clock):
    meter, task = Meter(), type("Task", (), {})()
    standing = console.Standing(meter)
    standing.show("computing features 5 of 10", 0.5)
    assert (str(standing.render(task)), task.total, task.completed) == (
        "computing features 5 of 10",
        1.0,
        0.5,
    )
    standing.show("computing features 10 of 10", 1.0)
    assert (str(standing.render(task)), task.total) == ("", None), (
        "done: whatever comes now is not known"
    )
    meter.began, meter.progress = clock[0] + 1, 0.25
    clock[0] += 11
    assert str(standing.render(task)) == "training  25%, 30 s left" and task.completed == 0.25
    meter.progress = 1.0
    assert (str(standing.render(task)), task.total) == ("", None), (
        "the held-out pictures are looked at"
    )
    standing.show("computing features 1 of 10", 0.1)
    assert str(standing.render(task)) == "computing features 1 of 10"


def test_without_a_terminal_there_are_lines(clock, capsys, monkeypatch):
    monkeypatch.setattr(console, "console", Console(stderr=True, force_terminal=False, width=100))
    with console.training(Meter()) as progress:
        pictures = progress("preparing pictures")
        pictures(0, 10)
        clock[0] += 6
        pictures(5, 10)
    assert capsys.readouterr().err.strip() == "preparing pictures 5 of 10, 6 s left"
