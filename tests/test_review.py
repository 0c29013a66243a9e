"""The review: decisions are saved at once, undone, counted, and never touch the images."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from drawn import SHAPES, folder
from fastapi.testclient import TestClient

from eyesight.auditing import record
from eyesight.auditing.queue import Queue, wrong_probabilities
from eyesight.auditing.record import AuditRecord, CopiedImage, JudgedImage, StrangeImage
from eyesight.data.correction_file import CorrectionFile
from eyesight.data.corrections import AUDIT, UNTOLD, Correction, Corrections, beside
from eyesight.data.layout import Layout
from eyesight.data.opening import open_source
from eyesight.data.prepare import Preparation
from eyesight.data.store import prepare_store
from eyesight.errors import UserError
from eyesight.recipe import Data
from eyesight.web.application import review_application
from eyesight.web.review import Review, Selection, class_keys
from eyesight.web.server import Options, serve_review


def audit_record(store, wrong=10):
    """A record in which the later an image, the less suspicious; the first `wrong` are wrong."""
    labels = []
    for place, one in enumerate(store.ids):
        given = store.classes[store.labels[place]]
        suggested = store.classes[(store.labels[place] + 1) % len(store.classes)]
        score = 0.95 - 0.9 * place / len(store.ids)
        labels.append(
            JudgedImage(
                one, store.digests[place], "", given, suggested, score, place < wrong, False
            )
        )
    return AuditRecord(
        data="shapes",
        store=store.key,
        images=len(labels),
        features="patches",
        share_wrong={"value": wrong / len(labels), "low": 0.0, "high": 0.5},
        labels=tuple(labels),
        copies=(tuple(CopiedImage(one, "", "bar") for one in store.ids[20:22]),),
        unlike=(StrangeImage(store.ids[25], 0.9),),
        shortcuts=(),
        notes=(),
    )


def opened(tmp_path, who="ann"):
    root = folder(tmp_path / "shapes", 60)
    data = Data(str(root))
    source = open_source(data.source, layout=Layout.of(data))
    store = prepare_store(source, data, preparation=Preparation(16, 16, 3))
    return Review.open(audit_record(store), source, beside(str(root)), who)


@pytest.fixture
def review(tmp_path):
    return opened(tmp_path)


@pytest.fixture
def client(review):
    return TestClient(review_application(review), base_url="http://localhost")


def state_of(root):
    """Names and contents of every file of a folder."""
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in root.rglob("*.png")}


def decide(client, items, action, name=""):
    key = client.get("/api/review").json()["key"]
    contents = [item["content"] for item in items]
    body = {"key": key, "contents": contents, "action": action, "name": name}
    return client.post("/api/review/decisions", json=body)


def open_items(client, **query):
    return client.get("/api/review/items", params=query).json()["items"]


def test_decisions_are_rows_of_a_file_beside_the_data_and_touch_no_image(tmp_path, review, client):
    before = state_of(tmp_path / "shapes")
    first, second, third, fourth = open_items(client, limit=4)
    decide(client, [first], "keep")
    decide(client, [second], "relabel", second["suggested"])
    decide(client, [third], "exclude")
    facts = decide(client, [fourth], "untold").json()
    rows = Corrections.read(tmp_path / "shapes.corrections.csv").rows
    expected = [first["given"], second["suggested"], "", UNTOLD]
    assert [row.new for row in rows] == expected
    assert [row.id for row in rows] == [one["id"] for one in (first, second, third, fourth)]
    assert {row.who for row in rows} == {"ann"}
    assert (facts["progress"]["seen"], facts["progress"]["changed"]) == (4, 3)
    assert state_of(tmp_path / "shapes") == before


def test_undoing_brings_back_the_decision_before_also_after_reopening(tmp_path, review, client):
    first, second = open_items(client, limit=2)
    decide(client, [first], "keep")
    decide(client, [first, second], "exclude")
    again = Review.open(review.record, review.source, review.file.path, "ann")
    undone = again.undo(again.key)
    assert [item.id for item in undone] == [first["id"], second["id"]]
    assert undone[0].decision.action == "keep"
    assert undone[1].decision is None
    again.undo(again.key)
    assert again.undo(again.key) == []
    assert client.get("/api/review").json()["progress"]["seen"] == 0


def test_two_pages_agree_and_nobody_undoes_what_another_decided(tmp_path, review, client):
    other = TestClient(
        review_application(Review.open(review.record, None, review.file.path, "bob")),
        base_url="http://localhost",
    )
    before = client.get("/api/review").json()["version"]
    first, second = open_items(client, limit=2)
    decide(other, [first], "keep")
    after = client.get("/api/review").json()
    assert after["version"] != before
    assert after["progress"]["seen"] == 1
    assert [item["id"] for item in open_items(client, limit=1)] == [second["id"]]
    assert client.post("/api/review/undo", json={"key": after["key"]}).json() == []
    decide(client, [first], "exclude")
    (shown,) = open_items(client, state="decided")
    assert shown["decision"]["action"] == "exclude"
    assert [(one["who"], one["action"]) for one in shown["others"]] == [("bob", "keep")]


def test_a_decision_of_many_at_once_is_one_step(client):
    items = open_items(client, limit=12)
    decide(client, items, "relabel", "ring")
    key = client.get("/api/review").json()["key"]
    assert len(client.post("/api/review/undo", json={"key": key}).json()) == 12
    assert client.get("/api/review").json()["progress"]["seen"] == 0


def test_the_queue_is_filtered_and_paged_in_both_directions(review, client):
    order = [item["row"] for item in open_items(client, limit=100)]
    assert order[:10] == list(range(10)), "what is probably wrong comes first"
    assert order[10] == 25, "then what is unlike the others"
    assert sorted(order) == list(range(60))
    second = open_items(client, limit=5, after=4)
    assert [item["row"] for item in second] == order[5:10]
    assert [item["row"] for item in open_items(client, limit=5, before=5)] == order[:5]
    assert {item["given"] for item in open_items(client, given="ring")} == {"ring"}
    copies = open_items(client, kind="copy")
    assert [item["row"] for item in copies] == [20, 21]
    assert copies[0]["copies"] == [{"id": copies[1]["id"], "split": "", "label": "bar", "row": 21}]
    assert [item["kinds"] for item in open_items(client, kind="unlike")] == [["unlike"]]


def test_typical_images_are_of_the_class_and_least_suspicious(review, client):
    rows = client.get("/api/review/typical", params={"name": "ring", "limit": 3}).json()
    labels = review.record.labels
    assert rows == [row for row in range(59, 0, -1) if labels[row].given == "ring"][:3]
    assert client.get("/api/review/typical", params={"name": "boat"}).status_code == 404


def test_pictures_are_png_and_only_those_of_the_audit(client):
    for query in ("", "?large=true"):
        answer = client.get(f"/review/pictures/3.png{query}")
        assert answer.headers["content-type"] == "image/png"
        assert answer.content.startswith(b"\x89PNG")
    assert client.get("/review/pictures/60.png").status_code == 404
    assert client.get("/review/pictures/-1.png").status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {"key": "another"},
        {"contents": ["0" * 64]},
        {"contents": []},
        {"action": "rename"},
        {"action": "relabel", "name": "boat"},
    ],
)
def test_what_is_not_of_this_review_is_refused_and_nothing_is_written(tmp_path, client, change):
    (first,) = open_items(client, limit=1)
    key = client.get("/api/review").json()["key"]
    body = {"key": key, "contents": [first["content"]], "action": "keep"} | change
    answer = client.post("/api/review/decisions", json=body)
    assert answer.status_code in (409, 422)
    assert answer.json()["hint"]
    assert not (tmp_path / "shapes.corrections.csv").exists()


def test_pages_of_other_sites_and_visitors_without_the_token_are_refused(review, client):
    headers = {"Origin": "http://evil.example"}
    answer = client.post("/api/review/undo", json={"key": review.key}, headers=headers)
    assert answer.status_code == 403
    assert client.get("/api/review", headers={"Host": "evil.example"}).status_code == 400
    locked = TestClient(review_application(review, token="secret"), base_url="http://localhost")
    assert locked.get("/api/review").status_code == 401
    assert locked.get("/review/pictures/0.png").status_code == 401
    headers = {"Authorization": "Bearer secret"}
    assert locked.get("/api/review", headers=headers).status_code == 200


def test_others_may_not_decide_without_a_password(review):
    with pytest.raises(UserError, match="relabel"):
        serve_review(review, Options(host="0.0.0.0", port=0))


def test_corrections_of_other_data_are_refused(tmp_path, review):
    other = tmp_path / "other.csv"
    Corrections((Correction("1.png", "f" * 64, "bar", "ring", "bob", ""),)).write(other)
    with pytest.raises(UserError, match="another data set"):
        Review.open(review.record, None, other, "ann")


def test_a_review_goes_on_where_folders_were_renamed(tmp_path, review, client):
    first = open_items(client, limit=1)[0]
    decide(client, [first], "exclude")
    for file in sorted((tmp_path / "shapes" / "bar").iterdir()):
        file.rename(file.with_name(f"new_{file.name}"))
    data = Data(str(tmp_path / "shapes"))
    source = open_source(data.source)
    store = prepare_store(source, data, preparation=Preparation(16, 16, 3))
    again = Review.open(audit_record(store), source, review.file.path, "ann")
    (shown,) = again.items(Selection(state="decided")).items
    assert shown.content == first["content"]
    assert shown.id != first["id"]


def test_what_the_audit_suggested_is_still_open(tmp_path, review, client):
    label = review.record.labels[0]
    row = Correction(label.id, label.content, label.given, label.suggested, AUDIT, "")
    Corrections((row,)).write(review.file.path)
    assert client.get("/api/review").json()["progress"]["seen"] == 0
    assert open_items(client, limit=1)[0]["row"] == 0


def test_a_name_that_cannot_be_kept_is_refused(tmp_path):
    for name in (AUDIT, " ", "x" * 81):
        with pytest.raises(UserError):
            CorrectionFile(tmp_path / "x.csv", name)


def test_digits_are_chosen_by_their_own_key_and_other_classes_by_their_place():
    assert [one.key for one in class_keys(("0", "1", "7"))] == ["0", "1", "7"]
    assert [one.key for one in class_keys(SHAPES)] == ["1", "2", "3"]
    assert [one.key for one in class_keys(tuple("abcdefghijk"))][8:] == ["9", "", ""]


def test_the_estimate_of_errors_ahead_is_about_right():
    random = np.random.default_rng(0)
    wrong = random.random(3000) < 0.05
    logits = random.normal(np.where(wrong, 1.6, -1.5), 1.3)
    scores = 1 / (1 + np.exp(-logits))
    order = np.argsort(-scores)
    probabilities = wrong_probabilities(scores[order], wrong.mean())
    assert probabilities.mean() == pytest.approx(wrong.mean(), abs=1e-6)
    expected = int(np.searchsorted(np.cumsum(probabilities), 0.9 * wrong.sum()))
    needed = int(np.searchsorted(np.cumsum(wrong[order]), 0.9 * wrong.sum()))
    assert needed / 1.5 < expected < needed * 1.5


def test_progress_learns_from_what_the_person_decided(review):
    queue = Queue(review.record)
    contents = [label.content for label in review.record.labels]
    start = queue.progress({})
    assert (start.seen, start.caught) == (0, 0.0)
    assert start.errors == pytest.approx(10, abs=0.1)
    fewer = queue.progress(dict.fromkeys(contents[:20], False))
    assert fewer.errors < start.errors / 3
    found = queue.progress({content: place < 10 for place, content in enumerate(contents[:30])})
    assert found.changed == 10
    assert found.caught > 0.7
    assert found.ahead < 20


def test_a_record_is_read_back_and_a_damaged_one_is_none(tmp_path, review):
    file = tmp_path / record.FILE
    review.record.save(file)
    assert AuditRecord.read(file).to_dict() == review.record.to_dict()
    assert record.of_run(tmp_path).to_dict() == review.record.to_dict()
    values = json.loads(file.read_text())
    values["audit"]["labels"][0][5] = 0.1
    file.write_text(json.dumps(values))
    with pytest.raises(UserError, match="is not a valid audit"):
        AuditRecord.read(file)
    assert record.of_run(tmp_path) is None
    record.remember(review.record)
    assert record.recall(review.record.store).to_dict() == review.record.to_dict()
    assert record.recall("0" * 64) is None


def test_an_audit_whose_prepared_images_are_gone_asks_for_another(review):
    gone = replace(review.record, store="0" * 64)
    with pytest.raises(UserError, match="no longer in the cache"):
        Review.open(gone, None, review.file.path, "ann")
