"""Collect the facts that a bug report needs."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import Any

import samcli
from samcli.checkpoints.registry import CHECKPOINTS, cache_folder
from samcli.sam.threads import find_cores

_PACKAGES = (
    "torch", "ultralytics", "numpy", "opencv-python", "opencv-python-headless", "pillow", "pycocotools", "typer",
    "safetensors", "onnxruntime",
)  # fmt: skip


def run_checks() -> dict[str, Any]:
    """Versions, devices, abilities, folders and checkpoints, as plain values."""
    import torch

    from samcli.sam.devices import choose_device, choose_precision

    cores = find_cores()
    device = choose_device("auto")
    return {
        "samcli": samcli.__version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "cpu": {
            "cores": cores.affinity,
            "quota": "none" if cores.quota is None else f"{cores.quota:g} cores",
            "torch threads": torch.get_num_threads(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "bf16": choose_precision("auto", torch.device("cpu")) == "bf16",
        },
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "device": f"{device} in {choose_precision('auto', device)}",
        "cache": str(cache_folder()),
        "weights here": sorted(
            [name for name in CHECKPOINTS if (cache_folder() / "weights" / name).is_file()] + ["tiny"]
        ),
        "weights known": [*CHECKPOINTS, "tiny"],
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
