"""A prediction needs one row of each sequence, so most of the last block is left out.

There only the last item needs a query, and all that follows attention works on that row alone.
With one head the keys and values of the other rows are not needed either:

    q . (x_s W_K + b_K) = (q W_K^T) . x_s + a number that is the same for every s,

which does not change the softmax, and  sum_s p_s (x_s W_V + b_V) = (sum_s p_s x_s) W_V + b_V.
The results equal those of the whole forward pass up to rounding; a test says so. A class with a
`forward` of its own and without a `last` is asked for all rows.
"""

from __future__ import annotations

from typing import Any

from minisasrec import ops
from minisasrec.autograd.tensor import Tensor
from minisasrec.data.sequences import Packed


def last_rows(model: Any, histories: Packed) -> Tensor:
    """model(histories)[histories.last] of a SASRec, (B, d)."""
    if _forward_alone(model, "encode"):
        return model(histories)[histories.last]
    x = model.embed(histories)
    for block in model.blocks[:-1]:
        x = block(x, histories)
    if not model.blocks:
        x = x[histories.last]
    elif _forward_alone(model.blocks[-1]):
        x = model.blocks[-1](x, histories)[histories.last]
    else:
        x = model.blocks[-1].last(x, histories)
    return model.final_norm(x)


def _forward_alone(module: Any, shortcut: str = "last") -> bool:
    """Whether a class has its own `forward`, but no shortcut or that of a class it derives from."""
    kinds = type(module).__mro__

    def depth(name: str) -> int:
        return next((i for i, kind in enumerate(kinds) if name in vars(kind)), len(kinds))

    return depth("forward") < depth(shortcut)


def last_row(attention: Any, x_q: Tensor, x: Tensor, inputs: Packed) -> Tensor:
    """Self-attention at the last row of each sequence, by its shortcut if it has one."""
    if not _forward_alone(attention):
        return attention.last(x_q, x, inputs)
    whole = attention(x, inputs) if x_q is x else attention(x, inputs, x_q=x_q)
    return whole[inputs.last]


def last_of_block(block: Any, x: Tensor, inputs: Packed) -> Tensor:
    """block(x, inputs)[inputs.last], for the paper's wiring."""
    z = block.attention_norm(x)
    x = block.attention_residual(x[inputs.last], last_row(block.attention, z, z, inputs), None)
    return block.ffn_residual(x, block.ffn(block.ffn_norm(x), inputs), None)


def last_attention(attention: Any, x_q: Tensor, x: Tensor, inputs: Packed) -> Tensor:
    """Self-attention at the last row of each sequence; queries from x_q, keys and values from x."""
    q = attention.query(x_q[inputs.last])
    if attention.heads == 1:
        s = ops.packed_last_attention(q @ attention.key.W.T, x, x, offsets=inputs.offsets)
        return attention.value(s)
    k, v = attention.key(x), attention.value(x)
    return ops.packed_last_attention(q, k, v, offsets=inputs.offsets, heads=attention.heads)
