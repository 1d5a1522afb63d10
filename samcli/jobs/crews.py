"""Open the crew of a run: the worker of this process, several processes, or actors in a Ray cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from samcli.errors import UsageError
from samcli.jobs.base import Job, Models
from samcli.jobs.crew import Crew, Local
from samcli.jobs.plan import Plan
from samcli.jobs.processes import Processes, devices_of, threads_of
from samcli.jobs.storing import load_worker
from samcli.jobs.team import task_of

R = TypeVar("R")


@contextlib.contextmanager
def open_crew(job: Job[R], plan: Plan, models: Models, begin: Callable[[str], None]) -> Iterator[Crew]:
    """Load the networks, here or in the processes that the options ask for.

    `begin`: called with the key of a large image before it is decoded here.

    Raises:
        SamcliError: the networks cannot be loaded.
    """
    run = job.options.run
    if run.runner == "ray":
        from samcli.jobs.actors import open_actors

        with open_actors(job, plan, models) as actors:
            yield actors
        return
    if run.num_actors is not None or run.ray_address is not None:
        raise UsageError("--num-actors and --ray-address go with --runner ray only")
    devices = devices_of(job)
    if len(devices) == 1:
        yield Local(load_worker(job, plan, models), plan, batch=run.batch, workers=run.workers, begin=begin)
        return
    with Processes(task_of(job, plan, models), devices, threads_of(job, devices)) as processes:
        yield processes
