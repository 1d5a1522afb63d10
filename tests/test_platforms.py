"""What samcli does where Linux is not: the main job without the functions that macOS and Windows lack."""

from __future__ import annotations

import ast
import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import samcli
from samcli.config import DatasetOptions
from samcli.datasets.build import build_dataset
from samcli.files import check_names, relative_posix, write_atomic

PACKAGE = Path(samcli.__file__).parent
SHAPES = PACKAGE.parent / "examples" / "shapes"

MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "msvcrt", "winreg")
"""Modules that only some systems have."""

CALLS = (
    "os.fchmod", "os.fchown", "os.chown", "os.getuid", "os.geteuid", "os.fork", "os.wait4", "os.sched_getaffinity",
    "os.statvfs", "os.mkfifo", "os.killpg", "os.setsid", "os.getpgid", "os.sysconf", "os.uname", "os.nice",
    "os.posix_fadvise", "os.sync", "signal.SIGHUP", "signal.SIGKILL", "signal.SIGUSR1", "signal.SIGALRM",
    "signal.alarm", "signal.setitimer", "signal.pthread_kill", "time.tzset",
)  # fmt: skip
"""What only some systems have in modules that all have."""


def guarded(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Return whether code runs only where a system has it: below hasattr, a check of the platform, or a try."""
    while node in parents:
        child, node = node, parents[node]
        if isinstance(node, ast.Try) and child in node.body:
            caught = " ".join(ast.unparse(handler.type) for handler in node.handlers if handler.type)
            if "ImportError" in caught or "AttributeError" in caught:
                return True
        if isinstance(node, (ast.If, ast.IfExp)) and any(
            word in ast.unparse(node.test) for word in ("hasattr", "TYPE_CHECKING", "os.name", "sys.platform")
        ):
            return True
        if isinstance(node, ast.BoolOp) and "hasattr" in ast.unparse(node.values[0]):
            return True
        body = getattr(node, "body", None)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and isinstance(body, list):
            for statement in body:  # `if not hasattr(...): return` before it
                if statement is child:
                    break
                if isinstance(statement, ast.If) and "hasattr" in ast.unparse(statement.test):
                    return True
                if isinstance(statement, ast.Try) and "ImportError" in ast.unparse(statement):
                    return True
    return False


def unguarded(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            names = [str(node.module)]
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in CALLS:
            names = [ast.unparse(node)]
        found += [f"{path.name}:{node.lineno}: {name}" for name in names if not guarded(node, parents)]
    return found


def test_code__uses_nothing_unguarded_that_a_system_lacks() -> None:
    assert [place for path in sorted(PACKAGE.rglob("*.py")) for place in unguarded(path)] == []


def test_guard__is_needed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import os, resource\ndef f():\n    return os.getuid()\n")
    assert unguarded(tmp_path / "a.py") == ["a.py:1: resource", "a.py:3: os.getuid"]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this system one without what Windows lacks."""
    for name in CALLS:
        module, _, attribute = name.partition(".")
        if module == "os" and attribute not in ("sysconf", "uname"):  # libraries of Linux ask for these two
            monkeypatch.delattr(os, attribute, raising=False)
    for name in ("O_NOFOLLOW", "O_DIRECTORY"):
        monkeypatch.delattr(os, name, raising=False)
    real_open, real_fsync, real_chmod = os.open, os.fsync, os.chmod

    def open_file(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real_open(path, flags, *rest, **more)

    def fsync(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real_fsync(descriptor)

    def chmod(path: Any, mode: int, **more: Any) -> None:
        if isinstance(path, int):
            raise TypeError("chmod: path should be string, bytes or os.PathLike, not int")
        real_chmod(path, mode, **more)

    def refuse(*arguments: Any, **more: Any) -> None:
        raise OSError(errno.EPERM, "A required privilege is not held by the client")

    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "chmod", chmod)
    monkeypatch.setattr(os, "supports_fd", os.supports_fd - {real_chmod})
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "symlink", refuse)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in (".txt", ".yaml")
    }


def test_main_job__gives_the_same_files_elsewhere(
    tmp_path: Path, samcli_run: Any, request: pytest.FixtureRequest
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("beads.jpg", "buttons.png"):
        source = next(SHAPES.rglob(f"{Path(name).stem}.*"))
        Image.open(source).convert("RGB").save(images / name)
    run = ("auto-annotate", images, "--det", "tiny", "--sam", "tiny", "--precision", "fp32", "-o")
    assert samcli_run(*run, tmp_path / "here").exit_code == 0
    request.getfixturevalue("elsewhere")
    assert samcli_run(*run, tmp_path / "there").exit_code == 0
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")
    assert len(files_of(tmp_path / "there")) == 3
    for command in (
        ("auto-annotate", *run[1:], tmp_path / "there"),
        ("status", tmp_path / "there"),
        ("preview", tmp_path / "there"),
        ("convert", tmp_path / "there", "--to", "coco", "-o", tmp_path / "coco"),
        ("dataset", tmp_path / "set", "--images", images, "--labels", tmp_path / "there", "--split", "0.5/0.5"),
    ):
        result = samcli_run(*command)
        assert result.exit_code == 0, (command, result.output)
    assert samcli_run("verify", tmp_path / "set").exit_code == 0
    assert len(list((tmp_path / "set" / "images").rglob("*.*"))) == 2


@pytest.mark.parametrize("link", ["hard", "symlink"])
def test_dataset__copies_images_where_links_are_refused(tmp_path: Path, elsewhere: None, link: str) -> None:
    for name in ("a", "b"):
        for folder, suffix, data in (("images", "png", b""), ("labels", "txt", b"0 0.5 0.5 0.2 0.2\n")):
            file = tmp_path / folder / f"{name}.{suffix}"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(data)
        Image.new("RGB", (32, 32)).save(tmp_path / "images" / f"{name}.png")
    (tmp_path / "labels" / "classes.txt").write_text("cat\n")
    result = build_dataset(tmp_path / "set", tmp_path / "images", DatasetOptions(split="0.5/0.5", link=link))
    assert any("2 images copied" in note for note in result.notes)
    assert all(path.is_file() and not path.is_symlink() for path in (tmp_path / "set" / "images").rglob("*.png"))


@pytest.mark.parametrize(
    "name",
    ["CON", "con.txt", "nul.tar.gz", "COM1.png", "a:b.txt", "a.", "a ", "what?.png", 'a"b', "a\x01b", "LPT9"],
)
def test_names__that_windows_refuses_are_named(name: str) -> None:
    with pytest.raises(OSError, match="Windows cannot store"):
        check_names(Path("labels") / name / "1.txt", windows=True)
    check_names(Path("labels") / name, windows=False)


@pytest.mark.parametrize("name", ["console.txt", "a.b.c", "nuls", "COM10.txt", "grün.txt", ".hidden", "a b"])
def test_names__that_windows_takes_are_left_alone(name: str) -> None:
    check_names(Path("..") / name, windows=True)


def test_refused_name__fails_its_image_alone(
    tmp_path: Path, samcli_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`convert` of labels whose image names come from elsewhere."""
    monkeypatch.setattr("samcli.files.check_names", lambda path: check_names(path, windows=True))
    (tmp_path / "coco.json").write_text(
        '{"images": [{"id": 1, "file_name": "aux.jpg", "width": 9, "height": 9}, {"id": 2, "file_name": "b.jpg", '
        '"width": 9, "height": 9}], "categories": [{"id": 1, "name": "cat"}], "annotations": ['
        '{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]},'
        '{"id": 2, "image_id": 2, "category_id": 1, "bbox": [1, 1, 5, 5]}]}'
    )
    result = samcli_run("convert", tmp_path / "coco.json", "--to", "yolo-box", "-o", tmp_path / "out")
    assert result.exit_code == 3
    assert "aux.jpg: aux.txt: Windows cannot store" in result.output
    assert sorted(path.name for path in (tmp_path / "out").glob("*.txt")) == ["b.txt"]


def test_paths_on_two_drives__are_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    assert relative_posix(Path("/a/images"), Path("/a/labels")) == "../images"

    def refuse(path: Any, start: Any) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", refuse)
    assert relative_posix(Path("/a/images"), Path("/b")) == "/a/images"


def test_file__is_written_whole_elsewhere(tmp_path: Path, elsewhere: None) -> None:
    write_atomic(tmp_path / "a.txt", b"1")
    write_atomic(tmp_path / "a.txt", b"2")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"2"]


def test_images_whose_names_differ_in_case_alone__are_no_victims(tmp_path: Path, samcli_run: Any) -> None:
    """On a file system that ignores case, their labels would be one file."""
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (64, 64)).save(images / "a.png")
    Image.new("RGB", (64, 64)).save(images / "A.PNG", "PNG")
    if len(list(images.iterdir())) == 1:
        pytest.skip("this file system ignores case itself")
    arguments = ("prompt", images, "--sam", "tiny", "--box", "5,5,40,40", "-o", tmp_path / "out")
    result = samcli_run(*arguments, "--json")
    assert result.exit_code == 3
    assert "its label file would be that of" in result.output
    assert len(list((tmp_path / "out").glob("*.txt"))) == 1


def test_console_without_utf8__shows_escapes(tmp_path: Path) -> None:
    code = "from samcli.cli.terminal import open_standard_streams as o; o(); print('grün \\u2192 \\u732b')"
    environment = {**os.environ, "PYTHONIOENCODING": "cp437", "PYTHONUTF8": "0", "PYTHONPATH": str(PACKAGE.parent)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert result.stdout.decode("cp437").strip() == r"grün \u2192 \u732b"
