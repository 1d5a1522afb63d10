"""Linear layers by the fastest kernel at hand.

On x86 CPUs with AVX-512 oneDNN multiplies fp32 matrices up to twice as fast as the MKL that PyTorch calls, and
applies GELU or adds a residual while the result is still in registers. Without AVX-512 MKL is the faster one
(docs/speed.md has the figures). The choice depends on the instruction set alone, not on a measurement, so that a
resumed run computes with the kernels that began it. PyTorch reaches oneDNN through the operators that its own
compiler emits; they are private, so they are tried before they are trusted.
"""

from __future__ import annotations

import functools
import platform

import torch
import torch.nn.functional as F
from torch import Tensor

CACHE_BYTES = 4 << 20
"""Size of a tile that stays in a CPU's cache while a few operators pass over it, in bytes.

Half of it costs the same on one thread, but doubles how often the threads wait for each other.
"""


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False, add: Tensor | None = None
) -> Tensor:
    """x (..., K) times the transpose of a weight (N, K), plus bias (N,), then GELU or plus `add` (..., N)."""
    multiply = _onednn if _use_onednn(x) else _plain
    return multiply(x, weight, bias, gelu, add)


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    gelu: bool = False,
) -> Tensor:
    """Convolution of x (B, h, w, C), channels last, then GELU: (B, h', w', D)."""
    if weight.shape[2:] == (1, 1) and stride == groups == 1:
        return linear(x, weight.flatten(1), bias, gelu=gelu)
    maps = x.permute(0, 3, 1, 2)
    if gelu and _use_onednn(x):
        sizes = [padding] * 2, [stride] * 2, [1, 1], groups
        out = torch.ops.mkldnn._convolution_pointwise(maps, weight, bias, *sizes, "gelu", [], "none")
    else:
        out = F.conv2d(maps, weight, bias, stride, padding, groups=groups)
        out = F.gelu(out) if gelu else out
    return out.permute(0, 2, 3, 1)  # type: ignore[no-any-return]


def products(x: Tensor, y: Tensor) -> Tensor:
    """Matrices (B, M, K) times the transposes of matrices (B, N, K), or of one (1, N, K) for all."""
    if len(y) == 1:
        return linear(x, y[0])
    if x.dtype == torch.float32 and _use_onednn(x):  # oneDNN does the batches of other types
        return torch.stack([linear(one, other) for one, other in zip(x, y, strict=True)])
    return torch.bmm(x, y.transpose(1, 2))


def _use_onednn(x: Tensor) -> bool:
    if x.device.type != "cpu" or not _onednn_works():
        return False
    return x.dtype == torch.bfloat16 or (x.dtype == torch.float32 and _has_avx512())


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool, add: Tensor | None) -> Tensor:
    operator = torch.ops.mkldnn._linear_pointwise
    if not weight.t().is_contiguous():
        weight = weight.contiguous()  # other layouts go through oneDNN's reference kernel, a thousand times slower
    x = x.contiguous()
    if add is not None:
        return operator.binary(x, add.contiguous(), weight, bias, "add")  # type: ignore[no-any-return]
    return operator(x, weight, bias, "gelu" if gelu else "none", [], "none" if gelu else "")  # type: ignore[no-any-return]


def _plain(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool, add: Tensor | None) -> Tensor:
    product = F.linear(x, weight, bias)
    if gelu:
        return F.gelu(product)
    return product if add is None else product + add


@functools.cache
def _has_avx512() -> bool:
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512")


@functools.cache
def _onednn_works() -> bool:
    """Return whether oneDNN's operators are there and agree with PyTorch's."""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not available or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    values = torch.linspace(-2, 2, 24)
    x, weight, bias, add = values.view(4, 6), values.view(4, 6).flip(0), values[:4], values[:16].view(4, 4)
    cases = [(None, False, None), (bias, True, None), (bias, False, add)]
    try:
        return all(torch.allclose(_onednn(x, weight, *case), _plain(x, weight, *case), atol=1e-5) for case in cases)
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
