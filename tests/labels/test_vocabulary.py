"""What `--text` takes: prompts between commas, or a YAML file of classes with their prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from samcli.errors import UsageError
from samcli.labels.vocabulary import MAX_PROMPT_LENGTH, read_vocabulary


def classes(text: str) -> dict[str, tuple[str, ...]]:
    return {one.name: one.prompts for one in read_vocabulary(text).classes}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("person, red car", ["person", "red car"]),
        ("  Red   Car ,person,", ["Red Car", "person"]),
        ("person,,  ,car", ["person", "car"]),
        ("Person, person, PERSON, car", ["Person", "car"]),
        ("Straße, 猫, cafe\u0301", ["Straße", "猫", "café"]),
        ('"salt, pepper", cup', ["salt, pepper", "cup"]),
        (",".join(f"kind {i}" for i in range(200)), [f"kind {i}" for i in range(200)]),
    ],
)
def test_text__is_one_class_a_prompt_in_order(text: str, names: list[str]) -> None:
    vocabulary = read_vocabulary(text)
    assert vocabulary.names == dict(enumerate(names))
    assert vocabulary.prompts == tuple(names)
    assert vocabulary.class_ids == tuple(range(len(names)))


@pytest.mark.parametrize("text", ["", " , ,", '"person', '"a" b, c', "car\x07", "x" * (MAX_PROMPT_LENGTH + 1)])
def test_text__without_a_usable_prompt_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--text"):
        read_vocabulary(text)


def test_file__maps_classes_to_prompts_in_order(tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"
    file.write_text("vehicle: [red car, lorry, Lorry]\nperson: a person\ncup:\n7: []\n", encoding="utf-8")
    assert classes(str(file)) == {
        "vehicle": ("red car", "lorry"), "person": ("a person",), "cup": ("cup",), "7": ("7",),
    }  # fmt: skip
    vocabulary = read_vocabulary(str(file))
    assert vocabulary.prompts == ("red car", "lorry", "a person", "cup", "7")
    assert vocabulary.class_ids == (0, 0, 1, 2, 3)


def test_file__may_be_a_list(tmp_path: Path) -> None:
    file = tmp_path / "words.yml"
    file.write_text('- person\n- "salt, pepper"\n')
    assert classes(str(file)) == {"person": ("person",), "salt, pepper": ("salt, pepper",)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "expected lines of"),
        ("{}", "names nothing"),
        ("just words", "expected lines of"),
        ("a: {b: c}", "is no text"),
        ("a: [yes]", "quotes"),
        ("a: car\nb: Car", "under two classes"),
        ("a: [x]\n' a ': [y]", "stands there twice"),
        ("'': [x]", "has no name"),
        ("a: [", "cannot read"),
    ],
)
def test_file__of_something_else_is_refused(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "words.yaml"
    file.write_text(content)
    with pytest.raises(UsageError, match=said):
        read_vocabulary(str(file))


def test_file__that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_vocabulary(str(tmp_path / "nothing.yaml"))


def test_recipe__tells_another_order_apart() -> None:
    assert read_vocabulary("a, b").recipe() != read_vocabulary("b, a").recipe()
    assert read_vocabulary("a, b").recipe() == read_vocabulary(" a,b, A").recipe()
