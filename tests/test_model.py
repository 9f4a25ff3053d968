"""SASRec: two layouts of one model, what it can see, and what every setting changes."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
from strategies import random_split

from minisasrec import Tensor, ops
from minisasrec.backends import use_backend
from minisasrec.data.batches import TrainingBatches
from minisasrec.data.sequences import pack_sequences
from minisasrec.errors import CheckpointError, ConfigError, ShapeError
from minisasrec.models.base import Model, SequenceModel
from minisasrec.models.losses import gbce_beta
from minisasrec.models.sasrec import Block, SASRec
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.models.variants import BLOCKS, SASRecVariant
from minisasrec.nn import Embedding, LayerNorm, Linear, Module, Parameter
from minisasrec.nn.optim import Adam
from minisasrec.random import Keys

ITEMS, N = 30, 8
CONFIG = SASRecConfig(n=N, d=12, blocks=2, heads=2, dropout=0.0)
NORMS = ["pre", "post", "authors", "ligr"]
LAYOUTS = [("packed", "numba"), ("packed", "numpy"), ("padded", "numpy")]


def model_with(seed=0, **change):
    model = SASRec(ITEMS, dataclasses.replace(CONFIG, **change), seed=seed)
    generator = np.random.default_rng(seed)  # biases that are 0 at the start would hide things
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += generator.normal(scale=0.3, size=parameter.shape).astype(np.float32)
    return model


def sequences(*lengths, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.integers(1, ITEMS + 1, length) for length in lengths]


def hidden(model, inputs, layout, keys=None):
    """F at the T real positions, (T, d), in either layout."""
    if layout == "packed":
        return model(inputs, keys).data
    return model(inputs.padded(), keys).data[inputs.padded().real]


def close(got, want):
    """Equal but for a few roundings of float32."""
    np.testing.assert_allclose(got, want, rtol=0, atol=3e-6 * max(1, np.abs(want).max()))


@pytest.fixture(params=["numpy", "numba"])
def each_backend(request):
    with use_backend(request.param):
        yield request.param


# --- two layouts -----------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_padded_is_packed_at_every_real_position(norm, dropout, each_backend):
    model = model_with(norm=norm, dropout=dropout, inner_dropout=True)
    packed = pack_sequences(sequences(1, 2, 5, N - 1, N, N + 1, 3 * N), N)
    assert np.diff(packed.offsets).tolist() == [1, 2, 5, N - 1, N, N, N]
    keys = (lambda: Keys(7, 3)) if dropout else (lambda: None)
    got, want = hidden(model, packed, "packed", keys()), hidden(model, packed, "padded", keys())
    assert got.shape == (packed.offsets[-1], CONFIG.d)
    close(got, want)
    if dropout:
        assert np.abs(got - hidden(model, packed, "packed")).max() > 0.1


@pytest.mark.parametrize("loss", ["bce", "gbce", "softmax"])
@pytest.mark.parametrize("norm", NORMS)
def test_both_layouts_have_the_same_loss_and_gradients(norm, loss, each_backend):
    model = model_with(norm=norm, loss=loss, dropout=0.4, output_projection=True)
    batches = TrainingBatches(random_split(num_items=ITEMS), n=N, batch_size=16, negatives=3)
    batch = next(batches.epoch(0))
    assert batch.padded().padded().inputs.items.shape == (16, N)
    found = []
    for one in (batch, batch.padded()):
        for parameter in model.parameters():
            parameter.grad = None
        result = model.loss(one, Keys(1, 1))
        result.backward()
        found.append((result.item(), [p.grad for p in model.parameters()]))
    (packed, packed_grads), (padded, padded_grads) = found
    assert packed == pytest.approx(padded, rel=1e-6)
    for got, want in zip(packed_grads, padded_grads, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)
    assert not packed_grads[0][0].any()  # row 0 of the item table, the padding item


@pytest.mark.parametrize("norm", NORMS)
def test_padding_has_no_influence(norm, each_backend):
    lists = sequences(1, 3, N)
    short, long = (model_with(norm=norm, positions=False, n=n) for n in (N, 3 * N))
    want = hidden(short, pack_sequences(lists, N), "packed")
    for layout in ("packed", "padded"):
        close(hidden(long, pack_sequences(lists, 3 * N), layout), want)


def test_what_padded_slots_hold_does_not_reach_real_ones():
    generator = np.random.default_rng(0)
    real = np.arange(N) >= np.array([[5], [0], [7]])
    q, k, v = generator.standard_normal((3, 3, N, 4))
    clean = ops.causal_attention(q, k, v, real=real, heads=2).data
    for x in (q, k, v):
        x[~real] = generator.standard_normal((np.sum(~real), 4)) * 1e3
    dirty = ops.causal_attention(q, k, v, real=real, heads=2).data
    np.testing.assert_array_equal(dirty[real], clean[real])
    assert np.isfinite(dirty).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_company_in_a_batch_does_not_matter(norm, each_backend):
    model, lists = model_with(norm=norm), sequences(4, 1, N, 2, 6, N + 3)
    together = model.encode(np.arange(6), pack_sequences(lists, N))
    assert together.shape == (6, CONFIG.d)
    for i, one in enumerate(lists):
        close(model.encode(np.array([i]), pack_sequences([one], N))[0], together[i])
    backwards = model.encode(np.arange(6)[::-1], pack_sequences(lists[::-1], N))
    close(backwards[::-1], together)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"heads": 1},
        {"blocks": 0},
        {"output_projection": True, "inner_dropout": True},
        {"residual": False, "heads": 1},
        {"layer_norm": False, "positions": False, "shared_embedding": False},
        *[{"norm": norm, "output_projection": norm == "post"} for norm in NORMS],
        *[{"norm": norm, "padding": "visible"} for norm in NORMS],
        {"padding": "zeroed"},
    ],
    ids=str,
)
def test_a_prediction_is_the_last_row_of_everything(change, each_backend):
    model, packed = model_with(**change), pack_sequences(sequences(4, 1, N, 2 * N), N)
    close(model.encode(np.arange(4), packed), model(packed).data[packed.last])


class Extended(SASRec):
    def __init__(self, name, *, n=5, **choices):
        super().__init__(9, SASRecConfig(n=n, d=4, **choices))
        self.label = name


def test_a_class_derived_from_the_model_may_take_other_arguments():
    assert Extended("a", n=3).n == 3 and type(copy.deepcopy(Extended("a"))) is Extended


def test_a_class_derived_from_the_paper_s_model_refuses_other_choices():
    with pytest.raises(ConfigError, match="derive from SASRecVariant"):
        Extended("a", norm="post")  # the paper's layers would be made, and its loss taken


@pytest.mark.parametrize("choice", [{"residual": False}, {"layer_norm": False}, {"norm": "post"}])
def test_the_paper_s_block_refuses_choices_that_it_would_not_make(choice):
    with pytest.raises(ConfigError, match="Block is the paper's alone; variants.BLOCKS"):
        Block(dataclasses.replace(CONFIG, **choice), seed=0)
    assert BLOCKS["pre"](dataclasses.replace(CONFIG, **choice), seed=0)


def test_the_paper_s_model_is_a_class_of_its_own():
    assert type(SASRec(ITEMS)) is type(model_with()) is SASRec
    assert type(model_with(norm="post")) is type(model_with(loss="softmax")) is SASRecVariant
    # of the paper's choices, both make the same numbers
    inputs, paper = pack_sequences(sequences(4, N), N), model_with(dropout=0.3)
    variant = SASRecVariant(ITEMS, paper.config)
    variant.load_state(paper.state())
    with use_backend("numpy"):
        one, other = variant(inputs, Keys(1, 1)).data, paper(inputs, Keys(1, 1)).data
    np.testing.assert_array_equal(one, other)
    again = SASRecVariant(
        ITEMS, paper.config, seed=5
    ).state()  # the seed of a part goes by its name
    for name, weights in SASRec(ITEMS, paper.config, seed=5).state().items():
        np.testing.assert_array_equal(weights, again[name])
    one, three = (SASRec(ITEMS, dataclasses.replace(CONFIG, blocks=b)).state() for b in (1, 3))
    assert all((one[name] == three[name]).all() for name in one)  # more blocks change no other
    assert type(copy.deepcopy(variant)) is SASRecVariant


def test_positions_from_the_beginning_are_those_of_every_longer_sequence(each_backend):
    model = model_with(positions_from="beginning")
    whole = sequences(N)[0]
    rows = hidden(model, pack_sequences([whole], N), "packed")
    for length in range(1, N + 1):  # a row knows nothing of what follows, not even how much
        part = pack_sequences([whole[:3], whole[:length]], N)
        for layout in ("packed", "padded"):
            close(hidden(model, part, layout), np.concatenate([rows[:3], rows[:length]]))
    apart = model_with(positions_from="end")
    assert np.abs(hidden(apart, pack_sequences([whole[:3]], N), "packed") - rows[:3]).max() > 1e-3
    with pytest.raises(ConfigError, match="counted from the end there"):
        SASRecConfig(positions_from="beginning", padding="visible")


def test_softmax_without_own_items_has_no_gradient_at_them(each_backend):
    split = random_split(num_items=ITEMS)
    batch = next(TrainingBatches(split, n=N, batch_size=1).epoch(0))
    own = {*batch.inputs.items.tolist(), *batch.targets.tolist()}
    model = model_with(loss="softmax", own_items=False, shared_embedding=False)
    model.loss(batch).backward()
    N_grad = model.output_embedding.grad
    scores = model(batch.inputs).data @ model.output_items().data.T
    expected, dN = 0.0, np.zeros_like(N_grad)
    for h, row, target in zip(model(batch.inputs).data, scores, batch.targets, strict=True):
        candidates = [i for i in range(1, ITEMS + 1) if i not in own or i == target]
        p = np.exp(row[candidates] - row[candidates].max())
        p /= p.sum()
        expected -= np.log(p[candidates.index(target)]) / len(scores)
        dN[candidates] += p[:, None] * h / len(scores)
        dN[target] -= h / len(scores)
    assert model.loss(batch).item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(N_grad, dN, atol=1e-6)
    counted = model_with(loss="softmax", shared_embedding=False).loss(batch).item()
    assert counted > model.loss(batch).item()  # fewer rivals


# --- padding that takes part -----------------------------------------------------------------


@pytest.mark.parametrize("padding", ["visible", "zeroed"])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("norm", NORMS)
def test_padding_as_one_row_is_padding_by_the_book(norm, heads, padding, each_backend):
    model = model_with(norm=norm, heads=heads, padding=padding, output_projection=norm != "authors")
    packed = pack_sequences(sequences(1, 2, 5, N - 1, N, 3 * N), N)
    got, want = hidden(model, packed, "packed"), hidden(model, packed, "padded")
    assert got.shape == want.shape == (packed.offsets[-1], CONFIG.d)
    close(got, want)
    unseen = SASRec(ITEMS, dataclasses.replace(model.config, padding="hidden"))
    unseen.load_state(model.state())
    apart = np.abs(hidden(unseen, packed, "packed") - got).max(axis=1)
    full = np.repeat(np.diff(packed.offsets) == N, np.diff(packed.offsets))
    assert apart[~full].min() > 1e-4 and apart[full].max() < 1e-5  # without padding, no difference


@pytest.mark.parametrize("norm", NORMS)
def test_padding_as_one_row_has_the_gradients_of_the_book(norm, each_backend):
    model = model_with(norm=norm, padding="visible", loss="softmax")
    batch = next(TrainingBatches(random_split(num_items=ITEMS), n=N, batch_size=16).epoch(0))
    found = []
    for one in (batch, batch.padded()):
        for parameter in model.parameters():
            parameter.grad = None
        model.loss(one).backward()
        found.append([parameter.grad for parameter in model.parameters()])
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6)


# --- causality -------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("layout", "backend"), LAYOUTS)
def test_a_later_item_does_not_change_one_bit(norm, layout, backend):
    with use_backend(backend):
        model = model_with(norm=norm, dropout=0.3, inner_dropout=True)
        before = sequences(N, 5)
        changed_before = hidden(model, pack_sequences(before, N), layout, Keys(0, 0))
        for t in range(1, N):
            after = [before[0].copy(), before[1]]
            after[0][t:] = after[0][t:] % ITEMS + 1  # other items from position t on
            changed = hidden(model, pack_sequences(after, N), layout, Keys(0, 0))
            same = (changed == changed_before).all(axis=1)
            assert same[:t].all() and same[N:].all() and not same[t:N].any()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("layout", "backend"), LAYOUTS)
def test_no_gradient_from_a_position_to_a_later_one(norm, layout, backend):
    lengths = [3, 5]
    packed = pack_sequences(sequences(*lengths), N)
    inputs = packed if layout == "packed" else packed.padded()
    with use_backend(backend):
        model = model_with(norm=norm)
        table = model.item_embedding.table.data
        for t in range(sum(lengths)):
            x = Tensor(table[inputs.items] * 5, requires_grad=True)
            y = x
            for block in model.blocks:
                y = block(y, inputs, None)
            dy = np.zeros((sum(lengths), CONFIG.d), np.float32)
            dy[t] = np.random.default_rng(t).standard_normal(CONFIG.d)
            y.backward(dy if layout == "packed" else packed.pad(dy))
            dx = x.grad if layout == "packed" else x.grad[inputs.real]
            reached = np.abs(dx).max(axis=1) > 0
            start = 0 if t < lengths[0] else lengths[0]
            assert reached.tolist() == [start <= s <= t for s in range(sum(lengths))]


def test_order_matters_through_positions_and_attention():
    lists = sequences(N)
    other = [lists[0][[1, 0, *range(2, N)]]]
    for change, differs in (({}, True), ({"positions": False, "blocks": 1}, False)):
        model = model_with(**change)
        a, b = (model.encode(np.zeros(1), pack_sequences(x, N)) for x in (lists, other))
        # without positions one block sees the earlier items as a set
        assert (np.abs(a - b).max() > 1e-3) == differs


# --- parameters and settings -----------------------------------------------------------------


def parameters(num_items, c):
    """The number of weights by the formulas of Sec. III, with row 0 of the tables for padding."""
    item_table = (num_items + 1) * c.d
    dense = c.d * c.d + c.d
    attention = (4 if c.output_projection else 3) * dense
    norms = 2 * 2 * c.d if c.layer_norm else 0
    return (
        item_table * (1 if c.shared_embedding else 2)
        + (c.n * c.d if c.positions else 0)
        + c.blocks * (attention + 2 * dense + norms)
        + (2 * c.d if c.layer_norm else 0)
    )


@pytest.mark.parametrize(
    ("change", "more"),
    [
        ({}, 0),
        ({"norm": "authors"}, 0),
        ({"norm": "post"}, 0),
        ({"heads": 2}, 0),
        ({"dropout": 0.5, "inner_dropout": True, "scale_embedding": False, "residual": False}, 0),
        ({"loss": "softmax"}, 0),
        ({"output_projection": True}, 2 * 2550),
        ({"shared_embedding": False}, 3417 * 50),
        ({"positions": False}, -200 * 50),
        ({"layer_norm": False}, -5 * 100),
        ({"blocks": 0}, -2 * 12_950),
        ({"blocks": 3}, 12_950),
        ({"n": 50}, -150 * 50),
    ],
    ids=str,
)
def test_the_number_of_parameters(change, more):
    # The authors' code on ML-1M has 206,850: 3,416 items and the padding row, n = 200, d = 50.
    config = dataclasses.replace(SASRecConfig(), **change)
    model = SASRec(3416, config)
    assert model.num_parameters() == parameters(3416, config) == 206_850 + more
    names = [name for name, _ in model.named_parameters()]
    assert len(set(names)) == len(names) == len(model.parameters())
    assert [p.name for p in model.parameters()] == names


def test_defaults_are_the_papers():
    c = SASRecConfig()
    assert (c.n, c.d, c.blocks, c.heads, c.dropout, c.loss) == (200, 50, 2, 1, 0.2, "bce")
    assert c.positions and c.shared_embedding and c.residual and c.layer_norm and c.norm == "pre"
    assert not c.output_projection and not c.inner_dropout


@pytest.mark.parametrize(
    "change",
    [
        {"norm": "post"},
        {"norm": "authors"},
        {"heads": 1},
        {"positions": False},
        {"residual": False},
        {"layer_norm": False},
        {"scale_embedding": False},
        {"blocks": 1},
        {"output_projection": True},
        {"residual": False, "norm": "authors"},
        {"layer_norm": False, "norm": "authors"},
    ],
    ids=str,
)
def test_a_setting_changes_the_result(change):
    base = {"norm": "authors"} if len(change) == 2 else {}
    inputs = pack_sequences(sequences(4, N), N)
    want, got = hidden(model_with(**base), inputs, "packed"), None
    got = hidden(model_with(**change), inputs, "packed")
    assert np.isfinite(got).all() and np.abs(got - want).max() > 1e-3


@pytest.mark.parametrize(("norm", "adds"), [("pre", True), ("post", True), ("authors", False)])
def test_inner_dropout(norm, adds):
    # the authors' wiring has it in any case
    inputs, results = pack_sequences(sequences(4, N), N), []
    for inner in (False, True):
        model = model_with(norm=norm, dropout=0.5, inner_dropout=inner)
        results.append(hidden(model, inputs, "packed", Keys(1, 1)))
    assert (np.abs(results[0] - results[1]).max() > 1e-3) == adds


def test_dropout_is_for_training_and_follows_its_key():
    model, inputs = model_with(dropout=0.5), pack_sequences(sequences(4, N), N)
    plain = hidden(model_with(), inputs, "packed")
    np.testing.assert_array_equal(hidden(model, inputs, "packed"), plain)
    one = hidden(model, inputs, "packed", Keys(1, 1))
    np.testing.assert_array_equal(hidden(model, inputs, "packed", Keys(1, 1)), one)
    for other in (Keys(1, 2), Keys(2, 1)):
        assert np.abs(hidden(model, inputs, "packed", other) - one).max() > 0.01


def test_no_blocks_leave_the_last_item():
    model = model_with(blocks=0, layer_norm=False, positions=False, scale_embedding=False)
    lists = sequences(3, N)
    got = model.encode(np.arange(2), pack_sequences(lists, N))
    table = model.item_embedding.table.data
    np.testing.assert_array_equal(got, table[[one[-1] for one in lists]])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n": 0}, "n is 0; it must be at least 1"),
        ({"d": 0}, "d is 0"),
        ({"blocks": -1}, "blocks is -1; it must be at least 0"),
        ({"heads": 0}, "heads is 0"),
        ({"heads": 2.0}, "heads is 2.0; int was expected"),
        ({"heads": True}, "heads is True; int was expected"),
        ({"dropout": "0.2"}, "dropout is '0.2'; float was expected"),
        ({"heads": 5}, "heads is 5, which does not divide d = 12"),
        ({"dropout": 1.0}, "dropout is 1.0; it is the share dropped"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"gbce_t": 1.5}, "gbce-t is 1.5"),
        ({"norm": "paper"}, "norm is 'paper'; choose one of pre, post, authors"),
        ({"loss": "bpr"}, "loss is 'bpr'; choose one of bce, gbce, bpr-max, softmax"),
    ],
)
def test_settings_outside_their_range(change, says):
    with pytest.raises(ConfigError, match=says):
        dataclasses.replace(CONFIG, **change)


def test_sequences_of_another_n_are_refused():
    with pytest.raises(ConfigError, match="sequences have n = 9, the model n = 8"):
        model_with()(pack_sequences(sequences(4), 9))


# --- losses ----------------------------------------------------------------------------------


def loss_and_parts(config_change, negatives=1):
    model = model_with(**config_change)
    batch = next(TrainingBatches(random_split(num_items=ITEMS), n=N, negatives=negatives).epoch(0))
    h = model(batch.inputs).data.astype(np.float64)
    items = model.output_items().data.astype(np.float64)
    return model.loss(batch).item(), h, items, batch


def log_sigmoid(x):
    return -np.log1p(np.exp(-x))


@pytest.mark.parametrize("shared", [True, False])
def test_the_loss_by_its_formula(shared, each_backend):
    got, h, items, batch = loss_and_parts({"shared_embedding": shared}, negatives=2)
    total = 0.0
    for t in range(len(h)):
        total -= log_sigmoid(h[t] @ items[batch.targets[t]])
        total -= sum(log_sigmoid(-h[t] @ items[j]) for j in batch.negatives[t])
    assert got == pytest.approx(total / len(h), rel=1e-5)


def test_the_loss_of_gbce(each_backend):
    got, h, items, batch = loss_and_parts({"loss": "gbce", "gbce_t": 0.6}, negatives=4)
    alpha = 4 / (ITEMS - 1)
    beta = alpha * (0.6 * (1 - 1 / alpha) + 1 / alpha)
    positive = (h * items[batch.targets]).sum(-1)
    negative = np.einsum("td,tkd->tk", h, items[batch.negatives])
    want = -(beta * log_sigmoid(positive) + log_sigmoid(-negative).sum(-1)).mean()
    assert got == pytest.approx(want, rel=1e-5)
    plain, *_ = loss_and_parts({"loss": "gbce", "gbce_t": 0.0}, negatives=4)
    bce, *_ = loss_and_parts({"loss": "bce"}, negatives=4)
    assert plain == pytest.approx(bce, rel=1e-6) and abs(got - bce) > 1e-2


def test_the_power_of_gbce():
    # alpha = 10 / 100: .1 (.75 (1 - 10) + 10) = .325
    assert gbce_beta(10, 101, 0.75) == pytest.approx(0.325)
    assert gbce_beta(10, 101, 0.0) == pytest.approx(1)
    assert gbce_beta(10, 101, 1.0) == pytest.approx(0.1)  # alpha itself
    assert gbce_beta(500, 101, 0.75) == pytest.approx(1)  # every item is a negative


def test_the_softmax_loss_is_cross_entropy_over_the_catalogue(each_backend):
    torch = pytest.importorskip("torch")
    got, h, items, batch = loss_and_parts({"loss": "softmax"})
    scores = torch.tensor(h @ items[1:].T)
    targets = torch.tensor(batch.targets.astype(np.int64)) - 1
    want = torch.nn.functional.cross_entropy(scores, targets).item()
    assert got == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_an_untrained_model_is_at_chance(norm):
    # two terms of ln 2, added: the authors' loss starts at 1.386
    model = SASRec(2000, SASRecConfig(n=N, d=50, norm=norm))
    batch = next(TrainingBatches(random_split(60, 2000), n=N).epoch(0))
    assert model.loss(batch, Keys(0, 0)).item() == pytest.approx(2 * np.log(2), abs=0.03)
    softmax = SASRec(2000, SASRecConfig(n=N, d=50, norm=norm, loss="softmax"))
    assert softmax.loss(batch).item() == pytest.approx(np.log(2000), abs=0.05)


def test_a_step_of_training_leaves_the_padding_row_at_zero(each_backend):
    model = model_with(dropout=0.2)
    adam = Adam(model.parameters(), lr=0.1, l2=0.01)
    for step, batch in enumerate(TrainingBatches(random_split(num_items=ITEMS), n=N).epoch(0)):
        model.loss(batch, Keys(0, step)).backward()
        adam.step()
        adam.zero_grad()
    table = model.item_embedding.table.data
    assert not table[0].any() and table[1:].all(axis=1).all()


# --- scores ----------------------------------------------------------------------------------


def test_scores(each_backend):
    model, lists = model_with(shared_embedding=False), sequences(2, N, 5)
    histories, users = pack_sequences(lists, N), np.arange(3)
    vectors = model.encode(users, histories)
    close(vectors, hidden(model, histories, "packed")[[1, N + 1, N + 6]])
    scores = model.all_scores(users, histories)
    assert scores.shape == (3, ITEMS + 1)
    close(scores, vectors @ model.output_embedding.data.T)
    candidates = np.array([[3, 1, 30], [7, 7, 2], [1, 2, 3]])
    got = model.candidate_scores(users, histories, candidates)
    close(got, np.take_along_axis(scores, candidates, axis=1))
    close(Model.candidate_scores(model, users, histories, candidates), got)


def test_base_classes_say_what_is_missing():
    for call in (
        lambda: Model.of_size(1, None),
        lambda: Model().all_scores(None, None),
        lambda: SequenceModel().loss(None),
        lambda: SequenceModel().encode(None, None),
        lambda: SequenceModel().item_vectors(),
        lambda: Module()(1),
    ):
        with pytest.raises(TypeError, match="has no"):
            call()


# --- modules and weights ---------------------------------------------------------------------


def test_weights_round_trip(each_backend):
    one, two = model_with(seed=1), model_with(seed=2)
    inputs = pack_sequences(sequences(3, N), N)
    assert np.abs(hidden(one, inputs, "packed") - hidden(two, inputs, "packed")).max() > 0.1
    two.load_state(one.state())
    want = hidden(one, inputs, "packed")
    np.testing.assert_array_equal(hidden(two, inputs, "packed"), want)
    for parameter in one.parameters():
        parameter.data += 1  # what was loaded is a copy
    np.testing.assert_array_equal(hidden(two, inputs, "packed"), want)


def test_loaded_weights_can_be_in_any_order_of_memory_and_are_trained(each_backend):
    model = model_with()
    state = {name: np.asfortranarray(array) for name, array in model.state().items()}
    model.load_state(state)
    batch = next(TrainingBatches(random_split(num_items=ITEMS), n=N).epoch(0))
    adam = Adam(model.parameters())
    model.loss(batch).backward()
    adam.step()
    for name, parameter in model.named_parameters():
        assert not np.array_equal(parameter.data, state[name]), name


def test_weights_that_do_not_fit():
    model = model_with()
    state = dict(model.state())
    table = state.pop("item_embedding.table")
    with pytest.raises(
        CheckpointError, match=r"missing \['item_embedding.table'\], not known none"
    ):
        model.load_state(state)
    with pytest.raises(CheckpointError, match=r"missing none, not known \['W'\]"):
        model.load_state({**model.state(), "W": table})
    with pytest.raises(CheckpointError, match=r"table has shape \(3, 12\), the model needs \(31"):
        model.load_state({**state, "item_embedding.table": table[:3]})


def test_initial_weights():
    model = SASRec(2000, SASRecConfig())
    for name, parameter in model.named_parameters():
        last = name.rsplit(".", 1)[-1]
        assert parameter.dtype == np.float32 and parameter.requires_grad
        if last in ("b", "beta"):
            assert not parameter.data.any()
        elif last == "gamma":
            assert (parameter.data == 1).all()
        else:  # Glorot: uniform in +-limit, so of standard deviation limit / sqrt 3
            limit = np.sqrt(6 / sum(parameter.shape))
            assert 0.99 * limit < np.abs(parameter.data).max() <= limit
            assert parameter.data.std() == pytest.approx(limit / np.sqrt(3), rel=0.03)
            assert abs(parameter.data.mean()) < 4 * limit / np.sqrt(3 * parameter.size)
    assert not model.item_embedding.table.data[0].any()
    arrays = [p.data for p in model.parameters() if p.ndim == 2]
    for i, one in enumerate(arrays):  # no two drawn from one stream
        for two in arrays[:i]:
            assert abs(np.corrcoef(one.ravel()[:2500], two.ravel()[:2500])[0, 1]) < 0.1
    again, other = SASRec(2000), SASRec(2000, seed=1)
    for one, two, three in zip(*[m.parameters() for m in (model, again, other)], strict=True):
        np.testing.assert_array_equal(one.data, two.data)
        if one.ndim == 2:
            assert np.mean(one.data != three.data) > 0.9


def test_layers():
    x = Tensor(np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32))
    linear = Linear(3, 2, seed=1, activation="relu")
    np.testing.assert_allclose(linear(x).data, np.maximum(x.data @ linear.W.data, 0), atol=1e-6)
    norm = LayerNorm(3)(x).data
    np.testing.assert_allclose(norm.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(norm.std(axis=1), 1, atol=1e-5)
    embedding = Embedding(5, 2, seed=1, padding_id=0)
    rows = embedding(np.array([[0, 3]])).data
    np.testing.assert_array_equal(rows, embedding.table.data[[[0, 3]]])
    assert not rows[0, 0].any()


@pytest.mark.parametrize("padding_id", [5, -1, True, 1.0])
def test_a_padding_id_that_is_no_row(padding_id):
    with pytest.raises(ShapeError, match="^Embedding: padding_id is .* one of the 5 rows"):
        Embedding(5, 2, seed=1, padding_id=padding_id)


def test_parameters_are_found_in_the_order_of_assignment():
    class Inner(Module):
        def __init__(self):
            self.W = Parameter(np.ones(2))
            self.note = "not a parameter"

    class Outer(Module):
        def __init__(self):
            self.first = Parameter(np.ones(3), name="own name")
            self.inner = Inner()
            self.many = [Inner(), 5, Inner()]
            self.constant = Tensor(np.ones(7))

    outer = Outer()
    names = [name for name, _ in outer.named_parameters()]
    assert names == ["first", "inner.W", "many.0.W", "many.2.W"]
    assert outer.num_parameters() == 3 + 2 + 2 + 2 and outer.first.name == "own name"
    assert outer.state()["many.2.W"] is outer.many[2].W.data
