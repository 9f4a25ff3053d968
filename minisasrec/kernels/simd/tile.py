"""The register tile, a block of a matrix product, and the square that turns rows into columns."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types

from minisasrec.kernels.jit import compiled_from, kernel
from minisasrec.kernels.simd.internals import cgutils, ir
from minisasrec.kernels.simd.vector import (
    INDEX,
    VECTOR_BYTES,
    Vector,
    build_fma,
    build_load,
    build_spread,
    build_store,
    lane_count,
    pointer_to,
)

TILE = 6  # rows of a register tile
PANEL = VECTOR_BYTES // 16  # and its vectors in a row: 4 (with 32 registers) or 2 (with 16)


class View(NamedTuple):
    """A matrix inside an array: element (i, j) is at flat position first + i row + j column.

    View(x, 0, n, 1) is the whole of x (m, n), and View(x, 0, 1, n) is its transpose.
    """

    array: Any
    first: int
    row: int
    column: int


@kernel
def moved(matrix, i, j):
    """The view moved i rows down and j columns to the right."""
    array, first, row, column = matrix
    return View(array, first + i * row + j * column, row, column)


# --- the register tile -----------------------------------------------------------------------


def _whole(matrix, rows, columns):
    """The NumPy array that a view stands for."""
    flat = matrix.array.reshape(-1)[matrix.first :]
    strides = matrix.row * flat.itemsize, matrix.column * flat.itemsize
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), strides)


def _tile_python(columns, rows, depth, a, b, init, c):
    rows = min(rows, TILE)
    sums = _whole(init, rows, columns).copy()
    for k in range(depth):
        sums += _whole(a, rows, depth)[:, k : k + 1] * _whole(b, depth, columns)[k]
    _whole(c, rows, columns)[:] = sums


@compiled_from(_tile_python)
def tile(typingctx, columns, rows, depth, a, b, init, c):
    """A block of TILE rows x 1 to PANEL vectors of a matrix product, C = init + A B.

    For i < rows (at most TILE count) and j < columns:

        c[i, j] = init[i, j] + sum over k < depth of a[i, k] * b[k, j]

    `columns` is at least the numbers of one vector and at most those of PANEL. The last vector ends
    with the columns; what it shares with the one before is computed twice, to the same bits.

    A may be the transpose of what is in memory. The rows of B, init and C lie in memory number
    after number: their `column` is 1. `init` is the bias (its `row` is 0), zeros (`row` 0) or C
    itself, to add to it. The sum runs over k in order, so its bits depend on nothing else.

    6 x 2 sums, 2 vectors of B and 1 number of A fill 15 of 16 registers; 6 x 4, 4 and 1 fill 29 of
    the 32 of AVX-512.
    """

    def codegen(context, builder, signature, args):
        count, *numbers = args[:3]
        matrices = [
            _Matrix(context, builder, each, value)
            for each, value in zip(signature.args[3:], args[3:], strict=True)
        ]
        lane = matrices[0].vector.count
        for vectors in range(1, PANEL + 1):
            after = count.type((vectors - 1) * lane)  # columns before the last vector, at least
            more = builder.icmp_signed(">", count, after)
            enough = builder.icmp_signed("<=", count, count.type(vectors * lane))
            with builder.if_then(builder.and_(more, enough)):
                _build_tile(builder, vectors, count, *numbers, *matrices)
        return context.get_dummy_value()

    return types.void(INDEX, INDEX, INDEX, a, b, init, c), codegen


class _Matrix:
    """A view in LLVM code: the address of its first number, and its strides."""

    def __init__(self, context, builder, view, value):
        array, *numbers = cgutils.unpack_tuple(builder, value, 4)
        first, self.row, self.column = (
            context.cast(builder, number, given, INDEX)
            for number, given in zip(numbers, view.types[1:], strict=True)
        )
        self.start = pointer_to(context, builder, view.types[0], array, first)
        self.vector = context.get_value_type(Vector(view.types[0].dtype))


def _build_tile(builder, vectors, columns, rows, depth, a, b, init, c):
    vector, index = a.vector, columns.type
    # Rows past the last repeat it: the same numbers are then stored to the same place.
    row = [_clamped(builder, i, rows) for i in range(TILE)]
    column = [index(j * vector.count) for j in range(vectors - 1)]
    column.append(builder.sub(columns, index(vector.count)))
    block = [(i, j) for i in range(TILE) for j in range(vectors)]

    def at(matrix, i, j):
        return builder.add(builder.mul(row[i], matrix.row), column[j])

    sums = {}
    for i, j in block:
        first = build_load(builder, vector, init.start, at(init, i, j))
        sums[i, j] = cgutils.alloca_once_value(builder, first)  # becomes a register
    line = [builder.gep(a.start, [builder.mul(row[i], a.row)]) for i in range(TILE)]
    with cgutils.for_range(builder, depth) as loop:
        b_k = builder.gep(b.start, [builder.mul(loop.index, b.row)])
        b_k = [build_load(builder, vector, b_k, column[j]) for j in range(vectors)]
        k = builder.mul(loop.index, a.column)
        for i in range(TILE):
            a_ik = build_spread(builder, vector, builder.load(builder.gep(line[i], [k])))
            for j in range(vectors):
                new = build_fma(builder, a_ik, b_k[j], builder.load(sums[i, j]))
                builder.store(new, sums[i, j])
    for i, j in block:
        build_store(builder, builder.load(sums[i, j]), c.start, at(c, i, j))


def _clamped(builder, i, count):
    """min(i, count - 1) for a Python int i: a row past the last stands for the last."""
    last = builder.sub(count, count.type(1))
    return builder.select(builder.icmp_signed("<", count.type(i), last), count.type(i), last)


# --- the transpose ---------------------------------------------------------------------------


def _transpose_python(source, count, target):
    lane = lane_count(source.array.dtype)
    rows = [min(r, count - 1) for r in range(lane)]
    _whole(target, lane, lane)[:] = _whole(source, count, lane)[rows].T


@compiled_from(_transpose_python)
def transpose(typingctx, source, count, target):
    """Turn a square of lanes x lanes numbers, two views: target[c, r] = source[r, c].

    Only the first `count` rows of the source are read; the last of them stands for the rest.
    """

    def codegen(context, builder, signature, args):
        count = args[1]
        square = _Matrix(context, builder, signature.args[0], args[0])
        turned = _Matrix(context, builder, signature.args[2], args[2])
        vector = square.vector
        lane, int32 = vector.count, ir.IntType(32)
        rows = [
            build_load(
                builder, vector, square.start, builder.mul(_clamped(builder, r, count), square.row)
            )
            for r in range(lane)
        ]
        # Riffle the rows r and r + lane/2 together, and again: after log2(lane) rounds the number
        # that was in row r, column c is in row c, column r.
        halves = []
        for first in (0, lane // 2):
            order = [first + m // 2 + lane * (m % 2) for m in range(lane)]
            halves.append(ir.Constant(ir.VectorType(int32, lane), order))
        for _ in range(lane.bit_length() - 1):
            rows = [
                builder.shuffle_vector(rows[r], rows[r + lane // 2], half)
                for r in range(lane // 2)
                for half in halves
            ]
        for c in range(lane):
            build_store(builder, rows[c], turned.start, builder.mul(count.type(c), turned.row))
        return context.get_dummy_value()

    return types.void(source, INDEX, target), codegen
