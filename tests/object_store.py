"""An S3 server on this machine (moto's), and a proxy in front of it that answers as real stores do at times."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BUCKET = "samcli"

_ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>{}</Message></Error>"
_ANSWERS = {
    "500": (500, _ERROR.format("InternalError", "We encountered an internal error.")),
    "503": (503, _ERROR.format("SlowDown", "Please reduce your request rate.")),
}
FAULTS = ("500", "503", "cut", "half", "lost", "slow")
"""Errors; a connection that is cut at once, in the middle of an answer, or after the request was done; an answer
that stops for seconds in the middle."""


@dataclass
class FaultyProxy:
    """Passes requests on to a server. `share`: of the requests that meet a fault of `FAULTS`, chosen at random."""

    port: int
    share: float = 0.0
    pause: float = 3.0
    kinds: tuple[str, ...] = FAULTS
    seen: Counter[str] = field(default_factory=Counter)
    _random: random.Random = field(default_factory=lambda: random.Random(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self) -> str | None:
        with self._lock:
            fault = self._random.choice(self.kinds) if self._random.random() < self.share else None
            self.seen[fault or "none"] += 1
            return fault

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        proxy = self

        class Handler(_Handler):
            of = proxy

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    of: FaultyProxy

    def log_message(self, *arguments: Any) -> None:
        pass

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.of.fault()
        if fault in _ANSWERS:
            status, text = _ANSWERS[fault]
            self._answer(status, {"Content-Type": "application/xml"}, text.encode())
            return
        if fault == "cut":
            self._cut()
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.of.port, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if fault == "lost":
            self._cut()
            return
        self._answer(answer.status, dict(answer.getheaders()), data, fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815

    def _answer(self, status: int, headers: dict[str, str], data: bytes, fault: str | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = headers.get("content-length") or headers.get("Content-Length")
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        middle = len(data) // 2 if fault in ("half", "slow") else len(data)
        with contextlib.suppress(OSError):
            self.wfile.write(data[:middle])
            self.wfile.flush()
            if fault == "half":
                self._cut()
            elif fault == "slow":
                time.sleep(self.of.pause)
                self.wfile.write(data[middle:])

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


@dataclass
class S3:
    """The server as a test sees it: past the proxy. `port`: its own; `address`: the proxy's."""

    client: Any
    proxy: FaultyProxy
    address: str

    def put_tree(self, folder: Path, prefix: str) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                self.client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())

    def count(self, prefix: str) -> int:
        return int(self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix + "/")["KeyCount"])

    def tree(self, prefix: str) -> dict[str, bytes]:
        found = {}
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix + "/"):
            for row in page.get("Contents", ()):
                content = self.client.get_object(Bucket=BUCKET, Key=row["Key"])["Body"].read()
                found[row["Key"][len(prefix) + 1 :]] = content
        return found


@contextlib.contextmanager
def s3_server() -> Iterator[tuple[S3, dict[str, str]]]:
    """Yield a server with an empty bucket, and the environment variables that lead to it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/moto-api/reset")  # its buckets outlive a server in the same process
    assert connection.getresponse().status == 200
    variables = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "hidden-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="hidden-secret",
    )
    client.create_bucket(Bucket=BUCKET)
    proxy = FaultyProxy(port)
    try:
        with proxy.serving() as address:
            yield S3(client, proxy, address), {**variables, "AWS_ENDPOINT_URL": address}
    finally:
        server.stop()
