"""One file per family of networks: build from tensors' shapes, load strictly.

`load_network` reads a checkpoint without running anything in it and tells its family by what it holds.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from samcli.checkpoints.damage import check_undamaged
from samcli.checkpoints.model_folder import PROMPTABLE
from samcli.checkpoints.registry import checkpoint_files
from samcli.errors import WeightsError, one_line
from samcli.sam.networks.base import SamNetwork
from samcli.sam.networks.hugging_face import check_config, is_hugging_face_sam, to_meta_names
from samcli.sam.networks.hugging_face_sam2 import is_hugging_face_sam2, sam2_metadata, sam2_to_meta_names
from samcli.sam.networks.sam import build_sam, is_sam
from samcli.sam.networks.sam2 import build_sam2, is_sam2

_WRAPPERS = ("model", "state_dict", "model_state_dict", "sam", "ema")
_PREFIXES = ("module.", "model.", "sam.", "sam_model.")


@dataclass(frozen=True)
class RawCheckpoint:
    """Tensors by name, and the text metadata that a safetensors file may carry."""

    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str] = field(default_factory=dict)


def load_network(path: Path) -> SamNetwork:
    """Build the network that a checkpoint (a file or a folder) holds, in fp32 on the CPU, in evaluation mode.

    Raises:
        WeightsError: it would run code, is damaged, is of an unknown family, or does not fit exactly.
    """
    if path.is_dir() and _config_of(path).get("model_type") in PROMPTABLE:
        from samcli.sam.networks.transformers_adapter import load_promptable

        return load_promptable(path)
    return build_network(read_checkpoint(path), path)


def build_network(raw: RawCheckpoint, path: Path) -> SamNetwork:
    """Return the network that these tensors are. `path`: where they were read.

    Raises:
        WeightsError: they are of an unknown family, or do not fit exactly.
    """
    if is_hugging_face_sam(raw.tensors):
        check_config(_config_of(path), path.name)
        return build_sam(to_meta_names(raw.tensors, path.name), raw.metadata, path.name)
    if is_hugging_face_sam2(raw.tensors):
        metadata = sam2_metadata(_config_of(path), path.name) or raw.metadata
        return build_sam2(sam2_to_meta_names(raw.tensors, path.name), metadata, path.name)
    if is_sam(raw.tensors):
        return build_sam(raw.tensors, raw.metadata, path.name)
    if is_sam2(raw.tensors):
        return build_sam2(raw.tensors, raw.metadata, path.name)
    groups = sorted({name.partition(".")[0] for name in raw.tensors})
    raise WeightsError(
        f"{path.name} holds no SAM network: found {len(raw.tensors)} tensors named {', '.join(groups[:6])}...; "
        "expected image_encoder with prompt_encoder and mask_decoder (SAM, MobileSAM), "
        "or with sam_prompt_encoder and sam_mask_decoder (SAM 2, SAM 2.1)"
    )


def read_checkpoint(path: Path) -> RawCheckpoint:
    """Tensors of a .safetensors, .pt, .pth or .bin file, or of a folder that transformers saved a model in.

    Wrappers and prefixes that training scripts add are removed.

    Raises:
        WeightsError: a file would run code when loaded, or cannot be read.
    """
    parts = [_read_file(file) for file in checkpoint_files(path)]
    if len(parts) == 1:
        return parts[0]
    tensors: dict[str, torch.Tensor] = {}
    for part in parts:
        if twice := sorted(tensors.keys() & part.tensors.keys()):
            raise WeightsError(f"{path} holds {twice[0]} in two of its files")
        tensors |= part.tensors
    return RawCheckpoint(tensors)


def _read_file(path: Path) -> RawCheckpoint:
    check_undamaged(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} was refused: it is damaged or would run code when loaded (not only tensors are in it)"
        ) from error
    except Exception as error:  # whatever a damaged file, or one of another kind, makes torch trip over
        reason = f"{type(error).__name__}: {one_line(error)[:200]}"
        raise WeightsError(f"{path} is damaged or no checkpoint ({reason}). Download or copy it again") from error
    return RawCheckpoint(_tensors(content, path))


def _config_of(path: Path) -> Mapping[str, object]:
    """Return the contents of `config.json` beside or in a checkpoint with transformers' names; else nothing."""
    if path.is_dir():
        file = path / "config.json"
    elif path.name.startswith(("model.safetensors", "pytorch_model.bin")):
        file = path.with_name("config.json")
    else:  # whatever lies beside it is not its own
        return {}
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read: {one_line(error)}") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{file} holds a {type(config).__name__}; expected a JSON object")
    return config


def _read_safetensors(path: Path) -> RawCheckpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return RawCheckpoint(_tensors(tensors, path), dict(file.metadata() or {}))
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged: {error}. Download or copy it again") from error


def _tensors(content: object, path: Path) -> dict[str, torch.Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise WeightsError(f"{path} holds no table of tensors")
    tensors = {str(name): tensor for name, tensor in content.items()}
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
    return tensors
