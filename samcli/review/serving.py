"""`samcli review`: open a run, serve its page, and write what is left to write when it ends."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from samcli.config import ReviewOptions, SamOptions
from samcli.errors import SamcliError, UsageError
from samcli.jobs.segmenting import Encoder, open_encoder
from samcli.jobs.worker import StageClock
from samcli.output.run_folder import RunFolder
from samcli.review.correcting import Corrector
from samcli.review.session import Session

if TYPE_CHECKING:
    from samcli.sam.engine import Engine

log = logging.getLogger("samcli")

_IDLE = 2.0
"""Seconds without a change after which the files that hold all images are written."""


def serve(labels: Path, options: ReviewOptions, opened: Callable[[str, bool], None]) -> None:
    """Serve the review page of a run until the process is interrupted.

    `opened`: told the address once the server answers, and whether other machines reach it.

    Raises:
        UsageError: there is no such run, or the port is taken.
        SamcliError: the extra is not installed.
    """
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise SamcliError(f"review needs {', '.join(missing)}: pip install 'samcli[review]'")
    import uvicorn

    from samcli.review.server import Access, build_app, is_loopback

    session = open_session(labels, options)
    session.bring_up_to_date()
    listening = _listen(options)
    access = Access.make(options.host, listening.getsockname()[1])
    config = uvicorn.Config(build_app(session, access), log_level="warning", access_log=False, lifespan="off")
    name = options.host if ":" not in options.host else f"[{options.host}]"
    opened(f"http://{name}:{listening.getsockname()[1]}/{access.token}/", not is_loopback(options.host))
    threading.Thread(target=_finish_when_idle, args=(session,), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that what follows is done
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        log.info("the review has ended; every change is saved")
    finally:
        listening.close()
        session.finish()


def open_session(labels: Path, options: ReviewOptions) -> Session:
    """Return the session of a run; networks are loaded when somebody clicks or an image is opened.

    Raises:
        UsageError: no run that can be changed was begun there.
    """
    run = RunFolder.open(labels)

    def load() -> tuple[Engine, Encoder]:
        from samcli.sam.engine import load_sam

        log.info("loading %s", name := options.sam or _own_sam(run))
        engine = load_sam(name, options.device, run.manifest.recipe.precision or "auto")
        return engine, open_encoder(engine, options.embeddings, StageClock())

    return Session(labels, Corrector(load))


def _own_sam(run: RunFolder) -> str:
    """Return the SAM of the run; the usual one where it had none, or one that takes no clicks."""
    from samcli.detectors.fastsam import is_fastsam

    own = run.manifest.recipe.model("sam")
    return own.name if own is not None and not is_fastsam(own.name) else SamOptions.sam


def _listen(options: ReviewOptions) -> socket.socket:

    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((options.host, options.port))
        listening.listen()  # from here on the address works: requests wait until the server is up
    except OSError as error:
        listening.close()
        raise UsageError(
            f"cannot serve at {options.host}:{options.port}: {error.strerror}; choose another --port"
        ) from error
    return listening


def _finish_when_idle(session: Session) -> None:
    """Write the files that hold all images when nobody has changed anything for a while."""
    while True:
        time.sleep(_IDLE / 2)
        if session.is_idle(_IDLE):
            try:
                session.finish()
            except (SamcliError, OSError) as error:
                log.debug("the files that hold all images wait: %s", error)
