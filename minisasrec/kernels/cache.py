"""Compiled kernels on disk: one file a kernel and argument types, checked when it is read.

Numba has a cache of its own, with an index file and numbered files of machine code for each
function. It is not used here, for three reasons. A file that is empty or cut ends every later run
with a traceback. Flipped bits run as machine code. Two processes that compile the same kernel for
other types at the same time can give both the same number, so that a later run gets the code for
the wrong types.

Here the name of a file is the hash of its key: types, processor, source. A file holds the SHA-256
of the rest, the key, and the machine code. A file that does not fit its name or its hash is
compiled again. Where nothing can be written, kernels are compiled in memory.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from minisasrec.kernels.simd.internals import CompileResult, dumps
from minisasrec.terminal import say

HASH = hashlib.sha256().digest_size


@lru_cache(None)
def _told(line: str) -> None:
    """Say a line once in a process: what concerns one kernel mostly concerns all."""
    say(line)


@lru_cache(None)
def _source(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


class KernelCache:
    """What a Numba dispatcher asks for compiled code, and gives it to."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self.function, self.folder = function, folder
        self.cache_path = str(folder)  # Numba's name; it shows this in a kernel's `stats`

    def load_overload(self, types: Any, target: Any) -> Any:
        """The compiled kernel for these argument types, or None: compile it."""
        target.refresh()  # the names that compiled code refers to
        key = self._key(types, target.codegen())
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:  # not there, most often
            return None
        digest, body = content[:HASH], content[HASH:]
        if hashlib.sha256(body).digest() == digest:
            with suppress(Exception):  # whole, but of another Python, or the like
                found, parts = pickle.loads(body)
                if found == key:
                    return CompileResult._rebuild(target, *parts)
        _told(f"note: damaged files of compiled kernels in {self.folder} are made again")
        return None

    def save_overload(self, types: Any, compiled: Any) -> None:
        """Keep a compiled kernel. Where that cannot be, say so once, and go on."""
        if compiled.lifted or compiled.library.has_dynamic_globals:
            return  # it holds addresses of this process
        key = self._key(types, compiled.codegen)
        body = dumps((key, compiled._reduce()))
        try:
            self._write(self._path(key), hashlib.sha256(body).digest() + body)
        except OSError as error:
            _told(
                f"note: compiled kernels cannot be kept in {self.folder} "
                f"({error.strerror or error}), so each run compiles them; NUMBA_CACHE_DIR names "
                "another folder"
            )

    def _write(self, path: Path, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=path.stem, suffix=".tmp", dir=self.folder)
        temporary = Path(name)
        try:
            with open(number, "wb") as file:
                file.write(content)
            temporary.chmod(0o644)  # as other files: a class may share the folder
            with suppress(PermissionError):  # Windows: another process reads it, or is faster
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _key(self, types: Any, codegen: Any) -> str:
        code = self.function.__code__
        return repr((types, codegen.magic_tuple(), code.co_code, _source(code.co_filename)))

    def _path(self, key: str) -> Path:
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        return self.folder / f"{self.function.__module__}.{self.function.__name__}-{digest}.kernel"

    def flush(self) -> None:
        """Forget nothing: a file that no longer fits its source has another name."""
