"""Hostile inputs: files of every kind that samcli reads, damaged and forged, each given to a command.

A command may refuse or pass over what it is given, and say so in a line. It must not show a traceback, hang, die,
take all memory, run code, steer the terminal, or change a file of the user.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import os
import pickle
import random
import re
import resource
import shutil
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from faults.campaign import MODELS, PYTHON_TEXT, Result, Tally, at, call, contents
from faults.forked import all_forked

CANARY = "code-was-executed"
_MEMORY = 4 << 30
"""Bytes that an input may take beyond what is loaded; more is a failure to allocate, not the end of the machine."""

_PATIENCE = 60.0

Give = Callable[[Path], list[str]]
"""Put an input into a folder; return the command that it is for."""


@dataclass(frozen=True)
class Input:
    """One input: its kind, what is odd about it, and how it is given to a command."""

    kind: str
    name: str
    give: Give


ODD_TOKENS = (
    b"NaN", b"-1", b"1e999", b"1e300", b"-0.0", b"null", b"[]", b"{}", b'""', b"true", b"9" * 5000, b"0x10",
    b"\x1b[31m\x07", b"../../../x", b"\xff\xfe", b"\0", b"", b" ", b"&lol;", b"*a", b"!!python/object:os.system x",
)  # fmt: skip
_TOKEN = re.compile(rb'-?\d+(?:\.\d+)?|"[^"\n]{0,80}"|[A-Za-z_]{2,}')


def mutants(data: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield `count` damaged or forged versions of a file, the same ones every time."""
    chance = random.Random(seed)
    ways = (_cut, _flipped, _doubled, _retold, _retold, _retold, _retold)
    for number in range(count):
        way = ways[number % len(ways)]
        yield f"{way.__name__[1:]} {number}", way(data, chance)


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 8, 64))):
        if changed:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _doubled(data: bytes, chance: random.Random) -> bytes:
    start, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[start:end] * chance.choice((1, 50)) + data[end:]


def _retold(data: bytes, chance: random.Random) -> bytes:
    """Exchange one token of a text, a number or a word or a string, for an odd one."""
    places = list(_TOKEN.finditer(data, 0, 1 << 16))
    if not places:
        return _flipped(data, chance)
    place = chance.choice(places)
    return data[: place.start()] + chance.choice(ODD_TOKENS) + data[place.end() :]


def texts(start: Path, count: int) -> Iterator[Input]:
    """Yield labels of every format that is read, class names, prompts and reviews, `count` mutants of each file."""
    for seed, (kind, path, command) in enumerate(_seeds(start)):
        for name, data in mutants((start / path).read_bytes(), count, seed):
            yield Input(kind, f"{path} {name}", _writing(path, data, command))
    for kind, path, command in _seeds(start):
        whole = (start / path).read_bytes()
        for name, data in _forged_texts(Path(path).suffix, whole).items():
            yield Input(kind, f"{path} {name}", _writing(path, data, command))


def _forged_texts(suffix: str, whole: bytes) -> dict[str, bytes]:
    forged = {"deep": b"[" * 100_000, "empty": b"", "UTF-16": whole.decode("latin-1").encode("utf-16")}
    if suffix == ".yaml":
        doubled = (b"%c: &%c [*%c,*%c]\n" % (c, c, c - 1, c - 1) for c in range(ord("b"), ord("z")))
        forged["billion laughs"] = b"a: &a [x,x]\n" + b"".join(doubled)
    if suffix == ".xml":
        entity = b'<!DOCTYPE a [<!ENTITY a "x"><!ENTITY b "' + b"&a;" * 1000 + b'">]>'
        forged["entities"] = entity + b"<annotation>&b;</annotation>"
        entity = b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
        forged["entity of a file"] = entity + b"<annotation><filename>&a;</filename></annotation>"
    return forged


def _writing(path: str, data: bytes, command: list[str]) -> Give:
    def give(folder: Path) -> list[str]:
        (folder / path).write_bytes(data)
        return command

    return give


_FORMATS = ("yolo", "coco", "fiftyone", "voc", "labelme", "labelstudio", "cvat", "sa1b", "masks", "png")


def _seeds(start: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the kind of each text file, its path, and a command that reads it."""
    for name in _FORMATS:
        folder = start / "formats" / name
        files = [
            path for path in sorted(folder.rglob("*")) if path.suffix in (".txt", ".json", ".xml", ".zip", ".csv")
        ]
        for path in files[:2]:
            command = [
                "convert",
                f"formats/{name}",
                "--from",
                name,
                "--to",
                "yolo",
                "-o",
                "out",
                "--images",
                "images",
            ]
            yield f"labels, {path.suffix[1:]}", path.relative_to(start).as_posix(), command
    yolo = "formats/yolo"
    yield "names, yaml", f"{yolo}/data.yaml", ["verify", yolo]
    yield "labels, txt", f"{yolo}/a.txt", ["verify", yolo]
    yield (
        "labels, txt",
        f"{yolo}/b.txt",
        ["dataset", "out", "--images", "images", "--labels", yolo, "--split", ".5/.5"],
    )
    yield (
        "truth, json",
        "formats/coco/annotations.json",
        ["eval", "labels", "--truth", "formats/coco/annotations.json"],
    )
    yield "review, json", "review.json", ["apply-review", "labels", "review.json"]
    for name in ("journal.jsonl", "run.json", "records/a.png.json"):
        yield (
            f"own file, {name.rpartition('.')[2]}",
            f"labels/.samcli/{name}",
            ["convert", "labels", "--to", "coco", "-o", "out"],
        )
        yield f"own file, {name.rpartition('.')[2]}", f"labels/.samcli/{name}", ["status", "labels", "--reasons"]
    for suffix in ("json", "jsonl", "csv"):
        command = ["prompt", "images", "--sam", "tiny", "--precision", "fp32", "-o", "out", "--prompts"]
        yield f"prompts, {suffix}", f"prompts.{suffix}", [*command, f"prompts.{suffix}"]
    yield (
        "options, yaml",
        "options.yaml",
        ["auto-annotate", "images", "-o", "out", "--dry-run", "--config", "options.yaml"],
    )
    yield (
        "class map, yaml",
        "map.yaml",
        ["convert", "labels", "--to", "yolo", "-o", "out", "--class-map", "map.yaml"],
    )


def prepare_corpus(start: Path) -> None:
    """Add the seeds of the corpus to a folder with images and finished labels."""
    with at(start, "prepare"):
        for name in _FORMATS:
            result = call(["convert", "labels", "--to", name, "-o", f"formats/{name}"])
            assert result.status == 0, result.text
    boxes = {"a.png": [10, 10, 60, 50], "more/c.png": [5, 5, 40, 40]}
    rows = [{"image": key, "boxes": [box]} for key, box in boxes.items()]
    (start / "prompts.json").write_text(json.dumps(rows))
    (start / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (start / "prompts.csv").write_text(
        "image,x1,y1,x2,y2\n" + "".join(f"{key},{','.join(map(str, box))}\n" for key, box in boxes.items())
    )
    (start / "options.yaml").write_text("conf: 0.3\nformat: [yolo, coco]\nmax-det: 20\n")
    (start / "map.yaml").write_text("circle: round\nsquare: angular\n")


def archives(start: Path) -> Iterator[Input]:
    """Yield archives whose members lead outside, never end, or are not what they say."""
    command = ["convert", "bad.zip", "--from", "cvat", "--to", "yolo", "-o", "out", "--images", "images"]
    forged = {
        "path outside": _zip({"../../outside.xml": b"x", "annotations.xml": b"<annotations/>"}),
        "absolute path": _zip({"/tmp/outside.xml": b"x"}),
        "bomb": _zip({"annotations.xml": b"<annotations>" + b" " * (300 << 20)}),
        "no member": _zip({}),
        "many members": _zip({f"{number}.xml": b"" for number in range(20_000)}),
        "same name twice": _zip({"annotations.xml": b"<annotations/>", "Annotations.xml": b"<annotations/>"}),
    }
    for name, data in forged.items():
        yield Input("archive", name, _writing("bad.zip", data, command))


def _zip(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


_ANNOTATE = ["auto-annotate", "images", *MODELS, "-o", "out"]


def images(start: Path, count: int) -> Iterator[Input]:
    """Yield images that are damaged, huge, or no images, as one among good ones; and names that are odd."""
    for seed, (suffix, data) in enumerate(_image_seeds(start)):
        for name, changed in mutants(data, count, seed):
            yield Input("image, damaged", f"{suffix} {name}", _writing(f"images/x{suffix}", changed, _ANNOTATE))
    for name, (file, data) in _forged_images().items():
        yield Input("image, forged", name, _writing(f"images/{file}", data, _ANNOTATE))
    for name, make in _SPECIAL.items():
        yield Input("image, special file", name, functools.partial(_special, make))
    for name, states in _CHANGES.items():
        yield Input("image, changing", name, functools.partial(_changing, states))
    for raw in _NAMES:
        yield Input("name", repr(raw[:40]), functools.partial(_named, raw))


def _special(make: Callable[[Path], object], folder: Path) -> list[str]:
    make(folder / "images" / "x.png")
    return [*_ANNOTATE, "--image-timeout", "5"]


_SPECIAL: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "link to nothing": lambda path: path.symlink_to("nothing.png"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to a process": lambda path: path.symlink_to("/proc/self/mem"),
    "link to its folder": lambda path: path.with_name("loop").symlink_to(".."),
    "sparse": lambda path: path.touch() or os.truncate(path, 1 << 40),
}


def _changing(states: Sequence[Callable[[Path], object]], folder: Path) -> list[str]:
    """Put one state after the other in the place of an image as long as this process lives.

    The command takes the image five times, under other names, so that it meets it in more than one state.
    """
    path = folder / "images" / "x.png"
    path.write_bytes((folder / "images" / "a.png").read_bytes())
    for number in range(5):
        path.with_name(f"y{number}.png").symlink_to(path.name)

    def change() -> None:
        for state in itertools.cycle(states):
            with contextlib.suppress(OSError):
                state(path)
            time.sleep(0.003)

    threading.Thread(target=change, daemon=True).start()
    return [*_ANNOTATE, "--image-timeout", "5"]


def _restore(path: Path) -> None:
    path.write_bytes((path.parent / "a.png").read_bytes())


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_larger(path: Path) -> None:
    from PIL import Image

    spare = path.with_name("spare.part")
    Image.new("RGB", (300, 200)).save(spare, "PNG")
    spare.replace(path)


_CHANGES: dict[str, Sequence[Callable[[Path], object]]] = {
    "vanishes and comes back": (Path.unlink, _restore),
    "grows while it is read": (lambda path: os.truncate(path, 200), _restore),
    "is another image": (_replace_by_larger, _restore),
    "is a folder, then an image": (_replace_by_folder, Path.rmdir, _restore),
    "loses its permissions": (lambda path: path.chmod(0), lambda path: path.chmod(0o644)),
    "is empty, then whole": (lambda path: path.write_bytes(b""), _restore),
}
"""What happens to an image during a run, again and again."""

_NAMES = (
    b"a\nb.png", b"-rf.png", b"--help.png", b"caf\xe9.png", b"\xff\xfe.png", "\u202egnp.exe.png".encode(),
    b"a\x1b[2J.png", b"n" * 251 + b".png", "\u00fc".encode() * 125 + b".png", b" .png", b"..png", b"a'b\"c.png",
    b"$(touch x).png", b"a\\b.png", b"con.png", b"a\rb.png", b"\xc2\x85x.png", b"journal.jsonl.png",
    b"annotations.png", b"data.png", b"%00.png", b"a\tb.png",
)  # fmt: skip


def _named(raw: bytes, folder: Path) -> list[str]:
    shutil.copy(folder / "images" / "a.png", folder / "images" / os.fsdecode(raw))
    return [*_ANNOTATE, "--format", "yolo", "--format", "coco", "--format", "masks"]


def _image_seeds(start: Path) -> Iterator[tuple[str, bytes]]:
    import PIL.Image

    with PIL.Image.open(start / "images" / "a.png") as opened:
        picture = opened.convert("RGB")
    for suffix, name, options in (
        (".png", "PNG", {}), (".jpg", "JPEG", {}), (".jpeg", "JPEG", {"progressive": True, "exif": _exif()}),
        (".webp", "WEBP", {}), (".bmp", "BMP", {}), (".tif", "TIFF", {}),
        (".tiff", "TIFF", {"compression": "tiff_lzw"}),
    ):  # fmt: skip
        data = io.BytesIO()
        picture.save(data, name, **options)
        yield suffix, data.getvalue()


def _exif() -> Any:
    import PIL.Image

    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return exif


def _forged_images() -> dict[str, tuple[str, bytes]]:
    import PIL.Image

    def saved(picture: PIL.Image.Image, name: str, **options: Any) -> bytes:
        data = io.BytesIO()
        picture.save(data, name, **options)
        return data.getvalue()

    small = PIL.Image.new("RGB", (40, 30), (9, 99, 199))
    png, swelling = saved(small, "PNG"), b"a\0\0" + zlib.compress(b"x" * (200 << 20), 9)
    frames = [PIL.Image.new("RGB", (40, 30))] * 50
    return {
        "PNG that promises 60,000 x 60,000": ("x.png", png[:16] + struct.pack(">II", 60_000, 60_000) + png[24:]),
        "PNG bomb of 9,000 x 9,000, 16 bit": ("x.png", saved(PIL.Image.new("I;16", (9000, 9000)), "PNG")),
        "TIFF of 200 pages": ("x.tif", saved(small, "TIFF", save_all=True, append_images=[small] * 199)),
        "animation": ("x.webp", saved(small, "WEBP", save_all=True, append_images=frames)),
        "megabytes of text in a PNG": ("x.png", png[:33] + _chunk(b"tEXt", b"a\0" + b"x" * (8 << 20)) + png[33:]),
        "compressed text that swells": ("x.png", png[:33] + _chunk(b"zTXt", swelling) + png[33:]),
        "profile that swells": ("x.png", png[:33] + _chunk(b"iCCP", swelling) + png[33:]),
        "no pixel": ("x.png", png[:16] + struct.pack(">II", 0, 0) + png[24:]),
        "PNG named JPEG": ("x.jpg", png),
        "HTML": ("x.jpg", b"<html>404 \x1b[31m</html>"),
        "empty": ("x.png", b""),
        "GIF": ("x.png", saved(small, "GIF")),
        "one column of 65,000": ("x.png", saved(PIL.Image.new("L", (1, 65_000)), "PNG")),
    }  # fmt: skip


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


class _Executes:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY}",)


def weights(start: Path, count: int) -> Iterator[Input]:
    """Yield checkpoints that are damaged, that lie, or that run code."""
    pickled = pickle.dumps({"model": _Executes()})
    header = {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
    forged = {
        "x.pt": pickled,
        "zip.pt": _zip({"archive/data.pkl": pickled, "archive/version": b"3"}),
        "x.pth": pickled,
        "x.bin": pickled,
        "x.torchscript": _zip(
            {"x/data.pkl": pickled, "x/code/__torch__.py": b"def f(): pass", "x/constants.pkl": pickled}
        ),
        "x.onnx": b"\x08\x07" + b"\xff" * 100,
        "garbage.pt": bytes(range(256)) * 10,
        "empty.pt": b"",
        "length.safetensors": struct.pack("<Q", 1 << 60) + b"{}",
        "hundred-megabytes.safetensors": struct.pack("<Q", 100 << 20) + b" " * (100 << 20),
        "deep.safetensors": _safetensors(b"[" * 200_000),
        "offsets.safetensors": _safetensors(
            json.dumps({"a": {**header["a"], "data_offsets": [0, 1 << 50]}}).encode()
        ),
        "shape.safetensors": _safetensors(json.dumps({"a": {**header["a"], "shape": [1 << 40, 1 << 40]}}).encode()),
        "negative.safetensors": _safetensors(json.dumps({"a": {**header["a"], "data_offsets": [-4, 12]}}).encode()),
        "dtype.safetensors": _safetensors(json.dumps({"a": {**header["a"], "dtype": "\x1b[31m"}}).encode()),
        "names.safetensors": _safetensors(json.dumps({"\x1b]0;x\x07" * 1000: header["a"]}).encode()),
    }
    whole = _safetensors(json.dumps(header).encode())
    forged |= {f"{number}.safetensors": data for number, (_, data) in enumerate(mutants(whole, count, 1))}
    for name, data in forged.items():
        for command in (["models", "info", name], [*_ANNOTATE, "--det", name]):
            yield Input(
                f"weights, {name.rpartition('.')[2]}", f"{name}, {command[0]}", _writing(name, data, command)
            )


def _safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(16)


def arrays(start: Path, count: int) -> Iterator[Input]:
    """Yield files of numbers that are damaged or that promise more than they hold."""
    import numpy as np

    data = io.BytesIO()
    np.save(data, np.zeros((256, 256), np.float32))
    whole = data.getvalue()
    objects = io.BytesIO()
    np.save(objects, np.array([_Executes()], object), allow_pickle=True)
    forged = dict(mutants(whole[:400], count, 2))
    forged["promises more"] = whole.replace(b"(256, 256)", b"(9999999999, 256)")
    forged["objects"] = objects.getvalue()
    command = ["prompt", "images", "--sam", "tiny", "--precision", "fp32", "-o", "out", "--box", "5,5,50,50"]
    for name, changed in forged.items():
        yield Input("array, npy", name, _writing("x.npy", changed, [*command, "--mask-input", "x.npy"]))


def corpus(start: Path, count: int) -> list[Input]:
    """All inputs; `count`: mutants of each good file."""
    few = [*archives(start), *weights(start, count), *arrays(start, 3 * count)]
    return [*texts(start, count), *few, *images(start, count)]


def judge(item: Input, start: Path, work: Path, number: int) -> Tally:
    """Give one input to its command, in this process, and look at what came of it."""
    folder, tally = work / f"input-{number}", Tally()
    shutil.copytree(start, folder, symlinks=True)
    where = f"{item.kind}: {item.name}"
    try:
        os.chdir(folder)
        command = item.give(folder)
        before = {name: data for name, data in contents(start).items() if name.startswith("images/")}
        _limit_memory()
        with at(folder, "corpus"), mock.patch("samcli.jobs.worker.Worker.annotate", _nothing):
            result = call(command)
        tally.inputs[item.kind] += 1
        tally.outcomes[f"exit {result.status}"] += 1
        _look(folder, result, where, tally)
        after = {name: (folder / name).read_bytes() for name in before}
        if before != after:
            tally.problem("changed", where, "an image")
    finally:
        os.chdir(work)
        shutil.rmtree(folder, ignore_errors=True)
    return tally


def _look(folder: Path, result: Result, where: str, tally: Tally) -> None:
    if result.bug:
        tally.problem("traceback", where, result.bug)
    if list(folder.rglob(CANARY)):
        tally.problem("code executed", where)
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e\x85]", result.text):
        tally.problem("terminal", where, repr(result.text[:300]))
    if len(result.text) > 6000 or (result.status and not result.text.strip()):
        tally.problem("message", where, result.text[:200] or "none")
    if found := PYTHON_TEXT.search(result.text):
        tally.problem("message", where, result.text[max(0, found.start() - 150) : found.end() + 150])
    if (folder.parent / "outside.xml").exists() or (folder.parent.parent / "outside.xml").exists():
        tally.problem("changed", where, "a file outside")


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, resource.RLIM_INFINITY))


def _nothing(self: Any, images: Any) -> list[Any]:
    """What networks make of images in which they find nothing: the inputs are for the readers."""
    from samcli.jobs.worker import AnnotatedImage
    from samcli.types import Annotation

    return [AnnotatedImage(Annotation(one.ref.key, one.image_size, (), ()), pixels=one.pixels) for one in images]


def run_corpus(inputs: list[Input], start: Path, work: Path, jobs: int) -> Tally:
    """Give every input to its command, `jobs` of them at once."""
    tally = Tally()
    works = [functools.partial(judge, item, start, work, number) for number, item in enumerate(inputs)]
    for ended in all_forked(works, jobs, _PATIENCE):
        if ended.result is None:
            item = inputs[ended.number]
            tally.inputs[item.kind] += 1
            tally.problem("hang or crash", f"{item.kind}: {item.name}", ended.death)
        else:
            tally.add(ended.result)
    return tally
