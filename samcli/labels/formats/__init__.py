"""Label formats, one small file each. A format turns an annotation into what is written for an image.

The lossless record (`records`) is the truth; every other format can be made from it again.
"""

from __future__ import annotations

from collections.abc import Sequence

from samcli.errors import UsageError
from samcli.labels.formats.amg import AmgMasks, AmgRle
from samcli.labels.formats.base import Files, LabelFormat, Rendering
from samcli.labels.formats.coco import Coco
from samcli.labels.formats.cvat import Cvat
from samcli.labels.formats.labelme import Labelme
from samcli.labels.formats.labelstudio import LabelStudio
from samcli.labels.formats.parquet import Parquet
from samcli.labels.formats.pictures import Cutouts, EdgeMap, LabelMap, Logits, Overlay
from samcli.labels.formats.png import IndexMaps
from samcli.labels.formats.proposals import Proposals
from samcli.labels.formats.sa1b import Sa1b
from samcli.labels.formats.voc import Voc
from samcli.labels.formats.yolo import YoloBox, YoloFormat

__all__ = ["FORMATS", "Files", "LabelFormat", "Rendering", "check_formats"]

FORMATS: dict[str, LabelFormat] = {
    "yolo": YoloFormat(),
    "yolo-box": YoloBox(),
    "coco": Coco(),
    "coco-polygon": Coco(polygons=True),
    "fiftyone": Coco(name="labels.json"),
    "voc": Voc(),
    "png": IndexMaps(),
    "labelme": Labelme(),
    "labelstudio": LabelStudio(),
    "cvat": Cvat(),
    "sa1b": Sa1b(),
    "masks": AmgMasks(),
    "rle": AmgRle(),
    "labelmap": LabelMap(),
    "overlay": Overlay(),
    "cutouts": Cutouts(),
    "logits": Logits(),
    "edges": EdgeMap(),
    "proposals": Proposals(),
    "parquet": Parquet(),
}
"""By the name that `--format` takes."""


def check_formats(names: Sequence[str]) -> None:
    """Refuse formats that would write the same files, or whose package is missing.

    Raises:
        UsageError: it names two formats and a file, or the package.
    """
    owners: dict[str, str] = {}
    for name in names:
        fmt = FORMATS[name]
        fmt.check_package()
        for file in (
            *(suffix.replace(".", "<image>.", 1) or "<image>/" for suffix in fmt.suffixes),
            *fmt.own_files,
        ):
            if file in owners:
                raise UsageError(
                    f"{owners[file]} and {name} both write {file}; give each an --output of its own, or write one "
                    "and make the other from it with samcli convert"
                )
            owners[file] = name
