"""The one place that knows Numba: how kernels are compiled, cached, threaded and announced.

A kernel file defines serial functions with `@kernel`. Those that do the work of an op are
*workers*: `run(worker, tasks, ...)` calls one in several threads at once, and each call takes task
numbers from a common counter until none is left::

    @kernel
    def _worker(counter, x, y):
        ...                            # scratch memory of this thread
        task = next_task(counter)
        while task >= 0:
            ...                        # rows 64 * task to 64 * task + 63
            task = next_task(counter)

A task is a *fixed* piece of the work that does not depend on the number of threads. Who computes a
task cannot change its bits, so neither can the thread count. Threads are plain Python threads:
compiled code releases the GIL. (`@parallel_kernel`, with Numba's own `prange` and threads, takes
the compiler up to 5 s more for a kernel, because the body is compiled again at every level.)

Fast-math: `contract` (fused multiply-add), `reassoc` (vector sums), `nsz` and `arcp` only. The
flags `nnan` and `ninf` would let the compiler assume that no value is infinite or NaN, and a
diverging loss must show up as NaN rather than as nonsense.

Cache: compiled code goes to a folder of the user's cache directory named after a hash of every file
in this package. Numba by itself looks only at the file a function is in, so that it would keep
using a stale copy of a helper inlined from another file. `NUMBA_CACHE_DIR` moves the folder.
`NUMBA_DISABLE_JIT=1` runs every kernel as plain Python, to be walked with pdb.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import config, event
from numba.extending import intrinsic

from minisasrec.errors import ConfigError

SAFE_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
COMPILE_SECONDS = 30  # what a first run takes on a small machine, for the message


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

    given = False

    def on_start(self, event: Any) -> None:
        module = event.data["dispatcher"].py_func.__module__
        if not self.given and module.startswith(__package__ + "."):
            self.given = True
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


def compiled_from(python: Callable[..., Any]) -> Callable[[Any], Any]:
    """Decorate LLVM code, a Numba intrinsic, that does what the `python` function says.

    Without the compiler (NUMBA_DISABLE_JIT) the Python function itself takes its place.
    """
    return lambda build: python if config.DISABLE_JIT else intrinsic(build)


def parallel_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` with `prange` over Numba's own threads."""
    _start_numba_threads()
    return _jit(function, parallel=True, fastmath=SAFE_FASTMATH)


@functools.cache
def _start_numba_threads() -> None:
    """Start Numba's threads now, such that they sleep between kernels.

    GNU OpenMP, if Numba uses it, lets an idle thread spin for milliseconds, on a core that `run`
    or another program may need. It reads this variable once, when it is loaded.
    """
    name = "OMP_WAIT_POLICY"
    given = os.environ.get(name)
    os.environ[name] = given or "passive"
    try:
        numba.get_num_threads()
    finally:
        if given is None:
            del os.environ[name]


# --- threads ---------------------------------------------------------------------------------

_threads = config.NUMBA_NUM_THREADS
_helpers: ThreadPoolExecutor | None = None


def set_threads(n: int) -> None:
    """Let kernels use `n` threads; results do not depend on it."""
    global _threads
    most = config.NUMBA_NUM_THREADS
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or not 1 <= n <= most:
        raise ConfigError(
            f"threads must be a whole number from 1 to {most} here, got {n!r}; "
            "set NUMBA_NUM_THREADS before the program starts to raise the limit"
        )
    _threads = int(n)
    numba.set_num_threads(_threads)


def get_threads() -> int:
    """How many threads kernels use."""
    return _threads


def _forget_helpers() -> None:
    global _helpers
    _helpers = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)  # a forked child has no such threads


def run(worker: Callable[..., None], tasks: int, *arguments: Any) -> None:
    """Call worker(counter, *arguments), in up to `get_threads()` threads, until no task is left."""
    global _helpers
    counter = np.array([0, tasks])
    # `next_task` in plain Python, without the compiler, is not safe between threads
    helpers = 0 if config.DISABLE_JIT else max(0, min(_threads, tasks) - 1)
    if helpers and _helpers is None:
        _helpers = ThreadPoolExecutor(config.NUMBA_NUM_THREADS, "minisasrec-kernel")
    calls = [_helpers.submit(worker, counter, *arguments) for _ in range(helpers)]
    try:
        worker(counter, *arguments)
    finally:
        for call in calls:
            if not call.cancel():  # else it had not begun, and there is nothing left for it to do
                call.result()


def next_task(counter: np.ndarray) -> int:
    """Take the next task number from `counter` (next, end), or -1 at the end."""
    counter[0] += 1
    return counter[0] - 1 if counter[0] <= counter[1] else -1


@compiled_from(next_task)
def next_task(typingctx, counter):
    def codegen(context, builder, signature, args):
        next_and_end = context.make_array(signature.args[0])(context, builder, args[0]).data
        one = context.get_constant(types.int64, 1)
        task = builder.atomic_rmw("add", next_and_end, one, "monotonic")
        end = builder.load(builder.gep(next_and_end, [one]))
        none = context.get_constant(types.int64, -1)
        return builder.select(builder.icmp_signed("<", task, end), task, none)

    return types.int64(counter), codegen
