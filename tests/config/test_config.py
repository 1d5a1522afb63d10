"""Options: precedence, checks, YAML, environment and fingerprint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from samcli.config import (
    COMMANDS,
    FORMAT_NAMES,
    AutoAnnotateOptions,
    CommandOptions,
    ConvertOptions,
    DatasetOptions,
    LabelOptions,
    Options,
    check_environment,
    declared,
    default_of,
    fingerprint,
    flag_of,
    former_flags,
    group,
    option,
    resolve,
    types_of,
    variables_of,
)
from samcli.errors import UsageError


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing from outside; SAMCLI_CACHE is the tests' own."""
    import os

    for name in list(os.environ):
        if name.startswith("SAMCLI_") and name != "SAMCLI_CACHE":
            monkeypatch.delenv(name)


def from_yaml(tmp_path: Path, text: str, **given: object) -> AutoAnnotateOptions:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return resolve(AutoAnnotateOptions, given, path)


# Precedence


def test_resolve__given_goes_before_the_file_and_the_file_before_the_default(tmp_path: Path) -> None:
    options = from_yaml(tmp_path, "conf: 0.5\niou: 0.6\n", conf=0.7, max_det=None)
    assert (options.detector.conf, options.detector.iou, options.detector.max_det) == (0.7, 0.6, 300)


def test_resolve__what_was_not_given_leaves_the_file_its_say(tmp_path: Path) -> None:
    options = from_yaml(tmp_path, "resume: false\nformat: [yolo]\nconf: 0.5", resume=None, format=[], conf=None)
    assert (options.run.resume, options.format, options.detector.conf) == (False, ("yolo",), 0.5)


def test_resolve__a_given_zero_or_false_counts_as_given(tmp_path: Path) -> None:
    options = from_yaml(tmp_path, "conf: 0.5\nresume: true\nbatch: 4", conf=0.0, resume=False, batch=0)
    assert (options.detector.conf, options.run.resume, options.run.batch) == (0.0, False, 0)


def test_resolve__nothing_given_is_the_defaults(tmp_path: Path) -> None:
    assert resolve(AutoAnnotateOptions, {}) == AutoAnnotateOptions()
    assert from_yaml(tmp_path, "") == AutoAnnotateOptions()
    assert from_yaml(tmp_path, "# only a comment\n") == AutoAnnotateOptions()


def test_resolve__knows_what_the_command_line_did_not_say(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("iou: 0.5\nimgsz: 320\nmax_det: 7\n")
    given = {"conf": 0.5, "max_det": 9, "imgsz": 640, "holes": None}
    options = resolve(AutoAnnotateOptions, given, tmp_path / "r.yaml", environment=["conf", "holes"])
    assert options.implied == {"conf", "iou"}
    assert options == resolve(AutoAnnotateOptions, {**given, "iou": 0.5})
    back = options.without_implied(["conf", "max_det"])
    kept = back.detector
    assert (kept.conf, kept.iou, kept.max_det, back.implied) == (0.25, 0.5, 9, {"iou"})


def test_resolve__repeatable_options_become_tuples() -> None:
    assert resolve(AutoAnnotateOptions, {"format": ["yolo"]}).format == ("yolo",)


# YAML


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("conf: 1", "conf", 1.0),
        ("conf: 0", "conf", 0.0),
        ("max-det: 20", "max_det", 20),
        ("max_det: 20", "max_det", 20),
        ("classes: [person, bus]", "classes", "person,bus"),
        ("classes: [0, 5]", "classes", "0,5"),
        ("classes: 5", "classes", "5"),
        ("classes: person", "classes", "person"),
        ("classes: null", "classes", None),
        ("format: yolo", "format", ("yolo",)),
        ("format: [yolo]", "format", ("yolo",)),
        ("max-failures: 3", "max_failures", 3),
        ("max-failures: null", "max_failures", None),
        ("det: tiny", "det", "tiny"),
        ("overwrite: yes", "overwrite", True),
    ],
)
def test_yaml__values_take_the_type_of_their_option(tmp_path: Path, text: str, name: str, value: object) -> None:
    found = from_yaml(tmp_path, text).values()[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conf: high", "'conf' in .*recipe.yaml is 'high'; expected float"),
        ("conf: true", "'conf' in .* is True; expected float"),
        ("conf: null", "'conf' in .* is None; expected float"),
        ("conf: [0.1]", r"'conf' in .* is \[0.1\]; expected float"),
        ("max-det: 1.5", "'max-det' in .* is 1.5; expected int"),
        ("max-det: true", "'max-det' in .* is True; expected int"),
        ("resume: 1", "'resume' in .* is 1; expected bool"),
        ("resume: 'no'", "'resume' in .* is 'no'; expected bool"),
        ("classes: true", "'classes' in .* is True; expected str"),
        ("max-failures: soon", "'max-failures' in .* is 'soon'; expected int"),
    ],
)
def test_yaml__a_value_of_another_type_is_refused_by_name(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        from_yaml(tmp_path, text)


@pytest.mark.parametrize(
    ("key", "known"), [("cnof", "conf"), ("max-dets", "max_det"), ("presision", "precision"), ("SAM", "sam")]
)
def test_yaml__an_unknown_key_names_the_nearest_known_one(tmp_path: Path, key: str, known: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_yaml(tmp_path, f"{key}: 1")
    assert f"unknown option '{key}' in {tmp_path / 'recipe.yaml'}" in str(caught.value)
    if key != "SAM":  # nothing is near in another case
        assert f"Did you mean '{known}'?" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conf: [0.5", "is not YAML"),
        ("- conf", "holds a list; expected 'option: value' lines"),
        ("conf", "holds a str; expected"),
        ("conf: !!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_yaml__a_file_that_is_no_recipe_says_so_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected) as caught:
        from_yaml(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_yaml__a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read --config .*nowhere\.yaml: No such file"):
        resolve(AutoAnnotateOptions, {}, tmp_path / "nowhere.yaml")


def test_yaml__keys_are_flags_or_the_names_of_variables(tmp_path: Path) -> None:
    path = tmp_path / "convert.yaml"
    path.write_text("to: [yolo]\nfrom: coco\non-collision: suffix\n")
    options = resolve(ConvertOptions, {}, path)
    assert (options.format, options.source_format, options.naming.on_collision) == (("yolo",), "coco", "suffix")
    path.write_text("format: yolo\nsource_format: coco\n")
    options = resolve(ConvertOptions, {}, path)
    assert (options.format, options.source_format) == (("yolo",), "coco")


def test_yaml__one_option_under_two_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "convert.yaml"
    path.write_text("to: yolo\nformat: coco\n")
    with pytest.raises(UsageError, match=r"'to' and 'format' in .*convert\.yaml are the same option"):
        resolve(ConvertOptions, {}, path)


def test_yaml__values_are_held_to_the_same_limits(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--conf is 3\.0; expected 0 to 1"):
        from_yaml(tmp_path, "conf: 3")


# Limits and choices


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("conf", -0.01, "--conf is -0.01; expected 0 to 1"),
        ("conf", 1.01, "--conf is 1.01; expected 0 to 1"),
        ("conf", float("nan"), "--conf is nan; expected 0 to 1"),
        ("max_det", 0, "--max-det is 0; expected at least 1"),
        ("imgsz", 31, "--imgsz is 31; expected at least 32"),
        ("batch", -1, "--batch is -1; expected at least 0"),
        ("workers", 65, "--workers is 65; expected 1 to 64"),
        ("min_polygon_iou", 0.4, "--min-polygon-iou is 0.4; expected 0.5 to 1"),
        ("max_failures", 0, "--max-failures is 0; expected at least 1"),
        ("max_pixels", 0, "--max-pixels is 0; expected at least 1"),
    ],
)
def test_limits__are_checked_and_named(name: str, value: float, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        AutoAnnotateOptions.of(**{name: value})
    assert str(caught.value) == expected


@pytest.mark.parametrize(("name", "values"), [("conf", (0.0, 1.0)), ("workers", (1, 64)), ("imgsz", (32,))])
def test_limits__include_their_ends(name: str, values: tuple[Any, ...]) -> None:
    for value in values:
        assert AutoAnnotateOptions.of(**{name: value}).values()[name] == value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (
            "precision",
            "fp23",
            "--precision is 'fp23'; expected one of auto, fp32, bf16, fp16. Did you mean 'fp32'?",
        ),
        ("holes", "bridges", "--holes is 'bridges'; expected one of bridge, fill. Did you mean 'bridge'?"),
        ("format", ("coco,yolo",), "--format is 'coco,yolo'; one value at a time: --format coco --format yolo"),
        ("parts", "???", "--parts is '???'; expected one of bridge, separate, largest."),
        (
            "format",
            ("yolo", "yollo"),
            f"--format is 'yollo'; expected one of {', '.join(FORMAT_NAMES)}. Did you mean 'yolo'?",
        ),
    ],
)
def test_choices__are_listed_with_the_nearest(name: str, value: object, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        AutoAnnotateOptions.of(**{name: value})
    assert str(caught.value) == expected


def test_options__have_a_flag_a_variable_and_help() -> None:
    entries = {entry.name: entry for entry in declared(AutoAnnotateOptions)}
    assert flag_of(entries["max_det"]) == "--max-det"
    assert variables_of(entries["max_det"]) == ["SAMCLI_MAX_DET"]
    assert {name for entry in declared(ConvertOptions) for name in variables_of(entry)} >= {
        "SAMCLI_TO",
        "SAMCLI_FROM",
    }
    assert all(entry.metadata["help"].endswith(".") for entry in entries.values())


def test_former_names__are_read_from_everywhere_and_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = next(entry for entry in declared(AutoAnnotateOptions) if entry.name == "pred_iou_thresh")
    assert variables_of(entry) == ["SAMCLI_PRED_IOU_THRESH", "SAMCLI_MIN_PREDICTED_IOU"]
    assert former_flags() == {"--min-predicted-iou", "--min-stability"}
    monkeypatch.setenv("SAMCLI_MIN_PREDICTED_IOU", "0.5")
    config = tmp_path / "options.yaml"
    config.write_text("min-stability: 0.9\n")
    options = resolve(AutoAnnotateOptions, {}, config)
    assert options.filters.stability_score_thresh == 0.9
    config.write_text("min-stability: 0.9\nstability-score-thresh: 0.9\n")
    with pytest.raises(UsageError, match="are the same option; give one"):
        resolve(AutoAnnotateOptions, {}, config)


def test_split__of_a_data_yaml_and_of_a_data_set_have_variables_of_their_own() -> None:
    variables = [
        variables_of(entry) for kind in (AutoAnnotateOptions, DatasetOptions) for entry in declared(kind)
        if entry.name == "split"
    ]  # fmt: skip
    assert variables == [["SAMCLI_INPUT_SPLIT"], ["SAMCLI_SPLIT"]]


def test_default_of__is_what_people_would_write() -> None:
    entries = {entry.name: entry for entry in declared(AutoAnnotateOptions)}
    wanted = {"conf": "0.25", "det": "yolov8x.pt", "format": "yolo", "classes": None, "resume": None, "batch": "0"}
    assert {name: default_of(entries[name]) for name in wanted} == wanted


def test_option__may_have_a_flag_of_another_name() -> None:
    @dataclasses.dataclass(frozen=True)
    class Sizes(Options):
        min_size: int = option(1, "Least size.", low=1, flag="--min-mask-region-area")

    with pytest.raises(UsageError, match="--min-mask-region-area is 0"):
        Sizes(min_size=0)


# Groups


@dataclasses.dataclass(frozen=True)
class Boxes(Options):
    conf: float = option(0.25, "Threshold.", recipe=True, low=0, high=1)
    count: int = option(3, "Number.", low=1)


@dataclasses.dataclass(frozen=True)
class Names(Options):
    suffix: str | None = option(None, "Suffix.", recipe=True, only_given=True)


@dataclasses.dataclass(frozen=True)
class Some(CommandOptions):
    boxes: Boxes = group(Boxes, without=("count",))
    loud: bool = option(False, "Loud.", recipe=True)
    names: Names = group(Names)


def test_groups__are_flat_and_in_order_for_people() -> None:
    assert [entry.name for entry in declared(Some)] == ["conf", "loud", "suffix"]
    assert types_of(Some) == {"conf": float, "loud": bool, "suffix": str | None}
    assert Some().values() == {"conf": 0.25, "loud": False, "suffix": None}


def test_groups__hold_what_is_given_by_name() -> None:
    options = Some.of(conf=0.5, suffix=".txt")
    assert (options.boxes, options.names, options.loud) == (Boxes(conf=0.5), Names(".txt"), False)
    with pytest.raises(UsageError, match="--conf is 3; expected 0 to 1"):
        Some.of(conf=3)


@pytest.mark.parametrize("name", ["count", "boxes", "implied", "cnof"])
def test_groups__what_a_command_does_not_offer_cannot_be_given(name: str) -> None:
    with pytest.raises(TypeError, match=f"Some has no option '{name}'"):
        Some.of(**{name: 1})


def test_groups__a_recipe_is_that_of_all_groups_without_what_was_left_open() -> None:
    assert Some().recipe() == {"conf": 0.25, "loud": False}
    assert list(Some.of(suffix=".txt").recipe().items()) == [("conf", 0.25), ("loud", False), ("suffix", ".txt")]


def test_with_values__keeps_the_rest_and_what_is_implied() -> None:
    options = Some.of(conf=0.5).imply(["conf"]).with_values(suffix=".txt")
    assert (options.values(), options.implied) == ({"conf": 0.5, "loud": False, "suffix": ".txt"}, {"conf"})


def test_changed__names_flags_of_groups_too() -> None:
    assert Some.of(conf=0.5, loud=True).changed(["loud", "conf", "suffix", "unknown"]) == ["--loud", "--conf"]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands__have_each_option_once(command: str) -> None:
    flags = [flag_of(entry) for entry in declared(COMMANDS[command])]
    names = [entry.name for entry in declared(COMMANDS[command])]
    assert len(set(flags)) == len(flags) and len(set(names)) == len(names)


# Environment


@pytest.mark.parametrize("name", ["SAMCLI_CONF", "SAMCLI_MAX_DET", "SAMCLI_CACHE", "SAMCLI_CONFIG", "HOME", "SAM"])
def test_environment__known_and_foreign_variables_are_fine(name: str) -> None:
    check_environment({name: "1"})


@pytest.mark.parametrize(("name", "known"), [("SAMCLI_CNOF", "SAMCLI_CONF"), ("SAMCLI_MAXDET", "SAMCLI_MAX_DET")])
def test_environment__an_unknown_variable_is_an_error_that_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch, name: str, known: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(UsageError, match=f"unknown environment variable {name}. Did you mean '{known}'?"):
        resolve(AutoAnnotateOptions, {})


# Recipe and fingerprint

CHANGED = {
    "det": "tiny", "sam": "tiny", "precision": "fp32",
    "conf": 0.3, "iou": 0.5, "imgsz": 320, "max_det": 10, "classes": "person", "pred_iou_thresh": 0.1,
    "stability_score_thresh": 0.1, "min_mask_area": 2, "format": ("yolo", "yolo"), "holes": "fill",
    "parts": "separate", "min_polygon_iou": 0.9, "class_map": "map.yaml",
    "best_mask": True, "refine": 1, "box_padding": 0.1, "text": "person", "text_threshold": 0.3,
    "agnostic_nms": True, "cross_class_iou": 0.8, "min_part_area": "5", "max_points": 500,
    "tile": "640", "tile_overlap": 0.3, "existing": "add", "existing_iou": 0.4,
    "roi": "regions.csv",
}  # fmt: skip
"""Another value of each option that changes what is written."""

UNCHANGED = {
    "max_pixels": 5, "image_timeout": 5.0, "embeddings": "there", "on_collision": "suffix", "trust_weights": True,
    "device": "cpu", "batch": 3, "workers": 5, "threads": 2, "resume": False, "overwrite": True,
    "retry_failed": True, "procs": 2, "discard_human": True, "max_failures": 5, "compile": "off", "root": "there",
    "split": "train", "pages": "all", "shard": "1/2", "store_timeout": 5.0, "num_actors": 2, "staging": "there",
    "runner": "ray", "ray_address": "there",
}  # fmt: skip
"""Of each that does not."""


def test_recipe__every_option_is_on_one_side_or_the_other() -> None:
    assert {*CHANGED, *UNCHANGED} == {entry.name for entry in declared(AutoAnnotateOptions)}
    assert set(AutoAnnotateOptions().recipe()) == set(CHANGED)


@pytest.mark.parametrize("name", CHANGED)
def test_fingerprint__changes_with_an_option_that_changes_labels(name: str) -> None:
    options = AutoAnnotateOptions.of(**{name: CHANGED[name]})
    assert fingerprint(options.recipe()) != fingerprint(AutoAnnotateOptions().recipe())


@pytest.mark.parametrize("name", UNCHANGED)
def test_fingerprint__does_not_change_with_how_the_work_is_done(name: str) -> None:
    options = AutoAnnotateOptions.of(**{name: UNCHANGED[name]})
    assert fingerprint(options.recipe()) == fingerprint(AutoAnnotateOptions().recipe())


def test_fingerprint__does_not_depend_on_the_order_of_options_or_their_source(tmp_path: Path) -> None:
    recipe = AutoAnnotateOptions().recipe()
    assert fingerprint(recipe) == fingerprint(dict(reversed(recipe.items())))
    assert fingerprint(from_yaml(tmp_path, "conf: 1").recipe()) == fingerprint(
        AutoAnnotateOptions.of(conf=1.0).recipe()
    )


def test_fingerprint__changes_with_the_recipe_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint({"conf": 0.5})
    monkeypatch.setattr("samcli.config.options.RECIPE_VERSION", 10_000)
    assert fingerprint({"conf": 0.5}) != before


def test_recipe__holds_plain_values_that_json_gives_back() -> None:
    import json

    recipe = LabelOptions().recipe()
    assert json.loads(json.dumps(recipe)) == recipe
