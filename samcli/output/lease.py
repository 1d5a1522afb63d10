"""A lease: one run at a time in an output folder of an object store, which knows no locks."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from samcli.errors import SamcliError, StorageError, one_line
from samcli.stores.store import Store

log = logging.getLogger("samcli")

_RENEWED_EVERY = 20.0
_GOOD_FOR = 120.0
"""Seconds after which a lease that was not renewed is nobody's any more."""


@dataclass
class Lease:
    """An object that says who is at work. It is renewed while the context lasts, and removed at its end."""

    store: Store
    name: str
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    lost: str | None = None
    """Why the lease is no longer ours."""

    def __enter__(self) -> Lease:
        """Take the lease.

        Raises:
            SamcliError: another run has it.
            StorageError: the store does not answer.
        """
        if not self.store.create(self.name, self._content()):
            self._take_over()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._thread.join()
        if self.lost is None:
            with contextlib.suppress(StorageError):  # it ends by itself
                if self._read().get("token") == self.token:
                    self.store.delete(self.name)

    def check(self) -> None:
        """Refuse to go on where another run has taken the lease.

        Raises:
            StorageError: one has, or the store has not answered for long.
        """
        if self.lost is not None:
            raise StorageError(
                f"{self.lost}: stopping. What is finished is kept; run again when the other has ended"
            )

    def _content(self) -> bytes:
        facts = {"host": socket.gethostname(), "pid": os.getpid(), "token": self.token, "renewed": time.time()}
        return json.dumps(facts).encode()

    def _take_over(self) -> None:
        found = self._read()
        renewed = found.get("renewed")
        age = math.inf
        if isinstance(renewed, (int, float)) and 0 < renewed < time.time() + _GOOD_FOR:
            age = time.time() - renewed
        if not _is_dead_here(found) and age < _GOOD_FOR:
            raise SamcliError(
                f"another samcli is at work in {self.store.url} (process {found.get('pid')} on "
                f"{found.get('host')}, last seen {max(age, 0):.0f} s ago); wait for it or choose another --output. "
                f"If it was killed, try again in {max(_GOOD_FOR - age, 1):.0f} s"
            )
        self.store.put(self.name, self._content())
        time.sleep(0.5)  # whoever takes it over at the same moment
        if self._read().get("token") != self.token:
            raise SamcliError(f"another samcli has just begun in {self.store.url}; wait for it")

    def _read(self) -> dict[str, Any]:
        """Return what the lease says; nothing where it is gone or damaged."""
        try:
            found = json.loads(self.store.get(self.name))
        except (FileNotFoundError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _keep(self) -> None:
        renewed = time.monotonic()
        while not self._ending.wait(_RENEWED_EVERY):
            try:
                if self._read().get("token") != self.token:
                    self.lost = f"another samcli has taken over {self.store.url}"
                    return
                self.store.put(self.name, self._content())
                renewed = time.monotonic()
            except (StorageError, OSError) as error:
                log.debug("the lease was not renewed: %s", one_line(error))
                if time.monotonic() - renewed > _GOOD_FOR:
                    self.lost = f"{self.store.url} does not answer"
                    return


def _is_dead_here(found: dict[str, Any]) -> bool:
    """Return whether the holder was a process of this machine that has ended."""
    pid = found.get("pid")
    if found.get("host") != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
        return not found
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False
