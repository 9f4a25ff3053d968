"""PyTorch as an oracle: every op, and 20 training steps of the whole model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import examples, implementations, make_split, normal_like

from minisasrec.autograd.registry import OPS
from minisasrec.backends import use_backend
from minisasrec.data.batches import TrainingBatches
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.nn.optim import Adam
from minisasrec.ops.attention import attention_keep
from minisasrec.ops.dropout import keep_mask
from minisasrec.random import Keys

torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
F = torch.nn.functional

ALL = [pytest.param(*rest, id=name) for name, *rest in implementations()]


# --- every op --------------------------------------------------------------------------------


def heads_apart(x, heads):
    """(B, n, d) -> (B, h, n, d / h)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def padded_attention(q, k, v, *, real, heads, rate, key):
    n, real = q.shape[1], np.asarray(real, dtype=bool)
    allowed = torch.ones(n, n, dtype=torch.bool).tril() & torch.as_tensor(real)[:, None, :]
    allowed = (allowed | torch.eye(n, dtype=torch.bool))[:, None]
    Q, K, V = (heads_apart(x, heads) for x in (q, k, v))
    if not rate:
        out = F.scaled_dot_product_attention(Q, K, V, attn_mask=allowed)
    else:
        names = np.arange(real.size).reshape(real.shape)
        keep = torch.as_tensor(attention_keep(names, names, heads, rate, key))
        scores = Q @ K.transpose(-1, -2) / Q.shape[-1] ** 0.5
        weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
        out = (weights * keep / (1 - rate)) @ V
    return out.transpose(1, 2).flatten(2)


def packed_attention(q, k, v, *, offsets, heads, rate, key, slot_ids):
    parts = []
    every = np.arange(len(q)) if slot_ids is None else slot_ids
    for start, end in zip(offsets[:-1], offsets[1:], strict=True):
        Q, K, V = (heads_apart(x[None, start:end], heads) for x in (q, k, v))
        if not rate:
            out = F.scaled_dot_product_attention(Q, K, V, is_causal=True)
        else:
            names = every[start:end]
            keep = torch.as_tensor(attention_keep(names, names, heads, rate, key))
            scores = Q @ K.transpose(-1, -2) / Q.shape[-1] ** 0.5
            later = torch.ones(end - start, end - start, dtype=torch.bool).triu(1)
            out = scores.masked_fill(later, -torch.inf).softmax(-1) * keep / (1 - rate) @ V
        parts.append(out.transpose(1, 2).flatten(2)[0])
    return torch.cat(parts)


def last_attention(q, k, v, *, offsets, heads):
    heads_first = [x.reshape(len(x), heads, -1).transpose(0, 1) for x in (q, k, v)]
    parts = []
    for b, (start, end) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
        Q, K, V = heads_first[0][:, b : b + 1], *(x[:, start:end] for x in heads_first[1:])
        parts.append(F.scaled_dot_product_attention(Q, K, V).transpose(0, 1).flatten(1))
    return torch.cat(parts)


def dropped(x, *, rate, key, slot_ids):
    return x * torch.as_tensor(keep_mask(tuple(x.shape), rate, key, slot_ids)) / (1 - rate)


def sampled_bce(h, items, *, targets, negatives, beta):
    real = torch.as_tensor(targets != 0)
    positive = (h * items[targets]).sum(-1)[real]
    negative = (h[:, None] * items[negatives]).sum(-1)[real]
    return -(beta * F.logsigmoid(positive) + F.logsigmoid(-negative).sum(-1)).mean()


def packed_gru(x, U, b, *, offsets):
    """torch.nn.GRU over each sequence; its input weights are the identity, as x is a product."""
    d = len(U)
    weights = (torch.eye(3 * d, dtype=x.dtype), U.T, torch.zeros(3 * d, dtype=x.dtype), b)
    parts = []
    for start, end in zip(offsets[:-1], offsets[1:], strict=True):
        if start == end:
            continue
        h0 = torch.zeros(1, 1, d, dtype=x.dtype)
        y, _ = torch.gru(x[None, start:end], h0, weights, True, 1, 0.0, False, False, True)
        parts.append(y[0])
    return torch.cat(parts)


def ranking_loss(positive, negative, *, allowed, loss, weight):
    losses = []
    for p, row, mask in zip(positive, negative, allowed, strict=True):
        r = row[torch.as_tensor(mask)]
        if not len(r):
            continue
        s, mistake = r.softmax(0), (r - p).sigmoid() + (r * r).sigmoid()
        losses.append(
            {
                "cross-entropy": lambda p=p, r=r: -torch.cat([p[None], r]).log_softmax(0)[0],
                "bpr": lambda p=p, r=r: -F.logsigmoid(p - r).mean(),
                "top1": lambda mistake=mistake: mistake.mean(),
                "top1-max": lambda s=s, mistake=mistake: (s * mistake).sum(),
                "bpr-max": lambda p=p, r=r, s=s: (
                    -(s * (p - r).sigmoid()).sum().log() + weight * (s * r * r).sum()
                ),
            }[loss]()
        )
    return torch.stack(losses).mean()


def reduce(name):
    def call(x, *, axis, keepdims):
        axes = axis if isinstance(axis, list | tuple) else range(x.ndim) if axis is None else [axis]
        if not len(axes):
            return x * 1
        return getattr(x, name)(dim=tuple(axes), keepdim=keepdims)

    return call


def getitem(x, *, index):
    """torch has no negative steps: NumPy finds the places, torch reads them."""
    places = np.arange(x.numel()).reshape(x.shape)[index]
    return x.reshape(-1)[torch.as_tensor(np.array(places))]


def embed(M, P, *, ids, slots, factor, rate, key, slot_ids):
    ids, slots = torch.as_tensor(ids), torch.as_tensor(slots)
    items = factor * M[ids] * (ids != 0)[:, None]
    return dropped(items + P[slots], rate=rate, key=key, slot_ids=slot_ids)


def norm_projections(x, gamma, beta, *layers, eps):
    a = F.layer_norm(x, gamma.shape, gamma, beta, eps)
    return torch.stack([a @ W + b for W, b in zip(layers[::2], layers[1::2], strict=True)])


def feed_forward(x, s, gamma, beta, W1, b1, W2, b2, *, rate, keys, slot_ids, eps):
    z = x + dropped(s, rate=rate, key=keys[0], slot_ids=slot_ids)
    a = F.layer_norm(z, gamma.shape, gamma, beta, eps)
    f = torch.relu(a @ W1 + b1) @ W2 + b2
    return z + dropped(f, rate=rate, key=keys[1], slot_ids=slot_ids)


def softmax_cross_entropy(h, items, *, targets, left_out, sequence, block):
    scores = h @ items.T
    out = torch.zeros(scores.shape, dtype=torch.bool)
    if left_out is not None:
        for t, b in enumerate(sequence):
            out[t, np.asarray(left_out[b], int)] = True
    out[np.arange(len(h)), targets] = False
    scores = scores.masked_fill(out, -torch.inf)[:, 1:]
    return F.cross_entropy(scores, torch.as_tensor(targets).long() - 1, ignore_index=-1)


# What torch has no short expression for; the others say it themselves: `op.torch`
TORCH = {
    "add_dropout": lambda x, g, **constants: x + dropped(g, **constants),
    "causal_attention": padded_attention,
    "dropout": dropped,
    "embed": embed,
    "feed_forward": feed_forward,
    "getitem": getitem,
    "max": reduce("amax"),
    "mean": reduce("mean"),
    "norm_projections": norm_projections,
    "packed_causal_attention": packed_attention,
    "packed_gru": packed_gru,
    "packed_last_attention": last_attention,
    "packed_self_attention": lambda qkv, **constants: packed_attention(*qkv, **constants),
    "ranking_loss": ranking_loss,
    "sampled_bce": sampled_bce,
    "softmax_cross_entropy": softmax_cross_entropy,
    "sum": reduce("sum"),
}


def as_torch(name, value):
    """A constant for torch: ids and masks as tensors, whatever they were given as."""
    many = list | np.ndarray if name != "ids" else object  # one id is an array of them, too
    if name in ("axes", "axis", "index", "shape") or not isinstance(value, many):
        return value
    array = np.asarray(value)
    return torch.tensor(array if array.dtype.kind in "fb" and array.size else array.astype(int))


def in_torch(op, tensors, constants):
    """What PyTorch says the result of an op is."""
    if op.name in TORCH:
        return TORCH[op.name](*tensors, **constants)
    names = [name for name, _ in op.signature.args]
    arguments = (
        {names[0]: tensors} if op.signature.variadic else dict(zip(names, tensors, strict=True))
    )
    known = {name: as_torch(name, value) for name, value in constants.items()}
    return eval(op.torch, {"torch": torch, "F": F} | arguments | known)  # noqa: S307


@pytest.mark.parametrize("op", [pytest.param(op, id=op.name) for op in OPS.values()])
def test_every_op_has_an_oracle(op):
    assert bool(op.torch) != (op.name in TORCH), (
        f'{op.name}: say what it is in PyTorch, @op(..., torch="torch.relu(x)"), or, where that '
        "takes more than an expression, write a function in TORCH of this file; not both"
    )


def test_no_oracle_without_an_op():
    assert set(TORCH) <= set(OPS)


@pytest.mark.parametrize(("op", "backend", "function"), ALL)
@settings(max_examples=8)
@given(st.data())
def test_op_is_that_of_torch(op, backend, function, data):
    args, constants = data.draw(examples(op))
    y, backward = function(*args, **constants)
    tensors = [torch.tensor(np.asarray(a), requires_grad=True) for a in args]
    want = in_torch(op, tensors, constants)
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=1e-11, atol=1e-11)
    dy = normal_like(y)
    if want.requires_grad:
        want.backward(torch.as_tensor(dy))
    for got, tensor in zip(backward(dy), tensors, strict=True):
        grad = np.zeros_like(got) if tensor.grad is None else tensor.grad.numpy()
        np.testing.assert_allclose(got, grad, rtol=1e-10, atol=1e-10)


# --- the whole model, written from the paper and from a description of the authors' code --------


class Masks:
    """Dropout of a training step with the package's masks; the padded layout names the rows."""

    def __init__(self, keys, rate):
        self.keys, self.rate = keys, rate

    def elements(self, x):
        if self.keys is None or not self.rate:
            return x
        keep = keep_mask(tuple(x.shape), self.rate, self.keys.next(), None)
        return x * torch.as_tensor(keep) / (1 - self.rate)

    def weights(self, w):
        if self.keys is None or not self.rate:
            return w
        B, heads, n, _ = w.shape
        names = np.arange(B * n).reshape(B, n)
        keep = attention_keep(names, names, heads, self.rate, self.keys.next())
        return w * torch.as_tensor(keep) / (1 - self.rate)


def layer_norm(P, name, x):
    return F.layer_norm(x, x.shape[-1:], P[f"{name}.gamma"], P[f"{name}.beta"], 1e-8)


def dense(P, name, x):
    return x @ P[f"{name}.W"] + P[f"{name}.b"]


def authors_forward(P, items, config, masks):
    """The released TensorFlow code: only the query is normalised, and it is what is added back."""
    real = torch.as_tensor(items != 0)[..., None].float()
    x = P["item_embedding.table"][items] * real * config.d**0.5 + P["position_embedding.table"]
    x = masks.elements(x) * real
    for b in range(config.blocks):
        block = f"blocks.{b}"
        query = layer_norm(P, f"{block}.attention_norm", x)
        Q = heads_apart(dense(P, f"{block}.attention.query", query), config.heads)
        K = heads_apart(dense(P, f"{block}.attention.key", x), config.heads)
        V = heads_apart(dense(P, f"{block}.attention.value", x), config.heads)
        scores = Q @ K.transpose(-1, -2) / (config.d / config.heads) ** 0.5
        small = -(2.0**32) + 1
        scores = scores.masked_fill(real[:, None, None, :, 0] == 0, small)
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        weights = masks.weights(scores.masked_fill(later, small).softmax(-1))
        y = (weights @ V).transpose(1, 2).flatten(2) + query
        z = layer_norm(P, f"{block}.ffn_norm", y)
        hidden = masks.elements(dense(P, f"{block}.ffn.layer1", z).relu())
        x = (masks.elements(dense(P, f"{block}.ffn.layer2", hidden)) + z) * real
    return layer_norm(P, "final_norm", x)


def paper_forward(P, items, config, masks):
    """x + Dropout(g(LN(x))) around attention and FFN, or LN(x + Dropout(g(x)))."""
    real = torch.as_tensor(items != 0)
    n = items.shape[1]
    allowed = torch.ones(n, n, dtype=torch.bool).tril() & real[:, None, :]
    allowed = (allowed | torch.eye(n, dtype=torch.bool))[:, None]

    def norm(name, x):
        return layer_norm(P, name, x) if config.layer_norm else x

    def attention(name, z):
        Q, K, V = (
            heads_apart(dense(P, f"{name}.{part}", z), config.heads)
            for part in ("query", "key", "value")
        )
        scores = Q @ K.transpose(-1, -2) / Q.shape[-1] ** 0.5
        weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
        if config.inner_dropout:
            weights = masks.weights(weights)
        out = (weights @ V).transpose(1, 2).flatten(2)
        return dense(P, f"{name}.output", out) if config.output_projection else out

    def ffn(name, z):
        hidden = dense(P, f"{name}.layer1", z).relu()
        if config.inner_dropout:
            hidden = masks.elements(hidden)
        return dense(P, f"{name}.layer2", hidden)

    def around(x, g):
        return x + masks.elements(g) if config.residual else masks.elements(g)

    x = P["item_embedding.table"][items] * real[..., None]
    if config.scale_embedding:
        x = x * config.d**0.5
    if config.positions:
        x = x + P["position_embedding.table"]
    x = masks.elements(x)
    for b in range(config.blocks):
        block = f"blocks.{b}"
        for part, g in (("attention", attention), ("ffn", ffn)):
            if config.norm == "post":
                x = norm(f"{block}.{part}_norm", around(x, g(f"{block}.{part}", x)))
            else:
                x = around(x, g(f"{block}.{part}", norm(f"{block}.{part}_norm", x)))
    return norm("final_norm", x)


def torch_loss(P, batch, config, masks):
    forward = authors_forward if config.norm == "authors" else paper_forward
    h = forward(P, batch.inputs.items.astype(np.int64), config, masks)
    items = P.get("output_embedding", P["item_embedding.table"])
    targets, negatives = (x.astype(np.int64) for x in (batch.targets, batch.negatives))
    real = torch.as_tensor(targets != 0)
    if config.loss == "softmax":
        scores = (h @ items.T)[real]
        scores[:, 0] = -torch.inf
        return F.cross_entropy(scores, torch.as_tensor(targets)[real])
    positive = (h * items[targets]).sum(-1)
    negative = (h[..., None, :] * items[negatives]).sum(-1)
    terms = F.logsigmoid(positive) + F.logsigmoid(-negative).sum(-1)
    return -terms[real].sum() / real.sum()


def losses(config, layout="packed", steps=20):
    """The losses of minisasrec and of torch over the same steps."""
    # every item is followed by the next number, so that there is something to learn
    walks = np.random.default_rng(0).integers([0, 3], [30, 15], (24, 2))
    split = make_split([[(first + i) % 30 + 1 for i in range(n)] for first, n in walks], 30)
    batches = TrainingBatches(split, n=config.n, batch_size=8, seed=3)
    model = SASRec(split.dataset.num_items, config, seed=4)
    P = {
        name: torch.tensor(array.copy(), requires_grad=True)
        for name, array in model.state().items()
    }
    adam = Adam(model.parameters(), lr=1e-2)
    torch_adam = torch.optim.Adam(P.values(), lr=1e-2, betas=(0.9, 0.98), eps=1e-8)
    ours, theirs = [], []
    epochs = (batch for epoch in range(steps) for batch in batches.epoch(epoch))
    for step, batch in zip(range(steps), epochs, strict=False):
        loss = model.loss(batch if layout == "packed" else batch.padded(), Keys(5, step))
        adam.zero_grad()
        loss.backward()
        adam.step()
        ours.append(loss.item())

        other = torch_loss(P, batch.padded(), config, Masks(Keys(5, step), config.dropout))
        torch_adam.zero_grad()
        other.backward()
        torch_adam.step()
        theirs.append(other.item())
    return ours, theirs


CONFIG = SASRecConfig(n=10, d=8, blocks=2, dropout=0.0)


@pytest.mark.parametrize(
    "change",
    [
        {"norm": "pre"},
        {"norm": "post"},
        {"norm": "authors"},
        {"norm": "pre", "heads": 2},
        {"norm": "post", "heads": 2},
        {"norm": "authors", "heads": 2},
        {"output_projection": True},
        {"shared_embedding": False},
        {"loss": "softmax"},
        {"positions": False, "scale_embedding": False},
        {"residual": False},
        {"layer_norm": False, "scale_embedding": False},
        {"dropout": 0.3},
        {"dropout": 0.3, "inner_dropout": True, "heads": 2},
        {"dropout": 0.3, "norm": "post"},
        {"dropout": 0.3, "norm": "authors", "heads": 2},
    ],
    ids=str,
)
def test_twenty_steps_of_training(change):
    with use_backend("numba"):
        ours, theirs = losses(dataclasses.replace(CONFIG, **change))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    assert ours[-1] < ours[0] - 1e-3  # and it learns


@pytest.mark.parametrize("norm", ["pre", "authors"])
def test_twenty_steps_by_the_book(norm):
    with use_backend("numpy"):
        config = dataclasses.replace(CONFIG, norm=norm, dropout=0.3)
        ours, theirs = losses(config, layout="padded")
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
