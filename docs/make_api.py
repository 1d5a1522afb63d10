"""Write docs/api.md from the docstrings of samcli's public names: python docs/make_api.py"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import samcli

INTRODUCTION = """# Python API

Made by `python docs/make_api.py` from the docstrings. [python.md](python.md) shows a whole job and single images.

Coordinates are pixels of the original, upright image, x to the right, y down; boxes are x1, y1, x2, y2; sizes are
(height, width).
"""

SECTIONS = {
    "Whole jobs": ("auto_annotate", "load_annotations", "load_class_names", "Summary"),
    "Images": ("read_image", "Image", "ImageRef"),
    "Detectors": ("load_detector", "LoadedDetector", "Detections"),
    "SAM": ("load_sam", "Engine", "Embedding", "Prompts", "Segment", "everything", "MaskGeneratorOptions"),
    "Masks and annotations": ("Mask", "Instance", "Annotation"),
    "Errors": ("SamcliError",),
}
"""All public names, and the classes of what they return."""

EXAMPLES = {
    "auto_annotate": 'summary = samcli.auto_annotate("photos", det="tiny", sam="tiny", conf=0.4)',
    "load_annotations": 'for key, annotation in samcli.load_annotations("labels").items(): ...',
    "load_class_names": 'names = samcli.load_class_names("labels")  # {0: "person", ...}',
    "read_image": 'image = samcli.read_image("photo.jpg")',
    "Image": "image = samcli.Image.from_array(pixels)  # uint8 (H, W, 3) RGB",
    "load_detector": 'found = samcli.load_detector("yolov8n.pt", conf=0.4).detect(image)',
    "load_sam": 'embedding = samcli.load_sam("sam_b.pt").encode([image])[0]',
    "Engine": "segments = sam.segment(embedding, boxes=[10, 20, 300, 400])",
    "everything": "instances = samcli.everything(sam, image)",
    "Mask": "pixels = segments[0].mask.to_numpy()  # bool (H, W)",
    "Annotation": 'annotation.save("one.json", format="labelme", names=names)',
}


def find(name: str) -> Any:
    """Return a public object, or a class that one returns."""
    from samcli import api

    return getattr(samcli, name) if name in samcli.__all__ else getattr(api, name)


def members(kind: type) -> list[tuple[str, Any]]:
    """Return the public methods and properties that a class itself defines, with their docstrings."""
    found = []
    for name, value in vars(kind).items():
        plain = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        text = inspect.getdoc(plain)
        if not name.startswith("_") and (callable(plain) or isinstance(plain, property)) and text:
            found.append((name, value))
    return found


def signature(name: str, value: Any) -> str:
    """Return how an object is called or read, e.g. `segment(embedding, boxes=None)`."""
    if isinstance(value, property) or hasattr(value, "func"):
        return name
    plain = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
    if isinstance(plain, type) and issubclass(plain, Exception):
        return name
    parameters = list(inspect.signature(plain).parameters.values())
    if parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    text = name + str(inspect.Signature([one.replace(annotation=one.empty) for one in parameters]))
    return re.sub(r"<[^=]*? at 0x[0-9a-f]+>|<factory>", "...", text)


def described(text: str) -> str:
    """Return a docstring as Markdown: the paragraphs, and the errors as a list."""
    body, _, raised = inspect.cleandoc(text).partition("Raises:\n")
    body = re.sub(r"\n*>>> .*", "", body).strip()
    errors = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", raised, re.MULTILINE)
    lines = [f"- raises `{kind}`: {' '.join(why.split())}" for kind, why in errors]
    return "\n\n".join(part for part in (body, "\n".join(lines)) if part)


def entry(name: str) -> str:
    """Return the part of the page about one public name."""
    value = find(name)
    head = f"### {name}\n\n```python\n{signature(name, value)}\n```\n\n{described(inspect.getdoc(value) or '')}\n"
    if name in EXAMPLES:
        head += f"\n```python\n{EXAMPLES[name]}\n```\n"
    if isinstance(value, type):
        for own, member in members(value):
            plain = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
            text = described(inspect.getdoc(plain) or "").replace("\n", "\n  ")
            head += f"\n- **`{signature(own, member)}`**: {text}\n"
    return head


def text() -> str:
    """Return the whole page."""
    listed = [name for names in SECTIONS.values() for name in names]
    if missing := {*samcli.__all__} - {*listed, "__version__"}:
        raise SystemExit(f"SECTIONS lacks {', '.join(sorted(missing))}")
    parts = [f"## {title}\n\n" + "\n".join(map(entry, names)) for title, names in SECTIONS.items()]
    return INTRODUCTION + "\n" + "\n".join(parts)


if __name__ == "__main__":
    Path(__file__).with_name("api.md").write_text(text(), encoding="utf-8")
