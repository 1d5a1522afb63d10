"""samcli: turn a folder of images into a segmentation data set.

The command line is the main door (`samcli --help`). The same in Python:

>>> import samcli
>>> sam = samcli.load_sam("tiny")                             # doctest: +SKIP
>>> image = samcli.read_image("photo.jpg")                    # doctest: +SKIP
>>> embedding = sam.encode([image])[0]                        # doctest: +SKIP
>>> segments = sam.segment(embedding, boxes=[10, 20, 300, 400])  # doctest: +SKIP
>>> pixels = segments[0].mask.to_numpy()                      # doctest: +SKIP
>>> instances = samcli.everything(sam, image)                 # doctest: +SKIP
>>> summary = samcli.auto_annotate("photos", det="tiny", sam="tiny")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name lives. They are imported at first use, so that `import samcli` costs nothing
# and `samcli --help` never waits for torch.
_PUBLIC = {
    "Annotation": "samcli.types",
    "Detections": "samcli.types",
    "Embedding": "samcli.types",
    "Engine": "samcli.sam.engine",
    "Image": "samcli.types",
    "ImageRef": "samcli.types",
    "Instance": "samcli.types",
    "Mask": "samcli.masks",
    "Prompts": "samcli.types",
    "SamcliError": "samcli.errors",
    "Segment": "samcli.types",
    "MaskGeneratorOptions": "samcli.config",
    "Summary": "samcli.jobs.summary",
    "auto_annotate": "samcli.api",
    "everything": "samcli.sam.mask_generator",
    "load_annotations": "samcli.api",
    "load_class_names": "samcli.api",
    "load_detector": "samcli.api",
    "load_sam": "samcli.sam.engine",
    "read_image": "samcli.images",
}
__all__ = ["__version__", *sorted(_PUBLIC)]

if TYPE_CHECKING:
    from samcli.api import auto_annotate as auto_annotate
    from samcli.api import load_annotations as load_annotations
    from samcli.api import load_class_names as load_class_names
    from samcli.api import load_detector as load_detector
    from samcli.config import MaskGeneratorOptions as MaskGeneratorOptions
    from samcli.errors import SamcliError as SamcliError
    from samcli.images import read_image as read_image
    from samcli.jobs.summary import Summary as Summary
    from samcli.masks import Mask as Mask
    from samcli.sam.engine import Engine as Engine
    from samcli.sam.engine import load_sam as load_sam
    from samcli.sam.mask_generator import everything as everything
    from samcli.types import Annotation as Annotation
    from samcli.types import Detections as Detections
    from samcli.types import Embedding as Embedding
    from samcli.types import Image as Image
    from samcli.types import ImageRef as ImageRef
    from samcli.types import Instance as Instance
    from samcli.types import Prompts as Prompts
    from samcli.types import Segment as Segment


def __dir__() -> list[str]:
    """Return the public names, for `dir(samcli)` and tab completion: they are imported at first use."""
    return list(__all__)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'samcli' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)
