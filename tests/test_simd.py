"""What the kernels take from inside Numba: in one file, and still doing what it did."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import minisasrec
from minisasrec.errors import ConfigError
from minisasrec.kernels import jit
from minisasrec.kernels.simd import atomic, internals, tile, vector

ROOT = Path(minisasrec.__file__).parent


def test_one_file_imports_what_numba_may_change():
    found = {}
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                parts = name.split(".")
                public = parts[0] == "numba" and parts[1:2] in ([], ["types"], ["extending"])
                if parts[0] in ("numba", "llvmlite") and not public:
                    found[path.relative_to(ROOT).as_posix()] = name
    assert found == {}, "import it from kernels/simd/internals.py, with its reason"
    assert set(internals.PARTS.values()) >= {"numba.core", "llvmlite"}


@pytest.mark.parametrize("name", internals.PARTS)
def test_a_numba_without_a_part_is_told_in_one_line(monkeypatch, name):
    module = importlib.import_module(internals.PARTS[name])
    monkeypatch.delattr(module, name)
    with pytest.raises(ConfigError) as caught:
        internals.part(name)
    message = str(caught.value)
    assert f"Numba {numba.__version__} changed {module.__name__}.{name}" in message
    assert "\n" not in message


@jit.kernel
def _lanes(x, y, n):
    return vector.lanes(x)


@jit.kernel
def _loads_and_stores(x, y, n):
    vector.store(y, 0, vector.load(x, 0))


@jit.kernel
def _parts_of_vectors(x, y, n):
    vector.store_part(y, 0, 3, vector.load_part(x, 0, 3))


@jit.kernel
def _arithmetic(x, y, n):
    a, b = vector.load(x, 0), vector.fill(x, 2.0)
    vector.store(y, 0, vector.fma(a, b, a * b + a - b))


@jit.kernel
def _selections(x, y, n):
    a, b = vector.load(x, 0), vector.fill(x, 2.0)
    vector.store(
        y, 0, vector.where_above(vector.at_least(a, b), b, vector.where_before(0, 3, a, b), b)
    )


@jit.kernel
def _sums(x, y, n):
    return vector.total(vector.load(x, 0)) + vector.largest(vector.load(x, 0))


@jit.kernel
def _exp(x, y, n):
    vector.store(y, 0, vector.exp(vector.load(x, 0)))


@jit.kernel
def _transposes(x, y, n):
    whole = tile.View(0, 32, 1)
    tile.transpose(x, whole, 3, y, whole)


@jit.kernel
def _tiles(x, y, n):
    whole = tile.View(0, 32, 1)
    tile.tile((6, 5, vector.lanes(x)), x, whole, x, whole, x, whole, y, whole)


@jit.kernel
def _atomics(x, y, n):
    atomic.put(n, 0, 5)
    return atomic.count(n, 0) + atomic.look(n, 0)


USES = {
    use.__name__.strip("_"): use
    for use in (
        _lanes, _loads_and_stores, _parts_of_vectors, _arithmetic, _selections, _sums, _exp,
        _transposes, _tiles, _atomics,
    )
}  # fmt: skip


def outcome(name: str) -> np.ndarray:
    """What a use writes and returns, in one array."""
    x = -np.random.default_rng(0).random((32, 32)).astype(np.float32)
    y = np.zeros_like(x)
    value = USES[name](x, y, np.zeros(2, np.int64))
    return np.append(y, 0 if value is None else value)


@pytest.fixture(scope="module")
def in_plain_python(tmp_path_factory) -> dict[str, np.ndarray]:
    file = tmp_path_factory.mktemp("plain") / "outcomes.npz"
    program = (
        f"import numpy as np, test_simd as t; np.savez({str(file)!r}, "
        "**{name: t.outcome(name) for name in t.USES})"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", program]
    subprocess.run(command, env=environment, cwd=Path(__file__).parent, check=True)
    return dict(np.load(file))


@pytest.mark.parametrize("name", USES)
def test_numba_still_compiles(name, in_plain_python):
    """An error from inside Numba says which version changed what."""
    try:
        compiled = outcome(name)
    except Exception as error:  # of any kind
        pytest.fail(f"Numba {numba.__version__} changed what {name} is built from: {error!r}")
    np.testing.assert_allclose(compiled, in_plain_python[name], rtol=1e-6, atol=1e-6)


def test_the_cache_folder_depends_on_every_file_of_the_kernels(monkeypatch, tmp_path):
    """Also on those in simd: a helper from there is a part of other files' machine code."""
    before = jit._content_hash()
    read = Path.read_bytes
    for path in (ROOT / "kernels").rglob("*.py"):

        def changed(file: Path, path: Path = path) -> bytes:
            return read(file) + b"#" * (file == path)

        monkeypatch.setattr(Path, "read_bytes", changed)
        assert jit._content_hash() != before, path


def test_a_rung_of_the_ladder_that_is_compiled_is_announced(tmp_path):
    """Run as a program it is `__main__`, whose name does not say that it is ours."""
    program = """
import numpy as np
from minisasrec.teach import ladder
ladder.softmax_vector.py_func.__module__ = "__main__"
ladder.softmax_vector(np.ones((2, 3)))
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr.startswith("compiling kernels (first run only")
