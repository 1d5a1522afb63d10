"""Adapters for other tools, against the tools' own SDKs where these are installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

FOLDER = Path(__file__).parents[1] / "examples" / "integrations"
PHOTO = FOLDER.parent / "shapes" / "poster.png"
CONFIG = """<View><Image name="picture" value="$image"/>
<BrushLabels name="tag" toName="picture"><Label value="circle"/><Label value="star"/></BrushLabels></View>"""


def load(name: str) -> Any:
    """Import an adapter from its file."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_adapters__are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 100


def test_cvat_function__gives_masks_and_polygons_that_the_sdk_takes() -> None:
    pytest.importorskip("cvat_sdk.auto_annotation")
    function, picture = load("cvat_function").create(det="tiny", sam="tiny"), Image.open(PHOTO)
    names = {label.id: label.name for label in function.spec.labels}
    masks = function.detect(SimpleNamespace(conf_threshold=0.3, conv_mask_to_poly=False), picture)
    assert masks and {shape.type.value for shape in masks} == {"mask"}
    assert all(shape.label_id in names for shape in masks)
    left, top, right, bottom = masks[0].points[-4:]
    assert sum(masks[0].points[:-4]) == (right - left + 1) * (bottom - top + 1)
    polygons = function.detect(SimpleNamespace(conf_threshold=0.3, conv_mask_to_poly=True), picture)
    assert "polygon" in {shape.type.value for shape in polygons}
    assert function.detect(SimpleNamespace(conf_threshold=1.1, conv_mask_to_poly=False), picture) == []


def test_label_studio_backend__answers_for_images_and_for_clicks(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    pytest.importorskip("label_studio_ml.response")
    from samcli.labels.formats.brush import decode_brush

    monkeypatch.setenv("DET", "tiny")
    monkeypatch.setenv("SAM", "tiny")
    backend = load("label_studio_backend").Backend(label_config=CONFIG)
    monkeypatch.setattr(backend, "get_local_path", lambda url, **_: url)
    task = {"id": 1, "data": {"image": str(PHOTO)}}
    (whole,) = backend.predict([task]).predictions
    first = whole.result[0]
    assert (first["from_name"], first["to_name"], first["type"]) == ("tag", "picture", "brushlabels")
    height, width = np.asarray(Image.open(PHOTO)).shape[:2]
    mask = decode_brush(first["value"]["rle"], height, width)
    x1, y1, x2, y2 = mask.box
    click = {"x": (x1 + x2) / 2 / width * 100, "y": (y1 + y2) / 2 / height * 100, "keypointlabels": ["star"]}
    asked = {"result": [{"type": "keypointlabels", "value": click, "is_positive": 1}]}
    (answer,) = backend.predict([task], context=asked).predictions
    assert len(answer.result) == 1 and answer.result[0]["value"]["brushlabels"] == ["star"]
