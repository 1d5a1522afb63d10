"""Runs whose images or labels lie in an object store leave there what a run leaves on a disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from samcli.errors import StorageError
from samcli.output.lease import Lease
from samcli.output.remote_run import JournalMirror, pull
from samcli.stores import store as module
from samcli.stores.store import Store

SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
OPTIONS = (
    "--box",
    "2,2,20,16",
    "--sam",
    "tiny",
    "--precision",
    "fp32",
    "--threads",
    "1",
    "--format",
    "yolo",
    "--format",
    "coco",
)


@pytest.fixture
def bucket(monkeypatch) -> Store:
    """An empty store in this process's memory."""
    monkeypatch.setattr(module, "_PAUSES", (0.0,))
    module._client.cache_clear()
    made = Store("memory://bucket", 60.0)
    made._client.store.clear()
    return made


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    with PillowImage.open(SHAPES / "beads.jpg") as image:
        for number, key in enumerate(("a.png", "more/b.png")):
            image.crop((20 * number, 60, 20 * number + 200, 200)).save(folder / key)
    return folder


@pytest.fixture
def prompt(samcli_run):
    def run(data: object, output: object, *arguments: object, status: int = 0) -> dict:
        result = samcli_run("prompt", data, "-o", output, *OPTIONS, "--json", *arguments)
        assert result.exit_code == status, result.output
        return json.loads(result.stdout) if status in (0, 3) else {"error": result.stderr}

    return run


def upload(bucket: Store, folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            bucket.put(f"photos/{path.relative_to(folder).as_posix()}", path.read_bytes())


def tree(bucket: Store, folder: str = "out") -> dict[str, bytes]:
    """All objects below a folder but journals, whose lines have times."""
    store = bucket.below(folder)
    return {one.name: store.get(one.name) for one in store.entries() if "journal" not in one.name}


def files(output: Path) -> dict[str, bytes]:
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file() and not path.name.startswith(("journal", "lock"))
    }


def without_place(found: dict[str, bytes]) -> dict[str, bytes]:
    """The files, but for where the images are in the manifest."""
    manifest = json.loads(found[".samcli/run.json"])
    return {**found, ".samcli/run.json": json.dumps({**manifest, "input_root": ""}).encode()}


def test_store__holds_what_a_folder_holds_and_goes_on(prompt, bucket, images, tmp_path, cache) -> None:
    upload(bucket, images)
    prompt(images, tmp_path / "out")
    summary = prompt("memory://bucket/photos", "memory://bucket/out")
    assert (summary["done"], summary["output"]) == (2, "memory://bucket/out")
    assert without_place(tree(bucket)) == without_place(files(tmp_path / "out"))
    assert [one for one in bucket.below("out").entries() if "parts" in one.name or "lease" in one.name] == []
    assert list((cache / "staging").glob("*/*")) == []
    before = tree(bucket)
    assert prompt("memory://bucket/photos", "memory://bucket/out")["skipped"] == 2
    assert tree(bucket) == before

    PillowImage.new("RGB", (40, 30)).save(images / "c.png")
    (images / "a.png").write_bytes(b"no image any more")
    upload(bucket, images)
    summary = prompt("memory://bucket/photos", "memory://bucket/out", status=3)
    assert (list(summary["failures"]), summary["skipped"]) == (["a.png"], 0)  # all have new times in the store
    assert {name for name in tree(bucket) if name.endswith((".txt", "png.json"))} == {
        "c.txt", "more/b.txt", ".samcli/records/c.png.json", ".samcli/records/more/b.png.json",
    }  # fmt: skip
    assert [image["file_name"] for image in json.loads(tree(bucket)["annotations.json"])["images"]] == [
        "c.png", "more/b.png",
    ]  # fmt: skip


def test_labels_that_are_lost_in_a_store__are_made_again(prompt, bucket, images) -> None:
    prompt(images, "memory://bucket/out")
    before = tree(bucket)
    bucket.delete("out/a.txt")
    bucket.delete("out/annotations.json")
    assert prompt(images, "memory://bucket/out")["done"] == 1
    assert tree(bucket) == before


def test_shards_in_a_store__leave_the_files_of_one_run(prompt, bucket, images) -> None:
    prompt(images, "memory://bucket/one")
    for index in (1, 2, 3, 4):
        prompt(images, "memory://bucket/out", "--shard", f"{index}/4")
    expected, found = tree(bucket, "one"), tree(bucket)
    assert json.loads(found.pop(".samcli/run.json"))["shards"] == 4
    del expected[".samcli/run.json"]
    assert found == expected


def test_folder_of_masks_in_a_store__is_replaced_as_a_whole(samcli_run, bucket, images) -> None:
    def everything(*more: str) -> int:
        arguments = ("--sam", "tiny", "--precision", "fp32", "--points-per-side", "4", *more)
        return samcli_run("everything", images, "-o", "memory://bucket/out", *arguments).exit_code

    assert everything("--stability-score-thresh", "0.5") == 0
    first = tree(bucket)
    masks = [name for name in first if name.startswith("a/")]
    assert masks
    bucket.delete("out/.samcli/records/a.png.json")  # done again
    bucket.put("out/a/99.png", b"of an earlier try")
    assert everything("--stability-score-thresh", "0.5") == 0
    assert tree(bucket) == first


def test_labels_in_a_store_that_are_somebodys__are_not_overwritten(prompt, bucket, images) -> None:
    bucket.put("out/a.txt", b"mine")
    error = prompt(images, "memory://bucket/out", status=2)["error"]
    assert "memory://bucket/out holds files that samcli did not write: 1 in the way" in error
    assert tree(bucket) == {"a.txt": b"mine"}


def test_options_that_need_a_folder__are_refused(prompt, bucket, images) -> None:
    assert "--overwrite does not remove" in prompt(images, "memory://bucket/out", "--overwrite", status=2)["error"]
    error = prompt(images, "memory://bucket/out", "--existing", "add", status=2)["error"]
    assert "--existing add needs an output folder on this machine" in error
    upload(bucket, images)
    result_of_no_output = prompt("memory://bucket/photos", "memory://bucket/out", "--root", "/", status=2)
    assert "--root is for images on this machine" in result_of_no_output["error"]


def test_dry_run__writes_nothing_to_a_store(prompt, bucket, images) -> None:
    upload(bucket, images)
    facts = prompt("memory://bucket/photos", "memory://bucket/out", "--dry-run")
    assert (facts["to_do"], facts["input"], facts["output"]) == (2, "memory://bucket/photos", "memory://bucket/out")
    assert tree(bucket) == {}


def test_lease__keeps_a_second_run_out_until_its_holder_is_dead(prompt, bucket, images, monkeypatch) -> None:
    with Lease(bucket.below("out"), ".samcli/lease.json"):
        error = prompt(images, "memory://bucket/out", status=1)["error"]
        assert "another samcli is at work in memory://bucket/out (process" in error
    bucket.put(
        "out/.samcli/lease.json", json.dumps({"host": "other", "pid": 1, "token": "", "renewed": 0}).encode()
    )
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert prompt(images, "memory://bucket/out")["done"] == 2


def test_lost_lease__is_reported(bucket) -> None:
    lease = Lease(bucket, "lease.json", lost="another samcli has taken over memory://bucket")
    with pytest.raises(StorageError, match="has taken over"):
        lease.check()


def test_journal_in_a_store__is_whole_after_a_kill_at_any_moment(bucket, tmp_path) -> None:
    bucket.put(".samcli/run.json", b"{}")
    bucket.put(".samcli/journal.jsonl", b"1\n")
    bucket.put(".samcli/journal.jsonl.parts/000000007.jsonl", b"2\n")
    bucket.put(
        ".samcli/run.json", json.dumps({"recipe": {}, "fingerprint": "", "input_root": "", "names": {}}).encode()
    )
    remote = pull(bucket, tmp_path / "out", [])
    journal = tmp_path / "out" / ".samcli" / "journal.jsonl"
    assert journal.read_bytes() == b"1\n2\n"
    mirror = JournalMirror(remote, journal)
    with journal.open("ab") as file:
        file.write(b"3\n4")
    mirror.flush()
    assert bucket.get(".samcli/journal.jsonl.parts/000000008.jsonl") == b"3\n"
    assert bucket.get(".samcli/journal.jsonl") == b"1\n"  # killed here, all three lines are there
    with journal.open("ab") as file:
        file.write(b"\n")
    with mirror:
        pass
    assert bucket.get(".samcli/journal.jsonl") == b"1\n2\n3\n4\n"
    assert bucket.names(".samcli/journal.jsonl.parts") == []


def test_later_commands__know_that_the_images_are_elsewhere(prompt, samcli_run, bucket, images, tmp_path) -> None:
    upload(bucket, images)
    prompt("memory://bucket/photos", tmp_path / "out")
    assert (
        json.loads((tmp_path / "out" / ".samcli" / "run.json").read_text())["input_root"]
        == "memory://bucket/photos"
    )
    result = samcli_run("convert", tmp_path / "out", "--to", "coco", "-o", tmp_path / "coco", "--json")
    assert result.exit_code == 0, result.output
    assert len(json.loads((tmp_path / "coco" / "annotations.json").read_text())["images"]) == 2
    assert json.loads(samcli_run("status", tmp_path / "out", "--json").stdout)["done"] == 2
    error = prompt(images, tmp_path / "out", status=2)["error"]
    assert "holds what was made of memory://bucket/photos, not of" in error
