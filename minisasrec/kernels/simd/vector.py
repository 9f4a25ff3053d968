"""Vectors of 64 or 32 bytes (16 or 8 float32) as values in kernels.

The compiler turns most plain loops into vector instructions by itself. But not a loop that takes a
maximum (because of NaN); a loop over only 50 numbers costs dozens of cycles before and after it;
and a block of a matrix product never stays in registers (`tile.py`). There a kernel uses vectors::

    x = load(row, s)                    # lanes(row) numbers from position s of the flat array
    store(row, s, (x - fill(row, top)) * scale)

The LLVM code is the same for every processor; only the width, `VECTOR_BYTES`, differs. Beside each
operation stands the same in NumPy, which runs under NUMBA_DISABLE_JIT. Arrays must be C-contiguous.
A position in an array is counted as if it were flat.
"""

from __future__ import annotations

import operator
from decimal import Decimal

import numpy as np
from numba import types
from numba.extending import lower_builtin, models, register_model

from minisasrec.kernels.jit import compiled_from, exact_kernel, kernel
from minisasrec.kernels.simd.internals import (
    AbstractTemplate,
    cgutils,
    config,
    get_host_cpu_features,
    infer_global,
    ir,
    signature,
)

INDEX = types.intp


def _vector_bytes():
    """64 where the processor that Numba compiles for has registers as wide as that, else 32."""
    features = config.CPU_FEATURES  # NUMBA_CPU_FEATURES
    if features is None:
        features = get_host_cpu_features()  # without AVX where NUMBA_ENABLE_AVX is 0
    return 64 if "+avx512f" in features.split(",") else 32


VECTOR_BYTES = _vector_bytes()


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


def pointer_to(context, builder, array_type, array, index):
    """The address of number `index` of an array seen flat."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def build_load(builder, vector, pointer, index):
    """The vector of the given LLVM type that starts `index` numbers after the address."""
    pointer = builder.bitcast(builder.gep(pointer, [index]), vector.as_pointer())
    return builder.load(pointer, align=_bytes(vector))


def build_store(builder, value, pointer, index):
    """Write a vector to the place that starts `index` numbers after the address."""
    pointer = builder.bitcast(builder.gep(pointer, [index]), value.type.as_pointer())
    builder.store(value, pointer, align=_bytes(value.type))


def _bytes(vector):
    # of one number: all that is known of an address
    return 4 if isinstance(vector.element, ir.FloatType) else 8


def build_spread(builder, vector, number):
    """A vector with `number` in every lane."""
    nothing, int32 = ir.Constant(vector, ir.Undefined), ir.IntType(32)
    one = builder.insert_element(nothing, number, int32(0))
    everywhere = ir.Constant(ir.VectorType(int32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, nothing, everywhere)


def build_fma(builder, a, b, c):
    """a b + c: one fused instruction where the processor has it, and two where not."""
    number = getattr(a.type, "element", a.type)
    name = "llvm.fmuladd." + (f"v{a.type.count}" if number is not a.type else "")
    name += "f32" if isinstance(number, ir.FloatType) else "f64"
    function_type = ir.FunctionType(a.type, [a.type] * 3)
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    return builder.call(function, [a, b, c])


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
        data = pointer_to(context, builder, array, args[0], args[1])
        return build_load(builder, vector, data, args[1].type(0))

    return Vector(array.dtype)(array, INDEX), codegen


def _store_python(array, i, vector):
    array.reshape(-1)[i : i + len(vector)] = vector


@compiled_from(_store_python)
def store(typingctx, array, i, vector):
    """Write a vector to flat position i on."""

    def codegen(context, builder, signature, args):
        data = pointer_to(context, builder, array, args[0], args[1])
        build_store(builder, args[2], data, args[1].type(0))
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
        types_ = [value.type, pointer.type, ir.IntType(32), mask.type]
        builder.call(
            _masked(builder, "store", value.type, types_),
            [value, pointer, ir.IntType(32)(_bytes(value.type)), mask],
        )
        return context.get_dummy_value()

    return types.void(array, INDEX, INDEX, vector), codegen


def _part(context, builder, array, vector, value, i, count):
    """The address of a vector, and which of its lanes are among the first `count`."""
    int32 = ir.IntType(32)
    numbers = ir.VectorType(int32, vector.count)
    pointer = builder.bitcast(pointer_to(context, builder, array, value, i), vector.as_pointer())
    count = build_spread(builder, numbers, builder.trunc(count, int32))
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
        return build_spread(builder, context.get_value_type(signature.return_type), args[1])

    return Vector(array.dtype)(array, array.dtype), codegen


@compiled_from(lambda a, b, c: a * b + c)
def fma(typingctx, a, b, c):
    """a b + c, rounded once where the processor can."""
    return a(a, a, a), lambda context, builder, signature, args: build_fma(builder, *args)


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
            "<", ir.Constant(numbers, list(range(count))), build_spread(builder, numbers, left)
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
        shifted = build_fma(builder, value, per_ln2, rounder)
        n = builder.fsub(shifted, rounder)
        # ln 2 in two parts: n times the first is exact
        r = build_fma(builder, n, builder.fneg(ln2_high), value)
        r = build_fma(builder, n, builder.fneg(ln2_low), r)
        first, *rest = _SERIES[number]
        series = constant(first)
        for coefficient in rest:
            series = build_fma(builder, series, r, constant(coefficient))
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
