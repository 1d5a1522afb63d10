"""Members of a team whose machines die: no image is forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from samcli.jobs.team import Ended, Member, Ready, Task, Team
from samcli.types import ImageRef, Outcome, Status

REFS = [ImageRef(Path("/in"), f"{number}.jpg") for number in range(5)]


class Actor(Member):
    """Answers what it is sent; one on the device `dies` loses its machine once it has been sent all."""

    waits_for_room = True

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self.said: list[object] = [Ready({}, 1)]
        self.dead = False

    def _send(self, ref: ImageRef | None) -> None:
        if self.device != "dies":
            self.said.append(Ended([], {}) if ref is None else Outcome(ref, Status.DONE))
            self.dead = self.dead or ref is None
        else:
            self.dead = ref is None

    def messages(self) -> list[object]:
        said, self.said = self.said, []
        return said

    def close(self, patience: float) -> None:
        self.dead = True

    @property
    def is_dead(self) -> bool:
        return self.dead and not self.said

    @property
    def end(self) -> str:
        return "its node died"

    @property
    def has_lost_machine(self) -> bool:
        return self.device == "dies"


class Actors(Team[Any]):
    """Replaces members that die by such as do not."""

    started = 0

    def _start(self, device: str) -> Member:
        self.started += 1
        return Actor(device if self.started <= len(self._devices) else "lives")

    def _waited(self) -> list[Member]:
        return list(self._members)


def outcomes(*devices: str) -> tuple[list[str], int]:
    task = Task(cast(Any, None), cast(Any, None), cast(Any, None), batch=4, workers=2)
    with Actors(task, devices, 1) as team:
        found = team.run(REFS, alone=[], settle=lambda outcome: None, stopping=lambda: False)
        return sorted(outcome.ref.key for outcome in found), team.started


def test_team__does_the_images_of_the_last_member_whose_machine_died() -> None:
    keys = [ref.key for ref in REFS]
    assert outcomes("lives") == (keys, 1)
    assert outcomes("dies") == (keys, 2)
    assert outcomes("dies", "lives") == (keys, 3)
    assert outcomes("lives", "dies") in [(keys, 2), (keys, 3)], "the second may get nothing"
