"""The review page: one file, no network, safe with any name, and every mask where it is."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers import ODD_NAMES, iou
from PIL import Image as PillowImage
from runs import annotation_of, label_of, layout_of, manifest_of, marks, write_review, write_run

import samcli
from samcli.drawing import class_color
from samcli.masks import Mask
from samcli.review.apply import as_labelled, doubt, instance_hash
from samcli.review.page import _ALPHABET, encode_contours, write_review_page
from samcli.types import Annotation, Instance

CHROMIUM = Path("/usr/bin/chromium")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


class Page(HTMLParser):
    """Tags with their attributes, and the text of scripts and styles, as a browser would find them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._inside: str | None = None
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self._inside = None
        if tag in ("script", "style"):
            self._inside = str(dict(attributes).get("id", tag))
            self.texts.append((self._inside, ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, text: str) -> None:
        if self._inside:
            self.texts[-1] = (self._inside, self.texts[-1][1] + text)

    def json(self, name: str) -> Any:
        return json.loads(dict(self.texts)[name])


@pytest.fixture
def page(run_folder) -> Page:
    return Page(write_review_page(run_folder / "labels"))


def rows_by_key(page: Page) -> dict[str, list[Any]]:
    return {row[0]: row for row in page.json("data")["images"]}


def test_page__is_one_file_that_loads_nothing(run_folder) -> None:
    path = write_review_page(run_folder / "labels")
    page, text = Page(path), path.read_text(encoding="utf-8")
    assert [name for name, _ in page.texts] == ["style", "data", "script", "pictures"]
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    assert not [attributes for _, attributes in page.tags if {"src", "href", "action"} & attributes.keys()]
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text)
    assert "{{" not in text


def test_policy__allows_this_style_and_script_and_no_network(page) -> None:
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    texts = dict(page.texts)
    for name in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(texts[name].encode()).digest()).decode()
        assert rules[f"{name}-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert rules["img-src"].split() == ["'self'", "file:", "data:"]


def test_names_of_any_kind__are_data_and_nothing_else(run_folder, page) -> None:
    assert set(ODD_NAMES) < set(rows_by_key(page))
    raw = (run_folder / "labels" / ".samcli" / "review.html").read_bytes()
    assert raw.count(b"</script") == raw.count(b"<script") == 3
    assert b"<!--" not in raw
    assert b"\\udce9" in raw  # the byte that is no UTF-8, as JSON escapes it


def test_rows__hold_each_instance_with_its_figures(run_folder, page) -> None:
    for key in (*ODD_NAMES, "stones.tif", "nothing.jpg"):
        annotation = annotation_of(run_folder, key)
        _, width, height, rows = rows_by_key(page)[key]
        assert (height, width) == annotation.image_size
        assert len(rows) == len(annotation.instances)
        for row, instance in zip(rows, annotation.instances, strict=True):
            quality = instance.quality
            figures = [
                doubt(quality), quality.detector_score, quality.predicted_iou, quality.stability, quality.box_iou,
                quality.polygon_iou,
            ]  # fmt: skip
            assert row[:3] == [instance.class_id, 0, instance_hash(instance)]
            assert row[5:] == [round(1000 * figure) for figure in figures]
    assert [name for name, _ in page.json("data")["figures"]] == [
        "doubt", "detector_score", "predicted_iou", "stability", "box_iou", "polygon_iou",
    ]  # fmt: skip


def test_contours__are_those_of_what_labels_hold(tmp_path: Path) -> None:
    pixels = np.zeros((60, 80), bool)
    pixels[10:40, 10:40] = True
    clean = Mask.from_pixels(pixels)
    pixels[50:52, 60:62] = True
    found = Instance(Mask.from_pixels(pixels), 0)
    labels = write_run(tmp_path, [Annotation("a.png", (60, 80), (found,))], "yolo", min_part_area="1%,16")
    (row,) = rows_by_key(Page(write_review_page(labels)))["a.png"][3]
    assert row[2:4] == [instance_hash(found), encode_contours(clean)]


def test_colours__are_those_of_the_previews(page) -> None:
    data = page.json("data")
    used = {str(row[0]) for image in data["images"] if len(image) > 2 for row in image[3]}
    assert data["colors"] == {key: " ".join(map(str, class_color(int(key)))) for key in data["colors"]}
    assert set(data["colors"]) == used


def test_failed_images__say_why(run_folder, page) -> None:
    key, reason = rows_by_key(page)["broken.jpg"]
    assert key == "broken.jpg"
    assert "not a valid image file" in reason


def test_image_without_a_readable_record__says_so(run_folder) -> None:
    Path(layout_of(run_folder).record(ODD_NAMES[0])).write_bytes(b"torn")
    assert "record cannot be read" in rows_by_key(Page(write_review_page(run_folder / "labels")))[ODD_NAMES[0]][1]


def test_rejected_instances__are_shown_as_such_in_their_places(run_folder, samcli_run, page) -> None:
    key = ODD_NAMES[0]
    samcli_run(
        "apply-review", run_folder / "labels", write_review(run_folder, marks(run_folder, {1: "no_object"}, key))
    )
    after = Page(write_review_page(run_folder / "labels"))
    rows = rows_by_key(after)[key][3]
    assert [row[1] for row in rows] == [2 * (i == 1) for i in range(len(rows))]
    assert [row[2:] for row in rows] == [row[2:] for row in rows_by_key(page)[key][3]]


def test_identity__stays_through_reviews_and_moves_and_is_a_runs_own(run_folder, samcli_run, page) -> None:
    samcli_run("apply-review", run_folder / "labels", write_review(run_folder, marks(run_folder, {1: "no_object"})))
    moved = run_folder.rename(run_folder.with_name("moved"))
    assert Page(write_review_page(moved / "labels")).json("data")["run"] == page.json("data")["run"]
    journal = layout_of(moved).journal
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[1:]))
    assert Page(write_review_page(moved / "labels")).json("data")["run"] != page.json("data")["run"]


def test_images__are_found_from_wherever_the_page_lies(run_folder, tmp_path) -> None:
    for target in (None, tmp_path / "elsewhere" / "page.html", run_folder / "images" / "page.html"):
        path = write_review_page(run_folder / "labels", target)
        at = Page(path).json("data")["images_at"]
        assert (path.parent / at / "stones.tif").is_file()


def test_pictures__are_in_the_page_only_where_browsers_show_none(run_folder, page) -> None:
    keys = [row[0] for row in page.json("data")["images"]]
    pictures = page.json("pictures")
    assert [keys[int(position)] for position in pictures] == ["stones.tif"]
    with PillowImage.open(io.BytesIO(base64.b64decode(next(iter(pictures.values()))))) as jpeg:
        width, height = rows_by_key(page)["stones.tif"][1:3]
        assert jpeg.format == "JPEG"
        assert jpeg.width / jpeg.height == pytest.approx(width / height, abs=0.01)


def test_embedded_pictures__are_of_all_images_that_can_be_read(run_folder) -> None:
    page = Page(write_review_page(run_folder / "labels", embed=True))
    keys = [row[0] for row in page.json("data")["images"]]
    assert {keys[int(position)] for position in page.json("pictures")} == set(keys) - {"broken.jpg"}


def test_count__spreads_evenly(run_folder) -> None:
    page = Page(write_review_page(run_folder / "labels", count=3))
    everything = sorted([*ODD_NAMES, "stones.tif", "nothing.jpg", "broken.jpg"])
    assert [row[0] for row in page.json("data")["images"]] == everything[::2]


def test_assets__cannot_end_their_own_tag() -> None:
    folder = Path(samcli.__file__).parent / "assets" / "review"
    for name in ("script.js", "style.css"):
        assert not re.search(r"</(script|style)|<!--", (folder / name).read_text(encoding="utf-8"), re.IGNORECASE)


# Contours.


def decode_contours(text: str) -> list[np.ndarray]:
    """As the page's script does it: rings of (K, 2) points."""
    numbers, value, shift = [], 0, 0
    for character in text:
        digit = _ALPHABET.index(character)
        value, shift = value | (digit & 31) << shift, shift + 5
        if digit < 32:
            numbers.append(value >> 1 ^ -(value & 1))
            value = shift = 0
    rings, last = [], np.zeros(2, int)
    while numbers:
        count = numbers.pop(0)
        steps = np.array([numbers.pop(0) for _ in range(2 * count)]).reshape(-1, 2)
        rings.append(last + np.cumsum(steps, axis=0))
        last = rings[-1][-1]
    return rings


def fill(text: str, height: int, width: int) -> np.ndarray:
    """Pixels whose centres lie inside, by the even-odd rule; drawn ten times as large to see less than a pixel."""
    canvas = np.zeros((height * 10, width * 10), np.uint8)
    cv2.fillPoly(canvas, [ring.astype(np.int32) * 10 for ring in decode_contours(text)], 1)
    return canvas[5::10, 5::10].astype(bool)


def disc_with_hole_and_parts() -> np.ndarray:
    y, x = np.mgrid[:90, :120]
    distance = np.hypot(x - 50, y - 45)
    pixels = (distance < 40) & (distance > 15)
    pixels[70:80, 100:115] = True
    pixels[5, 110] = True
    return pixels


@pytest.mark.parametrize(
    "pixels",
    [disc_with_hole_and_parts(), np.ones((20, 30), bool), np.tri(50, 60, dtype=bool)],
    ids=["ring and parts", "all", "triangle"],
)
def test_contours__enclose_the_mask(pixels) -> None:
    filled = fill(encode_contours(Mask.from_pixels(pixels)), *pixels.shape)
    assert iou(filled, pixels) > 0.95


def test_contours__of_rectangles_are_exact_but_for_the_corners_of_holes() -> None:
    pixels = np.zeros((30, 40), bool)
    pixels[3:20, 5:33] = True
    pixels[8:12, 10:20] = False
    rings = decode_contours(encode_contours(Mask.from_pixels(pixels)))
    corners = {tuple(sorted(map(tuple, ring.tolist()))) for ring in rings}
    assert ((5, 3), (5, 20), (33, 3), (33, 20)) in corners
    wrong = fill(encode_contours(Mask.from_pixels(pixels)), 30, 40) != pixels
    assert set(zip(*map(list, np.nonzero(wrong)), strict=True)) <= {(8, 10), (8, 19), (11, 10), (11, 19)}


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1)])
def test_contours__of_the_thinnest_masks_enclose_them(height, width) -> None:
    pixels = np.zeros((20, 30), bool)
    pixels[4 : 4 + height, 7 : 7 + width] = True
    assert (fill(encode_contours(Mask.from_pixels(pixels)), 20, 30) == pixels).all()


def test_contours__of_a_thin_line_in_a_large_image_are_a_line_and_not_its_box() -> None:
    line = np.zeros((1000, 1000), np.uint8)
    cv2.line(line, (100, 100), (900, 900), 1, 3)
    (ring,) = decode_contours(encode_contours(Mask.from_pixels(line.astype(bool)), 0.1))
    assert np.abs(ring[:, 0] - ring[:, 1]).max() <= 1
    assert (ring.min(), ring.max()) == (10, 90)


def test_contours__of_an_empty_mask_are_empty() -> None:
    assert encode_contours(Mask.from_pixels(np.zeros((9, 9), bool))) == ""


def test_contours__of_large_images_are_scaled() -> None:
    pixels = disc_with_hole_and_parts()
    rings = decode_contours(encode_contours(Mask.from_pixels(np.kron(pixels, np.ones((10, 10), bool))), 0.1))
    canvas = np.zeros((900, 1200), np.uint8)
    cv2.fillPoly(canvas, [ring.astype(np.int32) * 10 for ring in rings], 1)
    assert iou(canvas[5::10, 5::10].astype(bool), pixels) > 0.95


# The command.


def test_command__prints_where_the_page_is(run_folder, samcli_run) -> None:
    result = samcli_run("preview", run_folder / "labels", "--html")
    assert result.exit_code == 0
    assert Path(result.stdout.strip()) == run_folder / "labels" / ".samcli" / "review.html"
    assert Path(result.stdout.strip()).is_file()


def test_command__without_a_run_or_with_embed_alone_is_an_error(tmp_path, run_folder, samcli_run) -> None:
    assert "no run in" in samcli_run("preview", tmp_path, "--html").stderr
    result = samcli_run("preview", run_folder / "labels", "--embed")
    assert result.exit_code == 2
    assert "--html" in result.stderr


# In a browser.


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, driven by playwright; skipped where one of them is missing."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.is_file():
        pytest.skip(f"no browser at {CHROMIUM}")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=str(CHROMIUM), headless=True, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser):
    """A tab with storage of its own; errors of the page, and any request but for files, fail the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 800}, accept_downloads=True)
    tab, wrong = context.new_page(), []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
    tab.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
    yield tab
    context.close()
    assert wrong == []


def until(tab, expression: str) -> None:
    """Wait for something to be true (playwright's own way is forbidden by the page's policy)."""
    for _ in range(200):
        if tab.evaluate(expression):
            return
        tab.wait_for_timeout(50)
    pytest.fail(f"never true: {expression}")


def open_by_name(tab: Any, address: str) -> None:
    """Open a page and sort its images by name: at first they are by doubt."""
    tab.goto(address)
    tab.select_option("#sort", "name")


def shown_names(tab) -> list[str]:
    return tab.locator(".tile .file").all_text_contents()


def colored_pixels(tab, selector: str) -> int:
    """How many pixels of a canvas are painted."""
    return tab.evaluate(
        """selector => { const c = document.querySelector(selector);
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; }""",
        selector,
    )


def downloaded(tab, path: Path) -> dict[str, Any]:
    with tab.expect_download() as download:
        tab.click("#download")
    download.value.save_as(path)
    return json.loads(path.read_bytes())


@pytest.mark.slow
def test_browser__shows_every_image_with_its_masks(tab, run_folder) -> None:
    open_by_name(tab, write_review_page(run_folder / "labels").as_uri())
    assert len(shown_names(tab)) == 6
    assert "6 images" in tab.text_content("#counts")
    until(tab, "[...document.querySelectorAll('.tile:not(.failed) img')].every(i => i.naturalWidth > 0)")
    assert colored_pixels(tab, ".tile:not(.failed) canvas") > 100
    assert "not a valid image file" in tab.locator(".tile.failed .why").text_content()


@pytest.mark.slow
def test_browser__draws_masks_where_they_are(tab, run_folder) -> None:
    key = ODD_NAMES[1]
    open_by_name(tab, write_review_page(run_folder / "labels").as_uri())
    position = [row[0] for row in Page(run_folder / "labels/.samcli/review.html").json("data")["images"]].index(key)
    tab.locator(".tile").nth(position).click()
    tab.keyboard.press("o")
    tab.keyboard.press("o")  # without the names of classes
    painted, columns, rows, left, top, shown_width = tab.evaluate(
        """() => { const c = document.getElementById('masks'), p = document.getElementById('photo');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, rows = [];
        for (let i = 3; i < d.length; i += 4) rows.push(d[i] > 0 ? 1 : 0);
        const { left, top, width } = p.style;
        return [rows.join(''), c.width, c.height, ...[left, top, width].map(parseFloat)]; }"""
    )
    drawn = np.frombuffer(painted.encode(), np.uint8).reshape(rows, columns) == ord("1")
    annotation = annotation_of(run_folder, key)
    height, width = annotation.image_size
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    scale = shown_width / width
    there = drawn[(top + y * scale).astype(int), (left + x * scale).astype(int)]
    union = np.any([instance.mask.pixels() for instance in annotation.instances], axis=0)
    assert there[union].mean() > 0.99
    outlined = cv2.dilate(union.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0  # half of an outline and its edge
    assert iou(there, outlined) > 0.9  # the box of the selected one is drawn too


@pytest.mark.slow
def test_browser__filters_and_sorts(tab, run_folder) -> None:
    open_by_name(tab, write_review_page(run_folder / "labels").as_uri())
    assert shown_names(tab) == sorted(shown_names(tab), key=lambda name: name.encode("utf-8", "surrogatepass"))
    tab.select_option("#show", "failed")
    assert shown_names(tab) == ["broken.jpg"]
    tab.select_option("#show", "empty")
    assert shown_names(tab) == ["nothing.jpg"]
    tab.select_option("#show", "objects")
    assert len(shown_names(tab)) == 4
    tab.fill("#search", "STONES")
    assert shown_names(tab) == ["stones.tif"]
    tab.click("#reset")
    tab.select_option("#sort", "doubt")
    doubts = {
        key: max((doubt(i.quality) or 0 for i in annotation_of(run_folder, key).instances), default=-1)
        for key in (*ODD_NAMES, "stones.tif", "nothing.jpg")
    }
    most = max(doubts, key=lambda key: doubts[key])
    assert tab.locator(".tile .facts").first.text_content().endswith(f"{doubts[most]:.2f}")
    tab.locator("#classes button").first.click()
    name = tab.locator("#classes button .label").first.text_content()
    holding = [
        key
        for key in doubts
        if name in {manifest_of(run_folder).names[i.class_id] for i in annotation_of(run_folder, key).instances}
    ]
    assert len(shown_names(tab)) == len(holding)
    tab.click("#reset")
    high = max(
        doubt(i.quality) or 0
        for key in doubts
        if doubts[key] >= 0
        for i in annotation_of(run_folder, key).instances
    )
    tab.locator("input[aria-label='Doubt, least']").fill(str(int(high * 100)))
    until(tab, "document.querySelectorAll('.tile').length < 4")
    assert len(shown_names(tab)) >= 1


@pytest.mark.slow
def test_browser__marks_by_keyboard_and_what_it_exports_is_applied(tab, run_folder, samcli_run) -> None:
    page = write_review_page(run_folder / "labels")
    keys = [row[0] for row in Page(page).json("data")["images"]]
    open_by_name(tab, page.as_uri())
    tab.keyboard.press("?")
    assert tab.locator("#help").is_visible()
    tab.keyboard.press("Escape")
    for _ in range(keys.index(ODD_NAMES[0])):
        tab.keyboard.press("j")
    tab.keyboard.press("Enter")
    assert tab.locator("#viewer").is_visible()
    assert tab.text_content("#viewer-name") == "caf\\xe9 100%.jpg"
    until(tab, "document.getElementById('photo').naturalWidth > 0")
    tab.keyboard.press("a")  # goes on to the next object by itself
    tab.keyboard.press("n")
    tab.keyboard.press("b")
    tab.keyboard.press("u")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Escape")
    assert "2 marked, 1 rejected" in tab.text_content("#marked")

    tab.reload()
    tab.select_option("#sort", "name")
    assert "2 marked, 1 rejected" in tab.text_content("#marked")
    review = downloaded(tab, run_folder / "review.json")
    labelled = as_labelled(annotation_of(run_folder))
    assert review["fingerprint"] == manifest_of(run_folder).fingerprint
    assert review["marks"] == [
        {"key": ODD_NAMES[0], "index": 0, "hash": instance_hash(labelled[0][0]), "mark": "accept"},
        {"key": ODD_NAMES[0], "index": 1, "hash": instance_hash(labelled[1][0]), "mark": "no_object"},
    ]
    assert review["images"] == []
    rows = label_of(run_folder).read_text().splitlines()
    result = samcli_run("apply-review", run_folder / "labels", run_folder / "review.json", "--json")
    said = json.loads(result.stdout)
    assert [said[name] for name in ("images", "rejected", "restored", "accepted", "incomplete")] == [1, 1, 0, 1, 0]
    assert label_of(run_folder).read_text().splitlines() == rows[:1] + rows[2:]


@pytest.mark.slow
def test_browser__marks_bad_masks_and_whole_images(tab, run_folder, samcli_run) -> None:
    page = write_review_page(run_folder / "labels")
    keys = [row[0] for row in Page(page).json("data")["images"]]
    open_by_name(tab, page.as_uri())
    at = {key: tab.locator(".tile").nth(keys.index(key)) for key in ("stones.tif", "nothing.jpg", ODD_NAMES[0])}
    at["stones.tif"].click()
    tab.keyboard.press("b")
    assert "Incomplete" in tab.text_content("#image-note")
    tab.keyboard.press("Escape")
    assert at["stones.tif"].locator(".badge.incomplete").is_visible()
    assert "1 rejected, 1 image incomplete" in tab.text_content("#marked")
    at["nothing.jpg"].focus()
    tab.keyboard.press("x")
    assert "1 image incomplete, 1 image excluded" in tab.text_content("#marked")
    at[ODD_NAMES[0]].focus()
    tab.keyboard.press("b")  # all objects of the image
    tab.keyboard.press("c")
    assert at[ODD_NAMES[0]].locator(".badge.complete").is_visible()
    tab.select_option("#show", "incomplete")
    assert shown_names(tab) == ["stones.tif"]
    tab.select_option("#show", "excluded")
    assert shown_names(tab) == ["nothing.jpg"]
    tab.reload()
    tab.select_option("#sort", "name")
    review = downloaded(tab, run_folder / "review.json")
    assert {mark["mark"] for mark in review["marks"]} == {"bad_mask"}
    assert {row["key"]: row["mark"] for row in review["images"]} == {
        "nothing.jpg": "exclude", ODD_NAMES[0]: "complete",
    }  # fmt: skip
    result = samcli_run("apply-review", run_folder / "labels", run_folder / "review.json", "--json")
    said = json.loads(result.stdout)
    assert (said["incomplete"], said["excluded"]) == (1, 1)
    assert label_of(run_folder).read_bytes() == b""

    open_by_name(tab, write_review_page(run_folder / "labels").as_uri())  # marks and records say the same
    tab.select_option("#show", "complete")
    tab.locator(".tile").first.click()
    tab.click("#complete")
    assert tab.get_attribute("#complete", "aria-pressed") == "false"
    tab.click("#close")
    downloaded(tab, run_folder / "review.json")
    result = samcli_run("apply-review", run_folder / "labels", run_folder / "review.json", "--json")
    assert json.loads(result.stdout)["incomplete"] == 1
    assert not label_of(run_folder).exists()


@pytest.mark.slow
def test_browser__restores_what_an_earlier_review_rejected(tab, run_folder, samcli_run) -> None:
    before = label_of(run_folder).read_bytes()
    samcli_run("apply-review", run_folder / "labels", write_review(run_folder, marks(run_folder, {0: "no_object"})))
    open_by_name(tab, write_review_page(run_folder / "labels").as_uri())
    tab.select_option("#show", "rejected")
    tab.locator(".tile").first.click()
    tab.keyboard.press("a")
    tab.click("#close")
    downloaded(tab, run_folder / "review.json")
    result = samcli_run("apply-review", run_folder / "labels", run_folder / "review.json", "--json")
    assert json.loads(result.stdout)["restored"] == 1
    assert label_of(run_folder).read_bytes() == before


@pytest.mark.slow
def test_browser__hover_lights_the_object_in_list_and_picture(tab, run_folder) -> None:
    open_by_name(tab, write_review_page(run_folder / "labels").as_uri())
    tab.locator(".tile:not(.failed)").last.click()
    before = tab.locator("#masks").screenshot()
    tab.locator("#instances .instance").nth(2).hover()
    assert tab.locator("#instances .instance").nth(2).get_attribute("class") == "instance lit"
    assert tab.locator("#masks").screenshot() != before


@pytest.mark.slow
def test_browser__shows_embedded_pictures_without_the_images(tab, run_folder, tmp_path) -> None:
    page = write_review_page(run_folder / "labels", tmp_path / "mail" / "page.html", embed=True)
    (run_folder / "images").rename(run_folder / "hidden")
    open_by_name(tab, page.as_uri())
    until(tab, "[...document.querySelectorAll('.tile:not(.failed) img')].every(i => i.naturalWidth > 0)")
    tab.locator(".tile:not(.failed)").first.click()
    until(tab, "document.getElementById('photo').naturalWidth > 0")


@pytest.mark.slow
def test_browser__of_thousands_of_images_holds_only_those_in_sight(tab, tmp_path) -> None:
    from samcli.output.journal import Journal
    from samcli.output.layout import Layout
    from samcli.output.manifest import Manifest, Recipe, write_manifest
    from samcli.output.records import write_record
    from samcli.types import Annotation, ImageRef, Instance, Outcome, Quality, Status

    layout = Layout(tmp_path / "images", tmp_path / "labels")
    manifest = Manifest(Recipe({"format": ["yolo"]}), "f" * 64, "../images", names={0: "disc"}, total=3000)
    write_manifest(layout.manifest, manifest)
    instance = Instance(Mask.from_pixels(disc_with_hole_and_parts()), 0, Quality(0.9, 0.9, 0.9, 0.9))
    Path(layout.record("0")).parent.mkdir(parents=True)
    with Journal(layout.journal, manifest.run) as journal:
        for number in range(3000):
            key = f"{number:04d}.jpg"
            annotation = Annotation(key, (90, 120), (instance,))
            Path(layout.record(key)).write_bytes(write_record(annotation, manifest.names))
            journal.append(Outcome(ImageRef(layout.input_root, key, 1, 1), Status.DONE, {0: 1}))
    page = write_review_page(layout.output)
    assert page.stat().st_size < 3000 * 400 + 60_000
    open_by_name(tab, page.as_uri())
    tab.keyboard.press("End")
    until(tab, "document.activeElement.textContent.includes('2999.jpg')")
    assert tab.locator(".tile").count() < 100
