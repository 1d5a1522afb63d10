"""YOLO-seg labels: rows that Ultralytics accepts, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from samcli.labels.formats import FORMATS, Rendering
from samcli.labels.formats.yolo import YoloFormat
from samcli.masks import Mask
from samcli.polygons import Polygons
from samcli.types import Annotation, Instance


def rectangle(x1: int, y1: int, x2: int, y2: int, height: int = 50, width: int = 100) -> Mask:
    pixels = np.zeros((height, width), bool)
    pixels[y1:y2, x1:x2] = True
    return Mask.from_pixels(pixels)


def annotation(*objects: tuple[int, Mask]) -> Annotation:
    return Annotation("1.jpg", (50, 100), tuple(Instance(mask, class_id) for class_id, mask in objects))


def rendered(*objects: tuple[int, Mask]) -> str:
    return YoloFormat().render(Rendering(annotation(*objects))).decode()


def render(objects: Annotation, polygons: list[Polygons]) -> bytes:
    """As if the masks' polygons were these."""
    rendering = Rendering(objects)
    vars(rendering)["polygons"] = polygons  # where the cached property keeps them
    return YoloFormat().render(rendering)


def test_row__is_the_class_and_just_below_the_centres_of_pixels_in_shares_of_the_image() -> None:
    ring = np.array([[0, 0], [99, 0], [99, 49]], float)
    data = render(annotation((7, rectangle(0, 0, 100, 50))), [Polygons((ring,), 1.0)])
    assert data == b"7 0.004999 0.009999 0.994999 0.009999 0.994999 0.989999\n"


def test_image_without_objects__has_an_empty_file() -> None:
    assert rendered() == ""


def test_rows__are_in_the_order_of_the_instances_with_their_own_classes() -> None:
    text = rendered((5, rectangle(0, 0, 10, 10)), (0, rectangle(50, 10, 90, 40)), (2, rectangle(20, 20, 30, 30)))
    rows = [line.split() for line in text.splitlines()]
    assert [row[0] for row in rows] == ["5", "0", "2"]
    assert float(rows[1][1]) > 0.5
    assert text.endswith("\n")


def test_rows__of_an_instance_without_rings_take_no_other_ones_class() -> None:
    ring = np.array([[0, 0], [9, 0], [9, 9]], float)
    objects = annotation((5, rectangle(0, 0, 10, 10)), (0, rectangle(50, 10, 90, 40)))
    data = render(objects, [Polygons((), 0.0), Polygons((ring,), 1.0)])
    assert [line.split()[0] for line in data.decode().splitlines()] == ["0"]


def test_rows__one_for_each_ring_of_an_instance() -> None:
    rings: tuple[NDArray[np.float64], ...] = tuple(np.array([[0, 0], [9, 0], [9, 9.0]]) + n for n in (0, 20, 30))
    data = render(annotation((4, rectangle(0, 0, 10, 10))), [Polygons(rings, 1.0)])
    assert [line.split()[0] for line in data.decode().splitlines()] == ["4", "4", "4"]


def test_rows__the_same_one_is_written_once_and_of_two_classes_twice() -> None:
    """A trainer counts repeated rows as damage."""
    same = rectangle(0, 0, 10, 10)
    assert rendered((5, same), (5, same)) == rendered((5, same))
    assert len(rendered((5, same), (6, same)).splitlines()) == 2


def test_render__refuses_polygons_that_are_not_one_each() -> None:
    with pytest.raises(ValueError, match="zip"):
        render(annotation((5, rectangle(0, 0, 10, 10))), [])


def test_labels__are_accepted_by_ultralytics_without_a_complaint(tmp_path: Path, cache: Path) -> None:
    from PIL import Image

    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.data.utils import verify_image_label

    Image.new("RGB", (100, 50)).save(tmp_path / "1.png")
    text = rendered(
        (0, rectangle(0, 0, 100, 50)), (1, rectangle(0, 0, 1, 1)), (2, rectangle(99, 49, 100, 50)),
        (1, rectangle(0, 7, 100, 8)), (2, rectangle(50, 0, 51, 50)), (1, rectangle(20, 20, 70, 40)),
    )  # fmt: skip
    (tmp_path / "1.txt").write_text(text)
    arguments = (str(tmp_path / "1.png"), str(tmp_path / "1.txt"), "", False, 3, 0, 0, False)
    _, labels, _, segments, _, missing, found, empty, corrupt, message = verify_image_label(arguments)
    assert (missing, found, empty, corrupt, message) == (0, 1, 0, 0, "")
    assert labels[:, 0].tolist() == [0, 1, 2, 1, 2, 1]
    assert len(segments) == 6
    (tmp_path / "1.txt").write_text(rendered())
    _, _, _, _, _, missing, _, empty, corrupt, message = verify_image_label(arguments)
    assert (missing, empty, corrupt, message) == (0, 1, 0, "")


# data.yaml


def data_yaml(names: dict[int, str], splits: dict[str, str]) -> dict[str, object]:
    files = YoloFormat().data_set_files(names, splits)
    assert set(files) == set(YoloFormat().data_set_names) == {"data.yaml"}
    return yaml.safe_load(files["data.yaml"])


def test_data_yaml__has_the_names_and_the_images() -> None:
    assert data_yaml({0: "person", 5: "bus"}, {"train": "../images", "val": "../images"}) == {
        "train": "../images",
        "val": "../images",
        "names": {0: "person", 5: "bus"},
    }


def test_data_yaml__names_no_images_where_a_trainer_would_not_find_the_labels() -> None:
    assert data_yaml({0: "person"}, {}) == {"names": {0: "person"}}


@pytest.mark.parametrize("name", ["no", "1", "a: b", "# x", "żółw", "two\nlines", ""])
def test_data_yaml__gives_back_any_name(name: str) -> None:
    assert data_yaml({0: name}, {})["names"] == {0: name}


def test_formats__are_known_by_the_names_of_the_option() -> None:

    from samcli.config import FORMAT_NAMES

    assert set(FORMAT_NAMES) == set(FORMATS)
