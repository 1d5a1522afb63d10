"""Build the network that a pickle describes, without running anything that is in the file.

The pickle is read as inert objects (see `pickles`). Here they become modules again, under four rules: only classes
of the packages below are made; no constructor is called, so no argument of the file reaches one; attributes are
plain values, tensors and such modules; and no attribute takes the place of a method. The tensors are copied from
the archive's own entries. Nothing here opens another file or a network connection.
"""

from __future__ import annotations

import importlib
import math
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from samcli.checkpoints.pickles import Inert, InertPickle, is_module, read_pickle, refusal
from samcli.errors import WeightsError, one_line

_ULTRALYTICS = ("conv", "block", "transformer", "head")
"""Modules of `ultralytics.nn.modules` with the layers of its networks."""

_TORCH = (
    "activation", "batchnorm", "container", "conv", "dropout", "flatten", "instancenorm", "linear", "normalization",
    "padding", "pixelshuffle", "pooling", "sparse", "upsampling",
)  # fmt: skip
"""Modules of `torch.nn.modules` with the layers that those are made of."""

_HOMES = frozenset(
    [f"ultralytics.nn.modules.{name}" for name in _ULTRALYTICS] + [f"torch.nn.modules.{name}" for name in _TORCH]
)
_ROOTS = frozenset(
    f"ultralytics.nn.tasks.{kind}Model"
    for kind in ("Detection", "Segmentation", "RTDETRDetection", "Classification", "Pose", "OBB", "World", "YOLOE",
                 "YOLOESeg")
)  # fmt: skip
"""Whole networks; those for other tasks are told by their task afterwards."""

_REFUSED = ("TorchVision", "Lazy")
"""What class names of those modules must not begin with: they fetch weights, or run hooks of their own."""

_ALIASES = {
    "ultralytics.nn.modules.block.Silence": "torch.nn.modules.linear.Identity",
    "ultralytics.nn.tasks.YOLOv10DetectionModel": "ultralytics.nn.tasks.DetectionModel",
}
"""Classes that Ultralytics has renamed."""

_DTYPES = {
    f"torch.{name}Storage": dtype
    for name, dtype in {
        "Half": torch.float16, "BFloat16": torch.bfloat16, "Float": torch.float32, "Double": torch.float64,
        "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}  # fmt: skip

_OF_TRAINING = frozenset({"args", "criterion", "loss", "clip_model", "pt_path"})
"""Attributes of a whole network that only its training uses, or that are set anew."""

_OWN = frozenset(nn.Module().__dict__)
"""What `nn.Module` itself keeps: parameters, buffers, modules, and hooks, which would be code."""

_KIND = "type"
"""Ultralytics keeps the name of a layer's class in place of `nn.Module.type`, which nothing here calls."""

_DEEPEST = 100


def rebuild_network(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network in a .pt file as Ultralytics writes them, in fp32, and what its training says: task, image
    size.

    Raises:
        WeightsError: it would run code when loaded, is damaged, or holds something other than a network.
    """
    found = read_pickle(path)
    if found.unusual:
        raise refusal(path, f"it names {found.unusual[0]}")
    if found.network is None:
        raise WeightsError(f"{path} cannot be loaded as a detector: it holds no network")
    try:
        with zipfile.ZipFile(path) as archive:
            network = _Builder(path, archive).module(found.network, whole=True)
        _modernise(network.float())
    except WeightsError:
        raise
    except Exception as error:  # whatever a stranger's file can hold
        raise WeightsError(f"{path} cannot be loaded as a detector: {one_line(error)[:300]}") from error
    return network, _training(found)


def _modernise(network: Any) -> None:
    """Add what Ultralytics adds to the networks of its earlier versions when it loads them."""
    if not isinstance(getattr(network, "stride", None), torch.Tensor):
        network.stride = torch.tensor([32.0])
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = True
        elif isinstance(module, nn.Upsample) and not hasattr(module, "recompute_scale_factor"):
            module.recompute_scale_factor = None


def _training(found: InertPickle) -> dict[str, Any]:
    arguments = found.holder.get("train_args")
    said = arguments if isinstance(arguments, dict) else {}
    return {name: said[name] for name, kind in (("task", str), ("imgsz", int)) if isinstance(said.get(name), kind)}


class _Builder:
    """Turns the inert objects of one pickle into modules, each once."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        (pickled,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        self._top = pickled.removesuffix("data.pkl")
        self._storages: dict[str, torch.Tensor] = {}
        self._made: dict[int, Any] = {}
        self._depth = 0

    def module(self, held: Inert, *, whole: bool = False) -> nn.Module:
        """Return the module that an inert object stands for."""
        if id(held) in self._made:
            return self._finished(held)
        kind: Any = self._class(held.origin, whole)
        made: nn.Module = kind.__new__(kind)
        if held.arguments:
            raise refusal(self._path, f"it calls {held.origin} with arguments")
        nn.Module.__init__(made)
        self._made[id(held)] = None  # until it is whole: a module within itself has no end
        state = {name: value for name, value in held.state.items() if not (whole and name in _OF_TRAINING)}
        kind.__setstate__(made, {**made.__dict__, **self._state(kind, state)})
        self._made[id(held)] = made
        return made

    def _finished(self, held: Inert) -> nn.Module:
        made: nn.Module | None = self._made[id(held)]
        if made is None:
            raise WeightsError(f"{self._path} is damaged: {held.origin} contains itself")
        return made

    def _class(self, origin: str, whole: bool) -> type[nn.Module]:
        """Return the class of that name, where it is one that networks are made of."""
        home, _, name = _ALIASES.get(origin, origin).rpartition(".")
        listed = home in _HOMES or home == "ultralytics.nn.modules" or (whole and f"{home}.{name}" in _ROOTS)
        if listed and not name.startswith(_REFUSED):
            kind = vars(importlib.import_module(home)).get(name)
            if isinstance(kind, type) and issubclass(kind, nn.Module):
                real = kind.__module__
                if real in _HOMES or real == home:
                    return kind
        raise refusal(self._path, f"{origin} is no layer of a known network")

    def _state(self, kind: type[nn.Module], state: dict[str, Any]) -> dict[str, Any]:
        """Return the module's state: the entries of `nn.Module` and plain attributes."""
        checked: dict[str, Any] = {
            "_modules": self._entries(state, "_modules", lambda held: self.module(held)),
            "_parameters": self._entries(state, "_parameters", self._parameter),
            "_buffers": self._entries(state, "_buffers", self._tensor),
        }
        for name, value in state.items():
            if name in checked:
                continue
            if name in _OWN:
                self._check_own(name, value)
                continue
            if not isinstance(name, str) or not name.isidentifier() or name.startswith("__"):
                raise refusal(self._path, f"an attribute is named {name!r}")
            inherited = getattr(kind, name, None)
            if callable(inherited) and not isinstance(inherited, nn.Module) and name != _KIND:
                raise refusal(self._path, f"{kind.__name__}.{name} would be replaced")
            checked[name] = self._value(value)
        return {**checked, "training": False}

    def _check_own(self, name: str, value: Any) -> None:
        """Hooks are code: there must be none. Sets of names and flags are made anew."""
        if isinstance(value, (dict, Inert)) and (value if isinstance(value, dict) else value.state):
            raise refusal(self._path, f"it has {name.strip('_')}")

    def _entries(self, state: dict[str, Any], kind: str, make: Any) -> OrderedDict[str, Any]:
        held = state.get(kind)
        if not isinstance(held, dict):
            raise WeightsError(f"{self._path} is damaged: a module has no {kind.strip('_')}")
        return OrderedDict((str(name), None if value is None else make(value)) for name, value in held.items())

    def _parameter(self, held: Any) -> nn.Parameter:
        if id(held) not in self._made:
            if not isinstance(held, Inert) or held.origin != "torch._utils._rebuild_parameter":
                raise refusal(self._path, f"a parameter is {_named(held)}")
            self._made[id(held)] = nn.Parameter(self._tensor(held.arguments[0]), requires_grad=False)
        return self._made[id(held)]  # type: ignore[no-any-return]

    def _tensor(self, held: Any) -> torch.Tensor:
        """Return a tensor within its storage; views of one storage share it."""
        if not isinstance(held, Inert) or held.origin != "torch._utils._rebuild_tensor_v2":
            raise refusal(self._path, f"a tensor is {_named(held)}")
        storage, offset, size, stride = held.arguments[:4]
        whole = self._storage(*storage)
        if math.prod(size) > whole.numel():
            raise WeightsError(f"{self._path} is damaged: a tensor is larger than what is stored of it")
        return whole.as_strided(tuple(size), tuple(stride), offset)

    def _storage(self, _: str, kind: Any, key: str, *__: Any) -> torch.Tensor:
        if key not in self._storages:
            entry = self._archive.getinfo(f"{self._top}data/{key}")
            if entry.compress_type != zipfile.ZIP_STORED:  # torch compresses nothing: a bomb would
                raise WeightsError(f"{self._path} is damaged: its tensors are compressed")
            data = bytearray(self._archive.read(entry))
            dtype = _DTYPES[kind.origin]
            self._storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self._storages[key]

    def _value(self, held: Any) -> Any:
        """Return a plain value, a tensor, a module, or a collection of such."""
        self._depth += 1
        try:
            if self._depth > _DEEPEST:
                raise WeightsError(f"{self._path} is damaged: values lie {_DEEPEST} deep in one another")
            return self._plain(held)
        finally:
            self._depth -= 1

    def _plain(self, held: Any) -> Any:
        if held is None or isinstance(held, (bool, int, float, str)):
            return held
        if isinstance(held, Inert):
            return self._object(held)
        if isinstance(held, type) and issubclass(held, Inert):
            return self._named(held.origin)
        if id(held) in self._made:
            return self._made[id(held)]
        if isinstance(held, (list, tuple, set)):
            made: Any = type(held)(self._value(item) for item in held)
        elif isinstance(held, dict):
            made = type(held)((self._value(key), self._value(value)) for key, value in held.items())
        else:
            raise refusal(self._path, f"an attribute is {_named(held)}")
        self._made[id(held)] = made
        return made

    def _object(self, held: Inert) -> Any:
        if is_module(held):
            return self.module(held)
        if held.origin in ("builtins.set", "__builtin__.set", "torch.Size"):
            kind = torch.Size if held.origin == "torch.Size" else set
            return kind(self._value(item) for item in (held.arguments or ((),))[0])
        if held.origin == "torch._utils._rebuild_parameter":
            return self._parameter(held)
        return self._tensor(held)

    def _named(self, origin: str) -> Any:
        """Return a dtype, or the forward of a layer's class, which old files keep in an attribute."""
        home, _, name = origin.rpartition(".")
        dtype = getattr(torch, name, None) if home == "torch" else None
        if isinstance(dtype, torch.dtype):
            return dtype
        if name == "forward":
            return self._class(home, whole=False).forward
        raise refusal(self._path, f"an attribute is {origin}")


def _named(held: Any) -> str:
    return getattr(held, "origin", None) or type(held).__name__
