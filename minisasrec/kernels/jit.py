"""How kernels are compiled and cached. (`team.py`: how several threads share the work of one.)

Fast-math: `contract` (fused multiply-add), `reassoc` (vector sums), `nsz` and `arcp` only. The
flags `nnan` and `ninf` would let the compiler assume that no value is infinite or NaN, and a
diverging loss must become NaN, so that it is noticed.

Cache: compiled code is kept in the user's cache directory, in a folder named after a hash of every
file in `kernels/` and the versions of what compiles them. (Numba itself looks only at the file of a
function. It would go on using old code after a change in a helper from another file.)
`NUMBA_CACHE_DIR` moves the folder. The folders of other versions are removed when nobody has used
them for a month. `cache.py` has the files.

`NUMBA_DISABLE_JIT=1` runs every kernel as plain Python, so that you can step through it with pdb.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
import numpy as np
import platformdirs
from numba.extending import intrinsic

from minisasrec.kernels.cache import KernelCache
from minisasrec.kernels.memory import keep_freed_memory
from minisasrec.kernels.simd.internals import Listener, config, llvmlite_version, register
from minisasrec.terminal import say

SAFE_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
UNUSED = 30 * 24 * 3600  # seconds after which the cache folder of another version is removed
COMPILE_SECONDS = 30  # what a first run takes on a small machine, for the message

keep_freed_memory()  # all kernels come by here


# --- the cache folder ------------------------------------------------------------------------


def _content_hash() -> str:
    versions = (numba.__version__, llvmlite_version, np.__version__, sys.version)
    digest = hashlib.sha256(" ".join(versions).encode())
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder() -> Path | None:
    """The folder for compiled kernels, or None (compile in memory) where there is no home folder.

    It need not be writable: a class may read one that the instructor has filled.
    """
    if config.CACHE_DIR:  # NUMBA_CACHE_DIR
        parent = Path(config.CACHE_DIR).absolute() / "minisasrec"
    else:
        parent = platformdirs.user_cache_path("minisasrec", appauthor=False)
    if not parent.is_absolute():  # a "~" that stands for nothing
        return None
    folder = parent / f"kernels-{_content_hash()}"
    with suppress(OSError):
        os.utime(folder)  # in use
        _remove_unused(parent)
    return folder


def _remove_unused(parent: Path) -> None:
    """Remove folders of other versions, and files that a killed process left half written."""
    for path in (*parent.glob("kernels-*"), *parent.glob("kernels-*/*.tmp")):
        with suppress(FileNotFoundError):  # another program that starts just now was faster
            if time.time() - path.stat().st_mtime > UNUSED:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


CACHE_FOLDER = _cache_folder()


# --- compiling -------------------------------------------------------------------------------


class _CompileNotice(Listener):
    """Says once that kernels are being compiled; a kernel loaded from the cache fires no event."""

    given = False
    package = Path(__file__).parents[1]

    def on_start(self, event: Any) -> None:
        # by its file: a module that is run as a program (teach/ladder.py) has no name of its own
        file = Path(event.data["dispatcher"].py_func.__code__.co_filename)
        if not self.given and file.is_relative_to(self.package):
            self.given = True
            say(f"compiling kernels (first run only, about {COMPILE_SECONDS} s) ...")

    def on_end(self, event: Any) -> None:
        pass


register("numba:compile", _CompileNotice())


def _jit(function: Callable[..., Any], fastmath: set[str]) -> Callable[..., Any]:
    compiled = numba.njit(function, fastmath=fastmath, nogil=True, error_model="numpy")
    # a function from a notebook's cell has no file, and one with a closure depends on more than it
    in_file = Path(function.__code__.co_filename).is_file() and not function.__closure__
    if CACHE_FOLDER and in_file and not config.DISABLE_JIT:
        compiled._cache = KernelCache(function, CACHE_FOLDER)
    return compiled


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` for one thread. Other kernels can call it, and it is mostly inlined."""
    return _jit(function, SAFE_FASTMATH)


def exact_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like `kernel`, but sums are added in the order in which they are written."""
    return _jit(function, {"contract"})


def compiled_from(python: Callable[..., Any]) -> Callable[[Any], Any]:
    """Decorate LLVM code, a Numba intrinsic, that does what the `python` function says.

    Without the compiler (NUMBA_DISABLE_JIT) the Python function itself takes its place.
    """
    return lambda build: python if config.DISABLE_JIT else intrinsic(build)
