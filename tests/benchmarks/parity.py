"""How far each faster path is from fp32 through the networks' own modules: the table in docs/speed.md.

python tests/benchmarks/parity.py PHOTOS [--photos 20] [--large-photos 2] [--scenes 50] [--threads 2]
    [--network vit tinyvit vit_b tiny end_to_end]

`vit` and `tinyvit` are for images of 256 pixels; they and `vit_b` have seeded random weights, which are harder on
rounding than trained ones: many logits are near 0, many predicted IoUs alike. `tiny` is trained, and its scenes are
held out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import parity
import weights
from typer.testing import CliRunner

from samcli.cli import app
from samcli.config import MaskGeneratorOptions

NETWORKS = {
    "vit": (weights.save_sam_vit, "ViT of 2 blocks, 256 px, random"),
    "tinyvit": (weights.save_small_mobile_sam, "MobileSAM at 256 px, random"),
    "vit_b": (weights.save_sam_vit_b, "ViT-B, random"),
}
HEADER = "| network | path | prompts | images | masks | same count | largest difference | mean IoU | least IoU |"


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos_folder", type=Path, metavar="PHOTOS")
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--large-photos", type=int, default=2, help="for ViT-B, which takes a CPU long")
    parser.add_argument("--scenes", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--network", nargs="+", default=[*NETWORKS, "tiny", "end_to_end"])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print(HEADER + "\n" + "| --- " * 9 + "|", flush=True)
        for name in (name for name in NETWORKS if name in given.network):
            save, label = NETWORKS[name]
            count = given.large_photos if name == "vit_b" else given.photos
            images = partial(parity.photos, given.photos_folder, count)
            print_rows(
                label,
                str(save(folder / f"{name}.safetensors" if name == "tinyvit" else folder / f"{name}.pt")),
                images,
                parity.KEEP_ALL,
            )
        scenes = parity.held_out_scenes(given.scenes)
        if "tiny" in given.network:
            options = MaskGeneratorOptions(points_per_side=8)
            print_rows("tiny, trained", "tiny", lambda: parity.scene_images(scenes), options)
        if "end_to_end" in given.network:
            print("\n| auto-annotate, tiny models | objects | covered | masks a scene | spurious a scene |")
            print("| --- " * 5 + "|")
            for precision in ("fp32", "bf16"):
                figures = parity.end_to_end(command_line, scenes, folder, precision)
                numbers = (f"{figures[name]:.4f}" for name in ("covered", "kept_a_scene", "spurious_a_scene"))
                print(f"| {precision} | {figures['objects']} | {' | '.join(numbers)} |", flush=True)


def print_rows(label: str, sam: str, images: Callable[[], Iterable[Any]], options: MaskGeneratorOptions) -> None:
    """The rows of one network."""
    for way, boxes, grid in parity.compare(sam, parity.WAYS, images, options):
        for prompts, found in (("boxes", boxes), ("everything", grid)):
            same = f"{found.same_count} of {found.images}"
            print(
                f"| {label} | {way.name} | {prompts} | {found.images} | {found.masks} | {same} | "
                f"{found.largest_difference} | {found.mean:.5f} | {found.least:.4f} |",
                flush=True,
            )


def command_line(*arguments: object) -> Any:
    """Run samcli in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


if __name__ == "__main__":
    main()
