"""The peers: SASRec in PyTorch, computing our function, from the usual way to the fastest one.

port      padded, built like the best-known public port: nn.MultiheadAttention with a Boolean mask,
          1x1 convolutions, a user at a time in evaluation.
tuned     padded, as a careful engineer writes it: one product for Q, K and V,
          scaled_dot_product_attention(is_causal=True), linear layers, fused Adam.
packed    no padding but a little inside attention: the fastest that we could write.

All three have our parameters, our dropout (of the embedding and of what a sub-layer returns, of
nothing else), BCE with one sampled negative and Adam(beta2 = .98). Padding stands on the right,
where a causal query never meets it, so attention needs no key mask. A row's position is its slot
in our layout: the last item is in slot n - 1. With our weights and no dropout, loss and gradients
are ours (tests/test_peers.py). Written from the paper and the port's published design; no code of
theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisasrec.data.batches import Batch
from minisasrec.data.sequences import Packed
from minisasrec.models.sasrec_config import SASRecConfig

EPS = 1e-8  # of layer norm, as ours


class Peer(nn.Module):
    """What the peers share: the tables, the last norm, one training step, ranks."""

    def __init__(self, num_items: int, config: SASRecConfig) -> None:
        super().__init__()
        self.config, self.n = config, config.n
        self.items = nn.Embedding(num_items + 1, config.d, padding_idx=0)
        self.positions = nn.Embedding(config.n, config.d)
        self.blocks = nn.ModuleList(self.block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.d, eps=EPS)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    block: Callable[[SASRecConfig], nn.Module]

    def prepare(self, batch: Batch) -> list[Any]:
        """A batch ready-made, in one or more parts. This takes none of the peer's time."""
        raise TypeError(f"{type(self).__name__} has no prepare")

    def loss(self, part: Any) -> Tensor:
        """The part's share in the mean loss of its batch."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def backward(self, parts: Sequence[Any]) -> float:
        """Add the gradients of a batch to the parameters; returns the loss."""
        total = 0.0
        for part in parts:
            loss = self.loss(part)
            loss.backward()
            total += loss.detach()
        return total

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam with our settings."""
        return torch.optim.Adam(self.parameters(), lr=1e-3, betas=(0.9, 0.98), fused=True)

    def prepare_histories(self, histories: Packed, candidates: np.ndarray) -> list[Any]:
        """Histories and candidates (users, c) ready-made for `ranks`."""
        raise TypeError(f"{type(self).__name__} has no prepare_histories")

    def ranks(self, parts: Sequence[Any]) -> Tensor:
        """The rank of candidate 0 among a user's candidates, by user."""
        raise TypeError(f"{type(self).__name__} has no ranks")


def rank_of_first(scores: Tensor) -> Tensor:
    """As ours: 1 = best, equal scores share the average of their ranks."""
    target, others = scores[:, :1], scores[:, 1:]
    return 1 + (others > target).sum(1) + (others == target).sum(1) / 2


def to_torch(array: np.ndarray) -> Tensor:
    """Ids as PyTorch wants them."""
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))


# --- padded -------------------------------------------------------------------------------------


@dataclass
class PaddedPart:
    """A batch padded on the right to a common length: arrays (B, n), 0 where there is no item."""

    items: Tensor
    slots: Tensor
    targets: Tensor | None = None
    negatives: Tensor | None = None
    last: Tensor | None = None  # of each sequence, (B)
    candidates: Tensor | None = None


class PaddedPeer(Peer):
    """All n slots of every sequence are computed; the loss leaves out what padding gives."""

    trim = False  # whether a batch is padded to its longest sequence only

    def padded(self, inputs: Packed, *arrays: np.ndarray) -> list[Tensor]:
        """Arrays (T), padded on the right."""
        lengths = np.diff(inputs.offsets)
        width = int(lengths.max()) if self.trim else self.n
        column = np.arange(len(inputs.items)) - np.repeat(inputs.offsets[:-1], lengths)
        row = np.repeat(np.arange(len(lengths)), lengths)
        result = []
        for array in arrays:
            out = np.zeros((len(lengths), width), np.int64)
            out[row, column] = array
            result.append(torch.from_numpy(out))
        return result

    def prepare(self, batch: Batch) -> list[PaddedPart]:
        inputs = batch.inputs
        assert isinstance(inputs, Packed)
        arrays = inputs.items, inputs.slots, batch.targets, batch.negatives[:, 0]
        return [PaddedPart(*self.padded(inputs, *arrays))]

    def hidden(self, part: PaddedPart) -> Tensor:
        """F of the paper, (B, n, d)."""
        rate, training = self.config.dropout, self.training
        x = self.items(part.items) * self.config.d**0.5 + self.positions(part.slots)
        x = F.dropout(x, rate, training)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def prepare_histories(self, histories: Packed, candidates: np.ndarray) -> list[PaddedPart]:
        """A user at a time, as public ports do."""
        items, slots = self.padded(histories, histories.items, histories.slots)
        last, wanted = to_torch(np.diff(histories.offsets) - 1), to_torch(candidates)
        return [
            PaddedPart(items[[u]], slots[[u]], last=last[u], candidates=wanted[u])
            for u in range(len(items))
        ]

    @torch.inference_mode()
    def ranks(self, parts: Sequence[PaddedPart]) -> Tensor:
        ranks = torch.empty(len(parts))
        for u, part in enumerate(parts):
            h = self.hidden(part)[0, part.last]
            ranks[u] = rank_of_first((self.items(part.candidates) @ h)[None])[0].item()
        return ranks


class PortBlock(nn.Module):
    """nn.MultiheadAttention with a Boolean causal mask; 1x1 convolutions as the FFN."""

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        d = config.d
        self.norm1, self.norm2 = nn.LayerNorm(d, eps=EPS), nn.LayerNorm(d, eps=EPS)
        self.attention = nn.MultiheadAttention(d, config.heads)
        self.conv1, self.conv2 = nn.Conv1d(d, d, 1), nn.Conv1d(d, d, 1)
        self.drop1, self.drop2 = nn.Dropout(config.dropout), nn.Dropout(config.dropout)
        self.register_buffer("mask", torch.ones(config.n, config.n, dtype=torch.bool).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)  # (n, B, d), as the module wants it
        z = self.norm1(x)
        s, _ = self.attention(z, z, z, attn_mask=self.mask)
        x = (x + self.drop1(s)).transpose(0, 1)
        z = self.norm2(x).transpose(-1, -2)
        z = self.drop2(self.conv2(torch.relu(self.conv1(z))))
        return x + z.transpose(-1, -2)


class PortPeer(PaddedPeer):
    """As the public port; its W_O after attention is one layer more than ours has."""

    block = PortBlock

    def loss(self, part: PaddedPart) -> Tensor:
        h = self.hidden(part)
        positive = (h * self.items(part.targets)).sum(-1)
        negative = (h * self.items(part.negatives)).sum(-1)
        index = torch.where(part.targets != 0)
        bce = nn.BCEWithLogitsLoss()
        return bce(positive[index], torch.ones_like(positive[index])) + bce(
            negative[index], torch.zeros_like(negative[index])
        )

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3, betas=(0.9, 0.98))


class TunedBlock(nn.Module):
    """One product for Q, K and V; scaled_dot_product_attention(is_causal=True); linear layers."""

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        d = config.d
        self.heads, self.rate = config.heads, config.dropout
        self.norm1, self.norm2 = nn.LayerNorm(d, eps=EPS), nn.LayerNorm(d, eps=EPS)
        self.qkv = nn.Linear(d, 3 * d)
        self.layer1, self.layer2 = nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        B, n, d = x.shape
        qkv = self.qkv(self.norm1(x)).view(B, n, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        s = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + F.dropout(s.transpose(1, 2).reshape(B, n, d), self.rate, self.training)
        z = self.layer2(torch.relu(self.layer1(self.norm2(x))))
        return x + F.dropout(z, self.rate, self.training)


class TunedPeer(PaddedPeer):
    """Padded to the longest sequence of the batch, and no gather of the real rows in the loss."""

    block, trim = TunedBlock, True

    def loss(self, part: PaddedPart) -> Tensor:
        h = self.hidden(part)
        positive = (h * self.items(part.targets)).sum(-1)
        negative = (h * self.items(part.negatives)).sum(-1)
        real = part.targets != 0
        per_row = F.logsigmoid(positive) + F.logsigmoid(-negative)
        return -(per_row * real).sum() / real.sum()


# --- packed -------------------------------------------------------------------------------------
#
# What made it fast, by the processor time of whole steps and of single calls, one thread:
# - dropout decides by 16 bits of a random 64-bit number, for all places of a part at once;
#   F.dropout, by bernoulli_, makes a step 1.2 times as long;
# - attention of more than 64 rows is written out, in blocks of queries on a few sequences at a
#   time, which stay in the cache: a step of ML-1M is 1.06 times as long with the flash kernel;
# - index_select reads the tables: its gradient is index_add_, a third of the time of F.embedding's;
#   items, targets and negatives are one read;
# - a batch goes through in parts (`PART`), so that more stays in the cache: 3% of ML-1M;
# - addcmul for residual and dropout; fused Adam, a third of the time of foreach Adam.
# torch.compile of all that goes row by row (`compiled`) gains nothing on ML-1M and loses 8% on
# Games: products and attention take most of the time and stay as they are, and calls with shapes
# that change with each batch cost checks.

QUERIES = 64  # in a block of attention; shorter sequences go to the flash kernel
BUCKET = 1024  # rows of a bucket: its scores stay in the second cache
PART = 5000  # rows of a part of a batch, about

# what scaled_dot_product_attention calls; called here, it needs no graph of its own
flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass
class Bucket:
    """Sequences of about the same length, rows first to last - 1 of a part, padded to (B, L)."""

    first: int
    last: int
    B: int
    L: int
    places: Tensor | None  # of the rows among the B L; None if there is no padding
    lengths: Tensor


@dataclass
class PackedPart:
    """Rows of sequences sorted by length; `ids` are items, or items, targets and negatives."""

    ids: Tensor
    slots: Tensor
    buckets: list[Bucket]
    rows_of_batch: int
    last: Tensor  # the row of each sequence's last item
    candidates: Tensor | None = None
    order: Tensor | None = None  # the users' numbers


def cut(lengths: np.ndarray) -> list[tuple[int, int]]:
    """Where to cut sequences, longest first, into buckets: the cheapest way.

    A bucket costs as much as 200 rows, a padded row of a sequence of L costs 1 + L / 200.
    """
    best, start = [0.0], [0]
    for j in range(1, len(lengths) + 1):
        cost, at = np.inf, j
        for i in range(j - 1, -1, -1):
            rows = (j - i) * int(lengths[i])
            if rows > BUCKET and j - i > 1:
                break
            here = best[i] + 200 + rows * (1 + lengths[i] / 200)
            if here < cost:
                cost, at = here, i
        best.append(float(cost))
        start.append(at)
    cuts, j = [], len(lengths)
    while j:
        cuts.append((start[j], j))
        j = start[j]
    return cuts[::-1]


def packed_parts(
    inputs: Packed, most_rows: int, *arrays: np.ndarray
) -> Iterator[tuple[PackedPart, np.ndarray]]:
    """Parts of about equal size, `most_rows` rows or so, and the numbers of their sequences."""
    lengths = np.diff(inputs.offsets)
    order = np.argsort(-lengths, kind="stable")
    sizes = lengths[order]
    groups: list[list[tuple[int, int]]] = [[]]
    enough = len(inputs.items) / -(-len(inputs.items) // most_rows)
    for i, j in cut(sizes):
        if groups[-1] and sizes[groups[-1][0][0] : i].sum() >= enough:
            groups.append([])
        groups[-1].append((i, j))
    for group in groups:
        chosen = slice(group[0][0], group[-1][1])
        begins = inputs.offsets[:-1][order[chosen]]
        rows = np.concatenate(
            [b + np.arange(s) for b, s in zip(begins, sizes[chosen], strict=True)]
        )
        buckets, row = [], 0
        for i, j in group:
            own, L = sizes[i:j], int(sizes[i])
            places = np.concatenate([b * L + np.arange(s) for b, s in enumerate(own)])
            full = len(places) == (j - i) * L
            end = row + len(places)
            buckets.append(
                Bucket(row, end, j - i, L, None if full else to_torch(places), to_torch(own))
            )
            row = end
        ids = to_torch(np.concatenate([a[rows] for a in (inputs.items, *arrays)]))
        last = to_torch(np.cumsum(sizes[chosen]) - 1)
        slots = to_torch(inputs.slots[rows])
        yield PackedPart(ids, slots, buckets, len(inputs.items), last), order[chosen]


def into_bucket(x: Tensor, bucket: Bucket) -> Tensor:
    """The bucket's rows of x (T, m), padded: (B, L, m)."""
    rows = x[bucket.first : bucket.last]
    if bucket.places is not None:
        padded = x.new_zeros(bucket.B * bucket.L, x.shape[1])
        rows = padded.index_copy_(0, bucket.places, rows)
    return rows.view(bucket.B, bucket.L, -1)


def out_of_bucket(x: Tensor, bucket: Bucket, out: Tensor) -> None:
    """Write the real rows of x (B, L, m) to their place in `out` (T, m)."""
    rows, place = x.view(bucket.B * bucket.L, -1), out[bucket.first : bucket.last]
    if bucket.places is None:
        place.copy_(rows)
    else:
        torch.index_select(rows, 0, bucket.places, out=place)


class Attention(torch.autograd.Function):
    """Causal attention of packed rows: qkv (T, 3 d) -> (T, d)."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, mask: Tensor, buckets: list[Bucket], heads: int) -> Tensor:
        T, d = qkv.shape[0], qkv.shape[1] // 3
        out, saved = qkv.new_empty(T, d), []
        for bucket in buckets:
            x = into_bucket(qkv, bucket)
            q, k, v = split(x, heads)
            if bucket.L <= QUERIES:
                s, sums = flash.default(q, k, v, 0.0, True)
                saved += [x, s, sums]
            else:
                s, weights = in_blocks(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), mask)
                s = s.view(q.shape)
                saved += [x, *weights]
            out_of_bucket(s.transpose(1, 2).reshape(bucket.B, bucket.L, d), bucket, out)
        ctx.save_for_backward(*saved)
        ctx.buckets, ctx.heads = buckets, heads
        return out

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        saved, d = iter(ctx.saved_tensors), dy.shape[1]
        dqkv = dy.new_empty(len(dy), 3 * d)
        for bucket in ctx.buckets:
            B, L, x = bucket.B, bucket.L, next(saved)
            q, k, v = split(x, ctx.heads)
            ds = into_bucket(dy, bucket).view(B, L, ctx.heads, -1).transpose(1, 2)
            if L <= QUERIES:
                gradients = flash_backward.default(ds, q, k, v, next(saved), next(saved), 0.0, True)
            else:
                weights = [next(saved) for _ in range(0, L, QUERIES)]
                rows = [each.flatten(0, 1) for each in (ds, q, k, v)]
                gradients = [each.view(q.shape) for each in in_blocks_backward(*rows, weights)]
            dx = torch.stack([each.transpose(1, 2) for each in gradients], 2)
            out_of_bucket(dx.view(B, L, 3 * d), bucket, dqkv)
        return dqkv, None, None, None


def split(x: Tensor, h: int) -> Sequence[Tensor]:
    """(B, L, 3 d) -> q, k, v (B, h, L, d / h), views of x."""
    B, L, d3 = x.shape
    return x.view(B, L, 3, h, d3 // 3 // h).permute(2, 0, 3, 1, 4).unbind()


def in_blocks(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Causal attention (B, L, d) in blocks of queries, and each block's weights p."""
    L, weights, parts = q.shape[1], [], []
    for i in range(0, L, QUERIES):  # queries i to j - 1 see keys 0 to j - 1
        j = min(i + QUERIES, L)
        p = torch.baddbmm(
            mask[i:j, :j], q[:, i:j], k[:, :j].transpose(1, 2), alpha=q.shape[2] ** -0.5
        )
        torch.softmax(p, -1, out=p)
        weights.append(p)
        parts.append(torch.bmm(p, v[:, :j]))
    return torch.cat(parts, 1), weights


def in_blocks_backward(
    ds: Tensor, q: Tensor, k: Tensor, v: Tensor, weights: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk, dv of `in_blocks`."""
    L, dqs = q.shape[1], []
    q, dk, dv = q * q.shape[2] ** -0.5, None, None
    for b in reversed(range(len(weights))):  # the last block meets all keys
        i, p = b * QUERIES, weights[b]
        j = min(i + QUERIES, L)
        dp = torch.bmm(ds[:, i:j], v[:, :j].transpose(1, 2))
        dr = torch.ops.aten._softmax_backward_data(dp, p, -1, p.dtype)
        dqs.append(torch.bmm(dr, k[:, :j]))
        dk_b, dv_b = torch.bmm(dr.transpose(1, 2), q[:, i:j]), torch.bmm(p.mT, ds[:, i:j])
        if dk is None or dv is None:
            dk, dv = dk_b, dv_b
        else:
            dk[:, :j] += dk_b
            dv[:, :j] += dv_b
    assert dk is not None and dv is not None
    return torch.cat(dqs[::-1], 1).mul_(q.shape[2] ** -0.5), dk, dv


class PackedBlock(nn.Module):
    """What goes row by row before and after attention."""

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        d = config.d
        self.norm1, self.norm2 = nn.LayerNorm(d, eps=EPS), nn.LayerNorm(d, eps=EPS)
        self.qkv = nn.Linear(d, 3 * d)
        self.layer1, self.layer2 = nn.Linear(d, d), nn.Linear(d, d)

    def before(self, x: Tensor) -> Tensor:
        """Q, K and V, side by side."""
        return self.qkv(self.norm1(x))

    def after(self, x: Tensor, s: Tensor, keep: Sequence[Tensor] | None) -> Tensor:
        """The block's output; `keep` are the masks of the two dropouts, 0 or 1 / (1 - rate)."""
        x = x + s if keep is None else torch.addcmul(x, s, keep[0])
        z = self.layer2(torch.relu(self.layer1(self.norm2(x))))
        return x + z if keep is None else torch.addcmul(x, z, keep[1])


class PackedPeer(Peer):
    """Rows (T, d) all the way; padding inside attention only, a few per cent."""

    block = PackedBlock

    def __init__(self, num_items: int, config: SASRecConfig, compiled: bool = False) -> None:
        super().__init__(num_items, config)
        self.register_buffer("mask", torch.full((config.n, config.n), -torch.inf).triu(1))
        if compiled:
            for module in (self, *self.blocks):
                for name in {"embed", "bce", "before", "after"} & set(dir(module)):
                    setattr(module, name, torch.compile(getattr(module, name), dynamic=True))

    def prepare(self, batch: Batch) -> list[PackedPart]:
        inputs = batch.inputs
        assert isinstance(inputs, Packed)
        arrays = batch.targets, batch.negatives[:, 0]
        return [part for part, _ in packed_parts(inputs, PART, *arrays)]

    def keeps(self, T: int) -> Tensor | Sequence[None]:
        """The masks of all dropouts of a step, 0 or 1 / (1 - rate): (1 + 2 b, T, d)."""
        places, rate = 1 + 2 * self.config.blocks, self.config.dropout
        if not self.training or rate == 0:
            return [None] * places
        count = places * T * self.config.d
        words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[:count].view(places, T, -1)
        return (bits >= round(rate * 2**16) - 2**15) * (1 / (1 - rate))

    def embed(self, vectors: Tensor, slots: Tensor, keep: Tensor | None) -> Tensor:
        """E, with dropout."""
        positions = self.positions.weight.index_select(0, slots)
        x = torch.add(positions, vectors, alpha=self.config.d**0.5)
        return x if keep is None else x * keep

    def attend(self, block: Any, x: Tensor, part: PackedPart) -> Tensor:
        return Attention.apply(block.before(x), self.mask, part.buckets, self.config.heads)

    def bce(self, x: Tensor, vectors: Tensor) -> Tensor:
        """The sum over rows; `vectors` are those of the targets, then of the negatives."""
        scores = (self.norm(x) * vectors.view(2, *x.shape)).sum(-1)
        return -(F.logsigmoid(scores[0]).sum() + F.logsigmoid(-scores[1]).sum())

    def loss(self, part: PackedPart) -> Tensor:
        T = len(part.slots)
        vectors = self.items.weight.index_select(0, part.ids)
        keep = self.keeps(T)
        x = self.embed(vectors[:T], part.slots, keep[0])
        for b, block in enumerate(self.blocks):
            own = None if keep[0] is None else (keep[2 * b + 1], keep[2 * b + 2])
            x = block.after(x, self.attend(block, x, part), own)
        return self.bce(x, vectors[T:]) / part.rows_of_batch

    def prepare_histories(self, histories: Packed, candidates: np.ndarray) -> list[PackedPart]:
        parts = []
        for part, users in packed_parts(histories, 2 * PART):
            part.order, part.candidates = to_torch(users), to_torch(candidates[users])
            parts.append(part)
        return parts

    def encode(self, part: PackedPart) -> Tensor:
        """F at each sequence's last item: the last block computes that row alone."""
        x = self.embed(self.items.weight.index_select(0, part.ids), part.slots, None)
        *blocks, last = self.blocks
        for block in blocks:
            x = block.after(x, self.attend(block, x, part), None)
        return self.norm(last.after(x[part.last], self.last_attention(last, x, part), None))

    def last_attention(self, block: Any, x: Tensor, part: PackedPart) -> Tensor:
        """The last query alone; no keys and values are made, as in ours (models/shortcut.py)."""
        h, d = self.config.heads, self.config.d
        z = block.norm1(x)
        Wq, Wk, Wv = block.qkv.weight.chunk(3)
        bq, _, bv = block.qkv.bias.chunk(3)
        q = F.linear(z[part.last], Wq, bq).view(-1, h, d // h)
        q = torch.einsum("bhi,hid->bhd", q, Wk.view(h, d // h, d)) * (d // h) ** -0.5
        sums, b = q.new_empty(q.shape), 0
        for bucket in part.buckets:
            own = slice(b, b + bucket.B)
            keys = into_bucket(z, bucket)
            scores = torch.bmm(q[own], keys.transpose(1, 2))  # (B, h, L)
            if bucket.places is not None:
                padding = torch.arange(bucket.L) >= bucket.lengths[:, None]
                scores.masked_fill_(padding[:, None], -torch.inf)
            torch.bmm(torch.softmax(scores, -1), keys, out=sums[own])
            b += bucket.B
        return torch.einsum("bhd,hid->bhi", sums, Wv.view(h, d // h, d)).flatten(1) + bv

    @torch.inference_mode()
    def ranks(self, parts: Sequence[PackedPart]) -> Tensor:
        ranks = torch.empty(sum(len(part.last) for part in parts))
        for part in parts:
            assert part.candidates is not None and part.order is not None
            vectors = self.items.weight[part.candidates]  # (B, c, d)
            scores = torch.bmm(vectors, self.encode(part).unsqueeze(2)).squeeze(2)
            ranks[part.order] = rank_of_first(scores)
        return ranks


PEERS: dict[str, Callable[[int, SASRecConfig], Peer]] = {
    "packed": PackedPeer,
    "packed-compiled": lambda num_items, config: PackedPeer(num_items, config, compiled=True),
    "tuned": TunedPeer,
    "port": PortPeer,
}


# --- the same weights ---------------------------------------------------------------------------


def from_ours(peer: Peer, ours: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Our arrays, of weights or of gradients, by the peer's names and in its shapes.

    `ours` are those of `SASRec.named_parameters`. The port's W_O has no counterpart in ours.
    """
    port = isinstance(peer, PortPeer)
    a = {name: torch.from_numpy(np.array(array)) for name, array in ours.items()}
    result = {"items.weight": a["item_embedding.table"]}
    result["positions.weight"] = a["position_embedding.table"]

    def norm(new: str, old: str) -> None:
        result[f"{new}.weight"], result[f"{new}.bias"] = a[f"{old}.gamma"], a[f"{old}.beta"]

    norm("norm", "final_norm")
    for b in range(len(peer.blocks)):
        new = old = f"blocks.{b}"
        norm(f"{new}.norm1", f"{old}.attention_norm")
        norm(f"{new}.norm2", f"{old}.ffn_norm")
        qkv = [f"{old}.attention.{name}" for name in ("query", "key", "value")]
        W, bias = torch.cat([a[f"{x}.W"].T for x in qkv]), torch.cat([a[f"{x}.b"] for x in qkv])
        place = f"{new}.attention.in_proj_" if port else f"{new}.qkv."
        result[f"{place}weight"], result[f"{place}bias"] = W, bias
        for layer in "12":
            name = f"{new}.{'conv' if port else 'layer'}{layer}"
            W = a[f"{old}.ffn.layer{layer}.W"].T
            result[f"{name}.weight"] = W[..., None] if port else W
            result[f"{name}.bias"] = a[f"{old}.ffn.layer{layer}.b"]
    return result


def load_ours(peer: Peer, ours: Mapping[str, np.ndarray]) -> None:
    """Give the peer our weights; the port's W_O becomes the identity."""
    weights = from_ours(peer, ours)
    with torch.no_grad():
        for name, parameter in peer.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])
            elif name.endswith("out_proj.weight"):
                parameter.copy_(torch.eye(len(parameter)))
            else:
                assert name.endswith("out_proj.bias"), f"nothing of ours is {name}"
                parameter.zero_()
