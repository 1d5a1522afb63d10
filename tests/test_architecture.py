"""The house stays in order: imports point downward, help comes up without torch, every option is documented."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import samcli

PACKAGE = Path(samcli.__file__).parent

STOREYS = (
    "errors", "files", "masks", "types", "images", "stores", "polygons", "drawing", "plots", "config",
    "checkpoints", "output", "labels", "prompts", "sam", "detectors", "models", "checks", "jobs", "review",
    "datasets", "evaluation", "bench", "api", "cli", "__main__",
)  # fmt: skip
"""Packages, and modules that stand alone, from the ground up. Each imports only from itself and from below."""


COMMANDS = [
    "auto-annotate", "prompt", "everything", "encode", "status", "preview", "review", "apply-review", "take-back",
    "convert", "verify", "eval", "tune", "dataset", "export-onnx", "bench", "checks", "models", "models list",
    "models fetch", "models verify", "models info",
]  # fmt: skip


@functools.cache
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
            module = node.module.removeprefix("samcli").lstrip(".")
            inner = {f"{module}.{a.name}".lstrip(".") for a in node.names}
            found |= inner & modules().keys() or {module}
        elif isinstance(node, ast.Import):
            found |= {
                a.name.removeprefix("samcli").lstrip(".") for a in node.names if a.name.split(".")[0] == "samcli"
            }
    return found & modules().keys()


def storey(module: str) -> str:
    """The package, or the module that stands alone, to which a module belongs."""
    return module.partition(".")[0]


def test_storeys__name_everything_on_the_top_floor() -> None:
    assert sorted({storey(name) for name in modules()} - {""}) == sorted(STOREYS)


def test_imports__point_only_to_storeys_below() -> None:
    upward = [
        f"{name} imports {target}"
        for name, path in modules().items()
        for target in imports(path)
        if name and target and STOREYS.index(storey(target)) > STOREYS.index(storey(name))
    ]
    assert upward == []


def test_imports__have_no_circles() -> None:
    graph = {name: imports(path) for name, path in modules().items()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_top_floor__has_at_most_a_dozen_modules() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 12


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
    heavy = {
        "torch",
        "ultralytics",
        "cv2",
        "numpy",
        "PIL",
        "pycocotools",
        "yaml",
        "tqdm",
        "safetensors",
        "fsspec",
        "ray",
    }
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
    pages = (
        "README.md",
        "docs/review.md",
        "docs/options.md",
        "docs/verify-eval.md",
        "docs/formats.md",
        "docs/bench.md",
    )
    documented = "".join((root / page).read_text(encoding="utf-8") for page in pages)
    for command in COMMANDS:
        text = samcli_run(*command.split(), "--help").stdout
        for flag in set(re.findall(r"--[a-z][a-z-]+", text)) - {"--no-resume"}:
            assert flag.replace("--no-", "--") in documented, f"{flag} of {command} is not documented"


@pytest.mark.parametrize(("page", "maker"), [("options.md", "make_options"), ("api.md", "make_api")])
def test_generated_page__is_current(page: str, maker: str) -> None:
    docs = PACKAGE.parent / "docs"
    if not docs.is_dir():
        pytest.skip("the docs are in the repository only")
    sys.path.insert(0, str(docs))
    try:
        text = importlib.import_module(maker).text()
    finally:
        sys.path.pop(0)
    assert (docs / page).read_text(encoding="utf-8") == text, f"run: python docs/{maker}.py"


def test_docs__list_every_page_and_link_to_files_that_exist() -> None:
    docs = PACKAGE.parent / "docs"
    if not docs.is_dir():
        pytest.skip("the docs are in the repository only")
    index, site = (docs / "index.md").read_text(encoding="utf-8"), (docs / "mkdocs.yml").read_text(encoding="utf-8")
    for page in docs.glob("*.md"):
        assert page.name in site
        assert page.name == "index.md" or f"({page.name}" in index
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert "://" in target or (docs / target).exists(), (page.name, target)
