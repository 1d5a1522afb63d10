"""One run at a time in an output folder, or the shards of one run side by side."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from samcli.errors import SamcliError, UsageError
from samcli.output import locks
from samcli.output.layout import Layout
from samcli.output.locks import ending, locked, whole_folder
from samcli.output.shards import Shard

# One run at a time

HOLD_LOCK = """
import sys
from pathlib import Path
from samcli.output.layout import Layout
from samcli.output.locks import locked
with locked(Layout(Path("/in"), Path(sys.argv[1]))):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_lock__keeps_a_second_process_out_until_the_first_is_done(tmp_path: Path) -> None:
    layout = Layout(Path("/in"), tmp_path / "out")
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(layout.output)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"locked\n"
        with (
            pytest.raises(SamcliError, match=f"another samcli is at work in {layout.output}"),
            locked(layout),
        ):
            pass
        first.communicate()
    with locked(layout):
        pass


def test_lock__of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    layout = Layout(Path("/in"), tmp_path / "out")
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(layout.output)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with first:
        assert first.stdout is not None
        first.stdout.readline()
        first.kill()
    with locked(layout):
        pass


def test_lock__is_given_back_after_an_error(tmp_path: Path) -> None:
    layout = Layout(Path("/in"), tmp_path / "out")
    with pytest.raises(ValueError, match="mine"), locked(layout):
        raise ValueError("mine")
    with locked(layout):
        pass


def test_lock__where_nothing_can_be_written_names_the_folder_and_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    layout = Layout(Path("/in"), tmp_path / "file" / "out")
    with pytest.raises(UsageError, match=f"cannot write in {layout.output}: .*--output"), locked(layout):
        pass


def test_lock__leaves_nothing_behind_where_no_run_was_begun(tmp_path: Path) -> None:
    layout = Layout(Path("/in"), tmp_path / "deep" / "out")
    with locked(layout):
        assert layout.run_folder.is_dir()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "deep" / "out").mkdir(parents=True)
    (layout.output / "somebody.txt").touch()
    with locked(layout):
        pass
    assert [path.name for path in layout.output.iterdir()] == ["somebody.txt"]


def test_lock__stays_where_a_run_was_begun(tmp_path: Path) -> None:
    layout = Layout(Path("/in"), tmp_path / "out")
    with locked(layout):
        layout.manifest.touch()
    assert sorted(path.name for path in layout.run_folder.iterdir()) == ["lock", "run.json"]


@pytest.mark.parametrize("name", ["", "records", "lock", "running", "unfolded"])
def test_lock__follows_no_link(tmp_path: Path, name: str) -> None:
    layout, elsewhere = Layout(Path("/in"), tmp_path / "out"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = layout.run_folder / name
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises(SamcliError, match=r"symbolic link.* Remove the link"), locked(layout):
        pass
    assert list(elsewhere.iterdir()) == []


# Shards


def shard(tmp_path: Path, index: int) -> Layout:
    return Layout(Path("/in"), tmp_path / "out", Shard(index, 3))


def test_shards__are_locked_side_by_side_and_each_once(tmp_path: Path) -> None:
    whole, two = Layout(Path("/in"), tmp_path / "out"), shard(tmp_path, 2)
    with locked(shard(tmp_path, 1)), locked(two):
        with pytest.raises(SamcliError, match=r"another samcli is at work in .* on shard 2/3"), locked(two):
            pass
        with pytest.raises(SamcliError, match="another samcli is at work"), locked(whole):
            pass
    with locked(whole):
        pass


def test_shards__wait_for_whoever_holds_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_PATIENCE", 0.05)
    one, refused = shard(tmp_path, 1), pytest.raises(SamcliError, match="another samcli is at work")
    with locked(Layout(Path("/in"), tmp_path / "out")), refused, locked(one):
        pass
    with locked(one), whole_folder(one), refused, locked(shard(tmp_path, 2)):
        pass


def test_temporary_files__of_a_killed_shard_go_when_no_shard_is_at_work(tmp_path: Path) -> None:
    one, two = shard(tmp_path, 1), shard(tmp_path, 2)
    with locked(one):
        one.manifest.touch()
        left = one.output / ".samcli-left.tmp"
        left.touch()
        (one.run_folder / "running-3-of-3").touch()  # of a shard that was killed
        with locked(two):
            assert left.exists()
    with locked(two):
        assert not left.exists()


def test_ending__is_the_last_for_one_of_the_shards_that_end_together(tmp_path: Path) -> None:
    one, two = shard(tmp_path, 1), shard(tmp_path, 2)
    with locked(one), locked(two):
        with ending(one) as last:
            assert not last
        with ending(two) as last:
            assert last
    with locked(Layout(Path("/in"), tmp_path / "out")), ending(Layout(Path("/in"), tmp_path / "out")) as last:
        assert last


def test_lock__is_given_back_where_the_mark_of_a_run_cannot_be_removed(tmp_path, monkeypatch) -> None:
    layout = Layout(tmp_path / "images", tmp_path / "out")
    unlink = Path.unlink

    def failing(path: Path, missing_ok: bool = False) -> None:
        if path.name == "running":
            raise OSError(errno.EIO, "Input/output error", str(path))
        unlink(path, missing_ok)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="Input/output error"), locked(layout):
        patched.setattr(Path, "unlink", failing)
    with locked(layout):
        pass
