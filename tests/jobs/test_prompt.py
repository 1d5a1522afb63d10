"""`samcli prompt`: the masks are those of segment-anything's SamPredictor for every kind of prompt."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import same
from PIL import Image as PillowImage
from references import reference

from samcli.errors import ImageError
from samcli.images import read_image
from samcli.jobs.segmenting import best_of_each
from samcli.masks import Mask, mask_iou
from samcli.output.records import read_record
from samcli.sam.engine import Engine
from samcli.types import Annotation, Segment

segment_anything = pytest.importorskip("segment_anything")


def record(folder: Path, key: str) -> Annotation:
    return read_record((folder / ".samcli" / "records" / f"{key}.json").read_bytes())


@pytest.fixture
def prompt(samcli_run, small_sam, photo_folder, tmp_path):
    """`samcli prompt` on a photo with the small SAM in fp32; gives the annotation."""

    def run(*arguments: object) -> Annotation:
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        result = samcli_run(
            "prompt", photo_folder / "bus.jpg", "-o", out, "--sam", small_sam, "--precision", "fp32", *arguments
        )
        assert result.exit_code == 0, result.output
        return record(out, "bus.jpg")

    return run


@pytest.fixture(scope="module")
def predictor(small_sam):
    return reference(small_sam, 256)


def assert_same(annotation: Annotation, masks: np.ndarray, scores: np.ndarray) -> None:
    assert len(annotation.instances) == len(masks)
    for instance, mask, score in zip(annotation.instances, masks, scores, strict=True):
        assert same(instance.mask.pixels(), mask)
        assert instance.quality.predicted_iou == pytest.approx(float(score), abs=1e-4)


BOX, POINTS, LABELS = (60, 80, 250, 300), [(150, 200), (100, 120), (30, 400)], [1, 1, 0]
POINT_FLAGS = [f for (x, y), label in zip(POINTS, LABELS, strict=True) for f in ("--point", f"{x},{y},{label}")]
BOX_FLAGS = ["--box", ",".join(map(str, BOX))]


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("kind", ["points", "box", "both"])
def test_masks__are_the_predictors(prompt, predictor, photo_folder, kind: str, multimask: bool) -> None:
    predictor.set_image(read_image(photo_folder / "bus.jpg").pixels)
    with_points, with_box = kind != "box", kind != "points"
    masks, scores, _ = predictor.predict(
        point_coords=np.array(POINTS) if with_points else None,
        point_labels=np.array(LABELS) if with_points else None,
        box=np.array(BOX) if with_box else None,
        multimask_output=multimask,
    )
    flags = [*(POINT_FLAGS if with_points else []), *(BOX_FLAGS if with_box else [])]
    assert_same(prompt(*flags, *(["--multimask"] if multimask else [])), masks, scores)


def test_best_mask__is_the_one_of_three_that_sam_believes_in(prompt, predictor, photo_folder) -> None:
    predictor.set_image(read_image(photo_folder / "bus.jpg").pixels)
    masks, scores, _ = predictor.predict(np.array(POINTS[:1]), np.array(LABELS[:1]))
    best = int(scores.argmax())
    assert_same(prompt("--point", "150,200", "--best-mask"), masks[[best]], scores[[best]])


@pytest.mark.parametrize("steps", [1, 3])
def test_refine__feeds_the_best_mask_back_as_by_hand(prompt, predictor, photo_folder, steps: int) -> None:
    predictor.set_image(read_image(photo_folder / "bus.jpg").pixels)
    asked = {"point_coords": np.array(POINTS), "point_labels": np.array(LABELS), "box": np.array(BOX)}
    masks, scores, logits = predictor.predict(**asked)
    logits = logits[[int(scores.argmax())]]
    for _ in range(steps):
        masks, scores, logits = predictor.predict(**asked, mask_input=logits, multimask_output=False)
    assert_same(prompt(*POINT_FLAGS, *BOX_FLAGS, "--best-mask", "--refine", steps), masks, scores)


def test_mask_input__takes_what_save_logits_wrote(prompt, predictor, photo_folder, tmp_path) -> None:
    predictor.set_image(read_image(photo_folder / "bus.jpg").pixels)
    _, _, logits = predictor.predict(np.array(POINTS), np.array(LABELS), multimask_output=False)
    masks, scores, _ = predictor.predict(
        np.array(POINTS), np.array(LABELS), mask_input=logits, multimask_output=False
    )
    prompt(*POINT_FLAGS, "--save-logits")
    (saved,) = tmp_path.rglob("bus.logits.npy")
    assert np.allclose(np.load(saved), logits, atol=1e-4)
    assert_same(prompt(*POINT_FLAGS, "--mask-input", saved), masks, scores)


def test_several_boxes__are_objects_of_their_own_in_order(prompt) -> None:
    together = prompt("--box", "60,80,250,300", "--box", "10,10,100,90")
    for index, box in enumerate(("60,80,250,300", "10,10,100,90")):
        (alone,) = prompt("--box", box).instances
        assert mask_iou(together.instances[index].mask, alone.mask) >= 0.9999
        assert together.instances[index].prompt_box == alone.prompt_box


def test_best_of_each__takes_the_first_of_equals() -> None:
    mask = Mask.from_pixels(np.ones((2, 2), bool))
    segments = [Segment(p, t, mask, q, 1.0) for p, t, q in ((0, 1, 0.2), (0, 2, 0.9), (0, 3, 0.9), (1, 1, -1))]
    assert [(s.prompt, s.token) for s in best_of_each(segments)] == [(0, 2), (1, 1)]


def test_cutout_and_overlay__show_the_object_and_nothing_else(samcli_run, tmp_path) -> None:
    shapes = Path(__file__).parents[2] / "examples" / "shapes"
    result = samcli_run(
        "prompt", shapes / "beads.jpg", "-o", tmp_path / "o", "--sam", "tiny", "--box", "437,90,535,172",
        "--cutout", "--overlay", "--format", "labelmap",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (instance,) = record(tmp_path / "o", "beads.jpg").instances
    cutout = np.asarray(PillowImage.open(tmp_path / "o" / "beads.cutouts" / "0_object.png"))
    pixels, (left, top, right, bottom) = instance.mask.crop()
    original = read_image(shapes / "beads.jpg").pixels
    assert cutout.shape == (*pixels.shape, 4)
    assert (cutout[..., 3] == pixels * 255).all()
    assert (cutout[..., :3] == original[top:bottom, left:right]).all()
    overlay = cv2.imread(str(tmp_path / "o" / "beads.overlay.jpg"))[..., ::-1].astype(int)
    changed = np.abs(overlay - original).max(2) > 20
    assert changed[instance.mask.pixels()].mean() > 0.6
    assert changed[250:].mean() < 0.01


def test_labels_of_images_that_are_not_there__are_listed_by_the_dry_run_and_the_run(samcli_run, tmp_path) -> None:
    (tmp_path / "images").mkdir()
    PillowImage.new("RGB", (32, 24)).save(tmp_path / "images" / "a.png")
    labels = {
        "images": [
            {"id": number, "file_name": f"{name}.png", "width": 32, "height": 24}
            for number, name in enumerate("ab")
        ],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": [2, 2, 20, 15]} for n in range(2)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(labels))
    arguments = ("prompt", tmp_path / "images", "--prompts", tmp_path / "boxes.json", "--sam", "tiny", "--json")
    for more, status in ((("--dry-run",), 0), ((), 3)):
        result = samcli_run(*arguments, *more)
        assert result.exit_code == status, result.output
        assert list(json.loads(result.stdout)["prompts_without_image"]) == ["b.png"]


def test_yolo_boxes__become_masks_with_their_classes_and_polygons_stay(
    samcli_run, photo_folder, small_sam, tmp_path
) -> None:
    """An existing detection data set becomes a segmentation one."""
    boxes = tmp_path / "boxes"
    (boxes / "more").mkdir(parents=True)
    polygon = "3 0.100000 0.100000 0.500000 0.100000 0.500000 0.600000"
    (boxes / "bus.txt").write_text(f"5 0.5 0.5 0.4 0.4\n{polygon}\n2 0.3 0.3 0.2 0.3\n")
    (boxes / "more" / "bus.txt").write_text("")
    (boxes / "zidane.txt").write_text("1 0.5 0.5 0.2\n")
    names = {index: f"kind{index}" for index in range(6)}
    (boxes / "data.yaml").write_text("names:\n" + "".join(f"  {k}: {v}\n" for k, v in names.items()))
    out = tmp_path / "out"
    result = samcli_run(
        "prompt", photo_folder, "--prompts", boxes, "-o", out, "--sam", small_sam, "--precision", "fp32", "--json"
    )
    assert result.exit_code == 3, result.output
    facts = json.loads(result.stdout)
    assert facts["images"] == 3  # nobody has spoken of more/copy.jpg
    assert list(facts["failures"]) == ["zidane.jpg"]
    assert "zidane.txt:1" in facts["failures"]["zidane.jpg"]
    rows = (out / "bus.txt").read_text().splitlines()  # several where a mask has parts far from each other
    assert [key for key, _ in itertools.groupby(row.split()[0] for row in rows)] == ["5", "3", "2"]
    assert (out / "more" / "bus.txt").read_bytes() == b""
    assert not (out / "more" / "copy.txt").exists()
    kept = record(out, "bus.jpg").instances[1]
    height, width = read_image(photo_folder / "bus.jpg").image_size
    assert kept.mask.box == pytest.approx((0.1 * width, 0.1 * height, 0.5 * width, 0.6 * height), abs=1.5)


def test_names__of_yolo_boxes_may_lie_elsewhere(samcli_run, photo_folder, small_sam, tmp_path) -> None:
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / "bus.txt").write_text("1 0.5 0.5 0.4 0.4\n")
    (tmp_path / "names.txt").write_text("horse\ncow\n")
    asked = ("prompt", photo_folder, "--prompts", tmp_path / "boxes", "-o", tmp_path / "o", "--sam", small_sam)
    result = samcli_run(*asked, "--names", tmp_path / "names.txt", "--json")
    assert json.loads(result.stdout)["instances_by_class"] == {"cow": 1}


def test_changed_prompts__only_their_own_image_is_done_again(samcli_run, photo_folder, small_sam, tmp_path) -> None:
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    for name in ("bus", "zidane"):
        (boxes / f"{name}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    asked = ("prompt", photo_folder, "--prompts", boxes, "-o", tmp_path / "out", "--sam", small_sam, "--json")
    assert json.loads(samcli_run(*asked).stdout)["done"] == 2
    assert json.loads(samcli_run(*asked).stdout)["done"] == 0
    (boxes / "bus.txt").write_text("0 0.5 0.5 0.4 0.4\n0 0.2 0.2 0.1 0.1\n")
    facts = json.loads(samcli_run(*asked).stdout)
    assert (facts["done"], facts["skipped"], facts["instances"]) == (1, 1, 3)


def test_images_without_prompts__never_see_the_encoder(
    samcli_run, photo_folder, small_sam, tmp_path, monkeypatch
) -> None:

    seen = []
    encode = Engine.encode
    monkeypatch.setattr(Engine, "encode", lambda self, images: seen.extend(images) or encode(self, images))
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"images": {"bus.jpg": [{"box": [5, 5, 100, 90]}], "zidane.jpg": []}}))
    asked = ("prompt", photo_folder, "--prompts", prompts, "-o", tmp_path / "o", "--sam", small_sam)
    result = samcli_run(*asked, "--json")
    assert [image.ref.key for image in seen] == ["bus.jpg"]
    assert json.loads(result.stdout)["done"] == 2
    assert (tmp_path / "o" / "zidane.txt").read_bytes() == b""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "no prompt: give --point x,y or --box"),
        (["--box", "10,10,5,20"], "expected x1,y1,x2,y2 with x1 < x2"),
        (["--box", "10,10,20"], "10,10,20"),
        (["--point", "a,b"], "a,b"),
        (["--point", "5,5,7"], "5,5,7"),
        (["--point", "5,5,0"], "only background points"),
        (["--box", "1,1,9,9", "--box", "2,2,8,8", "--point", "5,5"], "which box"),
        (["--box", "1,1,9,9", "--multimask", "--refine", "1"], "--multimask keeps all three"),
        (["--box", "1,1,9,9", "--prompts", "x.json"], "give one or the other"),
        (["--prompts", "nowhere.json"], "does not exist"),
        (
            ["--box", "1,1,9,9", "--names", "x.yaml"],
            "--names does not apply to these prompts",
        ),
        (["--prompts", ".", "--names", "nowhere.yaml"], "cannot read nowhere.yaml"),
    ],
)
def test_rubbish__is_refused_in_a_line_before_anything_runs(
    samcli_run, photo_folder, small_sam, tmp_path, arguments, reason
) -> None:
    result = samcli_run("prompt", photo_folder, "-o", tmp_path / "o", "--sam", small_sam, *arguments)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_unknown_image_in_a_prompts_file__is_refused_with_the_nearest(
    samcli_run, photo_folder, small_sam, tmp_path
) -> None:
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("image,x1,y1,x2,y2\nbuss.jpg,1,1,9,9\n")
    result = samcli_run("prompt", photo_folder, "--prompts", prompts, "-o", tmp_path / "o", "--sam", small_sam)
    assert result.exit_code == 2
    assert "'bus.jpg'" in result.stderr


def test_point_outside__fails_its_image_with_the_point_and_the_size(
    samcli_run, photo_folder, small_sam, tmp_path
) -> None:
    result = samcli_run(
        "prompt", photo_folder / "bus.jpg", "--point", "4000,5", "-o", tmp_path / "o", "--sam", small_sam, "--json"
    )
    assert result.exit_code == 3
    (reason,) = json.loads(result.stdout)["failures"].values()
    assert "point (4000, 5) is outside the image of 320 x 426 pixels" in reason


def test_prompts_of_the_command_line__for_many_images_are_not_silent_about_it(
    samcli_run, photo_folder, tmp_path
) -> None:
    said = samcli_run("prompt", photo_folder, "--box", "5,5,60,60", "--sam", "tiny", "-o", tmp_path / "all").stdout
    assert "The same prompts for each of 4 images" in said
    one = samcli_run(
        "prompt", photo_folder / "bus.jpg", "--box", "5,5,60,60", "--sam", "tiny", "-o", tmp_path / "1"
    )
    assert "The same prompts" not in one.stdout


def test_summary__of_a_point_outside_promises_neither_labels_nor_that_trying_again_helps(
    samcli_run, photo_folder, tmp_path
) -> None:
    asked = ("prompt", photo_folder / "bus.jpg", "-o", tmp_path / "o", "--sam", "tiny")
    said = samcli_run(*asked, "--point", "4000,5").stdout
    assert "Labels are in" not in said
    assert "Changed prompts are tried again" in said
    said = samcli_run(*asked, "--point", "40,5", "--overwrite").stdout
    assert "Labels are in" in said
    assert "The image was done before" in samcli_run(*asked, "--point", "40,5").stdout


def test_image_with_an_object_that_was_left_out__is_incomplete_and_kept_from_trainers(
    samcli_run, photo_folder, tmp_path
) -> None:
    labels, out = tmp_path / "boxes", tmp_path / "out"
    labels.mkdir()
    (labels / "bus.txt").write_text("0 0.5 0.5 0.4 0.4\n0 0.5 0.5 nan 0.4\n")
    words = ["--prompts", labels, "-o", out, "--sam", "tiny", "--precision", "fp32", "--json"]
    said = json.loads(samcli_run("prompt", photo_folder, *words).stdout)
    assert said["incomplete"] == ["bus.jpg"]
    assert any("1 object was left out" in note and "bus.txt:2" in note for note in said["notes"])
    assert not (out / "bus.txt").exists()
    assert (out / ".samcli" / "incomplete" / "bus.txt").read_text().startswith("0 ")
    assert record(out, "bus.jpg").omitted == 1
    assert json.loads(samcli_run("prompt", photo_folder, *words).stdout)["skipped"] == 1


def test_second_click__replaces_the_labels_of_a_single_image_beside_it(samcli_run, small_sam, tmp_path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / name), np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))
    common = ("--sam", small_sam, "--precision", "fp32")
    boxes = []
    for name, box in (("a.png", "2,2,50,40"), ("b.png", "9,9,30,30"), ("a.png", "20,10,70,50")):
        result = samcli_run("prompt", folder / name, "--box", box, *common)
        assert result.exit_code == 0, result.output
        boxes.append(record(folder / "labels", name).instances[0].prompt_box)
    assert boxes == [(2, 2, 50, 40), (9, 9, 30, 30), (20, 10, 70, 50)]
    assert record(folder / "labels", "b.png").instances[0].prompt_box == (9, 9, 30, 30)
    assert samcli_run("prompt", folder, "-o", tmp_path / "out", "--box", "2,2,50,40", *common).exit_code == 0
    refused = samcli_run("prompt", folder, "-o", tmp_path / "out", "--point", "20,20", *common)
    assert refused.exit_code == 2
    assert "the prompts were --box 2,2,50,40, now --point 20,20" in refused.stderr


@pytest.mark.parametrize("flags", [("--box", "0.1,0.2,0.5,0.6"), ("--point", "0.5,0.25"), ("--point", "1,0.5,1")])
def test_normalised_coordinates__on_the_command_line_are_named_as_such(flags) -> None:
    from samcli.prompts import command_line_prompts

    source = command_line_prompts(*(([flags[1]], []) if flags[0] == "--point" else ([], [flags[1]])))
    with pytest.raises(ImageError, match=r"looks normalised .*expected pixels of the upright image, 80 x 60"):
        source.for_image("a.png", (60, 80))
