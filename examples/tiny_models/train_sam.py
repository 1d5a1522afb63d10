"""Train the tiny SAM from nothing, or go on where the last run stopped.

    python examples/tiny_models/dataset.py --out work/scenes_768 --count 6000 --frame 768
    python examples/tiny_models/train_sam.py \\
        --scenes work/scenes_768 --out work/sam --export samcli/assets/tiny_sam.safetensors

Three phases. The first trains on views of 256 pixels, cut out of the 768-pixel frames at their own scale
(mostly) and *placed at a random spot of the frame as far as positions go*: what the decoder learns about
coordinates holds for whole frames, at a ninth of the price. The second takes larger views and whole, padded
frames in turn: large objects are never seen whole in the former, the latter alone would be too few pictures.
The third takes whole frames only, as the finished network will, with more plain scenes and more exact boxes.

Beside the prompts' losses there are two that ask at every pixel: throw-away linear heads have to read, at the
masks' resolution, what is an object, where edges are, and where each object's centre lies; one from the
encoder's embedding, one from the decoder's upscaled embedding. Prompts ask for a few objects only; they teach
both networks to carry fine detail through the coarse grid in a fraction of the time.

`--workers` processes of one thread each train together: every one draws its own batch, and the mean of their
gradients is what counts. On a busy machine this is much faster than one process of as many threads.

The learning rate is constant and falls linearly to zero over the last `--decay` steps. `state.pt` is written
all along, `before_decay.pt` when the fall begins: a longer training continues from the latter (copy it over
`state.pt`, raise `--steps`), or from an exported network: `--start-from FILE`; with `--small-steps` at the number
of its steps the second phase begins at once. A step's randomness comes from (seed, step, worker) alone, so that a
resumed run sees what an unbroken one would have seen.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import ultralytics
from dataset import SceneCache
from network import IMAGE_SIZE, MASK_STRIDE, STRIDE, WIDTH, build, decode, encode, set_image_size
from numpy.random import Generator
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scenes import mask_box
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn import functional as F
from ultralytics.models.sam.modules.sam import SAMModel
from views import Mask, View, draw_view

NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT, PADDING = 0, 1, 2, 3, -1  # SAM's labels of prompt tokens
CENTRE_UNIT = 32
# Masks are judged at twice their own resolution: edges of small objects lie between their pixels.
LOSS_SCALE = 2


@dataclass(frozen=True)
class Phase:
    """How many pictures of which size a step takes, and how many objects of each it asks for.

    `plain`: how often a plain scene is insisted on (else one in four is plain). `boxes`: share of the objects that
    are asked for by a box; `exact`: share of the boxes that are exact.
    """

    side: int
    pictures: int
    prompts: int
    plain: float = 0.0
    boxes: float = 0.55
    exact: float = 0.2


SMALL = Phase(side=256, pictures=4, prompts=8)
LARGE = Phase(side=384, pictures=3, prompts=8)
WHOLE = Phase(side=IMAGE_SIZE, pictures=1, prompts=12)
FINE = Phase(side=IMAGE_SIZE, pictures=1, prompts=12, plain=0.4, boxes=0.7, exact=0.4)


@dataclass(frozen=True)
class Prompt:
    """Tokens of one prompt, in the view's pixels, and the mask asked for; background has no right answer."""

    points: list[tuple[float, float]]
    labels: list[int]
    mask: Mask
    background: bool = False


@dataclass(frozen=True)
class Batch:
    """Tensors of one step; B pictures, P prompts each, T tokens each, side S."""

    frames: Tensor  # uint8 (B, 3, S, S)
    inside: Tensor  # bool (B, 1, S, S)
    corners: Tensor  # int64 (B, 2): x and y of the view's corner in the frame
    points: Tensor  # float (B * P, T, 2), pixels of the frame
    labels: Tensor  # int64 (B * P, T)
    targets: Tensor  # float (B * P, S / 2, S / 2): coverage, 0..1
    background: Tensor  # bool (B * P)
    dense: Tensor  # float (B, 5, S / 4, S / 4): see `dense_target`
    refine: str  # "" or how to go on from a first prediction: "click", "again"


# ---- prompts ------------------------------------------------------------------------------


def jittered_box(rng: Generator, mask: Mask, exact: float) -> list[tuple[float, float]]:
    """Top left and bottom right of the mask's box: a share `exact`, a fifth quite a bit off, the rest a little."""
    x0, y0, x1, y1 = mask_box(mask)
    kind = rng.random()
    spread = 0.0 if kind < exact else (0.03 if kind < 0.8 else 0.08)
    sides = np.array([x1 - x0, y1 - y0] * 2, np.float64)
    box = np.array([x0, y0, x1, y1]) + (rng.normal(0, spread, 4) * sides).clip(-20, 20)
    return [(float(box[0]), float(box[1])), (float(box[2]), float(box[3]))]


def inner_point(rng: Generator, mask: Mask) -> tuple[float, float]:
    """A pixel of the mask: any, or (half of the time) one of those well inside."""
    x0, y0, x1, y1 = mask_box(mask)
    part = mask[y0:y1, x0:x1]
    if rng.random() < 0.5:
        depth = cv2.distanceTransform(np.pad(part.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        part = depth >= 0.6 * depth.max()
    pixels = np.flatnonzero(part)
    row, column = divmod(int(pixels[rng.integers(len(pixels))]), part.shape[1])
    return float(x0 + column), float(y0 + row)


def outer_point(rng: Generator, mask: Mask) -> tuple[float, float] | None:
    """A pixel near the mask but not on it."""
    x0, y0, x1, y1 = mask_box(mask)
    margin = int(0.15 * max(x1 - x0, y1 - y0)) + 4
    x0, y0 = max(0, x0 - margin), max(0, y0 - margin)
    pixels = np.argwhere(~mask[y0 : y1 + margin, x0 : x1 + margin])
    if len(pixels) == 0:
        return None
    row, column = pixels[rng.integers(len(pixels))]
    return float(x0 + column), float(y0 + row)


def draw_prompt(rng: Generator, ids: NDArray[np.uint8], wanted: int, tokens: int, exact: float | None) -> Prompt:
    """A prompt of exactly `tokens` tokens: a box and clicks, or (`exact` None) clicks and the padding token.

    `exact`: the share of boxes that are exact.
    """
    mask = ids == wanted
    points, labels = ([], []) if exact is None else (jittered_box(rng, mask, exact), [TOP_LEFT, BOTTOM_RIGHT])
    clicks = tokens - 1 if exact is None else tokens - 2
    for number in range(clicks):
        away = outer_point(rng, mask) if (exact is not None or number > 0) and rng.random() < 0.45 else None
        points.append(away or inner_point(rng, mask))
        labels.append(POSITIVE if away is None else NEGATIVE)
    if exact is None:
        points.append((0.0, 0.0))
        labels.append(PADDING)
    return Prompt(points, labels, mask, background=wanted == 0)


def draw_batch(rng: Generator, cache: SceneCache, ready: int, phase: Phase) -> Batch:
    """All of one step's randomness: pictures, prompts, and whether the prediction is to be refined."""
    kind = rng.random()
    refine = "" if kind < 0.78 else ("click" if kind < 0.93 else "again")
    tokens = 2 if refine or kind < 0.5 else (3 if kind < 0.64 else int(rng.integers(4, 7)))
    frames, insides, corners, prompts, dense = [], [], [], [], []
    for _ in range(phase.pictures):
        view, objects = draw_view(rng, cache, ready, phase.side, phase.plain)
        corner = rng.integers(0, (IMAGE_SIZE - phase.side) // STRIDE + 1, 2) * STRIDE
        frames.append(view.image.transpose(2, 0, 1))
        insides.append(view.inside[None])
        corners.append(corner)
        dense.append(dense_target(view))
        order = (list(rng.permutation(objects)) * phase.prompts)[: phase.prompts]
        has_background = bool((view.inside & (view.ids == 0)).any())
        for number, wanted in enumerate(order):
            exact = phase.exact if number < phase.boxes * phase.prompts else None
            # The last click or two go beside all objects: what is there is worth nothing, and the IoU head
            # has to say so.
            if tokens == 2 and not refine and has_background and number >= phase.prompts - 1:
                ids = np.where(view.inside, view.ids, 255).astype(np.uint8)
                prompts.append((draw_prompt(rng, ids, 0, tokens, False), corner))
            else:
                prompts.append((draw_prompt(rng, view.ids, int(wanted), tokens, exact), corner))
    batch = _collate(frames, insides, corners, prompts, phase, refine)
    return replace(batch, dense=torch.from_numpy(np.stack(dense)))


def _collate(
    frames: list[NDArray[np.uint8]],
    insides: list[Mask],
    corners: list[NDArray[np.int64]],
    prompts: list[tuple[Prompt, NDArray[np.int64]]],
    phase: Phase,
    refine: str,
) -> Batch:
    size = phase.side * LOSS_SCALE // MASK_STRIDE
    targets = [
        cv2.resize(prompt.mask.astype(np.uint8) * 255, (size, size), interpolation=cv2.INTER_AREA)
        for prompt, _ in prompts
    ]
    points = [np.array(prompt.points) + corner for prompt, corner in prompts]
    return Batch(
        frames=torch.from_numpy(np.stack(frames)),
        inside=torch.from_numpy(np.stack(insides)),
        corners=torch.from_numpy(np.stack(corners)),
        points=torch.from_numpy(np.stack(points)).float(),
        labels=torch.tensor([prompt.labels for prompt, _ in prompts]),
        targets=torch.from_numpy(np.stack(targets)).float() / 255,
        background=torch.tensor([prompt.background for prompt, _ in prompts]),
        dense=torch.empty(0),
        refine=refine,
    )


def dense_target(view: View) -> NDArray[np.float32]:
    """What the encoder alone is to know, float32 (5, S/4, S/4).

    Inside the picture (the loss counts only there), object, edge, and the way to the object's centre in x and
    y, in units of `CENTRE_UNIT` pixels.
    """
    ids = view.ids
    size = len(ids) // MASK_STRIDE
    blocks = ids.reshape(size, MASK_STRIDE, size, MASK_STRIDE)
    coarse = ids[2::MASK_STRIDE, 2::MASK_STRIDE]
    edge = blocks.max((1, 3)) != blocks.min((1, 3))
    place = np.mgrid[:size, :size].astype(np.float32) * MASK_STRIDE
    way = np.zeros((2, size, size), np.float32)
    for k in np.unique(coarse[coarse > 0]):
        mask = coarse == k
        for axis, pixels in ((0, place[1]), (1, place[0])):
            way[axis][mask] = (pixels[mask].mean() - pixels[mask]) / CENTRE_UNIT
    inside = view.inside[2::MASK_STRIDE, 2::MASK_STRIDE]
    return np.concatenate([np.stack([inside, coarse > 0, edge]).astype(np.float32), way])


# ---- one step -----------------------------------------------------------------------------


def _positions(model: SAMModel, batch: Batch, grid: int) -> Tensor:
    """The part of the whole frame's positional encoding that each view was placed at: (B, C, grid, grid)."""
    whole = model.prompt_encoder.pe_layer((IMAGE_SIZE // STRIDE, IMAGE_SIZE // STRIDE))
    cells = (batch.corners // STRIDE).tolist()
    return torch.stack([whole[:, y : y + grid, x : x + grid] for x, y in cells])


def _sparse(model: SAMModel, points: Tensor, labels: Tensor) -> Tensor:
    """Prompt tokens in float32: bfloat16 has too few digits for coordinates."""
    with torch.autocast("cpu", enabled=False):
        tokens: Tensor = model.prompt_encoder._embed_points(points, labels, pad=False)
    return tokens


@dataclass(frozen=True)
class Output:
    """What the losses are made of: the last prompt's masks (B * P, 4, S/4, S/4) and predicted IoU (B * P, 4).

    `embeddings` (B, C, S/16, S/16); `upscaled` (B * P, C/8, S/4, S/4).
    """

    masks: Tensor
    quality: Tensor
    embeddings: Tensor
    upscaled: Tensor


def forward(model: SAMModel, batch: Batch) -> Output:
    """Run the model on a batch, twice through the decoder where the prediction is to be refined."""
    side = batch.frames.shape[-1]
    set_image_size(model, IMAGE_SIZE)
    model.image_encoder.set_imgsz([side, side])
    positions = _positions(model, batch, side // STRIDE)
    points, labels = batch.points, batch.labels
    dense = model.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = encode(model, batch.frames, batch.inside)
        if batch.refine:
            with torch.no_grad():
                masks, quality, _ = decode(model, embeddings, positions, _sparse(model, points, labels), dense)
            previous = _pick(masks, quality, labels)
            if batch.refine == "click":
                points, labels = _add_error_click(batch, previous)
            dense = model.prompt_encoder.mask_downscaling(previous)
        masks, quality, upscaled = decode(model, embeddings, positions, _sparse(model, points, labels), dense)
    return Output(masks, quality, embeddings.float(), upscaled)


def _pick(masks: Tensor, quality: Tensor, labels: Tensor) -> Tensor:
    """The mask to feed back, (N, 1, h, w): token 0, or after a single click the best of the three."""
    best = 1 + quality[:, 1:].argmax(1)
    token = torch.where((labels == PADDING).any(1) & (labels.shape[1] == 2), best, torch.zeros_like(best))
    return masks[torch.arange(len(masks)), token][:, None]


def _add_error_click(batch: Batch, previous: Tensor) -> tuple[Tensor, Tensor]:
    """Append a click on a random wrong pixel of each mask, or the padding token where nothing is wrong."""
    target = F.avg_pool2d(batch.targets[:, None], LOSS_SCALE)[:, 0] > 0.5
    wrong = (previous[:, 0] > 0) != target
    width = wrong.shape[-1]
    chances = wrong.flatten(1).float() + 1e-9
    index = torch.multinomial(chances, 1)[:, 0]
    # The centre of a mask pixel, in pixels of the picture, whose centres lie at whole numbers here.
    cell = torch.stack([index % width, index // width], 1)
    point = cell * MASK_STRIDE + (MASK_STRIDE - 1) / 2
    corners = batch.corners.repeat_interleave(len(batch.points) // len(batch.corners), 0)
    label = target.flatten(1).gather(1, index[:, None]).long()
    label = torch.where(wrong.flatten(1).any(1, keepdim=True), label, torch.full_like(label, PADDING))
    return torch.cat([batch.points, (point + corners)[:, None]], 1), torch.cat([batch.labels, label], 1)


def _mask_losses(logits: Tensor, targets: Tensor, balance: float) -> Tensor:
    """Focal plus Dice loss of each mask: logits (N, K, h, w), targets (N, h, w) -> (N, K).

    `balance` 1 weighs the two classes alike, 0 not at all; at the start of training the former keeps the
    masks from collapsing to nothing. The focal part counts pixels relative to the root of the object's area:
    else small objects would not matter to it.
    """
    wanted = targets[:, None].expand_as(logits)
    chance = logits.sigmoid()
    focal = (wanted - chance).abs() * F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    part = targets.mean((1, 2)).clamp(0.002, 0.5)
    if balance > 0:
        weight = 1 + (1 / part - 2)[:, None, None] * balance * targets
        focal = focal * (weight / weight.mean((1, 2), keepdim=True))[:, None]
    dice = 1 - (2 * (chance * wanted).sum((2, 3)) + 1) / (chance.sum((2, 3)) + wanted.sum((2, 3)) + 1)
    return 4 * part.rsqrt()[:, None] * focal.mean((2, 3)) + dice


def losses(logits: Tensor, quality: Tensor, batch: Batch, balance: float) -> tuple[Tensor, Tensor]:
    """The loss, and the true IoU (N, 4) of the masks (0 for background clicks).

    Token 0 is always trained; of the other three the best one, the rest by a twentieth so that none dies.
    """
    target = batch.targets
    objects = (~batch.background).float()
    coarse = _mask_losses(logits, F.avg_pool2d(target[:, None], LOSS_SCALE)[:, 0], balance)
    best = 1 + coarse[:, 1:].argmin(1)
    chosen = torch.stack([logits[:, 0], logits[torch.arange(len(logits)), best]], 1)
    fine = F.interpolate(chosen, scale_factor=LOSS_SCALE, mode="bilinear", align_corners=False)
    each = _mask_losses(fine, target, balance).sum(1) + 0.05 * coarse[:, 1:].mean(1)
    with torch.no_grad():
        found = F.interpolate(logits, scale_factor=LOSS_SCALE, mode="bilinear", align_corners=False) > 0
        wanted = (target > 0.5)[:, None]
        true = (found & wanted).sum((2, 3)) / (found | wanted).sum((2, 3)).clamp(min=1) * objects[:, None]
    regression = (quality - true).square().mean()
    return (each * objects).sum() / objects.sum() + 2 * regression, true


class DenseHeads(nn.Module):
    """Reads `dense_target` from either network's features; only for training."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(WIDTH, 4 * (STRIDE // MASK_STRIDE) ** 2, kernel_size=1)
        self.decoder = nn.Conv2d(WIDTH // 8, 4, kernel_size=1)

    def losses(self, output: Output, target: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of the encoder alone, and of the decoder's upscaled embedding."""
        found = F.pixel_shuffle(self.encoder(output.embeddings), STRIDE // MASK_STRIDE)
        prompts = len(output.upscaled) // len(target)
        repeated = target.repeat_interleave(prompts, 0)
        return _dense_loss(found, target), _dense_loss(self.decoder(output.upscaled), repeated)


def _dense_loss(found: Tensor, target: Tensor) -> Tensor:
    """How far `found` (N, 4, h, w) is from `dense_target` (N, 5, h, w)."""
    inside, things = target[:, :1], target[:, 1:2]
    binary = F.binary_cross_entropy_with_logits(found[:, :2], target[:, 1:3], reduction="none")
    way = F.smooth_l1_loss(found[:, 2:], target[:, 3:], reduction="none", beta=0.25) * things
    return 2 * (binary * inside).sum() / inside.sum() + way.sum() / things.sum().clamp(min=1)


# ---- the run ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Schedule:
    """Steps in all, how many on small views, over how many the rate falls, how many on whole frames at the end."""

    steps: int
    small_steps: int
    decay: int
    rate: float = 1e-3
    warmup: int = 200
    fine_steps: int = 0

    def rate_at(self, step: int) -> float:
        """Learning rate of a step; it rises again for a moment when whole frames begin."""
        since = step if step < self.small_steps else step - self.small_steps
        rise = min(1.0, (since + 1) / self.warmup)
        fall = min(1.0, (self.steps - step) / max(1, self.decay))
        return self.rate * rise * fall

    def balance_at(self, step: int) -> float:
        """How far the focal loss weighs object and background alike; gone after a fixed 1500 steps."""
        return max(0.0, 1 - step / 1500)

    def phase_at(self, step: int) -> Phase:
        if step < self.small_steps:
            return SMALL
        if step >= self.steps - self.fine_steps:
            return FINE
        return WHOLE if step % 2 else LARGE


class Trainer:
    """The model, its moving average (what is exported), the optimiser and the step counter."""

    def __init__(self, schedule: Schedule, seed: int, workers: int = 1) -> None:
        torch.manual_seed(seed)
        self.schedule, self.seed, self.workers, self.step = schedule, seed, workers, 0
        self.model = build(IMAGE_SIZE).to(memory_format=torch.channels_last).train()
        self.average = copy.deepcopy(self.model).eval()
        self.heads = DenseHeads()
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": 0.02},
            {"params": vectors, "weight_decay": 0.0},
            {"params": list(self.heads.parameters()), "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=schedule.rate, betas=(0.9, 0.98))

    def save(self, path: Path) -> None:
        """Write everything that a resumed run needs, whole or not at all."""
        state = {
            "step": self.step,
            "seed": self.seed,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def load(self, path: Path) -> None:
        """Go on from a saved state."""
        state = torch.load(path, weights_only=True)
        self.step, self.seed = state["step"], state["seed"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])

    def start_from(self, path: Path) -> None:
        """Begin with an exported network's weights, of whatever input size, and go on counting its steps."""
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
        with safe_open(path, "pt") as file:
            self.step = int(file.metadata()["steps"])
        for model in (self.model, self.average):
            model.load_state_dict(tensors)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One step of the optimiser; the figures of its batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate_at(self.step)
        if self.step >= self.schedule.small_steps:
            self._keep_statistics()
        output = forward(self.model, batch)
        loss, true = losses(output.masks, output.quality, batch, self.schedule.balance_at(self.step))
        encoder, decoder = self.heads.losses(output, batch.dense)
        self.optimizer.zero_grad(set_to_none=True)
        (loss + encoder + decoder).backward()
        self._share_gradients()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self._update_average()
        self.step += 1
        objects = true[~batch.background]
        error = (output.quality.detach() - true).abs().mean()
        return {
            "loss": float(loss.detach()),
            "dense_encoder": float(encoder.detach()),
            "dense_decoder": float(decoder.detach()),
            "iou_single": float(objects[:, 0].mean()),
            "iou_best": float(objects[:, 1:].max(1).values.mean()),
            "quality_error": float(error),
        }

    def _keep_statistics(self) -> None:
        """Normalise as the finished network will: a picture or two of a batch are no statistics.

        Else the encoder learns to rely on each batch's own, and loses .03 to .09 of IoU when they are gone.
        """
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()

    @torch.no_grad()
    def _share_gradients(self) -> None:
        """Replace every gradient by its mean over the workers; one that a worker lacks counts as zero."""
        if self.workers == 1:
            return
        parameters = [*self.model.parameters(), *self.heads.parameters()]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        parts = (flat / self.workers).split([p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view(parameter.shape)

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(0.998, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - keep)
        for mine, theirs in zip(self.average.buffers(), self.model.buffers(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - keep)
            else:
                mine.copy_(theirs)


def export(model: SAMModel, path: Path, **metadata: str) -> None:
    """Write the network as fp16 safetensors; `metadata` holds what the tensors cannot say."""
    tensors = {
        name: tensor.detach().to(torch.float16).contiguous().clone()
        if tensor.is_floating_point()
        else tensor.clone()
        for name, tensor in model.state_dict().items()
    }
    facts = {"format": "samcli-tiny-sam", "img_size": str(IMAGE_SIZE), **metadata}
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata=facts)
    part.chmod(0o644)  # safetensors makes files that only their owner may read
    part.replace(path)


def log(path: Path, record: dict[str, object]) -> None:
    """Append a line to the run's log and show it."""
    line = json.dumps(record)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    print(line, flush=True)


def run(rank: int, options: argparse.Namespace, meeting_point: str) -> None:
    """Train up to the last step as worker `rank`; the first worker writes, and exports the moving average."""
    torch.set_num_threads(1)
    if options.workers > 1:
        distributed.init_process_group(
            "gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=options.workers
        )
    cache = SceneCache.open(options.scenes, IMAGE_SIZE)
    schedule = Schedule(
        options.steps, options.small_steps, options.decay, options.rate, fine_steps=options.fine_steps
    )
    trainer = Trainer(schedule, options.seed, options.workers)
    state, curve = options.out / "state.pt", options.out / "curve.jsonl"
    if state.exists():
        trainer.load(state)
    elif options.start_from:
        trainer.start_from(options.start_from)
    if rank == 0:
        log(curve, {"start": trainer.step, "argv": sys.argv[1:], "seed": trainer.seed, **versions()})
    seen: list[dict[str, float]] = []
    begun = time.time()
    while trainer.step < options.steps:
        if rank == 0 and trainer.step == options.steps - options.decay:
            trainer.save(options.out / "before_decay.pt")
        rng = np.random.default_rng([trainer.seed, trainer.step, rank])
        torch.manual_seed(trainer.step)
        seen.append(trainer.train_step(draw_batch(rng, cache, cache.ready(), schedule.phase_at(trainer.step))))
        if rank == 0 and trainer.step % 100 == 0:
            figures = {key: round(float(np.mean([each[key] for each in seen])), 4) for key in seen[0]}
            seconds = round((time.time() - begun) / len(seen), 3)
            log(curve, {"step": trainer.step, **figures, "seconds_a_step": seconds})
            seen, begun = [], time.time()
        if rank == 0 and (trainer.step % 500 == 0 or trainer.step == options.steps):
            trainer.save(state)
    if rank == 0 and options.export:
        set_image_size(trainer.average, IMAGE_SIZE)
        export(trainer.average, options.export, steps=str(trainer.step), seed=str(trainer.seed))


def versions() -> dict[str, str]:
    """What the numbers of a run depend on besides the seed."""
    return {
        "torch": torch.__version__,
        "ultralytics": ultralytics.__version__,
        "python": platform.python_version(),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", type=Path, required=True, help="folder that dataset.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the training state and the curve")
    parser.add_argument("--export", type=Path, help="where the network goes when training ends")
    parser.add_argument("--start-from", type=Path, help="an exported network to go on from")
    parser.add_argument("--steps", type=int, default=17_500)
    parser.add_argument("--small-steps", type=int, default=12_000)
    parser.add_argument("--fine-steps", type=int, default=3_000)
    parser.add_argument("--decay", type=int, default=4_000)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate; less to go on from an export")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        meeting_point = str(Path(folder) / "meet")
        others = range(1, options.workers)
        spawn = multiprocessing.get_context("spawn")
        helpers = [spawn.Process(target=run, args=(rank, options, meeting_point), daemon=True) for rank in others]
        for helper in helpers:
            helper.start()
        run(0, options, meeting_point)


if __name__ == "__main__":
    main()
