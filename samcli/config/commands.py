"""The options of each command, composed from groups."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from samcli.config.options import YES_NO, Options, option

FORMAT_NAMES = (
    "yolo", "yolo-box", "coco", "coco-polygon", "fiftyone", "voc", "png", "labelme", "labelstudio", "cvat", "sa1b",
    "masks", "rle", "labelmap", "overlay", "cutouts", "logits", "edges", "proposals",
)  # fmt: skip
"""Of the formats that `--format` takes; a test holds them to be those of `samcli.labels.formats`."""

COMPILED_FROM = 200
"""Images still to do from which on the minutes of compiling are taken to pay off on a GPU."""


@dataclass(frozen=True)
class InputOptions(Options):
    """Which images."""

    max_pixels: int = option(500_000_000, "Images of more pixels are recorded as failed.", low=1, panel="Input")
    image_timeout: float = option(
        300.0,
        "Record an image as failed that is not decoded after this many seconds, e.g. on a network mount that does "
        "not answer (0 = no limit).",
        low=0,
        panel="Input",
    )


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
        None, "Least score. Default: 0.25.", recipe=True, low=0, high=1, panel="FastSAM", metavar="FLOAT"
    )
    iou: float | None = option(
        None, "Boxes that overlap more are one. Default: 0.7.", recipe=True, low=0, high=1, panel="FastSAM",
        metavar="FLOAT",
    )  # fmt: skip
    imgsz: int | None = option(
        None, "Input size in pixels. Default: what it was trained with, 1024 for the published ones.", recipe=True,
        low=32, panel="FastSAM", metavar="N",
    )  # fmt: skip
    max_det: int | None = option(
        None, "Most objects in an image. Default: 300.", recipe=True, low=1, panel="FastSAM", metavar="N"
    )
    trust_weights: bool = _trust_weights("FastSAM")

    def recipe(self) -> dict[str, Any]:
        """Without those of these options that were not given: they say nothing about a run with SAM."""
        names = {entry.name for entry in dataclasses.fields(FastSamOptions)}
        return {k: v for k, v in super().recipe().items() if v is not None or k not in names}


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
    """What is written, and how."""

    format: tuple[str, ...] = option(
        ("yolo",), "Label format; may be repeated.", recipe=True, choices=FORMAT_NAMES, panel="Labels", many=True
    )
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


@dataclass(frozen=True)
class JobOptions(RunOptions, NamingOptions, SamOptions, InputOptions):
    """What all commands that work through a folder of images have in common."""

    compile: str = option(
        "auto",
        "Let torch.compile compile SAM's stock modules, for a minute or more at first: auto does on CUDA from "
        f"{COMPILED_FROM} images on, where there is a C++ compiler. On takes the place of samcli's own forward, "
        "which is the faster one on a CPU.",
        choices=("auto", "on", "off"),
        panel="SAM",
    )


@dataclass(frozen=True)
class AutoAnnotateOptions(
    JobOptions, RunOptions, NamingOptions, LabelOptions, ClassMapOptions, FilterOptions, BoxPromptOptions,
    EmbeddingOptions, SamOptions, TextOptions, DetectorOptions, InputOptions,
):  # fmt: skip
    """All options of `samcli auto-annotate` (a dataclass takes its fields from the last base first)."""


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


@dataclass(frozen=True)
class EverythingOptions(
    JobOptions, RunOptions, NamingOptions, LabelOptions, MaskGeneratorOptions, EmbeddingOptions, FastSamOptions,
    SamOptions, InputOptions,
):  # fmt: skip
    """All options of `samcli everything`."""

    format: tuple[str, ...] = option(
        ("masks",),
        "What is written; may be repeated. masks: amg.py's folder of PNGs; rle: its JSON.",
        recipe=True,
        choices=FORMAT_NAMES,
        panel="Labels",
        many=True,
    )
    convert_to_rle: bool = option(False, "amg.py's JSON instead of its PNGs.", recipe=True, panel="Labels")
    edges: bool = option(False, "Also the SAM paper's edge map, as PNG.", recipe=True, panel="Labels")
    proposals: bool = option(
        False, "Also ranked object proposals of all images, as COCO results.", recipe=True, panel="Labels"
    )
    point_grid: str | None = option(
        None, "File of points (0..1) to click instead of a grid: .npy, .json, or x,y lines.", recipe=True,
        panel="Masks", metavar="FILE",
    )  # fmt: skip


@dataclass(frozen=True)
class PromptOptions(
    JobOptions, RunOptions, NamingOptions, LabelOptions, ClassMapOptions, FilterOptions, AnswerOptions,
    EmbeddingOptions, FastSamOptions, SamOptions, InputOptions,
):  # fmt: skip
    """All options of `samcli prompt`."""

    point: tuple[str, ...] = option(
        (), "A point in pixels; label 1 (object, the default) or 0 (background). All points are one object.",
        recipe=True, panel="Prompts", many=True, metavar="x,y[,label]",
    )  # fmt: skip
    box: tuple[str, ...] = option(
        (), "A box in pixels; each is an object.", recipe=True, panel="Prompts", many=True, metavar="x1,y1,x2,y2"
    )
    mask_input: str | None = option(
        None, "Logits (h, w) of an earlier mask to start from: one of those that --save-logits wrote.", recipe=True,
        panel="Prompts", metavar="FILE.npy",
    )  # fmt: skip
    prompts: str | None = option(
        None,
        "Prompts of many images: .json, .jsonl, .csv, a COCO file, or a folder of YOLO labels.",
        recipe=True,
        panel="Prompts",
        metavar="FILE|DIR",
    )
    names: str | None = option(
        None,
        "Class names of YOLO labels in --prompts: a data.yaml, or a name a line. Default: beside them.",
        panel="Prompts",
        metavar="FILE",
    )
    multimask: bool = option(False, "All three masks that SAM has for each prompt.", recipe=True, panel="Masks")
    cutout: bool = option(False, "Also every object cut out on transparency, as PNG.", recipe=True, panel="Labels")
    overlay: bool = option(False, "Also each image with its masks drawn on it.", recipe=True, panel="Labels")
    save_logits: bool = option(
        False,
        "Also low-resolution logits as .npy, (masks, h, w): each of them is a --mask-input.",
        recipe=True,
        panel="Labels",
    )


@dataclass(frozen=True)
class EncodeOptions(JobOptions, RunOptions, NamingOptions, SamOptions, InputOptions):
    """All options of `samcli encode`."""

    dtype: str = option(
        "fp16",
        "Numbers in the files: fp16 is half as large, fp32 loses nothing.",
        recipe=True,
        choices=("fp16", "fp32", "bf16"),
        panel="Embeddings",
    )
    npy: bool = option(
        False,
        "Also (1,C,h,w) float32 .npy files, as segment-anything's browser demos read them.",
        recipe=True,
        panel="Embeddings",
    )


@dataclass(frozen=True)
class ExportOnnxOptions(Options):
    """All options of `samcli export-onnx`."""

    sam: str = option(
        SamOptions.sam, "SAM 1 checkpoint: a known name, a path, or 'tiny' (embedded).", metavar="NAME|PATH"
    )
    return_single_mask: bool = option(False, "Return only the best mask instead of all four.")
    use_stability_score: bool = option(False, "Score masks by their stability instead of the predicted IoU.")
    return_extra_metrics: bool = option(False, "Return stability scores and areas of the masks too.")
    gelu_approximate: bool = option(False, "GELU by tanh, for runtimes whose erf is slow or missing.")
    opset: int = option(18, "Version of the ONNX operators.", low=17)
    encoder: bool = option(False, "Write the image encoder too, to NAME.encoder.onnx beside.")
    quantize: bool = option(
        False, "Write a twin of each file with eight-bit weights, to NAME.quantized.onnx beside."
    )


@dataclass(frozen=True)
class VerifyOptions(Options):
    """All options of `samcli verify`."""

    min_area: float = option(
        1e-6, "Polygons of a smaller share of the image are slivers; 0: none are.", low=0, high=1
    )
    min_fill: float = option(0.1, "Masks that fill less of the box that prompted them are doubtful.", low=0, high=1)
    ignore: tuple[str, ...] = option(
        (), "Leave out findings of this kind; may be repeated.", many=True, metavar="KIND"
    )


@dataclass(frozen=True)
class ConvertOptions(NamingOptions, LabelOptions, ClassMapOptions, InputOptions):
    """All options of `samcli convert`."""

    format: tuple[str, ...] = option(
        (), "Format to write; may be repeated.", choices=FORMAT_NAMES, panel="Labels", many=True, flag="--to"
    )
    source_format: str | None = option(
        None, "Format of the labels. Default: a run's records, or what they look like.", panel="Input",
        flag="--from", metavar="FORMAT",
    )  # fmt: skip
    images: str | None = option(
        None, "Folder of the images. Default: where a run had them, or images/ beside labels/.", panel="Input",
        metavar="DIR",
    )  # fmt: skip
    overwrite: bool = option(False, "Write into a folder that is not empty.", panel="Labels")


@dataclass(frozen=True)
class EvalOptions(Options):
    """All options of `samcli eval`."""

    class_agnostic: bool = option(False, "All classes count as one: only places are looked at.")
    match_classes: str = option(
        "auto", "Classes are the same by name or by id; auto: by name where both sides have names.",
        choices=("auto", "name", "id"),
    )  # fmt: skip
    match: str = option(
        "auto", "Who chooses first: the surest prediction, as COCO has it, or the best pair (iou); auto: by score "
        "where all predictions have one.", choices=("auto", "score", "iou"),
    )  # fmt: skip
    worst_count: int = option(12, "Images on the sheet of the worst (--worst), and in the list.", low=1, high=400)


@dataclass(frozen=True)
class TuneOptions(
    ClassMapOptions, FilterOptions, SamOptions, TextOptions, DetectorOptions, InputOptions,
):  # fmt: skip
    """All options of `samcli tune`. Those that are tuned bear auto-annotate's names, and take values to try."""

    conf: str = option(  # type: ignore[assignment]  # a list here
        "0.05,0.1,0.15,0.2,0.25,0.3,0.4,0.5,0.6,0.7", "Least detector scores to try.", panel="Tried",
        metavar="FLOAT,...",
    )  # fmt: skip
    box_padding: str = option(
        "0,0.05,0.1", "Shares by which boxes grow to try.", panel="Tried", metavar="FLOAT,..."
    )
    best_mask: str = option(
        "no,yes", "SAM's single mask, the best of three, or both.", panel="Tried", metavar=YES_NO
    )
    refine: str = option("0,1", "Numbers of refining steps to try.", panel="Tried", metavar="N,...")
    min_polygon_iou: str = option(
        "0.8,0.85,0.9,0.95,0.98,0.99", "Fidelities of polygons to try, with the best of the rest.", panel="Tried",
        metavar="FLOAT,...",
    )  # fmt: skip
    objective: str = option(
        "quality", "What is to be high, at IoU .5: panoptic quality (IoU times F1) of all objects, its mean over "
        "the truth's classes, or F1 alone.", choices=("quality", "class-quality", "f1"), panel="Objective",
    )  # fmt: skip
    tolerance: float = option(
        0.002, "Take the polygons with the fewest points whose objective is at most this below the best.",
        low=0, high=1, panel="Objective",
    )  # fmt: skip


@dataclass(frozen=True)
class DatasetOptions(Options):
    """All options of `samcli dataset`."""

    split: str = option(
        "0.8/0.1/0.1", "Shares of train, val and test; two numbers: no test.", metavar="TRAIN/VAL[/TEST]"
    )
    seed: int = option(0, "Another seed, another split; the same, the same.", low=0)
    group_by: str | None = option(
        None, "Images whose keys agree in the first group of this pattern stay together.", metavar="REGEX"
    )
    link: str = option(
        "hard", "How images get there; where hard links cannot be made they are copied.",
        choices=("hard", "symlink", "copy"),
    )  # fmt: skip
    unlabelled: str = option(
        "skip", "Images without a label file: left out, or taken as showing nothing.",
        choices=("skip", "background"),
    )  # fmt: skip


@dataclass(frozen=True)
class BenchOptions(Options):
    """All options of `samcli bench`."""

    models: str = option("tiny", "Models to measure: known names or paths.", metavar="NAME|PATH,...")
    random_weights: bool = option(
        False, "A known model that is not here gets random weights of its architecture: as fast, and offline."
    )
    against: str | None = option(
        None, "Also others, with the same weights on the same images, in turn: segment-anything, ultralytics, "
        "transformers.", metavar="NAME,...",
    )  # fmt: skip
    tasks: str = option("encode,box,everything", "What to measure.", metavar="NAME,...")
    images: int = option(1, "So many images.", low=1)
    boxes: int = option(10, "Boxes in an image.", low=1)
    points_per_side: int = option(16, "Clicks a side of everything's grid; that of the others too.", low=1)
    rounds: int = option(3, "How often all take their turn.", low=1)
    device: str = option(SamOptions.device, "cpu, cuda, cuda:1, mps, or auto.", metavar="DEVICE")
    precision: str = option(
        SamOptions.precision, "Arithmetic of samcli; the others compute as they come, in fp32.",
        choices=("auto", "fp32", "bf16", "fp16"),
    )  # fmt: skip
    threads: int | None = option(None, "Threads of each network. Default: as torch likes.", low=1, metavar="N")
    stages: bool = option(False, "Also where the time of an image goes.")
    growth: bool = option(
        False,
        "Instead: time and memory as images, prompts, pixels and journals grow.",
        panel="Instead of the table",
    )
    targets: bool = option(
        False, "Instead: the project's targets beside what is reached here.", panel="Instead of the table"
    )
    only: str | None = option(
        None, "Of the curves of --growth or the rows of --targets just these.", panel="Instead of the table",
        metavar="NAME,...",
    )  # fmt: skip
    extent: float = option(
        1.0, "How far the curves of --growth, and the long runs of --targets, go: a share of their full length.",
        low=0.0001, high=1, panel="Instead of the table",
    )  # fmt: skip
