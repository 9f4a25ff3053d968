"""Layers: an op together with its parameters."""

from __future__ import annotations

from typing import Literal

import numpy as np

from minisasrec import ops
from minisasrec.autograd.tensor import Tensor
from minisasrec.nn.init import constant, glorot_uniform
from minisasrec.nn.module import Module
from minisasrec.ops.embedding import check_padding_id
from minisasrec.random import Keys, Seed


class Linear(Module):
    """y = x W + b, optionally with ReLU; x (... k) -> (... m)."""

    def __init__(
        self, k: int, m: int, seed: int | Seed, activation: Literal["relu"] | None = None
    ) -> None:
        self.W = glorot_uniform((k, m), seed)
        self.b = constant(m, 0)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """x W + b."""
        return ops.linear(x, self.W, self.b, activation=self.activation)


class LayerNorm(Module):
    """Normalise the d features of each row (Sec. III-C); eps as in the authors' code."""

    def __init__(self, d: int, eps: float = 1e-8) -> None:
        self.gamma = constant(d, 1)
        self.beta = constant(d, 0)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """gamma * (x - mean) / sqrt(var + eps) + beta."""
        return ops.layer_norm(x, self.gamma, self.beta, eps=self.eps)


class Embedding(Module):
    """Rows of a table by id; with `padding_id` that row reads as the zero vector (Sec. III-A)."""

    def __init__(self, rows: int, d: int, seed: int | Seed, padding_id: int | None = None) -> None:
        check_padding_id("Embedding", padding_id, rows)
        self.table = glorot_uniform((rows, d), seed)
        self.padding_id = padding_id
        if padding_id is not None:
            self.table.data[padding_id] = 0

    def forward(self, ids: np.ndarray) -> Tensor:
        """table[ids]."""
        return ops.embedding(self.table, ids=ids, padding_id=self.padding_id)


class Identity(Module):
    """y = x, in place of a layer that is left out."""

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x


def dropout(
    x: Tensor, rate: float, keys: Keys | None, slot_ids: np.ndarray | None = None
) -> Tensor:
    """Dropout while training (`keys` given), x itself otherwise."""
    if keys is None or rate == 0:
        return x
    return ops.dropout(x, rate=rate, key=keys.next(), slot_ids=slot_ids)


class Residual(Module):
    """x + Dropout(g): the residual connection around a sub-layer whose result is g (Sec. III-C)."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def forward(
        self, x: Tensor, g: Tensor, keys: Keys | None, slot_ids: np.ndarray | None = None
    ) -> Tensor:
        """x + Dropout(g); without `keys`, x + g."""
        if keys is None or self.rate == 0:
            return x + g
        return ops.add_dropout(x, g, rate=self.rate, key=keys.next(), slot_ids=slot_ids)
