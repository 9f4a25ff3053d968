"""SASRec with other choices than the paper's: ablations (Table IV), other wirings, other losses.

`SASRec(num_items, config)` is a `SASRecVariant` if its configuration departs from the paper's.
`BLOCKS` chooses its block by name.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minisasrec import ops
from minisasrec.autograd.engine import no_grad
from minisasrec.autograd.tensor import Tensor
from minisasrec.data.batches import Batch
from minisasrec.data.sequences import Packed, Sequences
from minisasrec.models.layouts import attend, own_items, rows_with_targets
from minisasrec.models.losses import next_item_loss
from minisasrec.models.padding import PaddingShown, attend_with_padding, show_padding
from minisasrec.models.sasrec import Block, FeedForward, SASRec, SelfAttention
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.models.shortcut import last_attention, last_row
from minisasrec.nn import Embedding, Identity, LayerNorm, Linear, Module, Residual, dropout
from minisasrec.nn.init import glorot_uniform
from minisasrec.random import Keys, Seed


class ChosenAttention(SelfAttention):
    """Self-attention with two options: an output projection W_O, and dropout of its weights."""

    def __init__(self, config: SASRecConfig, seed: int | Seed) -> None:
        super().__init__(config, seed)
        d, seed = config.d, Seed.of(seed)
        self.output = Linear(d, d, seed.spawn("output")) if config.output_projection else Identity()
        self.rate = config.inner_rate

    def forward(
        self, x: Tensor, inputs: Sequences, keys: Keys | None = None, x_q: Tensor | None = None
    ) -> Tensor:
        """As in the paper; the queries come from `x_q` if it is given."""
        q, k, v = self.query(x if x_q is None else x_q), self.key(x), self.value(x)
        if isinstance(inputs, PaddingShown):
            return self.output(attend_with_padding(q, k, v, inputs, self.heads, self.rate, keys))
        return self.output(attend(q, k, v, inputs, self.heads, self.rate, keys))

    def last(self, x_q: Tensor, x: Tensor, inputs: Packed) -> Tensor:
        """Only the last row of each sequence."""
        return self.output(last_attention(self, x_q, x, inputs))


class ChosenFeedForward(FeedForward):
    """The FFN with the option of dropout in its hidden layer."""

    def __init__(self, config: SASRecConfig, seed: int | Seed) -> None:
        super().__init__(config, seed)
        self.rate = config.inner_rate

    def forward(self, s: Tensor, inputs: Sequences, keys: Keys | None = None) -> Tensor:
        """Dropout(ReLU(s W1 + b1)) W2 + b2."""
        return self.layer2(dropout(self.layer1(s), self.rate, keys, inputs.slot_ids))


class NoResidual(Residual):
    """No residual connection: Dropout(g) alone (Table IV, row 3)."""

    def forward(
        self, x: Tensor, g: Tensor, keys: Keys | None, slot_ids: np.ndarray | None = None
    ) -> Tensor:
        """Dropout(g)."""
        return dropout(g, self.rate, keys, slot_ids)


class PreNormBlock(Block):
    """The paper's wiring, with the parts that the configuration chooses."""

    feed_forward: type[Any] = ChosenFeedForward  # or another network of each position

    def __init__(self, config: SASRecConfig, seed: int | Seed) -> None:
        def norm() -> Module:
            return LayerNorm(config.d) if config.layer_norm else Identity()

        seed = Seed.of(seed)
        self.attention_norm = norm()
        self.attention = ChosenAttention(config, seed.spawn("attention"))
        self.ffn_norm = norm()
        self.ffn = self.feed_forward(config, seed.spawn("ffn"))
        residual = Residual if config.residual else NoResidual
        self.attention_residual = residual(config.dropout)
        self.ffn_residual = residual(config.dropout)


class PostNormBlock(PreNormBlock):
    """LayerNorm(x + Dropout(g(x))), as in the first Transformer and the port since 2025."""

    def forward(self, x: Tensor, inputs: Sequences, keys: Keys | None = None) -> Tensor:
        """The block's output, of the shape of x."""
        s = self.attention(x, inputs, keys)
        x = self.attention_norm(self.attention_residual(x, s, keys, inputs.slot_ids))
        f = self.ffn(x, inputs, keys)
        return self.ffn_norm(self.ffn_residual(x, f, keys, inputs.slot_ids))

    def last(self, x: Tensor, inputs: Packed) -> Tensor:
        """The block's last row of each sequence."""
        s = last_row(self.attention, x, x, inputs)
        x = self.attention_norm(self.attention_residual(x[inputs.last], s, None))
        return self.ffn_norm(self.ffn_residual(x, self.ffn(x, inputs), None))


class AuthorsBlock(PreNormBlock):
    """The released code: LayerNorm on the query only, and that normalised query is added back.

    What attention returns has no dropout.
    """

    def forward(self, x: Tensor, inputs: Sequences, keys: Keys | None = None) -> Tensor:
        """The block's output, of the shape of x."""
        q = self.attention_norm(x)
        z = self.ffn_norm(self._add(q, self.attention(x, inputs, keys, x_q=q)))
        return self.ffn_residual(z, self.ffn(z, inputs, keys), keys, inputs.slot_ids)

    def last(self, x: Tensor, inputs: Packed) -> Tensor:
        """The block's last row of each sequence."""
        q = self.attention_norm(x)
        s = last_row(self.attention, q, x, inputs)
        z = self.ffn_norm(self._add(q[inputs.last], s))
        return self.ffn_residual(z, self.ffn(z, inputs), None)

    def _add(self, q: Tensor, s: Tensor) -> Tensor:
        return self.attention_residual(q, s, None)  # without keys: no dropout


class SwiGLU(Module):
    """(silu(s W1) * (s W3)) W2, the hidden layer 4 d wide, in place of ReLU (arXiv 2002.05202)."""

    def __init__(self, config: SASRecConfig, seed: int | Seed) -> None:
        d, seed = config.d, Seed.of(seed)
        self.layer1 = Linear(d, 4 * d, seed.spawn("layer1"))
        self.layer2 = Linear(4 * d, d, seed.spawn("layer2"))
        self.layer3 = Linear(d, 4 * d, seed.spawn("layer3"))
        self.rate = config.inner_rate

    def forward(self, s: Tensor, inputs: Sequences, keys: Keys | None = None) -> Tensor:
        """Dropout(silu(s W1) * (s W3)) W2, silu(a) = a sigmoid(a)."""
        a = self.layer1(s)
        hidden = ops.gate(a * self.layer3(s), a)
        return self.layer2(dropout(hidden, self.rate, keys, inputs.slot_ids))


class LiGRBlock(PreNormBlock):
    """x + sigmoid(x W + b) * Dropout(g(LayerNorm(x))), with SwiGLU for the FFN.

    The gate says for each number of a row how much of a sub-layer's result it takes (LiGR, in the
    form that eSASRec gives it: arXiv 2508.06450).
    """

    feed_forward = SwiGLU

    def __init__(self, config: SASRecConfig, seed: int | Seed) -> None:
        seed = Seed.of(seed)
        super().__init__(config, seed)
        self.attention_gate = Linear(config.d, config.d, seed.spawn("attention gate"))
        self.ffn_gate = Linear(config.d, config.d, seed.spawn("ffn gate"))
        self.rate = config.dropout

    def forward(self, x: Tensor, inputs: Sequences, keys: Keys | None = None) -> Tensor:
        """The block's output, of the shape of x."""
        s = self.attention(self.attention_norm(x), inputs, keys)
        x = x + ops.gate(dropout(s, self.rate, keys, inputs.slot_ids), self.attention_gate(x))
        f = self.ffn(self.ffn_norm(x), inputs, keys)
        return x + ops.gate(dropout(f, self.rate, keys, inputs.slot_ids), self.ffn_gate(x))

    def last(self, x: Tensor, inputs: Packed) -> Tensor:
        """The block's last row of each sequence."""
        a = self.attention_norm(x)
        s, x = last_row(self.attention, a, a, inputs), x[inputs.last]
        x = x + ops.gate(s, self.attention_gate(x))
        return x + ops.gate(self.ffn(self.ffn_norm(x), inputs), self.ffn_gate(x))


BLOCKS: dict[str, type[PreNormBlock]] = {
    "pre": PreNormBlock,
    "post": PostNormBlock,
    "authors": AuthorsBlock,
    "ligr": LiGRBlock,
}


class SASRecVariant(SASRec):
    """SASRec with choices that differ from the paper's."""

    def build(self, seed: Seed) -> None:
        """Make the layers that the configuration chooses, each with a seed of its own name."""
        c, block = self.config, BLOCKS[self.config.norm]
        self.item_embedding = Embedding(self.num_items + 1, c.d, seed.spawn("M"), padding_id=0)
        if c.positions:
            self.position_embedding = Embedding(c.n, c.d, seed.spawn("P"))
        self.blocks = [block(c, seed.spawn(f"block {b}")) for b in range(c.blocks)]
        self.final_norm = LayerNorm(c.d) if c.layer_norm else Identity()
        if not c.shared_embedding:
            self.output_embedding = glorot_uniform((self.num_items + 1, c.d), seed.spawn("N"))

    def embed(self, inputs: Sequences, keys: Keys | None = None) -> Tensor:
        """E, with or without positions. Padding that attention can see begins as zero vectors."""
        self.check_length(inputs)
        c = self.config
        x = self.item_embedding(inputs.items)
        if c.scale_embedding or c.norm == "authors":
            x = x * math.sqrt(c.d)
        if c.positions:
            at_end = c.positions_from == "end"
            x = x + self.position_embedding(inputs.slots if at_end else inputs.places)
        return self._hide(dropout(x, c.dropout, keys, inputs.slot_ids), inputs)

    def forward(self, inputs: Sequences, keys: Keys | None = None) -> Tensor:
        """F: the last block after the final layer norm, a row per item."""
        if self.config.padding == "hidden":
            return super().forward(inputs, keys)
        shown = show_padding(inputs)
        x = self.embed(shown, keys)
        for block in self.blocks:
            x = block(self._hide(x, shown) if self.config.padding == "zeroed" else x, shown, keys)
        x = self.final_norm(x)
        return x[np.flatnonzero(shown.items)] if isinstance(shown, PaddingShown) else x

    def _hide(self, x: Tensor, inputs: Sequences) -> Tensor:
        """x with zero vectors at padding."""
        if self.config.padding == "hidden":
            return x
        return ops.masked_fill(x, mask=(inputs.items == 0)[..., None], value=0.0)

    def loss(self, batch: Batch, keys: Keys | None = None) -> Tensor:
        """The loss that the configuration names, over every position with a target."""
        c = self.config
        F, targets, negatives = rows_with_targets(self(batch.inputs, keys), batch)
        own = own_items(batch) if c.loss == "softmax" and not c.own_items else None
        N = self.output_items()
        return next_item_loss(c.loss, F, N, targets, negatives, gbce_t=c.gbce_t, own=own)

    def output_items(self) -> Tensor:
        """N: M itself, or a table of its own (Table IV, row 2)."""
        if self.config.shared_embedding:
            return self.item_embedding.table
        return self.output_embedding

    def encode(self, users: np.ndarray, histories: Packed) -> np.ndarray:
        """F at the last item of each history, (B, d)."""
        if self.config.padding == "hidden":
            return super().encode(users, histories)
        with no_grad():
            return self(histories).data[histories.last]


SASRec.variant = SASRecVariant
