"""Nobody is left in silence for long: counts, speed and the time left, on a terminal and
elsewhere.
"""

import io

import pytest
from rich.console import Console

from eyesight.cli import console


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds", "given", "line"),
    [
        (2, "2", "budget: 2 seconds (a bare number is seconds; 2m is minutes)"),
        (90, "90s", "budget: 1 minute 30 seconds"),
        (7200, "2h", "budget: 2 hours"),
        (0.5, None, "budget: 0.5 seconds"),
    ],
)
def test_the_budget_is_said_in_words(seconds, given, line):
    assert console.budget_line(seconds, given) == line


class Shown(console.ConsoleReporter):
    """Keeps what it would show."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def show(self, text, share):
        self.lines.append((text, share))


def test_a_count_says_how_far_it_is_and_the_time_left_once_the_speed_is_known(clock):
    reporter = Shown()
    for seconds, done in ((0.0, 0), (0.5, 1), (6.0, 10), (12.0, 100), (20.0, 1000)):
        clock[0] = 100.0 + seconds
        reporter.progress("counting", done, 1000)
    assert reporter.lines == [
        ("counting 10 of 1,000", 0.01),
        ("counting 100 of 1,000, 1 min 48 s left", 0.1),
        ("counting 1,000 of 1,000, 0 s left", 1.0),
    ]


def test_slow_work_gets_a_time_left_before_two_per_cent_of_it_are_done(clock):
    reporter = Shown()
    for seconds, done in ((0.0, 0), (10.0, 10), (30.0, 30)):
        clock[0] = 100.0 + seconds
        reporter.progress("counting", done, 10_000)
    assert [text for text, _ in reporter.lines] == [
        "counting 10 of 10,000",
        "counting 30 of 10,000, 2 h 46 min left",
    ]


def test_what_is_quick_says_nothing_and_another_series_begins_anew(clock):
    reporter = Shown()
    for done in (1, 5, 10):
        reporter.progress("counting", done, 10)
    assert reporter.lines == []
    clock[0] += 100
    reporter.progress("counting", 0, 40)
    clock[0] += 10
    reporter.progress("counting", 20, 40)
    assert reporter.lines == [("counting 20 of 40, 10 s left", 0.5)], "by its own speed"


def test_training_that_goes_on_from_a_half_has_its_own_speed(clock, monkeypatch):
    reporter = Shown()
    reporter.display = object()
    reporter.progress("training", 0.5, 1.0)
    clock[0] += 10
    reporter.progress("training", 0.6, 1.0)
    assert reporter.lines == [("training  60%, 40 s left", 0.6)]


def test_on_a_terminal_one_bar_tells_what_is_done_now(clock, monkeypatch):
    written = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")  # a dumb one shows no bars
    monkeypatch.setattr(console, "console", Console(file=written, force_terminal=True, width=100))
    reporter = console.ConsoleReporter()
    with reporter.bar():
        (task,) = reporter.display.tasks
        assert task.total is None
        reporter.progress("preparing images", 0, 10)
        clock[0] += 2
        reporter.progress("preparing images", 5, 10)
        assert (task.total, task.completed) == (1.0, 0.5)
        reporter.display.refresh()
        reporter.message("a note")
        reporter.progress("preparing images", 10, 10)
        assert task.total is None and task.description == "", "whatever comes now is not known"
        reporter.progress("training", 0.0, 1.0)
        clock[0] += 10
        reporter.progress("training", 0.25, 1.0)
        assert task.description == "training  25%, 30 s left" and task.completed == 0.25
    assert reporter.display is None
    assert "preparing images 5 of 10, 2 s left" in written.getvalue()
    assert "a note" in written.getvalue()


def test_without_a_terminal_there_are_lines_for_counts_and_none_between_epochs(
    clock, capsys, monkeypatch
):
    monkeypatch.setattr(console, "console", Console(stderr=True, force_terminal=False, width=100))
    reporter = console.ConsoleReporter()
    with reporter.bar():
        for doing, total in (("preparing images", 10), ("training", 1)):
            reporter.progress(doing, 0, total)
            clock[0] += 6
            reporter.progress(doing, total / 2, total)
    assert capsys.readouterr().err.strip() == "preparing images 5 of 10, 6 s left"
