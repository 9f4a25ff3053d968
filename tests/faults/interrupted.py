"""A run that begins in a new folder, with Ctrl-C at one line after another, until it has begun.

`python interrupted.py FOLDER` prints how many lines that were. Only lines count that are reached
while the folder is there, in `Run` and in what it calls to write and to lock. It is a program of
its own, since who interrupts filelock at every line leaves it in disorder.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import filelock

from minisasrec import border
from minisasrec.learn import runs
from minisasrec.learn.config import TrainConfig
from minisasrec.learn.runs import Run

WATCHED = {inspect.getfile(module) for module in (runs, border, contextlib)}
WATCHED |= {inspect.getfile(kind) for kind in filelock.FileLock.__mro__[:-1]}


def begin(folder: Path, created: list[Run], line: int) -> None:
    """Begin a run; raises KeyboardInterrupt at line number `line`, if it has so many."""
    seen = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal seen
        if frame.f_code.co_filename not in WATCHED:
            return None
        seen += event == "line" and folder.exists()
        if seen == line:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        with Run(folder).owned():
            run = Run.create(folder, TrainConfig(dataset="log.csv"), {}, {"items.json": b"{}"})
            created.append(run)
    finally:
        sys.settrace(None)


def main(folder: Path) -> None:
    """Interrupt at every line; ends with an error at the first that leaves the folder behind."""
    created: list[Run] = []
    line = 0
    while not created:
        line += 1
        with contextlib.suppress(KeyboardInterrupt):
            begin(folder, created, line)
        if not created and folder.exists():
            gc.collect()  # a block that was entered by half ends when nobody holds it any more
        if not created and folder.exists():
            sys.exit(f"line {line} leaves {sorted(path.name for path in folder.iterdir())}")
    print(line)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
