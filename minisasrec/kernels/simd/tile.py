"""The register tile, a block of a matrix product, and the square that turns rows into columns."""

from __future__ import annotations

from typing import NamedTuple

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
INDEX_TYPE = ir.IntType(INDEX.bitwidth)


class View(NamedTuple):
    """A matrix inside an array: element (i, j) is at flat position first + i row + j column.

    View(0, n, 1) is the whole of an array (m, n), and View(0, 1, n) is its transpose. A view goes
    beside its array, since it costs nothing: whenever an array goes into a tuple, Numba counts one
    more reference to it, and all threads count in the same place.
    """

    first: int
    row: int
    column: int


@kernel
def moved(view, i, j):
    """The view moved i rows down and j columns to the right."""
    first, row, column = view
    return View(first + i * row + j * column, row, column)


# --- the register tile -----------------------------------------------------------------------


def _seen(array, view, rows, columns):
    """The matrix that a view shows."""
    flat = array.reshape(-1)[view.first :]
    strides = view.row * flat.itemsize, view.column * flat.itemsize
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), strides)


def _tile_python(size, a, in_a, b, in_b, init, in_init, c, in_c):
    rows, depth, columns = size
    rows = min(rows, TILE)
    sums = _seen(init, in_init, rows, columns).copy()
    for k in range(depth):
        sums += _seen(a, in_a, rows, depth)[:, k : k + 1] * _seen(b, in_b, depth, columns)[k]
    _seen(c, in_c, rows, columns)[:] = sums


@compiled_from(_tile_python)
def tile(typingctx, size, a, in_a, b, in_b, init, in_init, c, in_c):
    """A block of TILE rows x 1 to PANEL vectors of a matrix product, C = init + A B.

    `size` is (rows, depth, columns). A is what the view `in_a` shows of the array `a`, and so on.
    For i < rows (at most TILE count) and j < columns:

        C[i, j] = init[i, j] + sum over k < depth of A[i, k] * B[k, j]

    `columns` is at least the numbers of one vector and at most those of PANEL. The last vector ends
    with the columns; what it shares with the one before is computed twice, to the same bits.

    A may be the transpose of what is in memory. The rows of B, init and C lie in memory number
    after number: their `column` is 1. `init` is the bias (its `row` is 0), zeros (`row` 0) or C
    itself, to add to it. The sum runs over k in order, so its bits depend on nothing else.

    6 x 2 sums, 2 vectors of B and 1 number of A fill 15 of 16 registers; 6 x 4, 4 and 1 fill 29 of
    the 32 of AVX-512.
    """

    def codegen(context, builder, signature, args):
        count = _three_numbers(context, builder, signature.args[0], args[0])
        matrices = [
            _Matrix(context, builder, signature.args[i : i + 2], args[i : i + 2])
            for i in range(1, 9, 2)
        ]
        lane, columns = matrices[0].vector.count, count[2]
        # a last vector of which half is enough is half a vector: most processors are faster then
        widths = [lane] + [
            vectors * lane - rest for vectors in range(2, PANEL + 1) for rest in (lane // 2, 0)
        ]
        for before, width in zip([0, *widths], widths, strict=False):
            more = builder.icmp_signed(">", columns, INDEX_TYPE(before))
            enough = builder.icmp_signed("<=", columns, INDEX_TYPE(width))
            with builder.if_then(builder.and_(more, enough)):
                _build_tile(builder, width, count, *matrices)
        return context.get_dummy_value()

    return types.void(size, a, in_a, b, in_b, init, in_init, c, in_c), codegen


def _three_numbers(context, builder, given, value):
    """The three whole numbers of a tuple."""
    numbers = cgutils.unpack_tuple(builder, value, 3)
    return [
        context.cast(builder, number, its_type, INDEX)
        for number, its_type in zip(numbers, given.types, strict=True)
    ]


class _Matrix:
    """An array and a view in LLVM code: the address of the first number, and the strides."""

    def __init__(self, context, builder, given, values):
        (array, view), (array_value, view_value) = given, values
        first, self.row, self.column = _three_numbers(context, builder, view, view_value)
        self.start = pointer_to(context, builder, array, array_value, first)
        self.vector = context.get_value_type(Vector(array.dtype))


def _build_tile(builder, width, size, a, b, init, c):
    """The code for columns of which `width`, whole vectors and perhaps half of one, is enough."""
    rows, depth, columns = size
    lane, number = a.vector.count, a.vector.element
    lengths = [lane] * (width // lane) + [lane // 2] * (width % lane > 0)
    vectors = [ir.VectorType(number, length) for length in lengths]
    # Rows past the last repeat it: the same numbers are then stored to the same place.
    row = [_clamped(builder, i, rows) for i in range(TILE)]
    column = [INDEX_TYPE(j * lane) for j in range(len(vectors) - 1)]
    column.append(builder.sub(columns, INDEX_TYPE(lengths[-1])))
    block = [(i, j) for i in range(TILE) for j in range(len(vectors))]

    def at(matrix, i, j):
        return builder.add(builder.mul(row[i], matrix.row), column[j])

    sums = {}
    for i, j in block:
        first = build_load(builder, vectors[j], init.start, at(init, i, j))
        sums[i, j] = cgutils.alloca_once_value(builder, first)  # becomes a register
    line = [builder.gep(a.start, [builder.mul(row[i], a.row)]) for i in range(TILE)]
    with cgutils.for_range(builder, depth) as loop:
        b_k = builder.gep(b.start, [builder.mul(loop.index, b.row)])
        b_k = [build_load(builder, vector, b_k, column[j]) for j, vector in enumerate(vectors)]
        k = builder.mul(loop.index, a.column)
        for i in range(TILE):
            a_ik = builder.load(builder.gep(line[i], [k]))
            spread = {
                length: build_spread(builder, v, a_ik)
                for v, length in zip(vectors, lengths, strict=True)
            }
            for j, length in enumerate(lengths):
                new = build_fma(builder, spread[length], b_k[j], builder.load(sums[i, j]))
                builder.store(new, sums[i, j])
    for i, j in block:
        build_store(builder, builder.load(sums[i, j]), c.start, at(c, i, j))


def _clamped(builder, i, count):
    """min(i, count - 1) for a Python int i: a row past the last stands for the last."""
    last = builder.sub(count, count.type(1))
    return builder.select(builder.icmp_signed("<", count.type(i), last), count.type(i), last)


# --- the transpose ---------------------------------------------------------------------------


def _transpose_python(source, in_source, count, target, in_target):
    lane = lane_count(source.dtype)
    rows = [min(r, count - 1) for r in range(lane)]
    _seen(target, in_target, lane, lane)[:] = _seen(source, in_source, count, lane)[rows].T


@compiled_from(_transpose_python)
def transpose(typingctx, source, in_source, count, target, in_target):
    """Turn a square of lanes x lanes numbers: target[c, r] = source[r, c], by their views.

    Only the first `count` rows of the source are read; the last of them stands for the rest.
    """

    def codegen(context, builder, signature, args):
        count = args[2]
        square = _Matrix(context, builder, signature.args[:2], args[:2])
        turned = _Matrix(context, builder, signature.args[3:], args[3:])
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

    return types.void(source, in_source, INDEX, target, in_target), codegen
