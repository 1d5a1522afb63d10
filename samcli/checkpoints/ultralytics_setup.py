"""Import ultralytics as a library: silent, offline, installing nothing, running no pickled code."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from samcli.checkpoints.registry import cache_folder

_prepared = False


def prepare_ultralytics(*, trust_weights: bool = False) -> None:
    """Set what ultralytics reads from the environment when it is first imported. Call before any import of it.

    No network (telemetry, version checks), no pip installs, its settings in our cache folder instead of the
    user's home, and checkpoints loaded without running code unless `trust_weights`.
    """
    global _prepared
    if _prepared:
        _set_safe_load(not trust_weights)  # either way: an earlier call may have trusted its file
        return
    os.environ["YOLO_OFFLINE"] = "True"
    os.environ["YOLO_AUTOINSTALL"] = "False"
    os.environ["YOLO_VERBOSE"] = "False"
    os.environ["ULTRALYTICS_SAFE_LOAD"] = "0" if trust_weights else "1"
    os.environ["YOLO_CONFIG_DIR"] = str(_settings_folder())
    import cv2
    import PIL.Image

    cv2.setNumThreads(1)  # the networks need the cores
    imported_before = "ultralytics" in sys.modules
    with keep_threads():
        import ultralytics.utils
        import ultralytics.utils.patches

    # It replaces Pillow's open by one that wants to pip-install a package for every file that is no image.
    PIL.Image.open = getattr(ultralytics.utils.patches, "_image_open", PIL.Image.open)
    ultralytics.utils.LOGGER.setLevel(logging.ERROR)
    if imported_before:  # somebody else's program: its import read another environment
        _set_safe_load(not trust_weights)
    _prepared = True


@contextlib.contextmanager
def keep_threads() -> Iterator[None]:
    """Call ultralytics in it: torch keeps its number of threads.

    Its import sets OMP_NUM_THREADS to 1, which a torch that is imported afterwards would read, and every process
    begun afterwards; choosing a CPU as device sets one thread less than there are cores, eight at most.
    """
    import torch

    variable, threads = os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads()
    try:
        yield
    finally:
        if variable is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        torch.set_num_threads(threads)


def _set_safe_load(safe: bool) -> None:
    """Switch the flag in the modules that read it at their import."""
    import ultralytics.nn.tasks
    import ultralytics.utils

    os.environ["ULTRALYTICS_SAFE_LOAD"] = "1" if safe else "0"
    ultralytics.utils.SAFE_LOAD = safe
    ultralytics.nn.tasks.SAFE_LOAD = safe


def _settings_folder() -> Path:
    """Return a folder of ours for ultralytics' settings; a temporary one where the cache cannot be written."""
    folder = cache_folder() / "ultralytics"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="samcli-"))
    return folder if os.access(folder, os.W_OK) else Path(tempfile.mkdtemp(prefix="samcli-"))
