"""Ctrl-C while a command still imports its modules: one line, as later on (`cli.run_command`).

Importing takes seconds where the disk is cold. Only a program that was started as a command of
this package is changed: while Python looks for the module of `python -m`, sys.argv[0] is "-m".
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

from minisasrec.terminal import say


def _one_line(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        say("interrupted")
    else:
        sys.__excepthook__(kind, error, traceback)


if sys.argv and (sys.argv[0] == "-m" or Path(sys.argv[0]).stem == "minisasrec"):
    sys.excepthook = _one_line
