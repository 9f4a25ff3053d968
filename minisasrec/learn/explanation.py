"""Why an item is recommended: what each item of the history adds, and what attention looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minisasrec import plots
from minisasrec.data.sequences import pack_sequences
from minisasrec.errors import ConfigError
from minisasrec.learn import frames
from minisasrec.learn.known import Known
from minisasrec.models import Model

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """What `Recommender.explain` found, for k recommended items and a history of L items.

    * `table`: a row for each recommended item and each item of the history: `item`, `title`,
      `rank` and `score` of the recommended one; `position` (1 is the oldest), `past` and
      `past_title` of the other; `adds`, the score with it minus the score without it. The numbers
      do not sum to the score: items act together.
    * `adds`: the same as an array, (k, L); NaN for a history of one item
    * `attention`: for each block the attention weights of each head, (h, L, L): row t says how
      much position t looks at each s <= t. Empty for models other than SASRec.
    * `recommended`, `past`: titles, k and L
    """

    table: Any
    adds: Array
    attention: list[Array]
    recommended: list[str]
    past: list[str]

    def __repr__(self) -> str:
        """The table as text."""
        return str(self.table)

    def plot(self) -> Any:
        """Attention as heat maps, one for each block and head: a figure of matplotlib.

        Raises `ConfigError` for a model without attention.
        """
        if not self.attention:
            raise ConfigError("there is no attention to show; a sasrec has it")
        maps = {
            f"block {b}, head {h}": (weights, self.past)
            for b, heads in enumerate(self.attention, start=1)
            for h, weights in enumerate(heads, start=1)
        }
        return plots.heat_maps(maps, title="What each item looks at")


def explain(
    model: Model,
    known: Known,
    user: Array,
    history: Array,
    best: Array,
    attention: list[Array],
    library: str = "",
) -> Explanation:
    """Explain the items with the numbers `best` after a history of at most n item numbers.

    `user` (1) is the user's number, `attention` what `Explanation` says.
    """
    L = len(history)
    with_all = _scores(model, user, [history], best)[0]
    adds = np.full((len(best), L), np.nan)
    if L > 1:
        without = [np.delete(history, position) for position in range(L)]
        adds = (with_all - _scores(model, user, without, best)).T
    titles, ids = known.shown_titles, known.items.values
    row, position = (place.ravel() for place in np.indices(adds.shape))
    table = {
        "item": ids[best][row],
        "title": titles[best][row],
        "rank": row + 1,
        "score": with_all[row],
        "position": position + 1,
        "past": ids[history][position],
        "past_title": titles[history][position],
        "adds": adds.ravel(),
    }
    return Explanation(
        frames.make_frame(table, library),
        adds,
        attention,
        titles[best].tolist(),
        titles[history].tolist(),
    )


def _scores(model: Model, user: Array, histories: list[Array], best: Array) -> Array:
    """The scores of `best` after each history, (number of histories, k)."""
    users, candidates = np.repeat(user, len(histories)), np.tile(best, (len(histories), 1))
    return model.candidate_scores(users, pack_sequences(histories, model.n), candidates)
