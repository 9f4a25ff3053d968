"""Matrix products and the linear layer, on a register tile of 6 rows by 1 or 2 vectors.

Three ideas carry the speed; everything else is bookkeeping.

1. *Register tile.* `tile1`/`tile2` keep a 6 x (1 or 2 vectors) block of the result in registers for
   the whole sum over k. Each step loads 2 vectors of B and 6 numbers of A and does 12 vector
   multiply-adds with them, so that arithmetic and not memory is the limit.
2. *Packed panels.* B is copied once into panels as wide as a tile, so that the tile reads memory
   strictly forward, and so that B and B^T are the same thing to it.
3. *Fixed tasks.* Rows are cut into blocks that depend on the shapes only. Sums over rows (weight
   gradients) are made per block and then added in block order: the result has the same bits for any
   number of threads.

A vector is 32 bytes: 8 float32 or 4 float64. A last column panel that would stick out is moved left
until it fits; the columns it shares with its neighbour are computed twice, to the same bits.

These kernels are the default at every shape: NumPy's BLAS picks its own number of threads, and its
bits may depend on that number.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from minisasrec.kernels._jit import get_threads, kernel, next_task, parallel_kernel

TILE = (
    6  # rows of a register tile: 6 x 2 sums + 2 vectors of B + 1 number of A = 15 of 16 registers
)
ROWS = 48  # rows of the result in one task
STEP = 64  # rows read at a time when the sum runs over rows
CHUNK = 256  # rows summed by one task when the sum runs over rows
CHUNKS = 64  # the most such tasks, so that the partial sums stay small


# --- the register tile -----------------------------------------------------------------------


def _make_tile(vectors):
    """Make `tile(...)` for a tile of TILE rows x `vectors` vectors.

    With every array seen flat, for i < rows and j < vectors * lanes:

        c[c0 + i*c_row + j] = init[i0 + i*i_row + j]
                              + sum_k a[a0 + i*a_row + k*a_col] * b[b0 + k*b_row + j]

    The strides of `a` make A and A^T the same; `init` is the bias (i_row 0), zeros (i_row 0) or c
    itself (to add to it). The sum runs over k in order, so its bits depend on nothing else.
    """

    def tile(a, a0, a_row, a_col, rows, b, b0, b_row, depth, init, i0, i_row, c, c0, c_row):
        width = vectors * lanes(a)
        a, b, init, flat = a.reshape(-1), b.reshape(-1), init.reshape(-1), c.reshape(-1)
        for i in range(min(rows, TILE)):
            total = init[i0 + i * i_row : i0 + i * i_row + width].copy()
            for k in range(depth):
                total += a[a0 + i * a_row + k * a_col] * b[b0 + k * b_row : b0 + k * b_row + width]
            flat[c0 + i * c_row : c0 + i * c_row + width] = total

    @intrinsic
    def tile_llvm(
        typingctx, a, a0, a_row, a_col, rows, b, b0, b_row, depth, init, i0, i_row, c, c0, c_row
    ):
        n = types.intp
        signature = types.void(a, n, n, n, n, b, n, n, n, init, n, n, c, n, n)

        def codegen(context, builder, signature, args):
            a, a0, a_row, a_col, rows, b, b0, b_row, depth, init, i0, i_row, c, c0, c_row = args
            size = signature.args[0].dtype.bitwidth // 8
            width = 32 // size
            vector = ir.VectorType(context.get_data_type(signature.args[0].dtype), width)
            nothing = ir.Constant(vector, ir.Undefined)
            first = ir.Constant(ir.IntType(32), 0)
            everywhere = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
            # llvm.fmuladd: one fused instruction where the processor has it
            fma = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(vector, [vector] * 3),
                f"llvm.fmuladd.v{width}f{8 * size}",
            )

            def start(position, offset):
                array_type = signature.args[position]
                array = context.make_array(array_type)(context, builder, args[position])
                return builder.gep(array.data, [offset])

            def vector_at(pointer, offset, j):
                offset = builder.add(offset, ir.Constant(offset.type, j * width))
                return builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())

            a_start, b_start = start(0, a0), start(5, b0)
            init_start, c_start = start(9, i0), start(12, c0)
            # Rows past the last repeat it: the same numbers are then stored to the same place.
            last = builder.sub(rows, ir.Constant(rows.type, 1))
            row = []
            for i in range(TILE):
                number = ir.Constant(rows.type, i)
                inside = builder.icmp_signed("<", number, last)
                row.append(builder.select(inside, number, last))

            total = {}
            for i in range(TILE):
                for j in range(vectors):
                    at = vector_at(init_start, builder.mul(row[i], i_row), j)
                    total[i, j] = cgutils.alloca_once_value(builder, builder.load(at, align=size))
            a_line = [builder.gep(a_start, [builder.mul(row[i], a_row)]) for i in range(TILE)]
            with cgutils.for_range(builder, depth) as loop:
                b_offset = builder.mul(loop.index, b_row)
                b_vector = [
                    builder.load(vector_at(b_start, b_offset, j), align=size)
                    for j in range(vectors)
                ]
                a_offset = builder.mul(loop.index, a_col)
                for i in range(TILE):
                    number = builder.load(builder.gep(a_line[i], [a_offset]))
                    number = builder.insert_element(nothing, number, first)
                    number = builder.shuffle_vector(number, nothing, everywhere)
                    for j in range(vectors):
                        term = builder.call(fma, [number, b_vector[j], builder.load(total[i, j])])
                        builder.store(term, total[i, j])
            for i in range(TILE):
                for j in range(vectors):
                    at = vector_at(c_start, builder.mul(row[i], c_row), j)
                    builder.store(builder.load(total[i, j]), at, align=size)
            return context.get_dummy_value()

        return signature, codegen

    @overload(tile, inline="always")
    def tile_jit(a, a0, a_row, a_col, rows, b, b0, b_row, depth, init, i0, i_row, c, c0, c_row):
        def call(a, a0, a_row, a_col, rows, b, b0, b_row, depth, init, i0, i_row, c, c0, c_row):
            tile_llvm(a, a0, a_row, a_col, rows, b, b0, b_row, depth, init, i0, i_row, c, c0, c_row)

        return call

    return tile


tile1 = _make_tile(1)
tile2 = _make_tile(2)


@kernel
def lanes(array):
    """Numbers in one 32-byte vector of the array's type."""
    return 32 // array.itemsize


@kernel
def padded(columns, lane):
    """`columns` rounded up to whole vectors."""
    return (columns + lane - 1) // lane * lane


@kernel
def multiply(a, a0, a_row, a_col, rows, b, depth, columns, init, i0, i_row, c, c0, c_row):
    """C = init + A B for any number of rows; B has padded rows: (depth, columns), whole vectors."""
    lane = lanes(c)
    for j in range(0, columns, 2 * lane):
        for i in range(0, rows, TILE):
            ai, ii, ci = a0 + i * a_row, i0 + i * i_row + j, c0 + i * c_row + j
            if columns - j > lane:
                tile2(
                    a,
                    ai,
                    a_row,
                    a_col,
                    rows - i,
                    b,
                    j,
                    columns,
                    depth,
                    init,
                    ii,
                    i_row,
                    c,
                    ci,
                    c_row,
                )
            else:
                tile1(
                    a,
                    ai,
                    a_row,
                    a_col,
                    rows - i,
                    b,
                    j,
                    columns,
                    depth,
                    init,
                    ii,
                    i_row,
                    c,
                    ci,
                    c_row,
                )


# --- packed panels of B ----------------------------------------------------------------------


@kernel
def _panel(column, columns, lane):
    """Width and first column of the panel that covers `column`; needs columns >= lane."""
    width = 2 * lane if columns - column > lane and columns >= 2 * lane else lane
    return width, min(column, columns - width)


@kernel
def _pack_worker(counter, b, transposed, columns, packed):
    """b (G, K, N) or transposed (G, N, K) -> packed (G, K * padded N); N is padded to `columns`."""
    lane = lanes(b)
    G = b.shape[0]
    depth, given = (b.shape[2], b.shape[1]) if transposed else (b.shape[1], b.shape[2])
    panels = (columns + 2 * lane - 1) // (2 * lane)
    while True:
        task = next_task(counter)
        if task >= G * panels:
            break
        g = task // panels
        first = task % panels * 2 * lane
        column = first
        while column < min(first + 2 * lane, columns):
            width, start = _panel(column, columns, lane)
            out = packed[g, column * depth : (column + width) * depth].reshape((depth, width))
            for j in range(width):
                if start + j >= given:
                    for k in range(depth):
                        out[k, j] = 0
                elif transposed:
                    for k in range(depth):
                        out[k, j] = b[g, start + j, k]
            if not transposed:
                for k in range(depth):
                    for j in range(min(width, given - start)):
                        out[k, j] = b[g, k, start + j]
            column += width


@kernel
def _packed_size(depth, columns, lane):
    return depth * padded(columns, lane)


@kernel
def multiply_packed(a, a0, a_row, rows, packed, p0, depth, columns, init, c, c0):
    """C (rows, columns) = init (columns) + A B, with B packed from position p0 on."""
    lane = lanes(c)
    column = 0
    while column < columns:
        width, start = _panel(column, columns, lane)
        b0 = p0 + column * depth
        for i in range(0, rows, TILE):
            ai, ci = a0 + i * a_row, c0 + i * columns + start
            if width > lane:
                tile2(
                    a,
                    ai,
                    a_row,
                    1,
                    rows - i,
                    packed,
                    b0,
                    width,
                    depth,
                    init,
                    start,
                    0,
                    c,
                    ci,
                    columns,
                )
            else:
                tile1(
                    a,
                    ai,
                    a_row,
                    1,
                    rows - i,
                    packed,
                    b0,
                    width,
                    depth,
                    init,
                    start,
                    0,
                    c,
                    ci,
                    columns,
                )
        column += width


# --- C = A B, C = A B^T, y = relu(x W + b) ----------------------------------------------------


@kernel
def _multiply_worker(counter, a, packed, bias, relu, c):
    G, M, K = a.shape
    N = c.shape[2]
    blocks = (M + ROWS - 1) // ROWS
    flat = c.reshape(-1)
    while True:
        task = next_task(counter)
        if task >= G * blocks:
            break
        g, row = task // blocks, task % blocks * ROWS
        rows = min(ROWS, M - row)
        c0 = (g * M + row) * N
        multiply_packed(
            a, (g * M + row) * K, K, rows, packed, g * packed.shape[1], K, N, bias, c, c0
        )
        if relu:
            for i in range(c0, c0 + rows * N):
                flat[i] = 0 if flat[i] < 0 else flat[i]  # keeps NaN


@parallel_kernel
def _multiply(threads, a, b, transposed, bias, relu, c):
    packed = np.empty((a.shape[0], _packed_size(a.shape[2], c.shape[2], lanes(c))), c.dtype)
    pack_counter = np.zeros(1, np.int64)
    for _ in prange(threads):
        _pack_worker(pack_counter, b, transposed, c.shape[2], packed)
    counter = np.zeros(1, np.int64)
    for _ in prange(threads):
        _multiply_worker(counter, a, packed, bias, relu, c)


def _product(a, b, transposed, bias, relu):
    """The common part: 2-D inputs as a batch of one, narrow results through padded columns."""
    batched = a.ndim == 3
    if not batched:
        a, b = a[None], b[None]
    N = b.shape[1] if transposed else b.shape[2]
    width = max(N, 32 // a.itemsize)
    start = np.zeros(width, a.dtype)
    if bias is not None:
        start[:N] = bias
    c = np.empty((a.shape[0], a.shape[1], width), a.dtype)
    if c.size:
        _multiply(get_threads(), a, b, transposed, start, relu, c)
    if width > N:
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
    chunk = max(CHUNK, -(-rows // CHUNKS))
    return -(-chunk // STEP) * STEP


@kernel
def _multiply_tn_worker(counter, a, b, chunk, partial):
    """partial (G, C, M, padded N): the product over each chunk of rows."""
    G, K, M = a.shape
    N = b.shape[2]
    chunks, columns = partial.shape[1], partial.shape[3]
    blocks = (M + 2 * ROWS - 1) // (2 * ROWS)
    piece = np.zeros((STEP, columns), b.dtype)  # rows of b, padded to whole vectors
    zeros = np.zeros(columns, b.dtype)
    while True:
        task = next_task(counter)
        if task >= G * chunks * blocks:
            break
        g, c, m = task // (chunks * blocks), task // blocks % chunks, task % blocks * 2 * ROWS
        c0 = ((g * chunks + c) * M + m) * columns
        for row in range(c * chunk, min((c + 1) * chunk, K), STEP):
            rows = min(STEP, K - row)
            for i in range(rows):
                for j in range(N):
                    piece[i, j] = b[g, row + i, j]
            a0 = (g * K + row) * M + m
            size = min(2 * ROWS, M - m)
            if row == c * chunk:
                multiply(a, a0, 1, M, size, piece, rows, columns, zeros, 0, 0, partial, c0, columns)
            else:
                multiply(
                    a,
                    a0,
                    1,
                    M,
                    size,
                    piece,
                    rows,
                    columns,
                    partial,
                    c0,
                    columns,
                    partial,
                    c0,
                    columns,
                )


@kernel
def sum_chunks(partial, out):
    """out (R, N) = sum over c, in order, of partial (C, R, padded N)."""
    R, N = out.shape
    for r in range(R):
        for j in range(N):
            out[r, j] = partial[0, r, j]
        for c in range(1, partial.shape[0]):
            for j in range(N):
                out[r, j] += partial[c, r, j]


@parallel_kernel
def _multiply_tn(threads, a, b, chunk, partial, out):
    counter = np.zeros(1, np.int64)
    for _ in prange(threads):
        _multiply_tn_worker(counter, a, b, chunk, partial)
    for g in range(a.shape[0]):
        sum_chunks(partial[g], out[g])


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
        lane = 32 // a.itemsize
        partial = np.empty((G, -(-K // chunk), M, -(-N // lane) * lane), a.dtype)
        out = np.empty((G, M, N), a.dtype)
        _multiply_tn(get_threads(), a, b, chunk, partial, out)
    return out if batched else out[0]


# --- the backward pass of the linear layer ----------------------------------------------------


@kernel
def _linear_backward_worker(counter, x, packed, dy, y, relu, chunk, dx, dW, db):
    """Per chunk of rows: dx itself, and partial sums dW (C, k, padded m), db (C, 1, padded m)."""
    T, k = x.shape
    m = dy.shape[1]
    columns = dW.shape[2]
    width = dx.shape[1]  # k, or a whole vector if k is narrower
    piece = np.zeros((STEP, columns), dy.dtype)
    zeros = np.zeros(max(columns, width), dy.dtype)
    while True:
        c = next_task(counter)
        if c >= dW.shape[0]:
            break
        db[c] = 0
        for row in range(c * chunk, min((c + 1) * chunk, T), STEP):
            rows = min(STEP, T - row)
            # y = max(z, 0)           dz = dy where y > 0, else 0
            for i in range(rows):
                for j in range(m):
                    piece[i, j] = dy[row + i, j]
                if relu:
                    for j in range(m):
                        piece[i, j] = piece[i, j] if y[row + i, j] > 0 else 0
                for j in range(columns):
                    db[c, 0, j] += piece[i, j]
            # z = x W + b             dx = dz W^T,  dW = x^T dz,  db = sum over rows of dz
            multiply_packed(piece, 0, columns, rows, packed, 0, m, width, zeros, dx, row * width)
            c0 = c * k * columns
            if row == c * chunk:
                multiply(x, row * k, 1, k, k, piece, rows, columns, zeros, 0, 0, dW, c0, columns)
            else:
                multiply(
                    x, row * k, 1, k, k, piece, rows, columns, dW, c0, columns, dW, c0, columns
                )


@parallel_kernel
def _linear_backward(threads, x, W, dy, y, relu, chunk, dx, dW_partial, db_partial, dW, db):
    packed = np.empty((1, _packed_size(W.shape[1], dx.shape[1], lanes(dx))), dx.dtype)
    _pack_worker(np.zeros(1, np.int64), W.reshape((1,) + W.shape), True, dx.shape[1], packed)
    counter = np.zeros(1, np.int64)
    for _ in prange(threads):
        _linear_backward_worker(counter, x, packed, dy, y, relu, chunk, dx, dW_partial, db_partial)
    sum_chunks(dW_partial, dW)
    sum_chunks(db_partial, db)


def linear_backward(x, W, dy, y=None):
    """Gradients of y = x W + b, or with `y` given, of y = max(x W + b, 0).

    x (T, k), W (k, m), dy (T, m), y (T, m) or None -> dx (T, k), dW (k, m), db (m).
    """
    T, k = x.shape
    m = W.shape[1]
    if T == 0:
        return np.zeros_like(x), np.zeros_like(W), np.zeros(m, x.dtype)
    lane = 32 // x.itemsize
    chunk = _chunk_rows(T)
    chunks, columns, width = -(-T // chunk), -(-m // lane) * lane, max(k, lane)
    dx = np.empty((T, width), x.dtype)
    dW_partial = np.empty((chunks, k, columns), x.dtype)
    db_partial = np.empty((chunks, 1, columns), x.dtype)
    dW, db = np.empty((k, m), x.dtype), np.empty((1, m), x.dtype)
    relu = y is not None
    mask = y if relu else dy
    _linear_backward(get_threads(), x, W, dy, mask, relu, chunk, dx, dW_partial, db_partial, dW, db)
    if width > k:
        dx = np.ascontiguousarray(dx[:, :k])
    return dx, dW, db[0]
