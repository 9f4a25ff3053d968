"""The fused ops against the compositions that they take the place of."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from minisasrec.backends import use_backend
from minisasrec.data.batches import Batch
from minisasrec.data.sequences import pack_sequences
from minisasrec.kernels.threads import threads
from minisasrec.models import SASRec, SASRecConfig
from minisasrec.models.layouts import attend
from minisasrec.models.sasrec import Block, SelfAttention
from minisasrec.nn import Embedding, LayerNorm, Linear, Module
from minisasrec.random import Keys

ITEMS, N = 90, 12
FUSED = (Block.__dict__["forward"], SASRec.__dict__["embed"])


def batch_of(sequences: int = 30, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, N + 1, sequences)
    inputs = pack_sequences([rng.integers(1, ITEMS + 1, length) for length in lengths], N)
    T = len(inputs.items)
    targets = rng.integers(0, ITEMS + 1, T)
    negatives = rng.integers(1, ITEMS + 1, (T, 2))
    return Batch(inputs, targets, negatives, np.arange(sequences))


def gradients(model: SASRec, batch: Batch, keys: Keys | None) -> dict[str, np.ndarray]:
    loss = model.loss(batch, keys)
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = None
    return {"loss": np.asarray(loss.item()), **found}


@pytest.fixture
def composed(monkeypatch):
    """A function after whose call the definitions run."""

    def switch() -> None:
        for each in FUSED:
            monkeypatch.setattr(each, "adaptor", None)

    return switch


@pytest.mark.parametrize("d", [8, 16, 24, 50])
@pytest.mark.parametrize(("heads", "dropout"), [(1, 0.3), (2, 0.3), (1, 0.0)])
@pytest.mark.parametrize("training", [True, False])
def test_loss_and_gradients_are_those_of_the_composition(d, heads, dropout, training, composed):
    model = SASRec(ITEMS, SASRecConfig(n=N, d=d, heads=heads, blocks=2, dropout=dropout))
    assert type(model) is SASRec
    fused = gradients(model, batch_of(), Keys(1, 2) if training else None)
    composed()
    for name, expected in gradients(model, batch_of(), Keys(1, 2) if training else None).items():
        if not name.endswith("key.b"):  # always 0: all scores of a query move alike
            scale = np.abs(expected).max()
            np.testing.assert_allclose(fused[name], expected, atol=1e-5 * scale, err_msg=name)


def test_the_same_bits_with_any_number_of_threads():
    model = SASRec(ITEMS, SASRecConfig(n=N, d=50, dropout=0.2))
    batch = batch_of(120)
    results = []
    for count in (1, 2, 3):
        with threads(count):
            results.append(gradients(model, batch, Keys(0, 0)))
    for other in results[1:]:
        for name, expected in results[0].items():
            np.testing.assert_array_equal(other[name], expected, err_msg=name)


def ops_of(model: SASRec) -> set[str]:
    loss = model.loss(batch_of(), Keys(0, 0))
    names, stack = set(), [loss]
    while stack:
        tensor = stack.pop()
        if tensor.op is not None:
            names.add(tensor.op.name)
            stack += tensor.parents
    return names


def test_who_runs_the_fused_ops():
    config = SASRecConfig(n=N, d=16)
    fused = {"embed", "norm_projections", "packed_self_attention", "feed_forward"}
    assert ops_of(SASRec(ITEMS, config)) == fused | {"layer_norm", "sampled_bce"}
    with use_backend("numpy"):  # by the book
        assert not ops_of(SASRec(ITEMS, config)) & fused

    class Named(LayerNorm):
        """A student's own layer: what it computes is not known, so it is called."""

    model = SASRec(ITEMS, config)
    model.blocks[0].ffn_norm = Named(16)
    found = ops_of(model)
    assert {"add_dropout", "linear"} <= found and "feed_forward" in found  # in the other block
    padded = SASRec(ITEMS, config)
    batch = batch_of()
    y = padded(batch.inputs.padded()).data  # the paper's layout has no fused ops
    real = batch.inputs.padded().real
    np.testing.assert_allclose(y[real], padded(batch.inputs).data, atol=2e-6)


class Doubled(Linear):
    """A student's own layer."""

    def forward(self, x):
        return super().forward(x) * 2


class Raised(Embedding):
    """A student's own table."""

    def forward(self, ids):
        return super().forward(ids) + 1


def own_value(model):
    model.blocks[0].attention.value = Doubled(16, 16, 3)


def own_hidden_layer(model):
    model.blocks[1].ffn.layer1 = Doubled(16, 16, 3, activation="relu")


def no_activation(model):
    model.blocks[0].ffn.layer1.activation = None


def own_items(model):
    model.item_embedding = Raised(ITEMS + 1, 16, 3, padding_id=0)


def own_positions(model):
    model.position_embedding = Raised(N, 16, 3)


def another_rate(model):
    model.blocks[1].ffn_residual.rate = 0.9


@pytest.mark.parametrize(
    "change", [own_value, own_hidden_layer, no_activation, own_items, own_positions, another_rate]
)
def test_a_layer_that_is_not_the_papers_is_called(change):
    model = SASRec(ITEMS, SASRecConfig(n=N, d=16, dropout=0.3))
    change(model)
    batch = batch_of()
    fast = model(batch.inputs, Keys(1, 2)).data
    with use_backend("numpy"):
        np.testing.assert_allclose(fast, model(batch.inputs, Keys(1, 2)).data, atol=1e-5)


class Mean(SelfAttention):
    """Each item looks at all before it alike; predictions take it as it is, without a shortcut."""

    def forward(self, x, inputs, keys=None, x_q=None):
        zero = self.query(x) * 0.0
        return attend(zero, zero, self.value(x), inputs, self.heads)


class Twice(Block):
    def forward(self, x, inputs, keys=None):
        return super().forward(super().forward(x, inputs, keys), inputs, keys)


class Shifted(SASRec):
    def forward(self, inputs, keys=None):
        return super().forward(inputs, keys) + 1


class Plain(Module):
    """A block of a class of its own, with nothing of ours."""

    def __init__(self):
        self.layer = Linear(16, 16, 5)

    def forward(self, x, inputs, keys=None):
        return self.layer(x)


class PlainAttention(Plain):
    def forward(self, x, inputs, keys=None, x_q=None):
        return self.layer(x)


CHANGED = ["pre", "post", "authors", "ligr", "block", "model", "plain block", "plain attention"]


@pytest.mark.parametrize("changed", CHANGED)
def test_a_prediction_is_by_the_lines_that_were_trained(changed):
    norm = changed if changed in ("post", "authors", "ligr") else "pre"
    config = SASRecConfig(n=N, d=16, norm=norm)
    model = (Shifted if changed == "model" else SASRec)(ITEMS, config)
    if changed == "block":
        model.blocks = [Twice(config, 3)]
    elif changed == "plain block":
        model.blocks = [Plain()]
    elif changed == "plain attention":
        model.blocks[-1].attention = PlainAttention()
    elif changed != "model":
        for block in model.blocks:
            block.attention = Mean(config, 3)
    inputs = batch_of().inputs
    whole = model(inputs).data[inputs.last]
    np.testing.assert_allclose(model.encode(np.full(30, -1), inputs), whole, atol=1e-5)


def test_the_paper_s_lines_are_what_a_reader_sees():
    assert "self.attention_residual(x, s, keys" in inspect.getsource(Block.forward)
    assert SASRec.embed.__doc__.startswith("E_i = sqrt(d)")
