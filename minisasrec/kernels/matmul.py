"""Matrix products and the linear layer, on the register tile of `vector.py`.

Three ideas carry the speed; everything else is bookkeeping.

1. *Register tile.* `tile` keeps a block of 6 rows x 4 vectors of the result (x 2 where there are 16
   registers) in registers for the whole sum over k. Each step loads 4 vectors of B and 6 numbers of
   A and does 24 vector multiply-adds with them, so that arithmetic and not memory is the limit.
2. *Packed panels.* B is copied once into panels as wide as a tile, so that the tile reads memory
   strictly forward, and so that B and B^T are the same thing to it.
3. *Fixed tasks.* Rows are cut into blocks that depend on the shapes only. Sums over rows (weight
   gradients) are made per block and then added in block order: the result has the same bits for any
   number of threads.

A last vector of columns that would stick out is moved left until it fits; the columns it shares
with its neighbour are computed twice, to the same bits.

These kernels are the default at every shape: NumPy's BLAS picks its own number of threads, and its
bits may depend on that number.
"""

from __future__ import annotations

import numpy as np

from minisasrec.kernels._jit import kernel
from minisasrec.kernels._threads import next_task, run
from minisasrec.kernels.vector import (
    PANEL,
    TILE,
    copy_row,
    fill,
    lane_count,
    lanes,
    load,
    store,
    tile,
    transpose,
    where_above,
)

ROWS = 96  # rows of the result in one task
STEP = 96  # rows read at a time when the sum runs over rows
CHUNK = 96  # rows summed by one task when the sum runs over rows
CHUNKS = 64  # the most such tasks, so that the partial sums stay small
NUMBERS = 32768  # numbers that one task copies or adds at least: less is not worth a second thread


def ceil_div(a, b):
    """a / b rounded up."""
    return -(-a // b)


def padded(columns, dtype):
    """`columns` rounded up to whole vectors."""
    lane = lane_count(dtype)
    return ceil_div(columns, lane) * lane


@kernel
def multiply(a, a0, a_row, a_col, rows, b, depth, columns, init, i0, i_row, c, c0, c_row):
    """C = init + A B for any number of rows; B has padded rows: (depth, columns), whole vectors."""
    lane = lanes(c)
    for j in range(0, columns, PANEL * lane):
        vectors = min(PANEL, (columns - j) // lane)
        for i in range(0, rows, TILE):
            tile(
                vectors, 0, a, a0 + i * a_row, a_row, a_col, rows - i, b, j, columns, depth,
                init, i0 + i * i_row + j, i_row, c, c0 + i * c_row + j, c_row,
            )  # fmt: skip


# --- packed panels of B ----------------------------------------------------------------------


@kernel
def pack(b, g, transposed, columns, first, end, packed):
    """Matrix g of b (G, K, N), or b (G, N, K) if transposed, into panels of K x `PANEL` vectors.

    Packs the panels that begin at columns first..end of `columns`, which is N or more and at least
    a vector; the columns that b does not have are 0.
    """
    lane = lanes(b)
    depth, given = (b.shape[2], b.shape[1]) if transposed else (b.shape[1], b.shape[2])
    size = packed.shape[1]
    flat = packed.reshape(-1)
    for column in range(first, end, lane):
        panel = column // (PANEL * lane) * PANEL * lane
        width = min(PANEL * lane, (columns - panel + lane - 1) // lane * lane)
        start = min(column, columns - lane)
        at = g * size + panel * depth + column - panel
        if given < columns or depth < lane:
            for k in range(depth):
                for j in range(lane):
                    if start + j >= given:
                        flat[at + k * width + j] = 0
                    else:
                        flat[at + k * width + j] = (
                            b[g, start + j, k] if transposed else b[g, k, start + j]
                        )
        elif transposed:
            row = (g * given + start) * depth
            for k in range(0, depth, lane):
                k = min(k, depth - lane)
                transpose(b, row + k, depth, lane, packed, at + k * width, width)
        else:
            for k in range(depth):
                store(packed, at + k * width, load(b, (g * depth + k) * given + start))


@kernel
def multiply_packed(a, a0, a_row, rows, packed, p0, depth, columns, init, c, c0):
    """C (rows, columns) = init (columns) + A B, with B packed from position p0 on."""
    lane = lanes(c)
    for j in range(0, columns, PANEL * lane):
        vectors = min(PANEL, (columns - j + lane - 1) // lane)
        width = vectors * lane
        shift = max(0, j + width - columns)
        for i in range(0, rows, TILE):
            tile(
                vectors, shift, a, a0 + i * a_row, a_row, 1, rows - i, packed, p0 + j * depth,
                width, depth, init, j, 0, c, c0 + i * columns + j, columns,
            )  # fmt: skip


# --- C = A B, C = A B^T, y = relu(x W + b) ----------------------------------------------------


@kernel
def _pack_worker(counter, b, transposed, columns, per_task, packed):
    wide = PANEL * lanes(b)
    panels = (columns + wide - 1) // wide
    task = next_task(counter)
    while task >= 0:
        for panel in range(task * per_task, min((task + 1) * per_task, len(b) * panels)):
            first = panel % panels * wide
            end = min(first + wide, columns)
            pack(b, panel // panels, transposed, columns, first, end, packed)
        task = next_task(counter)


def pack_all(b, transposed, columns):
    """All of b (G, K, N), or (G, N, K) if transposed, in panels: (G, K * padded columns)."""
    G, depth = len(b), b.shape[2] if transposed else b.shape[1]
    packed = np.empty((G, depth * padded(columns, b.dtype)), b.dtype)
    wide = PANEL * lane_count(b.dtype)
    per_task = ceil_div(NUMBERS, max(1, depth * wide))
    tasks = ceil_div(G * ceil_div(columns, wide), per_task)
    run(_pack_worker, tasks, b, transposed, columns, per_task, packed)
    return packed


@kernel
def _multiply_worker(counter, a, packed, bias, relu, c):
    G, M, K = a.shape
    N = c.shape[2]
    blocks = (M + ROWS - 1) // ROWS
    task = next_task(counter)
    while task >= 0:
        g, row = task // blocks, task % blocks * ROWS
        rows = min(ROWS, M - row)
        a0, c0 = (g * M + row) * K, (g * M + row) * N
        multiply_packed(a, a0, K, rows, packed, g * packed.shape[1], K, N, bias, c, c0)
        if relu:
            block = c.reshape(-1)[c0 : c0 + rows * N]
            for i in range(len(block)):
                block[i] = 0 if block[i] < 0 else block[i]  # keeps NaN
        task = next_task(counter)


def _product(a, b, transposed, bias, relu):
    """The common part: 2-D inputs as a batch of one, narrow results through padded columns."""
    batched = a.ndim == 3
    if not batched:
        a, b = a[None], b[None]
    G, M, K = a.shape
    N = b.shape[1] if transposed else b.shape[2]
    columns = max(N, lane_count(a.dtype))
    start = np.zeros(columns, a.dtype)
    if bias is not None:
        start[:N] = bias
    c = np.empty((G, M, columns), a.dtype)
    packed = pack_all(b, transposed, columns)
    run(_multiply_worker, G * ceil_div(M, ROWS), a, packed, start, relu, c)
    if columns > N:
        c = np.ascontiguousarray(c[..., :N])
    return c if batched else c[0]


def matmul(a, b):
    """C = A B: a (M, K), b (K, N) -> (M, N); or batched, a (G, M, K), b (G, K, N)."""
    return _product(a, b, False, None, False)


def matmul_nt(a, b):
    """C = A B^T: a (M, K), b (N, K) -> (M, N); or batched, a (G, M, K), b (G, N, K)."""
    return _product(a, b, True, None, False)


def linear_forward(x, W, b, relu=False):
    """y = x W + b, or max(x W + b, 0): x (T, k), W (k, m), b (m) -> y (T, m)."""
    return _product(x, W, False, b, relu)


# --- C = A^T B: sums over rows ----------------------------------------------------------------


def _chunk_rows(rows):
    """Rows in one partial sum: depends on the shape only, never on the threads."""
    return max(CHUNK, ceil_div(ceil_div(rows, CHUNKS), STEP) * STEP)


@kernel
def _multiply_tn_worker(counter, a, b, chunk, partial):
    """partial (G, C, M, padded N): the product over each chunk of rows."""
    G, K, M = a.shape
    N = b.shape[2]
    chunks, columns = partial.shape[1], partial.shape[3]
    blocks = (M + ROWS - 1) // ROWS
    piece = np.zeros((STEP, columns), b.dtype)  # rows of b, padded to whole vectors
    zeros = np.zeros(columns, b.dtype)
    task = next_task(counter)
    while task >= 0:
        g, c, m = task // (chunks * blocks), task // blocks % chunks, task % blocks * ROWS
        c0 = ((g * chunks + c) * M + m) * columns
        for row in range(c * chunk, min((c + 1) * chunk, K), STEP):
            rows = min(STEP, K - row)
            for i in range(rows):
                copy_row(b, (g * K + row + i) * N, piece, i * columns, N)
            _add_tn(a, (g * K + row) * M + m, M, min(ROWS, M - m), piece, rows, columns,
                    row == c * chunk, zeros, partial, c0)  # fmt: skip
        task = next_task(counter)


@kernel
def _add_tn(a, a0, a_row, size, piece, rows, columns, first, zeros, partial, c0):
    """partial (size, columns) = A^T piece for the first rows of a chunk, += for later ones."""
    init, i0, i_row = (zeros, 0, 0) if first else (partial.reshape(-1), c0, columns)
    multiply(a, a0, 1, a_row, size, piece, rows, columns, init, i0, i_row, partial, c0, columns)


@kernel
def _sum_worker(counter, partial, per_task, out):
    G, chunks, R, columns = partial.shape
    sums = np.empty(columns, out.dtype)
    task = next_task(counter)
    while task >= 0:
        for row in range(task * per_task, min((task + 1) * per_task, G * R)):
            g, r = row // R, row % R
            for j in range(0, columns, lanes(out)):
                vector = load(partial, (g * chunks * R + r) * columns + j)
                for c in range(1, chunks):
                    vector = vector + load(partial, ((g * chunks + c) * R + r) * columns + j)
                store(sums, j, vector)
            copy_row(sums, 0, out, row * out.shape[2], out.shape[2])
        task = next_task(counter)


def _sum(partial, out):
    """out (G, R, N) = sum over c, in order, of partial (G, C, R, padded N)."""
    G, chunks, R, columns = partial.shape
    per_task = ceil_div(NUMBERS, max(1, chunks * columns))
    run(_sum_worker, ceil_div(G * R, per_task), partial, per_task, out)


def matmul_tn(a, b):
    """C = A^T B: a (K, M), b (K, N) -> (M, N), summed over K; or batched, (G, K, M), (G, K, N)."""
    batched = a.ndim == 3
    if not batched:
        a, b = a[None], b[None]
    G, K, M = a.shape
    N = b.shape[2]
    if K == 0:
        out = np.zeros((G, M, N), a.dtype)
    else:
        chunk = _chunk_rows(K)
        chunks = ceil_div(K, chunk)
        partial = np.empty((G, chunks, M, padded(N, a.dtype)), a.dtype)
        out = np.empty((G, M, N), a.dtype)
        run(_multiply_tn_worker, G * chunks * ceil_div(M, ROWS), a, b, chunk, partial)
        _sum(partial, out)
    return out if batched else out[0]


# --- the backward pass of the linear layer ----------------------------------------------------


@kernel
def _copy_positive(source, i, y, target, j, count):
    """Like `copy_row`, with 0 where y, at the positions of `source`, is not above 0."""
    lane = lanes(source)
    if count < lane:
        source, y, target = source.reshape(-1), y.reshape(-1), target.reshape(-1)
        for c in range(count):
            target[j + c] = source[i + c] if y[i + c] > 0 else 0
    else:
        zero = fill(source, 0.0)
        for c in range(0, count - lane, lane):
            store(target, j + c, where_above(load(y, i + c), zero, load(source, i + c), zero))
        i, j = i + count - lane, j + count - lane
        store(target, j, where_above(load(y, i), zero, load(source, i), zero))


@kernel
def _linear_backward_worker(counter, x, packed, dy, y, relu, chunk, dx, partial):
    """dx itself, and per chunk of rows a partial (1, C, k + 1, padded m) of dW, last row db."""
    T, k = x.shape
    m = dy.shape[1]
    columns, width = partial.shape[3], dx.shape[1]  # width: k, or a whole vector if k is narrower
    piece = np.zeros((STEP, columns), dy.dtype)
    zeros = np.zeros(max(columns, width), dy.dtype)
    task = next_task(counter)
    while task >= 0:
        c0 = task * (k + 1) * columns
        db = c0 + k * columns
        partial[0, task, k] = 0
        for row in range(task * chunk, min((task + 1) * chunk, T), STEP):
            rows = min(STEP, T - row)
            for i in range(rows):
                # y = max(z, 0)       dz = dy where y > 0, else 0
                if relu:
                    _copy_positive(dy, (row + i) * m, y, piece, i * columns, m)
                else:
                    copy_row(dy, (row + i) * m, piece, i * columns, m)
            # z = x W + b             db = sum over rows of dz,  dx = dz W^T,  dW = x^T dz
            for j in range(0, columns, lanes(dx)):
                vector = load(partial, db + j)
                for i in range(rows):
                    vector = vector + load(piece, i * columns + j)
                store(partial, db + j, vector)
            multiply_packed(piece, 0, columns, rows, packed, 0, m, width, zeros, dx, row * width)
            _add_tn(x, row * k, k, k, piece, rows, columns, row == task * chunk, zeros, partial, c0)
        task = next_task(counter)


def linear_backward(x, W, dy, y=None):
    """Gradients of y = x W + b, or with `y` given, of y = max(x W + b, 0).

    x (T, k), W (k, m), dy (T, m), y (T, m) or None -> dx (T, k), dW (k, m), db (m).
    """
    T, k = x.shape
    m = W.shape[1]
    if T == 0:
        return np.zeros_like(x), np.zeros_like(W), np.zeros(m, x.dtype)
    chunk, width = _chunk_rows(T), max(k, lane_count(x.dtype))
    chunks = ceil_div(T, chunk)
    packed = pack_all(W[None], True, width)
    dx = np.empty((T, width), x.dtype)
    partial = np.empty((1, chunks, k + 1, padded(m, x.dtype)), x.dtype)
    sums = np.empty((1, k + 1, m), x.dtype)
    relu = y is not None
    run(_linear_backward_worker, chunks, x, packed, dy, y if relu else dy, relu, chunk, dx, partial)
    _sum(partial, sums)
    if width > k:
        dx = np.ascontiguousarray(dx[:, :k])
    return dx, sums[0, :k], sums[0, k]
