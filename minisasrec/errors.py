"""Every error this package raises on purpose: one line that says what was wrong and what to do.

The command line prints such an error as one line and exits with status 2 for a wrong setting
(`ConfigError`) and 1 otherwise. Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

from minisasrec.terminal import LONGEST, printable


class MinisasrecError(Exception):
    """Base class of the errors below.

    A message may quote a file, so it is made one line of limited length (`terminal.printable`).
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message, LONGEST))


class ShapeError(MinisasrecError, ValueError):
    """Arrays of a wrong shape or type, or ids outside of their table."""


class GradientError(MinisasrecError, RuntimeError):
    """A gradient that cannot be right, or a use of a Tensor that would lose one."""


class DataError(MinisasrecError, ValueError):
    """A data set that cannot be found, read or used."""


class ConfigError(MinisasrecError, ValueError):
    """A setting outside its range, or settings that contradict each other."""


class UnknownDatasetError(ConfigError, DataError):
    """A name that is neither a known data set nor a file."""


class CheckpointError(MinisasrecError, RuntimeError):
    """A run folder or weights file that is missing, damaged or of another model."""


class TrainingError(MinisasrecError, RuntimeError):
    """Training that cannot go on: a loss that is not finite, an output folder that is full."""
