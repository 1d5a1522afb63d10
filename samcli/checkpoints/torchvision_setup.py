"""Import torchvision without torch's compiler, which takes ten times as long as torchvision itself."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

_COMPILER = "torch._dynamo"
_UTILITIES = f"{_COMPILER}.utils"


def import_torchvision() -> None:
    """Import torchvision; torch's compiler is imported when something asks for it.

    `torchvision.ops.roi_align` takes one function out of the compiler's utilities when it is imported, and calls
    it only where algorithms must be deterministic on a GPU. A stand-in for the modules lies in their place during
    the import alone; the function that stays behind calls the real one.
    """
    if "torchvision" in sys.modules or _COMPILER in sys.modules:
        import torchvision  # noqa: F401

        return
    package, utilities = ModuleType(_COMPILER), ModuleType(_UTILITIES)
    package.__path__ = []
    utilities.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    sys.modules.update({_COMPILER: package, _UTILITIES: utilities})
    try:
        importlib.import_module("torchvision")
    except ImportError:  # this version wants more of the compiler
        _remove("torchvision")
    finally:
        _remove(_COMPILER)
    importlib.import_module("torchvision")


def _is_compile_supported(device_type: str) -> bool:
    from torch._dynamo.utils import is_compile_supported

    return bool(is_compile_supported(device_type))


def _remove(package: str) -> None:
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]
