"""Exercises of notebook 04: padding on the left, and the backward of the embedding layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.data.sequences import pack_sequences
from minisasrec.ops import embedding
from minisasrec.teach.exercises import Wrong, array, equal, exercise, fresh, pair, untouched


@exercise(
    "pad_left",
    notebook="04_embedding",
    hints=(
        "Start with n zeros. How many items are kept, and in which slots do they go?",
        "history[-n:] is the last n items, or all if there are fewer. Their number says where they "
        "begin.",
        "kept = list(history)[-n:]; s = np.zeros(n, dtype=int); s[n - len(kept):] = kept; return s",
    ),
)
def _(answer: Any) -> str:
    cases = [([3, 1, 4], 5), ([1, 5, 2, 6, 4, 3, 1], 5), ([7, 8], 2), ([4, 9], 1), ([], 3)]
    rng = fresh()
    for n in (4, 7):
        for length in (n - 2, n + 3):
            cases.append((rng.integers(1, 1000, length).tolist(), n))
    for history, n in cases:
        what = f"s for the history {history} and n = {n}"
        got = array(untouched(answer, history=list(history), n=n), what, "iu")
        want = np.zeros(n, dtype=int)
        want[n - min(n, len(history)) :] = history[-n:]
        if got.shape == want.shape and not (got == want).all():
            if (got == np.roll(want, len(history))).all() and len(history) < n:
                raise Wrong(f"{what} is {got.tolist()}: the padding belongs on the left")
            if got.tolist() == history[:n]:
                raise Wrong(f"{what} is {got.tolist()}: these are the first {n}, keep the last")
            if (got == np.concatenate([np.zeros(n, int), history[::-1]])[-n:]).all():
                raise Wrong(f"{what} is {got.tolist()}: the order is turned round; oldest first")
        equal(got, want, what)
    return f"{len(cases)} histories, shorter and longer than n, fill their slots as in the paper"


@exercise(
    "embedding_backward",
    notebook="04_embedding",
    hints=(
        "Each of the two lookups sends dy back in the same way: a row for each time it was read.",
        "An id may occur many times: np.add.at(dM, items, dy) adds up, dM[items] += dy does not.",
        "dM = np.zeros((num_items + 1, dy.shape[-1])); np.add.at(dM, items, dy); dM[0] = 0; the "
        "same with dP (n rows) and slots, without the last step",
    ),
)
def _(answer: Any) -> str:
    rng = np.random.default_rng(0)
    for histories, rows, n, d in (
        ([[3, 1, 3], [2], [1, 5, 2, 5, 4, 3, 1]], 7, 5, 3),
        ([[8, 2, 8, 8], [1, 2]], 10, 6, 2),
    ):
        packed = pack_sequences(histories, n=n)
        for layout, inputs in (("packed", packed), ("padded", packed.padded())):
            dy = rng.normal(size=(*inputs.items.shape, d))
            _both_tables(answer, dy, inputs.items, inputs.slots, rows, n, layout)
    return "both gradients are those of the package, for packed and for padded input"


def _both_tables(
    answer: Any,
    dy: np.ndarray,
    items: np.ndarray,
    slots: np.ndarray,
    rows: int,
    n: int,
    layout: str,
) -> None:
    d, padded = dy.shape[-1], layout == "padded"
    got = untouched(answer, dy=dy, items=items, slots=slots, num_items=rows - 1, n=n)
    dM, dP = pair(got, "two gradients, dM and dP")
    dM, dP = array(dM, "dM"), array(dP, "dP")
    if dM.shape == (n, d) and dP.shape == (rows, d):
        raise Wrong("dM and dP are swapped; return dM, dP")
    if dM.shape == (rows - 1, d):
        raise Wrong(
            f"dM has {rows - 1} rows, expected {rows}: one for each item, and row 0 for padding"
        )
    want_M, want_P = _added(items, dy, rows, padding_id=0), _added(slots, dy, n)
    if padded and _same(dP, _added(slots, dy * (items != 0)[..., None], n)):
        raise Wrong(
            "dP lacks the gradient of the padded slots; their rows of P are read like any other"
        )
    if padded and _same(dM, _added(items, dy, rows)):
        raise Wrong(
            "row 0 of dM holds the gradient of the padded slots, expected 0: the padding item's "
            "embedding is constant"
        )
    for name, got_one, want, ids in (("dM", dM, want_M, items), ("dP", dP, want_P, slots)):
        assigned = np.zeros_like(want)
        assigned[ids] = dy
        if got_one.shape == want.shape and _same(got_one[1:], assigned[1:]):
            raise Wrong(
                f"{name} has one gradient of each id that occurs several times, expected their sum"
            )
        equal(got_one, want, f"{name} of the {layout} layout")


def _added(ids: np.ndarray, dy: np.ndarray, rows: int, padding_id: int | None = None) -> np.ndarray:
    # the gradient of a lookup does not depend on the table, so any will do
    table = np.zeros((rows, dy.shape[-1]))
    return embedding.definition(table, ids=ids, padding_id=padding_id)[1](dy)[0]


def _same(got: np.ndarray, want: np.ndarray) -> bool:
    return got.shape == want.shape and np.allclose(got, want)
