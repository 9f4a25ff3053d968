"""Matrix products and the linear layer, on the register tile of `simd/tile.py`.

Three ideas make it fast:

1. *Register tile.* `tile` keeps a block of 6 rows x 4 vectors of the result (x 2 where there are 16
   registers) in registers for the whole sum over k. Each step loads 4 vectors of B and 6 numbers of
   A and does 24 vector multiply-adds with them, so that arithmetic and not memory is the limit.
2. *Packed panels.* B is copied once into panels as wide as a tile. The tile then reads memory
   forward only, and B^T is read in the same way as B.
3. *Fixed tasks.* Rows are cut into blocks that depend on the shapes only. Sums over rows (weight
   gradients) are computed for each block and then added in the order of the blocks: the result has
   the same bits for any number of threads.

If the last vector of columns does not fit, it is moved to the left until it does. The columns that
it shares with its neighbour are computed twice, to the same bits.

The package uses these kernels for all shapes, not NumPy's BLAS: BLAS chooses its own number of
threads, and its bits may depend on that number.
"""

from __future__ import annotations

import numpy as np

from minisasrec.kernels.jit import kernel
from minisasrec.kernels.simd.tile import PANEL, TILE, View, moved, tile, transpose
from minisasrec.kernels.simd.vector import (
    copy_row,
    fill,
    lane_count,
    lanes,
    load,
    store,
    where_above,
)
from minisasrec.kernels.team import next_task, run

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
def count_panels(columns, lane):
    """Panels, up to PANEL vectors wide, of so many columns."""
    return (columns + PANEL * lane - 1) // (PANEL * lane)


@kernel
def panel_start(p, columns, lane):
    """Where panel p of so many columns begins: p times PANEL vectors from the left.

    If less than a vector is left for the last panel, it takes one from the panel before.
    """
    column = p * PANEL * lane
    if column < columns < column + lane:
        column -= lane
    return min(column, columns)


@kernel
def multiply(size, a, in_a, b, in_b, init, in_init, c, in_c):
    """C (rows, columns) = init + A (rows, depth) B (depth, columns), for any number of rows.

    `size` is (rows, depth, columns); columns are at least the numbers of a vector. A is what the
    view `in_a` shows of the array `a`, and so on.
    """
    rows, depth, columns = size
    lane = lanes(c)
    for p in range(count_panels(columns, lane)):
        j = panel_start(p, columns, lane)
        width = panel_start(p + 1, columns, lane) - j
        panel = moved(in_b, 0, j)
        for i in range(0, rows, TILE):
            block, start, end = moved(in_a, i, 0), moved(in_init, i, j), moved(in_c, i, j)
            tile((rows - i, depth, width), a, block, b, panel, init, start, c, end)


# --- packed panels of B ----------------------------------------------------------------------


@kernel
def pack(b, g, transposed, columns, p, packed, at):
    """Panel p of matrix g of b (G, K, N), or b (G, N, K) if transposed: (K, its width) numbers.

    They go to position `at` of `packed` and after. `columns` is N or more and at least a vector;
    the columns that b does not have are 0.
    """
    lane = lanes(b)
    depth, given = (b.shape[2], b.shape[1]) if transposed else (b.shape[1], b.shape[2])
    start = panel_start(p, columns, lane)
    width = panel_start(p + 1, columns, lane) - start
    if given < columns or depth < lane:
        out = packed.reshape(-1)[at : at + depth * width].reshape((depth, width))
        for k in range(depth):
            for j in range(width):
                if start + j >= given:
                    out[k, j] = 0
                else:
                    out[k, j] = b[g, start + j, k] if transposed else b[g, k, start + j]
    elif transposed:
        for j in range(0, width, lane):
            j = min(j, width - lane)
            row = (g * given + start + j) * depth
            for k in range(0, depth, lane):
                k = min(k, depth - lane)
                to = View(at + k * width + j, width, 1)
                transpose(b, View(row + k, depth, 1), lane, packed, to)
    else:
        for k in range(depth):
            copy_row(b, (g * depth + k) * given + start, packed, at + k * width, width)


@kernel
def multiply_packed(size, a, in_a, packed, start, init, in_init, c, in_c):
    """C (rows, columns) = init + A B, with B packed from position `start` on.

    As in `multiply`, but the rows of A lie in memory number after number.
    """
    rows, depth, columns = size
    lane = lanes(c)
    in_a = View(in_a.first, in_a.row, 1)  # a 1 that the compiler can see
    for p in range(count_panels(columns, lane)):
        j = panel_start(p, columns, lane)
        width = panel_start(p + 1, columns, lane) - j
        panel = View(start + j * depth, width, 1)
        for i in range(0, rows, TILE):
            block, begin, end = moved(in_a, i, 0), moved(in_init, i, j), moved(in_c, i, j)
            tile((rows - i, depth, width), a, block, packed, panel, init, begin, c, end)


# --- C = A B, C = A B^T, y = relu(x W + b) ----------------------------------------------------


@kernel
def _pack_worker(counter, b, transposed, columns, per_task, packed):
    panels, depth = count_panels(columns, lanes(b)), packed.shape[1] // columns
    task = next_task(counter)
    while task >= 0:
        for panel in range(task * per_task, min((task + 1) * per_task, len(b) * panels)):
            g, p = panel // panels, panel % panels
            at = g * packed.shape[1] + panel_start(p, columns, lanes(b)) * depth
            pack(b, g, transposed, columns, p, packed, at)
        task = next_task(counter)


def pack_all(b, transposed, columns):
    """All of b (G, K, N), or (G, N, K) if transposed, in panels: (G, K * columns)."""
    G, depth = len(b), b.shape[2] if transposed else b.shape[1]
    wide = PANEL * lane_count(b.dtype)
    if not transposed and b.shape[2] == columns <= wide:
        return b.reshape(G, depth * columns)  # its only panel
    packed = np.empty((G, depth * columns), b.dtype)
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
        in_a, c0 = View((g * M + row) * K, K, 1), (g * M + row) * N
        start, in_c = g * packed.shape[1], View(c0, N, 1)
        multiply_packed((rows, K, N), a, in_a, packed, start, bias, View(0, 0, 1), c, in_c)
        if relu:
            relu_rows(c, c0, rows * N)
        task = next_task(counter)


@kernel
def _wide_worker(counter, a, b, transposed, per_task, bias, c):
    """For more columns than rows: a panel of B is packed, multiplied and forgotten, in the cache.

    To pack all of B first would write and read as many numbers again as B has: that is most of the
    work where all items are scored for one user.
    """
    G, M, K = a.shape
    N, lane = c.shape[2], lanes(c)
    panels = count_panels(N, lane)
    packed = np.empty(K * PANEL * lane, a.dtype)
    task = next_task(counter)
    while task >= 0:
        for panel in range(task * per_task, min((task + 1) * per_task, G * panels)):
            g, p = panel // panels, panel % panels
            j = panel_start(p, N, lane)
            size = (M, K, panel_start(p + 1, N, lane) - j)
            pack(b, g, transposed, N, p, packed, 0)
            in_a, init, in_c = View(g * M * K, K, 1), View(j, 0, 1), View(g * M * N + j, N, 1)
            multiply_packed(size, a, in_a, packed, 0, bias, init, c, in_c)
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
    if M < columns and not relu:
        wide = PANEL * lane_count(a.dtype)
        per_task = ceil_div(NUMBERS, max(1, K * wide))
        tasks = ceil_div(G * ceil_div(columns, wide), per_task)
        run(_wide_worker, tasks, a, b, transposed, per_task, start, c)
    else:
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


def chunk_rows(rows):
    """Rows in one partial sum: depends on the shape only, never on the threads."""
    return max(CHUNK, ceil_div(ceil_div(rows, CHUNKS), STEP) * STEP)


def _widened(x, columns):
    """x with columns of zeros added up to so many."""
    wide = np.zeros((*x.shape[:-1], columns), x.dtype)
    wide[..., : x.shape[-1]] = x
    return wide


@kernel
def _multiply_tn_worker(counter, a, b, chunk, partial):
    """partial (G, C, M, N): the product over each chunk of rows."""
    G, K, M = a.shape
    N = b.shape[2]
    chunks = partial.shape[1]
    blocks = (M + ROWS - 1) // ROWS
    task = next_task(counter)
    while task >= 0:
        g, c, m = task // (chunks * blocks), task // blocks % chunks, task % blocks * ROWS
        total = View(((g * chunks + c) * M + m) * N, N, 1)
        partial[g, c, m : m + ROWS] = 0
        for row in range(c * chunk, min((c + 1) * chunk, K), STEP):
            at, rows = g * K + row, min(STEP, K - row)
            size, turned, in_b = (
                (min(ROWS, M - m), rows, N),
                View(at * M + m, 1, M),
                View(at * N, N, 1),
            )
            multiply(size, a, turned, b, in_b, partial, total, partial, total)
        task = next_task(counter)


@kernel
def _sum_worker(counter, partial, per_task, out):
    chunks, size = partial.shape[1:]
    blocks = (size + per_task - 1) // per_task
    task = next_task(counter)
    while task >= 0:
        g, first = task // blocks, task % blocks * per_task
        end = min(first + per_task, size)
        sums = out[g, first:end]
        sums[:] = partial[g, 0, first:end]
        for c in range(1, chunks):
            part = partial[g, c, first:end]
            for j in range(len(sums)):
                sums[j] += part[j]
        task = next_task(counter)


def sum_chunks(partial):
    """The sum over c, in order, of partial (G, C, R, N): (G, R, N)."""
    G, chunks, R, N = partial.shape
    out = np.empty((G, R, N), partial.dtype)
    per_task = ceil_div(NUMBERS, chunks)
    tasks = G * ceil_div(R * N, per_task)
    run(_sum_worker, tasks, partial.reshape(G, chunks, -1), per_task, out.reshape(G, -1))
    return out


def matmul_tn(a, b):
    """C = A^T B: a (K, M), b (K, N) -> (M, N), summed over K; or batched, (G, K, M), (G, K, N)."""
    N, lane = b.shape[-1], lane_count(b.dtype)
    if N < lane:
        return np.ascontiguousarray(matmul_tn(a, _widened(b, lane))[..., :N])
    if a.ndim == 2:
        return matmul_tn(a[None], b[None])[0]
    G, K, M = a.shape
    if K == 0:
        return np.zeros((G, M, N), a.dtype)
    chunk = chunk_rows(K)
    chunks = ceil_div(K, chunk)
    partial = np.empty((G, chunks, M, N), a.dtype)
    run(_multiply_tn_worker, G * chunks * ceil_div(M, ROWS), a, b, chunk, partial)
    return sum_chunks(partial)


# --- the backward pass of the linear layer ----------------------------------------------------


@kernel
def add_rows(x, first, rows, m, sums):
    """sums += the sum of rows of m numbers, which begin at position `first` of x.

    The last vector of a row ends with the row, so in `sums`, of m numbers and a vector, it is apart
    from the one before. `store_sums` puts them together.
    """
    lane = lanes(x)
    for j in range(0, m, lane):
        vector, start = load(sums, j), first + min(j, m - lane)
        for i in range(rows):
            vector = vector + load(x, start + i * m)
        store(sums, j, vector)


@kernel
def store_sums(sums, m, out, to):
    """Write the m sums of `add_rows` to position `to` of `out`."""
    lane = lanes(sums)
    for j in range(0, m, lane):
        store(out, to + min(j, m - lane), load(sums, j))


@kernel
def relu_backward(dy, start, y, first, count, dz):
    """dz = dy where y > 0, else 0: `count` numbers, from `start` on in dy, `first` on in y."""
    lane, zero = lanes(dy), fill(dy, 0.0)
    for i in range(0, count, lane):
        i = min(i, count - lane)
        given, above = load(dy, start + i), load(y, first + i)
        store(dz, i, where_above(above, zero, given, zero))


@kernel
def relu_rows(y, first, count):
    """y = max(y, 0) in place; NaN stays."""
    part = y.reshape(-1)[first : first + count]
    for i in range(count):
        part[i] = 0 if part[i] < 0 else part[i]


@kernel
def _linear_backward_worker(counter, x, packed, dy, y, relu, chunk, dx, partial):
    """dx itself, and per chunk of rows a partial (1, C, k + 1, m) of dW, last row db."""
    T, k = x.shape
    m, width = dy.shape[1], dx.shape[1]  # width: k, or a vector if k is narrower
    lane = lanes(dy)
    dz = dy.reshape(-1)
    piece, db = np.empty(STEP * m if relu else 0, dy.dtype), np.empty(m + lane, dy.dtype)
    zeros, none = np.zeros(width, dy.dtype), View(0, 0, 1)
    task = next_task(counter)
    while task >= 0:
        c0 = task * (k + 1) * m
        dW = View(c0, m, 1)
        partial[0, task] = 0
        db[:] = 0
        for row in range(task * chunk, min((task + 1) * chunk, T), STEP):
            rows = min(STEP, T - row)
            at = row * m
            if relu:
                # y = max(z, 0)       dz = dy where y > 0, else 0
                dz, at = piece, 0
                relu_backward(dy, row * m, y, row * m, rows * m, piece)
            # z = x W + b             db = sum over rows of dz,  dx = dz W^T,  dW = x^T dz
            add_rows(dz, at, rows, m, db)
            in_dz, in_dx, turned = View(at, m, 1), View(row * width, width, 1), View(row * k, 1, k)
            multiply_packed((rows, m, width), dz, in_dz, packed, 0, zeros, none, dx, in_dx)
            multiply((k, rows, m), x, turned, dz, in_dz, partial, dW, partial, dW)
        store_sums(db, m, partial, c0 + k * m)
        task = next_task(counter)


def linear_backward(x, W, dy, y=None):
    """Gradients of y = x W + b, or with `y` given, of y = max(x W + b, 0).

    x (T, k), W (k, m), dy (T, m), y (T, m) or None -> dx (T, k), dW (k, m), db (m).
    """
    T, k = x.shape
    m, lane = W.shape[1], lane_count(x.dtype)
    relu = y is not None
    y = y if relu else dy
    if T == 0:
        return np.zeros_like(x), np.zeros_like(W), np.zeros(m, x.dtype)
    if m < lane:
        W, dy, y = (_widened(each, lane) for each in (W, dy, y))
    chunk, width = chunk_rows(T), max(k, lane)
    packed = pack_all(W[None], True, width)
    dx = np.empty((T, width), x.dtype)
    partial = np.empty((1, ceil_div(T, chunk), k + 1, W.shape[1]), x.dtype)
    run(_linear_backward_worker, partial.shape[1], x, packed, dy, y, relu, chunk, dx, partial)
    sums = sum_chunks(partial)[0, :, :m]
    return np.ascontiguousarray(dx[:, :k]), np.ascontiguousarray(sums[:k]), sums[k].copy()
