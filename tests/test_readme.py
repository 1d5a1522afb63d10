"""The README's commands work when they are typed in the order in which they stand."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"

pytestmark = pytest.mark.skipif(not README.is_file(), reason="the README is in the repository only")


def commands() -> list[str]:
    """Return the lines of the README's shell blocks that call samcli, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.S | re.M)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("samcli ")]
    return [re.sub(r"\s+#.*", "", line) for line in lines]


def test_readme__is_short_and_its_links_lead_somewhere() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target


@pytest.mark.slow
def test_commands__work_in_order(samcli_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tmp_path / "photos" / "images"
    images.mkdir(parents=True)
    shutil.copy(ROOT / "examples" / "shapes" / "grey.jpg", images / "a.jpg")
    for name, shape in (("b.jpg", "confetti.jpg"), ("c.png", "poster.png")):
        shutil.copy(ROOT / "examples" / "shapes" / shape, images / name)
    monkeypatch.chdir(tmp_path)
    typed = commands()
    assert len(typed) > 12
    for line in typed:
        words = ["tiny" if word in ("yolov8x.pt", "sam_b.pt") else word for word in shlex.split(line)[1:]]
        result = samcli_run(*words)
        assert result.exit_code == 0, f"{line}\n{result.output}{result.stderr}"
    assert (tmp_path / "ready" / "data.yaml").is_file()
    assert (tmp_path / "masks" / "a" / "metadata.csv").is_file()
