"""A trainer that is given the `data.yaml` of a run gets no image that it is not to have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from runs import layout_of, manifest_of, write_run

from samcli.labels.training_lists import has_training_lists, refresh_training_lists
from samcli.masks import Mask
from samcli.output.journal import Journal
from samcli.output.run_folder import RunFolder
from samcli.types import Annotation, ImageMark, ImageRef, Instance, Outcome, Status

SQUARE = Instance(Mask.from_pixels(np.pad(np.ones((20, 20), bool), 10)), 0)
KEYS = ("a.png", "b b/żółć #1.png", "c.png", "odd\nname.png", "\udce9.png")


def a_run(folder: Path, keys: tuple[str, ...] = KEYS, **options: object) -> RunFolder:
    """Of the images with these keys, `a.png` incomplete and `out.png` excluded."""
    annotations = [
        Annotation("a.png", (40, 40), (SQUARE,), omitted=1),
        Annotation("out.png", (40, 40), (SQUARE,), mark=ImageMark.EXCLUDE),
        *(Annotation(key, (40, 40), (SQUARE,)) for key in keys if key != "a.png"),
    ]
    write_run(folder, annotations, "yolo", **options)
    return RunFolder(layout_of(folder), manifest_of(folder))


def trained_on(data_yaml: Path, split: str) -> list[str]:
    """Names of the images that Ultralytics' trainer takes, and of none without a label."""
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(data_yaml, autodownload=False)
    read = YOLODataset(img_path=data[split], data=data, task="segment", imgsz=32, augment=False)
    assert all(len(label["cls"]) == 1 for label in read.labels), "no image is background"
    return sorted(Path(label["im_file"]).name for label in read.labels)


def test_trainer__gets_the_complete_images_alone(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    data_yaml = run.output / "data.yaml"
    plain = data_yaml.read_bytes()
    refresh_training_lists(run)
    assert has_training_lists(run)
    for split in ("train", "val"):
        assert trained_on(data_yaml, split) == ["c.png", "żółć #1.png"]
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert trained_on(moved / "labels" / "data.yaml", "train") == ["c.png", "żółć #1.png"]
    moved.rename(tmp_path)
    with Journal(run.layout.journal, run.manifest.run) as journal:
        for key in ("a.png", "out.png"):
            journal.append(Outcome(ImageRef(run.layout.input_root, key), Status.DONE, {0: 1}))
    refresh_training_lists(run)
    assert data_yaml.read_bytes() == plain
    assert not has_training_lists(run)


def test_splits__have_a_list_each(tmp_path: Path) -> None:
    run = a_run(tmp_path, ("train/1.png", "val/2.png", "val/3.png"))
    for name in ("train", "val"):
        (tmp_path / "images" / name).mkdir(exist_ok=True)
    (run.output / "data.yaml").unlink()
    run = a_run(tmp_path, ("train/1.png", "val/2.png", "val/3.png"))
    refresh_training_lists(run)
    assert trained_on(run.output / "data.yaml", "train") == ["1.png"]
    assert trained_on(run.output / "data.yaml", "val") == ["2.png", "3.png"]


@pytest.mark.parametrize("content", [b"names: [mine]\n", None])
def test_data_yaml__that_somebody_edited_or_removed_is_left_alone(tmp_path: Path, content: bytes | None) -> None:
    run = a_run(tmp_path)
    data_yaml = run.output / "data.yaml"
    data_yaml.unlink()
    if content is not None:
        data_yaml.write_bytes(content)
    refresh_training_lists(run)
    assert (data_yaml.read_bytes() if data_yaml.exists() else None) == content
    assert not has_training_lists(run)
