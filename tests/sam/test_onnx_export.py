"""The exported files answer as the engine and as segment-anything do, under segment-anything's names."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from shutil import copy

import numpy as np
import pytest
import torch
import weights
from helpers import iou
from PIL import Image as PillowImage

from samcli import Prompts, load_sam, read_image
from samcli.checkpoints.registry import find_weights
from samcli.config import ExportOnnxOptions
from samcli.errors import SamcliError, UsageError
from samcli.masks import Mask
from samcli.sam.engine import Engine
from samcli.sam.networks import load_network, read_checkpoint

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from samcli.sam import onnx_check, onnx_export  # noqa: E402
from samcli.sam.onnx_check import decoder_inputs  # noqa: E402

METRICS = {"sam": "tiny", "return_single_mask": True, "use_stability_score": True, "return_extra_metrics": True}
SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
Arrays = dict[str, np.ndarray]


def run(path: Path, inputs: Arrays) -> Arrays:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs), strict=True))


def shapes(values: object) -> dict[str, list[int | str]]:
    return {value.name: value.shape for value in values}


@pytest.fixture(scope="module")
def export(tmp_path_factory, small_sam) -> Callable[..., Path]:
    """Export the small SAM, or another; the same options only once."""
    done: dict[ExportOnnxOptions, Path] = {}

    def exported(**given: object) -> Path:
        options = ExportOnnxOptions(**{"sam": str(small_sam), **given})
        if options not in done:
            done[options] = tmp_path_factory.mktemp("onnx") / "decoder.onnx"
            onnx_export.export_onnx(done[options], options)
        return done[options]

    return exported


@pytest.fixture(scope="module")
def engine(small_sam) -> Engine:
    return load_sam(str(small_sam), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def tiny() -> Engine:
    return load_sam("tiny", device="cpu", precision="fp32")


def segment_anything_of(path: Path) -> object:
    """segment-anything's prompt encoder, decoder and forward pass with the weights of a checkpoint."""
    pytest.importorskip("segment_anything")
    from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    tensors, network = read_checkpoint(path).tensors, load_network(path)
    dim, grid = tensors["mask_decoder.iou_token.weight"].shape[1], network.image_size // 16
    network.image_encoder.img_size = network.image_size
    mlp_dim = next(t.shape[0] for name, t in tensors.items() if "transformer.layers.0.mlp." in name)
    sam = Sam(
        network.image_encoder,
        PromptEncoder(dim, (grid, grid), (network.image_size,) * 2, 16),
        MaskDecoder(
            transformer_dim=dim, transformer=TwoWayTransformer(2, dim, 8, mlp_dim), iou_head_depth=3,
            iou_head_hidden_dim=tensors["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
        ),
    )  # fmt: skip
    sam.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=True)
    return sam.eval()


def random_inputs(
    points: int, size: tuple[int, int], *, mask: bool, shape: tuple[int, ...] = (256, 16, 16)
) -> Arrays:
    random, grid = np.random.default_rng(points), shape[-1]
    inputs = {
        "image_embeddings": random.normal(size=(1, *shape)),
        "point_coords": random.uniform(0, 16 * grid, size=(1, points, 2)),
        "point_labels": random.integers(-1, 4, size=(1, points)),
        "mask_input": random.normal(scale=5, size=(1, 1, 4 * grid, 4 * grid)),
        "has_mask_input": np.array([mask]),
        "orig_im_size": np.array(size),
    }
    return {name: value.astype(np.float32) for name, value in inputs.items()}


EVERY_KIND = {
    "point": Prompts(points=[[[150, 90]]], point_labels=[[1]]),
    "points": Prompts(points=[[[150, 90], [20, 30], [160, 100]]], point_labels=[[1, 0, 1]]),
    "box": Prompts(boxes=[[20, 30, 200, 150]]),
    "box and point": Prompts(boxes=[[20, 30, 200, 150]], points=[[[100, 100]]], point_labels=[[0]]),
}


def test_names_and_shapes__are_segment_anythings(export) -> None:
    session = onnxruntime.InferenceSession(str(export()))
    assert shapes(session.get_inputs()) == {
        "image_embeddings": [1, 256, 16, 16],
        "point_coords": [1, "num_points", 2],
        "point_labels": [1, "num_points"],
        "mask_input": [1, 1, 64, 64],
        "has_mask_input": [1],
        "orig_im_size": [2],
    }
    assert {value.type for value in session.get_inputs()} == {"tensor(float)"}
    assert shapes(session.get_outputs()) == {
        "masks": [1, 4, "height", "width"],
        "iou_predictions": [1, 4],
        "low_res_masks": [1, 4, 64, 64],
    }


def test_names__with_extra_metrics_are_segment_anythings(export) -> None:
    path = export(**METRICS)
    outputs = onnxruntime.InferenceSession(str(path)).get_outputs()
    assert [output.name for output in outputs] == [
        "masks", "iou_predictions", "stability_scores", "areas", "low_res_masks",
    ]  # fmt: skip
    assert {output.shape[1] for output in outputs} == {1}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_single_mask": True},
        METRICS,
    ],
    ids=["all masks", "single mask", "single mask by stability, metrics"],
)
def test_answers__are_those_of_segment_anythings_own_onnx_model(export, small_sam, options) -> None:
    sam = segment_anything_of(find_weights(options.get("sam", str(small_sam)), "sam").path)
    from segment_anything.utils.onnx import SamOnnxModel

    theirs = SamOnnxModel(sam, **{"return_single_mask": False, **{k: v for k, v in options.items() if k != "sam"}})
    path = export(**options)
    shape = tuple(sam.prompt_encoder.get_dense_pe().shape[1:])
    for points, size, mask in [
        (1, (48, 64), False),
        (2, (97, 31), True),
        (3, (200, 300), False),
        (9, (1, 7), True),
    ]:
        inputs = random_inputs(points, size, mask=mask, shape=shape)
        expected = [value.numpy() for value in theirs(**{name: torch.tensor(v) for name, v in inputs.items()})]

        got = run(path, inputs)

        assert [value.shape for value in got.values()] == [value.shape for value in expected]
        assert iou(got["masks"] > 0, expected[0] > 0) >= 0.999
        for value, wanted in zip(list(got.values())[1:], expected[1:], strict=True):
            np.testing.assert_allclose(value, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("prompts", EVERY_KIND.values(), ids=EVERY_KIND.keys())
def test_masks__are_the_engines(export, engine, photos, prompts) -> None:
    (embedding,) = engine.encode([read_image(photos[0])])
    expected = [*engine.segment(embedding, prompts), *engine.segment(embedding, prompts, multimask=True)]

    got = run(export(), decoder_inputs(embedding, prompts, engine.side))

    for mask, score, segment in zip(got["masks"][0], got["iou_predictions"][0], expected, strict=True):
        assert iou(mask > 0, segment.mask.pixels()) >= 0.999
        assert score == pytest.approx(segment.predicted_iou, abs=1e-4)


def test_mask_input__is_that_of_the_engine(export, engine, photos) -> None:
    (embedding,) = engine.encode([read_image(photos[1])])
    box = Prompts(boxes=[[100, 100, 600, 500]])
    (first,) = engine.segment(embedding, box, return_logits=True)
    again = Prompts(boxes=box.boxes, mask_logits=first.low_res_logits[None])
    (expected,) = engine.segment(embedding, again)

    inputs = decoder_inputs(embedding, again, engine.side)
    got, without = run(export(), inputs), run(export(), {**inputs, "has_mask_input": np.zeros(1, np.float32)})

    assert iou(got["masks"][0, 0] > 0, expected.mask.pixels()) >= 0.999
    assert iou(without["masks"][0, 0] > 0, first.mask.pixels()) >= 0.999


def test_single_mask__is_the_best_for_one_point_and_the_unambiguous_one_for_more(export, engine, photos) -> None:
    path = export(return_single_mask=True)
    (embedding,) = engine.encode([read_image(photos[0])])
    one, two = EVERY_KIND["point"], EVERY_KIND["box and point"]
    best = max(engine.segment(embedding, one, multimask=True), key=lambda segment: segment.predicted_iou)
    (single,) = engine.segment(embedding, two)

    for prompts, expected in ((one, best), (two, single)):
        got = run(path, decoder_inputs(embedding, prompts, engine.side))
        assert got["masks"].shape == (1, 1, *embedding.image_size)
        assert iou(got["masks"][0, 0] > 0, expected.mask.pixels()) >= 0.999


def test_click__gives_the_masks_of_segment_anythings_predictor(export) -> None:
    sam = segment_anything_of(find_weights("tiny", "sam").path)
    from segment_anything import SamPredictor

    predictor = SamPredictor(sam)
    image = read_image(SHAPES / "beads.jpg")
    predictor.set_image(image.pixels)
    click, label = np.array([[120.0, 90.0]]), np.array([1])
    expected, scores, _ = predictor.predict(click, label, multimask_output=True)

    grid = predictor.features.shape[-1]
    points = predictor.transform.apply_coords(np.concatenate([click, [[0.0, 0.0]]]), image.image_size)
    got = run(
        export(sam="tiny", encoder=True, quantize=True),
        {
            "image_embeddings": predictor.get_image_embedding().numpy(),
            "point_coords": points[None].astype(np.float32),
            "point_labels": np.array([[1, -1]], np.float32),
            "mask_input": np.zeros((1, 1, 4 * grid, 4 * grid), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array(image.image_size, np.float32),
        },
    )

    assert iou(got["masks"][0, 1:] > 0, expected) >= 0.999
    np.testing.assert_allclose(got["iou_predictions"][0, 1:], scores, atol=1e-4)


def test_stability__is_zero_where_a_mask_is_empty(small_sam) -> None:
    """Segment-anything's is not a number there, which an argmax takes for the best."""
    assert onnx_export._stability(torch.full((1, 2, 4, 4), -5.0)).tolist() == [[0.0, 0.0]]


def test_quantized__masks_stay_close(export, tiny) -> None:
    """Of 18 drawn shapes, prompted by their boxes: mean IoU 0.997 with the exact file's masks, at least 0.98."""
    path = export(sam="tiny", encoder=True, quantize=True)
    small = path.with_suffix(".quantized.onnx")
    assert small.stat().st_size < 0.55 * path.stat().st_size
    ious = []
    for name in ("beads.jpg", "poster.png", "grey.jpg"):
        (embedding,) = tiny.encode([read_image(SHAPES / name)])
        truth = json.loads((SHAPES.parent / "shapes_truth" / f"{name}.json").read_text())
        for item in truth["objects"][:6]:
            inputs = decoder_inputs(embedding, Prompts(boxes=[Mask.from_coco(item["rle"]).box]), tiny.side)
            exact, near = run(path, inputs)["masks"][0, 0] > 0, run(small, inputs)["masks"][0, 0] > 0
            ious.append(iou(exact, near))
    assert len(ious) == 18
    assert np.mean(ious) > 0.99
    assert min(ious) > 0.96


def test_encoder__gives_the_engines_embedding(export, tiny) -> None:
    """Its input is made here by segment-anything's own preprocessing, padded to the square."""
    pytest.importorskip("segment_anything")
    from segment_anything.utils.transforms import ResizeLongestSide

    image = read_image(SHAPES / "poster.png")
    resized = ResizeLongestSide(tiny.side).apply_image(image.pixels)
    normal = (resized - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])
    padded = np.zeros((1, 3, tiny.side, tiny.side), np.float32)
    padded[0, :, : normal.shape[0], : normal.shape[1]] = normal.transpose(2, 0, 1)
    path = export(sam="tiny", encoder=True, quantize=True).with_suffix(".encoder.onnx")

    got = run(path, {"image": padded})

    (embedding,) = tiny.encode([image])
    assert list(got) == ["image_embeddings"]
    np.testing.assert_allclose(got["image_embeddings"][0], embedding.features.numpy(), atol=1e-4)


def test_page__has_a_snippet_that_cuts_out_the_clicked_shape(export, monkeypatch, tmp_path) -> None:
    page = SHAPES.parents[1] / "docs" / "onnx.md"
    if not page.is_file():
        pytest.skip("the docs are in the repository only")
    made = export(sam="tiny", encoder=True, quantize=True)
    for name in ("decoder.onnx", "decoder.encoder.onnx"):
        copy(made.with_name(name), tmp_path)
    (tmp_path / "examples").symlink_to(SHAPES.parent)
    monkeypatch.chdir(tmp_path)

    exec(re.search(r"```python\n(.*?)```", page.read_text(), re.DOTALL)[1], {})

    truth = json.loads((SHAPES.parent / "shapes_truth" / "poster.png.json").read_text())["objects"][0]
    mask = np.array(PillowImage.open("mask.png"))
    assert iou(mask, Mask.from_coco(truth["rle"]).pixels()) > 0.8


def test_file__says_what_it_is_and_nothing_of_the_machine_that_made_it(export, small_sam) -> None:
    model = onnx.load(export())
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 18
    assert model.ir_version == 8  # what a browser's onnxruntime of early 2023 takes
    assert model.producer_name == "samcli"
    assert {entry.key: entry.value for entry in model.metadata_props}["image_size"] == "256"
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert str(Path(onnx_export.__file__).parent).encode() not in export().read_bytes()


def test_opset_17_and_gelu_approximate__are_as_asked_for(export) -> None:
    def operators(model: object) -> set[str]:
        return {node.op_type for node in model.graph.node}

    model = onnx.load(export(opset=17, gelu_approximate=True))
    assert model.opset_import[0].version == 17
    assert "Erf" in operators(onnx.load(export()))
    assert "Erf" not in operators(model)


@pytest.mark.slow
def test_opset__later_ones_are_as_asked_for_and_what_torch_cannot_make_is_an_error(export, tmp_path) -> None:
    assert onnx.load(export(opset=23)).opset_import[0].version == 23
    with pytest.raises(SamcliError, match="99"):
        onnx_export.export_onnx(tmp_path / "x.onnx", ExportOnnxOptions(sam="tiny", opset=99))
    assert list(tmp_path.iterdir()) == []


def test_opset__older_than_the_operators_we_need_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 17"):
        ExportOnnxOptions(opset=16)


@pytest.mark.slow
def test_weights__too_large_for_one_file_lie_beside_it(tmp_path, small_sam, monkeypatch) -> None:
    monkeypatch.setattr(onnx_export, "_LARGEST_FILE", 0)
    files = onnx_export.export_onnx(tmp_path / "x.onnx", ExportOnnxOptions(sam=str(small_sam), quantize=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.onnx", "x.onnx.data", "x.quantized.onnx"]
    assert (tmp_path / "x.onnx").stat().st_size < 1e6 < (tmp_path / "x.onnx.data").stat().st_size < files[0].bytes
    assert run(tmp_path / "x.onnx", random_inputs(2, (30, 40), mask=False))["masks"].shape == (1, 4, 30, 40)


def test_failed_check__leaves_no_file_and_is_an_error(samcli_run, tmp_path, small_sam, export, monkeypatch) -> None:
    wrong = export(sam="tiny", encoder=True, quantize=True)
    monkeypatch.setattr(onnx_export._Writer, "_export", lambda writer, name, *_: copy(wrong, writer.folder / name))
    (tmp_path / "old.onnx").write_bytes(b"of an earlier export")

    for name in ("new.onnx", "old.onnx"):
        result = samcli_run("export-onnx", "--sam", small_sam, "-o", tmp_path / name)
        assert result.exit_code == 1
        assert f"{name} does not run in onnxruntime" in result.stderr
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"of an earlier export"]


@pytest.mark.parametrize("output", ["masks", "iou_predictions", "low_res_masks", "areas", "stability_scores"])
def test_check__sees_a_wrong_answer(output, export, tiny, monkeypatch) -> None:
    path, options = export(**METRICS), ExportOnnxOptions(**METRICS)
    trials = onnx_check.make_trials((128, tiny.side // 16, tiny.side // 16), tiny.side, tiny.model)
    check = onnx_check.DecoderCheck(tiny, options, trials)
    assert check(path, onnx_check.EXACT).mask_iou == pytest.approx(1, abs=1e-3)
    honest = onnx_check._Session.run

    def dishonest(session: object, inputs: Arrays) -> Arrays:
        answer = honest(session, inputs)
        return {**answer, output: answer[output] * 0.5 + 3}

    monkeypatch.setattr(onnx_check._Session, "run", dishonest)
    with pytest.raises(SamcliError, match="was not kept"):
        check(path, onnx_check.EXACT)


def test_command__says_what_it_wrote_and_the_same_options_give_the_same_bytes(
    samcli_run, tmp_path, small_sam, export
) -> None:
    result = samcli_run("export-onnx", "--sam", small_sam, "--output", tmp_path / "new" / "x.onnx", "--json")
    assert result.exit_code == 0, result.stderr
    (file,) = json.loads(result.stdout)
    assert file["file"] == str(tmp_path / "new" / "x.onnx")
    assert file["max_difference"] < 1e-4
    assert file["mask_iou"] > 0.999
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.onnx"]
    assert (tmp_path / "new" / "x.onnx").read_bytes() == export().read_bytes()


def test_output__that_is_no_onnx_file_is_a_usage_error(samcli_run, tmp_path) -> None:
    result = samcli_run("export-onnx", "--sam", "tiny", "-o", tmp_path)
    assert result.exit_code == 2
    assert "expected a file name that ends in .onnx" in result.stderr


def test_missing_package__is_named_with_its_pip_command(samcli_run, tmp_path, monkeypatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    result = samcli_run("export-onnx", "--sam", "tiny", "-o", tmp_path / "x.onnx")
    assert result.exit_code == 1
    assert result.stderr.strip() == "samcli: export-onnx needs onnxscript: pip install 'samcli[onnx]'"


def test_another_family__is_refused_in_one_line(samcli_run, tmp_path, small_sam2) -> None:
    result = samcli_run("export-onnx", "--sam", small_sam2, "-o", tmp_path / "x.onnx")
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert re.match(r"samcli: \S+small_sam2\.safetensors is of the family sam2\S*; export-onnx takes SAM 1 ", line)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("save", "size"), [(weights.save_sam_vit, 256), (weights.save_mobile_sam, 1024)], ids=["ViT", "MobileSAM"]
)
def test_decoder_and_encoder__agree_with_torch(save, size, tmp_path, samcli_run, photos) -> None:
    sam = save(tmp_path / "sam.pt")
    result = samcli_run(
        "export-onnx", "--sam", sam, "-o", tmp_path / "sam.onnx", "--encoder", "--return-single-mask"
    )
    assert result.exit_code == 0, result.stderr
    engine = load_sam(str(sam), device="cpu", precision="fp32")
    image = read_image(photos[0])
    (embedding,) = engine.encode([image])
    assert embedding.features.shape == (256, size // 16, size // 16)
    prompts = Prompts(boxes=[[50, 200, 500, 900]])
    best = max(engine.segment(embedding, prompts, multimask=True), key=lambda segment: segment.predicted_iou)

    got = run(tmp_path / "sam.onnx", decoder_inputs(embedding, prompts, size))

    assert iou(got["masks"][0, 0] > 0, best.mask.pixels()) >= 0.999
    pixels = np.asarray(
        PillowImage.fromarray(image.pixels).resize(embedding.input_size[::-1], PillowImage.Resampling.BILINEAR)
    )
    padded = np.zeros((1, 3, size, size), np.float32)
    normal = (pixels - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])
    padded[0, :, : pixels.shape[0], : pixels.shape[1]] = normal.transpose(2, 0, 1)
    features = run(tmp_path / "sam.encoder.onnx", {"image": padded})["image_embeddings"]
    np.testing.assert_allclose(features[0], embedding.features.numpy(), atol=1e-4)
