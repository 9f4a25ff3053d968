"""The losses that every network can be trained with (models/losses.py)."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import random_split

from minisasrec import ops
from minisasrec.autograd.tensor import Tensor
from minisasrec.data.batches import TrainingBatches
from minisasrec.data.split import Split
from minisasrec.errors import ConfigError
from minisasrec.experiments import grids
from minisasrec.learn.config import make_model
from minisasrec.models.caser import CaserConfig
from minisasrec.models.factors import FactorConfig
from minisasrec.models.gru4rec import GRU4RecConfig
from minisasrec.models.losses import gbce_beta, next_item_loss
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.nn.optim import Adam
from minisasrec.random import Keys


def one_position(loss: str, wanted: float, others: np.ndarray, catalogue: np.ndarray) -> float:
    """The loss of one position, written out from the formulas at the head of losses.py."""
    if loss == "softmax":
        return float(-wanted + np.log(np.exp(catalogue).sum()))
    if loss == "bpr-max":
        s = np.exp(others) / np.exp(others).sum()
        better = 1 / (1 + np.exp(others - wanted))
        return float(-np.log((s * better).sum()) + 0.3 * (s * others**2).sum())
    beta = gbce_beta(len(others), len(catalogue), 0.75) if loss == "gbce" else 1
    right = -beta * np.log(1 / (1 + np.exp(-wanted)))
    return float(right - np.log(1 - 1 / (1 + np.exp(-others))).sum())


@pytest.mark.parametrize("loss", grids.LOSSES)
def test_a_loss_is_its_formula(loss: str) -> None:
    rng = np.random.default_rng(0)
    h, items = rng.normal(size=(5, 4)), rng.normal(size=(9, 4))
    targets = np.array([3, 0, 1, 8, 3])  # the second position has none
    negatives = rng.integers(1, 9, (5, 6))
    scores = h @ items.T
    of_each = [
        one_position(loss, scores[t, o], scores[t, negatives[t]], scores[t, 1:])
        for t, o in enumerate(targets)
        if o
    ]
    got = next_item_loss(loss, Tensor(h), Tensor(items), targets, negatives, weight=0.3)
    assert float(got.data) == pytest.approx(np.mean(of_each), rel=1e-12)


@pytest.fixture(scope="module")
def split() -> Split:
    return random_split(num_items=50)


@pytest.mark.parametrize("loss", grids.LOSSES)
@pytest.mark.parametrize("network", grids.NETWORKS)
def test_every_network_learns_by_every_loss(network: str, loss: str, split: Split) -> None:
    config = grids.cell("bookshop", network, loss, 0.0).config
    model = make_model(config, split)
    drawn = TrainingBatches(split, n=model.n, batch_size=60, negatives=config.negatives, seed=0)
    batch = next(iter(drawn.epoch(0)))
    adam = Adam(model.parameters(), lr=0.01)
    losses = []
    for step in range(30):
        adam.zero_grad()
        value = model.loss(batch, Keys(0, step))
        value.backward()
        adam.step()
        losses.append(float(value.data))
    assert losses[-1] < 0.9 * losses[0], losses


def test_a_gru_with_negatives_of_its_positions_ranks_against_these(split: Split) -> None:
    """With in_batch 0 and samples 0, the ranking loss is over the batch's own negatives."""
    config = grids.cell("bookshop", "gru", "bpr-max", 0.0).config
    model = make_model(config, split)
    drawn = TrainingBatches(split, n=model.n, batch_size=8, negatives=3, seed=0)
    batch = next(iter(drawn.epoch(0)))
    h = model(batch.inputs).data
    h = np.concatenate([h, np.ones((len(h), 1), h.dtype)], axis=1)
    scores = h @ model.item_vectors().T
    rows = np.flatnonzero(batch.targets)
    want = ops.ranking_loss(
        scores[rows, batch.targets[rows]],
        np.take_along_axis(scores, batch.negatives, axis=1)[rows],
        allowed=np.ones((len(rows), 3), bool),
        loss="bpr-max",
        weight=model.config.regularization,
    )
    assert float(model.loss(batch).data) == pytest.approx(float(want.data), rel=1e-5)


@pytest.mark.parametrize("config", [SASRecConfig, FactorConfig, GRU4RecConfig, CaserConfig])
def test_a_loss_of_another_name_is_refused_with_the_choices(config: type) -> None:
    for wrong in ("hinge", 5, ["bce"]):
        with pytest.raises(ConfigError, match="softmax"):
            config(loss=wrong)


def test_the_grid_has_every_cell_once_and_the_same_budget_for_each() -> None:
    cells, tried = grids.grid("bookshop"), grids.grid_tuning("bookshop")
    names = [row.name for row in cells]
    assert len(set(names)) == len(names) == len(grids.NETWORKS) * len(grids.LOSSES)
    for name in names:
        assert sum(row.name.startswith(f"{name} ") for row in tried) == 3
    for row in cells:
        config = row.config
        assert (config.lr, config.epochs, config.eval_every, config.patience) == (0.003, 201, 2, 20)


def test_gbce_needs_negatives():
    with pytest.raises(ConfigError, match="negatives is 0"):
        gbce_beta(0, 10, 0.75)
