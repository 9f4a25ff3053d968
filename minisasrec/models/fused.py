"""SASRec's layers in fewer and larger ops, which run in place of the paper's lines in `sasrec.py`.

A step of the composition calls some thirty ops, each of which reads and writes every row. Here a
block is three: layer norm with the projections, attention, and all the rest. The results are the
same up to rounding (tests/test_fused.py), the dropout masks to the bit.
"""

from __future__ import annotations

import math
from typing import Any

from minisasrec import ops
from minisasrec.data.sequences import Packed, Sequences
from minisasrec.models.sasrec import Block, FeedForward, SASRec, SelfAttention
from minisasrec.nn import Embedding, LayerNorm, Linear, Residual
from minisasrec.ops.attention import NO_KEY
from minisasrec.random import Key, Keys

PARTS = {
    "attention_norm": LayerNorm,
    "attention": SelfAttention,
    "attention_residual": Residual,
    "ffn_norm": LayerNorm,
    "ffn": FeedForward,
    "ffn_residual": Residual,
}


def next_key(keys: Keys | None, rate: float) -> Key:
    """The key of the next dropout, in the order in which the composition asks for them."""
    return keys.next() if keys is not None and rate else NO_KEY


def _embed(model: SASRec, inputs: Sequences, keys: Keys | None = None) -> Any:
    """Dropout(sqrt(d) M_{s_i} + P_i)."""
    items, positions = model.item_embedding, model.position_embedding
    usual = type(items) is Embedding and type(positions) is Embedding
    if not usual or (items.padding_id, positions.padding_id) != (0, None):
        return NotImplemented
    if not isinstance(inputs, Packed):
        return NotImplemented
    model.check_length(inputs)
    rate = model.config.dropout if keys is not None else 0.0
    return ops.embed(
        model.item_embedding.table,
        model.position_embedding.table,
        ids=inputs.items,
        slots=inputs.slots,
        factor=math.sqrt(model.config.d),
        rate=rate,
        key=next_key(keys, rate),
        slot_ids=inputs.slot_ids,
    )


def _block(block: Any, x: Any, inputs: Sequences, keys: Keys | None = None) -> Any:
    """z = x + Dropout(SA(LayerNorm(x))),  z + Dropout(FFN(LayerNorm(z)))."""
    if not isinstance(inputs, Packed) or not _is_usual(block):
        return NotImplemented
    norm, attention = block.attention_norm, block.attention
    q, k, v = attention.query, attention.key, attention.value
    qkv = ops.norm_projections(x, norm.gamma, norm.beta, q.W, q.b, k.W, k.b, v.W, v.b, eps=norm.eps)
    s = ops.packed_self_attention(qkv, offsets=inputs.offsets, heads=attention.heads)
    norm, first, second = block.ffn_norm, block.ffn.layer1, block.ffn.layer2
    rate = block.attention_residual.rate if keys is not None else 0.0
    return ops.feed_forward(
        x, s, norm.gamma, norm.beta, first.W, first.b, second.W, second.b,
        rate=rate,
        keys=(next_key(keys, rate), next_key(keys, rate)),
        slot_ids=inputs.slot_ids,
        eps=norm.eps,
    )  # fmt: skip


def _is_usual(block: Any) -> bool:
    """Whether all layers are the paper's: what one of another class computes is not known here."""
    if not all(type(getattr(block, name)) is kind for name, kind in PARTS.items()):
        return False
    a, f = block.attention, block.ffn
    linear = (a.query, a.key, a.value, f.layer1, f.layer2)
    return (
        all(type(layer) is Linear for layer in linear)
        and [layer.activation for layer in linear] == [None, None, None, "relu", None]
        and block.attention_residual.rate == block.ffn_residual.rate
    )


SASRec.embed.fast(_embed)
Block.forward.fast(_block)
