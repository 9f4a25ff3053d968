"""Caser: scores and loss by hand, windows, and a pattern that must be learnt."""

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
from minisasrec.errors import ConfigError, DataError
from minisasrec.learn.config import TrainConfig, make_model
from minisasrec.learn.evaluation import evaluate
from minisasrec.learn.fit import fit
from minisasrec.learn.runs import Run
from minisasrec.models.caser import Caser, CaserConfig
from minisasrec.random import Keys

SMALL = CaserConfig(n=12, L=3, T=2, d=4, n_h=3, n_v=2, dropout=0.0)


def large_weights(model: Caser, seed: int = 0) -> Caser:
    """The same model with float64 weights far enough from 0 for every part to matter."""
    generator = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.data = generator.standard_normal(parameter.shape)
    return model


def by_the_paper(model: Caser, window: list[int], user: int) -> np.ndarray:
    """The scores of all items from the paper's equations, one filter at a time."""
    L, table = model.config.L, model.item_embedding.table.data
    E = np.array([table[item] if item else np.zeros(model.config.d) for item in window])
    o = []
    for filters in model.horizontal:
        h = filters.F.shape[1]
        for F, b in zip(filters.F.data, filters.b.data, strict=True):
            places = [np.maximum((E[i : i + h] * F).sum() + b, 0) for i in range(L - h + 1)]
            o.append(max(places))
    o_vertical = [sum(F[i] * E[i] for i in range(L)) for F in model.vertical.data]
    found = np.concatenate([*o_vertical, o])
    z = np.maximum(found @ model.interest.W.data + model.interest.b.data, 0)
    x = np.concatenate([z, model.user_embedding.table.data[user]])
    return model.output.data[:, :-1] @ x + model.output.data[:, -1]


def last(history: list[int], L: int = 3) -> list[int]:
    return ([0] * L + list(history))[-L:]


def test_scores_are_those_of_the_equations():
    model = large_weights(Caser(5, 15, SMALL))
    histories, users = [[3, 1, 4, 1], [15], [9, 2]], np.array([4, 0, 2])
    packed = pack_sequences(histories, 12)
    want = [by_the_paper(model, last(h), u) for h, u in zip(histories, users, strict=True)]
    for backend in ("numpy", "numba"):
        with use_backend(backend):
            np.testing.assert_allclose(model.all_scores(users, packed), want, rtol=1e-10)
            some = np.array([[1, 15], [2, 3], [4, 4]])
            np.testing.assert_allclose(
                model.candidate_scores(users, packed, some),
                np.take_along_axis(np.array(want), some, 1),
                rtol=1e-10,
            )


def test_the_loss_is_that_of_naive_loops():
    split = random_split(users=9, num_items=20)
    model = large_weights(Caser.for_split(split, SMALL))
    batch = next(iter(TrainingBatches(split, n=12, batch_size=9, negatives=2).epoch(0)))
    total, count = 0.0, 0
    for b, user in enumerate(batch.users):
        start, end = batch.inputs.offsets[b : b + 2]
        for t in range(start, end):
            scores = by_the_paper(model, last(batch.inputs.items[start : t + 1]), user)
            for i in range(t, min(t + SMALL.T, end)):
                count += 1
                total += np.log1p(np.exp(-scores[batch.targets[i]]))
                total += sum(np.log1p(np.exp(scores[j])) for j in batch.negatives[i])
    np.testing.assert_allclose(model.loss(batch).item(), total / count, rtol=1e-10)


def test_windows_stay_inside_a_history():
    model = Caser(2, 20, SMALL)
    packed = pack_sequences([[1, 2, 3, 4], [5], [6, 7]], 12)
    got = model.windows(packed, np.arange(7))
    want = [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [0, 0, 5], [0, 0, 6], [0, 6, 7]]
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(model.windows(packed, packed.last), [want[3], want[4], want[6]])


@pytest.mark.parametrize("changes", [{}, {"n_h": 0}, {"n_v": 0}])
def test_gradients_of_the_whole_model(changes):
    split = random_split(users=5, num_items=12, longest=6)
    model = large_weights(Caser.for_split(split, dataclasses.replace(SMALL, **changes)))
    batch = next(iter(TrainingBatches(split, n=12, batch_size=5).epoch(0)))
    model.loss(batch).backward()
    generator = np.random.default_rng(2)
    for name, parameter in model.named_parameters():
        direction = generator.standard_normal(parameter.shape)
        if name == "item_embedding.table":
            direction[0] = 0  # the padding item's row reads as zero
        values = []
        for step in (1e-6, -2e-6):
            parameter.data = parameter.data + step * direction
            values.append(model.loss(batch).item())
        parameter.data = parameter.data + 1e-6 * direction
        slope = (values[0] - values[1]) / 2e-6
        np.testing.assert_allclose((parameter.grad * direction).sum(), slope, rtol=1e-5, atol=1e-8)


def test_users_without_a_vector_are_refused():
    model = Caser(5, 15, SMALL)
    for user in (-1, 5):
        with pytest.raises(DataError, match=f"none for user number {user} "):
            model.all_scores(np.array([0, user]), pack_sequences([[1], [2]], 12))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"L": 0}, "L is 0"),
        ({"n_h": 0, "n_v": 0}, "n-h and n-v are both 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_settings_outside_their_range(changes, says):
    with pytest.raises(ConfigError, match=says):
        dataclasses.replace(SMALL, **changes)


def test_dropout_only_while_training():
    split = random_split()
    model = Caser.for_split(split, dataclasses.replace(SMALL, dropout=0.5))
    batch = next(iter(TrainingBatches(split, n=12).epoch(0)))
    assert model.loss(batch).item() == model.loss(batch).item()
    assert model.loss(batch, Keys(0, 1)).item() == model.loss(batch, Keys(0, 1)).item()
    assert model.loss(batch, Keys(0, 1)).item() != model.loss(batch, Keys(0, 2)).item()


# --- training --------------------------------------------------------------------------------


def three_orders(users: int = 400, num_items: int = 120, length: int = 12) -> Split:
    """Three random orders of the catalogue; a user follows one of them from a place of his own.

    The last item alone leaves three items equally likely; the last two say which order it is.
    """
    generator = np.random.default_rng(0)
    after = np.array([generator.permutation(num_items) for _ in range(3)])
    sequences = []
    for user in range(users):
        sequence = [int(generator.integers(num_items))]
        while len(sequence) < length:
            sequence.append(int(after[user % 3, sequence[-1]]))
        sequences.append([item + 1 for item in sequence])
    return make_split(sequences, num_items)


def test_it_learns_what_depends_on_two_items():
    split = three_orders()
    caser = CaserConfig(n=12, L=3, T=1, d=32, n_h=8, n_v=4, dropout=0.0)
    config = TrainConfig(
        model="caser", caser=caser, epochs=25, batch_size=32, lr=0.01, negatives=20, eval_every=25
    )
    model = make_model(config, split)
    fit(model, split, config, progress=False)
    histories = [list(split.dataset.sequence(u)[:-1]) for u in range(400)]
    scores = model.all_scores(np.arange(400), pack_sequences(histories, 12))
    truth = np.array([split.dataset.sequence(u)[-1] for u in range(400)])
    assert (scores[:, 1:].argmax(1) + 1 == truth).mean() > 0.8


def test_a_checkpoint_gives_the_same_scores_and_resumes(tmp_path: Path):
    split = random_split(users=60, num_items=130)
    caser = dataclasses.replace(SMALL, dropout=0.3)
    config = TrainConfig(model="caser", caser=caser, epochs=3, batch_size=16)
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


def test_the_command_line(tmp_path: Path):
    command = [sys.executable, "-m", "minisasrec.train", "--model", "caser", "--epochs", "1"]
    options = ["--n", "10", "--d", "8", "--L", "3", "--T", "2", "--out", "run", "--json"]
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == "caser"
    assert json.loads(done.stdout)["epochs"] == 1
