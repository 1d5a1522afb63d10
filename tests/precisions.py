"""Which precisions this machine's CPU can compute in."""

from __future__ import annotations

import pytest

from samcli.sam.devices import cpu_computes_bf16

needs_bf16 = pytest.mark.skipif(not cpu_computes_bf16(), reason="this CPU has no instructions for bf16")
BF16 = pytest.param("bf16", marks=needs_bf16)
