"""A prediction needs one row of each sequence, so most of the last block is left out.

There only the last item needs a query, and all that follows attention works on that row alone.
With one head the keys and values of the other rows are not needed either:

    q . (x_s W_K + b_K) = (q W_K^T) . x_s + a number that is the same for every s,

which does not change the softmax, and  sum_s p_s (x_s W_V + b_V) = (sum_s p_s x_s) W_V + b_V.
The results equal those of the whole forward pass up to rounding; a test says so.
"""

from __future__ import annotations

from typing import Any

from minisasrec import ops
from minisasrec.autograd.tensor import Tensor
from minisasrec.data.sequences import Packed


def last_rows(model: Any, histories: Packed) -> Tensor:
    """model(histories)[histories.last] of a SASRec, (B, d)."""
    x = model.embed(histories)
    for block in model.blocks[:-1]:
        x = block(x, histories)
    x = model.blocks[-1].last(x, histories) if model.blocks else x[histories.last]
    return model.final_norm(x)


def last_of_block(block: Any, x: Tensor, inputs: Packed) -> Tensor:
    """block(x, inputs)[inputs.last], for the paper's wiring."""
    z = block.attention_norm(x)
    x = block.attention_residual(x[inputs.last], block.attention.last(z, z, inputs), None)
    return block.ffn_residual(x, block.ffn(block.ffn_norm(x), inputs), None)


def last_attention(attention: Any, x_q: Tensor, x: Tensor, inputs: Packed) -> Tensor:
    """Self-attention at the last row of each sequence; queries from x_q, keys and values from x."""
    q = attention.query(x_q[inputs.last])
    if attention.heads == 1:
        s = ops.packed_last_attention(q @ attention.key.W.T, x, x, offsets=inputs.offsets)
        return attention.value(s)
    k, v = attention.key(x), attention.value(x)
    return ops.packed_last_attention(q, k, v, offsets=inputs.offsets, heads=attention.heads)
