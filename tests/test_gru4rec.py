"""GRU4Rec and GRU4Rec+: scores, losses and negatives by hand, and a pattern that must be learnt."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from strategies import make_split, random_split

from minisasrec.backends import use_backend
from minisasrec.data.batches import TrainingBatches
from minisasrec.data.sequences import pack_sequences
from minisasrec.data.split import Split
from minisasrec.errors import ConfigError
from minisasrec.learn.config import TrainConfig, make_model
from minisasrec.learn.evaluation import evaluate
from minisasrec.learn.fit import fit
from minisasrec.learn.runs import Run
from minisasrec.models.gru4rec import GRU4Rec, GRU4RecConfig, GRU4RecPlusConfig
from minisasrec.ops.ranking import RANKING_LOSSES, ranking_loss
from minisasrec.random import Keys, make_key


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def small(**changes) -> GRU4RecConfig:
    return dataclasses.replace(GRU4RecConfig(n=12, d=6, in_batch=8, dropout=0.0), **changes)


def large_weights(model: GRU4Rec, seed: int = 0) -> GRU4Rec:
    """The same model with float64 weights far enough from 0 for every part to matter."""
    generator = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.data = generator.standard_normal(parameter.shape) / 2
    return model


# --- the losses ------------------------------------------------------------------------------


def by_the_paper(p, r, loss, weight):
    """The loss of one row with the target's score p and the negatives' scores r, term by term."""
    N = len(r)
    total = sum(np.exp(x) for x in r)
    s = [np.exp(x) / total for x in r]
    if loss == "cross-entropy":
        return -np.log(np.exp(p) / (np.exp(p) + total))
    if loss == "bpr":
        return -sum(np.log(sigmoid(p - x)) for x in r) / N
    if loss == "top1":
        return sum(sigmoid(x - p) + sigmoid(x**2) for x in r) / N
    if loss == "top1-max":
        return sum(s[j] * (sigmoid(r[j] - p) + sigmoid(r[j] ** 2)) for j in range(N))
    right = sum(s[j] * sigmoid(p - r[j]) for j in range(N))
    return -np.log(right) + weight * sum(s[j] * r[j] ** 2 for j in range(N))


@pytest.mark.parametrize("kind", ["definition", "adaptor"])
@pytest.mark.parametrize("loss", RANKING_LOSSES)
def test_each_loss_is_its_formula(loss, kind):
    generator = np.random.default_rng(1)
    positive, negative = generator.normal(0, 2, 20), generator.normal(0, 2, (20, 37))
    allowed = generator.random((20, 37)) < 0.7
    allowed[3] = False  # a row without negatives
    constants = {"allowed": allowed, "loss": loss, "weight": 0.4}
    value, backward = getattr(ranking_loss, kind)(positive, negative, **constants)
    rows = [t for t in range(20) if t != 3]
    want = np.mean([by_the_paper(positive[t], negative[t, allowed[t]], loss, 0.4) for t in rows])
    np.testing.assert_allclose(value, want, rtol=1e-12)
    dp, dr = backward(np.array(1.0))
    assert dp[3] == 0 and (dr[~allowed] == 0).all() and (dr[allowed] != 0).any()


@pytest.mark.parametrize("kind", ["definition", "adaptor"])
@pytest.mark.parametrize("loss", RANKING_LOSSES)
def test_scores_far_apart_stay_finite_and_nan_shows(loss, kind):
    function = getattr(ranking_loss, kind)
    for p, r in [(500.0, [-500, 0]), (-500.0, [500, 499]), (0.0, [-900, -901])]:
        arrays = np.array([p], np.float32), np.array([r], np.float32)
        value, backward = function(*arrays, allowed=np.ones((1, 2), bool), loss=loss)
        assert np.isfinite(value) and all(np.isfinite(g).all() for g in backward(np.float32(1)))
    # 1000 below one negative, 900 below the other; in bpr-max both terms of the sum are e^p
    arrays = np.array([-500], np.float32), np.array([[500, 400]], np.float32)
    value, _ = function(*arrays, allowed=np.ones((1, 2), bool), loss=loss)
    wanted = {
        "cross-entropy": 1000,
        "bpr": 950,
        "top1": 2,
        "top1-max": 2,
        "bpr-max": 1000 - np.log(2),
    }
    np.testing.assert_allclose(value, wanted[loss], rtol=1e-6)
    bad = np.array([np.nan], np.float32), np.array([[1, 2]], np.float32)
    assert np.isnan(function(*bad, allowed=np.ones((1, 2), bool), loss=loss)[0])


def test_an_unknown_loss_is_named():
    with pytest.raises(ConfigError, match="unknown loss 'warp'; choose one of cross-entropy, bpr"):
        ranking_loss(np.ones(1), np.ones((1, 1)), allowed=np.ones((1, 1), bool), loss="warp")


# --- the model -------------------------------------------------------------------------------


def states(model: GRU4Rec, items: list[int]) -> np.ndarray:
    """h after each of these items, from the equations."""
    d, h, result = model.config.d, np.zeros(model.config.d), []
    U, b = model.U.data, model.b.data
    for item in items:
        x = model.item_embedding.table.data[item]
        if model.config.shared_embedding:
            x = x @ model.input.W.data + model.input.b.data
        past = h @ U + b
        r, z = sigmoid(x[:d] + past[:d]), sigmoid(x[d : 2 * d] + past[d : 2 * d])
        h = (1 - z) * np.tanh(x[2 * d :] + r * past[2 * d :]) + z * h
        result.append(h)
    return np.array(result)


@pytest.mark.parametrize("shared", [False, True])
def test_scores_are_those_of_the_equations(shared):
    model = large_weights(GRU4Rec(15, small(shared_embedding=shared)))
    histories = [[3, 1, 4], [15], [9, 2, 6, 5, 3, 5]]
    packed = pack_sequences(histories, 12)
    N = (model.item_embedding.table if shared else model.output_embedding).data
    want = [states(model, h)[-1] @ N.T + model.output_bias.data[:, 0] for h in histories]
    for backend in ("numpy", "numba"):
        with use_backend(backend):
            scores = model.all_scores(np.full(3, -1), packed)
            np.testing.assert_allclose(scores, want, rtol=1e-10)
            some = np.array([[1, 15], [2, 3], [4, 4]])
            np.testing.assert_allclose(
                model.candidate_scores(np.full(3, -1), packed, some),
                np.take_along_axis(np.array(want), some, 1),
                rtol=1e-10,
            )


@pytest.mark.parametrize(
    ("loss", "in_batch", "samples"), [("top1", 8, 0), ("bpr-max", 8, 5), ("cross-entropy", 0, 9)]
)
def test_the_loss_is_that_of_naive_loops(loss, in_batch, samples):
    split = random_split(users=9, num_items=20)
    config = small(loss=loss, in_batch=in_batch, samples=samples, regularization=0.3)
    model = large_weights(GRU4Rec.for_split(split, config))
    batch = next(iter(TrainingBatches(split, n=12, batch_size=9).epoch(0)))
    offsets = batch.inputs.offsets
    h = np.concatenate(
        [states(model, batch.inputs.items[i:j]) for i, j in zip(offsets, offsets[1:], strict=False)]
    )
    drawn = model.draw(make_key(0))

    def score(row, item):
        return h[row] @ model.output_embedding.data[item] + model.output_bias.data[item, 0]

    # rows in the order of their step, cut into mini-batches
    steps = [(t - start, t) for start, end in zip(offsets, offsets[1:], strict=False)
             for t in range(start, end)]  # fmt: skip
    order = [t for _, t in sorted(steps)]
    losses = []
    for at, row in enumerate(order):
        negatives = list(drawn) if samples else []
        if in_batch:
            first = at // in_batch * in_batch
            negatives += [batch.targets[other] for other in order[first : first + in_batch]]
        target = batch.targets[row]
        r = [score(row, item) for item in negatives if item != target]
        if r:
            losses.append(by_the_paper(score(row, target), r, loss, 0.3))
    np.testing.assert_allclose(model.loss(batch).item(), np.mean(losses), rtol=1e-10)


@pytest.mark.parametrize(
    "config", [small(), small(loss="bpr-max", samples=5, shared_embedding=True)]
)
def test_gradients_of_the_whole_model(config):
    split = random_split(users=5, num_items=12, longest=6)
    model = large_weights(GRU4Rec.for_split(split, config))
    batch = next(iter(TrainingBatches(split, n=12, batch_size=5).epoch(0)))
    model.loss(batch).backward()
    generator = np.random.default_rng(2)
    for name, parameter in model.named_parameters():
        direction = generator.standard_normal(parameter.shape)
        if name == "item_embedding.table":
            direction[0] = 0  # the padding item's row reads as zero
        values = []
        for step in (1e-5, -2e-5):
            parameter.data = parameter.data + step * direction
            values.append(model.loss(batch).item())
        parameter.data = parameter.data + 1e-5 * direction
        slope = (values[0] - values[1]) / 2e-5
        np.testing.assert_allclose((parameter.grad * direction).sum(), slope, rtol=1e-6, atol=1e-9)


def test_additional_negatives_follow_popularity():
    popularity = np.array([0, 100, 400, 0, 900])
    for alpha, share in [
        (0, [0.25] * 4),
        (0.5, [1 / 6, 1 / 3, 0, 1 / 2]),
        (1, [1 / 14, 2 / 7, 0, 9 / 14]),
    ]:
        model = GRU4Rec(4, small(samples=20_000, alpha=alpha), popularity=popularity)
        counts = np.bincount(model.draw(make_key(3)), minlength=5)
        assert counts[0] == 0
        np.testing.assert_allclose(counts[1:] / 20_000, share, atol=0.02)
    assert not np.array_equal(model.draw(make_key(3)), model.draw(make_key(4)))


def test_dropout_only_while_training():
    split = random_split()
    model = GRU4Rec.for_split(split, small(dropout=0.5, embedding_dropout=0.5))
    batch = next(iter(TrainingBatches(split, n=12).epoch(0)))
    assert model.loss(batch).item() == model.loss(batch).item()
    assert model.loss(batch, Keys(0, 1)).item() == model.loss(batch, Keys(0, 1)).item()
    assert model.loss(batch, Keys(0, 1)).item() != model.loss(batch, Keys(0, 2)).item()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"d": 0}, "d is 0"),
        ({"in_batch": 1}, "without negatives"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"alpha": -1.0}, "alpha is -1.0"),
        ({"loss": "warp"}, "choose one of cross-entropy"),
    ],
)
def test_settings_outside_their_range(changes, says):
    with pytest.raises(ConfigError, match=says):
        small(**changes)


def test_an_alpha_with_which_nothing_can_be_drawn():
    for alpha, popularity in ((400.0, [0, 9, 9, 9, 9]), (1.0, [0, 0, 0, 0, 0])):
        with pytest.raises(ConfigError, match="--alpha is .*no item can be drawn"):
            GRU4Rec(4, small(samples=8, alpha=alpha), popularity=np.array(popularity))


# --- training --------------------------------------------------------------------------------


def sums(users: int = 300, num_items: int = 11, length: int = 12) -> Split:
    """The next item is the sum of the last two, modulo the number of items."""
    generator, sequences = np.random.default_rng(0), []
    for _ in range(users):
        sequence = list(generator.integers(0, num_items, 2))
        while len(sequence) < length:
            sequence.append((sequence[-1] + sequence[-2]) % num_items)
        # a catalogue large enough for 100 negatives: the others are met once by a user of their own
        sequences.append([int(item) + 1 for item in sequence])
    sequences += [[item, item, item] for item in range(num_items + 1, 131)]
    return make_split(sequences, 130)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("gru4rec", GRU4RecConfig(n=12, d=32, dropout=0.0)),
        ("gru4rec", GRU4RecConfig(n=12, d=32, dropout=0.0, loss="cross-entropy")),
        ("gru4rec+", GRU4RecPlusConfig(n=12, d=32, dropout=0.0, samples=64)),
        ("gru4rec+", GRU4RecPlusConfig(n=12, d=32, dropout=0.0, samples=64, loss="top1-max")),
    ],
)
def test_it_learns_what_depends_on_two_items(name, config):
    split = sums()
    settings = TrainConfig(
        model=name, gru4rec=config, gru4rec_plus=config, epochs=25, batch_size=16, lr=0.01,
        eval_every=25,
    )  # fmt: skip
    model = make_model(settings, split)
    fit(model, split, settings, progress=False)
    histories = [list(split.dataset.sequence(u)[:-1]) for u in range(300)]
    scores = model.all_scores(np.arange(300), pack_sequences(histories, 12))
    truth = np.array([split.dataset.sequence(u)[-1] for u in range(300)])
    # the last item alone leaves 11 items equally likely
    assert (scores[:, 1:].argmax(1) + 1 == truth).mean() > 0.9


def test_a_checkpoint_gives_the_same_scores_and_resumes(tmp_path: Path):
    split = random_split(users=60, num_items=130)
    config = TrainConfig(model="gru4rec+", gru4rec_plus=GRU4RecPlusConfig(n=12, d=6, samples=5),
                         epochs=3, batch_size=16)  # fmt: skip
    whole = make_model(config, split)
    fit(whole, split, config, Run.create(tmp_path / "whole", config, {}), progress=False)
    run = Run.create(tmp_path / "parts", config, {})
    fit(
        make_model(config, split), split, dataclasses.replace(config, epochs=1), run, progress=False
    )
    resumed = make_model(config, split)
    fit(resumed, split, config, Run.open(run.folder), progress=False)
    loaded = make_model(config, split)
    loaded.load_state(Run.open(tmp_path / "whole").load_arrays("best.safetensors")[0])
    for other in (resumed, loaded):
        for name, value in whole.state().items():
            np.testing.assert_array_equal(other.state()[name], value)
    assert evaluate(whole, split).metrics() == evaluate(loaded, split).metrics()


@pytest.mark.parametrize("name", ["gru4rec", "gru4rec+"])
def test_the_command_line(name: str, tmp_path: Path):
    command = [sys.executable, "-m", "minisasrec.train", "--model", name, "--epochs", "1"]
    options = ["--n", "10", "--d", "8", "--samples", "20", "--out", "run", "--json"]
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == name
    assert json.loads(done.stdout)["epochs"] == 1
