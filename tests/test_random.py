"""Random numbers by place: keys, the hash, and dropout masks made from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisasrec import kernels, ops
from minisasrec.errors import ConfigError
from minisasrec.ops.attention import attention_keep
from minisasrec.ops.dropout import keep_mask
from minisasrec.random import (
    Key,
    Keys,
    Seed,
    drop_threshold,
    lowbias32,
    make_key,
    random_uint32,
)

KEY = make_key(1, 2, 3)
COUNT = 1 << 16


def words(*key):
    return random_uint32(make_key(*key), np.arange(COUNT))


def test_keys_and_words_are_what_they_were():
    # a change here would change every training run that anyone has made
    assert make_key(0) == Key(0x7B1DCDAF, 0xE220A839)  # the first number of splitmix64 from 0
    assert make_key(1, 2, 3) == Key(0xC0AC7E37, 0x6AE515C1)
    assert random_uint32(KEY, np.arange(3)).tolist() == [3418417745, 3411726090, 3654941458]


def test_keys_differ_by_every_word():
    keys = {make_key(a, b, c) for a in range(8) for b in range(-3, 8) for c in range(8)}
    assert len(keys) == 8 * 11 * 8
    assert len({make_key(1), make_key(1, 0), make_key(0, 1), make_key(1, 1)}) == 4
    assert all(0 <= word < 2**32 for key in keys for word in key)
    for number in (2**64, 2**64 + 5, -(2**63) - 1):  # not the same as a smaller one
        with pytest.raises(ConfigError, match=f"{number} is too large for a seed"):
            make_key(number)


def test_names_are_words_of_a_key():
    assert make_key(7, "negatives", 3) == make_key(7, "negatives", 3)
    names = ["negatives", "candidates", "users", "order", "step", ""]
    assert len({make_key(7, name, 3) for name in names}) == len(names)
    assert make_key("a", "b") != make_key("ab") != make_key("b", "a")
    assert make_key("M") == Key(0xBD1808D4, 0xEB8EB582)  # as it was


def test_a_part_draws_by_its_name():
    seed = Seed.of(7)
    assert seed.spawn("query").key == make_key(7, "query") == Seed.of(seed.spawn("query")).key
    assert seed.spawn("block 0").spawn("query").key == make_key(7, "block 0", "query")


def test_the_keys_of_a_step_come_in_order():
    keys = Keys(7, 3)
    first, second = keys.next(), keys.next()
    assert first == make_key(7, "step", 3, 1) and second == make_key(7, "step", 3, 2)
    assert keys.used == 2
    again = Keys(7, 3)
    assert (again.next(), again.next()) == (first, second)


def test_lowbias32_is_a_permutation():
    x = np.arange(1 << 20, dtype=np.uint32)
    assert len(np.unique(lowbias32(x))) == len(x)
    np.testing.assert_array_equal(x, np.arange(1 << 20))  # not in place


def test_every_bit_of_a_counter_changes_half_the_bits_of_its_word():
    counters = np.random.default_rng(0).integers(0, 2**32, 2000).astype(np.uint32)
    for bit in range(32):
        flipped = random_uint32(KEY, counters ^ np.uint32(1 << bit))
        changed = np.unpackbits((random_uint32(KEY, counters) ^ flipped).view(np.uint8))
        assert abs(changed.mean() - 0.5) < 4 * 0.5 / np.sqrt(changed.size)


def test_words_are_uniform():
    counts = np.bincount(words(1, 2) >> 24, minlength=256)
    chi2 = ((counts - COUNT / 256) ** 2 / (COUNT / 256)).sum()
    assert abs(chi2 - 255) < 4 * np.sqrt(2 * 255)  # chi-square: mean k, variance 2 k


@pytest.mark.parametrize(
    ("one", "two"), [((0, 0, 1), (0, 1, 1)), ((0, 0, 1), (1, 0, 1)), ((0, 0, 1), (0, 0, 2))]
)
def test_steps_seeds_and_streams_are_independent(one, two):
    a, b = words(*one) / 2**32, words(*two) / 2**32
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(COUNT)
    assert abs(np.corrcoef(a[1:], b[:-1])[0, 1]) < 4 / np.sqrt(COUNT)
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 4 / np.sqrt(COUNT)
    assert not (words(*one) == words(*two)).mean() > 1e-3


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_kernel_words_are_those_of_the_definition(counter, k0, k1):
    got = kernels.random.random_uint32(np.uint32(counter), np.uint32(k0), np.uint32(k1))
    (want,) = random_uint32(Key(k0, k1), np.array([counter]))
    assert got == want


def test_counters_are_taken_modulo_two_to_the_32():
    np.testing.assert_array_equal(
        random_uint32(KEY, np.array([5, 2**32 + 5, -(2**32) + 5])),
        random_uint32(KEY, np.array([5, 5, 5])),
    )


def test_thresholds():
    assert drop_threshold(0.0) == 0 and drop_threshold(0.5) == 2**31
    assert drop_threshold(1 - 1e-12) == 2**32 - 1  # fits 32 bits


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.9])
def test_the_share_that_is_dropped(rate):
    keep = keep_mask((1000, 64), rate, KEY, None)
    sigma = np.sqrt(rate * (1 - rate))
    assert abs((1 - keep.mean()) - rate) < 4 * sigma / np.sqrt(keep.size)
    # in every column and every row, too
    assert np.abs((1 - keep.mean(0)) - rate).max() < 5 * sigma / np.sqrt(1000)
    assert np.abs((1 - keep.mean(1)) - rate).max() < 5 * sigma / np.sqrt(64)
    weights = attention_keep(np.arange(100), np.arange(100), 2, rate, KEY)
    assert weights.shape == (2, 100, 100)
    assert abs((1 - weights.mean()) - rate) < 4 * sigma / np.sqrt(weights.size)


def test_dropout_keeps_the_expected_value():
    y = ops.dropout(np.ones((1000, 64)), rate=0.3, key=KEY).data
    assert set(np.unique(y)) == {0.0, 1 / 0.7}
    assert abs(y.mean() - 1) < 4 * np.sqrt(0.3 / 0.7) / np.sqrt(y.size)


def test_a_row_drops_the_same_elements_wherever_it_lies():
    names = np.array([7, 3, 9], dtype=np.uint32)
    all_rows = keep_mask((12, 5), 0.5, KEY, None)
    np.testing.assert_array_equal(keep_mask((3, 5), 0.5, KEY, names), all_rows[names])
    np.testing.assert_array_equal(keep_mask((2, 6, 5), 0.5, KEY, None).reshape(12, 5), all_rows)


def test_heads_queries_and_keys_have_masks_of_their_own():
    keep = attention_keep(np.arange(64), np.arange(64), 2, 0.5, KEY).astype(float)
    pairs = [(keep[0], keep[1]), (keep[0], keep[0].T), (keep[0, 1:], keep[0, :-1])]
    for one, two in pairs:
        assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 4 / np.sqrt(one.size)


def test_numbers_of_numpy_are_numbers():
    assert make_key(np.int64(3), "x", np.uint8(4)) == make_key(3, "x", 4)
    assert Seed.of(np.int32(3)) == Seed.of(3)


@pytest.mark.parametrize("seed", [1.7, "3", None])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        Seed.of(seed)
