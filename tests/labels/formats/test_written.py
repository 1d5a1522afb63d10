"""What is written can be read by the readers that the docs name, also labels without figures, classes or names."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from label_samples import read_all, write_images

from samcli.config import ConvertOptions
from samcli.labels.convert import convert
from samcli.labels.formats import FORMATS
from samcli.labels.formats.reading import readable_formats
from samcli.types import Annotation

SIZE = (60, 90)
WRITTEN = [name for name, fmt in FORMATS.items() if not fmt.needs]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Two images; objects of classes 3 and 0 of one; no figures, no names."""
    write_images(tmp_path / "images", [Annotation("1.png", SIZE), Annotation("2.png", SIZE)])
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "1.txt").write_text("3 0.1 0.1 0.5 0.1 0.5 0.5\n0 0.6 0.6 0.9 0.6 0.9 0.9\n")
    (tmp_path / "labels" / "2.txt").write_text("")
    return tmp_path / "labels"


def write(labels: Path, name: str) -> Path:
    output = labels.parent / "out" / "labels"
    conversion = convert(labels, output, ConvertOptions(format=(name,)))
    assert (conversion.images, conversion.failures) == (2, {})
    assert any("no field for classes" in note for note in conversion.notes) == ("classes" in FORMATS[name].loses)
    return output


@pytest.mark.parametrize("name", [name for name in WRITTEN if name in readable_formats()])
def test_labels_without_figures_and_names__come_back(name: str, bare: Path) -> None:
    names, found = read_all(name, write(bare, name), bare.parent / "images")
    assert [len(one.instances) for one in found] == [2, 0]
    if "classes" not in FORMATS[name].loses:
        assert [names.get(one.class_id, str(one.class_id)) for one in found[0].instances] == ["3", "0"]


@pytest.mark.parametrize("name", ["yolo", "yolo-box"])
def test_data_yaml__of_labels_without_names_is_taken_by_the_trainer(name: str, bare: Path, photos) -> None:
    from ultralytics.data.utils import check_det_dataset, verify_image_label

    folder = write(bare, name)
    with (folder / "data.yaml").open("a") as file:
        file.write(f"path: {bare.parent}\ntrain: images\nval: images\n")
    data = check_det_dataset(folder / "data.yaml", autodownload=False)
    assert data["nc"] == 4
    image, label = str(bare.parent / "images" / "1.png"), str(folder / "1.txt")
    assert verify_image_label((image, label, "", False, data["nc"], 0, 0, False))[8] == 0


@pytest.mark.parametrize("name", ["coco", "coco-polygon", "fiftyone"])
def test_coco__of_labels_without_names_is_taken_by_pycocotools(name: str, bare: Path) -> None:
    from pycocotools.coco import COCO

    file = write(bare, name) / str(FORMATS[name].folded_name)
    coco = COCO(str(file))
    assert {one["name"] for one in coco.loadCats(coco.getCatIds())} == {"0", "3"}
    assert [coco.annToMask(one).sum() > 0 for one in coco.loadAnns(coco.getAnnIds())] == [True, True]


def test_proposals__are_taken_by_pycocotools(bare: Path) -> None:
    from pycocotools.coco import COCO

    rows = json.loads((write(bare, "proposals") / "proposals.json").read_text())
    truth = COCO()
    truth.dataset = {
        "images": [{"id": 1}, {"id": 2}],
        "annotations": [],
        "categories": [{"id": 1, "name": "object"}],
    }
    truth.createIndex()
    assert len(truth.loadRes(rows).anns) == 2


def test_sa1b__has_numbers_or_nothing_as_datumaro_takes_it(bare: Path) -> None:
    content = json.loads((write(bare, "sa1b") / "1.json").read_text())
    types = {"predicted_iou": float, "stability_score": float, "point_coords": list, "crop_box": list, "bbox": list}
    for entry in content["annotations"]:
        assert {name: type(entry[name]) for name in types if name in entry} == {
            name: kind for name, kind in types.items() if name in entry
        }
        assert None not in entry.values()


def test_label_studio__has_a_label_for_each_that_its_regions_use(bare: Path) -> None:
    folder = write(bare, "labelstudio")
    config = ElementTree.fromstring((folder / "label_config.xml").read_text())
    labels = {label.get("value") for label in config.iter("Label")}
    tasks = json.loads((folder / "labelstudio.json").read_text())
    used = {
        label
        for task in tasks
        for prediction in task["predictions"]
        for region in prediction["result"]
        for label in region["value"]["brushlabels"]
    }
    assert used == {"3", "0"} and used <= labels


def test_voc_png_and_labelme__name_their_classes(bare: Path) -> None:
    rows = (write(bare, "voc") / "labelmap.txt").read_text().splitlines()[1:]
    assert [row.split(":")[0] for row in rows] == ["background", "0", "1", "2", "3"]


def test_supervision__reads_yolo_without_names(bare: Path) -> None:
    supervision = pytest.importorskip("supervision")
    folder = write(bare, "yolo")
    found = supervision.DetectionDataset.from_yolo(
        str(bare.parent / "images"), str(folder), str(folder / "data.yaml"), force_masks=True
    )
    classes = [one.class_id.tolist() for _, _, one in found if len(one)]
    assert classes == [[3, 0]] and found.classes == ["0", "1", "2", "3"]
    assert np.ndim(next(one.mask for _, _, one in found if len(one))) == 3
