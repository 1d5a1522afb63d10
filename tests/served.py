"""Start `samcli review` as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any


class Server:
    """`samcli review` as a process of its own."""

    def __init__(self, labels: Path, log: Path) -> None:
        self._command = [sys.executable, "-u", "-m", "samcli", "review", str(labels), "--no-browser", "--quiet"]
        self._log = log
        self.process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=self._log.open("a"), text=True
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1:"), self._log.read_text()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        origin = "/".join(self.address.split("/")[:3])
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"origin": origin} if data else {})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())
