"""Write the models' card from what was measured: `MODEL_CARD.md` for people, `card.json` for samcli.

    python examples/tiny_models/evaluate.py --sam ... --yolo ... --json work/figures.json
    python examples/tiny_models/card.py --figures work/figures.json \\
        --sam-curve work/sam/curve.jsonl --yolo-curve work/yolo/curve.jsonl --notes work/notes.md

Also writes everything mode's thresholds, as measured with, into the metadata of `tiny_sam.safetensors`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from network import EncoderNumbers, build
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scenes import CLASSES
from train_yolo import IMAGE_SIZE as DETECTOR_SIZE

ASSETS = Path(__file__).resolve().parents[2] / "samcli" / "assets"
SAM, YOLO = "tiny_sam.safetensors", "tiny_yolo.pt"

# Figure, words, targets for plain and hard scenes, and whether more is better.
ROWS: tuple[tuple[str, str, float, float, bool], ...] = (
    ("box", "box prompt (true boxes), mean IoU", 0.95, 0.87, True),
    ("box_small", "box prompt, objects of 12 to 32 pixels", 0.85, 0.70, True),
    ("click_predicted", "one click, best of three by predicted IoU", 0.88, 0.75, True),
    ("click_oracle", "one click, best of three by oracle", 0.92, 0.84, True),
    ("quality_r", "predicted IoU against true IoU, Pearson r", 0.7, 0.7, True),
    ("map50", "detector mAP50", 0.98, 0.88, True),
    ("map50_95", "detector mAP50-95", 0.88, 0.72, True),
    ("end_to_end_covered", "end to end: right class and IoU >= 0.75", 0.95, 0.75, True),
    ("everything_covered", "everything mode: objects covered at IoU >= 0.75", 0.90, 0.70, True),
    ("everything_spurious_a_scene", "everything mode: spurious masks a scene", 1, 2, False),
)


def sha256(path: Path) -> str:
    """The file's SHA-256, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_thresholds(path: Path, everything: dict[str, float]) -> dict[str, str]:
    """Put everything mode's numbers into the file's metadata; returns all of the metadata."""
    with safe_open(path, "pt") as opened:
        metadata: dict[str, str] = dict(opened.metadata())
    wanted = {name: str(value) for name, value in everything.items()}
    if wanted.items() <= metadata.items():
        return metadata  # safetensors orders metadata at random: writing the same again would change the hash
    metadata |= wanted
    part = path.with_suffix(".part")
    save_file(load_file(path), part, metadata=metadata)
    part.chmod(0o644)  # safetensors makes files that only their owner may read
    part.replace(path)
    return metadata


def architecture() -> dict[str, Any]:
    """The networks' numbers."""
    model = build()
    numbers = EncoderNumbers()
    return {
        "classes": "ultralytics SAM 1: TinyViT, PromptEncoder, MaskDecoder with TwoWayTransformer",
        "encoder": {name: getattr(numbers, name) for name in numbers.__dataclass_fields__},
        "width": model.mask_decoder.transformer_dim,
        "decoder": {"depth": 2, "heads": 8, "mlp": 4 * model.mask_decoder.transformer_dim, "multimasks": 3},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def read_curve(path: Path) -> list[dict[str, float]]:
    """The steps of a training log; what was trained twice after a restart counts as trained last."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({line["step"]: line for line in lines if "step" in line}.values())


def curve_table(curve: list[dict[str, float]], columns: tuple[str, ...], rows: int = 14) -> str:
    """About `rows` evenly spaced steps of a curve, as a Markdown table: means of the steps up to each."""
    stride = max(1, len(curve) // rows)
    lines = ["| step | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 1) + "|"]
    for end in range(stride, len(curve) + 1, stride):
        part = curve[end - stride : end]
        means = [sum(each.get(name, 0.0) for each in part) / len(part) for name in columns]
        lines.append(f"| {part[-1]['step']} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines)


def figures_table(figures: dict[str, Any]) -> str:
    """Reached and wanted, both kinds of scene; what falls short is marked."""
    lines = ["| | plain | wanted | hard | wanted |", "| --- | --- | --- | --- | --- |"]
    for name, words, plain, hard, more in ROWS:
        cells = []
        for profile, target in (("plain", plain), ("hard", hard)):
            value = figures.get(profile, {}).get(name)
            if value is None:
                cells += ["not measured", f"{target:g}"]
                continue
            reached = value >= target if more else value <= target
            cells += [f"{value:.3f}" if reached else f"{value:.3f} (short)", f"{target:g}"]
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    seconds = figures.get("seconds_an_image")
    if seconds is not None:
        lines.append(f"| one 512 px picture end to end, two cores, seconds | {seconds:.3f} | 0.25 | | |")
    return "\n".join(lines)


def make_card(figures: dict[str, Any], curves: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Everything a program may want to know about the two files."""
    everything = figures["everything_thresholds"]
    metadata = write_thresholds(ASSETS / SAM, everything)
    return {
        "sha256": {name: sha256(ASSETS / name) for name in (SAM, YOLO)},
        "bytes": {name: (ASSETS / name).stat().st_size for name in (SAM, YOLO)},
        "sam": {
            "img_size": int(metadata["img_size"]),
            "architecture": architecture(),
            "everything": everything,
            "steps": curves["sam"][-1]["step"],
        },
        "yolo": {
            "imgsz": DETECTOR_SIZE,
            "names": list(CLASSES),
            "conf": 0.25,
            "iou": 0.45,
            "steps": curves["yolo"][-1]["step"],
        },
        "figures": {name: figures[name] for name in ("plain", "hard", "seconds_an_image") if name in figures},
        "targets": {name: {"plain": plain, "hard": hard} for name, _, plain, hard, _ in ROWS},
        "measured_on": {
            "scenes_a_profile": figures["scenes"],
            "everything_scenes_a_profile": figures["everything_scenes"],
            "first_seeds": figures["first_seeds"],
        },
        "versions": figures["versions"],
    }


def as_markdown(card: dict[str, Any], curves: dict[str, list[dict[str, float]]], notes: str) -> str:
    """The card for people."""
    everything, seeds = card["sam"]["everything"], card["measured_on"]["first_seeds"]
    count = card["measured_on"]["scenes_a_profile"]
    grid_count = card["measured_on"]["everything_scenes_a_profile"]
    return f"""# The embedded tiny models

`--det tiny --sam tiny`: a YOLO detector and a promptable network of SAM's architecture, trained from nothing
by the scripts in `examples/tiny_models/` on procedurally drawn scenes. **They know eight kinds of shape
and nothing else**: {", ".join(CLASSES)}.
They are for trying samcli out, for its tests and for checking a pipeline without a network; they are not for
photographs of the world.

| | tiny SAM | tiny YOLO |
| --- | --- | --- |
| file | `{SAM}` | `{YOLO}` |
| bytes | {card["bytes"][SAM]} | {card["bytes"][YOLO]} |
| SHA-256 | `{card["sha256"][SAM]}` | `{card["sha256"][YOLO]}` |
| input | {card["sam"]["img_size"]} px, padded square | {card["yolo"]["imgsz"]} px |
| network | TinyViT encoder, SAM's prompt encoder and mask decoder | YOLOv8 layout, narrow |
| steps trained | {card["sam"]["steps"]} | {card["yolo"]["steps"]} |

Default thresholds: everything mode {", ".join(f"`{name}` {value:g}" for name, value in everything.items())};
detector `conf` {card["yolo"]["conf"]}, `iou` {card["yolo"]["iou"]}.

## Figures

Measured by `examples/tiny_models/evaluate.py` on {count} plain and {count} hard scenes, never trained on
(seeds from {seeds["plain"]} and {seeds["hard"]}; everything mode on the first {grid_count} of each).
Thresholds were chosen on other scenes (seeds from {seeds["tune"]}). What each row means is in that script's
first lines.

{figures_table(card["figures"])}

{notes.strip()}

## Curves

Means over training batches, of views that are harder than whole scenes (cut-off objects, moved boxes, single
clicks): the figures above are the ones to compare.

Tiny SAM (`iou_single`: single mask, `iou_best`: best of three, over all kinds of prompt):

{curve_table(curves["sam"], ("loss", "dense_decoder", "iou_single", "iou_best", "quality_error"))}

Tiny YOLO (losses):

{curve_table(curves["yolo"], ("box", "class", "distribution"))}

Versions: {", ".join(f"{name} {version}" for name, version in card["versions"].items())}. Seed 0.
"""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--figures", type=Path, required=True, help="what evaluate.py --json wrote")
    parser.add_argument("--sam-curve", type=Path, required=True)
    parser.add_argument("--yolo-curve", type=Path, required=True)
    parser.add_argument("--notes", type=Path, help="Markdown that goes below the figures")
    options = parser.parse_args()
    figures = json.loads(options.figures.read_text(encoding="utf-8"))
    curves = {"sam": read_curve(options.sam_curve), "yolo": read_curve(options.yolo_curve)}
    notes = options.notes.read_text(encoding="utf-8") if options.notes else ""
    card = make_card(figures, curves)
    (ASSETS / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    (ASSETS / "MODEL_CARD.md").write_text(as_markdown(card, curves, notes), encoding="utf-8")


if __name__ == "__main__":
    main()
