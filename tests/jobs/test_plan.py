"""What a run has to do is decided from names, journal and records alone, each question on its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from samcli.checkpoints.registry import WeightsFile
from samcli.config import EncodeOptions, PromptOptions
from samcli.errors import UsageError
from samcli.jobs.base import Job
from samcli.jobs.encode import Encode
from samcli.jobs.plan import (
    Scope,
    build_manifest,
    find_scope,
    identify,
    make_plan,
    name_labels,
    recipe_of,
    sort_images,
)
from samcli.jobs.prompt import Prompt
from samcli.output.journal import Journal, JournalEntry
from samcli.output.layout import LabelFiles, Layout
from samcli.output.manifest import Manifest, Recipe, write_manifest
from samcli.output.records import write_record
from samcli.output.run_folder import EarlierRun
from samcli.types import Annotation, ImageRef, Outcome, Status

RUN = "f" * 16
KEYS = ["a.png", "b.png", "sub/c.png"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three files with names of images: a plan looks at no more."""
    folder = tmp_path / "images"
    for key in KEYS:
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(key.encode())
    return folder


def job(**options: Any) -> Prompt:
    return Prompt(PromptOptions.of(**{"box": ("1,1,9,9",), "sam": "tiny", "precision": "fp32", **options}))


def scope(images: Path, of: Job | None = None, data: Path | None = None) -> Scope:
    return find_scope(data or images, images.parent / "labels", of or job())


def entry(ref: ImageRef, **changes: Any) -> JournalEntry:
    return JournalEntry(ref.size, ref.mtime_ns, RUN, True, ())._replace(**changes)


def digest(of: Scope, key: str = "a.png") -> str:
    return of.job.digest(key)


def labels(of: Scope, **changes: Any) -> LabelFiles:
    return replace(LabelFiles(of.layout, (".txt",), frozenset(), {}), **changes)


def manifest(recipe: Recipe | None = None, **changes: Any) -> Manifest:
    return replace(Manifest(recipe or Recipe({"command": "prompt"}), "f" * 64, "../images"), **changes)


def write_files(of: Scope, key: str) -> None:
    for path in (Path(of.layout.record(key)), Path(of.layout.label(key, ".txt"))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(write_record(Annotation(key, (9, 9)), {}))


# Which images


def test_scope__has_the_images_in_order_and_where_their_labels_go(images: Path) -> None:
    found = scope(images)
    assert [ref.key for ref in found.refs] == KEYS
    assert found.layout == Layout(images, images.parent / "labels")
    assert (found.unasked, found.is_part) == (0, False)


def test_scope__of_one_image_knows_it(images: Path) -> None:
    found = scope(images, data=images / "a.png")
    assert ([ref.key for ref in found.refs], found.is_part) == (["a.png"], True)


def test_scope__leaves_out_what_the_job_is_not_about_and_leaves_the_job_as_it_was(images: Path) -> None:
    class About(Prompt):
        wanted: Collection[str] | None = None

        def matched(self, keys: Sequence[str]) -> About:
            other = About(self.options)
            other.wanted = set(keys) - {"b.png"}
            return other

        def asked(self) -> Collection[str] | None:
            return self.wanted

    of = About(PromptOptions.of(box=("1,1,9,9",), sam="tiny"))
    found = scope(images, of)
    assert ([ref.key for ref in found.refs], found.unasked) == (["a.png", "sub/c.png"], 1)
    assert of.asked() is None


def test_scope__refuses_a_format_that_the_job_cannot_make(images: Path) -> None:
    with pytest.raises(UsageError, match="--format edges needs edges, which samcli prompt does not make"):
        scope(images, job(format=("edges",)))


def test_scope__refuses_pictures_among_the_images(images: Path) -> None:
    with pytest.raises(UsageError, match="--output is the input folder"):
        find_scope(images, images, job(format=("overlay",)))


def test_prompt__matched_with_images_is_another_job_of_the_same_recipe(images: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    (boxes / "a.txt").write_text("3 0.5 0.5 0.4 0.4\n")
    of = job(box=(), prompts=str(boxes))
    before, asked = of.recipe(), list(of.asked() or ())
    matched = of.matched(KEYS)
    assert list(matched.asked() or ()) == ["a.png"]
    assert (matched.recipe(), of.recipe(), list(of.asked() or ())) == (before, before, asked)


# Under which recipe


def test_recipe__takes_auto_precision_from_the_run_that_it_goes_on_with() -> None:
    of = job(precision="auto")
    assert recipe_of(of, None, manifest(Recipe({"precision": "bf16"}))).precision == "bf16"


def test_recipe__does_not_depend_on_the_order_of_formats() -> None:
    first, second = (job(format=names) for names in (("yolo", "coco"), ("coco", "yolo")))
    assert recipe_of(first, None, None) == recipe_of(second, None, None)


def test_identify__without_models_takes_those_of_the_earlier_run_and_compares_the_options() -> None:
    begun, fingerprint = identify(job(), {"sam": WeightsFile(Path("tiny"), "a" * 64)}, None)
    found = manifest(begun, fingerprint=fingerprint)
    assert identify(job(), None, found) == (begun, fingerprint)
    other = manifest(Recipe({**begun.values, "refine": 2}), fingerprint="e" * 64)
    assert identify(job(), None, other) == (begun, fingerprint), "refused as the real run would"
    recipe, fingerprint = identify(job(), None, None)
    assert fingerprint == recipe.fingerprint


# What an earlier run has left


def test_plan__of_a_run_that_overwrites_does_every_image(images: Path) -> None:
    of = scope(images)
    write_manifest(of.layout.manifest, manifest())
    with Journal(of.layout.journal, RUN) as journal:
        journal.append(Outcome(of.refs[0], Status.DONE))
        journal.append(Outcome(of.refs[1], Status.FAILED, error="torn"))
    again = replace(of, job=job(overwrite=True))
    assert [ref.key for ref in make_plan(again, {}).todo] == KEYS


def test_plan__of_a_shard_does_its_own_images_and_knows_all(images: Path) -> None:
    plans = [make_plan(scope(images, job(shard=f"{index}/2")), {}) for index in (1, 2)]
    assert sorted(ref.key for plan in plans for ref in plan.todo) == KEYS
    assert all(sorted(plan.keys) == KEYS for plan in plans)


# Which label files


def test_labels__of_somebody_else_refuse_a_new_run_and_fail_their_image_in_one_under_way(images: Path) -> None:
    of = scope(images)
    write_files(of, "b.png")
    Path(of.layout.record("b.png")).unlink()
    with pytest.raises(UsageError, match="holds files that samcli did not write: 1 in the way"):
        name_labels(of, EarlierRun(), {}, [])
    assert list(name_labels(of, EarlierRun(manifest()), {}, []).collisions) == ["b.png"]


def test_labels__named_as_a_file_for_all_images_fail_their_image(images: Path) -> None:
    (images / "b.png").rename(images / "classes.png")
    of = scope(images)
    found = name_labels(of, EarlierRun(), {}, [f"{of.layout.output}/classes.txt"])
    assert list(found.collisions) == ["classes.png"]


# The manifest


def test_manifest__of_a_folder_counts_what_is_there_now(images: Path) -> None:
    of = replace(scope(images), unasked=2)
    found = manifest(total=9, collisions={"z.png": "taken"}, unasked=7, names={0: "cat"})
    built = build_manifest(of, found.recipe, "e" * 64, labels(of, collisions={"b.png": "taken"}), found)
    assert (built.total, built.collisions, built.unasked) == (3, {"b.png": "taken"}, 2)
    assert (built.names, built.input_root, built.fingerprint) == ({0: "cat"}, "../images", "e" * 64)


def test_manifest__of_one_image_keeps_what_is_known_of_the_others(images: Path) -> None:
    of = scope(images, data=images / "a.png")
    found = manifest(total=9, collisions={"z.png": "taken"}, unasked=7)
    built = build_manifest(of, found.recipe, "f" * 64, labels(of), found)
    assert (built.total, built.collisions, built.unasked) == (9, {"z.png": "taken"}, 7)


# Which of them are done


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({}, "done"),
        ({"size": 1}, "todo"),
        ({"mtime_ns": 1}, "todo"),
        ({"run": "another"}, "todo"),
        ({"digest": "other prompts"}, "todo"),
        ({"done": False, "error": "torn"}, "failed"),
    ],
)
def test_sort__by_what_the_journal_says(images: Path, changes: dict[str, Any], place: str) -> None:
    of = scope(images)
    write_files(of, "a.png")
    journal = {"a.png": entry(of.refs[0], digest=digest(of))._replace(**changes)}
    plan = sort_images(of, labels(of), manifest(), journal, changed=False)
    assert {name for name in ("done", "failed") if "a.png" in getattr(plan, name)} == {place} - {"todo"}
    assert [ref.key for ref in plan.todo] == [key for key in KEYS if key != "a.png" or place == "todo"]
    assert plan.total == 3


def test_sort__does_an_image_again_whose_files_are_gone_and_one_that_failed_if_asked(images: Path) -> None:
    of = scope(images, job(retry_failed=True))
    refs = {ref.key: ref for ref in of.refs}
    journal = {
        "a.png": entry(refs["a.png"], digest=digest(of)),
        "b.png": entry(refs["b.png"], digest=digest(of), done=False),
    }
    plan = sort_images(of, labels(of, collisions={"sub/c.png": "taken"}), manifest(), journal, changed=False)
    assert [ref.key for ref in plan.todo] == ["a.png", "b.png"]
    assert list(plan.collisions) == ["sub/c.png"]


# The whole


def test_plan__of_a_folder_that_was_done_changes_nothing(images: Path) -> None:
    of = scope(images)
    first = make_plan(of, {})
    assert (len(first.todo), first.changed) == (3, True)
    write_manifest(of.layout.manifest, first.manifest)
    (of.layout.output / "data.yaml").touch()
    with Journal(of.layout.journal, first.manifest.run) as journal:
        for ref in of.refs:
            write_files(of, ref.key)
            journal.append(Outcome(ref, Status.DONE, digest=digest(of)))
    plan = make_plan(of, {})
    assert (plan.todo, sorted(plan.done), plan.changed) == ((), KEYS, False)


def test_plan__refuses_other_options_and_a_run_that_is_not_to_be_gone_on_with(images: Path) -> None:
    of = scope(images)
    write_manifest(of.layout.manifest, make_plan(of, {}).manifest)
    with pytest.raises(UsageError, match="--min-mask-area was 1, now 9"):
        make_plan(scope(images, job(min_mask_area=9)), {})
    with pytest.raises(UsageError, match="continue it with --resume"):
        make_plan(scope(images, job(resume=False)), {})


def test_job__says_what_it_makes() -> None:
    assert {Encode(EncodeOptions.of(sam="tiny")).product.value, job().product.value} == {"embeddings", "labels"}
