"""Vectors of 64 or 32 bytes (16 or 8 float32) as values in kernels, and the register tile.

The compiler turns most plain loops into vector instructions by itself. It will not for a maximum
(NaN), it spends dozens of cycles around a loop over only 50 numbers, and it never keeps a block of
a matrix product in registers. For these, a kernel says what it wants::

    x = load(row, s)                    # lanes(row) numbers from position s of the flat array
    store(row, s, (x - fill(row, top)) * scale)

The code is generic LLVM, for any processor; only the width, `VECTOR_BYTES`, depends on it. Each
operation has its meaning in NumPy beside it, which is what runs under NUMBA_DISABLE_JIT. Arrays
must be C-contiguous; they are seen as flat.
"""

from __future__ import annotations

import operator
from decimal import Decimal

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from minisasrec.kernels.jit import compiled_from, exact_kernel, kernel

INDEX = types.intp


def _vector_bytes():
    """64 where the processor that Numba compiles for has registers as wide as that, else 32."""
    features = config.CPU_FEATURES  # NUMBA_CPU_FEATURES
    if features is None:
        features = get_host_cpu_features()  # without AVX where NUMBA_ENABLE_AVX is 0
    return 64 if "+avx512f" in features.split(",") else 32


VECTOR_BYTES = _vector_bytes()
TILE = 6  # rows of a register tile
PANEL = VECTOR_BYTES // 16  # and its vectors in a row: 4 (with 32 registers) or 2 (with 16)


def lane_count(dtype):
    """Numbers of a type in one vector (`lanes` in kernels)."""
    return VECTOR_BYTES // dtype.itemsize


class Vector(types.Type):
    """The Numba type of a vector."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.lanes = 8 * VECTOR_BYTES // dtype.bitwidth
        super().__init__(f"Vector({dtype} x {self.lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        number = manager.lookup(numba_type.dtype).get_value_type()
        super().__init__(manager, numba_type, ir.VectorType(number, numba_type.lanes))


def _type_same_vectors(self, arguments, keywords):
    if isinstance(arguments[0], Vector) and arguments[0] == arguments[1]:
        return signature(arguments[0], *arguments)


for _operator, _instruction in [
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
]:
    infer_global(_operator)(
        type(f"_Vector_{_instruction}", (AbstractTemplate,), {"generic": _type_same_vectors})
    )

    @lower_builtin(_operator, Vector, Vector)
    def _lower(context, builder, signature, arguments, instruction=_instruction):
        return getattr(builder, instruction)(*arguments)


# --- helpers of the code builders ------------------------------------------------------------


def _pointer(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _load(builder, vector, pointer, index):
    pointer = builder.bitcast(builder.gep(pointer, [index]), vector.as_pointer())
    return builder.load(pointer, align=_bytes(vector))


def _store(builder, value, pointer, index):
    pointer = builder.bitcast(builder.gep(pointer, [index]), value.type.as_pointer())
    builder.store(value, pointer, align=_bytes(value.type))


def _bytes(vector):
    return VECTOR_BYTES // vector.count  # of one number: all that is known of an address


def _spread(builder, vector, number):
    """A vector with `number` in every lane."""
    nothing, int32 = ir.Constant(vector, ir.Undefined), ir.IntType(32)
    one = builder.insert_element(nothing, number, int32(0))
    everywhere = ir.Constant(ir.VectorType(int32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, nothing, everywhere)


def _fma(builder, a, b, c):
    # llvm.fmuladd is one fused instruction where the processor has it, and two where not
    number = getattr(a.type, "element", a.type)
    name = "llvm.fmuladd." + (f"v{a.type.count}" if number is not a.type else "")
    name += "f32" if isinstance(number, ir.FloatType) else "f64"
    function_type = ir.FunctionType(a.type, [a.type] * 3)
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    return builder.call(function, [a, b, c])


def _clamped(builder, i, count):
    """min(i, count - 1) for a Python int i: a row past the last stands for the last."""
    last = builder.sub(count, count.type(1))
    return builder.select(builder.icmp_signed("<", count.type(i), last), count.type(i), last)


# --- vectors ---------------------------------------------------------------------------------


@compiled_from(lambda array: lane_count(array.dtype))
def lanes(typingctx, array):
    """Numbers in one vector of the array's type."""

    def codegen(context, builder, signature, args):
        return context.get_constant(INDEX, Vector(array.dtype).lanes)

    return INDEX(array), codegen


@compiled_from(lambda array, i: array.reshape(-1)[i : i + lane_count(array.dtype)].copy())
def load(typingctx, array, i):
    """The vector that starts at flat position i."""

    def codegen(context, builder, signature, args):
        vector = context.get_value_type(signature.return_type)
        data = _pointer(context, builder, array, args[0], args[1])
        return _load(builder, vector, data, args[1].type(0))

    return Vector(array.dtype)(array, INDEX), codegen


def _store_python(array, i, vector):
    array.reshape(-1)[i : i + len(vector)] = vector


@compiled_from(_store_python)
def store(typingctx, array, i, vector):
    """Write a vector to flat position i on."""

    def codegen(context, builder, signature, args):
        data = _pointer(context, builder, array, args[0], args[1])
        _store(builder, args[2], data, args[1].type(0))
        return context.get_dummy_value()

    return types.void(array, INDEX, vector), codegen


def _part_python(array, i, count):
    vector = np.zeros(lane_count(array.dtype), array.dtype)
    part = array.reshape(-1)[i : i + min(count, len(vector))]
    vector[: len(part)] = part
    return vector


@compiled_from(_part_python)
def load_part(typingctx, array, i, count):
    """`load` of at most `count` numbers, 0 in the other lanes: the end of a row of any length."""

    def codegen(context, builder, signature, args):
        vector = context.get_value_type(signature.return_type)
        pointer, mask = _part(context, builder, array, vector, *args)
        return builder.call(
            _masked(builder, "load", vector, [pointer.type, ir.IntType(32), mask.type, vector]),
            [pointer, ir.IntType(32)(_bytes(vector)), mask, ir.Constant(vector, None)],
        )

    return Vector(array.dtype)(array, INDEX, INDEX), codegen


def _store_part_python(array, i, count, vector):
    part = array.reshape(-1)[i : i + min(count, len(vector))]
    part[:] = vector[: len(part)]


@compiled_from(_store_part_python)
def store_part(typingctx, array, i, count, vector):
    """`store` of at most `count` numbers."""

    def codegen(context, builder, signature, args):
        value = args[3]
        pointer, mask = _part(context, builder, array, value.type, *args[:3])
        builder.call(
            _masked(builder, "store", value.type,
                    [value.type, pointer.type, ir.IntType(32), mask.type]),
            [value, pointer, ir.IntType(32)(_bytes(value.type)), mask],
        )  # fmt: skip
        return context.get_dummy_value()

    return types.void(array, INDEX, INDEX, vector), codegen


def _part(context, builder, array, vector, value, i, count):
    """The address of a vector, and which of its lanes are among the first `count`."""
    int32 = ir.IntType(32)
    numbers = ir.VectorType(int32, vector.count)
    pointer = builder.bitcast(_pointer(context, builder, array, value, i), vector.as_pointer())
    count = _spread(builder, numbers, builder.trunc(count, int32))
    mask = builder.icmp_signed("<", ir.Constant(numbers, list(range(vector.count))), count)
    return pointer, mask


def _masked(builder, what, vector, arguments):
    """llvm.masked.load or llvm.masked.store for one type of vector."""
    number = "f32" if isinstance(vector.element, ir.FloatType) else "f64"
    returned = vector if what == "load" else ir.VoidType()
    return cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(returned, arguments),
        f"llvm.masked.{what}.v{vector.count}{number}.p0",
    )


@compiled_from(lambda array, number: np.full(lane_count(array.dtype), number, array.dtype))
def fill(typingctx, array, number):
    """A vector of the array's type with `number` in every lane."""

    def codegen(context, builder, signature, args):
        return _spread(builder, context.get_value_type(signature.return_type), args[1])

    return Vector(array.dtype)(array, array.dtype), codegen


@compiled_from(lambda a, b, c: a * b + c)
def fma(typingctx, a, b, c):
    """a b + c, rounded once where the processor can."""
    return a(a, a, a), lambda context, builder, signature, args: _fma(builder, *args)


@compiled_from(lambda x, least: np.where(x < least, least, x))
def at_least(typingctx, x, least):
    """max(x, least); a NaN in x stays."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered("<", *args), args[1], args[0])

    return x(x, x), codegen


@compiled_from(lambda x, limit, value, other: np.where(x > limit, value, other))
def where_above(typingctx, x, limit, value, other):
    """`value` in the lanes where x > limit, elsewhere `other`."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[2], args[3])

    return x(x, x, x, x), codegen


@compiled_from(lambda i, end, value, other: np.where(i + np.arange(len(value)) < end, value, other))
def where_before(typingctx, i, end, value, other):
    """`value` in the lanes j with i + j < end, elsewhere `other`."""

    def codegen(context, builder, signature, args):
        int32, count = ir.IntType(32), value.lanes
        numbers = ir.VectorType(int32, count)
        left = builder.trunc(builder.sub(args[1], args[0]), int32)
        inside = builder.icmp_signed(
            "<", ir.Constant(numbers, list(range(count))), _spread(builder, numbers, left)
        )
        return builder.select(inside, args[2], args[3])

    return value(INDEX, INDEX, value, value), codegen


def _halves(builder, vector, combine):
    """Combine the lanes in pairs until one is left: always in the same order."""
    count = vector.type.count
    while count > 1:
        count //= 2
        mask = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(count)))
        upper = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(count, 2 * count)))
        nothing = ir.Constant(vector.type, ir.Undefined)
        vector = combine(
            builder.shuffle_vector(vector, nothing, mask),
            builder.shuffle_vector(vector, nothing, upper),
        )
    return builder.extract_element(vector, ir.IntType(32)(0))


@compiled_from(lambda vector: vector.sum())
def total(typingctx, vector):
    """The sum of the lanes."""

    def codegen(context, builder, signature, args):
        return _halves(builder, args[0], builder.fadd)

    return vector.dtype(vector), codegen


@compiled_from(lambda vector: vector.max())
def largest(typingctx, vector):
    """The largest lane."""

    def codegen(context, builder, signature, args):
        def larger(a, b):
            return builder.select(builder.fcmp_ordered("<", a, b), b, a)

        return _halves(builder, args[0], larger)

    return vector.dtype(vector), codegen


# --- exp -------------------------------------------------------------------------------------


def _exp_constants(dtype):
    """What `exp` needs for one type: see there."""
    info = np.finfo(dtype)
    ln2 = Decimal("0.693147180559945309417232121458")
    high = float(round(ln2 * 2 ** (info.nmant // 2))) / 2 ** (info.nmant // 2)
    return [
        dtype(each)
        for each in (
            float(1 / ln2),
            1.5 * 2.0**info.nmant,
            high,
            float(ln2 - Decimal(high)),
            np.log(float(info.smallest_normal)),
        )
    ]


def _factorials(terms):
    return [1 / np.prod(np.arange(1.0, n + 1)) for n in range(terms, -1, -1)]


_CONSTANTS = {types.float32: _exp_constants(np.float32), types.float64: _exp_constants(np.float64)}
_SERIES = {types.float32: _factorials(7), types.float64: _factorials(13)}


@compiled_from(lambda x: np.exp(x))
def _exp(typingctx, x):
    number = getattr(x, "dtype", x)

    def codegen(context, builder, signature, args):
        real = context.get_value_type(x)  # a vector, or one number
        bits = ir.IntType(number.bitwidth)
        if isinstance(x, Vector):
            bits = ir.VectorType(bits, x.lanes)

        def constant(value, kind=real):
            return ir.Constant(kind, [value] * x.lanes if isinstance(x, Vector) else value)

        per_ln2, rounder, ln2_high, ln2_low, smallest = map(constant, _CONSTANTS[number])
        mantissa, bias = (23, 127) if number == types.float32 else (52, 1023)
        (value,) = args
        gone = builder.fcmp_ordered("<", value, smallest)
        value = builder.select(gone, smallest, value)
        shifted = _fma(builder, value, per_ln2, rounder)
        n = builder.fsub(shifted, rounder)
        # ln 2 in two parts: n times the first is exact
        r = _fma(builder, n, builder.fneg(ln2_high), value)
        r = _fma(builder, n, builder.fneg(ln2_low), r)
        first, *rest = _SERIES[number]
        series = constant(first)
        for coefficient in rest:
            series = _fma(builder, series, r, constant(coefficient))
        exponent = builder.add(builder.bitcast(shifted, bits), constant(bias, bits))
        exponent = builder.shl(exponent, constant(mantissa, bits))
        power = builder.bitcast(exponent, real)
        return builder.select(gone, constant(0.0), builder.fmul(series, power))

    return x(x), codegen


@exact_kernel
def exp(x):
    """exp of every lane (or of one number) x <= 0, to about one rounding; 0 if it is not normal.

    exp(x) = 2^n exp(r) with n = x / ln 2 rounded, so |r| <= ln(2) / 2 and the series of exp(r)
    needs 7 terms (float32) or 13 (float64). Adding 1.5 * 2^mantissa rounds to a whole number and
    leaves it in the low bits, from where a shift makes it the exponent of 2^n.
    """
    return _exp(x)


# --- moving rows -----------------------------------------------------------------------------


@kernel
def copy_row(source, i, target, j, count):
    """`count` numbers from flat position i of `source` to j of `target`."""
    lane = lanes(source)
    if count < lane:
        source, target = source.reshape(-1), target.reshape(-1)
        for c in range(count):
            target[j + c] = source[i + c]
    else:
        for c in range(0, count - lane, lane):
            store(target, j + c, load(source, i + c))
        # the last vector ends with the row; what it shares with the one before is copied twice
        store(target, j + count - lane, load(source, i + count - lane))


def _transpose_python(source, i, row, count, target, j, target_row):
    source, target, lane = source.reshape(-1), target.reshape(-1), lane_count(source.dtype)
    for r in range(lane):
        for c in range(lane):
            target[j + c * target_row + r] = source[i + min(r, count - 1) * row + c]


@compiled_from(_transpose_python)
def transpose(typingctx, source, i, row, count, target, j, target_row):
    """Turn a square of lanes x lanes numbers: target[j + c*target_row + r] = source[i + r*row + c].

    Only the first `count` rows of the source are read; the last of them stands for the rest.
    """

    def codegen(context, builder, signature, args):
        source, i, row, count, target, j, target_row = args
        array, out = signature.args[0], signature.args[4]
        vector = context.get_value_type(Vector(array.dtype))
        lane, int32 = vector.count, ir.IntType(32)
        start = _pointer(context, builder, array, source, i)
        rows = [
            _load(builder, vector, start, builder.mul(_clamped(builder, r, count), row))
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
        start = _pointer(context, builder, out, target, j)
        for c in range(lane):
            _store(builder, rows[c], start, builder.mul(target_row.type(c), target_row))
        return context.get_dummy_value()

    return types.void(source, INDEX, INDEX, INDEX, target, INDEX, INDEX), codegen


# --- the register tile -----------------------------------------------------------------------


def _tile_python(
    columns, a, a0, a_row, a_col, rows, b, b0, b_row, depth, init, i0, i_row, c, c0, c_row
):  # fmt: skip
    a, b, init, c = a.reshape(-1), b.reshape(-1), init.reshape(-1), c.reshape(-1)
    for i in range(min(rows, TILE)):
        sums = init[i0 + i * i_row :][:columns].copy()
        for k in range(depth):
            sums += a[a0 + i * a_row + k * a_col] * b[b0 + k * b_row :][:columns]
        c[c0 + i * c_row :][:columns] = sums


@compiled_from(_tile_python)
def tile(
    typingctx, columns, a, a0, a_row, a_col, rows, b, b0, b_row, depth, init, i0, i_row, c, c0,
    c_row,
):  # fmt: skip
    """A block of TILE rows x 1 to PANEL vectors of a matrix product C = init + A B.

    With every array seen flat, for i < rows (at most TILE count) and j < columns:

        c[c0 + i*c_row + j] = init[i0 + i*i_row + j]
                              + sum_k a[a0 + i*a_row + k*a_col] * b[b0 + k*b_row + j]

    `columns` is at least the numbers of one vector and at most those of PANEL. The last vector ends
    with the columns; what it shares with the one before is computed twice, to the same bits.

    The strides of `a` make A and A^T the same; `init` is the bias (i_row 0), zeros (i_row 0) or c
    itself (to add to it). The sum runs over k in order, so its bits depend on nothing else.

    6 x 2 sums, 2 vectors of B and 1 number of A fill 15 of 16 registers; 6 x 4, 4 and 1 fill 29 of
    the 32 of AVX-512.
    """

    def codegen(context, builder, signature, args):
        lane = Vector(a.dtype).lanes
        for vectors in range(1, PANEL + 1):
            after = args[0].type((vectors - 1) * lane)  # columns before the last vector, at least
            more = builder.icmp_signed(">", args[0], after)
            enough = builder.icmp_signed("<=", args[0], args[0].type(vectors * lane))
            with builder.if_then(builder.and_(more, enough)):
                _tile(context, builder, signature.args[1:], vectors, *args)
        return context.get_dummy_value()

    n = INDEX
    return types.void(n, a, n, n, n, n, b, n, n, n, init, n, n, c, n, n), codegen


def _tile(
    context, builder, types, vectors, columns, a, a0, a_row, a_col, rows, b, b0, b_row, depth, init,
    i0, i_row, c, c0, c_row,
):  # fmt: skip
    vector = context.get_value_type(Vector(types[0].dtype))
    a_start = _pointer(context, builder, types[0], a, a0)
    b_start = _pointer(context, builder, types[5], b, b0)
    init_start = _pointer(context, builder, types[9], init, i0)
    c_start = _pointer(context, builder, types[12], c, c0)
    # Rows past the last repeat it: the same numbers are then stored to the same place.
    row = [_clamped(builder, i, rows) for i in range(TILE)]
    column = [columns.type(j * vector.count) for j in range(vectors - 1)]
    column.append(builder.sub(columns, columns.type(vector.count)))
    block = [(i, j) for i in range(TILE) for j in range(vectors)]

    def at(i, row_length, j):
        return builder.add(builder.mul(row[i], row_length), column[j])

    sums = {}
    for i, j in block:
        first = _load(builder, vector, init_start, at(i, i_row, j))
        sums[i, j] = cgutils.alloca_once_value(builder, first)  # becomes a register
    line = [builder.gep(a_start, [builder.mul(row[i], a_row)]) for i in range(TILE)]
    with cgutils.for_range(builder, depth) as loop:
        b_k = builder.gep(b_start, [builder.mul(loop.index, b_row)])
        b_k = [_load(builder, vector, b_k, column[j]) for j in range(vectors)]
        a_col_at = builder.mul(loop.index, a_col)
        for i in range(TILE):
            number = builder.load(builder.gep(line[i], [a_col_at]))
            a_ik = _spread(builder, vector, number)
            for j in range(vectors):
                new = _fma(builder, a_ik, b_k[j], builder.load(sums[i, j]))
                builder.store(new, sums[i, j])
    for i, j in block:
        _store(builder, builder.load(sums[i, j]), c_start, at(i, c_row, j))
