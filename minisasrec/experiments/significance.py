"""Is one model better than another, or were its users lucky? A paired bootstrap over users."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minisasrec.errors import ConfigError, DataError, ShapeError

Array = np.ndarray


@dataclass(frozen=True)
class Comparison:
    """Mean difference over users, its 95% interval, and how often chance alone would show it."""

    difference: float
    low: float
    high: float
    p: float
    users: int

    def __str__(self) -> str:
        """One line, as under a table."""
        return (
            f"{self.difference:+.4f} (95% interval {self.low:+.4f} to {self.high:+.4f}, "
            f"p = {self.p:.2g}, {self.users:,} users)"
        )


# of one experiment: "users" (U) and by protocol the ranks of their items (U)
Ranks = dict[str, Array]


def paired_differences(
    pairs: Sequence[tuple[Ranks, Ranks]], protocol: str, gain: Callable[[Array], Array]
) -> Array:
    """gain(rank by one model) - gain(rank by another) of each user, mean over `pairs` (seeds).

    A user counts in those pairs where both models ranked an item of the user.
    """
    users, differences = [], []
    for a, b in pairs:
        both, in_a, in_b = np.intersect1d(a["users"], b["users"], return_indices=True)
        users.append(both)
        difference = gain(a[protocol][in_a]).astype(np.float64) - gain(b[protocol][in_b])
        differences.append(difference)
    _, who = np.unique(np.concatenate(users), return_inverse=True)
    return np.bincount(who, np.concatenate(differences)) / np.bincount(who)


def paired_bootstrap(differences: Array, samples: int = 10_000, seed: int = 0) -> Comparison:
    """Whether the mean of per-user `differences` (U), one model minus another, is above or below 0.

    U users are drawn from the U with replacement, `samples` times; each draw gives a mean. The
    interval holds the middle 95% of these means; p is twice the share of them that lies on the
    other side of 0, a mean of 0 counting for both (at least 2 / (samples + 1)). Raises
    `ShapeError` for fewer than two users, since one says nothing of another; `DataError` for NaN
    and infinity; `ConfigError` without a sample.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if differences.ndim != 1 or len(differences) < 2:
        raise ShapeError(
            f"paired_bootstrap: differences have shape {differences.shape}; needs one per user, "
            "(U), of two users or more"
        )
    if not np.isfinite(differences).all():
        raise DataError("paired_bootstrap: differences hold NaN or infinity; leave such users out")
    if samples < 1:
        raise ConfigError(f"paired_bootstrap: samples is {samples}; it must be at least 1")
    users = len(differences)
    # ranks are whole numbers, so few differences occur: how often each is drawn is multinomial
    values, counts = np.unique(differences, return_counts=True)
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [
            rng.multinomial(users, counts / users, size=part) @ values / users
            for part in _parts(samples, 4_000_000 // len(values))
        ]
    )
    low, high = np.quantile(means, (0.025, 0.975))
    tolerance = 1e-12 * np.abs(values).max()  # a sum that is 0 may come out as a rounding error
    beyond = min((means <= tolerance).sum(), (means >= -tolerance).sum())
    p = min(1.0, 2 * (int(beyond) + 1) / (samples + 1))
    return Comparison(float(differences.mean()), float(low), float(high), p, users)


def _parts(total: int, most: int) -> list[int]:
    most = max(most, 1)
    return [min(most, total - done) for done in range(0, total, most)]
