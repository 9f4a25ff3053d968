"""What holds without being asked for: defaults, edges, and which backend computes.

Each of these is a change of the code that no other test noticed (`tests/mutants.py`).
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from strategies import make_split

from minisasrec import kernels, ops
from minisasrec.autograd.registry import OPS
from minisasrec.autograd.tensor import Tensor
from minisasrec.backends import use_backend
from minisasrec.data.batches import TrainingBatches
from minisasrec.data.dataset import PAD, Dataset
from minisasrec.data.sampling import SeenItems, sample_negatives, sample_other_items
from minisasrec.data.sequences import pack_sequences
from minisasrec.data.split import show_time, time_split, units_per_day
from minisasrec.errors import ConfigError, DataError, GradientError, ShapeError
from minisasrec.learn import evaluation
from minisasrec.learn.evaluation import Evaluator
from minisasrec.models import MODELS
from minisasrec.models.base import Model
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.nn import Parameter, init
from minisasrec.nn.optim import SGD, Adam
from minisasrec.random import make_key

BACKENDS = ["numpy", "numba"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    with use_backend(request.param):
        yield request.param


# --- ops -------------------------------------------------------------------------------------


def test_the_loss_is_the_papers_unless_beta_is_given(backend):
    h, items = np.zeros((3, 2)), np.ones((5, 2))
    targets, negatives = np.array([1, 2, 3]), np.array([[4], [4], [4]])
    loss = ops.sampled_bce(h, items, targets=targets, negatives=negatives).item()
    assert loss == pytest.approx(2 * np.log(2), abs=1e-12)
    half = ops.sampled_bce(h, items, targets=targets, negatives=negatives, beta=0.5).item()
    assert half == pytest.approx(1.5 * np.log(2), abs=1e-12)
    none = ops.sampled_bce(h, items, targets=targets, negatives=negatives, beta=0.0).item()
    assert none == pytest.approx(np.log(2), abs=1e-12)


def test_attention_drops_nothing_unless_asked_to(backend):
    x = np.random.default_rng(0).standard_normal((2, 4, 6))
    real = np.ones((2, 4), bool)
    padded = ops.causal_attention(x, x, x, real=real)
    assert np.array_equal(
        padded.data, ops.causal_attention(x, x, x, real=real, rate=0.0, heads=1).data
    )
    rows, offsets = x.reshape(8, 6), np.array([0, 4, 8])
    packed = ops.packed_causal_attention(rows, rows, rows, offsets=offsets)
    np.testing.assert_allclose(packed.data.reshape(2, 4, 6), padded.data, atol=1e-12)


@pytest.mark.parametrize("name", ["sum", "mean", "max"])
def test_axes_are_dropped_unless_asked_not_to(name):
    x = Tensor(np.arange(6.0).reshape(2, 3))
    for call in (getattr(x, name), lambda **axes: getattr(ops, name)(x, **axes)):
        assert call().shape == () and call(axis=1).shape == (2,)
        assert call(axis=1, keepdims=True).shape == (2, 1)


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.adaptor])
def test_what_is_not_given_is_the_same_on_both_backends(name):
    op = OPS[name]
    assert op.adaptor.__kwdefaults__ == op.definition.__kwdefaults__


def test_attention_to_scores_that_e_cannot_be_raised_to(backend):
    """Scores of 1,000 and more: each query finds its own key, and e^1000 is never computed."""
    x = np.sqrt(3000) * np.eye(3, dtype=np.float32)
    y = ops.causal_attention(x[None], x[None], x[None], real=np.ones((1, 3), bool))
    packed = ops.packed_causal_attention(x, x, x, offsets=np.array([0, 3]))
    np.testing.assert_array_equal(y.data[0], x)
    np.testing.assert_array_equal(packed.data, x)


def test_slot_ids_are_checked_where_sequences_are_empty(backend):
    """An empty one at the start must not excuse a gap at the end, nor one at the end break."""
    x, key = np.ones((3, 2)), make_key(1)

    def attend(offsets, slot_ids):
        constants = {"offsets": np.array(offsets), "slot_ids": np.array(slot_ids)}
        return ops.packed_causal_attention(x, x, x, rate=0.5, key=key, **constants)

    for offsets in ([0, 3], [0, 0, 3], [0, 3, 3], [0, 0, 3, 3]):
        assert attend(offsets, [0, 1, 2]).shape == (3, 2)
        with pytest.raises(ShapeError, match="slot_ids"):
            attend(offsets, [0, 1, 5])
    assert attend([0, 2, 3], [0, 1, 5]).shape == (3, 2)


@pytest.mark.parametrize("padding_id", [True, 1.0, "1", -1, 4])
def test_a_padding_id_is_the_number_of_a_row(backend, padding_id):
    with pytest.raises(ShapeError, match="padding_id is"):
        ops.embedding(np.ones((4, 2)), ids=np.array([1, 2]), padding_id=padding_id)


# --- optimiser -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (300, 300)], ids=["small", "large"])
def test_a_graph_from_before_a_step_is_refused(backend, shape):
    """Its gradients would be of weights that are no longer there."""
    w = Parameter(np.ones(shape, np.float32))
    optimizer = Adam([w], 0.1)
    loss = ops.sum(w * w)
    w.grad = np.ones(shape, np.float32)
    optimizer.step()
    with pytest.raises(GradientError):
        loss.backward()


@pytest.mark.parametrize("make", [SGD, Adam])
@pytest.mark.parametrize("size", [3, 1000, 90_000], ids=["compared whole", "small", "large"])
def test_a_step_that_changes_one_weight_is_noticed(backend, make, size):
    """The engine compares a few numbers of a large array: the optimiser has to tell it."""
    w = Parameter(np.ones(size, np.float32))
    optimizer = make([w], lr=0.1)
    loss = ops.sum(w * w)
    w.grad = np.zeros(size, np.float32)
    w.grad[1] = 1
    optimizer.step()
    assert np.flatnonzero(w.data != 1).tolist() == [1]
    with pytest.raises(GradientError, match="changed after the forward pass"):
        loss.backward()


def test_without_memory_adam_goes_by_the_sign_of_the_gradient(backend):
    """beta1 = beta2 = 0 is allowed: then m = g, v = g^2, and each step has length lr."""
    w = Parameter(np.zeros(3))
    optimizer = Adam([w], lr=0.5, beta1=0, beta2=0)
    for _ in range(2):
        w.grad = np.array([3.0, -0.2, 7.0])
        optimizer.step()
    np.testing.assert_allclose(w.data, [-1, 1, -1], atol=1e-6)


@pytest.mark.parametrize("sizes", [(3, 5), (5, 90_000)], ids=["small", "small and large"])
def test_adam_keeps_weights_of_two_types_apart(backend, sizes):
    """Each weight moves as it would alone, in its own precision."""
    rng = np.random.default_rng(0)
    types = np.float32, np.float64
    start = [rng.normal(size=n).astype(t) for n, t in zip(sizes, types, strict=True)]
    gradients = [rng.normal(size=a.shape).astype(a.dtype) for a in start]

    def moved(which):
        weights = [Parameter(start[i]) for i in which]
        optimizer = Adam(weights, lr=0.1)
        for _ in range(3):
            for w, i in zip(weights, which, strict=True):
                w.grad = gradients[i]
            optimizer.step()
        return [w.data for w in weights]

    for together, alone in zip(moved([0, 1]), moved([0]) + moved([1]), strict=True):
        assert together.dtype == alone.dtype
        np.testing.assert_array_equal(together, alone)


def test_adam_changes_weights_where_they_are(backend):
    """It copies the array that a caller gave, once; then a step needs no memory for weights."""
    given = np.ones(90_000, np.float32)
    w = Tensor(given, requires_grad=True)
    optimizer, kept = Adam([w]), []
    for _ in range(2):
        w.grad = np.ones_like(given)
        optimizer.step()
        kept.append(w.data)
    assert kept[0] is kept[1] is not given and (given == 1).all()


@pytest.mark.parametrize("make", [SGD, Adam])
@pytest.mark.parametrize("shape", [(3, 5), (300, 200)], ids=["small", "large"])
@pytest.mark.parametrize("turned", ["weights", "gradient"])
def test_the_order_in_memory_does_not_matter_to_a_step(backend, make, shape, turned):
    """A weight moves by its own gradient, whether rows or columns lie together in memory."""
    rng = np.random.default_rng(0)
    weights, gradient = rng.normal(size=(2, *shape)).astype(np.float32)
    moved = []
    for order in "CF":
        start = np.array(weights, order=order if turned == "weights" else "C")
        w = Tensor(start, requires_grad=True)  # a Parameter would turn it round itself
        optimizer = make([w], lr=0.1)
        for _ in range(2):  # the second step meets what the first has left
            w.grad = np.array(gradient, order=order if turned == "gradient" else "C")
            optimizer.step()
        assert np.array_equal(start, weights)  # the caller's array stays as it was
        moved.append(w.data)
    assert (moved[0] != weights).all()
    assert np.array_equal(*moved)


@pytest.mark.parametrize("shape", [(3,), (300, 300)], ids=["small", "large"])
@pytest.mark.parametrize("name", BACKENDS)
def test_adam_calls_the_kernel_on_its_backend_only(monkeypatch, shape, name):
    called = []
    real = kernels.adam.adam_step
    monkeypatch.setattr(
        kernels.adam, "adam_step", lambda *given: (called.append(1), real(*given))[1]
    )
    w = Parameter(np.ones(shape, np.float32))
    w.grad = np.ones(shape, np.float32)
    with use_backend(name):
        Adam([w], 0.1).step()
    assert bool(called) == (name == "numba")


# --- sampling and evaluation -----------------------------------------------------------------


class Same(Model):
    """The same score for every item."""

    def __init__(self, split):
        self.num_items, self.n = split.dataset.num_items, 5

    def all_scores(self, users, histories):
        return np.zeros((len(users), self.num_items + 1))


def test_equal_scores_where_repeats_are_forbidden():
    """Sampled: in the middle. As the authors do: an order that sorting gives, whole numbers."""
    sequences = [[1 + (u + t) % 130 for t in range(6)] for u in range(130)]
    split = make_split(sequences, 130)
    assert set(Evaluator(split, "test", "sampled")(Same(split)).ranks) == {51}
    authors = Evaluator(split, "test", "authors", negatives=99)(Same(split)).ranks
    assert (authors == authors.astype(int)).all()  # the middle would be 50.5


@pytest.mark.parametrize("protocol", ["sampled", "full", "authors"])
def test_lists_are_kept_of_the_whole_catalogue_only(protocol):
    """Of sampled candidates there is no best list, and so no coverage and no novelty."""
    split = make_split([[1, 2, 3, 4], [2, 3, 4, 5]], 200)
    got = Evaluator(split, "test", protocol, lists=10)(Same(split))
    without = Evaluator(split, "test", protocol)(Same(split))
    assert without.items is None
    if protocol == "full":
        assert got.items.shape == (2, 10) and "coverage@10" in got.metrics(10)
    else:
        assert got.items is None and got.metrics(10).keys() == without.metrics(10).keys()


@pytest.mark.parametrize("protocol", ["sampled", "full"])
def test_as_many_users_at_a_time_as_memory_allows(monkeypatch, protocol):
    """So many rows of histories, so many scores: neither more, nor far fewer."""
    seen = []

    class Looks(Same):
        def all_scores(self, users, histories):
            seen.append((len(users), len(histories.items)))
            return super().all_scores(users, histories)

    split = make_split([[1 + (u + t) % 200 for t in range(7)] for u in range(60)], 200)

    def most(rows=10**9, scores=10**9, n=5, **settings):
        monkeypatch.setattr(evaluation, "ROWS_AT_ONCE", rows)
        monkeypatch.setattr(evaluation, "SCORES_AT_ONCE", scores)
        seen.clear()
        model = Looks(split)
        model.n = n
        Evaluator(split, "test", protocol, **settings)(model)
        assert sum(users for users, _ in seen) == 60
        return max(users for users, _ in seen)

    assert most() == 60 and most(batch_size=13) == 13
    assert most(rows=60, n=5) == 12  # of 5 rows each: the model looks at the last n actions
    assert most(rows=60, n=50) == 10  # of 6 rows, all that there are
    assert most(rows=1) == 1
    assert most(scores=4000) == (20 if protocol == "full" else 60)


def test_ten_thousand_users_are_ranked_unless_more_are_asked_for():
    """As in the paper, to save time."""
    split = make_split([[1, 2, 3]] * 10_001, 5)
    assert len(evaluation.evaluate(Same(split), split, protocol="full").users) == 10_000
    assert len(Evaluator(split, protocol="full").users) == 10_000
    assert len(Evaluator(split, protocol="full", max_users=0).users) == 10_001


def test_of_two_items_the_other_one_is_the_negative(backend):
    targets = np.array([1, 2, 2, 1])
    drawn = sample_other_items(targets, pack_sequences([[1, 2], [2, 1]], 5), 3, 2, make_key(1))
    assert (drawn == 3 - targets[:, None]).all()


def test_sampling_calls_the_kernel_on_its_backend_only(monkeypatch):
    seen = SeenItems(make_split([[1, 2, 3, 4], [2, 3, 4, 5]], 20))
    inputs = pack_sequences([[1, 2], [2, 3]], 5)
    called = []
    real = kernels.sampling.sample_negatives
    monkeypatch.setattr(
        kernels.sampling, "sample_negatives", lambda *given: (called.append(1), real(*given))[1]
    )
    users, targets, key = np.array([0, 1]), np.array([2, 3, 3, 4]), make_key(1)
    for sample in (
        lambda: sample_negatives(seen, users, inputs, 3, key),
        lambda: sample_other_items(targets, inputs, 3, 20, key),
    ):
        drawn = {}
        for name in BACKENDS:
            called.clear()
            with use_backend(name):
                drawn[name] = sample()
            assert bool(called) == (name == "numba")
        assert np.array_equal(drawn["numpy"], drawn["numba"])


@pytest.mark.parametrize("protocol", ["sampled", "authors"])
def test_no_two_users_share_their_candidates(protocol):
    """30 users draw 100 each out of 20,000: the chance that two of the 3,000 agree is small."""
    sequences = [[1 + u, 40 + u, 80 + u, 120 + u] for u in range(30)]
    evaluator = Evaluator(make_split(sequences, 20_000), "test", protocol)
    evaluator(Same(evaluator.split))
    drawn = evaluator.candidates[:, 1:]
    assert drawn.shape == (30, 100)
    # expected: 3000^2 / 2 / 20,000 = 225 pairs that agree, with a deviation of 15
    assert drawn.size - len(np.unique(drawn)) < 225 + 6 * 15


def test_no_two_places_of_a_batch_share_their_negatives(backend):
    """60 rows of 50 negatives each, out of 20,000; see above."""
    sequences = [[1 + u, 40 + u, 80 + u, 120 + u, 160 + u, 200 + u] for u in range(20)]
    for repeats in ("forbid", "allow"):
        split = make_split(sequences, 20_000, repeats)
        (batch,) = TrainingBatches(split, n=5, batch_size=20, negatives=50).epoch(0)
        assert batch.negatives.shape == (60, 50)
        assert batch.negatives.size - len(np.unique(batch.negatives)) < 225 + 6 * 15


def test_who_comes_first_says_nothing_of_its_negatives():
    """They are drawn from two streams. From one, a user would come first whose word is small.

    Its first negative is anything: the mean of some 300 draws of 1 to 1,000.
    """
    split = make_split([[1, 2, 3, 4], [5, 6, 7, 8]], 1000)
    first = {0: [], 1: []}
    for seed in range(600):
        batch = next(TrainingBatches(split, n=1, batch_size=1, seed=seed).epoch(0))
        first[int(batch.users[0])].append(batch.negatives[0, 0])
    for drawn in first.values():
        assert 230 < len(drawn) < 370  # of 600, a deviation of 12
        assert abs(np.mean(drawn) - 500) < 5 * 289 / np.sqrt(len(drawn))


# --- a split by time -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "part"),
    [
        # at .9, test begins with the last action of all and validation with the one before
        ([[0, 1, 2, 3, 4, 100], [50]], "validation"),
        ([[0, 1, 2, 50], [100]], "test"),
    ],
)
def test_the_part_that_nobody_is_in_is_named(times, part):
    items = np.concatenate([1 + np.arange(len(each)) for each in times]).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in times])])
    names = [PAD, *"abcdef"][: items.max() + 1]
    data = Dataset("tiny", items, offsets, ["u", "v"], names, times=np.concatenate(times))
    with pytest.raises(DataError, match=f"so the {part} part of time:0.9 is empty"):
        time_split(data, 0.9)


@pytest.mark.parametrize(
    ("latest", "is_a_date"),
    [("1979-12-30", False), ("1980-01-03", True), ("2099-12-30", True), ("2100-01-03", False)],
)
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_date_lies_between_1980_and_2100(latest, is_a_date, unit):
    times = np.array(["1972-01-01", latest], "datetime64[D]").astype(f"datetime64[{unit}]")
    times = times.astype(np.int64)
    assert (show_time(times, times[1]) == f"{latest} 00:00:00") == is_a_date
    day = np.timedelta64(1, "D") // np.timedelta64(1, unit)
    assert units_per_day(times) == (day if is_a_date else None)


# --- the model -------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"norm": "post"}], ids=["paper", "variant"])
def test_sequences_of_another_n_are_refused(backend, settings):
    model = SASRec(7, SASRecConfig(n=4, d=8, **settings))
    model(pack_sequences([[1, 2]], 4))
    with pytest.raises(ConfigError, match="n = 5, the model n = 4"):
        model(pack_sequences([[1, 2]], 5))


# --- first weights ---------------------------------------------------------------------------


EVERY_PART = {"output_projection": True, "shared_embedding": False}


@pytest.mark.parametrize("parts", [{}, EVERY_PART], ids=["paper", "every part"])
def test_no_two_weights_start_equal(parts):
    """Two parts that draw from the same key would learn the same, one of them for nothing."""
    model = SASRec(7, SASRecConfig(n=8, d=8, blocks=2, **parts), seed=0)
    drawn = {name: p.data for name, p in model.named_parameters() if np.ptp(p.data) > 0}
    assert len(drawn) == (2 + 2 * 5 if not parts else 3 + 2 * 6)
    for one, other in itertools.combinations(drawn, 2):
        # rows 1 and 2: row 0 of the item table is the padding
        a, b = drawn[one][1:3].reshape(-1), drawn[other][1:3].reshape(-1)
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.99, (one, other)


TRAINED = [name for name, (_, settings) in MODELS.items() if settings not in ("", "recentpop")]


@pytest.mark.parametrize("name", TRAINED)
def test_no_two_tables_of_a_method_draw_from_one_key(monkeypatch, name):
    keys = []
    draw = init.random_uint32
    monkeypatch.setattr(init, "random_uint32", lambda key, at: (keys.append(key), draw(key, at))[1])
    MODELS[name][0].of_size(3, np.ones(6), None, seed=1)
    assert len(keys) == len(set(keys)) >= 2
