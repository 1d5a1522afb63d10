"""The fast forwards against the stock modules', in one process and in turn; the least of some rounds.

python tests/benchmarks/forward.py [--precision fp32 bf16] [--rounds 5] [--threads 2] [--prompts 64]
    [--stage vit tinyvit decoder] [--cpu-seconds]

`--cpu-seconds` counts the process' own seconds instead of the clock's: for a machine that others use as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import weights

from samcli.sam.devices import DTYPES
from samcli.sam.networks import load_network
from samcli.sam.networks.fast import decoder_forward, encoder_forward
from samcli.sam.networks.sam import SamNetwork

Pair = tuple[Callable[[], object], Callable[[], object]]


def main() -> None:
    """Print seconds of both and their ratio, for each stage and precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=DTYPES)
    parser.add_argument("--stage", nargs="+", default=["vit", "tinyvit", "decoder"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--cpu-seconds", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.cpu_seconds else time.perf_counter
    with tempfile.TemporaryDirectory() as temporary, torch.inference_mode():
        vit = load_network(weights.save_sam_vit_b(Path(temporary) / "vit_b.pth"))
        mobile = load_network(weights.save_mobile_sam(Path(temporary) / "mobile.pt"))
        for precision in given.precision:
            dtype = DTYPES[precision]
            for stage, (stock, fast) in pairs(vit, mobile, dtype, given.prompts, given.stage):
                theirs, ours = in_turn(stock, fast, given.rounds, clock)
                print(
                    f"{stage:26} {precision}  {theirs:7.2f} s  {ours:7.2f} s  {theirs / ours:5.2f} times",
                    flush=True,
                )


def pairs(
    vit: SamNetwork, mobile: SamNetwork, dtype: torch.dtype, prompts: int, stages: list[str]
) -> Iterator[tuple[str, Pair]]:
    """Stock and fast forward of each wanted stage, on the same parameters and inputs."""
    torch.manual_seed(0)
    image = torch.randn(1, 3, 1024, 1024).to(dtype)
    for name, network in (("vit", vit), ("tinyvit", mobile)):
        if name in stages:
            encoder = network.image_encoder.to(dtype).eval()
            fast = encoder_forward(encoder)
            yield (
                f"encoder, {name}",
                (lambda encoder=encoder: encoder(image), lambda fast=fast: fast(image)),
            )
    if "decoder" in stages:
        sparse, dense = vit.prompt_encoder((torch.rand(prompts, 1, 2) * 1024, torch.ones(prompts, 1)), None, None)
        position = vit.prompt_encoder.get_dense_pe().to(dtype)
        embedding, sparse, dense = torch.randn(1, 256, 64, 64).to(dtype), sparse.to(dtype), dense[:1].to(dtype)
        decoder = vit.mask_decoder.to(dtype)
        predict = decoder_forward(decoder)

        def stock() -> None:
            for part in sparse.split(1 if dtype == torch.float32 else 2):  # its best on a CPU
                decoder(embedding, position, part, dense, True)

        yield (
            f"decoder, {prompts} x 3 masks",
            (stock, lambda: predict(embedding, position, sparse, dense, True)),
        )


def in_turn(
    stock: Callable[[], object], fast: Callable[[], object], rounds: int, clock: Callable[[], float]
) -> tuple[float, float]:
    """Least seconds of each."""
    fast()
    least = [float("inf")] * 2
    for _ in range(rounds):
        for index, run in enumerate((stock, fast)):
            start = clock()
            run()
            least[index] = min(least[index], clock() - start)
    return least[0], least[1]


if __name__ == "__main__":
    main()
