"""`samcli tune`: the networks run once, what it says of a recipe is what a run with it gets, and the best wins."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import yaml

from samcli.config import AutoAnnotateOptions, EvalOptions, TuneOptions, resolve
from samcli.detectors.ultralytics import UltralyticsDetector
from samcli.errors import UsageError
from samcli.evaluation.evaluate import evaluate
from samcli.evaluation.ground_truth import EvaluatedObject, open_labels
from samcli.evaluation.tuning import Tuning, _values, tune
from samcli.masks import Mask
from samcli.sam.engine import Engine

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("beads.jpg", "buttons.bmp", "grey.jpg")
TINY = {"det": "tiny", "sam": "tiny", "precision": "fp32"}
FLAGS = [word for name, value in TINY.items() for word in (f"--{name}", value)]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos of shapes, and one that nobody has labelled."""
    folder = tmp_path_factory.mktemp("tune") / "images"
    folder.mkdir()
    for name in (*NAMES, "poster.png"):
        shutil.copy(EXAMPLES / "shapes" / name, folder / name)
    return folder


def coco_of(names: tuple[str, ...]) -> dict:
    """The truth of examples/shapes as COCO instances."""
    images, annotations, categories = [], [], {}
    for number, name in enumerate(names, 1):
        content = json.loads((EXAMPLES / "shapes_truth" / f"{name}.json").read_text())
        size = {"height": content["height"], "width": content["width"]}
        images.append({"id": number, "file_name": name, **size})
        for one in content["objects"]:
            x1, y1, x2, y2 = one["box"]
            categories[one["class_id"]] = one["class"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": one["class_id"],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": one["area"],
                    "iscrowd": 0,
                    "segmentation": one["rle"],
                }
            )
    named = [{"id": class_id, "name": name} for class_id, name in categories.items()]
    return {"images": images, "annotations": annotations, "categories": named}


@pytest.fixture(scope="module")
def truth(shapes: Path) -> Path:
    path = shapes.parent / "truth.json"
    path.write_text(json.dumps(coco_of(NAMES)))
    return path


def options(**values: object) -> TuneOptions:
    """Few values: what is not said is at its default."""
    few = {"conf": "0.25,0.6", "box_padding": "0", "best_mask": "no", "refine": "0", "min_polygon_iou": "0.9,0.98"}
    return TuneOptions.of(**{**TINY, **few, **values})


@pytest.fixture(scope="module")
def tuned(shapes: Path, truth: Path) -> tuple[Tuning, Counter[str]]:
    """A small grid, and how often which network saw which image."""
    calls: Counter[str] = Counter()
    encode, detect = Engine.encode, UltralyticsDetector.detect

    def counted_encode(self, images):
        calls.update(f"encode {image.ref.key}" for image in images)
        return encode(self, images)

    def counted_detect(self, images):
        calls.update(f"detect {image.ref.key}" for image in images)
        return detect(self, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "encode", counted_encode)
        patch.setattr(UltralyticsDetector, "detect", counted_detect)
        grid = options(conf="0.1,0.25,0.6", box_padding="0,0.1", best_mask="no,yes", refine="0,1")
        return tune(shapes, open_labels(truth), grid), calls


def test_every_image__goes_through_detector_and_encoder_once(tuned) -> None:
    _, calls = tuned
    assert calls == Counter(f"{what} {name}" for what in ("encode", "detect") for name in NAMES)


def test_all_combinations__are_tried_and_the_best_is_first(tuned) -> None:
    result, _ = tuned
    assert len(result.trials) == 3 * 2 * 2 * 2
    assert len({tuple(trial.values.items()) for trial in result.trials}) == 24
    figures = [trial.objective for trial in result.trials]
    assert result.best.objective == max(figures) > min(figures)
    assert result.with_defaults is not None
    assert (result.images, result.objects) == (3, 20)
    assert result.notes == ["1 of 4 images have no ground truth: left out"]


@pytest.mark.parametrize("which", [0, 9, 23])
def test_figures__are_those_of_eval_on_a_run_with_these_options(
    tuned, samcli_run, shapes, truth, tmp_path, which: int
) -> None:
    trial = tuned[0].trials[which]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**TINY, **trial.values}))
    out = tmp_path / "out"
    result = samcli_run("auto-annotate", shapes, "-o", out, "--config", tmp_path / "recipe.yaml", "-q")
    assert result.exit_code == 0, result.output
    found = evaluate(open_labels(out), open_labels(truth), EvalOptions()).kinds["mask"].overall
    assert (found.truth, found.predicted) == (trial.scores.truth, trial.scores.predicted)
    assert found.quality == pytest.approx(trial.objective, abs=1e-3)
    assert found.mean_iou == pytest.approx(trial.scores.mean_iou, abs=1e-3)


def test_tile_sizes__are_tried_with_the_figures_of_runs_with_these_tiles(
    samcli_run, shapes, truth, tmp_path
) -> None:
    result = tune(shapes, open_labels(truth), options(conf="0.25", tile="off,160,auto"))
    assert sorted(str(trial.values.get("tile")) for trial in result.trials) == ["160", "None", "auto"]
    (tiled,) = (trial for trial in result.trials if trial.values.get("tile") == "160")
    assert result.with_defaults is not None and result.with_defaults.objective != tiled.objective
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**TINY, **tiled.values}))
    out = tmp_path / "out"
    samcli_run("auto-annotate", shapes, "-o", out, "--config", tmp_path / "recipe.yaml", "-q")
    found = evaluate(open_labels(out), open_labels(truth), EvalOptions()).kinds["mask"].overall
    assert found.quality == pytest.approx(tiled.objective, abs=1e-3)


def test_recipe__is_a_config_of_auto_annotate(tuned, tmp_path) -> None:
    result, _ = tuned
    (tmp_path / "recipe.yaml").write_text(result.yaml())
    read = resolve(AutoAnnotateOptions, {}, tmp_path / "recipe.yaml")
    values = read.values()
    assert (values["det"], values["sam"], values["precision"]) == ("tiny", "tiny", "fp32")
    for name, value in result.best.values.items():
        assert values[name] == value
    assert read.labels.min_polygon_iou == result.recipe["min_polygon_iou"]


def test_recipe__keeps_what_was_given_and_changes_labels(shapes, truth, tmp_path) -> None:
    (tmp_path / "map.yaml").write_text("star: star\n'*':\n")
    given = options(conf="0.25", class_map=str(tmp_path / "map.yaml"), max_det=50, device="cpu")
    result = tune(shapes, open_labels(truth), given)
    assert result.recipe == {
        **TINY,
        "max_det": 50,
        "class_map": str(tmp_path / "map.yaml"),
        **result.best.values,
        "min_polygon_iou": result.recipe["min_polygon_iou"],
    }
    assert result.best.scores.predicted < result.best.scores.truth / 2


def test_polygons__have_fewer_points_the_lower_their_fidelity(tuned) -> None:
    coarse, fine = tuned[0].polygons
    assert (coarse.min_polygon_iou, fine.min_polygon_iou) == (0.9, 0.98)
    assert coarse.points < fine.points
    assert 0.9 <= coarse.iou < fine.iou


def test_tolerance__lets_coarse_polygons_win(shapes, truth) -> None:
    strict, lenient = (
        tune(shapes, open_labels(truth), options(conf="0.25", min_polygon_iou="0.6,0.99", tolerance=tolerance))
        for tolerance in (0, 1)
    )
    assert strict.recipe["min_polygon_iou"] == 0.99
    assert lenient.recipe["min_polygon_iou"] == 0.6


def test_best__is_the_recipe_that_the_truth_was_made_with(samcli_run, shapes, tmp_path) -> None:
    flags = ["--conf", 0.6, "--box-padding", 0.1, "--refine", 1, *FLAGS]
    samcli_run("auto-annotate", shapes, "-o", tmp_path / "made", *flags)
    grid = options(box_padding="0,0.1", refine="0,1")
    result = tune(shapes, open_labels(tmp_path / "made"), grid)
    assert result.best.values == {"conf": 0.6, "box_padding": 0.1, "best_mask": False, "refine": 1}
    assert result.best.objective == pytest.approx(1, abs=1e-3)
    assert result.trials[1].objective < 0.995


def test_objectives__weigh_classes_or_look_at_f1_alone(shapes, truth) -> None:
    by = {
        name: tune(shapes, open_labels(truth), options(conf="0.25", objective=name)).best
        for name in ("quality", "class-quality", "f1")
    }
    scores = by["quality"].scores
    assert by["quality"].objective == scores.quality
    assert by["f1"].objective == scores.at[0.5].f1 == by["f1"].scores.at[0.5].f1
    assert by["quality"].objective == pytest.approx(scores.mean_iou * scores.at[0.5].f1)
    assert not math.isclose(by["class-quality"].objective, by["quality"].objective)


def test_truth_of_boxes__is_tuned_by_boxes(shapes, truth, tmp_path) -> None:
    content = json.loads(truth.read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    result = tune(shapes, open_labels(tmp_path / "boxes.json"), options(conf="0.25"))
    assert result.kind == "box"
    assert result.best.objective > 0.5


def test_image_that_cannot_be_read__is_left_out(shapes, truth, tmp_path) -> None:
    folder = shutil.copytree(shapes, tmp_path / "images")
    (folder / "grey.jpg").write_bytes(b"no image")
    result = tune(folder, open_labels(truth), options(conf="0.25"))
    assert list(result.left_out) == ["grey.jpg"]
    assert (result.images, result.exit_status) == (2, 3)


def test_values__of_a_config_file_may_be_a_lone_yes_or_no(tmp_path) -> None:
    """YAML takes these for a truth value; auto-annotate's switch and the words to try are given alike."""
    (tmp_path / "tune.yaml").write_text("best_mask: no\n")
    assert resolve(TuneOptions, {}, tmp_path / "tune.yaml").search.best_mask == "no"
    assert resolve(AutoAnnotateOptions, {}, tmp_path / "tune.yaml").prompting.best_mask is False


def test_values__may_be_lists_in_a_config_file(tmp_path) -> None:
    (tmp_path / "tune.yaml").write_text("conf: [0.1, 0.3]\nrefine: 2\nbest_mask: [no, yes]\n")
    read = resolve(TuneOptions, {}, tmp_path / "tune.yaml").search
    assert (read.conf, read.refine) == ("0.1,0.3", "2")
    assert _values(read, "best_mask") == [False, True]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"conf": "0.2,much"}, "--conf is '0.2,much'; expected numbers"),
        ({"conf": "0.2,1.5"}, "--conf is 1.5; expected 0 to 1"),
        ({"conf": ","}, "--conf is empty"),
        ({"best_mask": "perhaps"}, "--best-mask is 'perhaps'; expected no, yes"),
        ({"refine": "0.5"}, "--refine is '0.5'; expected whole numbers"),
        ({"box_padding": "3"}, "--box-padding is 3"),
        ({"min_polygon_iou": "0.1"}, "--min-polygon-iou is 0.1"),
        ({"sam": "none"}, "--sam none has no prompts"),
    ],
)
def test_values__that_cannot_be_tried_are_refused_before_any_network_is_loaded(
    shapes, truth, monkeypatch, values, message
) -> None:
    monkeypatch.setattr("samcli.evaluation.tuning._load", lambda *_: pytest.fail("a network was loaded"))
    with pytest.raises(UsageError, match=message):
        tune(shapes, open_labels(truth), options(**values))


class Nothing:
    """A truth that says that there is nothing, or speaks of another image."""

    names, image_root, notes = {0: "star"}, None, ()
    file_ids: ClassVar[dict[int, int]] = {}
    lost: ClassVar[dict[str, str]] = {}

    def __init__(self, key: str) -> None:
        self.key = key

    def keys(self):
        return [self.key]

    def image_size(self, key):
        return None

    def objects(self, key, size) -> list[EvaluatedObject]:
        return []


def test_truth__without_an_object_or_an_image_of_ours_is_refused(shapes) -> None:
    with pytest.raises(UsageError, match="no object in 1 images"):
        tune(shapes, Nothing("beads.jpg"), options())
    with pytest.raises(UsageError, match=r"no image in common.*'other\.jpg'"):
        tune(shapes, Nothing("other.jpg"), options())


def test_nothing_right__is_said(shapes) -> None:
    class Wrong(Nothing):
        def objects(self, key, size):
            pixels = np.zeros(size, bool)
            pixels[:2, :2] = True
            return [EvaluatedObject(0, (0, 0, 2, 2), Mask.from_pixels(pixels))]

    result = tune(shapes, Wrong("beads.jpg"), options())
    assert result.best.objective == 0
    assert "no prediction matches the ground truth" in result.notes[-1]


def test_command__prints_yaml_on_stdout_alone_and_writes_it(samcli_run, shapes, truth, tmp_path) -> None:
    few = ["--conf", "0.25,0.6", "--box-padding", "0", "--best-mask", "no", "--refine", "0"]
    arguments = ["tune", shapes, "--truth", truth, *FLAGS, *few]
    result = samcli_run(*arguments, "-o", tmp_path / "best.yaml")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "best.yaml").read_text() == result.stdout
    assert result.stdout.startswith("# samcli tune: quality 0.")
    assert resolve(AutoAnnotateOptions, {}, tmp_path / "best.yaml").detector.det == "tiny"
    for row in ("conf 0.6", "min-polygon-iou 0.98", "defaults", "3 images, 20 objects, 2 combinations"):
        assert row in result.stderr
    document = json.loads(samcli_run(*arguments, "--json").stdout)
    assert document["recipe"] == yaml.safe_load(result.stdout)
    assert len(document["trials"]) == 2
    refused = samcli_run(*arguments, "-o", tmp_path / "none" / "best.yaml")
    assert refused.exit_code == 2
    assert "a folder that exists" in refused.stderr
