"""Groups of options that commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from samcli.config.options import Options, option

COMPILED_FROM = 200
"""Images still to do from which on the minutes of compiling are taken to pay off on a GPU."""


@dataclass(frozen=True)
class InputOptions(Options):
    """Which images."""

    max_pixels: int = option(500_000_000, "Images of more pixels are recorded as failed.", low=1, panel="Input")


def _trust_weights(panel: str) -> Any:
    text = "Load a detector that is a full pickle or TorchScript: it can run any code. Only for files you trust."
    return option(False, text, panel=panel)


@dataclass(frozen=True)
class DetectorOptions(Options):
    """The detector whose boxes prompt SAM."""

    det: str = option(
        "yolov8x.pt",
        "Detector: a known name, a path (.pt, .onnx, .torchscript), a folder that transformers saved a model in, "
        "or 'tiny' (embedded).",
        recipe=True,
        panel="Detector",
        metavar="NAME|PATH",
    )
    conf: float = option(0.25, "Least detector score.", recipe=True, low=0, high=1, panel="Detector")
    iou: float = option(0.45, "Boxes that overlap more are one.", recipe=True, low=0, high=1, panel="Detector")
    imgsz: int = option(640, "Detector's input size in pixels.", recipe=True, low=32, panel="Detector")
    max_det: int = option(300, "Most boxes in an image.", recipe=True, low=1, panel="Detector")
    classes: str | None = option(
        None,
        "Only these classes: names or ids, separated by commas.",
        recipe=True,
        panel="Detector",
        metavar="person,bus|0,5",
    )
    trust_weights: bool = _trust_weights("Detector")


@dataclass(frozen=True)
class TextOptions(Options):
    """What a detector that reads text is to look for."""

    text: str | None = option(
        None,
        "Find what these words name, each a class: 'person, red car', or a YAML file of 'class: [prompt, prompt]'. "
        "Needs a detector that reads text; without --det that is IDEA-Research/grounding-dino-tiny.",
        recipe=True,
        panel="Detector",
        metavar="TEXT|FILE",
    )
    text_threshold: float = option(
        0.25,
        "With --text, for Grounding DINO: a prompt names a box if the score of one of its tokens is above this.",
        recipe=True,
        low=0,
        high=1,
        panel="Detector",
    )


@dataclass(frozen=True)
class SamOptions(Options):
    """The segmenter."""

    sam: str = option(
        "sam_b.pt",
        "SAM checkpoint: a known name, a path, or 'tiny' (embedded). everything and prompt take FastSAM too, "
        "auto-annotate 'none': the detector's own masks.",
        recipe=True,
        panel="SAM",
        metavar="NAME|PATH",
    )
    precision: str = option(
        "auto",
        "Arithmetic: auto takes what the device does fastest; fp32 is exact.",
        recipe=True,
        choices=("auto", "fp32", "bf16", "fp16"),
        panel="SAM",
    )
    device: str = option("auto", "cpu, cuda, cuda:1, mps, or auto.", panel="SAM", metavar="DEVICE")


@dataclass(frozen=True)
class FastSamOptions(Options):
    """How FastSAM, where it takes SAM's place, finds all objects of an image. Defaults: `fastsam.DEFAULTS`."""

    conf: float | None = option(
        None,
        "Least score. Default: 0.25.",
        recipe=True,
        only_given=True,
        low=0,
        high=1,
        panel="FastSAM",
        metavar="FLOAT",
    )
    iou: float | None = option(
        None, "Boxes that overlap more are one. Default: 0.7.", recipe=True, only_given=True, low=0, high=1,
        panel="FastSAM", metavar="FLOAT",
    )  # fmt: skip
    imgsz: int | None = option(
        None, "Input size in pixels. Default: what it was trained with, 1024 for the published ones.",
        recipe=True, only_given=True, low=32, panel="FastSAM", metavar="N",
    )  # fmt: skip
    max_det: int | None = option(
        None,
        "Most objects in an image. Default: 300.",
        recipe=True,
        only_given=True,
        low=1,
        panel="FastSAM",
        metavar="N",
    )
    trust_weights: bool = _trust_weights("FastSAM")


@dataclass(frozen=True)
class EmbeddingOptions(Options):
    """Embeddings that `encode` has stored."""

    embeddings: str | None = option(
        None,
        "Folder that `samcli encode` wrote: the encoder runs only for images that it lacks.",
        panel="SAM",
        metavar="DIR",
    )


@dataclass(frozen=True)
class FilterOptions(Options):
    """Which masks are not worth a label."""

    min_predicted_iou: float | None = option(
        None, "Drop masks for which SAM predicts a lower IoU.", recipe=True, panel="SAM"
    )
    min_stability: float | None = option(
        None, "Drop masks with a lower stability score.", recipe=True, low=0, high=1, panel="SAM"
    )
    min_mask_area: int = option(1, "Drop masks of fewer pixels.", recipe=True, low=1, panel="SAM")


@dataclass(frozen=True)
class AnswerOptions(Options):
    """Which of SAM's answers to a prompt is taken, and whether it is asked again."""

    best_mask: bool = option(
        False, "Of the three masks the one with the highest predicted IoU.", recipe=True, panel="Masks"
    )
    refine: int = option(
        0, "So many times, ask again with the mask itself as a further prompt.", recipe=True, low=0, high=20,
        panel="Masks",
    )  # fmt: skip


@dataclass(frozen=True)
class BoxPromptOptions(AnswerOptions):
    """How a detector's boxes prompt SAM."""

    box_padding: float = option(
        0.0, "Grow boxes by this share of their sides, on each side, before they prompt SAM; negative: shrink.",
        recipe=True, low=-0.45, high=2, panel="Masks",
    )  # fmt: skip


@dataclass(frozen=True)
class LabelOptions(Options):
    """How masks become labels."""

    holes: str = option(
        "bridge",
        "Holes in a mask: joined to its outline by a bridge, or filled.",
        recipe=True,
        choices=("bridge", "fill"),
        panel="Labels",
    )
    parts: str = option(
        "bridge",
        "Parts of a mask: joined by bridges, rows of their own, or only the largest.",
        recipe=True,
        choices=("bridge", "separate", "largest"),
        panel="Labels",
    )
    min_polygon_iou: float = option(
        0.98, "Polygons are as simple as this IoU with the mask allows.", recipe=True, low=0.5, high=1,
        panel="Labels",
    )  # fmt: skip


@dataclass(frozen=True)
class ClassMapOptions(Options):
    """What classes are called."""

    class_map: str | None = option(
        None, "YAML file of 'old: new' lines: classes are renamed, merged, or dropped ('old:').", recipe=True,
        panel="Labels", metavar="FILE",
    )  # fmt: skip


@dataclass(frozen=True)
class NamingOptions(Options):
    """How label files are named."""

    on_collision: str = option(
        "fail",
        "Two images with one label name (a/1.jpg, a/1.png): the second fails, or gets its whole name.",
        choices=("fail", "suffix"),
        panel="Labels",
    )


@dataclass(frozen=True)
class RunOptions(Options):
    """How the work is done; nothing here changes what is written."""

    batch: int = option(0, "Images through the networks at once; 0: 1 on a CPU, 8 on a GPU.", low=0, panel="Run")
    workers: int = option(2, "Threads that decode and write.", low=1, high=64, panel="Run")
    resume: bool = option(
        True, "Go on where an earlier run stopped; --no-resume refuses a folder that holds one.", panel="Run"
    )
    overwrite: bool = option(False, "Begin anew: labels of an earlier run, or by hand, are replaced.", panel="Run")
    retry_failed: bool = option(False, "Try again what failed before.", panel="Run")
    max_failures: int | None = option(
        None, "Stop once so many images have failed.", low=1, panel="Run", metavar="N"
    )
    compile: str = option(
        "auto",
        "Let torch.compile compile SAM's stock modules, for a minute or more at first: auto does on CUDA from "
        f"{COMPILED_FROM} images on, where there is a C++ compiler. On takes the place of samcli's own forward, "
        "which is the faster one on a CPU.",
        choices=("auto", "on", "off"),
        panel="SAM",
    )


@dataclass(frozen=True)
class MaskGeneratorOptions(Options):
    """Everything mode: segment-anything's options by their names, and a few more."""

    points_per_side: int | None = option(
        None, "Clicks a side of the grid. Default: 32, or what suits the weights.", recipe=True, low=1,
        panel="Masks", metavar="N",
    )  # fmt: skip
    points_per_batch: int = option(64, "Most clicks through the network at once.", low=1, panel="Masks")
    pred_iou_thresh: float | None = option(
        None, "Keep masks with a higher predicted IoU. Default: 0.88, or what suits the weights.",
        recipe=True, panel="Masks", metavar="FLOAT",
    )  # fmt: skip
    stability_score_thresh: float | None = option(
        None, "Keep masks that are at least as stable. Default: 0.95, or what suits the weights.",
        recipe=True, panel="Masks", metavar="FLOAT",
    )  # fmt: skip
    stability_score_offset: float = option(
        1.0, "How far the threshold is moved to see how stable a mask is, in logits.", recipe=True, low=0,
        panel="Masks",
    )  # fmt: skip
    box_nms_thresh: float = option(
        0.7, "Masks that overlap more are one.", recipe=True, low=0, high=1, panel="Masks"
    )
    nms: str = option(
        "box", "Overlap of boxes, as Meta has it, or of masks.", recipe=True, choices=("box", "mask"), panel="Masks"
    )
    crop_n_layers: int = option(
        0, "Look at crops too: 2^i by 2^i of them in layer i.", recipe=True, low=0, high=5, panel="Crops"
    )
    crop_nms_thresh: float = option(
        0.7, "Masks of two crops that overlap more are one.", recipe=True, low=0, high=1, panel="Crops"
    )
    crop_overlap_ratio: float = option(
        512 / 1500, "Share of the image's shorter side by which crops overlap.", recipe=True, low=0, high=0.95,
        panel="Crops",
    )  # fmt: skip
    crop_n_points_downscale_factor: int = option(
        1, "So many times fewer clicks a side in each further layer.", recipe=True, low=1, panel="Crops"
    )
    min_mask_region_area: int = option(
        0, "Fill holes and remove parts of fewer pixels.", recipe=True, low=0, panel="Masks"
    )
    exclusive: bool = option(
        False, "Each pixel to one mask at most: the smallest that has it.", recipe=True, panel="Masks"
    )
