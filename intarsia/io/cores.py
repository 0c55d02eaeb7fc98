"""How many processor cores this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
"""Of Linux's control groups: where their limits are, and those that this process is in."""


def available_cores() -> int:
    """Cores that this process may use, at least 1.

    Fewer than the machine has where a batch system binds processes to some of them, or a container has a quota of time
    (`docker --cpus`, limits of Kubernetes); `os.cpu_count` knows neither, and threads for all cores of a large machine
    then stand in each other's way on a few.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """Cores' worth of time that each control group around this process grants, where it has a limit."""
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return  # another system than Linux
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = GROUPS / controllers  # version 1; version 2 names no controllers
        if controllers and "cpu" not in controllers.split(","):
            continue
        own = root / path.lstrip("/")
        for group in (own, *(parent for parent in own.parents if parent.is_relative_to(root))):
            quota = _quota(group)
            if quota is not None:
                yield quota


def _quota(group: Path) -> float | None:
    """Of one group; None where it has no limit, or its files cannot be seen from within a container."""
    try:
        if (group / "cpu.max").is_file():
            granted, period = (group / "cpu.max").read_text(encoding="ascii").split()
        else:
            granted = (group / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (group / "cpu.cfs_period_us").read_text(encoding="ascii")
        return int(granted) / int(period) if granted not in ("max", "-1") else None
    except (OSError, ValueError):
        return None
