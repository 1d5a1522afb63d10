"""The journal and the manifest: what makes a run resumable."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from samcli.errors import SamcliError, StorageError, UsageError
from samcli.output.journal import Journal, JournalEntry, _Parser, read_journal
from samcli.output.manifest import Manifest, Model, Recipe, check_same_run, read_manifest, write_manifest
from samcli.types import Author, ImageRef, Outcome, Status, Withheld


def done(key: str, instances: dict[int, int] | None = None, size: int = 100, mtime_ns: int = 5) -> Outcome:
    return Outcome(ImageRef(Path("/in"), key, size, mtime_ns), Status.DONE, instances or {}, 0.25)


def failed(key: str, error: str = "truncated") -> Outcome:
    return Outcome(ImageRef(Path("/in"), key, 100, 5), Status.FAILED, error=error)


def write(path: Path, *outcomes: Outcome, run: str = "run") -> Path:
    with Journal(path, run) as journal:
        for outcome in outcomes:
            journal.append(outcome)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".samcli" / "journal.jsonl"


# Entries


def test_journal__gives_back_what_was_appended(path: Path) -> None:
    write(path, done("a/1.jpg", {0: 2, 7: 1}), done("2.jpg"), failed("3.jpg"))
    assert read_journal(path) == {
        "a/1.jpg": JournalEntry(100, 5, "run", True, ((0, 2), (7, 1)), 0.25, None),
        "2.jpg": JournalEntry(100, 5, "run", True, (), 0.25, None),
        "3.jpg": JournalEntry(100, 5, "run", False, (), 0.0, "truncated"),
    }


@pytest.mark.parametrize("key", ["zażółć/汉字.jpg", "two\nlines.jpg", '"quoted".jpg', "caf\udce9.jpg", "🐈.jpg"])
def test_journal__any_key_is_one_line(path: Path, key: str) -> None:
    write(path, done(key), failed("after.jpg", "first\nsecond"))
    assert len(path.read_bytes().splitlines()) == 2
    assert set(read_journal(path)) == {key, "after.jpg"}


def test_journal__the_last_line_about_a_key_counts(path: Path) -> None:
    write(path, failed("1.jpg"), done("2.jpg"))
    write(path, done("1.jpg", {3: 1}), failed("2.jpg"))
    entries = read_journal(path)
    assert (entries["1.jpg"].done, entries["1.jpg"].instances) == (True, ((3, 1),))
    assert not entries["2.jpg"].done


def test_journal__that_does_not_exist_is_empty(path: Path) -> None:
    assert read_journal(path) == {}


def test_journal__lines_are_with_the_system_as_soon_as_they_are_appended(path: Path) -> None:
    """A run that is killed loses nothing that it has reported."""
    journal = Journal(path, "run")
    journal.append(done("1.jpg"))
    assert set(read_journal(path)) == {"1.jpg"}
    journal.close()


@pytest.mark.parametrize("lost", [1, 2, 10, 60])
def test_torn_last_line__is_ignored_and_swallows_no_later_one(path: Path, lost: int) -> None:
    write(path, done("1.jpg"), done("2.jpg"))
    path.write_bytes(path.read_bytes()[:-lost])
    assert "1.jpg" in read_journal(path)
    assert ("2.jpg" in read_journal(path)) == (lost == 1), "without its newline only, it is whole"
    write(path, done("3.jpg"), done("4.jpg"))
    assert {"1.jpg", "3.jpg", "4.jpg"} <= set(read_journal(path))


def test_torn_last_line__of_a_whole_journal_leaves_no_blank_lines(path: Path) -> None:
    write(path, done("1.jpg"))
    write(path, done("2.jpg"))
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize(
    "line",
    [
        b"\0\0\0\0", b"null", b"[]", b"3", b'"text"', b"{}", b"\xff\xfe", b'{"key": "1.jpg"}', b"",
        b'{"key":"9.jpg","size":1,"mtime_ns":1,"run":"run","status":"done","instances":[],"seconds":0,"error":null}',
        b'{"key":["9.jpg"],"size":1,"mtime_ns":1,"run":"run","status":"done","instances":{},"seconds":0,"error":null}',
        b'{"key":"9.jpg","size":1,"mtime_ns":1,"run":7,"status":"done","instances":{},"seconds":0,"error":null}',
    ],
)  # fmt: skip
def test_line__that_is_no_entry_is_passed_over(path: Path, line: bytes) -> None:
    write(path, done("1.jpg"))
    path.write_bytes(line + b"\n" + path.read_bytes() + line + b"\n")
    assert set(read_journal(path)) == {"1.jpg"}


def test_entry__is_about_one_version_of_a_file_under_one_recipe(path: Path) -> None:
    entry = read_journal(write(path, done("1.jpg", size=100, mtime_ns=5)))["1.jpg"]
    assert entry.is_about(ImageRef(Path("/elsewhere"), "1.jpg", 100, 5), "run")
    assert not entry.is_about(ImageRef(Path("/in"), "1.jpg", 101, 5), "run")
    assert not entry.is_about(ImageRef(Path("/in"), "1.jpg", 100, 6), "run")
    assert not entry.is_about(ImageRef(Path("/in"), "1.jpg", 100, 5), "another run")


def test_journal__holds_what_many_lines_share_once(path: Path) -> None:
    write(path, *(done(f"{n}.jpg", {0: 1, 1: 2}) for n in range(3)))
    entries = list(read_journal(path).values())
    assert len({id(entry.run) for entry in entries}) == 1
    assert len({id(entry.instances) for entry in entries}) == 1


ODD_LINES = [
    '{"size":1,"key":"a.jpg","mtime_ns":2,"run":"r","status":"done","instances":{"0":1},"seconds":1.5,"error":null}',
    '{"key":"a.jpg","size":1,"mtime_ns":2,"run":"r","status":"done","instances":{"0":1},"seconds":2,"error":null}',
    '{ "key": "a.jpg", "size": 1, "mtime_ns": 2, "run": "r", "status": "done", "instances": {}, "seconds": 0.1, '
    '"error": null, "later": {"x": [1]} }',
    '{"key":"b.jpg","size":1,"mtime_ns":2,"run":"r","status":"done","instances":{"0":1},"whole_name":false,'
    '"dropped":0,"seconds":1.5,"error":null,"key":"a.jpg","size":9}',
    '{"key":"b.jpg","size":1,"mtime_ns":2,"run":"r","status":"done","instances":{"0":1},"whole_name":false,'
    '"dropped":0,"seconds":1.5,"error":",\\"seconds\\":7.5,\\"error\\":null}"}',
]
"""As an earlier version, or another program, may write them."""


@pytest.mark.parametrize("odd", ODD_LINES)
def test_journal__a_line_means_what_its_json_means_however_it_is_written(path: Path, odd: str) -> None:
    write(path, done("first.jpg", {0: 1}), failed("other.jpg", 'a "reason"'), done("same.jpg", {0: 1}))
    with path.open("a") as file:
        file.write(odd + "\n" + odd.replace('"done"', '"failed"').replace(".jpg", ".png") + "\n")
    write(path, done("same again.jpg", {0: 1}), failed("other again.jpg", 'a "reason"'))
    entries = read_journal(path)
    assert len(entries) == 7
    for line in path.read_text().splitlines():
        row = json.loads(line)
        counts = tuple((int(name), count) for name, count in row["instances"].items())
        assert entries[row["key"]] == JournalEntry(
            row["size"], row["mtime_ns"], row["run"], row["status"] == "done", counts, row["seconds"], row["error"],
        )  # fmt: skip


def test_journal__of_a_run_with_anything_in_it_is_read_as_it_was_written(path: Path) -> None:
    """Flags, digests, failures, images that are gone: over and over, as whatever is remembered of earlier lines."""

    def outcome(number: int) -> Outcome:
        ref = ImageRef(Path("/in"), f"{number % 40}.jpg", number, number * 7)
        if number % 11 == 0:
            return Outcome(ref, Status.GONE)
        if number % 5 == 0:
            return Outcome(ref, Status.FAILED, error=f"reason {number % 3}")
        counts = {number % 3: number % 4, 9: 1} if number % 2 else {}
        return Outcome(
            ref, Status.DONE, counts, number / 8, whole_name=number % 7 == 0, dropped=number % 6,
            digest="" if number % 4 else f"{number:x}", withheld=None if number % 8 else Withheld.INCOMPLETE,
            authors={Author.EXISTING: {9: number % 2}, Author.HUMAN: {1: 1}} if number % 6 == 0 else {},
        )  # fmt: skip

    outcomes = [outcome(number) for number in range(1, 500)]
    write(path, *outcomes)
    wanted: dict[str, JournalEntry] = {}
    for one in outcomes:
        wanted.pop(one.ref.key, None)
        if one.status is not Status.GONE:
            wanted[one.ref.key] = JournalEntry(
                one.ref.size, one.ref.mtime_ns, "run", one.status is Status.DONE, tuple(one.instances.items()),
                round(one.seconds, 4), one.error, one.whole_name, one.dropped, one.digest,
                one.withheld, authors=tuple((who, tuple(some.items())) for who, some in one.authors.items()),
            )  # fmt: skip
    assert read_journal(path) == wanted


def test_journal__says_that_an_image_is_withheld_only_where_it_is(path: Path) -> None:
    write(path, done("1.jpg"), replace(done("2.jpg"), withheld=Withheld.EXCLUDED))
    first, second = map(json.loads, path.read_text().splitlines())
    assert "withheld" not in first
    assert second["withheld"] == "excluded"


def test_journal__parses_usual_lines_of_withheld_images_once_a_form(path: Path, monkeypatch) -> None:
    """As many lines go through the JSON parser as there are forms, not lines."""
    write(path, *(replace(done(f"{n}.jpg"), withheld=Withheld.INCOMPLETE if n % 2 else None) for n in range(100)))
    parsed = []
    original = _Parser._parse_json
    monkeypatch.setattr(_Parser, "_parse_json", lambda self, line: parsed.append(line) or original(self, line))
    entries = read_journal(path)
    assert [entries[f"{n}.jpg"].withheld for n in range(4)] == [None, Withheld.INCOMPLETE] * 2
    assert len(parsed) == 2


def test_journal__remembers_only_so_many_forms_of_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samcli.output.journal._REMEMBERED", 2)
    write(path, *(done(f"{n}.jpg", {n % 5: n}) for n in range(50)))
    entries = read_journal(path)
    assert [entries[f"{n}.jpg"].instances for n in range(50)] == [((n % 5, n),) for n in range(50)]


def test_journal__a_full_disk_is_a_storage_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    journal = Journal(path, "run")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(StorageError, match="No space left"):
            journal.close()
    journal.close()


def test_journal__is_on_disk_when_closed_even_after_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr("os.fsync", flushed.append)
    with pytest.raises(ValueError, match="mine"), Journal(path, "run") as journal:
        journal.append(done("1.jpg"))
        raise ValueError("mine")
    assert len(flushed) == 1
    assert set(read_journal(path)) == {"1.jpg"}


# Manifest


def manifest(**changes: Any) -> Manifest:
    recipe = {
        "conf": 0.25, "classes": None, "format": ["yolo"], "sam": {"name": "sam_b.pt", "sha256": "ab" * 32},
        **changes.pop("recipe", {}),
    }  # fmt: skip
    values = {
        "recipe": Recipe(recipe), "fingerprint": "f" * 64, "input_root": "../images", "versions": {"samcli": "1"},
        "names": {0: "person", 5: "bus"}, "total": 3, **changes,
    }  # fmt: skip
    return Manifest(**values)


def test_manifest__round_trips(tmp_path: Path) -> None:
    write_manifest(tmp_path / "run.json", manifest())
    assert read_manifest(tmp_path / "run.json") == manifest()


def test_manifest__that_does_not_exist_is_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "run.json") is None


def test_manifest__is_not_written_again_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_manifest(path, manifest())
    before = path.stat().st_ino
    write_manifest(path, manifest())
    assert path.stat().st_ino == before
    write_manifest(path, manifest(total=4))
    assert read_manifest(path) == manifest(total=4)


def test_manifest__lines_carry_the_beginning_of_the_fingerprint() -> None:
    assert manifest(fingerprint="0123456789abcdef" + "0" * 48).run == "0123456789abcdef"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b'{"names": {}}',
        b'{"names": {"x": "person"}}',
        b'{"names": []}',
    ],
)
def test_manifest__that_is_damaged_says_which_file_and_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(SamcliError, match=f"{path} is damaged .*--overwrite starts over"):
        read_manifest(path)


def test_manifest__with_a_key_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_manifest(path, manifest())
    path.write_text(json.dumps({**json.loads(path.read_text()), "later": 1}))
    with pytest.raises(SamcliError, match="later"):
        read_manifest(path)


# The same run?


def test_same_run__other_names_totals_and_versions_are_no_difference(tmp_path: Path) -> None:
    check_same_run(manifest(), manifest(names={}, total=9, versions={"samcli": "2"}), tmp_path)


def test_same_run__names_exactly_the_options_that_differ(tmp_path: Path) -> None:
    wanted = manifest(
        fingerprint="e" * 64,
        recipe={
            "conf": 0.5,
            "classes": "bus",
            "sam": {"name": "sam_l.pt", "sha256": "cd" * 32},
            "max_det": 9,
        },
    )
    with pytest.raises(UsageError) as caught:
        check_same_run(manifest(), wanted, tmp_path)
    message = str(caught.value)
    assert "--conf was 0.25, now 0.5" in message
    assert "--classes was not given, now bus" in message
    assert "--sam was sam_b.pt (abababab), now sam_l.pt (cdcdcdcd)" in message
    assert "--max-det was not given, now 9" in message
    assert "format" not in message
    assert "--overwrite" in message
    assert "another --output" in message
    assert str(tmp_path) in message


def test_same_run__of_another_command_is_told_by_its_name_alone(tmp_path: Path) -> None:
    found = manifest(
        recipe={"command": "auto-annotate", "conf": 0.25, "det": {"name": "yolov8n.pt", "sha256": "ab" * 32}}
    )
    wanted = manifest(fingerprint="e" * 64, recipe={"command": "everything", "points_per_side": 32})
    with pytest.raises(UsageError) as caught:
        check_same_run(found, wanted, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds what samcli auto-annotate wrote: give samcli everything another --output, "
        "or --overwrite to start over"
    )


def test_same_run__the_same_options_of_an_earlier_version_are_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an earlier version of samcli"):
        check_same_run(manifest(), manifest(fingerprint="e" * 64), tmp_path)


def test_same_run__what_differs_in_its_python_type_alone_is_not_named(tmp_path) -> None:
    values = manifest().recipe.values
    wanted = manifest(fingerprint="e" * 64, recipe={**values, "conf": 0.5, "objects": ((1.0, 2.0),)})
    found = manifest(recipe={**values, "objects": [[1.0, 2.0]]})
    with pytest.raises(UsageError) as caught:
        check_same_run(found, wanted, tmp_path)
    assert "conf" in str(caught.value)
    assert "objects" not in str(caught.value)


def test_same_run__another_input_is_refused_with_both_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        check_same_run(manifest(), manifest(input_root="../photos"), tmp_path / "labels")
    assert f"holds what was made of {tmp_path / 'images'}, not of {tmp_path / 'photos'}" in str(caught.value)
    assert str(caught.value).endswith(f"give this one --output {tmp_path / 'labels-photos'}")


# A journal and a manifest that somebody has edited, exchanged or moved


@pytest.mark.parametrize(
    "change",
    [
        {"key": "../../x.jpg"}, {"key": "/etc/x.jpg"}, {"key": "a/../b.jpg"}, {"key": ""}, {"key": None},
        {"key": ["a"]}, {"size": "1"}, {"size": True}, {"run": 5}, {"instances": []}, {"instances": {"0": "many"}},
        {"instances": {"person": 1}}, {"seconds": "long"}, {"seconds": 1e999}, {"error": 5}, {"dropped": "one"},
        {"digest": None}, {"whole_name": 1}, {"status": {}},
    ],
)  # fmt: skip
def test_line__that_is_not_as_samcli_writes_it_is_passed_over_and_said(tmp_path: Path, caplog, change) -> None:
    path = write(tmp_path / "journal.jsonl", done("1.jpg"), done("2.jpg"))
    lines = path.read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), **change}, separators=(",", ":"))
    path.write_text("\n".join(lines) + "\n")
    assert set(read_journal(path)) == {"2.jpg"}
    assert "passed over lines that are not as samcli writes them: 1, the first is line 1" in caplog.text


@pytest.mark.parametrize("line", [b"x" * (3 << 20), b"[" * 100_000, b'{"key":' * 50_000, b"\xff\x00", b"1" * 5000])
def test_line__that_is_too_long_or_nested_too_deeply_is_passed_over(tmp_path: Path, line: bytes) -> None:
    path = write(tmp_path / "journal.jsonl", done("1.jpg"), done("2.jpg"))
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + line + b"\n" + second)
    assert set(read_journal(path)) == {"1.jpg", "2.jpg"}


def test_journal__that_is_a_link_is_neither_read_nor_appended_to(tmp_path: Path) -> None:
    elsewhere, path = write(tmp_path / "elsewhere", done("1.jpg")), tmp_path / "journal.jsonl"
    path.symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    for use in (lambda: read_journal(path), lambda: Journal(path, "run")):
        with pytest.raises(SamcliError, match=r"journal\.jsonl cannot be read .*symbolic link"):
            use()
    assert elsewhere.read_bytes() == before


@pytest.mark.parametrize("fault", ["removed", "renamed", "exchanged", "only the file"])
def test_journal__that_is_no_longer_at_its_path_takes_no_more_lines(tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "labels" / ".samcli"
    path = folder / "journal.jsonl"
    noticed = pytest.raises(StorageError, match=r"was the output folder moved, removed or unmounted\?")
    with noticed, Journal(path, "r") as j:
        j.append(done("1.jpg"))
        if fault == "removed":
            shutil.rmtree(folder.parent)
        elif fault == "only the file":
            path.unlink()
        else:
            folder.parent.rename(tmp_path / "moved")
        if fault == "exchanged":
            folder.mkdir(parents=True)
            path.touch()
        j.append(done("2.jpg"))
    if fault in ("renamed", "exchanged"):
        assert set(read_journal(tmp_path / "moved" / ".samcli" / "journal.jsonl")) == {"1.jpg"}


def test_journal__that_has_gone_after_the_last_line_is_noticed_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with pytest.raises(StorageError, match="is gone"), Journal(path, "run") as journal:
        journal.append(done("1.jpg"))
        path.unlink()


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": []}, {"recipe": {"format": "yolo"}}, {"recipe": {"format": [1]}}, {"recipe": {"dtype": 5}},
        {"recipe": {"sam": {"sha256": 5}}}, {"recipe": {"precision": {}}}, {"fingerprint": None}, {"input_root": 5},
        {"input_root": "a\0b"}, {"versions": []}, {"names": {"0": 5}}, {"total": "3"}, {"total": True},
        {"collisions": {"../x": "why"}}, {"collisions": {"x": 5}}, {"unasked": None},
    ],
)  # fmt: skip
def test_manifest__with_an_entry_of_another_kind_is_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "run.json"
    write_manifest(path, manifest())
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(SamcliError, match=f"{path} is damaged .*--overwrite starts over"):
        read_manifest(path)


def test_manifest__nested_deeply_or_a_link_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b'{"recipe":' * 100_000)
    with pytest.raises(SamcliError, match="nested too deeply"):
        read_manifest(path)
    path.unlink()
    write_manifest(tmp_path / "other.json", manifest())
    path.symlink_to(tmp_path / "other.json")
    with pytest.raises(SamcliError, match="symbolic link"):
        read_manifest(path)


def test_recipe__has_its_entries_by_name_and_a_fingerprint_of_the_models_content() -> None:
    recipe = manifest().recipe
    assert (recipe.formats, recipe.precision, recipe.dtype, recipe.model("det")) == (("yolo",), None, None, None)
    assert recipe.model("sam") == Model("sam_b.pt", "ab" * 32)
    renamed = Recipe({**recipe.values, "sam": {"name": "other.pt", "sha256": "ab" * 32}})
    assert renamed.fingerprint == recipe.fingerprint
    assert Recipe({**recipe.values, "conf": 0.5}).fingerprint != recipe.fingerprint
