"""`samcli review` in a browser: damaged labels are repaired by clicks and keys alone."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from served import Server

from samcli.masks import Mask
from samcli.output.run_folder import RunFolder
from samcli.review.apply import Publisher
from samcli.types import Annotation, Instance

pytest.importorskip("starlette")
pytestmark = pytest.mark.slow
SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
CHROMIUM = Path("/usr/bin/chromium")


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
        browser = driver.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        )
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
    for name in ("beads.jpg", "confetti.jpg", "grey.jpg", "turned.jpg"):
        picture = ImageOps.exif_transpose(Image.open(SHAPES / name))
        picture.save(images / f"{name[:-4]}-0.png")
        ImageOps.mirror(picture).save(images / f"{name[:-4]}-1.png")
    tiny = ["--det", "tiny", "--sam", "tiny", "--precision", "fp32", "--quiet"]
    assert samcli_run("auto-annotate", images, *tiny).exit_code == 0
    shutil.copytree(labels, tmp_path / "truth")
    found = RunFolder.open(labels)
    publisher, names, hurt = Publisher(found), found.manifest.names, {}
    for key, entry in found.entries().items():
        broken, hurt[key] = damage(found.record(key), len(names))
        publisher.publish_one(broken, entry)
    server.start()
    tab.goto(server.address)
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
