"""`samcli models`: the known checkpoints, what is here, whether it is whole, and what a file holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samcli.checkpoints.hub import HUB_MODELS, HubModel, fetch_from_hub, hub_folder, is_hub_name
from samcli.checkpoints.model_folder import is_model_folder, read_model_folder
from samcli.checkpoints.registry import (
    CHECKPOINTS,
    EMBEDDED,
    Checkpoint,
    checkpoint_files,
    embedded_card,
    embedded_weights,
    fetch_weights,
    identity_of,
    known_checkpoint,
)
from samcli.errors import WeightsError, one_line
from samcli.files import sha256_of

if TYPE_CHECKING:
    from samcli.sam.networks import RawCheckpoint

TINY_NOTE = "knows eight kinds of synthetic shape: for trying out and testing only, not for photos"


@dataclass(frozen=True)
class KnownModel:
    """A line of the list. `megabytes` and `parameters` (millions): None where they are not known for sure."""

    name: str
    role: str
    megabytes: float | None
    parameters: float | None
    licence: str
    publisher: str
    url: str | None
    here: bool
    path: str
    """Where the file lies, or would lie."""

    @property
    def on_hub(self) -> bool:
        """Return whether it is a repository of the Hugging Face hub."""
        return self.name in HUB_MODELS


def known_models() -> list[KnownModel]:
    """Return all known checkpoints and the two embedded ones, those that prompts are given to first."""
    embedded = [_embedded_model(role) for role in EMBEDDED]
    rest = [
        KnownModel(
            checkpoint.name,
            checkpoint.role,
            checkpoint.size,
            checkpoint.parameters,
            checkpoint.licence,
            checkpoint.publisher,
            checkpoint.url,
            checkpoint.stored.is_file(),
            str(checkpoint.stored),
        )
        for checkpoint in CHECKPOINTS.values()
    ]
    order = ("sam", "fastsam", "det", "text")
    hub = map(_hub_model, HUB_MODELS.values())
    return sorted([*embedded, *rest, *hub], key=lambda model: order.index(model.role))


def _hub_model(model: HubModel) -> KnownModel:
    folder = hub_folder(model.name)
    licence = f"{model.licence} (gated)" if model.gated else model.licence
    return KnownModel(
        model.name,
        model.role,
        model.megabytes,
        model.parameters,
        licence,
        model.publisher,
        model.url,
        folder is not None,
        str(folder or model.url),
    )


def _embedded_model(role: str) -> KnownModel:
    from samcli.checkpoints.pickles import inspect_pickle

    card, path = embedded_card(), embedded_weights(role).path
    parameters = card["sam"]["architecture"]["parameters"] if role == "sam" else inspect_pickle(path).parameters
    return KnownModel(
        "tiny",
        role,
        round(card["bytes"][EMBEDDED[role]] / 1e6, 1),
        round(parameters / 1e6, 1),
        "AGPL-3.0-or-later",
        "samcli",
        None,
        True,
        str(path),
    )


@dataclass(frozen=True)
class Verdict:
    """Result of a check. `state`: `whole`, `wrong`, `missing`, or `unknown` (nothing to compare with)."""

    name: str
    path: str
    state: str
    sha256: str | None = None
    reason: str = ""

    @property
    def bad(self) -> bool:
        """Return whether the file is not what it must be."""
        return self.state in ("wrong", "missing")


def verify_models(targets: Sequence[str] = ()) -> list[Verdict]:
    """Compute the SHA-256 of checkpoints again and compare it with the known or pinned one.

    `targets`: known names, `tiny`, files or folders; none: everything that is here. Nothing is pinned.

    Raises:
        WeightsError: a target is neither a known name nor a file.
    """
    if targets:
        return [verdict for target in targets for verdict in _verify(target)]
    here = [checkpoint for checkpoint in CHECKPOINTS.values() if checkpoint.stored.is_file()]
    return [*_verify_embedded(), *(_verify_stored(checkpoint) for checkpoint in here)]


def _verify(target: str) -> list[Verdict]:
    if target == "tiny":
        return _verify_embedded()
    path = Path(target).expanduser()
    if path.is_file() or path.is_dir():
        return [_verify_path(path)]
    return [_verify_stored(known_checkpoint(target))]


def _verify_embedded() -> list[Verdict]:
    verdicts = []
    for role, file in EMBEDDED.items():
        name = f"tiny ({role})"
        try:
            found = embedded_weights(role)
        except WeightsError as error:
            verdicts.append(Verdict(name, file, "wrong", reason=str(error)))
        else:
            verdicts.append(Verdict(name, str(found.path), "whole", found.sha256, "as its card says"))
    return verdicts


def _verify_stored(checkpoint: Checkpoint) -> Verdict:
    path = checkpoint.stored
    if not path.is_file():
        reason = f"not here: samcli models fetch {checkpoint.name}"
        return Verdict(checkpoint.name, str(path), "missing", reason=reason)
    return _compare(checkpoint, path, sha256_of(path))


def _verify_path(path: Path) -> Verdict:
    found = identity_of(path)
    if name := known_name(found):
        return Verdict(name, str(path), "whole", found, f"the content of {name}")
    if path.name in CHECKPOINTS and path.is_file():
        return _compare(CHECKPOINTS[path.name], path, found)
    return Verdict(path.name, str(path), "unknown", found, "no known checkpoint")


def _compare(checkpoint: Checkpoint, path: Path, found: str) -> Verdict:
    name, expected = checkpoint.name, checkpoint.expected_sha256
    if expected is None:
        return Verdict(name, str(path), "unknown", found, "no SHA-256 is known, and none was pinned at a download")
    source = "the published SHA-256" if checkpoint.sha256 else "the SHA-256 of its first download"
    if found == expected:
        return Verdict(name, str(path), "whole", found, source)
    reason = f"SHA-256 {found[:12]}..., expected {expected[:12]}... ({source})"
    return Verdict(name, str(path), "wrong", found, f"{reason}. Delete it, then: samcli models fetch {name}")


def known_name(sha256: str) -> str | None:
    """Return the name of the known, pinned or embedded checkpoint with that content."""
    for role, file in EMBEDDED.items():
        if embedded_card()["sha256"][file] == sha256:
            return f"tiny ({role})"
    return next((one.name for one in CHECKPOINTS.values() if one.expected_sha256 == sha256), None)


Watcher = Callable[[str], Callable[[int, "int | None"], None]]
"""Given a checkpoint's name, what is told of its bytes as they arrive."""


def fetch_models(
    names: Sequence[str],
    report: Callable[[str], None] = lambda line: None,
    watcher: Watcher = lambda name: lambda done, total: None,
) -> list[Path]:
    """Download known checkpoints into the cache, checked; those that are there are only checked.

    Raises:
        WeightsError: an unknown name, no network, or a file that is not what its name promises.
    """
    known = [name for name in names if name != "tiny" and (name in CHECKPOINTS or not is_hub_name(name))]
    wanted = {name: known_checkpoint(name) for name in known}  # before the first download
    paths: list[Path] = []
    for name in names:
        checkpoint = wanted.get(name)
        if name != "tiny" and checkpoint is None:
            report(f"looking for {name} on the Hugging Face hub")
            paths.append(hub_folder(name) or fetch_from_hub(name))
        elif checkpoint is None:
            paths += [embedded_weights(role).path for role in EMBEDDED]
        else:
            paths.append(fetch_weights(checkpoint, report, watcher(checkpoint.name)).path)
    return paths


@dataclass(frozen=True)
class ModelFacts:
    """Contents of a checkpoint; None, or empty, where they are unknown without running the file."""

    path: str
    files: int
    bytes: int
    sha256: str
    known_as: str | None = None
    family: str | None = None
    image_size: int | None = None
    """Side of the square that the image encoder takes, or that a detector was trained at, in pixels."""
    parameters: int | None = None
    tensors: int | None = None
    dtypes: Mapping[str, int] = field(default_factory=dict)
    """Number of tensors by dtype."""
    classes: Mapping[int, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def describe_model(target: str) -> list[ModelFacts]:
    """Describe a checkpoint: a file, a folder, a known name that is here, or `tiny` (two models).

    No code in the file is run: SAM's tensors are loaded as numbers only, a pickled network is read with every
    name in it replaced by something inert.

    Raises:
        WeightsError: no such file, or a known checkpoint that is not here.
    """
    if target == "tiny":
        return [_describe_file(embedded_weights(role).path) for role in EMBEDDED]
    path = Path(target).expanduser()
    if target not in CHECKPOINTS and not path.exists() and is_hub_name(target):
        folder = hub_folder(target)
        if folder is None:
            raise WeightsError(f"{target} is not in the hub's cache: samcli models fetch {target}")
        return [_describe_folder(folder)]
    if path.is_dir() and is_model_folder(path):
        return [_describe_folder(path)]
    if not (path.is_file() or path.is_dir()):
        checkpoint = known_checkpoint(target)
        path = checkpoint.stored
        if not path.is_file():
            size = f", {checkpoint.size:g} MB" if checkpoint.size else ""
            raise WeightsError(
                f"{target} ({checkpoint.publisher}{size}, {checkpoint.licence}) is not here: "
                f"samcli models fetch {target}"
            )
    return [_describe_file(path)]


def _describe_folder(path: Path) -> ModelFacts:
    """Describe a folder of the transformers library: SAM's by its tensors, others by their configuration."""
    folder = read_model_folder(path)
    facts = _describe_file(path)
    if facts.family is not None:
        return facts
    labels = folder.config.get("id2label")
    names = {int(key): str(name) for key, name in labels.items()} if isinstance(labels, dict) else {}
    details = {"model type": folder.model_type, "licence": "as its page on the hub says"}
    return replace(
        facts,
        family=folder.architecture or folder.model_type,
        classes=names,
        details={**facts.details, **details},
        notes=("a model of the transformers library: its configuration was read, it was not loaded",),
    )


def _describe_file(path: Path) -> ModelFacts:
    files = checkpoint_files(path)
    sha256 = identity_of(path)
    name = known_name(sha256)
    common: dict[str, Any] = {
        "path": str(path),
        "files": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        "sha256": sha256,
        "known_as": name,
    }
    found = _look_into(path)
    details, notes = dict(found.pop("details", {})), [*found.pop("notes", ())]
    if name in CHECKPOINTS:
        details |= {"licence": CHECKPOINTS[name].licence, "url": CHECKPOINTS[name].url}
    elif name is not None:
        notes.append(f"the embedded tiny model: {TINY_NOTE}")
        details |= _tiny_details("sam" if path.name == EMBEDDED["sam"] else "det")
    return ModelFacts(**common, **found, details=details, notes=tuple(notes))


def _tiny_details(role: str) -> dict[str, Any]:
    """Return the lines of the card that say how good it is."""
    card = embedded_card()
    plain, hard = card["figures"]["plain"], card["figures"]["hard"]
    if role == "sam":
        shapes = {"shapes": ", ".join(card["yolo"]["names"])}
        measure, key = "mean IoU of box prompts", "box"
    else:
        shapes, measure, key = {}, "mAP50-95", "map50_95"
    figures = f"{plain[key]:.2f} on plain scenes, {hard[key]:.2f} on hard ones"
    return {"licence": "AGPL-3.0-or-later", **shapes, measure: figures, "card": "MODEL_CARD.md beside the file"}


def _look_into(path: Path) -> dict[str, Any]:
    """Fields of ModelFacts that only the content tells."""
    if path.suffix == ".onnx":
        return _look_into_onnx(path)
    if path.suffix == ".torchscript":
        return _look_into_torchscript(path)
    from samcli.sam.networks import read_checkpoint

    try:
        raw = read_checkpoint(path)
    except WeightsError as error:
        return _look_into_pickle(path, str(error))
    return _look_into_tensors(path, raw)


def _look_into_tensors(path: Path, raw: RawCheckpoint) -> dict[str, Any]:
    from torch import nn

    from samcli.sam.networks import build_network

    dtypes = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in raw.tensors.values())
    counts: dict[str, Any] = {"tensors": len(raw.tensors), "dtypes": dict(dtypes)}
    try:
        network = build_network(raw, path)
    except WeightsError as error:
        return {**counts, "notes": (f"cannot be loaded as SAM: {one_line(error)[:500]}",)}
    parts = nn.ModuleList(part for part in vars(network).values() if isinstance(part, nn.Module))
    return {
        **counts,
        "family": network.family,
        "image_size": network.image_size,
        "parameters": sum(weight.numel() for weight in parts.parameters()),
    }


def _look_into_pickle(path: Path, refusal: str) -> dict[str, Any]:
    """Return facts about a file that is more than tensors: a detector, most likely."""
    from samcli.checkpoints.pickles import inspect_pickle

    try:
        found = inspect_pickle(path)
    except WeightsError:
        return {"notes": (refusal,)}
    facts = dict(found.facts)
    size = facts.pop("trained at", None)
    notes = ["a pickled network: read without running it, so that it loads is not checked"]
    if found.unusual:
        names = ", ".join(found.unusual[:5])
        notes.append(f"loading it would also import {names}: refused unless --trust-weights")
    return {
        "family": found.network,
        "image_size": size if isinstance(size, int) else None,
        "parameters": found.parameters,
        "tensors": sum(found.dtypes.values()),
        "dtypes": dict(found.dtypes),
        "classes": dict(found.names),
        "details": facts,
        "notes": tuple(notes),
    }


def _look_into_torchscript(path: Path) -> dict[str, Any]:
    from samcli.checkpoints.pickles import torchscript_facts

    try:
        facts = torchscript_facts(path)
    except WeightsError as error:
        return {"notes": (str(error),)}
    return {"family": "TorchScript program", **_exported(facts)}


def _look_into_onnx(path: Path) -> dict[str, Any]:
    try:
        import onnx
    except ImportError:
        return {"family": "ONNX graph", "notes": ("to say more, pip install 'samcli[onnx]'",)}
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # whatever protobuf makes of a damaged file
        return {"notes": (f"no ONNX graph: {one_line(error)[:200]}",)}
    facts = {entry.key: entry.value for entry in model.metadata_props}
    counts = {"tensors": len(model.graph.initializer)}
    return {"family": "ONNX graph", **counts, **_exported(facts)}


def _exported(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata that Ultralytics writes into the models it exports."""
    import ast

    names: Any = facts.get("names", {})
    if isinstance(names, str):
        try:
            names = ast.literal_eval(names)
        except (ValueError, SyntaxError):
            names = {}
    kept = {"task": "task", "imgsz": "image size", "date": "date", "version": "ultralytics version"}
    return {
        "classes": {int(key): str(value) for key, value in names.items()} if isinstance(names, dict) else {},
        "details": {name: facts[key] for key, name in kept.items() if key in facts},
    }
