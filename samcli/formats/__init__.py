"""Label formats, one small file each. A format turns an annotation into what is written for an image.

The lossless record (`records`) is the truth; every other format can be made from it again.
"""

from __future__ import annotations

from samcli.formats.amg import AmgMasks, AmgRle
from samcli.formats.base import Files, LabelFormat, Rendering
from samcli.formats.pictures import Cutouts, EdgeMap, LabelMap, Logits, Overlay
from samcli.formats.proposals import Proposals
from samcli.formats.yolo import YoloFormat

__all__ = ["FORMATS", "Files", "LabelFormat", "Rendering"]

FORMATS: dict[str, LabelFormat] = {
    "yolo": YoloFormat(),
    "masks": AmgMasks(),
    "rle": AmgRle(),
    "labelmap": LabelMap(),
    "overlay": Overlay(),
    "cutouts": Cutouts(),
    "logits": Logits(),
    "edges": EdgeMap(),
    "proposals": Proposals(),
}
"""By the name that `--format` takes."""
