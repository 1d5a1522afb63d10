"""The options of each command, composed of groups in the order of its help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from samcli.config.groups import (
    AnswerOptions,
    BoxPromptOptions,
    ClassMapOptions,
    DetectorOptions,
    DuplicateOptions,
    EmbeddingOptions,
    ExistingOptions,
    FastSamOptions,
    FilterOptions,
    InputOptions,
    LabelOptions,
    MaskGeneratorOptions,
    NamingOptions,
    ReadingOptions,
    RegionOptions,
    RunOptions,
    SamOptions,
    SourceOptions,
    SpeckOptions,
    TextOptions,
    TileOptions,
)
from samcli.config.options import YES_NO, CommandOptions, Options, declared, former_flag_of, group, option

FORMAT_NAMES = (
    "yolo", "yolo-box", "coco", "coco-polygon", "fiftyone", "voc", "png", "labelme", "labelstudio", "cvat", "sa1b",
    "masks", "rle", "labelmap", "overlay", "cutouts", "logits", "edges", "proposals", "parquet",
)  # fmt: skip
"""Of the formats that `--format` takes; a test holds them to be those of `samcli.labels.formats`."""


class JobOptions(Protocol):
    """Options shared by all commands that process a folder of images."""

    @property
    def input(self) -> InputOptions: ...
    @property
    def source(self) -> SourceOptions: ...
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
    source: SourceOptions = group(SourceOptions)
    detector: DetectorOptions = group(DetectorOptions)
    tiles: TileOptions = group(TileOptions)
    regions: RegionOptions = group(RegionOptions)
    text_prompt: TextOptions = group(TextOptions)
    segmenter: SamOptions = group(SamOptions)
    store: EmbeddingOptions = group(EmbeddingOptions)
    prompting: BoxPromptOptions = group(BoxPromptOptions)
    duplicates: DuplicateOptions = group(DuplicateOptions)
    specks: SpeckOptions = group(SpeckOptions)
    filters: FilterOptions = group(FilterOptions)
    class_mapping: ClassMapOptions = group(ClassMapOptions)
    format: tuple[str, ...] = _formats(("yolo",), "Label format; may be repeated.")
    labels: LabelOptions = group(LabelOptions)
    found: ExistingOptions = group(ExistingOptions)
    naming: NamingOptions = group(NamingOptions)
    run: RunOptions = group(RunOptions)


@dataclass(frozen=True)
class EverythingOptions(CommandOptions):
    """All options of `samcli everything`."""

    input: InputOptions = group(InputOptions)
    source: SourceOptions = group(SourceOptions)
    tiles: TileOptions = group(TileOptions)
    regions: RegionOptions = group(RegionOptions)
    segmenter: SamOptions = group(SamOptions)
    fastsam: FastSamOptions = group(FastSamOptions)
    store: EmbeddingOptions = group(EmbeddingOptions)
    masks: MaskGeneratorOptions = group(MaskGeneratorOptions)
    format: tuple[str, ...] = _formats(
        ("masks",),
        "Output format; may be repeated. masks: folder of PNGs as from amg.py. rle: JSON as from amg.py.",
    )
    labels: LabelOptions = group(LabelOptions)
    naming: NamingOptions = group(NamingOptions)
    run: RunOptions = group(RunOptions)
    convert_to_rle: bool = option(
        False, "Write JSON with RLE masks as amg.py does, instead of PNGs.", recipe=True, panel="Labels"
    )
    edges: bool = option(False, "Also write the edge map of the SAM paper, as PNG.", recipe=True, panel="Labels")
    proposals: bool = option(
        False, "Also write ranked object proposals of all images, as COCO results.", recipe=True, panel="Labels"
    )
    point_grid: str | None = option(
        None,
        "File of normalised point coordinates (0 to 1) that replace the sampling grid: .npy, .json, or x,y lines.",
        recipe=True,
        panel="Masks",
        metavar="FILE",
    )


@dataclass(frozen=True)
class PromptOptions(CommandOptions):
    """All options of `samcli prompt`."""

    input: InputOptions = group(InputOptions)
    source: SourceOptions = group(SourceOptions)
    reading: ReadingOptions = group(ReadingOptions)
    tiles: TileOptions = group(TileOptions)
    segmenter: SamOptions = group(SamOptions)
    fastsam: FastSamOptions = group(FastSamOptions)
    store: EmbeddingOptions = group(EmbeddingOptions)
    answers: AnswerOptions = group(AnswerOptions)
    specks: SpeckOptions = group(SpeckOptions)
    filters: FilterOptions = group(FilterOptions)
    class_mapping: ClassMapOptions = group(ClassMapOptions)
    format: tuple[str, ...] = _formats(("yolo",), "Label format; may be repeated.")
    labels: LabelOptions = group(LabelOptions)
    found: ExistingOptions = group(ExistingOptions)
    naming: NamingOptions = group(NamingOptions)
    run: RunOptions = group(RunOptions)
    point: tuple[str, ...] = option(
        (),
        "Point in pixels with label 1 (foreground, default) or 0 (background); may be repeated. "
        "All points belong to one object.",
        recipe=True,
        panel="Prompts",
        many=True,
        metavar="x,y[,label]",
    )
    box: tuple[str, ...] = option(
        (),
        "Box in pixels; may be repeated. Each box is one object.",
        recipe=True,
        panel="Prompts",
        many=True,
        metavar="x1,y1,x2,y2",
    )
    mask_input: str | None = option(
        None,
        "Mask prompt: logits (h, w) of an earlier mask, from --save-logits.",
        recipe=True,
        panel="Prompts",
        metavar="FILE.npy",
    )
    prompts: str | None = option(
        None,
        "Prompts for many images: .json, .jsonl, .csv, or labels in any format that convert reads.",
        recipe=True,
        panel="Prompts",
        metavar="FILE|DIR",
    )
    names: str | None = option(
        None,
        "Class names of YOLO labels in --prompts: a data.yaml, or a text file with one name per "
        "line. Default: those found beside the labels.",
        panel="Prompts",
        metavar="FILE",
    )
    multimask: bool = option(
        False, "Write all three masks of SAM's multimask output for each prompt.", recipe=True, panel="Masks"
    )
    cutout: bool = option(
        False, "Also write each object as a PNG with a transparent background.", recipe=True, panel="Labels"
    )
    overlay: bool = option(
        False, "Also write each image with its masks and prompts drawn on it.", recipe=True, panel="Labels"
    )
    save_logits: bool = option(
        False,
        "Also write low-resolution logits as .npy of shape (masks, h, w); each can be a --mask-input.",
        recipe=True,
        panel="Labels",
    )


@dataclass(frozen=True)
class EncodeOptions(CommandOptions):
    """All options of `samcli encode`."""

    input: InputOptions = group(InputOptions)
    source: SourceOptions = group(SourceOptions)
    tiles: TileOptions = group(TileOptions)
    segmenter: SamOptions = group(SamOptions)
    naming: NamingOptions = group(NamingOptions)
    run: RunOptions = group(RunOptions)
    dtype: str = option(
        "fp16",
        "Data type of stored embeddings. fp16: half the size. fp32: lossless.",
        recipe=True,
        choices=("fp16", "fp32", "bf16"),
        panel="Embeddings",
    )
    npy: bool = option(
        False,
        "Also write float32 .npy files of shape (1, C, h, w), as segment-anything's browser demo reads them.",
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
    use_stability_score: bool = option(False, "Return stability scores in place of predicted IoUs.")
    return_extra_metrics: bool = option(False, "Also return stability scores and areas of the masks.")
    gelu_approximate: bool = option(False, "Approximate GELU with tanh, for runtimes whose erf is slow or missing.")
    opset: int = option(18, "ONNX opset version.", low=17)
    encoder: bool = option(False, "Also write the image encoder, to NAME.encoder.onnx.")
    quantize: bool = option(False, "Also write an int8-quantized copy of each file, to NAME.quantized.onnx.")


@dataclass(frozen=True)
class ReviewOptions(CommandOptions):
    """All options of `samcli review`."""

    host: str = option(
        "127.0.0.1",
        "Address to serve at. Any other than this machine's own lets others on the network, who have the address, "
        "see the images and change the labels.",
        metavar="HOST",
    )
    port: int = option(0, "Port to serve at (0: a free one).", low=0, high=65535)
    browser: bool = option(True, "Open the page in the browser.")
    sam: str | None = option(
        None,
        "SAM checkpoint that is prompted with points. Default: that of the run.",
        panel="SAM",
        metavar="NAME|PATH",
    )
    device: str = option(
        "auto", "Device of the network: cpu, cuda, cuda:1, mps or auto.", panel="SAM", metavar="DEVICE"
    )
    embeddings: str | None = option(
        None,
        "Reuse image embeddings from `samcli encode`; images missing there are encoded when they are opened.",
        panel="SAM",
        metavar="DIR",
    )


@dataclass(frozen=True)
class VerifyOptions(CommandOptions):
    """All options of `samcli verify`."""

    min_area: float = option(
        1e-6, "Warn about polygons smaller than this fraction of the image (0: off).", low=0, high=1
    )
    min_fill: float = option(0.1, "Warn when mask area / prompt box area is below this.", low=0, high=1)
    imgsz: int | None = option(
        None,
        "Input size in pixels of the training: warn about objects that are lost at this size.",
        low=32,
        metavar="PIXELS",
    )
    ignore: tuple[str, ...] = option(
        (), "Ignore findings of this kind; may be repeated.", many=True, metavar="KIND"
    )
    strict: bool = option(False, "Exit status 3 for warnings too, not only for errors.")


@dataclass(frozen=True)
class ConvertOptions(CommandOptions):
    """All options of `samcli convert`."""

    input: InputOptions = group(InputOptions)
    reading: ReadingOptions = group(ReadingOptions)
    class_mapping: ClassMapOptions = group(ClassMapOptions)
    format: tuple[str, ...] = option(
        (), "Format to write; may be repeated.", choices=FORMAT_NAMES, panel="Labels", many=True, flag="--to"
    )
    labels: LabelOptions = group(LabelOptions)
    naming: NamingOptions = group(NamingOptions)
    source_format: str | None = option(
        None,
        "Format of the labels to read. Default: for a run, its records; else detected from the files.",
        panel="Input",
        flag="--from",
        metavar="FORMAT",
    )
    images: str | None = option(
        None,
        "Folder of the images. Default: the input of the run, or images/ beside labels/.",
        panel="Input",
        metavar="DIR",
    )
    incomplete: str | None = option(
        None,
        "What to do with images in which an object has no label: skip leaves them out, keep uses the labels they "
        "have. Default: skip those of a run, keep others.",
        choices=("skip", "keep"),
        panel="Labels",
    )
    overwrite: bool = option(False, "Write into a folder that is not empty.", panel="Labels")


@dataclass(frozen=True)
class EvalOptions(CommandOptions):
    """All options of `samcli eval`."""

    class_agnostic: bool = option(False, "Ignore class labels when matching.")
    match_classes: str = option(
        "auto",
        "Match classes by name or by id. auto: by name where both sides have names.",
        choices=("auto", "name", "id"),
    )
    match: str = option(
        "auto",
        "Matching order. score: greedy by confidence, as in COCO. iou: greedy by highest IoU. "
        "auto: score where all predictions have one.",
        choices=("auto", "score", "iou"),
    )
    rescale: bool = option(False, "Scale labels to the image where they state another image size.")
    worst_count: int = option(
        12, "Number of images on the sheet of the worst images (--worst) and in the list.", low=1, high=400
    )


@dataclass(frozen=True)
class SearchOptions(Options):
    """The values that `samcli tune` tries, by the names of auto-annotate's options."""

    conf: str = option(
        "0.05,0.1,0.15,0.2,0.25,0.3,0.4,0.5,0.6,0.7",
        "Confidence thresholds to try.",
        panel="Search space",
        metavar="FLOAT,...",
    )
    box_padding: str = option(
        "0,0.05,0.1", "Box expansion fractions to try.", panel="Search space", metavar="FLOAT,..."
    )
    best_mask: str = option(
        "no,yes",
        "Whether to use the best mask of the multimask output: no, yes, or both.",
        panel="Search space",
        metavar=YES_NO,
    )
    refine: str = option("0,1", "Numbers of refinement passes to try.", panel="Search space", metavar="N,...")
    tile: str = option(
        "off",
        "Tile sizes to try: pixels, auto, or off (images as a whole).",
        panel="Search space",
        metavar="off,N,auto",
    )
    min_polygon_iou: str = option(
        "0.8,0.85,0.9,0.95,0.98,0.99",
        "Polygon IoUs to try, with the best values of the other options.",
        panel="Search space",
        metavar="FLOAT,...",
    )


@dataclass(frozen=True)
class TuneOptions(CommandOptions):
    """All options of `samcli tune`."""

    input: InputOptions = group(InputOptions)
    detector: DetectorOptions = group(DetectorOptions, without=("conf",))
    search: SearchOptions = group(SearchOptions)
    tiles: TileOptions = group(TileOptions, without=("tile",))
    text_prompt: TextOptions = group(TextOptions)
    segmenter: SamOptions = group(SamOptions)
    filters: FilterOptions = group(FilterOptions)
    class_mapping: ClassMapOptions = group(ClassMapOptions)
    objective: str = option(
        "quality",
        "Metric to maximise, at IoU 0.5. quality: panoptic quality (mean IoU x F1) of all "
        "objects. class-quality: its mean over the ground-truth classes. f1: F1 alone.",
        choices=("quality", "class-quality", "f1"),
        panel="Objective",
    )
    tolerance: float = option(
        0.002,
        "Choose the simplest polygons whose metric is at most this much below the best.",
        low=0,
        high=1,
        panel="Objective",
    )


@dataclass(frozen=True)
class DatasetOptions(CommandOptions):
    """All options of `samcli dataset`."""

    split: str = option(
        "0.8/0.1/0.1",
        "Train, val and test fractions; with two numbers there is no test split.",
        metavar="TRAIN/VAL[/TEST]",
    )
    seed: int = option(0, "Random seed of the split (same seed: same split).", low=0)
    group_by: str | None = option(
        None,
        "Regular expression on image paths; images with the same first capture group (e.g. a "
        "video id) stay in one split.",
        metavar="REGEX",
    )
    incomplete: str = option(
        "skip",
        "What to do with images in which an object has no label (bad masks, objects that could not be read): skip "
        "leaves them out, keep uses the labels they have.",
        choices=("skip", "keep"),
    )
    link: str = option(
        "hard",
        "How images are placed: hard link, symbolic link or copy. Images that cannot be linked are copied.",
        choices=("hard", "symlink", "copy"),
    )
    unlabelled: str = option(
        "skip",
        "Images without a label file. skip: leave them out. background: add them without objects.",
        choices=("skip", "background"),
    )


@dataclass(frozen=True)
class BenchOptions(CommandOptions):
    """All options of `samcli bench`."""

    models: str = option("tiny", "Models to measure: known names or paths.", metavar="NAME|PATH,...")
    random_weights: bool = option(
        False,
        "Give known models that are not downloaded random weights; the speed is the same.",
    )
    tasks: str = option("encode,box,everything", "Tasks to measure.", metavar="NAME,...")
    images: int = option(1, "Number of images.", low=1)
    boxes: int = option(10, "Number of boxes per image in the task box.", low=1)
    points_per_side: int = option(16, "Points per side of the grid in the task everything.", low=1)
    rounds: int = option(3, "Repetitions; the median is shown.", low=1)
    device: str = option(
        SamOptions.device, "Device of the networks: cpu, cuda, cuda:1, mps or auto.", metavar="DEVICE"
    )
    precision: str = option(
        SamOptions.precision,
        "Inference precision. auto: the fastest that the device supports (bf16 or fp16). fp32: reference results.",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    threads: int | None = option(None, "Threads per network. Default: the default of PyTorch.", low=1, metavar="N")
    stages: bool = option(False, "Also print the time per stage: decode, encode, masks, polygons, write.")


COMMANDS: dict[str, type[CommandOptions]] = {
    "auto-annotate": AutoAnnotateOptions,
    "prompt": PromptOptions,
    "everything": EverythingOptions,
    "encode": EncodeOptions,
    "review": ReviewOptions,
    "convert": ConvertOptions,
    "verify": VerifyOptions,
    "eval": EvalOptions,
    "tune": TuneOptions,
    "dataset": DatasetOptions,
    "export-onnx": ExportOnnxOptions,
    "bench": BenchOptions,
}
"""The options of each command that has some."""


def former_flags() -> frozenset[str]:
    """Return the earlier names of options: still read, and shown nowhere."""
    entries = (entry for kind in COMMANDS.values() for entry in declared(kind))
    return frozenset(flag for entry in entries if (flag := former_flag_of(entry)))
