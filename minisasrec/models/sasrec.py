"""SASRec: self-attentive sequential recommendation (Kang & McAuley, 2018), Sec. III.

    E_i = sqrt(d) M_{s_i} + P_i               embedding layer      III-A
    S   = SA(E)                               self-attention       III-B
    F   = FFN(S)                              point-wise FFN       III-B
    x + Dropout(g(LayerNorm(x)))              around each g        III-C
    r_{i,t} = F_t . N_i,  N = M               prediction layer     III-D
    BCE with sampled negatives                training             III-E

A batch holds T items, one sequence after another, and every step below works on T rows of d
features. Only attention looks at other rows: those before a row in its own sequence.
This file is the paper's model; `variants.py` has the choices that others made.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from minisasrec import ops
from minisasrec.autograd.engine import no_grad
from minisasrec.autograd.tensor import Tensor
from minisasrec.data.batches import Batch
from minisasrec.data.sequences import Packed, Sequences
from minisasrec.errors import ConfigError
from minisasrec.models.base import SequenceModel
from minisasrec.models.layouts import attend, rows_with_targets
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.models.shortcut import last_attention, last_of_block, last_rows
from minisasrec.nn import Embedding, LayerNorm, Linear, Module, Residual, composition, dropout
from minisasrec.random import Keys, Seed


class SelfAttention(Module):
    """S = SA(E) = Attention(E W_Q, E W_K, E W_V), where no item sees a later one (Sec. III-B)."""

    def __init__(self, config: SASRecConfig, seed: int | Seed) -> None:
        d, seed = config.d, Seed.of(seed)
        self.query = Linear(d, d, seed.spawn("query"))
        self.key = Linear(d, d, seed.spawn("key"))
        self.value = Linear(d, d, seed.spawn("value"))
        self.heads = config.heads

    def forward(self, x: Tensor, inputs: Sequences, keys: Keys | None = None) -> Tensor:
        """out_t = sum over s <= t of p_ts v_s,  p_t = softmax over s of q_t . k_s / sqrt(d / h)."""
        q, k, v = self.query(x), self.key(x), self.value(x)
        return attend(q, k, v, inputs, self.heads)

    def last(self, x_q: Tensor, x: Tensor, inputs: Packed) -> Tensor:
        """Only the last row of each sequence; see `shortcut.py`."""
        return last_attention(self, x_q, x, inputs)


class FeedForward(Module):
    """FFN(S_i) = ReLU(S_i W1 + b1) W2 + b2, the same at every position (Sec. III-B)."""

    def __init__(self, config: SASRecConfig, seed: int | Seed) -> None:
        d, seed = config.d, Seed.of(seed)
        self.layer1 = Linear(d, d, seed.spawn("layer1"), activation="relu")
        self.layer2 = Linear(d, d, seed.spawn("layer2"))

    def forward(self, s: Tensor, inputs: Sequences, keys: Keys | None = None) -> Tensor:
        """ReLU(s W1 + b1) W2 + b2."""
        return self.layer2(self.layer1(s))


class Block(Module):
    """x + Dropout(g(LayerNorm(x))), with attention for g and then with the FFN (Sec. III-C)."""

    def __init__(self, config: SASRecConfig, seed: int | Seed) -> None:
        if not config.is_the_papers:
            raise ConfigError("Block is the paper's alone; variants.BLOCKS has those with choices")
        seed = Seed.of(seed)
        self.attention_norm: Module = LayerNorm(config.d)
        self.attention = SelfAttention(config, seed.spawn("attention"))
        self.ffn_norm: Module = LayerNorm(config.d)
        self.ffn = FeedForward(config, seed.spawn("ffn"))
        self.attention_residual: Module = Residual(config.dropout)
        self.ffn_residual: Module = Residual(config.dropout)

    @composition
    def forward(self, x: Tensor, inputs: Sequences, keys: Keys | None = None) -> Tensor:
        """The block's output, of the shape of x."""
        s = self.attention(self.attention_norm(x), inputs, keys)
        x = self.attention_residual(x, s, keys, inputs.slot_ids)
        f = self.ffn(self.ffn_norm(x), inputs, keys)
        return self.ffn_residual(x, f, keys, inputs.slot_ids)

    def last(self, x: Tensor, inputs: Packed) -> Tensor:
        """Only the last row of each sequence, all that a prediction needs; see `shortcut.py`."""
        return last_of_block(self, x, inputs)


class SASRec(SequenceModel):
    """The model for a catalogue of `num_items` items (ids 1 to num_items, 0 is padding)."""

    variant: ClassVar[type[SASRec]]  # the class for other choices than the paper's: variants.py

    def __new__(cls, *args: Any, **settings: Any) -> SASRec:
        """As with `pathlib.Path`, the arguments say of which class the new object is."""
        config = settings.get("config", args[1] if len(args) > 1 else None)
        chosen = cls is SASRec and config is not None and not config.is_the_papers
        return super().__new__(cls.variant if chosen else cls)

    def __init__(
        self, num_items: int, config: SASRecConfig | None = None, seed: int | Seed = 0
    ) -> None:
        self.config = config = config or SASRecConfig()
        self.num_items, self.n = num_items, config.n
        self.build(Seed.of(seed))
        self.name_parameters()

    def build(self, seed: Seed) -> None:
        """Make the layers, each with a seed of its own name. `ConfigError` for other choices."""
        c = self.config
        if not c.is_the_papers:
            raise ConfigError("these layers are the paper's alone; derive from SASRecVariant")
        self.item_embedding = Embedding(self.num_items + 1, c.d, seed.spawn("M"), padding_id=0)
        self.position_embedding = Embedding(c.n, c.d, seed.spawn("P"))
        self.blocks = [Block(c, seed.spawn(f"block {b}")) for b in range(c.blocks)]
        self.final_norm: Module = LayerNorm(c.d)

    @composition
    def embed(self, inputs: Sequences, keys: Keys | None = None) -> Tensor:
        """E_i = sqrt(d) M_{s_i} + P_i; the factor is that of the authors' code (Sec. III-A)."""
        self.check_length(inputs)
        x = self.item_embedding(inputs.items) * math.sqrt(self.config.d)
        x = x + self.position_embedding(inputs.slots)
        return dropout(x, self.config.dropout, keys, inputs.slot_ids)

    def forward(self, inputs: Sequences, keys: Keys | None = None) -> Tensor:
        """F: the last block after a final layer norm, a row per item. Without keys: no dropout."""
        x = self.embed(inputs, keys)
        for block in self.blocks:
            x = block(x, inputs, keys)
        return self.final_norm(x)

    def loss(self, batch: Batch, keys: Keys | None = None) -> Tensor:
        """BCE of each next item and its sampled negatives, with scores F_t . N_i (III-D, III-E)."""
        F, targets, negatives = rows_with_targets(self(batch.inputs, keys), batch)
        return ops.sampled_bce(F, self.output_items(), targets=targets, negatives=negatives)

    def output_items(self) -> Tensor:
        """N = M: one embedding serves input and output (Sec. III-D)."""
        return self.item_embedding.table

    def encode(self, users: np.ndarray, histories: Packed) -> np.ndarray:
        """F at the last item of each history, (B, d); `users` are not used (Sec. III-D)."""
        with no_grad():
            return last_rows(self, histories).data  # self(histories)[histories.last]

    def item_vectors(self) -> np.ndarray:
        """N as an array, (|I| + 1, d)."""
        return self.output_items().data

    def check_length(self, inputs: Sequences) -> None:
        """Raise `ConfigError` for sequences of another n: a slot would be another position."""
        if inputs.n != self.n:
            raise ConfigError(f"sequences have n = {inputs.n}, the model n = {self.n}")

    @classmethod
    def of_size(
        cls, num_users: int, popularity: Any, settings: Any = None, seed: int = 0
    ) -> SASRec:
        """The untrained model for the items of `popularity`; users are not needed."""
        return cls(len(popularity) - 1, settings, seed)
