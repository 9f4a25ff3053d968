"""The benchmark's peers compute our function: else a race against them would mean nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from minisasrec.data import leave_one_out
from minisasrec.data.batches import Batch, TrainingBatches
from minisasrec.data.dataset import DataWarning
from minisasrec.learn.evaluation import Evaluator
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig

torch = pytest.importorskip("torch")

from benchmarks import peers  # noqa: E402
from benchmarks.machine import synthetic  # noqa: E402

# users, items, actions, how uneven histories are; n and heads
SHAPES = {
    "long, as ML-1M": ((150, 400, 15_000, 1.0), SASRecConfig(n=100, d=20)),
    "short, as Games": ((300, 900, 2_800, 0.6), SASRecConfig(n=20, d=20)),
    "two heads": ((100, 400, 8_000, 1.0), SASRecConfig(n=150, d=16, heads=2, blocks=3)),
}
NAMES = ("packed", "tuned", "port")


def made(shape: str) -> tuple[SASRec, Batch, Evaluator]:
    """A model with weights that are nowhere 0 or 1, a batch, and what evaluates."""
    sizes, config = SHAPES[shape]
    # made-up users meet items again: all are ranked by their scores, and nobody counts as a miss
    dataset = dataclasses.replace(synthetic(shape, *sizes), repeats="allow")
    with pytest.warns(DataWarning, match="targets before"):
        split = leave_one_out(dataset)
    model = SASRec(split.dataset.num_items, config, seed=3)
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.data += rng.normal(0, 0.1, parameter.shape).astype(np.float32)
    model.item_embedding.table.data[0] = 0
    batches = TrainingBatches(split, n=config.n, seed=0)
    evaluator = Evaluator(split, "test", "sampled", max_users=0)
    return model, batches.batch(batches.users[:128], 0), evaluator


def peer_of(name: str, model: SASRec) -> peers.Peer:
    peer = peers.PEERS[name](model.num_items, model.config)
    peers.load_ours(peer, model.state())
    return peer.eval()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradients_are_ours(name: str, shape: str) -> None:
    model, batch, _ = made(shape)
    loss = model.loss(batch)
    loss.backward()
    ours = {n: p.grad for n, p in model.named_parameters()}
    peer = peer_of(name, model)
    total = peer.backward(peer.prepare(batch))
    assert float(total) == pytest.approx(loss.item(), rel=1e-6)
    expected = peers.from_ours(peer, ours)
    found = {n: p.grad for n, p in peer.named_parameters() if "out_proj" not in n}
    assert found.keys() == expected.keys()
    for n, gradient in expected.items():
        assert torch.allclose(found[n], gradient, rtol=0, atol=1e-6), n


def test_a_batch_in_parts_has_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch, _ = made("long, as ML-1M")
    gradients = []
    for rows in (10**9, 500):
        monkeypatch.setattr(peers, "PART", rows)
        peer = peer_of("packed", model)
        parts = peer.prepare(batch)
        peer.backward(parts)
        gradients.append((len(parts), [p.grad for p in peer.parameters()]))
    (one, whole), (many, added) = gradients
    assert one == 1 and many > 5
    for a, b in zip(whole, added, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_packed_parts_hold_the_batch_once(shape: str) -> None:
    model, batch, _ = made(shape)
    parts = peer_of("packed", model).prepare(batch)
    rows = np.concatenate(
        [np.stack([*p.ids.view(3, -1).numpy(), p.slots.numpy()]) for p in parts], 1
    )
    inputs = batch.inputs
    expected = np.stack([inputs.items, batch.targets, batch.negatives[:, 0], inputs.slots])
    assert sorted(map(tuple, rows.T)) == sorted(map(tuple, expected.T))
    buckets = [bucket for part in parts for bucket in part.buckets]
    padding = sum(b.B * b.L for b in buckets) / rows.shape[1]
    assert padding < (
        1.5 if "short" in shape else 1.15
    )  # where sequences are short, it costs little
    assert sum(b.last - b.first for b in buckets) == rows.shape[1]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_ranks_are_ours(name: str, shape: str) -> None:
    model, _, evaluator = made(shape)
    peer = peer_of(name, model)
    histories = evaluator.histories(evaluator.users, peer.n)
    found = peer.ranks(peer.prepare_histories(histories, evaluator.candidates)).numpy()
    ours = evaluator(model).ranks
    assert len(np.unique(ours)) > 40  # a model that ranks, not one that gives everybody the same
    assert np.array_equal(found, ours)


@pytest.mark.parametrize("rate", (0.2, 0.5))
def test_packed_dropout_keeps_its_share_and_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    peer = peers.PackedPeer(50, SASRecConfig(n=10, d=50, dropout=rate))
    keep = peer.keeps(4000)
    assert keep.shape == (5, 4000, 50)
    assert keep.unique().tolist() == [0, pytest.approx(1 / (1 - rate))]
    share = (keep == 0).float()
    sigma = (rate * (1 - rate)) ** 0.5
    assert abs(share.mean() - rate) < 5 * sigma / 1000  # of a million
    for axis in (0, 1, 2):  # and not by place, row or feature
        others = tuple({0, 1, 2} - {axis})
        count = keep.numel() / keep.shape[axis]
        assert (share.mean(others) - rate).abs().max() < 6 * sigma / count**0.5
    shifted = (share[:, :, 1:] - rate) * (share[:, :, :-1] - rate)
    assert abs(shifted.mean()) < 5 * sigma**2 / 1000  # neighbours of one 64-bit number


@pytest.mark.parametrize("name", NAMES)
def test_training_drops_and_evaluation_does_not(name: str) -> None:
    model, batch, _ = made("short, as Games")
    peer = peer_of(name, model)
    parts = peer.prepare(batch)
    with torch.no_grad():
        still = [float(sum(peer.loss(part) for part in parts)) for _ in range(2)]
        peer.train()
        drops = [float(sum(peer.loss(part) for part in parts)) for _ in range(2)]
    assert still[0] == still[1]
    assert drops[0] != drops[1] != still[0]
