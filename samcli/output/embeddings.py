"""Embeddings on disk: one safetensors file an image, read back only for the same model and the same image file.

<folder>/<the image's key with its suffix exchanged>.safetensors
    features          (C, h, w) float16, bfloat16 or float32
    high_res.0, ...   finer features, for families that have them
    metadata          {"samcli": JSON of `_Facts`}

With `encode --tile` beside it <key>.tiles, in the same format, for all tiles of the image: `0.features` and so on,
and in the metadata their boxes.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samcli.errors import SamcliError, UsageError
from samcli.files import write_atomic_pieces
from samcli.masks import Box
from samcli.output.manifest import Model, Product
from samcli.output.own_files import parse_object
from samcli.output.run_folder import RunFolder
from samcli.types import Embedding, ImageRef, Size

if TYPE_CHECKING:
    import torch

SUFFIX = ".safetensors"
NPY_SUFFIX = ".npy"
TILES_SUFFIX = ".tiles"
DTYPES = ("fp16", "fp32", "bf16")

_DAMAGE = (OSError, ValueError, KeyError, TypeError)
"""What reading a file raises that is not there, torn, or not ours."""

log = logging.getLogger("samcli")


@dataclass(frozen=True)
class _Facts:
    """Metadata of the embedding in a file."""

    key: str
    model: str
    image_size: Size
    input_size: Size
    bytes: int
    mtime_ns: int


def write_embedding(ref: ImageRef, embedding: Embedding, dtype: str) -> bytes:
    """Return the file of one embedding; equal embeddings give equal bytes."""
    from safetensors.torch import save

    facts = _Facts(ref.key, embedding.model, embedding.image_size, embedding.input_size, ref.size, ref.mtime_ns)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in stored_tensors(embedding, dtype).items()}
    # One key: several would come in any order.
    data: bytes = save(tensors, {"samcli": json.dumps(asdict(facts))})
    return data


def write_tiles(path: Path, tiles: Tiles, encode: Callable[[Box], Embedding], dtype: str) -> None:
    """Write the embeddings of an image's tiles to a file. One of them is in memory at a time.

    Raises:
        StorageError, WriteError: it cannot be written. And what `encode` raises.
    """
    write_atomic_pieces(path, _pieces(tiles, encode, dtype))


@dataclass(frozen=True)
class Tiles:
    """The tiles of an image, all of one size; none where the image is taken whole. `model`: see `Embedding`."""

    ref: ImageRef
    image_size: Size
    boxes: tuple[Box, ...]
    model: str


def _pieces(tiles: Tiles, encode: Callable[[Box], Embedding], dtype: str) -> Iterator[bytes]:
    """Yield the bytes of a safetensors file: the header, then one tensor after the other."""
    if not tiles.boxes:
        yield _header(tiles, (0, 0), {})
    for number, box in enumerate(tiles.boxes):
        embedding = encode(box)
        tensors = stored_tensors(embedding, dtype)
        if not number:
            yield _header(tiles, embedding.input_size, tensors)
        yield from (_bytes_of(tensor) for tensor in tensors.values())


def _header(tiles: Tiles, input_size: Size, tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return the header; `tensors`: of the first tile, and those of all others are alike."""
    ref = tiles.ref
    facts = _Facts(ref.key, tiles.model, tiles.image_size, input_size, ref.size, ref.mtime_ns)
    header: dict[str, Any] = {
        "__metadata__": {"samcli": json.dumps(asdict(facts)), "tiles": json.dumps(tiles.boxes)}
    }
    start = 0
    for number in range(len(tiles.boxes)):
        for name, tensor in tensors.items():
            end = start + tensor.numel() * tensor.element_size()
            offsets = {
                "dtype": _NAMES[str(tensor.dtype)],
                "shape": list(tensor.shape),
                "data_offsets": [start, end],
            }
            header[f"{number}.{name}"], start = offsets, end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


_NAMES = {"torch.float16": "F16", "torch.bfloat16": "BF16", "torch.float32": "F32"}
"""Of the types of numbers, as safetensors calls them."""


def _bytes_of(tensor: torch.Tensor) -> bytes:
    import torch

    return tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes()


def write_npy(embedding: Embedding) -> bytes:
    """(1, C, h, w) float32 as `numpy.save` writes it: what segment-anything's browser demos read."""
    import numpy as np

    file = io.BytesIO()
    np.save(file, embedding.features[None].float().cpu().numpy())
    return file.getvalue()


def stored_tensors(embedding: Embedding, dtype: str) -> dict[str, torch.Tensor]:
    """Features and finer features by their names in the file, rounded to `dtype`, one of `DTYPES`.

    Numbers that are too large for it become infinite.
    """
    finer = {f"high_res.{index}": tensor for index, tensor in enumerate(embedding.high_res)}
    tensors = {"features": embedding.features, **finer}
    return {name: tensor.to(_torch_dtype(dtype)) for name, tensor in tensors.items()}


def _torch_dtype(name: str) -> torch.dtype:
    import torch

    return {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[name]


@dataclass(frozen=True)
class _Stored:
    """Facts about the embeddings in a run's recipe."""

    model: Model
    precision: str
    dtype: str


def _facts_of(run: RunFolder) -> _Stored:
    recipe = run.manifest.recipe
    model, precision, dtype = recipe.model("sam"), recipe.precision, recipe.dtype
    if model is None or precision is None or dtype not in DTYPES:
        raise SamcliError(f"{run.layout.manifest} is damaged: it does not say how its embeddings were made")
    return _Stored(model, precision, dtype)


class EmbeddingStore:
    """The folder that an `encode` run has written.

    `counts`: how many were read, missing, stale or damaged. `tiles`: how many tiles were read or missing.
    """

    def __init__(self, run: RunFolder) -> None:
        self._layout = run.layout
        self._dtype = _torch_dtype(_facts_of(run).dtype)
        self._model = _facts_of(run).model.sha256
        self.counts: Counter[str] = Counter()
        self.tiles: Counter[str] = Counter()
        self._open: _OpenTiles | None = None

    def size_of(self, ref: ImageRef) -> Size | None:
        """Return the image's size if its embedding seems to be there.

        From the header alone, so it may be damaged yet.
        """
        for path in self._paths(ref, SUFFIX):
            with contextlib.suppress(*_DAMAGE), _opened(path) as file:
                facts = _facts(file)
                if self._is_about(facts, ref):
                    return facts.image_size
        return None

    def _paths(self, ref: ImageRef, suffix: str) -> list[Path]:
        return [Path(self._layout.label(ref.key, suffix, whole_name=whole_name)) for whole_name in (False, True)]

    def _is_about(self, facts: _Facts, ref: ImageRef) -> bool:
        """Return whether it is of this very version of the image, by the right model."""
        found = facts.key, facts.bytes, facts.mtime_ns, facts.model
        return found == (ref.key, ref.size, ref.mtime_ns, self._model)

    def read(self, ref: ImageRef) -> Embedding | None:
        """Return the embedding of this very version of the image, or None where there is none."""
        state = "missing"
        for path in self._paths(ref, SUFFIX):
            found = _read(path)
            if isinstance(found, str):
                state = state if found == "missing" else found
                continue
            facts, embedding = found
            if facts.key != ref.key:
                continue
            if not self._is_about(facts, ref):
                state = "stale"
                break
            self.counts["read"] += 1
            return embedding
        self.counts[state] += 1
        return None

    def read_tile(self, ref: ImageRef, tile: Box) -> Embedding | None:
        """Return the embedding of a tile of this very version of the image, or None where there is none."""
        if self._open is None or self._open.ref != ref:
            self._open = _OpenTiles(ref, self._tile_files(ref))
        found = self._open.read(tile)
        self.tiles["read" if found is not None else "missing"] += 1
        return found

    def _tile_files(self, ref: ImageRef) -> Iterator[tuple[_Facts, Any]]:
        """Yield the files of the image's tiles that can be opened and are of this very version of it."""
        for path in self._paths(ref, TILES_SUFFIX):
            try:
                file = _opened(path)
                facts = _facts(file)
            except FileNotFoundError:
                continue
            except _DAMAGE as error:
                log.warning("%s is damaged (%s): its tiles are encoded again", path, type(error).__name__)
                continue
            if self._is_about(facts, ref):
                yield facts, file

    def rounded(self, embedding: Embedding) -> Embedding:
        """Return a fresh embedding as it would have come out of the store."""
        return replace(
            embedding,
            features=embedding.features.to(self._dtype),
            high_res=tuple(tensor.to(self._dtype) for tensor in embedding.high_res),
        )


class _OpenTiles:
    """The file of an image's tiles, open while the image is at work: each tensor is read when it is asked for."""

    def __init__(self, ref: ImageRef, files: Iterator[tuple[_Facts, Any]]) -> None:
        self.ref = ref
        self._numbers: dict[Box, int] = {}
        for self._facts, self._file in itertools.islice(files, 1):
            try:
                boxes = json.loads(self._file.metadata()["tiles"])
                self._finer = sum(name.startswith("0.high_res.") for name in list(self._file.keys()))
                self._numbers = {(x1, y1, x2, y2): number for number, (x1, y1, x2, y2) in enumerate(boxes)}
            except (RecursionError, *_DAMAGE) as error:
                log.warning("the tiles of %s are damaged (%s): encoded again", ref.key, type(error).__name__)

    def read(self, tile: Box) -> Embedding | None:
        """Return the embedding of a tile, or None where it is not stored."""
        if (number := self._numbers.get(tile)) is None:
            return None
        names = ("features", *(f"high_res.{index}" for index in range(self._finer)))
        try:
            features, *finer = (self._file.get_tensor(f"{number}.{name}") for name in names)
        except Exception as error:  # safetensors has an error of its own, for whatever is wrong
            log.warning("a tile of %s is damaged (%s): encoded again", self.ref.key, type(error).__name__)
            return None
        left, top, right, bottom = tile
        return Embedding(
            features, (bottom - top, right - left), self._facts.input_size, self._facts.model, tuple(finer)
        )


def _opened(path: Path) -> Any:
    """Return a safetensors file, opened; as what is wrong with it a ValueError."""
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _facts(file: Any) -> _Facts:
    facts = _Facts(**parse_object(file.metadata()["samcli"].encode()))
    (height, width), (inner_height, inner_width) = facts.image_size, facts.input_size
    return replace(facts, image_size=(height, width), input_size=(inner_height, inner_width))


def _read(path: Path) -> tuple[_Facts, Embedding] | str:
    """Return the contents of a file, or why there are none: `missing` or `damaged`."""
    from safetensors import SafetensorError

    try:
        with _opened(path) as file:
            facts = _facts(file)
            names = set(file.keys())
            finer = tuple(file.get_tensor(f"high_res.{i}") for i in range(len(names) - 1))
            features = file.get_tensor("features")
    except FileNotFoundError:
        return "missing"
    except (SafetensorError, *_DAMAGE) as error:
        log.warning("%s is damaged (%s): its image is encoded again", path, type(error).__name__)
        return "damaged"
    return facts, Embedding(features, facts.image_size, facts.input_size, facts.model, finer)


def _open_run(folder: Path) -> RunFolder:
    try:
        return RunFolder.open(folder, Product.EMBEDDINGS)
    except UsageError as error:
        raise UsageError(f"--embeddings: {error}") from error


def store_facts(folder: str | None) -> dict[str, Any]:
    """Return the recipe's entry for embeddings read from a folder: they are rounded, so masks may differ.

    Raises:
        UsageError: no embeddings were written there.
    """
    if folder is None:
        return {}
    stored = _facts_of(_open_run(Path(folder)))
    return {"embeddings": {"dtype": stored.dtype, "precision": stored.precision}}


def open_store(folder: str, model: str, precision: str) -> EmbeddingStore:
    """Return the embeddings in a folder.

    `model`, `precision`: of the engine that is going to be prompted with them.

    Raises:
        UsageError: there are none, or they were made by another model or in another precision: what is missing
            would have to be made anew, and the two must not be mixed.
    """
    run = _open_run(Path(folder))
    made_by, made_in = _facts_of(run).model, _facts_of(run).precision
    if made_by.sha256 != model:
        raise UsageError(
            f"--embeddings {folder} were made by {made_by.name} ({made_by.sha256[:12]}), "
            f"this is another model ({model[:12]}): give that one with --sam, or encode again"
        )
    if made_in != precision:
        raise UsageError(
            f"--embeddings {folder} were made in {made_in}, this run is in {precision}: give --precision {made_in}"
        )
    return EmbeddingStore(run)
