"""The ladder: a product, softmax, layer norm, attention and half a block, faster step by step.

Each rung is one idea on top of the one before, short enough to read. The tests compare it with the
op's NumPy definition. The last rung is the kernel that the package uses.

    python -m minisasrec.teach.ladder            times every rung on this machine
    python -m minisasrec.teach.ladder matmul     one ladder
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minisasrec.errors import ConfigError
from minisasrec.kernels import attention, elementwise, feed_forward, layer_norm, matmul, softmax
from minisasrec.kernels.jit import exact_kernel, kernel
from minisasrec.kernels.threads import thread_count, threads
from minisasrec.random import Key

EPS = 1e-8

# --- matmul: C = A B, a (M, K), b (K, N) -----------------------------------------------------


def matmul_python(a, b):
    """c_ij = sum_k a_ik b_kj, one number after another."""
    c = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            for k in range(a.shape[1]):
                c[i, j] += a[i, k] * b[k, j]
    return c


matmul_compiled = exact_kernel(matmul_python)


@kernel
def matmul_rows(a, b):
    """The loop over j innermost: memory of b and c is read forward, whole vectors at a time."""
    c = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    for i in range(a.shape[0]):
        for k in range(a.shape[1]):
            for j in range(b.shape[1]):
                c[i, j] += a[i, k] * b[k, j]
    return c


@kernel
def matmul_four_rows(a, b):
    """Four rows of c at a time: every number of b that is read serves four multiplications."""
    M, K = a.shape
    c = np.zeros((M, b.shape[1]), a.dtype)
    for i in range(0, M - M % 4, 4):
        for k in range(K):
            a0, a1, a2, a3 = a[i, k], a[i + 1, k], a[i + 2, k], a[i + 3, k]
            for j in range(b.shape[1]):
                c[i, j] += a0 * b[k, j]
                c[i + 1, j] += a1 * b[k, j]
                c[i + 2, j] += a2 * b[k, j]
                c[i + 3, j] += a3 * b[k, j]
    for i in range(M - M % 4, M):  # the rows that are left
        for k in range(K):
            for j in range(b.shape[1]):
                c[i, j] += a[i, k] * b[k, j]
    return c


# --- softmax over rows: x (R, n) -------------------------------------------------------------


def softmax_python(x):
    """y_j = e^(x_j - max) / sum, row by row."""
    y = np.empty_like(x)
    for r in range(x.shape[0]):
        top = x[r, 0]
        for j in range(x.shape[1]):
            top = max(top, x[r, j])
        total = x[r, 0] * 0
        for j in range(x.shape[1]):
            y[r, j] = np.exp(x[r, j] - top)
            total += y[r, j]
        for j in range(x.shape[1]):
            y[r, j] /= total
    return y


def softmax_numpy(x):
    """Whole arrays at a time, each step a pass over memory."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


softmax_compiled = exact_kernel(softmax_python)


@kernel
def softmax_vector(x):
    """exp is a polynomial (no call), each loop does one thing, and a row takes one division."""
    y = np.empty_like(x)
    for r in range(x.shape[0]):
        top = x[r, 0]
        for j in range(x.shape[1]):
            top = max(top, x[r, j])
        for j in range(x.shape[1]):
            y[r, j] = softmax.exp(x[r, j] - top)
        total = x[r, 0] * 0
        for j in range(x.shape[1]):
            total += y[r, j]
        scale = 1 / total
        for j in range(x.shape[1]):
            y[r, j] *= scale
    return y


# --- layer norm over rows: x (T, d), gamma (d), beta (d) -------------------------------------


def layer_norm_python(x, gamma, beta, eps):
    """Mean, variance, and the row normalised: three loops a row."""
    y = np.empty_like(x)
    d = x.dtype.type(x.shape[1])
    for t in range(x.shape[0]):
        mean = x[t, 0] * 0
        for j in range(x.shape[1]):
            mean += x[t, j]
        mean /= d
        variance = x[t, 0] * 0
        for j in range(x.shape[1]):
            variance += (x[t, j] - mean) ** 2
        rstd = 1 / np.sqrt(variance / d + eps)
        for j in range(x.shape[1]):
            y[t, j] = (x[t, j] - mean) * rstd * gamma[j] + beta[j]
    return y


def layer_norm_numpy(x, gamma, beta, eps):
    """Whole arrays at a time, each step a pass over memory."""
    rstd = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    return (x - x.mean(axis=-1, keepdims=True)) * rstd * gamma + beta


layer_norm_compiled = exact_kernel(layer_norm_python)  # adds in the order written


@kernel
def layer_norm_vector(x, gamma, beta, eps):
    """As before, but the compiler may add in any order, so it adds whole vectors."""
    y = np.empty_like(x)
    T, d = x.shape
    for t in range(T):
        mean = x[t, 0] * 0
        for j in range(d):
            mean += x[t, j]
        mean /= x.dtype.type(d)
        variance = x[t, 0] * 0
        for j in range(d):
            variance += (x[t, j] - mean) ** 2
        rstd = 1 / np.sqrt(variance / x.dtype.type(d) + eps)
        for j in range(d):
            y[t, j] = (x[t, j] - mean) * rstd * gamma[j] + beta[j]
    return y


def layer_norm_package(x, gamma, beta, eps):
    """The package's kernel: blocks of rows, shared out among threads."""
    return layer_norm.layer_norm_forward(x, gamma, beta, eps)[0]


# --- causal attention with one head: q, k, v (B, n, d) padded or (T, d) packed ---------------


def attention_dense(q, k, v, real):
    """All n x n scores; those of later items and of padding are computed, then thrown away."""
    n = q.shape[1]
    scores = q @ k.swapaxes(1, 2) / q.dtype.type(np.sqrt(q.shape[2]))  # (B, n, n)
    seen = np.tril(np.ones((n, n), dtype=bool)) & (real[:, None, :] | np.eye(n, dtype=bool))
    return softmax_numpy(np.where(seen, scores, -np.inf)) @ v


@kernel
def _attend(q, k, v, first, t, weights, out):
    """out[t] = sum of p_s v_s over the rows s = first..t, p = softmax(q_t . k_s / sqrt(d))."""
    d = q.shape[1]
    scale = q.dtype.type(1 / np.sqrt(d))
    top = -np.inf
    for s in range(first, t + 1):
        score = q[t, 0] * 0
        for j in range(d):
            score += q[t, j] * k[s, j]
        weights[s - first] = score * scale
        top = max(top, weights[s - first])
    total = q[t, 0] * 0
    for s in range(first, t + 1):
        weights[s - first] = np.exp(weights[s - first] - q.dtype.type(top))
        total += weights[s - first]
    for j in range(d):
        out[t, j] = 0
    for s in range(first, t + 1):
        p = weights[s - first] / total
        for j in range(d):
            out[t, j] += p * v[s, j]


@kernel
def attention_causal(q, k, v, real):
    """The loop over keys ends at the query: half of the work, and nothing n x n in memory."""
    B, n = real.shape
    out = np.empty_like(q)
    weights = np.empty(n, q.dtype)
    for b in range(B):
        padding = n - np.sum(real[b])
        for t in range(n):
            _attend(q[b], k[b], v[b], min(padding, t), t, weights, out[b])
    return out


@kernel
def attention_packed(q, k, v, offsets):
    """Only real rows, one sequence after another: padding costs nothing, masks are gone."""
    out = np.empty_like(q)
    weights = np.empty(len(q), q.dtype)
    for b in range(len(offsets) - 1):
        for t in range(offsets[b], offsets[b + 1]):
            _attend(q, k, v, offsets[b], t, weights, out)
    return out


def attention_package(q, k, v, offsets):
    """The package's kernel: tiles of 6 queries in registers, sequences shared out among threads."""
    rows = np.arange(len(q), dtype=np.uint32)
    return attention.attention_forward(q, k, v, offsets, rows, 1, 0.0, Key(0, 0))[0]


# --- half a block: y = z + FFN(LayerNorm(z)) with z = x + s; x, s (T, d), weights of two layers --


def half_block_numpy(x, s, gamma, beta, eps, W1, b1, W2, b2):
    """The paper's lines in NumPy: seven arrays of T rows are written and read again."""
    z = x + s
    h = np.maximum(layer_norm_numpy(z, gamma, beta, eps) @ W1 + b1, 0)
    return z + (h @ W2 + b2)


def half_block_kernels(x, s, gamma, beta, eps, W1, b1, W2, b2):
    """A kernel for each op: bias and ReLU belong to the product, so five arrays are left."""
    z = elementwise.add_up((x, s))
    a = layer_norm.layer_norm_forward(z, gamma, beta, eps)[0]
    h = matmul.linear_forward(a, W1, b1, relu=True)
    return elementwise.add_up((z, matmul.linear_forward(h, W2, b2)))


def half_block_fused(x, s, gamma, beta, eps, W1, b1, W2, b2):
    """One op: a few rows go through all of it while they are in the nearest cache."""
    norm, layers, names = (gamma, beta, eps), (W1, b1, W2, b2), np.arange(len(x), dtype=np.uint32)
    keys = Key(0, 0), Key(0, 0)
    return feed_forward.feed_forward(x, s, norm, layers, names, 0.0, keys)[0]


# --- the ladders -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Rung:
    """One step: its name, the function, and which layout it takes (attention only)."""

    name: str
    function: Callable[..., Any]
    padded: bool = False


LADDERS = {
    "matmul": [
        Rung("python loop", matmul_python),
        Rung("compiled", matmul_compiled),
        Rung("loop order", matmul_rows),
        Rung("four rows", matmul_four_rows),
        Rung("NumPy (BLAS)", np.matmul),
        Rung("register tile", matmul.matmul),
    ],
    "softmax": [
        Rung("python loop", softmax_python),
        Rung("NumPy", softmax_numpy),
        Rung("compiled", softmax_compiled),
        Rung("vectors", softmax_vector),
        Rung("package", softmax.softmax_forward),
    ],
    "layer_norm": [
        Rung("python loop", layer_norm_python),
        Rung("NumPy", layer_norm_numpy),
        Rung("compiled", layer_norm_compiled),
        Rung("vectors", layer_norm_vector),
        Rung("package", layer_norm_package),
    ],
    "attention": [
        Rung("NumPy, masked", attention_dense, padded=True),
        Rung("causal loop", attention_causal, padded=True),
        Rung("packed rows", attention_packed),
        Rung("package", attention_package),
    ],
    "half-block": [
        Rung("NumPy", half_block_numpy),
        Rung("a kernel an op", half_block_kernels),
        Rung("fused", half_block_fused),
    ],
}


@dataclass(frozen=True)
class Inputs:
    """Arguments of a ladder, in both layouts where there are two, and how they are related."""

    packed: tuple[Any, ...]
    padded: tuple[Any, ...] = ()

    def of(self, rung: Rung) -> tuple[Any, ...]:
        """The arguments of a rung."""
        return self.padded if rung.padded else self.packed

    def rows(self, rung: Rung, y: np.ndarray) -> np.ndarray:
        """The result of a rung at the real rows, whatever its layout."""
        return y[self.padded[3]] if rung.padded else y


def inputs(name: str, scale: int = 1, dtype: Any = np.float32, seed: int = 0) -> Inputs:
    """Random arguments for a ladder, of the sizes of a SASRec on ML-1M divided by `scale`."""
    if name not in LADDERS:
        raise ConfigError(f"no ladder {name!r}; there are {', '.join(LADDERS)}")
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    T, n, d = 1024 // scale, 200 // scale, 50
    if name == "matmul":
        return Inputs((normal(T, d), normal(d, d)))
    if name == "softmax":
        return Inputs((normal(T, n),))
    if name == "layer_norm":
        return Inputs((normal(T, d), normal(d), normal(d), dtype(EPS)))
    if name == "half-block":
        W1, W2 = (normal(d, d) * dtype(d**-0.5) for _ in range(2))
        rows = 8 * T  # more than the nearest caches hold
        x, s, norm = normal(rows, d), normal(rows, d), (normal(d), normal(d), dtype(EPS))
        return Inputs((x, s, *norm, W1, normal(d), W2, normal(d)))
    lengths = rng.integers(1, n + 1, 16)
    real = np.arange(n) >= n - lengths[:, None]
    q, k, v = (normal(*real.shape, d) for _ in range(3))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Inputs((q[real], k[real], v[real], offsets), (q, k, v, real))


@dataclass(frozen=True)
class Timing:
    """What a rung took: milliseconds, the best of several runs."""

    name: str
    ms: float
    threads: int


def climb(name: str, seconds: float = 0.3) -> list[Timing]:
    """Time the rungs of a ladder on this machine, each for about `seconds` (a slow one runs once).

    Everything runs on one thread (but NumPy's BLAS, which chooses by itself); the last rung is
    timed once more on all threads if there are several.
    """
    arguments, small, most = inputs(name), inputs(name, scale=10), thread_count()
    rungs = [(rung, 1) for rung in LADDERS[name]]
    if most > 1:
        rungs.append((LADDERS[name][-1], most))
    timings = []
    for rung, count in rungs:
        with threads(count):
            rung.function(*small.of(rung))  # compiles
            timings.append(Timing(rung.name, _best_ms(rung, arguments.of(rung), seconds), count))
    return timings


def _best_ms(rung: Rung, arguments: tuple[Any, ...], seconds: float) -> float:
    best, end = np.inf, time.perf_counter() + seconds
    while best == np.inf or time.perf_counter() < end:
        start = time.perf_counter()
        rung.function(*arguments)
        best = min(best, time.perf_counter() - start)
    return 1000 * best


def main(names: list[str] | None = None) -> None:
    """Print the ladders: time, speed against the first rung, share of the best rung's speed."""
    for name in names or LADDERS:
        timings = climb(name)
        best = min(timing.ms for timing in timings)
        print(f"{name:16}threads          ms  times the first  % of the best")
        for timing in timings:
            faster, share = timings[0].ms / timing.ms, 100 * best / timing.ms
            row = f"{timing.threads:7}{timing.ms:12.3f}{faster:17,.1f}{share:15.1f}"
            print(f"  {timing.name:14}{row}")


if __name__ == "__main__":
    main(sys.argv[1:])
