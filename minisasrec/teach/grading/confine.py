"""What is taken from the process that runs an answer: memory, files, other processes.

Each limit holds where the system has it; `confine` returns the names of those that hold:

- memory, processor time, size of files: `setrlimit` (Linux, and macOS but for memory);
- files: Landlock (Linux 5.13 or newer). The process reads what Python and the package need, and
  writes to its own temporary folder alone;
- other processes: Landlock again (Linux 6.12 or newer). It cannot send them signals, nor look into
  them (from 5.13), nor reach the network by TCP (from 6.7).

Windows has none of these here. There, and wherever more is at stake, grade in a container.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

from minisasrec.teach.attempt import PACKAGE

Limits = list[str]

# Landlock: numbers of the system calls (the same on all processors) and of the rights
CREATE, ADD, RESTRICT = 444, 445, 446
EXECUTE, WRITE, READ, LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}  # by version
NO_NEW_PRIVILEGES = 38  # for prctl


def confine(folder: Path, memory: int, seconds: int) -> Limits:
    """Limit this process for good: to `memory` more bytes, and to write in `folder` alone."""
    return [*_resources(memory, seconds), *_landlock(folder)]


def _resources(memory: int, seconds: int) -> Limits:
    try:
        import resource
    except ImportError:  # Windows
        return []
    held = []
    sizes = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": 100_000_000,
        "RLIMIT_CPU": 2 * seconds + 10,
    }
    if sys.platform == "linux":  # macOS takes this limit and does not hold it
        sizes["RLIMIT_AS"] = _in_use() + memory
        held.append("memory")
    for name, size in sizes.items():
        with suppress(ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (size, size))
    return [*held, "processor time"]


def _in_use() -> int:
    """Bytes of address space of this process."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def readable() -> list[Path]:
    """What an answer may read: Python, libraries, package, system. No files of the class."""
    places = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()}
    places |= {path for path in sys.path if path.endswith(("site-packages", "dist-packages"))}
    places |= {str(PACKAGE)}
    places |= {"/usr", "/lib", "/lib64", "/bin", "/etc", "/dev", "/proc", "/sys/devices"}
    with suppress(ImportError):  # where Numba is
        from minisasrec.kernels.jit import CACHE_FOLDER

        places |= {str(CACHE_FOLDER)} if CACHE_FOLDER else set()
    return [Path(place) for place in sorted(places) if Path(place).is_dir()]


def _landlock(folder: Path) -> Limits:
    if sys.platform != "linux":
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE, None, 0, 1)
    if version < 1:
        return []
    every = RIGHTS[max(known for known in RIGHTS if known <= version)]
    rules = struct.pack(
        "QQQ", every, 3 if version >= 4 else 0, 3 if version >= 6 else 0
    )  # files; TCP; abstract sockets and signals
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = libc.syscall(CREATE, rules[:size], size, 0)
    if ruleset < 0:
        return []
    try:
        allowed = dict.fromkeys(readable(), EXECUTE | READ | LIST)
        allowed |= {Path("/dev/null"): READ | WRITE, folder: every}
        for path, rights in allowed.items():
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            with_files = rights if path.is_dir() else rights & (EXECUTE | WRITE | READ)
            libc.syscall(ADD, ruleset, 1, struct.pack("=Qi", with_files, place), 0)
            os.close(place)
        if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.syscall(RESTRICT, ruleset, 0):
            return []
    finally:
        os.close(ruleset)
    return ["files", *(["network"] if version >= 4 else []), *(["signals"] if version >= 6 else [])]
