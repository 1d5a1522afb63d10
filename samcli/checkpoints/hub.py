"""Models of the Hugging Face hub, by the name of their repository: `owner/name`, or `owner/name@revision`.

The hub's own client downloads them into its own cache (`HF_HOME`), by its own rules: it obeys `HF_HUB_OFFLINE`, and
uses the login of `hf auth login`; samcli neither reads nor shows a token. Only data are fetched: JSON, safetensors
and vocabularies.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from samcli.checkpoints.model_folder import CONFIG, INSTALL, READ_SUFFIXES
from samcli.errors import DownloadError, UnknownModelError, WeightsError, one_line

_NAME = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
_FILES = (".pt", ".pth", ".onnx", ".torchscript", ".safetensors", ".bin", ".yaml", ".yml", ".json")


@dataclass(frozen=True)
class HubModel:
    """A repository that is known to work. `role`: `text` (a detector that reads text), `det` or `sam`.

    `parameters`: in millions. `megabytes`: of its safetensors. None: not known for sure. `gated`: its makers
    want to be asked first, on its page.
    """

    name: str
    role: str
    licence: str
    parameters: float | None = None
    megabytes: float | None = None
    gated: bool = False

    @property
    def url(self) -> str:
        """Its page."""
        return f"https://huggingface.co/{self.name}"

    @property
    def publisher(self) -> str:
        """Whose repository it is."""
        return self.name.partition("/")[0]


_APACHE = "Apache-2.0"
_KNOWN = (
    HubModel("IDEA-Research/grounding-dino-tiny", "text", _APACHE, 172.2, 689),
    HubModel("IDEA-Research/grounding-dino-base", "text", _APACHE, 233.3, 933),
    HubModel("openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det", "text", _APACHE),
    HubModel("omlab/omdet-turbo-swin-tiny-hf", "text", _APACHE),
    HubModel("google/owlv2-base-patch16-ensemble", "text", _APACHE, 155.0, 620),
    HubModel("google/owlvit-base-patch32", "text", _APACHE, 153.0, 613),
    HubModel("facebook/sam3", "text", "SAM License", gated=True),
    HubModel("facebook/detr-resnet-50", "det", _APACHE, 41.6, 167),
    HubModel("PekingU/rtdetr_v2_r50vd", "det", _APACHE),
    HubModel("ustc-community/dfine-medium-coco", "det", _APACHE),
    HubModel("facebook/mask2former-swin-tiny-coco-instance", "det", "other"),
    HubModel("facebook/sam2.1-hiera-tiny", "sam", _APACHE, 38.9, 156),
    HubModel("facebook/sam2.1-hiera-large", "sam", _APACHE, 224.4, 898),
    HubModel("syscv-community/sam-hq-vit-base", "sam", _APACHE),
    HubModel("yonigozlan/EdgeTAM-hf", "sam", _APACHE),
)
HUB_MODELS = {model.name: model for model in _KNOWN}
"""By name. Any other repository of a known family works as well."""


def is_hub_name(name: str) -> bool:
    """Return whether a name is one of a repository, and not of a file."""
    return _NAME.fullmatch(name) is not None and not name.lower().endswith(_FILES)


def hub_folder(name: str) -> Path | None:
    """Return the folder of a repository if all its files are in the hub's cache; use no network."""
    try:
        return _snapshot(name, offline=True)
    except (ImportError, OSError, ValueError):
        return None


def fetch_from_hub(name: str) -> Path:
    """Return the folder with a repository's files, downloaded if need be.

    Raises:
        WeightsError: the client is not installed, there is no network, no such repository, or it is gated.
    """
    try:
        folder = _snapshot(name, offline=False)
    except ImportError as error:
        raise WeightsError(
            f"{name} is a repository of the Hugging Face hub, which needs its client: {INSTALL}; or copy the files "
            "into a folder, and give that"
        ) from error
    except Exception as error:  # of the client's own kinds, and whatever its transport raises
        raise _explained(name, error) from error
    if not (folder / CONFIG).is_file():
        raise WeightsError(f"{name} has no {CONFIG}: it is no model that the transformers library saved")
    return folder


def _snapshot(name: str, *, offline: bool) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download

    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(name)
    return Path(
        snapshot_download(
            match["repository"],
            revision=match["revision"],
            allow_patterns=[f"*{suffix}" for suffix in READ_SUFFIXES],
            ignore_patterns=["*/*"],
            local_files_only=offline,
        )
    )


def _explained(name: str, error: Exception) -> WeightsError:
    """Explain an error of the hub's client and what the user can do."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{name.partition('@')[0]}"
    if isinstance(error, errors.GatedRepoError):
        return WeightsError(
            f"{name} is gated: ask for access on {page}, then log in with `hf auth login`. "
            "Without it: --det IDEA-Research/grounding-dino-tiny with --sam sam2.1_t.pt"
        )
    if isinstance(error, (errors.RepositoryNotFoundError, errors.RevisionNotFoundError)):
        return UnknownModelError(
            f"no file or folder {name}, and no such repository on the hub (or a private one: `hf auth login`)"
        )
    return DownloadError(
        f"cannot download {name} ({one_line(error)[:160]}). On a machine with network: "
        f"hf download {name.partition('@')[0]} --local-dir FOLDER; copy FOLDER here, and give its path"
    )
