"""Run segment-anything, Ultralytics and transformers as their makers document it, in fp32.

Each gets the same weights and the same decoded pixels as samcli, and the options at which it does the same work.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samcli.bench.base import Contender, pickled_network
from samcli.bench.pictures import draw_boxes
from samcli.bench.random_weights import transformers_config
from samcli.bench.setup import Setup, UnsupportedError
from samcli.checkpoints.pickles import PickledNetwork
from samcli.errors import UsageError
from samcli.sam.networks import read_checkpoint
from samcli.sam.networks.base import count
from samcli.sam.networks.hugging_face import is_hugging_face_sam, meta_name, to_meta_names
from samcli.sam.networks.sam import is_sam
from samcli.sam.networks.sam2 import is_sam2
from samcli.types import Image

Tensors = Mapping[str, torch.Tensor]

_TASKS = ("encode", "box", "everything")

PEERS = {
    "segment-anything": "segment_anything",
    "ultralytics": "ultralytics",
    "transformers": "transformers",
}
"""The tools that samcli is compared with, and the module of each."""


def check_peer(tool: str) -> None:
    """Refuse a peer that is not installed.

    Raises:
        UsageError: it names the extra.
    """
    if find_spec(PEERS[tool]) is None:
        raise UsageError(f"{tool} is not installed: pip install 'samcli[bench]'")


def peer_setup(setup: Setup, tool: str) -> Setup:
    """Return the setup for a peer: this file serves it in a process of its own."""
    return replace(setup, tool=tool, program=(__file__,))


def load_peer(setup: Setup) -> Contender:
    """The peer with the model loaded.

    Raises:
        UsageError: it is not installed.
        UnsupportedError: it cannot run this model.
    """
    check_peer(setup.tool)
    path = Path(setup.weights)
    if setup.tool == "ultralytics":
        return _ultralytics(setup, path)
    tensors = _meta_tensors(path) if path.suffix in (".pt", ".pth", ".safetensors") or path.is_dir() else {}
    if "image_encoder.pos_embed" not in tensors or not is_sam(tensors):
        raise UnsupportedError(f"{setup.tool} has no network for {setup.model}: it knows ViT SAM only")
    return SegmentAnything(setup, tensors) if setup.tool == "segment-anything" else Transformers(setup, tensors)


def _meta_tensors(path: Path) -> Tensors:
    """A checkpoint's tensors under Meta's names; none where it is a pickled network, or no file."""
    if pickled_network(path):
        return {}
    tensors = read_checkpoint(path).tensors
    return to_meta_names(tensors, path.name) if is_hugging_face_sam(tensors) else tensors


def _reduce(tensors: Tensors) -> dict[str, int]:
    """The numbers of a ViT SAM."""
    encoder, decoder = "image_encoder.", "mask_decoder."
    patch = tensors[encoder + "patch_embed.proj.weight"]
    return {
        "dim": patch.shape[0],
        "patch": patch.shape[-1],
        "grid": tensors[encoder + "pos_embed"].shape[1],
        "depth": count(tensors, encoder + r"blocks\.(\d+)\."),
        "head": tensors[encoder + "blocks.0.attn.rel_pos_h"].shape[1],
        "out": tensors[decoder + "iou_token.weight"].shape[1],
        "mlp": tensors[decoder + "transformer.layers.0.mlp.lin1.weight"].shape[0],
    }


class SegmentAnything:
    """Meta's package: `SamPredictor` and `SamAutomaticMaskGenerator`."""

    tasks = _TASKS

    def __init__(self, setup: Setup, tensors: Tensors) -> None:
        from segment_anything import SamAutomaticMaskGenerator, SamPredictor

        sam = segment_anything_sam(tensors).to(setup.device)
        self._boxes = setup.boxes
        self._predictor = SamPredictor(sam)
        # Run lengths, which is what samcli's masks are too.
        self._generators = [
            SamAutomaticMaskGenerator(sam, points_per_side=side, output_mode="coco_rle")
            for side in (1, setup.points_per_side)
        ]
        self._set: Image | None = None

    def warm_up(self, image: Image) -> None:
        """See Contender."""
        self.run("encode", image)
        self.run("box", image)
        self._generators[0].generate(image.pixels)

    def prepare(self, task: str, image: Image) -> None:
        """See Contender."""
        if task == "box" and self._set is not image:
            self._encode(image)

    def _encode(self, image: Image) -> None:
        self._predictor.set_image(image.pixels)
        self._set = image

    def run(self, task: str, image: Image) -> int:
        """See Contender."""
        if task == "encode":
            self._encode(image)
            return 0
        if task == "everything":
            return len(self._generators[1].generate(image.pixels))
        boxes = torch.from_numpy(draw_boxes(self._boxes, image.image_size)).to(self._predictor.device)
        boxes = self._predictor.transform.apply_boxes_torch(boxes, image.image_size)
        masks, _, _ = self._predictor.predict_torch(None, None, boxes, multimask_output=False)
        return len(masks.cpu().numpy())


def segment_anything_sam(tensors: Tensors) -> Any:
    """Meta's own network for these tensors, strictly."""
    from functools import partial

    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    numbers = _reduce(tensors)
    grid, side = numbers["grid"], numbers["grid"] * numbers["patch"]
    spans = [
        (tensors[f"image_encoder.blocks.{block}.attn.rel_pos_h"].shape[0] + 1) // 2
        for block in range(numbers["depth"])
    ]
    sam = Sam(
        ImageEncoderViT(
            img_size=side, patch_size=numbers["patch"], embed_dim=numbers["dim"], depth=numbers["depth"],
            num_heads=numbers["dim"] // numbers["head"], out_chans=numbers["out"], qkv_bias=True,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), use_rel_pos=True,
            window_size=min((span for span in spans if span != grid), default=0),
            global_attn_indexes=tuple(block for block, span in enumerate(spans) if span == grid),
        ),
        PromptEncoder(numbers["out"], (grid, grid), (side, side), 16),
        MaskDecoder(
            transformer_dim=numbers["out"], num_multimask_outputs=3, iou_head_depth=3,
            iou_head_hidden_dim=tensors["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=numbers["out"], num_heads=8, mlp_dim=numbers["mlp"]
            ),
        ),
    )  # fmt: skip
    sam.load_state_dict(dict(tensors), strict=True)
    return sam.eval()


class Transformers:
    """transformers' `SamModel`, and its mask-generation pipeline."""

    tasks = _TASKS

    def __init__(self, setup: Setup, tensors: Tensors) -> None:
        import transformers
        from transformers import SamImageProcessor, SamModel, SamProcessor, pipeline

        transformers.utils.logging.set_verbosity_error()
        self._boxes, self._device = setup.boxes, setup.device
        self._model = SamModel(transformers_config(tensors))
        own = self._model.state_dict()
        self._model.load_state_dict({name: tensors[str(meta_name(name, own))] for name in own}, strict=True)
        self._model.to(setup.device).eval()
        side = self._model.config.vision_config.image_size
        sizes = {"size": {"longest_edge": side}, "pad_size": {"height": side, "width": side}}
        images = SamImageProcessor(**sizes)
        self._pad_size = sizes["pad_size"]
        self._processor = SamProcessor(images)
        self._pipeline = pipeline(
            "mask-generation", model=self._model, image_processor=images, device=torch.device(setup.device)
        )
        self._points = setup.points_per_side
        self._set: tuple[Image, torch.Tensor] | None = None

    def warm_up(self, image: Image) -> None:
        """See Contender."""
        self.run("encode", image)
        self.run("box", image)
        self._generate(image, 1)

    def prepare(self, task: str, image: Image) -> None:
        """See Contender."""
        if task == "box" and (self._set is None or self._set[0] is not image):
            self._encode(image)

    @torch.inference_mode()
    def _encode(self, image: Image) -> torch.Tensor:
        inputs = self._processor(image.pixels, return_tensors="pt").to(self._device)
        embedding: torch.Tensor = self._model.get_image_embeddings(inputs["pixel_values"])
        self._set = (image, embedding)
        return embedding

    @torch.inference_mode()
    def run(self, task: str, image: Image) -> int:
        """See Contender."""
        if task == "encode":
            self._encode(image)
            return 0
        if task == "everything":
            return self._generate(image, self._points)
        embedding = self._set[1] if self._set else self._encode(image)
        boxes = draw_boxes(self._boxes, image.image_size)
        inputs = self._processor(image.pixels, input_boxes=[boxes.tolist()], return_tensors="pt")
        answer = self._model(
            input_boxes=inputs["input_boxes"].float().to(self._device), image_embeddings=embedding,
            multimask_output=False,
        )  # fmt: skip
        (masks,) = self._processor.image_processor.post_process_masks(
            answer.pred_masks.cpu(), inputs["original_sizes"], inputs["reshaped_input_sizes"],
            pad_size=self._pad_size,
        )  # fmt: skip
        return len(masks)

    def _generate(self, image: Image, points: int) -> int:
        from PIL import Image as PillowImage

        photo = PillowImage.fromarray(image.pixels)
        return len(self._pipeline(photo, points_per_crop=points, points_per_batch=64)["masks"])


def _ultralytics(setup: Setup, path: Path) -> Contender:
    """Ultralytics' SAM, FastSAM or YOLO, whichever the file is."""
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    if network := pickled_network(path):
        return UltralyticsFinder(setup, path, network)
    tensors = read_checkpoint(path).tensors if setup.weights != "tiny" else {}
    name = _ultralytics_name(tensors, setup.model)
    with tempfile.TemporaryDirectory() as folder:  # it tells the architecture from the file's name
        named = Path(folder) / name
        named.symlink_to(path.resolve())
        return UltralyticsSam(setup, named)


def _ultralytics_name(tensors: Tensors, model: str) -> str:
    """The name that makes Ultralytics build the architecture of these tensors.

    Raises:
        UnsupportedError: it builds none such.
    """
    if is_sam(tensors) and "image_encoder.pos_embed" in tensors:
        numbers = _reduce(tensors)
        sizes = {768: "sam_b.pt", 1024: "sam_l.pt", 1280: "sam_h.pt"}
        if numbers["dim"] in sizes and numbers["grid"] * numbers["patch"] == 1024:
            return sizes[numbers["dim"]]
    elif is_sam(tensors) and tensors["image_encoder.patch_embed.seq.0.c.weight"].shape[0] == 32:
        return "mobile_sam.pt"
    elif is_sam2(tensors) and Path(model).name.startswith("sam2"):
        return Path(model).name
    raise UnsupportedError(f"ultralytics has no network for {model}: it knows the published sizes only")


class UltralyticsSam:
    """`SAM(...)`: its predictor, which is what a call of the model runs."""

    tasks = _TASKS

    def __init__(self, setup: Setup, path: Path) -> None:
        from ultralytics import SAM

        model = SAM(str(path))
        predictor = model.task_map["segment"]["predictor"]
        own = {"task": "segment", "mode": "predict", "imgsz": 1024, "save": False, "verbose": False}
        self._boxes, self._points = setup.boxes, setup.points_per_side
        # Boxes: without its threshold of .25, which would spare it masks that the others finish.
        self._predict, self._generate = (predictor(overrides={**own, "device": setup.device}) for _ in range(2))
        for one, conf in ((self._predict, -math.inf), (self._generate, 0.25)):
            one.setup_model(model.model, verbose=False)
            one.args.conf = conf
        self._set: Image | None = None

    def warm_up(self, image: Image) -> None:
        """See Contender."""
        self.run("encode", image)
        self.run("box", image)
        self._generate(_bgr(image), points_stride=1)

    def prepare(self, task: str, image: Image) -> None:
        """See Contender."""
        if task == "box" and self._set is not image:
            self._encode(image)

    def _encode(self, image: Image) -> None:
        self._predict.set_image(_bgr(image))
        self._set = image

    def run(self, task: str, image: Image) -> int:
        """See Contender."""
        if task == "encode":
            self._encode(image)
            return 0
        if task == "everything":
            (result,) = self._generate(_bgr(image), points_stride=self._points)
        else:
            (result,) = self._predict(bboxes=draw_boxes(self._boxes, image.image_size))
        return 0 if result.masks is None else len(result.masks.data.cpu().numpy())


class UltralyticsFinder:
    """`FastSAM(...)` with masks at the image's size, or `YOLO(...)`."""

    def __init__(self, setup: Setup, path: Path, network: PickledNetwork) -> None:
        from ultralytics import YOLO, FastSAM

        masks = network.network.endswith(".SegmentationModel")
        one_class = masks and len(network.names) == 1
        self.tasks: tuple[str, ...] = ("box", "everything") if one_class else ("everything",)
        self._model = (FastSAM if one_class else YOLO)(str(path))
        self._boxes = setup.boxes
        self._settings = {"retina_masks": masks, "device": setup.device, "verbose": False, "save": False}

    def warm_up(self, image: Image) -> None:
        """See Contender."""
        for task in self.tasks:
            self.run(task, image)

    def prepare(self, task: str, image: Image) -> None:
        """Nothing."""

    def run(self, task: str, image: Image) -> int:
        """See Contender."""
        prompts = {"bboxes": draw_boxes(self._boxes, image.image_size).tolist()} if task == "box" else {}
        (result,) = self._model.predict(_bgr(image), **prompts, **self._settings)
        found = result.boxes if result.masks is None else result.masks
        return 0 if found is None else len(found.data.cpu().numpy())


def _bgr(image: Image) -> np.ndarray[Any, Any]:
    """Pixels as Ultralytics takes arrays."""
    return np.ascontiguousarray(image.pixels[..., ::-1])


if __name__ == "__main__":
    from samcli.bench.worker import main

    main(load_peer)
