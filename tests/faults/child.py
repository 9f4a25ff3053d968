"""A command in a process that ends itself, or finds its disk full, at a chosen moment.

Each write, fsync, rename and so on of a file in the run's folder is counted. At the one whose
number is in MINISASREC_FAULT_AT the process is killed just before it, or the call fails. With the
number 0 nothing happens, and how many there were is written into the file MINISASREC_FAULT_COUNT.
What else is opened to be written, renamed, made or removed, outside the folder, is listed in the
file MINISASREC_FAULT_OUTSIDE. MINISASREC_FAULT_COMMAND is the command, `train` by default.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from minisasrec.commands.cli import run_command

COMMAND = os.environ.get("MINISASREC_FAULT_COMMAND", "train")
AT = int(os.environ.get("MINISASREC_FAULT_AT", 0))
KIND = os.environ.get("MINISASREC_FAULT_KIND", "kill")
FOLDER = os.path.realpath(os.environ.get("MINISASREC_FAULT_FOLDER", "nowhere"))
COUNT = Path(os.environ.get("MINISASREC_FAULT_COUNT", os.devnull))
OUTSIDE = Path(os.environ.get("MINISASREC_FAULT_OUTSIDE", os.devnull))
passed = 0
outside: list[str] = []


def before(what: str, place: Any) -> None:
    """Called before each call that changes what is on the disk."""
    global passed
    if not isinstance(place, str | os.PathLike):
        return
    if not os.path.realpath(place).startswith(FOLDER):
        outside.append(f"{what} {os.path.realpath(place)}")
        return
    passed += 1
    if passed == AT:
        if KIND == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, "No space left on device", str(place))


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: Python tells here of files that are opened, renamed and removed."""
    if event == "open":
        path, mode, flags = arguments
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND
        if isinstance(flags, int) and flags & writes:
            before("open", path)
    elif event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir"):
        before(event, arguments[0])


class Watched(io.FileIO):
    """A file whose every write is half done before the fault comes."""

    def write(self, content: Any) -> int:
        global passed
        view = memoryview(content).cast("B")
        if passed + 1 == AT and os.path.realpath(str(self.name)).startswith(FOLDER):
            super().write(view[: len(view) // 2])
        before("write", self.name)
        return super().write(content)


def open_watched(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
    """`open`, with writes that are watched where they go into the folder by name."""
    if isinstance(file, str | os.PathLike) and set(mode) & set("wax+") and "b" in mode:
        return io.BufferedWriter(Watched(os.fspath(file), mode.replace("b", "")))
    return real_open(file, mode, *rest, **named)


def watch_fsync(number: int) -> None:
    """`os.fsync`, watched."""
    before("fsync", os.readlink(f"/proc/self/fd/{number}") if Path("/proc").exists() else FOLDER)
    real_fsync(number)


if __name__ == "__main__":
    real_open, real_fsync = io.open, os.fsync
    os.fsync = watch_fsync
    Path.write_bytes = lambda self, data: _write(self, data)  # type: ignore[assignment, method-assign]

    def _write(path: Path, data: bytes) -> int:
        with open_watched(path, "wb") as file:
            return int(file.write(data))

    sys.addaudithook(watch)
    status = run_command(import_module(f"minisasrec.{COMMAND}").main, sys.argv[1:])
    listed, counted = "\n".join(outside), str(passed)
    COUNT.write_text(counted)
    OUTSIDE.write_text(listed)
    sys.exit(status)
