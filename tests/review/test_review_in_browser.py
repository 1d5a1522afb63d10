"""`samcli review` in a browser: damaged labels are repaired by clicks and keys alone."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finding import FOUND, NAMES, make_images, run
from PIL import Image, ImageOps
from runs import journal
from served import Server

from samcli.masks import Mask
from samcli.output.records import read_record
from samcli.output.run_folder import RunFolder
from samcli.review.apply import Publisher
from samcli.types import Annotation, Instance

pytest.importorskip("starlette")
pytestmark = pytest.mark.slow
SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]
SCENES = (
    "beads.jpg", "confetti.jpg", "grey.jpg", "turned.jpg", "stones.tif",
    "tiles.webp", "buttons.bmp", "poster.png", "transparent.png", "large.jpg",
)  # fmt: skip
TURNS: tuple[Callable[[Image.Image], Image.Image], ...] = (
    lambda picture: picture,
    ImageOps.mirror,
    ImageOps.flip,
    lambda picture: ImageOps.mirror(ImageOps.flip(picture)),
)
COUNT = int(os.environ.get("REVIEW_SCENES", "8"))
"""Scenes that are repaired, at most 40."""


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    made = Server(tmp_path / "data" / "labels", tmp_path / "log")
    yield made
    made.stop(signal.SIGKILL)


# Repairs


@pytest.fixture
def tab() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.is_file():
        pytest.skip(f"no browser at {CHROMIUM}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        tab, wrong = browser.new_page(viewport={"width": 1400, "height": 900}), []
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        yield tab
        browser.close()
        assert wrong == []


def settled(tab: Any) -> None:
    """Wait until the server has answered all."""
    tab.wait_for_timeout(30)
    for _ in range(1200):
        if not tab.evaluate("document.querySelector('#edit-note').classList.contains('busy')"):
            return
        tab.wait_for_timeout(50)
    pytest.fail("the server does not answer")


def drag(tab: Any, width: int, box: tuple[float, ...]) -> None:
    """Drag a box, xyxy in pixels of the image of that width."""
    photo = tab.locator("#photo").bounding_box()
    scale = photo["width"] / width
    x1, y1, x2, y2 = (value * scale + photo["xy"[index % 2]] for index, value in enumerate(box))
    tab.mouse.move(x1, y1)
    tab.mouse.down()
    tab.mouse.move((x1 + x2) / 2, (y1 + y2) / 2, steps=2)
    tab.mouse.move(x2, y2)
    tab.mouse.up()
    settled(tab)


def name_it(tab: Any, name: str) -> None:
    tab.keyboard.press("t")
    tab.keyboard.type(name)
    tab.keyboard.press("Enter")
    settled(tab)


def damage(annotation: Annotation, classes: int) -> tuple[Annotation, dict[str, Any]]:
    """Give an image a wrong class, a bad mask, a missing object and a false one; return what is to be mended."""
    instances, done = list(annotation.instances), {}
    height, width = annotation.image_size
    if len(instances) > 2:
        done["missing"] = instances.pop()
    if instances:
        done["class"] = instances[0].class_id
        instances[0] = replace(instances[0], class_id=(instances[0].class_id + 1) % classes)
    if len(instances) > 1:
        done["mask"] = instances[1]
        instances[1] = replace(instances[1], mask=Mask.from_pixels(np.roll(instances[1].mask.pixels(), 9, (0, 1))))
    false = np.zeros((height, width), bool)
    false[3:25, 3:25] = True
    done["false"] = len(instances)
    return replace(annotation, instances=(*instances, replace_mask(annotation, false))), done


def replace_mask(annotation: Annotation, pixels: np.ndarray) -> Any:
    return Instance(Mask.from_pixels(pixels), 0, prompt_box=(3, 3, 25, 25))


def box_of(instance: Any) -> tuple[float, ...]:
    return instance.prompt_box or tuple(map(float, instance.mask.box))


def test_damaged_labels__are_repaired_by_clicks_and_keys(tab, server, samcli_run, tmp_path) -> None:
    images, labels = tmp_path / "data" / "images", tmp_path / "data" / "labels"
    images.mkdir(parents=True)
    for number, (name, turn) in enumerate(itertools.islice(itertools.product(SCENES, TURNS), COUNT)):
        turn(ImageOps.exif_transpose(Image.open(SHAPES / name)).convert("RGB")).save(images / f"{number}.png")
    tiny = ["--det", "tiny", "--sam", "tiny", "--precision", "fp32", "--quiet"]
    made = samcli_run("auto-annotate", images, *tiny)
    assert made.exit_code == 0, made.output
    shutil.copytree(labels, tmp_path / "truth")
    found = RunFolder.open(labels)
    publisher, names, hurt = Publisher(found), found.manifest.names, {}
    for key, entry in found.entries().items():
        broken, hurt[key] = damage(found.record(key), len(names))
        publisher.publish_one(broken, entry)
    server.start()
    tab.goto(server.address)
    settled(tab)
    tab.select_option("#sort", "name")
    tab.keyboard.press("Enter")
    for key in sorted(hurt):
        settled(tab)
        done, width = hurt[key], found.record(key).image_size[1]
        rows = tab.locator("#instances .pick")
        if "class" in done:
            rows.nth(0).click()
            name_it(tab, names[done["class"]])
        if "mask" in done:
            rows.nth(1).click()
            tab.keyboard.press("s")
            drag(tab, width, box_of(done["mask"]))
        rows.nth(done["false"]).click()
        tab.keyboard.press("n")
        settled(tab)
        if "missing" in done:
            tab.keyboard.press("i")
            name_it(tab, names[done["missing"].class_id])
            drag(tab, width, box_of(done["missing"]))
        tab.keyboard.press("v")
        tab.keyboard.press("c")
        tab.keyboard.press("ArrowRight")
    settled(tab)
    server.stop()
    result = samcli_run("eval", labels, "--truth", tmp_path / "truth", "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)["mask"]["overall"]
    assert figures["mean_iou"] >= 0.97
    assert figures["at"]["0.5"]["f1"] == 1


# Kills


class Browser:
    """A browser that can be killed: a process of its own, driven through its debugging port."""

    def __init__(self, driver: Any, folder: Path) -> None:
        self._driver, self._folder, self.process, self._starts = driver, folder, None, 0

    def open(self, address: str) -> Any:
        """Return a tab that shows the first image at an address."""
        if self.process is None or self.process.poll() is not None:
            self._start()
        tab = self._connected.contexts[0].new_page()
        tab.set_viewport_size({"width": 1400, "height": 900})
        tab.goto(address)
        tab.select_option("#sort", "name")
        tab.keyboard.press("Enter")
        settled(tab)
        return tab

    def _start(self) -> None:
        self._starts += 1
        profile = self._folder / f"profile{self._starts}"
        own = [f"--user-data-dir={profile}", "--headless=new", "--remote-debugging-port=0", "about:blank"]
        self.process = subprocess.Popen(
            [CHROMIUM, *ARGUMENTS, *own], stderr=subprocess.DEVNULL, start_new_session=True
        )
        port = profile / "DevToolsActivePort"
        for _ in range(600):
            if port.is_file() and port.read_text().count("\n"):
                break
            time.sleep(0.05)
        self._connected = self._driver.chromium.connect_over_cdp(f"http://127.0.0.1:{port.read_text().split()[0]}")

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)


@pytest.fixture
def browser(tmp_path) -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.is_file():
        pytest.skip(f"no browser at {CHROMIUM}")
    with playwright.sync_playwright() as driver:
        made = Browser(driver, tmp_path)
        yield made
        made.kill()


def test_kills_of_server_and_browser__lose_no_change_that_the_page_has_shown(browser, server, tmp_path) -> None:
    """200 edits of classes by keys; now and then one of both is killed at any moment of an edit."""
    folder = make_images(tmp_path / "data")
    run(folder, format=("yolo", "coco"))
    labels, generator = folder / "labels", random.Random(7)
    keys = [key for key in sorted(FOUND) if FOUND[key]]
    known = {key: FOUND[key][0][0] for key in keys}
    server.start()
    tab, place = browser.open(server.address), 0
    for number in range(200):
        if generator.random() < 0.3 and place + 1 < len(keys):
            place += 1
            tab.keyboard.press("ArrowRight")
            settled(tab)
        key, wanted = keys[place], generator.randrange(3)
        tab.locator("#instances .pick").first.click()
        tab.keyboard.press("t")
        tab.keyboard.type(NAMES[wanted])
        tab.keyboard.press("Enter")
        if number % 20 != 19:
            settled(tab)
            assert tab.locator("#instances .label").first.text_content() == NAMES[wanted]
            known[key] = wanted
            continue
        time.sleep(generator.uniform(0, 0.06))
        if number % 40 == 39:
            server.stop(signal.SIGKILL)
            server.start()
            tab.close()
        else:
            browser.kill()
            time.sleep(0.3)  # the server ends what it has begun
        now = class_of(labels, key)
        assert now in (known[key], wanted)
        known[key] = now
        assert {one: class_of(labels, one) for one in keys} == known
        tab, place = browser.open(server.address), 0
    server.stop()
    assert {one: class_of(labels, one) for one in keys} == known
    for key in keys:
        rows = (labels / f"{key[:-4]}.txt").read_text().splitlines()
        assert len(rows) == len(FOUND[key]) and rows[0].split()[0] == str(known[key])
    assert len(json.loads((labels / "annotations.json").read_bytes())["annotations"]) == 7
    assert {row["key"] for row in journal(labels)} == set(FOUND)


def class_of(labels: Path, key: str) -> int:
    return read_record((labels / ".samcli/records" / f"{key}.json").read_bytes()).instances[0].class_id
