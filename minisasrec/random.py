"""Random numbers that depend on where they are used, not on when.

A generator with a state gives a number that depends on how many were drawn before. Here a number
is a hash of a key and a counter. The key says what the number is for: the seed, a name, and what
else tells one use from another, such as (seed, "negatives", step). The counter says where: the
element of the array that dropout drops, the position that a negative is drawn for. So the numbers
are the same whatever the number of threads, the padded and the packed layout drop the same
elements, the backward pass can make the mask again instead of keeping it, and a resumed run goes on
exactly as it would have.
"""

from __future__ import annotations

import functools
import hashlib
import operator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minisasrec.errors import ConfigError

_MASK64 = (1 << 64) - 1


class Key(NamedTuple):
    """Two 32-bit words that choose one family of random numbers."""

    k0: int
    k1: int


def make_key(*words: int | str) -> Key:
    """The key of numbers and names such as (seed, "negatives", step), by splitmix64.

    Numbers, also those of NumPy, are from -2^63 to 2^64 - 1, those below 0 in two's complement; a
    name counts as the first 64 bits of its BLAKE2b hash. Raises `ConfigError` for other numbers:
    2^64 as a seed would be 0.
    """
    state = 0
    for word in words:
        number = _number_of(word) if isinstance(word, str) else operator.index(word)
        if not -(2**63) <= number < 2**64:
            raise ConfigError(f"{number} is too large for a seed: the largest is 2^64 - 1")
        state = (state + 0x9E3779B97F4A7C15 + (number & _MASK64)) & _MASK64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK64
        state ^= state >> 31
    return Key(state & 0xFFFFFFFF, state >> 32)


@functools.lru_cache
def _number_of(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Seed:
    """A seed and the names that lead from it to one of its uses.

    Each part of a model is given `seed.spawn(NAME)`, as with NumPy's SeedSequence. So no two parts
    start from the same numbers, and a part that is added or left out changes no other.
    """

    words: tuple[int | str, ...]

    @classmethod
    def of(cls, seed: int | Seed) -> Seed:
        """A number as a `Seed`; a `Seed` as it is."""
        return seed if isinstance(seed, Seed) else cls((operator.index(seed),))  # not 1.7

    def spawn(self, name: str) -> Seed:
        """The seed of the part with this name."""
        return Seed((*self.words, name))

    @property
    def key(self) -> Key:
        """The key for what is drawn here."""
        return make_key(*self.words)


def lowbias32(x: np.ndarray) -> np.ndarray:
    """Scramble 32-bit words: every bit of x changes about half the bits of the result.

    The constants are C. Wellons' "lowbias32" (public domain), found by search for low bias.
    """
    x = x.astype(np.uint32)  # a copy: the steps below work in place
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def random_uint32(key: Key, counter: np.ndarray) -> np.ndarray:
    """One uniform 32-bit word per counter: lowbias32(lowbias32(counter ^ k0) + k1).

    Counters are taken modulo 2^32.
    """
    counter = np.asarray(counter).astype(np.uint32)
    return lowbias32(lowbias32(counter ^ np.uint32(key.k0)) + np.uint32(key.k1))


def drop_threshold(rate: float) -> int:
    """The word below which an element is dropped, so that it happens with probability `rate`."""
    return min(int(rate * 2**32), 2**32 - 1)


@dataclass
class Keys:
    """The keys of one training step: one for each place where the model draws random numbers."""

    seed: int
    step: int
    used: int = 0

    def next(self) -> Key:
        """The key of the next place."""
        self.used += 1
        return make_key(self.seed, "step", self.step, self.used)
