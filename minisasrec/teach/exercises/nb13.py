"""Exercise of notebook 13: the average attention map of histories of different length."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.teach.exercises import Wrong, array, equal, exercise, untouched


@exercise(
    "average_map",
    notebook="13_attention_maps",
    hints=(
        "Keep two arrays (size, size): the sum of the weights, and how many histories have the "
        "pair of positions.",
        "A history of L items has its last m = min(L, size) positions in the window. They are the "
        "last m rows and columns of both arrays, and of its own map.",
        "total[-m:, -m:] += p[-m:, -m:] and count[-m:, -m:] += 1 for each p; return total / count",
    ),
)
def _(answer: Any) -> str:
    rng = np.random.default_rng(0)
    for lengths, size in [((3, 3), 3), ((5, 4), 3), ((2, 3), 3), ((2, 6, 1, 4), 4), ((7,), 1)]:
        maps = [np.tril(rng.random((n, n))) for n in lengths]
        maps = [p / p.sum(axis=1, keepdims=True) for p in maps]
        what = f"the average of histories of {', '.join(map(str, lengths))} items, size={size},"
        got = array(untouched(answer, maps=[p.copy() for p in maps], size=size), what)
        total, count, at_start = (np.zeros((size, size)) for _ in range(3))
        for p in maps:
            for t, s in np.ndindex(size, size):
                row, column = len(p) - size + t, len(p) - size + s
                if row >= 0 and column >= 0:
                    total[t, s] += p[row, column]
                    count[t, s] += 1
                if t < len(p) and s < len(p):
                    at_start[t, s] += p[t, s]
        want = total / count
        if got.shape == want.shape and np.isnan(got).any():
            raise Wrong(f"{what} is NaN somewhere: each entry has a history, so what is 0 / 0?")
        if got.shape == want.shape and not np.allclose(got, want):
            if np.allclose(got, total / len(maps)):
                raise Wrong(
                    f"{what} is divided by {len(maps)} everywhere; divide each entry by the number "
                    "of histories that have it"
                )
            long = [p[-size:, -size:] for p in maps if len(p) >= size]
            if np.allclose(got, np.mean(long, axis=0)):
                raise Wrong(f"{what} leaves the short histories out")
            if np.allclose(got, total):
                raise Wrong(f"{what} is the sum; divide by the number of histories that have it")
            if np.allclose(got, want.T):
                raise Wrong(f"{what} is transposed: row t looks at column s")
            if np.allclose(got * count[::-1, ::-1], at_start):
                raise Wrong(f"{what} is aligned at the first item; align the last ones")
        equal(got, want, what)
    return "every history counts where it has positions, as in the paper"
