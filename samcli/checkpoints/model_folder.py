"""Folders that the transformers library saved a model in: what they hold, and that reading them runs no code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samcli.checkpoints.damage import check_undamaged
from samcli.errors import WeightsError, one_line
from samcli.files import sha256_of

INSTALL = "pip install 'samcli[transformers]'"

CONFIG = "config.json"

READ_SUFFIXES = (".json", ".safetensors", ".txt", ".model")
"""Of the files that the library reads: configurations, tensors and the vocabularies of tokenizers."""

PROMPTABLE = {
    "sam_hq": "SamHQModel",
    "edgetam": "EdgeTamModel",
    "edgetam_video": "EdgeTamModel",
    "sam3_tracker": "Sam3TrackerModel",
    "sam3_tracker_video": "Sam3TrackerModel",
}
"""Families that points and boxes prompt and that run on the library's own forward: its class by the type that
config.json gives. A model for videos contains one for images."""

_SAYS_CODE = (CONFIG, "preprocessor_config.json", "processor_config.json", "tokenizer_config.json")
"""Configurations that may name classes of the folder's own, to be imported from it."""

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")

_LARGEST_CONFIG = 32 << 20
"""Bytes. The largest published configuration, with the names of 20,000 classes, has a tenth of that."""


@dataclass(frozen=True)
class ModelFolder:
    """A folder with a transformers model whose files are only data: JSON, safetensors and vocabularies."""

    path: Path
    config: Mapping[str, Any]
    """What its `config.json` says."""

    @property
    def model_type(self) -> str:
        """Return the library's name of the family, e.g. `grounding-dino`."""
        return str(self.config.get("model_type", ""))

    @property
    def architecture(self) -> str:
        """Return the class that was saved, e.g. `DetrForObjectDetection`; empty where the folder does not say."""
        said = self.config.get("architectures")
        return str(said[0]) if isinstance(said, list) and said else ""


def is_model_folder(path: Path) -> bool:
    """Return whether a folder holds a configuration as transformers saves it beside a model."""
    return (path / CONFIG).is_file()


def read_model_folder(path: Path) -> ModelFolder:
    """Look into a folder without loading anything.

    Raises:
        WeightsError: it has no configuration or no safetensors file, brings code of its own, or is damaged.
    """
    config = read_json_object(path / CONFIG)
    for name in _SAYS_CODE:
        if (path / name).is_file() and "auto_map" in read_json_object(path / name):
            raise WeightsError(
                f"{path} was refused: its {name} names code of its own (auto_map), which samcli never runs. "
                "Use a model of a family that the transformers library has itself"
            )
    if (path / "adapter_config.json").is_file():
        raise WeightsError(
            f"{path} holds an adapter; expected a whole model: merge the adapter into its base, and save"
        )
    if not any(path.glob("*.safetensors")):
        pickles = sorted(entry.name for entry in path.iterdir() if entry.suffix in _PICKLES)
        found = f"was refused: {pickles[0]} is a pickle" if pickles else "holds no weights"
        raise WeightsError(
            f"{path} {found}; expected model.safetensors. Save it again: "
            "model.save_pretrained(FOLDER), processor.save_pretrained(FOLDER)"
        )
    for file in path.glob("*.safetensors"):
        check_undamaged(file)
    return ModelFolder(path, config)


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        WeightsError: it cannot be read, is too large, or holds something else.
    """
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise WeightsError(f"{path} has {path.stat().st_size >> 20} MiB; expected a small configuration")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read: {one_line(error)[:200]}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}; expected a JSON object")
    return content


def folder_identity(path: Path, hash_of: Callable[[Path], str] = sha256_of) -> str:
    """SHA-256 of the list of the files that the library reads: their names, and the SHA-256 of each.

    The configurations count too: another input size or another tokenizer is another model.
    """
    files = sorted(entry for entry in path.iterdir() if entry.suffix in READ_SUFFIXES and entry.is_file())
    listing = "".join(f"{hash_of(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()
