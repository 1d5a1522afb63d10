"""torchvision comes without torch's compiler, and nothing of the stand-in stays behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def run(code: str, *path: Path) -> list[str]:
    before = "import sys; sys.path[:0] = sys.argv[1:]; "
    before += "from samcli.checkpoints.torchvision_setup import import_torchvision as get; "
    command = [sys.executable, "-c", before + code, *map(str, path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.slow
def test_import__leaves_the_compiler_alone_and_the_real_one_to_be_found() -> None:
    code = (
        "import torch; get(); print('torch._dynamo' in sys.modules, 'torchvision.ops' in sys.modules);"
        "import torchvision; boxes = torch.tensor([[0., 0, 4, 4], [0, 0, 4, 3], [5, 5, 8, 8]]);"
        "print(*torchvision.ops.nms(boxes, torch.tensor([.5, .6, .7]), 0.5).tolist());"
        "print(tuple(torchvision.ops.roi_align(torch.rand(1, 1, 8, 8), [boxes], 2).shape) == (3, 1, 2, 2));"
        "import torch._dynamo.utils as real; used = sys.modules['torchvision.ops.roi_align'].is_compile_supported;"
        "print(real.__file__ is not None, used('cpu') == real.is_compile_supported('cpu'))"
    )
    assert run(code) == ["False", "True", "2", "1", "True", "True", "True"]


def test_version_that_wants_more_of_the_compiler__is_imported_the_usual_way(tmp_path: Path) -> None:
    compiler = tmp_path / "torch" / "_dynamo"
    compiler.mkdir(parents=True)
    for folder in (compiler.parent, compiler):
        (folder / "__init__.py").touch()
    (compiler / "utils.py").write_text("counters = 7\ndef is_compile_supported(device): return True\n")
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "from torch._dynamo.utils import is_compile_supported, counters\n"
    )
    assert run("get(); import torchvision; print(torchvision.counters)", tmp_path) == ["7"]


def test_compiler_that_is_there_already__stays(tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").touch()
    code = "mine = sys.modules['torch._dynamo'] = object(); get(); print(sys.modules['torch._dynamo'] is mine)"
    assert run(code, tmp_path) == ["True"]
