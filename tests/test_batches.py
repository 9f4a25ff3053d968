"""Training batches, negatives, and the two layouts of sequences."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import make_split, random_split

from minisasrec.backends import use_backend
from minisasrec.data import sampling
from minisasrec.data.batches import TrainingBatches
from minisasrec.data.sampling import ATTEMPTS, SeenItems, draw_items, sample_negatives
from minisasrec.data.sequences import Packed, pack, pack_sequences
from minisasrec.errors import ConfigError, DataError
from minisasrec.random import make_key

KEY = make_key(5)


@pytest.fixture(scope="module", params=["numpy", "numba"], autouse=True)
def each_backend(request):
    with use_backend(request.param):
        yield


# --- layouts ---------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=12), min_size=1), st.data())
def test_packed_and_padded_hold_the_same(sequences, data):
    n = data.draw(st.integers(1, 10))
    packed = pack_sequences(sequences, n)
    padded = packed.padded()
    assert padded.items.shape == (len(sequences), n) and padded.n == packed.n == n
    for b, sequence in enumerate(sequences):
        last = sequence[-n:]
        rows = slice(packed.offsets[b], packed.offsets[b + 1])
        assert packed.items[rows].tolist() == last
        assert packed.slots[rows].tolist() == list(range(n - len(last), n))
        assert padded.items[b].tolist() == [0] * (n - len(last)) + last
        assert packed.items[packed.last[b]] == sequence[-1]
    np.testing.assert_array_equal(padded.items[padded.real], packed.items)
    np.testing.assert_array_equal(padded.slots[padded.real], packed.slots)
    np.testing.assert_array_equal(padded.slot_ids[padded.real.reshape(-1)], packed.slot_ids)
    values = np.random.default_rng(0).standard_normal((len(packed.items), 3))
    spread = packed.pad(values)
    np.testing.assert_array_equal(spread[padded.real], values)
    assert spread.shape == (len(sequences), n, 3) and not spread[~padded.real].any()


def test_pack_takes_the_last_n_of_each_slice():
    items = np.arange(100, dtype=np.int32)
    packed = pack(items, np.array([0, 10, 50]), np.array([3, 20, 50]), 4)
    assert packed.items.tolist() == [0, 1, 2, 16, 17, 18, 19]
    assert packed.offsets.tolist() == [0, 3, 7, 7]  # the last one is empty
    with pytest.raises(DataError, match="sequence 2 is empty, so it has no last item"):
        _ = packed.last


# --- batches ---------------------------------------------------------------------------------


def epoch(batches, number=0):
    return list(batches.epoch(number))


def test_targets_are_the_inputs_shifted_by_one():
    n, split = 6, random_split(longest=15)
    seen = set()
    for batch in epoch(TrainingBatches(split, n=n, batch_size=7, negatives=3)):
        inputs, offsets = batch.inputs, batch.inputs.offsets
        assert isinstance(inputs, Packed) and batch.negatives.shape == (len(inputs.items), 3)
        assert batch.targets.shape == inputs.items.shape
        for b, user in enumerate(batch.users):
            own = slice(offsets[b], offsets[b + 1])
            train = split.train_sequence(user).tolist()
            assert inputs.items[own].tolist() == train[:-1][-n:]
            assert batch.targets[own].tolist() == train[1:][-n:]
            seen.add(int(user))
    long_enough = [u for u in range(40) if len(split.train_sequence(u)) >= 2]
    assert seen == set(long_enough) and len(long_enough) < 40


def test_every_user_once_an_epoch_in_a_new_order():
    batches = TrainingBatches(random_split(users=100, longest=9), n=4, batch_size=16)
    orders = [[int(u) for b in epoch(batches, e) for u in b.users] for e in range(3)]
    for order in orders:
        assert sorted(order) == batches.users.tolist() and len(set(order)) == len(order)
    assert orders[0] != orders[1] != orders[2] != sorted(orders[0])
    assert len(epoch(batches)) == len(batches) == -(-len(batches.users) // 16)
    assert [len(b.users) for b in epoch(batches)][:-1] == [16] * (len(batches) - 1)


def test_an_epoch_with_replacement_is_a_whole_number_of_batches():
    split = random_split(users=100, longest=9)
    batches = TrainingBatches(split, n=4, batch_size=16, order="with-replacement", seed=2)
    assert len(batches) == 100 // 16  # of all users, as in the authors' code
    drawn = np.concatenate([b.users for b in epoch(batches)])
    assert len(drawn) == 6 * 16 and len(set(drawn)) < len(drawn)
    assert set(drawn) <= set(batches.users)
    many = np.concatenate([batches.epoch_users(e) for e in range(200)])
    counts = np.bincount(many, minlength=100)[batches.users]
    expected = len(many) / len(batches.users)
    k = len(batches.users) - 1
    assert abs(((counts - expected) ** 2 / expected).sum() - k) < 4 * np.sqrt(2 * k)
    assert len(TrainingBatches(split, n=4, batch_size=128, order="with-replacement")) == 1


def same(one, two):
    return all(
        np.array_equal(getattr(one, name), getattr(two, name))
        for name in ("users", "targets", "negatives")
    ) and np.array_equal(one.inputs.items, two.inputs.items)


@pytest.mark.parametrize("order", ["every-user", "with-replacement"])
def test_everything_follows_from_seed_epoch_and_step(order):
    split = random_split(users=60)
    one, two, other = (
        TrainingBatches(split, n=5, batch_size=20, order=order, seed=seed) for seed in (1, 1, 2)
    )
    epoch(one, 0)  # what was drawn before does not matter
    for a, b, c, d in zip(
        epoch(one, 3), epoch(two, 3), epoch(two, 4), epoch(other, 3), strict=True
    ):
        assert same(a, b) and not same(a, c) and not same(a, d)


def test_negatives_change_from_step_to_step():
    batches = TrainingBatches(random_split(), n=5)
    users = batches.users[:8]
    one, two = batches.batch(users, 0), batches.batch(users, 1)
    assert np.array_equal(one.targets, two.targets)
    assert (one.negatives != two.negatives).mean() > 0.5
    assert same(one, batches.batch(users, 0))


def test_padding_a_batch():
    batch = epoch(TrainingBatches(random_split(), n=9, batch_size=8, negatives=2))[0]
    padded = batch.padded()
    real = padded.inputs.real
    assert padded.targets.shape == (8, 9) and padded.negatives.shape == (8, 9, 2)
    assert not padded.targets[~real].any() and padded.targets[real].all()
    np.testing.assert_array_equal(padded.targets[real], batch.targets)
    np.testing.assert_array_equal(padded.negatives[real], batch.negatives)


def test_what_cannot_be_batched():
    with pytest.raises(ConfigError, match="order is 'random'; choose every-user or with-repl"):
        TrainingBatches(random_split(), n=5, order="random")
    with pytest.raises(DataError, match="tiny: no user has two train actions"):
        TrainingBatches(make_split([[1, 2, 3], [4]], 5), n=5)


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([0, 0, 5, 7], "item 0 is padding; give the real items"),
        ([5, 7, 0], "item 0 is padding"),
        (np.array([0, 5]), "item 0 is padding"),
        ([0.0, 5], "item 0 is padding"),
        ([5.0, 7.9], "item ids are whole numbers from 1 to 2147483647; got 7.9"),
        (np.array([5.5, 7]), "got 5.5"),
        ([5, float("nan")], "got nan"),
        ([5, float("inf")], "got inf"),
        ([-3, 5], "got -3"),
        ([5, 2**40], "got 1099511627776"),
        ([5, 2**70], "whole numbers, got 5 in|got 1.18.*e\\+21"),
        (np.array([2**63], dtype=np.uint64), "got 9223372036854775808"),
        ([True, False], r"item ids are whole numbers, got True in \[True, False\]"),
        ([5, True], "got True in"),
        ([np.True_, 5], "got True in|got np.True_ in"),
        (np.array([True]), "got True in|got np.True_ in"),
        (["5", "7"], r"got '5' in \['5', '7'\]"),
        ([5, "x"], "got 'x' in"),
        ([5, None], "got None in"),
        ([1j], "got 1j in"),
        ([[5, 7]], r"a sequence is a list of item ids, got \[\[5, 7\]\]"),
        ([[5], [7, 8]], "a sequence is a list of item ids"),
        (7, "a sequence is a list of item ids, got 7"),
        ([], "a sequence needs at least one item; got an empty one"),
    ],
)
def test_a_history_holds_items_and_nothing_else(history, message):
    with pytest.raises(DataError, match=message) as caught:
        pack_sequences([[1, 2], history], 5)
    assert "\n" not in str(caught.value)


def test_what_a_history_may_be():
    same = [
        [5, 7],
        [5.0, 7.0],
        (5, 7),
        np.array([5, 7], np.uint8),
        np.array([5.0, 7.0]),
        [np.int64(5), 7],
    ]
    for history in same:
        packed = pack_sequences([history], 3)
        assert packed.items.tolist() == [5, 7] and packed.items.dtype == np.int32
    assert pack_sequences([[5, 7]], 3, num_items=7).items.tolist() == [5, 7]
    with pytest.raises(DataError, match="from 1 to 6, the size of the catalogue; got 7"):
        pack_sequences([[7, 5, 1]], 1, num_items=6)  # also where it is cut off
    with pytest.raises(DataError, match="no sequence was given"):
        pack_sequences([], 3)
    with pytest.raises(DataError, match="n is 0"):
        pack_sequences([[1]], 0)


# --- negatives -------------------------------------------------------------------------------


def test_seen_items():
    split = make_split([[3, 1, 3, 7, 8, 9], [2, 5], [6]], 10)  # user 0 has 8, 9 held out
    seen = SeenItems(split)
    assert seen.items.tolist() == [1, 3, 3, 7, 2, 5, 6] and seen.offsets.tolist() == [0, 4, 6, 7]
    assert seen.distinct.tolist() == [3, 2, 1]
    met = seen.contains(np.arange(3)[:, None], np.arange(1, 11))
    want = [{1, 3, 7}, {2, 5}, {6}]
    for user in range(3):
        assert {i + 1 for i in np.flatnonzero(met[user])} == want[user]


def test_who_has_no_train_action_has_met_nothing():
    split = make_split([[1, 2, 3], [4, 5, 6]], 6)
    seen = SeenItems(replace(split, train_end=split.dataset.offsets[:-1]))
    assert not seen.contains(np.arange(2)[:, None], np.arange(1, 7)).any()


@settings(max_examples=15)
@given(st.integers(0, 999), st.integers(1, 40))
def test_seen_items_do_not_depend_on_the_block_they_are_sorted_in(seed, block):
    split = random_split(users=9, num_items=20, longest=14, seed=seed)
    seen = SeenItems(split)
    for u in range(9):
        own = seen.items[seen.offsets[u] : seen.offsets[u + 1]]
        assert own.tolist() == sorted(split.train_sequence(u))
        assert seen.distinct[u] == len(set(own.tolist()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "BLOCK", block)
        small = SeenItems(split)
    np.testing.assert_array_equal(small.items, seen.items)
    np.testing.assert_array_equal(small.distinct, seen.distinct)


def test_seen_items_are_one_copy_of_the_actions():
    lengths = np.random.default_rng(0).integers(50, 500, 2000)
    split = make_split([np.arange(1, n + 1).tolist() for n in lengths], 1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "BLOCK", 10_000)
        tracemalloc.start()
        seen = SeenItems(split)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1.6 * seen.items.nbytes


def test_a_user_who_has_met_everything():
    with pytest.raises(DataError, match="user u1 has met all 3 items, so no negative can be drawn"):
        SeenItems(make_split([[1, 2], [1, 2, 3, 3, 1, 2], [3]], 3))


def both(split, users, k, n=50):
    """Negatives of the users' train parts by the kernel, after a check against the definition."""
    users = np.asarray(users)
    seen = SeenItems(split)
    inputs = pack(split.dataset.items, split.dataset.offsets[users], split.train_end[users], n)
    results = []
    for backend in ("numpy", "numba"):
        with use_backend(backend):
            results.append(sample_negatives(seen, users, inputs, k, KEY))
    np.testing.assert_array_equal(results[0], results[1])
    assert results[0].shape == (len(inputs.items), k) and results[0].dtype == np.int32
    owner = np.repeat(users, np.diff(inputs.offsets))
    assert not seen.contains(owner[:, None], results[0]).any()
    return results[0], owner


@settings(max_examples=15)
@given(st.integers(0, 999), st.integers(1, 4), st.integers(1, 30))
def test_negatives_are_items_not_met_and_both_samplers_agree(seed, k, users):
    split = random_split(users=users, num_items=20, longest=14, seed=seed)
    negatives, _ = both(split, np.random.default_rng(seed).permutation(users), k)
    assert negatives.min() >= 1 and negatives.max() <= 20


def test_a_user_who_has_met_all_but_one():
    # 64 draws of 1 in 300 mostly fail: the search ends by walking to the next item not met
    split = make_split([[*range(1, 120), *range(121, 301), 120, 120], [1, 2, 3]], 300)
    negatives, owner = both(split, [0, 1], 2, n=400)
    assert (negatives[owner == 0] == 120).all() and len(negatives) > 250


def test_negatives_are_uniform_over_what_is_left():
    met = [2, 5, 7]
    split = make_split([[*met, *[2] * 4000, 9, 9]], 20)
    negatives, _ = both(split, [0], 5, n=5000)
    counts = np.bincount(negatives.ravel(), minlength=21)
    free = [i for i in range(1, 21) if i not in met]
    assert counts[0] == counts[met].sum() == 0
    expected = negatives.size / len(free)
    chi2 = ((counts[free] - expected) ** 2 / expected).sum()
    assert abs(chi2 - 16) < 4 * np.sqrt(2 * 16)


def test_held_out_items_may_be_negatives():
    # only train actions are excluded (as in the authors' code): the model may not know the others
    split = make_split([[1, *[1] * 300, 2, 3]], 3)
    negatives, _ = both(split, [0], 1, n=500)
    assert set(negatives.ravel()) == {2, 3}


@settings(max_examples=15)
@given(st.integers(0, 999), st.integers(1, 4))
def test_negatives_are_all_but_the_target_where_repeats_are_allowed(seed, k):
    split = random_split(users=12, num_items=6, longest=30, seed=seed, repeats="allow")
    found = []
    for name in ("numpy", "numba"):
        with use_backend(name):
            batches = TrainingBatches(split, n=9, negatives=k, seed=seed)
            found.append(next(batches.epoch(0)))
    targets, negatives = found[0].targets, found[0].negatives
    np.testing.assert_array_equal(negatives, found[1].negatives)
    assert negatives.shape == (len(targets), k) and negatives.dtype == np.int32
    assert negatives.min() >= 1 and negatives.max() <= 6
    assert not (negatives == targets[:, None]).any()


def test_what_was_met_is_a_negative_like_others_where_repeats_are_allowed():
    split = make_split([[1, 2] * 3000], 5, "allow")
    (batch,) = TrainingBatches(split, n=6000, negatives=1).epoch(0)
    counts = np.bincount(batch.negatives.ravel(), minlength=6)
    want = [0, len(batch.targets) / 8, len(batch.targets) / 8, *[len(batch.targets) / 4] * 3]
    assert np.abs(counts - want).max() < 5 * np.sqrt(len(batch.targets) / 4)
    everything_met = make_split([[1, 2, 3] * 3], 3, "allow")
    assert len(list(TrainingBatches(everything_met, n=9).epoch(0))) == 1
    with pytest.raises(DataError, match="has one item, so no negative"):
        list(TrainingBatches(make_split([[1, 1, 1, 1]], 1, "allow"), n=9).epoch(0))


def test_draws_cover_the_items_evenly():
    items = draw_items(KEY, np.arange(70_000), 0, 7)
    counts = np.bincount(items, minlength=8)
    assert counts[0] == 0 and len(counts) == 8
    assert np.abs(counts[1:] - 10_000).max() < 4 * np.sqrt(10_000)
    assert np.mean(items != draw_items(KEY, np.arange(70_000), 1, 7)) > 0.8
    assert ATTEMPTS == 64
