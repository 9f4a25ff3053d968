"""What SASRec attends to: weights per sequence, by position and by category (Sec. IV-H)."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minisasrec.autograd.engine import topological_order
from minisasrec.data.sequences import Packed, pack_sequences
from minisasrec.errors import ConfigError
from minisasrec.models.padding import show_padding
from minisasrec.models.sasrec import SASRec
from minisasrec.ops.attention import attention_weights
from minisasrec.plots import position_average

Array = np.ndarray
ATTENTION = ("packed_causal_attention", "packed_self_attention")


def attention_maps(model: SASRec, inputs: Packed, by_head: bool = False) -> Iterator[list[Array]]:
    """For each sequence of L items the weights of every block, first block first, each (L, L).

    Row t says how much position t looks at each s <= t; with several heads, their mean, or
    `by_head` each of them, (h, L, L). Nothing is dropped. Queries and keys are read from the graph
    of the forward pass, so this is what the model computes, whatever its settings. Where items can
    attend to padding, a row sums to less than 1: the rest goes to padding. Raises `ConfigError`
    for a model without blocks, and inside `no_grad`, where there is no graph.
    """
    hidden = model.config.padding == "hidden"
    shown: Any = inputs if hidden else show_padding(inputs)
    nodes = [
        node
        for node in topological_order(model(inputs))
        if node.op is not None and node.op.name in ATTENTION
    ]
    if len(nodes) != len(model.blocks) or not nodes:
        raise ConfigError(
            f"the model has {len(model.blocks)} blocks and its graph {len(nodes)} attentions: maps "
            "need a block of this package at least, and a graph, so no no_grad()"
        )
    heads = model.config.heads
    for start, end in itertools.pairwise(shown.offsets):
        past = np.tri(end - start, dtype=bool)
        maps = []
        for node in nodes:
            arrays = [parent.data for parent in node.parents]  # q, k and v, or all three in one
            q, k = (
                x[start:end].reshape(end - start, heads, -1).swapaxes(0, 1)
                for x in (arrays[0] if len(arrays) == 1 else arrays)[:2]
            )
            weights = attention_weights(q, k, past)
            if shown.items[start] == 0:  # the row that stands for padding
                weights = weights[:, 1:, 1:]
            maps.append(weights if by_head else weights.mean(axis=0))
        yield maps


def mean_attention(
    model: SASRec, histories: Sequence[Array], size: int, member: Array
) -> tuple[list[Array], Array]:
    """What Figs. 4 and 5 show, over many histories: by position and by category.

    By position (Fig. 4): for each block the mean attention of the last `size` positions on one
    another, (size, size), each entry over the histories that have both positions.

    By category (Fig. 5, there between two sets of 200 films, here between all): how much items of
    one category look at earlier items of another in the first block, (c, c). `member` (|I| + 1, c)
    is 1 where an item belongs to a category. Entry (a, b) is the mean over pairs (item of a,
    earlier item of b) of weight * number of positions that the row may look at: 1 where attention
    is uniform. NaN where there is no pair. How an item looks at itself does not count.
    """
    windows: list[list[Array]] = [[] for _ in model.blocks]
    total = np.zeros((member.shape[1],) * 2)
    pairs = np.zeros_like(total)
    for i in range(0, len(histories), 64):
        inputs = pack_sequences(histories[i : i + 64], model.n)
        sequences = np.split(inputs.items, inputs.offsets[1:-1])
        for items, maps in zip(sequences, attention_maps(model, inputs), strict=True):
            for window, weights in zip(windows, maps, strict=True):
                window.append(weights[-size:, -size:].copy())  # and not the whole map
            group, earlier = member[items], np.tri(len(items), k=-1)
            visible = np.arange(1, len(items) + 1)[:, None]
            total += group.T @ (maps[0] * visible * earlier) @ group
            pairs += group.T @ earlier @ group
    by_category = np.divide(total, pairs, out=np.full_like(total, np.nan), where=pairs > 0)
    return [position_average(window, size) for window in windows], by_category


def main_categories(categories: Sequence[tuple[str, ...]], wanted: Sequence[str]) -> Sequence[str]:
    """`wanted` if items (`categories` by item id) have all of them, else the four most frequent.

    An item's first category is what counts there; none where items have no categories.
    """
    if set(wanted) <= {name for own in categories for name in own}:
        return wanted
    return [name for name, _ in Counter(own[0] for own in categories if own).most_common(4)]


def membership(categories: Sequence[tuple[str, ...]], names: Sequence[str]) -> Array:
    """1 where an item has this category and no other of `names`, (|I| + 1, len(names))."""
    member = np.array([[name in own for name in names] for own in categories], dtype=np.float64)
    member = member.reshape(len(categories), len(names))
    return member * (member.sum(axis=1, keepdims=True) == 1)
