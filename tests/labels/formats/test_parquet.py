"""Parquet: a table that others read, and tables of others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from label_samples import ANNOTATIONS, NAMES, write_images, write_labels
from pycocotools import mask as coco

from samcli.errors import UsageError
from samcli.labels.formats import FORMATS, check_formats, parquet
from samcli.labels.formats.reading import read_labels
from samcli.labels.formats.sources import Failure, Source

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

TYPES = pa.schema(
    [
        ("key", pa.string()), ("height", pa.int32()), ("width", pa.int32()), ("category_id", pa.int32()),
        ("category", pa.string()), ("bbox", pa.list_(pa.float64())), ("counts", pa.string()),
        ("score", pa.float64()),
    ]
)  # fmt: skip


@pytest.fixture
def table_of(tmp_path: Path):
    def write(rows: list[dict]) -> Path:
        write_images(tmp_path / "images", ANNOTATIONS)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "labels.parquet")
        return tmp_path / "labels.parquet"

    return write


def test_table__has_a_row_per_object_and_one_for_an_image_without(tmp_path: Path) -> None:
    write_images(tmp_path / "images", ANNOTATIONS)
    table = pq.read_table(write_labels("parquet", tmp_path, ANNOTATIONS) / "annotations.parquet")
    rows = table.to_pylist()
    assert [row["key"] for row in rows] == [a.key for a in ANNOTATIONS for _ in a.instances or [None]]
    objects = [(annotation, instance) for annotation in ANNOTATIONS for instance in annotation.instances]
    for row, (annotation, instance) in zip((row for row in rows if row["counts"]), objects, strict=True):
        assert (row["height"], row["width"]) == annotation.image_size
        assert (row["category_id"], row["category"]) == (instance.class_id, NAMES[instance.class_id])
        pixels = coco.decode({"size": [row["height"], row["width"]], "counts": row["counts"].encode()})
        assert (pixels == instance.mask.pixels()).all()
        assert row["area"] == pixels.sum()
        assert row["bbox"] == coco.toBbox(coco.encode(pixels)).tolist()
    empty = [row for row in rows if row["counts"] is None]
    assert all(row["category_id"] is None and row["bbox"] is None for row in empty)


def test_table__is_written_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_ROWS", 3)
    write_images(tmp_path / "images", ANNOTATIONS)
    file = pq.ParquetFile(write_labels("parquet", tmp_path, ANNOTATIONS) / "annotations.parquet")
    assert file.num_row_groups == -(-file.metadata.num_rows // 3) > 1


def test_tables_of_others__need_key_and_box_alone(table_of) -> None:
    key, other = ANNOTATIONS[0].key, ANNOTATIONS[1].key
    rows = [
        {"key": key, "category": "cat", "bbox": [1.0, 2.0, 5.0, 4.0]},
        {"key": other, "category": "ant", "bbox": [0.0, 0.0, 3.0, 3.0]},
        {"key": key, "category": "cat", "bbox": [2.0, 2.0, 4.0, 4.0]},
        {"key": key, "category": "cat", "bbox": [1.0, float("nan"), 5.0, 4.0]},
    ]
    path = table_of(rows)
    labels = read_labels("parquet", Source(path, path.parent / "images"))
    assert labels.names == {0: "ant", 1: "cat"}
    found = {one.key: [i.class_id for i in one.instances] for one in labels.annotations}
    assert found == {key: [1, 1], other: [0]}
    assert labels.omitted.images == {key: 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [([{"image": "a.png"}], "has no column 'bbox'"), ([{"key": 3, "bbox": [1.0]}], "row 1 has no key")],
)
def test_tables_that_are_no_labels__are_refused(table_of, rows: list[dict], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_labels("parquet", Source(table_of(rows)))


KEYS, SIDES = st.sampled_from(["a.png", "b/c.png", "", "../x"]), st.sampled_from([0, -1, 20, 30, 2**31 - 1])
NUMBERS = st.floats() | st.sampled_from([0.0, 5.0, 1e300, -1e9])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "key": KEYS | st.none(),
            "height": SIDES | st.none(),
            "width": SIDES | st.none(),
            "category_id": st.integers(-3, 5) | st.none(),
            "category": st.text(st.characters(codec="utf-8"), max_size=4) | st.none(),
            "bbox": st.lists(NUMBERS, max_size=5) | st.none(),
            "counts": st.sampled_from(["", "0", "PPYo1", "abc", "\N{GREEK SMALL LETTER ALPHA}"]) | st.none(),
            "score": NUMBERS | st.none(),
        }
    ),
    min_size=1,
    max_size=6,
)


@given(ROWS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_table_of_any_values__gives_objects_omissions_or_one_clear_error(tmp_path: Path, rows: list[dict]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, TYPES), tmp_path / "any.parquet")
    try:
        items = list(read_labels("parquet", Source(tmp_path / "any.parquet")).annotations)
    except UsageError as error:
        assert "\n" not in str(error)
        return
    for item in items:
        assert not isinstance(item, Failure) or not re.search("NoneType|Traceback|object is not", item.reason)


def test_file_that_is_no_parquet__is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "labels.parquet").write_bytes(b"PAR1 and rubbish PAR1")
    with pytest.raises(UsageError, match="cannot be read as Parquet"):
        read_labels("parquet", Source(tmp_path / "labels.parquet"))


def test_without_the_package__the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samcli.labels.formats.base.find_spec", lambda name: None)
    check_formats([name for name in FORMATS if name in ("yolo", "voc")])
    with pytest.raises(UsageError, match=r"pip install 'samcli\[parquet\]'"):
        check_formats(["parquet"])
