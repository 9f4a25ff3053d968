"""The explorer of the bookshop (docs/explore.md) inside a notebook."""

from __future__ import annotations

from minisasrec.explorer.pages import Shown, show
from minisasrec.recommender import Recommender


def explorer(epochs: int = 4) -> Shown:
    """A model of the bookshop to play with: the last line of a cell. Trains for about 15 seconds.

    With the page of a model of your own: `minisasrec.explorer.show(recommender)`.
    """
    recommender = Recommender("sasrec", epochs=epochs, lr=0.004, dropout=0.2, batch_size=64)
    return show(recommender.fit("bookshop", progress=False))
