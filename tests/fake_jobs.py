"""A job without networks, for tests of where jobs run: other processes import it by its name."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samcli.config import InputOptions, PromptOptions
from samcli.errors import ImageError, StorageError, UsageError
from samcli.jobs.worker import BaseWorker
from samcli.types import Image, ImageRef, Outcome, Status


@dataclass
class FakeJob:
    """What an image does is in its name: `kill` kills the process, `torn` fails, `full` ends the run.

    `once` kills the process the first time: `folder` remembers it. Each image that is done leaves a file there.
    """

    folder: Path
    device: str = ""
    options: PromptOptions = field(default_factory=PromptOptions)

    def on_device(self, device: str) -> FakeJob:
        job = copy.copy(self)
        job.device = device
        return job

    def load(self, plan: Any, models: Any) -> FakeWorker:
        if self.device == "none":
            raise UsageError("no device 'none'")
        (self.folder / "plan.keys").write_text("\n".join(plan.keys))
        started = self.folder / f"{os.getpid()}.started"
        started.touch()
        if self.device == "full" and len(list(self.folder.glob("*.started"))) > 1:
            os.kill(os.getpid(), signal.SIGKILL)  # as for want of memory
        return FakeWorker(self)


class FakeWorker(BaseWorker[str]):
    def __init__(self, job: FakeJob) -> None:
        super().__init__(InputOptions(), on_cpu=True)
        self._job = job

    @property
    def names(self) -> dict[int, str]:
        return {0: "thing"}

    def notes(self) -> list[str]:
        return ["a note"]

    def read(self, ref: ImageRef) -> Image:
        if "torn" in ref.key:
            raise ImageError("torn")
        return Image(ref, np.zeros((2, 2, 3), np.uint8))

    def annotate(self, images: Sequence[Image]) -> list[str]:
        for image in images:
            mark = self._job.folder / f"{image.ref.key}.tried"
            if "kill" in image.ref.key or ("once" in image.ref.key and not mark.exists()):
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return [image.ref.key for image in images]

    def publish(self, ref: ImageRef, result: str) -> Outcome:
        if "full" in ref.key:
            raise StorageError("the disk is full")
        with (self._job.folder / f"{ref.key}.done").open("a") as file:
            file.write(f"{self._job.device}\n")
        return Outcome(ref, Status.DONE, {0: 1})
