"""Groups of options that commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from samcli.config.options import Options, option
from samcli.errors import UsageError

COMPILED_FROM = 200
"""Images still to do from which on the minutes of compiling are taken to pay off on a GPU."""


@dataclass(frozen=True)
class InputOptions(Options):
    """Options that select images."""

    max_pixels: int = option(
        500_000_000,
        "Fail images of more pixels than this (protects against decompression bombs).",
        low=1,
        panel="Input",
    )
    image_timeout: float = option(
        300.0,
        "Fail an image that is not decoded after this many seconds, e.g. on a network mount that does not answer "
        "(0 = no limit).",
        low=0,
        panel="Input",
    )


@dataclass(frozen=True)
class SourceOptions(Options):
    """Options that select among the images of an input and set their keys."""

    root: str | None = option(
        None,
        "Folder that keys and the output tree are relative to; all images lie in it. Default: the input folder, or "
        "the deepest folder that holds all inputs.",
        panel="Input",
        metavar="DIR",
    )
    split: str | None = option(
        None,
        "Splits of a data.yaml that is the input, separated by commas. Default: train, val and test, as far as "
        "it has them.",
        panel="Input",
        metavar="train,val",
        variable="SAMCLI_INPUT_SPLIT",
    )
    pages: str = option(
        "first",
        "Pages of TIFF and GIF files. first: the first alone. all: each page is an image, the third of scan.tif "
        "with the key scan#3.tif.",
        choices=("first", "all"),
        panel="Input",
    )
    store_timeout: float = option(
        60.0,
        "Time limit of a request to an object store: this many seconds, and one more per megabyte. A request that "
        "takes longer is tried again.",
        low=0.1,
        panel="Input",
    )


@dataclass(frozen=True)
class TileOptions(Options):
    """Options of the division of large images into tiles."""

    tile: str | None = option(
        None,
        "Also work on overlapping square tiles of N pixels: finds small objects in large images. auto: tiles as "
        "large as the largest network input, for images more than twice as large. Default: off.",
        recipe=True,
        panel="Tiles",
        metavar="N|auto",
    )
    tile_overlap: float = option(
        0.2,
        "Overlap of neighbouring tiles, as a fraction of their side. Objects smaller than the overlap lie whole in "
        "a tile.",
        recipe=True,
        low=0,
        high=0.9,
        panel="Tiles",
    )

    def __post_init__(self) -> None:
        """Check the side as well."""
        super().__post_init__()
        if self.tile is not None and self.tile != "auto" and not (self.tile.isdecimal() and int(self.tile) >= 64):
            raise UsageError(f"--tile is '{self.tile}'; expected a number of pixels, at least 64, or auto")


@dataclass(frozen=True)
class RegionOptions(Options):
    """Options that limit where objects are looked for."""

    roi: str | None = option(
        None,
        "Look for objects only in these regions: boxes and polygons by image in a .json or .csv file, or labels in "
        "any format that convert reads. Images that the file does not name are "
        "processed as a whole, unless it has regions for '*'.",
        recipe=True,
        panel="Regions",
        metavar="FILE|DIR",
    )


def _trust_weights(panel: str) -> Any:
    text = "Allow detectors that are full pickles or TorchScript: they can run any code. Only for files you trust."
    return option(False, text, panel=panel)


@dataclass(frozen=True)
class DetectorOptions(Options):
    """The detector whose boxes prompt SAM."""

    det: str = option(
        "yolov8x.pt",
        "Detector: a known name, a path (.pt, .onnx, .torchscript), a folder saved by transformers, "
        "or 'tiny' (embedded).",
        recipe=True,
        panel="Detector",
        metavar="NAME|PATH",
    )
    conf: float = option(
        0.25,
        "Confidence threshold: detections with a lower score are discarded.",
        recipe=True,
        low=0,
        high=1,
        panel="Detector",
    )
    iou: float = option(
        0.45,
        "NMS IoU threshold: of two boxes of the same class that overlap by more than this, only "
        "the higher-scoring one is kept.",
        recipe=True,
        low=0,
        high=1,
        panel="Detector",
    )
    imgsz: int = option(
        640,
        "Detector input size in pixels: the longer side, a multiple of the stride, usually 32.",
        recipe=True,
        low=32,
        panel="Detector",
    )
    max_det: int = option(
        300, "Maximum number of detections per image (with --tile: per tile).", recipe=True, low=1, panel="Detector"
    )
    agnostic_nms: bool = option(
        False,
        "Class-agnostic NMS: of two boxes that overlap by more than --iou, keep only the higher-scoring one, "
        "whatever their classes.",
        recipe=True,
        panel="Detector",
    )
    classes: str | None = option(
        None,
        "Keep only these classes: names or ids, separated by commas.",
        recipe=True,
        panel="Detector",
        metavar="person,bus|0,5",
    )
    trust_weights: bool = _trust_weights("Detector")


@dataclass(frozen=True)
class TextOptions(Options):
    """Options of detectors that read text."""

    text: str | None = option(
        None,
        "Detect these words; each is a class: 'person, red car', or a YAML file of 'class: [prompt, prompt]'. "
        "Needs a text-prompted detector. Default of --det then: IDEA-Research/grounding-dino-tiny.",
        recipe=True,
        panel="Detector",
        metavar="TEXT|FILE",
    )
    text_threshold: float = option(
        0.25,
        "Token threshold of Grounding DINO (--text): a prompt labels a box if one of its tokens scores above this.",
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
        "SAM checkpoint: a known name, a path, or 'tiny' (embedded). everything and prompt also "
        "take FastSAM; auto-annotate also takes 'none': use the masks of a segmentation detector.",
        recipe=True,
        panel="SAM",
        metavar="NAME|PATH",
    )
    precision: str = option(
        "auto",
        "Inference precision. auto: the fastest that the device supports (bf16 or fp16). fp32: reference results.",
        recipe=True,
        choices=("auto", "fp32", "bf16", "fp16"),
        panel="SAM",
    )
    device: str = option(
        "auto",
        "Device of the networks: cpu, cuda, cuda:1, mps or auto (CUDA, else MPS, else CPU). cuda:0,cuda:1: one "
        "process per device.",
        panel="SAM",
        metavar="DEVICE",
    )

    @property
    def devices(self) -> list[str]:
        """Return the devices that `device` names."""
        return [name.strip() for name in self.device.split(",")]


@dataclass(frozen=True)
class FastSamOptions(Options):
    """Options of FastSAM's search for all objects, where it replaces SAM. Defaults: `fastsam.DEFAULTS`."""

    conf: float | None = option(
        None,
        "Confidence threshold. Default: 0.25.",
        recipe=True,
        only_given=True,
        low=0,
        high=1,
        panel="FastSAM",
        metavar="FLOAT",
    )
    iou: float | None = option(
        None,
        "NMS IoU threshold. Default: 0.7.",
        recipe=True,
        only_given=True,
        low=0,
        high=1,
        panel="FastSAM",
        metavar="FLOAT",
    )
    imgsz: int | None = option(
        None,
        "Input size in pixels. Default: the training size, 1024 for the published checkpoints.",
        recipe=True,
        only_given=True,
        low=32,
        panel="FastSAM",
        metavar="N",
    )
    max_det: int | None = option(
        None,
        "Maximum number of objects per image. Default: 300.",
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
        "Reuse image embeddings from `samcli encode`; images missing there are encoded on the fly.",
        panel="SAM",
        metavar="DIR",
    )


@dataclass(frozen=True)
class FilterOptions(Options):
    """Options that discard masks of low quality."""

    pred_iou_thresh: float | None = option(
        None,
        "Discard masks with a predicted IoU below this.",
        recipe=True,
        panel="SAM",
        formerly="min_predicted_iou",
    )
    stability_score_thresh: float | None = option(
        None,
        "Discard masks with a stability score below this.",
        recipe=True,
        low=0,
        high=1,
        panel="SAM",
        formerly="min_stability",
    )
    min_mask_area: int = option(1, "Discard masks with fewer pixels than this.", recipe=True, low=1, panel="SAM")


@dataclass(frozen=True)
class SpeckOptions(Options):
    """Options that remove small parts and holes from labels."""

    min_part_area: str = option(
        "1%,16",
        "Remove parts and fill holes that are smaller than N pixels, smaller than P % of the object's area, or "
        "(P%,N) smaller than both. 0: do not change the masks. Records keep the unchanged masks.",
        recipe=True,
        panel="Masks",
        metavar="N|P%|P%,N",
    )

    def __post_init__(self) -> None:
        """Check the limit as well."""
        from samcli.masks import parse_part_limit  # brings numpy, without which the help comes up faster

        super().__post_init__()
        parse_part_limit(self.min_part_area)


@dataclass(frozen=True)
class DuplicateOptions(Options):
    """Options that decide which masks are duplicates of one object."""

    cross_class_iou: float = option(
        0.9,
        "Of two masks of different classes with an IoU above this, discard the one with the lower score. 1: off.",
        recipe=True,
        low=0,
        high=1,
        panel="Masks",
    )


@dataclass(frozen=True)
class AnswerOptions(Options):
    """Options that choose among SAM's masks and refine them."""

    best_mask: bool = option(
        False,
        "Use multimask output and keep the mask with the highest predicted IoU, instead of SAM's single mask.",
        recipe=True,
        panel="Masks",
    )
    refine: int = option(
        0,
        "Refinement passes: feed the mask back into SAM this many times (0: off).",
        recipe=True,
        low=0,
        high=20,
        panel="Masks",
    )


@dataclass(frozen=True)
class BoxPromptOptions(AnswerOptions):
    """Options of the prompts made from a detector's boxes."""

    box_padding: float = option(
        0.0,
        "Expand each box by this fraction of its width and height on every side before prompting "
        "SAM (0.1: 10 %; negative: shrink).",
        recipe=True,
        low=-0.45,
        high=2,
        panel="Masks",
    )


@dataclass(frozen=True)
class LabelOptions(Options):
    """Options of the conversion of masks to labels."""

    holes: str = option(
        "bridge",
        "Holes in a mask. bridge: keep them, connected to the outline by a cut of zero width. fill: fill them.",
        recipe=True,
        choices=("bridge", "fill"),
        panel="Labels",
    )
    parts: str = option(
        "bridge",
        "Disconnected parts of one object. bridge: join them into one polygon. separate: write "
        "one row per part; a trainer counts each as an object. largest: keep only the largest "
        "part.",
        recipe=True,
        choices=("bridge", "separate", "largest"),
        panel="Labels",
    )
    min_polygon_iou: float = option(
        0.98,
        "Polygon simplification: use the fewest vertices that keep the IoU of polygon and mask at or above this.",
        recipe=True,
        low=0.5,
        high=1,
        panel="Labels",
    )
    max_points: int = option(
        8000,
        "Maximum number of vertices of an object's polygons; --min-polygon-iou yields to it.",
        recipe=True,
        low=100,
        panel="Labels",
    )


@dataclass(frozen=True)
class ClassMapOptions(Options):
    """Options that rename classes."""

    class_map: str | None = option(
        None,
        "YAML mapping of class names, 'old: new'. Several old names with one new name are "
        "merged; an empty new name drops the class.",
        recipe=True,
        panel="Labels",
        metavar="FILE",
    )


@dataclass(frozen=True)
class ReadingOptions(Options):
    """Options for reading labels of other tools."""

    crowds: str = option(
        "drop",
        "Regions with COCO's iscrowd. drop: leave them out. keep: read each as one object.",
        choices=("drop", "keep"),
        panel="Input",
    )
    rescale: bool = option(False, "Scale labels to the image where they state another image size.", panel="Input")


@dataclass(frozen=True)
class ExistingOptions(Options):
    """Label files that were in the output folder before the run."""

    existing: str = option(
        "refuse",
        "Label files in the output folder that samcli did not write. refuse: stop. keep: leave them alone, label "
        "the other images. add: also add objects to them.",
        recipe=True,
        choices=("refuse", "keep", "add"),
        panel="Labels",
    )
    existing_iou: float = option(
        0.5,
        "With --existing add: an object whose IoU with an existing object of its class is above this is not added.",
        recipe=True,
        low=0,
        high=1,
        panel="Labels",
    )


@dataclass(frozen=True)
class NamingOptions(Options):
    """Options of the names of label files."""

    on_collision: str = option(
        "fail",
        "If two images would share a label file (a/1.jpg, a/1.png). fail: fail the second one. "
        "suffix: write a/1.png.txt.",
        choices=("fail", "suffix"),
        panel="Labels",
    )


@dataclass(frozen=True)
class RunOptions(Options):
    """Options of the execution; none of them changes what is written."""

    shard: str | None = option(
        None,
        "Process the I-th of N parts of the images; the N processes share the output folder.",
        panel="Run",
        metavar="I/N",
    )
    batch: int = option(0, "Batch size (0: 1 on a CPU, 8 on a GPU).", low=0, panel="Run")
    workers: int = option(2, "Number of threads that decode images and write labels.", low=1, high=64, panel="Run")
    procs: int | None = option(
        None, "Number of worker processes; each loads the models. Default: one per device.", low=1, high=256,
        panel="Run", metavar="N",
    )  # fmt: skip
    runner: str = option(
        "local", "Where the networks run: in processes of this machine, or in actors of a Ray cluster.",
        choices=("local", "ray"), panel="Run",
    )  # fmt: skip
    ray_address: str | None = option(
        None, "With --runner ray: address of the cluster. Default: RAY_ADDRESS, else a cluster on this machine.",
        panel="Run", metavar="HOST:PORT",
    )  # fmt: skip
    num_actors: int | None = option(
        None,
        "With --runner ray: number of actors; each loads the models. Default: one per GPU, else one per node.",
        low=1, high=10_000, panel="Run", metavar="N",
    )  # fmt: skip
    threads: int | None = option(
        None, "Number of threads of the networks. Default: the cores that affinity and CPU quota allow.", low=1,
        panel="Run", metavar="N",
    )  # fmt: skip
    staging: str | None = option(
        None,
        "Local folder for files on their way to an output folder in an object store. Default: in the cache.",
        panel="Run",
        metavar="DIR",
    )
    resume: bool = option(
        True,
        "Continue an earlier run in the output folder. --no-resume: refuse a folder that holds a run.",
        panel="Run",
    )
    overwrite: bool = option(
        False, "Start over: replace the labels of an earlier run, and other label files in the way.", panel="Run"
    )
    discard_human: bool = option(
        False,
        "With --overwrite: also discard objects that people have drawn or corrected.",
        panel="Run",
    )
    retry_failed: bool = option(False, "Process images again that failed in an earlier run.", panel="Run")
    max_failures: int | None = option(None, "Abort after this many failed images.", low=1, panel="Run", metavar="N")
    compile: str = option(
        "auto",
        "Compile SAM with torch.compile (the start takes a minute or more). auto: only on CUDA "
        f"with {COMPILED_FROM} or more images. on: not useful on a CPU.",
        choices=("auto", "on", "off"),
        panel="SAM",
    )


@dataclass(frozen=True)
class MaskGeneratorOptions(Options):
    """Everything mode: segment-anything's options by their names, and a few more."""

    points_per_side: int | None = option(
        None,
        "Points per side of the sampling grid (32: 1,024 prompts). Default: 32, or the checkpoint's own.",
        recipe=True,
        low=1,
        panel="Masks",
        metavar="N",
    )
    points_per_batch: int = option(64, "Batch size of point prompts.", low=1, panel="Masks")
    pred_iou_thresh: float | None = option(
        None,
        "Keep masks with a predicted IoU above this. Default: 0.88, or the checkpoint's own.",
        recipe=True,
        panel="Masks",
        metavar="FLOAT",
    )
    stability_score_thresh: float | None = option(
        None,
        "Keep masks with at least this stability score. Default: 0.95, or the checkpoint's own.",
        recipe=True,
        panel="Masks",
        metavar="FLOAT",
    )
    stability_score_offset: float = option(
        1.0,
        "Logit offset used to compute the stability score.",
        recipe=True,
        low=0,
        panel="Masks",
    )
    box_nms_thresh: float = option(
        0.7,
        "NMS IoU threshold: of two masks whose boxes overlap by more than this, only the "
        "higher-scoring one is kept.",
        recipe=True,
        low=0,
        high=1,
        panel="Masks",
    )
    nms: str = option(
        "box",
        "IoU that NMS compares: of boxes, as in amg.py, or of masks.",
        recipe=True,
        choices=("box", "mask"),
        panel="Masks",
    )
    crop_n_layers: int = option(
        0,
        "Also run on crops of the image: 2^i x 2^i crops in layer i (0: off).",
        recipe=True,
        low=0,
        high=5,
        panel="Crops",
    )
    crop_nms_thresh: float = option(
        0.7, "NMS IoU threshold between masks of different crops.", recipe=True, low=0, high=1, panel="Crops"
    )
    crop_overlap_ratio: float = option(
        512 / 1500,
        "Overlap of crops as a fraction of the image's shorter side.",
        recipe=True,
        low=0,
        high=1,
        panel="Crops",
    )
    crop_n_points_downscale_factor: int = option(
        1,
        "In crop layer i, divide the number of points per side by this factor to the power i.",
        recipe=True,
        low=1,
        panel="Crops",
    )
    min_mask_region_area: int = option(
        0, "Fill holes and remove parts with fewer pixels than this (0: off).", recipe=True, low=0, panel="Masks"
    )
    exclusive: bool = option(
        False,
        "Make masks non-overlapping: a pixel that several masks cover belongs to the smallest.",
        recipe=True,
        panel="Masks",
    )
