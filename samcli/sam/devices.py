"""Choose the device and the precision that the networks run with."""

from __future__ import annotations

import logging

import torch
import torch.nn.functional as F

from samcli.errors import UsageError, one_line

log = logging.getLogger("samcli")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is the first CUDA GPU, else Apple's GPU (MPS), else the CPU.

    Raises:
        UsageError: the device is not on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() and _mps_computes() else "cpu")
    try:
        device = torch.device(f"cuda:{name}" if name.isdigit() else name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(_why_missing(name)) from error
    return device


def _mps_computes() -> bool:
    """Return whether Apple's GPU gives the CPU's results for the main operations of the networks; say so if not."""
    generator = torch.Generator().manual_seed(0)
    image, kernel = torch.rand(1, 8, 16, 16, generator=generator), torch.rand(8, 8, 3, 3, generator=generator)
    try:
        result = _sample(image.to("mps"), kernel.to("mps")).cpu()
    except (RuntimeError, NotImplementedError, TypeError) as error:
        log.warning("Apple's GPU (MPS) does not work here, using the CPU: %s", one_line(error))
        return False
    if torch.allclose(result, _sample(image, kernel), rtol=1e-3, atol=1e-3):
        return True
    log.warning("Apple's GPU (MPS) computes wrong results here, using the CPU")
    return False


def _sample(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Return the result of a convolution, an attention, a normalisation and a resize."""
    found = F.layer_norm(F.conv2d(image, kernel, padding=1), (16, 16))
    found = F.scaled_dot_product_attention(found, found, found)
    return F.interpolate(F.gelu(found), size=(24, 20), mode="bilinear", align_corners=False)


def _why_missing(name: str) -> str:
    """Say why there is no device of that name, and what to use instead."""
    found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    if name == "mps":
        return "--device mps: Apple's GPU is not available; it needs macOS on Apple silicon. Use --device cpu"
    if len(found) > 1 or not (name.isdigit() or name.startswith("cuda")):
        return f"no device '{name}'; found {', '.join(found)}"
    if torch.version.cuda is None:
        return (
            f"--device {name}: CUDA is not available, because PyTorch {torch.__version__} is built without it. "
            "Use --device cpu, or install a CUDA build of PyTorch"
        )
    return (
        f"--device {name}: CUDA is not available, because PyTorch {torch.__version__} finds no GPU. "
        "Use --device cpu, or check the NVIDIA driver (nvidia-smi) and CUDA_VISIBLE_DEVICES"
    )


def choose_precision(name: str, device: torch.device) -> str:
    """`auto` is what the device does fastest without harm: bf16 where it is in hardware, else fp32.

    Raises:
        UsageError: the device does not compute in it.
    """
    if name == "auto":
        return "bf16" if _has_bf16(device) else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise UsageError("--precision fp16 needs a GPU; on a CPU use bf16 or fp32")
    if name == "bf16" and device.type == "cpu" and not cpu_computes_bf16():
        raise UsageError(
            "--precision bf16 needs a GPU or a CPU with AVX-512; use fp32 here. A run that was begun in bf16 "
            "can be resumed only where bf16 is available"
        )
    return name


def cpu_computes_bf16() -> bool:
    """Return whether torch has kernels for bf16 on this CPU; oneDNN raises where the instructions are missing."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return True
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return supported is None or bool(supported())


def compute_exactly() -> None:
    """Make fp32 be fp32: convolutions, and products where somebody allowed it, keep ten bits of mantissa else."""
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8  # older ones emulate it
    if device.type != "cpu":
        return False
    abilities = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, ability, bool)() for ability in abilities)
