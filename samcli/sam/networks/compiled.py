"""Stock modules compiled by PyTorch, and the forward that takes their place where that cannot be done."""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import shutil
from collections.abc import Callable
from typing import Any

import torch

from samcli.errors import one_line

log = logging.getLogger("samcli")

_COMPILERS = {"Darwin": "clang++", "Windows": "cl"}
"""What PyTorch calls where `CXX` names no other; elsewhere g++."""


def why_not_compile(device: str) -> str | None:
    """Return why compilation for a device type is impossible here; None if no reason is known beforehand."""
    compiler = os.environ.get("CXX") or _COMPILERS.get(platform.system(), "g++")
    if shutil.which(compiler) is None:
        return f"there is no C++ compiler ({compiler})"
    if device == "cuda" and importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    return None


class Compiled:
    """A compiled forward; from the first failure on the other one, after one line of warning.

    `make` gives what is compiled when it is first called; `name` is its name in the warning.
    """

    def __init__(self, make: Callable[[], Callable[..., Any]], otherwise: Callable[..., Any], name: str) -> None:
        self._make = make
        self._forward: Callable[..., Any] | None = None
        self._otherwise = otherwise
        self._name = name
        self._failed = False

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Run the module's forward.

        Raises:
            torch.OutOfMemoryError: fewer at once may still do.
        """
        if self._failed:
            return self._otherwise(*inputs, **options)
        try:
            if self._forward is None:  # a compiled module has no truth value
                self._forward = self._make()
            return self._forward(*inputs, **options)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # PyTorch's compiler fails in as many ways as it has parts
            self._failed = True
            reason = f"{type(error).__name__}: {one_line(error)[:200]}"
            log.warning("the %s cannot be compiled (%s); going on without", self._name, reason)
        return self._otherwise(*inputs, **options)
