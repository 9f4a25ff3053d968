"""What every command takes about the machine: threads, backend, and memory."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Literal

from minisasrec.backends import use_backend
from minisasrec.budget import budget, use_budget
from minisasrec.errors import ConfigError
from minisasrec.kernels.cores import available_cores
from minisasrec.kernels.threads import threads
from minisasrec.models.ranges import check_choices

Backend = Literal["numba", "numpy"]


@dataclass(frozen=True)
class MachineOptions:
    """Threads, backend, memory. Results do not depend on the threads of the numba backend."""

    threads: int | None = None
    """Threads of the numba backend; by default up to all cores, or one for work too small to
    share. Results do not depend on it."""
    backend: Backend | None = None
    """numba: fast. numpy: by the book, no compilation. Default: numba, or $MINISASREC_BACKEND."""
    max_memory: float | None = None
    """Memory in GB that reading and training may take; what would take more is refused before it
    begins. Default: all memory of this machine."""

    def check(self) -> None:
        """Raise `ConfigError` for another backend, threads below 1, or no memory at all."""
        if self.backend is not None:
            check_choices(self, backend=Backend)
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"--threads is {self.threads}; it must be at least 1")
        if self.max_memory is not None and not 0 < self.max_memory < float("inf"):
            raise ConfigError(f"--max-memory is {self.max_memory}; it must be above 0, in GB")


def on_machine(machine: MachineOptions) -> AbstractContextManager[object]:
    """Inside this block, what is given holds; afterwards what was before."""
    block = ExitStack()
    if machine.backend:
        block.enter_context(use_backend(machine.backend))
    if machine.threads:
        block.enter_context(threads(machine.threads))
    block.enter_context(budget(machine.max_memory))
    return block


def use_machine(machine: MachineOptions) -> None:
    """Apply what is given, to this process."""
    machine.check()
    use_budget(machine.max_memory)
    if machine.backend:
        use_backend(machine.backend)
    if machine.threads:
        threads(machine.threads)
        if machine.threads > (cores := available_cores()):
            warnings.warn(
                f"--threads is {machine.threads}, but this process may use {cores} core"
                f"{'s' * (cores > 1)}: more threads than cores are slower",
                stacklevel=2,
            )
