"""Each prompt is answered where its object lies best, and the masks are those of the whole image."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from blobs import Blobs

from samcli.config import AnswerOptions, PromptOptions, TileOptions
from samcli.errors import UsageError
from samcli.images.tiling import Tiling, choose_views
from samcli.jobs.prompt import Prompt, TiledSegmenter
from samcli.jobs.segmenting import Encoder
from samcli.jobs.views import TiledAsker, extents, moved, open_tiling
from samcli.jobs.worker import StageClock
from samcli.prompts import ObjectPrompt
from samcli.types import Image, ImageRef, Prompts

SIZE = (400, 600)
TILING = Tiling(200, 0.2, 200)


def picture(*boxes: tuple[int, int, int, int]) -> Image:
    pixels = np.zeros((*SIZE, 3), np.uint8)
    for number, (left, top, right, bottom) in enumerate(boxes, 1):
        pixels[top:bottom, left:right] = number
    return Image(ImageRef(None, "a.png"), pixels)  # type: ignore[arg-type]


def asker(engine: Blobs) -> TiledAsker:
    clock = StageClock()
    return TiledAsker(engine, Encoder(engine, None, clock), TILING, AnswerOptions(), clock)  # type: ignore[arg-type]


BOXES = [(10, 10, 40, 50), (185, 150, 215, 190), (20, 210, 180, 390), (390, 20, 410, 380), (570, 370, 600, 400)]
"""In a tile, where tiles overlap, as large as a tile, larger than a tile, in the last corner."""


def test_ask__gives_the_masks_of_the_whole_image_in_the_order_of_prompts() -> None:
    image, engine = picture(*BOXES), Blobs()
    seen = asker(engine).ask(image, Prompts(boxes=np.array(BOXES)))
    assert [one.segment.prompt for one in seen] == [0, 1, 2, 3, 4]
    for number, one in enumerate(seen, 1):
        assert (one.segment.mask.pixels() == (image.pixels[..., 0] == number)).all()
    assert [one.view is None for one in seen] == [False, False, True, True, False]
    assert engine.sizes.count(SIZE) == 1 and all(size in (SIZE, (200, 200)) for size in engine.sizes)


def test_ask__again_in_the_whole_image_where_an_object_goes_on_behind_the_border() -> None:
    image, engine = picture((20, 20, 500, 60)), Blobs()
    points = Prompts(points=np.array([[[30.0, 40.0]]]), point_labels=np.array([[1]]))
    seen = asker(engine).ask(image, points)
    assert (seen[0].view, seen[0].segment.mask.area) == (None, 480 * 40)
    assert engine.sizes == [(200, 200), SIZE]


def test_views__show_something_around_each_box() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 1, (200, 2)) * (560, 360)
    boxes = np.concatenate([corners, corners + rng.uniform(10, 160, (200, 2))], 1).clip(0, (600, 400, 600, 400))
    views = choose_views(boxes, TILING, SIZE)
    assert sorted(itertools.chain.from_iterable(views.values())) == list(range(200))
    for view, members in views.items():
        for index in members:
            left, top, right, bottom = boxes[index]
            wanted = 0.1 * max(right - left, bottom - top)
            if view is None:
                assert 1.2 * max(right - left, bottom - top) > 200
                continue
            assert view[2] - view[0] == view[3] - view[1] == 200
            assert left - view[0] >= wanted or view[0] == 0
            assert view[2] - right >= wanted - 1 or view[2] == 600
            assert top - view[1] >= wanted or view[1] == 0
            assert view[3] - bottom >= wanted - 1 or view[3] == 400


def test_extents__are_those_of_the_foreground_points() -> None:
    points = np.array([[[10, 20], [30, 25], [500, 5]], [[7, 8], [0, 0], [0, 0]]], float)
    labels = np.array([[1, 1, 0], [1, -1, -1]])
    assert extents(Prompts(points=points, point_labels=labels)).tolist() == [[10, 20, 30, 25], [7, 8, 7, 8]]
    back = moved(Prompts(points=points, point_labels=labels), [1], (5, 6))
    assert back.points.tolist()[0][0] == [2, 2]


def test_tiling__of_auto_is_as_large_as_the_largest_input() -> None:
    assert open_tiling(TileOptions(), 640, 1024) is None
    auto = open_tiling(TileOptions(tile="auto"), 640, 1024)
    assert auto is not None
    assert (auto.side, auto.applies_to((2048, 2048)), auto.applies_to((2049, 10))) == (1024, False, True)
    for wrong in ("12", "many", "-5", "640.5"):
        with pytest.raises(UsageError, match=f"--tile is '{wrong}'; expected"):
            TileOptions(tile=wrong)


def test_run__with_tiles_finds_more_in_large_images_and_leaves_small_ones_as_they_were(
    annotate, photo_folder, tmp_path
) -> None:
    assert annotate(photo_folder, "-o", tmp_path / "tiles", "--tile", "310").exit_code == 0
    assert annotate(photo_folder, "-o", tmp_path / "whole").exit_code == 0
    records = {
        name: {
            str(path.relative_to(tmp_path / name)): json.loads(path.read_bytes())
            for path in (tmp_path / name).rglob("records/**/*.json")
        }
        for name in ("tiles", "whole")
    }
    small = [name for name, record in records["whole"].items() if max(record["height"], record["width"]) <= 310]
    assert small and all(records["tiles"][name] == records["whole"][name] for name in small)
    large = records["whole"].keys() - small
    assert large and all(
        len(records["tiles"][name]["instances"]) > 4 for name in large
    )  # 4: --max-det of each tile
    refused = annotate(photo_folder, "-o", tmp_path / "whole", "--tile", "310")
    assert "--tile was not given, now 310" in refused.stderr


def test_prompts__are_answered_in_the_frame_of_the_image() -> None:
    image, engine = picture(*BOXES), Blobs()
    objects = [ObjectPrompt(box=BOXES[0]), ObjectPrompt(points=((200.0, 170.0),), point_labels=(1,))]
    segmenter = TiledSegmenter(None, asker(engine), multimask=False)  # type: ignore[arg-type]
    answers = segmenter.segment([image], [objects])[0]
    assert [[one.mask.box for one in answer] for answer in answers] == [[BOXES[0]], [BOXES[1]]]


def test_prompt__refuses_tiles_where_logits_are_asked_for() -> None:
    with pytest.raises(UsageError, match="--tile does not apply to --save-logits"):
        Prompt(PromptOptions.of(box=("1,1,9,9",), sam="tiny", tile="640", save_logits=True))
