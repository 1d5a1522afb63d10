"""The served page: who may ask, what is written, and what two windows do to each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finding import FOUND, Finder, make_images, mask_of, run
from runs import files, journal

pytest.importorskip("starlette")
from starlette.testclient import TestClient

from samcli.errors import ImageError
from samcli.masks import mask_iou
from samcli.output.locks import locked
from samcli.output.records import read_record
from samcli.review import apply
from samcli.review.server import Access, build_app, is_loopback
from samcli.review.session import Session
from samcli.types import Annotation, ImageMark, Origin, Segment

HOST = "127.0.0.1:5000"


class Answers:
    """Answers every click with two squares around it, the second of which is larger."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.prepared: list[str] = []

    def prepare(self, refs) -> None:
        self.prepared += [ref.key for ref in refs]

    def segments(self, ref, asked, present) -> list[Segment]:
        self.asked.append((asked, present))
        x, y, _ = asked.points[-1]
        if x < 0:
            raise ImageError("it cannot be read")
        squares = [mask_of(max(0, int(x) - r), max(0, int(y) - r), int(x) + r, int(y) + r) for r in (4, 8)]
        logits = np.zeros((4, 4), np.float32)
        return [Segment(0, i, mask, 0.9 - i / 10, 0.8, logits + i) for i, mask in enumerate(squares)]


class Window:
    """A browser's window: it knows the versions that it has seen."""

    def __init__(self, client: TestClient, token: str) -> None:
        self.client, self.token = client, token
        self.versions: dict[int, str] = {}

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(f"/{self.token}/{path}", headers={"host": HOST, **headers})

    def post(self, path: str, body: Any, **headers: str) -> Any:
        own = {"host": HOST, "origin": f"http://{HOST}", **headers}
        return self.client.post(f"/{self.token}/{path}", json=body, headers=own)

    def look(self, number: int) -> None:
        self.versions[number] = self.get(f"state/{number}").json()["version"]

    def edit(self, number: int, **change: Any) -> Any:
        if number not in self.versions:
            self.look(number)
        found = self.post(f"edit/{number}", {"version": self.versions[number], **change})
        if "version" in found.json():
            self.versions[number] = found.json()["version"]
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = make_images(tmp_path / "data")
    run(folder, format=("yolo", "coco"))
    return folder


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def session(folder, answers) -> Session:
    return Session(folder / "labels", answers)


@pytest.fixture
def window(session) -> Window:
    access = Access.make("127.0.0.1", 5000)
    return Window(TestClient(build_app(session, access), base_url=f"http://{HOST}"), access.token)


def record(folder: Path, key: str = "a.png") -> Annotation:
    return read_record((folder / "labels/.samcli/records" / f"{key}.json").read_bytes())


def test_page__comes_with_a_policy_that_lets_nothing_else_in(window) -> None:
    page = window.get("")
    assert page.status_code == 200 and "samcliEditor" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert page.headers["referrer-policy"] == "no-referrer" and page.headers["cache-control"] == "no-store"
    assert window.get("image/0").headers["content-type"] == "image/png"
    assert [row[0] for row in window.get("rows/1").json()] == ["b.png", "c.png", "d.png"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example:5000"}, 421),
        ({"host": "127.0.0.1"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": f"https://{HOST}"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_requests__of_other_pages_and_to_other_names_are_refused(window, folder, headers, status) -> None:
    before = files(folder)
    assert window.get("", **headers).status_code == status
    assert window.post("edit/0", {"version": "", "do": "next"}, **headers).status_code == status
    assert files(folder) == before


def test_requests__without_the_token_or_without_an_origin_are_refused(window, folder) -> None:
    before, client = files(folder), window.client
    for path in (
        "/",
        "/x/",
        f"/{window.token[:-1]}/",
        f"/{window.token.lower()}x/image/0",
        "//image/0",
        "/image/0",
    ):
        assert client.get(path, headers={"host": HOST}).status_code == 403, path
    assert client.post(f"/{window.token}/undo", headers={"host": HOST}).status_code == 403
    assert files(folder) == before


@pytest.mark.parametrize(
    "path",
    ["image/../../../etc/passwd", "image/..%2f..%2fetc%2fpasswd", "image/a.png", "image/-1", "image/99", "state/4",
     "rows/../state", "edit/0", "../image/0"],
)  # fmt: skip
def test_paths__of_anything_but_the_runs_images_are_not_there(window, path) -> None:
    found = window.client.request("GET", f"/{window.token}/{path}", headers={"host": HOST})
    assert found.status_code in (403, 404, 405)
    assert "root:" not in found.text


def test_image__that_is_a_link_to_no_image_is_not_served(window, folder, tmp_path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (folder / "images" / "a.png").unlink()
    (folder / "images" / "a.png").symlink_to(secret)
    found = window.get("image/0")
    assert found.status_code == 404 and "secret" not in found.text.replace(str(tmp_path), "")


def test_click__is_on_disk_before_it_is_answered(window, folder, answers) -> None:
    found = window.edit(0, do="click", index=0, class_id=0, point=[12, 12])
    assert found.status_code == 200
    one = record(folder).instances[0]
    assert one.mask == mask_of(8, 8, 16, 16) and one.source is Origin.HUMAN and one.prompt_points == ((12, 12, 1),)
    assert one.before is not None and one.before.mask == mask_of(2, 2, 20, 20)
    assert answers.asked[0][1] == mask_of(2, 2, 20, 20)
    rows = (folder / "labels" / "a.txt").read_text().splitlines()
    assert len(rows) == 4 and rows[0].split()[0] == "0"
    assert journal(folder / "labels")[-1]["key"] == "a.png"
    assert found.json()["row"][3][0][0] == 0


def test_click__makes_the_polygons_of_no_other_object_again(window, session, monkeypatch) -> None:
    made = []
    outline = apply.mask_to_polygons
    monkeypatch.setattr(
        apply, "mask_to_polygons", lambda mask, options: made.append(mask) or outline(mask, options)
    )
    monkeypatch.setattr(session, "_publisher", apply.Publisher(session.run))
    window.edit(0, do="click", index=0, class_id=0, point=[12, 12])
    assert len(made) == 4
    window.edit(0, do="click", index=0, class_id=0, point=[30, 30])
    assert made[4:] == [mask_of(26, 26, 34, 34)]


def test_next_answer__replaces_the_last_and_further_clicks_are_on_top_of_it(window, folder, answers) -> None:
    window.edit(0, do="click", index=1, class_id=0, point=[40, 20])
    window.edit(0, do="next")
    assert record(folder).instances[1].mask == mask_of(32, 12, 48, 28)
    window.edit(0, do="click", index=1, class_id=0, point=[50, 20], positive=False)
    asked, present = answers.asked[-1]
    assert asked.points == ((40, 20, 1), (50, 20, 0)) and present is None and asked.logits[0, 0] == 1
    assert window.edit(1, do="next").status_code == 422


def test_new_objects__get_a_class_of_the_runs_and_no_other(window, folder) -> None:
    assert window.edit(3, do="click", index=None, class_id=2, point=[30, 30]).status_code == 200
    assert window.edit(3, do="paint", index=None, class_id=1, stroke=[[5, 5], [9, 9]], radius=3).status_code == 200
    assert [(one.class_id, one.source) for one in record(folder, "d.png").instances] == [
        (2, Origin.HUMAN), (1, Origin.HUMAN),
    ]  # fmt: skip
    before = files(folder)
    for class_id in (3, -1, "0", True, None, "<script>", 1.5, 10**30):
        assert window.edit(3, do="class", index=0, class_id=class_id).status_code in (400, 422)
        assert window.edit(3, do="click", index=None, class_id=class_id, point=[9, 9]).status_code in (400, 422)
    assert files(folder) == before


@pytest.mark.parametrize(
    "change",
    [
        {}, {"do": "delete"}, {"do": "click", "index": 0, "class_id": 0}, {"do": "click", "point": ["a", 1]},
        {"do": "click", "index": 0, "class_id": 0, "point": [1e300, 1]},
        {"do": "paint", "index": 0, "class_id": 0, "stroke": [], "radius": 3},
        {"do": "paint", "index": 0, "class_id": 0, "stroke": [[1, 1]], "radius": 0},
        {"do": "paint", "index": 99, "class_id": 0, "stroke": [[1, 1]], "radius": 2},
        {"do": "verdict", "indices": [0], "verdict": "maybe"}, {"do": "verdict", "indices": 0, "verdict": None},
        {"do": "split", "index": 0}, {"do": "join", "index": 0, "other": 0}, {"do": "mark", "mark": "yes"},
        {"do": "click", "index": 0, "class_id": 0, "point": [-5, 1]},
    ],
)  # fmt: skip
def test_changes__that_are_none_change_nothing(window, folder, change) -> None:
    before = files(folder)
    found = window.edit(0, **change)
    assert found.status_code in (400, 422, 503) and found.json()["error"]
    assert "Traceback" not in found.text and "object at 0x" not in found.text
    assert files(folder) == before


def test_bodies__that_are_no_json_or_too_long_are_refused(window) -> None:
    headers = {"host": HOST, "origin": f"http://{HOST}"}
    for data in (b"", b"[1]", b"{", b'{"version": "' + b"x" * (1 << 20) + b'"}'):
        found = window.client.post(f"/{window.token}/edit/0", content=data, headers=headers)
        assert found.status_code == 400


def test_second_window__is_refused_and_shown_what_is_there(window, session, folder) -> None:
    other = Window(window.client, window.token)
    other.look(0)
    window.edit(0, do="class", index=0, class_id=2)
    found = other.edit(0, do="class", index=0, class_id=1)
    assert found.status_code == 409 and "changed elsewhere" in found.json()["error"]
    assert found.json()["row"][3][0][0] == 2 and record(folder).instances[0].class_id == 2
    assert other.edit(0, do="class", index=0, class_id=1).status_code == 200


def test_run_at_work__makes_changes_wait(window, session, folder) -> None:
    window.look(0)
    before = files(folder)
    with locked(session.run.layout):
        found = window.edit(0, do="class", index=0, class_id=2)
    assert found.status_code == 503 and "at work" in found.json()["error"]
    assert {n: d for n, d in files(folder).items() if "running" not in n} == before
    assert window.edit(0, do="class", index=0, class_id=2).status_code == 200


def test_undo_and_redo__go_over_every_change_of_all_images(window, folder) -> None:
    states = [files(folder / "labels")]
    changes: list[tuple[int, dict[str, Any]]] = [
        (0, {"do": "class", "index": 0, "class_id": 2}),
        (1, {"do": "verdict", "indices": [0, 1], "verdict": "bad_mask"}),
        (0, {"do": "click", "index": None, "class_id": 1, "point": [60, 50]}),
        (0, {"do": "join", "index": 4, "other": 1}),
        (0, {"do": "split", "index": 4}),
        (1, {"do": "mark", "mark": "exclude"}),
        (0, {"do": "paint", "index": 0, "class_id": 0, "stroke": [[12, 12]], "radius": 3, "erase": True}),
    ]
    for number, change in changes:
        assert window.edit(number, **change).status_code == 200
        states.append(files(folder / "labels"))
    for state in reversed(states[:-1]):
        assert window.post("undo", {}).status_code == 200
        assert files(folder / "labels") == {**state, ".samcli/unfolded": b""}
    assert window.post("undo", {}).status_code == 422
    for state in states[1:]:
        assert window.post("redo", {}).status_code == 200
        assert files(folder / "labels") == state
    assert window.post("redo", {}).status_code == 422


def test_finish__writes_the_files_of_all_images(window, session, folder) -> None:
    before = (folder / "labels" / "annotations.json").read_bytes()
    window.edit(0, do="class", index=0, class_id=2)
    assert (folder / "labels" / "annotations.json").read_bytes() == before and session.run.is_unfinished
    session.finish()
    found = json.loads((folder / "labels" / "annotations.json").read_bytes())
    assert found["annotations"][0]["category_id"] == 3 and not session.run.is_unfinished
    again = run(folder, format=("yolo", "coco"))
    assert again.done == 0 and again.skipped == len(FOUND)


def test_marks__keep_the_image_from_trainers_at_once(window, folder) -> None:
    window.edit(0, do="mark", mark="exclude")
    assert record(folder).mark is ImageMark.EXCLUDE and not (folder / "labels" / "a.txt").exists()
    window.edit(0, do="mark", mark=None)
    assert (folder / "labels" / "a.txt").exists()


def test_painting__goes_on_from_the_mask_that_is_there(window, folder) -> None:
    window.edit(0, do="paint", index=0, class_id=0, stroke=[[20, 11], [28, 11]], radius=9)
    mask = record(folder).instances[0].mask
    assert mask_iou(mask, mask_of(2, 2, 37, 20)) > 0.85
    window.edit(0, do="paint", index=0, class_id=0, stroke=[[0, 11], [40, 11]], radius=40, erase=True)
    assert record(folder).instances[0].mask == mask, "an object without pixels is refused"


def test_opening__prepares_the_image_and_the_next_ones(window, answers) -> None:
    window.post("open/1", {})
    assert answers.prepared == ["b.png", "c.png", "d.png"]


def test_labels_from_before__lose_only_the_row_that_a_person_changes(tmp_path, answers) -> None:
    folder = make_images(tmp_path / "data")
    labels = folder / "labels"
    labels.mkdir()
    rows = ["0  0.1 0.1 0.2 0.1 0.2 0.2", "1 0.5 0.5 0.6 0.5 0.6 0.7", "0 0.3 0.8 0.4 0.8 0.4 0.9"]
    (labels / "d.txt").write_text("\r\n".join(rows))
    run(folder, existing="add")
    access = Access.make("127.0.0.1", 5000)
    app = build_app(Session(labels, answers), access)
    window = Window(TestClient(app, base_url=f"http://{HOST}"), access.token)
    window.edit(3, do="verdict", indices=[1], verdict="no_object")
    assert (labels / "d.txt").read_bytes() == "\r\n".join([rows[0], rows[2]]).encode()
    window.edit(3, do="verdict", indices=[1], verdict=None)
    assert (labels / "d.txt").read_bytes() == "\r\n".join(rows).encode()
    window.edit(3, do="class", index=0, class_id=2)
    after = (labels / "d.txt").read_text().splitlines()
    assert after[:2] == rows[1:] and after[2].startswith("2 ") and len(after) == 3


def test_is_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.2", "127.0.0.1.evil.example")))


def test_overwrite__keeps_what_people_have_corrected_unless_told_otherwise(window, folder) -> None:
    window.edit(0, do="click", index=0, class_id=0, point=[12, 12])
    window.edit(0, do="class", index=2, class_id=0)
    window.edit(3, do="paint", index=None, class_id=1, stroke=[[40, 30]], radius=9)
    corrected = [one for one in record(folder).instances if one.source is Origin.HUMAN]
    summary = run(folder, format=("yolo", "coco"), overwrite=True)
    assert any("3 objects that people have corrected were kept" in note for note in summary.notes)
    after = record(folder)
    assert [one for one in after.instances if one.source is Origin.HUMAN] == corrected
    assert len(after.instances) == 4 and len(after.dropped) == 2
    assert len((folder / "labels" / "a.txt").read_text().splitlines()) == 4
    run(folder, format=("yolo", "coco"), overwrite=True)
    assert record(folder) == after
    run(folder, format=("yolo", "coco"), overwrite=True, discard_human=True)
    assert all(one.source is Origin.MACHINE for one in record(folder).instances)
    assert record(folder, "d.png").instances == ()
    run(folder, format=("yolo", "coco"), overwrite=True)
    assert record(folder, "d.png").instances == ()


def test_class_names__cannot_bring_markup_or_scripts_into_the_page(tmp_path, answers, monkeypatch) -> None:
    forged = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'
    monkeypatch.setattr(Finder, "names", {0: forged, 1: "ring\x1b[31m", 2: "]]>{{data}}"})
    folder = make_images(tmp_path / "data")
    run(folder, format=("yolo", "coco"))
    access = Access.make("127.0.0.1", 5000)
    session = Session(folder / "labels", answers)
    window = Window(TestClient(build_app(session, access), base_url=f"http://{HOST}"), access.token)
    page = window.get("").text
    assert "alert(" not in page.replace("\\u003cscript\\u003ealert(1)", "").replace('onerror=\\"alert(2)', "")
    assert page.count("<script") == page.count("</script>") == 3 and "<img src=x" not in page
    assert window.edit(0, do="class", index=0, class_id=forged).status_code == 400
    assert window.edit(0, do="class", index=0, class_id=7).status_code == 422
    assert record(folder).instances[0].class_id == 0
