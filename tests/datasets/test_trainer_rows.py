"""Rows of label files: what is called an error is what the trainer rejects; what is mended it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samcli.datasets.trainer_rows import ROW_KINDS, judge, mend

CLASSES = 3
TRIANGLE = "0 0.1 0.1 0.5 0.1 0.3 0.6"
BOX = "1 0.5 0.5 0.2 0.2"

ZOO: dict[str, tuple[str | bytes, set[str]]] = {
    "nothing": ("", set()),
    "blank lines": ("\n  \n\t\n", set()),
    "a box": (BOX, set()),
    "a polygon": (TRIANGLE, set()),
    "byte-order mark": ("\ufeff" + BOX, set()),
    "windows lines": (f"{BOX}\r\n2 .1 .1 .1 .1\r\n", set()),
    "form feed between rows": (f"{BOX}\f2 .1 .1 .1 .1", set()),
    "digits of other scripts": ("1 ٠.٥ 0.5 0.2 0.2", set()),
    "not utf-8": (b"\xff\xfe0\x00", {"unreadable"}),
    "a word": ("cat 0.5 0.5 0.2 0.2", {"not-a-number"}),
    "a decimal comma": ("0 0,5 0.5 0.2 0.2", {"not-a-number"}),
    "a comment": (f"# boxes\n{BOX}", {"wrong-count", "not-a-number"}),
    "nan": ("0 nan 0.5 0.2 0.2", {"not-finite"}),
    "infinite": ("0 0.5 0.5 inf 0.2", {"not-finite"}),
    "minus infinite in a polygon": ("0 -inf 0.1 0.5 0.1 0.3 0.6", {"not-finite"}),
    "nan in a polygon": ("0 0.1 nan 0.5 0.1 0.3 0.6", {"not-finite"}),
    "infinite in float32 alone": ("0 1e39 0.5 0.2 0.2", {"not-finite"}),
    "class nan": ("nan 0.5 0.5 0.2 0.2", {"not-finite"}),
    "class with a point": ("1.0 0.5 0.5 0.2 0.2", set()),
    "class and a half": ("1.5 0.5 0.5 0.2 0.2", {"class-invalid"}),
    "class just off": ("-0.005 0.5 0.5 0.2 0.2", {"class-invalid"}),
    "class -1": ("-1 0.5 0.5 0.2 0.2", {"class-invalid"}),
    "class -1 of a polygon": ("-1 0.1 0.1 0.5 0.1 0.3 0.6", {"class-invalid"}),
    "class beyond names": (f"{CLASSES} 0.5 0.5 0.2 0.2", {"class-unknown"}),
    "class beyond names, a polygon": (TRIANGLE.replace("0", str(CLASSES), 1), {"class-unknown"}),
    "a box with its score": (f"{BOX} 0.9", {"wrong-count"}),
    "four values": ("0 0.5 0.5 0.2", {"wrong-count"}),
    "rows of several lengths": (f"{BOX}\n{BOX} 0.9", {"wrong-count"}),
    "a class alone": ("0", {"wrong-count"}),
    "a class alone among polygons": (f"{TRIANGLE}\n0", {"wrong-count"}),
    "box and polygon": (f"{BOX}\n{TRIANGLE}", {"mixed-rows"}),
    "polygon with a score": (f"{TRIANGLE} 0.9", {"odd-coordinates"}),
    "five coordinates": (f"{TRIANGLE}\n0 0.1 0.1 0.5 0.1 0.3", {"odd-coordinates"}),
    "one point among polygons": (f"{TRIANGLE}\n0 0.5 0.5", {"too-few-points"}),
    "one point far off": (f"{TRIANGLE}\n0 5 5", {"too-few-points", "out-of-range"}),
    "one point alone": ("0 0.5 0.5", {"wrong-count"}),
    "pixels": ("0 320 240 100 100", {"out-of-range"}),
    "a polygon in pixels": ("0 10 10 50 10 30 60", {"out-of-range"}),
    "box within the tolerance": ("0 1.005 0.5 0.005 0.2", {"over-the-edge"}),
    "box beyond the tolerance": ("0 1.02 0.5 0.02 0.2", {"out-of-range"}),
    "box that begins before 0": ("0 0.05 0.5 0.3 0.2", {"over-the-edge"}),
    "box centre just before 0": ("0 -0.005 0.5 0.01 0.2", {"over-the-edge"}),
    "box centre before 0": ("0 -0.02 0.5 0.3 0.2", {"out-of-range"}),
    "box that is too wide": ("0 0.5 0.5 1.02 0.2", {"out-of-range"}),
    "box of negative width": ("0 0.5 0.5 -0.2 0.2", {"negative-size"}),
    "box of just negative width": ("0 0.5 0.5 -0.005 0.2", {"negative-size"}),
    "box without width": ("0 0.5 0.5 0 0.2", {"no-area"}),
    "rounded box at the edge": ("0 0.05000049 0.5 0.1000015 0.2", set()),
    "polygon a little out": ("0 -0.004 0.1 0.5 0.1 0.3 0.6", {"over-the-edge"}),
    "polygon far out, its box's middle in": ("0 0.9 0.1 1.1 0.1 1.0 0.6", {"over-the-edge"}),
    "polygon far out": ("0 0.9 0.1 1.4 0.1 1.0 0.6", {"out-of-range"}),
    "polygon far before 0": ("0 -0.9 0.1 0.1 0.1 0.0 0.6", {"out-of-range"}),
    "polygon wider than the image": ("0 -0.2 0.1 1.2 0.1 0.5 0.6", {"out-of-range"}),
    "polygon on a vertical line": ("0 0.5 0.1 0.5 0.5 0.5 0.9", {"no-area"}),
    "polygon of one place": ("0 0.5 0.5 0.5 0.5 0.5 0.5", {"no-area"}),
    "polygon on a slanting line": ("0 0.1 0.1 0.5 0.5 0.9 0.9", {"sliver"}),
    "polygons apart by the sign of 0": ("0 0 0.1 0.5 0.1 0.3 0.6\n0 -0 0.1 0.5 0.1 0.3 0.6", set()),
    "boxes apart by the sign of 0": ("0 0 0.5 0.2 0.2\n0 -0 0.5 0.2 0.2", {"over-the-edge", "duplicate-row"}),
    "the same box twice": (f"{BOX}\n2 .1 .1 .1 .1\n{BOX}", {"duplicate-row"}),
    "the same box in other digits": (f"{BOX}\n1 0.50 0.5 0.2 2e-1", {"duplicate-row"}),
    "the same polygon twice": (f"{TRIANGLE}\n{TRIANGLE}", {"duplicate-row"}),
    "polygons of one box": (f"{TRIANGLE}\n0 0.1 0.1 0.5 0.1 0.4 0.6", set()),
    "one box, two classes": (f"{BOX}\n{BOX.replace('1', '2', 1)}", set()),
}


def as_bytes(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.encode()


@pytest.fixture(scope="session")
def trainer(tmp_path_factory, photos):
    """What Ultralytics makes of a label file: whether it rejects it, the rows it keeps, what it says."""
    from PIL import Image
    from ultralytics.data.utils import verify_image_label

    folder = tmp_path_factory.mktemp("trainer")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "a.png")

    def verdict(data: bytes, classes: int = CLASSES) -> tuple[bool, int, str]:
        label = Path(folder / "a.txt")
        label.write_bytes(data)
        with np.errstate(all="ignore"):
            result = verify_image_label((str(folder / "a.png"), str(label), "", False, classes, 0, 0, False))
        return bool(result[8]), 0 if result[1] is None else len(result[1]), result[9]

    return verdict


@pytest.mark.parametrize("name", ZOO)
def test_judge__finds_what_is_wrong(name) -> None:
    content, kinds = ZOO[name]
    assert {problem.kind for problem in judge(as_bytes(content), CLASSES, 1e-6).problems} == kinds


@pytest.mark.parametrize("name", ZOO)
def test_judge__rejects_what_the_trainer_rejects(name, trainer) -> None:
    data = as_bytes(ZOO[name][0])
    rejected, _, message = trainer(data)
    assert judge(data, CLASSES, 1e-6).rejected == rejected, message


NUMBERS = st.one_of(
    st.floats(-0.02, 1.02).map(lambda value: f"{value:.4f}"),
    st.sampled_from(
        [
            "0",
            "1",
            "-0.01",
            "1.01",
            "-0.0100001",
            "1.0100001",
            "0.5",
            "nan",
            "1e39",
            "x",
            "-0",
            "2",
            "1_0",
            "+.5",
            "0x1",
            "1e-50",
            "-0.0",
            "0,5",
            "٠",
        ]
    ),
)
CLASS_WORDS = st.sampled_from(["0", "1", "2", "2.0", "3", "-1", "0.5"])
COUNTS = st.sampled_from([4, 4, 4, 4, 6, 6, 8, 2, 5, 7, 0])
ROWS = st.tuples(CLASS_WORDS, COUNTS.flatmap(lambda n: st.lists(NUMBERS, min_size=n, max_size=n)))


@settings(max_examples=150)
@given(st.lists(ROWS, max_size=3))
def test_judge__agrees_with_the_trainer_on_any_rows(trainer, rows) -> None:
    data = "\n".join(" ".join([class_id, *values]) for class_id, values in rows).encode()
    rejected, kept, message = trainer(data)
    judged = judge(data, CLASSES)
    assert judged.rejected == rejected, message
    if not rejected:
        repeated = sum(problem.kind == "duplicate-row" for problem in judged.problems)
        assert judged.rows - repeated == kept


def test_judge__without_names_leaves_class_ids_unchecked() -> None:
    assert not judge(b"700 0.5 0.5 0.2 0.2").problems


def test_judge__names_the_line_and_the_value() -> None:
    problem = judge(f"{BOX}\n\n0 0.5 cat 0.2 0.2".encode(), CLASSES).problems[0]
    assert (problem.line, problem.detail) == (3, "'cat'")


def test_judge__tells_slivers_by_area_wherever_they_lie() -> None:
    row = "0 0.99 0.99 0.995 0.99 0.995 0.995 0.99 0.995"  # 0.005 x 0.005
    assert not judge(row.encode(), 1, 2.4e-5).problems
    assert [problem.kind for problem in judge(row.encode(), 1, 2.6e-5).problems] == ["sliver"]


@pytest.mark.parametrize("name", ZOO)
def test_mend__leaves_what_it_need_not_touch_to_the_byte(name) -> None:
    content, kinds = ZOO[name]
    data = as_bytes(content)
    if not kinds & {kind for kind, rule in ROW_KINDS.items() if "--fix" in rule.meaning} | kinds & {"wrong-count"}:
        assert mend(data) == (data, {})


@pytest.mark.parametrize(
    ("content", "mended"),
    [
        (
            f"{BOX}\n{TRIANGLE}",
            "1 0.400000 0.400000 0.600000 0.400000 0.600000 0.600000 0.400000 0.600000\n" + TRIANGLE + "\n",
        ),
        ("0 -0.004 0.1 0.5 0.1 0.3 1.002", "0 0.000000 0.100000 0.500000 0.100000 0.300000 1.000000\n"),
        ("0 1.000 0.5 0.02 0.2", "0 0.995000 0.500000 0.010000 0.200000\n"),
        (f"{BOX}\n{BOX}", f"{BOX}\n"),
        (f"{TRIANGLE}\n0 0.5 0.5", f"{TRIANGLE}\n"),
        (f"{BOX}\n0 0.5 0.5 0 0.2", f"{BOX}\n"),
        (f"{TRIANGLE}\n0 0.5 0.1 0.5 0.5 0.5 0.9\n0", f"{TRIANGLE}\n"),
        ("0 -0.005 0.5 0.01 0.2", ""),
        ("0 0.5 0.1 0.5 0.5 0.5 0.9", ""),
    ],
)
def test_mend__does_what_is_safe(content, mended) -> None:
    assert mend(content.encode())[0].decode() == mended


def test_mend__does_not_cut_what_is_out_by_more_than_rounding() -> None:
    row = b"0 0.9 0.1 1.1 0.1 1.0 0.6"
    assert mend(row) == (row, {})


def test_mend__counts_what_it_did() -> None:
    _, done = mend(f"{BOX}\n{TRIANGLE}\n{TRIANGLE}\n0 0.5 0.5".encode())
    assert done == {"mixed-rows": 1, "duplicate-row": 1, "too-few-points": 1}


@settings(max_examples=150)
@given(st.lists(ROWS, max_size=4))
def test_mend__ends_where_it_has_nothing_left_to_do_and_makes_nothing_worse(rows) -> None:
    data = "\n".join(" ".join([class_id, *values]) for class_id, values in rows).encode()
    better, done = mend(data)
    assert mend(better)[0] == better
    before, after = judge(data, CLASSES), judge(better, CLASSES)
    assert before.rejected or not after.rejected
    assert (better == data) == (not done)
    left = {problem.kind for problem in after.problems}
    assert not left & {"mixed-rows", "duplicate-row", "too-few-points", "no-area"} or before.rejected
