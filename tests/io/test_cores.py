"""`available_cores`: bindings, and quotas of control groups of both versions, drawn as files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from intarsia.io import cores
from intarsia.io.cores import available_cores


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 cores, all of which this process may use, without quotas."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(cores, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "MEMBERSHIP", tmp_path / "membership")
    (tmp_path / "cgroup").mkdir()
    return tmp_path / "cgroup"


def grant(group: Path, **files: str) -> None:
    group.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (group / name.replace("__", ".")).write_text(f"{text}\n")


def member(groups: Path, *lines: str) -> None:
    (groups.parent / "membership").write_text("".join(f"{line}\n" for line in lines))


def test_without_control_groups_the_cores_that_one_is_bound_to(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_cores() == 64
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 17})
    assert available_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS and Windows
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert available_cores() == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("400000 100000", 4), ("250000 100000", 3), ("5000 100000", 1), ("max 100000", 64), ("broken", 64)],
)
def test_a_quota_of_version_two(groups: Path, limit: str, expected: int) -> None:
    """In a container, whose own group is the root of what it sees; parts of a core count as a whole one."""
    grant(groups, cpu__max=limit)
    member(groups, "0::/")
    assert available_cores() == expected


def test_the_groups_around_ones_own_limit_too(groups: Path) -> None:
    """Kubernetes limits the pod, SLURM the job."""
    grant(groups / "pods" / "mine" / "container", cpu__max="max 100000")
    grant(groups / "pods" / "mine", cpu__max="200000 100000")
    grant(groups / "pods", cpu__max="1600000 100000")
    member(groups, "0::/pods/mine/container")
    assert available_cores() == 2
    member(groups, "0::/pods/another")
    assert available_cores() == 16


@pytest.mark.parametrize(("quota", "expected"), [("600000", 6), ("-1", 64)])
def test_a_quota_of_version_one(groups: Path, quota: str, expected: int) -> None:
    grant(groups / "cpu,cpuacct" / "docker" / "1f", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000")
    grant(groups / "memory" / "docker" / "1f", cpu__max="100000 100000")  # not of the processor's controller
    member(groups, "5:memory:/docker/1f", "3:cpu,cpuacct:/docker/1f", "1:name=systemd:/docker/1f")
    assert available_cores() == expected


def test_a_group_that_cannot_be_seen_from_within_a_container(groups: Path) -> None:
    """Docker with version 1 names the group of the host, and mounts the container's own at the root."""
    grant(groups / "cpu,cpuacct", cpu__cfs_quota_us="300000", cpu__cfs_period_us="100000")
    member(groups, "3:cpu,cpuacct:/docker/1f")
    assert available_cores() == 3


def test_a_binding_and_a_quota(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grant(groups, cpu__max="400000 100000")
    member(groups, "0::/")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2})
    assert available_cores() == 2


def test_this_machine_has_some() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
