"""Describe a pickled network without running anything in the file.

A pickle is a program: it names classes and functions, which `pickle.load` imports and calls. Here every name
stands for an inert object that only remembers what it was given: nothing is imported and nothing is called.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import pickle
import re
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeGuard

from samcli.errors import WeightsError, one_line

_LARGEST = 64 << 20
"""Bytes of a pickle that are read. The numbers of a network lie beside it, so it is small."""

_DTYPES = {
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.FloatStorage": "float32",
    "torch.DoubleStorage": "float64",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}

_USUAL = ("torch.", "torchvision.", "ultralytics.", "numpy.", "_codecs.encode", "collections.OrderedDict",
          "__builtin__.set", "builtins.set")  # fmt: skip
"""What the names in a detector's file begin with."""

_PATHS = re.compile(r"pathlib(\._local)?\.(Pure)?(Posix|Windows)Path")
"""Paths of a training, which Ultralytics writes beside the network."""

_FACTS = {"date": "date", "version": "ultralytics version", "license": "licence"}
"""What Ultralytics writes beside a network, and what that is called here."""


@dataclass(frozen=True)
class PickledNetwork:
    """A network as its file describes it.

    `network`: its class, with the package. `parameters`: their number; `dtypes`: number of tensors by dtype.
    `names`: class id to class name. `facts`: plain values that lie beside it. `unusual`: names that are
    neither PyTorch's nor Ultralytics', which loading the file would import.
    """

    network: str
    parameters: int
    dtypes: Mapping[str, int]
    names: Mapping[int, str] = field(default_factory=dict)
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    unusual: tuple[str, ...] = ()


def inspect_pickle(path: Path) -> PickledNetwork:
    """Look at the network in a .pt file, as Ultralytics writes them.

    Raises:
        WeightsError: it is no archive that `torch.save` wrote, is damaged, or holds no network.
    """
    with _damage(path):
        found = read_pickle(path)
        if found.network is None:
            raise WeightsError(f"{path} holds no network")
        return _describe(found, found.network)


@dataclass(frozen=True)
class InertPickle:
    """A .pt file as inert objects.

    `network`: None where there is none. `holder`: what lies beside it. `names`: all that the pickle names.
    """

    network: Inert | None
    holder: Mapping[Any, Any]
    names: tuple[str, ...]

    @property
    def unusual(self) -> tuple[str, ...]:
        """Names of code that no detector needs."""
        return tuple(n for n in self.names if not n.startswith(_USUAL) and not _PATHS.fullmatch(n))


def read_pickle(path: Path) -> InertPickle:
    """Read the pickle in a .pt file without importing or calling anything that it names.

    Raises:
        WeightsError: it is no archive that `torch.save` wrote, or is damaged.
    """
    with _damage(path), zipfile.ZipFile(path) as archive:
        entry = next((item for item in archive.infolist() if item.filename.endswith("data.pkl")), None)
        if entry is None or entry.file_size > _LARGEST:
            raise WeightsError(f"{path} is an archive without a network in it")
        reader = _Reader(io.BytesIO(archive.read(entry)))  # reads byte by byte: slow on the archive itself
        content = reader.load()
        holder = content if isinstance(content, dict) else {}
        candidates = (holder.get("ema"), holder.get("model"), content)
        network = next((held for held in candidates if is_module(held)), None)
        return InertPickle(network, holder, tuple(sorted(reader.names)))


def refusal(path: Path, why: str) -> WeightsError:
    """Return the error for a file that is code, or may hold some."""
    return WeightsError(
        f"{path} was refused: it would run code when loaded ({why[:200]}). If you made it yourself: --trust-weights"
    )


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn whatever a damaged or hostile file makes the reading trip over into a WeightsError."""
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(
            f"{path} cannot be looked into ({type(error).__name__}: {one_line(error)[:200]})"
        ) from error


def torchscript_facts(path: Path) -> dict[str, Any]:
    """Return the task, class names and image size that Ultralytics stores in a TorchScript file.

    Raises:
        WeightsError: it is no TorchScript archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entry = next((item for item in archive.namelist() if item.endswith("extra/config.txt")), None)
            facts = json.loads(archive.read(entry)) if entry else {}
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise WeightsError(f"{path} is no TorchScript archive: {one_line(error)}") from error
    return facts if isinstance(facts, dict) else {}


class Inert:
    """Stands for any class or function: takes all arguments, items and state, and does nothing with them."""

    origin: ClassVar[str] = ""
    arguments: tuple[Any, ...]
    state: dict[str, Any]

    def __new__(cls, *arguments: Any, **_: Any) -> Inert:
        made = super().__new__(cls)
        object.__setattr__(made, "arguments", arguments)
        object.__setattr__(made, "state", {})
        return made

    def __init__(self, *arguments: Any, **_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        object.__setattr__(self, "state", state if isinstance(state, dict) else {})

    def __setattr__(self, name: str, value: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __call__(self, *arguments: Any, **_: Any) -> Inert:
        return Inert()  # what `getattr(class, name)` stood for, and the like

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass


class _Reader(pickle._Unpickler):
    """An unpickler that answers every lookup of a name with an inert class.

    Python's own implementation, not the one in C, which makes room for as many values as the file asks for.
    """

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.names: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        if name == "getattr" and module in ("builtins", "__builtin__"):
            return self._attribute
        return self._named(f"{module}.{name}")

    def _named(self, full: str) -> Any:
        self.names.add(full)
        if full == "collections.OrderedDict":  # harmless, and its items are looked for
            return OrderedDict
        return type("Inert", (Inert,), {"origin": full})

    def _attribute(self, held: Any, name: Any) -> Any:
        """Stand for an attribute of a class: old files name `Detect.forward` this way."""
        return self._named(f"{getattr(held, 'origin', type(held).__name__)}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        return pid


def is_module(held: Any) -> TypeGuard[Inert]:
    """Return whether an object of a pickle is a network or a part of one."""
    return isinstance(held, Inert) and "_modules" in held.state


def _describe(found: InertPickle, network: Inert) -> PickledNetwork:
    holder = found.holder
    dtypes: Counter[str] = Counter()
    parameters = 0
    for tensor, trained in _tensors(network):
        storage, _, size = tensor.arguments[:3]
        dtypes[_DTYPES.get(getattr(storage[1], "origin", ""), "unknown")] += 1
        parameters += math.prod(size) if trained else 0
    arguments = holder.get("train_args")
    facts = {name: holder.get(key) for key, name in _FACTS.items()}
    if isinstance(arguments, dict):
        facts |= {"task": arguments.get("task"), "trained at": arguments.get("imgsz")}
    classes = network.state.get("names")
    if isinstance(classes, list):
        classes = dict(enumerate(classes))
    return PickledNetwork(
        network=network.origin,
        parameters=parameters,
        dtypes=dict(dtypes),
        names={int(k): str(v) for k, v in classes.items()} if isinstance(classes, dict) else {},
        facts={key: value for key, value in facts.items() if isinstance(value, (str, int, float))},
        unusual=found.unusual,
    )


def _tensors(module: Inert) -> Iterator[tuple[Inert, bool]]:
    """Yield the tensors of a module and of those in it, each once, and whether it is a parameter."""
    seen: set[int] = set()
    waiting = [module]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [inner for inner in _values(one, "_modules") if is_module(inner)]
        for kind in ("_parameters", "_buffers"):
            for held in _values(one, kind):
                tensor = held.arguments[0] if held.origin == "torch._utils._rebuild_parameter" else held
                if isinstance(tensor, Inert) and len(tensor.arguments) >= 3 and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield tensor, kind == "_parameters"


def _values(module: Inert, kind: str) -> list[Inert]:
    held = module.state.get(kind)
    return [value for value in held.values() if isinstance(value, Inert)] if isinstance(held, dict) else []
