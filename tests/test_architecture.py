"""The house stays in order: imports point downward, help comes up without torch, every option is documented."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import samcli

PACKAGE = Path(samcli.__file__).parent

LAYERS = [
    ["cli", "__main__"],
    ["report"],
    ["report.verification", "report.evaluation", "report.dataset", "report.tuning", "report.benchmark"],
    ["report.text"],
    ["evaluation_pictures"],
    ["review_page"],
    ["review"],
    ["bench.chart"],
    ["bench.targets"],
    ["bench.growth"],
    ["bench.comparison", "bench.worker", "bench.peer_commands"],
    ["bench.models", "bench.rotation", "bench.stages", "bench.contenders", "bench.peers"],
    ["run", "convert", "status", "checks", "previews", "models", "onnx_export", "verify", "dataset", "tuning"],
    ["onnx_check"],
    ["splits"],
    ["evaluation"],
    ["metrics"],
    ["ground_truth"],
    ["commands.auto_annotate", "commands.prompt", "commands.everything", "commands.encode"],
    ["commands.segmenting", "commands.class_mapping"],
    ["commands", "runners", "pipeline"],
    ["plan", "summary"],
    ["job"],
    ["edges"],
    ["mask_generator", "fastsam"],
    ["engine", "detectors"],
    ["bench.random_weights"],
    ["embeddings"],
    ["networks"],
    ["networks.sam", "networks.sam2", "networks.hugging_face"],
    ["networks.fast"],
    ["networks.fast_vit", "networks.fast_tinyvit", "networks.fast_decoder", "networks.half_detector"],
    ["networks.base", "networks.compiled", "networks.kernels"],
    ["prompts"],
    ["prompts.coco", "prompts.command_line", "prompts.csv_files", "prompts.json_files", "prompts.yolo"],
    ["class_map"],
    ["data_yaml"],
    ["prompts.classes"],
    ["prompts.table"],
    ["prompts.matching", "prompts.json_text", "prompts.objects"],
    ["formats.reading"],
    ["bench.commands"],
    ["bench.memory", "bench.setup", "bench.pictures", "bench"],
    ["ultralytics_setup", "formats", "journal"],
    ["formats.labelme", "formats.labelstudio", "formats.cvat", "formats.sa1b", "formats.voc", "formats.png"],
    ["formats.yolo", "formats.amg", "formats.coco", "formats.pictures", "formats.proposals", "formats.records"],
    ["formats.index_maps"],
    ["formats.losses", "formats.base"],
    ["formats.sources", "formats.json_items", "formats.brush"],
    ["prototypes"],
    ["yolo_rows"],
    ["yolo_labels"],
    ["plots"],
    ["drawing", "polygons", "images", "weights", "config", "outputs"],
    ["types"],
    ["masks", "files", "pickles", "resampling", "class_names", "damage"],
    ["errors"],
    [""],
]
"""From the door to the ground; the empty name is the package itself. A module imports only from below its
layer, or from its own."""


COMMANDS = [
    "auto-annotate", "prompt", "everything", "encode", "status", "preview", "apply-review", "convert", "verify",
    "eval", "tune", "dataset", "export-onnx", "bench", "checks", "models", "models list", "models fetch",
    "models verify", "models info",
]  # fmt: skip


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
        found[name.removesuffix(".__init__").replace("__init__", "")] = path
    return found


def imports(path: Path) -> set[str]:
    """Modules of ours that a module imports, also inside functions; for typing only does not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "samcli":
            found.add(node.module.removeprefix("samcli").lstrip("."))
        elif isinstance(node, ast.Import):
            found |= {
                a.name.removeprefix("samcli").lstrip(".") for a in node.names if a.name.split(".")[0] == "samcli"
            }
    return found


def test_layers__name_every_module() -> None:
    assert sorted(name for layer in LAYERS for name in layer) == sorted(modules())


def test_imports__point_only_downward() -> None:
    level = {name: index for index, layer in enumerate(LAYERS) for name in layer}
    upward = [
        f"{name} imports {target}"
        for name, path in modules().items()
        for target in imports(path)
        if level[target] < level[name]
    ]
    assert upward == []


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["--help"], *([*command.split(), "--help"] for command in COMMANDS)],
)
def test_help__imports_nothing_heavy(arguments) -> None:
    code = (
        "import sys, json\n"
        "from samcli.cli import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit as end: assert not end.code\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(json.loads(output.strip().splitlines()[-1]))
    heavy = {"torch", "ultralytics", "cv2", "numpy", "PIL", "pycocotools", "yaml", "tqdm", "safetensors"}
    assert loaded & heavy == set()


def test_import_samcli__costs_nothing() -> None:
    code = "import sys, samcli; print([m for m in sys.modules if m.startswith('samcli.') or m == 'numpy'])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_public_names__are_all_there() -> None:
    for name in samcli.__all__:
        assert getattr(samcli, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = samcli.nothing


def test_every_option__is_in_the_docs(samcli_run) -> None:
    root = PACKAGE.parent
    if not (root / "docs").is_dir():
        pytest.skip("the docs are in the repository only")
    pages = ("README.md", "docs/options.md", "docs/verify-eval.md", "docs/formats.md", "docs/bench.md")
    documented = "".join((root / page).read_text(encoding="utf-8") for page in pages)
    for command in COMMANDS:
        text = samcli_run(*command.split(), "--help").stdout
        for flag in set(re.findall(r"--[a-z][a-z-]+", text)) - {"--no-resume"}:
            assert flag.replace("--no-", "--") in documented, f"{flag} of {command} is not documented"


def test_options_page__is_what_the_dataclasses_say() -> None:
    page = PACKAGE.parent / "docs" / "options.md"
    if not page.is_file():
        pytest.skip("the docs are in the repository only")
    sys.path.insert(0, str(page.parent))
    try:
        import make_options
    finally:
        sys.path.pop(0)
    assert page.read_text(encoding="utf-8") == make_options.text(), "run: python docs/make_options.py"
