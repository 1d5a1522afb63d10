"""Show the facts that a bug report needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from samcli.cli.report.text import print_rows

if TYPE_CHECKING:
    pass


def print_checks(checks: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the facts that a bug report needs."""
    if as_json:
        print(json.dumps(checks))
        return
    rows = {}
    for name, value in checks.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        rows[name] = ", ".join(value) if isinstance(value, list) else value
    print_rows(rows)
