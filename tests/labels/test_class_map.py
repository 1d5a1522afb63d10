"""Class maps rename, merge and drop classes, and refuse what they do not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from samcli.errors import UsageError
from samcli.labels.class_map import IDENTITY, ClassMap, read_class_map

NAMES = {0: "car", 1: "lorry", 2: "truck", 3: "bird"}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "map.yaml"
    path.write_text(text)
    return path


def test_map__renames_merges_and_drops(tmp_path) -> None:
    mapped = read_class_map(written(tmp_path, "lorry: truck\nbird: null\ncar: vehicle\n")).apply(NAMES)
    assert mapped.names == {0: "vehicle", 1: "truck"}
    assert mapped.ids == {0: 0, 1: 1, 2: 1, 3: None}


def test_map__takes_ids_for_names(tmp_path) -> None:
    mapped = read_class_map(written(tmp_path, "1: truck\n3:\n")).apply(NAMES)
    assert mapped.names == {0: "car", 1: "truck"}
    assert mapped.ids == {0: 0, 1: 1, 2: 1, 3: None}


def test_star__speaks_of_all_others(tmp_path) -> None:
    mapped = read_class_map(written(tmp_path, "bird: bird\n'*':\n")).apply(NAMES)
    assert mapped.names == {0: "bird"}
    assert mapped.ids == {0: None, 1: None, 2: None, 3: 0}
    assert ClassMap({"*": "thing"}).apply(NAMES).names == {0: "thing"}


def test_identity__closes_gaps_between_ids() -> None:
    mapped = IDENTITY.apply({1: "person", 13: "stop sign"})
    assert (mapped.names, mapped.ids) == ({0: "person", 1: "stop sign"}, {1: 0, 13: 1})


def test_swapping_two_names__swaps_them_and_no_more() -> None:
    assert ClassMap({"car": "bird", "bird": "car"}).apply(NAMES).names == {
        0: "bird",
        1: "lorry",
        2: "truck",
        3: "car",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lory: truck", "Did you mean 'lorry'"),
        ("9: truck", "class 9"),
        ("'*':", "drops all 4 classes"),
        ("- car", "old: new"),
        ("", "old: new"),
        ("car: [a, b]", "expected names"),
        ("car: ''", "expected names"),
        ("off: truck", "in quotes"),
        ("a: b: c", "cannot read"),
    ],
)
def test_map__that_makes_no_sense_is_refused(tmp_path, text, message) -> None:
    with pytest.raises(UsageError, match=message.replace("[", r"\[")):
        read_class_map(written(tmp_path, text)).apply(NAMES)


def test_missing_file__is_named(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml"):
        read_class_map(tmp_path / "none.yaml")
