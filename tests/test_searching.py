"""A search finds the planted better recipe, ends in time, goes on after a kill, and sees the test
images once.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import drawn
import numpy as np
import pytest
import torch
from commands import command

from eyesight.cli import main, training
from eyesight.errors import UserError
from eyesight.recipe import Augment, Data, Model, Optim, Recipe, Training, override
from eyesight.recipes.folder import Seen
from eyesight.results import searching as results
from eyesight.runs import list_runs
from eyesight.searching import backbones, interrupted, search
from eyesight.searching import candidates as rules
from eyesight.searching import trial as trials
from eyesight.searching import under_way as time_limits
from eyesight.searching.candidates import Candidate, Look
from eyesight.searching.parts import Division
from eyesight.system.progress import Reporter
from eyesight.training import probe
from eyesight.training.clock import Clock
from eyesight.training.context import Context
from eyesight.views import joined

BUDGET = 200.0  # the toys end long before, by their epochs, also on a busy machine


def tiny(folder, lr, **data):
    return Recipe(
        name="tiny",
        data=Data(str(folder), size=16, channels=1, **data),
        augment=Augment(),
        model=Model("small_cnn"),
        optim=Optim("adam", lr=lr),
        training=Training(max_epochs=6, batch=16, budget=BUDGET, keep="last"),
    )


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A recipe that learns and one that hardly moves, the worse one first."""
    monkeypatch.setattr(search, "SHORTEST", 0.3)
    folder = drawn.folder(tmp_path / "data", 90, 16)
    return [
        Candidate("stuck", tiny(folder, 1e-9), "from scratch"),
        Candidate("learns", tiny(folder, 5e-3), "from scratch"),
    ]


def searched(pair, out, *, resume=False, settings=("--data pair",), budget=BUDGET):
    context = Context(clock=Clock(), resume=resume)
    return search.search(lambda _: pair, settings, budget, out, context)


@pytest.fixture
def killed(pair, tmp_path, monkeypatch):
    """The folder of runs with a search that was killed in its second trial."""
    original = trials.attempt
    attempted = []

    def stopped(*arguments, **options):
        if attempted:
            raise KeyboardInterrupt
        attempted.append(arguments)
        return original(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(trials, "attempt", stopped)
        with pytest.raises(KeyboardInterrupt):
            searched(pair, tmp_path / "runs")
    return tmp_path / "runs"


def test_the_planted_better_recipe_wins_in_time_and_the_test_images_are_seen_once(
    pair, tmp_path, monkeypatch
):
    given = []
    original = trials.hits_of

    def watched(recipe, parts, seconds, **options):
        given.append(parts)
        return original(recipe, parts, seconds, **options)

    monkeypatch.setattr(trials, "hits_of", watched)
    began = time.monotonic()
    run = searched(pair, tmp_path / "runs")
    assert time.monotonic() - began < BUDGET + 3
    record = joined.search(run)
    assert record.winner == "learns"
    assert [trial.name for trial in record.trials if trial.kept] == ["learns"]
    assert "points" in next(trial.dropped for trial in record.trials if trial.name == "stuck")
    assert run.status == "done"
    assert run.result["seconds"]["search"] > 0
    assert len(list_runs(tmp_path / "runs")) == 1
    assert not list((tmp_path / "runs").glob(".search-*"))
    test = set(run.predictions().ids)
    assert given
    for parts in given:
        trial = parts.trial
        assert not len(trial.test)
        assert not test & {*trial.train.ids, *trial.validation.ids}
        assert not set(trial.train.ids) & set(trial.validation.ids)
        assert len(parts.choosing)
        assert len(parts.apart)
    learnt = {*run.predictions("validation").ids, *given[0].apart.ids}
    assert learnt == set(given[0].apart.ids), "what is apart is the run's own validation part"


def test_after_a_kill_finished_trials_are_kept_and_their_seconds_count(pair, tmp_path, monkeypatch):
    attempted = []
    original = trials.attempt

    def stopped(candidate, number, seconds, division, **options):
        if len(attempted) == 1:
            raise KeyboardInterrupt
        attempted.append((candidate.name, number))
        return original(candidate, number, seconds, division, **options)

    monkeypatch.setattr(trials, "attempt", stopped)
    with pytest.raises(KeyboardInterrupt):
        searched(pair, tmp_path / "runs")
    before = interrupted.read_state(next((tmp_path / "runs").glob(".search-*"))).seconds
    assert before > 0

    def counted(candidate, number, seconds, division, **options):
        attempted.append((candidate.name, number))
        return original(candidate, number, seconds, division, **options)

    monkeypatch.setattr(trials, "attempt", counted)
    run = searched(pair, tmp_path / "runs", resume=True)
    assert attempted.count(("stuck", 1)) == 1
    assert ("learns", 1) in attempted
    assert joined.search(run).seconds > before
    assert len(list_runs(tmp_path / "runs")) == 1


def test_a_search_on_other_images_is_not_resumed(pair, killed, monkeypatch):
    """One image is another; its trials would be told from those of the old ones by nothing."""
    folder = pair[0].recipe.data.source
    drawn.folder(Path(folder), 1, 16, seed=5)
    with pytest.raises(UserError, match="have changed since the search") as refused:
        searched(pair, killed, resume=True)
    assert "leave out --resume" in refused.value.hint
    assert not list_runs(killed)
    monkeypatch.setattr(search, "train_winner", stop)
    with pytest.raises(KeyboardInterrupt):
        searched(pair, killed)
    drawn.folder(Path(folder), 1, 16, seed=6)
    with pytest.raises(UserError, match="have changed since the search"):
        searched(pair, killed, resume=True)  # the winner is known, and only its training is left


def stop(*arguments):
    raise KeyboardInterrupt


def test_a_search_with_other_settings_is_not_resumed(pair, killed):
    with pytest.raises(UserError, match="has other settings") as refused:
        searched(pair, killed, resume=True, settings=("--data pair", "--set optim.lr=1"))
    assert "without --set optim.lr=1" in refused.value.message
    assert f"repeat its options: --data pair --budget {BUDGET:g}s" in refused.value.hint
    with pytest.raises(UserError, match=f"with --budget {BUDGET:g}s"):
        searched(pair, killed, resume=True, budget=BUDGET / 2)


def test_a_killed_training_of_the_winner_goes_on_without_another_search(
    pair, tmp_path, monkeypatch
):
    original = search.train_winner

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "train_winner", killed)
    with pytest.raises(KeyboardInterrupt):
        searched(pair, tmp_path / "runs")
    monkeypatch.setattr(search, "train_winner", original)
    monkeypatch.setattr(trials, "attempt", killed)
    run = searched(pair, tmp_path / "runs", resume=True)
    assert joined.search(run).winner == "learns"


def test_a_candidate_that_fails_is_a_row_with_its_reason(pair, tmp_path, monkeypatch):
    def failing(recipe, parts, seconds, **options):
        raise UserError("the planted fault", "mend it")

    monkeypatch.setattr(trials, "hits_of", failing)
    with pytest.raises(UserError, match="no candidate could be trained"):
        searched(pair, tmp_path / "runs")


def test_however_late_it_is_one_candidate_is_tried(pair, tmp_path, monkeypatch):
    """A slow machine leaves the second without prepared images; the first still gets its trial."""
    monkeypatch.setattr(time_limits, "PREPARING", 0.0)
    monkeypatch.setattr(time_limits, "LATEST", 0.0)
    larger = replace(pair[1].recipe, data=replace(pair[1].recipe.data, size=20))
    second = replace(pair[1], recipe=larger)
    run = searched([pair[1], replace(second, name="late")], tmp_path / "runs")
    reasons = {trial.name: trial.dropped for trial in joined.search(run).trials}
    assert joined.search(run).winner == "learns"
    assert "no time" in reasons["late"]


def test_a_trial_that_would_take_the_winners_time_is_not_begun(tmp_path):
    """A busy machine takes longer than asked for every trial; what is left decides."""
    clock = Clock(0.0, now=lambda: 30.0)
    rest = (Reporter(), clock, None, tmp_path, interrupted.State())
    under_way = search.Search(100.0, *rest, saving=5.0)
    assert not under_way.late(39.0)
    assert under_way.late(41.0), "a quarter of the budget is left to the winner"
    hits = np.ones(3, dtype=bool)
    under_way.trials.append(trials.Trial(Candidate("slow", Recipe(), ""), 1, 2.0, 12.0, hits, hits))
    assert not under_way.late(29.0)
    assert under_way.late(31.0)


def test_a_candidate_without_rivals_is_tried_once_or_not_at_all_where_time_is_short(
    monkeypatch, tmp_path
):
    drawn.folder(tmp_path / "data", 120, 16)
    alone = Candidate("learns", tiny(tmp_path / "data", 1e-3), "from scratch")
    record = joined.search(searched([alone], tmp_path / "runs"))
    assert (record.winner, record.reason) == ("learns", "the only candidate")
    assert [trial.round for trial in record.trials if trial.name == "learns"] == [1]
    monkeypatch.setattr(search, "PREPARING", 0.0)
    run = searched([alone], tmp_path / "late")
    record = joined.search(run)
    assert [(trial.score, trial.seconds) for trial in record.trials] == [(None, 0.0)]
    assert record.luck is None
    assert run.result["test"]["n"] == 24
    assert "learns: chosen" in " ".join(training.search_lines(record))


def test_time_for_evaluating_the_winner_is_kept_from_the_trials(monkeypatch, tmp_path):
    drawn.folder(tmp_path / "data", 120, 16)
    candidate = Candidate("learns", tiny(tmp_path / "data", 1e-3), "from scratch")
    rest = (Reporter(), Clock(0.0), Division(BUDGET, Reporter()), tmp_path, interrupted.State())
    under_way = search.Search(100.0, *rest)
    for seconds, kept in ((7.0, 7.0), (70.0, 30.0)):
        monkeypatch.setattr(trials, "evaluation_seconds", lambda *rest, seconds=seconds: seconds)
        assert search.seconds_of_evaluation([candidate], under_way) == kept


def test_a_candidate_that_is_too_slow_to_judge_is_not_tried_where_another_was(monkeypatch, pair):
    monkeypatch.setattr(trials.budget, "seconds_each", lambda *rest: 1.0)
    division = Division(BUDGET, Reporter())
    slow = trials.attempt(pair[1], 1, 2.0, division, however_slow=False)
    assert slow.score is None
    assert slow.failure.startswith("too slow on this machine: judging")
    assert trials.attempt(pair[1], 1, 2.0, division).score is not None, "the first one always is"


def test_a_network_whose_evaluation_leaves_no_time_has_no_part(tmp_path):
    rest = (Reporter(), Clock(0.0, now=lambda: 40.0), Division(180.0, Reporter()), tmp_path)
    under_way = search.Search(180.0, *rest, interrupted.State())
    hits = np.ones(4, dtype=np.bool_)
    both = [probe.Probed("large", hits, 0.02), probe.Probed("small", hits, 0.005)]
    quick = backbones.quick_enough(both, 12_000, under_way)
    assert [one.name for one in quick] == ["small"]
    (line,) = under_way.looked_at
    assert line == "large: evaluating would take about 240 s, and 84 s at most can be kept for it"


def test_groups_and_the_datas_own_validation_part_stay_apart(tmp_path):
    folder = drawn.folder(tmp_path / "data", 240, 16)
    grouped = tiny(folder, 1e-3, group_pattern=r"(\d{3})\d\.png")
    parts = Division(BUDGET, Reporter()).parts(grouped)
    groups = [
        {name.rsplit("/", 1)[-1][:3] for name in images.ids}
        for images in (parts.train, parts.choosing, parts.apart, parts.data.test)
    ]
    for first in range(4):
        for second in range(first):
            assert not groups[first] & groups[second]
    own = drawn.folder(tmp_path / "own", 60, 16, parts=("train", "val", "test"))
    parts = Division(BUDGET, Reporter()).parts(tiny(own, 1e-3))
    assert len(parts.train) == 60
    assert len(parts.choosing) == len(parts.apart) == 30
    assert all(name.startswith("val") for name in (*parts.choosing.ids, *parts.apart.ids))


def test_luck_is_what_choosing_among_equals_gives():
    random = np.random.default_rng(0)
    equal = [random.random(200) < 0.7 for _ in range(8)]
    gained = results.optimism(equal)
    assert 0.02 < gained < 0.12
    assert results.optimism(equal[:1]) == 0
    ahead = [np.ones(200, dtype=bool), *equal]
    assert results.optimism(ahead) == pytest.approx(0)


def test_a_trial_trains_the_width_that_its_time_allows(tmp_path, monkeypatch):
    class BegunError(Exception):
        pass

    def ready(recipe, data, device):
        raise BegunError(recipe.model.width)

    monkeypatch.setattr(trials.width, "choose", lambda *given: trials.width.Width(0.25, 3.0, 1.0))
    monkeypatch.setattr(trials.initialise, "ready", ready)
    recipe = tiny(drawn.folder(tmp_path / "data", 90, 16), 1e-3)
    parts = Division(BUDGET, Reporter()).parts(recipe)
    wide = replace(recipe, model=Model("fast_objects"))
    for asked, width in ((wide, 0.25), (replace(wide, model=Model("fast_objects", width=1)), 1)):
        with pytest.raises(BegunError) as begun:
            trials.hits_of(asked, parts, 2.0, however_slow=True)
        assert begun.value.args == (width,)


def test_a_forecast_follows_the_falling_error_and_never_what_did_not_fall():
    assert results.forecast((0.5, 0.75), (10, 20), 20, 1) == 0.75
    assert 0.75 < results.forecast((0.5, 0.75), (10, 20), 80, 0.5) < 0.9
    assert results.forecast((0.5, 0.75), (10, 20), 80, 1) == pytest.approx(0.9375)
    assert results.forecast((0.75, 0.75), (10, 20), 80, 1) == 0.75
    assert results.forecast((0.9, 0.8), (10, 20), 80, 1) == 0.8


def test_a_record_is_read_as_it_was_written():
    luck = results.Luck(40, 0.9, 0.01, 20, 0.85, (0.7, 0.95))
    trial = results.TrialRecord("digits", 1, 2.0, 2.5, 0.9, None, "")
    record = results.SearchRecord("digits", "best", 60, 20.0, ("grey",), (trial,), luck)
    assert results.SearchRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


@pytest.mark.parametrize(
    ("seen", "grey", "names"),
    [
        (Seen(60_000, 10, 28), True, ["digits", "glyphs", "objects", "folder lite"]),
        (Seen(50_000, 10, 32), False, ["objects", "folder lite", "objects_lite0 lite"]),
        (Seen(2_000, 10, 224), False, ["folder lite", "objects"]),
        (Seen(2_600, 4, 300), True, ["folder lite", "glyphs", "objects"]),
    ],
)
def test_candidates_suit_the_images(monkeypatch, seen, grey, names):
    made = rules.candidates(Look(seen, grey), "photos", ["training.seed=3"], 60, ["lite"])
    assert [candidate.name for candidate in made] == names
    for candidate in made:
        assert candidate.recipe.training.seed == 3
        assert candidate.recipe.training.budget == 60
        assert candidate.recipe.data.source == "photos"


def test_the_probe_leaves_each_image_out_as_a_refit_would():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(30) % 3
    features = torch.randn(30, 8, generator=generator) + torch.nn.functional.one_hot(labels, 8)
    centred = torch.nn.functional.normalize(features.double() - features.double().mean(0), dim=1)
    targets = torch.nn.functional.one_hot(labels, 3).double()
    best = 0.0
    for penalty in probe.PENALTIES:
        right = 0
        for row in range(30):
            others = torch.arange(30) != row
            kept = centred[others]
            gram = kept.T @ kept + penalty * torch.eye(8, dtype=torch.float64)
            weights = torch.linalg.solve(gram, kept.T @ (targets[others] - targets.mean(0)))
            right += int((centred[row] @ weights + targets.mean(0)).argmax() == labels[row])
        best = max(best, right / 30)
    assert probe.leave_one_out(features, labels).mean() == pytest.approx(best)
    noise = torch.randn(90, 8, generator=generator)
    assert probe.leave_one_out(noise, torch.arange(90) % 3).mean() < 0.6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "10m"], "auto needs --data and --budget"),
        (["--data", "photos"], "auto needs --data and --budget"),
        (["--data", "photos", "--budget", "10m", "--folds", "3"], "does not support --folds"),
        (["--data", "photos", "--budget", "10m", "--every", "3"], "does not support --every"),
        (["--data", "photos", "--budget", "10m", "--set", "data.target=mask"], "is mask"),
    ],
)
def test_what_auto_cannot_do_is_refused(monkeypatch, capsys, tmp_path, arguments, message):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["eyesight", "train", "auto", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_train_auto_prints_what_was_tried_and_the_page_shows_it(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "candidates", lambda *_: pair)
    folder = pair[0].recipe.data.source
    runs = str(tmp_path / "runs")
    asked = ["train", "auto", "--data", folder, "--budget", "200s", "--out", runs]
    answer = json.loads(command(*asked, "--json").out)
    assert answer["search"]["winner"] == "learns"
    page = (tmp_path / "runs" / "0001-auto" / "report.html").read_text()
    assert "<h2>Search</h2>" in page
    assert "stuck" in page


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("searching.search.train_auto", ["train", "auto"]),
        ("searching.search.search_space", ["search", "lenet5", "--space", "optim.lr=0.1,0.2"]),
        ("experiment.run", ["train", "lenet5"]),
    ],
)
def test_a_budget_counts_from_the_start_of_the_command(monkeypatch, tmp_path, function, arguments):
    clocks = []

    def watched(*given):
        clocks.append(given[-1].clock)
        raise UserError("seen enough")

    folder = str(drawn.folder(tmp_path / "data", 12, 16))
    asked = [*arguments, "--data", folder, "--budget", "60s", "--out", str(tmp_path / "runs")]
    monkeypatch.setattr(f"eyesight.{function}", watched)
    monkeypatch.setattr("eyesight.cli.options.STARTED", time.monotonic() - 1000)
    monkeypatch.setattr(sys, "argv", ["eyesight", *asked])
    with pytest.raises(SystemExit):
        main.main()
    assert clocks[0].elapsed() > 1000


def test_a_space_of_ones_own_is_searched_and_nothing_else_is_tried(pair, tmp_path):
    space = ["optim.lr=1e-9,5e-3"]
    context = Context(clock=Clock())
    run = search.search_space(pair[0].recipe, space, tmp_path / "runs", context)
    record = joined.search(run)
    assert record.winner == "optim.lr=5e-3"
    assert {trial.name for trial in record.trials} == {"optim.lr=1e-9", "optim.lr=5e-3"}
    assert run.recipe.optim.lr == 5e-3
    with pytest.raises(UserError, match="nothing to choose"):
        search.search_space(pair[0].recipe, ["optim.lr=0.1"], tmp_path / "runs", context)
    unlimited = replace(pair[0].recipe, training=Training())
    with pytest.raises(UserError, match="needs a time"):
        search.search_space(unlimited, space, tmp_path / "runs", context)


@pytest.mark.parametrize(
    ("settings", "space", "message"),
    [
        ((), "training.keep=best,last", "cannot vary training.keep"),
        ((), "data.split_seed=1,2", "cannot vary data.split_seed"),
        (("data.target=mask",), "optim.lr=0.01,0.02", "data.target is mask"),
    ],
)
def test_a_space_that_no_trial_could_judge_is_refused(tmp_path, settings, space, message):
    recipe = override(Recipe(), ["training.budget=30s", *settings])
    with pytest.raises(UserError, match=message):
        search.search_space(recipe, [space], tmp_path, Context(Reporter()))


def test_the_head_alone_wins_where_training_more_is_no_better():
    def tried(name, right):
        hits = np.arange(200) < right
        candidate = Candidate(name, Recipe(), "pretrained")
        return SimpleNamespace(candidate=candidate, choosing=hits)

    head = tried(f"folder lite0, {rules.HEAD_ONLY}", 150)
    assert search.accepted(head, tried("folder lite0", 151))
    assert not search.accepted(head, tried("folder lite0", 190))
    assert not search.accepted(tried("folder lite0, mirrored", 151), tried("folder lite0", 150))


def test_auto_says_that_pretrained_networks_are_missing(monkeypatch, tmp_path):
    drawn.folder(tmp_path / "data", 60, 16)
    monkeypatch.setattr(search, "backbones_at_hand", list)
    monkeypatch.setattr(search, "search", lambda build, *rest: build(under_way))
    under_way = SimpleNamespace(reporter=Reporter(), looked_at=[], clock=Clock(), budget=60.0)
    search.train_auto(str(tmp_path / "data"), [], 60.0, tmp_path, Context())
    assert search.WITHOUT_WEIGHTS in under_way.looked_at
