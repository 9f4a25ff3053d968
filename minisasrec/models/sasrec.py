"""SASRec: self-attentive sequential recommendation (Kang & McAuley, 2018), Sec. III.

    E_i = M_{s_i} + P_i                       embedding layer      III-A
    S   = SA(E)                               self-attention       III-B
    F   = FFN(S)                              point-wise FFN       III-B
    x + Dropout(g(LayerNorm(x)))              around each g        III-C
    r_{i,t} = F_t . N_i,  N = M               prediction layer     III-D
    BCE with sampled negatives                training             III-E

The same modules serve both layouts of `data.batches`: every step works row by row, on (B, n, d)
as on (T, d), but the choice of attention op.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np

from minisasrec import ops
from minisasrec.autograd.engine import no_grad
from minisasrec.autograd.tensor import Tensor
from minisasrec.data.batches import Batch
from minisasrec.data.sequences import Packed, Padded, Sequences
from minisasrec.data.split import Split
from minisasrec.errors import ConfigError
from minisasrec.models.base import SequenceModel
from minisasrec.nn import Embedding, LayerNorm, Linear, Module, dropout, residual
from minisasrec.nn.init import glorot_uniform
from minisasrec.random import Keys, make_key

Norm = Literal["pre", "post", "authors"]
Loss = Literal["bce", "gbce", "softmax"]


@dataclass(frozen=True)
class SASRecConfig:
    """Every choice of the model; the defaults are the paper's (Sec. IV-C) for ML-1M."""

    n: int = 200
    """Longest sequence; longer ones keep their last n items. Paper: 200 on ML-1M, 50 elsewhere."""
    d: int = 50
    """Latent dimension. Paper: 50."""
    blocks: int = 2
    """Self-attention blocks b. Paper: 2."""
    heads: int = 1
    """Attention heads h; must divide d. Paper: 1."""
    dropout: float = 0.2
    """Share of elements dropped in training. Paper: .2 on ML-1M, .5 on the sparse sets."""
    positions: bool = True
    """Learned position embedding P (Table IV, row 1 turns it off)."""
    shared_embedding: bool = True
    """Score items by the input embedding, N = M (Table IV, row 2)."""
    residual: bool = True
    """Residual connections (Table IV, row 3)."""
    layer_norm: bool = True
    """Layer normalisation."""
    norm: Norm = "pre"
    """pre: x + Dropout(g(LN(x))), the paper's text. post: LN(x + Dropout(g(x))). authors: the
    released code: LN on the query only, residual from the normalised query, and its dropouts."""
    output_projection: bool = False
    """A d x d layer after attention (W_O), as the public PyTorch port has; the paper has none."""
    inner_dropout: bool = False
    """Drop attention weights and the FFN's hidden layer too, as the authors' code does; the
    paper's text drops only what a sub-layer returns. Always on with norm=authors."""
    scale_embedding: bool = True
    """Multiply the input embedding by sqrt(d), as the authors' code does; not in the paper."""
    loss: Loss = "bce"
    """bce: the paper's. gbce: its correction for few negatives. softmax: over all items."""
    gbce_t: float = 0.75
    """Calibration t of gBCE, 0 (plain BCE) to 1 (full correction); arXiv 2308.07192."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a setting outside its range."""
        for name, low in (("n", 1), ("d", 1), ("blocks", 0), ("heads", 1)):
            if getattr(self, name) < low:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        if self.d % self.heads:
            raise ConfigError(f"heads is {self.heads}, which does not divide d = {self.d}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; it is the share dropped, 0 <= share < 1")
        if not 0 <= self.gbce_t <= 1:
            raise ConfigError(f"gbce-t is {self.gbce_t}; 0 <= t <= 1")
        for name, choices in (("norm", Norm), ("loss", Loss)):
            if getattr(self, name) not in choices.__args__:  # type: ignore[attr-defined]
                allowed = ", ".join(choices.__args__)  # type: ignore[attr-defined]
                raise ConfigError(f"{name} is {getattr(self, name)!r}; choose one of {allowed}")


class SelfAttention(Module):
    """Causal self-attention with the paper's three projections (Sec. III-B)."""

    def __init__(self, config: SASRecConfig, seed: int) -> None:
        d = config.d
        self.query = Linear(d, d, seed)
        self.key = Linear(d, d, seed + 1)
        self.value = Linear(d, d, seed + 2)
        self.output = Linear(d, d, seed + 3) if config.output_projection else None
        self.heads = config.heads
        self.rate = config.dropout if config.inner_dropout or config.norm == "authors" else 0.0

    def forward(self, q_in: Tensor, kv_in: Tensor, inputs: Sequences, keys: Keys | None) -> Tensor:
        """Attention(q_in W_Q, kv_in W_K, kv_in W_V), or of the last queries if q_in has no more."""
        if isinstance(inputs, Packed) and q_in.shape != kv_in.shape and self.heads == 1:
            s = self._of_one_query(self.query(q_in), kv_in, inputs)
            return self.output(s) if self.output else s
        q, k, v = self.query(q_in), self.key(kv_in), self.value(kv_in)
        drop = {"rate": self.rate, "key": keys.next()} if keys and self.rate else {}
        if isinstance(inputs, Padded):
            s = ops.causal_attention(q, k, v, real=inputs.real, heads=self.heads, **drop)
        elif q.shape != k.shape:
            s = ops.packed_last_attention(q, k, v, offsets=inputs.offsets, heads=self.heads)
        else:
            s = ops.packed_causal_attention(
                q, k, v, offsets=inputs.offsets, slot_ids=inputs.slot_ids, heads=self.heads, **drop
            )
        return self.output(s) if self.output else s

    def _of_one_query(self, q: Tensor, x: Tensor, inputs: Packed) -> Tensor:
        """The same with one query a sequence, and neither keys nor values of the T rows of x.

        q . (x_s W_K + b_K) = (q W_K^T) . x_s + a term that is the same for every s, which softmax
        does not see; and sum_s p_s (x_s W_V + b_V) = (sum_s p_s x_s) W_V + b_V.
        """
        s = ops.packed_last_attention(q @ self.key.W.T, x, x, offsets=inputs.offsets)
        return self.value(s)


class FeedForward(Module):
    """FFN(S_i) = ReLU(S_i W1 + b1) W2 + b2, the same at every position (Sec. III-B)."""

    def __init__(self, config: SASRecConfig, seed: int) -> None:
        self.layer1 = Linear(config.d, config.d, seed, activation="relu")
        self.layer2 = Linear(config.d, config.d, seed + 1)
        self.rate = config.dropout if config.inner_dropout or config.norm == "authors" else 0.0

    def forward(self, s: Tensor, inputs: Sequences, keys: Keys | None) -> Tensor:
        """ReLU(s W1 + b1) W2 + b2."""
        return self.layer2(dropout(self.layer1(s), self.rate, keys, inputs.slot_ids))


class Block(Module):
    """One self-attention block: attention, then FFN, each inside its residual (Sec. III-C)."""

    def __init__(self, config: SASRecConfig, seed: int) -> None:
        self.config = config
        self.attention = SelfAttention(config, seed)
        self.ffn = FeedForward(config, seed + 10)
        if config.layer_norm:
            self.attention_norm = LayerNorm(config.d)
            self.ffn_norm = LayerNorm(config.d)

    def forward(
        self, x: Tensor, inputs: Sequences, keys: Keys | None, last: np.ndarray | None = None
    ) -> Tensor:
        """The block's output, of the shape of x; or the rows `last` of it only, see `SASRec`."""
        norm = self.config.norm
        # what the queries are made from: after them every step goes row by row
        x_q = x if last is None else x[last]
        if norm == "authors":
            return self._authors(x_q, x, inputs, keys)
        first, second = self._norms()
        if norm == "post":
            x = first(self._around(x_q, self.attention(x_q, x, inputs, keys), inputs, keys))
            return second(self._around(x, self.ffn(x, inputs, keys), inputs, keys))
        z = first(x)
        z_q = z if last is None else z[last]
        x = self._around(x_q, self.attention(z_q, z, inputs, keys), inputs, keys)
        return self._around(x, self.ffn(second(x), inputs, keys), inputs, keys)

    def _authors(self, x_q: Tensor, x: Tensor, inputs: Sequences, keys: Keys | None) -> Tensor:
        # The released code normalises the query only, adds that normalised query (not x) back,
        # and has no dropout on what attention returns.
        first, second = self._norms()
        rate = self.config.dropout
        q = first(x_q)
        s = self.attention(q, x, inputs, keys)
        z = second(q + s if self.config.residual else s)
        f = self.ffn(z, inputs, keys)
        if self.config.residual:
            return residual(z, f, rate, keys, inputs.slot_ids)
        return dropout(f, rate, keys, inputs.slot_ids)

    def _norms(self) -> tuple[Module, Module]:
        if self.config.layer_norm:
            return self.attention_norm, self.ffn_norm
        return _identity, _identity

    def _around(self, x: Tensor, g: Tensor, inputs: Sequences, keys: Keys | None) -> Tensor:
        if self.config.residual:
            return residual(x, g, self.config.dropout, keys, inputs.slot_ids)
        return dropout(g, self.config.dropout, keys, inputs.slot_ids)


class _Identity(Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


_identity = _Identity()


class SASRec(SequenceModel):
    """The model for a catalogue of `num_items` items (ids 1 to num_items, 0 is padding)."""

    def __init__(self, num_items: int, config: SASRecConfig | None = None, seed: int = 0) -> None:
        config = config or SASRecConfig()
        self.num_items, self.config, self.n = num_items, config, config.n
        seeds = (make_key(seed, i).k0 for i in count())  # one for each table and block
        self.item_embedding = Embedding(num_items + 1, config.d, next(seeds), padding_id=0)
        if config.positions:
            self.position_embedding = Embedding(config.n, config.d, next(seeds))
        self.blocks = [Block(config, next(seeds)) for _ in range(config.blocks)]
        if config.layer_norm:
            self.final_norm = LayerNorm(config.d)
        if not config.shared_embedding:
            self.output_embedding = glorot_uniform((num_items + 1, config.d), next(seeds))
        for name, parameter in self.named_parameters():
            parameter.name = name

    @classmethod
    def for_split(cls, split: Split, settings: SASRecConfig | None = None, seed: int = 0) -> SASRec:
        """The untrained model for the items of a data set."""
        return cls(split.dataset.num_items, settings, seed)

    def forward(
        self, inputs: Sequences, keys: Keys | None = None, last_only: bool = False
    ) -> Tensor:
        """F of the last block, after a last layer norm: (T, d) packed, (B, n, d) padded.

        Without `keys` nothing is dropped. `last_only` gives the row of each packed sequence's last
        item alone, (B, d), and computes no more of the last block.
        """
        if inputs.n != self.config.n:
            raise ConfigError(f"sequences have n = {inputs.n}, the model n = {self.config.n}")
        last = None
        if last_only:
            if isinstance(inputs, Padded):
                raise ConfigError("last_only needs packed sequences; pass batch.inputs unpadded")
            last = inputs.last
        x = self.item_embedding(inputs.items)
        if self.config.scale_embedding or self.config.norm == "authors":
            x = x * float(np.sqrt(self.config.d))
        if self.config.positions:
            x = x + self.position_embedding(inputs.slots)
        x = dropout(x, self.config.dropout, keys, inputs.slot_ids)
        for block in self.blocks[:-1]:
            x = block(x, inputs, keys)
        for block in self.blocks[-1:]:
            x = block(x, inputs, keys, last)
        if last is not None and not self.blocks:
            x = x[last]
        return self.final_norm(x) if self.config.layer_norm else x

    def loss(self, batch: Batch, keys: Keys | None = None) -> Tensor:
        """The loss that the configuration names, over every position with a target (Sec. III-E)."""
        h = self(batch.inputs, keys)
        targets, negatives = batch.targets, batch.negatives
        if isinstance(batch.inputs, Padded):  # the loss works on rows
            h = h.reshape(-1, self.config.d)
            targets, negatives = targets.reshape(-1), negatives.reshape(h.shape[0], -1)
        items = self.output_items()
        if self.config.loss == "softmax":
            return ops.softmax_cross_entropy(h, items, targets=targets)
        beta = 1.0
        if self.config.loss == "gbce":
            beta = gbce_beta(negatives.shape[-1], self.num_items, self.config.gbce_t)
        return ops.sampled_bce(h, items, targets=targets, negatives=negatives, beta=beta)

    def output_items(self) -> Tensor:
        """N, the item embedding that scores are made with (Sec. III-D)."""
        if self.config.shared_embedding:
            return self.item_embedding.table
        return self.output_embedding

    def encode(self, users: np.ndarray, histories: Packed) -> np.ndarray:
        """F at the last item of each history, (B, d); `users` play no part (Sec. III-D)."""
        with no_grad():
            return self(histories, last_only=True).data

    def item_vectors(self) -> np.ndarray:
        """N as an array, (|I| + 1, d)."""
        return self.output_items().data


def gbce_beta(negatives: int, num_items: int, t: float) -> float:
    """The power of gBCE: alpha (t (1 - 1/alpha) + 1/alpha), alpha = k / (|I| - 1).

    alpha is the share of negatives that is sampled; t = 0 gives 1, plain BCE.
    """
    alpha = min(negatives / max(num_items - 1, 1), 1.0)
    return alpha * (t * (1 - 1 / alpha) + 1 / alpha)
