"""All that the kernels take from inside Numba, in one place, each part with its reason.

Numba promises to keep `numba` and `numba.extending` as they are, and nothing else. What comes from
`numba.core` and `llvmlite` may change with any version. So only this file imports it, and an
import that fails says which part is gone and what to do. Whether the parts still do what they did,
`tests/test_simd.py` finds out by compiling with them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numba

from minisasrec.errors import ConfigError

PARTS = {
    # settings: the cache folder, the processor's features, and whether kernels are compiled at all
    "CACHE_DIR": "numba.core.config",
    "CPU_FEATURES": "numba.core.config",
    "DISABLE_JIT": "numba.core.config",
    "config": "numba.core",
    # machine code in a file: `CompileResult` is taken apart for it, `dumps` writes types as well
    "CompileResult": "numba.core.compiler",
    "dumps": "numba.core.serialize",
    "__version__": "llvmlite",  # it makes the machine code
    # the note "compiling kernels", which a kernel from the cache must not cause
    "Listener": "numba.core.event",
    "register": "numba.core.event",
    # how wide the vectors of this processor are
    "get_host_cpu_features": "numba.core.codegen",
    # the processor that a run's receipt names
    "get_host_cpu_name": "llvmlite.binding",
    # +, - and * of vectors: Numba's public way, `overload`, cannot give LLVM code for an operator
    "AbstractTemplate": "numba.core.typing.templates",
    "infer_global": "numba.core.typing.templates",
    "signature": "numba.core.typing.templates",
    # LLVM code of the intrinsics: types and constants, loops, and calls of LLVM's own functions
    "ir": "llvmlite",
    "cgutils": "numba.core",
}


def part(name: str) -> Any:
    """What `PARTS` lists under this name, or a `ConfigError` if this version of Numba lacks it."""
    module = PARTS[name]
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        raise ConfigError(
            f"Numba {numba.__version__} changed {module}.{name}, which the kernels need; install "
            "an older Numba, or set MINISASREC_BACKEND=numpy to do without kernels"
        ) from None


found = {name: part(name) for name in PARTS}  # all of them now: a setting is looked up later

config = found["config"]
CompileResult, dumps = found["CompileResult"], found["dumps"]
llvmlite_version = found["__version__"]
Listener, register = found["Listener"], found["register"]
get_host_cpu_features = found["get_host_cpu_features"]
get_host_cpu_name = found["get_host_cpu_name"]
AbstractTemplate, infer_global = found["AbstractTemplate"], found["infer_global"]
signature = found["signature"]
ir, cgutils = found["ir"], found["cgutils"]
