"""How many processor cores this process may use.

A container with a CPU quota (`docker --cpus=2`, a Kubernetes limit) still shows all cores of its
host. A program that starts a thread for each of them is stopped by the system again and again
within every tenth of a second, and its threads wait for each other: evaluation with 16 threads on
2 cores took eleven times as long as with one. So the number is the least of

- the cores that the system lets this process run on (its affinity),
- the quota of its control groups (Linux cgroups, version 1 or 2), rounded up,
- NUMBA_NUM_THREADS, if that is set.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MEMBERSHIP, ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def available_cores() -> int:
    """The number of cores that this process may use, at least 1."""
    quotas = _quotas(MEMBERSHIP, ROOT)
    return max(1, min([_affinity(), *quotas, *_wanted()]))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _wanted() -> Iterator[int]:
    """NUMBA_NUM_THREADS, if it is a whole number from 1 on."""
    text = os.environ.get("NUMBA_NUM_THREADS", "").strip()
    if text.isdecimal() and int(text):
        yield int(text)


def _quotas(membership: Path, root: Path) -> Iterator[int]:
    """The quotas of this process's control groups and of the groups around them, in cores."""
    for group in control_groups("cpu", membership, root):
        yield from _quota(group)


def control_groups(
    controller: str, membership: Path = MEMBERSHIP, root: Path = ROOT
) -> Iterator[Path]:
    """The folders of this process's control groups, and of the groups around them.

    `membership` names a group per line: "0::/a/b" is one of version 2, "4:cpu,cpuacct:/a/b" one of
    version 1. `root` is the folder where all groups can be read. A group limits the groups in it.
    """
    for line in _read(membership).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if number == "0" and not controllers:
            folders = [root, root / "unified"]
        elif controller in controllers.split(","):
            folders = [root / controller, root / "cpu,cpuacct", root / "cpuacct,cpu"]
        else:
            continue
        group = PurePosixPath(name.lstrip("/"))
        # inside a container, `name` may be the host's, and its own group is then the root
        for folder in folders:
            for each in (group, *group.parents):
                yield folder / each


def _quota(group: Path) -> Iterator[int]:
    """The quota of one control group: microseconds of processor time in each period."""
    quota, _, period = _read(group / "cpu.max").strip().partition(" ")  # version 2
    if not quota:  # version 1
        quota, period = (_read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # no such file, or "max": no limit
        return
    if cores > 0:  # -1 is no limit in version 1
        yield math.ceil(cores)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
