"""Models of the transformers library: its classes as a library, offline, silent, from folders of plain data."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from samcli.checkpoints.model_folder import INSTALL, ModelFolder
from samcli.errors import WeightsError, one_line


def import_transformers(what: str) -> Any:
    """Return the transformers library. `what` needs it: for the message.

    Raises:
        WeightsError: it is not installed.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # threads of its own, and a warning at each fork
    try:
        import transformers
    except ImportError as error:
        raise WeightsError(f"{what} needs the transformers library: {INSTALL}") from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def load_pretrained(folder: ModelFolder, class_name: str, device: torch.device | str = "cpu") -> Any:
    """Return the folder's model, of that class or of what an automatic class makes of it; fp32, in evaluation mode.

    Raises:
        WeightsError: it is of another kind, damaged, or lacks tensors; or something is not installed.
    """
    transformers = import_transformers(str(folder.path))
    kind = _class_of(transformers, class_name, folder)
    model, info = _within(
        folder,
        lambda: kind.from_pretrained(
            folder.path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        ),
    )
    for problem, names in (
        ("lacks", info.get("missing_keys")),
        ("has another shape of", info.get("mismatched_keys")),
    ):
        if names:
            first = min(name if isinstance(name, str) else name[0] for name in names)
            raise WeightsError(
                f"{folder.path} does not fit its own config.json: it {problem} {len(names)} of the tensors of "
                f"{type(model).__name__}, e.g. {first}"
            )
    return model.to(device).eval()


def load_processor(folder: ModelFolder, class_name: str = "AutoProcessor") -> Any:
    """Return the folder's processor of that class: of images, and of text where its model reads any.

    Raises:
        WeightsError: a file of it is missing or damaged; or something is not installed.
    """
    transformers = import_transformers(str(folder.path))
    kind = _class_of(transformers, class_name, folder)
    return _within(
        folder,
        lambda: kind.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False),
    )


def _class_of(transformers: Any, class_name: str, folder: ModelFolder) -> Any:
    try:
        return getattr(transformers, class_name)
    except AttributeError as error:
        raise WeightsError(
            f"{folder.path} is a {class_name}, which transformers {transformers.__version__} does not have: "
            "pip install --upgrade transformers"
        ) from error


def _within(folder: ModelFolder, load: Callable[[], Any]) -> Any:
    """Return the result of `load`, with every error of the library as one line.

    Raises:
        WeightsError: it could not be loaded.
    """
    try:
        return load()
    except ImportError as error:
        raise WeightsError(
            f"{folder.path} needs a package that is not installed: {one_line(error)[:300]}"
        ) from error
    except Exception as error:  # whatever files of a stranger make the library trip over
        raise WeightsError(
            f"{folder.path} cannot be loaded by transformers ({type(error).__name__}): {one_line(error)[:300]}"
        ) from error


def remember(module: Any, capacity: int = 1) -> None:
    """Let a module answer the tensors that it was given before with the same result, without computing it again.

    For the text encoder, asked the same for every image, and for the image encoder, asked the same for every
    group of prompts. `capacity`: number of questions kept, the last ones.
    """
    compute: Callable[..., Any] = module.forward
    known: list[tuple[Any, Any]] = []

    def forward(*arguments: Any, **options: Any) -> Any:
        asked = (arguments, options)
        for question, answer in known:
            if _equal(question, asked):
                return _with_own_lists(answer)
        answer = compute(*arguments, **options)
        known.append((asked, _with_own_lists(answer)))
        del known[:-capacity]
        return answer

    module.forward = forward


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return first is second or (first.shape == second.shape and torch.equal(first, second))
    if isinstance(first, (tuple, list)) and isinstance(second, (tuple, list)):
        return len(first) == len(second) and all(map(_equal, first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_equal(first[key], second[key]) for key in first)
    return type(first) is type(second) and bool(first == second)


def _with_own_lists(answer: Any) -> Any:
    """Return the same with lists that whoever gets them may lengthen."""
    if type(answer) in (tuple, list):
        return type(answer)(_with_own_lists(item) for item in answer)
    return answer
