"""The one place that knows Numba: how kernels are compiled, cached, threaded and announced.

A kernel file defines serial helpers with `@kernel` and a thin threaded entry with
`@parallel_kernel`. The threaded entries of this package all have one form, where `threads` comes
from `get_threads()` (asking for it inside would make the code impossible to cache)::

    counter = np.zeros(1, np.int64)
    for _ in prange(threads):       # one worker per thread, with its own scratch memory
        _worker(counter, ...)       # serial: takes task numbers from `counter` until none is left

where a task is a *fixed* piece of the work (64 rows, one sequence) that does not depend on the
number of threads. Who computes a task cannot change its bits, so neither can the thread count.

Fast-math: `contract` (fused multiply-add), `reassoc` (vector sums), `nsz` and `arcp` only. The
flags `nnan` and `ninf` would let the compiler assume that no value is infinite or NaN, and a
diverging loss must show up as NaN rather than as nonsense.

Cache: compiled code goes to a folder of the user's cache directory named after a hash of every file
in this package. Numba by itself looks only at the file a function is in, so that it would keep
using a stale copy of a helper inlined from another file. `NUMBA_CACHE_DIR` moves the folder.
`NUMBA_DISABLE_JIT=1` runs every kernel as plain Python, to be walked with pdb.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import config, event
from numba.extending import intrinsic, overload

from minisasrec.errors import ConfigError

SAFE_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
COMPILE_SECONDS = 40  # what a first run takes on a small machine, for the message


# --- the cache folder ------------------------------------------------------------------------


def _user_cache_dir() -> Path:
    if config.CACHE_DIR:  # NUMBA_CACHE_DIR
        return Path(config.CACHE_DIR)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser()


def _content_hash() -> str:
    digest = hashlib.sha256(f"{numba.__version__} {np.__version__}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder() -> str | None:
    """The folder for compiled kernels, or None (compile in memory) where none can be written."""
    try:
        folder = _user_cache_dir() / "minisasrec" / f"kernels-{_content_hash()}"
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return None
    return str(folder)


CACHE_FOLDER = _cache_folder()


# --- compiling -------------------------------------------------------------------------------


class _CompileNotice(event.Listener):
    """Says once that kernels are being compiled; a kernel loaded from the cache fires no event."""

    def on_start(self, event: Any) -> None:
        if event.data["dispatcher"].py_func.__module__.startswith(__package__ + "."):
            numba.core.event.unregister("numba:compile", self)
            print(
                f"compiling kernels (first run only, about {COMPILE_SECONDS} s) ...",
                file=sys.stderr,
                flush=True,
            )

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _CompileNotice())


def _jit(function: Callable[..., Any], parallel: bool, fastmath: set[str]) -> Callable[..., Any]:
    before = config.CACHE_DIR
    config.CACHE_DIR = CACHE_FOLDER or before
    try:
        return numba.njit(
            function,
            cache=CACHE_FOLDER is not None,
            parallel=parallel,
            fastmath=fastmath,
            nogil=True,
            error_model="numpy",
        )
    finally:
        config.CACHE_DIR = before


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` as serial code, to be called (and mostly inlined) by other kernels."""
    return _jit(function, parallel=False, fastmath=SAFE_FASTMATH)


def exact_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like `kernel`, but the order of the operations is kept (for range reduction and the like)."""
    return _jit(function, parallel=False, fastmath={"contract"})


def parallel_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` with `prange` over threads; keep its body to one call of a `@kernel`."""
    return _jit(function, parallel=True, fastmath=SAFE_FASTMATH)


# --- threads ---------------------------------------------------------------------------------


def set_threads(n: int) -> None:
    """Let kernels called from this Python thread use `n` threads; results do not depend on it."""
    most = config.NUMBA_NUM_THREADS
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or not 1 <= n <= most:
        raise ConfigError(
            f"threads must be a whole number from 1 to {most} here, got {n!r}; "
            "set NUMBA_NUM_THREADS before the program starts to raise the limit"
        )
    numba.set_num_threads(int(n))


def get_threads() -> int:
    """How many threads kernels called from this Python thread use."""
    return int(numba.get_num_threads())


@intrinsic
def _fetch_add(typingctx, counter):
    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        one = context.get_constant(types.int64, 1)
        return builder.atomic_rmw("add", data, one, "monotonic")

    return types.int64(counter), codegen


def next_task(counter: np.ndarray) -> int:
    """Take the next task number from `counter` (1 int64, starts at 0); safe between threads."""
    counter[0] += 1
    return counter[0] - 1


@overload(next_task)
def _next_task_jit(counter):
    return lambda counter: _fetch_add(counter)
