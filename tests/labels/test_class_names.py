"""Class names are found with the labels they belong to, and no further up."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from samcli.errors import UsageError
from samcli.labels.class_names import find_names_file, names_beside, read_names


@pytest.mark.parametrize(
    ("labels", "names", "found"),
    [
        ("labels", "labels/data.yaml", True),
        ("labels/train/deep", "data.yaml", True),
        ("set/labels/train", "data.yaml", False),
        ("set/train/labels", "set/data.yaml", True),  # each split has a folder of its own
        ("set/train/labels", "data.yaml", False),
        ("set/yolo/train", "set/data.yaml", True),
        ("set/yolo", "set/classes.txt", True),
        ("set/yolo", "classes.txt", False),
        ("set/train", "data.yaml", True),
    ],
)
def test_find_names_file__looks_as_far_up_as_the_data_set_reaches(
    labels: str, names: str, found: bool, tmp_path: Path
) -> None:
    (tmp_path / labels).mkdir(parents=True)
    (tmp_path / names).write_text("cat")
    assert find_names_file(tmp_path / labels) == (tmp_path / names if found else None)


def test_find_names_file__takes_data_yaml_before_classes_txt(tmp_path: Path) -> None:
    for name in ("classes.txt", "data.yaml"):
        (tmp_path / name).touch()
    assert find_names_file(tmp_path) == tmp_path / "data.yaml"
    assert find_names_file(tmp_path, ("classes.txt",)) == tmp_path / "classes.txt"


def test_names_beside__are_none_where_nothing_names_any(tmp_path: Path) -> None:
    assert names_beside(tmp_path / "labels") == {}
    (tmp_path / "classes.txt").write_text("\n")
    assert names_beside(tmp_path) == {}
    (tmp_path / "data.yaml").write_text("names: {}\n")
    assert names_beside(tmp_path) == {}


def test_line_without_a_name__is_refused_as_all_later_ids_would_shift(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\n\ndog\n\n")
    with pytest.raises(UsageError, match="line 2 is empty; expected the name of class 1"):
        names_beside(tmp_path)


def test_read_names__two_of_one_name_are_told_apart_where_remarks_say_so_and_else_refused(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: {0: cat, 2: cat, 3: '', 4: null}\n")
    remarks = Counter[str]()
    assert names_beside(tmp_path, remarks=remarks) == {0: "cat", 2: "cat-2", 3: "class3", 4: "class4"}
    assert "class is called 'cat-2': the name 'cat' is there twice (id 2)" in remarks
    assert len(remarks) == 3
    (tmp_path / "data.yaml").write_text("names: {0: cat, 2: cat}\n")
    with pytest.raises(UsageError, match="'cat' twice"):
        read_names(tmp_path / "data.yaml")


def test_key_points__are_refused_by_whoever_reads_the_names(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [cat]\nkpt_shape: [17, 3]\n")
    with pytest.raises(UsageError, match="labels of key points would be taken for polygons"):
        names_beside(tmp_path)


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=5), st.dates()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)
SAID = st.one_of(
    ANYTHING,
    st.lists(st.one_of(st.sampled_from(["cat", "cat", "", " ", None]), ANYTHING), max_size=4),
    st.dictionaries(st.one_of(st.integers(-1, 5), st.text(max_size=2)), ANYTHING, max_size=4),
)


@settings(max_examples=80, deadline=None)
@given(SAID)
def test_data_yaml__of_any_content_gives_unique_names_or_one_clear_error(said) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.yaml"
        path.write_text(yaml.safe_dump({"names": said, "train": "images"}), encoding="utf-8")
        try:
            names = read_names(path, Counter())
        except UsageError as error:
            assert str(path) in str(error)
            assert len(str(error)) < 400
            return
        assert names
        assert len(set(names.values())) == len(names)
        assert all(name.strip() for name in names.values())


def test_names_file__of_any_name_is_taken_only_where_it_is_the_only_one(tmp_path: Path) -> None:
    labels = tmp_path / "boxes"
    labels.mkdir()
    (tmp_path / "options.yaml").write_text("conf: 0.5\n")
    (tmp_path / "animals.yaml").write_text("names: [cat]\n")
    assert find_names_file(labels) == tmp_path / "animals.yaml"
    (tmp_path / "tools.yaml").write_text("names: [saw]\n")
    assert find_names_file(labels) is None
