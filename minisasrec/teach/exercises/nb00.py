"""Exercise of notebook 00: a history after which the trained model continues a series."""

from __future__ import annotations

from typing import Any

from minisasrec.learn.recommendation import top_items
from minisasrec.teach.exercises import Wrong, array, exercise


@exercise(
    "next_volume",
    notebook="00_tour",
    hints=(
        "Volumes of a series have numbers side by side: if next_volume[i] is i + 1, a reader of i "
        "may want i + 1.",
        "Start with volumes 1, 2, 3 of a series that has a fourth. Not all work: try several.",
        "Loop over i with next_volume[i] > 0 and try [i - 2, i - 1, i], until "
        "top_items(model, history, 1) is [next_volume[i]].",
    ),
)
def _(answer: Any) -> str:
    model, history, next_volume = answer
    if any(isinstance(item, str) for item in history):
        raise Wrong("the history holds titles, expected book numbers (number[title] gives them)")
    history = array(history, "the history", "iu")
    if history.ndim != 1:
        raise Wrong(f"the history has shape {history.shape}, expected a list of book numbers")
    history = history.tolist()
    if len(history) < 3:
        raise Wrong(f"the history has {len(history)} books, expected at least 3")
    if not all(1 <= item <= model.num_items for item in history):
        raise Wrong(f"book numbers run from 1 to {model.num_items}, got {history}")
    (best,) = top_items(model, history, 1)
    wanted = [int(next_volume[item]) for item in history if next_volume[item]]
    if not wanted:
        raise Wrong(f"no book of {history} has a next volume (next_volume is 0 for all of them)")
    if best not in wanted:
        raise Wrong(f"after {history} the model recommends book {best}, expected one of {wanted}")
    return f"after {history} the model recommends book {best}, the next volume"
