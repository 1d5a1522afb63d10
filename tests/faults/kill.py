"""Run a command in this process, which is killed at the Nth call about files below the current folder."""

from __future__ import annotations

import sys
from pathlib import Path

from faults.injection import Fault, injected

if __name__ == "__main__":
    from samcli.cli import main

    nth, sys.argv = int(sys.argv[1]), ["samcli", *sys.argv[2:]]
    with injected(Fault(Path.cwd(), nth, kill=True)):
        main()
