"""A detector's network in sixteen bits, but for what makes boxes of its answers.

A corner at pixel 639 has ten bits before the point, more than bfloat16 holds: boxes are decoded in fp32. So are
scores, which everything after compares.
"""

from __future__ import annotations

from typing import Any

import torch


def halve_detector(network: Any, dtype: torch.dtype) -> None:
    """Cast an Ultralytics detection network in place; it takes fp32 images and gives fp32 boxes and scores still.

    The convolutions of a YOLO head are cast as well. A head of another kind stays fp32 whole: RT-DETR's decoder
    reads its maps at positions that it computes.
    """
    from ultralytics.nn.modules.head import Detect

    *layers, head = network.model
    for layer in layers:
        layer.to(dtype)
    network.register_forward_pre_hook(lambda _, given: _cast(given, dtype))
    if isinstance(head, Detect):
        for part in head.children():
            if part is not head.dfl:
                part.to(dtype)
        decode = head._inference
        head._inference = lambda answers: decode(_cast(answers, torch.float32))
    else:
        head.register_forward_pre_hook(lambda _, given: _cast(given, torch.float32))


def _cast(given: Any, dtype: torch.dtype) -> Any:
    """Tensors of floats in that type, in whatever they are held; all else as it is."""
    if isinstance(given, torch.Tensor):
        return given.to(dtype) if given.is_floating_point() else given
    if isinstance(given, (tuple, list)):
        return type(given)(_cast(item, dtype) for item in given)
    if isinstance(given, dict):
        return {key: _cast(value, dtype) for key, value in given.items()}
    return given
