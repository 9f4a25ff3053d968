"""Numbers in memory that several threads read and write at once."""

from __future__ import annotations

import numpy as np
from numba import types

from minisasrec.kernels.jit import compiled_from


def _place(context, builder, array_type, array, index):
    """The address of array[index]."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def _count_python(counter: np.ndarray, index: int) -> int:
    counter[index] += 1
    return counter[index] - 1


@compiled_from(_count_python)
def count(typingctx, counter, index):
    """counter[index] before 1 is added to it, in one step that no other thread comes between."""

    def codegen(context, builder, signature, args):
        at = _place(context, builder, signature.args[0], *args)
        return builder.atomic_rmw("add", at, context.get_constant(types.int64, 1), "seq_cst")

    return types.int64(counter, types.int64), codegen


@compiled_from(lambda array, index: array[index])
def look(typingctx, array, index):
    """array[index] as it is in memory now, whatever other threads do with it."""

    def codegen(context, builder, signature, args):
        at = _place(context, builder, signature.args[0], *args)
        return builder.load_atomic(at, "seq_cst", 8)

    return types.int64(array, types.int64), codegen


@compiled_from(lambda array, index, value: array.__setitem__(index, value))
def put(typingctx, array, index, value):
    """array[index] = value, after everything that this thread wrote before."""

    def codegen(context, builder, signature, args):
        at = _place(context, builder, signature.args[0], *args[:2])
        builder.store_atomic(args[2], at, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), codegen
