"""The command line: parse, build options, run, show what became of it, exit.

No numpy, no torch here: help must come up at once. What a command needs it imports when it runs.
"""

from __future__ import annotations

import importlib
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from samcli.cli.app import ClassMapFile, Config, Given, announce, command, log, models_app
from samcli.config import (
    AutoAnnotateOptions,
    BenchOptions,
    CommandOptions,
    ConvertOptions,
    DatasetOptions,
    EncodeOptions,
    EvalOptions,
    EverythingOptions,
    ExportOnnxOptions,
    JobOptions,
    PromptOptions,
    ReviewOptions,
    TuneOptions,
    VerifyOptions,
)
from samcli.errors import UsageError
from samcli.sam.threads import fit_threads

if typing.TYPE_CHECKING:
    from samcli.jobs.base import Job


Data = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DATA...",
        help="Images, folders (searched recursively), patterns ('data/**/*.jpg'), a list of paths (.txt, or - for "
        "standard input), a data.yaml, or a COCO .json with its images.",
        show_default=False,
    ),
]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input", "-i", metavar="PATH", help="Same as the argument; may be repeated.", show_default=False
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Output folder; the folder tree of the input is mirrored. "
        r"[dim]\[default: beside the input; images/ becomes labels/][/]",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be done and any conflicts; write nothing.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Moved = Annotated[str | None, typer.Option(hidden=True)]
"""An option of `bench` that is now one of a script; removed in the version after 0.1."""
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Hide progress; print only the result and errors.")]


def _input_of(data: list[str] | None, input: list[str] | None, example: str) -> list[str]:
    """`example`: what a whole command line may look like."""
    if data and input:
        raise UsageError(f"two inputs: {data[0]} and --input {input[0]}; give one or the other")
    if not (given := data or input):
        raise UsageError(f"no input: give an image or a folder, e.g. samcli {example}")
    return given


def _job_command(
    name: str, kind: type[CommandOptions], home: str, description: str, example: str = "photos/"
) -> None:
    """Register a command that runs a job over images; `home` is its class, imported when it runs.

    `example`: arguments of the command, for error messages.
    """

    def run(
        given: Given,
        data: Data = None,
        input: Input = None,
        output: Output = None,
        config: Config = None,
        dry_run: DryRun = False,
        json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        options = given.options(kind, config)
        fit_threads(typing.cast(JobOptions, options).run.threads)  # before anything imports torch
        where = _input_of(data, input, f"{name} {example}")
        announce(*where, quiet=quiet)
        module, _, class_name = home.partition(":")
        job_class: Callable[[CommandOptions], Job[Any]] = getattr(importlib.import_module(module), class_name)
        job = job_class(options)
        _run(job, where, output, dry_run=dry_run, json=json, quiet=quiet)

    run.__doc__ = description
    command(name, kind)(run)


_job_command(
    "auto-annotate",
    AutoAnnotateOptions,
    "samcli.jobs.auto_annotate:AutoAnnotate",
    "Label a folder of images: the boxes of a detector prompt SAM, the masks become labels. "
    "Interrupted runs resume.",
)
_job_command(
    "prompt",
    PromptOptions,
    "samcli.jobs.prompt:Prompt",
    "Segment objects by points and boxes: the same for every image, or per image from a file (--prompts).",
    example="photo.jpg --point 320,240",
)
_job_command(
    "everything",
    EverythingOptions,
    "samcli.jobs.everything:Everything",
    "Segment everything in each image: segment-anything's automatic mask generator, with the options of amg.py.",
)
_job_command(
    "encode",
    EncodeOptions,
    "samcli.jobs.encode:Encode",
    "Store SAM's image embeddings of a folder; other commands reuse them with --embeddings.",
)


def _run(
    job: Job[Any], arguments: list[str], output: str | None, *, dry_run: bool, json: bool, quiet: bool
) -> None:
    """Run a job, show what became of it, and exit."""
    from samcli.cli.report.progress import Progress
    from samcli.cli.report.runs import print_summary, show_dry_run
    from samcli.jobs.inputs import open_inputs
    from samcli.jobs.run import run_job

    data = open_inputs(arguments, job.options.source)
    if dry_run:
        show_dry_run(job, data, output, as_json=json)
        return
    with Progress(quiet=quiet) as progress:
        summary = run_job(job, data, output, starting=progress.start)
    if json:
        print(summary.as_json())
    else:
        print_summary(summary)
    raise typer.Exit(summary.exit_status)


@command("status")
def status(
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Output folder of a run.")],
    failures: Annotated[bool, typer.Option("--failures", help="List every failed image with its reason.")] = False,
    incomplete: Annotated[bool, typer.Option("--incomplete", help="List images that trainers do not get.")] = False,
    reasons: Annotated[
        bool,
        typer.Option(
            "--reasons", help="Count the reasons why images failed and objects were discarded, with examples."
        ),
    ] = False,
    json: AsJson = False,
) -> None:
    """Show the progress of a run, also while it runs."""
    from samcli.cli.report.runs import print_status
    from samcli.jobs.status import read_reasons, read_status

    why = read_reasons(output) if reasons else None
    print_status(read_status(output), failures=failures, withheld=incomplete, reasons=why, as_json=json)


@command("preview")
def preview(
    labels: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS", help="Output folder of a run, or labels in any format that convert reads."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=r"PNG or HTML file to write. [dim]\[default: in the output folder, or beside other labels][/]",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            "-n",
            min=1,
            metavar="N",
            help=r"Number of images, sampled evenly. [dim]\[default: 12; with --html all][/]",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            "--images",
            metavar="DIR",
            help=r"Images of labels that are not a run's. [dim]\[default: found beside the labels][/]",
            show_default=False,
        ),
    ] = None,
    source_format: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FORMAT",
            help=r"Format of the labels, if LABELS is no run's output. [dim]\[default: detected][/]",
            show_default=False,
        ),
    ] = None,
    as_html: Annotated[
        bool, typer.Option("--html", help="Write a page to review all masks in a browser (see apply-review).")
    ] = False,
    embed: Annotated[
        bool,
        typer.Option("--embed", help="With --html: embed downscaled images, so that the file is self-contained."),
    ] = False,
    json: AsJson = False,
) -> None:
    """Draw masks on their images: one contact sheet (PNG), or, of a run, a page to review them."""
    if embed and not as_html:
        raise UsageError("--embed is for the page: give --html too")
    if not as_html and (count or 0) > 400:
        raise UsageError(f"--count {count} is too many for one sheet: at most 400, or --html")
    announce(labels)
    if as_html and (images or source_format):
        raise UsageError("--html is for the output folder of a run: --images and --from do not apply")
    if as_html:
        from samcli.review.page import write_review_page

        path = write_review_page(labels, output, count=count, embed=embed)
    else:
        from samcli.review.contact_sheet import write_contact_sheet

        path = write_contact_sheet(labels, output, count or 12, images=images, source_format=source_format)
    from samcli.cli.report.labels import print_preview
    from samcli.review.contact_sheet import find_previewed_run

    run = None if images or source_format else find_previewed_run(labels)
    print_preview(path, labels, None if run is None else run.authors(), as_json=json)


@command("review", ReviewOptions)
def review(
    given: Given,
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Output folder of a run.")],
    config: Config = None,
    quiet: Quiet = False,
) -> None:
    """Review and correct the masks of a run in the browser; each change is saved at once."""
    options = given.options(ReviewOptions, config)
    announce(labels, quiet=quiet)
    fit_threads(None)
    from samcli.cli.report.labels import print_served
    from samcli.review.serving import serve

    serve(labels, options, lambda address, reached: print_served(address, reached=reached, browser=options.browser))


@command("apply-review")
def apply_review(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Output folder of the reviewed run.")],
    review: Annotated[
        Path, typer.Argument(metavar="REVIEW.json", help="JSON file downloaded from the review page.")
    ],
    json: AsJson = False,
) -> None:
    """Apply a review: remove rejected objects from a run's labels and restore accepted ones. Runs no network."""
    announce(labels)
    from samcli.cli.report.labels import print_review
    from samcli.review.apply import apply_review

    print_review(apply_review(labels, review), labels, as_json=json)


@command("take-back")
def take_back(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Output folder of a run with --existing.")],
    discard_human: Annotated[
        bool, typer.Option("--discard-human", help="Also remove objects that people have drawn or corrected.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Undo a run that was made with --existing: remove what it added and restore the earlier labels."""
    from samcli.cli.report.labels import print_taken_back
    from samcli.jobs.removing import take_back

    print_taken_back(take_back(labels, discard_human=discard_human), as_json=json)


@command("convert", ConvertOptions)
def convert(
    given: Given,
    labels: Annotated[
        Path,
        typer.Argument(metavar="LABELS", help="Output folder of a run, or labels in any format that samcli reads."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder to write. Default: beside the labels.", show_default=False
        ),
    ] = None,
    other: Annotated[list[str] | None, typer.Option("--format", hidden=True)] = None,
    config: Config = None,
    dry_run: DryRun = False,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Convert labels of a run, or from other tools, to other formats. Reports what a format cannot store."""
    if other:
        raise UsageError(
            f"convert has no --format: the format to write is --to {other[0]}, that of the labels is --from"
        )
    options = given.options(ConvertOptions, config)
    announce(labels, quiet=quiet)
    from samcli.cli.report.labels import print_conversion
    from samcli.cli.report.progress import ImageCounter
    from samcli.labels.convert import convert

    with ImageCounter(quiet=quiet) as counter:
        conversion = convert(labels, output, options, counter.update, dry_run=dry_run)
    print_conversion(conversion, as_json=json)
    raise typer.Exit(conversion.exit_status)


@command("verify", VerifyOptions)
def verify_labels(
    given: Given,
    labels: Annotated[
        Path, typer.Argument(metavar="LABELS", help="Folder of YOLO labels, or of a data set that contains them.")
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="DIR",
            help=r"Folder of the images, with the same folder tree. [dim]\[default: where a trainer looks][/]",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help=r"data.yaml of the labels. [dim]\[default: in the labels' folder or above][/]",
            show_default=False,
        ),
    ] = None,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="Fix problems that are safe to fix; the original files go into a backup folder."
        ),
    ] = False,
    list_all: Annotated[bool, typer.Option("--list", help="List every finding, not only the table.")] = False,
    config: Config = None,
    json: AsJson = False,
) -> None:
    """Find problems that make a YOLO trainer reject labels or train on wrong ones.

    Exit status 0: no errors; 3: errors, with --strict also warnings.
    """
    options = given.options(VerifyOptions, config)
    announce(labels)
    from samcli.cli.report.verification import finding_printer, print_verification
    from samcli.datasets.verify import verify_labels

    watch = finding_printer(listed=list_all, as_json=json)
    result = verify_labels(labels, options, images=images, data=data, fix=fix, watch=watch)
    print_verification(result, as_json=json)
    raise typer.Exit(result.exit_status)


@command("eval", EvalOptions)
def evaluate(
    given: Given,
    predictions: Annotated[
        Path,
        typer.Argument(metavar="PRED", help="Predictions: output folder of a run, YOLO labels, or a COCO .json."),
    ],
    truth: Annotated[
        Path,
        typer.Option(
            "--truth",
            metavar="PATH",
            help="Ground-truth annotations: COCO .json, YOLO labels, or output folder of a run.",
            show_default=False,
        ),
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="PATH",
            help="Evaluate only these images; their objects without a prediction count as missed.",
            show_default=False,
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            "--names",
            metavar="FILE",
            help="Class names of PRED: a data.yaml, or a text file with one name per line.",
            show_default=False,
        ),
    ] = None,
    truth_names: Annotated[
        Path | None,
        typer.Option("--truth-names", metavar="FILE", help="Class names of the ground truth.", show_default=False),
    ] = None,
    class_map: ClassMapFile = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Also write a plot of the metrics: .png, .svg or .pdf.",
            show_default=False,
        ),
    ] = None,
    worst: Annotated[
        Path | None,
        typer.Option(
            "--worst",
            metavar="FILE.png",
            help="Also write a sheet of the worst images: matched, missed and wrong objects in different colours.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    json: AsJson = False,
) -> None:
    """Evaluate labels against ground truth: IoU, boundary IoU, precision, recall, COCO's AP, and the worst
    images.
    """
    options = given.options(EvalOptions, config)
    announce(predictions, truth)
    from samcli.cli.report.evaluation import print_evaluation
    from samcli.cli.report.text import print_next
    from samcli.evaluation.evaluate import evaluate
    from samcli.evaluation.ground_truth import open_labels
    from samcli.evaluation.pictures import check_pictures, write_plot, write_worst
    from samcli.labels.class_map import read_class_map

    check_pictures(plot, worst)
    predicted = open_labels(predictions, names, rescale=options.rescale)
    true = open_labels(truth, truth_names, rescale=options.rescale)
    mapping = read_class_map(class_map) if class_map else None
    result = evaluate(predicted, true, options, images=images, class_map=mapping)
    print_evaluation(result, worst_count=options.worst_count, as_json=json)
    if plot:
        write_plot(result, plot)
    if worst and not write_worst(result, worst, options.worst_count):
        log.info("no image has an error: %s is not written", worst)
    if not (worst or json):
        print_next(
            "Look at the worst images", "samcli", "eval", predictions, "--truth", truth, "--worst", "worst.png"
        )
    raise typer.Exit(result.exit_status)


@command("tune", TuneOptions)
def tune(
    given: Given,
    images: Annotated[
        Path, typer.Argument(metavar="IMAGES", help="Folder of images, some of them with ground truth.")
    ],
    truth: Annotated[
        Path,
        typer.Option(
            "--truth",
            metavar="PATH",
            help="Ground-truth annotations: COCO .json, YOLO labels, or output folder of a run.",
            show_default=False,
        ),
    ],
    truth_names: Annotated[
        Path | None,
        typer.Option("--truth-names", metavar="FILE", help="Class names of the ground truth.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.yaml",
            help="Also write the best options to this file.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Tune the options of auto-annotate on images with ground truth; print the best as YAML for --config."""
    options = given.options(TuneOptions, config)
    announce(images, truth, quiet=quiet)
    from samcli.cli.report.progress import ImageCounter
    from samcli.cli.report.tuning import print_tuning
    from samcli.evaluation.ground_truth import open_labels

    fit_threads()
    from samcli.evaluation.tuning import check_output, tune, write_recipe

    if output:
        check_output(output)
    with ImageCounter(quiet=quiet) as counter:
        result = tune(images, open_labels(truth, truth_names), options, counter.update)
    print_tuning(result, as_json=json, quiet=quiet)
    if output:
        write_recipe(result, output)
        log.info("written to %s; use it: samcli auto-annotate %s --config %s", output, images, output)
    raise typer.Exit(result.exit_status)


@command("dataset", DatasetOptions)
def dataset(
    given: Given,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the data set; empty or new.")],
    images: Annotated[
        Path, typer.Option("--images", metavar="DIR", help="Folder of the images.", show_default=False)
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="DIR",
            help=r"YOLO labels of the images, with the same folder tree. [dim]\[default: where a trainer looks][/]",
            show_default=False,
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            "--names",
            metavar="FILE",
            help="Class names: a data.yaml, or a text file with one name per line. "
            r"[dim]\[default: data.yaml with the labels][/]",
            show_default=False,
        ),
    ] = None,
    class_map: ClassMapFile = None,
    config: Config = None,
    json: AsJson = False,
) -> None:
    """Build a data set for training: train, val and test splits with links to the images, balanced by class."""
    options = given.options(DatasetOptions, config)
    announce(images)
    from samcli.cli.report.dataset import print_dataset
    from samcli.datasets.build import build_dataset
    from samcli.labels.class_map import read_class_map

    mapping = read_class_map(class_map) if class_map else None
    result = build_dataset(output, images, options, labels=labels, names=names, class_map=mapping)
    print_dataset(result, as_json=json)
    raise typer.Exit(result.exit_status)


@command(None, group=models_app)
def models(context: typer.Context, json: AsJson = False) -> None:
    """List the known checkpoints: role, size, parameters, licence, and whether they are downloaded."""
    if context.invoked_subcommand:
        return
    from samcli.cli.report.models import print_models
    from samcli.models import known_models

    print_models(known_models(), as_json=json)


@command("list", group=models_app)
def list_models(json: AsJson = False) -> None:
    """List the known checkpoints, as without a sub-command."""
    from samcli.cli.report.models import print_models
    from samcli.models import known_models

    print_models(known_models(), as_json=json)


@command("fetch", group=models_app)
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of known checkpoints.")],
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Download checkpoints into the cache and verify them; print their paths."""
    from samcli.cli.report.models import print_paths
    from samcli.cli.report.progress import DownloadProgress
    from samcli.models import fetch_models

    with DownloadProgress(quiet=quiet) as progress:
        paths = fetch_models(names, log.info, progress.start)
    print_paths(paths, as_json=json)


@command("verify", group=models_app)
def verify(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|FILE]...", help="Checkpoints. Default: all that are downloaded.", show_default=False
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Check the SHA-256 of downloaded checkpoints again. Exit status 3: one does not match."""
    from samcli.cli.report.models import print_verdicts
    from samcli.models import verify_models

    verdicts = verify_models(targets or ())
    print_verdicts(verdicts, as_json=json)
    raise typer.Exit(3 if any(verdict.bad for verdict in verdicts) else 0)


@command("info", group=models_app)
def info(
    model: Annotated[str, typer.Argument(metavar="NAME|FILE", help="Downloaded checkpoint, file, or 'tiny'.")],
    json: AsJson = False,
) -> None:
    """Describe a checkpoint: family, image size, parameters, SHA-256. Runs no code from the file."""
    from samcli.cli.report.models import print_facts
    from samcli.models import describe_model

    print_facts(describe_model(model), as_json=json)


@command("export-onnx", ExportOnnxOptions)
def export_onnx(
    given: Given,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="ONNX file to write.", metavar="FILE.onnx", show_default=False),
    ],
    config: Config = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Export SAM's prompt encoder and mask decoder to ONNX, as segment-anything does, and check the result
    against PyTorch.
    """
    options = given.options(ExportOnnxOptions, config)
    announce(options.sam, quiet=quiet)
    from samcli.cli.report.models import print_exported

    fit_threads()
    from samcli.sam.onnx_export import export_onnx

    print_exported(export_onnx(output, options), as_json=json)


@command("bench", BenchOptions)
def bench(
    given: Given,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="IMAGES", help="Image or folder. Default: drawn pictures.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.json", help="Also write all figures to this file.", show_default=False
        ),
    ] = None,
    against: Moved = None,
    only: Moved = None,
    extent: Moved = None,
    chart: Moved = None,
    growth: Annotated[bool, typer.Option(hidden=True)] = False,
    targets: Annotated[bool, typer.Option(hidden=True)] = False,
    config: Config = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure time and memory of models on this machine."""
    moved = {
        "against": against,
        "only": only,
        "extent": extent,
        "chart": chart,
        "growth": growth,
        "targets": targets,
    }
    if flags := [f"--{name}" for name, value in moved.items() if value]:
        raise UsageError(
            f"bench no longer has {', '.join(flags)}: these benchmarks are scripts in the repository, see "
            "tests/benchmarks/README.md"
        )
    options = given.options(BenchOptions, config)
    from samcli.cli.report import benchmark

    benchmark.run_bench(data, options, output=output, as_json=json, quiet=quiet)


@command("checks")
def checks(json: AsJson = False) -> None:
    """Print the facts for a bug report: versions, devices, CPU features, the cache and its checkpoints."""
    from samcli.checks import run_checks
    from samcli.cli.report.checks import print_checks

    print_checks(run_checks(), as_json=json)
