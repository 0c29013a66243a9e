"""Projects of one's own: folders that the command line takes, and pages that no other site drives."""

import io
import json
import threading
import time
import zipfile
from contextlib import contextmanager

import pytest
from drawn import folder, pictures, png
from fastapi.testclient import TestClient

from eyesight.auditing import record
from eyesight.auditing.record import JudgedImage
from eyesight.auditing.shortcuts import Shortcut
from eyesight.data.decode import BadPicture
from eyesight.data.opening import open_source
from eyesight.data.store import prepare_store
from eyesight.errors import MissingError, UserError
from eyesight.models import available
from eyesight.recipe import Data
from eyesight.runs import Run
from eyesight.studio import checking, collecting, projects, qr, training
from eyesight.studio.jobs import Job, Jobs
from eyesight.web import i18n
from eyesight.web.application import application
from eyesight.web.batching import Untrained
from eyesight.web.limits import Limits
from eyesight.web.studio.desk import Desk
from eyesight.web.studio.share import Share

ELSEWHERE = {"Origin": "http://elsewhere.example"}


@pytest.fixture
def place(tmp_path):
    return tmp_path / "studio"


@pytest.fixture
def project(place):
    made = projects.create_project(place, "Shapes of mine")
    folder(made.pictures, 18)
    return made


@pytest.fixture
def desk(place, monkeypatch):
    monkeypatch.setattr(training, "recipe_name", lambda: training.FROM_SCRATCH)
    return Desk(place, Limits())


@pytest.fixture
def client(desk):
    with TestClient(application(Untrained(), studio=desk), base_url="http://localhost") as opened:
        yield opened


def image(seed=0):
    return png(pictures(1, seed=seed)[0][0, 0])


def test_a_project_is_a_data_folder_that_the_command_line_takes(project):
    assert project.name == "shapes-of-mine" and project.title == "Shapes of mine"
    assert project.counts() == {"bar": 6, "cross": 6, "ring": 6}
    assert projects.list_projects(project.path.parent) == [project]
    assert projects.open_project(project.path.parent, "shapes-of-mine") == project


@pytest.mark.parametrize("name", ["..", "../studio", "", ".", "shapes-of-mine/../other", "x"])
def test_a_name_is_never_joined_to_a_path(project, name):
    with pytest.raises(MissingError):
        projects.open_project(project.path.parent, name)
    with pytest.raises(MissingError):
        project.class_path(name)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", ".hidden", "_x", "nul", "x" * 61, "a."])
def test_a_class_is_named_as_a_folder_can_be(project, name):
    with pytest.raises(UserError):
        project.add_class(name)


def test_classes_keep_the_order_in_which_they_were_named(place):
    project = projects.create_project(place, "나무")
    for name in ("zebra", "apple tree", "감나무"):
        assert project.add_class(name) == name
    assert project.add_class("  ZEBRA ") == "zebra"
    assert project.class_names == ["zebra", "apple tree", "감나무"]
    assert project.rename_class("zebra", "horse") == "horse"
    assert project.class_names == ["horse", "apple tree", "감나무"]
    with pytest.raises(UserError):
        project.rename_class("horse", "Apple Tree")
    again = projects.create_project(place, "나무")
    assert again.name != project.name


def test_an_image_is_kept_once_as_it_came(project):
    data = image(seed=5)
    first = collecting.add_picture(project, "bar", data)
    assert first.state == "added" and project.picture("bar", first.file).read_bytes() == data
    assert collecting.add_picture(project, "bar", data).state == "again"
    assert collecting.add_picture(project, "ring", data).elsewhere == "bar"
    assert project.counts()["bar"] == 7


@pytest.mark.parametrize("data", [b"", b"hello", image()[:60], b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_not_kept(project, data):
    with pytest.raises(BadPicture):
        collecting.add_picture(project, "bar", data)
    assert project.counts()["bar"] == 6


def test_bursts_stay_on_one_side_of_the_split(project):
    assert training.settings(project) == []
    collecting.add_picture(project, "bar", image(seed=8), burst="ab12cd34")
    assert training.settings(project) == [f"data.group_pattern={collecting.BURST_PATTERN}"]
    collecting.add_picture(project, "bar", image(seed=9), burst="../../x")
    assert sum(name.startswith("burst-") for name in project.files("bar")) == 1


def test_a_class_called_train_is_a_class(project):
    project.add_class("train")
    assert "data.class_level=1" in training.settings(project)


def test_what_is_removed_can_be_put_back(project):
    files = project.files("ring")
    project.remove("ring", files[:2])
    project.remove("ring", ["no.png"])
    assert project.counts()["ring"] == 4
    assert project.undo().count == 0 and project.undo().count == 2
    assert project.undo() is None
    assert sorted(project.files("ring")) == sorted(files)
    project.remove_class("bar")
    assert "bar" not in project.class_names
    assert project.undo().class_name == "bar" and project.counts()["bar"] == 6


def test_only_the_last_removals_are_kept(project, monkeypatch):
    monkeypatch.setattr(projects, "KEPT_REMOVALS", 2)
    for file in project.files("ring")[:4]:
        project.remove("ring", [file])
    assert len(project.removals()) == 2


def archive(entries):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        for name, data in entries.items():
            opened.writestr(name, data)
    return stream.getvalue()


def test_the_folders_of_a_zip_are_classes_and_broken_files_are_named(project, tmp_path):
    file = tmp_path / "all.zip"
    file.write_bytes(
        archive(
            {
                "top/oak/1.png": image(1),
                "top/oak/2.png": image(2),
                "top/elm/3.png": image(3)[:50],
                "top/elm/notes.txt": b"x",
                "4.png": image(4),
                "__MACOSX/top/oak/._1.png": b"x",
            }
        )
    )
    gathered = collecting.add_archive(project, file, "")
    assert gathered.added == 2 and gathered.ignored == 1
    assert sorted(name for name, _ in gathered.broken) == ["4.png", "top/elm/3.png"]
    assert project.counts()["oak"] == 2


def test_an_archive_that_climbs_out_is_refused(project, tmp_path):
    file = tmp_path / "evil.zip"
    file.write_bytes(archive({"../../evil.png": image()}))
    with pytest.raises(UserError, match="outside its folder"):
        collecting.add_archive(project, file, "")


def test_the_recipe_depends_on_the_weights_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(available, "packaged", lambda name: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert training.recipe_name() == "objects"
    downloaded = tmp_path / "models--timm--resnet50.tv_in1k"
    (downloaded / "refs").mkdir(parents=True)
    (downloaded / "refs" / "main").write_text("abc")
    (downloaded / "snapshots" / "abc").mkdir(parents=True)
    (downloaded / "snapshots" / "abc" / "model.safetensors").write_bytes(b"weights")
    assert training.recipe_name() == "folder"


def test_there_is_too_little_to_train_on(place, monkeypatch):
    monkeypatch.setattr(training, "recipe_name", lambda: "objects")
    project = projects.create_project(place, "one")
    with pytest.raises(UserError, match="not enough classes"):
        training.command(project, 60)
    folder(project.pictures, 6)
    with pytest.raises(UserError, match="2 images"):
        training.command(project, 60)
    folder(project.pictures, 18, seed=3)
    assert training.command(project, 60)[:3] == ["train", "objects", "--data"]
    assert "data.size=64" in training.command(project, 600)
    with pytest.raises(UserError, match="1 seconds is not possible"):
        training.command(project, 1)


def log(run, *events):
    for event in events:
        run.append(event)


def test_progress_is_read_from_the_runs_own_log(project):
    run = Run.create(project.runs_path, "objects")
    run.write_json("recipe.json", {"format": 1, "name": "objects"})
    run.write_json("data.json", {"counts": {"train": 80, "validation": 10, "test": 20}})
    run.checkpoint_path.mkdir()
    with run.hold():
        assert training.progress(run).phase == "preparing"
        epoch = {"event": "epoch", "epoch": 1, "progress": 0.5, "validation_top1": 0.8}
        log(run, {"event": "start"}, epoch)
        going = training.progress(run)
        assert (going.phase, going.right, going.judged) == ("training", 8, 10)
        run.ask_to_stop()
        assert run.asked_to_stop
    assert training.progress(run).phase == "stopped" and training.can_go_on(run)
    run.ask_to_stop(stop=False)
    assert not run.asked_to_stop
    log(run, {"event": "done", "test": {"n": 20, "top1": 0.9}, "seconds": {"total": 9}})
    ended = training.progress(run)
    assert (ended.phase, ended.right, ended.judged) == ("done", 18, 20)


def test_a_training_that_had_no_time_says_so(project):
    run = Run.create(project.runs_path, "objects")
    run.write_json("recipe.json", {"format": 1, "name": "objects"})
    failure = {"event": "failed", "message": "no time", "hint": "try --budget 90s"}
    log(run, {"event": "start"}, failure)
    failed = training.progress(run)
    assert (failed.phase, failed.problem, failed.short_of_time) == ("failed", "no time", True)
    assert failed.to_dict()["short_of_time"] is True
    log(run, {"event": "start"}, failure | {"hint": "make room on the disk"})
    assert not training.progress(run).short_of_time


def test_a_check_is_plain_and_forgets_what_was_settled(project):
    ids = [f"{name}/{file}" for name in ("bar", "ring") for file in sorted(project.files(name))]
    problems = [
        {"id": ids[0], "kind": "truncated", "detail": "", "fatal": True},
        {"id": ids[1], "kind": "duplicate", "detail": "", "fatal": True},
        {"id": ids[2], "kind": "conflict", "detail": "", "fatal": True},
        {"id": "ring/gone.png", "kind": "truncated", "detail": "", "fatal": True},
    ]
    audit = {
        "labels": [{"id": ids[3], "given": "bar", "suggested": "ring", "score": 0.9}],
        "copies": [[{"id": ids[4]}, {"id": ids[5]}], [{"id": ids[4]}, {"id": "ring/gone.png"}]],
        "unlike": [{"id": ids[6], "score": 0.9}],
        "notes": [],
        "shortcuts": [
            Shortcut("size", 0.9, 0.5, 90).to_dict(),
            Shortcut("hue", 0.5, 0.5, 90).to_dict(),
        ],
    }
    values = {
        "stamp": checking.pictures_stamp(project),
        "health": {"usable": 18, "problems": problems},
        "audit": audit,
    }
    (project.path / checking.CHECK).write_text(json.dumps(values), encoding="utf-8")
    found = checking.read_check(project)
    assert found.broken == ((ids[0], "truncated"),) and found.repeated == (ids[1],)
    assert found.contradicting == (ids[2],) and found.copies == ((ids[4], ids[5]),)
    assert found.doubtful[0]["suggested"] == "ring" and found.strangers == (ids[6],)
    assert not found.clean and not found.stale and found.shortcuts == ("size",)
    assert checking.correct(project, [ids[3]], "ring") == 1
    assert checking.read_check(project).doubtful == ()
    (row,) = project.corrections
    assert (row.id, row.old, row.new) == (ids[3], "bar", "ring")
    with pytest.raises(UserError):
        checking.correct(project, [ids[3]], "nothing")
    with pytest.raises(MissingError):
        checking.correct(project, ["../x"], "ring")
    collecting.add_picture(project, "bar", image(7))
    assert checking.read_check(project).stale


def test_a_check_that_had_too_little_time_is_not_clean(client, project):
    audit = {"copies": [], "unlike": [], "shortcuts": [], "notes": [], "labels": []}
    values = {
        "stamp": checking.pictures_stamp(project),
        "health": {"usable": 18, "problems": []},
        "audit": audit,
    }
    file = project.path / checking.CHECK
    file.write_text(json.dumps(values), encoding="utf-8")
    assert checking.read_check(project).clean
    audit["unfinished"] = {"near duplicates": "0 of 7 pairs compared"}
    file.write_text(json.dumps(values), encoding="utf-8")
    assert not checking.read_check(project).clean
    page = client.get(f"/studio/{project.name}/check").text
    assert "The check is not complete" in page
    assert "near duplicates: 0 of 7 pairs compared" in page
    assert "finding good" not in page


def test_the_review_page_opens_from_the_check(client, project):
    data = Data(str(project.pictures))
    source = open_source(data.source)
    store = prepare_store(source, data)
    labels = [
        JudgedImage(one, digest, "train", store.classes[label], "ring", 0.5, one == store.ids[0])
        for one, digest, label in zip(store.ids, store.digests, store.labels, strict=True)
    ]
    share = {"value": 0.1, "low": 0.0, "high": 0.2}
    kept = record.AuditRecord(
        str(project.pictures),
        store.key,
        len(labels),
        "pixels",
        share,
        tuple(labels),
        (),
        (),
        (),
        (),
    )
    before = client.post("/studio/shapes-of-mine/review")
    assert before.status_code == 422 and "step 2" in before.json()["hint"]
    record.remember(kept)
    empty = {"copies": [], "unlike": [], "shortcuts": [], "notes": [], "labels": []}
    values = {
        "stamp": checking.pictures_stamp(project),
        "health": {"usable": 18, "problems": []},
        "audit": {**empty, "store": store.key},
    }
    (project.path / checking.CHECK).write_text(json.dumps(values), encoding="utf-8")
    assert (
        'action="/studio/shapes-of-mine/review"' in client.get("/studio/shapes-of-mine/check").text
    )
    page = client.post("/studio/shapes-of-mine/review", headers={"Accept": "text/html"})
    assert page.status_code == 200 and page.url.path == "/review"
    assert 'href="/studio/shapes-of-mine/check"' in page.text, "the way back"
    facts = client.get("/api/review").json()
    assert facts["data"] == "Shapes of mine"
    first = client.get("/api/review/items").json()["items"][0]
    decision = {"key": facts["key"], "contents": [first["content"]], "action": "exclude"}
    assert client.post("/api/review/decisions", json=decision).status_code == 200
    rows = project.corrections.latest()
    assert [row.new for row in rows.values()] == [""], "in the project's own corrections"
    assert client.post("/studio/shapes-of-mine/review", headers=ELSEWHERE).status_code == 403


def test_one_thing_at_a_time_and_what_fails_says_so(project):
    jobs = Jobs()
    job = jobs.start(project, "check", lambda job: job.run(["data", "/nowhere"]))
    with pytest.raises(UserError, match="already running"):
        jobs.start(project, "train", lambda job: None)
    jobs.threads[-1].join(60)
    assert not job.busy and "nowhere" in job.problem
    jobs.close()


@contextmanager
def going(desk, monkeypatch):
    """Trainings that do nothing until the block ends."""
    end = threading.Event()
    monkeypatch.setattr(Job, "run", lambda job, arguments: end.wait(60))
    monkeypatch.setattr(desk, "finish", lambda job: None)
    try:
        yield
    finally:
        end.set()
        desk.close()


def interrupted(project, budget=100):
    """A run that was interrupted at half of its time."""
    run = Run.create(project.runs_path, "objects")
    recipe = {"format": 1, "name": "objects", "training": {"budget": budget}}
    run.write_json("recipe.json", recipe)
    run.checkpoint_path.mkdir()
    log(run, {"event": "start"}, {"event": "epoch", "epoch": 1, "progress": 0.5})
    return run


def test_a_page_that_is_opened_later_knows_the_time_left(desk, project, client, monkeypatch):
    assert desk.progress(project).seconds_left is None
    with going(desk, monkeypatch):
        desk.train(project, 90)
        assert 80 < desk.progress(project).seconds_left <= 90
        run = interrupted(project)
        with run.hold():
            reached = client.get("/studio/shapes-of-mine/state").json()["progress"]
            assert (reached["run"], reached["phase"]) == (run.name, "training")
            assert 80 < reached["seconds_left"] <= 90


def test_a_training_that_goes_on_has_the_rest_of_its_time(desk, project, monkeypatch):
    run = interrupted(project)
    assert desk.progress(project).phase == "stopped"
    with going(desk, monkeypatch):
        desk.go_on(project, run)
        waiting = desk.progress(project)
        assert waiting.phase == "preparing" and 40 < waiting.seconds_left <= 50
        with run.hold():
            assert desk.progress(project).phase == "training"
            log(run, {"event": "done", "test": {"n": 20, "top1": 0.9}})
    ended = desk.progress(project)
    assert (ended.phase, ended.run, ended.right) == ("done", run.name, 18)


def test_a_training_that_was_begun_elsewhere_has_a_time_left(desk, project):
    run = interrupted(project)
    with run.hold():
        assert desk.progress(project).seconds_left is None, "an earlier version logged no seconds"
        log(run, {"event": "start", "elapsed": 20.0})
        assert 30 < desk.progress(project).seconds_left <= 40, "half of what 100 - 20 s leave"
        log(run, {"event": "start", "elapsed": 120.0})
        assert desk.progress(project).seconds_left == 0
    assert desk.progress(project).seconds_left is None, "nobody trains it"


def test_a_training_that_was_begun_elsewhere_is_asked_to_end(desk, project):
    run = interrupted(project)
    desk.stop(project)
    assert not run.asked_to_stop, "nobody trains it"
    with run.hold():
        desk.stop(project)
        assert run.asked_to_stop and desk.progress(project).stopping


# ---- pages


STEPS = ["collect", "check", "train", "try", "compare", "take"]


def test_compare_reads_the_log_of_a_training_again_only_when_it_has_changed(
    client, project, monkeypatch
):
    runs = [interrupted(project) for _ in range(5)]
    read = []
    log_of = Run.log.fget
    monkeypatch.setattr(Run, "log", property(lambda run: read.append(run.name) or log_of(run)))
    address = f"/studio/{project.name}/compare"
    page = client.get(address).text
    assert page.count(">paused<") == 5
    assert set(read) == {run.name for run in runs}
    read.clear()
    client.get(address)
    assert set(read) <= {runs[-1].name}, "the state shows the last training"
    log(runs[0], {"event": "done", "test": {"n": 20, "top1": 0.9}})
    with runs[1].hold():
        page = client.get(address).text
    assert "18 of 20 correct" in page and page.count(">paused<") == 3


@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_step_has_a_page(client, project, language):
    headers = {"Accept-Language": language}
    assert "Shapes of mine" in client.get("/studio", headers=headers).text
    for step in STEPS:
        answer = client.get(f"/studio/{project.name}/{step}", headers=headers)
        assert answer.status_code == 200, step
        assert 'aria-current="step"' in answer.text
    assert client.get(f"/studio/{project.name}/nothing").status_code == 404
    assert client.get("/studio/nothing/collect").status_code == 404
    assert client.get("/", follow_redirects=False).headers["location"] == "/studio"


def test_a_project_without_images_is_led_back_to_collect(client, place):
    project = projects.create_project(place, "Empty")
    for step, key in (("check", "studio.no_pictures"), ("train", "studio.needs_classes")):
        page = client.get(f"/studio/{project.name}/{step}").text
        assert f'class="warn">{i18n.texts("en")[key]}<' in page and 'id="begin"' not in page
        assert (
            f'href="/studio/{project.name}/collect">{i18n.texts("en")["studio.back_collect"]}'
            in page
        )
    project.add_class("bar")
    (project.pictures / "bar" / "0.png").write_bytes(image())
    page = client.get(f"/studio/{project.name}/check").text
    missing = f'class="warn">{i18n.texts("en")["studio.no_pictures"]}<'
    assert missing not in page and 'id="begin"' in page
    assert "Each class needs at least 4" in page, "with one image nothing can be trained"
    assert "fewer than 20 images of bar" not in page


def test_the_train_page_says_in_the_visitors_language_what_is_missing(client, place):
    project = projects.create_project(place, "Few")
    ko = i18n.translator("ko")

    def shown():
        headers = {"Accept-Language": "ko"}
        return client.get(f"/studio/{project.name}/train", headers=headers).text

    assert f'class="warn">{ko("studio.needs_classes")}<' in shown()
    assert 'id="begin"' not in shown()
    for name, count in (("bar", 6), ("ring", 3)):
        project.add_class(name)
        for number in range(count):
            (project.pictures / name / f"{number}.png").write_bytes(image())
    missing = ko("studio.needs_pictures", name="ring", n=3, least=training.LEAST)
    assert missing in shown() and 'id="begin"' not in shown()
    (project.pictures / "ring" / "3.png").write_bytes(image())
    assert 'id="begin"' in shown()


def test_a_training_without_time_is_explained_in_the_visitors_language(client, project):
    run = Run.create(project.runs_path, "folder")
    run.write_json("recipe.json", {"format": 1, "name": "folder"})
    run.append({"event": "start"})
    run.append({"event": "failed", "message": "no time", "hint": "try --budget 90s"})
    page = client.get(f"/studio/{project.name}/compare", headers={"Accept-Language": "ko"}).text
    words = i18n.texts("ko")["studio.no_time"]
    assert f'<p class="warn">{words}</p>' in page and ">no time<" not in page


def test_a_shortcut_is_named_in_the_visitors_language(client, project):
    names = ("borders", "overlays", "brightness", "file facts", "compression", "camera")
    audit = {"labels": [], "copies": [], "unlike": [], "notes": []}
    audit["shortcuts"] = [Shortcut(name, 0.9, 0.5, 90).to_dict() for name in (*names, "<new>")]
    values = {
        "stamp": checking.pictures_stamp(project),
        "health": {"usable": 18, "problems": []},
        "audit": audit,
    }
    (project.path / checking.CHECK).write_text(json.dumps(values), encoding="utf-8")
    headers = {"Accept-Language": "ko"}
    page = client.get(f"/studio/{project.name}/check", headers=headers).text
    keys = [f"shortcut.{name.replace(' ', '_')}" for name in names]
    said = ", ".join(i18n.texts("ko")[key] for key in keys)
    assert f"({said}, &lt;new&gt;)" in page


def test_a_project_is_made_filled_and_changed_over_http(client):
    made = client.post("/studio", json={"title": "Leaves"}).json()
    here = made["address"].removesuffix("/collect")
    assert client.post(f"{here}/classes", json={"name": "oak"}).json() == {"name": "oak"}
    sent = client.post(f"{here}/pictures", params={"to": "oak"}, content=image(1)).json()
    assert sent["state"] == "added"
    state = client.get(f"{here}/state").json()
    assert state["classes"] == [{"name": "oak", "count": 1}]
    (row,) = client.get(f"{here}/files", params={"of": "oak"}).json()["files"]
    drawn = client.get(row["address"])
    assert drawn.headers["content-type"] == "image/png"
    assert "immutable" in drawn.headers["cache-control"]
    client.post(f"{here}/remove", json={"of": "oak", "files": [row["file"]]})
    after = client.get(f"{here}/state").json()
    assert after["removed"] == 1 and after["version"] != state["version"]
    assert client.post(f"{here}/undo").json() == {"restored": 1, "of": "oak"}
    assert client.post(f"{here}/archive", content=archive({"elm/1.png": image(2)})).json()[
        "classes"
    ] == ["elm"]
    moved = client.post(
        f"{here}/move", json={"of": "oak", "files": [row["file"]], "to": "elm"}
    ).json()
    assert moved == {"moved": 1}


@pytest.mark.parametrize(
    "path, body, status",
    [
        ("/pictures?to=bar", b"no image", 415),
        ("/pictures?to=bar", image()[:60], 422),
        ("/pictures?to=nothing", image(), 404),
        ("/archive", b"no zip", 422),
        ("/classes", b'{"name": "a/b"}', 422),
        ("/classes", b"[]", 422),
        ("/remove", b'{"of": "bar", "files": "x"}', 422),
        ("/train", b'{"seconds": "soon"}', 422),
        ("/train", b'{"resume": "0009-x"}', 404),
        ("/predict", image(), 404),
        ("/use", b'{"run": "0009-x"}', 404),
        ("/export", b'{"to": "onnx"}', 404),
        ("/correct", b'{"ids": ["bar/none.png"], "new": "ring"}', 404),
    ],
)
def test_what_cannot_be_is_refused_with_a_hint(client, project, path, body, status):
    answer = client.post(f"/studio/{project.name}{path}", content=body)
    assert answer.status_code == status
    assert answer.json()["error"] and answer.json()["hint"]


@pytest.mark.parametrize("path", ["..%2f..%2fproject.json", "%2e%2e", "bar/..%2f..%2fproject.json"])
def test_no_address_leads_out_of_the_project(client, project, path):
    assert client.get(f"/studio/{project.name}/pictures/{path}").status_code == 404


CHANGES = ["", "/NAME/classes", "/NAME/pictures?to=bar", "/NAME/archive", "/NAME/remove"]
CHANGES += ["/NAME/undo", "/NAME/move", "/NAME/train", "/NAME/stop", "/NAME/check", "/NAME/use"]


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1"])
def test_another_sites_page_can_change_nothing(client, project, path, origin):
    before = project.version
    address = "/studio" + path.replace("NAME", project.name)
    answer = client.post(address, content=b"{}", headers={"Origin": origin})
    assert answer.status_code == 403
    assert project.version == before and len(projects.list_projects(project.path.parent)) == 1


def test_another_sites_page_can_read_nothing(client, project):
    answer = client.get(f"/studio/{project.name}/state", headers={"Host": "evil.example"})
    assert answer.status_code == 400
    answer = client.get(f"/studio/{project.name}/state")
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in answer.headers


def test_a_server_that_others_reach_asks_for_its_token(desk, project):
    open_to_all = application(Untrained(), studio=desk, hosts=("*",))
    assert TestClient(open_to_all).get("/studio").status_code == 403
    desk.share = Share("http://192.168.1.5:8000/studio?token=secret", "secret")
    asking = TestClient(application(Untrained(), studio=desk, token="secret", hosts=("*",)))
    assert asking.get("/studio").status_code == 401
    answer = asking.get("/studio?token=secret")
    assert answer.status_code == 200 and "data:image/svg+xml" in answer.text
    assert "token=secret" in answer.text
    cookie = answer.history[0].headers["set-cookie"].lower()
    assert "samesite=strict" in cookie and "httponly" in cookie


def test_fifty_projects_and_ten_thousand_pictures_are_listed_quickly(client, place):
    for number in range(50):
        projects.create_project(place, f"project {number}").add_class("a")
    large = projects.open_project(place, "project-0")
    (large.pictures / "a").mkdir(exist_ok=True)
    for number in range(10_000):
        (large.pictures / "a" / f"{number:05d}.png").touch()
    took = []
    for path in ("/studio", "/studio/project-0/collect", "/studio/project-0/state"):
        began = time.process_time()  # a busy machine makes no page slow
        assert client.get(path).status_code == 200
        took.append(time.process_time() - began)
    page = client.get("/studio/project-0/files", params={"of": "a", "start": 9_990}).json()
    assert page["count"] == 10_000 and len(page["files"]) == 10
    assert max(took) < 1.0, took  # processor seconds


# ---- QR codes


def test_a_code_has_its_patterns_and_its_size():
    grid = qr.encode("http://192.168.178.20:8000/studio?token=abcdefghijklmnop")
    assert len(grid) == 17 + 4 * 4
    assert [grid[0][x] for x in range(8)] == [True] * 7 + [False]
    assert [grid[6][x] for x in range(8, len(grid) - 8)] == [
        x % 2 == 0 for x in range(8, len(grid) - 8)
    ]
    assert grid[len(grid) - 8][8]
    with pytest.raises(UserError):
        qr.encode("x" * 300)


def test_correction_bytes_make_every_syndrome_vanish():
    block = bytes(range(40, 56))
    word = block + qr.correction(block, 10)
    root = 1
    for _ in range(10):
        value = 0
        for byte in word:
            value = qr.times(value, root) ^ byte
        assert value == 0
        root = qr.times(root, 2)


def test_a_code_is_read_back():
    """Undo the mask and the interleaving of version 1 by hand: mode, length, text."""
    text = "eyesight"
    grid = qr.encode(text)
    size = len(grid)
    bits = sum(grid[8][size - 1 - place] << place for place in range(8)) ^ (0x5412 & 0xFF)
    seen = sum(grid[size - 15 + place][8] << place for place in range(8, 15))
    mask = ((bits | (seen ^ (0x5412 & 0x7F00))) >> 10) & 7
    blank = qr.Symbol.blank(1)
    stream = [grid[y][x] ^ qr.flips(mask, y, x) for y, x in blank.free()]
    words = [
        int("".join("01"[bit] for bit in stream[place : place + 8]), 2)
        for place in range(0, 8 * 16, 8)
    ]
    whole = "".join(f"{word:08b}" for word in words)
    assert whole[:4] == "0100" and int(whole[4:12], 2) == len(text)
    data = bytes(int(whole[place : place + 8], 2) for place in range(12, 12 + 8 * len(text), 8))
    assert data.decode() == text
