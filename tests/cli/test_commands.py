"""The command line itself: usage, precedence, where output goes, exit status."""

from __future__ import annotations

import json
import re

import pytest


def test_json__is_one_document_on_stdout_and_nothing_else(annotate, photo_folder) -> None:
    result = annotate(photo_folder, "--json")
    facts = json.loads(result.stdout)
    assert set(facts) >= {
        "images",
        "done",
        "skipped",
        "empty",
        "failed",
        "instances_by_class",
        "stages",
        "output",
    }
    assert facts["images"] == facts["done"] == 4
    assert sum(facts["instances_by_class"].values()) == facts["instances"] > 0
    assert set(facts["stages"]) == {"decode", "detect", "encode", "segment", "write"}


@pytest.mark.parametrize(
    "command",
    [["auto-annotate"], ["everything"], ["encode"], ["prompt", "--point", "4,4"]],
    ids=lambda words: words[0],
)
def test_no_input__shows_an_example_of_the_command_itself(samcli_run, command) -> None:
    result = samcli_run(*command)
    assert result.exit_code == 2
    assert f"no input: give an image or a folder, e.g. samcli {command[0]} photo" in result.stderr


def test_summary__says_what_was_done_where_and_what_to_type_next(annotate, photo_folder) -> None:
    text = annotate(photo_folder).stdout
    assert "images (" in next(line for line in text.splitlines() if line.startswith("processed "))
    assert f"samcli verify {photo_folder.parent / 'labels'}" in text
    assert str(photo_folder.parent / "labels") in text
    assert "yolo segment train" in text
    (stages,) = [
        line for line in text.splitlines() if line.startswith("time per stage (sum over threads): ")
    ]  # unbroken
    assert all(f"{name} " in stages for name in ("decode", "detect", "encode", "segment", "write"))
    assert re.search(r"skipped +4  \(already done\)", annotate(photo_folder).stdout)


def test_training_line__is_left_out_where_a_trainer_would_not_find_the_labels(
    annotate, photo_folder, tmp_path
) -> None:
    assert "yolo segment train" not in annotate(photo_folder, "-o", tmp_path / "elsewhere").stdout


def test_input__may_be_an_option(annotate, photo_folder) -> None:
    assert annotate("--input", photo_folder, "-q").exit_code == 0


def test_beginning__is_told_on_a_terminal_before_anything_is_loaded(samcli_run, tmp_path, monkeypatch) -> None:
    from samcli.cli.terminal import _Stream

    (tmp_path / "a.jpg").touch()
    monkeypatch.setattr(_Stream, "isatty", lambda self: True)
    monkeypatch.setenv("NO_COLOR", "1")
    result = samcli_run("auto-annotate", tmp_path, "--device", "nowhere", "--det", "tiny", "--sam", "tiny")
    first, last = result.stderr.splitlines()
    assert (first, last[:8], result.exit_code) == (f"samcli: reading {tmp_path}", "samcli: ", 2)
    monkeypatch.delenv("NO_COLOR")
    coloured = samcli_run("auto-annotate", tmp_path, "--device", "nowhere", "--det", "tiny", "--sam", "tiny")
    assert "\x1b[1;31msamcli:\x1b[0m no device" in coloured.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "no input"),
        (["a", "--input", "b"], "two inputs"),
        (["nowhere"], "does not exist"),
        ([".", "--conf", "1.5"], "--conf is 1.5; expected 0 to 1"),
        ([".", "--precision", "fp23"], "Did you mean 'fp32'?"),
        ([".", "--format", "yloo"], "Did you mean 'yolo'?"),
        ([".", "--config", "nowhere.yaml"], "cannot read --config"),
    ],
)
def test_wrong_usage__is_told_in_a_line_with_status_2(samcli_run, arguments, reason, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = samcli_run("auto-annotate", "--det", "tiny", "--sam", "tiny", *arguments)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 2
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        (["--det", "yolov8xx.pt", "--sam", "tiny"], "Did you mean 'yolov8x.pt'?"),
        (["--det", "tiny", "--sam", "sam_bb.pt"], "Did you mean 'sam_b.pt'?"),
        (["--det", "sam_b.pt", "--sam", "tiny"], "sam_b.pt is a SAM; expected a detector"),
    ],
)
def test_unknown_checkpoint__is_an_error_of_usage_that_names_the_nearest(
    samcli_run, tmp_path, models, reason
) -> None:
    (tmp_path / "a.jpg").touch()
    result = samcli_run("auto-annotate", tmp_path, *models)
    assert (result.exit_code, reason in result.stderr) == (2, True)


def test_precedence__command_line_then_environment_then_yaml(annotate, photo_folder, tmp_path, monkeypatch) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text("iou: 0.5\nholes: fill\nparts: largest\n")
    monkeypatch.setenv("SAMCLI_HOLES", "bridge")
    monkeypatch.setenv("SAMCLI_PARTS", "separate")
    assert annotate(photo_folder, "--config", config, "--parts", "bridge", "-q").exit_code == 0
    recipe = json.loads((photo_folder.parent / "labels/.samcli/run.json").read_text())["recipe"]
    assert (recipe["iou"], recipe["holes"], recipe["parts"]) == (0.5, "bridge", "bridge")


@pytest.mark.parametrize("where", ["environment", "file"])
@pytest.mark.parametrize(
    ("command", "option", "flags"),
    [
        ("everything", "conf", ["--sam", "tiny", "--points-per-side", "2"]),
        ("prompt", "conf", ["--sam", "tiny", "--box", "1,1,30,30"]),
        ("prompt", "names", ["--sam", "tiny", "--box", "1,1,30,30"]),
        ("auto-annotate", "box_padding", ["--sam", "none", "--det", "seg"]),
    ],
)
def test_options_that_do_not_apply__are_refused_on_the_command_line_and_else_passed_over(
    command, option, flags, where, samcli_run, yolo_seg, photo_folder, tmp_path, monkeypatch
) -> None:
    flags = [str(yolo_seg) if word == "seg" else word for word in flags]
    image = photo_folder / "bus.jpg"
    assert samcli_run(command, image, "-o", tmp_path / "plain", *flags).exit_code == 0
    refused = samcli_run(command, image, "-o", tmp_path / "out", *flags, "--" + option.replace("_", "-"), "0.3")
    assert (refused.exit_code, "not apply to" in refused.stderr) == (2, True)
    if where == "environment":
        monkeypatch.setenv(f"SAMCLI_{option.upper()}", "0.3")
    else:
        (tmp_path / "options.yaml").write_text(f"{option}: 0.3\n")
        flags += ["--config", str(tmp_path / "options.yaml")]
    assert samcli_run(command, image, "-o", tmp_path / "plain", *flags).exit_code == 0  # the same recipe: resumes


def test_status__tells_how_far_a_run_is(annotate, samcli_run, photo_folder) -> None:
    (photo_folder / "bad.jpg").write_text("no image")
    annotate(photo_folder)
    labels = photo_folder.parent / "labels"
    facts = json.loads(samcli_run("status", labels, "--json").stdout)
    assert (facts["images"], facts["done"], facts["failed"], facts["remaining"]) == (5, 4, 1, 0)
    assert "bad.jpg: not a valid image file" in samcli_run("status", labels, "--failures").stdout
    assert "5 of 5" in samcli_run("status", labels).stdout


def test_status__counts_images_that_the_prompts_say_nothing_about(samcli_run, photo_folder, tmp_path) -> None:
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / "bus.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    asked = ("prompt", photo_folder, "--prompts", tmp_path / "boxes", "--sam", "tiny", "-o", tmp_path / "out")
    facts = json.loads(samcli_run(*asked, "--json").stdout)
    assert (facts["images"], facts["without_prompts"]) == (1, 3)
    assert json.loads(samcli_run("status", tmp_path / "out", "--json").stdout)["without_prompts"] == 3
    told = samcli_run("status", tmp_path / "out").stdout
    assert "1 of 1 (100 %)" in told
    assert "3 more images" in told


def test_embeddings__are_no_labels_to_whoever_wants_some(samcli_run, photo_folder, tmp_path) -> None:
    out = tmp_path / "out"
    assert samcli_run("encode", photo_folder, "--sam", "tiny", "-o", out).exit_code == 0
    told = samcli_run("status", out).stdout
    assert "\nembeddings  " in told  # the path may be too long for the line
    assert "without objects" not in told
    assert "instances" not in told
    wishes = [("preview", out), ("preview", out, "--html"), ("convert", out, "--to", "coco"), ("verify", out)]
    for wish in [*wishes, ("eval", out, "--truth", out)]:
        refused = samcli_run(*wish)
        assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
        assert "holds embeddings and no labels" in refused.stderr


def test_status__of_a_folder_without_a_run_is_an_error(samcli_run, tmp_path) -> None:
    result = samcli_run("status", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no run in" in result.stderr


def test_checks__prints_what_a_bug_report_needs(samcli_run) -> None:
    facts = json.loads(samcli_run("checks", "--json").stdout)
    assert {"torch", "ultralytics", "numpy", "pillow"} <= set(facts["packages"])
    assert facts["cpu"]["cores"] >= 1
    assert "sam_b.pt" in facts["weights known"]
    assert "torch" in samcli_run("checks").stdout


def test_missing_system_library__is_one_line_with_the_remedy(samcli_run, tmp_path, monkeypatch) -> None:
    def bare_container(*_: object) -> None:
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    (tmp_path / "a.jpg").touch()
    monkeypatch.setattr("samcli.jobs.run.find_models", bare_container)
    result = samcli_run("auto-annotate", tmp_path)
    assert result.exit_code == 1
    assert "libGL.so.1 is missing" in result.stderr
    assert "apt-get install libgl1" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("word", ["https://host/a/bus.jpg", "ftp://host/photos", "http://host/x.png?width=3"])
def test_url__is_recognised_and_kept_whole(samcli_run, word) -> None:
    result = samcli_run("auto-annotate", word, "--det", "tiny", "--sam", "tiny")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{word} is a URL" in result.stderr


def test_module__runs_like_the_script() -> None:
    import subprocess
    import sys

    result = subprocess.run([sys.executable, "-m", "samcli", "--version"], capture_output=True, text=True)
    assert result.stdout.startswith("samcli ")
