"""Threads fit the machine: affinity, CPU quotas of both kinds of cgroups, and what the user has set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from samcli.sam.threads import Cores, find_cores, fit_threads

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
V1 = "31 23 0:27 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"


def machine(root: Path, mounts: str, groups: str, files: dict[str, str]) -> Path:
    """A root with /proc/self and the files of cgroups below /sys/fs/cgroup."""
    proc = root / "proc" / "self"
    proc.mkdir(parents=True)
    (proc / "mountinfo").write_text(mounts)
    (proc / "cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_quota__of_version_2_is_the_least_of_the_group_and_those_above(tmp_path) -> None:
    files = {"cpu.max": "max 100000\n", "jobs/cpu.max": "150000 100000\n", "jobs/one/cpu.max": "max 100000\n"}
    assert find_cores(machine(tmp_path, V2, "0::/jobs/one\n", files)).quota == 1.5


def test_quota__of_version_1_is_the_least_of_the_group_and_those_above(tmp_path) -> None:
    files = {
        "cpu,cpuacct/ci/cpu.cfs_quota_us": "50000\n",
        "cpu,cpuacct/ci/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/ci/job/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/ci/job/cpu.cfs_period_us": "100000\n",
    }
    groups = "4:memory:/elsewhere\n2:cpu,cpuacct:/ci/job\n"
    assert find_cores(machine(tmp_path, V1.format(top="/"), groups, files)).quota == 0.5


def test_quota__of_a_container_whose_own_group_is_mounted_at_the_top(tmp_path) -> None:
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "200000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}
    root = machine(tmp_path, V1.format(top="/docker/4f"), "2:cpu,cpuacct:/docker/4f\n", files)
    assert find_cores(root).quota == 2.0


@pytest.mark.parametrize("text", ["max 100000\n", "", "rubbish", "0 0\n", "-1 100000"])
def test_quota__that_is_none_or_cannot_be_read_limits_nothing(tmp_path, text) -> None:
    assert find_cores(machine(tmp_path, V2, "0::/\n", {"cpu.max": text})).quota is None


def test_quota__on_a_system_without_proc_limits_nothing(tmp_path) -> None:
    assert find_cores(tmp_path).quota is None


@pytest.mark.parametrize(
    ("affinity", "quota", "usable"), [(8, None, 8), (8, 2.0, 2), (8, 1.5, 1), (8, 0.25, 1), (2, 6.0, 2)]
)
def test_usable__is_whole_cores_and_at_least_one(affinity, quota, usable) -> None:
    assert Cores(affinity, quota).usable == usable


def test_fit__sets_passive_waiting_and_as_many_threads_as_are_asked_for() -> None:
    environment: dict[str, str] = {}
    fit_threads(3, environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "OMP_NUM_THREADS": "3"}


def test_fit__leaves_the_number_to_torch_where_nothing_limits_it(monkeypatch) -> None:
    monkeypatch.setattr("samcli.sam.threads.find_cores", lambda: Cores(os.cpu_count() or 1, None))
    environment: dict[str, str] = {}
    fit_threads(None, environment)
    assert "OMP_NUM_THREADS" not in environment


def test_fit__keeps_to_the_quota(monkeypatch) -> None:
    monkeypatch.setattr("samcli.sam.threads.find_cores", lambda: Cores(64, 2.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    environment: dict[str, str] = {}
    fit_threads(None, environment)
    assert environment["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize(
    "given", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "100"}, {"KMP_BLOCKTIME": "200"}]
)
def test_fit__keeps_what_the_user_has_set(given) -> None:
    environment = {**given, "OMP_NUM_THREADS": "7"}
    before = dict(environment)
    fit_threads(2, environment)
    assert environment == before


def test_threads_option__reaches_the_environment_before_the_job_is_imported(
    samcli_run, monkeypatch, tmp_path: Path
) -> None:
    asked: list[int | None] = []
    monkeypatch.setattr("samcli.cli.commands.fit_threads", asked.append)
    samcli_run("encode", tmp_path, "--sam", "tiny", "--threads", 3)
    assert asked == [3]
    assert "--threads" in samcli_run("encode", tmp_path, "--sam", "tiny", "--threads", 0).stderr
