"""The options of each command, composed of groups in the order of its help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from samcli.config.groups import (
    AnswerOptions,
    BoxPromptOptions,
    ClassMapOptions,
    DetectorOptions,
    EmbeddingOptions,
    FastSamOptions,
    FilterOptions,
    InputOptions,
    LabelOptions,
    MaskGeneratorOptions,
    NamingOptions,
    RunOptions,
    SamOptions,
    TextOptions,
)
from samcli.config.options import YES_NO, CommandOptions, Options, group, option

FORMAT_NAMES = (
    "yolo", "yolo-box", "coco", "coco-polygon", "fiftyone", "voc", "png", "labelme", "labelstudio", "cvat", "sa1b",
    "masks", "rle", "labelmap", "overlay", "cutouts", "logits", "edges", "proposals",
)  # fmt: skip
"""Of the formats that `--format` takes; a test holds them to be those of `samcli.labels.formats`."""


class JobOptions(Protocol):
    """What the options of all commands that work through a folder of images have in common."""

    @property
    def input(self) -> InputOptions: ...
    @property
    def segmenter(self) -> SamOptions: ...
    @property
    def naming(self) -> NamingOptions: ...
    @property
    def run(self) -> RunOptions: ...
    def recipe(self) -> dict[str, Any]: ...


def _formats(default: tuple[str, ...], help: str) -> Any:
    return option(default, help, recipe=True, choices=FORMAT_NAMES, panel="Labels", many=True)


@dataclass(frozen=True)
class AutoAnnotateOptions(CommandOptions):
    """All options of `samcli auto-annotate`."""

    input: InputOptions = group(InputOptions)
    detector: DetectorOptions = group(DetectorOptions)
    text_prompt: TextOptions = group(TextOptions)
    segmenter: SamOptions = group(SamOptions)
    store: EmbeddingOptions = group(EmbeddingOptions)
    prompting: BoxPromptOptions = group(BoxPromptOptions)
    filters: FilterOptions = group(FilterOptions)
    class_mapping: ClassMapOptions = group(ClassMapOptions)
    format: tuple[str, ...] = _formats(("yolo",), "Label format; may be repeated.")
    labels: LabelOptions = group(LabelOptions)
    naming: NamingOptions = group(NamingOptions)
    run: RunOptions = group(RunOptions)


@dataclass(frozen=True)
class EverythingOptions(CommandOptions):
    """All options of `samcli everything`."""

    input: InputOptions = group(InputOptions)
    segmenter: SamOptions = group(SamOptions)
    fastsam: FastSamOptions = group(FastSamOptions)
    store: EmbeddingOptions = group(EmbeddingOptions)
    masks: MaskGeneratorOptions = group(MaskGeneratorOptions)
    format: tuple[str, ...] = _formats(
        ("masks",), "What is written; may be repeated. masks: amg.py's folder of PNGs; rle: its JSON."
    )
    labels: LabelOptions = group(LabelOptions)
    naming: NamingOptions = group(NamingOptions)
    run: RunOptions = group(RunOptions)
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
class PromptOptions(CommandOptions):
    """All options of `samcli prompt`."""

    input: InputOptions = group(InputOptions)
    segmenter: SamOptions = group(SamOptions)
    fastsam: FastSamOptions = group(FastSamOptions)
    store: EmbeddingOptions = group(EmbeddingOptions)
    answers: AnswerOptions = group(AnswerOptions)
    filters: FilterOptions = group(FilterOptions)
    class_mapping: ClassMapOptions = group(ClassMapOptions)
    format: tuple[str, ...] = _formats(("yolo",), "Label format; may be repeated.")
    labels: LabelOptions = group(LabelOptions)
    naming: NamingOptions = group(NamingOptions)
    run: RunOptions = group(RunOptions)
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
class EncodeOptions(CommandOptions):
    """All options of `samcli encode`."""

    input: InputOptions = group(InputOptions)
    segmenter: SamOptions = group(SamOptions)
    naming: NamingOptions = group(NamingOptions)
    run: RunOptions = group(RunOptions)
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
class ExportOnnxOptions(CommandOptions):
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
class VerifyOptions(CommandOptions):
    """All options of `samcli verify`."""

    min_area: float = option(
        1e-6, "Polygons of a smaller share of the image are slivers; 0: none are.", low=0, high=1
    )
    min_fill: float = option(0.1, "Masks that fill less of the box that prompted them are doubtful.", low=0, high=1)
    ignore: tuple[str, ...] = option(
        (), "Leave out findings of this kind; may be repeated.", many=True, metavar="KIND"
    )


@dataclass(frozen=True)
class ConvertOptions(CommandOptions):
    """All options of `samcli convert`."""

    input: InputOptions = group(InputOptions)
    class_mapping: ClassMapOptions = group(ClassMapOptions)
    format: tuple[str, ...] = option(
        (), "Format to write; may be repeated.", choices=FORMAT_NAMES, panel="Labels", many=True, flag="--to"
    )
    labels: LabelOptions = group(LabelOptions)
    naming: NamingOptions = group(NamingOptions)
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
class EvalOptions(CommandOptions):
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
class SearchOptions(Options):
    """The values that `samcli tune` tries, by the names of auto-annotate's options."""

    conf: str = option(
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


@dataclass(frozen=True)
class TuneOptions(CommandOptions):
    """All options of `samcli tune`."""

    input: InputOptions = group(InputOptions)
    detector: DetectorOptions = group(DetectorOptions, without=("conf",))
    search: SearchOptions = group(SearchOptions)
    text_prompt: TextOptions = group(TextOptions)
    segmenter: SamOptions = group(SamOptions)
    filters: FilterOptions = group(FilterOptions)
    class_mapping: ClassMapOptions = group(ClassMapOptions)
    objective: str = option(
        "quality", "What is to be high, at IoU .5: panoptic quality (IoU times F1) of all objects, its mean over "
        "the truth's classes, or F1 alone.", choices=("quality", "class-quality", "f1"), panel="Objective",
    )  # fmt: skip
    tolerance: float = option(
        0.002, "Take the polygons with the fewest points whose objective is at most this below the best.",
        low=0, high=1, panel="Objective",
    )  # fmt: skip


@dataclass(frozen=True)
class DatasetOptions(CommandOptions):
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
class BenchOptions(CommandOptions):
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


COMMANDS: dict[str, type[CommandOptions]] = {
    "auto-annotate": AutoAnnotateOptions,
    "prompt": PromptOptions,
    "everything": EverythingOptions,
    "encode": EncodeOptions,
    "convert": ConvertOptions,
    "verify": VerifyOptions,
    "eval": EvalOptions,
    "tune": TuneOptions,
    "dataset": DatasetOptions,
    "export-onnx": ExportOnnxOptions,
    "bench": BenchOptions,
}
"""The options of each command that has some."""
