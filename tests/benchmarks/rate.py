"""The image encoder's share of the rate at which this machine multiplies matrices.

    python tests/benchmarks/rate.py [--precision fp32] [--threads 2] [--rounds 5] [--json]

Rate: floating-point operations a second in the four linear layers of a ViT-B block (4,096 tokens, 768 channels), by
the fastest kernel at hand. Share: operations of the stock encoder, counted by PyTorch, divided by the seconds of
samcli's forward and by that rate. Both are measured in turn; each round gives a share.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))
import weights

from samcli.sam.devices import DTYPES
from samcli.sam.networks import kernels, load_network
from samcli.sam.networks.fast import encoder_forward

TOKENS, CHANNELS = 4096, 768
LAYERS = ((CHANNELS, 3 * CHANNELS), (CHANNELS, CHANNELS), (CHANNELS, 4 * CHANNELS), (4 * CHANNELS, CHANNELS))
"""Inputs and outputs of a block's linear layers."""


def shares(precision: str, rounds: int) -> tuple[list[float], list[float]]:
    """Return per round the encoder's share of the rate (0 to 1), and the rate in GFLOP/s."""
    dtype = DTYPES[precision]
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        encoder = load_network(weights.save_sam_vit_b(Path(folder) / "vit_b.pth")).image_encoder.to(dtype).eval()
    image = torch.randn(1, 3, 1024, 1024).to(dtype)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            encoder(image)
        forward = encoder_forward(encoder)
        multiply = fastest_product(dtype)
        forward(image)
        found, rates = [], []
        for _ in range(rounds):
            rates.append(rate(multiply, dtype))
            found.append(counter.get_total_flops() / seconds(lambda: forward(image)) / rates[-1])
    return found, [one / 1e9 for one in rates]


def fastest_product(dtype: torch.dtype) -> Callable[..., object]:
    """The quicker of PyTorch's product and oneDNN's, where that can be called."""
    ways: list[Callable[..., object]] = [F.linear]
    if kernels._onednn_works():
        ways.append(lambda x, weight: kernels._onednn(x, weight, None, False, None))
    return max(ways, key=lambda way: rate(way, dtype))


def rate(multiply: Callable[..., object], dtype: torch.dtype) -> float:
    """Operations a second in `LAYERS`, the best of five for each."""
    spent = 0.0
    for inputs, outputs in LAYERS:
        x, weight = torch.randn(TOKENS, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
        spent += min(seconds(lambda x=x, weight=weight: multiply(x, weight)) for _ in range(5))
    return sum(2 * TOKENS * inputs * outputs for inputs, outputs in LAYERS) / spent


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print the shares and rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="fp32", choices=DTYPES)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one object with both lists")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    found, rates = shares(given.precision, given.rounds)
    if given.json:
        print(json.dumps({"shares": found, "gflops": rates}))
    else:
        print(
            f"{given.precision}, {torch.get_num_threads()} threads: {statistics.median(found):.0%} of "
            f"{statistics.median(rates):.0f} GFLOP/s"
        )


if __name__ == "__main__":
    main()
