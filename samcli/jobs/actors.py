"""Run the work in actors of a Ray cluster: the members of a team that Ray places on its machines.

Plain actors, not Ray Data: a worker overlaps decoding, networks and writing itself, so pixels never leave its
process; the driver knows which images an actor has in hand when it dies; an orderly stop finishes exactly these.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from samcli.errors import SamcliError, UsageError, one_line
from samcli.jobs.base import Job, Models
from samcli.jobs.plan import Plan
from samcli.jobs.team import Ended, Member, Task, Team, task_of

R = TypeVar("R")

_LISTENING = 5.0
"""Seconds after which an actor answers though it has nothing to say."""


_NODE_DIED = "its node died"


class Hand:
    """The part of a member that runs in the actor: it does what the driver sends, in a thread of its own."""

    def __init__(self, task: Task[Any], device: str, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # Ray has set it to the actor's CPUs
        self._refs: queue.Queue[Any] = queue.Queue()
        self._said: queue.Queue[object] = queue.Queue()
        self._task, self._device = task, device
        threading.Thread(target=self._serve, name="serve", daemon=True).start()

    def _serve(self) -> None:
        try:
            check_shared(self._task)
            self._task.serve(self._device, iter(self._refs.get, None), self._said.put)
        except SamcliError as error:
            self._said.put(error)
        except BaseException as error:  # the driver hears of it; else it would wait for ever
            self._said.put(SamcliError(f"an actor failed: {type(error).__name__}: {one_line(error)}"))

    def send(self, ref: Any) -> None:
        """Take an image; None: no more come."""
        self._refs.put(ref)

    def listen(self) -> list[object]:
        """Return what there is to say, at least one message unless that takes long."""
        found: list[object] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._said.get(timeout=_LISTENING))
            while True:
                found.append(self._said.get_nowait())
        return found


def check_shared(task: Task[Any]) -> None:
    """Check that this machine sees the output folder of the driver: else labels would lie where nobody looks.

    Raises:
        UsageError: it does not.
    """
    layout = task.plan.layout
    if layout.remote is None and not layout.running.exists():
        raise UsageError(
            f"{platform.node()} does not see the output folder {layout.output}: with --runner ray it must lie "
            "in a file system that all machines share, or in an object store"
        )


class _Actor(Member):
    """An actor of the cluster."""

    kind = "an actor"
    waits_for_room = True

    def __init__(self, device: str, handle: Any) -> None:
        super().__init__(device)
        self._handle = handle
        self.heard: Any = handle.listen.remote()
        self._end = "ended"

    def _send(self, ref: object) -> None:
        self._handle.send.remote(ref)

    def messages(self) -> list[object]:
        """See Member."""
        import ray

        if not ray.wait([self.heard], timeout=0)[0]:
            return []
        try:
            found: list[object] = ray.get(self.heard)
        except ray.exceptions.RayError as error:
            self.is_heard, self._end = True, _shortened(error)
            ray.kill(self._handle)
            return []
        if any(isinstance(said, Ended) for said in found):
            self.is_heard = True
            ray.kill(self._handle)
        else:
            self.heard = self._handle.listen.remote()
        return found

    def close(self, patience: float) -> None:
        """See Member."""
        import ray

        ray.kill(self._handle)

    @property
    def is_dead(self) -> bool:
        """See Member."""
        return self.is_heard

    @property
    def end(self) -> str:
        """See Member."""
        return self._end

    @property
    def has_lost_machine(self) -> bool:
        """See Member."""
        return self._end == _NODE_DIED


def _shortened(error: Exception) -> str:
    """Return why an actor died, in one line, without the numbers that Ray gives its parts."""
    text = one_line(error)
    if type(error).__name__ == "OutOfMemoryError":  # Ray has killed it: its images may be the cause
        return "too little memory"
    if "node" in text and ("died" in text or "terminated" in text or "lost" in text):
        return _NODE_DIED
    return text[:200]


class Actors(Team[R]):
    """Actors that do a job. `resources`: what each of them takes of the cluster."""

    def __init__(self, task: Task[R], devices: Sequence[str], threads: int, resources: dict[str, Any]) -> None:
        import ray

        super().__init__(task, devices, threads)
        groups = ray.remote(concurrency_groups={"refs": 1, "said": 1})(_with_groups())
        self._class: Any = groups.options(scheduling_strategy="SPREAD", max_restarts=0, **resources)
        self._sent = ray.put(task)

    def _start(self, device: str) -> Member:
        return _Actor(device, self._class.remote(self._sent, device, self.threads))

    def _waited(self) -> list[Member]:
        import ray

        actors = {one.heard: one for one in self._members if isinstance(one, _Actor)}
        found, _ = ray.wait(list(actors), num_returns=len(actors), timeout=0.05)
        if not found:
            found, _ = ray.wait(list(actors), num_returns=1, timeout=0.5)
        return [actors[ref] for ref in found]


def _with_groups() -> type[Hand]:
    """Return the actor's class: images are taken in order, and meanwhile it listens."""
    import ray

    class Actor(Hand):
        send = ray.method(concurrency_group="refs")(Hand.send)
        listen = ray.method(concurrency_group="said")(Hand.listen)

    return Actor


@contextlib.contextmanager
def open_actors(job: Job[R], plan: Plan, models: Models) -> Iterator[Team[R]]:
    """Connect to the cluster that the options name, or start one on this machine, and start the actors.

    Raises:
        UsageError: Ray is not installed, or the cluster is not there.
        SamcliError: the networks cannot be loaded.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    try:
        import ray
    except ImportError as error:
        raise UsageError("--runner ray needs the package ray: pip install 'samcli[ray]'") from error
    run = job.options.run
    if run.procs is not None:
        raise UsageError("--procs is for this machine alone: with --runner ray give --num-actors")
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))  # results go there; Ray prints of lost nodes
        if not ray.is_initialized():
            stack.callback(ray.shutdown)
            _connect(run.ray_address)
        devices, threads, resources = _shares(job)
        with Actors(task_of(job, plan, models), devices, threads, resources) as actors:
            yield actors


def _connect(address: str | None) -> None:
    """Connect to a cluster, or start one on this machine. Raises what `open_actors` raises."""
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"no Ray cluster {address or 'on this machine'} ({one_line(error)[:200]})") from error


def _shares(job: Job[Any]) -> tuple[list[str], int, dict[str, Any]]:
    """Return the device of each actor, its threads, and its share of the cluster.

    An actor takes a GPU where there are any, and else all cores of the smallest machine.
    """
    import ray

    run, device = job.options.run, job.options.segmenter.device
    if "," in device:
        raise UsageError(f"--device {device}: with --runner ray give one kind of device, and --num-actors")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes)) if device != "cpu" else 0
    cores = max(1, int(min((node.get("CPU", 1) for node in nodes), default=1)))
    count = run.num_actors or gpus or len(nodes)
    threads = run.threads or (min(cores, run.workers + 1) if gpus else cores)
    return [device] * count, threads, {"num_cpus": min(threads, cores), "num_gpus": 1 if gpus else 0}
