"""Memory and open files of a long run stay the same."""

from __future__ import annotations

import pytest
import soak


@pytest.mark.slow
def test_soak__memory_and_open_files_stay_flat(tmp_path) -> None:
    quarters = soak.soak(tmp_path, 200)
    later = quarters[1:]
    assert len(later) >= 2
    assert max(one.memory for one in later) <= 1.05 * min(one.memory for one in later)
    assert max(one.files for one in later) <= min(one.files for one in later) + 4
